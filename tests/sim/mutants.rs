//! Planted bugs: the engine behind a wrapper that spoils what goes in or what comes out. Each must be found.

use std::collections::BTreeSet;

use anteroom::engine::contract::{Activity, Effect, Input, ProbeResult, Source, Stage, Upstream};
use anteroom::engine::id::{CloneId, InstanceId, OpId};
use anteroom::engine::machine::{Machine, MachineState};
use anteroom::engine::policy::{CloneTerms, Policy};
use anteroom::engine::service::Service;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::{Phase, View};

use crate::plan::HOUR;
use crate::world::DAWN;
pub(crate) use clones::BUGS_OF_CLONES;
pub(crate) use load::BUGS_OF_LOAD;

mod clones;
mod load;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    RecordIsDropped,
    DivertIsNotProven,
    LastLookIsBlind,
    LostSignalIsIgnored,
    StaleSampleCountsAsFresh,
    OldAnswerCountsAsCurrent,
    StartIsAskedTwice,
    TriggerWhileStoppingIsSwallowed,
    HoldIsIgnored,
    DrainIsCutShort,
    RecordIsNotRead,
    StopIsNotRetried,
    StrayMachineIsNotSeen,
    StageIsShownEarly,
    PercentFalls,
    GateStaysOpen,
    IdleTimeoutIsHalved,
    SilentAppCountsAsReady,
    TimerStorms,
    NobodyIsWokenFor,
    // The following are of many rooms, and sit in the driver and in the store.
    StoreTakesAnyEpoch,
    DisownedLeaderGoesOn,
    LeaseIsGivenWhileAnotherLives,
    StopLeavesAfterTheLease,
    ProvisionalLeaderStops,
    SilentRoomIsIgnored,
    RoomIsNeverForgotten,
    LongConnectionsOfARoomAreForgotten,
    LeaderIsNoRoom,
    LastLookDoesNotWaitForRooms,
    DivertDoesNotWaitForRooms,
    EnvelopeIsToldOnce,
    TakeOverForgetsTheWantedWake,
    LocalBudgetIsTheFullRate,
    LateWakesAreNotCharged,
    LateWakesAreChargedTwice,
    MirrorIsForgotten,
    MachineOfAWipedStoreIsForgotten,
    WipedStoreGivesAnotherMachine,
    // The following are of clones.
    MakeIsNotRecorded,
    DeleteIsNotRecorded,
    LostMakeIsAskedAgain,
    LostMakeCountsAsRefused,
    StrayCloneIsNotSeen,
    ClonesAreForgotten,
    AddressesAreOverlooked,
    StrangerIsTakenIn,
    OneTooManyIsWanted,
    DeletionCountsAsDone,
    DeleteIsNotRepeated,
    AccountCountsAsEmpty,
    DeedLeavesAfterTheLease,
    DrainDoesNotWaitForRooms,
    UnreadyCloneIsListed,
    OpenRequestsAreNotCounted,
    HourIsNotCounted,
    ClonesAreHiddenWithTheirSeed,
    // The following are of the load.
    StaleLoadCountsAsFresh,
    MissingLoadCountsAsIdle,
    ReplayedAlertCountsAsNew,
    RevokedAlertCountsAsFiring,
    LoadOfEachCountsAsTheLoad,
    MaxIsIgnored,
    MinIsIgnored,
    LoadIsNotHeard,
    LowLoadIsNotBelieved,
}

/// Each planted bug, and the invariant that must find it.
pub(crate) const BUGS: [(Bug, &str); 20] = [
    (Bug::RecordIsDropped, "I8"),
    (Bug::DivertIsNotProven, "I3"),
    (Bug::LastLookIsBlind, "I2"),
    (Bug::LostSignalIsIgnored, "I2"),
    (Bug::StaleSampleCountsAsFresh, "I2"),
    (Bug::OldAnswerCountsAsCurrent, "I7"),
    (Bug::StartIsAskedTwice, "I1"),
    (Bug::TriggerWhileStoppingIsSwallowed, "I4"),
    (Bug::HoldIsIgnored, "I2"),
    (Bug::DrainIsCutShort, "I2"),
    (Bug::RecordIsNotRead, "I2"),
    (Bug::StopIsNotRetried, "I6"),
    (Bug::StrayMachineIsNotSeen, "I6"),
    (Bug::StageIsShownEarly, "I14"),
    (Bug::PercentFalls, "I14"),
    (Bug::GateStaysOpen, "I3"),
    (Bug::IdleTimeoutIsHalved, "I2"),
    (Bug::SilentAppCountsAsReady, "I14"),
    (Bug::TimerStorms, "steps"),
    (Bug::NobodyIsWokenFor, "I1"),
];

/// Those that only many rooms can show.
pub(crate) const BUGS_OF_ROOMS: [(Bug, &str); 19] = [
    (Bug::StoreTakesAnyEpoch, "I8"),
    (Bug::DisownedLeaderGoesOn, "I8"),
    (Bug::LeaseIsGivenWhileAnotherLives, "I8"),
    (Bug::StopLeavesAfterTheLease, "I8"),
    (Bug::ProvisionalLeaderStops, "I8"),
    (Bug::SilentRoomIsIgnored, "I3"),
    (Bug::RoomIsNeverForgotten, "I6"),
    (Bug::LongConnectionsOfARoomAreForgotten, "I2"),
    (Bug::LeaderIsNoRoom, "I3"),
    (Bug::LastLookDoesNotWaitForRooms, "I3"),
    (Bug::DivertDoesNotWaitForRooms, "I3"),
    (Bug::EnvelopeIsToldOnce, "I14"),
    (Bug::TakeOverForgetsTheWantedWake, "I4"),
    (Bug::LocalBudgetIsTheFullRate, "I12"),
    (Bug::LateWakesAreNotCharged, "I12"),
    (Bug::LateWakesAreChargedTwice, "I12"),
    (Bug::MirrorIsForgotten, "I12"),
    (Bug::MachineOfAWipedStoreIsForgotten, "I6"),
    (Bug::WipedStoreGivesAnotherMachine, "I5"),
];

/// The engine, spoiled or not.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    engine: Service,
    bug: Option<Bug>,
    current: Option<OpId>,
    asked: bool,
    open: Vec<Upstream>,
    /// There was no record, and nothing has been started since.
    knows_nothing: bool,
    /// The next start is of a machine that nobody made.
    stranger: bool,
    /// Clones whose end was asked for, how many are wanted beyond measure, and whether a list was asked for.
    deleted: BTreeSet<CloneId>,
    wanted: Option<u16>,
    has_looked: bool,
}

impl Mutant {
    pub(crate) fn new(engine: Service, bug: Option<Bug>) -> Mutant {
        let mut mutant = Mutant {
            engine,
            bug,
            current: None,
            asked: false,
            open: Vec::new(),
            knows_nothing: false,
            stranger: false,
            deleted: BTreeSet::new(),
            wanted: None,
            has_looked: false,
        };
        let policy = mutant.spoiled(mutant.engine.policy().clone());
        mutant.engine.set_policy(policy);
        mutant
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn spoiled(&self, policy: Policy) -> Policy {
        let policy = self.spoil_terms(policy);
        match self.bug {
            Some(Bug::DrainIsCutShort) => Policy {
                drain_whole: false,
                drain_timeout: Span::ZERO,
                ..policy
            },
            Some(Bug::HourIsNotCounted) => Policy {
                clones: policy.clones.map(|terms| CloneTerms {
                    per_hour: 1_000,
                    ..terms
                }),
                ..policy
            },
            Some(Bug::IdleTimeoutIsHalved) => Policy {
                idle_timeout: Span(policy.idle_timeout.0 / 2),
                ..policy
            },
            _ => policy,
        }
    }

    pub(crate) fn step(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) {
        let input = self.spoil_heard(input);
        let input = self.spoil_load(now, input);
        let Some(input) = self.spoil_input(now, input, out) else {
            return;
        };
        let from = out.len();
        self.engine.step(now, input, out);
        let mut fresh = out.split_off(from);
        self.spoil_deeds(&mut fresh);
        for effect in fresh {
            if let Some(answer) = self.rash_answer(&effect) {
                self.engine.step(now, answer, out);
            }
            self.spoil_effect(now, effect, out);
        }
    }

    fn spoil_input(&mut self, now: Time, input: Input, out: &mut Vec<Effect>) -> Option<Input> {
        let quiet = |source| Input::Seen(Activity::quiet(source));
        let input = match (self.bug, input) {
            (Some(Bug::LostSignalIsIgnored), Input::SignalLost(_)) => return None,
            (Some(Bug::StaleSampleCountsAsFresh), Input::SignalLost(source)) => quiet(source),
            (Some(Bug::StaleSampleCountsAsFresh), Input::Tick) => {
                self.engine.step(now, quiet(Source::Traefik), out);
                Input::Tick
            }
            (Some(Bug::LastLookIsBlind), Input::LookedOnce(op, Ok(samples))) => {
                let blind = samples.iter().map(|sample| Activity::quiet(sample.source));
                Input::LookedOnce(op, Ok(blind.collect()))
            }
            (Some(Bug::OldAnswerCountsAsCurrent), Input::Inspected(op, answer)) => {
                Input::Inspected(self.current.unwrap_or(op), answer)
            }
            (Some(Bug::OldAnswerCountsAsCurrent), Input::Probed(op, answer)) => {
                Input::Probed(self.current.unwrap_or(op), answer)
            }
            (Some(Bug::TriggerWhileStoppingIsSwallowed), Input::Triggered(_))
                if self.engine.phase() == Phase::Stopping =>
            {
                return None;
            }
            (Some(Bug::HoldIsIgnored), Input::Held { .. }) => return None,
            (Some(Bug::RecordIsNotRead), Input::Loaded(_)) => Input::Loaded(None),
            (Some(Bug::WipedStoreGivesAnotherMachine), Input::Loaded(record)) => {
                self.stranger = record.is_none() && now.0 > DAWN + HOUR;
                Input::Loaded(record)
            }
            (Some(Bug::MachineOfAWipedStoreIsForgotten), Input::Loaded(record)) => {
                self.knows_nothing = record.is_none();
                Input::Loaded(record)
            }
            (
                Some(Bug::StrayMachineIsNotSeen | Bug::MachineOfAWipedStoreIsForgotten),
                Input::Inspected(op, Ok(_)),
            ) if self.engine.phase() == Phase::Asleep || self.knows_nothing => {
                let off = Machine {
                    state: MachineState::Stopped,
                    address: None,
                };
                Input::Inspected(op, Ok(off))
            }
            (Some(Bug::SilentAppCountsAsReady), Input::Probed(op, _)) => {
                Input::Probed(op, ProbeResult::Ready)
            }
            (_, input) => input,
        };
        Some(input)
    }

    fn spoil_effect(&mut self, now: Time, effect: Effect, out: &mut Vec<Effect>) {
        match &effect {
            Effect::Inspect(op, _) | Effect::Probe(op, _, _) => self.current = Some(*op),
            _ => {}
        }
        match (self.bug, effect) {
            (Some(Bug::RecordIsDropped), Effect::Record { .. }) => {}
            (Some(Bug::DivertIsNotProven), Effect::ProveDivert(op)) => {
                self.engine.step(now, Input::Diverted(op, Ok(())), out);
            }
            (Some(Bug::WipedStoreGivesAnotherMachine), Effect::Start(op, _)) => {
                out.push(Effect::Start(
                    op,
                    match self.stranger {
                        true => InstanceId::Clone(CloneId::new(1, 1).expect("within bounds")),
                        false => InstanceId::SEED,
                    },
                ));
            }
            (Some(Bug::StartIsAskedTwice), Effect::Start(op, instance)) => {
                out.push(Effect::Start(op, instance));
                out.push(Effect::Start(op, instance));
            }
            (Some(Bug::StopIsNotRetried), Effect::Stop(op, instance, sleep)) => {
                if !std::mem::replace(&mut self.asked, true) {
                    out.push(Effect::Stop(op, instance, sleep));
                }
            }
            (Some(Bug::NobodyIsWokenFor), Effect::Inspect(op, instance))
                if self.engine.phase() == Phase::Asleep =>
            {
                out.push(Effect::Start(op, instance));
            }
            (_, effect) => {
                if matches!(effect, Effect::Start(..)) {
                    self.asked = false;
                    self.knows_nothing = false;
                }
                out.push(effect);
            }
        }
    }

    pub(crate) fn next_wakeup(&self) -> Option<Time> {
        match self.has(Bug::TimerStorms) {
            true => self.engine.next_wakeup().map(|at| Time(at.0 / 50 * 50)),
            false => self.engine.next_wakeup(),
        }
    }

    pub(crate) fn want_clones(&mut self, wanted: u16) {
        let mut policy = self.engine.policy().clone();
        if let Some(terms) = &mut policy.clones {
            terms.wanted = wanted;
        }
        self.engine.set_policy(policy);
    }

    pub(crate) fn takes_requests(&self) -> bool {
        self.engine.takes_requests()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.engine.phase()
    }

    pub(crate) fn view(&mut self, now: Time) -> View {
        let mut view = self.engine.view();
        if self.has(Bug::GateStaysOpen) {
            if !view.upstreams.is_empty() {
                self.open.clone_from(&view.upstreams);
            }
            view.upstreams.clone_from(&self.open);
        }
        if self.has(Bug::ClonesAreHiddenWithTheirSeed) && view.phase != Phase::Awake {
            view.upstreams.retain(|up| up.instance == InstanceId::SEED);
        }
        if let Some(wake) = &mut view.wake {
            match self.bug {
                Some(Bug::StageIsShownEarly) => wake.stage = Stage::MachineUp,
                Some(Bug::PercentFalls) => {
                    wake.since = Time(now.0 / 10_000 * 10_000).max(wake.since)
                }
                _ => {}
            }
        }
        view
    }
}
