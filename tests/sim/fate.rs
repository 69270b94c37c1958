//! What befalls the machine, the provider and Anteroom from outside.

use anteroom::engine::contract::{Input, TriggerBy};
use anteroom::engine::id::OpId;
use anteroom::engine::machine::{ErrorClass, MachineState, Trouble};
use anteroom::engine::time::Span;

use crate::plan::{HOUR, MINUTE, SECOND};
use crate::provider::{self, Call, CallFate};
use crate::visitors::At;
use crate::world::{Event, World};

/// A process looks at least so often whether the service is still its own: a duty of the driver.
const LEASE: u64 = MINUTE;

impl World {
    pub(crate) fn called(&mut self, life: u64, op: OpId, call: Call, fate: CallFate, back: u64) {
        let done = matches!(
            fate,
            CallFate::Done | CallFate::Unanswered | CallFate::Ambiguous
        );
        if done {
            match call {
                Call::Inspect => {}
                Call::Start if self.stormy() && self.rng.chance(self.plan.call_faults / 3) => {
                    self.disturb();
                    let late = self.rng.within(1, 40) * SECOND;
                    self.after(late, Event::Apply { call });
                }
                Call::Suspend if !self.plan.can_suspend => {}
                Call::Start | Call::Stop | Call::Suspend => self.apply(call),
            }
        }
        let ago = match call {
            Call::Inspect if self.stormy() => self.rng.within(0, self.plan.stale_reads),
            _ => 0,
        };
        let seen = Ok(self.cloud.read(self.now, ago));
        let lost = || Err(Trouble::new(ErrorClass::Ambiguous, "the answer was lost"));
        let cannot = call == Call::Suspend && !self.plan.can_suspend;
        let busy = call == Call::Start && self.cloud.state == MachineState::Stopping;
        let answer = match fate {
            CallFate::Unanswered => return,
            CallFate::Refused(class) => Err(Trouble::new(class, "refused")),
            CallFate::Ambiguous | CallFate::AmbiguousUndone => lost(),
            CallFate::Done if cannot => Err(Trouble::new(ErrorClass::InvalidState, "no suspend")),
            CallFate::Done if busy => Err(Trouble::new(ErrorClass::InvalidState, "it is stopping")),
            CallFate::Done | CallFate::Ignored => seen,
        };
        let input = provider::input(call, op, answer);
        self.after(back, Event::Answer { life, input });
    }

    pub(crate) fn apply(&mut self, call: Call) {
        match (call, self.cloud.state) {
            (Call::Start, MachineState::Stopped | MachineState::Suspended) => self.start_machine(),
            (Call::Stop, MachineState::Running | MachineState::Starting) => {
                self.stop_machine(MachineState::Stopped);
            }
            (Call::Suspend, MachineState::Running | MachineState::Starting) => {
                self.stop_machine(MachineState::Suspended);
            }
            _ => {}
        }
    }

    fn start_machine(&mut self) {
        self.counts.starts += 1;
        self.turn(MachineState::Starting);
        let boot = self.rng.within(self.plan.boot / 2, self.plan.boot);
        let turn = self.cloud.turn;
        self.after(
            boot,
            Event::Machine {
                turn,
                to: MachineState::Running,
            },
        );
    }

    fn stop_machine(&mut self, to: MachineState) {
        self.turn(MachineState::Stopping);
        self.break_requests(At::Seed);
        let takes = self.rng.within(1, 60) * SECOND;
        let turn = self.cloud.turn;
        self.after(takes, Event::Machine { turn, to });
    }

    fn turn(&mut self, to: MachineState) {
        self.note(|| format!("machine {:?} -> {to:?}", self.cloud.state));
        let was_up = self.cloud.is_up();
        let in_use = self.people.in_use();
        let now = self.now;
        self.cloud.turn_to(now, to);
        self.facts
            .machine_turned(now, was_up, self.cloud.is_up(), in_use);
    }

    pub(crate) fn machine_turns(&mut self, to: MachineState) {
        self.turn(to);
        if to == MachineState::Running {
            let rise = self.rng.within(self.plan.boot / 4, self.plan.boot);
            let turn = self.cloud.turn;
            // Some apps never come up.
            if !self.mishap(self.plan.call_faults / 10) {
                self.after(rise, Event::App { turn });
            }
        }
    }

    pub(crate) fn app_rises(&mut self) {
        if self.cloud.state == MachineState::Running {
            self.note(|| "the app listens".into());
            self.cloud.app_up = true;
        }
    }

    pub(crate) fn strike(&mut self) {
        let Some(every) = self.plan.fate_every else {
            return;
        };
        if !self.stormy() {
            return;
        }
        let next = self.rng.within(MINUTE, every * 2);
        self.after(next, Event::Fate);
        self.disturb();
        if self.shared() && self.rng.chance(650) {
            return self.strike_rooms();
        }
        if self.plan.clones.is_some() && self.rng.chance(300) {
            return self.strike_clones();
        }
        match self.rng.within(0, 17) {
            0 => self.crash_machine(),
            1 => self.crash_app(),
            2 => {
                self.note(|| "somebody stops the machine".into());
                self.apply(Call::Stop);
            }
            3 => {
                self.note(|| "somebody starts the machine".into());
                self.apply(Call::Start);
            }
            4 | 5 if !self.shared() => self.jump(),
            6 | 7 => self.hold(),
            8 => self.give_owner(Input::Released),
            9 | 10 => {
                self.note(|| "an admin asks for sleep".into());
                let who = "an admin".into();
                self.give_owner(Input::SleepAsked { who });
            }
            11 => self.trigger(TriggerBy::Admin),
            12 => self.store.down_until = self.now + self.rng.within(1, 20) * MINUTE,
            13 => {
                self.note(|| "Traefik restarts".into());
                self.ways[0].count = 0;
            }
            14 => self.facts.edge_silent_until = self.now + self.rng.within(1, 40) * MINUTE,
            15 => self.facts.traefik_silent_until = self.now + self.rng.within(1, 40) * MINUTE,
            _ => self.take_over(),
        }
    }

    fn crash_machine(&mut self) {
        if self.cloud.is_up() {
            self.note(|| "the machine crashes".into());
            self.turn(MachineState::Stopped);
            self.break_requests(At::Seed);
        }
    }

    fn crash_app(&mut self) {
        if self.cloud.app_up {
            self.note(|| "the app crashes".into());
            self.cloud.app_up = false;
            self.break_requests(At::Seed);
            let back = self.rng.within(10 * SECOND, 30 * MINUTE);
            let turn = self.cloud.turn;
            self.after(back, Event::App { turn });
        }
    }

    fn jump(&mut self) {
        let forward = i64::try_from(self.rng.within(2 * MINUTE, 5 * HOUR)).unwrap_or(0);
        let back = i64::try_from(self.rng.within(SECOND, 20 * MINUTE)).unwrap_or(0);
        let by = if self.rng.chance(500) { forward } else { -back };
        self.note(|| format!("the clock jumps by {by} ms"));
        self.skew += by;
        if by > 0 {
            self.lose_sight();
        }
        if by < 0 {
            self.facts.frozen_until = self.facts.frozen_until.max(self.now) + back.unsigned_abs();
        }
        // Timers are made anew by the next input.
        self.give_owner(Input::Tick);
    }

    fn hold(&mut self) {
        let Some(site) = self.owner().map(|owner| owner.site) else {
            return;
        };
        let most = if self.shared() { 20 * MINUTE } else { 2 * HOUR };
        let until = self.clock(site) + Span(self.rng.within(MINUTE, most));
        self.note(|| format!("a hold until {until:?}"));
        self.give_owner(Input::Held {
            until,
            reason: "backup".into(),
        });
    }

    /// A second replica takes over; the first does not know it yet.
    fn take_over(&mut self) {
        if self.booting.is_empty() && !self.shared() {
            self.note(|| "another replica takes over".into());
            if let Some(life) = self.owner().map(|owner| owner.life) {
                let notices = self.rng.within(0, LEASE);
                self.after(notices, Event::Disowned { life });
            }
            self.boot(0);
        }
    }
}
