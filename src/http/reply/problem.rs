//! Problem documents (RFC 9457): what programs are told.

use http::StatusCode;

use super::{PROBLEM, Reply, later, spoken, typed};
use crate::engine::time::Time;
use crate::engine::view::View;
use crate::page::{self, Lang};

/// One for whoever writes the program: what was wrong with a request, or whether it was sent on. English, so that it
/// reads the same in every log.
pub(super) fn trouble_json(
    status: StatusCode,
    view: &View,
    now: Time,
    kind: &str,
    detail: &str,
) -> Reply {
    let said = Said {
        title: status.canonical_reason().unwrap_or_default(),
        detail,
        lang: Lang::ENGLISH,
    };
    problem(status, view, page::retry_after(view, now), kind, said)
}

/// What a problem document says to people.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) title: &'a str,
    pub(super) detail: &'a str,
    pub(super) lang: Lang,
}

/// A document.
pub(super) fn problem(
    status: StatusCode,
    view: &View,
    wait_s: u32,
    kind: &str,
    said: Said<'_>,
) -> Reply {
    let body = serde_json::json!({
        "type": format!("urn:anteroom:{kind}"),
        "title": said.title,
        "status": status.as_u16(),
        "detail": said.detail,
        "phase": view.phase.as_str(),
        "retry_after": wait_s,
    });
    let body = body.to_string().into();
    let reply = typed(status, view.phase.as_str(), PROBLEM, body);
    later(spoken(reply, said.lang), wait_s)
}
