//! What is wanted beside what is: new clones are intended, some are to go, and those that are over are forgotten.

use std::collections::BTreeSet;

use super::{Entry, Fleet, HOUR, Life, Story};
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
                } if addresses.is_empty()
                    && may_appear.is_none_or(|since| over(since) && !entry.is_listed) =>
                {
                    Some(Story::Gone)
                }
                _ => None,
            };
            ended.extend(story.clone().map(|story| (*clone, story)));
            story.is_none()
        });
        self.changed |= !ended.is_empty();
        self.told.append(&mut ended);
    }

    /// Takes clones out of service, or back, or intends new ones. Nothing is made before all that exist are known, nor
    /// above what there may be at any moment, with those that are on their way out.
    pub(super) fn match_wanted(&mut self, now: Time, terms: &CloneTerms) {
        while self.live() > self.wanted {
            let Some(clone) = self.least_useful() else {
                break;
            };
            self.leave(clone, false, now);
        }
        while self.live() < self.wanted {
            if !self.take_one_back(now) && !self.intend_one(now, terms) {
                break;
            }
        }
    }

    fn take_one_back(&mut self, now: Time) -> bool {
        let back = self.clones.iter_mut().find(|(_, it)| it.can_come_back());
        let Some((clone, entry)) = back else {
            return false;
        };
        let life = match &mut entry.life {
            Life::Leaving {
                unstripped: Some(addresses),
                ..
            } => Life::Stripping {
                addresses: std::mem::take(addresses),
            },
            _ => Life::Rising {
                since: now,
                served: true,
            },
        };
        entry.turn(life, now);
        self.told.push((*clone, Story::BackAgain));
        self.changed = true;
        true
    }

    fn intend_one(&mut self, now: Time, terms: &CloneTerms) -> bool {
        self.begun.retain(|at| now.since(*at) < HOUR);
        let may = self.find.read.is_some()
            && self.no_new_before <= now
            && self.has_room(terms)
            && self.hour_allows_at(terms) <= now;
        let Some(clone) = self.next_clone(now).filter(|_| may) else {
            return false;
        };
        self.last_generation = clone.generation();
        self.begun.push(now);
        let life = Life::Making { since: now };
        self.clones.insert(clone, Entry::new(life, now));
        self.told.push((clone, Story::Begun));
        true
    }

    /// Whether one more machine would not be too many, with those that may still cost money.
    pub(super) fn has_room(&self, terms: &CloneTerms) -> bool {
        let cost = self.clones.values().filter(|entry| entry.may_cost());
        cost.count() < usize::from(terms.most)
    }

    /// When the next clone may be intended by the bound for an hour. A clock that was set back does not stretch the hour.
    #[must_use]
    pub fn hour_allows_at(&self, terms: &CloneTerms) -> Time {
        let per_hour = usize::from(terms.per_hour);
        match self.begun.len().checked_sub(per_hour) {
            Some(over) => self.begun.get(over).map_or(Time(0), |at| *at + HOUR),
            None => Time(0),
        }
    }

    /// One that is being made before one that comes up, before one that serves; the youngest first.
    fn least_useful(&self) -> Option<CloneId> {
        let rank = |(clone, entry): &(&CloneId, &Entry)| {
            let rank = match entry.life {
                Life::Making { .. } => 3,
                Life::Stripping { .. } => 2,
                Life::Rising { .. } => 1,
                _ => 0,
            };
            (rank, **clone)
        };
        // Where nobody serves beside it, the only one that serves stays until another does, or none is wanted.
        let stays = self.wanted > 0 && self.is_last();
        let may = |entry: &Entry| {
            entry.may_leave() && !(stays && matches!(entry.life, Life::Serving { .. }))
        };
        let all = self.clones.iter();
        all.filter(|(_, entry)| may(entry))
            .max_by_key(rank)
            .map(|(clone, _)| *clone)
    }

    fn next_clone(&self, now: Time) -> Option<CloneId> {
        let taken: BTreeSet<u16> = self.clones.keys().map(|clone| clone.slot()).collect();
        let slot = (1..=CloneId::SLOT_MAX).find(|slot| !taken.contains(slot))?;
        CloneId::new(slot, (now.0 / 1_000).max(self.last_generation + 1))
    }

    /// Takes a clone out of service: where somebody may be inside, running requests end first.
    pub(super) fn leave(&mut self, clone: CloneId, for_good: bool, now: Time) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        let unstripped = match &mut entry.life {
            Life::Serving { .. } | Life::Rising { served: true, .. } => None,
            // A list brought it, so nobody knows whether an earlier owner led visitors there.
            Life::Stripping { addresses } if entry.is_found => Some(std::mem::take(addresses)),
            Life::Leaving { for_good: is, .. } => {
                self.changed |= for_good && !*is;
                *is |= for_good;
                return;
            }
            _ => return self.remove(clone, now),
        };
        let life = Life::Leaving {
            for_good,
            unstripped,
        };
        entry.turn(life, now);
        self.told.push((clone, Story::Leaving));
        self.changed = true;
    }

    /// Begins the end of a clone in which nobody is.
    pub(super) fn remove(&mut self, clone: CloneId, now: Time) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        let (may_appear, addresses) = match &entry.life {
            Life::Making { since } => (Some(*since).filter(|_| entry.lost), Vec::new()),
            Life::Stripping { addresses }
            | Life::Leaving {
                unstripped: Some(addresses),
                ..
            } => (None, addresses.clone()),
            Life::Rising { .. } | Life::Serving { .. } | Life::Leaving { .. } => (None, Vec::new()),
            Life::Removing { .. } => return,
        };
        let life = Life::Removing {
            may_appear,
            addresses,
            noted: false,
            // What may still appear is deleted when a list shows it: only then all its addresses are known.
            gone: may_appear.is_some(),
        };
        entry.turn(life, now);
        self.told.push((clone, Story::Removing));
        self.changed = true;
    }
}
