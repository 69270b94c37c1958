//! `GET /__anteroom/events`: every open page hears of a change as it happens.
//!
//! Tens of thousands of streams may be open. Each one is a watch and one timer; the bytes of an event are
//! prepared once and shared.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::body::Frames;
use super::room::{Found, Room};
use crate::engine::view::View;
use crate::signal::edge::Wait;

/// A comment is sent after this much silence, so that no proxy on the way thinks the stream dead.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// We end a stream after a random time between these, in milliseconds: browsers come back by themselves, a
/// replica that starts gets its share, and a herd that came together is spread.
const LASTS_MIN_MS: u64 = 45_000;
const LASTS_MAX_MS: u64 = 75_000;

/// What a browser waits before it comes back.
const RETRY: &[u8] = b"retry: 2000\n\n";
const COMMENT: &[u8] = b":\n\n";

/// The events of one page.
pub(super) struct Stream {
    room: Arc<Room>,
    found: Found,
    view: watch::Receiver<Arc<View>>,
    closes_at: Instant,
    opening: bool,
    _wait: Option<Wait>,
}

/// The same as frames of a body.
pub(super) fn frames(room: &Arc<Room>, found: &Found, wait: Option<Wait>) -> Frames {
    let stream = Stream::new(room, found, wait);
    Box::pin(stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((frame, stream))
    }))
}

impl Stream {
    /// The events of a site, from now on. The first one tells how it is now. Whoever looks at them waits.
    pub(super) fn new(room: &Arc<Room>, found: &Found, wait: Option<Wait>) -> Stream {
        let lasts = Duration::from_millis(room.roll(LASTS_MIN_MS, LASTS_MAX_MS));
        Stream {
            room: Arc::clone(room),
            found: found.clone(),
            view: found.site.handle.watch(),
            closes_at: Instant::now() + lasts,
            opening: true,
            _wait: wait,
        }
    }

    /// The next piece to send; none at the end. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.opening) {
            return Some([RETRY, &self.event()].concat().into());
        }
        let comment_at = Instant::now() + COMMENT_EVERY;
        tokio::select! {
            biased;
            () = self.room.ending.cancelled() => None,
            changed = self.view.changed() => {
                changed.ok()?;
                Some(self.event())
            }
            () = sleep_until(comment_at.min(self.closes_at)) => {
                (comment_at < self.closes_at).then_some(Bytes::from_static(COMMENT))
            }
        }
    }

    fn event(&mut self) -> Bytes {
        let view = Arc::clone(&self.view.borrow_and_update());
        self.found.shelf.event(&view, self.room.now())
    }
}
