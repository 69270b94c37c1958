//! Our own paths, under `/__anteroom/` on every hostname. The room always answers them itself, also when the app
//! is awake.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::body::BodyError;
use super::events;
use super::head::Head;
use super::reply::{self, Reply};
use super::room::Room;
use super::visit::{self, Visit};
use crate::driver::admission::Refusal;
use crate::driver::handle::Command;
use crate::engine::contract::TriggerBy;
use crate::engine::route::{Form, Kind};
use crate::page;
use crate::telemetry::metrics;

/// Where our paths begin.
pub(super) const PREFIX: &str = "/__anteroom/";

/// Where Traefik's errors middleware leads.
pub(super) const ERROR: &str = "/__anteroom/error";

/// Where the events are.
pub(super) const EVENTS: &str = "/__anteroom/events";

/// The longest body of a wake: a nonce and, some day, a challenge's answer.
const WAKE_BODY_MAX: usize = 4 * 1024;

/// The time in which it must be here.
const WAKE_BODY_WAIT: Duration = Duration::from_secs(5);

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
        ("error", true) => error(room, &visit, &request),
        ("wake", _) if *request.method() == Method::POST => wake(room, visit, request).await,
        ("wake", _) => reply::wrong_method(view.phase, "POST"),
        ("ping" | "status" | "events" | "error", false) => reply::wrong_method(view.phase, "GET"),
        _ => reply::no_such_path(view.phase),
    }
}

/// Where Traefik's errors middleware leads: it could not reach the app, or the app itself said 502 to 504. If our
/// own probe finds the app well, it is the app that fails, and nobody sleeps. Else it crashed: the task is told
/// to look.
fn error<B>(room: &Room, visit: &Visit, request: &Request<B>) -> Reply {
    let (found, now) = (&visit.found, room.now());
    let view = found.site.handle.view();
    let well = view.healthy && !view.upstreams.is_empty();
    let status = request
        .uri()
        .query()
        .and_then(|query| field(query, "status"));
    let unreached = matches!(status.as_deref(), Some("502" | "504"));
    // Only Traefik itself asks without a chain; a visitor who types this path makes nobody look.
    if visit.seen.by_errors_path && (!well || unreached) {
        // Busy: it looks already.
        let _ = found.site.handle.command(Command::Suspect(None));
    }
    match well {
        true => match visit.seen.kind.form() {
            Form::Page | Form::UnsentPage => reply::unavailable(found, &view, now),
            form => reply::trouble(found, &view, now, form, reply::Trouble::Unreached),
        },
        false => visit.wait(room, visit.seen.kind.form()),
    }
}

/// Somebody asks for a wake.
async fn wake<B>(room: &Room, visit: Visit, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes, Error: Into<BodyError>>,
{
    let site = &visit.found.site;
    let handle = &site.handle;
    let (parts, body) = request.into_parts();
    let by_page = parts.headers.contains_key("x-anteroom-page");
    let as_page = !by_page && visit.seen.kind == Kind::Submission;
    let asked_host = parts.host().unwrap_or_default();
    if !same_origin(&parts.headers, asked_host) {
        return reply::wrong_origin(&handle.view(), room.now());
    }
    let form = match as_page {
        true => Form::Page,
        false => Form::Problem,
    };
    if let Some(rule) = site.admit.lists(visit.seen.hop.client) {
        metrics().refused(handle.service(), rule.as_str());
        let retry_after = None;
        let refusal = Refusal { rule, retry_after };
        return reply::refused(&visit.found, &handle.view(), form, refusal);
    }
    let body = Limited::new(body, WAKE_BODY_MAX).collect();
    let Ok(Ok(body)) = timeout(WAKE_BODY_WAIT, body).await else {
        return reply::bad_wake(&handle.view(), room.now());
    };
    let body = body.to_bytes();
    let said = |name| said(&body, name).unwrap_or_default();
    let nonce = said("nonce");
    let now = room.now();
    if room.keeper.check(handle.service(), &nonce, now).is_err() {
        let view = handle.view();
        return match as_page {
            true => {
                let page = visit.found.page(&view, now, &room.keeper, false);
                reply::nonce_stale_page(view.phase, &page)
            }
            false => reply::nonce_stale(&view, &room.keeper.nonce(handle.service(), now)),
        };
    }
    let back = back_to(&parts.headers, asked_host);
    // The script says which it was: its own doing, or a press of the button.
    let by = match by_page && said("by") != "click" {
        true => TriggerBy::Page,
        false => TriggerBy::Click,
    };
    let path = back.split('?').next().unwrap_or_default();
    let asked = visit
        .ask(room, by, path, visit::agent(&parts.headers))
        .await;
    let view = handle.view();
    if let Err(refusal) = asked {
        return reply::refused(&visit.found, &view, form, refusal);
    }
    match as_page {
        true => reply::wake_taken_back_to(view.phase, &back),
        false => reply::wake_taken(&view, now),
    }
}

/// A path as it may stand in the ledger: without query, and not endless.
pub(super) fn ledger_path(path: &str) -> String {
    path.chars().take(PATH_MAX).collect()
}

/// Whether the request was made by this site's own page. Browsers say so in `Sec-Fetch-Site` or `Origin`; who
/// sends neither is no browser, and holds a nonce by other means.
fn same_origin(headers: &http::HeaderMap, host: &str) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &header::HeaderValue| value.to_str().unwrap_or(""))
    };
    let site_fits = text("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let origin_fits = text("origin").is_none_or(|origin| {
        origin
            .split_once("://")
            .is_some_and(|(_, origin_host)| origin_host.eq_ignore_ascii_case(host))
    });
    site_fits && origin_fits
}

/// Where the form's sender came from: a path on this host, with its query. Never another host.
fn back_to(headers: &http::HeaderMap, host: &str) -> String {
    let referer = headers
        .get(header::REFERER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<http::Uri>().ok());
    let ours = referer.filter(|uri| {
        uri.authority()
            .is_some_and(|from| from.as_str().eq_ignore_ascii_case(host))
    });
    match ours.as_ref().and_then(|uri| uri.path_and_query()) {
        // "//elsewhere" would be another host, and our own paths are no place to be.
        Some(path) if is_place(path.as_str()) => path.as_str().to_owned(),
        _ => "/".to_owned(),
    }
}

fn is_place(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && !path.starts_with("/\\")
        && !path.starts_with(PREFIX)
}

/// A field of the body, which is a form or a JSON object.
fn said(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    match text.trim_start().starts_with('{') {
        true => {
            let json: serde_json::Value = serde_json::from_str(text).ok()?;
            Some(json.get(name)?.as_str()?.to_owned())
        }
        false => field(text, name),
    }
}

/// A field of a form or a query, percent-decoded.
fn field(form: &str, name: &str) -> Option<String> {
    let value = form
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> http::HeaderMap {
        [(
            header::HeaderName::from_static(name),
            value.parse().unwrap(),
        )]
        .into_iter()
        .collect()
    }

    #[test]
    fn the_way_back_stays_on_this_host() {
        for (referer, back) in [
            ("https://blog.test/a?b=c", "/a?b=c"),
            ("https://BLOG.test/", "/"),
            ("https://evil.test/a", "/"),
            ("https://blog.test//evil.test/", "/"),
            ("https://blog.test/\\evil.test/", "/"),
            ("https://blog.test@evil.test/a", "/"),
            ("javascript:alert(1)", "/"),
            ("https://blog.test/__anteroom/error?status=502", "/"),
            ("/a", "/"),
            ("", "/"),
        ] {
            assert_eq!(
                back_to(&headers("referer", referer), "blog.test"),
                back,
                "{referer}"
            );
        }
    }

    #[test]
    fn only_this_sites_own_page_may_ask() {
        for (name, value, fits) in [
            ("origin", "https://blog.test", true),
            ("origin", "http://blog.test", true),
            ("origin", "https://blog.test:8443", false),
            ("origin", "https://evil.test", false),
            ("origin", "null", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "none", false),
            ("accept", "*/*", true),
        ] {
            assert_eq!(
                same_origin(&headers(name, value), "blog.test"),
                fits,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn a_field_is_found_and_decoded() {
        assert_eq!(
            field("a=1&nonce=x%2By+z", "nonce").as_deref(),
            Some("x+y z")
        );
        assert_eq!(field("nonce=%zz", "nonce"), None);
        assert_eq!(field("nonce=%2", "nonce"), None);
        assert_eq!(field("nonce=%ff", "nonce"), None);
        assert_eq!(said(b"{\"nonce\":\"n\"}", "nonce").as_deref(), Some("n"));
        assert_eq!(said(b"{\"nonce\":1}", "nonce"), None);
    }
}
