//! A wake that failed: it says why, tries again while somebody wants the service, and makes sure that the
//! machine is off once nobody does.

use super::Service;
use super::state::{Failed, StartStep, State, StopStep, Stopping};
use crate::engine::contract::{Effect, Event, Routing, SleepWhy, Stage};
use crate::engine::time::{Span, Time};
use crate::engine::view::Failure;

/// The least wait before a failed wake is tried again by itself.
const RETRY_WAIT_MIN: Span = Span::secs(10);

impl Service {
    pub(super) fn fail_wake(&mut self, failure: Failure, why: String, out: &mut Vec<Effect>) {
        let (began, stage, tries, trigger) = match &self.state {
            State::Waking(waking) => (
                waking.began,
                waking.stage,
                waking.tries,
                waking.trigger.clone(),
            ),
            _ => (self.now, Stage::Asked, 0, None),
        };
        let retry_at = self.now + RETRY_WAIT_MIN + self.wait_after(tries + 1);
        let wanted_at = trigger.as_ref().map(|_| self.now);
        out.push(Effect::Tell(Event::WakeFailed {
            why: why.clone(),
            retry_at: Some(retry_at),
        }));
        self.want_routing(Routing::Asleep);
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
        self.enter(State::Failed(failed));
        self.record(false, out);
    }

    pub(super) fn advance_failed(&mut self, out: &mut Vec<Effect>) {
        let State::Failed(failed) = &self.state else {
            return;
        };
        if self.gives_up_at(failed) <= self.now {
            return self.give_up(out);
        }
        if failed.retry_at <= self.now && failed.wanted_at.is_some() {
            let Failed {
                trigger,
                tries,
                began,
                ..
            } = failed.clone();
            let trigger = trigger.or_else(|| self.run_by.clone());
            self.wake_again(trigger, false, StartStep::Look, tries, began, out);
        }
    }

    /// When nobody has asked for so long, the service is given up.
    pub(super) fn gives_up_at(&self, failed: &Failed) -> Time {
        failed.wanted_at.unwrap_or(self.since) + self.policy.idle_timeout
    }

    fn give_up(&mut self, out: &mut Vec<Effect>) {
        self.enter(State::Stopping(Stopping {
            why: SleepWhy::GivenUp,
            upstream: None,
            awake_since: self.up_since,
            step: StopStep::Look,
            record_op: None,
            failures: 0,
            next_call_at: self.now,
            wanted: None,
        }));
        self.record(false, out);
    }
}
