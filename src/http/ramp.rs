//! Lets requests into an app that is freshly ready, one after the other: [`engine::ramp`](crate::engine::ramp) says who and
//! when, here they wait.
//!
//! Beyond the first seconds of a wake a request costs one look at an atomic. In them a lock is taken for the moment of a
//! decision, and never held while somebody waits. One task for each ramp keeps the time; it ends with it, and then nothing
//! is remembered of whom it has let in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use super::room::Room;
use crate::engine::client::household;
use crate::engine::ramp::{LASTS, Lane, Next, Ramp};
use crate::engine::time::{Span, Time};
use crate::engine::view::View;

mod turn;

pub(super) use turn::{Told, answer};

/// A request waits a little longer at most than a ramp lasts: then its keeper has failed, and it goes.
const WAIT_MAX: Duration = Duration::from_secs(LASTS.0 / 1_000 + 2);

/// How fast visitors come to an app that is freshly ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Requests a second, 1 to 1000.
    pub rate: u32,
    /// Whether every request of a visitor passes the room.
    pub sees_all: bool,
}

/// The ramps of one service in this room.
pub(super) struct Pace {
    keeping: Mutex<Keeping>,
    /// The ramp that is over, by when its app was ready.
    over: AtomicU64,
    /// Somebody waits who did not when the task last looked.
    news: Notify,
}

struct Keeping {
    ramp: Ramp,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    next_id: u64,
    /// Its task lives.
    kept: bool,
}

/// How it stands between a service's visitors and its app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// The app is not ready, and this wake is under way, if any is.
    Closed(Option<Time>),
    /// The wake that began then made it ready, at this time.
    Fresh(Time, Time),
    /// It has been ready for long.
    Open,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// It goes to the app.
    Go,
    /// Its visitor waits on the waiting page.
    Page,
    /// Too many wait.
    TooMany,
}

/// A request's place in its lane. Dropping it leaves the lane.
pub(super) struct Place {
    pace: Arc<Pace>,
    id: u64,
    called: oneshot::Receiver<()>,
}

impl Pace {
    /// Nobody waits yet.
    pub(super) fn new(pacing: Pacing) -> Arc<Pace> {
        Arc::new(Pace {
            keeping: Mutex::new(Keeping {
                ramp: Ramp::new(pacing.rate, pacing.sees_all),
                waiting: BTreeMap::new(),
                next_id: 0,
                kept: false,
            }),
            over: AtomicU64::new(0),
            news: Notify::new(),
        })
    }

    /// From now on like this.
    pub(super) fn set(&self, now: Time, pacing: Pacing) {
        self.keeping().ramp.set(now, pacing.rate, pacing.sees_all);
    }

    /// Whether everybody comes in as they come: the app has been ready for long.
    pub(super) fn is_open(&self, view: &View) -> bool {
        self.stand(view) == Stand::Open
    }

    /// Requests that wait in the lanes.
    pub(super) fn waiting(&self) -> usize {
        self.keeping().ramp.waiting()
    }

    /// Lets a request in when it is its turn. `opens`: a browser opens a page by it, so that it can wait there.
    pub(super) async fn admit(
        self: &Arc<Pace>,
        room: &Arc<Room>,
        view: &View,
        client: IpAddr,
        opens: bool,
    ) -> Admit {
        let Stand::Fresh(..) = self.stand(view) else {
            return Admit::Go;
        };
        let now = room.now();
        let place = {
            let mut keeping = self.look(room, view, now);
            // It may have come to its end since it was asked, and then nothing is remembered of anybody.
            if self.is_open(view) || keeping.ramp.is_over(now) {
                return Admit::Go;
            }
            let who = household(client);
            let Some(lane) = keeping.ramp.lane(now, who, opens) else {
                return Admit::Page;
            };
            let Some(place) = self.enlist(&mut keeping, lane, who) else {
                return Admit::TooMany;
            };
            self.call(&mut keeping, now);
            place
        };
        place.comes(room).await;
        Admit::Go
    }

    /// A place for a request that is kept until the app is there; none when too many wait.
    pub(super) fn hold(
        self: &Arc<Pace>,
        room: &Arc<Room>,
        view: &View,
        client: IpAddr,
    ) -> Option<Place> {
        let mut keeping = self.look(room, view, room.now());
        self.enlist(&mut keeping, Lane::WalkIn, household(client))
    }

    /// How it stands by this view.
    fn stand(&self, view: &View) -> Stand {
        match (view.upstreams.is_empty(), view.woken) {
            (true, _) => Stand::Closed(view.wake.map(|wake| wake.since)),
            (false, Some(woken)) if self.over.load(Relaxed) != woken.ready.0 => {
                Stand::Fresh(woken.since, woken.ready)
            }
            (false, _) => Stand::Open,
        }
    }

    /// Follows the service, and keeps the time when it is freshly ready.
    fn look(self: &Arc<Pace>, room: &Arc<Room>, view: &View, now: Time) -> MutexGuard<'_, Keeping> {
        let mut keeping = self.keeping();
        match self.stand(view) {
            Stand::Open => {}
            Stand::Closed(None) => keeping.ramp.rest(),
            Stand::Closed(Some(wake)) => keeping.ramp.follow(now, wake, None),
            Stand::Fresh(wake, ready) => {
                keeping.ramp.follow(now, wake, Some(ready));
                if !std::mem::replace(&mut keeping.kept, true) {
                    tokio::spawn(Arc::clone(self).keep(Arc::clone(room), ready));
                }
            }
        }
        keeping
    }

    fn enlist(self: &Arc<Pace>, keeping: &mut Keeping, lane: Lane, who: IpNet) -> Option<Place> {
        let id = keeping.id();
        if !keeping.ramp.wait_in(lane, id, who) {
            return None;
        }
        Some(self.place(keeping, id))
    }

    /// The place of somebody who is in a lane already.
    fn place(self: &Arc<Pace>, keeping: &mut Keeping, id: u64) -> Place {
        let (call, called) = oneshot::channel();
        keeping.waiting.insert(id, call);
        Place {
            pace: Arc::clone(self),
            id,
            called,
        }
    }

    /// Calls those whose turn it is; the task sees to the rest.
    fn call(&self, keeping: &mut Keeping, now: Time) {
        if keeping.call(now).is_some() {
            self.news.notify_one();
        }
    }

    /// Keeps the time of one ramp until it is over. It is told apart from others by when its app was ready.
    async fn keep(self: Arc<Pace>, room: Arc<Room>, ready: Time) {
        loop {
            let pause = {
                let (mut keeping, now) = (self.keeping(), room.now());
                let next = keeping.call(now);
                // Over, or the app went away: whoever looks next sees how it stands.
                let Some(ends_at) = keeping
                    .ramp
                    .ends_at()
                    .filter(|_| !keeping.ramp.is_over(now))
                else {
                    if keeping.ramp.is_over(now) {
                        self.over.store(ready.0, Relaxed);
                        keeping.ramp.rest();
                    }
                    keeping.kept = false;
                    return;
                };
                next.unwrap_or(ends_at).min(ends_at).since(now)
            };
            // Told of news, it looks again.
            let _ = timeout(pause.max(Span::millis(1)).into(), self.news.notified()).await;
        }
    }

    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeping {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Calls those whose turn it is now. Says when it is the next one's, if anybody waits for it.
    fn call(&mut self, now: Time) -> Option<Time> {
        loop {
            match self.ramp.next(now) {
                Next::Enter(id) => {
                    // Whoever has just left is gone from here too.
                    let call = self.waiting.remove(&id);
                    let _ = call.map(|call| call.send(()));
                }
                Next::At(at) => return Some(at),
                Next::Nobody => return None,
            }
        }
    }
}

impl Place {
    /// Waits for its turn. When the room closes nobody waits any more.
    pub(super) async fn comes(mut self, room: &Room) {
        tokio::select! {
            _ = &mut self.called => {}
            () = sleep(WAIT_MAX) => {}
            () = room.ending.cancelled() => {}
        }
    }

    /// The same for a request that was kept since before the app was there.
    pub(super) async fn comes_in(self, room: &Arc<Room>, view: &View) {
        let pace = Arc::clone(&self.pace);
        let Stand::Fresh(..) = pace.stand(view) else {
            return;
        };
        let now = room.now();
        {
            let mut keeping = pace.look(room, view, now);
            if pace.is_open(view) {
                return;
            }
            pace.call(&mut keeping, now);
        }
        self.comes(room).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut keeping = self.pace.keeping();
        keeping.ramp.leave(self.id);
        keeping.waiting.remove(&self.id);
    }
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").finish_non_exhaustive()
    }
}
