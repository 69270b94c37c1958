//! Sends a request to the app and its answer back, both as they come.
//!
//! A request is never sent twice to an app that may have seen it. It is sent again only when the library hands it
//! back untouched: the idle connection was found closed before a byte was written. Everything else that fails is
//! told to the visitor. Read on in `link`.

pub(super) mod link;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode, Uri, Version, uri};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::body::Body;
use super::headers::{self, Hop};
use super::reply::{Reply, Trouble};
use super::room::Room;
use super::tunnel;
use crate::engine::contract::Upstream;
use crate::signal::edge::Pass;
use link::{FromApp, Link, Links, Sent};

/// The longest that an app may think before it begins to answer. Long polls and reports take minutes; what
/// takes longer has been forgotten.
const ANSWER_MAX: Duration = Duration::from_secs(3_600);

/// The idle connections to all apps.
pub(super) fn links() -> Links {
    Links::new()
}

/// A request that may be sent to an app.
pub(super) struct Outgoing {
    /// Its head and body.
    pub(super) request: Request<Body>,
    /// The visitor's side of an upgrade, when it asked for one.
    pub(super) upgrade: Option<tunnel::Asked>,
}

impl Outgoing {
    /// Makes a visitor's request ready, whether it is sent at once or later.
    pub(super) fn new(mut request: Request<Incoming>, hop: Hop) -> Outgoing {
        let upgrade = tunnel::asked(&mut request);
        let (mut parts, body) = request.into_parts();
        let host = host_of(&parts.uri, &parts.headers);
        headers::to_app(&mut parts.headers, host, &hop);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        if let Some(asked) = &upgrade {
            let upgrade = HeaderValue::from_static("upgrade");
            parts.headers.insert(header::CONNECTION, upgrade);
            parts
                .headers
                .insert(header::UPGRADE, asked.protocol.clone());
        }
        Outgoing {
            request: Request::from_parts(parts, Body::visitor(body)),
            upgrade,
        }
    }
}

/// Sends a request through the gate that `pass` was got at, and gives the app's answer.
pub(super) async fn forward(
    room: &Room,
    upstream: Upstream,
    pass: Pass,
    outgoing: Outgoing,
) -> Result<Reply, Trouble> {
    let Outgoing {
        mut request,
        upgrade,
    } = outgoing;
    *request.uri_mut() = origin_form(request.uri());
    let upload = request.body().sign();
    let sent = timeout(ANSWER_MAX, send(room, upstream, request)).await;
    let (mut answer, link) = sent.unwrap_or(Err(Trouble::Broken))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let joined = tunnel::join(room, &mut answer, upgrade, pass).ok_or(Trouble::Broken)?;
        tokio::spawn(link.hand_over());
        return Ok(joined);
    }
    let (mut parts, body) = answer.into_parts();
    headers::to_visitor(&mut parts.headers);
    parts.extensions.clear();
    let pass = match is_event_stream(&parts.headers) {
        true => pass.into_long(),
        false => pass,
    };
    let body = match upload.strong_count() {
        0 => {
            let shelf = Arc::clone(room.links.shelf());
            FromApp::new(body, link, upstream.address, shelf).await
        }
        _ => FromApp::beside_an_upload(body, link),
    };
    Ok(Reply::from_parts(parts, Body::App(body, pass)))
}

/// Sends a request over an idle connection, or over a fresh one.
async fn send(
    room: &Room,
    upstream: Upstream,
    mut request: Request<Body>,
) -> Result<(Response<Incoming>, Box<Link>), Trouble> {
    loop {
        let shelf = room.links.shelf();
        let idle = poll_fn(|cx| Poll::Ready(shelf.take(upstream.address, cx))).await;
        let (mut link, fresh) = match idle {
            Some(link) => (link, false),
            None => (fresh_link(upstream).await?, true),
        };
        request = match link.exchange(request).await {
            Sent::Answered(answer) => return Ok((answer, link)),
            Sent::Untouched(_) if fresh => return Err(Trouble::Unreached),
            Sent::Untouched(request) => request,
            Sent::Failed(error) => {
                tracing::debug!(%upstream.address, %error, "an app did not answer");
                return Err(Trouble::Broken);
            }
        };
    }
}

async fn fresh_link(upstream: Upstream) -> Result<Box<Link>, Trouble> {
    Link::connect(upstream.address).await.map_err(|error| {
        tracing::debug!(%upstream.address, %error, "an app can't be reached");
        Trouble::Unreached
    })
}

/// The host that was asked for: an absolute URI wins over the header (RFC 9112 §3.2.2).
pub(super) fn host_of(uri: &Uri, headers: &http::HeaderMap) -> Option<HeaderValue> {
    match uri.authority() {
        Some(authority) => {
            let host = authority.as_str();
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            HeaderValue::from_str(host).ok()
        }
        None => headers.get(header::HOST).cloned(),
    }
}

/// What an app is asked for: the path and the query, also when the visitor wrote the whole address (RFC 9112 §3.2).
fn origin_form(asked: &Uri) -> Uri {
    let path = asked.path_and_query().cloned();
    Uri::from(path.unwrap_or(uri::PathAndQuery::from_static("/")))
}

fn is_event_stream(headers: &http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/event-stream")
    })
}
