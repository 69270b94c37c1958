//! The stop: asked for, then watched until it is seen done. A stop is never forgotten because a call failed; a
//! visitor who comes meanwhile is remembered and brings the service back.

use super::state::{State, StopStep};
use super::{CallKind, Service};
use crate::engine::contract::{Effect, Event, Routing, SleepWhy};
use crate::engine::id::OpId;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::time::Span;

/// A machine that still runs so long after the provider accepted the stop is asked again.
const STOP_AGAIN_AFTER: Span = Span::secs(60);

/// After so many failed calls a waiting visitor is served by the machine that can't be stopped.
const FAILURES_BEFORE_SERVING: u32 = 3;

impl Service {
    pub(super) fn advance_stopping(&mut self, out: &mut Vec<Effect>) {
        let State::Stopping(stopping) = &mut self.state else {
            return;
        };
        if stopping.failures >= FAILURES_BEFORE_SERVING
            && stopping.wanted.is_some()
            && self.call.is_none()
        {
            let wanted = stopping.wanted.take();
            return self.begin_wanted_looking(wanted, out);
        }
        if stopping.next_call_at <= self.now {
            let kind = if stopping.step == StopStep::Ask {
                CallKind::Stop
            } else {
                CallKind::Inspect
            };
            self.make_call(kind, out);
        }
    }

    pub(super) fn stopping_heard(
        &mut self,
        kind: CallKind,
        answer: Result<Machine, Trouble>,
        out: &mut Vec<Effect>,
    ) {
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
        let State::Stopping(stopping) = &mut self.state else {
            return;
        };
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
                    StopStep::Accepted(_) | StopStep::Look | StopStep::Ask => {
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

    /// The stop's own record could not be written, so the stop was not asked for: stay awake.
    pub(super) fn not_recorded(&mut self, op: OpId, out: &mut Vec<Effect>) {
        let State::Stopping(stopping) = &self.state else {
            return;
        };
        let Some(upstream) = stopping.upstream.filter(|_| stopping.record_op == Some(op)) else {
            return;
        };
        self.call = self.call.take_if(|call| call.kind != CallKind::Stop);
        let wanted = self.now;
        self.resume_awake(upstream);
        if let State::Awake(awake) = &mut self.state {
            awake.no_sleep_before = wanted + Span::mins(1);
        }
        self.want_routing(Routing::Awake(vec![upstream]));
        let why = "the store does not take the record of the stop".to_owned();
        out.push(Effect::Tell(Event::StopCancelled { why }));
        self.record(false, out);
    }
}
