//! What others see of the service, and when it next wants a step.

use super::state::{Awake, LeavingStep, State, Waking};
use super::{Policy, Service};
use crate::engine::id::ServiceName;
use crate::engine::idle::Verdict;
use crate::engine::record::Base;
use crate::engine::time::Time;
use crate::engine::traffic::words;
use crate::engine::view::{FailureView, Phase, View, WakeView, WokenView};

/// What a visitor's page shows of a service; the view's version rises when this changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    phase: Phase,
    since: Time,
    wake: Option<WakeView>,
    failure: Option<FailureView>,
    healthy: bool,
}

impl Service {
    pub(super) fn shown(&self) -> Shown {
        Shown {
            phase: self.state.phase(),
            since: self.since,
            wake: self.wake_view(),
            failure: self.failure_view(),
            healthy: self.is_healthy(),
        }
    }

    /// Whether what is awake answers: its seed, or, where clones alone serve, one of them.
    fn is_healthy(&self) -> bool {
        match (&self.state, self.base) {
            (State::Awake(_), Base::Clones) => self.fleet.answers(),
            (State::Awake(awake), Base::Seed) => awake.healthy,
            _ => false,
        }
    }

    /// The service as it is after the last step.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            service: self.name.clone(),
            version: self.version,
            phase: self.state.phase(),
            since: self.since,
            wake: self.wake_view(),
            woken: self.woken_view(),
            eta: self.history.eta(),
            failure: self.failure_view(),
            upstreams: self.upstreams(),
            healthy: match &self.state {
                State::Awake(_) if self.base == Base::Clones => self.fleet.answers(),
                State::Awake(awake) => awake.healthy || self.clones_serve(),
                State::Diverting(leaving) | State::Draining(leaving) => leaving.awake.healthy,
                _ => !self.upstreams().is_empty(),
            },
            run_by: self.run_by.clone(),
            triggered_count: self.triggered_count,
            last_activity: Some(self.idle.last_activity()).filter(|at| *at > Time(0)),
            hold: self.hold.clone(),
            blind: match &self.state {
                State::Awake(_) => self.idle.blind(self.now, &self.policy),
                _ => Vec::new(),
            },
            sleeps_at: self.sleeps_at(),
            clones: self.clones_view(),
            scale: self.scale_view(),
            why: self.why(),
        }
    }

    /// The name of the service.
    #[must_use]
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn wake_view(&self) -> Option<WakeView> {
        let view = |waking: &Waking| WakeView {
            since: waking.began,
            stage: waking.stage,
            deadline: waking.deadline,
            after_crash: waking.after_crash,
        };
        match &self.state {
            State::Waking(waking) => Some(view(waking)),
            State::Failed(failed) => Some(WakeView {
                since: failed.began,
                stage: failed.stage,
                deadline: failed.retry_at,
                after_crash: false,
            }),
            _ => None,
        }
    }

    fn woken_view(&self) -> Option<WokenView> {
        match &self.state {
            State::Awake(awake) => awake.woken,
            State::Diverting(leaving) | State::Draining(leaving) => leaving.awake.woken,
            _ => None,
        }
    }

    fn failure_view(&self) -> Option<FailureView> {
        let State::Failed(failed) = &self.state else {
            return None;
        };
        Some(FailureView {
            failure: failed.failure,
            retry_at: self.retries_at(failed),
        })
    }

    fn sleeps_at(&self) -> Option<Time> {
        let State::Awake(awake) = &self.state else {
            return None;
        };
        self.sleep_due(awake).map(|at| at.max(self.now))
    }

    /// What is seen now. Moments and not lengths, so that it says the same until something changes. It names no client:
    /// it is shown for as long as the service is as it is; `engine/why` adds who, from where names end.
    fn why(&self) -> String {
        match &self.state {
            State::Fresh => "It has just started.".into(),
            State::Learning(_) => "The provider is being asked for the machine's state.".into(),
            State::Asleep(_) if self.wanted_base() == Base::Clones => {
                "It has no clones, and nobody has asked for it.".into()
            }
            State::Asleep(_) => "The machine is off and nobody has asked for it.".into(),
            State::Waking(waking) => self.why_waking(waking),
            State::Awake(_) if !self.is_healthy() => {
                "The machine runs, but its app does not answer.".into()
            }
            State::Awake(awake) => self.why_awake(awake),
            State::Diverting(_) => "Nobody uses it; visitors are being led to the room.".into(),
            State::Draining(_) => "Nobody uses it; running requests are given time to end.".into(),
            State::Stopping(_) if self.base == Base::Clones => {
                "Its clones are being removed.".into()
            }
            State::Stopping(_) => "The machine is being stopped.".into(),
            State::Failed(failed) => format!("The wake failed: {}.", failed.why),
        }
    }

    fn why_waking(&self, waking: &Waking) -> String {
        let trouble = match self.base {
            Base::Seed => waking.last_trouble.as_ref(),
            Base::Clones => self.fleet.trouble(),
        };
        match (&waking.trigger, trouble) {
            (_, Some(trouble)) => {
                format!("It is being woken; the last call did not succeed: {trouble}.")
            }
            (Some(_), None) => "It is being woken.".into(),
            (None, None) => "The machine was found running; its app is being probed.".into(),
        }
    }

    fn why_awake(&self, awake: &Awake) -> String {
        let clock = |at: Time| at.clock(self.now);
        match self.verdict() {
            Verdict::Sleep | Verdict::NotBefore(_) if awake.no_sleep_before > self.now => format!(
                "A stop was called off; it is not put to sleep before {}.",
                clock(awake.no_sleep_before)
            ),
            Verdict::Sleep => "Nobody uses it; it is about to be put to sleep.".into(),
            Verdict::NotBefore(at) => {
                let used = clock(self.idle.last_activity());
                let (at, rule) = (clock(at), self.rule_of_sleep(awake, at));
                format!(
                    "Nobody has used it since {used}; without visitors it sleeps at {at}, {rule}."
                )
            }
            Verdict::InUse => format!(
                "{} requests or connections are open (seen by {}).",
                self.idle.open(),
                words(&self.idle.open_by())
            ),
            Verdict::Held(until) => match &self.hold {
                Some(hold) => format!(
                    "A hold keeps it awake until {}: {}.",
                    clock(until),
                    hold.reason
                ),
                None => "A hold keeps it awake.".into(),
            },
            Verdict::Blind(sources) => format!(
                "No fresh sample from {}: unknown is not idle, so it stays awake.",
                words(&sources)
            ),
        }
    }

    /// The rule by which an idle service sleeps at this moment and not before.
    fn rule_of_sleep(&self, awake: &Awake, at: Time) -> String {
        let policy = &self.policy;
        let idle_at = self.idle.last_activity() + policy.idle_timeout;
        let least_at = awake.since + policy.min_awake;
        match (at <= idle_at, at <= least_at) {
            (true, _) => format!(
                "after {} without traffic (seen by {})",
                policy.idle_timeout,
                words(&policy.sources)
            ),
            (false, true) => format!(
                "when it has been awake for {} (min_awake)",
                policy.min_awake
            ),
            (false, false) => "in the last minutes of what is paid for".into(),
        }
    }

    /// When the phase itself wants its next step.
    pub(super) fn due(&self) -> Option<Time> {
        // A call in flight comes back by itself, or is lost at a moment that `next_wakeup` knows.
        let when_free = |at: Time| if self.call.is_some() { None } else { Some(at) };
        match &self.state {
            State::Fresh => None,
            State::Asleep(_) if self.wanted_base() == Base::Clones => None,
            State::Learning(_) | State::Waking(_) | State::Awake(_) | State::Stopping(_)
                if self.base == Base::Clones =>
            {
                self.due_on_clones()
            }
            State::Learning(learning) => when_free(learning.next_call_at),
            State::Asleep(asleep) => when_free(asleep.patrol_at),
            State::Waking(waking) => {
                let probe = waking.address.map(|_| waking.probe.due());
                [Some(waking.deadline), when_free(waking.next_call_at), probe]
                    .into_iter()
                    .flatten()
                    .min()
            }
            State::Awake(awake) => {
                let sleep = match self.sleep_due(awake) {
                    // It waits for its clones, and those have their own moments.
                    Some(at) if at <= self.now && self.fleet.may_be_in_use() => None,
                    due => due,
                };
                let blind = self.idle.turns_blind_at(self.now, &self.policy);
                let inspect = when_free(awake.next_inspect_at);
                [sleep, blind, inspect, Some(awake.probe.due())]
                    .into_iter()
                    .flatten()
                    .min()
            }
            State::Diverting(leaving) | State::Draining(leaving) => {
                let drained = match leaving.step {
                    LeavingStep::Draining { until, .. } if until > self.now => Some(until),
                    _ => None,
                };
                let blind = self.idle.turns_blind_at(self.now, &self.policy);
                [Some(leaving.give_up_at), drained, blind]
                    .into_iter()
                    .flatten()
                    .min()
            }
            State::Stopping(stopping) => when_free(stopping.next_call_at),
            State::Failed(failed) => [self.gives_up_at(failed), self.retries_at(failed)]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    /// When an awake service may be put to sleep, if nothing but time speaks against it.
    pub(super) fn sleep_due(&self, awake: &Awake) -> Option<Time> {
        match self.verdict() {
            Verdict::NotBefore(at) => Some(at.max(awake.no_sleep_before)),
            Verdict::Sleep => Some(awake.no_sleep_before),
            Verdict::InUse | Verdict::Held(_) | Verdict::Blind(_) => None,
        }
    }

    /// Whether requests may go to some instance now.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        !self.upstreams().is_empty()
    }

    /// The phase alone, for those who need no more.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase()
    }
}
