//! The fake driver: a process that owns the service, obeys the engine's contract, and can be killed before any
//! effect.

use std::collections::VecDeque;

use anteroom::engine::contract::{Effect, Event as Told, Input, Routing, SleepWhy};
use anteroom::engine::id::{Epoch, OpId};
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::service::Service;
use anteroom::engine::view::{Phase, View};

use crate::invariants::Watched;
use crate::mutants::Mutant;
use crate::plan::{MINUTE, SECOND};
use crate::provider::{self, Call};
use crate::store::{WriteFate, Written};
use crate::world::{Event, World};

/// A write that has no answer by then has failed.
const SAVE_TIMEOUT: u64 = 5 * SECOND;

/// Between two tries to write the same record.
const SAVE_AGAIN: u64 = 2 * SECOND;

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
    pub(crate) epoch: Epoch,
    pub(crate) engine: Mutant,
    pub(crate) view: View,
    pub(crate) edge: Edge,
    pub(crate) inbox: VecDeque<Input>,
    todo: VecDeque<Effect>,
    writing: bool,
    unsaved: Option<Box<Record>>,
    tick_turn: u64,
    tick_at: Option<u64>,
    pub(crate) edge_turn: u64,
    /// Traefik's count at the last sample that was taken in.
    pub(crate) baseline: Option<u64>,
    pub(crate) baseline_at: u64,
    pub(crate) last_stand: Option<SleepWhy>,
    pub(crate) watched: Watched,
}

impl World {
    pub(crate) fn boot(&mut self) {
        self.booting = false;
        self.lives += 1;
        let life = self.lives;
        let (epoch, record) = self.store.claim();
        // Whoever came through an older process has lost the connection.
        self.cut_room_connections();
        let name = "blog".parse().expect("a good name");
        let mut policy = self.plan.policy.clone();
        policy.seed ^= life;
        let engine = Service::new(name, policy, self.clock());
        let mut engine = Mutant::new(engine, self.bug);
        let view = engine.view(self.clock());
        let watched = Watched::at_boot(self.now, record.as_ref());
        let clock = self.clock();
        self.facts
            .booted(self.now, clock, &self.plan.policy, record.as_ref());
        self.note(|| format!("life {life} begins, epoch {epoch}, record {record:?}"));
        self.processes.push(Process {
            life,
            epoch,
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
            baseline: None,
            baseline_at: 0,
            last_stand: None,
            watched,
        });
        self.give(life, Input::Loaded(record.map(Box::new)));
        self.after(0, Event::SampleTraefik { life });
    }

    pub(crate) fn process(&mut self, life: u64) -> Option<&mut Process> {
        self.processes
            .iter_mut()
            .find(|process| process.life == life)
    }

    pub(crate) fn owner(&mut self) -> Option<&mut Process> {
        let epoch = self.store.epoch;
        self.processes
            .iter_mut()
            .find(|process| process.epoch == epoch)
    }

    pub(crate) fn end_process(&mut self, life: u64) {
        if let Some(at) = self
            .processes
            .iter()
            .position(|process| process.life == life)
        {
            self.note(|| format!("life {life} ends"));
            let process = self.processes.remove(at);
            self.facts.ended(&process);
            if process.epoch == self.store.epoch {
                self.cut_room_connections();
            }
        }
    }

    /// Anteroom is killed, and comes back after a while.
    pub(crate) fn kill(&mut self, life: u64) {
        self.counts.kills += 1;
        self.disturb();
        let owner = self.process(life).map(|process| process.epoch) == Some(self.store.epoch);
        self.note(|| "killed".into());
        self.end_process(life);
        if owner && !self.booting {
            self.booting = true;
            let away = match self.rng.within(0, 9) {
                0 => self.rng.within(MINUTE, 90 * MINUTE),
                1..=3 => self.rng.within(10 * SECOND, 5 * MINUTE),
                _ => self.rng.within(1, 5_000),
            };
            self.after(away, Event::Boot);
        }
    }

    /// Puts an input into the inbox, and works it off.
    pub(crate) fn give(&mut self, life: u64, input: Input) {
        if let Some(process) = self.process(life) {
            process.inbox.push_back(input);
            self.pump(life);
        }
    }

    pub(crate) fn give_owner(&mut self, input: Input) {
        if let Some(life) = self.owner().map(|owner| owner.life) {
            self.give(life, input);
        }
    }

    pub(crate) fn answer(&mut self, life: u64, input: Input) {
        self.note(|| format!("  answer to life {life}: {input:?}"));
        // An answer to an earlier life reaches the present one too: it must change nothing there.
        let heir = self
            .owner()
            .map(|owner| owner.life)
            .filter(|heir| *heir != life);
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

    fn pump(&mut self, life: u64) {
        while self.broken.is_none() {
            let Some(process) = self.process(life) else {
                return;
            };
            if process.writing {
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
        let at = self.at(wakeup).max(self.now + 1);
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
        let clock = self.clock();
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
        let quiet = matches!(input, Input::Tick | Input::Seen(_));
        let again = is_answer(&input).then(|| input.clone());
        let mut effects = Vec::new();
        process.engine.step(clock, input, &mut effects);
        if !quiet || !effects.is_empty() || process.engine.phase() != before {
            process.view = process.engine.view(clock);
        }
        if let Some(again) = again {
            self.step_again(life, again, effects.clone());
        }
        self.counts.steps += 1;
        let Some(process) = self.process(life) else {
            return;
        };
        // As the driver does: closing comes before everything else.
        process.edge.open = !process.view.upstreams.is_empty();
        process.todo.extend(effects);
        let after = process.view.phase;
        if let Some(wakeup) = process.engine.next_wakeup().filter(|at| *at <= clock) {
            self.breaks("steps", || {
                format!("next_wakeup {wakeup:?} is not after {clock:?}")
            });
        }
        if before != after {
            self.phase_changed(life, before, after);
        }
        self.after_step(life, before);
    }

    /// I7: the same answer once more changes nothing.
    fn step_again(&mut self, life: u64, again: Input, first: Vec<Effect>) {
        let clock = self.clock();
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

    fn phase_changed(&mut self, life: u64, before: Phase, after: Phase) {
        self.note(|| format!("life {life}: {} -> {}", before.as_str(), after.as_str()));
        // People come at the worst moment.
        if matches!(after, Phase::Diverting | Phase::Draining | Phase::Stopping)
            && self.stormy()
            && self.rng.chance(100)
        {
            let soon = self.rng.within(0, 5_000);
            self.after(soon, Event::Straggler);
        }
        if matches!(after, Phase::Awake | Phase::Diverting | Phase::Draining) {
            let Some(process) = self.process(life) else {
                return;
            };
            process.edge_turn += 1;
            let turn = process.edge_turn;
            self.after(
                self.plan.sample_every.min(1_000),
                Event::SampleEdge { life, turn },
            );
        }
    }

    fn carry_out(&mut self, life: u64, effect: Effect) {
        let kills = match effect {
            Effect::Tell(_) => 0,
            Effect::Stop(..) => self.plan.kills * 10,
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
            } => self.write(life, op, record, required),
            Effect::Inspect(op, _) => self.call(life, op, Call::Inspect),
            Effect::Start(op, _) => self.call(life, op, Call::Start),
            Effect::Stop(op, _) => self.call(life, op, Call::Stop),
            Effect::Probe(op, _, address) => self.probe(life, op, address),
            Effect::Publish(op, routing) => self.publish(life, op, routing),
            Effect::ProveDivert(op) => {
                let delay = self.rng.within(5, 2_000);
                self.after(delay, Event::Prove { life, op });
            }
            Effect::LastLook(op) => self.begin_look(life, op),
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

    fn write(&mut self, life: u64, op: OpId, record: Box<Record>, required: bool) {
        let down = self.now < self.store.down_until;
        let fails = down || self.mishap(self.plan.store_faults);
        let fate = match fails {
            false => WriteFate::Done,
            true if self.rng.chance(300) => WriteFate::DoneInSecret,
            true => WriteFate::Lost,
        };
        if fails || self.mishap(20) {
            self.disturb();
            let delay = if fails {
                self.rng.within(1, SAVE_TIMEOUT)
            } else {
                self.rng.within(1, 2_000)
            };
            if let Some(process) = self.process(life) {
                process.writing = true;
            }
            self.after(
                delay,
                Event::Written {
                    life,
                    record,
                    op,
                    required,
                    fate,
                },
            );
        } else {
            self.written(life, *record, op, required, fate);
        }
    }

    /// The driver writes a record that is not written yet again, as long as there is no newer one.
    pub(crate) fn save_again(&mut self, life: u64) {
        let Some(process) = self.process(life) else {
            return;
        };
        if process.writing {
            return self.after(SAVE_AGAIN, Event::SaveAgain { life });
        }
        if let Some(record) = process.unsaved.take() {
            self.write(life, OpId(0), record, false);
        }
    }

    pub(crate) fn written(
        &mut self,
        life: u64,
        record: Record,
        op: OpId,
        required: bool,
        fate: WriteFate,
    ) {
        let (epoch, blocked) = match self.process(life) {
            Some(process) => (process.epoch, std::mem::take(&mut process.writing)),
            None => return,
        };
        let why = match &record.stand {
            Stand::Stopping { why } => Some(*why),
            _ => None,
        };
        let unsaved = record.clone();
        let written = self.store.save(epoch, record, fate);
        self.note(|| format!("  life {life}: record {op} written: {written:?}"));
        match written {
            Written::Stale => self.end_process(life),
            Written::Yes | Written::Failed => {
                let Some(process) = self.process(life) else {
                    return;
                };
                process.last_stand = why;
                process.unsaved = (written == Written::Failed).then(|| Box::new(unsaved));
                if written == Written::Failed {
                    self.after(SAVE_AGAIN, Event::SaveAgain { life });
                }
                let Some(process) = self.process(life) else {
                    return;
                };
                if written == Written::Failed && required {
                    process.todo.clear();
                    process.inbox.push_front(Input::NotRecorded(op));
                }
            }
        }
        if written == Written::Yes
            && let Some(process) = self.process(life)
        {
            process.watched.wrote = true;
        }
        if blocked {
            self.pump(life);
        }
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
