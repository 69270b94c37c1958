//! Sends a request to the app and its answer back, both as they come.
//!
//! A request is never sent twice to an instance that may have seen it. It is sent again only when the library hands it
//! back untouched: the idle connection was found closed before a byte was written. What comes of everything else that
//! fails is decided in `balance`. Read on in `link`.

pub(super) mod link;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version, uri};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::body::Body;
use super::headers::{self, Hop};
use super::reply::Reply;
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
    /// The same request once more, where an app that has seen it may see it again: its method is idempotent (RFC 9110 §9.2.2),
    /// and it has no body. An upgrade begins a conversation, so it is none of them.
    pub(super) fn spare(&self) -> Option<Outgoing> {
        let again = [
            Method::GET,
            Method::HEAD,
            Method::OPTIONS,
            Method::TRACE,
            Method::PUT,
            Method::DELETE,
        ];
        let request = &self.request;
        let may = again.contains(request.method()) && request.body().is_end_stream();
        if !may || self.upgrade.is_some() {
            return None;
        }
        let mut spare = Request::new(Body::empty());
        spare.method_mut().clone_from(request.method());
        spare.uri_mut().clone_from(request.uri());
        spare.headers_mut().clone_from(request.headers());
        Some(Outgoing {
            request: spare,
            upgrade: None,
        })
    }

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

/// What became of a request that got no answer.
pub(super) enum Miss {
    /// The instance took no connection; nothing was sent.
    Unreached(Box<Outgoing>),
    /// It broke off before it answered; it may have seen the request.
    Broken,
    /// It did not answer in time, or as nobody may.
    Lost,
}

/// Sends a request through the gate that `pass` was got at, and gives the app's answer. Without one the pass comes back.
pub(super) async fn forward(
    room: &Room,
    upstream: Upstream,
    pass: Pass,
    outgoing: Outgoing,
) -> Result<Reply, (Miss, Pass)> {
    let Outgoing {
        mut request,
        upgrade,
    } = outgoing;
    *request.uri_mut() = origin_form(request.uri());
    let upload = request.body().sign();
    let (mut answer, link) = match timeout(ANSWER_MAX, send(room, upstream, request)).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(Some(request))) => {
            let outgoing = Outgoing {
                request: *request,
                upgrade,
            };
            return Err((Miss::Unreached(Box::new(outgoing)), pass));
        }
        Ok(Err(None)) => return Err((Miss::Broken, pass)),
        Err(_) => return Err((Miss::Lost, pass)),
    };
    pass.reached();
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(asked) = upgrade else {
            return Err((Miss::Lost, pass));
        };
        let joined = tunnel::join(room, &mut answer, asked, pass);
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

/// Sends a request over an idle connection, or over a fresh one. Where no connection can be made, the request comes back.
async fn send(
    room: &Room,
    upstream: Upstream,
    mut request: Request<Body>,
) -> Result<(Response<Incoming>, Box<Link>), Option<Box<Request<Body>>>> {
    loop {
        let shelf = room.links.shelf();
        let idle = poll_fn(|cx| Poll::Ready(shelf.take(upstream.address, cx))).await;
        let (mut link, fresh) = match idle {
            Some(link) => (link, false),
            None => match Link::connect(upstream.address).await {
                Ok(link) => (link, true),
                Err(error) => {
                    tracing::debug!(%upstream.address, %error, "an app can't be reached");
                    return Err(Some(Box::new(request)));
                }
            },
        };
        request = match link.exchange(request).await {
            Sent::Answered(answer) => return Ok((answer, link)),
            Sent::Untouched(request) if fresh => return Err(Some(Box::new(request))),
            Sent::Untouched(request) => request,
            Sent::Failed(error) => {
                tracing::debug!(%upstream.address, %error, "an app did not answer");
                return Err(None);
            }
        };
    }
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
