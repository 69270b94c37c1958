//! What must be true when a machine is stopped: the owner does it (I8), nobody gets in (I3), and nobody is inside (I2).

use anteroom::engine::contract::SleepWhy;

use crate::driver::{Process, Role};
use crate::invariants::slot;
use crate::plan::{CLOCKS_DIFFER, MINUTE, SECOND};
use crate::store::LEASE;
use crate::visitors::{At, Request};
use crate::world::World;

/// A stop comes at most so long after the last word of every room: the silence that is suffered, the last look, and
/// the write of the stop.
const SILENCE_MAX: u64 = 15 * SECOND;

impl World {
    /// I8: what an earlier owner does is not carried out after what a later one did.
    pub(crate) fn applied(&mut self, life: u64, reign: u64, what: &str) {
        let last = self.facts.reign_applied;
        self.facts.reign_applied = last.max(reign);
        if reign < last {
            self.breaks("I8", || {
                format!("{what} of life {life}, claim {reign}, after one of claim {last}")
            });
        }
    }

    pub(crate) fn check_stop(&mut self, life: u64) {
        self.counts.stops += 1;
        // A store that has lost its last writes has lost the lease too: for one lease's length two may act.
        if self.shared() && self.now < self.facts.wiped_at + LEASE {
            if let Some(process) = self.process(life) {
                process.watched.stop_asked = true;
            }
            return;
        }
        let rightful = self.owner().map(|owner| owner.life) == Some(life);
        let Some(process) = self.process(life) else {
            return;
        };
        let (role, epoch, reign) = (process.role, process.epoch, process.reign);
        if !rightful || role != Role::Leads {
            let owner = self.store.kept.epoch;
            self.breaks("I8", || {
                format!("a stop by life {life} ({role:?}, epoch {epoch}), and the owner is {owner}")
            });
        }
        self.applied(life, reign, "a stop");
        self.check_nobody_gets_in(life);
        let why = self.process(life).and_then(|it| it.last_stand);
        if matches!(why, Some(SleepWhy::Idle | SleepWhy::Admin)) {
            self.check_clones_went_first();
        }
        self.check_nobody_is_inside(life);
    }

    /// I3: at a stop all visitors are led to the rooms, and no room lets them through.
    pub(crate) fn check_nobody_gets_in(&mut self, life: u64) {
        let open = |it: &&Process| match self.shared() {
            true => it.edge.open && !self.is_beyond_reach(it.site),
            false => it.edge.open && it.life == life,
        };
        if let Some(room) = self.processes.iter().find(open).map(|it| it.life) {
            self.breaks("I3", || {
                format!("a stop while the gate of life {room} is open")
            });
        }
        let straight = |site: &usize| {
            let beyond = self.is_beyond_reach(*site);
            self.ways[*site].straight_to().filter(|_| !beyond)
        };
        if let Some(address) = (0..self.ways.len()).find_map(|site| straight(&site)) {
            self.breaks("I3", || format!("a stop while Traefik leads to {address}"));
        }
    }

    fn check_nobody_is_inside(&mut self, life: u64) {
        let site = self.site_of(life);
        let (now, clock) = (self.now, self.clock(site));
        let (stale, idle) = (
            self.plan.policy.stale_after.0,
            self.plan.policy.idle_timeout.0,
        );
        let sources = self.plan.policy.sources.clone();
        let hold = self.facts.hold.filter(|until| *until > clock);
        let slack = if self.shared() { CLOCKS_DIFFER } else { 0 };
        let Some(process) = self.process(life) else {
            return;
        };
        let again = std::mem::replace(&mut process.watched.stop_asked, true);
        let why = process.last_stand;
        let (samples, unknown_at) = (process.watched.samples, process.watched.unknown_at);
        let engine_clock = process.watched.clock;
        // From then on nobody gets in; the machine may have to be looked at for long.
        let stops_since = process.watched.phase_since.min(now);
        if !self.cloud.is_up() {
            return;
        }
        // A wake that is given up does not look for connections from before it.
        let given_up = why == Some(SleepWhy::GivenUp);
        let alive = |it: &&Request| {
            let counts = it.at == At::Seed && !it.exempt && !(given_up && it.long);
            counts && !self.is_beyond_reach(it.way.site())
        };
        let alive = self.people.requests.values().find(alive).cloned();
        if let Some(request) = alive {
            self.breaks("I2", || format!("a stop ({why:?}) while {request:?} runs"));
        }
        if !again && hold.is_some_and(|until| until.0 > engine_clock.0 + slack) {
            self.breaks("I2", || {
                format!("a stop ({why:?}) while a hold lasts until {hold:?}")
            });
        }
        // A stop that is asked for once more speaks of the same machine: nobody has reached it in between.
        if why != Some(SleepWhy::Idle) || again {
            return;
        }
        let known = (0..self.ways.len()).filter(|site| !self.is_beyond_reach(*site));
        let last_use = known.map(|site| self.facts.last_use[site]).max();
        let quiet_for = now - last_use.unwrap_or(0);
        if now - unknown_at < idle && now > self.facts.frozen_until + 10 * MINUTE {
            self.breaks("I2", || {
                format!("a stop, and at {unknown_at} nothing was known")
            });
        }
        if quiet_for < idle {
            self.breaks("I2", || {
                format!("a stop after {quiet_for} ms without traffic")
            });
        }
        for source in sources {
            let at = samples[slot(source)];
            let fresh = at.is_some_and(|at| stops_since <= at + stale + 10 * SECOND);
            if !fresh {
                self.breaks("I2", || format!("a stop while {source:?} is blind"));
            }
        }
        self.check_all_rooms_spoke();
    }

    /// Unknown is not idle: every room that the store may know has spoken shortly before a stop.
    fn check_all_rooms_spoke(&mut self) {
        let shared = self.shared();
        let silent = |it: &&Process| {
            let told_at = self.ways[it.site].told_at;
            let settled = told_at > it.began && told_at > self.facts.wiped_at;
            let beyond = self.is_beyond_reach(it.site);
            shared && settled && !beyond && self.now > told_at + SILENCE_MAX
        };
        if let Some(room) = self.processes.iter().find(silent).map(|it| it.life) {
            self.breaks("I2", || format!("a stop while life {room} is silent"));
        }
    }
}
