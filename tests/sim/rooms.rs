//! Many rooms on one store: one leads under a lease, the others follow. Reports are summed up by the shipped
//! `engine::rooms`; what a driver does with the sum is in `leading` and `following`.

use anteroom::engine::contract::Routing;
use anteroom::engine::id::{CloneId, OpId};
use anteroom::engine::rooms::{Mark, Report, Rooms};
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;

use crate::door::Door;
use crate::driver::{Process, Role};
use crate::leading::asked;
use crate::plan::{MINUTE, Plan};
use crate::store::{Envelope, Shown};
use crate::world::{Event, World};

/// Between two signs of life.
const BEAT: u64 = 800;

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
    pub(crate) seen: Mark,
    pub(crate) routing: Option<Routing>,
    /// What its Traefik is known to do.
    pub(crate) in_force: Option<Routing>,
    pub(crate) routed: Mark,
    pub(crate) route_turn: u64,
    pub(crate) uses: u64,
    pub(crate) asks: u64,
    pub(crate) losses: u64,
    pub(crate) born: u64,
    /// The last time that the store answered.
    pub(crate) contact_at: u64,
    pub(crate) says_soon: bool,
    /// When it last began to lead.
    pub(crate) led_at: Option<u64>,
    pub(crate) door: Door,
    /// The last wake that it has heard of as the leader.
    pub(crate) heard: u64,
    pub(crate) led: Led,
}

/// What a leader knows.
#[derive(Debug)]
pub(crate) struct Led {
    /// The last beat that the store took.
    pub(crate) beat_at: Option<u64>,
    pub(crate) envelope: Option<Envelope>,
    pub(crate) told: Option<Mark>,
    /// Since which envelope all gates are to be closed and all visitors led to the rooms.
    pub(crate) closed: Option<Mark>,
    pub(crate) rooms: Rooms,
    pub(crate) waits: Vec<Wait>,
}

/// An answer that waits for the other rooms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) op: OpId,
    pub(crate) what: What,
    pub(crate) until: u64,
    /// What was to be told when the question came.
    pub(crate) mark: Option<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Routing,
    Closing,
    /// Of a clone; the visitors of all rooms and of their Traefiks are led past it.
    Draining(CloneId),
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
            led_at: None,
            door: Door::default(),
            heard: 0,
            led: Led::new(Rooms::new(plan.policy.idle_timeout)),
        }
    }

    pub(crate) fn lead(&mut self, now: u64, rooms: Rooms) {
        self.led = Led::new(rooms);
        self.shown_since = now;
        self.led_at = Some(now);
        self.led.beat_at = Some(now);
        self.heard = 0;
        self.in_force = None;
        self.route_turn += 1;
    }

    pub(crate) fn follow(&mut self) {
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
            waiting: 0,
            asks: self.asks,
            losses: self.losses,
            seen: self.seen,
            routed: self.routed,
            age: Span(now - self.born),
        }
    }
}

impl Process {
    pub(crate) fn report(&mut self, now: u64, stale_after: Option<u64>) -> Report {
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
    pub(crate) fn say_soon(&mut self, life: u64, within: u64) {
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
                // Whoever leads must hear that the service is wanted, also where it was not known yet how it is.
                let wakes = |it: &Process| {
                    matches!(
                        it.view.phase,
                        Phase::Learning | Phase::Waking | Phase::Awake
                    )
                };
                if self.process(life).is_some_and(|it| wakes(it)) {
                    self.store.kept.brought.push(asked());
                }
                self.stand_back(life);
            }
        }
    }

    /// A follower that hears nothing for the idle timeout closes its gate: it may be forgotten soon.
    pub(crate) fn no_contact(&mut self, life: u64, role: Role) {
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
    pub(crate) fn heard_of(&mut self, life: u64) {
        let now = self.now;
        let Some(process) = self.process(life) else {
            return;
        };
        process.room.contact_at = now;
        let site = process.site;
        if self.is_forgotten(site) {
            self.ways[site].back_at = now;
        }
        let way = &mut self.ways[site];
        way.told_at = now;
        if let Some(last) = way.room.replace(life).filter(|last| *last != life) {
            self.store.kept.rooms.remove(&last);
        }
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
    /// Nobody who leads knows of it: the store has lost its last word, or it was silent for too long.
    pub(crate) fn is_forgotten(&self, site: usize) -> bool {
        let lost = self.shared() && self.facts.wiped_at >= self.ways[site].told_at;
        lost || self.is_beyond_reach(site)
    }

    pub(crate) fn is_beyond_reach(&self, site: usize) -> bool {
        let told_at = self.ways[site].told_at;
        let lost = self.facts.wiped_at >= told_at;
        let margin = if lost { 0 } else { MINUTE };
        self.shared() && self.now > told_at + self.plan.policy.idle_timeout.0 + margin
    }
}
