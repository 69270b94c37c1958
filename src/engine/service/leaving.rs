//! From idle to the stop, in the one safe order: divert, prove it, drain, look once more.
//!
//! Until the stop itself is asked for, anything that speaks against it calls it off: a visitor, a hold, a source
//! that falls silent, a proof that does not come.

use super::Service;
use super::state::{Leaving, LeavingStep, State, StopStep, Stopping};
use crate::engine::contract::{Activity, Effect, Event, SleepWhy};
use crate::engine::id::OpId;
use crate::engine::time::{Span, Time};

/// Diverting that is not proven by then is called off.
const DIVERT_TIMEOUT: Span = Span::secs(90);

/// Beyond the drain itself: for the last sample and the last look.
const DRAIN_SLACK: Span = Span::secs(60);

/// After trouble has called a stop off, it is not tried again before: each try changes the routing twice.
const QUIET_AFTER_TROUBLE: Span = Span::mins(1);

/// What called a stop off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CalledOff {
    /// Somebody uses the service: from then on the idle clock says when it may sleep.
    ByUse,
    /// It can't be stopped safely now, though nobody uses it. An admin's wish for sleep outlives that.
    ByTrouble,
}

impl Service {
    pub(super) fn begin_leaving(&mut self, why: SleepWhy, out: &mut Vec<Effect>) {
        let State::Awake(awake) = &self.state else {
            return;
        };
        let by_admin = why == SleepWhy::Admin;
        let who = awake.sleep_asked.clone().filter(|_| by_admin);
        let leaving = Leaving {
            awake: awake.clone(),
            why,
            give_up_at: self.now + DIVERT_TIMEOUT,
            step: LeavingStep::Publishing,
            wanted: None,
        };
        let idle = self.now.since(self.idle.last_activity());
        let blind = self.idle.blind(self.now, &self.policy);
        let required = self.policy.sources.iter().copied();
        let sources = required.filter(|it| !blind.contains(it)).collect();
        self.enter(State::Diverting(leaving));
        self.record(false, out);
        out.push(Effect::Tell(Event::WentIdle {
            idle,
            why,
            who,
            sources,
        }));
    }

    pub(super) fn advance_leaving(&mut self, out: &mut Vec<Effect>) {
        let (State::Diverting(leaving) | State::Draining(leaving)) = &self.state else {
            return;
        };
        if leaving.give_up_at <= self.now {
            let why = match leaving.step {
                LeavingStep::Publishing => "the routing could not be put in force",
                LeavingStep::Proving(_) => "it could not be proven that visitors reach the room",
                LeavingStep::Draining { .. } => "requests are still running",
                LeavingStep::Looking { .. } => "the last look was not answered",
            };
            let by = match leaving.step {
                LeavingStep::Draining { .. } => CalledOff::ByUse,
                _ => CalledOff::ByTrouble,
            };
            return self.cancel_leaving(by, why, out);
        }
        if !self.idle.blind(self.now, &self.policy).is_empty() {
            let why = "a source of activity is missing";
            return self.cancel_leaving(CalledOff::ByTrouble, why, out);
        }
        match leaving.step {
            LeavingStep::Publishing if self.publishing.is_settled() => {
                let op = self.next_op();
                self.set_step(LeavingStep::Proving(op));
                out.push(Effect::ProveDivert(op));
            }
            LeavingStep::Draining { since, until } if self.is_drained(since, until) => {
                let op = self.next_op();
                self.set_step(LeavingStep::Looking { op });
                out.push(Effect::LastLook(op));
            }
            _ => {}
        }
    }

    /// Nothing is open, by samples taken since the drain began.
    fn is_drained(&self, since: Time, until: Time) -> bool {
        // With a call in flight the stop could not follow the last look at once.
        let free = self.call.is_none();
        free && until <= self.now
            && self.idle.heard_since(since, &self.policy)
            && self.idle.open() == 0
    }

    fn set_step(&mut self, to: LeavingStep) {
        if let State::Diverting(leaving) | State::Draining(leaving) = &mut self.state {
            leaving.step = to;
        }
    }

    pub(super) fn diverted(&mut self, op: OpId, result: Result<(), String>, out: &mut Vec<Effect>) {
        let State::Diverting(leaving) = &self.state else {
            return;
        };
        if leaving.step != LeavingStep::Proving(op) {
            return;
        }
        match result {
            Err(why) => {
                let why = format!("visitors do not reach the room: {why}");
                self.cancel_leaving(CalledOff::ByTrouble, &why, out);
            }
            Ok(()) => {
                out.push(Effect::Tell(Event::DivertProven));
                let least = if self.policy.drain_whole {
                    self.policy.drain_timeout
                } else {
                    Span::ZERO
                };
                let mut leaving = leaving.clone();
                leaving.step = LeavingStep::Draining {
                    since: self.now,
                    until: self.now + least,
                };
                leaving.give_up_at = self.now + self.policy.drain_timeout + DRAIN_SLACK;
                self.enter(State::Draining(leaving));
            }
        }
    }

    pub(super) fn looked_once(
        &mut self,
        op: OpId,
        result: Result<Vec<Activity>, String>,
        out: &mut Vec<Effect>,
    ) {
        let keeps = match &self.state {
            State::Draining(leaving) if leaving.step == (LeavingStep::Looking { op }) => {
                leaving.keeps_to_its_plan()
            }
            _ => return self.looked_too_late(result),
        };
        match result {
            Err(why) => {
                let why = format!("the last look failed: {why}");
                self.cancel_leaving(CalledOff::ByTrouble, &why, out);
            }
            Ok(samples) => {
                for sample in &samples {
                    self.idle.saw(self.now, *sample, &self.policy);
                }
                let open = samples
                    .iter()
                    .any(|sample| sample.in_flight > 0 || sample.long > 0);
                let used = samples.iter().any(|sample| sample.used) && !keeps;
                let missing = self
                    .policy
                    .sources
                    .iter()
                    .any(|s| samples.iter().all(|x| x.source != *s));
                if open || used {
                    self.cancel_leaving(CalledOff::ByUse, "the last look saw a visitor", out);
                } else if missing {
                    let why = "the last look missed a source of activity";
                    self.cancel_leaving(CalledOff::ByTrouble, why, out);
                } else {
                    self.begin_stop(out);
                }
            }
        }
    }

    /// Nobody waits for this look any more, and what was open then says nothing of now. But a source tells of use
    /// once.
    fn looked_too_late(&mut self, result: Result<Vec<Activity>, String>) {
        if result.is_ok_and(|samples| samples.iter().any(|sample| sample.used)) {
            self.idle.restart(self.now);
        }
    }

    fn begin_stop(&mut self, out: &mut Vec<Effect>) {
        let State::Draining(leaving) = &self.state else {
            return;
        };
        let since = Some(leaving.awake.since);
        let stopping = Stopping {
            upstream: leaving.awake.upstream,
            wanted: leaving.wanted.clone(),
            ..Stopping::begun(leaving.why, StopStep::Ask, since, self.now)
        };
        self.enter(State::Stopping(stopping));
        out.push(Effect::Tell(Event::StopBegan));
    }

    /// Calls the stop off: the service is awake as before.
    pub(super) fn cancel_leaving(&mut self, by: CalledOff, why: &str, out: &mut Vec<Effect>) {
        let (State::Diverting(leaving) | State::Draining(leaving)) = &self.state else {
            return;
        };
        let mut awake = leaving.awake.clone();
        let asked_again = leaving.why == SleepWhy::Admin && by == CalledOff::ByTrouble;
        awake.sleep_asked = awake.sleep_asked.filter(|_| asked_again);
        awake.no_sleep_before = match by {
            CalledOff::ByUse => self.now,
            CalledOff::ByTrouble => self.now + QUIET_AFTER_TROUBLE,
        };
        awake.probe = super::state::ProbeSlot::due_at(self.now);
        self.enter(State::Awake(awake));
        out.push(Effect::Tell(Event::StopCancelled {
            why: why.to_owned(),
        }));
        self.record(false, out);
    }
}
