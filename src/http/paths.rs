//! Our own paths, under `/__anteroom/` on every hostname. The room always answers them itself, also when the app
//! is awake.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body::Body;

use super::body::BodyError;
use super::events;
use super::ramp;
use super::reply::{self, Reply};
use super::room::Room;
use super::still;
use super::visit::Visit;
use super::wake;
use crate::driver::handle::Command;
use crate::page;

/// Where our paths begin.
pub(super) const PREFIX: &str = "/__anteroom/";

/// Where Traefik's errors middleware leads.
pub(super) const ERROR: &str = "/__anteroom/error";

/// Where the events are.
pub(super) const EVENTS: &str = "/__anteroom/events";

/// The longest path that is written into the ledger.
const PATH_MAX: usize = 200;

/// Answers a request for one of our paths; `path` is what follows the prefix.
pub(super) async fn answer<B>(room: &Arc<Room>, visit: Visit, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes, Error: Into<BodyError>>,
{
    let view = visit.found.site.handle.view();
    let now = room.now();
    let name = request
        .uri()
        .path()
        .strip_prefix(PREFIX)
        .unwrap_or_default();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match (name, reads) {
        ("ping", true) => reply::pong(view.phase),
        ("status", true) => reply::json(view.phase, page::status_json(&view, now)),
        ("events", true) => match *request.method() == Method::GET {
            true => {
                let frames = events::frames(room, &visit.found, visit.waits());
                reply::events(view.phase, frames)
            }
            false => reply::wrong_method(view.phase, "GET"),
        },
        ("still", true) => still::answer(room, &visit, &request.into_parts().0),
        ("error", true) => error(room, &visit, &request),
        ("wake", _) if *request.method() == Method::POST => wake::ask(room, visit, request).await,
        ("proof", _) if *request.method() == Method::POST => {
            wake::prove(room, visit, request).await
        }
        ("turn", _) if *request.method() == Method::POST => {
            ramp::answer(room, &visit, &request.into_parts().0).await
        }
        ("wake" | "proof" | "turn", _) => reply::wrong_method(view.phase, "POST"),
        ("ping" | "status" | "events" | "still" | "error", false) => {
            reply::wrong_method(view.phase, "GET")
        }
        _ => reply::no_such_path(view.phase),
    }
}

/// Where Traefik's errors middleware leads: it could not reach the app, or the app itself said 502 to 504. If our
/// own probe finds the app well, it is the app that fails, and nobody sleeps. Else it crashed: the task is told
/// to look.
fn error<B>(room: &Room, visit: &Visit, request: &Request<B>) -> Reply {
    let found = &visit.found;
    let view = found.site.handle.view();
    let well = view.healthy && !view.upstreams.is_empty();
    let status = request
        .uri()
        .query()
        .and_then(|query| wake::field(query, "status"));
    let unreached = matches!(status.as_deref(), Some("502" | "504"));
    // Only Traefik itself asks without a chain; a visitor who types this path makes nobody look.
    if visit.seen.by_errors_path && (!well || unreached) {
        // Busy: it looks already.
        let _ = found.site.handle.command(Command::Suspect(None));
    }
    match well {
        true => {
            let (manner, what) = (visit.manner(), reply::Trouble::Unreached);
            reply::trouble(room, found, &view, manner, what)
        }
        false => visit.wait(room, visit.seen.kind.form()),
    }
}

/// A path as it may stand in the ledger: without query, and not endless.
pub(super) fn ledger_path(path: &str) -> String {
    path.chars().take(PATH_MAX).collect()
}
