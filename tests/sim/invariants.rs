//! What must be true after every step. Each check knows the world's truth and compares the engine's deeds with it.

use std::collections::{BTreeSet, VecDeque};

use anteroom::engine::contract::{Effect, Input, Source, Stage};
use anteroom::engine::eta::percent;
use anteroom::engine::id::{InstanceId, OpId};
use anteroom::engine::machine::MachineState;
use anteroom::engine::policy::Policy;
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::Time;
use anteroom::engine::view::Phase;

use crate::crew::{Doing, deed_of};
use crate::driver::{Process, Role};
use crate::plan::{HOUR, MINUTE, SECOND};
use crate::world::{Event, World};

/// Steps in one second of one process. Ten samples, answers and probes are busy; this is a storm.
const STEPS_PER_SECOND_MAX: u64 = 200;

/// Steps that the clock alone brings, in one second.
const TICKS_PER_SECOND_MAX: u64 = 20;

/// A trigger is answered by Awake or Failed within the start timeout and this: a stop that has to end first, or
/// to fail three times.
const WAKE_SLACK: u64 = 15 * MINUTE;

/// A room has heard of a change after that, if it hears anything.
const SETTLES_IN: u64 = 5 * SECOND;

/// The service has its seed, and no clones.
const MACHINES_MAX: usize = 1;

/// Two minutes, in which the engine takes a crash for a crash in use, and as long again for its looks.
const CRASH_IN_USE: u64 = 4 * MINUTE;

/// The truth that the checks need, kept by the world.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// At each site.
    pub(crate) last_use: Vec<u64>,
    /// When somebody came whom nobody had preceded for about the idle timeout.
    first_use: Vec<u64>,
    pub(crate) disturbed_at: u64,
    /// After a jump backwards the engine's clock stands still until then.
    pub(crate) frozen_until: u64,
    /// Samples do not arrive until then, and nobody says so.
    pub(crate) edge_silent_until: u64,
    pub(crate) traefik_silent_until: u64,
    pub(crate) hold: Option<Time>,
    /// Somebody asked for the machine, and it has not been ready since.
    asked: bool,
    asked_at: u64,
    /// The last use at any site, also where only the room there can know of it.
    pub(crate) any_use: u64,
    up_at: u64,
    /// The first and the last id of each earlier life.
    lives: Vec<(OpId, OpId)>,
    pub(crate) starts_this_sleep: u64,
    /// Which machines were ever asked to start.
    machines: BTreeSet<InstanceId>,
    /// Since when somebody waits whose wish a room has taken.
    pub(crate) waiting_since: Option<u64>,
    /// Since when no room runs.
    nobody_since: Option<u64>,
    /// The latest claim of which an effect was carried out.
    pub(crate) reign_applied: u64,
    /// When the store last forgot something.
    pub(crate) wiped_at: u64,
    /// The site and the address of whoever woke the service last.
    pub(crate) woken_by: Option<(usize, u8)>,
    /// When the service last got another leader.
    claimed_at: u64,
}

/// What is watched of one process.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) wrote: bool,
    op_min: OpId,
    op_max: OpId,
    call: Option<(OpId, Time)>,
    pub(crate) samples: [Option<u64>; 2],
    /// When it was last not known whether somebody used the service.
    pub(crate) unknown_at: u64,
    waiting_since: Option<u64>,
    pub(crate) phase_since: u64,
    awake_by_record: bool,
    app_ready_at: Option<u64>,
    pub(crate) app_answers: VecDeque<OpId>,
    percent: Option<u8>,
    second: (u64, u64, u64),
    /// The engine's own clock never runs backwards.
    pub(crate) clock: Time,
    start_accepted: bool,
    pub(crate) stop_asked: bool,
    pub(crate) doing: Doing,
}

/// Beyond this gap between two samples nothing is known of what was between them. A little more than the policy
/// says, for samples that waited for a write.
pub(crate) const GAP_MAX: u64 = 70 * SECOND;

impl Facts {
    pub(crate) fn new(sites: usize) -> Facts {
        Facts {
            last_use: vec![0; sites],
            first_use: vec![0; sites],
            ..Facts::default()
        }
    }

    /// `pause`: who comes after so long a time is the first of many.
    pub(crate) fn used(&mut self, site: usize, now: u64, pause: u64) {
        if now >= self.last_use[site] + pause {
            self.first_use[site] = now;
        }
        self.last_use[site] = now;
    }

    /// Whether by all that can be heard nobody has used it at this site for the idle timeout: who came a moment ago may be
    /// in no sample yet.
    pub(crate) fn seems_quiet(&self, site: usize, now: u64, idle: u64) -> bool {
        now >= self.last_use[site] + idle || now <= self.first_use[site] + GAP_MAX
    }

    fn last_use(&self) -> u64 {
        self.last_use.iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn asked_for(&mut self, now: u64) {
        self.asked = true;
        self.asked_at = now;
    }

    pub(crate) fn is_claimed_since(&self, now: u64, length: u64) -> bool {
        now < self.claimed_at + length
    }

    pub(crate) fn asked_by_clones(&mut self) {
        self.asked = true;
    }

    /// The store has lost what was written to it, or the last of it; `reign` is the claim that it knows now.
    pub(crate) fn forgot(&mut self, now: u64, reign: u64) {
        self.wiped_at = now;
        self.reign_applied = reign;
        self.waiting_since = None;
    }

    pub(crate) fn booted(
        &mut self,
        now: u64,
        clock: Time,
        policy: &Policy,
        record: Option<&Record>,
    ) {
        (self.disturbed_at, self.claimed_at) = (now, now);
        self.asked |= record.is_some_and(|record| matches!(record.stand, Stand::Waking { since } if clock.since(since) <= policy.start_timeout));
        self.hold = record
            .and_then(|record| record.hold.as_ref())
            .map(|hold| hold.until);
    }

    pub(crate) fn ended(&mut self, process: &Process) {
        // With a clock that ran backwards, and a store that took no record of a whole life, nothing is left to tell
        // its ids from the next one's.
        if process.watched.wrote || self.frozen_until == 0 {
            self.lives
                .push((process.watched.op_min, process.watched.op_max));
        }
    }

    pub(crate) fn machine_turned(&mut self, now: u64, was_up: bool, is_up: bool, in_use: bool) {
        if was_up && !is_up {
            self.starts_this_sleep = 0;
            let used = self.any_use.max(self.asked_at).max(self.up_at);
            let used = used.max(self.frozen_until);
            if in_use || now < used + CRASH_IN_USE {
                self.asked = true;
            }
        }
    }
}

pub(crate) fn slot(source: Source) -> usize {
    match source {
        Source::Edge => 0,
        Source::Traefik => 1,
    }
}

impl Watched {
    pub(crate) fn at_boot(now: u64, record: Option<&Record>) -> Watched {
        let stand = record
            .map(|record| record.stand.clone())
            .unwrap_or_default();
        Watched {
            wrote: false,
            op_min: OpId(0),
            op_max: OpId(0),
            call: None,
            samples: [None; 2],
            unknown_at: now,
            waiting_since: None,
            phase_since: now,
            awake_by_record: matches!(stand, Stand::Awake { .. } | Stand::Leaving { .. }),
            app_ready_at: None,
            app_answers: VecDeque::new(),
            percent: None,
            second: (0, 0, 0),
            clock: Time(0),
            start_accepted: false,
            stop_asked: false,
            doing: Doing::new(),
        }
    }

    pub(crate) fn fresh(&mut self, source: Source, now: u64) {
        let gap = self.samples[slot(source)].is_none_or(|last| now > last + GAP_MAX);
        if gap {
            self.unknown_at = now;
        }
        self.samples[slot(source)] = Some(now);
    }

    pub(crate) fn lost(&mut self, source: Source, now: u64) {
        self.unknown_at = now;
        self.samples[slot(source)] = None;
    }
}

impl World {
    pub(crate) fn before_step(&mut self, life: u64, input: &Input) {
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        let (now, clock) = (self.now, self.clock(site));
        let owner = self.owner().map(|owner| owner.life) == Some(life);
        if owner {
            match input {
                Input::Triggered(_) => self.facts.asked_for(now),
                Input::Held { until, .. } if *until > clock => self.facts.hold = Some(*until),
                Input::Released => self.facts.hold = None,
                _ => {}
            }
        }
        if let Input::Fleet(op, heard) = input {
            self.deed_answered(life, *op, heard);
        }
        self.told(life, input);
        let Some(process) = self.process(life) else {
            return;
        };
        let phase = process.view.phase;
        let watched = &mut process.watched;
        watched.clock = watched.clock.max(clock);
        match input {
            Input::Triggered(_) if !matches!(phase, Phase::Awake | Phase::Failed) => {
                watched.waiting_since = watched.waiting_since.or(Some(now));
            }
            Input::Probed(op, _) if watched.app_answers.contains(op) => {
                watched.app_ready_at = Some(now);
            }
            Input::Started(_, Ok(_)) => watched.start_accepted = true,
            Input::Started(_, Err(_)) => watched.start_accepted = true,
            _ => {}
        }
        if let Input::Inspected(op, _) | Input::Started(op, _) | Input::Stopped(op, _) = input
            && watched.call.is_some_and(|(current, _)| current == *op)
        {
            watched.call = None;
        }
        let (second, steps, ticks) = watched.second;
        let ticked = u64::from(*input == Input::Tick);
        // Thousands may ask within a second.
        let own = u64::from(!matches!(input, Input::Triggered(_) | Input::Suspected(_)));
        watched.second = match second == now / SECOND {
            true => (second, steps + own, ticks + ticked),
            false => (now / SECOND, own, ticked),
        };
        let (_, steps, ticks) = watched.second;
        if steps > STEPS_PER_SECOND_MAX || ticks > TICKS_PER_SECOND_MAX {
            self.breaks("steps", || {
                format!("{steps} steps, {ticks} ticks within a second")
            });
        }
    }

    pub(crate) fn after_step(&mut self, life: u64, before: Phase) {
        let now = self.now;
        let owner = self.owner().map(|owner| owner.life) == Some(life);
        let was_running = self.cloud.was_running(now);
        let was_on_its_way = self.cloud.was_on_its_way(now);
        let stale = self.plan.stale_reads + 150 * SECOND;
        let clock = self.clock(self.site_of(life));
        let Some(process) = self.process(life) else {
            return;
        };
        let phase = process.view.phase;
        let mut broken: Vec<(&'static str, String)> = Vec::new();
        if phase != before {
            process.watched.phase_since = now;
            // The stop of a step that ends in `Stopping` was asked for in that phase.
            process.watched.stop_asked &= phase == Phase::Stopping;
            process.watched.percent = None;
            if phase == Phase::Waking {
                process.watched.start_accepted = false;
            }
        }
        let ready = matches!(phase, Phase::Awake | Phase::Failed);
        if ready {
            process.watched.waiting_since = None;
        }
        let serves = owner || process.role == Role::Provisional;
        let watched = &mut process.watched;
        let led_to = before == Phase::Waking || before == Phase::Learning;
        if phase == Phase::Awake && led_to && !watched.awake_by_record {
            let asked_since = watched.phase_since.saturating_sub(1_000);
            if watched.app_ready_at.is_none_or(|at| at < asked_since) {
                broken.push(("I14", "awake, and the app has not answered".into()));
            }
        }
        if let Some(wake) = process.view.wake.filter(|_| phase == Phase::Waking) {
            let since = watched.phase_since.saturating_sub(stale);
            let recently = |at: Option<u64>| at.is_some_and(|at| at >= since);
            let true_now = match wake.stage {
                Stage::Asked => true,
                Stage::MachineStarting => watched.start_accepted || recently(was_on_its_way),
                Stage::MachineUp => recently(was_running),
                Stage::AppAnswering => recently(watched.app_ready_at),
            };
            if !true_now {
                broken.push(("I14", format!("{:?} is shown and not true", wake.stage)));
            }
            let shown = percent(
                watched.clock.max(clock).since(wake.since),
                wake.stage,
                process.view.eta,
            );
            if watched.percent.is_some_and(|last| shown < last) {
                broken.push((
                    "I14",
                    format!("percent falls from {:?} to {shown}", watched.percent),
                ));
            }
            watched.percent = Some(shown);
        }
        if owner && phase == Phase::Awake && before != Phase::Awake {
            self.facts.asked &= self.cloud.state != MachineState::Running;
            self.facts.up_at = now;
            self.counts.wakes += u64::from(before == Phase::Waking);
        }
        if ready && serves {
            self.facts.waiting_since = None;
        }
        for (invariant, what) in broken {
            self.breaks(invariant, || what);
        }
    }

    pub(crate) fn site_of(&self, life: u64) -> usize {
        let mut processes = self.processes.iter();
        processes.find(|it| it.life == life).map_or(0, |it| it.site)
    }

    pub(crate) fn before_effect(&mut self, life: u64, effect: &Effect) {
        self.check_op(life, effect);
        if let Some((op, deed)) = deed_of(effect) {
            self.check_deed(life, op, deed);
        }
        match effect {
            Effect::Start(_, instance) => {
                self.check_bounds(*instance);
                self.check_start(life);
            }
            Effect::Stop(..) => self.check_stop(life),
            _ => {}
        }
    }

    fn check_op(&mut self, life: u64, effect: &Effect) {
        let (op, is_call) = match effect {
            Effect::Record { op, .. } | Effect::ProveDivert(op) | Effect::LastLook(op) => {
                (*op, false)
            }
            Effect::Probe(op, ..) | Effect::Publish(op, _) => (*op, false),
            Effect::Inspect(op, _) | Effect::Start(op, _) | Effect::Stop(op, ..) => (*op, true),
            Effect::Fleet(op, _) => (*op, false),
            Effect::Tell(_) => return,
        };
        let timeout = self.plan.policy.call_timeout;
        let earlier = |(first, last): &(OpId, OpId)| (*first..=*last).contains(&op);
        let again = self.facts.lives.iter().any(earlier);
        let Some(process) = self.process(life) else {
            return;
        };
        let watched = &mut process.watched;
        let (last, clock) = (watched.op_max, watched.clock);
        watched.op_max = op.max(last);
        if watched.op_min == OpId(0) {
            watched.op_min = op;
        }
        let busy = watched
            .call
            .filter(|(_, at)| is_call && clock.since(*at) < timeout);
        if is_call {
            watched.call = Some((op, clock));
        }
        if let Some((other, _)) = busy {
            self.breaks("I1", || {
                format!("{effect:?} while call {other} is in flight")
            });
        }
        if op <= last || again {
            self.breaks("I7", || {
                format!("{effect:?} has an old id, {last} was the last one")
            });
        }
    }

    /// I5: there is one machine at most, whoever asks for it and whatever is remembered.
    fn check_bounds(&mut self, instance: InstanceId) {
        self.facts.machines.insert(instance);
        let machines = self.facts.machines.len();
        if machines > MACHINES_MAX {
            self.breaks("I5", || {
                format!("a start of {instance}, and {machines} machines are known")
            });
        }
    }

    fn check_start(&mut self, life: u64) {
        let owner = self.owner().map(|owner| owner.life) == Some(life);
        if !self.cloud.is_off() || !(owner || self.shared()) {
            return;
        }
        self.facts.starts_this_sleep += 1;
        let starts = self.facts.starts_this_sleep;
        // Whoever is led to a clone wants the seed as well.
        let serves = self
            .process(life)
            .is_some_and(|it| !it.view.upstreams.is_empty());
        if !self.facts.asked && !serves {
            self.breaks("I1", || "a start that nobody asked for".into());
        }
        if self.plan.call_faults == 0
            && self.plan.kills == 0
            && self.plan.fate_every.is_none()
            && starts > 1
        {
            self.breaks("I1", || {
                format!("start number {starts} of one sleep, and nothing failed")
            });
        }
    }

    /// I6: a machine that nobody uses does not run for ever.
    pub(crate) fn audit(&mut self) {
        self.after(MINUTE, Event::Audit);
        let policy = &self.plan.policy;
        let bound = policy.idle_timeout.0 * 2
            + policy.min_awake.0
            + policy
                .billing_increment
                .map_or(0, |span| span.0 + 10 * MINUTE)
            + policy.start_timeout.0 * 2
            + 20 * MINUTE;
        let used = self.people.in_use();
        let hold = self.facts.hold.map_or(0, |until| self.at(0, until));
        let since = self
            .facts
            .last_use()
            .max(self.facts.disturbed_at)
            .max(self.facts.asked_at);
        let since = since
            .max(self.cloud.last_off)
            .max(hold)
            .max(self.facts.frozen_until)
            .max(self.facts.edge_silent_until)
            .max(self.facts.traefik_silent_until)
            .max(self.store.down_until);
        if self.cloud.is_up() && !used && self.booting.is_empty() && self.now > since + bound {
            let idle = (self.now - since) / 1_000;
            self.breaks("I6", || {
                format!("nobody has used the machine for {idle} s, and it runs")
            });
        }
        self.check_waiting();
        self.audit_load();
        self.audit_clones();
    }

    /// I14: what a room shows is what its leader says, a few beats ago at most.
    fn check_followers(&mut self) {
        let now = self.now;
        let Some(owner) = self.owner() else { return };
        let (leader, site, since) = (owner.life, owner.site, owner.room.shown_since);
        let (shown, learns) = (
            owner.room.shown.clone(),
            owner.view.phase == Phase::Learning,
        );
        let quiet = |at: u64| at + SETTLES_IN < now;
        let there = |site: usize| !quiet(self.ways[site].told_at);
        if learns || !quiet(since) || !there(site) {
            return;
        }
        let behind = |it: &&Process| {
            let heard = it.role == Role::Follows && it.life != leader && quiet(it.began);
            let at_work = quiet(it.room.out_of_touch_at.max(it.paused_until));
            heard && there(it.site) && at_work && it.room.shown != shown
        };
        if let Some(room) = self.processes.iter().find(behind) {
            let (life, shows) = (room.life, room.room.shown.phase);
            let says = shown.phase;
            self.breaks("I14", || {
                format!("life {life} shows {shows:?}, its leader says {says:?}")
            });
        }
    }

    fn check_waiting(&mut self) {
        self.check_followers();
        if self.shared() {
            return self.check_waiting_in_rooms();
        }
        let (now, patience) = (self.now, self.plan.policy.start_timeout.0 + WAKE_SLACK);
        let Some(owner) = self.owner() else { return };
        let (since, phase) = (owner.watched.waiting_since, owner.view.phase);
        let frozen = self.facts.frozen_until;
        if since.is_some_and(|since| now > since.max(frozen) + patience) {
            self.breaks("I4", || {
                format!("asked for at {since:?}, and still {phase:?}")
            });
        }
    }

    /// The same for a wish that any room has taken, whoever leads.
    fn check_waiting_in_rooms(&mut self) {
        let policy = &self.plan.policy;
        let patience = policy.start_timeout.0 + policy.idle_timeout.0 + WAKE_SLACK;
        let (now, down_until) = (self.now, self.store.down_until);
        let runs = |it: &Process| it.paused_until <= now;
        if self.processes.iter().any(runs) {
            self.facts.nobody_since = None;
        } else {
            let since = *self.facts.nobody_since.get_or_insert(now);
            // Whoever asked has given up by then, and so has the record; who comes later asks again.
            let wanted = now - since <= policy.start_timeout.0;
            self.facts.waiting_since = self.facts.waiting_since.map(|_| now).filter(|_| wanted);
        }
        let Some(since) = self.facts.waiting_since else {
            return;
        };
        let phase = self.owner().map(|owner| owner.view.phase);
        if now > since.max(down_until).max(self.facts.claimed_at) + patience {
            self.breaks("I4", || format!("taken at {since}, and still {phase:?}"));
        }
    }

    /// After the quiet hours the service sleeps, and so does its machine.
    pub(crate) fn judge_the_day(&mut self) {
        self.audit();
        let hold = self.facts.hold.map_or(0, |until| self.at(0, until));
        let margin = if self.shared() { HOUR } else { 3 * HOUR };
        if hold > self.now.saturating_sub(margin) {
            return;
        }
        let phase = self.owner().map(|owner| owner.view.phase);
        let state = self.cloud.state;
        if phase != Some(Phase::Asleep) || !self.cloud.is_off() {
            self.breaks("I6", || {
                format!("after hours of quiet: {phase:?}, machine {state:?}")
            });
        }
    }
}
