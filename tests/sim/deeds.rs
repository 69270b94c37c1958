//! Deeds about clones on their way to the platform and back: slow, lost, doubled, refused; and what befalls clones from
//! outside.

use anteroom::engine::contract::{Input, ProbeResult};
use anteroom::engine::fleet::{Deed, Heard};
use anteroom::engine::id::{CloneId, OpId};
use anteroom::engine::machine::{ErrorClass, Machine, MachineState, Trouble};

use crate::mutants::Bug;
use crate::plan::{Clones, MINUTE, SECOND};
use crate::provider::{self, CallFate};
use crate::visitors::At;
use crate::world::{Event, World};

/// A machine that is being deleted is gone after that, at most.
const DELETES_WITHIN: u64 = 60 * SECOND;

/// What the answer to a deed that came twice is for: nobody.
const DOUBLE: OpId = OpId(0);

impl World {
    pub(crate) fn clones(&self) -> Clones {
        self.plan.clones.clone().expect("there are clones")
    }

    /// The driver does a deed. What changes anything it does only while the lease is known to live.
    pub(crate) fn deed(&mut self, life: u64, op: OpId, deed: Deed) {
        let now = self.now;
        match deed {
            Deed::Probe(clone, address) => return self.probe_clone(life, op, clone, address),
            Deed::Drain(clone) => return self.drain_clone(life, op, clone),
            _ => {}
        }
        let leads = self.has(Bug::DeedLeavesAfterTheLease) || self.lease_lives(life, now);
        if changes(&deed) && !leads {
            let stranger = Trouble::new(ErrorClass::Transient, "another room may lead");
            let input = Input::Fleet(op, failed(&deed, stranger));
            return self.after(0, Event::Answer { life, input });
        }
        let faults = self.faults_of_calls();
        let fate = provider::fate(&mut self.rng, faults);
        let (there, back) = provider::delays(&mut self.rng, faults);
        if fate != CallFate::Done || there + back > 2_000 {
            self.disturb();
        }
        let event = |fate| Event::Deed {
            life,
            op,
            deed: Box::new(deed.clone()),
            fate,
            back,
        };
        // I7: what is asked for twice is done once.
        let repeats = self.plan.policy.clones.is_some_and(|terms| terms.repeats);
        let may_double = repeats || !matches!(deed, Deed::Make(_));
        let done = matches!(
            fate,
            CallFate::Done | CallFate::Unanswered | CallFate::Ambiguous
        );
        if done && may_double && self.stormy() && self.rng.chance(faults / 2) {
            let again = there + self.rng.within(1, 5_000);
            let double = Event::Deed {
                life,
                op: DOUBLE,
                deed: Box::new(deed.clone()),
                fate: CallFate::Unanswered,
                back,
            };
            self.after(again, double);
        }
        let event = event(fate);
        self.after(there, event);
        if self.stormy() && self.rng.within(0, 9_999) < self.plan.kills * 5 {
            self.note(|| "killed behind it".into());
            self.kill(life);
        }
    }

    fn faults_of_calls(&self) -> u64 {
        match self.stormy() {
            true => self.plan.call_faults,
            false => 0,
        }
    }

    /// A deed reaches the platform.
    pub(crate) fn deed_arrives(
        &mut self,
        life: u64,
        op: OpId,
        deed: Deed,
        fate: CallFate,
        back: u64,
    ) {
        let full = self.now < self.account.full_until && matches!(deed, Deed::Make(_));
        let fate = match fate {
            CallFate::Done if full => CallFate::Refused(ErrorClass::Capacity),
            // Who says that an address is given back has given it back.
            CallFate::Ignored if !matches!(deed, Deed::Make(_) | Deed::Delete(_)) => CallFate::Done,
            fate => fate,
        };
        let done = matches!(
            fate,
            CallFate::Done | CallFate::Unanswered | CallFate::Ambiguous
        );
        let answer = match done {
            true => self.perform(op, &deed, fate),
            false => accepted(&deed),
        };
        let heard = match fate {
            CallFate::Unanswered => return,
            CallFate::Refused(class) => failed(&deed, Trouble::new(class, "refused")),
            CallFate::Ambiguous | CallFate::AmbiguousUndone => {
                let lost = Trouble::new(ErrorClass::Ambiguous, "the answer was lost");
                failed(&deed, lost)
            }
            CallFate::Done | CallFate::Ignored => answer,
        };
        let input = Input::Fleet(op, heard);
        self.after(back, Event::Answer { life, input });
        if self.stormy() && self.rng.within(0, 9_999) < self.plan.kills * 5 {
            self.note(|| format!("killed before the answer to {op}"));
            self.kill(life);
        }
    }

    fn perform(&mut self, op: OpId, deed: &Deed, fate: CallFate) -> Heard {
        let now = self.now;
        match deed {
            Deed::Find => Heard::Found(Ok(self.account.list(now))),
            Deed::Look(clone) => Heard::Looked(Ok(self.account.read(*clone))),
            Deed::Start(clone) => {
                self.start_clone(*clone);
                Heard::Looked(Ok(self.account.read(*clone)))
            }
            Deed::Probe(..) | Deed::Drain(_) => unreachable!("they go to the app and to the rooms"),
            Deed::Make(clone) => {
                let lost = fate != CallFate::Done && op != DOUBLE;
                if lost && self.rng.chance(300) {
                    // It comes to pass later.
                    let settles = self.plan.policy.clones.map_or(0, |terms| terms.settles.0);
                    let late = self.rng.within(SECOND, settles / 2);
                    self.after(late, Event::MadeLate(*clone));
                } else {
                    self.make(*clone);
                }
                Heard::Made(Ok(self.account.read(*clone)))
            }
            Deed::Addresses(clone) => Heard::Addresses(Ok(self.account.addresses_of(*clone))),
            Deed::Release(clone, addresses) => {
                self.account.release(*clone, addresses);
                Heard::Released(Ok(()))
            }
            Deed::Delete(clone) => {
                self.delete(*clone);
                Heard::Deleted(Ok(self.account.read(*clone)))
            }
        }
    }

    /// The platform makes the clone, where there is none of that name: by a token, or as far as its list shows.
    pub(crate) fn make(&mut self, clone: CloneId) {
        let repeats = self.plan.policy.clones.is_some_and(|terms| terms.repeats);
        let there = match repeats {
            true => self.account.of(clone).next().is_some() || self.crew.ended.contains(&clone),
            false => self.account.shows(clone, self.now),
        };
        if there {
            return;
        }
        self.note(|| format!("{clone} is made"));
        self.counts.made += 1;
        self.a_new_machine(clone);
        self.check_machines(clone);
    }

    fn a_new_machine(&mut self, clone: CloneId) -> u64 {
        let clones = self.clones();
        let lag = self.rng.within(0, clones.lag);
        let id = self
            .account
            .make(clone, self.now, lag, clones.gives_addresses);
        let takes = self.rng.within(clones.takes / 2, clones.takes);
        let to = match clones.is_made_stopped {
            true => MachineState::Stopped,
            false => MachineState::Running,
        };
        self.after(takes, Event::Vm { id, to });
        id
    }

    fn delete(&mut self, clone: CloneId) {
        let now = self.now;
        let ids: Vec<u64> = self.account.of(clone).map(|vm| vm.id).collect();
        for id in ids {
            let Some(vm) = self.account.vm(id) else {
                continue;
            };
            let again = vm.delete_asked_at.replace(now).is_some();
            self.account.turn(id, MachineState::Stopping);
            self.break_requests(At::Vm(id));
            if !again {
                let takes = self.rng.within(1, DELETES_WITHIN);
                let to = MachineState::Missing;
                self.after(takes, Event::Vm { id, to });
            }
        }
    }

    pub(crate) fn vm_turns(&mut self, id: u64, to: MachineState) {
        let now = self.now;
        let clones = self.clones();
        let Some(vm) = self.account.vm(id) else {
            return;
        };
        let (clone, leaves) = (vm.clone, vm.delete_asked_at.is_some());
        if to == MachineState::Missing {
            let lag = self.rng.within(0, clones.lag);
            self.break_requests(At::Vm(id));
            self.account.goes(id, now, lag, clones.keeps_addresses);
            self.counts.deleted += u64::from(leaves);
            self.note(|| format!("{clone} is gone"));
            if self.account.of(clone).next().is_none() {
                self.crew.ended.insert(clone);
            }
        } else if !leaves {
            self.break_requests(At::Vm(id));
            self.account.turn(id, to);
            self.app_of_clone_will_rise(id);
        }
    }

    /// Something befalls the clones, or the account.
    pub(crate) fn strike_clones(&mut self) {
        self.disturb();
        self.crew.struck_at = self.now;
        let ids: Vec<(u64, CloneId)> = self.account.ours().map(|vm| (vm.id, vm.clone)).collect();
        let some = (!ids.is_empty()).then(|| self.rng.pick(&ids));
        match (self.rng.within(0, 8), some) {
            (0 | 1, Some((id, clone))) => {
                self.note(|| format!("somebody deletes {clone}"));
                let to = MachineState::Missing;
                self.after(0, Event::Vm { id, to });
            }
            (2, Some((_, clone))) => {
                self.note(|| format!("somebody copies {clone}"));
                self.crew.ours.insert(clone);
                let id = self.a_new_machine(clone);
                if let Some(vm) = self.account.vm(id) {
                    vm.copied = true;
                }
            }
            (3, Some((id, clone))) => {
                let to = self
                    .rng
                    .pick(&[MachineState::Stopped, MachineState::Failed]);
                self.note(|| format!("{clone} turns {to:?}"));
                self.after(0, Event::Vm { id, to });
            }
            (8, Some((id, _))) => self.crash_app_of(id),
            (4 | 5, _) => {
                self.account.full_until = self.now + self.rng.within(1, 40) * MINUTE;
                self.note(|| "the platform is full".into());
            }
            (6, _) => self.account.lose_an_address(),
            _ => {}
        }
    }
}

/// Whether a deed changes anything at the platform.
pub(crate) fn changes(deed: &Deed) -> bool {
    matches!(
        deed,
        Deed::Make(_) | Deed::Start(_) | Deed::Release(..) | Deed::Delete(_)
    )
}

/// The answer to a deed that the platform has accepted, and forgets.
fn accepted(deed: &Deed) -> Heard {
    let machine = |state| Machine {
        state,
        address: None,
    };
    match deed {
        Deed::Make(_) => Heard::Made(Ok(machine(MachineState::Starting))),
        Deed::Delete(_) => Heard::Deleted(Ok(machine(MachineState::Stopping))),
        deed => failed(deed, Trouble::new(ErrorClass::Transient, "forgotten")),
    }
}

fn failed(deed: &Deed, trouble: Trouble) -> Heard {
    match deed {
        Deed::Find => Heard::Found(Err(trouble)),
        Deed::Look(_) | Deed::Start(_) => Heard::Looked(Err(trouble)),
        Deed::Probe(..) => Heard::Probed(ProbeResult::NotReady(trouble.detail)),
        Deed::Drain(_) => Heard::Drained(Err(trouble.detail)),
        Deed::Make(_) => Heard::Made(Err(trouble)),
        Deed::Addresses(_) => Heard::Addresses(Err(trouble)),
        Deed::Release(..) => Heard::Released(Err(trouble)),
        Deed::Delete(_) => Heard::Deleted(Err(trouble)),
    }
}
