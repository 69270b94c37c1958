//! An engine played by hand.

use std::net::SocketAddr;

use crate::engine::contract::{
    Activity, Effect, Event, Input, ProbeResult, Routing, Source, Trigger, TriggerBy, Upstream,
};
use crate::engine::id::OpId;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::policy::Policy;
use crate::engine::record::{Record, Stand};
use crate::engine::service::Service;
use crate::engine::service::state::{self, LeavingStep, State};
use crate::engine::time::{Span, Time};
use crate::engine::view::Phase;

pub(super) const SECOND: u64 = 1_000;
pub(super) const MINUTE: u64 = 60 * SECOND;

/// An engine, its clock, and what it asked for last.
pub(super) struct Play {
    pub(super) engine: Service,
    pub(super) now: Time,
    pub(super) out: Vec<Effect>,
    /// The last publish that was asked for.
    publish: Option<OpId>,
}

pub(super) fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 7], 80))
}

pub(super) fn upstream() -> Upstream {
    state::seed_at(address())
}

pub(super) fn machine(state: MachineState) -> Machine {
    let address = (state == MachineState::Running).then(address);
    Machine { state, address }
}

pub(super) fn trigger() -> Trigger {
    Trigger {
        by: TriggerBy::Page,
        who: "198.51.100.0/24".into(),
        path: "/".into(),
    }
}

pub(super) fn refused(class: ErrorClass) -> Trouble {
    Trouble::new(class, "refused")
}

impl Play {
    pub(super) fn with(policy: Policy, record: Option<Record>) -> Play {
        let now = Time(1_000_000_000);
        let name = "blog".parse().unwrap();
        let mut play = Play {
            engine: Service::new(name, policy, now),
            now,
            out: Vec::new(),
            publish: None,
        };
        play.give(Input::Loaded(record.map(Box::new)));
        play
    }

    pub(super) fn resumed(stand: Stand) -> Play {
        let record = Record {
            stand,
            run_by: Some(trigger()),
            ..Record::default()
        };
        Play::with(Policy::default(), Some(record))
    }

    pub(super) fn asleep_with(policy: Policy) -> Play {
        let mut play = Play::with(policy, None);
        play.settle();
        play.inspected(MachineState::Stopped);
        assert_eq!(play.phase(), Phase::Asleep);
        play
    }

    pub(super) fn asleep() -> Play {
        Play::asleep_with(Policy::default())
    }

    pub(super) fn awake_with(policy: Policy) -> Play {
        let mut play = Play::asleep_with(policy);
        play.give(Input::Triggered(trigger()));
        play.bring_up();
        play
    }

    pub(super) fn awake() -> Play {
        Play::awake_with(Policy::default())
    }

    pub(super) fn bring_up(&mut self) {
        self.started(MachineState::Running);
        self.probed(ProbeResult::Ready);
        self.settle();
        assert_eq!(self.phase(), Phase::Awake);
        self.inspected(MachineState::Running);
        self.probed(ProbeResult::Ready);
    }

    pub(super) fn idle() -> Play {
        Play::idle_with(Policy::default())
    }

    pub(super) fn idle_with(policy: Policy) -> Play {
        let mut play = Play::awake_with(policy);
        play.quiet_until(Phase::Diverting);
        play
    }

    pub(super) fn draining() -> Play {
        Play::draining_with(Policy::default())
    }

    fn draining_with(policy: Policy) -> Play {
        let mut play = Play::idle_with(policy);
        play.settle();
        let op = play.op(|effect| matches!(effect, Effect::ProveDivert(_)));
        play.give(Input::Diverted(op, Ok(())));
        assert_eq!(play.phase(), Phase::Draining);
        play
    }

    pub(super) fn looking() -> Play {
        Play::looking_with(Policy::default())
    }

    pub(super) fn looking_with(policy: Policy) -> Play {
        let mut play = Play::draining_with(policy);
        play.give(Input::Seen(Activity::quiet(Source::Edge)));
        assert!(
            play.engine.view().upstreams.is_empty(),
            "the gate is closed"
        );
        play
    }

    pub(super) fn stopping() -> Play {
        Play::stopping_with(Policy::default())
    }

    pub(super) fn stopping_with(policy: Policy) -> Play {
        let mut play = Play::looking_with(policy);
        play.looked(Activity::quiet(Source::Edge));
        assert_eq!(play.phase(), Phase::Stopping);
        play
    }

    pub(super) fn give(&mut self, input: Input) {
        self.out.clear();
        self.engine.step(self.now, input, &mut self.out);
        for effect in &self.out {
            if let Effect::Publish(op, _) = effect {
                self.publish = Some(*op);
            }
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now + Span(ms);
        self.give(Input::Tick);
    }

    pub(super) fn phase(&self) -> Phase {
        self.engine.phase()
    }

    /// The id of the one effect of the last step like this.
    pub(super) fn op(&self, like: impl Fn(&Effect) -> bool) -> OpId {
        let found: Vec<_> = self.out.iter().filter(|effect| like(effect)).collect();
        match found[..] {
            [Effect::Inspect(op, _) | Effect::Start(op, _) | Effect::Stop(op, ..)] => *op,
            [Effect::Probe(op, ..) | Effect::Publish(op, _)] => *op,
            [Effect::ProveDivert(op) | Effect::LastLook(op)] => *op,
            [Effect::Record { op, .. }] => *op,
            _ => panic!("not one such effect in {:?}", self.out),
        }
    }

    pub(super) fn call(&self) -> OpId {
        self.engine.call.expect("a call is in flight").op
    }

    pub(super) fn started(&mut self, state: MachineState) {
        self.give(Input::Started(self.call(), Ok(machine(state))));
    }

    pub(super) fn inspected(&mut self, state: MachineState) {
        self.give(Input::Inspected(self.call(), Ok(machine(state))));
    }

    pub(super) fn probed(&mut self, result: ProbeResult) {
        let slot = match &self.engine.state {
            State::Waking(waking) => waking.probe,
            State::Awake(awake) => awake.probe,
            state => panic!("no probe in {state:?}"),
        };
        let (op, _) = slot.pending.expect("a probe is under way");
        self.give(Input::Probed(op, result));
    }

    pub(super) fn looked(&mut self, sample: Activity) {
        let State::Draining(leaving) = &self.engine.state else {
            panic!("not draining")
        };
        let LeavingStep::Looking { op } = leaving.step else {
            panic!("not looking: {:?}", leaving.step)
        };
        self.give(Input::LookedOnce(op, Ok(vec![sample])));
    }

    /// Answers the publish that is under way.
    pub(super) fn settle(&mut self) {
        let op = self.publish.take().expect("a publish is under way");
        self.give(Input::Published(op, Ok(())));
    }

    /// Nobody comes, and everything is healthy, until this phase.
    pub(super) fn quiet_until(&mut self, phase: Phase) {
        for _ in 0..5_000 {
            if self.phase() == phase {
                return;
            }
            self.now = self.now + Span(SECOND);
            if self.engine.call.is_some() {
                self.inspected(MachineState::Running);
            }
            if matches!(&self.engine.state, State::Awake(awake) if awake.probe.pending.is_some()) {
                self.probed(ProbeResult::Ready);
            }
            if self.phase() != phase {
                self.give(Input::Seen(Activity::quiet(Source::Edge)));
            }
        }
        panic!("{phase:?} is never reached");
    }

    pub(super) fn asked(&self, like: impl Fn(&Effect) -> bool) -> usize {
        self.out.iter().filter(|effect| like(effect)).count()
    }

    pub(super) fn cancelled(&self) -> bool {
        let called_off =
            |effect: &Effect| matches!(effect, Effect::Tell(Event::StopCancelled { .. }));
        self.phase() == Phase::Awake && self.asked(called_off) == 1
    }
}

pub(super) fn is_start(effect: &Effect) -> bool {
    matches!(effect, Effect::Start(..))
}

pub(super) fn is_stop(effect: &Effect) -> bool {
    matches!(effect, Effect::Stop(..))
}

/// The effects of a step, in a word each.
pub(super) fn words(out: &[Effect]) -> Vec<&'static str> {
    let word = |effect: &Effect| match effect {
        Effect::Fleet(..) => "fleet",
        Effect::Record { required: true, .. } => "must record",
        Effect::Record { .. } => "record",
        Effect::Inspect(..) => "inspect",
        Effect::Start(..) => "start",
        Effect::Stop(..) => "stop",
        Effect::Probe(..) => "probe",
        Effect::Publish(_, Routing::Asleep) => "publish asleep",
        Effect::Publish(..) => "publish awake",
        Effect::ProveDivert(_) => "prove",
        Effect::LastLook(_) => "look",
        Effect::Tell(_) => "tell",
    };
    out.iter()
        .map(word)
        .filter(|word| *word != "tell")
        .collect()
}
