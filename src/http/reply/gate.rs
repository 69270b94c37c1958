//! The answers to a wish to wake that must show more than a nonce.

use http::StatusCode;

use super::{PROBLEM, Reply, html, ours, trouble_json, typed};
use crate::engine::time::Time;
use crate::engine::view::{Phase, View};
use crate::http::body::Body;
use crate::http::challenge::Demand;
use crate::http::room::Found;
use crate::page::sheet::Coding;
use crate::page::{self, Lang, Sheet, Tried};

/// The wake must be asked for with the solution of a challenge: the script, or a program, gets it with the nonce that it
/// is for.
pub(in crate::http) fn challenge(view: &View, nonce: &str, demand: &Demand) -> Reply {
    let detail = match demand.tried {
        Tried::Nothing => "Solve the challenge, or wait, and ask again.",
        Tried::TooSoon => "It is too soon. Wait, or solve the challenge, and ask again.",
        Tried::Unchecked => "That could not be checked now. Wait, and ask again.",
        Tried::Wrong => "That was wrong. Solve this challenge, or wait, and ask again.",
    };
    let body = serde_json::json!({
        "type": "urn:anteroom:challenge",
        "title": "Conflict",
        "status": 409,
        "detail": detail,
        "nonce": nonce,
        "challenge": demand.puzzle,
        "or": demand.or,
    });
    let body = body.to_string().into();
    typed(StatusCode::CONFLICT, view.phase.as_str(), PROBLEM, body)
}

/// The same for a browser without our script: it gets the challenge's own page, which is made for it
/// alone.
pub(in crate::http) fn challenge_page(
    found: &Found,
    phase: Phase,
    lang: Lang,
    packed: bool,
    asked: page::Asked<'_>,
) -> Reply {
    let mut page = found.themed(page::challenge(lang, found.theme(), &found.host, asked));
    if let Some(sheet) = packed.then(|| Sheet::gzip(&page.html)).flatten() {
        page.html = sheet.whole("");
        page.coding = Coding::Gzip;
    }
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
