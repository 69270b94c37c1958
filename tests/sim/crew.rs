//! What must be true of the clones: behind their record, never too many (I5), none lost and none of others' touched
//! (I6), each asked for once (I7), by the owner alone (I8), none removed that is wanted (I10). What is true of those who
//! visit them is in `serving`.
//!
//! How many machines there may be: no more than ever were wanted, `n`. But a store that loses its last writes leaves an
//! owner who knows of no more than lists show, and lists lag; and a clock that jumps ahead makes it believe that a clone
//! which was asked for appears no more. So with `L` such losses in a stretch of time within which what was lost sight of
//! is found and removed, there are at most `(1 + L) * n`. Those that a person copied are not counted.
//!
//! How many may be intended in any hour, where `h` are allowed: `h`; and with `L` losses in that hour and the one before,
//! `2 * h + L * n`, for whoever knows nothing takes the hour for used up but for one, and a replica lacks what was
//! begun in the last moments. The name of a clone says when that was.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anteroom::engine::contract::{Effect, Input, ProbeResult};
use anteroom::engine::fleet::{Deed, Heard, Life};
use anteroom::engine::id::{CloneId, OpId};
use anteroom::engine::machine::{ErrorClass, MachineState, PublicAddress};
use anteroom::engine::record::Record;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::Phase;

use crate::account::{Vm, Whose};
use crate::deeds::changes;
use crate::driver::Role;
use crate::plan::{HOUR, MINUTE};
use crate::scaling::Steps;
use crate::store::LEASE;
use crate::world::{DAWN, Event, World};

/// Between two looks of the engine for machines that nobody knows of.
const PATROL: u64 = 5 * MINUTE;

/// The truth about the clones.
#[derive(Debug, Default)]
pub(crate) struct Crew {
    /// Names of clones that were intended, as a record says, and of copies of them.
    pub(crate) ours: BTreeSet<CloneId>,
    /// Those whose machines are gone.
    pub(crate) ended: BTreeSet<CloneId>,
    /// What may be made, as far as any owner can know: asked for, and not refused.
    asked: BTreeSet<CloneId>,
    counted: BTreeSet<CloneId>,
    /// How many were intended in which second.
    begun: BTreeMap<u64, usize>,
    /// At which address a clone's app has answered.
    pub(crate) ready: BTreeMap<CloneId, SocketAddr>,
    /// To which clones visitors are led, and since when to which no more.
    pub(crate) led: BTreeSet<CloneId>,
    pub(crate) clear_at: BTreeMap<CloneId, u64>,
    /// What addresses were ever a clone's.
    addresses: BTreeMap<CloneId, BTreeSet<PublicAddress>>,
    /// When something happened that no list shows at once.
    pub(crate) losses: Vec<u64>,
    /// When how many are wanted was changed last.
    wanted_at: u64,
    /// When something befell the clones last.
    pub(crate) struck_at: u64,
    /// What the policy has done.
    pub(crate) steps: Steps,
}

impl Crew {
    /// Whether so many were intended within the last two hours that the bound for an hour may be in the way.
    pub(crate) fn is_hour_full(&self, now: u64, allowed: usize) -> bool {
        let since = (DAWN + now.saturating_sub(2 * HOUR)) / 1_000;
        self.begun.range(since..).map(|(_, it)| *it).sum::<usize>() >= allowed
    }
}

/// The deed under way of one process, for each clone and for the lists.
pub(crate) type Doing = BTreeMap<Option<CloneId>, (OpId, Time, Span, Option<SocketAddr>)>;

impl World {
    /// An operator, or the load, wants another number of clones.
    pub(crate) fn want_clones(&mut self) {
        let clones = self.clones();
        let wanted = match self.stormy() {
            true => u16::try_from(self.rng.within(0, u64::from(clones.most))).unwrap_or(0),
            false => clones.wanted_last,
        };
        self.note(|| format!("{wanted} clones are wanted"));
        if self.stormy() {
            let next = self.rng.within(MINUTE, 2 * clones.change_every);
            // The last change is made when all is quiet.
            let left = (self.plan.quiet_from - self.now).max(1);
            self.after(next.min(left), Event::Want);
        }
        self.crew.wanted_at = self.now;
        if let Some(terms) = &mut self.plan.policy.clones {
            terms.wanted = wanted;
        }
        for process in &mut self.processes {
            process.engine.want_clones(wanted);
        }
        self.give_owner(Input::Tick);
    }

    /// The store has lost what was written to it, or the last of it, or time has leapt over a wait.
    pub(crate) fn lose_sight(&mut self) {
        self.crew.losses.push(self.now);
        self.account.forgotten();
    }

    /// Losses whose traces may not be removed yet. After each of them the machines that were just made are found within
    /// the lag of lists and a patrol, and removed within the time of a deletion that fails a few times.
    fn losses(&self) -> usize {
        let settles = self.plan.policy.clones.map_or(0, |terms| terms.settles.0);
        let since = self
            .now
            .saturating_sub(settles + 2 * PATROL + self.patience());
        self.crew.losses.iter().filter(|at| **at >= since).count()
    }

    /// So long a deletion takes, with the waits after refusals.
    fn patience(&self) -> u64 {
        match self.plan.call_faults {
            0 => 2 * MINUTE,
            _ => 30 * MINUTE,
        }
    }

    /// I5, whenever one is made.
    pub(crate) fn check_machines(&mut self, made: CloneId) {
        let made_by_us = self.account.ours().filter(|vm| !vm.copied);
        let machines: Vec<CloneId> = made_by_us.map(|vm| vm.clone).collect();
        let most = usize::from(self.clones().most) * (1 + self.losses());
        if machines.len() > most {
            self.breaks("I5", || {
                format!("{made} is made, and there are {machines:?}, more than {most}")
            });
        }
    }

    pub(crate) fn check_deed(&mut self, life: u64, op: OpId, deed: &Deed) {
        self.check_one_at_a_time(life, op, deed);
        if changes(deed) {
            self.check_right(life, deed);
            self.check_recorded(deed);
        }
        match deed {
            Deed::Make(clone) => self.check_asked_once(*clone),
            Deed::Release(clone, released) => self.check_release(*clone, released),
            Deed::Delete(clone) => self.check_delete(*clone),
            _ => {}
        }
    }

    /// I1: one deed at a time to one clone.
    fn check_one_at_a_time(&mut self, life: u64, op: OpId, deed: &Deed) {
        let policy = &self.plan.policy;
        let limit = match deed {
            Deed::Make(_) => {
                policy.call_timeout + policy.clones.map_or(Span::ZERO, |terms| terms.settles)
            }
            _ => policy.call_timeout,
        };
        let Some(process) = self.process(life) else {
            return;
        };
        let clock = process.watched.clock;
        let doing = &mut process.watched.doing;
        let probed = match deed {
            Deed::Probe(_, address) => Some(*address),
            _ => None,
        };
        let before = doing.insert(deed.clone_id(), (op, clock, limit, probed));
        // Reading may be done twice.
        if let Some((other, at, limit, _)) = before
            && changes(deed)
            && clock.since(at) < limit
        {
            self.breaks("I1", || format!("{deed:?} while {other} is under way"));
        }
    }

    /// I8: none but the owner changes anything.
    fn check_right(&mut self, life: u64, deed: &Deed) {
        // As at a stop: a store that has lost its last writes has lost the lease too.
        if self.shared() && self.now < self.facts.wiped_at + LEASE {
            return;
        }
        let rightful = self.owner().map(|owner| owner.life) == Some(life);
        let Some(process) = self.process(life) else {
            return;
        };
        let (role, reign) = (process.role, process.reign);
        if !rightful || role != Role::Leads {
            self.breaks("I8", || format!("{deed:?} by life {life} ({role:?})"));
        }
        self.applied(life, reign, "a deed");
    }

    /// The record stands before the deed.
    fn check_recorded(&mut self, deed: &Deed) {
        if self.now < self.facts.wiped_at + LEASE {
            return;
        }
        let record = self.store.kept.record.as_ref();
        let life = |clone: &CloneId| record.and_then(|record| record.fleet.clones.get(clone));
        let good = match deed {
            Deed::Make(clone) => matches!(life(clone), Some(Life::Making { .. })),
            Deed::Start(clone) => matches!(life(clone), Some(Life::Rising { .. })),
            Deed::Release(clone, released) => match life(clone) {
                Some(Life::Stripping { addresses }) => addresses == released,
                Some(Life::Removing {
                    addresses, gone, ..
                }) => *gone && addresses == released,
                _ => false,
            },
            Deed::Delete(clone) => matches!(life(clone), Some(Life::Removing { noted: true, .. })),
            _ => true,
        };
        if !good {
            let fleet = record.map(|record| record.fleet.clone());
            self.breaks("record", || format!("{deed:?} behind {fleet:?}"));
        }
    }

    /// I7: where a repeat is not safe, a clone is asked for once more only if it was refused for sure.
    fn check_asked_once(&mut self, clone: CloneId) {
        let repeats = self.plan.policy.clones.is_some_and(|terms| terms.repeats);
        let before = !self.crew.asked.insert(clone);
        self.check_hour(clone);
        // After a loss another owner may come to the same name in the same second.
        if before && !repeats && self.losses() == 0 {
            self.breaks("I7", || format!("{clone} is asked for twice"));
        }
    }

    /// I5 for an hour.
    fn check_hour(&mut self, clone: CloneId) {
        if !self.crew.counted.insert(clone) {
            return;
        }
        let at = clone.generation();
        *self.crew.begun.entry(at).or_default() += 1;
        let allowed = usize::from(self.plan.policy.clones.map_or(0, |terms| terms.per_hour));
        let since = self.now.saturating_sub(2 * HOUR);
        let losses = self.crew.losses.iter().filter(|at| **at >= since).count();
        let most = match losses {
            0 => allowed,
            losses => 2 * allowed + losses * usize::from(self.clones().most),
        };
        let begun = &self.crew.begun;
        let around = begun
            .range(at.saturating_sub(3_599)..=at)
            .map(|(_, it)| *it);
        let begun: usize = around.sum();
        if begun > most {
            self.breaks("I5", || {
                format!("{clone} is number {begun} of an hour in which {most} are allowed")
            });
        }
    }

    /// I6: an address is given back only if it is this clone's, and at the end only when the machine is gone.
    fn check_release(&mut self, clone: CloneId, released: &[PublicAddress]) {
        let nothing = BTreeSet::new();
        let known = self.crew.addresses.get(&clone).unwrap_or(&nothing);
        if let Some(strange) = released.iter().find(|it| !known.contains(it)) {
            let strange = strange.clone();
            self.breaks("I6", || format!("{strange:?} was never {clone}'s"));
        }
        let record = self.store.kept.record.as_ref();
        let life = record.and_then(|record| record.fleet.clones.get(&clone));
        let removing = matches!(life, Some(Life::Removing { .. }));
        let late = self.account.of(clone).any(|vm| vm.copied);
        let settling = self.crew.asked.contains(&clone);
        if removing && !late && !settling && self.account.of(clone).next().is_some() {
            self.breaks("I6", || format!("{clone} is called gone, and is there"));
        }
    }

    /// What a record says is intended is ours.
    pub(crate) fn intends(&mut self, record: &Record) {
        for (clone, life) in &record.fleet.clones {
            if matches!(life, Life::Making { .. }) {
                self.crew.ours.insert(*clone);
            }
        }
    }

    fn check_delete(&mut self, clone: CloneId) {
        if !self.crew.ours.contains(&clone) {
            self.breaks("I6", || {
                format!("{clone} is not ours, and is to be deleted")
            });
        }
        self.check_delete_is_needed(clone);
        self.check_nobody_at(clone);
    }

    /// I10: while nothing happens, a clone that is wanted stays.
    fn check_delete_is_needed(&mut self, clone: CloneId) {
        let Some(wanted) = self.wanted_now().map(|it| *it.start()) else {
            return;
        };
        if wanted == 0 {
            return;
        }
        let there: Vec<&Vm> = self.account.ours().collect();
        let mut named = there.iter().filter(|vm| vm.clone == clone);
        let well = named.all(|vm| {
            vm.delete_asked_at.is_none() && (vm.answers() || vm.state == MachineState::Starting)
        });
        let is_there = there.iter().any(|vm| vm.clone == clone);
        let count = there.len();
        if is_there && well && count <= wanted && self.is_quiet(self.settling()) {
            self.breaks("I10", || {
                format!("{clone} is removed, {count} there, {wanted} wanted")
            });
        }
    }

    /// Whether nothing has happened for so long that clones would have to do with.
    fn is_quiet(&self, length: u64) -> bool {
        let since = self.facts.disturbed_at.max(self.crew.wanted_at);
        let since = since.max(self.crew.struck_at).max(self.facts.frozen_until);
        let since = since
            .max(self.store.down_until)
            .max(self.account.full_until);
        self.now > since + length
    }

    /// So long after the last trouble all is as it should be: what was lost has appeared or not, a patrol has passed, and
    /// what was refused is tried again.
    pub(crate) fn settling(&self) -> u64 {
        let settles = self.plan.policy.clones.map_or(0, |terms| terms.settles.0);
        let takes = self.plan.clones.as_ref().map_or(0, |clones| clones.takes);
        2 * settles + 3 * PATROL + 20 * MINUTE + 2 * takes + self.plan.policy.start_timeout.0
    }

    pub(crate) fn deed_answered(&mut self, life: u64, op: OpId, heard: &Heard) {
        let Some(process) = self.process(life) else {
            return;
        };
        let doing = &mut process.watched.doing;
        let which = doing.iter().find(|(_, it)| it.0 == op);
        let Some((which, probed)) = which.map(|(which, it)| (*which, it.3)) else {
            return;
        };
        doing.remove(&which);
        let Some(clone) = which else { return };
        match heard {
            Heard::Made(Err(trouble)) if trouble.class != ErrorClass::Ambiguous => {
                self.crew.asked.remove(&clone);
            }
            Heard::Probed(ProbeResult::Ready) => {
                if let Some(address) = probed {
                    self.crew.ready.insert(clone, address);
                }
            }
            Heard::Addresses(Ok(addresses)) => {
                let known = self.crew.addresses.entry(clone).or_default();
                known.extend(addresses.iter().cloned());
            }
            _ => {}
        }
    }

    /// Now and then, and at the end of the day: after a quiet while the clones are what is wanted, and nothing else is
    /// left (I6).
    pub(crate) fn audit_clones(&mut self) {
        if self.plan.clones.is_none() {
            return;
        }
        if !self.account.spares_others() {
            self.breaks("I6", || "a machine of others was changed".into());
        }
        let ready = self.owner().is_some() && self.booting.is_empty();
        let Some(wanted) = self.wanted_now() else {
            return;
        };
        if ready && self.is_quiet(self.settling()) {
            self.check_settled(&wanted);
        }
    }

    /// How many clones there must be by and by; none where it is not for long in its phase.
    fn wanted_now(&mut self) -> Option<RangeInclusive<usize>> {
        let by_load = self.right_numbers().map(|right| {
            let clones = |instances: &u16| usize::from(instances - 1);
            clones(right.start())..=clones(right.end())
        });
        let wanted = usize::from(self.plan.policy.clones.map_or(0, |terms| terms.wanted));
        let terms = self.plan.policy.clones?;
        // All of them may have to wait for their hour.
        let hours = u64::from(terms.most.div_ceil(terms.per_hour)) + 1;
        let (now, settling) = (self.now, self.settling());
        let waited = self.is_quiet(settling + hours * HOUR);
        let scales = self.plan.load.is_some();
        let owner = self.owner()?;
        let since = owner.watched.phase_since;
        match owner.view.phase {
            Phase::Awake if scales => by_load,
            Phase::Awake if waited && now > since + settling + hours * HOUR => {
                Some(wanted..=wanted)
            }
            Phase::Asleep if now > since + settling => Some(0..=0),
            _ => None,
        }
    }

    fn check_settled(&mut self, wanted: &RangeInclusive<usize>) {
        let strips = self.plan.policy.clones.is_some_and(|terms| terms.strips);
        let record = self.store.kept.record.as_ref();
        let fleet = record
            .map(|record| record.fleet.clone())
            .unwrap_or_default();
        let machines: Vec<CloneId> = self.account.ours().map(|vm| vm.clone).collect();
        let known: Vec<CloneId> = fleet.clones.keys().copied().collect();
        let mut sorted = machines.clone();
        sorted.sort();
        let mut lives = fleet.clones.values();
        let serve = lives.all(|life| matches!(life, Life::Serving { .. }));
        if !wanted.contains(&machines.len()) || sorted != known || !serve {
            self.breaks("I6", || {
                format!("{wanted:?} wanted, there are {machines:?}, known are {fleet:?}")
            });
        }
        let left = self.account.addresses.iter().find(|it| {
            let orphan = it.at.is_none() && !it.excused;
            it.whose == Whose::Ours && (orphan || it.at.is_some() && strips)
        });
        if let Some(left) = left.cloned() {
            self.breaks("I6", || format!("an address is left: {left:?}"));
        }
    }
}

pub(crate) fn deed_of(effect: &Effect) -> Option<(OpId, &Deed)> {
    match effect {
        Effect::Fleet(op, deed) => Some((*op, deed)),
        _ => None,
    }
}
