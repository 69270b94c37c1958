//! The clones of a service: each a line of recorded steps from the intent to its end, each step safe to repeat.
//!
//! Made: the intent is written down, the provider is asked, the clone's public addresses are written down and given
//! back, it is started where it must be, its app is asked until it answers, and then visitors are led to it. Removed:
//! nobody is led to it any more, running requests end, its addresses are written down, the machine is deleted, seen gone,
//! the addresses are given back. A crash anywhere leaves a record from which the next owner goes on, or, where the record
//! is lost too, machines whose marks tell whose they are.
//!
//! [`Fleet`] decides, [`Deed`] is what it wants done, [`Heard`] what came of it; [`life`] holds what is written down of
//! one clone. How many are wanted is said from outside. [`Service`](super::service::Service) lends it ids of operations,
//! writes its record and puts the routing in force.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::contract::ProbeResult;
use super::id::{CloneId, InstanceId, OpId};
use super::machine::{Machine, Owned, PublicAddress, Trouble};
use super::policy::{CloneTerms, Policy};
use super::story::Failure;
use super::time::{Span, Time};
use super::traffic::Upstream;
use life::Ask;
pub use life::Life;

mod alone;
mod heard;
pub mod life;
mod lists;
mod pause;
mod serving;
#[cfg(test)]
mod tests;
mod wanted;

/// Something to be done at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// List all machines that carry the service's mark.
    Find,
    /// Make the clone.
    Make(CloneId),
    /// Read the clone's state and address.
    Look(CloneId),
    /// Start the clone.
    Start(CloneId),
    /// Ask the clone's app, at this address, whether it is ready.
    Probe(CloneId, SocketAddr),
    /// See to it that no room leads anybody to the clone any more, and count what is in flight there.
    Drain(CloneId),
    /// Read the clone's public addresses.
    Addresses(CloneId),
    /// Give these addresses of the clone back.
    Release(CloneId, Vec<PublicAddress>),
    /// Delete the clone.
    Delete(CloneId),
}

/// What came of a deed.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Of [`Deed::Find`].
    Found(Result<Vec<Owned>, Trouble>),
    /// Of [`Deed::Make`].
    Made(Result<Machine, Trouble>),
    /// Of [`Deed::Look`] and [`Deed::Start`].
    Looked(Result<Machine, Trouble>),
    /// Of [`Deed::Probe`].
    Probed(ProbeResult),
    /// Of [`Deed::Drain`]: how many requests and connections are open there; none where that can't be known. An error
    /// where somebody may still be led there.
    Drained(Result<Option<u32>, String>),
    /// Of [`Deed::Addresses`].
    Addresses(Result<Vec<PublicAddress>, Trouble>),
    /// Of [`Deed::Release`].
    Released(Result<(), Trouble>),
    /// Of [`Deed::Delete`].
    Deleted(Result<Machine, Trouble>),
}

/// What happened to a clone, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Story {
    /// It is being made.
    Begun,
    /// It is made.
    Made,
    /// A machine with our mark that nobody had written down was taken in.
    Adopted,
    /// It could not be made, or is not known to have been.
    NotMade {
        /// Why.
        why: String,
    },
    /// Its app answers; visitors are led to it.
    Serving,
    /// It served and does so no more for now.
    Ailing {
        /// What was seen.
        why: String,
    },
    /// It is given up: it did not come up.
    GivenUp {
        /// What was seen.
        why: String,
    },
    /// Nobody is led to it any more; running requests end.
    Leaving,
    /// It is wanted again before its end.
    BackAgain,
    /// It is being removed.
    Removing,
    /// It is gone, and so are its addresses.
    Gone,
}

/// What is written down of the clones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetRecord {
    /// The clones and where they are in their lives.
    pub clones: BTreeMap<CloneId, Life>,
    /// When clones were intended, in the last hour.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<Time>,
}

impl FleetRecord {
    /// Whether there is nothing to write down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clones.is_empty() && self.begun.is_empty()
    }
}

/// Without a record this part of the bound for an hour is left.
const UNRECORDED_LEFT: u64 = 4;

/// So far back creations are counted.
const HOUR: Span = Span::mins(60);

/// The clones of one service.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    wanted: u16,
    clones: BTreeMap<CloneId, Entry>,
    last_generation: u64,
    /// When clones were intended, in the last hour.
    begun: Vec<Time>,
    find: Find,
    /// The provider does not make clones now: not asked before.
    no_new_before: Time,
    refusals: u32,
    /// The last clone that could not be made or did not come up: when, and why.
    refused: Option<(Time, Failure, String)>,
    /// What the last call that did not succeed met with, until one succeeds.
    trouble: Option<Trouble>,
    /// No seed serves beside them.
    alone: bool,
    changed: bool,
    told: Vec<(CloneId, Story)>,
}

/// The reading of lists.
#[derive(Clone, Debug, Default)]
struct Find {
    call: Option<Call>,
    /// When the latest list that was read had been asked for.
    read: Option<Time>,
    next_at: Time,
    failures: u32,
    /// Looks for a clone that may still appear.
    looks: u32,
}

/// A clone, with what is not written down of it.
#[derive(Clone, Debug)]
struct Entry {
    life: Life,
    call: Option<Call>,
    failures: u32,
    next_at: Time,
    /// Its making was asked for by an earlier owner, or the answer was lost: it is looked for, not asked for again.
    lost: bool,
    /// Lists in a row that lacked it.
    absent: u32,
    /// When the platform was asked for its state last, of those times at which it was there.
    seen_at: Option<Time>,
    /// The latest list showed it.
    is_listed: bool,
    /// A list or a record brought it: nobody knows whether it has served.
    is_found: bool,
    ask: Ask,
    /// When the platform was asked for its state last.
    looked_at: Time,
    /// When its start was asked for last, and how often.
    started_at: Option<Time>,
    starts: u32,
    /// Probes in a row that failed.
    misses: u32,
    /// Since when nobody is led to it.
    clear_since: Option<Time>,
}

/// A deed under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    op: OpId,
    /// The record that the deed stands behind.
    record: Option<OpId>,
    began: Time,
    lost_at: Time,
}

impl Entry {
    fn new(life: Life, now: Time) -> Entry {
        Entry {
            life,
            call: None,
            failures: 0,
            next_at: now,
            lost: false,
            absent: 0,
            seen_at: None,
            is_listed: false,
            is_found: false,
            ask: Ask::Look,
            looked_at: now,
            started_at: None,
            starts: 0,
            misses: 0,
            clear_since: None,
        }
    }

    fn turn(&mut self, life: Life, now: Time) {
        *self = Entry {
            call: self.call,
            absent: self.absent,
            seen_at: self.seen_at,
            is_listed: self.is_listed,
            is_found: self.is_found,
            ..Entry::new(life, now)
        };
    }
}

impl Fleet {
    /// Takes up what an earlier owner wrote down.
    pub fn load(&mut self, record: FleetRecord, now: Time) {
        // Beside what is taken to have happened where nothing is written down.
        self.begun.extend(record.begun);
        for (clone, life) in record.clones {
            self.last_generation = self.last_generation.max(clone.generation());
            let mut entry = Entry::new(life, now);
            entry.lost = matches!(entry.life, Life::Making { .. });
            // Whoever led before may have led visitors there since that was written down, or may do so still.
            entry.is_found = true;
            if let Life::Rising { served, .. } = &mut entry.life {
                *served = true;
            }
            self.clones.insert(clone, entry);
        }
    }

    /// What is to be written down.
    #[must_use]
    pub fn record(&self) -> FleetRecord {
        let lives = self.clones.iter();
        FleetRecord {
            begun: self.begun.clone(),
            clones: lives
                .map(|(clone, entry)| (*clone, entry.life.clone()))
                .collect(),
        }
    }

    /// Nothing is written down: the past may have been lost with the store. So much is taken to have happened in the last
    /// hour that a quarter of the bound is left, and the rest of it comes back evenly.
    pub fn load_nothing(&mut self, now: Time, terms: &CloneTerms) {
        let most = u64::from(terms.per_hour);
        let taken = most.saturating_sub((most / UNRECORDED_LEFT).max(1));
        let before = |nth: u64| Time(now.0.saturating_sub(nth * HOUR.0 / (taken + 1)));
        self.begun = (1..=taken).rev().map(before).collect();
    }

    /// What is due by itself comes to pass: those that did not come up, or did not appear, are given up. To be called before
    /// how many are wanted is decided, so that they don't count as on their way.
    pub fn settle(&mut self, now: Time, policy: &Policy) {
        let Some(terms) = &policy.clones else {
            return;
        };
        self.lose_overdue(now, policy);
        self.give_up_the_late(now, policy);
        self.drop_the_dead(now, terms);
    }

    /// From now on so many clones are wanted: those that are too many are taken out of service.
    pub fn want(&mut self, clones: u16, now: Time, policy: &Policy) {
        let Some(terms) = &policy.clones else {
            return;
        };
        self.wanted = clones;
        self.match_wanted(now, terms);
    }

    /// Where visitors may be led.
    pub fn upstreams(&self) -> impl Iterator<Item = Upstream> {
        self.clones.iter().filter_map(|(clone, entry)| {
            let Life::Serving { address } = entry.life else {
                return None;
            };
            Some(Upstream {
                instance: InstanceId::Clone(*clone),
                address,
            })
        })
    }

    /// Clones that are, or are being made, and do not leave.
    #[must_use]
    pub fn live(&self) -> u16 {
        let live = self.clones.values().filter(|entry| entry.is_live()).count();
        u16::try_from(live).unwrap_or(u16::MAX)
    }

    /// Whether somebody may be inside a clone.
    #[must_use]
    pub fn may_be_in_use(&self) -> bool {
        self.clones.values().any(|entry| {
            matches!(
                entry.life,
                Life::Serving { .. } | Life::Leaving { .. } | Life::Rising { served: true, .. }
            )
        })
    }

    /// The clones and where they are in their lives.
    pub fn lives(&self) -> impl Iterator<Item = (CloneId, &Life)> {
        self.clones
            .iter()
            .map(|(clone, entry)| (*clone, &entry.life))
    }

    /// Whether a change is not yet written down. Asking takes the answer.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What people are to be told. Asking takes it.
    pub fn take_told(&mut self) -> Vec<(CloneId, Story)> {
        std::mem::take(&mut self.told)
    }

    /// What is to be done now, and whether what is known must be written down before it. Who asks does it, and says so
    /// by [`doing`](Self::doing). `unlisted`: the routing in force leads to none that leaves.
    pub fn next(&mut self, now: Time, terms: &CloneTerms, unlisted: bool) -> Option<(Deed, bool)> {
        if self.find_is_due(now) {
            return Some((Deed::Find, false));
        }
        let due = |entry: &Entry| entry.call.is_none() && entry.next_at <= now;
        let mut all = self.clones.iter().filter(|(_, entry)| due(entry));
        let next = all.find_map(|(clone, entry)| entry.deed(*clone, terms, unlisted));
        let (deed, recorded) = next?;
        if let Deed::Make(clone) = deed
            && let Some(entry) = self.clones.get_mut(&clone)
        {
            // From the last time that it is asked for, it may still appear for as long as the platform may take.
            entry.life = Life::Making { since: now };
        }
        Some((deed, recorded))
    }

    /// A deed is under way as this operation, behind this record, and lost at that time.
    pub fn doing(&mut self, deed: &Deed, op: OpId, record: Option<OpId>, now: Time, lost_at: Time) {
        let call = Some(Call {
            op,
            record,
            began: now,
            lost_at,
        });
        match deed.clone_id() {
            None => self.find.call = call,
            Some(clone) => {
                if let Some(entry) = self.clones.get_mut(&clone) {
                    entry.call = call;
                }
            }
        }
    }

    /// The next moment at which something is due by itself.
    #[must_use]
    pub fn due(&self, terms: &CloneTerms, unlisted: bool) -> Option<Time> {
        let find = match self.find.call {
            Some(call) => call.lost_at,
            None => self.find.next_at,
        };
        let entry = |(clone, entry): (&CloneId, &Entry)| match entry.call {
            Some(call) => Some(call.lost_at),
            None => entry.deed(*clone, terms, unlisted).map(|_| entry.next_at),
        };
        // What waits to be seen waits for the next list, and what waits for room for the end of another clone.
        let more = self.live() < self.wanted && self.has_room(terms) && self.find.read.is_some();
        let new = Some(self.no_new_before.max(self.hour_allows_at(terms))).filter(|_| more);
        let entries = self.clones.iter().filter_map(entry);
        entries.chain(new).chain([find]).min()
    }

    /// Until when the bound for an hour keeps back clones that are wanted; none where it does not.
    #[must_use]
    pub fn kept_back_until(&self, now: Time, terms: &CloneTerms) -> Option<Time> {
        let more = self.live() < self.wanted && self.has_room(terms);
        let at = self.hour_allows_at(terms);
        (more && at > now).then_some(at)
    }

    /// The record before a deed was not written, so the deed was not done. Whether it was one of these.
    pub fn not_recorded(&mut self, op: OpId, now: Time, policy: &Policy) -> bool {
        let is_it = |call: &Option<Call>| call.is_some_and(|call| call.record == Some(op));
        let Some(entry) = self.clones.values_mut().find(|entry| is_it(&entry.call)) else {
            return false;
        };
        entry.call = None;
        entry.failures += 1;
        entry.next_at = now + policy.backoff.wait(entry.failures, policy.seed);
        true
    }

    fn find_is_due(&self, now: Time) -> bool {
        self.find.call.is_none() && self.find.next_at <= now
    }
}

impl Deed {
    /// The clone that it is done to.
    #[must_use]
    pub fn clone_id(&self) -> Option<CloneId> {
        match self {
            Deed::Find => None,
            Deed::Make(clone)
            | Deed::Look(clone)
            | Deed::Start(clone)
            | Deed::Probe(clone, _)
            | Deed::Drain(clone)
            | Deed::Addresses(clone)
            | Deed::Release(clone, _)
            | Deed::Delete(clone) => Some(*clone),
        }
    }
}
