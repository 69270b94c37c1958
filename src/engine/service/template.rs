//! A service whose seed is a template (`seed = "template"`): it runs on clones alone. A wake makes them, a sleep deletes
//! them, and the seed is neither started nor stopped.
//!
//! The phases are those of a service with its seed, and so are the page, its stages, and the order of a sleep: divert,
//! prove it, drain, look once more. What differs is what a phase waits for: the fleet does the work under its own
//! records, and here is only looked at how far it has come.
//!
//! What a service runs on changes while it sleeps. One that is switched to its seed while clones serve has its seed woken
//! behind them.

use super::Service;
use super::learning::LOOKS_BEFORE_FAILING;
use super::state::{State, Waking, crash_trigger};
use crate::engine::contract::{Effect, Event, SleepWhy, Stage};
use crate::engine::record::{Base, Stand};
use crate::engine::time::{Span, Time};
use crate::engine::view::Failure;

impl Service {
    /// What the service runs on, or ran on last.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
    }

    /// What the next wake brings up.
    pub(super) fn wanted_base(&self) -> Base {
        match self.policy.clones {
            Some(_) => self.policy.base,
            None => Base::Seed,
        }
    }

    /// What this life begins on: what ran goes on, and what did not run follows the policy.
    pub(super) fn base_of(&self, stand: &Stand, recorded: Base) -> Base {
        match stand {
            Stand::Unknown | Stand::Asleep => self.wanted_base(),
            _ if self.policy.clones.is_none() => Base::Seed,
            _ => recorded,
        }
    }

    pub(super) fn advance_on_clones(&mut self, out: &mut Vec<Effect>) {
        match &self.state {
            State::Learning(_) => self.learn_of_clones(out),
            State::Waking(_) => self.wake_clones(out),
            State::Awake(_) => self.watch_clones(out),
            State::Stopping(_) => self.stop_clones(out),
            State::Failed(_) if self.clones_serve() => self.try_again(out),
            State::Failed(_) => self.advance_failed(out),
            State::Fresh | State::Asleep(_) | State::Diverting(_) | State::Draining(_) => {}
        }
    }

    /// Where to go on follows from the record, and from the first list of this life.
    fn learn_of_clones(&mut self, out: &mut Vec<Effect>) {
        let in_vain = self.fleet.lists_failed() >= LOOKS_BEFORE_FAILING;
        let State::Learning(learning) = &mut self.state else {
            return;
        };
        if !self.fleet.is_known() {
            if let Some(wanted) = learning.wanted.take_if(|_| in_vain) {
                self.begin_wanted(Some(wanted), out);
            }
            return;
        }
        let wanted = learning.wanted.take();
        let stand = learning.stand.clone();
        match stand {
            // Whoever asked longer ago has given up, and asks again by the page if not.
            Stand::Waking { since } if self.now.since(since) <= self.policy.start_timeout => {
                self.continue_wake(since, out);
            }
            _ if wanted.is_some() => self.begin_wanted(wanted, out),
            _ if self.fleet.live() > 0 => self.adopt(out),
            Stand::Stopping { why } if !self.fleet.is_empty() => self.stop_unproven(why, out),
            Stand::Stopping { why } => self.fell_asleep(why, Span::ZERO, out),
            _ => self.rest(out),
        }
    }

    fn wake_clones(&mut self, out: &mut Vec<Effect>) {
        if self.clones_serve() {
            return self.woke(None, out);
        }
        let State::Waking(waking) = &self.state else {
            return;
        };
        if waking.trigger.is_none() && self.fleet.live() == 0 {
            let what = "the clones that were found are gone again".into();
            out.push(Effect::Tell(Event::Vanished { what }));
            return self.stop_unproven(SleepWhy::Idle, out);
        }
        if let Some((failure, why)) = self.clones_hindered(waking) {
            return self.fail_wake(failure, why, out);
        }
        let Some(stage) = self.fleet.stage() else {
            return;
        };
        if stage >= Stage::MachineStarting {
            self.up_since = self.up_since.or(Some(self.now));
        }
        // One by one: people are told of each.
        for reached in [Stage::MachineStarting, Stage::MachineUp] {
            if reached <= stage {
                self.reach(reached, out);
            }
        }
    }

    /// Why this wake can't come to its end.
    fn clones_hindered(&self, waking: &Waking) -> Option<(Failure, String)> {
        let trouble = self.fleet.trouble();
        if waking.deadline <= self.now {
            let why = format!("not ready within {}", self.policy.start_timeout);
            let failure = match (self.fleet.stage(), trouble) {
                (Some(Stage::MachineUp), _) => Failure::AppSilent,
                (_, Some(trouble)) => Failure::of(trouble.class),
                (_, None) => Failure::MachineSilent,
            };
            return Some((failure, why));
        }
        if self.fleet.stage() > Some(Stage::Asked) {
            return None;
        }
        if let Some((failure, why)) = self.fleet.refused_since(self.since) {
            return Some((failure, why.to_owned()));
        }
        let waits = self.fleet.live() == 0 && !self.fleet.can_come_back();
        let terms = self.policy.clones.filter(|_| waits)?;
        let at = self.fleet.hour_allows_at(&terms);
        (at > self.now).then(|| {
            let most = terms.per_hour;
            let at = at.clock(self.now);
            let why = format!(
                "no more than {most} clones are made within an hour (creations_per_hour); \
                 the next one at {at}"
            );
            (Failure::CreationCap, why)
        })
    }

    /// When another clone may be made, where that is known.
    pub(super) fn clones_allowed_at(&self) -> Time {
        match (self.base, &self.policy.clones) {
            (Base::Clones, Some(terms)) => self.fleet.allowed_at(terms),
            _ => self.now,
        }
    }

    fn watch_clones(&mut self, out: &mut Vec<Effect>) {
        if self.wanted_base() == Base::Seed {
            return self.wake_seed_behind(out);
        }
        if !self.clones_serve() {
            return self.vanished("no clone serves", out);
        }
        self.forget_old_crashes();
        self.consider_sleep(out);
    }

    fn wake_seed_behind(&mut self, out: &mut Vec<Effect>) {
        self.base = Base::Seed;
        self.begin_wake(
            Some(crash_trigger("the seed serves from now on")),
            true,
            out,
        );
    }

    fn stop_clones(&mut self, out: &mut Vec<Effect>) {
        let State::Stopping(stopping) = &mut self.state else {
            return;
        };
        // One of those that are on their way out is taken back, or another is made.
        if let Some(wanted) = stopping.wanted.take() {
            return self.begin_wanted(Some(wanted), out);
        }
        let (why, since) = (stopping.why, stopping.awake_since.unwrap_or(self.now));
        if self.fleet.is_empty() {
            self.fell_asleep(why, self.now.since(since), out);
        }
    }

    /// So many clones are wanted of a service that runs on nothing else.
    pub(super) fn clones_wanted_alone(&mut self, out: &mut Vec<Effect>) -> u16 {
        let live = self.fleet.live();
        match &self.state {
            State::Awake(_) => self.by_load(out).max(1),
            State::Waking(waking) if waking.trigger.is_some() => {
                let least = self.policy.scale.map_or(1, |terms| terms.min.max(1));
                let called = self.called().map_or(0, |_| self.by_load(out));
                live.max(least).max(called)
            }
            // What nobody asked for is not made; what is there goes on, and is not taken from anybody.
            State::Waking(_) | State::Learning(_) | State::Failed(_) => live,
            State::Diverting(_) | State::Draining(_) => live,
            State::Fresh | State::Asleep(_) | State::Stopping(_) => self.scaled_away(),
        }
    }

    /// When the phase of a service that runs on clones wants its next step; the fleet has its own moments.
    pub(super) fn due_on_clones(&self) -> Option<Time> {
        match &self.state {
            State::Waking(waking) => Some(waking.deadline),
            State::Awake(awake) => {
                let blind = self.idle.turns_blind_at(self.now, &self.policy);
                [self.sleep_due(awake), blind].into_iter().flatten().min()
            }
            _ => None,
        }
    }
}
