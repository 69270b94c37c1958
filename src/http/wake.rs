//! A visitor's wish to wake a service, as the page's script, its form or a program posts it: what it must bring, and
//! what it is told.
//!
//! In this order: it comes from this site's own page, from an address that the lists let through; it is one of our
//! forms, whole and in time; its nonce is ours, and what the service's challenge asks for is there. Then
//! [`admission`](crate::driver::admission) rules.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use tokio::time::timeout;

use super::body::BodyError;
use super::challenge::{self, Brought, Challenger, Passed};
use super::head::Head;
use super::manner::Manner;
use super::paths::PREFIX;
use super::reply::{self, Reply};
use super::room::Room;
use super::still;
use super::visit::{self, Visit};
use crate::driver::admission::{Refusal, Taken};
use crate::engine::admit::Rule;
use crate::engine::client;
use crate::engine::contract::TriggerBy;
use crate::engine::route::{Form, Kind};
use crate::page::sheet::Coding;
use crate::telemetry::metrics;

const SEC_FETCH_SITE: header::HeaderName = header::HeaderName::from_static("sec-fetch-site");

/// The longest body of a wake: a nonce, a challenge and its answer, and the way back.
pub(super) const BODY_MAX: usize = 4 * 1024;

/// The time in which it must be here.
pub(super) const BODY_WAIT: Duration = Duration::from_secs(5);

/// The longest way back, in bytes.
const BACK_MAX: usize = 2_000;

/// What a form or a JSON object says. What is not there is empty; what else it says means nothing.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Said {
    nonce: String,
    by: String,
    challenge: String,
    answer: String,
    or: String,
    back: String,
}

/// Who posts, and how.
struct Sender {
    by_script: bool,
    /// A browser without our script: it gets pages.
    as_page: bool,
    host: String,
    referer: Option<String>,
    agent: String,
}

impl Sender {
    /// How it is answered.
    fn manner(&self, visit: &Visit) -> Manner {
        visit.manner().in_form(match self.as_page {
            true => Form::Page,
            false => Form::Problem,
        })
    }
}

/// Somebody asks for a wake.
pub(super) async fn ask<B>(room: &Room, visit: Visit, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes, Error: Into<BodyError>>,
{
    let handle = &visit.found.site.handle;
    let (sender, said) = match posted(room, &visit, request).await {
        Ok(posted) => posted,
        Err(reply) => return reply,
    };
    let now = room.now();
    let back = way_back(&sender, &said);
    let host = &visit.found.host;
    let checked = room.keeper.check(handle.service(), host, &said.nonce, now);
    let Ok(serial) = checked else {
        return stale(room, &visit, &sender, &back);
    };
    let passed = match challenge::look(room, &visit, said.brought(&sender, serial)).await {
        Ok(passed) => passed,
        Err(demand) => {
            if !said.answer.is_empty() {
                let path = back.split('?').next().unwrap_or_default();
                visit.unproven(room, path, &sender.agent).await;
            }
            let view = handle.view();
            return match sender.as_page {
                true => {
                    let manner = sender.manner(&visit);
                    let packed = manner.coding == Coding::Gzip && room.stock.may_pack(room.now());
                    let asked = demand.asked(&said.nonce, &back);
                    reply::challenge_page(&visit.found, view.phase, manner.lang, packed, asked)
                }
                false => reply::challenge(&view, &said.nonce, &demand),
            };
        }
    };
    // The script says which it was: its own doing, or a press of the button.
    let by = match sender.by_script && said.by != "click" {
        true => TriggerBy::Page,
        false => TriggerBy::Click,
    };
    let path = back.split('?').next().unwrap_or_default();
    let asked = visit.ask(room, by, path, &sender.agent, Some(serial)).await;
    let owed = match (passed, asked) {
        (Passed::Owing(puzzle), Ok(Taken::Woke)) => Some(puzzle),
        (Passed::Owing(puzzle), _) => {
            if let Some(challenger) = &visit.found.site.challenger {
                challenger.forgive(&puzzle, now);
            }
            None
        }
        (Passed::Free, _) => None,
    };
    if asked.is_err_and(|refusal| refusal.rule == Rule::Spent) {
        return stale(room, &visit, &sender, &back);
    }
    let view = handle.view();
    if let Err(refusal) = asked {
        return reply::refused(room, &visit.found, &view, sender.manner(&visit), refusal);
    }
    match sender.as_page {
        true => reply::see_other(view.phase, &back),
        false => reply::wake_taken(&view, now, owed.as_ref()),
    }
}

/// The nonce does not count, or not any more: here is a fresh one, which the page's script uses by itself.
fn stale(room: &Room, visit: &Visit, sender: &Sender, back: &str) -> Reply {
    let (handle, now) = (&visit.found.site.handle, room.now());
    let view = handle.view();
    match sender.as_page {
        // To the page as it is now, at its own address: here it would be at one that nobody can load again.
        true => reply::see_other(view.phase, back),
        false => {
            let host = &visit.found.host;
            let nonce = room.keeper.nonce(handle.service(), host, now);
            reply::nonce_stale(&view, nonce.as_str())
        }
    }
}

/// Somebody proves what was owed for a wake on credit.
pub(super) async fn prove<B>(room: &Room, visit: Visit, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes, Error: Into<BodyError>>,
{
    let (sender, said) = match posted(room, &visit, request).await {
        Ok(posted) => posted,
        Err(reply) => return reply,
    };
    let view = visit.found.site.handle.view();
    match challenge::settles(room, &visit, said.brought(&sender, 0)) {
        true => reply::proof_taken(view.phase),
        false => {
            visit.unproven(room, "", &sender.agent).await;
            reply::proof_wrong(&view, room.now())
        }
    }
}

/// What was posted, if this sender may post here at all.
///
/// # Errors
/// The answer that says why not.
async fn posted<B>(room: &Room, visit: &Visit, request: Request<B>) -> Result<(Sender, Said), Reply>
where
    B: Body<Data = Bytes, Error: Into<BodyError>>,
{
    let site = &visit.found.site;
    let handle = &site.handle;
    let (parts, body) = request.into_parts();
    let by_script = parts.headers.contains_key("x-anteroom-page");
    let text = |name| parts.headers.get(name)?.to_str().ok();
    let sender = Sender {
        by_script,
        as_page: !by_script && visit.seen.kind == Kind::Submission,
        host: parts.host().unwrap_or_default().to_owned(),
        referer: text(header::REFERER).map(str::to_owned),
        agent: visit::agent(&parts.headers).to_owned(),
    };
    if !same_origin(&parts.headers, &sender.host) {
        return Err(reply::wrong_origin(&handle.view(), room.now()));
    }
    if let Some(rule) = site.admit.lists(visit.seen.hop.client) {
        metrics().refused(handle.service(), rule.as_str());
        let retry_after = None;
        let refusal = Refusal { rule, retry_after };
        let (view, manner) = (handle.view(), sender.manner(visit));
        return Err(reply::refused(room, &visit.found, &view, manner, refusal));
    }
    if !is_form_of_ours(&parts.headers) {
        return Err(reply::wrong_type(&handle.view(), room.now()));
    }
    let more = site.challenger.as_ref().map_or(0, Challenger::more_body);
    let body = Limited::new(body, BODY_MAX + more).collect();
    let bad = || reply::bad_wake(&handle.view(), room.now());
    let Ok(Ok(body)) = timeout(BODY_WAIT, body).await else {
        return Err(bad());
    };
    let said = Said::read(&body.to_bytes()).ok_or_else(bad)?;
    // A press of the page's button by a browser that names no HTML in its Accept: Links, Dillo, Internet Explorer 8.
    let as_page = sender.as_page || (!by_script && said.by == "click");
    // It runs the page's script as a browser does, and tells that nobody sits before it.
    if by_script && said.by != "click" && client::says_it_is_a_program(&sender.agent) {
        return Err(reply::program(&handle.view(), room.now()));
    }
    Ok((Sender { as_page, ..sender }, said))
}

impl Said {
    fn brought<'a>(&'a self, sender: &Sender, serial: u64) -> Brought<'a> {
        Brought {
            nonce: &self.nonce,
            serial,
            challenge: &self.challenge,
            answer: &self.answer,
            or: &self.or,
            by_script: sender.by_script,
        }
    }

    /// Reads a form or a JSON object; none where it is neither, or says one thing twice.
    fn read(body: &[u8]) -> Option<Said> {
        let text = std::str::from_utf8(body).ok()?;
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).ok();
        }
        let one = |name| match names(text, name) {
            0 => Some(String::new()),
            1 => field(text, name),
            _ => None,
        };
        Some(Said {
            nonce: one("nonce")?,
            by: one("by")?,
            challenge: one("challenge")?,
            answer: one("answer")?,
            or: one("or")?,
            back: one("back")?,
        })
    }
}

/// Whether the body is of a type that is understood here, or of none that is told.
fn is_form_of_ours(headers: &http::HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let kind = value.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let ours = ["application/x-www-form-urlencoded", "application/json"];
    let more = headers.get_all(header::CONTENT_TYPE).iter().count() > 1;
    !more && ours.iter().any(|known| kind.eq_ignore_ascii_case(known))
}

/// Where the form's sender came from: what the challenge's page took along, else the page that it says it was on.
fn way_back(sender: &Sender, said: &Said) -> String {
    match is_place(&said.back) {
        true => said.back.clone(),
        false => back_to(sender.referer.as_deref(), &sender.host),
    }
}

/// Whether a request was made by this site's own page.
pub(super) fn is_same_origin(request: &http::request::Parts) -> bool {
    same_origin(&request.headers, request.host().unwrap_or_default())
}

/// Whether the request was made by this site's own page. Browsers say so in `Sec-Fetch-Site` or `Origin`; who
/// sends neither is no browser, and holds a nonce by other means. Of several lines each must say it. A browser that is
/// told never to send a `Referer` hides its `Origin` too: then `Sec-Fetch-Site`, which no page can forge, must be there.
fn same_origin(headers: &http::HeaderMap, host: &str) -> bool {
    let all = |name, fits: &dyn Fn(&str) -> bool| {
        let mut lines = headers.get_all::<header::HeaderName>(name).iter();
        lines.all(|value| value.to_str().is_ok_and(fits))
    };
    let is_ours = |origin: &str| {
        origin
            .split_once("://")
            .is_some_and(|(_, origin_host)| origin_host.eq_ignore_ascii_case(host))
    };
    let told = headers.contains_key(SEC_FETCH_SITE);
    let fits = |origin: &str| is_ours(origin) || (told && origin == "null");
    all(SEC_FETCH_SITE, &|site| site == "same-origin") && all(header::ORIGIN, &fits)
}

/// Where the form's sender came from: a path on this host, with its query. Never another host.
pub(super) fn back_to(referer: Option<&str>, host: &str) -> String {
    let referer = referer.and_then(|text| text.parse::<http::Uri>().ok());
    let ours = referer.filter(|uri| {
        uri.authority()
            .is_some_and(|from| from.as_str().eq_ignore_ascii_case(host))
    });
    match ours.as_ref().and_then(|uri| uri.path_and_query()) {
        Some(path) if is_place(path.as_str()) || still::is_here(path.as_str()) => {
            path.as_str().to_owned()
        }
        _ => "/".to_owned(),
    }
}

/// A path on this host that may stand in `Location`. "//elsewhere" would be another host, and so would "/\elsewhere"
/// and, to a browser, "/", a tab, "/elsewhere"; our own paths are no place to be.
pub(super) fn is_place(path: &str) -> bool {
    path.len() <= BACK_MAX
        && path.starts_with('/')
        && !path.starts_with("//")
        && !path.starts_with(PREFIX)
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// How many times a form says this name.
fn names(form: &str, name: &str) -> usize {
    let said = form
        .split('&')
        .map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    said.filter(|said| *said == name).count()
}

/// A field of a form or a query, percent-decoded.
pub(super) fn field(form: &str, name: &str) -> Option<String> {
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
            assert_eq!(back_to(Some(referer), "blog.test"), back, "{referer}");
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
    fn a_browser_that_hides_its_origin_must_say_by_itself_where_it_comes_from() {
        for (site, fits) in [
            ("same-origin", true),
            ("cross-site", false),
            ("none", false),
        ] {
            let mut both = headers("origin", "null");
            both.extend(headers("sec-fetch-site", site));
            assert_eq!(same_origin(&both, "blog.test"), fits, "{site}");
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
    }

    #[test]
    fn a_form_says_a_thing_once() {
        let nonce = |text: &str| Said::read(text.as_bytes()).map(|said| said.nonce);
        for (body, found) in [
            ("", Some("")),
            ("nonce", None),
            ("nonce=a", Some("a")),
            ("x=1&x=2&nonce=a", Some("a")),
            ("nonce=a&nonce=a", None),
            ("nonce=a&by=x&by", None),
            ("nonce=%zz", None),
            ("{\"nonce\":\"a\",\"x\":[1]}", Some("a")),
            ("{\"nonce\":\"a\",\"nonce\":\"a\"}", None),
            ("{\"nonce\":1}", None),
            ("{", None),
        ] {
            assert_eq!(nonce(body).as_deref(), found, "{body}");
        }
        assert_eq!(Said::read(b"nonce=\xff"), None);
    }
}
