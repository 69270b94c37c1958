//! Every word that a visitor reads, in one table for each language: the templates, the script and the problem
//! documents take them from here. `{host}`, `{time}` and the like are filled in by [`fill`] and by the script.
//!
//! The words themselves are in `templates/lang`, a file for each language with a key for each field here. Read on
//! in [`units`] (how a length of time is said) and in [`super::lang`] (which languages there are).

pub mod units;

use serde::{Deserialize, Serialize};

use super::scene::Scene;
use crate::engine::time::Span;
use crate::engine::view::Failure;
use units::{Forms, Units};

/// The words of one language.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// BCP 47.
    pub lang: String,
    /// `ltr` or `rtl`.
    pub dir: String,
    /// The digits from nought to nine, each one character.
    pub digits: String,
    /// What is shown for each scene.
    pub scenes: Scenes,
    /// The stages of a wake, in their order, and the page's own last one.
    pub stages: [String; 5],
    /// Before the stages, for those who hear the page.
    pub stages_label: String,
    /// How a stage stands: reached before, reached last, not reached.
    pub marks: [String; 3],
    /// The name of the progress bar.
    pub progress: String,
    /// The expectation, with a usual and a high time.
    pub eta: String,
    /// The expectation, when both times read the same.
    pub eta_even: String,
    /// Before the first wake.
    pub eta_none: String,
    /// Beyond the high time.
    pub eta_over: String,
    /// The time that has passed.
    pub elapsed: String,
    /// When it is tried again.
    pub next_try: String,
    /// The next try is due now.
    pub next_try_now: String,
    /// Nothing is planned.
    pub next_try_none: String,
    /// Many wait, and when it is this visitor's turn.
    pub turn: String,
    /// Why a wake failed.
    pub failures: Failures,
    /// Buttons, boxes and links.
    pub controls: Controls,
    /// What a challenge asks for.
    pub challenge: Challenges,
    /// What was sent is not lost by us silently.
    pub unsent: Unsent,
    /// When it takes longer.
    #[serde(skip_serializing)]
    pub longer: Longer,
    /// Pages without a script.
    #[serde(skip_serializing)]
    pub plain: Plains,
    /// How a length of time is said.
    pub units: Units,
    /// At the foot of every page.
    pub foot: String,
    /// What a program is told.
    #[serde(skip_serializing)]
    pub problem: String,
}

/// What is shown in one situation.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// In the tab.
    pub title: String,
    /// The headline.
    pub heading: String,
    /// One or two sentences below it.
    pub lead: String,
}

/// The words for each [`Scene`], and for the moments that only the script knows.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
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
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named like the failures")]
pub struct Failures {
    pub app_silent: String,
    pub machine_silent: String,
    pub machine_died: String,
    pub machine_missing: String,
    pub no_capacity: String,
    pub quota: String,
    pub creation_cap: String,
    pub refused: String,
    pub provider_down: String,
}

/// What can be pressed.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "named as they are")]
pub struct Controls {
    pub start: String,
    pub retry: String,
    pub open: String,
    pub back: String,
    pub check: String,
    pub auto: String,
    pub pause: String,
    pub resume: String,
    pub paused: String,
}

/// Where a service asks for a challenge.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Challenges {
    /// The script is at work.
    pub working: String,
    /// Without a script: to wait, and to press again.
    #[serde(skip_serializing)]
    pub wait: Words,
    /// It was pressed too soon.
    #[serde(skip_serializing)]
    pub early: Words,
    /// A mate in one move.
    #[serde(skip_serializing)]
    pub chess: Chess,
    /// The check by a captcha service.
    #[serde(skip_serializing)]
    pub check: Check,
}

/// The page that asks for a mate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chess {
    /// The other way in: to wait, and to press the button there.
    pub or: String,
    /// What is asked, and why.
    pub lead: String,
    /// After a move that was none.
    pub wrong: String,
    /// The name of the board.
    pub board: String,
    /// The name of the field for the move.
    pub step: String,
    /// How a move is written.
    pub hint: String,
    /// The button.
    pub play: String,
    /// White's men: king, queen, rook, bishop, knight, pawn.
    pub white: [String; 6],
    /// Black's.
    pub black: [String; 6],
}

/// The check by another company, beside the wait.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What it is, and what the company sees.
    pub lead: String,
    /// It was not passed.
    pub wrong: String,
    /// It could not be made.
    pub unknown: String,
}

/// The notice that a submission was not sent.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Unsent {
    /// In bold.
    pub heading: String,
    /// What to do now.
    pub lead: String,
}

/// What to do when it takes longer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Longer {
    /// What is opened.
    pub heading: String,
    /// What to do, and what to tell whoever runs the site.
    pub lead: String,
}

/// The pages without a script.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
    pub home: String,
}

impl Text {
    /// Reads a file of words.
    ///
    /// # Errors
    ///
    /// Names the key that lacks, or that nobody knows.
    pub fn read(file: &str) -> Result<Text, toml::de::Error> {
        toml::from_str(file)
    }

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
    pub fn failure(&self, failure: Failure) -> &str {
        match failure {
            Failure::AppSilent => &self.failures.app_silent,
            Failure::MachineSilent => &self.failures.machine_silent,
            Failure::MachineDied => &self.failures.machine_died,
            Failure::MachineMissing => &self.failures.machine_missing,
            Failure::NoCapacity => &self.failures.no_capacity,
            Failure::Quota => &self.failures.quota,
            Failure::CreationCap => &self.failures.creation_cap,
            Failure::Refused => &self.failures.refused,
            Failure::ProviderDown => &self.failures.provider_down,
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
        let units = &self.units;
        let said = |unit: &Forms, number| unit.said(number, &self.lang, &self.digits);
        match (h, m, s) {
            (0, 0, _) => said(&units.seconds, s),
            (0, _, 0) => said(&units.minutes, m),
            (0, _, _) => units.both(&said(&units.minutes, m), &said(&units.seconds, s)),
            (_, 0, _) => said(&units.hours, h),
            _ => units.both(&said(&units.hours, h), &said(&units.minutes, m)),
        }
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
mod tests;
