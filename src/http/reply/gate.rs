//! The answers to a wish to wake that must show more than a nonce.

use http::StatusCode;

use super::{PROBLEM, Reply, html, ours, trouble_json, typed};
use crate::engine::time::Time;
use crate::engine::view::{Phase, View};
use crate::http::body::Body;
use crate::http::challenge::Demand;
use crate::http::room::Found;
use crate::page::{self, Lang};

/// The wake must be asked for with the solution of a challenge: the script, or a program, gets it with the nonce that it
/// is for.
pub(in crate::http) fn challenge(view: &View, nonce: &str, demand: &Demand) -> Reply {
    let body = serde_json::json!({
        "type": "urn:anteroom:challenge",
        "title": "Conflict",
        "status": 409,
        "detail": "Solve the challenge, or wait, and ask again.",
        "nonce": nonce,
        "challenge": demand.challenge,
        "or": demand.or,
    });
    let body = body.to_string().into();
    typed(StatusCode::CONFLICT, view.phase.as_str(), PROBLEM, body)
}

/// The same for a browser without our script: it gets the other way in.
pub(in crate::http) fn challenge_page(
    found: &Found,
    phase: Phase,
    lang: Lang,
    carried: page::Carried<'_>,
    demand: &Demand,
) -> Reply {
    let page = page::challenge(lang, &found.host, carried, demand.or.wait, demand.early);
    html(StatusCode::CONFLICT, phase.as_str(), &page)
}

/// What was owed is proven.
pub(in crate::http) fn proof_taken(phase: Phase) -> Reply {
    ours(StatusCode::NO_CONTENT, phase.as_str(), Body::empty())
}

/// It is not, or nothing was owed.
pub(in crate::http) fn proof_wrong(view: &View, now: Time) -> Reply {
    let detail = "This proves nothing that is owed.";
    trouble_json(StatusCode::CONFLICT, view, now, "no-proof", detail)
}
