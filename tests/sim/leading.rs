//! A room that leads: it tells the others how the service is, hears of their use, and waits for them before a stop.

use anteroom::engine::contract::{Activity, Input, Routing, Source, Trigger, TriggerBy};
use anteroom::engine::id::OpId;
use anteroom::engine::rooms::{Heard, Mark, SILENT_AFTER};
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;

use crate::driver::{Process, Role};
use crate::mutants::Bug;
use crate::plan::SECOND;
use crate::rooms::{Wait, What};
use crate::store::{Envelope, LEASE, Shown};
use crate::world::World;

/// The leader waits so long for all rooms to say that they have come along.
const AGREE_WITHIN: u64 = 30 * SECOND;

impl World {
    pub(crate) fn contact_leader(&mut self, life: u64) {
        let (now, stale) = (self.now, self.plan.policy.stale_after.0);
        let stale_after = self.plan.failover.then_some(stale);
        let Some(process) = self.process(life) else {
            return;
        };
        let epoch = process.epoch;
        let report = process.report(now, stale_after);
        if !self.store.is_owner(life, epoch) {
            if !self.has(Bug::DisownedLeaderGoesOn) {
                return self.stand_back(life);
            }
        } else {
            self.store.kept.lease_until = now + LEASE;
            if !self.has(Bug::LeaderIsNoRoom) {
                self.store.report(life, now, report);
            }
        }
        self.heard_of(life);
        self.tell(life);
        let others = self.others(life);
        let Some(process) = self.process(life) else {
            return;
        };
        process.room.led.beat_at = Some(now);
        let news = process.room.led.rooms.hear(others);
        for room in &news.forgotten {
            self.note(|| format!("room {room} is forgotten"));
            if let Ok(room) = room.parse() {
                self.store.kept.rooms.remove(&room);
            }
        }
        self.late(life);
        if news.lost {
            if let Some(process) = self.process(life) {
                process.watched.lost(Source::Edge, now);
            }
            self.give(life, Input::SignalLost(Source::Edge));
        }
        self.hear_wanted(life);
        // Who asks in another room keeps a failing wake alive, and calls back what is about to sleep: there it joins the wake
        // that the store has, which ends with the sleep.
        let concerned = |it: &mut Process| {
            matches!(
                it.view.phase,
                Phase::Failed | Phase::Diverting | Phase::Draining | Phase::Stopping
            )
        };
        let brought = std::mem::take(&mut self.store.kept.brought);
        let again = news.asked && self.process(life).is_some_and(concerned);
        for trigger in brought.into_iter().chain(again.then(asked)) {
            self.give(life, Input::Triggered(trigger));
        }
        self.agree(life);
    }

    /// The reports of the other rooms, spoiled or not.
    fn others(&mut self, life: u64) -> Vec<Heard> {
        let mut others = self.store.others(life, self.now);
        match self.bug {
            Some(Bug::SilentRoomIsIgnored) => others.retain(|it| it.age <= SILENT_AFTER),
            Some(Bug::LongConnectionsOfARoomAreForgotten) => {
                others.iter_mut().for_each(|it| it.report.long = 0);
            }
            Some(Bug::RoomIsNeverForgotten) => {
                let oldest = SILENT_AFTER + Span(1);
                others.iter_mut().for_each(|it| it.age = it.age.min(oldest));
            }
            _ => {}
        }
        others
    }

    /// Writes the envelope, if it was not told yet, and all other rooms hear of it.
    fn tell(&mut self, life: u64) {
        let once = self.has(Bug::EnvelopeIsToldOnce);
        let Some(process) = self.process(life) else {
            return;
        };
        let led = &mut process.room.led;
        let Some(envelope) = led.envelope.clone() else {
            return;
        };
        // Once more where a room has not heard it: the store may have lost it.
        let heard = once || led.rooms.unseen(envelope.mark).is_none();
        if led.told.replace(envelope.mark) == Some(envelope.mark) && heard {
            return;
        }
        self.store.kept.envelope = Some(envelope);
        let others = self.processes.iter().map(|it| it.life);
        for other in others.filter(|it| *it != life).collect::<Vec<_>>() {
            self.say_soon(other, 60);
        }
    }

    /// A wake that was admitted is asked of the leader until it is over.
    fn hear_wanted(&mut self, life: u64) {
        let wakes = self.store.kept.book.wakes(&self.store.name);
        let forgets = self.has(Bug::TakeOverForgetsTheWantedWake);
        let Some(process) = self.process(life) else {
            return;
        };
        if forgets && process.room.heard == 0 {
            process.room.heard = wakes.last;
        }
        // After a failover a number comes twice; but nobody is awaited by a service that sleeps.
        let again = process.view.phase == Phase::Asleep && !forgets;
        let news = wakes.last > process.room.heard || again;
        if let Some(trigger) = wakes.wanted.filter(|_| news) {
            process.room.heard = wakes.last;
            self.give(life, Input::Triggered(trigger));
        }
    }

    /// Lets everybody see the service as its engine has it now. While a new leader does not know yet, pages and
    /// gates stay as they were left.
    pub(crate) fn show(&mut self, life: u64) {
        let (shared, now) = (self.shared(), self.now);
        let Some(process) = self.process(life) else {
            return;
        };
        if shared && process.view.phase == Phase::Learning {
            return;
        }
        let view = &process.view;
        process.edge.open = !view.upstreams.is_empty();
        let same = process.room.shown.version == view.version
            && process.room.shown.phase == view.phase
            && process.room.shown.upstreams == view.upstreams;
        if !same {
            process.room.shown_since = now;
            process.room.shown = Shown {
                phase: view.phase,
                version: view.version,
                upstreams: view.upstreams.clone(),
            };
        }
        if shared && process.role == Role::Leads {
            self.compose(life);
        }
    }

    pub(crate) fn tell_routing(&mut self, life: u64, routing: &Routing) {
        if let Some(process) = self.process(life) {
            process.room.routing = Some(routing.clone());
            if process.role == Role::Leads && self.shared() {
                self.compose(life);
            }
        }
    }

    fn compose(&mut self, life: u64) {
        let Some(process) = self.process(life) else {
            return;
        };
        let (epoch, reign, room) = (process.epoch, process.reign, &mut process.room);
        let routing = room.routing.clone().unwrap_or(Routing::Asleep);
        let last = room.led.envelope.as_ref();
        if last.is_some_and(|it| it.shown == room.shown && it.routing == routing) {
            return;
        }
        let seq = last.map_or(0, |it| it.mark.seq) + 1;
        // A wiped store gives an epoch once more.
        let mark = Mark {
            epoch,
            seq,
            life: reign,
        };
        let closes = room.shown.upstreams.is_empty() && routing == Routing::Asleep;
        room.led.closed = closes.then(|| room.led.closed.unwrap_or(mark));
        let shown = room.shown.clone();
        room.led.envelope = Some(Envelope {
            mark,
            routing,
            shown,
        });
        self.say_soon(life, 5);
    }

    /// The answer comes when all rooms have come along.
    pub(crate) fn wait_for_rooms(&mut self, life: u64, op: OpId, what: What) {
        let until = self.now + AGREE_WITHIN;
        if self.process(life).map(|it| it.role) == Some(Role::Provisional) {
            return match what {
                What::Routing => self.answer(life, Input::Diverted(op, Ok(()))),
                What::Closing => self.look(life, op),
                What::Draining(_) => self.answer(life, drained(op, Err("alone".into()))),
            };
        }
        if let Some(process) = self.process(life) {
            let mark = process.room.led.envelope.as_ref().map(|it| it.mark);
            let wait = Wait {
                op,
                what,
                until,
                mark,
            };
            process.room.led.waits.push(wait);
            self.say_soon(life, 5);
        }
    }

    pub(crate) fn overdue(&mut self, life: u64) {
        let now = self.now;
        let Some(process) = self.process(life) else {
            return;
        };
        let waits = &mut process.room.led.waits;
        let late: Vec<Wait> = waits.extract_if(.., |wait| wait.until <= now).collect();
        for Wait { op, what, .. } in late {
            let why = || Err("a room does not come along".into());
            let input = match what {
                What::Routing => Input::Diverted(op, why()),
                What::Closing => Input::LookedOnce(op, why().map(|()| Vec::new())),
                What::Draining(_) => drained(op, why().map(|()| None)),
            };
            self.answer(life, input);
        }
    }

    /// After a beat: what waited for the others and waits no more.
    fn agree(&mut self, life: u64) {
        self.overdue(life);
        let (diverted, closed) = (self.all_diverted(life), self.all_closed(life));
        let hasty = self.has(Bug::DrainDoesNotWaitForRooms);
        let Some(process) = self.process(life) else {
            return;
        };
        let led = &mut process.room.led;
        let (told, rooms, waits) = (led.told, &led.rooms, &mut led.waits);
        let came_along = |mark: Option<Mark>| {
            let all = |mark| rooms.unseen(mark).is_none() && rooms.unrouted(mark).is_none();
            mark.is_some_and(|mark| told >= Some(mark) && all(mark))
        };
        let ready = |wait: &mut Wait| match wait.what {
            What::Routing => diverted,
            What::Closing => closed,
            What::Draining(_) => hasty || came_along(wait.mark),
        };
        let ready: Vec<Wait> = waits.extract_if(.., ready).collect();
        for Wait { op, what, .. } in ready {
            match what {
                What::Routing => self.answer(life, Input::Diverted(op, Ok(()))),
                What::Closing => self.look(life, op),
                What::Draining(_) => self.answer(life, drained(op, Ok(None))),
            }
        }
    }

    fn all_diverted(&mut self, life: u64) -> bool {
        let hasty = self.has(Bug::DivertDoesNotWaitForRooms);
        let Some(process) = self.process(life) else {
            return false;
        };
        let led = &process.room.led;
        let asleep = led.envelope.as_ref();
        let Some(envelope) = asleep.filter(|it| it.routing == Routing::Asleep) else {
            return false;
        };
        let told = led.told == Some(envelope.mark);
        told && (hasty || led.rooms.unrouted(envelope.mark).is_none())
    }

    /// Every room says that its gate is closed, and none is silent.
    fn all_closed(&mut self, life: u64) -> bool {
        let now = self.now;
        let hasty = self.has(Bug::LastLookDoesNotWaitForRooms);
        let Some(process) = self.process(life) else {
            return false;
        };
        let led = &process.room.led;
        let Some(mark) = led.closed else { return false };
        let heard = led.beat_at.is_some_and(|at| now <= at + SILENT_AFTER.0);
        let told = led.told >= Some(mark);
        let seen = led.rooms.unseen(mark).is_none() && led.rooms.silent().next().is_none();
        hasty || heard && told && seen
    }

    /// No stop before every room says that nobody gets in any more.
    pub(crate) fn all_agree(&mut self, life: u64) -> bool {
        !self.shared() || self.all_closed(life)
    }

    /// Whether the service is surely still ours, and what was known when the stop was sent to the store at `since` still
    /// holds.
    pub(crate) fn lease_lives(&mut self, life: u64, since: u64) -> bool {
        if !self.shared()
            || self.has(Bug::StopLeavesAfterTheLease)
            || self.has(Bug::ProvisionalLeaderStops)
        {
            return true;
        }
        let now = self.now;
        let beat_at = self.process(life).and_then(|it| it.room.led.beat_at);
        beat_at.is_some_and(|at| now < at.min(since) + LEASE)
    }

    /// The use through all rooms; none while it is unknown.
    pub(crate) fn edge_sample(&mut self, life: u64) -> Option<Activity> {
        let (now, shared) = (self.now, self.shared());
        let process = self.process(life)?;
        let own = process.edge.sample();
        if !shared || process.role != Role::Leads {
            return Some(own);
        }
        let room = &mut process.room;
        room.uses += u64::from(own.used);
        let fresh = room.led.beat_at? + SILENT_AFTER.0 >= now;
        room.led.rooms.sum(own).filter(|_| fresh)
    }
}

fn drained(op: OpId, open: Result<Option<u32>, String>) -> Input {
    Input::Fleet(op, anteroom::engine::fleet::Heard::Drained(open))
}

/// Somebody asked in a room that follows.
pub(crate) fn asked() -> Trigger {
    Trigger {
        by: TriggerBy::Page,
        who: "198.51.100.0/24".into(),
        path: "/".into(),
    }
}
