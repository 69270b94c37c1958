//! The fake world: one queue of events ordered by time, then by sequence, and everything that they move.

use std::collections::BTreeMap;

use anteroom::engine::contract::{Input, Routing};
use anteroom::engine::id::OpId;
use anteroom::engine::machine::MachineState;
use anteroom::engine::record::Record;
use anteroom::engine::time::Time;

use crate::driver::Process;
use crate::invariants::Facts;
use crate::mutants::Bug;
use crate::plan::{DAY, Plan, QUIET_FROM};
use crate::provider::{Call, CallFate, Cloud};
use crate::rng::Rng;
use crate::store::{Store, WriteFate};
use crate::visitors::People;

/// The wall clock at the start of the day: so late in the epoch that a jump backwards stays in it.
pub(crate) const DAWN: u64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A process starts and claims the service.
    Boot,
    Tick {
        life: u64,
        turn: u64,
    },
    Call {
        life: u64,
        op: OpId,
        call: Call,
        fate: CallFate,
        back: u64,
    },
    Answer {
        life: u64,
        input: Input,
    },
    /// A start or stop that the provider applies late.
    Apply {
        call: Call,
    },
    Machine {
        turn: u64,
        to: MachineState,
    },
    App {
        turn: u64,
    },
    Written {
        life: u64,
        record: Box<Record>,
        op: OpId,
        required: bool,
        fate: WriteFate,
    },
    /// A process that has lost the service learns it.
    Disowned {
        life: u64,
    },
    SaveAgain {
        life: u64,
    },
    RoutingTakes {
        turn: u64,
        routing: Routing,
    },
    Prove {
        life: u64,
        op: OpId,
    },
    Look {
        life: u64,
        op: OpId,
    },
    SampleEdge {
        life: u64,
        turn: u64,
    },
    SampleTraefik {
        life: u64,
    },
    TraefikSeen {
        life: u64,
        count: u64,
        taken_at: u64,
    },
    Visit,
    Straggler,
    Person(u64),
    RequestEnds(u64),
    Monitor,
    Fate,
    Audit,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
    pub(crate) at: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    pub(crate) wakes: u64,
    pub(crate) stops: u64,
    pub(crate) kills: u64,
    pub(crate) starts: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    /// The wall clock's error, in milliseconds.
    pub(crate) skew: i64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) rng: Rng,
    pub(crate) cloud: Cloud,
    pub(crate) store: Store,
    pub(crate) way: crate::way::Way,
    pub(crate) people: People,
    /// The owner is the last one; others are zombies.
    pub(crate) processes: Vec<Process>,
    pub(crate) lives: u64,
    pub(crate) booting: bool,
    pub(crate) facts: Facts,
    pub(crate) counts: Counts,
    pub(crate) broken: Option<Broken>,
    trace: bool,
}

impl World {
    pub(crate) fn new(plan: Plan, bug: Option<Bug>, trace: bool) -> World {
        let rng = Rng::new(plan.seed ^ 0xDA7);
        let mut world = World {
            now: 0,
            skew: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            cloud: Cloud::new(&plan),
            store: Store::default(),
            way: crate::way::Way::new(plan.failover),
            people: People::default(),
            processes: Vec::new(),
            lives: 0,
            booting: true,
            facts: Facts::default(),
            counts: Counts::default(),
            broken: None,
            plan,
            bug,
            rng,
            trace,
        };
        world.after(0, Event::Boot);
        world.after(1_000, Event::Visit);
        world.after(60_000, Event::Audit);
        if world.plan.monitor_every.is_some() {
            world.after(7_000, Event::Monitor);
        }
        if let Some(every) = world.plan.fate_every {
            world.after(every, Event::Fate);
        }
        world
    }

    /// Lives through the day, or until something breaks.
    pub(crate) fn live(&mut self) {
        while self.broken.is_none()
            && let Some(((at, _), event)) = self.queue.pop_first()
            && at < DAY
        {
            self.now = at;
            self.happen(event);
        }
        if self.broken.is_none() {
            self.now = DAY;
            self.judge_the_day();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Boot => self.boot(),
            Event::Tick { life, turn } => self.tick(life, turn),
            Event::Call {
                life,
                op,
                call,
                fate,
                back,
            } => self.called(life, op, call, fate, back),
            Event::Answer { life, input } => self.answer(life, input),
            Event::Apply { call } => self.apply(call),
            Event::Machine { turn, to } if turn == self.cloud.turn => self.machine_turns(to),
            Event::App { turn } if turn == self.cloud.turn => self.app_rises(),
            Event::Machine { .. } | Event::App { .. } => {}
            Event::Written {
                life,
                record,
                op,
                required,
                fate,
            } => {
                self.written(life, *record, op, required, fate);
            }
            Event::Disowned { life } => self.end_process(life),
            Event::SaveAgain { life } => self.save_again(life),
            Event::RoutingTakes { turn, routing } => self.routing_takes(turn, routing),
            Event::Prove { life, op } => self.prove(life, op),
            Event::Look { life, op } => self.look(life, op),
            Event::SampleEdge { life, turn } => self.sample_edge(life, turn),
            Event::SampleTraefik { life } => self.sample_traefik(life),
            Event::TraefikSeen {
                life,
                count,
                taken_at,
            } => self.traefik_seen(life, count, taken_at),
            Event::Visit => self.visit(),
            Event::Straggler => self.somebody_comes(),
            Event::Person(id) => self.person_acts(id),
            Event::RequestEnds(id) => self.request_ends(id),
            Event::Monitor => self.monitor_comes(),
            Event::Fate => self.strike(),
            Event::Audit => self.audit(),
        }
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    /// What the wall clock shows.
    pub(crate) fn clock(&self) -> Time {
        Time((DAWN + self.now).saturating_add_signed(self.skew))
    }

    /// When the wall clock will show this.
    pub(crate) fn at(&self, clock: Time) -> u64 {
        clock
            .0
            .saturating_add_signed(-self.skew)
            .saturating_sub(DAWN)
    }

    /// Whether faults may still happen.
    pub(crate) fn stormy(&self) -> bool {
        self.now < QUIET_FROM
    }

    /// So many in a thousand, and never in the quiet hours.
    pub(crate) fn mishap(&mut self, per_mille: u64) -> bool {
        let happens = self.stormy() && self.rng.chance(per_mille);
        if happens {
            self.disturb();
        }
        happens
    }

    pub(crate) fn disturb(&mut self) {
        self.facts.disturbed_at = self.now;
    }

    pub(crate) fn breaks(&mut self, invariant: &'static str, what: impl FnOnce() -> String) {
        if self.broken.is_none() {
            let broken = Broken {
                invariant,
                what: what(),
                at: self.now,
            };
            self.note(|| format!("BROKEN {}: {}", broken.invariant, broken.what));
            self.broken = Some(broken);
        }
    }

    /// One line of the trace of a replayed seed.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            let (secs, ms) = (self.now / 1_000, self.now % 1_000);
            let (hour, min, sec) = (secs / 3_600, secs / 60 % 60, secs % 60);
            eprintln!("{hour:02}:{min:02}:{sec:02}.{ms:03} {}", what());
        }
    }
}
