//! The answers that are ours: the only place that picks status codes. All of them carry `X-Anteroom`, so that a
//! browser can tell them from the app's, and none may be kept by a cache or an index.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::body::{Body, Frames};
use super::challenge::Puzzle;
use super::copies::Copy;
use super::manner::Manner;
use super::plains::Kind;
use super::room::{Found, Room};
use crate::driver::admission::Refusal;
use crate::engine::route::Form;
use crate::engine::time::Time;
use crate::engine::view::{Phase, View};
use crate::page::sheet::Coding;
use crate::page::{self, Lang, Page};
use problem::{Said, problem, trouble_json};

mod gate;
mod problem;
mod turn;

pub(super) use gate::{challenge, challenge_page, proof_taken, proof_wrong};
pub(super) use turn::turn;

/// Marks our answers; an app's never carry it.
pub(super) const MARK: HeaderName = HeaderName::from_static("x-anteroom");

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_WEB: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// When a denied client may look again whether somebody else has woken the service, in seconds.
const DENIED_WAIT_S: u32 = 60;

/// An answer.
pub(super) type Reply = Response<Body>;

/// What a client is told when it can't be served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The app can't be reached; the request was not sent.
    Unreached,
    /// The app broke off before it answered; it may have seen the request.
    Broken,
    /// The client was kept waiting, and the app did not come in time.
    TooLate,
    /// No memory to keep one more request waiting.
    TooMany,
    /// The body is too big to be kept waiting.
    TooBig,
    /// The client may not wake the service now.
    Refused(Refusal),
}

fn ours(status: StatusCode, mark: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.reserve(16);
    headers.insert(MARK, HeaderValue::from_static(mark));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::VARY,
        HeaderValue::from_static(
            "Accept, Accept-Encoding, Accept-Language, Sec-Fetch-Mode, Sec-Fetch-Dest",
        ),
    );
    headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    reply
}

fn with(mut reply: Reply, name: HeaderName, value: HeaderValue) -> Reply {
    reply.headers_mut().insert(name, value);
    reply
}

/// Words in one language.
fn spoken(reply: Reply, lang: Lang) -> Reply {
    let tag = HeaderValue::from_static(lang.tag());
    with(reply, header::CONTENT_LANGUAGE, tag)
}

fn typed(status: StatusCode, mark: &'static str, kind: HeaderValue, body: Bytes) -> Reply {
    with(ours(status, mark, body.into()), header::CONTENT_TYPE, kind)
}

fn html(status: StatusCode, mark: &'static str, page: &Page) -> Reply {
    let reply = typed(status, mark, HTML, page.html.clone());
    let reply = match page.coding {
        Coding::Plain => spoken(reply, page.lang),
        Coding::Gzip => {
            let gzip = HeaderValue::from_static("gzip");
            with(spoken(reply, page.lang), header::CONTENT_ENCODING, gzip)
        }
    };
    with(reply, header::CONTENT_SECURITY_POLICY, page.csp.clone())
}

fn later(reply: Reply, seconds: u32) -> Reply {
    with(reply, header::RETRY_AFTER, HeaderValue::from(seconds))
}

/// This connection's last answer.
pub(super) fn last(reply: Reply) -> Reply {
    with(reply, header::CONNECTION, HeaderValue::from_static("close"))
}

/// The service isn't there yet.
pub(super) fn wait(
    found: &Found,
    view: &View,
    now: Time,
    manner: Manner,
    page: impl FnOnce() -> Page,
) -> Reply {
    let mark = view.phase.as_str();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let reply = match manner.form {
        Form::Page | Form::UnsentPage => html(status, mark, &page()),
        Form::Problem => {
            let body = page::problem_json(view, now, &found.host, manner.lang);
            spoken(typed(status, mark, PROBLEM, body), manner.lang)
        }
        Form::UnsentProblem => {
            let detail = "The service is not awake. The request was not sent to it.";
            return trouble_json(status, view, now, "not-sent", detail);
        }
        Form::Empty => ours(status, mark, Body::empty()),
        Form::Grpc => return grpc(mark, GRPC),
        Form::GrpcWeb => return grpc(mark, GRPC_WEB),
    };
    later(reply, page::retry_after(view, now))
}

/// The service sleeps, and this client may not wake it.
pub(super) fn deny(room: &Room, found: &Found, view: &View, manner: Manner) -> Reply {
    wait(found, view, room.now(), manner, || {
        found.plain(room, manner, Kind::Denied)
    })
}

/// The service can't serve this request now.
pub(super) fn trouble(
    room: &Room,
    found: &Found,
    view: &View,
    manner: Manner,
    what: Trouble,
) -> Reply {
    let now = room.now();
    // Also for a body that is too big to be kept: the app itself may well take it, later.
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let (kind, detail) = match what {
        Trouble::Unreached => (
            "unreached",
            "The app can't be reached. The request was not sent to it.",
        ),
        Trouble::Broken => (
            "broken-off",
            "The app broke off before it answered. It may or may not have acted on the request.",
        ),
        Trouble::TooLate => (
            "too-late",
            "The app did not come in time. The request was not sent to it.",
        ),
        Trouble::TooMany => (
            "too-many",
            "Too many requests wait for the app. The request was not sent to it.",
        ),
        Trouble::TooBig => (
            "too-big",
            "The body is too big to be kept until the app is there.",
        ),
        Trouble::Refused(refusal) => return refused(room, found, view, manner, refusal),
    };
    match manner.form {
        Form::Page | Form::UnsentPage => unavailable(room, found, view, manner),
        Form::Problem | Form::UnsentProblem => trouble_json(status, view, now, kind, detail),
        Form::Empty => later(
            ours(status, view.phase.as_str(), Body::empty()),
            page::retry_after(view, now),
        ),
        Form::Grpc => grpc(view.phase.as_str(), GRPC),
        Form::GrpcWeb => grpc(view.phase.as_str(), GRPC_WEB),
    }
}

/// The app is awake and well, but this request got no good answer.
fn unavailable(room: &Room, found: &Found, view: &View, manner: Manner) -> Reply {
    let page = found.plain(room, manner, Kind::Unavailable);
    let reply = html(StatusCode::SERVICE_UNAVAILABLE, view.phase.as_str(), &page);
    later(reply, page::retry_after(view, room.now()))
}

/// "Unavailable", as gRPC clients understand it: an answer of headers only, with the status that makes them try
/// again.
fn grpc(mark: &'static str, kind: HeaderValue) -> Reply {
    let reply = ours(StatusCode::OK, mark, Body::empty());
    let reply = with(reply, header::CONTENT_TYPE, kind);
    let reply = with(
        reply,
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("14"),
    );
    with(
        reply,
        HeaderName::from_static("grpc-message"),
        HeaderValue::from_static("the service is not awake"),
    )
}

/// The client has had too many answers of ours: it gets the least that says so.
pub(super) fn held_off(phase: Phase, wait: Duration) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = reply.headers_mut();
    headers.insert(MARK, HeaderValue::from_static(phase.as_str()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let whole_seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
    later(reply, whole_seconds.max(1))
}

/// The last good copy of what the app gave for everybody; nothing but its head for a client that has it.
pub(super) fn copy(phase: Phase, copy: &Copy, had: bool, now: Time) -> Reply {
    let (status, body) = match had {
        true => (StatusCode::NOT_MODIFIED, Bytes::new()),
        false => (StatusCode::OK, copy.body.clone()),
    };
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(MARK, HeaderValue::from_static(phase.as_str()));
    // Where the app said nothing, a cache would guess; soon it may have the app's own answer.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=60"),
    );
    for (name, value) in &copy.lines {
        headers.insert(name, value.clone());
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let age = now.since(copy.taken).0 / 1_000;
    with(reply, header::AGE, HeaderValue::from(age))
}

/// The app has nothing there, as it said when it was awake.
pub(super) fn no_copy(phase: Phase) -> Reply {
    no_such_path(phase)
}

/// The request that a browser asks for beforehand may come.
pub(super) fn preflight(phase: Phase) -> Reply {
    ours(StatusCode::NO_CONTENT, phase.as_str(), Body::empty())
}

/// No site has this host.
pub(super) fn unknown_host(room: &Room, manner: Manner) -> Reply {
    let page = room.sites().unknown(room, manner);
    html(StatusCode::NOT_FOUND, "unknown", &page)
}

/// No path of ours.
pub(super) fn no_such_path(phase: Phase) -> Reply {
    plain(
        StatusCode::NOT_FOUND,
        phase.as_str(),
        "There is nothing here.\n",
    )
}

/// A path of ours, asked in the wrong way.
pub(super) fn wrong_method(phase: Phase, allow: &'static str) -> Reply {
    let reply = plain(
        StatusCode::METHOD_NOT_ALLOWED,
        phase.as_str(),
        "Not this way.\n",
    );
    with(reply, header::ALLOW, HeaderValue::from_static(allow))
}

/// The request contradicts itself.
pub(super) fn bad_request() -> Reply {
    let reply = plain(
        StatusCode::BAD_REQUEST,
        "unknown",
        "The request can't be understood.\n",
    );
    with(reply, header::CONNECTION, HeaderValue::from_static("close"))
}

/// We are no forward proxy.
pub(super) fn no_tunnel() -> Reply {
    plain(
        StatusCode::METHOD_NOT_ALLOWED,
        "unknown",
        "No CONNECT here.\n",
    )
}

fn plain(status: StatusCode, mark: &'static str, text: &'static str) -> Reply {
    let reply = typed(status, mark, TEXT, Bytes::from_static(text.as_bytes()));
    spoken(reply, Lang::ENGLISH)
}

/// The service is not there, and that is well: for a monitor that is known.
pub(super) fn asleep_and_well(phase: Phase) -> Reply {
    plain(StatusCode::OK, phase.as_str(), "asleep\n")
}

/// A document for scripts.
pub(super) fn json(phase: Phase, body: Bytes) -> Reply {
    typed(StatusCode::OK, phase.as_str(), JSON, body)
}

/// The room is here.
pub(super) fn pong(phase: Phase) -> Reply {
    json(phase, Bytes::from_static(b"{\"room\":true}"))
}

/// The wake is asked for: the script is told so, and what it owes for it.
pub(super) fn wake_taken(view: &View, now: Time, owed: Option<&Puzzle>) -> Reply {
    let mut body = page::status_json(view, now);
    if let Some(owed) = owed {
        let mut status: serde_json::Value =
            serde_json::from_slice(&body).expect("it was written just now");
        status["owed"] = serde_json::json!(owed);
        body = status.to_string().into();
    }
    typed(StatusCode::ACCEPTED, view.phase.as_str(), JSON, body)
}

/// On to this place, which must be on this host: back to where a form's sender came from, or into the app.
pub(super) fn see_other(phase: Phase, location: &str) -> Reply {
    let reply = ours(StatusCode::SEE_OTHER, phase.as_str(), Body::empty());
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    with(reply, header::LOCATION, location)
}

/// The page is too old: the script gets a fresh nonce. That gives nothing away, for everybody may load the page;
/// what counts is that another site's script can't read this answer.
pub(super) fn nonce_stale(view: &View, nonce: &str) -> Reply {
    let body = serde_json::json!({
        "type": "urn:anteroom:stale-page",
        "title": "Conflict",
        "status": 409,
        "detail": "The page is too old. Load it again.",
        "nonce": nonce,
    });
    let body = body.to_string().into();
    let reply = typed(StatusCode::CONFLICT, view.phase.as_str(), PROBLEM, body);
    spoken(reply, Lang::ENGLISH)
}

/// The wake comes from another site's page.
pub(super) fn wrong_origin(view: &View, now: Time) -> Reply {
    let detail = "Only this site's own page can ask for this.";
    trouble_json(StatusCode::FORBIDDEN, view, now, "wrong-origin", detail)
}

/// A program that says what it is does not wake by running the page's script.
pub(super) fn program(view: &View, now: Time) -> Reply {
    let detail = "Programs wake nothing by running the page's script.";
    trouble_json(StatusCode::FORBIDDEN, view, now, "program", detail)
}

/// This client may not wake the service: for now, where waiting helps.
pub(super) fn refused(
    room: &Room,
    found: &Found,
    view: &View,
    manner: Manner,
    refusal: Refusal,
) -> Reply {
    let mark = view.phase.as_str();
    let Some(wait) = refusal.retry_after else {
        return denied(room, found, view, manner);
    };
    let status = StatusCode::TOO_MANY_REQUESTS;
    let wait_s = u32::try_from(wait.0.div_ceil(1_000)).unwrap_or(u32::MAX);
    match manner.form {
        Form::Page | Form::UnsentPage => {
            let page = found.plain(room, manner, Kind::Limited(wait));
            later(html(status, mark, &page), wait_s)
        }
        Form::Problem | Form::UnsentProblem => {
            let lang = manner.lang;
            let (title, detail) = &page::limited_words(lang, &found.host, wait);
            let said = Said {
                title,
                detail,
                lang,
            };
            problem(status, view, wait_s, "limited", said)
        }
        Form::Empty => later(ours(status, mark, Body::empty()), wait_s),
        Form::Grpc => grpc(mark, GRPC),
        Form::GrpcWeb => grpc(mark, GRPC_WEB),
    }
}

fn denied(room: &Room, found: &Found, view: &View, manner: Manner) -> Reply {
    let (status, mark) = (StatusCode::FORBIDDEN, view.phase.as_str());
    match manner.form {
        Form::Page | Form::UnsentPage => {
            html(status, mark, &found.plain(room, manner, Kind::Denied))
        }
        Form::Problem | Form::UnsentProblem => {
            let lang = manner.lang;
            let (title, detail) = &page::denied_words(lang, &found.host);
            let said = Said {
                title,
                detail,
                lang,
            };
            problem(status, view, DENIED_WAIT_S, "denied", said)
        }
        Form::Empty => ours(status, mark, Body::empty()),
        Form::Grpc => grpc(mark, GRPC),
        Form::GrpcWeb => grpc(mark, GRPC_WEB),
    }
}

/// The body did not come, or is longer than any of our forms.
pub(super) fn bad_wake(view: &View, now: Time) -> Reply {
    let detail = "The body is missing, too long, none of our forms, or came too slowly.";
    let reply = trouble_json(StatusCode::BAD_REQUEST, view, now, "bad-body", detail);
    with(reply, header::CONNECTION, HeaderValue::from_static("close"))
}

/// The body is none of our forms.
pub(super) fn wrong_type(view: &View, now: Time) -> Reply {
    let detail = "A wake is a form (application/x-www-form-urlencoded) or JSON (application/json).";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let reply = trouble_json(status, view, now, "wrong-type", detail);
    with(reply, header::CONNECTION, HeaderValue::from_static("close"))
}

/// A stream of events.
pub(super) fn events(phase: Phase, frames: Frames) -> Reply {
    events_head(phase).map(|_| Body::Events(frames))
}

/// The head of one.
pub(super) fn events_head(phase: Phase) -> Reply {
    let reply = ours(StatusCode::OK, phase.as_str(), Body::empty());
    let reply = with(
        reply,
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    // nginx would keep the events back else.
    with(reply, ACCEL_BUFFERING, HeaderValue::from_static("no"))
}

/// The app agreed to speak another protocol.
pub(super) fn switching(mut from_app: http::HeaderMap, protocol: HeaderValue) -> Reply {
    super::headers::to_visitor(&mut from_app);
    from_app.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    from_app.insert(header::UPGRADE, protocol);
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = from_app;
    reply
}
