//! Many rooms on one store: one leads under a lease, the others follow. Reports are summed up by the shipped
//! `engine::rooms`; what a driver does with the sum is here.

use anteroom::engine::contract::{Activity, Input, Routing, Source, Trigger, TriggerBy};
use anteroom::engine::id::OpId;
use anteroom::engine::rooms::{Mark, Report, Rooms, SILENT_AFTER};
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;

use crate::door::Door;
use crate::driver::{Process, Role};
use crate::mutants::Bug;
use crate::plan::{MINUTE, Plan, SECOND};
use crate::store::{Envelope, LEASE, Shown};
use crate::world::{Event, World};

/// Between two signs of life.
const BEAT: u64 = 800;

/// The leader waits so long for all rooms to say that they have come along.
const AGREE_WITHIN: u64 = 30 * SECOND;

/// A Traefik that does not do yet what it was told is told again after that.
const ROUTE_AGAIN: u64 = 3 * SECOND;

/// What a process knows as a room, whether it leads or follows.
#[derive(Debug)]
pub(crate) struct Room {
    /// What it acts by.
    pub(crate) shown: Shown,
    /// Since when, where it leads.
    pub(crate) shown_since: u64,
    /// The last time that the store could not be reached.
    pub(crate) out_of_touch_at: u64,
    /// The envelope by which it acts.
    seen: Mark,
    routing: Option<Routing>,
    /// What its Traefik is known to do.
    in_force: Option<Routing>,
    routed: Mark,
    route_turn: u64,
    uses: u64,
    pub(crate) asks: u64,
    pub(crate) losses: u64,
    born: u64,
    /// The last time that the store answered.
    contact_at: u64,
    says_soon: bool,
    follows_since: u64,
    pub(crate) door: Door,
    /// The last wake that it has heard of as the leader.
    pub(crate) heard: u64,
    led: Led,
}

/// What a leader knows.
#[derive(Debug)]
struct Led {
    /// The last beat that the store took.
    beat_at: Option<u64>,
    envelope: Option<Envelope>,
    told: Option<Mark>,
    /// Since which envelope all gates are to be closed and all visitors led to the rooms.
    closed: Option<Mark>,
    rooms: Rooms,
    waits: Vec<Wait>,
}

/// An answer that waits for the other rooms.
#[derive(Clone, Copy, Debug)]
struct Wait {
    op: OpId,
    what: What,
    until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Routing,
    Closing,
}

impl Led {
    fn new(rooms: Rooms) -> Led {
        Led {
            beat_at: None,
            envelope: None,
            told: None,
            closed: None,
            rooms,
            waits: Vec::new(),
        }
    }
}

impl Room {
    pub(crate) fn new(plan: &Plan, now: u64) -> Room {
        let shown = Shown {
            phase: Phase::Learning,
            version: 0,
            upstreams: Vec::new(),
        };
        Room {
            shown,
            shown_since: now,
            out_of_touch_at: 0,
            seen: Mark::default(),
            routing: None,
            in_force: None,
            routed: Mark::default(),
            route_turn: 0,
            uses: 0,
            asks: 0,
            losses: 0,
            born: now,
            contact_at: now,
            says_soon: false,
            follows_since: now,
            door: Door::default(),
            heard: 0,
            led: Led::new(Rooms::new(plan.policy.idle_timeout)),
        }
    }

    pub(crate) fn lead(&mut self, now: u64, rooms: Rooms) {
        self.led = Led::new(rooms);
        self.shown_since = now;
        self.led.beat_at = Some(now);
        self.heard = 0;
        self.in_force = None;
        self.route_turn += 1;
    }

    pub(crate) fn follow(&mut self, now: u64) {
        self.follows_since = now;
        self.led.waits.clear();
        self.seen = Mark::default();
        self.routed = Mark::default();
        self.in_force = None;
    }

    fn report(&mut self, now: u64, edge: &mut crate::driver::Edge, follows: bool) -> Report {
        // A leader takes its own use along in its sum.
        if follows && std::mem::take(&mut edge.used) {
            self.uses += 1;
        }
        Report {
            uses: self.uses,
            in_flight: edge.in_flight,
            long: edge.long,
            asks: self.asks,
            losses: self.losses,
            seen: self.seen,
            routed: self.routed,
            age: Span(now - self.born),
        }
    }
}

impl Process {
    fn report(&mut self, now: u64, stale_after: Option<u64>) -> Report {
        let follows = self.role == Role::Follows;
        if follows && stale_after.is_some_and(|after| now > self.baseline_at + after) {
            self.room.losses += 1;
        }
        self.room.report(now, &mut self.edge, follows)
    }
}

impl World {
    /// A room's regular sign of life.
    pub(crate) fn beat(&mut self, life: u64) {
        if self.process(life).is_some() {
            self.after(BEAT, Event::Beat { life });
            self.contact(life);
        }
    }

    /// Says what there is to say very soon.
    fn say_soon(&mut self, life: u64, within: u64) {
        let delay = self.rng.within(0, within);
        if let Some(process) = self.process(life)
            && !std::mem::replace(&mut process.room.says_soon, true)
        {
            self.after(delay, Event::Contact { life });
        }
    }

    pub(crate) fn reaches_store(&mut self, life: u64) -> bool {
        let (now, down_until) = (self.now, self.store.down_until);
        let reaches = |it: &mut Process| now >= it.cut_until && now >= it.paused_until;
        now >= down_until && self.process(life).is_some_and(reaches)
    }

    pub(crate) fn contact(&mut self, life: u64) {
        let lost = self.plan.store_faults > 0 && self.mishap(self.plan.store_faults / 10);
        let Some(process) = self.process(life) else {
            return;
        };
        process.room.says_soon = false;
        let role = process.role;
        if lost || !self.reaches_store(life) {
            return self.no_contact(life, role);
        }
        match role {
            Role::Leads => self.contact_leader(life),
            Role::Follows => self.contact_follower(life),
            Role::Provisional => {
                // Whoever leads must hear that the service is wanted.
                let wakes = |it: &Process| matches!(it.view.phase, Phase::Waking | Phase::Awake);
                if self.process(life).is_some_and(|it| wakes(it)) {
                    self.store.kept.brought.push(asked());
                }
                self.stand_back(life);
            }
        }
    }

    /// A follower that hears nothing for the idle timeout closes its gate: it may be forgotten soon.
    fn no_contact(&mut self, life: u64, role: Role) {
        self.overdue(life);
        let (now, patience) = (self.now, self.plan.policy.idle_timeout.0);
        let Some(process) = self.process(life) else {
            return;
        };
        let room = &mut process.room;
        room.out_of_touch_at = now;
        let silent = now > room.contact_at + patience && room.seen != Mark::default();
        if role == Role::Follows && silent {
            process.edge.open = false;
            room.seen = Mark::default();
            room.shown.phase = Phase::Learning;
            room.shown.upstreams.clear();
            room.routing = Some(Routing::Asleep);
            self.note(|| format!("life {life} closes its gate: it hears nothing"));
            self.route(life);
        }
    }

    /// The store has heard of the room. A room's next life speaks for its last.
    fn heard_of(&mut self, life: u64) {
        let now = self.now;
        let Some(process) = self.process(life) else {
            return;
        };
        process.room.contact_at = now;
        let site = process.site;
        let way = &mut self.ways[site];
        way.told_at = now;
        if let Some(last) = way.room.replace(life).filter(|last| *last != life) {
            self.store.kept.rooms.remove(&last);
        }
    }

    fn contact_leader(&mut self, life: u64) {
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
        // Who asks in another room keeps a failing wake alive.
        let failed = |it: &mut Process| it.view.phase == Phase::Failed;
        let brought = std::mem::take(&mut self.store.kept.brought);
        let again = news.asked && self.process(life).is_some_and(failed);
        for trigger in brought.into_iter().chain(again.then(asked)) {
            self.give(life, Input::Triggered(trigger));
        }
        self.agree(life);
    }

    /// The reports of the other rooms, spoiled or not.
    fn others(&mut self, life: u64) -> Vec<anteroom::engine::rooms::Heard> {
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

    fn contact_follower(&mut self, life: u64) {
        let (now, stale) = (self.now, self.plan.policy.stale_after.0);
        let stale_after = self.plan.failover.then_some(stale);
        let Some(process) = self.process(life) else {
            return;
        };
        let report = process.report(now, stale_after);
        let seen = process.room.seen;
        self.heard_of(life);
        self.store.report(life, now, report);
        self.late(life);
        let words = self.store.kept.envelope.as_ref();
        // After a second wipe the same mark may be another leader's.
        let known = self.known(life);
        let hasty = self.has(Bug::MarkIsTakenForTheWord);
        let news =
            |it: &&Envelope| it.mark != seen || !hasty && known != Some((&it.shown, &it.routing));
        if let Some(envelope) = words.filter(news).cloned() {
            self.adopt(life, envelope);
        }
        let led = self.store.kept.lease_until > now;
        if !led || self.has(Bug::LeaseIsGivenWhileAnotherLives) && self.mishap(1) {
            self.take_lease(life);
        }
    }

    /// What the room acts by.
    fn known(&self, life: u64) -> Option<(&Shown, &Routing)> {
        let room = self.processes.iter().find(|it| it.life == life)?;
        Some((&room.room.shown, room.room.routing.as_ref()?))
    }

    fn take_lease(&mut self, life: u64) {
        let now = self.now;
        // Nobody leads twice within a millisecond: ids are told apart by the clock.
        let back = |it: &mut Process| it.room.follows_since == now && it.began < now;
        if self.process(life).is_some_and(back) {
            return;
        }
        let free = self.store.is_free(life, now);
        if !free && !self.has(Bug::LeaseIsGivenWhileAnotherLives) {
            return;
        }
        if !free {
            self.breaks("I8", || {
                format!("life {life} leads while another's lease lives")
            });
        }
        self.disturb();
        self.claim(life);
        self.say_soon(life, 5);
    }

    /// A follower acts by what its leader says.
    fn adopt(&mut self, life: u64, envelope: Envelope) {
        let now = self.now;
        let Some(process) = self.process(life) else {
            return;
        };
        let Envelope {
            mark,
            routing,
            shown,
        } = envelope;
        let closes = shown.upstreams.is_empty();
        process.edge.open = !closes;
        process.room.shown = shown;
        process.room.seen = mark;
        process.room.routing = Some(routing);
        let site = process.site;
        if closes && self.plan.failover {
            let lost = now < self.facts.traefik_silent_until;
            let count = self.ways[site].count;
            match lost || self.mishap(self.plan.signal_faults) {
                true => self.lose_traefik(life),
                false => self.traefik_seen(life, count, now),
            }
        }
        self.route(life);
        self.say_soon(life, 20);
    }

    /// A follower leads its own Traefik where the leader says.
    fn route(&mut self, life: u64) {
        let failover = self.plan.failover;
        let Some(process) = self.process(life) else {
            return;
        };
        let (site, room) = (process.site, &mut process.room);
        let Some(routing) = room.routing.clone() else {
            return;
        };
        room.route_turn += 1;
        if !failover || room.in_force.as_ref() == Some(&routing) {
            room.routed = room.seen;
            return;
        }
        room.in_force = None;
        let turn = room.route_turn;
        let takes = self.rng.within(50, self.plan.publish_takes);
        self.ways[site].turn += 1;
        let event = Event::RoutingTakes {
            site,
            turn: self.ways[site].turn,
            routing,
        };
        match self.mishap(self.plan.way_faults) {
            false => self.after(takes, event),
            true if self.rng.chance(500) => self.after(takes + 45 * SECOND, event),
            true => {}
        }
        self.after(takes + 20, Event::RoutingLook { life, turn });
    }

    pub(crate) fn routing_look(&mut self, life: u64, turn: u64) {
        let Some(process) = self.process(life) else {
            return;
        };
        let (site, room) = (process.site, &process.room);
        if room.route_turn != turn || process.role == Role::Leads {
            return;
        }
        let Some(routing) = room.routing.clone() else {
            return;
        };
        let done = self.ways[site].in_force == routing;
        let Some(process) = self.process(life) else {
            return;
        };
        if done {
            process.room.in_force = Some(routing);
            process.room.routed = process.room.seen;
            return self.say_soon(life, 20);
        }
        self.route_again(life);
    }

    fn route_again(&mut self, life: u64) {
        let failover = self.plan.failover;
        let Some(process) = self.process(life) else {
            return;
        };
        let site = process.site;
        process.room.route_turn += 1;
        let turn = process.room.route_turn;
        let routing = process.room.routing.clone().filter(|_| failover);
        let Some(routing) = routing else { return };
        self.ways[site].turn += 1;
        let event = Event::RoutingTakes {
            site,
            turn: self.ways[site].turn,
            routing,
        };
        self.after(ROUTE_AGAIN - 50, event);
        self.after(ROUTE_AGAIN, Event::RoutingLook { life, turn });
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
        let (epoch, room) = (process.epoch, &mut process.room);
        let routing = room.routing.clone().unwrap_or(Routing::Asleep);
        let last = room.led.envelope.as_ref();
        if last.is_some_and(|it| it.shown == room.shown && it.routing == routing) {
            return;
        }
        let seq = last.map_or(0, |it| it.mark.seq) + 1;
        let mark = Mark { epoch, seq };
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
            };
        }
        if let Some(process) = self.process(life) {
            process.room.led.waits.push(Wait { op, what, until });
            self.say_soon(life, 5);
        }
    }

    fn overdue(&mut self, life: u64) {
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
            };
            self.answer(life, input);
        }
    }

    /// After a beat: what waited for the others and waits no more.
    fn agree(&mut self, life: u64) {
        self.overdue(life);
        let (diverted, closed) = (self.all_diverted(life), self.all_closed(life));
        let Some(process) = self.process(life) else {
            return;
        };
        let ready = |wait: &mut Wait| match wait.what {
            What::Routing => diverted,
            What::Closing => closed,
        };
        let waits = &mut process.room.led.waits;
        let ready: Vec<Wait> = waits.extract_if(.., ready).collect();
        for Wait { op, what, .. } in ready {
            match what {
                What::Routing => self.answer(life, Input::Diverted(op, Ok(()))),
                What::Closing => self.look(life, op),
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

    pub(crate) fn pause(&mut self, life: u64, length: u64) {
        self.note(|| format!("life {life} is paused for {length} ms"));
        let until = self.now + length;
        if let Some(process) = self.process(life) {
            process.paused_until = process.paused_until.max(until);
        }
    }

    /// Beyond this nothing is promised to those inside a room of which the store has not heard: it is forgotten
    /// after the idle timeout and a minute; at once where the store lost its report, and then the idle time of a new
    /// leader begins anew.
    pub(crate) fn is_beyond_reach(&self, site: usize) -> bool {
        let told_at = self.ways[site].told_at;
        let lost = self.facts.wiped_at >= told_at;
        let margin = if lost { 0 } else { MINUTE };
        self.shared() && self.now > told_at + self.plan.policy.idle_timeout.0 + margin
    }
}

/// Somebody asked in a room that follows.
fn asked() -> Trigger {
    Trigger {
        by: TriggerBy::Page,
        who: "198.51.100.0/24".into(),
        path: "/".into(),
    }
}
