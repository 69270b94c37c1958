//! A wake that failed: it says why, tries again while somebody wants the service, and makes sure that the
//! machine is off once nobody does.

use super::Service;
use super::state::{Failed, StartStep, State};
use crate::engine::contract::{Effect, Event, SleepWhy, Stage};
use crate::engine::idle::Verdict;
use crate::engine::time::{Span, Time};
use crate::engine::view::Failure;

/// The least wait before a failed wake is tried again by itself.
const fn least_wait(failure: Failure) -> Span {
    match failure {
        // Only a person mends these.
        Failure::Quota | Failure::Refused | Failure::MachineMissing => Span::mins(1),
        Failure::NoCapacity | Failure::CreationCap => Span::secs(30),
        Failure::AppSilent
        | Failure::MachineSilent
        | Failure::MachineDied
        | Failure::ProviderDown => Span::secs(10),
    }
}

/// A failure is shown at least so long before the service is given up.
const SHOWN_MIN: Span = Span::secs(30);

impl Service {
    pub(super) fn fail_wake(&mut self, failure: Failure, why: String, out: &mut Vec<Effect>) {
        let (began, stage, tries, trigger, wanted_at) = match &self.state {
            State::Waking(waking) => (
                waking.began,
                waking.stage,
                waking.tries,
                waking.trigger.clone(),
                waking.wanted_at,
            ),
            _ => (self.now, Stage::Asked, 0, None, None),
        };
        let retry_at = self.now + least_wait(failure) + self.wait_after(tries + 1);
        let retry_at = retry_at.max(self.clones_allowed_at());
        let tries = tries + 1;
        let failed = Failed {
            failure,
            why,
            began,
            stage,
            tries,
            retry_at,
            trigger,
            wanted_at,
        };
        out.push(Effect::Tell(Event::WakeFailed {
            why: failed.why.clone(),
            retry_at: self.retries_at(&failed),
        }));
        self.enter(State::Failed(failed));
        self.record(false, out);
    }

    pub(super) fn advance_failed(&mut self, out: &mut Vec<Effect>) {
        let State::Failed(failed) = &self.state else {
            return;
        };
        if self.gives_up_at(failed).is_some_and(|at| at <= self.now) {
            if failed.trigger.is_some() {
                self.history.add_failed();
            }
            return self.stop_unproven(SleepWhy::GivenUp, out);
        }
        if self.retries_at(failed).is_some_and(|at| at <= self.now) {
            self.try_again(out);
        }
    }

    /// The same wake once more.
    pub(super) fn try_again(&mut self, out: &mut Vec<Effect>) {
        let State::Failed(failed) = &self.state else {
            return;
        };
        let Failed {
            trigger,
            tries,
            began,
            wanted_at,
            ..
        } = failed.clone();
        self.wake_again(trigger, false, StartStep::Look, tries, began, out);
        if let State::Waking(waking) = &mut self.state {
            waking.wanted_at = wanted_at;
        }
    }

    /// When nobody has asked for so long, the service is given up. A failure is shown for a while first, and a
    /// hold wins. While clones serve, it is not given up before nobody uses them.
    pub(super) fn gives_up_at(&self, failed: &Failed) -> Option<Time> {
        let held_until = self.hold.as_ref().map_or(Time(0), |hold| hold.until);
        let at = (failed.wanted_at.unwrap_or(self.since) + self.policy.idle_timeout)
            .max(self.since + SHOWN_MIN)
            .max(held_until);
        if !self.clones_serve() {
            return Some(at);
        }
        match self.verdict() {
            Verdict::Sleep => Some(at),
            Verdict::NotBefore(idle_at) => Some(at.max(idle_at)),
            Verdict::InUse | Verdict::Held(_) | Verdict::Blind(_) => None,
        }
    }

    /// When the wake is tried again by itself: while somebody has asked for it within the idle timeout.
    pub(super) fn retries_at(&self, failed: &Failed) -> Option<Time> {
        let wanted_until = failed.wanted_at? + self.policy.idle_timeout;
        Some(failed.retry_at).filter(|at| *at < wanted_until)
    }
}
