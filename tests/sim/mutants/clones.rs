//! Planted bugs about clones: what the engine hears of its deeds is spoiled, or the deeds themselves.

use anteroom::engine::contract::{Effect, Input, ProbeResult};
use anteroom::engine::fleet::{Deed, FleetRecord, Heard};
use anteroom::engine::id::CloneId;
use anteroom::engine::machine::{ErrorClass, Machine, MachineState, Owned};

use super::{Bug, Mutant};
use crate::world::DAWN;

/// Those that only clones can show.
pub(crate) const BUGS_OF_CLONES: [(Bug, &str); 18] = [
    (Bug::MakeIsNotRecorded, "record"),
    (Bug::DeleteIsNotRecorded, "record"),
    (Bug::LostMakeIsAskedAgain, "I7"),
    (Bug::LostMakeCountsAsRefused, "I5"),
    (Bug::StrayCloneIsNotSeen, "I6"),
    (Bug::ClonesAreForgotten, "I6"),
    (Bug::AddressesAreOverlooked, "I6"),
    (Bug::StrangerIsTakenIn, "I6"),
    (Bug::OneTooManyIsWanted, "I5"),
    (Bug::DeletionCountsAsDone, "I5"),
    (Bug::DeleteIsNotRepeated, "I6"),
    (Bug::AccountCountsAsEmpty, "I7"),
    (Bug::DeedLeavesAfterTheLease, "I8"),
    (Bug::DrainDoesNotWaitForRooms, "I11"),
    (Bug::UnreadyCloneIsListed, "I11"),
    (Bug::OpenRequestsAreNotCounted, "I2"),
    (Bug::HourIsNotCounted, "I5"),
    (Bug::ClonesAreHiddenWithTheirSeed, "I11"),
];

impl Mutant {
    /// What the engine hears of its clones.
    pub(super) fn spoil_heard(&mut self, input: Input) -> Input {
        match (self.bug, input) {
            (Some(Bug::ClonesAreForgotten), Input::Loaded(Some(mut record))) => {
                record.fleet = FleetRecord::default();
                Input::Loaded(Some(record))
            }
            (_, Input::Fleet(op, heard)) => Input::Fleet(op, self.spoil_answer(heard)),
            (_, input) => input,
        }
    }

    fn spoil_answer(&self, heard: Heard) -> Heard {
        let is_lost = |class| class == ErrorClass::Ambiguous;
        match (self.bug, heard) {
            (Some(Bug::LostMakeIsAskedAgain), Heard::Made(Err(mut it))) if is_lost(it.class) => {
                it.class = ErrorClass::Transient;
                Heard::Made(Err(it))
            }
            (Some(Bug::LostMakeCountsAsRefused), Heard::Made(Err(mut it))) if is_lost(it.class) => {
                it.class = ErrorClass::InvalidState;
                Heard::Made(Err(it))
            }
            (Some(Bug::StrayCloneIsNotSeen), Heard::Found(Ok(mut list))) => {
                let known = self.engine.view().clones;
                list.retain(|it| known.iter().any(|view| view.clone == it.clone));
                Heard::Found(Ok(list))
            }
            (Some(Bug::StrangerIsTakenIn), Heard::Found(Ok(mut list))) => {
                list.push(Owned {
                    clone: CloneId::new(1, DAWN / 1_000).expect("within bounds"),
                    machine: Machine {
                        state: MachineState::Running,
                        address: None,
                    },
                });
                Heard::Found(Ok(list))
            }
            (Some(Bug::AddressesAreOverlooked), Heard::Addresses(Ok(_))) => {
                Heard::Addresses(Ok(Vec::new()))
            }
            (Some(Bug::DeletionCountsAsDone), Heard::Deleted(Ok(mut machine))) => {
                machine.state = MachineState::Missing;
                Heard::Deleted(Ok(machine))
            }
            (Some(Bug::UnreadyCloneIsListed), Heard::Probed(_)) => {
                Heard::Probed(ProbeResult::Ready)
            }
            (Some(Bug::OpenRequestsAreNotCounted), Heard::Drained(Ok(Some(_)))) => {
                Heard::Drained(Ok(Some(0)))
            }
            (_, heard) => heard,
        }
    }

    /// The deeds of one step, with their records.
    pub(super) fn spoil_deeds(&mut self, effects: &mut Vec<Effect>) {
        let is_unrecorded = |effect: &Effect| match effect {
            Effect::Fleet(_, Deed::Make(_)) => self.has(Bug::MakeIsNotRecorded),
            Effect::Fleet(_, Deed::Delete(_)) => self.has(Bug::DeleteIsNotRecorded),
            _ => false,
        };
        if effects.iter().any(is_unrecorded) {
            effects.retain(|effect| !matches!(effect, Effect::Record { required: true, .. }));
        }
        if self.has(Bug::DeleteIsNotRepeated) {
            effects.retain(|effect| match effect {
                Effect::Fleet(_, Deed::Delete(clone)) => self.deleted.insert(*clone),
                _ => true,
            });
        }
        if self.has(Bug::OneTooManyIsWanted) {
            let wanted = self.engine.policy().clones.map(|terms| terms.wanted);
            if let Some(wanted) = wanted.filter(|it| Some(*it) != self.wanted) {
                self.wanted = Some(wanted + 1);
                self.want_clones(wanted + 1);
                let mut policy = self.engine.policy().clone();
                if let Some(terms) = &mut policy.clones {
                    terms.most = u16::MAX;
                }
                self.engine.set_policy(policy);
            }
        }
    }

    /// The answer that the engine hears at once, and that is not true.
    pub(super) fn rash_answer(&mut self, effect: &Effect) -> Option<Input> {
        match effect {
            Effect::Fleet(op, Deed::Find) if self.has(Bug::AccountCountsAsEmpty) => {
                let first = !std::mem::replace(&mut self.has_looked, true);
                first.then(|| Input::Fleet(*op, Heard::Found(Ok(Vec::new()))))
            }
            _ => None,
        }
    }
}
