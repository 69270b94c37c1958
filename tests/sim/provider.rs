//! The fake provider and the machine behind it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use anteroom::engine::id::OpId;
use anteroom::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use anteroom::engine::time::Span;

use crate::plan::{Plan, SECOND};
use crate::rng::Rng;

/// States that are remembered for reads of the past.
const PAST_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Inspect,
    Start,
    Stop,
    Suspend,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallFate {
    Done,
    /// Refused before anything was done.
    Refused(ErrorClass),
    /// Done, and never answered.
    Unanswered,
    /// Done, and answered with "the answer was lost".
    Ambiguous,
    /// Not done, and answered with "the answer was lost".
    AmbiguousUndone,
    /// Accepted, and nothing happens.
    Ignored,
}

#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) state: MachineState,
    /// Tells the present transition from those that were overtaken.
    pub(crate) turn: u64,
    pub(crate) app_up: bool,
    pub(crate) boots: u64,
    pub(crate) last_up: Option<u64>,
    pub(crate) last_starting: Option<u64>,
    pub(crate) last_off: u64,
    past: VecDeque<(u64, MachineState)>,
    new_address_each_boot: bool,
}

impl Cloud {
    pub(crate) fn new(plan: &Plan) -> Cloud {
        Cloud {
            state: MachineState::Stopped,
            turn: 0,
            app_up: false,
            boots: 0,
            last_up: None,
            last_starting: None,
            last_off: 0,
            past: VecDeque::from([(0, MachineState::Stopped)]),
            new_address_each_boot: plan.new_address_each_boot,
        }
    }

    pub(crate) fn turn_to(&mut self, now: u64, state: MachineState) {
        match self.state {
            MachineState::Running => self.last_up = Some(now),
            MachineState::Starting => self.last_starting = Some(now),
            _ => {}
        }
        self.state = state;
        self.turn += 1;
        self.app_up = false;
        match state {
            MachineState::Starting => self.boots += 1,
            MachineState::Stopped | MachineState::Suspended => self.last_off = now,
            _ => {}
        }
        self.past.push_back((now, state));
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let last = match self.new_address_each_boot {
            true => u8::try_from(self.boots % 200 + 1).unwrap_or(1),
            false => 7,
        };
        SocketAddr::from((Ipv4Addr::new(10, 0, 0, last), 80))
    }

    /// Whether a request to this address reaches the app.
    pub(crate) fn answers_at(&self, address: SocketAddr) -> bool {
        self.app_up && self.state == MachineState::Running && address == self.address()
    }

    pub(crate) fn is_off(&self) -> bool {
        matches!(self.state, MachineState::Stopped | MachineState::Suspended)
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, MachineState::Running | MachineState::Starting)
    }

    /// When the machine was last running, or starting, seen from `now`.
    pub(crate) fn was_running(&self, now: u64) -> Option<u64> {
        match self.state {
            MachineState::Running => Some(now),
            _ => self.last_up,
        }
    }

    pub(crate) fn was_on_its_way(&self, now: u64) -> Option<u64> {
        match self.state {
            MachineState::Running | MachineState::Starting => Some(now),
            _ => self.last_up.max(self.last_starting),
        }
    }

    /// The machine as it was `ago` before now.
    pub(crate) fn read(&self, now: u64, ago: u64) -> Machine {
        let at = now.saturating_sub(ago);
        let state = self
            .past
            .iter()
            .rev()
            .find(|(since, _)| *since <= at)
            .map_or(self.state, |(_, state)| *state);
        Machine {
            state,
            address: (state == MachineState::Running).then(|| self.address()),
        }
    }
}

pub(crate) fn fate(rng: &mut Rng, faults: u64) -> CallFate {
    if !rng.chance(faults) {
        return CallFate::Done;
    }
    match rng.within(0, 9) {
        0 => CallFate::Unanswered,
        1 | 2 => CallFate::Ambiguous,
        3 => CallFate::AmbiguousUndone,
        4 => CallFate::Ignored,
        _ => CallFate::Refused(refusal(rng)),
    }
}

fn refusal(rng: &mut Rng) -> ErrorClass {
    use ErrorClass as E;
    rng.pick(&[
        E::Transient,
        E::Transient,
        E::Busy,
        E::InvalidState,
        E::RateLimited(None),
        E::RateLimited(Some(Span::secs(20))),
        E::Capacity,
        E::Quota,
        E::Auth,
        E::Forbidden,
        E::BadRequest,
        E::AlreadyThere,
        E::NotFound,
    ])
}

/// How long a call is on its way there and back. Now and then longer than the engine waits.
pub(crate) fn delays(rng: &mut Rng, faults: u64) -> (u64, u64) {
    if !rng.chance(faults) {
        return (rng.within(20, 300), rng.within(20, 300));
    }
    match rng.within(0, 3) {
        0 => (rng.within(1, 12) * SECOND, rng.within(20, 300)),
        1 => (rng.within(20, 300), rng.within(46, 130) * SECOND),
        _ => (rng.within(20, 300), rng.within(1, 30) * SECOND),
    }
}

pub(crate) fn input(
    call: Call,
    op: OpId,
    answer: Result<Machine, Trouble>,
) -> anteroom::engine::contract::Input {
    use anteroom::engine::contract::Input;
    match call {
        Call::Inspect => Input::Inspected(op, answer),
        Call::Start => Input::Started(op, answer),
        Call::Stop | Call::Suspend => Input::Stopped(op, answer),
    }
}
