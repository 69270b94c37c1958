//! An awake service: watch its health and its machine, and put it to sleep when nobody uses it.

use super::leaving::CalledOff;
use super::state::{Awake, ProbeSlot, State};
use super::{CallKind, Service};
use crate::engine::contract::{Effect, Event, ProbeResult, SleepWhy, Upstream};
use crate::engine::id::InstanceId;
use crate::engine::idle::{Facts, Verdict};
use crate::engine::machine::{Machine, MachineState, Trouble};
use crate::engine::record::Base;
use crate::engine::time::{Span, Time};

/// Between two looks at the machine of an awake service whose app answers.
const INSPECT_INTERVAL: Span = Span::secs(60);

/// So many failed probes in a row make an awake app unhealthy; one alone may be a hiccup.
const PROBE_FAILURES_MAX: u32 = 2;

/// A machine that is reported off for so long is off, even if somebody answers at its address.
const BELIEVED_AFTER: Span = Span::secs(20);

/// A machine that vanished so soon after traffic vanished from under somebody.
const RECENT: Span = Span::mins(2);

/// Awake for so long, earlier crashes are forgotten.
const STEADY_AFTER: Span = Span::mins(10);

impl Service {
    /// Enters the phase. The machine and the app are looked at at once.
    pub(super) fn resume_awake(&mut self, upstream: Option<Upstream>) {
        let now = self.now;
        self.up_since = self.up_since.or(Some(now));
        self.enter(State::Awake(Awake {
            upstream,
            since: now,
            woken: None,
            healthy: true,
            probe_failures: 0,
            probe: ProbeSlot::due_at(now),
            next_inspect_at: now,
            gone_since: None,
            no_sleep_before: now,
            sleep_asked: None,
        }));
    }

    pub(super) fn advance_awake(&mut self, out: &mut Vec<Effect>) {
        let State::Awake(awake) = &self.state else {
            return;
        };
        let next_inspect_at = awake.next_inspect_at;
        self.forget_old_crashes();
        if next_inspect_at <= self.now && self.call.is_none() {
            let next = self.now + INSPECT_INTERVAL;
            if let State::Awake(awake) = &mut self.state {
                awake.next_inspect_at = next;
            }
            self.make_call(CallKind::Inspect, out);
        }
        self.probe_awake(out);
        self.consider_sleep(out);
    }

    pub(super) fn forget_old_crashes(&mut self) {
        if let State::Awake(awake) = &self.state
            && self.now.since(awake.since) > STEADY_AFTER
        {
            self.crashes = 0;
        }
    }

    fn probe_awake(&mut self, out: &mut Vec<Effect>) {
        let (now, lost_at, op) = (
            self.now,
            self.now + self.policy.call_timeout,
            self.op.next(),
        );
        let State::Awake(awake) = &mut self.state else {
            return;
        };
        let Some(seed) = awake.upstream else {
            return;
        };
        if awake.probe.wants(now) {
            awake.probe.pending = Some((op, lost_at));
            out.push(Effect::Probe(op, seed.instance, seed.address));
            self.op = op;
        }
    }

    pub(super) fn consider_sleep(&mut self, out: &mut Vec<Effect>) {
        let State::Awake(awake) = &self.state else {
            return;
        };
        // Clones go first: until nobody can be inside one, the seed stays.
        let waits = self.base == Base::Seed && self.fleet.may_be_in_use();
        if awake.no_sleep_before > self.now || waits {
            return;
        }
        match (self.verdict(), awake.sleep_asked.is_some()) {
            (Verdict::Sleep, _) => self.begin_leaving(SleepWhy::Idle, out),
            (Verdict::NotBefore(_) | Verdict::InUse, true) => {
                self.begin_leaving(SleepWhy::Admin, out)
            }
            _ => {}
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        let awake_since = match &self.state {
            State::Awake(awake) => awake.since,
            State::Diverting(leaving) | State::Draining(leaving) => leaving.awake.since,
            _ => self.since,
        };
        let up_since = self.up_since.unwrap_or(awake_since);
        let facts = Facts {
            awake_since,
            up_since,
            hold: self.hold.as_ref(),
        };
        self.idle.verdict(self.now, &self.policy, facts)
    }

    pub(super) fn sleep_asked(&mut self, who: String, out: &mut Vec<Effect>) {
        if let State::Awake(awake) = &mut self.state {
            awake.sleep_asked = Some(who);
            awake.no_sleep_before = Time(0);
            self.consider_sleep(out);
        }
    }

    /// Somebody could not reach the app: look at it now, if nobody is looking already.
    pub(super) fn suspected(&mut self, which: Option<InstanceId>) {
        let now = self.now;
        if let (State::Awake(awake), None | Some(InstanceId::Seed)) = (&mut self.state, which) {
            awake.probe.next_at = awake.probe.next_at.min(now);
        }
        self.fleet.suspected(which, now);
    }

    pub(super) fn awake_probed(&mut self, result: ProbeResult, out: &mut Vec<Effect>) {
        let now = self.now;
        let (check, again) = (
            now + self.policy.check_interval,
            now + self.policy.probe_interval,
        );
        let State::Awake(awake) = &mut self.state else {
            return;
        };
        match result {
            ProbeResult::Ready => {
                awake.probe.next_at = check;
                awake.probe_failures = 0;
                if !awake.healthy {
                    awake.healthy = true;
                    out.push(Effect::Tell(Event::HealthChanged {
                        healthy: true,
                        what: "it answers".into(),
                    }));
                }
            }
            ProbeResult::NotReady(what) => {
                awake.probe_failures += 1;
                awake.probe.next_at = again;
                // The machine may be gone: the provider knows. Asked at the first sign, then at the usual pace.
                if awake.probe_failures == 1 {
                    awake.next_inspect_at = now;
                }
                if awake.healthy && awake.probe_failures >= PROBE_FAILURES_MAX {
                    awake.healthy = false;
                    awake.next_inspect_at = now;
                    out.push(Effect::Tell(Event::HealthChanged {
                        healthy: false,
                        what,
                    }));
                } else if !awake.healthy {
                    awake.next_inspect_at =
                        awake.next_inspect_at.min(now + self.policy.check_interval);
                }
            }
        }
    }

    pub(super) fn awake_heard(&mut self, answer: Result<Machine, Trouble>, out: &mut Vec<Effect>) {
        // A provider that can't be asked changes nothing about a service that answers.
        let (Ok(machine), State::Awake(awake)) = (answer, &mut self.state) else {
            return;
        };
        match machine.state {
            MachineState::Running => {
                awake.gone_since = None;
                self.awake_moved(&machine, out);
            }
            MachineState::Starting => awake.gone_since = None,
            state => self.awake_gone(state, out),
        }
    }

    /// A provider's word may be older than the app's last answer, so the app is asked once more.
    fn awake_gone(&mut self, state: MachineState, out: &mut Vec<Effect>) {
        let now = self.now;
        let soon = now + self.policy.probe_interval;
        let State::Awake(awake) = &mut self.state else {
            return;
        };
        let gone_since = *awake.gone_since.get_or_insert(now);
        if awake.probe_failures > 0 || now.since(gone_since) >= BELIEVED_AFTER {
            return self.vanished(&format!("the machine is {}", word(state)), out);
        }
        awake.next_inspect_at = soon;
        awake.probe.next_at = awake.probe.next_at.min(now);
    }

    fn awake_moved(&mut self, machine: &Machine, out: &mut Vec<Effect>) {
        let now = self.now;
        let State::Awake(awake) = &mut self.state else {
            return;
        };
        let (Some(address), Some(seed)) = (machine.address, &mut awake.upstream) else {
            return;
        };
        if seed.address == address {
            return;
        }
        seed.address = address;
        awake.probe = ProbeSlot::due_at(now);
        self.record(false, out);
    }

    /// The machine went away by itself or by somebody else's hand.
    pub(super) fn vanished(&mut self, what: &str, out: &mut Vec<Effect>) {
        out.push(Effect::Tell(Event::Vanished {
            what: what.to_owned(),
        }));
        self.up_since = None;
        // An open request alone may be a monitor's; a person whose long upload broke asks again by the page.
        let recent = self.now.since(self.idle.last_use()) < RECENT;
        let in_use = recent || self.clones_serve() && self.verdict() != Verdict::Sleep;
        match (in_use, self.base) {
            (true, _) => self.wake_after_crash(what, out),
            (false, Base::Seed) => self.rest(out),
            (false, Base::Clones) => self.stop_unproven(SleepWhy::Idle, out),
        }
    }

    /// Qualifying traffic: on the way to a stop it calls the stop off.
    pub(super) fn someone_came(&mut self, out: &mut Vec<Effect>) {
        match &self.state {
            State::Diverting(leaving) | State::Draining(leaving)
                if !leaving.keeps_to_its_plan() =>
            {
                self.cancel_leaving(CalledOff::ByUse, "a visitor came", out);
            }
            _ => {}
        }
    }
}

fn word(state: MachineState) -> &'static str {
    match state {
        MachineState::Stopped => "stopped",
        MachineState::Starting => "starting",
        MachineState::Running => "running",
        MachineState::Stopping => "being stopped",
        MachineState::Suspended => "suspended",
        MachineState::Missing => "missing",
        MachineState::Failed => "reported as failed",
    }
}
