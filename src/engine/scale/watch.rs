//! Makes rounds of samples: in a round each instance that serves has spoken, so that it tells the load of all.
//!
//! An instance that is slow to speak holds the round open, what the others say meanwhile is averaged. Once a round has
//! been open for too long it is closed without those who are silent: it says the least that the load may be, and it ends
//! the time over which load is known to have been low.

use std::collections::BTreeMap;

use super::window::{Merge, Window};
use super::{Crew, Terms};
use crate::engine::id::InstanceId;
use crate::engine::load::{Sample, Share};
use crate::engine::time::{Span, Time};

/// A machine that is busier than this may have had more to do than it could: what is measured is averaged over some
/// seconds, and the kernel takes some of them for itself.
pub(super) const CLIPPED: Share = Share::percent(97);
/// Load in machines, in ten thousandths of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Machines(pub(super) u64);

impl Machines {
    /// How many instances bring it to this share of each, or below.
    pub(super) fn needs(self, share: Share) -> u16 {
        let instances = self.0.div_ceil(share.in_hundredths().max(1));
        u16::try_from(instances).unwrap_or(u16::MAX)
    }

    /// How busy each of so many instances is with it.
    pub(super) fn each(self, instances: u16) -> Share {
        match instances {
            0 => Share::WHOLE,
            // Rounded up: a load that is not quite below a bound is not below it.
            some => Share::hundredths(self.0.div_ceil(u64::from(some))),
        }
    }
}

/// What is known of the load.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    members: BTreeMap<InstanceId, Member>,
    /// When the first sample of the open round was taken.
    open: Option<Time>,
    /// The end of the latest round.
    latest: Option<Time>,
    /// Since when rounds follow each other without a gap.
    seen_since: Time,
    /// Since when every round was whole and no instance came.
    low_since: Option<Time>,
    /// The latest whole round.
    whole: Option<(Time, Machines)>,
    loads: Window<Load>,
    peaks: Window<Peak>,
}

/// An instance that serves.
#[derive(Clone, Debug)]
struct Member {
    since: Time,
    /// Its latest sample that counted.
    spoke: Option<Time>,
    /// Its samples in the open round.
    busy: u64,
    clipped: u64,
    samples: u64,
}

/// The load of some rounds: at least, and at most, summed up.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    least: u64,
    most: u64,
    rounds: u64,
}

/// The highest of some averages.
#[derive(Clone, Copy, Debug, Default)]
struct Peak(u64);

impl Merge for Load {
    fn merge(&mut self, other: Load) {
        self.least += other.least;
        self.most += other.most;
        self.rounds += other.rounds;
    }
}

impl Merge for Peak {
    fn merge(&mut self, other: Peak) {
        self.0 = self.0.max(other.0);
    }
}

impl Watch {
    pub(super) fn measured(
        &mut self,
        samples: &[Sample],
        crew: &Crew<'_>,
        now: Time,
        terms: &Terms,
    ) {
        self.look_at_clock(now, terms);
        self.muster(crew, now);
        for sample in samples {
            self.take(sample, now, terms);
        }
        self.close(now, terms);
    }

    /// What is said to be of the future was measured before the clock was set back: when that was is not known. A clock
    /// that is set right by less than an `interval` only makes the samples wait that were taken meanwhile.
    fn look_at_clock(&mut self, now: Time, terms: &Terms) {
        let ahead = |at: Time| at.since(now) > terms.interval;
        let spoke = |member: &Member| ahead(member.since) || member.spoke.is_some_and(ahead);
        if self.latest.is_some_and(ahead) || self.members.values().any(spoke) {
            *self = Watch::default();
        }
    }

    fn muster(&mut self, crew: &Crew<'_>, now: Time) {
        self.members
            .retain(|instance, _| crew.serving.contains(instance));
        for instance in crew.serving {
            if !self.members.contains_key(instance) {
                self.members.insert(*instance, Member::new(now));
                self.forget_low();
            }
        }
    }

    fn take(&mut self, sample: &Sample, now: Time, terms: &Terms) {
        let Some(member) = self.members.get_mut(&sample.instance) else {
            return;
        };
        let counts = sample.at <= now
            && now.since(sample.at) <= terms.stale_after()
            && sample.at >= member.since + terms.settling
            && member.spoke < Some(sample.at);
        if !counts {
            return;
        }
        member.spoke = Some(sample.at);
        member.busy += sample.busy.in_hundredths();
        member.clipped += u64::from(sample.busy >= CLIPPED);
        member.samples += 1;
        self.open = Some(self.open.map_or(sample.at, |open| open.min(sample.at)));
    }

    /// Closes the open round if all have spoken, or if it has waited for too long.
    fn close(&mut self, now: Time, terms: &Terms) {
        let Some(began) = self.open else { return };
        let settled = |member: &&Member| now >= member.since + terms.settling;
        let members = self.members.values();
        let silent = members
            .filter(settled)
            .filter(|member| member.samples == 0)
            .count();
        if silent > 0 && now.since(began) <= terms.stale_after() {
            return;
        }
        let spoke = self.members.values().filter(|member| member.samples > 0);
        let Some(at) = spoke.clone().filter_map(|member| member.spoke).max() else {
            self.open = None;
            return;
        };
        let least = spoke.clone().map(Member::least).sum();
        // Who is silent may have all of its machine to do.
        let unheard = silent as u64 * Share::WHOLE.in_hundredths();
        let most = spoke.map(Member::most).sum::<u64>() + unheard;
        let gap = |latest| began.since(latest) > terms.stale_after();
        if self.latest.is_none_or(gap) {
            self.loads.clear();
            self.seen_since = at - terms.interval;
            self.forget_low();
        }
        let load = Load {
            least,
            most,
            rounds: 1,
        };
        self.round(at, load, silent == 0, terms);
        self.members.values_mut().for_each(Member::next_round);
        self.open = None;
    }

    fn round(&mut self, at: Time, load: Load, whole: bool, terms: &Terms) {
        // Nothing of a round that ends with the one before it is newer.
        let at = self.latest.map_or(at, |latest| latest.max(at));
        self.latest = Some(at);
        self.loads.add(at, load, terms.up_window);
        let settling = self.members.values().any(|member| member.spoke.is_none());
        if !whole || settling {
            return self.forget_low();
        }
        self.whole = Some((at, Machines(load.least)));
        self.low_since.get_or_insert(at - terms.interval);
        if let Some(most) = self.average(|load| load.most) {
            self.peaks.add(at, Peak(most), terms.down_window);
        }
    }

    fn forget_low(&mut self) {
        (self.low_since, self.whole) = (None, None);
        self.peaks.clear();
    }

    /// Rounded up.
    fn average(&self, of: impl Fn(&Load) -> u64) -> Option<u64> {
        let sum: u64 = self.loads.values().map(of).sum();
        let rounds: u64 = self.loads.values().map(|load| load.rounds).sum();
        (rounds > 0).then(|| sum.div_ceil(rounds))
    }

    /// The least that the load may be, over `up_window`, if that is known of all of it and of now.
    pub(super) fn at_least(&self, now: Time, terms: &Terms) -> Option<Machines> {
        let latest = self.latest?;
        let fresh = now.since(latest) <= terms.stale_after();
        let long_enough = latest.since(self.seen_since) >= terms.up_window;
        (fresh && long_enough)
            .then(|| self.average(|load| load.least))?
            .map(Machines)
    }

    /// The most that the load may have been since it has been whole, for up to `down_window`.
    pub(super) fn at_most(&self) -> Option<Machines> {
        let peaks = self.peaks.values();
        peaks.map(|peak| Machines(peak.0)).max()
    }

    /// Since when it is known of all instances of now.
    pub(super) fn low_since(&self) -> Option<Time> {
        self.low_since
    }

    /// Whether something was measured at this time or later.
    pub(super) fn reached(&self, at: Time) -> bool {
        self.latest >= Some(at)
    }

    /// How busy each was in the latest round, if that was whole and is fresh.
    pub(super) fn evenly(&self, crew: &Crew<'_>, now: Time, terms: &Terms) -> Option<Share> {
        let (at, load) = self.whole?;
        let fresh = now.since(at) <= terms.stale_after();
        fresh.then(|| load.each(super::serving(crew)))
    }

    /// An instance that began to serve too recently to be judged.
    pub(super) fn settling(&self, now: Time, terms: &Terms) -> Option<InstanceId> {
        let new = |member: &Member| {
            let since = now.since(member.since);
            member.spoke.is_none() && since <= terms.settling + terms.interval
        };
        let mut members = self.members.iter();
        members.find_map(|(instance, member)| new(member).then_some(*instance))
    }

    /// An instance without a fresh sample.
    pub(super) fn blind(&self, now: Time, terms: &Terms) -> Option<InstanceId> {
        let blind = |member: &Member| {
            let fresh = |at: Time| now.since(at) <= terms.stale_after();
            !member.spoke.is_some_and(fresh)
        };
        let mut members = self.members.iter();
        members.find_map(|(instance, member)| blind(member).then_some(*instance))
    }

    /// The moments after which some of what is known is no longer of now.
    pub(super) fn turns_stale_at(&self, terms: &Terms) -> impl Iterator<Item = Time> {
        let stale_after = terms.stale_after();
        let spoke = self.members.values().filter_map(|member| member.spoke);
        let all = spoke.chain(self.latest).chain(self.open);
        all.map(move |at| at + stale_after + Span(1))
    }
}

impl Member {
    fn new(since: Time) -> Member {
        Member {
            since,
            spoke: None,
            busy: 0,
            clipped: 0,
            samples: 0,
        }
    }

    fn least(&self) -> u64 {
        self.busy / self.samples
    }

    /// What is clipped counts as one machine more than was seen.
    fn most(&self) -> u64 {
        let hidden = self.clipped * Share::WHOLE.in_hundredths();
        (self.busy + hidden).div_ceil(self.samples)
    }

    fn next_round(&mut self) {
        (self.busy, self.clipped, self.samples) = (0, 0, 0);
    }
}
