//! People, their requests, and the monitors.

use std::collections::BTreeMap;

use anteroom::engine::contract::{Activity, Input, Source, Trigger, TriggerBy};
use anteroom::engine::view::Phase;

use crate::driver::Edge;
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
}

/// A request that the app is answering.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) person: Option<u64>,
    pub(crate) way: Way,
    pub(crate) long: bool,
    /// So slow that a drain does not wait for it; only on the straight way.
    pub(crate) exempt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Straight,
    Room { life: u64 },
}

impl People {
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
        if !self.stormy() {
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
            requests_left: self.rng.within(1, 12),
            gives_up_at: self.now + self.rng.within(1, 15) * MINUTE,
            asks_again_at: 0,
            socket: self.rng.chance(120),
        };
        self.people.persons.insert(id, person);
        let delay = self.rng.within(0, 2_000);
        self.after(delay, Event::Person(id));
    }

    pub(crate) fn person_acts(&mut self, id: u64) {
        let Some(person) = self.people.persons.get(&id).cloned() else {
            return;
        };
        if person.gives_up_at <= self.now || !self.stormy() {
            self.people.persons.remove(&id);
            return;
        }
        let retry = self.rng.within(2, 6) * SECOND;
        match self.way.straight_to().filter(|_| !person.socket) {
            Some(address) if self.cloud.answers_at(address) => {
                self.begin_request(Some(id), Way::Straight, false);
            }
            Some(_) => {
                self.give_owner(Input::Suspected);
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
        let Some(owner) = self.owner() else {
            return false;
        };
        let (life, open, phase) = (owner.life, owner.edge.open, owner.view.phase);
        let upstream = owner.view.upstreams.first().copied();
        if open && let Some(upstream) = upstream {
            if self.cloud.answers_at(upstream.address) {
                self.begin_request(Some(id), Way::Room { life }, person.socket);
                return true;
            }
            self.give_owner(Input::Suspected);
        } else if phase != Phase::Awake && person.asks_again_at <= self.now {
            if let Some(person) = self.people.persons.get_mut(&id) {
                person.asks_again_at = self.now + 30 * SECOND;
            }
            self.note(|| format!("visitor {id} asks for a wake"));
            self.trigger(TriggerBy::Page);
        }
        false
    }

    pub(crate) fn trigger(&mut self, by: TriggerBy) {
        let who = "198.51.100.0/24".into();
        let path = "/".into();
        self.give_owner(Input::Triggered(Trigger { by, who, path }));
    }

    fn begin_request(&mut self, person: Option<u64>, way: Way, long: bool) {
        let drain = self.plan.policy.drain_timeout.0;
        let takes = match self.rng.within(0, 99) {
            _ if person.is_none() => self.rng.within(10, 6 * SECOND),
            _ if long => self.rng.within(10 * SECOND, 70 * MINUTE),
            0 => self.rng.within(2, 20) * MINUTE,
            1..=20 => self.rng.within(SECOND, drain - 1),
            21..=25 => self.rng.within(drain * 4 / 5, drain - 1),
            _ => self.rng.within(10, SECOND),
        };
        let exempt = way == Way::Straight && takes >= drain;
        let now = self.now;
        if person.is_some() && !exempt {
            self.facts.used(now);
        }
        if let Way::Room { life } = way
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

    /// Ends a request and counts it; says whose it was.
    fn close_request(&mut self, id: u64) -> Option<u64> {
        let request = self.people.requests.remove(&id)?;
        match request.way {
            Way::Straight => self.way.count += 1,
            Way::Room { life } => {
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
            let now = self.now;
            self.facts.used(now);
        }
        request.person
    }

    /// The machine or the app went away from under its visitors.
    pub(crate) fn break_requests(&mut self) {
        let ids: Vec<u64> = self.people.requests.keys().copied().collect();
        for id in ids {
            if let Some(person) = self.close_request(id) {
                self.after(2 * SECOND, Event::Person(person));
            }
        }
    }

    /// The process through which they came is gone; it can count them no more.
    pub(crate) fn cut_room_connections(&mut self) {
        let through = |request: &Request| matches!(request.way, Way::Room { .. });
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
        if self.way.straight_to().is_some() {
            return;
        }
        let Some(owner) = self.owner() else { return };
        let (life, upstream) = (owner.life, owner.view.upstreams.first().copied());
        let open = owner.edge.open;
        if open && upstream.is_some_and(|up| self.cloud.answers_at(up.address)) {
            self.begin_request(None, Way::Room { life }, false);
        }
    }
}
