//! The answers to the waiting page that asks whether it is its turn.

use bytes::Bytes;
use serde_json::json;

use super::{Reply, json as as_json};
use crate::engine::view::Phase;
use crate::http::ramp::Told;

/// What the page is told: `go`, or `wait`.
pub(in crate::http) fn turn(phase: Phase, told: Told) -> Reply {
    let body = match told {
        Told::Free => json!({ "turn": "go", "open": false }),
        Told::Go { opens } => json!({ "turn": "go", "open": opens, "paced": true }),
        Told::Wait(None) => json!({ "turn": "wait" }),
        Told::Wait(Some((ticket, wait))) => {
            json!({ "turn": "wait", "ticket": ticket, "wait_ms": wait.0 })
        }
    };
    as_json(phase, Bytes::from(body.to_string()))
}
