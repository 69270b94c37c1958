//! How long a wake will take, from how long the earlier ones took.
//!
//! People feel a wait as shorter when they know its end, and cheated when it is longer than they were told. So
//! the page quotes the median as usual and the 90th percentile as the bound.

use serde::{Deserialize, Serialize};

use super::story::Stage;
use super::time::Span;

/// Wakes that are remembered. Old ones are forgotten, so that a machine that became faster shows it soon.
pub const REMEMBERED_MAX: usize = 32;

/// The durations of the latest wakes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WakeHistory(Vec<Span>);

/// What a visitor may expect, counted from the trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eta {
    /// Half of the wakes were ready by then.
    pub median: Span,
    /// Nine of ten wakes were ready by then.
    pub p90: Span,
}

impl WakeHistory {
    /// Remembers one wake.
    pub fn add(&mut self, took: Span) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.drain(..=self.0.len() - REMEMBERED_MAX);
        }
        self.0.push(took);
    }

    /// The expectation, once there was a wake.
    #[must_use]
    pub fn eta(&self) -> Option<Eta> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // Nearest-rank percentile: the smallest value that at least q of the sample does not exceed.
        let rank = |q: usize| {
            sorted
                .get((sorted.len() * q).div_ceil(100).saturating_sub(1))
                .copied()
        };
        Some(Eta {
            median: rank(50)?,
            p90: rank(90)?,
        })
    }
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
mod tests {
    use super::*;

    #[test]
    fn the_first_wake_has_no_estimate() {
        assert_eq!(WakeHistory::default().eta(), None);
    }

    #[test]
    fn median_and_ninetieth_percentile_are_by_nearest_rank() {
        let mut history = WakeHistory::default();
        (1..=10).for_each(|secs| history.add(Span::secs(secs)));
        assert_eq!(
            history.eta(),
            Some(Eta {
                median: Span::secs(5),
                p90: Span::secs(9)
            })
        );
    }

    #[test]
    fn only_the_latest_wakes_count() {
        let mut history = WakeHistory::default();
        (0..100).for_each(|_| history.add(Span::secs(300)));
        (0..REMEMBERED_MAX).for_each(|_| history.add(Span::secs(4)));
        assert_eq!(
            history.eta(),
            Some(Eta {
                median: Span::secs(4),
                p90: Span::secs(4)
            })
        );
    }

    #[test]
    fn percent_never_falls_and_never_reaches_the_end_by_itself() {
        let eta = Some(Eta {
            median: Span::secs(24),
            p90: Span::secs(41),
        });
        let stages = [
            Stage::Asked,
            Stage::MachineStarting,
            Stage::MachineUp,
            Stage::AppAnswering,
        ];
        let mut last = 0;
        for ms in (0..600_000).step_by(250) {
            let now = percent(Span(ms), stages[(ms / 150_000) as usize], eta);
            assert!(now >= last && now <= 99, "{ms} ms: {last} then {now}");
            last = now;
        }
    }
}
