//! A wake: start the machine, watch it come up, probe the app until it answers.
//!
//! "The provider says running" is not "ready". Ready is the app's own answer. A call whose answer was lost is
//! never simply repeated: the machine's state is read first.

use super::state::{StartStep, State, Waking, crash_trigger, seed_at};
use super::{CallKind, Service};
use crate::engine::contract::{Effect, Event, ProbeResult, Stage, Trigger, Upstream};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::time::{Span, Time};
use crate::engine::view::{Failure, WokenView};

/// A machine that is still reported off so long after the provider accepted its start has not started.
const START_GRACE: Span = Span::secs(20);

/// Between two looks at a machine that runs but whose app is silent: it may have gone down again.
const RUNNING_LOOK_INTERVAL: Span = Span::secs(3);

/// The shortest pause between two probes of one wake.
const PROBE_PAUSE_MIN: Span = Span::millis(100);

/// A machine that went down so often within one wake won't come up by starting it once more.
const DEATHS_MAX: u32 = 3;

impl Service {
    pub(super) fn begin_wake(
        &mut self,
        trigger: Option<Trigger>,
        after_crash: bool,
        out: &mut Vec<Effect>,
    ) {
        if matches!(self.state, State::Asleep(_)) {
            self.base = self.wanted_base();
        }
        let start = if self.call.is_some() {
            StartStep::Look
        } else {
            StartStep::Ask
        };
        let kept = trigger.clone().map(Trigger::lasting);
        self.wake_again(kept, after_crash, start, 0, self.now, out);
        if let Some(trigger) = trigger {
            out.push(Effect::Tell(Event::WakeBegan(trigger)));
        }
    }

    /// A wake that an earlier owner began.
    pub(super) fn continue_wake(&mut self, began: Time, out: &mut Vec<Effect>) {
        let trigger = self.run_by.clone();
        self.wake_again(trigger, false, StartStep::Look, 0, began.min(self.now), out);
    }

    pub(super) fn wake_again(
        &mut self,
        trigger: Option<Trigger>,
        after_crash: bool,
        start: StartStep,
        tries: u32,
        began: Time,
        out: &mut Vec<Effect>,
    ) {
        if trigger.is_some() {
            self.run_by.clone_from(&trigger);
        }
        let delay = if after_crash {
            self.crash_delay()
        } else {
            Span::ZERO
        };
        self.enter(State::Waking(Waking {
            began,
            deadline: self.now + delay + self.policy.start_timeout,
            stage: Stage::Asked,
            wanted_at: trigger.as_ref().map(|_| self.now),
            trigger,
            after_crash,
            tries,
            start,
            next_call_at: self.now + delay,
            failures: 0,
            deaths: 0,
            address: None,
            probe: super::state::ProbeSlot::due_at(self.now),
            last_trouble: None,
        }));
        self.record(false, out);
    }

    fn crash_delay(&self) -> Span {
        match self.crashes {
            0 | 1 => Span::ZERO,
            crashes => self.wait_after(crashes),
        }
    }

    /// The app went away while somebody used it: wake it again.
    pub(super) fn wake_after_crash(&mut self, what: &str, out: &mut Vec<Effect>) {
        self.crashes += 1;
        self.begin_wake(Some(crash_trigger(what)), true, out);
        if let State::Waking(waking) = &mut self.state {
            waking.start = StartStep::Look;
        }
    }

    pub(super) fn advance_waking(&mut self, out: &mut Vec<Effect>) {
        let State::Waking(waking) = &mut self.state else {
            return;
        };
        if waking.deadline <= self.now {
            let failure = waking.overdue();
            return self.fail_wake(
                failure,
                format!("not ready within {}", self.policy.start_timeout),
                out,
            );
        }
        if waking.next_call_at <= self.now {
            let kind = if waking.start == StartStep::Ask {
                CallKind::Start
            } else {
                CallKind::Inspect
            };
            if kind == CallKind::Start && self.call.is_none() {
                self.up_since = self.up_since.or(Some(self.now));
            }
            self.make_call(kind, out);
        }
        self.probe_waking(out);
    }

    fn probe_waking(&mut self, out: &mut Vec<Effect>) {
        let (now, lost_at) = (self.now, self.now + self.policy.call_timeout);
        let op = self.op.next();
        let State::Waking(waking) = &mut self.state else {
            return;
        };
        let Some(address) = waking.address else {
            return;
        };
        if waking.probe.wants(now) {
            waking.probe.pending = Some((op, lost_at));
            self.op = op;
            out.push(Effect::Probe(
                op,
                crate::engine::id::InstanceId::SEED,
                address,
            ));
        }
    }

    pub(super) fn waking_heard(
        &mut self,
        kind: CallKind,
        answer: Result<Machine, Trouble>,
        out: &mut Vec<Effect>,
    ) {
        match answer {
            Ok(machine) => {
                if kind == CallKind::Start {
                    self.start_accepted(out);
                }
                self.waking_saw(&machine, out);
            }
            Err(trouble)
                if trouble.class == ErrorClass::AlreadyThere && kind == CallKind::Start =>
            {
                self.start_accepted(out);
            }
            Err(trouble) => self.waking_call_failed(kind, trouble, out),
        }
    }

    fn start_accepted(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let next_call_at = now + self.policy.probe_interval;
        if let State::Waking(waking) = &mut self.state {
            waking.start = StartStep::Accepted(now);
            waking.failures = 0;
            waking.next_call_at = next_call_at;
        }
        self.reach(Stage::MachineStarting, out);
    }

    fn waking_call_failed(&mut self, kind: CallKind, trouble: Trouble, out: &mut Vec<Effect>) {
        let State::Waking(waking) = &mut self.state else {
            return;
        };
        waking.failures += 1;
        // One look that is refused may be a credential that is being renewed.
        let is_sure = kind != CallKind::Inspect || waking.failures > 1;
        // Capacity comes back, but nobody knows when: visitors are told so at once, not at the end of the timeout.
        let is_lasting = !trouble.class.passes_by_itself() || trouble.class == ErrorClass::Capacity;
        if is_sure && is_lasting {
            return self.fail_wake(Failure::of(trouble.class), trouble.to_string(), out);
        }
        let failures = waking.failures;
        let wait = match trouble.class {
            ErrorClass::RateLimited(Some(after)) => after,
            _ => self.wait_after(failures),
        };
        let at = self.now + wait;
        if let State::Waking(waking) = &mut self.state {
            waking.next_call_at = at;
            if kind == CallKind::Start {
                waking.start = StartStep::Look;
            }
            out.push(Effect::Tell(Event::Retrying {
                what: trouble.to_string(),
                at,
            }));
            waking.last_trouble = Some(trouble);
        }
    }

    fn waking_saw(&mut self, machine: &Machine, out: &mut Vec<Effect>) {
        let now = self.now;
        let soon = now + self.policy.probe_interval;
        let State::Waking(waking) = &mut self.state else {
            return;
        };
        waking.failures = 0;
        match machine.state {
            MachineState::Running => {
                waking.accept_as_started(now);
                waking.next_call_at = now + RUNNING_LOOK_INTERVAL;
                if machine.address.is_none() {
                    waking.next_call_at = soon;
                }
                waking.address = machine.address;
                waking.last_trouble = None;
                self.up_since = self.up_since.or(Some(now));
                self.reach(Stage::MachineStarting, out);
                self.reach(Stage::MachineUp, out);
            }
            MachineState::Starting => {
                waking.accept_as_started(now);
                waking.next_call_at = soon;
                self.up_since = self.up_since.or(Some(now));
                self.reach(Stage::MachineStarting, out);
            }
            MachineState::Stopping => {
                // It must come to rest before it can be started again.
                waking.address = None;
                waking.start = StartStep::Look;
                waking.next_call_at = soon;
            }
            MachineState::Stopped | MachineState::Suspended | MachineState::Failed => {
                self.waking_saw_off(out)
            }
            MachineState::Missing => {
                let why = "the provider does not know the machine".to_owned();
                self.fail_wake(Failure::MachineMissing, why, out);
            }
        }
    }

    fn waking_saw_off(&mut self, out: &mut Vec<Effect>) {
        let now = self.now;
        let soon = now + self.policy.probe_interval;
        let State::Waking(waking) = &mut self.state else {
            return;
        };
        if waking.trigger.is_none() {
            let what = "the machine that was found running went off again";
            out.push(Effect::Tell(Event::Vanished { what: what.into() }));
            return self.found_off(what, out);
        }
        match waking.start {
            StartStep::Look | StartStep::Ask => {
                waking.start = StartStep::Ask;
                waking.next_call_at = now;
            }
            StartStep::Accepted(at) if waking.address.is_none() && now.since(at) < START_GRACE => {
                waking.next_call_at = soon;
            }
            StartStep::Accepted(_) => self.machine_died(out),
        }
    }

    fn machine_died(&mut self, out: &mut Vec<Effect>) {
        let State::Waking(waking) = &mut self.state else {
            return;
        };
        waking.deaths += 1;
        waking.address = None;
        waking.probe.pending = None;
        let deaths = waking.deaths;
        if deaths >= DEATHS_MAX {
            let why = format!("the machine went down {deaths} times while starting");
            return self.fail_wake(Failure::MachineDied, why, out);
        }
        let at = self.now + self.wait_after(deaths);
        if let State::Waking(waking) = &mut self.state {
            waking.start = StartStep::Ask;
            waking.next_call_at = at;
        }
        out.push(Effect::Tell(Event::Retrying {
            what: "the machine went down while starting".into(),
            at,
        }));
    }

    pub(super) fn waking_probed(&mut self, result: ProbeResult, out: &mut Vec<Effect>) {
        let now = self.now;
        let interval = self.policy.probe_interval;
        let State::Waking(waking) = &mut self.state else {
            return;
        };
        let next_at = now + pause_between_probes(now.since(waking.began), interval);
        match (result, waking.address) {
            (ProbeResult::Ready, Some(address)) => self.woke(Some(seed_at(address)), out),
            // The machine went down while the probe was under way: that answer is of the past.
            (ProbeResult::Ready, None) => {}
            (ProbeResult::NotReady(_), _) => waking.probe.next_at = next_at,
        }
    }

    /// The app answers: the seed's, at this address, or a clone's.
    pub(super) fn woke(&mut self, seed: Option<Upstream>, out: &mut Vec<Effect>) {
        self.reach(Stage::AppAnswering, out);
        let State::Waking(waking) = &self.state else {
            return;
        };
        let took = self.now.since(waking.began);
        // A machine that was found running, or an app that came back after a crash, says nothing of how long a wake takes.
        // One that failed at first does: its visitors were told a bound too, and waited from its beginning.
        if waking.trigger.is_some() && !waking.after_crash {
            self.history.add(took);
        }
        out.push(Effect::Tell(Event::Woken { took }));
        let asked_for = waking.trigger.is_some();
        let woken = WokenView {
            since: waking.began,
            ready: self.now,
        };
        // Its clones may have gone on serving.
        let came_back = asked_for && !self.takes_requests();
        self.resume_awake(seed);
        if let State::Awake(awake) = &mut self.state {
            awake.woken = came_back.then_some(woken);
        }
        match asked_for {
            true => self.idle.restart(self.now),
            false => self.idle.know_nothing(self.now),
        }
        self.record(false, out);
    }

    pub(super) fn reach(&mut self, stage: Stage, out: &mut Vec<Effect>) {
        let now = self.now;
        if let State::Waking(waking) = &mut self.state
            && waking.reach(stage)
        {
            out.push(Effect::Tell(Event::StageReached {
                stage,
                after: now.since(waking.began),
            }));
        }
    }
}

/// A visitor waits for the probe after the moment at which the app listens: that may cost a twentieth of the time
/// that the wake has taken, and a tenth of a second costs nothing. `interval` is the bound for slow ones.
fn pause_between_probes(elapsed: Span, interval: Span) -> Span {
    Span(elapsed.0 / 20).max(PROBE_PAUSE_MIN).min(interval)
}

impl Waking {
    fn accept_as_started(&mut self, now: Time) {
        if !matches!(self.start, StartStep::Accepted(_)) {
            self.start = StartStep::Accepted(now);
        }
    }

    /// What a wake that ran out of time lacked.
    fn overdue(&self) -> Failure {
        match &self.last_trouble {
            _ if self.address.is_some() => Failure::AppSilent,
            Some(trouble) => Failure::of(trouble.class),
            None => Failure::MachineSilent,
        }
    }
}
