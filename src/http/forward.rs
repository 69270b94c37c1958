//! Sends a request to the app and its answer back, both as they come.
//!
//! A request is never sent twice to an app that may have seen it. The client library sends one again only when
//! it hands the untouched request back: the pooled connection was found closed before a byte was written.
//! Everything else that fails is told to the visitor.

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode, Uri, Version, uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::body::Body;
use super::headers::{self, Hop};
use super::reply::{Reply, Trouble};
use super::room::Room;
use super::tunnel;
use crate::engine::contract::Upstream;
use crate::signal::edge::Pass;

/// The pooled connections to all apps.
pub(super) type Upstreams = Client<HttpConnector, Body>;

/// An instance in service is a hop away: one that does not take a connection in this time is gone.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// How long an idle connection to an app is kept. Most apps keep theirs longer or close it so that we see it.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Idle connections that are kept to one instance.
const IDLE_PER_INSTANCE_MAX: usize = 256;

/// Silence after which the system asks whether an app's machine still exists: a machine that vanished sends
/// no goodbye, and its tunnels would count as open for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The longest that an app may think before it begins to answer. Long polls and reports take minutes; what
/// takes longer has been forgotten.
const ANSWER_MAX: Duration = Duration::from_secs(3_600);

/// The client for all apps.
pub(super) fn upstreams() -> Upstreams {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_MAX));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(IDLE_PER_INSTANCE_MAX)
        // Only a request that was never begun: see the module's head.
        .retry_canceled_requests(true)
        .build(connector)
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
            request: Request::from_parts(parts, Body::Visitor(body)),
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
    *request.uri_mut() = address(upstream, request.uri()).ok_or(Trouble::Unreached)?;
    let answer = timeout(ANSWER_MAX, room.upstreams.request(request)).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!(%upstream.address, %error, "an app did not answer");
            return Err(match error.is_connect() {
                true => Trouble::Unreached,
                false => Trouble::Broken,
            });
        }
        Err(_) => return Err(Trouble::Broken),
    };
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::join(room, answer, upgrade, pass).ok_or(Trouble::Broken);
    }
    let (mut parts, body) = answer.into_parts();
    headers::to_visitor(&mut parts.headers);
    parts.extensions.clear();
    let pass = match is_event_stream(&parts.headers) {
        true => pass.into_long(),
        false => pass,
    };
    Ok(Reply::from_parts(parts, Body::App(body, pass)))
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

fn address(upstream: Upstream, asked: &Uri) -> Option<Uri> {
    let path = asked.path_and_query().cloned();
    uri::Builder::new()
        .scheme("http")
        .authority(upstream.address.to_string())
        .path_and_query(path.unwrap_or(uri::PathAndQuery::from_static("/")))
        .build()
        .ok()
}

fn is_event_stream(headers: &http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/event-stream")
    })
}
