//! The phases' own data. One value, so that no two facts about a service can disagree.

use std::net::SocketAddr;

use crate::engine::contract::{SleepWhy, Stage, Trigger, TriggerBy, Upstream};
use crate::engine::id::{InstanceId, OpId};
use crate::engine::machine::Trouble;
use crate::engine::record::Stand;
use crate::engine::time::Time;
use crate::engine::view::{Failure, Phase, WokenView};

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Before the record is loaded.
    Fresh,
    Learning(Learning),
    Asleep(Asleep),
    Waking(Waking),
    Awake(Awake),
    Diverting(Leaving),
    Draining(Leaving),
    Stopping(Stopping),
    Failed(Failed),
}

/// A trigger that waits for something else to end first, and when it came.
pub(super) type Wanted = Option<(Trigger, Time)>;

/// The record is loaded; the machine's state isn't known.
#[derive(Clone, Debug)]
pub(super) struct Learning {
    pub(super) stand: Stand,
    pub(super) wanted: Wanted,
    pub(super) failures: u32,
    pub(super) next_call_at: Time,
}

#[derive(Clone, Debug)]
pub(super) struct Asleep {
    /// When to look whether somebody else has started the machine.
    pub(super) patrol_at: Time,
}

#[derive(Clone, Debug)]
pub(super) struct Waking {
    pub(super) began: Time,
    pub(super) deadline: Time,
    pub(super) stage: Stage,
    /// None when the machine was found running and nobody asked.
    pub(super) trigger: Option<Trigger>,
    /// The last time that somebody asked for the service.
    pub(super) wanted_at: Option<Time>,
    pub(super) after_crash: bool,
    /// Which try of the same wake this is, from 0: failures of whole wakes before it.
    pub(super) tries: u32,
    pub(super) start: StartStep,
    pub(super) next_call_at: Time,
    /// Failed calls in a row.
    pub(super) failures: u32,
    /// Times that the machine went down again.
    pub(super) deaths: u32,
    /// Set while the provider calls the machine running, and only by an answer within this wake: an address
    /// from before may belong to a stranger by now.
    pub(super) address: Option<SocketAddr>,
    pub(super) probe: ProbeSlot,
    pub(super) last_trouble: Option<Trouble>,
}

/// How far the start call of a wake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartStep {
    /// Read the machine's state first: it may be up, or an answer was lost.
    Look,
    /// Ask for the start.
    Ask,
    /// The provider accepted, at this time.
    Accepted(Time),
}

#[derive(Clone, Debug)]
pub(super) struct Awake {
    /// Where the seed's app listens; none where clones alone serve.
    pub(super) upstream: Option<Upstream>,
    pub(super) since: Time,
    /// The wake that brought it here out of sleep.
    pub(super) woken: Option<WokenView>,
    pub(super) healthy: bool,
    pub(super) probe_failures: u32,
    pub(super) probe: ProbeSlot,
    pub(super) next_inspect_at: Time,
    /// Since when the provider calls the machine off though the app answers.
    pub(super) gone_since: Option<Time>,
    /// After a stop was called off for a reason that time must mend: not again before.
    pub(super) no_sleep_before: Time,
    /// An admin asked for sleep.
    pub(super) sleep_asked: Option<String>,
}

/// On the way to a stop: diverting, then draining.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) awake: Awake,
    pub(super) why: SleepWhy,
    pub(super) give_up_at: Time,
    pub(super) step: LeavingStep,
    pub(super) wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeavingStep {
    /// Waiting for the routing to be in force.
    Publishing,
    /// Waiting for the proof.
    Proving(OpId),
    /// Letting requests end, at least until then.
    Draining { since: Time, until: Time },
    /// The gate is closed; waiting for the last look.
    Looking { op: OpId },
}

#[derive(Clone, Debug)]
pub(super) struct Stopping {
    pub(super) why: SleepWhy,
    pub(super) upstream: Option<Upstream>,
    pub(super) awake_since: Option<Time>,
    pub(super) step: StopStep,
    pub(super) record_op: Option<OpId>,
    /// The platform would not suspend the machine, or did not in time: it is shut down instead.
    pub(super) not_suspended: bool,
    /// A stop was asked for in this phase; before that, the machine is as it was.
    pub(super) asked: bool,
    pub(super) failures: u32,
    pub(super) next_call_at: Time,
    pub(super) wanted: Wanted,
}

impl Stopping {
    /// Begins now, with this step.
    pub(super) fn begun(
        why: SleepWhy,
        step: StopStep,
        awake_since: Option<Time>,
        now: Time,
    ) -> Stopping {
        Stopping {
            why,
            upstream: None,
            awake_since,
            step,
            record_op: None,
            not_suspended: false,
            asked: false,
            failures: 0,
            next_call_at: now,
            wanted: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopStep {
    /// Read the state before asking: a stop was asked before, or the machine may be off already.
    Look,
    /// Ask for the stop.
    Ask,
    /// The provider accepted, at this time.
    Accepted(Time),
}

#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    pub(super) why: String,
    pub(super) began: Time,
    pub(super) stage: Stage,
    pub(super) tries: u32,
    pub(super) retry_at: Time,
    pub(super) trigger: Option<Trigger>,
    /// The last time that somebody asked for the service.
    pub(super) wanted_at: Option<Time>,
}

/// The one probe that may be under way, and when the next is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeSlot {
    pub(super) pending: Option<(OpId, Time)>,
    pub(super) next_at: Time,
}

impl ProbeSlot {
    pub(super) fn due_at(at: Time) -> ProbeSlot {
        ProbeSlot {
            pending: None,
            next_at: at,
        }
    }

    /// Whether this is the answer that was waited for.
    pub(super) fn answered(&mut self, op: OpId) -> bool {
        let expected = self.pending.is_some_and(|(pending, _)| pending == op);
        if expected {
            self.pending = None;
        }
        expected
    }

    /// The next moment at which this slot wants attention.
    pub(super) fn due(&self) -> Time {
        self.pending.map_or(self.next_at, |(_, lost_at)| lost_at)
    }

    /// Whether a probe should be made now; a lost one is forgotten.
    pub(super) fn wants(&mut self, now: Time) -> bool {
        if self.pending.is_some_and(|(_, lost_at)| lost_at <= now) {
            self.pending = None;
        }
        self.pending.is_none() && self.next_at <= now
    }
}

impl Waking {
    pub(super) fn adopt_visitor(
        &mut self,
        now: Time,
        trigger: &Trigger,
        run_by: &mut Option<Trigger>,
    ) {
        self.wanted_at = Some(now);
        if self.trigger.is_none() {
            let kept = trigger.clone().lasting();
            self.trigger = Some(kept.clone());
            *run_by = Some(kept);
        }
    }

    pub(super) fn reach(&mut self, stage: Stage) -> bool {
        let further = stage > self.stage;
        self.stage = self.stage.max(stage);
        further
    }
}

impl Leaving {
    /// An admin's sleep isn't called off by visitors; they are served again after it.
    pub(super) fn keeps_to_its_plan(&self) -> bool {
        self.why == SleepWhy::Admin
    }

    /// Whether requests may still go to an instance. While an admin's sleep drains, new visitors get the page; the last
    /// look needs the gate closed.
    pub(super) fn lets_in(&self) -> bool {
        match self.step {
            LeavingStep::Publishing | LeavingStep::Proving(_) => true,
            LeavingStep::Draining { .. } => !self.keeps_to_its_plan(),
            LeavingStep::Looking { .. } => false,
        }
    }
}

impl State {
    pub(super) fn phase(&self) -> Phase {
        match self {
            State::Fresh | State::Learning(_) => Phase::Learning,
            State::Asleep(_) => Phase::Asleep,
            State::Waking(_) => Phase::Waking,
            State::Awake(_) => Phase::Awake,
            State::Diverting(_) => Phase::Diverting,
            State::Draining(_) => Phase::Draining,
            State::Stopping(_) => Phase::Stopping,
            State::Failed(_) => Phase::Failed,
        }
    }

    /// What a new owner must know.
    pub(super) fn stand(&self) -> Stand {
        match self {
            State::Fresh => Stand::Unknown,
            State::Learning(learning) => learning.stand.clone(),
            State::Asleep(_) => Stand::Asleep,
            // A machine that was only found running is not to be started by the next owner.
            State::Waking(waking) if waking.trigger.is_none() => Stand::Unknown,
            State::Waking(waking) => Stand::Waking {
                since: waking.began,
            },
            State::Awake(awake) => Stand::Awake {
                upstream: awake.upstream,
            },
            State::Diverting(leaving) | State::Draining(leaving) => Stand::Leaving {
                upstream: leaving.awake.upstream,
            },
            State::Stopping(stopping) => Stand::Stopping { why: stopping.why },
            State::Failed(failed) => Stand::Failed {
                failure: failed.failure,
                since: failed.began,
            },
        }
    }

    /// Where requests may go to the seed now.
    pub(super) fn upstream(&self) -> Option<Upstream> {
        match self {
            State::Awake(awake) => awake.upstream,
            State::Diverting(leaving) | State::Draining(leaving) if leaving.lets_in() => {
                leaving.awake.upstream
            }
            _ => None,
        }
    }
}

/// The trigger of a wake that the engine itself asks for.
pub(super) fn crash_trigger(what: &str) -> Trigger {
    Trigger {
        by: TriggerBy::Crash,
        who: "anteroom".into(),
        path: what.into(),
    }
}

/// The seed at this address.
pub(super) fn seed_at(address: SocketAddr) -> Upstream {
    Upstream {
        instance: InstanceId::SEED,
        address,
    }
}
