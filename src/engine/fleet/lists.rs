//! The lists of what is at the platform: clones that nobody knew of, and clones that are there no more.

use std::collections::BTreeMap;

use super::life::Ask;
use super::pause::{LOOK_FIRST, LOOK_MAX, wait};
use super::{Entry, Fleet, Life, Story};
use crate::engine::id::CloneId;
use crate::engine::machine::{MachineState, Owned, Trouble};
use crate::engine::policy::{CloneTerms, Policy};
use crate::engine::time::{Span, Time};

/// Between two looks for machines that nobody knows of.
pub(super) const PATROL: Span = Span::mins(5);

/// A look that shows a clone is believed for so long at least before lists that don't.
const SEEN_FOR: Span = Span::secs(5);

/// So many lists in a row must lack a clone that was there before it counts as gone: lists lag.
const LISTS_WITHOUT_IT: u32 = 3;

impl Fleet {
    pub(super) fn found(
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
                self.trouble = Some(trouble);
                return;
            }
        };
        if std::mem::take(&mut self.find.failures) > 0 {
            self.trouble = None;
        }
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
        let seen_for = SEEN_FOR.max(policy.probe_interval + policy.probe_interval);
        self.miss(&there, Time(began.0.saturating_sub(seen_for.0)), now);
        self.find.next_at = now + self.next_look(terms);
    }

    fn saw(&mut self, clone: CloneId, machines: usize, now: Time, terms: &CloneTerms) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            let mut entry = Entry::new(Life::Making { since: now }, now);
            entry.is_found = true;
            self.clones.insert(clone, entry);
            self.told.push((clone, Story::Adopted));
            return self.exists(clone, now, terms);
        };
        entry.absent = 0;
        entry.is_listed = true;
        // Two machines of one name: neither is trusted. What is being removed is removed, however many they are.
        let leaves = matches!(entry.life, Life::Removing { .. });
        if machines > 1 && !leaves && (entry.may_leave() || !entry.is_live()) {
            self.leave(clone, true, now);
            return;
        }
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
            _ => {}
        }
    }

    /// Clones that were there and are not listed. A look since then that showed one is believed before lists, which lag.
    fn miss(&mut self, there: &BTreeMap<CloneId, usize>, since: Time, now: Time) {
        let mut gone = Vec::new();
        for (clone, entry) in &mut self.clones {
            let exists = matches!(
                entry.life,
                Life::Stripping { .. } | Life::Rising { .. } | Life::Serving { .. }
            );
            entry.is_listed = there.contains_key(clone);
            if entry.is_listed || !exists {
                continue;
            }
            if entry.seen_at.is_some_and(|at| at >= since) {
                entry.absent = 0;
                continue;
            }
            entry.absent += 1;
            // One that serves is not looked at while its app answers: before it counts as gone, it is.
            if matches!(entry.life, Life::Serving { .. }) && entry.call.is_none() {
                entry.ask = Ask::Look;
                entry.next_at = now;
            }
            if entry.absent >= LISTS_WITHOUT_IT && entry.may_leave() {
                // Where somebody may be inside it is left like any other: its app may answer all the same.
                gone.push(*clone);
            }
        }
        for clone in gone {
            self.leave(clone, true, now);
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
