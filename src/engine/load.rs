//! How busy an instance is, as a signal of load tells it.

use serde::{Deserialize, Serialize};

use super::id::InstanceId;
use super::time::Time;

/// A part of what one machine can do, in hundredths of a percent: 0 is idle, 10,000 is all of it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Share(u16);

impl Share {
    /// All of a machine.
    pub const WHOLE: Share = Share(10_000);

    /// So many hundredths of a percent; more than all counts as all.
    #[must_use]
    pub const fn hundredths(hundredths: u64) -> Share {
        match hundredths < 10_000 {
            true => Share(hundredths as u16),
            false => Share::WHOLE,
        }
    }

    /// So many percent; more than all counts as all.
    #[must_use]
    pub const fn percent(percent: u64) -> Share {
        Share::hundredths(percent.saturating_mul(100))
    }

    /// In hundredths of a percent.
    #[must_use]
    pub const fn in_hundredths(self) -> u64 {
        self.0 as u64
    }
}

/// How busy one instance was over the time that ended at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which instance.
    pub instance: InstanceId,
    /// The end of the time that it tells of, by the room's clock: how fresh it is.
    pub at: Time,
    /// How busy it was.
    pub busy: Share,
}

/// What an instance has used of its processors so far, as its provider counts it: two readings make a [`Sample`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Another number when the counters began anew.
    pub life: u64,
    /// The time that its processes ran, summed over all processors, in microseconds.
    pub used_micros: u64,
    /// The time that passed, by the clock of its host, in microseconds.
    pub passed_micros: u64,
    /// The processors that it may use, in thousandths; never zero.
    pub processors_milli: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_more_than_all() {
        assert_eq!(Share::percent(70).in_hundredths(), 7_000);
        assert_eq!(Share::percent(101), Share::WHOLE);
        assert_eq!(Share::percent(u64::MAX), Share::WHOLE);
        assert_eq!(Share::hundredths(9_999).in_hundredths(), 9_999);
    }
}
