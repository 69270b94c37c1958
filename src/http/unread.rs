//! Bodies that nobody reads: those of requests that get an answer of ours.
//!
//! A connection can be used again only when the whole request has been read. Where it was not, the server closes it after
//! the answer; a proxy that does not know that sends its next request into the closing connection, and if that one
//! carries a body, it can't be sent again: its visitor gets a 502 (seen with Traefik 3.7, three of some 360 requests one after
//! another). So a small body is taken in, and where that is too much the answer says that it is the connection's last.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::reply::{self, Reply};
use super::wake::{BODY_MAX, BODY_WAIT};

/// Bytes that are read for nothing.
const TAKEN_MAX: u64 = 16 * 1024;

/// The time in which they must be here: the answer waits for it.
const TAKEN_WAIT: Duration = Duration::from_millis(500);

/// The answer to a request whose body nobody wants. Who asks before it sends (RFC 9110 §10.1.1) is not invited to.
pub(super) async fn after(request: Request<Incoming>, reply: Reply) -> Reply {
    let asks = request.headers().contains_key(header::EXPECT);
    let body = request.into_body();
    if body.is_end_stream() {
        return reply;
    }
    let size = body.size_hint().upper();
    if asks || size.is_some_and(|bytes| bytes > TAKEN_MAX) {
        return reply::last(reply);
    }
    let rest = Limited::new(body, TAKEN_MAX as usize).collect();
    match timeout(TAKEN_WAIT, rest).await {
        Ok(Ok(_)) => reply,
        _ => reply::last(reply),
    }
}

/// A request for one of our own paths with its whole body; none when that is too long or comes too slowly.
pub(super) async fn whole(request: Request<Incoming>) -> Option<Request<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = match body.is_end_stream() {
        true => Bytes::new(),
        false => {
            let body = Limited::new(body, BODY_MAX).collect();
            timeout(BODY_WAIT, body).await.ok()?.ok()?.to_bytes()
        }
    };
    Some(Request::from_parts(parts, Full::new(body)))
}
