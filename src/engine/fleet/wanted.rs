//! What is wanted beside what is: new clones are intended, some are to go, and those that are over are forgotten.

use std::collections::BTreeSet;

use super::{Entry, Fleet, Life, Story};
use crate::engine::id::CloneId;
use crate::engine::policy::CloneTerms;
use crate::engine::time::Time;

impl Fleet {
    pub(super) fn drop_the_dead(&mut self, now: Time, terms: &CloneTerms) {
        let read = self.find.read;
        let over = |since: Time| {
            let end = since + terms.settles;
            end <= now && read.is_some_and(|read| read >= end)
        };
        let mut ended = Vec::new();
        self.clones.retain(|clone, entry| {
            let story = match &entry.life {
                Life::Making { since } if entry.lost && !terms.repeats && over(*since) => {
                    let why = "it was asked for, and did not appear in time".to_owned();
                    Some(Story::NotMade { why })
                }
                Life::Removing {
                    gone: true,
                    addresses,
                    may_appear,
                    ..
                } if addresses.is_empty() && may_appear.is_none_or(over) => Some(Story::Gone),
                _ => None,
            };
            ended.extend(story.clone().map(|story| (*clone, story)));
            story.is_none()
        });
        self.changed |= !ended.is_empty();
        self.told.append(&mut ended);
    }

    /// Intends new clones, or the end of some. Nothing is made before all that exist are known.
    pub(super) fn match_wanted(&mut self, now: Time) {
        let wanted = usize::from(self.wanted);
        while self.live() > wanted {
            let Some(clone) = self.least_useful() else {
                break;
            };
            self.remove(clone, now);
        }
        while self.live() < wanted && self.find.read.is_some() && self.no_new_before <= now {
            let Some(clone) = self.next_clone(now) else {
                break;
            };
            self.last_generation = clone.generation();
            let life = Life::Making { since: now };
            self.clones.insert(clone, Entry::new(life, now));
            self.told.push((clone, Story::Begun));
        }
    }

    /// One that is being made before one that is made, the youngest first; none about which a deed is under way.
    fn least_useful(&self) -> Option<CloneId> {
        let rank = |(clone, entry): &(&CloneId, &Entry)| {
            (matches!(entry.life, Life::Making { .. }), **clone)
        };
        let removable = |(_, entry): &(&CloneId, &Entry)| {
            entry.call.is_none() && !matches!(entry.life, Life::Removing { .. })
        };
        let all = self.clones.iter();
        all.filter(removable)
            .max_by_key(rank)
            .map(|(clone, _)| *clone)
    }

    fn next_clone(&self, now: Time) -> Option<CloneId> {
        let taken: BTreeSet<u16> = self.clones.keys().map(|clone| clone.slot()).collect();
        let slot = (1..=CloneId::SLOT_MAX).find(|slot| !taken.contains(slot))?;
        CloneId::new(slot, (now.0 / 1_000).max(self.last_generation + 1))
    }

    pub(super) fn remove(&mut self, clone: CloneId, now: Time) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        let (may_appear, addresses) = match &entry.life {
            Life::Making { since } => (Some(*since).filter(|_| entry.lost), Vec::new()),
            Life::Stripping { addresses } => (None, addresses.clone()),
            Life::Made => (None, Vec::new()),
            Life::Removing { .. } => return,
        };
        let life = Life::Removing {
            may_appear,
            addresses,
            noted: false,
            gone: false,
        };
        entry.turn(life, now);
        self.told.push((clone, Story::Leaving));
        self.changed = true;
    }
}
