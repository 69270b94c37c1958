//! Waiting for what happens beside the test, with a deadline.

use std::panic::Location;
use std::time::Duration;

/// How often [`eventually`] looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `check` answers true; fails the test, naming its line, when the deadline passes first.
#[track_caller]
pub(crate) fn eventually<F, Answer>(within: Duration, mut check: F) -> impl Future<Output = ()>
where
    F: FnMut() -> Answer,
    Answer: Future<Output = bool>,
{
    let asked_at = Location::caller();
    async move {
        let deadline = tokio::time::Instant::now() + within;
        while !check().await {
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "{asked_at}: not within {within:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
