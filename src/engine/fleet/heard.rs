//! What came of a deed, taken in.

use std::collections::BTreeMap;

use super::{Call, Entry, Fleet, Heard, Life, Story};
use crate::engine::id::{CloneId, OpId};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, PublicAddress, Trouble};
use crate::engine::policy::{CloneTerms, Policy};
use crate::engine::time::{Span, Time};

/// Between two looks for a clone whose making was interrupted, the first and the longest.
const LOOK_FIRST: Span = Span::secs(2);
const LOOK_MAX: Span = Span::secs(30);

/// Between two looks for machines that nobody knows of.
pub(super) const PATROL: Span = Span::mins(5);

/// So many lists in a row must lack a clone that was there before it counts as gone: lists lag.
const LISTS_WITHOUT_IT: u32 = 3;

/// Between two looks whether a machine that is being deleted is gone.
const DELETE_AGAIN: Span = Span::secs(2);

/// The least wait after a trouble that only time or a person mends.
const CAPACITY_WAIT: Span = Span::secs(30);
const REFUSED_WAIT: Span = Span::mins(5);

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
        entry.call = None;
        let clone = *clone;
        match heard {
            Heard::Found(_) => {}
            Heard::Made(made) => self.made(clone, made, now, policy),
            Heard::Addresses(Ok(addresses)) => self.addressed(clone, addresses, now),
            Heard::Released(Ok(())) => self.released(clone, now),
            Heard::Deleted(Ok(machine)) => self.deleted(clone, machine.state, now),
            Heard::Addresses(Err(trouble))
            | Heard::Released(Err(trouble))
            | Heard::Deleted(Err(trouble)) => self.again(clone, &trouble, now, policy),
        }
    }

    /// Deeds whose answers are overdue count as answered by silence.
    pub fn lose_overdue(&mut self, now: Time, policy: &Policy) {
        let overdue = |call: &Option<Call>| call.filter(|call| call.lost_at <= now).map(|c| c.op);
        let silence = || Trouble::new(ErrorClass::Ambiguous, "no answer in time");
        if let Some(op) = overdue(&self.find.call) {
            self.heard(op, Heard::Found(Err(silence())), now, policy);
        }
        let lost: Vec<_> = self
            .clones
            .values()
            .filter_map(|entry| Some((overdue(&entry.call)?, entry.life.clone())))
            .collect();
        for (op, life) in lost {
            let heard = match life {
                Life::Making { .. } => Heard::Made(Err(silence())),
                _ => Heard::Deleted(Err(silence())),
            };
            self.heard(op, heard, now, policy);
        }
    }

    fn exists(&mut self, clone: CloneId, now: Time, terms: &CloneTerms) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        let life = match terms.strips {
            true => Life::Stripping {
                addresses: Vec::new(),
            },
            false => Life::Made,
        };
        if life == Life::Made {
            self.told.push((clone, Story::Made));
        }
        entry.turn(life, now);
        self.refusals = 0;
        self.changed = true;
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
                self.again(clone, &trouble, now, policy);
            }
            _ => {
                self.refusals += 1;
                let wait = wait(&trouble, self.refusals, policy);
                self.no_new_before = now + wait;
                let why = trouble.to_string();
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
            Life::Stripping { .. } if found.is_empty() => {
                entry.turn(Life::Made, now);
                self.told.push((clone, Story::Made));
            }
            Life::Stripping { addresses } => *addresses = found,
            Life::Removing {
                addresses, noted, ..
            } => {
                addresses.extend(found);
                addresses.sort();
                addresses.dedup();
                *noted = true;
            }
            Life::Making { .. } | Life::Made => {}
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
            Life::Making { .. } | Life::Made => {}
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

    fn again(&mut self, clone: CloneId, trouble: &Trouble, now: Time, policy: &Policy) {
        if let Some(entry) = self.clones.get_mut(&clone) {
            entry.failures += 1;
            entry.next_at = now + wait(trouble, entry.failures, policy);
        }
    }

    fn found(
        &mut self,
        found: Result<Vec<Owned>, Trouble>,
        began: Time,
        now: Time,
        policy: &Policy,
    ) {
        let Some(terms) = &policy.clones else {
            return;
        };
        let owned = match found {
            Ok(owned) => owned,
            Err(trouble) => {
                self.find.failures += 1;
                self.find.next_at = now + wait(&trouble, self.find.failures, policy);
                return;
            }
        };
        self.find.failures = 0;
        self.find.read = Some(began);
        let mut there: BTreeMap<CloneId, usize> = BTreeMap::new();
        for owned in owned {
            if owned.machine.state != MachineState::Missing {
                *there.entry(owned.clone).or_default() += 1;
            }
        }
        for (clone, machines) in &there {
            self.last_generation = self.last_generation.max(clone.generation());
            self.saw(*clone, *machines, now, terms);
        }
        self.miss(&there, now);
        self.find.next_at = now + self.next_look(terms);
    }

    fn saw(&mut self, clone: CloneId, machines: usize, now: Time, terms: &CloneTerms) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            self.clones
                .insert(clone, Entry::new(Life::Making { since: now }, now));
            self.told.push((clone, Story::Adopted));
            return self.exists(clone, now, terms);
        };
        entry.absent = 0;
        entry.is_listed = true;
        match &mut entry.life {
            Life::Making { .. } if entry.lost && entry.call.is_none() => {
                self.exists(clone, now, terms);
            }
            // It has appeared late, and its addresses with it.
            Life::Removing { gone, noted, .. } if *gone && entry.call.is_none() => {
                (*gone, *noted) = (false, false);
                entry.next_at = now;
                self.changed = true;
            }
            // Two machines of one name: neither is trusted.
            Life::Made | Life::Stripping { .. } if machines > 1 && entry.call.is_none() => {
                self.remove(clone, now);
            }
            _ => {}
        }
    }

    /// Clones that were there and are not listed.
    fn miss(&mut self, there: &BTreeMap<CloneId, usize>, now: Time) {
        let mut gone = Vec::new();
        for (clone, entry) in &mut self.clones {
            entry.is_listed = there.contains_key(clone);
            if !entry.is_listed && matches!(entry.life, Life::Made | Life::Stripping { .. }) {
                entry.absent += 1;
                if entry.absent >= LISTS_WITHOUT_IT && entry.call.is_none() {
                    gone.push(*clone);
                }
            }
        }
        for clone in gone {
            self.remove(clone, now);
        }
    }

    fn next_look(&mut self, terms: &CloneTerms) -> Span {
        let looked_for = |entry: &Entry| entry.may_appear(terms);
        let missed = |entry: &Entry| entry.absent > 0;
        if !self.clones.values().any(|e| looked_for(e) || missed(e)) {
            self.find.looks = 0;
            return PATROL;
        }
        self.find.looks += 1;
        let doublings = self.find.looks.min(10) - 1;
        Span(LOOK_FIRST.0 << doublings).min(LOOK_MAX)
    }
}

/// How long after a trouble the same is tried again.
fn wait(trouble: &Trouble, failures: u32, policy: &Policy) -> Span {
    let wait = policy.backoff.wait(failures, policy.seed);
    match trouble.class {
        ErrorClass::RateLimited(Some(after)) => wait.max(after),
        ErrorClass::Capacity => wait.max(CAPACITY_WAIT),
        class if !class.passes_by_itself() => wait.max(REFUSED_WAIT),
        _ => wait,
    }
}
