//! Keeps a request until the app is there: for API clients that can't wait on a page. It is sent once, or not at
//! all. Dropping the future (the client hung up) ends the wait.

use std::sync::Arc;
use std::time::Duration;

use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::balance;
use super::body::{Body, Upload};
use super::forward::Outgoing;
use super::ramp::Place;
use super::reply::{Reply, Trouble};
use super::room::{Found, Room};
use crate::driver::admission::Refusal;
use crate::engine::contract::Upstream;
use crate::engine::route;
use crate::engine::time::{Span, Time};
use crate::engine::view::{Phase, View};
use crate::signal::edge::{Pass, Stay, Use, Wait};

/// Memory for all held requests together, in KiB: 64 MiB.
pub(super) const HELD_KIB_MAX: u32 = 64 * 1024;

/// What a held request costs without its body, in KiB: its head, its task and its connection's buffers.
const HEAD_KIB: u32 = 16;

/// The longest hold that makes sense: proxies and clients give up before.
const HOLD_MAX: Span = Span::mins(15);

/// How often the gate is tried when the view already shows an instance.
const GATE_AGAIN: Duration = Duration::from_millis(20);

/// Keeps the request at most for `length`, then sends it or says why not. `wake` is called when the request is
/// whole, for half a request wakes nobody, and says whether it asked for a wake. When it is refused, the request is not
/// kept. From then on until it is sent, its client is one of those who wait: `waits` counts it, and gives it its place among
/// them.
pub(super) async fn hold(
    room: &Arc<Room>,
    found: &Found,
    outgoing: Outgoing,
    stay: Stay,
    length: Span,
    wake: impl AsyncFnOnce() -> Result<bool, Refusal>,
    waits: impl FnOnce() -> Result<(Option<Wait>, Option<Place>), Trouble>,
) -> Result<Reply, Trouble> {
    let until = Instant::now() + Duration::from_millis(length.0.min(HOLD_MAX.0));
    let (outgoing, _room_taken) = timeout_at(until, keep(room, outgoing, found.site.hold_body_max))
        .await
        .map_err(|_| Trouble::TooLate)??;
    let mut watch = found.site.handle.watch();
    // A failure counts only if it comes once we have asked: our own trigger may mend the old one.
    let failed_before = watch.borrow_and_update().since;
    let asked = wake().await.map_err(Trouble::Refused)?;
    let (waits, place) = waits()?;
    let entered = enter(room, found, watch, failed_before, stay, asked, place);
    let entered = timeout_at(until, entered)
        .await
        .ok()
        .flatten()
        .ok_or(Trouble::TooLate)?;
    drop(waits);
    balance::forward(room, &found.site.handle, entered, stay, outgoing).await
}

/// Takes the whole body into memory, within its bounds.
async fn keep(
    room: &Room,
    outgoing: Outgoing,
    body_max: usize,
) -> Result<(Outgoing, OwnedSemaphorePermit), Trouble> {
    let (parts, body) = outgoing.request.into_parts();
    let Body::Visitor(Upload { body, .. }) = body else {
        return Err(Trouble::TooBig);
    };
    let expected = body.size_hint();
    if expected.lower() > body_max as u64 {
        return Err(Trouble::TooBig);
    }
    // A body that does not say its length is given room for the longest.
    let bytes = expected.upper().unwrap_or(u64::MAX).min(body_max as u64);
    let kib = HEAD_KIB + u32::try_from(bytes.div_ceil(1024)).unwrap_or(HELD_KIB_MAX);
    let permit = room
        .held
        .clone()
        .try_acquire_many_owned(kib)
        .map_err(|_| Trouble::TooMany)?;
    let body = collect(body, body_max).await?;
    let request = http::Request::from_parts(parts, body);
    Ok((
        Outgoing {
            request,
            ..outgoing
        },
        permit,
    ))
}

async fn collect(body: Incoming, body_max: usize) -> Result<Body, Trouble> {
    if body.is_end_stream() {
        return Ok(Body::empty());
    }
    match Limited::new(body, body_max).collect().await {
        Ok(whole) => Ok(whole.to_bytes().into()),
        Err(_) => Err(Trouble::TooBig),
    }
}

/// Waits until the gate lets us in; none when the wake has failed since, when nobody asked for one and the service is not
/// on its way, or when the task has ended.
async fn enter(
    room: &Arc<Room>,
    found: &Found,
    mut watch: watch::Receiver<Arc<View>>,
    failed_before: Time,
    stay: Stay,
    asked: bool,
    mut place: Option<Place>,
) -> Option<(Upstream, Pass)> {
    let handle = &found.site.handle;
    loop {
        let view = Arc::clone(&watch.borrow_and_update());
        let there = !view.upstreams.is_empty();
        // The gate may open just before the view shows it; then it is not known yet how fast one may come.
        if there {
            if let Some(place) = place.take() {
                place.comes_in(room, &view).await;
            }
            if let Some(entered) = handle.enter(Use::Qualifying, stay) {
                return Some(entered);
            }
        }
        let failed = view.phase == Phase::Failed && view.since != failed_before;
        let in_vain = failed || !(asked || route::is_on_its_way(&view));
        if in_vain {
            return None;
        }
        tokio::select! {
            changed = watch.changed() => changed.ok()?,
            // The view may show the instance just before the gate opens.
            () = sleep(GATE_AGAIN), if there => {}
        }
    }
}
