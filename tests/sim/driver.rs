//! The fake driver: a process that owns the service, obeys the engine's contract, and can be killed before any
//! effect.

use std::collections::VecDeque;

use anteroom::engine::contract::{Effect, Event as Told, Input, Routing, SleepWhy};
use anteroom::engine::id::{Epoch, OpId};
use anteroom::engine::policy::Sleep;
use anteroom::engine::record::Record;
use anteroom::engine::rooms::Rooms;
use anteroom::engine::service::Service;
use anteroom::engine::time::Time;
use anteroom::engine::view::{Phase, View};

use crate::gauge::Gauge;
use crate::invariants::Watched;
use crate::mutants::Mutant;
use crate::plan::{MINUTE, SECOND};
use crate::provider::{self, Call};
use crate::rooms::Room;
use crate::scaling::{Before, Reasons};
use crate::world::{Event, World};

/// The room's own count; the same rules as the shipped one.
#[derive(Debug, Default)]
pub(crate) struct Edge {
    pub(crate) open: bool,
    pub(crate) used: bool,
    pub(crate) in_flight: u32,
    pub(crate) long: u32,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) life: u64,
    pub(crate) site: usize,
    /// When the process started.
    pub(crate) began: u64,
    pub(crate) role: Role,
    pub(crate) epoch: Epoch,
    /// Which claim of the day made it the leader.
    pub(crate) reign: u64,
    pub(crate) room: Room,
    /// Nothing runs until then.
    pub(crate) paused_until: u64,
    /// It can't reach the store until then.
    pub(crate) cut_until: u64,
    pub(crate) engine: Mutant,
    pub(crate) view: View,
    pub(crate) edge: Edge,
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) todo: VecDeque<Effect>,
    pub(crate) writing: bool,
    pub(crate) unsaved: Option<Box<Record>>,
    pub(crate) tick_turn: u64,
    pub(crate) tick_at: Option<u64>,
    pub(crate) edge_turn: u64,
    /// Whether the edge is sampled.
    pub(crate) samples_edge: bool,
    /// Traefik's count at the last sample that was taken in.
    pub(crate) baseline: Option<u64>,
    pub(crate) baseline_at: u64,
    pub(crate) last_stand: Option<SleepWhy>,
    pub(crate) watched: Watched,
    pub(crate) gauge: Gauge,
    pub(crate) reasons: Reasons,
}

/// What a room is to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It owns the service's task, or believes so.
    Leads,
    Follows,
    /// It wakes the service by itself while the store is away; it never stops it.
    Provisional,
}

impl World {
    pub(crate) fn boot(&mut self, site: usize) {
        self.booting.remove(&site);
        self.lives += 1;
        let life = self.lives;
        self.note(|| format!("life {life} begins at site {site}"));
        // Whoever came through an older process has lost the connection.
        self.cut_room_connections(site);
        let (engine, view) = self.new_engine(life, site);
        let watched = Watched::at_boot(self.now, None);
        self.processes.push(Process {
            life,
            site,
            began: self.now,
            role: Role::Follows,
            epoch: Epoch(0),
            reign: 0,
            room: Room::new(&self.plan, self.now),
            paused_until: 0,
            cut_until: 0,
            engine,
            view,
            edge: Edge::default(),
            inbox: VecDeque::new(),
            todo: VecDeque::new(),
            writing: false,
            unsaved: None,
            tick_turn: 0,
            tick_at: None,
            edge_turn: 0,
            samples_edge: false,
            baseline: None,
            baseline_at: 0,
            last_stand: None,
            watched,
            gauge: Gauge::default(),
            reasons: Reasons::default(),
        });
        match self.shared() {
            true => self.after(0, Event::Beat { life }),
            false => self.claim(life),
        }
        self.after(0, Event::SampleTraefik { life });
    }

    fn new_engine(&self, life: u64, site: usize) -> (Mutant, View) {
        let mut policy = self.plan.policy.clone();
        policy.seed ^= life;
        let clock = self.clock(site);
        let engine = Service::new(self.store.name.clone(), policy, clock);
        let mut engine = Mutant::new(engine, self.bug);
        let view = engine.view(clock);
        (engine, view)
    }

    /// The room takes the service, whoever has it.
    pub(crate) fn claim(&mut self, life: u64) {
        let (epoch, reign, record) = self.store.claim(life, self.now);
        self.applied(life, reign, "a claim");
        self.begin_reign(life, Role::Leads, epoch, reign, record);
    }

    pub(crate) fn begin_reign(
        &mut self,
        life: u64,
        role: Role,
        epoch: Epoch,
        reign: u64,
        record: Option<Record>,
    ) {
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        self.note(|| format!("life {life} begins as {role:?}, epoch {epoch}, record {record:?}"));
        let (engine, view) = self.new_engine(life, site);
        let (now, clock) = (self.now, self.clock(site));
        if role == Role::Leads {
            self.facts
                .booted(now, clock, &self.plan.policy, record.as_ref());
        }
        let rooms = Rooms::new(self.plan.policy.idle_timeout);
        let Some(process) = self.process(life) else {
            return;
        };
        process.watched = Watched::at_boot(now, record.as_ref());
        process.gauge.begin(now);
        process.reasons = Reasons::default();
        (process.role, process.epoch, process.reign) = (role, epoch, reign);
        (process.engine, process.view) = (engine, view);
        process.room.lead(now, rooms);
        process.last_stand = None;
        self.give(life, Input::Loaded(record.map(Box::new)));
    }

    /// The room is not, or no longer, the one that leads; what it shows stays until it hears of another.
    pub(crate) fn stand_back(&mut self, life: u64) {
        let Some(at) = self.position(life) else {
            return;
        };
        self.note(|| format!("life {life} stands back"));
        self.facts.ended(&self.processes[at]);
        let process = &mut self.processes[at];
        process.role = Role::Follows;
        (process.epoch, process.reign) = (Epoch(0), 0);
        (process.writing, process.unsaved) = (false, None);
        process.todo.clear();
        process.inbox.clear();
        process.tick_turn += 1;
        process.tick_at = None;
        process.edge_turn += 1;
        process.samples_edge = false;
        process.room.follow();
        self.after(1, Event::Contact { life });
    }

    fn position(&self, life: u64) -> Option<usize> {
        let mut processes = self.processes.iter();
        processes.position(|process| process.life == life)
    }

    pub(crate) fn process(&mut self, life: u64) -> Option<&mut Process> {
        self.processes
            .iter_mut()
            .find(|process| process.life == life)
    }

    /// The room that leads the service, as the store has it.
    pub(crate) fn owner(&mut self) -> Option<&mut Process> {
        let (epoch, by) = (self.store.kept.epoch, self.store.kept.by);
        self.processes
            .iter_mut()
            .find(|it| it.role == Role::Leads && it.epoch == epoch && it.life == by)
    }

    /// The room that visitors of a site meet.
    pub(crate) fn room_at(&mut self, site: usize) -> Option<&mut Process> {
        match self.shared() {
            true => self.processes.iter_mut().find(|it| it.site == site),
            false => self.owner(),
        }
    }

    pub(crate) fn end_process(&mut self, life: u64) {
        let owner = self.owner().map(|owner| owner.life) == Some(life);
        if let Some(at) = self.position(life) {
            self.note(|| format!("life {life} ends"));
            let process = self.processes.remove(at);
            if process.role != Role::Follows {
                self.facts.ended(&process);
            }
            if owner || self.shared() {
                self.cut_room_connections(process.site);
            }
        }
    }

    /// Anteroom is killed, and comes back after a while.
    pub(crate) fn kill(&mut self, life: u64) {
        self.counts.kills += 1;
        self.disturb();
        let owner = self.owner().map(|owner| owner.life) == Some(life);
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        self.note(|| format!("life {life} is killed"));
        self.end_process(life);
        if (owner || self.shared()) && self.booting.insert(site) {
            let away = match self.rng.within(0, 9) {
                0 => self.rng.within(MINUTE, 90 * MINUTE),
                1..=3 => self.rng.within(10 * SECOND, 5 * MINUTE),
                _ => self.rng.within(1, 5_000),
            };
            self.after(away, Event::Boot { site });
        }
    }

    /// Puts an input into the inbox, and works it off.
    pub(crate) fn give(&mut self, life: u64, input: Input) {
        if let Some(process) = self.process(life)
            && process.role != Role::Follows
        {
            process.inbox.push_back(input);
            self.pump(life);
        }
    }

    pub(crate) fn give_owner(&mut self, input: Input) {
        let now = self.now;
        if let Some(owner) = self.owner()
            && owner.paused_until <= now
        {
            let life = owner.life;
            self.give(life, input);
        }
    }

    pub(crate) fn answer(&mut self, life: u64, input: Input) {
        self.note(|| format!("  answer to life {life}: {input:?}"));
        // An answer to an earlier life reaches the present one too: it must change nothing there.
        let shared = self.shared();
        let heir = self
            .owner()
            .map(|owner| owner.life)
            .filter(|heir| *heir != life && !shared);
        if let Some(heir) = heir {
            self.give(heir, input.clone());
        }
        self.give(life, input);
    }

    pub(crate) fn tick(&mut self, life: u64, turn: u64) {
        let due = |process: &mut Process| {
            let due = process.tick_turn == turn && !process.writing;
            process.tick_at = None;
            due
        };
        if self.process(life).is_some_and(due) {
            self.give(life, Input::Tick);
        }
    }

    pub(crate) fn pump(&mut self, life: u64) {
        while self.broken.is_none() {
            let Some(process) = self.process(life) else {
                return;
            };
            if process.writing || process.role == Role::Follows {
                return;
            }
            if let Some(effect) = process.todo.pop_front() {
                self.carry_out(life, effect);
            } else if let Some(input) = process.inbox.pop_front() {
                self.step(life, input);
            } else {
                break;
            }
        }
        self.arrange_tick(life);
    }

    fn arrange_tick(&mut self, life: u64) {
        let Some(process) = self.process(life) else {
            return;
        };
        let Some(wakeup) = process.engine.next_wakeup() else {
            process.tick_turn += 1;
            return;
        };
        let site = process.site;
        let at = self.at(site, wakeup).max(self.now + 1);
        let Some(process) = self.process(life) else {
            return;
        };
        if process.tick_at != Some(at) {
            process.tick_turn += 1;
            process.tick_at = Some(at);
            let turn = process.tick_turn;
            let delay = at - self.now;
            self.after(delay, Event::Tick { life, turn });
        }
    }

    fn step(&mut self, life: u64, input: Input) {
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        let clock = self.clock(site);
        if let Input::Seen(activity) = &input
            && activity.busy()
        {
            self.note(|| format!("  life {life} sees {activity:?}"));
        }
        self.before_step(life, &input);
        let Some(process) = self.process(life) else {
            return;
        };
        let before = process.view.phase;
        let shown = Before {
            clones: process.view.clones.clone(),
            upstreams: process.view.upstreams.clone(),
        };
        let quiet = matches!(input, Input::Tick | Input::Seen(_));
        let again = is_answer(&input).then(|| input.clone());
        let mut effects = Vec::new();
        process.engine.step(clock, input, &mut effects);
        if !quiet || !effects.is_empty() || process.engine.phase() != before {
            process.view = process.engine.view(clock);
        }
        match again {
            Some(again) if self.plan.clones.is_some() => self.hear_again(life, clock, again),
            Some(again) => self.step_again(life, clock, again, effects.clone()),
            None => {}
        }
        self.counts.steps += 1;
        let Some(process) = self.process(life) else {
            return;
        };
        process.todo.extend(effects);
        // As the driver does: closing comes before everything else.
        self.show(life);
        let Some(process) = self.process(life) else {
            return;
        };
        let after = process.view.phase;
        let begins = process.engine.takes_requests() && !process.samples_edge;
        if let Some(wakeup) = process.engine.next_wakeup().filter(|at| *at <= clock) {
            self.breaks("steps", || {
                format!("next_wakeup {wakeup:?} is not after {clock:?}")
            });
        }
        if before != after {
            self.phase_changed(life, before, after);
        }
        if begins {
            self.begin_sampling(life);
        }
        self.after_step(life, before);
        self.check_who_is_led(life, &shown.upstreams);
        self.check_scaling(life, &shown);
        self.measure_if_due(life);
    }

    /// I7: the same answer once more changes nothing.
    fn step_again(&mut self, life: u64, clock: Time, again: Input, first: Vec<Effect>) {
        let Some(process) = self.process(life) else {
            return;
        };
        let view = process.view.clone();
        let mut effects = Vec::new();
        process.engine.step(clock, again.clone(), &mut effects);
        let doubled = process.engine.view(clock);
        if !effects.is_empty() || doubled != view {
            self.breaks("I7", || {
                format!("{again:?} twice: first {first:?}, then {effects:?}; view {view:?} became {doubled:?}")
            });
        }
    }

    /// The same where each step does but one of the deeds that are due: then it is no more than the clock's tick.
    fn hear_again(&mut self, life: u64, clock: Time, again: Input) {
        let Some(process) = self.process(life) else {
            return;
        };
        let after = |input: Input| {
            let (mut engine, mut effects) = (process.engine.clone(), Vec::new());
            engine.step(clock, input, &mut effects);
            (effects, engine.view(clock))
        };
        let (ticked, doubled) = (after(Input::Tick), after(again.clone()));
        if ticked != doubled {
            self.breaks("I7", || format!("{again:?} twice: {doubled:?}"));
        }
    }

    fn phase_changed(&mut self, life: u64, before: Phase, after: Phase) {
        self.note(|| format!("life {life}: {} -> {}", before.as_str(), after.as_str()));
        // People come at the worst moment.
        if matches!(after, Phase::Diverting | Phase::Draining | Phase::Stopping)
            && self.stormy()
            && self.rng.chance(if self.shared() { 300 } else { 100 })
        {
            let soon = self.rng.within(0, 5_000);
            self.after(soon, Event::Straggler);
        }
        if self.shared() && self.mishap(self.plan.pauses / 3) {
            self.strike_rooms();
        }
        if matches!(after, Phase::Awake | Phase::Diverting | Phase::Draining) {
            self.begin_sampling(life);
        }
    }

    fn begin_sampling(&mut self, life: u64) {
        let soon = self.plan.sample_every.min(1_000);
        let Some(process) = self.process(life) else {
            return;
        };
        process.edge_turn += 1;
        process.samples_edge = true;
        let turn = process.edge_turn;
        self.after(soon, Event::SampleEdge { life, turn });
    }

    fn carry_out(&mut self, life: u64, effect: Effect) {
        let kills = match effect {
            Effect::Tell(_) => 0,
            Effect::Stop(..) | Effect::Fleet(..) => self.plan.kills * 10,
            _ => self.plan.kills,
        };
        if self.stormy() && self.rng.within(0, 9_999) < kills {
            self.note(|| format!("killed before {effect:?}"));
            return self.kill(life);
        }
        if !matches!(effect, Effect::Tell(Told::StageReached { .. })) {
            self.note(|| format!("  life {life}: {}", brief(&effect)));
        }
        self.before_effect(life, &effect);
        match effect {
            Effect::Record {
                op,
                record,
                required,
            } => self.write(life, op, *record, required),
            Effect::Inspect(op, _) => self.call(life, op, Call::Inspect),
            Effect::Start(op, _) => self.call(life, op, Call::Start),
            Effect::Stop(op, _, Sleep::Stop | Sleep::Swap) => self.call(life, op, Call::Stop),
            Effect::Stop(op, _, Sleep::Suspend) => self.call(life, op, Call::Suspend),
            Effect::Probe(op, _, address) => self.probe(life, op, address),
            Effect::Publish(op, routing) => {
                self.tell_routing(life, &routing);
                self.publish(life, op, routing);
            }
            Effect::ProveDivert(op) => {
                let delay = self.rng.within(5, 2_000);
                self.after(delay, Event::Prove { life, op });
            }
            Effect::LastLook(op) => self.begin_look(life, op),
            Effect::Fleet(op, deed) => self.deed(life, op, deed),
            Effect::Tell(_) => {}
        }
    }

    fn call(&mut self, life: u64, op: OpId, call: Call) {
        let faults = if self.stormy() {
            self.plan.call_faults
        } else {
            0
        };
        let fate = provider::fate(&mut self.rng, faults);
        let (there, back) = provider::delays(&mut self.rng, faults);
        if fate != provider::CallFate::Done || there + back > 2_000 {
            self.disturb();
        }
        self.after(
            there,
            Event::Call {
                life,
                op,
                call,
                fate,
                back,
            },
        );
    }
}

fn is_answer(input: &Input) -> bool {
    matches!(
        input,
        Input::Inspected(..)
            | Input::Started(..)
            | Input::Stopped(..)
            | Input::Probed(..)
            | Input::Published(..)
            | Input::Diverted(..)
            | Input::LookedOnce(..)
            | Input::Fleet(..)
    )
}

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Record {
            op,
            record,
            required,
        } => {
            format!(
                "Record {op} {:?}{}",
                record.stand,
                if *required { ", required" } else { "" }
            )
        }
        Effect::Publish(op, Routing::Asleep) => format!("Publish {op} asleep"),
        effect => format!("{effect:?}"),
    }
}
