//! The fake world: one queue of events ordered by time, then by sequence, and everything that they move.

use std::collections::{BTreeMap, BTreeSet};

use anteroom::engine::contract::{Input, Routing};
use anteroom::engine::fleet::Deed;
use anteroom::engine::id::{CloneId, OpId};
use anteroom::engine::load::Sample;
use anteroom::engine::machine::MachineState;
use anteroom::engine::scale::Alert;
use anteroom::engine::time::Time;

use crate::account::Account;
use crate::crew::Crew;
use crate::demand::Demand;
use crate::driver::Process;
use crate::invariants::Facts;
use crate::mutants::Bug;
use crate::plan::Plan;
use crate::provider::{Call, CallFate, Cloud};
use crate::rng::Rng;
use crate::store::{Kept, Save, Store, WriteFate, Written};
use crate::visitors::People;
use crate::way::Way;

/// The wall clock at the start of the day: so late in the epoch that a jump backwards stays in it.
pub(crate) const DAWN: u64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A process starts and claims the service.
    Boot {
        site: usize,
    },
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
    /// A deed about clones reaches the platform.
    Deed {
        life: u64,
        op: OpId,
        deed: Box<Deed>,
        fate: CallFate,
        back: u64,
    },
    /// A clone is made late, after its answer was lost.
    MadeLate(CloneId),
    /// A clone's machine changes by itself.
    Vm {
        id: u64,
        to: MachineState,
    },
    /// A clone's app listens.
    VmApp {
        id: u64,
        turn: u64,
    },
    /// Another number of clones is wanted.
    Want,
    /// Visitors need more, or less.
    Demand,
    /// Somebody else's rules look at the load.
    Rules,
    /// What they say arrives.
    Alert(Alert),
    /// The load is to be measured.
    Measure {
        life: u64,
        turn: u64,
    },
    /// It is measured.
    Measured {
        life: u64,
        turn: u64,
        samples: Vec<Sample>,
    },
    Machine {
        turn: u64,
        to: MachineState,
    },
    App {
        turn: u64,
    },
    /// A write reaches the store.
    Written {
        life: u64,
        reign: u64,
        save: Box<Save>,
        fate: WriteFate,
    },
    /// A process that has lost the service learns it.
    Disowned {
        life: u64,
    },
    SaveAgain {
        life: u64,
    },
    /// The answer to a write; the room may have been paused meanwhile.
    Answered {
        life: u64,
        reign: u64,
        save: Box<Save>,
        written: Written,
    },
    /// A room's regular sign of life.
    Beat {
        life: u64,
    },
    /// A room has something to say, or has heard something.
    Contact {
        life: u64,
    },
    /// A following room has told its Traefik where to lead, and looks whether it does.
    RoutingLook {
        life: u64,
        turn: u64,
    },
    /// The store's server is replaced by its replica.
    Failover {
        replica: Box<Kept>,
    },
    RoutingTakes {
        site: usize,
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
    /// Whoever woke the service last comes again.
    Again,
    Person(u64),
    RequestEnds(u64),
    Monitor,
    Fate,
    /// The store loses everything.
    Wipe,
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
    /// Wakes that a shared store let through, that rooms let through without it, and those that it refused.
    pub(crate) admitted: u64,
    pub(crate) local: u64,
    pub(crate) refused: u64,
    /// Clones that were made and deleted.
    pub(crate) made: u64,
    pub(crate) deleted: u64,
    /// Clones that were intended, and taken out of service, because of the load.
    pub(crate) ups: u64,
    pub(crate) downs: u64,
    /// Minutes in which the number of instances had to be what the load needs.
    pub(crate) settled: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.steps += other.steps;
        self.wakes += other.wakes;
        self.stops += other.stops;
        self.kills += other.kills;
        self.starts += other.starts;
        self.admitted += other.admitted;
        self.local += other.local;
        self.refused += other.refused;
        self.made += other.made;
        self.deleted += other.deleted;
        self.ups += other.ups;
        self.downs += other.downs;
        self.settled += other.settled;
    }
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
    pub(crate) account: Account,
    pub(crate) crew: Crew,
    pub(crate) demand: Demand,
    pub(crate) store: Store,
    /// Traefik, one at each site.
    pub(crate) ways: Vec<crate::way::Way>,
    pub(crate) people: People,
    /// The owner is the last one; others are zombies.
    pub(crate) processes: Vec<Process>,
    pub(crate) lives: u64,
    /// The sites whose room is away and comes back.
    pub(crate) booting: BTreeSet<usize>,
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
            account: Account::new(&plan),
            crew: Crew::default(),
            demand: Demand::new(plan.seed),
            store: Store::default(),
            ways: (0..plan.rooms).map(|_| Way::new(plan.failover)).collect(),
            people: People::default(),
            processes: Vec::new(),
            lives: 0,
            booting: (0..plan.rooms).collect(),
            facts: Facts::new(plan.rooms),
            counts: Counts::default(),
            broken: None,
            plan,
            bug,
            rng,
            trace,
        };
        for site in 0..world.plan.rooms {
            let late = if site == 0 {
                0
            } else {
                world.rng.within(0, 20_000)
            };
            world.after(late, Event::Boot { site });
        }
        world.after(1_000, Event::Visit);
        world.after(60_000, Event::Audit);
        if world.plan.monitor_every.is_some() {
            world.after(7_000, Event::Monitor);
        }
        if let Some(every) = world.plan.fate_every {
            world.after(every, Event::Fate);
        }
        match (&world.plan.load, &world.plan.clones) {
            (Some(load), _) => {
                let rules = load.rules_every;
                world.after(1_000, Event::Demand);
                if let Some(every) = rules {
                    world.after(every, Event::Rules);
                }
            }
            (None, Some(clones)) => {
                let first = clones.change_every / 10;
                world.after(first, Event::Want);
            }
            (None, None) => {}
        }
        if let Some(at) = world.plan.wiped_at {
            world.after(at, Event::Wipe);
        }
        world
    }

    /// Lives through the day, or until something breaks.
    pub(crate) fn live(&mut self) {
        self.live_until(self.plan.day);
        if self.broken.is_none() {
            self.now = self.plan.day;
            self.judge_the_day();
        }
    }

    pub(crate) fn live_until(&mut self, end: u64) {
        while self.broken.is_none()
            && let Some(next) = self.queue.first_entry()
            && next.key().0 < end
        {
            let ((at, _), event) = next.remove_entry();
            self.now = at;
            self.happen(event);
            self.watch_who_is_led_where();
        }
    }

    fn happen(&mut self, event: Event) {
        // Whatever reaches a paused room waits for it.
        if let Some(until) = self.waits_until(&event) {
            let delay = until - self.now;
            return self.after(delay, event);
        }
        match event {
            Event::Boot { site } => self.boot(site),
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
            Event::Deed {
                life,
                op,
                deed,
                fate,
                back,
            } => self.deed_arrives(life, op, *deed, fate, back),
            Event::MadeLate(clone) => self.make(clone),
            Event::Vm { id, to } => self.vm_turns(id, to),
            Event::VmApp { id, turn } => self.app_of_clone_rises(id, turn),
            Event::Want => self.want_clones(),
            Event::Demand => self.demand_changes(),
            Event::Rules => self.rules_look(),
            Event::Alert(alert) => self.alert_arrives(alert),
            Event::Measure { life, turn } => self.measure(life, turn),
            Event::Measured {
                life,
                turn,
                samples,
            } => self.measured(life, turn, samples),
            Event::Machine { turn, to } if turn == self.cloud.turn => self.machine_turns(to),
            Event::App { turn } if turn == self.cloud.turn => self.app_rises(),
            Event::Machine { .. } | Event::App { .. } => {}
            Event::Written {
                life,
                reign,
                save,
                fate,
            } => self.written(life, reign, *save, fate),
            Event::Disowned { life } => self.end_process(life),
            Event::SaveAgain { life } => self.save_again(life),
            Event::Answered {
                life,
                reign,
                save,
                written,
            } => self.answered(life, reign, *save, written),
            Event::Beat { life } => self.beat(life),
            Event::Contact { life } => self.contact(life),
            Event::RoutingLook { life, turn } => self.routing_look(life, turn),
            Event::Failover { replica } => self.fail_over(*replica),
            Event::RoutingTakes {
                site,
                turn,
                routing,
            } => self.routing_takes(site, turn, routing),
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
            Event::Again => self.the_last_comes_again(),
            Event::Person(id) => self.person_acts(id),
            Event::RequestEnds(id) => self.request_ends(id),
            Event::Monitor => self.monitor_comes(),
            Event::Fate => self.strike(),
            Event::Wipe => self.wipe(),
            Event::Audit => self.audit(),
        }
    }

    fn waits_until(&mut self, event: &Event) -> Option<u64> {
        let life = match event {
            Event::Tick { life, .. }
            | Event::Answer { life, .. }
            | Event::Answered { life, .. }
            | Event::SaveAgain { life }
            | Event::Prove { life, .. }
            | Event::Look { life, .. }
            | Event::SampleEdge { life, .. }
            | Event::Measure { life, .. }
            | Event::Measured { life, .. }
            | Event::SampleTraefik { life }
            | Event::TraefikSeen { life, .. }
            | Event::Beat { life }
            | Event::Contact { life }
            | Event::RoutingLook { life, .. } => *life,
            Event::RequestEnds(id) => self.people.through(*id)?,
            _ => return None,
        };
        let now = self.now;
        let until = self.process(life)?.paused_until;
        (until > now).then_some(until)
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    /// What the wall clock of a site shows.
    pub(crate) fn clock(&self, site: usize) -> Time {
        let ahead = self.plan.skews[site];
        Time((DAWN + self.now + ahead).saturating_add_signed(self.skew))
    }

    /// When the wall clock of a site will show this.
    pub(crate) fn at(&self, site: usize, clock: Time) -> u64 {
        let ahead = self.plan.skews[site];
        clock
            .0
            .saturating_add_signed(-self.skew)
            .saturating_sub(DAWN + ahead)
    }

    /// Whether many rooms live on one store.
    pub(crate) fn shared(&self) -> bool {
        self.plan.rooms > 1
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether faults may still happen.
    pub(crate) fn stormy(&self) -> bool {
        self.now < self.plan.calm_from
    }

    /// Whether people still come.
    pub(crate) fn lively(&self) -> bool {
        self.now < self.plan.quiet_from
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
