//! Every page in every phase: whole, light, honest and legible, with nothing from anywhere else.

use super::sheet::GAP;
use super::*;
use crate::engine::contract::Stage;
use crate::engine::eta::Eta;
use crate::engine::time::{Span, Time};
use crate::engine::view::{Failure, FailureView, Phase, View, WakeView};

mod programs;
mod themes;
mod words;

const NOW: Time = Time(1_790_000_000_000);
const PHASES: [Phase; 8] = [
    Phase::Learning,
    Phase::Asleep,
    Phase::Waking,
    Phase::Awake,
    Phase::Diverting,
    Phase::Draining,
    Phase::Stopping,
    Phase::Failed,
];
const STAGES: [Stage; 4] = [
    Stage::Asked,
    Stage::MachineStarting,
    Stage::MachineUp,
    Stage::AppAnswering,
];

fn view(phase: Phase) -> View {
    View {
        service: "blog".parse().unwrap(),
        version: 7,
        phase,
        since: NOW,
        wake: None,
        woken: None,
        eta: Some(Eta {
            median: Span::secs(24),
            p90: Some(Span::secs(41)),
        }),
        failure: (phase == Phase::Failed).then_some(FailureView {
            failure: Failure::NoCapacity,
            retry_at: Some(NOW + Span::secs(12)),
        }),
        upstreams: Vec::new(),
        healthy: true,
        run_by: None,
        triggered_count: 1,
        last_activity: None,
        hold: None,
        blind: Vec::new(),
        sleeps_at: None,
        clones: Vec::new(),
        scale: None,
        why: "An inner secret: 10.0.0.7.".into(),
    }
}

fn waking(stage: Stage, elapsed: Span) -> View {
    View {
        wake: Some(WakeView {
            since: NOW - elapsed,
            stage,
            deadline: NOW + Span::mins(5),
            after_crash: false,
        }),
        ..view(Phase::Waking)
    }
}

fn ask(host: &str, wake_by: WakeBy) -> Ask {
    Ask {
        theme: None,
        host: host.into(),
        nonce: "v1.1c7.nonce".into(),
        wake_by,
        lang: Lang::ENGLISH,
    }
}

fn english() -> &'static text::Text {
    Lang::ENGLISH.text()
}

fn html(page: &Page) -> &str {
    std::str::from_utf8(&page.html).unwrap()
}

fn shown(view: &View) -> String {
    html(&render(view, NOW, &ask("blog.test", WakeBy::Page))).to_owned()
}

/// The page without its script and its data: what a visitor without a script has.
fn body(page: &str) -> &str {
    let body = page.split_once("<body>").unwrap().1;
    body.split_once("<script").map_or(body, |(body, _)| body)
}

/// Every kind of page, for a host.
fn all(host: &str) -> Vec<Page> {
    let ask = ask(host, WakeBy::Page);
    let stages = STAGES.map(|stage| waking(stage, Span::secs(9)));
    let views = PHASES.map(view).into_iter().chain(stages);
    let of_views = views.flat_map(|view| [render(&view, NOW, &ask), unsent(&view, NOW, &ask)]);
    let plain = [
        unknown(Lang::ENGLISH, None),
        denied(Lang::ENGLISH, None, host),
        limited(Lang::ENGLISH, None, host, "3 minutes"),
        unavailable(Lang::ENGLISH, None, host),
    ];
    of_views.chain(plain).collect()
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn no_page_loads_anything_from_anywhere() {
    for page in all("blog.test") {
        // The name of SVG's namespace is no address.
        let html = html(&page).replace("http://www.w3.org/2000/svg", "");
        for outside in [
            "http:",
            "https:",
            "//",
            "src=",
            "@import",
            "rel=\"style",
            "url(h",
        ] {
            let found = html
                .find(outside)
                .map(|at| &html[at.saturating_sub(40)..at + 20]);
            let comment = found.is_some_and(|text| outside == "//" && text.contains("// "));
            assert!(found.is_none() || comment, "{outside}: {found:?}");
        }
    }
}

#[test]
fn every_page_is_whole_and_names_its_language() {
    for page in all("blog.test") {
        let html = html(&page);
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\" dir=\"ltr\">"));
        assert!(html.trim_end().ends_with("</html>"));
        assert_eq!(html.matches("<h1").count(), 1);
        assert!(html.contains("<title>") && html.contains("content=\"noindex\""));
        assert!(html.contains("rel=\"icon\"") && html.contains("width=device-width"));
        assert!(!html.contains("10.0.0.7"), "no internals reach a visitor");
        assert!(!html.contains("{host}</") && !html.contains("{time}</"));
    }
}

#[test]
fn a_host_is_text_wherever_it_stands() {
    let evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    for page in all(evil) {
        let html = html(&page);
        assert!(!html.contains("<script>alert"), "{html}");
        assert!(!html.contains("<img"), "{html}");
    }
    let page = render(&view(Phase::Asleep), NOW, &ask(evil, WakeBy::Page));
    assert_eq!(data(html(&page))["host"], evil);
}

fn data(html: &str) -> serde_json::Value {
    let start = html.split_once("id=\"state\">").unwrap().1;
    json(start.split_once("</script>").unwrap().0.as_bytes())
}

#[test]
fn the_policy_names_the_hashes_of_the_one_style_and_the_one_script() {
    use base64::Engine as _;
    use sha2::Digest as _;
    for page in all("blog.test") {
        let csp = page.csp.to_str().unwrap();
        let html = html(&page);
        assert!(csp.starts_with("default-src 'none';") && !csp.contains("unsafe"));
        assert_eq!(html.matches("<style").count(), 1);
        assert!(html.matches("<script>").count() <= 1);
        assert!(!html.contains(" style=") && !html.contains(" onclick"));
        for (open, close) in [("<style>", "</style>"), ("<script>", "</script>")] {
            let Some((_, rest)) = html.split_once(open) else {
                continue;
            };
            let inside = rest.split_once(close).unwrap().0;
            let hash = sha2::Sha256::digest(inside);
            let hash = base64::engine::general_purpose::STANDARD.encode(hash);
            assert!(csp.contains(&format!("'sha256-{hash}'")), "{open}");
        }
    }
}

#[test]
fn a_stage_is_shown_as_reached_only_when_it_is() {
    for (reached, stage) in STAGES.into_iter().enumerate() {
        let page = shown(&waking(stage, Span::secs(9)));
        let items: Vec<&str> = body(&page).split("<li ").skip(1).collect();
        assert_eq!(items.len(), english().stages.len());
        for (index, item) in items.iter().enumerate() {
            let class = match index {
                _ if index < reached => "done",
                _ if index == reached => "now",
                _ => "later",
            };
            assert!(
                item.starts_with(&format!("class=\"{class}\"")),
                "{stage:?}: {item}"
            );
            assert_eq!(item.contains("aria-current"), class == "now");
        }
    }
    for phase in PHASES.into_iter().filter(|phase| *phase != Phase::Waking) {
        let page = shown(&view(phase));
        assert!(!body(&page).contains("class=\"done\""), "{phase:?}");
        assert!(!body(&page).contains("class=\"now\""), "{phase:?}");
        // Not even hidden: browsers of text show that.
        assert!(!body(&page).contains("How far it is"), "{phase:?}");
    }
}

#[test]
fn only_an_app_that_answers_is_ready() {
    for phase in PHASES {
        for healthy in [true, false] {
            let view = View {
                healthy,
                ..view(phase)
            };
            let status = json(&status_json(&view, NOW));
            let ready = phase == Phase::Awake && healthy;
            assert_eq!(status["scene"] == "ready", ready);
            assert_eq!(status["percent"] == 100, ready);
            assert_eq!(shown(&view).contains("test</bdi> is ready</h1>"), ready);
        }
    }
    let unwell = View {
        healthy: false,
        ..view(Phase::Awake)
    };
    assert!(shown(&unwell).contains("temporarily unavailable"));
}

#[test]
fn a_crash_is_called_a_crash() {
    let mut view = waking(Stage::Asked, Span::secs(1));
    view.wake.as_mut().unwrap().after_crash = true;
    assert!(shown(&view).contains("stopped answering unexpectedly"));
}

#[test]
fn the_wait_is_told_as_usual_and_high() {
    let eta = "It usually takes 24 seconds, rarely more than 41 seconds.";
    assert!(body(&shown(&waking(Stage::Asked, Span::secs(9)))).contains(eta));
    assert!(body(&shown(&view(Phase::Asleep))).contains(eta));
    assert!(body(&shown(&waking(Stage::Asked, Span::secs(42)))).contains(&english().eta_over));
    let first = View {
        eta: None,
        ..waking(Stage::Asked, Span::secs(9))
    };
    assert!(body(&shown(&first)).contains(&english().eta_none));
    let without_bound = View {
        eta: Some(Eta {
            median: Span::secs(24),
            p90: None,
        }),
        ..waking(Stage::Asked, Span::secs(900))
    };
    assert!(body(&shown(&without_bound)).contains("It usually takes 24 seconds."));
    assert!(!body(&shown(&view(Phase::Awake))).contains("usually"));
}

#[test]
fn a_failure_says_why_and_when_it_goes_on() {
    let page = shown(&view(Phase::Failed));
    assert!(body(&page).contains(&english().failures.no_capacity));
    assert!(body(&page).contains("It is tried again in 12 seconds."));
    assert!(body(&page).contains("Try again now"));
    let mut given_up = view(Phase::Failed);
    given_up.failure.as_mut().unwrap().retry_at = None;
    assert!(body(&shown(&given_up)).contains("not tried again by itself"));
}

#[test]
fn without_a_script_there_is_a_button_where_a_press_helps() {
    for phase in PHASES {
        let page = shown(&view(phase));
        let page = body(&page);
        let form = page
            .split_once("<form ")
            .unwrap()
            .1
            .split_once("</form>")
            .unwrap()
            .0;
        let helps = matches!(phase, Phase::Asleep | Phase::Stopping | Phase::Failed);
        let head = form.split_once('>').unwrap().0;
        assert_eq!(!head.ends_with("hidden"), helps, "{phase:?}");
        assert!(head.contains("method=\"post\" action=\"/__anteroom/wake\""));
        assert_eq!(form.contains("<button"), helps, "{phase:?}");
        assert!(form.contains("name=\"nonce\" value=\"v1.1c7.nonce\""));
        assert!(page.contains("<noscript><p class=\"ways\"><a href=\"\">Check again</a>"));
    }
}

#[test]
fn without_a_script_what_changes_by_itself_is_looked_at_again() {
    let after = |view: &View| {
        let page = shown(view);
        let (_, rest) = page.split_once("<noscript><meta http-equiv=\"refresh\" content=\"")?;
        Some(rest.split_once('"').unwrap().0.to_owned())
    };
    for phase in PHASES {
        let seconds = match phase {
            Phase::Asleep | Phase::Stopping => None,
            // The next try is in 12 s, and what is prepared holds for five.
            Phase::Failed => Some("15"),
            _ => Some("5"),
        };
        assert_eq!(after(&view(phase)).as_deref(), seconds, "{phase:?}");
    }
    let mut given_up = view(Phase::Failed);
    given_up.failure.as_mut().unwrap().retry_at = None;
    assert_eq!(after(&given_up), None);
}

#[test]
fn without_a_script_the_looking_again_can_be_turned_off_and_on() {
    let (off, on) = (
        "href=\"/__anteroom/still\">Pause updates",
        "href=\"/a?b=c\">Continue automatically",
    );
    for phase in PHASES {
        let usual = shown(&view(phase));
        let moves = usual.contains("http-equiv");
        assert_eq!(usual.contains(off), moves, "{phase:?}");
        assert!(!usual.contains(on), "{phase:?}");
        let page = still(&view(phase), NOW, &ask("blog.test", WakeBy::Page), "/a?b=c");
        let page = html(&page);
        assert!(
            !page.contains("http-equiv") && page.contains(on),
            "{phase:?}"
        );
    }
}

#[test]
fn a_form_that_was_not_sent_is_never_sent_by_us() {
    for phase in PHASES {
        let page = unsent(&view(phase), NOW, &ask("blog.test", WakeBy::Page));
        let html = html(&page);
        assert!(body(html).contains("What you sent was not delivered."));
        assert!(
            !html.contains("http-equiv"),
            "a refresh would ask for the form's address"
        );
        assert_eq!(
            data(html)["unsent"],
            true,
            "the script loads nothing by itself"
        );
    }
}

#[test]
fn the_script_learns_who_has_to_ask() {
    for (wake_by, word) in [
        (WakeBy::Page, "page"),
        (WakeBy::Click, "click"),
        (WakeBy::Request, "request"),
        (WakeBy::Challenge, "challenge"),
    ] {
        let page = render(&view(Phase::Asleep), NOW, &ask("blog.test", wake_by));
        assert_eq!(data(html(&page))["wake_by"], word);
    }
}

#[test]
fn the_plain_pages_carry_no_script() {
    for page in [
        unknown(Lang::ENGLISH, None),
        denied(Lang::ENGLISH, None, "b.test"),
        limited(Lang::ENGLISH, None, "b.test", "3 minutes"),
        unavailable(Lang::ENGLISH, None, "b.test"),
    ] {
        assert!(!html(&page).contains("<script"));
    }
    assert!(
        html(&limited(Lang::ENGLISH, None, "b.test", "3 minutes"))
            .contains("asked again in 3 minutes")
    );
    assert!(html(&unavailable(Lang::ENGLISH, None, "b.test")).contains("temporarily unavailable"));
}

#[test]
fn what_to_do_when_it_takes_longer_is_there_and_opens_by_itself_when_it_does() {
    for (elapsed, open) in [(Span::secs(41), false), (Span::secs(42), true)] {
        let view = waking(Stage::MachineUp, elapsed);
        let page = shown(&view);
        assert_eq!(page.contains("<details id=\"longer\" open>"), open);
        assert_eq!(page.contains("<details id=\"longer\">"), !open);
        // `why` names the wake by the same words.
        let at = view.wake.unwrap().since.clock(NOW);
        let told = format!("{}</bdi>, \u{2066}{at}\u{2069}.</p></details>", "test");
        assert!(page.contains(&told), "{told}: {page}");
    }
    let asleep = shown(&view(Phase::Asleep));
    let minute = Time(NOW.0 / 60_000 * 60_000).clock(NOW);
    assert!(asleep.contains(&minute), "{minute}");
}

#[test]
fn in_every_language_the_time_to_wait_stands_once_and_where_a_comment_may() {
    for lang in Lang::all() {
        let page = limited(lang, None, "b.test", GAP);
        let html = html(&page);
        assert_eq!(html.matches(GAP).count(), 1, "{lang:?}");
        let lead = html.split_once("<p class=\"lead\">").unwrap().1;
        let lead = lead.split_once("</p>").unwrap().0;
        assert!(lead.contains(GAP), "{lang:?}");
    }
}

#[test]
fn a_length_of_time_fills_the_gap_in_every_language() {
    let hour = 3_600;
    let all = (1..301)
        .chain((301..2 * hour).step_by(59))
        .chain((hour..31 * 24 * hour).step_by(3_541))
        .chain([366 * 24 * hour - 1]);
    for secs in all {
        for lang in Lang::all() {
            let gap = time_in_gap(lang, Span::secs(secs));
            let gap = gap.unwrap_or_else(|| panic!("{lang:?} {secs}"));
            assert_eq!(gap.len(), GAP.len());
            let (time, comment) = gap.split_once("<!--").unwrap();
            assert_eq!(time, lang.text().time(Span::secs(secs)));
            assert_eq!(comment.trim_start(), "-->");
        }
    }
}

#[test]
fn a_page_is_light() {
    for page in all("blog.example.com") {
        assert!(page.html.len() < 40_000, "{} bytes", page.html.len());
    }
}

/// The contrast of two colours (WCAG 2.2, relative luminance).
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |hex: &str| {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            match value <= 0.04045 {
                true => value / 12.92,
                false => ((value + 0.055) / 1.055).powf(2.4),
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn every_text_has_a_contrast_of_seven_to_one_in_both_schemes() {
    let style = include_str!("../../templates/waiting.css");
    // The two that hold colours; the others only strengthen them.
    let schemes: Vec<&str> = style
        .split(":root{")
        .filter(|part| part.contains("--bg:"))
        .collect();
    assert_eq!(schemes.len(), 2);
    for scheme in schemes {
        let colour = |name: &str| {
            let from = scheme.split_once(&format!("--{name}:")).unwrap().1;
            from[..7].to_owned()
        };
        for (text, ground, least) in [
            ("ink", "bg", 7.0),
            ("ink", "sky", 7.0),
            ("ink", "note", 7.0),
            ("muted", "bg", 7.0),
            ("muted", "sky", 7.0),
            ("accent", "bg", 7.0),
            ("on", "accent", 7.0),
            // Not text: WCAG 1.4.11 asks for 3:1.
            ("line", "bg", 3.0),
            ("accent", "track", 3.0),
        ] {
            let ratio = contrast(&colour(text), &colour(ground));
            assert!(ratio >= least, "{text} on {ground}: {ratio:.1}");
        }
    }
}
