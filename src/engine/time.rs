//! Time as the engine sees it: whole milliseconds, passed in, never read from a clock.
//!
//! [`Time`] is a point on the wall clock (so that a record read after a restart still means something),
//! [`Span`] a length of time. Arithmetic saturates: a clock that jumps can make a span zero, never negative.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub u64);

/// A length of time, in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(pub u64);

impl Time {
    /// The time that passed since `earlier`; zero when `earlier` lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

/// A day, in milliseconds.
pub(super) const DAY_MS: u64 = 86_400_000;

impl Time {
    /// The time of day, `14:02:09 UTC`, and the date before it where that is not the day of `now`.
    #[must_use]
    pub fn clock(self, now: Time) -> String {
        let secs = self.0 % DAY_MS / 1_000;
        let (hours, mins, secs) = (secs / 3_600, secs / 60 % 60, secs % 60);
        let time = format!("{hours:02}:{mins:02}:{secs:02} UTC");
        match self.0 / DAY_MS == now.0 / DAY_MS {
            true => time,
            false => format!("{} {time}", date(self.0 / DAY_MS)),
        }
    }
}

/// The date of a day since the epoch, in the Gregorian calendar: counted from 1 March of the year 0, so that the day that
/// some years have and others don't is the last of its year.
fn date(day: u64) -> String {
    const DAYS_TO_EPOCH: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let day = day + DAYS_TO_EPOCH;
    let (round, day) = (day / DAYS_OF_400_YEARS, day % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!("{:04}-{month:02}-{of_month:02}", 400 * round + year + next)
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// Longer than any service will live.
    pub const FOREVER: Span = Span(u64::MAX);

    /// A span of whole seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Span {
        Span(secs.saturating_mul(1_000))
    }

    /// A span of whole minutes.
    #[must_use]
    pub const fn mins(mins: u64) -> Span {
        Span(mins.saturating_mul(60_000))
    }

    /// A span of milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Span {
        Span(millis)
    }

    /// The length in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The length in seconds, for people and for metrics.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        Duration::from(self).as_secs_f64()
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        Duration::from_millis(span.0)
    }
}

impl fmt::Display for Span {
    /// Reads like the configuration: `350ms`, `24s`, `30m`, `1h 5m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, mins, secs) = (
            self.0 / 3_600_000,
            self.0 / 60_000 % 60,
            self.0 / 1_000 % 60,
        );
        match self.0 {
            0 => write!(f, "0s"),
            ms if ms < 1_000 => write!(f, "{ms}ms"),
            ms if ms < 10_000 && ms % 1_000 >= 100 => write!(f, "{}.{}s", secs, ms % 1_000 / 100),
            ms if ms < 60_000 => write!(f, "{secs}s"),
            ms if ms < 3_600_000 && secs == 0 => write!(f, "{mins}m"),
            ms if ms < 3_600_000 => write!(f, "{mins}m {secs}s"),
            _ if mins == 0 => write!(f, "{hours}h"),
            _ => write!(f, "{hours}h {mins}m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_becomes_negative() {
        assert_eq!(Time(5).since(Time(9)), Span::ZERO);
        assert_eq!(Time(5) - Span(9), Time(0));
        assert_eq!(Time(u64::MAX) + Span(1), Time(u64::MAX));
    }

    #[test]
    fn a_moment_has_a_date_where_it_is_of_another_day() {
        let now = Time(1_795_248_000_000);
        assert_eq!(now.clock(now), "08:00:00 UTC");
        assert_eq!((now - Span::mins(60 * 8)).clock(now), "00:00:00 UTC");
        let yesterday = now - Span::mins(60 * 8 + 1);
        assert_eq!(yesterday.clock(now), "2026-11-20 23:59:00 UTC");
        for (day, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_782, "2024-02-29"),
            (20_818, "2026-12-31"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(day), expected);
        }
    }

    #[test]
    fn spans_read_like_the_configuration() {
        let shown = |ms| Span(ms).to_string();
        assert_eq!(shown(350), "350ms");
        assert_eq!(shown(6_200), "6.2s");
        assert_eq!(shown(24_000), "24s");
        assert_eq!(shown(1_800_000), "30m");
        assert_eq!(shown(3_900_000), "1h 5m");
    }
}
