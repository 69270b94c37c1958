//! The one place where the time is read: wall-clock milliseconds that never run backwards within a process.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::engine::time::{Span, Time};

/// A wall clock taken once and carried forward by the monotonic clock, so a step of the system's clock moves
/// nothing.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Time,
    started: Instant,
}

impl Clock {
    /// Reads the system's clock.
    #[must_use]
    pub fn system() -> Clock {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            origin: Time(0) + Span::from(since_epoch),
            started: Instant::now(),
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.origin + Span::from(self.started.elapsed())
    }

    /// The instant at which [`now`](Clock::now) will say `at`.
    #[must_use]
    pub fn instant(&self, at: Time) -> Instant {
        self.started + at.since(self.origin).into()
    }
}
