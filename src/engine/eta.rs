//! How long a wake will take, from how long the earlier ones took.
//!
//! People feel a wait as shorter when they know its end, and cheated when it is longer than they were told. So
//! the page quotes the median as usual, and a bound that nine of ten wakes keep: counted over all wakes, also while the
//! machine becomes slower or faster, and also with the wakes that failed.
//!
//! Two things make the bound honest. Of wakes that are alike, the next one stays below the k-th smallest of n earlier
//! ones in k of n + 1 cases, whatever their distribution is (an order statistic as a prediction bound), so it
//! is read at 9/10 of n + 1 and not of n. And because wakes are not alike for long, the place at which it is read, the
//! *aim*, moves after every wake: up by nine steps when the bound was broken, down by one when it was kept (adaptive
//! conformal inference, Gibbs and Candès 2021). While the aim is free to move, the share of broken bounds can't differ
//! from one in ten by more than the aim's way divided by the number of wakes, for any sequence of times at all.

use serde::{Deserialize, Serialize};

use super::story::Stage;
use super::time::Span;

/// Wakes that are remembered. Old ones are forgotten, so that a machine that became faster shows it soon.
pub const REMEMBERED_MAX: usize = 32;

/// Wakes before which no bound is told: the longest of six is exceeded by one wake in seven, which is more than the 13 in a
/// hundred that "rarely" may mean here, the longest of seven by one in eight.
pub const BOUND_AFTER: usize = 7;

/// The whole of an aim.
const WHOLE: u64 = 10_000;

/// Where the bound is read at first: it is to hold for nine wakes of ten.
const AIM_FIRST: u64 = 9_000;

/// How far a kept bound moves the aim down; a broken one moves it up nine times as far, so that it stands still where one
/// in ten is broken. A hundred wakes of one kind move it by a tenth at most.
const AIM_STEP: u64 = 10;

/// The aim's least: the bound stays above the median. It is reached where times hardly differ and all of them
/// keep a bound that is told in whole seconds.
const AIM_MIN: u64 = 6_000;

/// The aim's most: far beyond the longest that is remembered, for a machine that becomes slower with every wake.
const AIM_MAX: u64 = 20_000;

/// The durations of the latest wakes, and how far the bounds that were told from them held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeHistory {
    /// Oldest first. A wake that never came is [`Span::FOREVER`].
    #[serde(rename = "history", default)]
    took: Vec<Span>,
    /// Where the bound is read, in parts of [`WHOLE`].
    #[serde(
        rename = "history_aim",
        default = "first_aim",
        skip_serializing_if = "is_first_aim"
    )]
    aim: u64,
}

/// What a visitor may expect, counted from the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eta {
    /// Half of the wakes were ready by then.
    pub median: Span,
    /// Nine of ten wakes are ready by then, as far as can be known; none when it can't. It is a length as
    /// [`told`] makes it, so that what is shown is what is promised.
    #[serde(default)]
    pub p90: Option<Span>,
}

impl Default for WakeHistory {
    fn default() -> WakeHistory {
        WakeHistory {
            took: Vec::new(),
            aim: AIM_FIRST,
        }
    }
}

impl WakeHistory {
    /// Remembers one wake, from its trigger until the app answered.
    pub fn add(&mut self, took: Span) {
        // The bound that its visitors were told: nothing is added while a wake is under way.
        if let Some(bound) = self.bound(&self.sorted()) {
            self.aim = match took <= bound {
                true => self.aim.saturating_sub(AIM_STEP),
                false => self.aim.saturating_add(AIM_STEP * 9),
            }
            .clamp(AIM_MIN, AIM_MAX);
        }
        if self.took.len() >= REMEMBERED_MAX {
            self.took.drain(..=self.took.len() - REMEMBERED_MAX);
        }
        self.took.push(took);
    }

    /// Remembers one wake that never came: it was longer than any bound.
    pub fn add_failed(&mut self) {
        self.add(Span::FOREVER);
    }

    /// The expectation, once there was a wake; none when half of them never came.
    ///
    /// It changes only when a wake is over, so that nobody who waits sees it jump.
    #[must_use]
    pub fn eta(&self) -> Option<Eta> {
        let sorted = self.sorted();
        let middle = sorted.len().checked_sub(1)? / 2;
        let median = *sorted.get(middle)?;
        (median < Span::FOREVER).then(|| Eta {
            median,
            p90: self.bound(&sorted),
        })
    }

    fn sorted(&self) -> Vec<Span> {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        sorted
    }

    /// The bound that is told: none before there are enough wakes, and where it would lie among those that never came.
    fn bound(&self, sorted: &[Span]) -> Option<Span> {
        let count = sorted.len();
        if count < BOUND_AFTER {
            return None;
        }
        // The place among them, counted from one, in parts of WHOLE.
        let place = self.aim.clamp(AIM_MIN, AIM_MAX) * (count as u64 + 1);
        let (whole, part) = ((place / WHOLE) as usize, place % WHOLE);
        let bound = match sorted.get(whole) {
            Some(above) => {
                let below = sorted[whole - 1];
                let gap = above.0 - below.0;
                match (part, *above) {
                    (0, _) => below,
                    (_, Span::FOREVER) => return None,
                    _ => Span(below.0.saturating_add(parts(gap, part))),
                }
            }
            // Beyond the longest: a quarter of its distance from the median, or a little, for each place.
            None => {
                let longest = sorted[count - 1];
                let median = sorted[(count - 1) / 2];
                let step = ((longest.0 - median.0) / 4).max(longest.0 / 64);
                let beyond = place - WHOLE * count as u64;
                Span(longest.0.saturating_add(parts(step, beyond)))
            }
        };
        (bound < Span::FOREVER).then(|| told(bound))
    }
}

/// `part` of [`WHOLE`] of a length.
fn parts(length: u64, part: u64) -> u64 {
    (length / WHOLE)
        .saturating_mul(part)
        .saturating_add(length % WHOLE * part / WHOLE)
}

/// A length as it is told: in whole seconds, from five minutes on in whole minutes, never less than it is.
#[must_use]
pub fn told(length: Span) -> Span {
    let unit: u64 = match length.0.div_ceil(1_000) {
        ..300 => 1_000,
        _ => 60_000,
    };
    Span(length.0.div_ceil(unit).saturating_mul(unit))
}

const fn first_aim() -> u64 {
    AIM_FIRST
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_first_aim(aim: &u64) -> bool {
    *aim == AIM_FIRST
}

/// How far a wake has come, in percent, 0 to 99: it never falls while `elapsed` and `stage` do not fall, and it
/// reaches 100 only on the page itself, when the app answers.
///
/// Within the usual time it moves evenly to 80; past that ever slower, so that it stands still at no time and
/// promises nothing. A stage that is reached lifts it to that stage's floor.
#[must_use]
pub fn percent(elapsed: Span, stage: Stage, eta: Option<Eta>) -> u8 {
    let usual = eta.map_or(30_000, |eta| eta.median.0.max(1_000));
    let over = elapsed.0.saturating_sub(usual);
    let by_time = match over {
        0 => elapsed.0.saturating_mul(80) / usual,
        _ => 80 + 15u64.saturating_mul(over) / over.saturating_add(usual),
    };
    let floor = match stage {
        Stage::Asked => 2,
        Stage::MachineStarting => 8,
        Stage::MachineUp => 30,
        Stage::AppAnswering => 97,
    };
    u8::try_from(by_time.max(floor).min(99)).unwrap_or(99)
}

#[cfg(test)]
mod tests;
