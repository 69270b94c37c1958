//! Every state in which a visitor can find our pages, by name: what a preview shows to people, and what the tests
//! look at in a browser. Pure, and the same at every call.
//!
//! Some states only the page's script knows: it asks for the wake and waits for the answer, it was refused, it
//! lets the visitor go in by hand. For those a sample says what the room answers to the page, and what the visitor
//! presses. Whoever shows samples serves [`Sample::page`] for every address and [`Sample::status`] under
//! `/__anteroom/status` and in the events.

use std::sync::Arc;

use bytes::Bytes;

use super::{Ask, Asked, Lang, Page, Puzzle, Scene, Theme, ThemeError, Tried, WakeBy, Widget};
use crate::engine::chess::Position;
use crate::engine::contract::Stage;
use crate::engine::eta::Eta;
use crate::engine::time::{Span, Time};
use crate::engine::view::{Failure, FailureView, Phase, View, WakeView};

/// The moment in which all samples are.
pub const NOW: Time = Time(1_790_000_000_000);

/// The host that most samples are of.
pub const HOST: &str = "blog.example.com";

/// As long as a name of a host may be nearly, and without a place to break it.
const LONG_HOST: &str =
    "a-rather-long-name-of-a-department-in-a-large-house.intranet.example-company.co.id";

/// A name that is not in Latin letters, as browsers send it.
const FOREIGN_HOST: &str = "xn--mgba3gch31f060k.example";

/// When a client that was refused may ask again.
const LIMITED_FOR: Span = Span::mins(130);

/// One state.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Lower case words with hyphens: good in an address and as the name of a file. Unique.
    pub name: &'static str,
    /// The host of the site that is waited for.
    pub host: &'static str,
    /// What the page is made of.
    pub shows: Shows,
    /// What the room answers when the page asks for the wake.
    pub answer: Answer,
    /// What the visitor must do to bring it about: the `id` of what is pressed.
    pub press: Option<&'static str>,
    /// What `data-scene` says in the end, where that is another word than the scene's own.
    pub ends_as: Option<&'static str>,
}

/// Which page it is.
#[derive(Clone, Debug)]
pub enum Shows {
    /// The waiting page.
    Waiting(View, WakeBy),
    /// The waiting page after a form that was not sent.
    Unsent(View),
    /// No site has this name.
    Unknown,
    /// This network may not wake it; without a script.
    Denied,
    /// Woken too often; without a script.
    Limited,
    /// The app is well, and gave no good answer.
    Unavailable,
    /// The challenge's own page.
    Challenge(Puzzle<'static>, Tried),
}

/// What the room answers to a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202, with the status as it is.
    Taken,
    /// Nothing yet.
    Silent,
    /// 429.
    Limited,
    /// 403.
    Denied,
}

impl Answer {
    /// Its HTTP status, and its body where that is not the service's status; none while it keeps silent.
    #[must_use]
    pub fn to_wake(self) -> Option<(u16, Option<String>)> {
        let refusal = |wait: Span| Some(format!("{{\"retry_after\":{}}}", wait.0 / 1_000));
        match self {
            Answer::Taken => Some((202, None)),
            Answer::Silent => None,
            Answer::Limited => Some((429, refusal(LIMITED_FOR))),
            Answer::Denied => Some((403, refusal(Span::mins(1)))),
        }
    }
}

impl Sample {
    fn of(name: &'static str, shows: Shows) -> Sample {
        Sample {
            name,
            host: HOST,
            shows,
            answer: Answer::Taken,
            press: None,
            ends_as: None,
        }
    }

    fn page_of(name: &'static str, view: View) -> Sample {
        Sample::of(name, Shows::Waiting(view, WakeBy::Page))
    }

    /// What the page's `data-scene` says when its script has done what there is to do; none without a script.
    #[must_use]
    pub fn scene(&self) -> Option<&'static str> {
        let own = self.view().map(|view| Scene::of(view).word());
        self.ends_as.or(own)
    }

    /// The page, in this language.
    #[must_use]
    pub fn page(&self, lang: Lang, nonce: &str) -> Page {
        self.page_in(lang, None, nonce)
    }

    /// The page as it is with this theme.
    #[must_use]
    pub fn page_in(&self, lang: Lang, theme: Option<&Arc<Theme>>, nonce: &str) -> Page {
        let ask = |wake_by| Ask {
            host: self.host.into(),
            nonce: nonce.into(),
            wake_by,
            lang,
            theme: theme.cloned(),
        };
        let theme = theme.map(Arc::as_ref);
        match &self.shows {
            Shows::Waiting(view, wake_by) => super::render(view, NOW, &ask(*wake_by)),
            Shows::Unsent(view) => super::unsent(view, NOW, &ask(WakeBy::Page)),
            Shows::Unknown => super::unknown(lang, theme),
            Shows::Denied => super::denied(lang, theme, self.host),
            Shows::Limited => {
                let time = lang.text().time(LIMITED_FOR);
                super::limited(lang, theme, self.host, &time)
            }
            Shows::Unavailable => super::unavailable(lang, theme, self.host),
            Shows::Challenge(puzzle, tried) => {
                let asked = Asked {
                    nonce,
                    back: "/a?b=c",
                    puzzle: *puzzle,
                    or: "c1.w.1.2.3",
                    wait: Span::secs(15),
                    tried: *tried,
                };
                super::challenge(lang, theme, self.host, asked)
            }
        }
    }

    /// The service's status; none for a page that has no script to ask for it.
    #[must_use]
    pub fn status(&self) -> Option<Bytes> {
        self.view().map(|view| super::status_json(view, NOW))
    }

    /// The event that tells the page the status.
    #[must_use]
    pub fn event(&self) -> Option<Bytes> {
        self.view().map(|view| super::event(view, NOW))
    }

    /// The service as the page sees it; none for a page that stands still.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        match &self.shows {
            Shows::Waiting(view, _) | Shows::Unsent(view) => Some(view),
            _ => None,
        }
    }
}

/// All of them, in the order in which a visitor might meet them.
#[must_use]
pub fn all() -> Vec<Sample> {
    let mut all = before_a_wake();
    all.extend(challenges());
    all.extend(during_a_wake());
    all.extend(after_a_wake());
    all.extend(failures());
    all.extend([
        Sample::of("unknown", Shows::Unknown),
        Sample::of("limited-plain", Shows::Limited),
        Sample::of("denied-plain", Shows::Denied),
        Sample::of("unavailable", Shows::Unavailable),
    ]);
    all
}

/// The first sample that a theme can't make, and why; each is tried in English and in Arabic.
#[must_use]
pub fn fault(theme: &Arc<Theme>) -> Option<(&'static str, ThemeError)> {
    let langs = || {
        [Some(Lang::ENGLISH), Lang::named("ar")]
            .into_iter()
            .flatten()
    };
    let tried = |(sample, lang): (Sample, Lang)| {
        let page = sample.page_in(lang, Some(theme), "v2.0.0.0");
        Some((sample.name, page.fault?))
    };
    let each = |sample: Sample| langs().map(move |lang| (sample.clone(), lang));
    all().into_iter().flat_map(each).find_map(tried)
}

fn before_a_wake() -> Vec<Sample> {
    let asleep = || view(Phase::Asleep);
    let answered = |name, answer| Sample {
        answer,
        ends_as: Some(name),
        ..Sample::page_of(name, asleep())
    };
    vec![
        Sample::page_of("learning", view(Phase::Learning)),
        answered("asking", Answer::Silent),
        Sample::of("asleep", Shows::Waiting(asleep(), WakeBy::Click)),
        answered("limited", Answer::Limited),
        answered("denied", Answer::Denied),
        Sample::page_of("stopping", view(Phase::Stopping)),
    ]
}

/// A widget whose script is not there, or is played by a test.
const WIDGET: Widget<'static> = Widget {
    vendor: "Cloudflare",
    api: "turnstile",
    script: "/__anteroom/widget.js",
    sitekey: "0x4AAA",
    action: "anteroom-wake",
    mark: "00ff",
    directives: &["script-src", "frame-src"],
    origins: "'self'",
};

/// The pages of challenges, and their second tries.
fn challenges() -> Vec<Sample> {
    let chess = Puzzle::Chess {
        text: "c1.m.1.0.3",
        // With men of all kinds.
        position: Position::nth(134),
    };
    let page = |name, puzzle, tried| Sample::of(name, Shows::Challenge(puzzle, tried));
    vec![
        page("challenge-wait", Puzzle::None, Tried::Nothing),
        page("challenge-wait-early", Puzzle::None, Tried::TooSoon),
        page("challenge-chess", chess, Tried::Nothing),
        Sample {
            press: Some("f5"),
            ..page("challenge-chess-chosen", chess, Tried::Nothing)
        },
        page("challenge-chess-early", chess, Tried::TooSoon),
        page("challenge-chess-wrong", chess, Tried::Wrong),
        page("challenge-check", Puzzle::Check(WIDGET), Tried::Nothing),
        page("challenge-check-wrong", Puzzle::Check(WIDGET), Tried::Wrong),
        page("challenge-unchecked", Puzzle::None, Tried::Unchecked),
    ]
}

fn during_a_wake() -> Vec<Sample> {
    let first = View {
        eta: None,
        ..waking(Stage::MachineStarting, Span::secs(7))
    };
    let mut few = waking(Stage::MachineStarting, Span::secs(7));
    few.eta = few.eta.map(|eta| Eta { p90: None, ..eta });
    let mut crashed = waking(Stage::MachineStarting, Span::secs(5));
    crashed.wake = crashed.wake.map(|wake| WakeView {
        after_crash: true,
        ..wake
    });
    let up = || waking(Stage::MachineUp, Span::secs(16));
    vec![
        Sample::page_of("waking-asked", waking(Stage::Asked, Span::secs(1))),
        Sample::page_of(
            "waking-starting",
            waking(Stage::MachineStarting, Span::secs(4)),
        ),
        Sample::page_of("waking-up", up()),
        Sample::page_of(
            "waking-answering",
            waking(Stage::AppAnswering, Span::secs(23)),
        ),
        Sample::page_of("waking-first", first),
        Sample::page_of("waking-second", few),
        Sample::page_of("waking-longer", waking(Stage::MachineUp, Span::secs(70))),
        Sample::page_of("waking-crashed", crashed),
        Sample {
            press: Some("pause"),
            ..Sample::page_of("waking-paused", up())
        },
        Sample {
            host: LONG_HOST,
            ..Sample::page_of("waking-long-host", up())
        },
        Sample {
            host: FOREIGN_HOST,
            ..Sample::page_of("waking-foreign-host", up())
        },
        Sample::of("unsent", Shows::Unsent(up())),
    ]
}

fn after_a_wake() -> Vec<Sample> {
    let ready = || view(Phase::Awake);
    let unhealthy = View {
        healthy: false,
        ..ready()
    };
    vec![
        Sample::page_of("ready", ready()),
        Sample {
            press: Some("auto"),
            ends_as: Some("ready_by_hand"),
            ..Sample::page_of("ready-by-hand", ready())
        },
        Sample {
            ends_as: Some("ready_unsent"),
            ..Sample::of("ready-unsent", Shows::Unsent(ready()))
        },
        Sample::page_of("unhealthy", unhealthy),
    ]
}

/// Every cause, some with a next try.
fn failures() -> Vec<Sample> {
    let soon = Some(NOW + Span::secs(12));
    let later = Some(NOW + Span::mins(7));
    let failures = [
        ("failed-app-silent", Failure::AppSilent, later),
        ("failed-machine-silent", Failure::MachineSilent, soon),
        ("failed-machine-died", Failure::MachineDied, soon),
        ("failed-machine-missing", Failure::MachineMissing, None),
        ("failed-no-capacity", Failure::NoCapacity, soon),
        ("failed-quota", Failure::Quota, None),
        ("failed-creation-cap", Failure::CreationCap, later),
        ("failed-refused", Failure::Refused, None),
        ("failed-provider-down", Failure::ProviderDown, soon),
    ];
    let sample = |(name, failure, retry_at)| {
        let failure = Some(FailureView { failure, retry_at });
        let view = View {
            failure,
            ..view(Phase::Failed)
        };
        // A failed service is not asked by the page itself while a next try is planned, and else once.
        Sample::page_of(name, view)
    };
    failures.into_iter().map(sample).collect()
}

fn view(phase: Phase) -> View {
    View {
        service: "blog".parse().expect("a plain word is a name"),
        version: 7,
        phase,
        since: NOW,
        wake: None,
        woken: None,
        eta: Some(Eta {
            median: Span::secs(24),
            p90: Some(Span::secs(41)),
        }),
        failure: None,
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
        why: String::new(),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scene_and_every_failure_has_a_sample_of_its_own_name() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(|sample| sample.name).collect();
        assert_eq!(names.len(), all.len(), "a name is used twice");
        let plain = |name: &str| name.bytes().all(|c| c == b'-' || c.is_ascii_lowercase());
        assert!(names.iter().all(|name| plain(name)), "{names:?}");
        let views = || all.iter().filter_map(Sample::view);
        let scenes: BTreeSet<_> = views().map(|view| Scene::of(view).word()).collect();
        assert_eq!(scenes.len(), 8, "{scenes:?}");
        let causes: BTreeSet<_> = views()
            .filter_map(|view| view.failure)
            .collect::<Vec<_>>()
            .iter()
            .map(|failed| failed.failure.as_str())
            .collect();
        assert_eq!(causes.len(), 9, "{causes:?}");
    }
}
