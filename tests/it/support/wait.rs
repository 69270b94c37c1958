//! Waiting for what happens beside the test, with a deadline.

use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
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

/// Below the range from which the system takes the ports of outgoing connections, so that none of the thousands
/// that tests make takes the port while its listener is off.
const PORTS: std::ops::Range<u16> = 16_384..32_000;

/// A port of loopback that is free, and that no other caller in this process gets.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let width = u32::from(PORTS.end - PORTS.start);
    for _ in 0..width {
        // Two test processes start far from each other.
        let step = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = PORTS.start + u16::try_from(step % width).expect("within the range");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("loopback has no free port");
}
