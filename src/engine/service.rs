//! The life of one service with its seed: asleep, waking, awake, diverting, draining, stopping, failed.
//!
//! Every step has two halves. The first takes the input in: an answer is matched with the call it belongs to, a
//! trigger is remembered, a sample is counted. The second, [`Service::advance`], looks at the whole state afresh
//! and emits what is due now. So nothing depends on the order in which things were heard, and an event that was
//! lost costs a delay, never a wrong state.
//!
//! At most one provider call is in flight for the machine, whatever the phase: [`Service::call`] is the slot.
//! Where to read next: `state` (the phases' own data), then one file for each phase.

use super::contract::{Effect, Input, ProbeResult};
use super::eta::WakeHistory;
use super::fleet::Fleet;
use super::id::{InstanceId, OpId, ServiceName};
use super::idle::IdleClock;
use super::machine::{ErrorClass, Machine, Trouble};
use super::policy::Policy;
use super::record::{Base, Hold, Record};
use super::story::Event;
use super::time::{Span, Time};
use super::traffic::{Activity, Routing, Source};
use super::trigger::{Trigger, TriggerBy};
use leaving::CalledOff;
use publishing::Publishing;
use scaling::Scaling;
use show::Shown;
use state::State;

mod awake;
mod clones;
mod failed;
mod learning;
mod leaving;
mod publishing;
mod scaling;
mod show;
mod state;
mod stopping;
mod template;
#[cfg(test)]
mod tests;
mod waking;

/// The engine of one service.
#[derive(Clone, Debug)]
pub struct Service {
    name: ServiceName,
    policy: Policy,
    now: Time,
    op: OpId,
    state: State,
    since: Time,
    version: u64,
    shown: Option<Shown>,
    call: Option<Call>,
    publishing: Publishing,
    idle: IdleClock,
    blind_told: Vec<Source>,
    hold: Option<Hold>,
    up_since: Option<Time>,
    run_by: Option<Trigger>,
    triggered_count: u64,
    history: WakeHistory,
    /// Crashes since the service was last awake for long; spaces the restarts of an app that keeps crashing.
    crashes: u32,
    /// What it runs on, or ran on last.
    base: Base,
    fleet: Fleet,
    scaling: Scaling,
}

/// The provider call in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    op: OpId,
    kind: CallKind,
    lost_at: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallKind {
    Inspect,
    Start,
    Stop,
}

impl Service {
    /// A service about which nothing is known yet. Its first input is [`Input::Loaded`].
    #[must_use]
    pub fn new(name: ServiceName, policy: Policy, now: Time) -> Service {
        Service {
            name,
            policy,
            now,
            op: OpId(0),
            state: State::Fresh,
            since: now,
            version: 0,
            shown: None,
            call: None,
            publishing: Publishing::new(Routing::Asleep),
            idle: IdleClock::default(),
            blind_told: Vec::new(),
            hold: None,
            up_since: None,
            run_by: None,
            triggered_count: 0,
            history: WakeHistory::default(),
            crashes: 0,
            base: Base::Seed,
            fleet: Fleet::default(),
            scaling: Scaling::default(),
        }
    }

    /// Takes one input in and appends what must be done to `out`. Never fails, never blocks.
    ///
    /// A `now` before an earlier one counts as that earlier one: the clock of the engine never runs backwards.
    pub fn step(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        self.take(input, out);
        self.lose_overdue_call(out);
        self.advance(out);
        let shown = Some(self.shown());
        if self.shown != shown {
            self.shown = shown;
            self.version += 1;
        }
    }

    /// Puts a changed policy in force; the next step acts by it.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The next moment at which a step is due by itself; always after the last step's `now`.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Time> {
        let hold_ends = self.hold.as_ref().map(|hold| hold.until);
        let call_lost = self.call.map(|call| call.lost_at);
        let own = [
            hold_ends,
            call_lost,
            self.publishing.due(self.now),
            self.due(),
            self.fleet_due(),
            self.scale_due(),
        ];
        own.into_iter()
            .flatten()
            .min()
            .map(|at| at.max(self.now + Span(1)))
    }

    fn take(&mut self, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Loaded(record) => self.loaded(record, out),
            Input::Triggered(trigger) => {
                if trigger.by != TriggerBy::Crash {
                    self.triggered_count += 1;
                }
                self.triggered(trigger, out);
            }
            Input::StillWanted(trigger) => self.triggered(trigger, out),
            Input::Held { until, reason } => self.held(until, reason, out),
            Input::Released => self.released(out),
            Input::SleepAsked { who } => self.sleep_asked(who, out),
            Input::Inspected(op, answer) => self.answered(op, CallKind::Inspect, answer, out),
            Input::Started(op, answer) => self.answered(op, CallKind::Start, answer, out),
            Input::Stopped(op, answer) => self.answered(op, CallKind::Stop, answer, out),
            Input::Probed(op, result) => self.probed(op, result, out),
            Input::Published(op, result) => self.published(op, result, out),
            Input::Diverted(op, result) => self.diverted(op, result, out),
            Input::LookedOnce(op, result) => self.looked_once(op, result, out),
            Input::Seen(activity) => self.seen(activity, out),
            Input::SignalLost(source) => self.signal_lost(source, out),
            Input::Suspected(which) => self.suspected(which),
            Input::Waiting(visitors) => self.visitors_wait(visitors),
            Input::Measured(samples) => self.measured(&samples),
            Input::Alerted(alert) => self.alerted(alert),
            Input::Fleet(op, heard) => self.fleet.heard(op, heard, self.now, &self.policy),
            Input::NotRecorded(op) => {
                if !self.fleet.not_recorded(op, self.now, &self.policy) {
                    self.not_recorded(op, out);
                }
            }
            Input::Tick => {}
        }
    }

    /// Emits what is due now, until nothing more is.
    fn advance(&mut self, out: &mut Vec<Effect>) {
        if self
            .hold
            .as_ref()
            .is_some_and(|hold| hold.until <= self.now)
        {
            self.released(out);
        }
        // What clones have come to decides how far the phase is.
        if self.base == Base::Clones {
            self.settle_fleet(out);
            self.tell_of_clones(out);
        }
        // A phase may hand over to the next one at once, at most through the whole circle.
        for _ in 0..8 {
            let before = self.state.phase();
            self.advance_phase(out);
            if self.state.phase() == before {
                break;
            }
        }
        self.tell_blind(out);
        self.settle_fleet(out);
        self.route();
        self.advance_publishing(out);
        self.advance_fleet(out);
    }

    fn advance_phase(&mut self, out: &mut Vec<Effect>) {
        match &self.state {
            State::Fresh => {}
            State::Diverting(_) | State::Draining(_) => self.advance_leaving(out),
            State::Asleep(_) => self.advance_asleep(out),
            _ if self.base == Base::Clones => self.advance_on_clones(out),
            State::Learning(_) => self.advance_learning(out),
            State::Waking(_) => self.advance_waking(out),
            State::Awake(_) => self.advance_awake(out),
            State::Stopping(_) => self.advance_stopping(out),
            State::Failed(_) => self.advance_failed(out),
        }
    }

    fn triggered(&mut self, trigger: Trigger, out: &mut Vec<Effect>) {
        let now = self.now;
        match &mut self.state {
            State::Fresh => {}
            State::Learning(learning) => {
                learning.wanted = learning.wanted.take().or(Some((trigger, now)))
            }
            State::Asleep(_) => self.begin_wake(Some(trigger), false, out),
            // A wake that nobody asked for (a machine found running) has its first visitor now.
            State::Waking(waking) => waking.adopt_visitor(now, &trigger, &mut self.run_by),
            State::Awake(awake) => {
                awake.sleep_asked = None;
                self.idle.restart(now);
            }
            State::Diverting(leaving) | State::Draining(leaving) if leaving.keeps_to_its_plan() => {
                leaving.wanted = leaving.wanted.take().or(Some((trigger, now)));
            }
            State::Diverting(_) | State::Draining(_) => {
                self.idle.restart(now);
                self.cancel_leaving(CalledOff::ByUse, "a visitor came", out);
            }
            State::Stopping(stopping) => {
                stopping.wanted = stopping.wanted.take().or(Some((trigger, now)))
            }
            State::Failed(failed) => {
                failed.wanted_at = Some(now);
                failed.trigger = failed.trigger.take().or(Some(trigger.lasting()));
            }
        }
    }

    fn held(&mut self, until: Time, reason: String, out: &mut Vec<Effect>) {
        if until <= self.now {
            return;
        }
        self.hold = Some(Hold {
            until,
            reason: reason.clone(),
        });
        out.push(Effect::Tell(Event::HoldBegan { until, reason }));
        if let State::Awake(awake) = &mut self.state {
            awake.sleep_asked = None;
        }
        if matches!(self.state, State::Diverting(_) | State::Draining(_)) {
            self.cancel_leaving(CalledOff::ByUse, "a hold keeps the service awake", out);
        } else {
            self.record(false, out);
        }
    }

    fn released(&mut self, out: &mut Vec<Effect>) {
        if self.hold.take().is_some() {
            out.push(Effect::Tell(Event::HoldEnded));
            self.record(false, out);
        }
    }

    fn seen(&mut self, activity: Activity, out: &mut Vec<Effect>) {
        self.idle.saw(self.now, activity, &self.policy);
        if activity.used {
            self.someone_came(out);
        }
    }

    fn signal_lost(&mut self, source: Source, out: &mut Vec<Effect>) {
        self.idle.lost(self.now, source);
        if matches!(self.state, State::Diverting(_) | State::Draining(_)) {
            self.cancel_leaving(CalledOff::ByTrouble, "a source of activity is missing", out);
        }
    }

    fn tell_blind(&mut self, out: &mut Vec<Effect>) {
        let blind = match &self.state {
            // The first samples of an awake service need a moment to come.
            State::Awake(awake) if self.now.since(awake.since) > self.policy.stale_after => {
                self.idle.blind(self.now, &self.policy)
            }
            // Asleep and on its way there is nothing that a missing sample could stop.
            _ => Vec::new(),
        };
        for source in blind
            .iter()
            .filter(|source| !self.blind_told.contains(source))
        {
            out.push(Effect::Tell(Event::Blind { source: *source }));
        }
        self.blind_told = blind;
    }

    fn answered(
        &mut self,
        op: OpId,
        kind: CallKind,
        answer: Result<Machine, Trouble>,
        out: &mut Vec<Effect>,
    ) {
        if self
            .call
            .is_none_or(|call| call.op != op || call.kind != kind)
        {
            return; // Late, doubled, or of an earlier life: it changes nothing.
        }
        self.call = None;
        self.heard(kind, answer, out);
    }

    /// The machine's state, or the trouble, reaches the phase that the service is in now.
    fn heard(&mut self, kind: CallKind, answer: Result<Machine, Trouble>, out: &mut Vec<Effect>) {
        match &self.state {
            State::Fresh => {}
            State::Asleep(_) => self.asleep_heard(answer, out),
            // Asked before clones took over: of no meaning for what serves now.
            _ if self.base == Base::Clones => {}
            State::Learning(_) => self.learning_heard(answer, out),
            State::Waking(_) => self.waking_heard(kind, answer, out),
            State::Awake(_) => self.awake_heard(answer, out),
            // Gone or not, the stop that follows is idempotent; called off, the machine is looked at again.
            State::Diverting(_) | State::Draining(_) => {}
            State::Stopping(_) => self.stopping_heard(kind, answer, out),
            State::Failed(_) => {} // The next try reads the state anew.
        }
    }

    fn lose_overdue_call(&mut self, out: &mut Vec<Effect>) {
        let Some(call) = self.call.filter(|call| call.lost_at <= self.now) else {
            return;
        };
        self.call = None;
        let detail = format!(
            "no answer to {:?} within {}",
            call.kind, self.policy.call_timeout
        );
        self.heard(
            call.kind,
            Err(Trouble::new(ErrorClass::Ambiguous, detail)),
            out,
        );
    }

    fn probed(&mut self, op: OpId, result: ProbeResult, out: &mut Vec<Effect>) {
        let expected = match &mut self.state {
            State::Waking(waking) => waking.probe.answered(op),
            State::Awake(awake) => awake.probe.answered(op),
            _ => false,
        };
        match (&self.state, expected) {
            (State::Waking(_), true) => self.waking_probed(result, out),
            (State::Awake(_), true) => self.awake_probed(result, out),
            _ => {}
        }
    }

    /// Makes a provider call, if none is in flight.
    fn make_call(&mut self, kind: CallKind, out: &mut Vec<Effect>) {
        if self.call.is_some() {
            return;
        }
        let op = self.next_op();
        self.call = Some(Call {
            op,
            kind,
            lost_at: self.now + self.policy.call_timeout,
        });
        out.push(match kind {
            CallKind::Inspect => Effect::Inspect(op, InstanceId::SEED),
            CallKind::Start => Effect::Start(op, InstanceId::SEED),
            CallKind::Stop => Effect::Stop(op, InstanceId::SEED, self.way_to_sleep()),
        });
    }

    fn next_op(&mut self) -> OpId {
        self.op = self.op.next();
        self.op
    }

    fn wait_after(&self, failures: u32) -> Span {
        self.policy
            .backoff
            .wait(failures, self.policy.seed ^ self.op.0.rotate_left(17))
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.since = self.now;
        self.route();
    }

    fn record(&mut self, required: bool, out: &mut Vec<Effect>) -> OpId {
        let op = self.next_op();
        let record = Box::new(Record {
            last_op: op,
            stand: self.state.stand(),
            up_since: self.up_since,
            run_by: self.run_by.clone(),
            triggered_count: self.triggered_count,
            last_activity: Some(self.idle.last_activity()).filter(|at| *at > Time(0)),
            hold: self.hold.clone(),
            history: self.history.clone(),
            base: self.base,
            fleet: self.fleet.record(),
        });
        out.push(Effect::Record {
            op,
            record,
            required,
        });
        op
    }
}
