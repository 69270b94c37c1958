//! Every word that a visitor reads, in one table for each language: the templates, the script and the problem
//! documents take them from here. `{host}`, `{time}` and the like are filled in by [`fill`] and by the script.
//!
//! The tone is calm and plain. It says what is true now, what comes next, and what the visitor can do.

use serde::Serialize;

use super::scene::Scene;
use crate::engine::time::Span;
use crate::engine::view::Failure;

/// The words of one language.
#[derive(Debug, Serialize)]
pub struct Text {
    /// BCP 47.
    pub lang: &'static str,
    /// `ltr` or `rtl`.
    pub dir: &'static str,
    /// What is shown for each scene.
    pub scenes: Scenes,
    /// The stages of a wake, in their order, and the page's own last one.
    pub stages: [&'static str; 5],
    /// Before the stages, for those who hear the page.
    pub stages_label: &'static str,
    /// How a stage stands: reached before, reached last, not reached.
    pub marks: [&'static str; 3],
    /// The name of the progress bar.
    pub progress: &'static str,
    /// The expectation, with a usual and a high time.
    pub eta: &'static str,
    /// The expectation, when both times read the same.
    pub eta_even: &'static str,
    /// Before the first wake.
    pub eta_none: &'static str,
    /// Beyond the high time.
    pub eta_over: &'static str,
    /// The time that has passed.
    pub elapsed: &'static str,
    /// When it is tried again.
    pub next_try: &'static str,
    /// The next try is due now.
    pub next_try_now: &'static str,
    /// Nothing is planned.
    pub next_try_none: &'static str,
    /// Why a wake failed.
    pub failures: Failures,
    /// Buttons, boxes and links.
    pub controls: Controls,
    /// What was sent is not lost by us silently.
    pub unsent: Unsent,
    /// Pages without a script.
    #[serde(skip)]
    pub plain: Plains,
    /// Whole seconds.
    pub seconds: &'static str,
    /// Whole minutes.
    pub minutes: &'static str,
    /// Minutes and seconds.
    pub minutes_seconds: &'static str,
    /// Whole hours.
    pub hours: &'static str,
    /// Hours and minutes.
    pub hours_minutes: &'static str,
    /// At the foot of every page.
    pub foot: &'static str,
    /// What a program is told.
    #[serde(skip)]
    pub problem: &'static str,
}

/// What is shown in one situation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Words {
    /// In the tab.
    pub title: &'static str,
    /// The headline.
    pub heading: &'static str,
    /// One or two sentences below it.
    pub lead: &'static str,
}

/// The words for each [`Scene`], and for the moments that only the script knows.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "named like the scenes")]
pub struct Scenes {
    pub learning: Words,
    pub asleep: Words,
    pub waking: Words,
    pub crashed: Words,
    pub stopping: Words,
    pub unhealthy: Words,
    pub ready: Words,
    pub failed: Words,
    /// Asleep, and the script is asking for the wake.
    pub asking: Words,
    /// Ready, but the visitor wants to go in by hand.
    pub ready_by_hand: Words,
    /// Ready, and the visitor must go back and send again.
    pub ready_unsent: Words,
    /// Too many wakes.
    pub limited: Words,
    /// Not from this network.
    pub denied: Words,
}

/// A sentence for each [`Failure`].
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "named like the failures")]
pub struct Failures {
    pub app_silent: &'static str,
    pub machine_silent: &'static str,
    pub machine_died: &'static str,
    pub machine_missing: &'static str,
    pub no_capacity: &'static str,
    pub quota: &'static str,
    pub creation_cap: &'static str,
    pub refused: &'static str,
    pub provider_down: &'static str,
}

/// What can be pressed.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "named as they are")]
pub struct Controls {
    pub start: &'static str,
    pub retry: &'static str,
    pub open: &'static str,
    pub back: &'static str,
    pub check: &'static str,
    pub auto: &'static str,
    pub pause: &'static str,
    pub resume: &'static str,
    pub paused: &'static str,
}

/// The notice that a submission was not sent.
#[derive(Debug, Serialize)]
pub struct Unsent {
    /// In bold.
    pub heading: &'static str,
    /// What to do now.
    pub lead: &'static str,
}

/// The pages without a script.
#[derive(Debug)]
pub struct Plains {
    /// No site has this name.
    pub unknown: Words,
    /// Too many wakes.
    pub limited: Words,
    /// Not from this network.
    pub denied: Words,
    /// The app is well but this request had no answer.
    pub unavailable: Words,
    /// Leads to the site's front page.
    pub home: &'static str,
}

/// English.
pub static EN: Text = Text {
    lang: "en",
    dir: "ltr",
    scenes: Scenes {
        learning: Words {
            title: "One moment: {host}",
            heading: "One moment",
            lead: "We are looking whether {host} is awake.",
        },
        asleep: Words {
            title: "Asleep: {host}",
            heading: "{host} is asleep",
            lead: "It rests while nobody visits. Press the button and its machine starts for you.",
        },
        asking: Words {
            title: "Asleep: {host}",
            heading: "{host} is asleep",
            lead: "It rests while nobody visits. We are asking its machine to start for you.",
        },
        waking: Words {
            title: "Waking up: {host}",
            heading: "{host} is waking up",
            lead: "It was asleep while nobody visited. Its machine is starting for you now.",
        },
        crashed: Words {
            title: "Restarting: {host}",
            heading: "{host} is coming back",
            lead: "It stopped answering unexpectedly, so it is being started again.",
        },
        stopping: Words {
            title: "Falling asleep: {host}",
            heading: "{host} is falling asleep",
            lead: "Its machine is just being switched off. It can start again as soon as that is done.",
        },
        unhealthy: Words {
            title: "Unavailable: {host}",
            heading: "{host} is temporarily unavailable",
            lead: "It is running, but it does not answer right now. This page keeps looking.",
        },
        ready: Words {
            title: "Ready: {host}",
            heading: "{host} is ready",
            lead: "Opening it for you.",
        },
        ready_by_hand: Words {
            title: "Ready: {host}",
            heading: "{host} is ready",
            lead: "Open it whenever you like.",
        },
        ready_unsent: Words {
            title: "Ready: {host}",
            heading: "{host} is ready",
            lead: "Go back and send it again.",
        },
        failed: Words {
            title: "Not started: {host}",
            heading: "{host} could not be started",
            lead: "",
        },
        limited: Words {
            title: "Later: {host}",
            heading: "{host} stays asleep for now",
            lead: "It has been started often enough lately. It can be asked again in {time}. If somebody else starts it, this page opens it.",
        },
        denied: Words {
            title: "Asleep: {host}",
            heading: "{host} is asleep",
            lead: "It can't be started from your network. If somebody else starts it, this page opens it.",
        },
    },
    stages: [
        "Asked to start",
        "Machine starting",
        "Machine up",
        "App answering",
        "Opening",
    ],
    stages_label: "How far it is",
    marks: ["done", "now", "not yet"],
    progress: "Progress",
    eta: "It usually takes {median}, rarely more than {p90}.",
    eta_even: "It usually takes {median}.",
    eta_none: "This is the first start: we do not know yet how long it takes.",
    eta_over: "This takes longer than usual. You need not do anything.",
    elapsed: "{time} so far",
    next_try: "It is tried again in {time}.",
    next_try_now: "It is being tried again.",
    next_try_none: "It is not tried again by itself. You can try it now, or come back later.",
    failures: Failures {
        app_silent: "Its machine runs, but the app on it did not answer in time.",
        machine_silent: "Its machine did not come up in time.",
        machine_died: "Its machine stopped again while it was starting.",
        machine_missing: "Its machine no longer exists. Whoever runs this site must have a look.",
        no_capacity: "The data centre has no room for its machine right now.",
        quota: "A limit at the data centre has been reached. Whoever runs this site must have a look.",
        creation_cap: "As many machines were made for it within the last hour as may be. The next one follows by itself.",
        refused: "The data centre refuses to start its machine. Whoever runs this site must have a look.",
        provider_down: "The data centre that hosts its machine does not answer right now.",
    },
    controls: Controls {
        start: "Start it now",
        retry: "Try again now",
        open: "Open it",
        back: "Go back",
        check: "Check again",
        auto: "Continue automatically when ready",
        pause: "Pause updates",
        resume: "Resume updates",
        paused: "Updates are paused.",
    },
    unsent: Unsent {
        heading: "What you sent was not delivered.",
        lead: "{host} was not awake to take it, and it is not sent by itself. When the site is ready, go back and send it again.",
    },
    plain: Plains {
        unknown: Words {
            title: "No site here",
            heading: "There is no site here",
            lead: "This server knows no site of this name. Is the address spelled right?",
        },
        limited: Words {
            title: "Later: {host}",
            heading: "{host} stays asleep for now",
            lead: "It has been started often enough lately. It can be asked again in {time}.",
        },
        denied: Words {
            title: "Asleep: {host}",
            heading: "{host} is asleep",
            lead: "It can't be started from your network. When somebody else starts it, you can visit it too.",
        },
        unavailable: Words {
            title: "Unavailable: {host}",
            heading: "{host} is temporarily unavailable",
            lead: "It is awake, but it gave no good answer to this request. Please try again in a moment.",
        },
        home: "Go to {host}",
    },
    seconds: "{s} s",
    minutes: "{m} min",
    minutes_seconds: "{m} min {s} s",
    hours: "{h} h",
    hours_minutes: "{h} h {m} min",
    foot: "This site sleeps while nobody visits. That saves energy and money.",
    problem: "It does not answer requests now. Ask again in {time}.",
};

impl Text {
    /// What is shown in this scene.
    #[must_use]
    pub const fn scene(&self, scene: Scene) -> &Words {
        match scene {
            Scene::Learning => &self.scenes.learning,
            Scene::Asleep => &self.scenes.asleep,
            Scene::Waking => &self.scenes.waking,
            Scene::Crashed => &self.scenes.crashed,
            Scene::Stopping => &self.scenes.stopping,
            Scene::Unhealthy => &self.scenes.unhealthy,
            Scene::Ready => &self.scenes.ready,
            Scene::Failed => &self.scenes.failed,
        }
    }

    /// Why it failed.
    #[must_use]
    pub const fn failure(&self, failure: Failure) -> &'static str {
        match failure {
            Failure::AppSilent => self.failures.app_silent,
            Failure::MachineSilent => self.failures.machine_silent,
            Failure::MachineDied => self.failures.machine_died,
            Failure::MachineMissing => self.failures.machine_missing,
            Failure::NoCapacity => self.failures.no_capacity,
            Failure::Quota => self.failures.quota,
            Failure::CreationCap => self.failures.creation_cap,
            Failure::Refused => self.failures.refused,
            Failure::ProviderDown => self.failures.provider_down,
        }
    }

    /// A length of time in whole seconds, rounded up; in whole minutes from five minutes on.
    #[must_use]
    pub fn time(&self, span: Span) -> String {
        let secs = span.0.div_ceil(1_000);
        let secs = match secs {
            300.. => secs.div_ceil(60).saturating_mul(60),
            _ => secs,
        };
        let (h, m, s) = (secs / 3_600, secs / 60 % 60, secs % 60);
        let pattern = match (h, m, s) {
            (0, 0, _) => self.seconds,
            (0, _, 0) => self.minutes,
            (0, _, _) => self.minutes_seconds,
            (_, 0, _) => self.hours,
            _ => self.hours_minutes,
        };
        let [h, m, s] = [h, m, s].map(|number| number.to_string());
        fill(pattern, &[("h", &h), ("m", &m), ("s", &s)])
    }
}

/// Puts values in the place of `{name}`. A value is never searched for names itself.
#[must_use]
pub fn fill(pattern: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(pattern.len() + 32);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        let value = values.iter().find(|(known, _)| *known == name);
        filled.push_str(value.map_or("", |(_, value)| value));
        rest = behind;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_a_person_says_them() {
        let said = |ms| EN.time(Span(ms));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(23_100), "24 s");
        assert_eq!(said(60_000), "1 min");
        assert_eq!(said(130_000), "2 min 10 s");
        assert_eq!(said(301_000), "6 min");
        assert_eq!(said(3_600_000), "1 h");
        assert_eq!(said(7_801_000), "2 h 11 min");
    }

    #[test]
    fn a_value_is_not_searched_for_names() {
        let filled = fill(
            "{host} in {time}, {",
            &[("host", "{time}"), ("time", "5 s")],
        );
        assert_eq!(filled, "{time} in 5 s, {");
    }
}
