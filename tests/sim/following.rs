//! A room that follows: it acts by what its leader says, and takes the service over when nobody leads.

use crate::driver::{Process, Role};
use crate::mutants::Bug;
use crate::plan::SECOND;
use crate::store::Envelope;
use crate::world::{Event, World};

/// A Traefik that does not do yet what it was told is told again after that.
const ROUTE_AGAIN: u64 = 3 * SECOND;

impl World {
    pub(crate) fn contact_follower(&mut self, life: u64) {
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
        if let Some(envelope) = words.filter(|it| it.mark != seen).cloned() {
            self.adopt(life, envelope);
        }
        let led = self.store.kept.lease_until > now;
        if !led || self.has(Bug::LeaseIsGivenWhileAnotherLives) && self.mishap(1) {
            self.take_lease(life);
        }
    }

    fn take_lease(&mut self, life: u64) {
        let now = self.now;
        // Nobody leads twice within a millisecond: ids are told apart by the clock.
        let back = |it: &mut Process| it.room.led_at == Some(now);
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
    pub(crate) fn route(&mut self, life: u64) {
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
}
