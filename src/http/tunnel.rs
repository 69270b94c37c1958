//! Upgraded connections: WebSockets and whatever else an app agrees to. Bytes go both ways until both sides
//! have said goodbye; the pass counts the tunnel as long until then.

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{self, OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::time::timeout;

use super::listen::Place;
use super::reply::{self, Reply};
use super::room::Room;
use crate::signal::edge::Pass;

/// How long one side of a tunnel may stay open when the other has closed: time for the last bytes of a
/// transfer, and an end for a peer that forgot.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(300);

/// The time in which the visitor's connection must be handed over after the app's 101.
const HAND_OVER_MAX: Duration = Duration::from_secs(10);

/// A visitor's wish to speak another protocol.
pub(super) struct Asked {
    /// Which one, as it said.
    pub(super) protocol: HeaderValue,
    visitor: OnUpgrade,
    place: Option<Place>,
}

/// Whether this head asks for an upgrade. `h2c` is none: inside such a tunnel requests would pass that nobody
/// looks at, and the app may as well answer the plain request.
pub(super) fn wanted(headers: &http::HeaderMap) -> bool {
    let asks = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers
        .get(header::UPGRADE)
        .and_then(|name| name.to_str().ok());
    asks && protocol.is_some_and(|name| {
        !name
            .split(',')
            .any(|one| one.trim().to_ascii_lowercase().starts_with("h2"))
    })
}

/// Takes the visitor's side of an upgrade out of its request.
pub(super) fn asked(request: &mut Request<Incoming>) -> Option<Asked> {
    if !wanted(request.headers()) {
        return None;
    }
    let protocol = request.headers().get(header::UPGRADE)?.clone();
    Some(Asked {
        protocol,
        place: request.extensions().get::<Place>().cloned(),
        visitor: upgrade::on(request),
    })
}

/// Joins both sides after the app's 101.
pub(super) fn join(
    room: &Room,
    answer: &mut Response<Incoming>,
    asked: Asked,
    pass: Pass,
) -> Reply {
    let Asked {
        protocol,
        visitor,
        place,
    } = asked;
    let protocol = answer
        .headers()
        .get(header::UPGRADE)
        .cloned()
        .unwrap_or(protocol);
    let app = upgrade::on(&mut *answer);
    let pass = pass.into_long();
    let cut = room.cut.clone();
    room.tunnels.spawn(async move {
        tokio::select! {
            () = cut.cancelled() => {}
            () = run(visitor, app) => {}
        }
        drop((pass, place));
    });
    reply::switching(std::mem::take(answer.headers_mut()), protocol)
}

async fn run(visitor: OnUpgrade, app: OnUpgrade) {
    let both = timeout(HAND_OVER_MAX, async { tokio::try_join!(visitor, app) }).await;
    match both {
        Ok(Ok((visitor, app))) => carry(visitor, app).await,
        Ok(Err(error)) => tracing::debug!(%error, "a tunnel did not come about"),
        Err(_) => tracing::debug!("a tunnel did not come about in time"),
    }
}

/// Carries bytes both ways. An end in one direction is passed on, and the other may still finish.
async fn carry(visitor: Upgraded, app: Upgraded) {
    let (visitor_reads, visitor_writes) = split(TokioIo::new(visitor));
    let (app_reads, app_writes) = split(TokioIo::new(app));
    let mut to_app = std::pin::pin!(one_way(visitor_reads, app_writes));
    let mut to_visitor = std::pin::pin!(one_way(app_reads, visitor_writes));
    tokio::select! {
        fine = &mut to_app => if fine { let _ = timeout(HALF_CLOSED_MAX, to_visitor).await; },
        fine = &mut to_visitor => if fine { let _ = timeout(HALF_CLOSED_MAX, to_app).await; },
    }
}

/// True when it ended with a proper goodbye; after an error nothing more can come either way.
async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> bool {
    let copied = copy(&mut from, &mut to).await.is_ok();
    let closed = to.shutdown().await.is_ok();
    copied && closed
}
