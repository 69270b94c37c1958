//! Which instances a request is sent to, until one of them answers.
//!
//! It comes in at the instance that has the fewest (`signal::edge`). One that takes no connection has seen nothing, so any
//! request may go to another. One that breaks off may have seen it: only what is idempotent and without a body goes to
//! another then, and everything else is told to the visitor. Each instance is asked once, and the task hears of each that failed.

use super::forward::{self, Miss, Outgoing};
use super::reply::{Reply, Trouble};
use super::room::Room;
use crate::driver::handle::{Command, Handle};
use crate::engine::contract::Upstream;
use crate::signal::edge::{Pass, Stay};
use crate::telemetry::metrics;

/// Instances that are asked for one request. More would be a visitor waiting for machines that are all in trouble.
const ASKED_MAX: usize = 3;

/// Sends a request to the instance that it came in at, and to others where it may.
pub(super) async fn forward(
    room: &Room,
    handle: &Handle,
    (mut upstream, mut pass): (Upstream, Pass),
    stay: Stay,
    mut outgoing: Outgoing,
) -> Result<Reply, Trouble> {
    let mut tried = Vec::new();
    loop {
        // Where there is one instance only, nothing is copied.
        let spare = match pass.has_choice() {
            true => outgoing.spare(),
            false => None,
        };
        let (miss, missed) = match forward::forward(room, upstream, pass, outgoing).await {
            Ok(reply) => return Ok(reply),
            Err(missed) => missed,
        };
        // Busy: it looks already.
        let _ = handle.command(Command::Suspect(Some(upstream.instance)));
        let (trouble, again) = match miss {
            Miss::Unreached(outgoing) => {
                missed.refused();
                (Trouble::Unreached, Some(*outgoing))
            }
            Miss::Broken => (Trouble::Broken, spare),
            Miss::Lost => (Trouble::Broken, None),
        };
        tried.push(upstream);
        let again = again.filter(|_| tried.len() < ASKED_MAX);
        let Some(again) = again else {
            return Err(trouble);
        };
        let Some(other) = missed.elsewhere(stay, &tried) else {
            return Err(trouble);
        };
        metrics().moved(handle.service());
        (upstream, pass) = other;
        outgoing = again;
    }
}
