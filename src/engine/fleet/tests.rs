//! The fleet against a seeded fake platform that loses answers, lags and refuses, with an owner that is killed before
//! and after every deed.

use super::lists::PATROL;
use super::*;
use crate::engine::backoff::mix;
use crate::engine::machine::{ErrorClass, MachineState};
use crate::engine::time::Span;

mod appearing;
mod hour;
mod leaving;
mod refused;

const START: Time = Time(1_795_000_000_000);
const SETTLES: Span = Span::mins(10);

struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % end
    }

    /// In a thousand.
    fn chance(&mut self, rate: u64) -> bool {
        self.below(1_000) < rate
    }
}

/// A machine at the platform.
struct Vm {
    clone: CloneId,
    /// It runs; until then it must be started.
    on: bool,
    /// Its app answers from then on; never, where it is broken.
    answers_at: Option<Time>,
    /// It is listed, and found by its name, from then on.
    shows_at: Time,
    /// It is deleted, and no longer listed from then on.
    gone_at: Option<Time>,
}

/// A public address, and whose it is.
struct Assigned {
    address: PublicAddress,
    to: Option<CloneId>,
}

struct World {
    rng: Rng,
    now: Time,
    policy: Policy,
    fleet: Fleet,
    record: FleetRecord,
    op: u64,
    vms: Vec<Vm>,
    addresses: Vec<Assigned>,
    /// Names that were ever given to a machine.
    made: Vec<CloneId>,
    /// In a thousand.
    faults: u64,
    kills: u64,
    lag: u64,
    /// What is wrong with a deed that is about to be done.
    wrong: Option<String>,
    /// Where visitors are to be led, from when on, and where they are led now.
    wanted_routing: Vec<Upstream>,
    published_at: Time,
    routing: Vec<Upstream>,
}

fn address_of(clone: CloneId) -> SocketAddr {
    SocketAddr::from((
        [10, 0, 0, clone.slot() as u8],
        (clone.generation() % 60_000) as u16,
    ))
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng(seed << 20);
        let terms = CloneTerms {
            wanted: 0,
            most: 4,
            per_hour: 1_000,
            settles: SETTLES,
            repeats: rng.chance(400),
            strips: rng.chance(600),
        };
        let calm = seed.is_multiple_of(7);
        let mut rate = |rates: &[u64]| {
            let at = rng.below(rates.len() as u64);
            if calm { 0 } else { rates[at as usize] }
        };
        World {
            faults: rate(&[20, 100, 300]),
            kills: rate(&[0, 10, 100, 300]),
            lag: rate(&[0, 3_000, 20_000]),
            rng,
            now: START,
            policy: Policy {
                clones: Some(terms),
                check_interval: Span::mins(2),
                seed,
                ..Policy::default()
            },
            fleet: Fleet::default(),
            record: FleetRecord::default(),
            op: 0,
            vms: Vec::new(),
            addresses: Vec::new(),
            made: Vec::new(),
            wrong: None,
            wanted_routing: Vec::new(),
            published_at: START,
            routing: Vec::new(),
        }
    }

    fn terms(&self) -> CloneTerms {
        self.policy.clones.expect("there are")
    }

    fn want(&mut self, clones: u16) {
        if let Some(terms) = &mut self.policy.clones {
            terms.wanted = clones;
        }
    }

    fn kill(&mut self) {
        self.fleet = Fleet::default();
        self.fleet.load(self.record.clone(), self.now);
    }

    /// Lives until `end`, one deed after the other.
    fn live(&mut self, end: Time) {
        while self.now < end {
            let terms = self.terms();
            self.fleet.settle(self.now, &self.policy);
            self.fleet.want(terms.wanted, self.now, &self.policy);
            self.publish();
            let Some((deed, recorded)) = self.fleet.next(self.now, &terms, self.unlisted()) else {
                if self.rng.chance(self.kills) {
                    self.kill();
                    continue;
                }
                if self.fleet.take_changed() {
                    self.record = self.fleet.record();
                }
                let due = self.fleet.due(&terms, self.unlisted()).unwrap_or(end);
                self.now = due.max(self.now + Span(1));
                continue;
            };
            self.op += 2;
            let (op, record) = (OpId(self.op), OpId(self.op - 1));
            let lost_at = self.now + Span::secs(60);
            self.fleet
                .doing(&deed, op, recorded.then_some(record), self.now, lost_at);
            if self.rng.chance(self.kills) {
                self.kill();
                continue;
            }
            if recorded {
                if self.rng.chance(self.faults / 4) {
                    assert!(self.fleet.not_recorded(record, self.now, &self.policy));
                    continue;
                }
                self.record = self.fleet.record();
                if self.rng.chance(self.kills) {
                    self.kill();
                    continue;
                }
            }
            let heard = self.perform(&deed);
            if self.rng.chance(self.kills) {
                self.kill();
                continue;
            }
            self.now = self.now + Span(self.rng.below(3_000));
            match heard {
                Some(heard) => self.fleet.heard(op, heard, self.now, &self.policy),
                None => self.now = lost_at,
            }
        }
    }

    fn perform(&mut self, deed: &Deed) -> Option<Heard> {
        self.check(deed);
        let (mut done, mut trouble) = (true, None);
        if self.rng.chance(self.faults) {
            let lost = || Trouble::new(ErrorClass::Ambiguous, "the answer was lost");
            let classes = [
                ErrorClass::Transient,
                ErrorClass::Busy,
                ErrorClass::RateLimited(None),
                ErrorClass::Capacity,
                ErrorClass::Quota,
                ErrorClass::InvalidState,
            ];
            match self.rng.below(4) {
                0 => trouble = Some(lost()),
                1 => (done, trouble) = (false, Some(lost())),
                2 => {
                    self.act(deed);
                    return None;
                }
                _ => {
                    let at = self.rng.below(classes.len() as u64);
                    done = false;
                    trouble = Some(Trouble::new(classes[at as usize], "refused"));
                }
            }
        }
        let heard = if done { self.act(deed) } else { None };
        Some(match trouble {
            None => heard.expect("it was done"),
            Some(trouble) => match deed {
                Deed::Find => Heard::Found(Err(trouble)),
                Deed::Make(_) => Heard::Made(Err(trouble)),
                Deed::Look(_) | Deed::Start(_) => Heard::Looked(Err(trouble)),
                Deed::Probe(..) => Heard::Probed(ProbeResult::NotReady(trouble.detail)),
                Deed::Drain(_) => Heard::Drained(Err(trouble.detail)),
                Deed::Addresses(_) => Heard::Addresses(Err(trouble)),
                Deed::Release(..) => Heard::Released(Err(trouble)),
                Deed::Delete(_) => Heard::Deleted(Err(trouble)),
            },
        })
    }

    /// What must stand in the record before a deed is done.
    fn check(&mut self, deed: &Deed) {
        let life = |clone: &CloneId| self.record.clones.get(clone);
        let good = match deed {
            Deed::Find | Deed::Addresses(_) | Deed::Look(_) | Deed::Probe(..) => true,
            Deed::Start(clone) => matches!(life(clone), Some(Life::Rising { .. })),
            Deed::Drain(_) => self.unlisted(),
            Deed::Make(clone) => matches!(life(clone), Some(Life::Making { .. })),
            Deed::Release(clone, released) => match life(clone) {
                Some(Life::Stripping { addresses }) => addresses == released,
                Some(Life::Removing {
                    addresses, gone, ..
                }) => *gone && addresses == released,
                _ => false,
            },
            Deed::Delete(clone) => matches!(life(clone), Some(Life::Removing { noted: true, .. })),
        };
        if !good {
            let record = &self.record;
            self.wrong = Some(format!("{deed:?} behind {record:?}"));
        }
        if let Deed::Make(clone) = deed
            && !self.terms().repeats
            && self.made.contains(clone)
        {
            self.wrong = Some(format!("{clone} was asked for twice"));
        }
    }

    fn act(&mut self, deed: &Deed) -> Option<Heard> {
        let now = self.now;
        let running = Machine {
            state: MachineState::Running,
            address: None,
        };
        let its = |clone: &CloneId, vms: &[Vm]| {
            let there = |vm: &&Vm| vm.clone == *clone && vm.gone_at.is_none_or(|at| now < at);
            let vm = vms.iter().find(there);
            Machine {
                state: match vm {
                    None => MachineState::Missing,
                    Some(vm) if vm.on => MachineState::Running,
                    Some(_) => MachineState::Stopped,
                },
                address: vm.filter(|vm| vm.on).map(|vm| address_of(vm.clone)),
            }
        };
        Some(match deed {
            Deed::Find => {
                let listed = |vm: &&Vm| vm.shows_at <= now && vm.gone_at.is_none_or(|at| now < at);
                let owned = |vm: &Vm| Owned {
                    clone: vm.clone,
                    machine: running.clone(),
                };
                Heard::Found(Ok(self.vms.iter().filter(listed).map(owned).collect()))
            }
            Deed::Make(clone) => {
                let there = self.vms.iter().any(|vm| vm.clone == *clone);
                if !there {
                    let late = self.rng.below(self.lag + 1);
                    let id = format!("fip-{}", self.made.len());
                    self.made.push(*clone);
                    let boots = Span(self.rng.below(120_000));
                    let broken = self.rng.chance(self.faults / 3);
                    self.vms.push(Vm {
                        clone: *clone,
                        on: self.rng.chance(600),
                        answers_at: (!broken).then(|| now + boots),
                        shows_at: now + Span(late),
                        gone_at: None,
                    });
                    let address = PublicAddress {
                        id,
                        address: [203, 0, 113, 7].into(),
                    };
                    self.addresses.push(Assigned {
                        address,
                        to: Some(*clone),
                    });
                }
                Heard::Made(Ok(running))
            }
            Deed::Look(clone) => Heard::Looked(Ok(its(clone, &self.vms))),
            Deed::Start(clone) => {
                for vm in self.vms.iter_mut().filter(|vm| vm.clone == *clone) {
                    vm.on = true;
                }
                Heard::Looked(Ok(its(clone, &self.vms)))
            }
            Deed::Probe(_, address) => {
                let answers = self.vms.iter().any(|vm| {
                    let up = vm.on && vm.gone_at.is_none_or(|at| now < at);
                    up && vm.answers_at.is_some_and(|at| at <= now)
                        && address_of(vm.clone) == *address
                });
                Heard::Probed(match answers {
                    true => ProbeResult::Ready,
                    false => ProbeResult::NotReady("refused".into()),
                })
            }
            Deed::Drain(_) => Heard::Drained(Ok(match self.rng.below(3) {
                0 => None,
                open => Some(open as u32 - 1),
            })),
            Deed::Addresses(clone) => {
                let its = self.addresses.iter().filter(|a| a.to == Some(*clone));
                Heard::Addresses(Ok(its.map(|a| a.address.clone()).collect()))
            }
            Deed::Release(_, released) => {
                self.addresses.retain(|a| !released.contains(&a.address));
                Heard::Released(Ok(()))
            }
            Deed::Delete(clone) => {
                let late = Span(self.rng.below(self.lag + 1));
                let led = |it: &Upstream| it.instance == InstanceId::Clone(*clone);
                if self.routing.iter().any(led) {
                    self.wrong = Some(format!("{clone} is deleted while visitors are led to it"));
                }
                for vm in self.vms.iter_mut().filter(|vm| vm.clone == *clone) {
                    vm.gone_at = vm.gone_at.or(Some(now + late));
                }
                for address in &mut self.addresses {
                    address.to = address.to.filter(|to| to != clone);
                }
                let left = self.alive().any(|vm| vm.clone == *clone);
                Heard::Deleted(Ok(Machine {
                    state: match left {
                        true => MachineState::Stopping,
                        false => MachineState::Missing,
                    },
                    address: None,
                }))
            }
        })
    }

    /// The routing: what serves is listed, and nothing else, some time after it was said.
    fn publish(&mut self) {
        let wanted: Vec<_> = self.fleet.upstreams().collect();
        if wanted != self.wanted_routing {
            self.wanted_routing = wanted;
            self.published_at = self.now + Span(self.rng.below(3_000));
        }
        if self.published_at <= self.now {
            self.routing.clone_from(&self.wanted_routing);
        }
    }

    fn unlisted(&self) -> bool {
        self.routing == self.wanted_routing
    }

    fn alive(&self) -> impl Iterator<Item = &Vm> {
        let now = self.now;
        self.vms
            .iter()
            .filter(move |vm| vm.gone_at.is_none_or(|at| now < at))
    }

    /// A while in which nothing fails, long enough for all that is due.
    fn calm_down(&mut self) {
        (self.faults, self.kills, self.lag) = (0, 0, 0);
        self.live(self.now + SETTLES + SETTLES + PATROL + PATROL);
    }

    /// What must be true after a calm while. `lost`: the record was lost on the way, and with it addresses.
    fn judge(&self, lost: bool) -> Result<(), String> {
        let wanted = usize::from(self.terms().wanted);
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let alive = self.alive().count();
        if alive != wanted {
            return Err(format!(
                "{alive} machines, {wanted} wanted: {:?}",
                self.record
            ));
        }
        let serves = |life: &Life| matches!(life, Life::Serving { .. });
        let settled = self.fleet.lives().all(|(_, life)| serves(life));
        if !settled || self.record != self.fleet.record() {
            return Err(format!(
                "{:?} is not settled, {:?}",
                self.fleet, self.record
            ));
        }
        let orphans = self.addresses.iter().filter(|a| match a.to {
            None => !lost,
            Some(_) => self.terms().strips,
        });
        match orphans.count() {
            0 => Ok(()),
            orphans => Err(format!("{orphans} addresses are nobody's")),
        }
    }
}

/// A day with this seed.
fn day(seed: u64, loses_the_record: bool) -> Result<(), String> {
    let mut world = World::new(seed);
    for _ in 0..6 {
        let wanted = world.rng.below(4) as u16;
        world.want(wanted);
        let hour = Span(world.rng.below(Span::mins(40).0));
        world.live(world.now + hour);
        if loses_the_record && world.rng.chance(500) {
            world.record = FleetRecord::default();
            world.kill();
        }
    }
    world.calm_down();
    world.judge(loses_the_record)
}

#[test]
fn no_orphan_no_double_and_nothing_unrecorded_on_any_day() {
    for seed in 0..2_000 {
        if let Err(wrong) = day(seed, false) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

#[test]
fn a_lost_record_leaves_no_machine_behind() {
    for seed in 0..1_000 {
        if let Err(wrong) = day(seed, true) {
            panic!("seed {seed}: {wrong}");
        }
    }
}
