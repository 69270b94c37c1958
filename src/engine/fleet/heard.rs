//! What came of a deed, taken in.

use super::life::Ask;
use super::pause::{LOOK_FIRST, wait};
use super::{Call, Entry, Fleet, Heard, Life, Story};
use crate::engine::contract::ProbeResult;
use crate::engine::id::{CloneId, OpId};
use crate::engine::machine::{ErrorClass, Machine, MachineState, PublicAddress, Trouble};
use crate::engine::policy::{CloneTerms, Policy};
use crate::engine::story::Failure;
use crate::engine::time::{Span, Time};

/// Between two looks whether a machine that is being deleted is gone.
const DELETE_AGAIN: Span = Span::secs(2);

impl Fleet {
    /// Takes in what came of a deed. An answer with an id that is not expected changes nothing.
    pub fn heard(&mut self, op: OpId, heard: Heard, now: Time, policy: &Policy) {
        let is_it = |call: &Option<Call>| call.is_some_and(|call| call.op == op);
        if is_it(&self.find.call) {
            let began = self.find.call.take().map_or(now, |call| call.began);
            if let Heard::Found(found) = heard {
                self.found(found, began, now, policy);
            }
            return;
        }
        let Some((clone, entry)) = self.clones.iter_mut().find(|(_, e)| is_it(&e.call)) else {
            return;
        };
        let asked_at = entry.call.take().map(|call| call.began);
        if let Heard::Looked(Ok(machine)) = &heard
            && machine.state != MachineState::Missing
        {
            entry.seen_at = asked_at;
        }
        let clone = *clone;
        match heard {
            Heard::Found(_) => {}
            Heard::Made(made) => self.made(clone, made, now, policy),
            Heard::Looked(looked) => self.looked(clone, looked, now, policy),
            Heard::Probed(probed) => self.probed(clone, probed, now, policy),
            Heard::Drained(drained) => self.drained(clone, drained, now, policy),
            Heard::Addresses(Ok(addresses)) => self.addressed(clone, addresses, now),
            Heard::Released(Ok(())) => self.released(clone, now),
            Heard::Deleted(Ok(machine)) => self.deleted(clone, machine.state, now),
            Heard::Addresses(Err(trouble))
            | Heard::Released(Err(trouble))
            | Heard::Deleted(Err(trouble)) => self.again(clone, &trouble, now, policy),
        }
    }

    /// Deeds whose answers are overdue count as answered by silence.
    pub(super) fn lose_overdue(&mut self, now: Time, policy: &Policy) {
        let overdue = |call: &Option<Call>| call.filter(|call| call.lost_at <= now).map(|c| c.op);
        let silence = || Trouble::new(ErrorClass::Ambiguous, "no answer in time");
        if let Some(op) = overdue(&self.find.call) {
            self.heard(op, Heard::Found(Err(silence())), now, policy);
        }
        let lost: Vec<_> = self
            .clones
            .values()
            .filter_map(|entry| Some((overdue(&entry.call)?, entry.silence(silence()))))
            .collect();
        for (op, heard) in lost {
            self.heard(op, heard, now, policy);
        }
    }

    pub(super) fn exists(&mut self, clone: CloneId, now: Time, terms: &CloneTerms) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        self.trouble = None;
        if terms.strips {
            let addresses = Vec::new();
            entry.turn(Life::Stripping { addresses }, now);
        } else {
            self.rises(clone, now);
        }
        self.changed = true;
    }

    /// It is made as it was wanted.
    fn rises(&mut self, clone: CloneId, now: Time) {
        if let Some(entry) = self.clones.get_mut(&clone) {
            // One that was found may have served before.
            let served = entry.is_found;
            entry.turn(Life::Rising { since: now, served }, now);
            self.told.push((clone, Story::Made));
            self.changed = true;
        }
    }

    fn made(&mut self, clone: CloneId, made: Result<Machine, Trouble>, now: Time, policy: &Policy) {
        let Some(terms) = &policy.clones else {
            return;
        };
        let trouble = match made {
            Ok(machine) if machine.state != MachineState::Missing => {
                return self.exists(clone, now, terms);
            }
            // The platform knows it by its name or token, and has nothing of it any more.
            Ok(_) if terms.repeats => Trouble::new(ErrorClass::NotFound, "it has come to its end"),
            Ok(_) => Trouble::new(ErrorClass::Ambiguous, "it was made, and is not there"),
            Err(trouble) if trouble.class == ErrorClass::AlreadyThere => {
                return self.exists(clone, now, terms);
            }
            Err(trouble) => trouble,
        };
        match trouble.class {
            // It was done: a list has shown it while the answer was waited for.
            ErrorClass::Ambiguous if self.is_listed(clone) => self.exists(clone, now, terms),
            // It may have been done.
            ErrorClass::Ambiguous => {
                self.again(clone, &trouble, now, policy);
                if let Some(entry) = self.clones.get_mut(&clone) {
                    entry.lost = true;
                }
                if !terms.repeats {
                    self.find.looks = 0;
                    self.find.next_at = self.find.next_at.min(now + LOOK_FIRST);
                }
            }
            // Nothing was done, and trying again soon can help.
            class if class.passes_by_itself() && class != ErrorClass::InvalidState => {
                // Capacity comes back, but nobody knows when.
                if class == ErrorClass::Capacity {
                    self.refused = Some((now, Failure::of(class), trouble.to_string()));
                }
                self.again(clone, &trouble, now, policy);
            }
            _ => {
                self.refusals += 1;
                let wait = wait(&trouble, self.refusals, policy);
                self.no_new_before = now + wait;
                let why = trouble.to_string();
                self.refused = Some((now, Failure::of(trouble.class), why.clone()));
                self.told.push((clone, Story::NotMade { why }));
                // A refusal is believed, and looked after once all the same: a machine costs money.
                self.remove(clone, now);
            }
        }
    }

    fn is_listed(&self, clone: CloneId) -> bool {
        self.clones.get(&clone).is_some_and(|it| it.is_listed)
    }

    fn addressed(&mut self, clone: CloneId, found: Vec<PublicAddress>, now: Time) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        entry.failures = 0;
        entry.next_at = now;
        match &mut entry.life {
            Life::Stripping { .. } if found.is_empty() => self.rises(clone, now),
            Life::Stripping { addresses } => *addresses = found,
            Life::Removing {
                addresses,
                noted,
                gone,
                ..
            } => {
                // What has addresses exists.
                *gone &= found.is_empty();
                addresses.extend(found);
                addresses.sort();
                addresses.dedup();
                *noted = true;
            }
            _ => {}
        }
        self.changed = true;
    }

    fn released(&mut self, clone: CloneId, now: Time) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        entry.failures = 0;
        entry.next_at = now;
        match &mut entry.life {
            // Read once more: given back is what is seen given back.
            Life::Stripping { addresses } => addresses.clear(),
            Life::Removing { addresses, .. } => addresses.clear(),
            _ => {}
        }
        self.changed = true;
    }

    fn deleted(&mut self, clone: CloneId, state: MachineState, now: Time) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        entry.failures = 0;
        let is_gone = state == MachineState::Missing;
        entry.next_at = if is_gone { now } else { now + DELETE_AGAIN };
        if let Life::Removing { gone, .. } = &mut entry.life {
            self.changed |= *gone != is_gone;
            *gone = is_gone;
        }
    }

    pub(super) fn again(&mut self, clone: CloneId, trouble: &Trouble, now: Time, policy: &Policy) {
        self.trouble = Some(trouble.clone());
        if let Some(entry) = self.clones.get_mut(&clone) {
            entry.failures += 1;
            entry.next_at = now + wait(trouble, entry.failures, policy);
        }
    }
}

impl Entry {
    /// What a deed that was not answered comes to.
    fn silence(&self, trouble: Trouble) -> Heard {
        match (&self.life, self.ask) {
            (Life::Making { .. }, _) => Heard::Made(Err(trouble)),
            (Life::Rising { .. } | Life::Serving { .. }, Ask::Probe(_)) => {
                Heard::Probed(ProbeResult::NotReady(trouble.detail))
            }
            (Life::Rising { .. } | Life::Serving { .. }, _) => Heard::Looked(Err(trouble)),
            (Life::Leaving { .. }, _) => Heard::Drained(Err(trouble.detail)),
            _ => Heard::Deleted(Err(trouble)),
        }
    }
}
