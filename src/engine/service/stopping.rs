//! The stop: asked for, then watched until it is seen done. A stop is never forgotten because a call failed; a
//! visitor who comes meanwhile is remembered and brings the service back.

use super::state::{State, StopStep, Stopping};
use super::{CallKind, Service};
use crate::engine::contract::{Effect, Event, SleepWhy, Upstream};
use crate::engine::id::OpId;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::policy::Sleep;
use crate::engine::time::Span;

/// A machine that still runs so long after the provider accepted the stop is asked again.
const STOP_AGAIN_AFTER: Span = Span::secs(60);

/// After so many failed calls a waiting visitor is served by the machine that can't be stopped.
const FAILURES_BEFORE_SERVING: u32 = 3;

/// Between two looks whether the routing is in force, before a stop that is not preceded by a proof.
const ROUTING_LOOK_INTERVAL: Span = Span::secs(5);

impl Service {
    /// To a stop before which nobody had to be led away: what is there is looked at first. Clones go each in its own order.
    pub(super) fn stop_unproven(&mut self, why: SleepWhy, out: &mut Vec<Effect>) {
        let stopping = Stopping::begun(why, StopStep::Look, self.up_since, self.now);
        self.enter(State::Stopping(stopping));
        self.record(false, out);
    }

    pub(super) fn advance_stopping(&mut self, out: &mut Vec<Effect>) {
        let State::Stopping(stopping) = &mut self.state else {
            return;
        };
        // A service that was given up is woken for the next visitor at once, as long as no stop was asked for.
        let still_free = !stopping.asked && stopping.upstream.is_none();
        if (stopping.failures >= FAILURES_BEFORE_SERVING || still_free)
            && stopping.wanted.is_some()
            && self.call.is_none()
        {
            let wanted = stopping.wanted.take();
            return self.begin_wanted_looking(wanted, out);
        }
        if stopping.next_call_at > self.now || self.call.is_some() {
            return;
        }
        match stopping.step {
            StopStep::Look | StopStep::Accepted(_) => self.make_call(CallKind::Inspect, out),
            StopStep::Ask => self.ask_for_stop(out),
        }
    }

    /// Every stop stands behind a required record, also a repeated one: a process that no longer owns the service
    /// learns it there, and does not stop what the new owner has woken.
    fn ask_for_stop(&mut self, out: &mut Vec<Effect>) {
        let settled = self.publishing.is_settled();
        let held_until = self.hold.as_ref().map(|hold| hold.until);
        let now = self.now;
        let State::Stopping(stopping) = &mut self.state else {
            return;
        };
        if let Some(until) = held_until.filter(|_| !stopping.asked) {
            stopping.next_call_at = until;
            return;
        }
        if !settled {
            stopping.next_call_at = now + ROUTING_LOOK_INTERVAL;
            return;
        }
        let record_op = self.record(true, out);
        if let State::Stopping(stopping) = &mut self.state {
            stopping.record_op = Some(record_op);
        }
        self.make_call(CallKind::Stop, out);
    }

    /// As the policy has it, or by a shutdown where the platform can't suspend this machine.
    pub(super) fn way_to_sleep(&self) -> Sleep {
        match &self.state {
            State::Stopping(stopping) if stopping.not_suspended => Sleep::Stop,
            _ => self.policy.sleep,
        }
    }

    pub(super) fn stopping_heard(
        &mut self,
        kind: CallKind,
        answer: Result<Machine, Trouble>,
        out: &mut Vec<Effect>,
    ) {
        if let State::Stopping(stopping) = &mut self.state {
            stopping.asked |= kind == CallKind::Stop;
        }
        let off = Machine {
            state: MachineState::Stopped,
            address: None,
        };
        match answer {
            Ok(machine) => self.stopping_saw(kind, &machine, out),
            Err(trouble) if trouble.class == ErrorClass::NotFound => {
                self.stopping_saw(kind, &off, out)
            }
            Err(trouble) if trouble.class == ErrorClass::AlreadyThere && kind == CallKind::Stop => {
                self.stopping_saw(kind, &off, out);
            }
            Err(trouble) => self.stopping_call_failed(kind, &trouble, out),
        }
    }

    fn stopping_saw(&mut self, kind: CallKind, machine: &Machine, out: &mut Vec<Effect>) {
        let now = self.now;
        let swapped = self.policy.sleep == Sleep::Swap;
        let State::Stopping(stopping) = &mut self.state else {
            return;
        };
        let off = machine.state == MachineState::Stopped && kind == CallKind::Inspect;
        if swapped && off && stopping.wanted.is_none() {
            // Off is not asleep yet, and a look can't tell the one from the other: the stop says when it is done.
            stopping.step = StopStep::Ask;
            stopping.next_call_at = now;
            return;
        }
        stopping.failures = 0;
        stopping.next_call_at = now + self.policy.probe_interval;
        if kind == CallKind::Stop {
            stopping.step = StopStep::Accepted(now);
        }
        match machine.state {
            MachineState::Stopped | MachineState::Suspended | MachineState::Missing => {
                let (why, since) = (stopping.why, stopping.awake_since);
                self.fell_asleep(why, since.map_or(Span::ZERO, |since| now.since(since)), out);
            }
            MachineState::Stopping => stopping.step = StopStep::Accepted(now),
            MachineState::Running | MachineState::Starting | MachineState::Failed => {
                match stopping.step {
                    StopStep::Accepted(at) if now.since(at) < STOP_AGAIN_AFTER => {}
                    StopStep::Accepted(_) => {
                        stopping.not_suspended = true;
                        stopping.step = StopStep::Ask;
                        stopping.next_call_at = now;
                    }
                    StopStep::Look | StopStep::Ask => {
                        stopping.step = StopStep::Ask;
                        stopping.next_call_at = now;
                    }
                }
            }
        }
    }

    fn stopping_call_failed(&mut self, kind: CallKind, trouble: &Trouble, out: &mut Vec<Effect>) {
        let State::Stopping(stopping) = &mut self.state else {
            return;
        };
        stopping.failures += 1;
        let failures = stopping.failures;
        let wait = match trouble.class {
            ErrorClass::RateLimited(Some(after)) => after,
            _ => self.wait_after(failures),
        };
        let at = self.now + wait;
        if let State::Stopping(stopping) = &mut self.state {
            stopping.next_call_at = at;
            if kind == CallKind::Stop {
                stopping.step = StopStep::Look;
                stopping.not_suspended |= cannot(trouble.class);
            }
        }
        out.push(Effect::Tell(Event::Retrying {
            what: trouble.to_string(),
            at,
        }));
    }

    pub(super) fn fell_asleep(&mut self, why: SleepWhy, awake: Span, out: &mut Vec<Effect>) {
        out.push(Effect::Tell(Event::Slept { awake, why }));
        let wanted = match &mut self.state {
            State::Stopping(stopping) => stopping.wanted.take(),
            _ => None,
        };
        self.rest(out);
        if wanted.is_some() {
            self.begin_wanted(wanted, out);
        }
    }

    fn begin_wanted_looking(&mut self, wanted: super::state::Wanted, out: &mut Vec<Effect>) {
        self.begin_wanted(wanted, out);
        if let State::Waking(waking) = &mut self.state {
            waking.start = super::state::StartStep::Look;
        }
    }

    /// The stop's own record could not be written, so the stop was not asked for: the service stays awake. One
    /// that was asked for before is tried again.
    pub(super) fn not_recorded(&mut self, op: OpId, out: &mut Vec<Effect>) {
        let State::Stopping(stopping) = &self.state else {
            return;
        };
        if stopping.record_op != Some(op) {
            return;
        }
        self.call = None;
        match stopping.upstream.filter(|_| !stopping.asked) {
            Some(upstream) => self.stay_awake(upstream, out),
            None => {
                let what = "the store does not take the record of the stop";
                let trouble = Trouble::new(ErrorClass::Transient, what);
                self.stopping_call_failed(CallKind::Stop, &trouble, out);
            }
        }
    }

    fn stay_awake(&mut self, upstream: Upstream, out: &mut Vec<Effect>) {
        let now = self.now;
        self.resume_awake(Some(upstream));
        if let State::Awake(awake) = &mut self.state {
            awake.no_sleep_before = now + Span::mins(1);
        }
        let why = "the store does not take the record of the stop".to_owned();
        out.push(Effect::Tell(Event::StopCancelled { why }));
        self.record(false, out);
    }
}

/// Whether a platform that answers a suspension like this would answer the next one alike. Another state than it needs
/// is no different: the machine is shut down, and that is never wrong.
const fn cannot(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::InvalidState | ErrorClass::BadRequest | ErrorClass::Forbidden
    )
}
