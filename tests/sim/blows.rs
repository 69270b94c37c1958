//! What befalls the rooms and their store: pauses, cuts, kills, an absent server, a wiped one, and a replica that lacks
//! the last writes.

use crate::plan::{MINUTE, SECOND};
use crate::store::Kept;
use crate::world::{Event, World};

impl World {
    /// A length of a trouble: mostly about as long as a lease, now and then longer than a silent room is waited for.
    fn a_while(&mut self) -> u64 {
        let idle = self.plan.policy.idle_timeout.0;
        match self.rng.within(0, 9) {
            0..=3 => self.rng.within(200, 6 * SECOND),
            4..=6 => self.rng.within(5 * SECOND, 2 * MINUTE),
            7 | 8 => self.rng.within(MINUTE, idle + MINUTE),
            _ => self.rng.within(idle, 3 * idle),
        }
    }

    /// The leader more often than others.
    fn some_room(&mut self) -> Option<u64> {
        let owner = self.owner().map(|owner| owner.life);
        if owner.is_some() && self.rng.chance(500) {
            return owner;
        }
        let lives: Vec<u64> = self.processes.iter().map(|it| it.life).collect();
        (!lives.is_empty()).then(|| self.rng.pick(&lives))
    }

    pub(crate) fn strike_rooms(&mut self) {
        let length = self.a_while();
        let Some(life) = self.some_room() else {
            return;
        };
        // People come at the worst moment.
        for _ in 0..self.rng.within(0, 2) {
            let soon = self.rng.within(0, 8 * SECOND);
            self.after(soon, Event::Straggler);
        }
        match self.rng.within(0, 12) {
            0 | 1 => self.pause(life, length),
            2..=4 => self.cut_off(life, length),
            5 | 6 => {
                self.store_goes(length);
                let later = length + self.rng.within(3, 12) * MINUTE;
                self.after(later, Event::Straggler);
            }
            7 => self.break_replication(),
            8 | 9 => {
                self.wipe();
                for _ in 0..4 {
                    let later = self.rng.within(SECOND, 14 * MINUTE);
                    self.after(later, Event::Again);
                }
            }
            10 | 11 => self.kill(life),
            _ => self.leave(life),
        }
    }

    fn cut_off(&mut self, life: u64, length: u64) {
        self.note(|| format!("life {life} can't reach the store for {length} ms"));
        let until = self.now + length;
        if let Some(process) = self.process(life) {
            process.cut_until = until;
        }
    }

    fn store_goes(&mut self, length: u64) {
        self.note(|| format!("the store is away for {length} ms"));
        self.store.down_until = self.store.down_until.max(self.now + length);
    }

    /// From now on the replica learns nothing more, and soon it takes the server's place.
    fn break_replication(&mut self) {
        let delay = self.rng.within(100, 3 * SECOND);
        let replica = Box::new(self.store.kept.clone());
        self.after(delay, Event::Failover { replica });
    }

    pub(crate) fn fail_over(&mut self, replica: Kept) {
        self.note(|| "the store fails over to its replica".into());
        self.disturb();
        let away = self.rng.within(0, 4) * SECOND;
        self.store_goes(away);
        self.facts.forgot(self.now, replica.reign);
        self.lose_sight();
        self.store.kept = replica;
    }

    pub(crate) fn wipe(&mut self) {
        self.note(|| "the store is wiped".into());
        self.disturb();
        let reign = self.facts.reign_applied;
        self.facts.forgot(self.now, reign);
        self.lose_sight();
        self.store.kept = Kept::default();
    }

    /// A room ends in good order, and its Traefik with it.
    fn leave(&mut self, life: u64) {
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        self.note(|| format!("life {life} says goodbye"));
        self.cut_visitors(site);
        let way = &mut self.ways[site];
        way.turn += 1;
        way.in_force = anteroom::engine::contract::Routing::Asleep;
        let owner = self.owner().map(|owner| owner.life) == Some(life);
        if self.reaches_store(life) {
            self.store.kept.rooms.remove(&life);
            if owner {
                self.store.kept.lease_until = self.now;
            }
        }
        self.end_process(life);
        self.booting.insert(site);
        let back = self.rng.within(SECOND, 5 * MINUTE);
        self.after(back, Event::Boot { site });
    }
}
