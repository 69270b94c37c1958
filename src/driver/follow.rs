//! A room that follows: it shows what the leader says, counts who comes through its gate, and takes the service over
//! when nobody leads it.
//!
//! A closing envelope is seen only when the gate is closed and the room's own sources have been looked at since;
//! the leader waits for that before it stops the machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::handle::{Admitted, Command};
use super::seat::Seat;
use crate::engine::contract::{Activity, Input, Routing, Trigger, TriggerBy};
use crate::engine::id::InstanceId;
use crate::engine::rooms::Mark;
use crate::engine::time::Span;
use crate::engine::view::{Phase, View};
use crate::engine::wish;
use crate::store::shared::{BEAT, Envelope, Followed, HoldWish, News, Sign};
use crate::store::{Claim, StoreError};

/// The room's own way may take so long to take a routing up, or to tell of its use.
const WAY_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two tries of that.
const WAY_AGAIN: Duration = Duration::from_secs(1);

/// Between two words to the leader that an instance could not be reached.
const SUSPECT_EVERY: Duration = Duration::from_secs(1);

/// What comes after following.
pub(super) enum Turn {
    /// The service is this room's.
    Lead(Box<Claim>),
    /// The store is away, and somebody was let in by this room alone.
    Alone(Trigger),
}

/// What runs beside the loop.
enum Done {
    Followed(Mark, Result<Followed, StoreError>),
    Claimed(Result<Option<Claim>, StoreError>),
    Published(Mark, Routing, Result<(), String>),
    /// With the number of the gate's last opening before.
    Looked(u64, Result<Vec<Activity>, String>),
    /// A trigger that the store knows nothing of was brought to the leader, or was not.
    Brought(Trigger, Result<(), StoreError>),
}

/// A room that follows one service.
pub(super) struct Follow<'a> {
    seat: &'a mut Seat,
    doing: JoinSet<Done>,
    /// A sign of life is under way.
    following: bool,
    claiming: bool,
    publishing: bool,
    looking: bool,
    /// The room's sources have been looked at since the gate was closed.
    looked: bool,
    /// How often the gate was opened.
    openings: u64,
    /// When the next sign of life is due.
    due: Instant,
    way_due: Instant,
    /// When the store last answered.
    answered: Instant,
    /// What the leader was told lately; no more than there are instances.
    suspected: BTreeMap<Option<InstanceId>, Instant>,
}

impl<'a> Follow<'a> {
    pub(super) fn new(seat: &'a mut Seat) -> Follow<'a> {
        let now = Instant::now();
        Follow {
            seat,
            doing: JoinSet::new(),
            following: false,
            claiming: false,
            publishing: false,
            looking: false,
            looked: false,
            openings: 0,
            due: now,
            way_due: now,
            answered: now,
            suspected: BTreeMap::new(),
        }
    }

    /// Follows until it is this room's turn.
    pub(super) async fn live(mut self) -> Turn {
        if let Some(trigger) = self.seat.bring.take() {
            self.bring(trigger);
        }
        loop {
            self.be_heard();
            self.keep_the_way();
            let idle = self.following;
            tokio::select! {
                Some(done) = self.doing.join_next() => match done {
                    Ok(done) => if let Some(turn) = self.done(done) {
                        return turn;
                    },
                    // What panicked is tried again.
                    Err(_) => {
                        (self.following, self.claiming) = (false, false);
                        (self.publishing, self.looking) = (false, false);
                    }
                },
                Some(news) = self.seat.news.recv() => self.hear(news),
                Some(admitted) = self.seat.triggers.recv() => self.triggered(admitted),
                Some(command) = self.seat.commands.recv() => self.command(command),
                sample = self.seat.samples.recv() => self.sampled(&sample),
                () = sleep_until(self.due), if !idle => {}
                () = sleep_until(self.way_due), if self.way_due > Instant::now() => {}
            }
        }
    }

    /// Leaves a sign of life, if one is due.
    fn be_heard(&mut self) {
        if self.following || Instant::now() < self.due {
            return;
        }
        self.due = Instant::now() + BEAT;
        self.following = true;
        let _ = self.seat.face.sample();
        let report = self.seat.face.report();
        let (store, name) = self.store();
        let (mark, instead) = (self.mark(), self.seat.is_new);
        let at = self.seat.setup.place.clone();
        self.doing.spawn(async move {
            let sign = Sign {
                at: &at,
                instead,
                report,
            };
            let followed = match store.shared() {
                Some(shared) => shared.follow(&name, sign).await,
                None => Err(not_shared()),
            };
            Done::Followed(mark, followed)
        });
    }

    /// Puts the leader's routing in force on this room's way, and looks at its sources when the gate has closed.
    fn keep_the_way(&mut self) {
        let Some(envelope) = &self.seat.envelope else {
            return;
        };
        let mark = envelope.mark;
        if self.seat.routing.as_ref() == Some(&envelope.routing) {
            self.seat.face.routed(mark);
        } else if !self.publishing && Instant::now() >= self.way_due {
            let routing = envelope.routing.clone();
            self.publish(mark, routing);
        }
        let open = !self.is_closed();
        if open || self.looked {
            self.looked &= !open;
            self.see(mark);
        } else if !self.looking && Instant::now() >= self.way_due {
            self.looking = true;
            let (way, openings) = (Arc::clone(&self.seat.setup.way), self.openings);
            self.doing.spawn(async move {
                let looked = timeout(WAY_TIMEOUT, way.look()).await;
                Done::Looked(openings, looked.unwrap_or_else(|_| Err("no answer".into())))
            });
        }
    }

    fn publish(&mut self, mark: Mark, routing: Routing) {
        self.publishing = true;
        let way = Arc::clone(&self.seat.setup.way);
        self.doing.spawn(async move {
            let published = timeout(WAY_TIMEOUT, way.publish(routing.clone())).await;
            let published = published.unwrap_or_else(|_| Err("no answer".into()));
            Done::Published(mark, routing, published)
        });
    }

    /// The room acts by this envelope; the leader hears of it at once.
    fn see(&mut self, mark: Mark) {
        if self.seat.face.counts.seen != mark {
            self.seat.face.seen(mark);
            self.due = Instant::now();
        }
    }

    fn done(&mut self, done: Done) -> Option<Turn> {
        match done {
            Done::Followed(at, Ok(followed)) => {
                self.following = false;
                self.seat.is_new = false;
                self.answered = Instant::now();
                self.followed(at, followed);
            }
            Done::Followed(_, Err(error)) => {
                self.following = false;
                tracing::debug!(service = %self.seat.setup.name, %error, "the leader can't be heard");
                self.lose_sight();
            }
            Done::Claimed(claimed) => {
                self.claiming = false;
                if let Ok(Some(claim)) = claimed {
                    return Some(Turn::Lead(Box::new(claim)));
                }
            }
            Done::Published(mark, routing, Ok(())) => {
                self.publishing = false;
                self.seat.routing = Some(routing);
                self.seat.face.routed(mark);
                self.due = Instant::now();
            }
            Done::Published(_, _, Err(why)) => {
                self.publishing = false;
                self.way_due = Instant::now() + WAY_AGAIN;
                tracing::warn!(service = %self.seat.setup.name, why, "the routing is not in force here; trying again");
            }
            Done::Looked(openings, looked) => {
                self.looking = false;
                self.have_looked(openings, looked);
            }
            Done::Brought(_, Ok(())) => {}
            Done::Brought(trigger, Err(_)) => return Some(Turn::Alone(trigger)),
        }
        None
    }

    fn have_looked(&mut self, openings: u64, looked: Result<Vec<Activity>, String>) {
        match looked {
            Ok(samples) => {
                let used = samples.iter().any(Activity::busy);
                self.seat.face.counts.uses += u64::from(used);
                // Opened and closed again meanwhile: what came in between is not looked at yet.
                self.looked = openings == self.openings && self.is_closed();
            }
            Err(why) => {
                self.way_due = Instant::now() + WAY_AGAIN;
                tracing::debug!(service = %self.seat.setup.name, why, "the room's sources can't be looked at; trying again");
            }
        }
    }

    fn is_closed(&self) -> bool {
        let envelope = self.seat.envelope.as_ref();
        envelope.is_some_and(|envelope| envelope.view.upstreams.is_empty())
    }

    fn followed(&mut self, at: Mark, followed: Followed) {
        if let Some(envelope) = followed.envelope {
            let mark = envelope.mark;
            // Another one than was known when this was asked, and no later one: the store was wiped, or is another.
            let known = self.seat.envelope.as_ref();
            let other = at == self.mark() && known != Some(&envelope);
            if mark > self.mark() || other {
                self.act_by(envelope);
            }
        }
        if !followed.led && !self.claiming {
            self.claiming = true;
            let (store, name) = self.store();
            let owner = self.seat.setup.owner.clone();
            self.doing.spawn(async move {
                Done::Claimed(match store.shared() {
                    Some(shared) => shared.claim_free(&name, &owner).await,
                    None => Err(not_shared()),
                })
            });
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Changed(envelope) if envelope.mark > self.mark() => self.act_by(*envelope),
            News::Free => self.due = Instant::now(),
            // For the leader.
            News::Changed(_) | News::Wanted(..) | News::Written => {}
        }
    }

    fn act_by(&mut self, envelope: Envelope) {
        if !envelope.view.upstreams.is_empty() {
            self.looked = false;
            self.openings += 1;
        }
        self.seat.face.show(envelope.view.clone());
        self.seat.envelope = Some(envelope);
    }

    fn mark(&self) -> Mark {
        let envelope = self.seat.envelope.as_ref();
        envelope.map(|envelope| envelope.mark).unwrap_or_default()
    }

    /// Nothing was heard for so long that the leader may count this room as gone: nobody comes in any more by what
    /// it said last.
    fn lose_sight(&mut self) {
        let idle_timeout = Duration::from(self.seat.setup.policy.idle_timeout);
        if self.answered.elapsed() < idle_timeout {
            return;
        }
        let Some(last) = self
            .seat
            .face
            .last()
            .filter(|view| view.phase != Phase::Learning)
        else {
            return;
        };
        let blind = View {
            version: last.version + 1,
            phase: Phase::Learning,
            since: self.seat.setup.clock.now(),
            wake: None,
            woken: None,
            failure: None,
            upstreams: Vec::new(),
            healthy: false,
            sleeps_at: None,
            why:
                "The store has been away for long; the room that leads the service can't be heard."
                    .into(),
            ..last.clone()
        };
        self.seat.face.show(blind);
        // Whatever is heard next is news.
        self.seat.envelope = None;
        if self.seat.routing != Some(Routing::Asleep) && !self.publishing {
            self.publish(Mark::default(), Routing::Asleep);
        }
    }

    fn triggered(&mut self, Admitted { trigger, wake }: Admitted) {
        self.seat.face.counts.asks += 1;
        let phase = self.seat.face.last().map(|view| view.phase);
        if phase == Some(Phase::Awake) {
            self.seat.face.counts.uses += 1;
        }
        // A wake with a number is the store's, and the leader hears of it there.
        if wake == 0 && !matches!(phase, Some(Phase::Waking | Phase::Awake)) {
            self.bring(trigger);
        }
    }

    /// Tells the leader of a trigger that the store knows nothing of.
    fn bring(&mut self, trigger: Trigger) {
        let (store, name) = self.store();
        self.doing.spawn(async move {
            let told = match store.shared() {
                Some(shared) => shared.tell(&name, wish::to_trigger(&trigger)).await,
                None => Err(not_shared()),
            };
            Done::Brought(trigger, told)
        });
    }

    /// Brings the leader a command. One that can't be brought is in the log: the store is away then, and so is the
    /// leader.
    fn command(&mut self, command: Command) {
        let told = match &command {
            Command::Wake { who } => {
                let trigger = Trigger {
                    by: TriggerBy::Admin,
                    who: who.clone(),
                    path: String::new(),
                };
                return self.bring(trigger);
            }
            Command::Suspect(which) => {
                self.suspected.retain(|_, at| at.elapsed() < SUSPECT_EVERY);
                if self.suspected.contains_key(which) {
                    return;
                }
                self.suspected.insert(*which, Instant::now());
                Tell::Words(wish::to_suspect(*which))
            }
            Command::Alert(alert) => Tell::Words(wish::to_alert(alert)),
            Command::Sleep { who } => Tell::Words(wish::to_sleep(who)),
            Command::Release => Tell::Hold(HoldWish::Drop),
            Command::Hold { length, reason } => Tell::Hold(HoldWish::Keep {
                reason: reason.clone(),
                length: Span::from(*length),
            }),
        };
        let (store, name) = self.store();
        tokio::spawn(async move {
            let Some(shared) = store.shared() else {
                return;
            };
            let told = match told {
                Tell::Words(words) => shared.tell(&name, words).await,
                Tell::Hold(wish) => shared.hold(&name, wish).await,
            };
            if let Err(error) = told {
                tracing::error!(service = %name, %error, ?command, "a command did not reach the leading room; give it again");
            }
        });
    }

    fn sampled(&mut self, sample: &Input) {
        match sample {
            Input::Seen(activity) => self.seat.face.counts.uses += u64::from(activity.used),
            _ => self.seat.face.counts.losses += 1,
        }
    }

    fn store(&self) -> (Arc<dyn crate::store::Store>, crate::engine::id::ServiceName) {
        let setup = &self.seat.setup;
        (Arc::clone(&setup.store), setup.name.clone())
    }
}

enum Tell {
    Words(String),
    Hold(HoldWish),
}

fn not_shared() -> StoreError {
    StoreError::Unavailable("the store has one room only".into())
}
