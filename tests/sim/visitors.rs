//! People, their requests, and the monitors.

use std::collections::BTreeMap;

use anteroom::engine::contract::{Activity, Input, Source, Trigger, TriggerBy, Upstream};
use anteroom::engine::view::Phase;

use crate::driver::Edge;
use crate::invariants::GAP_MAX;
use crate::plan::{MINUTE, SECOND};
use crate::world::{Event, World};

#[derive(Debug, Default)]
pub(crate) struct People {
    next: u64,
    persons: BTreeMap<u64, Person>,
    pub(crate) requests: BTreeMap<u64, Request>,
}

#[derive(Clone, Debug)]
struct Person {
    requests_left: u64,
    gives_up_at: u64,
    asks_again_at: u64,
    /// Opens a long connection, which passes the room also while awake.
    socket: bool,
    site: usize,
    /// Its page asks once and then listens.
    patient: bool,
    address: u8,
}

/// A request that the app is answering.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) person: Option<u64>,
    pub(crate) way: Way,
    pub(crate) long: bool,
    /// So slow that a drain does not wait for it; only on the straight way.
    pub(crate) exempt: bool,
    /// Which app answers it.
    pub(crate) at: At,
}

/// The machine at which a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Seed,
    /// The clone's machine of this number.
    Vm(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Straight { site: usize },
    Room { site: usize, life: u64 },
}

impl Way {
    pub(crate) fn site(self) -> usize {
        match self {
            Way::Straight { site } | Way::Room { site, .. } => site,
        }
    }
}

impl People {
    /// The process through which a request goes.
    pub(crate) fn through(&self, id: u64) -> Option<u64> {
        match self.requests.get(&id)?.way {
            Way::Straight { .. } => None,
            Way::Room { life, .. } => Some(life),
        }
    }

    pub(crate) fn in_use(&self) -> bool {
        self.requests
            .values()
            .any(|request| request.person.is_some())
    }
}

impl Edge {
    pub(crate) fn sample(&mut self) -> Activity {
        Activity {
            source: Source::Edge,
            used: std::mem::take(&mut self.used),
            in_flight: self.in_flight,
            long: self.long,
        }
    }
}

impl World {
    pub(crate) fn visit(&mut self) {
        if !self.lively() {
            return;
        }
        let crowd = if self.rng.chance(30) {
            40
        } else {
            self.rng.within(1, 3)
        };
        for _ in 0..crowd {
            self.somebody_comes();
        }
        let next = self.rng.within(1, self.plan.visit_every * 2);
        self.after(next, Event::Visit);
    }

    pub(crate) fn somebody_comes(&mut self) {
        self.people.next += 1;
        let id = self.people.next;
        let person = Person {
            requests_left: self.rng.within(1, if self.shared() { 4 } else { 12 }),
            gives_up_at: self.now + self.rng.within(1, 15) * MINUTE,
            asks_again_at: 0,
            socket: self.rng.chance(if self.shared() { 60 } else { 120 }),
            site: self.some_site(),
            patient: self.shared() && self.rng.chance(400),
            address: self.some_address(),
        };
        self.people.persons.insert(id, person);
        let delay = self.rng.within(0, 2_000);
        self.after(delay, Event::Person(id));
    }

    pub(crate) fn the_last_comes_again(&mut self) {
        let id = self.people.next + 1;
        self.somebody_comes();
        if let Some((site, address)) = self.facts.woken_by
            && let Some(person) = self.people.persons.get_mut(&id)
        {
            (person.site, person.address) = (site, address);
            person.socket = false;
        }
    }

    pub(crate) fn person_acts(&mut self, id: u64) {
        let Some(person) = self.people.persons.get(&id).cloned() else {
            return;
        };
        if person.gives_up_at <= self.now || !self.lively() {
            self.people.persons.remove(&id);
            return;
        }
        let retry = self.rng.within(2, 6) * SECOND;
        let site = person.site;
        if self.shared() && self.room_at(site).is_none() && self.rng.chance(300) {
            // The door is shut: perhaps the next one is open.
            let site = self.some_site();
            if let Some(person) = self.people.persons.get_mut(&id) {
                person.site = site;
            }
        }
        let upstreams = match person.socket {
            false => self.ways[site].leads_to().to_vec(),
            true => Vec::new(),
        };
        let is_led = !upstreams.is_empty();
        match self.one_that_answers(&upstreams) {
            Some(at) => self.begin_request(Some(id), Way::Straight { site }, false, at),
            None if is_led => {
                self.suspect(site);
                self.at_the_room(id, &person);
                self.after(retry, Event::Person(id));
            }
            None => {
                if !self.at_the_room(id, &person) {
                    self.after(retry, Event::Person(id));
                }
            }
        }
    }

    /// Whether the room lets the person in; otherwise the page asks for a wake.
    fn at_the_room(&mut self, id: u64, person: &Person) -> bool {
        let (site, now) = (person.site, self.now);
        let Some(room) = self.room_at(site).filter(|room| room.paused_until <= now) else {
            return false;
        };
        let (life, open, phase) = (room.life, room.edge.open, room.room.shown.phase);
        let upstreams = room.room.shown.upstreams.clone();
        if open && !upstreams.is_empty() {
            if let Some(at) = self.one_that_answers(&upstreams) {
                self.begin_request(Some(id), Way::Room { site, life }, person.socket, at);
                return true;
            }
            self.suspect(site);
        } else if phase != Phase::Awake && person.asks_again_at <= self.now {
            if let Some(person) = self.people.persons.get_mut(&id) {
                let patience = if person.patient {
                    60 * MINUTE
                } else {
                    30 * SECOND
                };
                person.asks_again_at = self.now + patience;
            }
            self.note(|| format!("visitor {id} asks for a wake"));
            let taken = match self.shared() {
                true => self.ask(life, person.address),
                false => {
                    self.trigger(TriggerBy::Page);
                    true
                }
            };
            if !taken && let Some(person) = self.people.persons.get_mut(&id) {
                person.asks_again_at = self.now + 60 * SECOND;
            }
        }
        false
    }

    /// Any of these, or another where that one is dead.
    fn one_that_answers(&mut self, upstreams: &[Upstream]) -> Option<At> {
        let any = match upstreams.len() {
            0 | 1 => upstreams.first(),
            _ => Some(self.rng.pick(&upstreams.iter().collect::<Vec<_>>())),
        };
        let any = any.and_then(|up| self.answers_at(up.address));
        any.or_else(|| upstreams.iter().find_map(|up| self.answers_at(up.address)))
    }

    /// Whoever could not reach the app says so to the leader, where it is at hand.
    fn suspect(&mut self, site: usize) {
        let now = self.now;
        if let Some(room) = self.room_at(site).filter(|room| room.paused_until <= now) {
            let life = room.life;
            self.give(life, Input::Suspected(None));
        }
    }

    fn some_site(&mut self) -> usize {
        let last = self.plan.rooms - 1;
        match last {
            0 => 0,
            _ => self.rng.within(0, last as u64) as usize,
        }
    }

    fn some_address(&mut self) -> u8 {
        match self.shared() {
            true => self.rng.within(1, 4) as u8,
            false => 1,
        }
    }

    pub(crate) fn trigger(&mut self, by: TriggerBy) {
        let who = "198.51.100.0/24".into();
        let path = "/".into();
        self.give_owner(Input::Triggered(Trigger { by, who, path }));
    }

    fn begin_request(&mut self, person: Option<u64>, way: Way, long: bool, at: At) {
        let drain = self.plan.policy.drain_timeout.0;
        let takes = match self.rng.within(0, 99) {
            _ if person.is_none() => self.rng.within(10, 6 * SECOND),
            _ if long && self.shared() => self.rng.within(10 * SECOND, 20 * MINUTE),
            _ if long => self.rng.within(10 * SECOND, 70 * MINUTE),
            0 => self.rng.within(2, 20) * MINUTE,
            1..=20 => self.rng.within(SECOND, drain - 1),
            21..=25 => self.rng.within(drain * 4 / 5, drain - 1),
            _ => self.rng.within(10, SECOND),
        };
        let exempt = matches!(way, Way::Straight { .. }) && takes >= drain;
        let now = self.now;
        if person.is_some() && !exempt {
            self.used(way.site(), now);
        }
        if let Way::Room { life, .. } = way
            && let Some(process) = self.process(life)
        {
            process.edge.used |= person.is_some();
            match long {
                true => process.edge.long += 1,
                false => process.edge.in_flight += 1,
            }
        }
        self.people.next += 1;
        let id = self.people.next;
        let request = Request {
            person,
            way,
            long,
            exempt,
            at,
        };
        self.people.requests.insert(id, request);
        self.after(takes, Event::RequestEnds(id));
    }

    pub(crate) fn request_ends(&mut self, id: u64) {
        let Some(person) = self.close_request(id) else {
            return;
        };
        let Some(visitor) = self.people.persons.get_mut(&person) else {
            return;
        };
        visitor.requests_left = visitor.requests_left.saturating_sub(1);
        if visitor.requests_left == 0 {
            self.people.persons.remove(&person);
        } else {
            visitor.gives_up_at = self.now + 10 * MINUTE;
            let pause = self.rng.within(SECOND, 100 * SECOND);
            self.after(pause, Event::Person(person));
        }
    }

    /// Somebody used the service. What nobody can know does not count.
    fn used(&mut self, site: usize, now: u64) {
        self.facts.any_use = now;
        if !self.is_beyond_reach(site) {
            let pause = self.plan.policy.idle_timeout.0.saturating_sub(GAP_MAX);
            self.facts.used(site, now, pause);
        }
    }

    /// Ends a request and counts it; says whose it was.
    fn close_request(&mut self, id: u64) -> Option<u64> {
        let request = self.people.requests.remove(&id)?;
        match request.way {
            Way::Straight { site } => self.ways[site].count += 1,
            Way::Room { life, .. } => {
                if let Some(process) = self.process(life) {
                    process.edge.used |= request.person.is_some();
                    match request.long {
                        true => process.edge.long -= 1,
                        false => process.edge.in_flight -= 1,
                    }
                }
            }
        }
        if request.person.is_some() {
            self.used(request.way.site(), self.now);
        }
        request.person
    }

    /// The machine or the app went away from under its visitors.
    pub(crate) fn break_requests(&mut self, at: At) {
        let all = self.people.requests.iter();
        let ids = all.filter(|(_, it)| it.at == at).map(|(id, _)| *id);
        let ids: Vec<u64> = ids.collect();
        for id in ids {
            if let Some(person) = self.close_request(id) {
                self.after(2 * SECOND, Event::Person(person));
            }
        }
    }

    /// The site is gone, with its Traefik and its room.
    pub(crate) fn cut_visitors(&mut self, site: usize) {
        self.cut(|request| request.way.site() == site);
    }

    /// The process through which they came is gone; it can count them no more.
    pub(crate) fn cut_room_connections(&mut self, site: usize) {
        self.cut(
            |request| matches!(request.way, Way::Room { site: through, .. } if through == site),
        );
    }

    fn cut(&mut self, through: impl Fn(&Request) -> bool) {
        let ids = self
            .people
            .requests
            .iter()
            .filter(|(_, request)| through(request));
        let ids: Vec<u64> = ids.map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(person) = self.close_request(id) {
                self.after(3 * SECOND, Event::Person(person));
            }
        }
    }

    /// A monitor's GET wakes nobody and keeps nothing awake. On the straight way it could not be told from a
    /// visitor, so it comes through the room alone.
    pub(crate) fn monitor_comes(&mut self) {
        if let Some(every) = self.plan.monitor_every {
            self.after(every, Event::Monitor);
        }
        let (site, now) = (self.some_site(), self.now);
        if self.ways[site].straight_to().is_some() {
            return;
        }
        let Some(room) = self.room_at(site).filter(|room| room.paused_until <= now) else {
            return;
        };
        let (life, upstreams) = (room.life, room.room.shown.upstreams.clone());
        let open = room.edge.open;
        if open && let Some(at) = self.one_that_answers(&upstreams) {
            self.begin_request(None, Way::Room { site, life }, false, at);
        }
    }
}
