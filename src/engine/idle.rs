//! When a service may be put to sleep: the idle clock.
//!
//! Unknown is never idle. A source that has not been heard of for `stale_after` is blind, a blind source stops
//! nothing, and when it speaks again the clock starts anew: what happened in between is not known.

use std::collections::BTreeMap;

use super::policy::Policy;
use super::record::Hold;
use super::time::{Span, Time};
use super::traffic::{Activity, Source};

/// Before the end of a paid period, so much time is left for diverting, draining and stopping.
pub const BILLING_MARGIN: Span = Span::mins(2);

/// The activity of one service.
#[derive(Clone, Debug, Default)]
pub struct IdleClock {
    last_activity: Time,
    last_use: Time,
    sources: BTreeMap<Source, Sample>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Time,
    in_flight: u32,
    long: u32,
}

/// Whether an awake service may be put to sleep now, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Sleep,
    /// Not before this moment, if nobody comes.
    NotBefore(Time),
    /// Somebody is using it.
    InUse,
    /// A hold keeps it awake.
    Held(Time),
    /// These sources have no fresh sample.
    Blind(Vec<Source>),
}

/// The facts beside the traffic that a verdict needs.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Since when the service has been awake.
    pub awake_since: Time,
    /// Since when the machine has run and costs money.
    pub up_since: Time,
    /// The hold, if there is one.
    pub hold: Option<&'a Hold>,
}

impl IdleClock {
    /// Starts anew: somebody came.
    pub fn restart(&mut self, now: Time) {
        self.last_activity = self.last_activity.max(now);
        self.last_use = self.last_activity;
    }

    /// Starts anew: what happened before isn't known.
    pub fn know_nothing(&mut self, now: Time) {
        self.last_activity = self.last_activity.max(now);
    }

    /// Takes a sample.
    pub fn saw(&mut self, now: Time, activity: Activity, policy: &Policy) {
        let unbroken = self
            .sources
            .get(&activity.source)
            .is_some_and(|last| is_fresh(last, now, policy));
        // An open request alone is no use: the end of one that qualifies is told as use, a monitor's never is.
        let used = activity.used || activity.long > 0;
        if used || !unbroken {
            self.last_activity = now;
        }
        // After a gap, "since the last sample" may be long ago.
        if used && (unbroken || activity.long > 0) {
            self.last_use = now;
        }
        let sample = Sample {
            at: now,
            in_flight: activity.in_flight,
            long: activity.long,
        };
        self.sources.insert(activity.source, sample);
    }

    /// Forgets a source that failed or lost its count.
    pub fn lost(&mut self, now: Time, source: Source) {
        self.sources.remove(&source);
        self.last_activity = now;
    }

    /// The last moment at which somebody may have used the service.
    #[must_use]
    pub fn last_activity(&self) -> Time {
        self.last_activity
    }

    /// The last moment at which somebody was seen to use the service; what isn't known is not counted.
    #[must_use]
    pub fn last_use(&self) -> Time {
        self.last_use
    }

    /// Required sources without a fresh sample.
    #[must_use]
    pub fn blind(&self, now: Time, policy: &Policy) -> Vec<Source> {
        let fresh = |source: &Source| {
            self.sources
                .get(source)
                .is_some_and(|last| is_fresh(last, now, policy))
        };
        policy
            .sources
            .iter()
            .copied()
            .filter(|source| !fresh(source))
            .collect()
    }

    /// Requests and long connections that were open at the last samples.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.sources
            .values()
            .map(|sample| sample.in_flight + sample.long)
            .sum()
    }

    /// The sources that saw something open at their last samples.
    #[must_use]
    pub fn open_by(&self) -> Vec<Source> {
        let open = |(_, sample): &(&Source, &Sample)| sample.in_flight + sample.long > 0;
        let open = self.sources.iter().filter(open);
        open.map(|(source, _)| *source).collect()
    }

    /// Whether every required source has spoken at or after `since`.
    #[must_use]
    pub fn heard_since(&self, since: Time, policy: &Policy) -> bool {
        policy.sources.iter().all(|source| {
            self.sources
                .get(source)
                .is_some_and(|last| last.at >= since)
        })
    }

    /// The next moment at which a source turns blind.
    #[must_use]
    pub fn turns_blind_at(&self, now: Time, policy: &Policy) -> Option<Time> {
        let ends =
            |source: &Source| Some(self.sources.get(source)?.at + policy.stale_after + Span(1));
        policy
            .sources
            .iter()
            .filter_map(ends)
            .filter(|at| *at > now)
            .min()
    }

    /// May the service be put to sleep?
    #[must_use]
    pub fn verdict(&self, now: Time, policy: &Policy, facts: Facts<'_>) -> Verdict {
        if let Some(hold) = facts.hold.filter(|hold| hold.until > now) {
            return Verdict::Held(hold.until);
        }
        let blind = self.blind(now, policy);
        if !blind.is_empty() {
            return Verdict::Blind(blind);
        }
        if self.open() > 0 {
            return Verdict::InUse;
        }
        let idle_at =
            (self.last_activity + policy.idle_timeout).max(facts.awake_since + policy.min_awake);
        match paid_until(idle_at.max(now), facts.up_since, policy) {
            at if at <= now => Verdict::Sleep,
            at => Verdict::NotBefore(at),
        }
    }
}

fn is_fresh(sample: &Sample, now: Time, policy: &Policy) -> bool {
    now.since(sample.at) <= policy.stale_after
}

/// The first moment at or after `from` that lies in the last two minutes of a paid period; `from` itself where
/// the machine is billed by the second, or by periods too short for that.
fn paid_until(from: Time, up_since: Time, policy: &Policy) -> Time {
    let Some(increment) = policy
        .billing_increment
        .filter(|increment| *increment > BILLING_MARGIN)
    else {
        return from;
    };
    let into_period = from.since(up_since).0 % increment.0;
    let window_opens = increment.0 - BILLING_MARGIN.0;
    from + Span(window_opens.saturating_sub(into_period))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            min_awake: Span::ZERO,
            ..Policy::default()
        }
    }

    fn facts(hold: Option<&Hold>) -> Facts<'_> {
        Facts {
            awake_since: Time(0),
            up_since: Time(0),
            hold,
        }
    }

    fn quiet(clock: &mut IdleClock, from: u64, to: u64, policy: &Policy) {
        for secs in (from..=to).step_by(5) {
            clock.saw(Time(secs * 1_000), Activity::quiet(Source::Edge), policy);
        }
    }

    #[test]
    fn half_an_hour_of_quiet_is_idle_and_a_second_less_is_not() {
        let (mut clock, policy) = (IdleClock::default(), policy());
        quiet(&mut clock, 0, 1_800, &policy);
        let almost = clock.verdict(Time(1_799_999), &policy, facts(None));
        assert_eq!(almost, Verdict::NotBefore(Time(1_800_000)));
        assert_eq!(
            clock.verdict(Time(1_800_000), &policy, facts(None)),
            Verdict::Sleep
        );
    }

    #[test]
    fn an_open_silent_connection_is_use() {
        let (mut clock, policy) = (IdleClock::default(), policy());
        for secs in (0..7_200).step_by(5) {
            let open = Activity {
                long: 1,
                ..Activity::quiet(Source::Edge)
            };
            clock.saw(Time(secs * 1_000), open, &policy);
        }
        assert_eq!(
            clock.verdict(Time(7_200_000), &policy, facts(None)),
            Verdict::InUse
        );
    }

    #[test]
    fn a_monitor_that_is_being_answered_does_not_restart_the_clock() {
        let (mut clock, policy) = (IdleClock::default(), policy());
        quiet(&mut clock, 0, 1_700, &policy);
        let monitor = Activity {
            in_flight: 1,
            ..Activity::quiet(Source::Edge)
        };
        clock.saw(Time(1_705_000), monitor, &policy);
        let verdict = clock.verdict(Time(1_705_000), &policy, facts(None));
        assert_eq!(verdict, Verdict::InUse);
        quiet(&mut clock, 1_710, 1_800, &policy);
        let verdict = clock.verdict(Time(1_800_000), &policy, facts(None));
        assert_eq!(verdict, Verdict::Sleep);
    }

    #[test]
    fn a_gap_in_a_signal_starts_the_clock_anew() {
        let (mut clock, policy) = (IdleClock::default(), policy());
        quiet(&mut clock, 0, 1_000, &policy);
        assert_eq!(
            clock.verdict(Time(1_700_000), &policy, facts(None)),
            Verdict::Blind(vec![Source::Edge])
        );
        quiet(&mut clock, 1_900, 1_905, &policy);
        let verdict = clock.verdict(Time(1_905_000), &policy, facts(None));
        assert_eq!(verdict, Verdict::NotBefore(Time(3_700_000)));
    }

    #[test]
    fn a_lost_counter_starts_the_clock_anew() {
        let (mut clock, policy) = (IdleClock::default(), policy());
        quiet(&mut clock, 0, 1_795, &policy);
        clock.lost(Time(1_796_000), Source::Edge);
        quiet(&mut clock, 1_800, 1_800, &policy);
        assert_ne!(
            clock.verdict(Time(1_800_000), &policy, facts(None)),
            Verdict::Sleep
        );
    }

    #[test]
    fn a_hold_wins_until_its_end() {
        let (mut clock, policy) = (IdleClock::default(), policy());
        quiet(&mut clock, 0, 4_000, &policy);
        let hold = Hold {
            until: Time(4_000_001),
            reason: "backup".into(),
        };
        let verdict = clock.verdict(Time(4_000_000), &policy, facts(Some(&hold)));
        assert_eq!(verdict, Verdict::Held(Time(4_000_001)));
        assert_eq!(
            clock.verdict(Time(4_000_001), &policy, facts(Some(&hold))),
            Verdict::Sleep
        );
    }

    #[test]
    fn a_paid_hour_is_used_up_but_the_next_one_is_not_begun() {
        let (mut clock, mut policy) = (IdleClock::default(), policy());
        policy.billing_increment = Some(Span::mins(60));
        quiet(&mut clock, 0, 3_480, &policy);
        let verdict = clock.verdict(Time(1_800_000), &policy, facts(None));
        assert_eq!(verdict, Verdict::NotBefore(Time(58 * 60_000)));
        assert_eq!(
            clock.verdict(Time(58 * 60_000), &policy, facts(None)),
            Verdict::Sleep
        );
        assert_eq!(
            clock.verdict(Time(60 * 60_000 - 1), &policy, facts(None)),
            Verdict::Blind(vec![Source::Edge])
        );
        quiet(&mut clock, 3_485, 3_605, &policy);
        let next = clock.verdict(Time(3_605_000), &policy, facts(None));
        assert_eq!(
            next,
            Verdict::NotBefore(Time(118 * 60_000)),
            "the second hour is begun: use it up"
        );
    }
}
