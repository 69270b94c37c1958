//! The front of a connection: what comes in thousands is answered here, before hyper has the connection.
//!
//! That is the waiting page and the event stream of a plain GET. Their bytes are prepared once for each change of
//! a service, so all that a request costs is to be read, looked at and written to; and a connection that waits,
//! for its next request or for the next event, holds no buffer. What the page's script asks for on our own paths is
//! answered here too, because the same connection carries the next event stream. Whatever else comes, and whatever
//! is in any way odd, is handed to hyper with the bytes that were read, for the rest of the connection. What a
//! request gets is decided by the same code as there: [`visit`] and the engine's route.
//!
//! Figures are in `docs/architecture.md`. Read on in `head` (what is plain), in `own` (our own paths) and in `wire`
//! (how it is sent).

mod head;
mod own;
mod wire;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::body::Body;
use super::copies;
use super::events;
use super::head::Head;
use super::listen::HEAD_BYTES_MAX;
use super::paths;
use super::reply::{self, Reply};
use super::room::{Found, Room};
use super::visit;
use super::wait::Prepared;
use crate::engine::route::{self, Decision, Form};
use crate::gate::Nonce;
use crate::signal::edge::Wait;
use head::PlainGet;
pub(super) use wire::Wire;

thread_local! {
    /// Where a head is read: bytes are here only between two awaits of one connection.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; HEAD_BYTES_MAX].into());
}

/// What a request gets here.
enum Get {
    /// The waiting page, as it was prepared, and the nonce of this answer.
    Page(Arc<Prepared>, Nonce),
    /// The events of its site, for somebody who waits.
    Events(Found, Option<Wait>),
}

/// What came.
enum Came {
    Get(Get),
    /// A whole request for one of our own paths. Boxed: a connection that waits must not have room for it.
    Own(Box<Request<Full<Bytes>>>),
    /// Something for hyper.
    Other(Bytes),
    /// The end.
    Nothing,
}

/// Serves a connection for as long as what comes is for the front. Returns what was read of a request that hyper
/// must answer; none when the connection is over.
pub(super) async fn serve(
    stream: &mut TcpStream,
    room: &Arc<Room>,
    peer: IpAddr,
    idle_max: Duration,
    shutdown: &CancellationToken,
) -> Option<Bytes> {
    let mut ending = pin!(shutdown.cancelled());
    let mut idle_until = Instant::now() + idle_max;
    let mut alarm = pin!(sleep_until(idle_until));
    loop {
        let came = tokio::select! {
            biased;
            came = poll_fn(|cx| poll_came(stream, room, peer, cx)) => came,
            () = ending.as_mut() => return None,
            () = alarm.as_mut() => {
                // The alarm is set again only when it rings: that is rarer than a request.
                if idle_until <= Instant::now() {
                    return None;
                }
                alarm.as_mut().reset(idle_until);
                continue;
            }
        };
        let sent = match came {
            Came::Other(bytes) => return Some(bytes),
            Came::Nothing => return None,
            Came::Get(Get::Page(page, nonce)) => {
                page.wire.send(stream, room.now(), nonce.as_str()).await
            }
            Came::Get(Get::Events(found, wait)) => send_events(stream, room, &found, wait).await,
            Came::Own(request) => Box::pin(send_own(stream, room, peer, *request)).await,
        };
        // A visitor that left: daily bread.
        sent.ok()?;
        idle_until = Instant::now() + idle_max;
    }
}

fn poll_came(
    stream: &mut TcpStream,
    room: &Arc<Room>,
    peer: IpAddr,
    cx: &mut Context<'_>,
) -> Poll<Came> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut read = ReadBuf::new(buffer);
        if ready!(Pin::new(stream).poll_read(cx, &mut read)).is_err() || read.filled().is_empty() {
            return Poll::Ready(Came::Nothing);
        }
        let get = PlainGet::read(read.filled(), |get| answer(room, peer, get));
        Poll::Ready(match get {
            Some(get) => Came::Get(get),
            None => match own::read(read.filled()) {
                Some(request) => Came::Own(Box::new(request)),
                None => Came::Other(Bytes::copy_from_slice(read.filled())),
            },
        })
    })
}

/// What this GET gets; none when hyper's side must see to it.
fn answer(room: &Arc<Room>, peer: IpAddr, get: &PlainGet<'_>) -> Option<Get> {
    let events = get.path() == paths::EVENTS;
    if !events && get.path().starts_with(paths::PREFIX) {
        return None;
    }
    let sites = room.sites();
    let found = visit::find(&sites, get)?;
    if copies::fits(&found.site.copies, get.path()) {
        return None;
    }
    let seen = visit::see(room, peer, get, &found.site);
    if seen.is_special() {
        return None;
    }
    let rules = found.site.rules(seen.hop.client, seen.ignored());
    let page = found.site.handle.with_view(|view| {
        let waits = match route::decide(view, seen.kind, &rules) {
            Decision::Wait { form, wake } => form == Form::Page && !wake,
            _ => false,
        };
        (waits && !events).then(|| found.prepared(view, room, room.now(), seen.manner))
    });
    // Only what we answer ourselves counts; and a client that has had too many is told so by hyper's side.
    if !(events || page.is_some()) || room.holds_off(seen.hop.client).is_some() {
        return None;
    }
    if events {
        found.shelf.own_paths.inc();
        return Some(Get::Events(found.clone(), found.site.waits(&seen)));
    }
    found.shelf.answers.inc();
    let nonce = found.nonce(&room.keeper, room.now());
    page.map(|page| Get::Page(page, nonce))
}

/// Sends events until they end, or the visitor is gone. The connection can be used again after them.
async fn send_events(
    stream: &mut TcpStream,
    room: &Arc<Room>,
    found: &Found,
    wait: Option<Wait>,
) -> io::Result<()> {
    let mut events = events::Stream::new(room, found, wait);
    let phase = found.site.handle.view().phase;
    let head = Wire::chunked(&reply::events_head(phase));
    head.send(stream, room.now(), "").await?;
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = poll_fn(|cx| poll_gone(stream, cx)) => return Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match event {
            Some(event) => wire::send_chunk(stream, &event).await?,
            None => return wire::send_last_chunk(stream).await,
        }
    }
}

/// Answers a request for one of our own paths. Fails when the connection must not be used again.
async fn send_own(
    stream: &mut TcpStream,
    room: &Arc<Room>,
    peer: IpAddr,
    request: Request<Full<Bytes>>,
) -> io::Result<()> {
    let reply = visit::answer_own(room, peer, request).await;
    let closes = reply.headers().contains_key(header::CONNECTION);
    let (parts, body) = reply.into_parts();
    let body = body.into_whole().unwrap_or_default();
    let wire = Wire::new(&Reply::from_parts(parts, Body::empty()), body.into());
    wire.send(stream, room.now(), "").await?;
    match closes {
        true => Err(io::ErrorKind::ConnectionAborted.into()),
        false => Ok(()),
    }
}

/// Ready when the visitor has closed, or says something while it should listen: that is no browser.
fn poll_gone(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    let mut byte = [0];
    let mut read = ReadBuf::new(&mut byte);
    Pin::new(stream).poll_read(cx, &mut read).map(drop)
}
