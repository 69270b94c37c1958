//! The pages, and the policy that lets their own script run and nothing else.

use askama::Template;
use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;

use super::Ask;
use super::dress::{self, Needs, WORK};
use super::host::{Host, escape};
use super::lang::Lang;
use super::scene::{self, Scene};
use super::sheet::{Coding, GAP_LENGTH};
use super::status::{Status, json};
use super::text::{Text, Words, fill};
use super::theme::{Theme, ThemeError};
use crate::engine::contract::Stage;
use crate::engine::time::{Span, Time};
use crate::engine::view::{Phase, View};

/// A page, ready to be sent to everybody.
#[derive(Clone, Debug)]
pub struct Page {
    /// The document, UTF-8 where it is plain.
    pub html: Bytes,
    /// `Content-Security-Policy`.
    pub csp: HeaderValue,
    /// `Content-Language`.
    pub lang: Lang,
    /// How the document is coded.
    pub coding: Coding,
    /// Why the theme could not make it; then it is the built-in page.
    pub fault: Option<ThemeError>,
}

/// The tab's picture, by how it stands: a door, shut, ajar, open, or marked.
#[derive(Debug, Serialize)]
struct Icons {
    shut: &'static str,
    ajar: &'static str,
    open: &'static str,
    fault: &'static str,
}

macro_rules! icon {
    ($inside:literal) => {
        concat!(
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E",
            "%3Crect width='32' height='32' rx='7' fill='%231c2333'/%3E",
            $inside,
            "%3C/svg%3E"
        )
    };
}

const ICONS: Icons = Icons {
    shut: icon!(
        "%3Cpath d='M9 27V12a7 7 0 0 1 14 0v15z' fill='%23586580'/%3E%3Ccircle cx='19.500' cy='19' r='1.500' fill='%231c2333'/%3E"
    ),
    ajar: icon!(
        "%3Cpath d='M9 27V12a7 7 0 0 1 14 0v15z' fill='%23ffc56b'/%3E%3Cpath d='M9 27V12c0-4 2-6.500 6-6.500V27z' fill='%23586580'/%3E"
    ),
    open: icon!("%3Cpath d='M9 27V12a7 7 0 0 1 14 0v15z' fill='%23ffc56b'/%3E"),
    fault: icon!(
        "%3Cpath d='M9 27V12a7 7 0 0 1 14 0v15z' fill='%23586580'/%3E%3Ccircle cx='24' cy='8' r='6' fill='%23ff6b5e'/%3E"
    ),
};

/// The picture of a service that sleeps.
pub(super) const fn door_shut() -> &'static str {
    ICONS.shut
}

impl Icons {
    const fn of(&self, scene: Scene) -> &'static str {
        match scene {
            Scene::Learning | Scene::Asleep | Scene::Stopping => self.shut,
            Scene::Waking | Scene::Crashed => self.ajar,
            Scene::Ready => self.open,
            Scene::Unhealthy | Scene::Failed => self.fault,
        }
    }
}

/// What the script starts from.
#[derive(Serialize)]
struct Data<'a> {
    host: &'a str,
    wake_by: super::WakeBy,
    unsent: bool,
    state: Status,
    icons: &'static Icons,
    text: &'static Text,
}

#[derive(Serialize, Template)]
#[template(path = "waiting.html")]
struct Waiting<'a> {
    text: &'a Text,
    title: String,
    heading: String,
    lead: String,
    unsent_lead: Option<String>,
    icon: &'static str,
    scene: Scene,
    on_its_way: bool,
    percent: u8,
    stages: Vec<Step<'a>>,
    eta: String,
    elapsed: String,
    next_try: String,
    longer: Longer<'a>,
    button: Option<&'a str>,
    nonce: &'a str,
    refresh: Option<u32>,
    pace: Option<Way<'a>>,
    style: &'a str,
    work: Option<&'static str>,
    script: &'a str,
    data: &'a str,
}

/// A link.
#[derive(Serialize)]
struct Way<'a> {
    href: &'a str,
    /// HTML.
    label: String,
}

/// What to do when it takes longer.
#[derive(Serialize)]
struct Longer<'a> {
    heading: &'a str,
    /// HTML.
    lead: String,
    /// It takes longer.
    open: bool,
}

/// One stage in the list.
#[derive(Serialize)]
struct Step<'a> {
    label: &'a str,
    class: &'static str,
    mark: &'a str,
}

/// What kind of waiting page it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    Usual,
    /// The visitor's form was not sent.
    Unsent,
    /// It is not looked at again by itself. This is where the visitor wants to go.
    Still(&'a str),
}

/// What sets one plain page apart from another.
struct Sort<'a> {
    /// What `data-scene` says.
    scene: &'static str,
    words: &'a Words,
    icon: &'static str,
    link: Link,
}

/// The way on from a plain page.
enum Link {
    None,
    /// To the site's front page.
    Home,
    /// The same address once more, by GET.
    Again,
}

#[derive(Serialize, Template)]
#[template(path = "plain.html")]
struct Plain<'a> {
    text: &'a Text,
    title: String,
    heading: String,
    lead: String,
    icon: &'static str,
    scene: &'static str,
    link: Option<Way<'a>>,
    foot: bool,
    style: &'a str,
}

/// The waiting page, as the service stands: learning, asleep, waking, stopping, unhealthy, failed.
#[must_use]
pub fn render(view: &View, now: Time, ask: &Ask) -> Page {
    waiting(view, now, ask, Kind::Usual)
}

/// The waiting page under [`STILL`](super::STILL), for somebody without a script who does not want it to change by
/// itself. `place` is the path and query that the visitor wants, on this host.
#[must_use]
pub fn still(view: &View, now: Time, ask: &Ask, place: &str) -> Page {
    waiting(view, now, ask, Kind::Still(place))
}

/// The waiting page for somebody whose form was not sent: it says so, wakes the service all the same, and never
/// loads anything by itself, because the browser would send the form again.
#[must_use]
pub fn unsent(view: &View, now: Time, ask: &Ask) -> Page {
    waiting(view, now, ask, Kind::Unsent)
}

/// No site has this name. It goes with status 404, and does not repeat the name. The theme is the deployment's.
#[must_use]
pub fn unknown(lang: Lang, theme: Option<&Theme>) -> Page {
    let sort = Sort {
        scene: "unknown",
        words: &lang.text().plain.unknown,
        icon: ICONS.shut,
        link: Link::None,
    };
    plain(lang, theme, "", "", sort)
}

/// The service sleeps, and this client may not wake it.
#[must_use]
pub fn denied(lang: Lang, theme: Option<&Theme>, host: &str) -> Page {
    let sort = Sort {
        scene: "denied",
        words: &lang.text().plain.denied,
        icon: ICONS.shut,
        link: Link::Home,
    };
    plain(lang, theme, host, "", sort)
}

/// The service sleeps, and this client has woken it too often; it may again after this time, a length of time in words
/// or [`GAP`](super::sheet::GAP) for [`time_in_gap`].
#[must_use]
pub fn limited(lang: Lang, theme: Option<&Theme>, host: &str, time: &str) -> Page {
    let sort = Sort {
        scene: "limited",
        words: &lang.text().plain.limited,
        icon: ICONS.shut,
        link: Link::Home,
    };
    plain(lang, theme, host, time, sort)
}

/// A length of time as it may stand in the gap of a page; none for one that is too long for it.
#[must_use]
pub fn time_in_gap(lang: Lang, wait: Span) -> Option<String> {
    const COMMENT: usize = "<!---->".len();
    let time = escape(&lang.text().time(wait));
    let rest = GAP_LENGTH.checked_sub(time.len() + COMMENT)?;
    Some(format!("{time}<!--{}-->", " ".repeat(rest)))
}

/// The app is awake and well, but this request got no good answer.
#[must_use]
pub fn unavailable(lang: Lang, theme: Option<&Theme>, host: &str) -> Page {
    let sort = Sort {
        scene: "unavailable",
        words: &lang.text().plain.unavailable,
        icon: ICONS.fault,
        link: Link::Again,
    };
    plain(lang, theme, host, "", sort)
}

fn waiting(view: &View, now: Time, ask: &Ask, kind: Kind<'_>) -> Page {
    let text = ask.lang.text();
    let works = ask.wake_by == super::WakeBy::Challenge;
    let scene = Scene::of(view);
    let words = text.scene(scene);
    let host = Host::of(&ask.host);
    let unsent = kind == Kind::Unsent;
    let failed = view.failure.filter(|_| view.phase == Phase::Failed);
    let lead = failed.map_or(words.lead.as_str(), |failed| text.failure(failed.failure));
    let refresh = scene::refresh_after(view, now).filter(|_| kind == Kind::Usual);
    let status = Status::of(view, now);
    let data = Data {
        host: host.as_str(),
        wake_by: ask.wake_by,
        unsent,
        state: status,
        icons: &ICONS,
        text,
    };
    // In a script element only "<" could end it; the rest is the JSON's own.
    let data = json(&data).replace('<', "\\u003c");
    let way = |href, label: &str| Way {
        href,
        label: host.html(label, &[]),
    };
    let theme = ask.theme.as_deref();
    let needs = match works {
        true => Needs::Work,
        false => Needs::Script,
    };
    dress::make(ask.lang, theme, "waiting.html", needs, |dress| Waiting {
        text,
        title: host.text(&words.title, &[]),
        heading: host.html(&words.heading, &[]),
        lead: host.html(lead, &[]),
        unsent_lead: unsent.then(|| host.html(&text.unsent.lead, &[])),
        icon: ICONS.of(scene),
        scene,
        on_its_way: scene.is_on_its_way(),
        percent: scene::percent(view, now),
        stages: steps(text, scene::stage(view)),
        eta: expectation(text, view, now),
        elapsed: elapsed(text, view, now),
        next_try: failed.map_or(String::new(), |failed| next_try(text, failed.retry_at, now)),
        longer: Longer {
            heading: &text.longer.heading,
            lead: host.html(&text.longer.lead, &[("time", &reference(view, now))]),
            open: is_over(view, now),
        },
        button: button(text, scene),
        nonce: &ask.nonce,
        refresh,
        pace: match kind {
            Kind::Usual if refresh.is_some() => Some(way(super::STILL, &text.controls.pause)),
            Kind::Still(place) => Some(way(place, &text.controls.auto)),
            _ => None,
        },
        style: &dress.style,
        work: works.then_some(&**WORK),
        script: &dress.script,
        data: &data,
    })
}

fn plain(lang: Lang, theme: Option<&Theme>, host: &str, time: &str, sort: Sort<'_>) -> Page {
    let text = lang.text();
    let Sort {
        scene,
        words,
        icon,
        link,
    } = sort;
    let host = Host::of(host);
    let times = [("time", time)];
    let way = |href, label: &str| Way {
        href,
        label: host.html(label, &[]),
    };
    dress::make(lang, theme, "plain.html", Needs::Script, |dress| Plain {
        text,
        title: host.text(&words.title, &times),
        heading: host.html(&words.heading, &times),
        lead: host.html(&words.lead, &times),
        icon,
        scene,
        // Of a site that does not exist it can't be said that it sleeps.
        foot: !matches!(link, Link::None),
        link: match link {
            Link::None => None,
            Link::Home => Some(way("/", &text.plain.home)),
            Link::Again => Some(way("", &text.controls.check)),
        },
        style: &dress.style,
    })
}

/// The stages, each marked as reached, reached last, or not reached. The fifth is the page's own.
fn steps(text: &Text, reached: Option<Stage>) -> Vec<Step<'_>> {
    let last = reached.map(|stage| stage as usize);
    let step = |(index, label)| {
        let mark = match last {
            Some(last) if index < last => 0,
            Some(last) if index == last => 1,
            _ => 2,
        };
        Step {
            label,
            class: ["done", "now", "later"][mark],
            mark: &text.marks[mark],
        }
    };
    let labels = text.stages.iter().map(String::as_str);
    labels.enumerate().map(step).collect()
}

/// Whether the wake takes longer than nearly all before it.
fn is_over(view: &View, now: Time) -> bool {
    let since = scene::wake_of(view).map(|wake| now.since(wake.since));
    let most = view.eta.and_then(|eta| eta.p90);
    since.zip(most).is_some_and(|(since, most)| since > most)
}

/// When the wake was asked for, in the words of `anteroom why`; before one, the minute of the page. It is read from
/// left to right in every language.
fn reference(view: &View, now: Time) -> String {
    let whole = |at: Time| Time(at.0 / 60_000 * 60_000);
    let at = scene::wake_of(view).map_or(whole(now), |wake| wake.since);
    format!("\u{2066}{}\u{2069}", at.clock(now))
}

/// What the visitor may expect: of a wake under way, or of one that may be asked for.
fn expectation(text: &Text, view: &View, now: Time) -> String {
    let scene = Scene::of(view);
    match (view.eta, scene::wake_of(view)) {
        _ if !scene.is_on_its_way() && scene != Scene::Asleep => String::new(),
        _ if is_over(view, now) => text.eta_over.clone(),
        (Some(eta), _) => {
            let median = text.time(eta.median);
            let p90 = eta.p90.map(|p90| text.time(p90));
            match p90.filter(|p90| *p90 != median) {
                Some(p90) => fill(&text.eta, &[("median", &median), ("p90", &p90)]),
                None => fill(&text.eta_even, &[("median", &median)]),
            }
        }
        (None, Some(_)) => text.eta_none.clone(),
        (None, None) => String::new(),
    }
}

fn elapsed(text: &Text, view: &View, now: Time) -> String {
    scene::wake_of(view).map_or(String::new(), |wake| {
        // A second that has not passed is not counted.
        let whole = Span::secs(now.since(wake.since).0 / 1_000);
        fill(&text.elapsed, &[("time", &text.time(whole))])
    })
}

fn next_try(text: &Text, retry_at: Option<Time>, now: Time) -> String {
    match retry_at {
        Some(at) if at > now => fill(&text.next_try, &[("time", &text.time(at.since(now)))]),
        Some(_) => text.next_try_now.clone(),
        None => text.next_try_none.clone(),
    }
}

fn button(text: &Text, scene: Scene) -> Option<&str> {
    match scene {
        Scene::Failed => Some(&text.controls.retry),
        _ if scene.can_be_asked() => Some(&text.controls.start),
        _ => None,
    }
}
