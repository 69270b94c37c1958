//! A clone between its making and its removal: it comes up, serves, and lets its visitors go.

use super::life::Ask;
use super::pause::wait;
use super::{Entry, Fleet, Life, Story};
use crate::engine::contract::ProbeResult;
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::policy::Policy;
use crate::engine::story::{Failure, Stage};
use crate::engine::time::{Span, Time};

/// Between two looks at a machine that runs but whose app is silent: it may have gone down again.
const LOOK_AGAIN: Span = Span::secs(3);

/// A machine that is still reported off so long after its start was accepted has not started.
const START_GRACE: Span = Span::secs(20);

/// A clone that needs more starts than that does not come up.
const STARTS_MAX: u32 = 3;

/// So many failed probes in a row take a clone out of service; one alone may be a hiccup.
pub(super) const MISSES_MAX: u32 = 2;

/// A clone that nobody is led to is left alone for so long at least: a request may have been on its way there.
const DRAIN_MIN: Span = Span::secs(1);

/// Between two counts of what is in flight.
const COUNT_AGAIN: Span = Span::secs(1);

impl Fleet {
    /// What the platform says of a clone that was looked at, or started.
    pub(super) fn looked(
        &mut self,
        clone: CloneId,
        looked: Result<Machine, Trouble>,
        now: Time,
        policy: &Policy,
    ) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        let served = match entry.life {
            Life::Rising { .. } => None,
            Life::Serving { address } => Some(address),
            _ => return,
        };
        let machine = match looked {
            Ok(machine) => machine,
            Err(trouble) => {
                if entry.ask == Ask::Start {
                    entry.started_at = None;
                }
                // Whether it runs is not known; the app of one that serves is asked on.
                entry.ask = served.map_or(Ask::Look, Ask::Probe);
                return self.again(clone, &trouble, now, policy);
            }
        };
        entry.failures = 0;
        entry.looked_at = now;
        self.trouble = None;
        match (machine.state, machine.address) {
            (MachineState::Running, Some(address)) if served.is_none_or(|at| at == address) => {
                entry.ask = Ask::Probe(address);
                // One that serves was looked at because it did not answer: it is asked once more soon.
                entry.next_at = match served {
                    Some(_) => now + policy.probe_interval,
                    None => now,
                };
            }
            (MachineState::Running, Some(_)) => self.ails(clone, "its address has changed", now),
            (state, _) if served.is_some() => {
                let why = format!("the machine is {state:?}").to_lowercase();
                self.ails(clone, &why, now);
            }
            (state, _) => self.saw_rising(clone, state, now, policy),
        }
    }

    fn saw_rising(&mut self, clone: CloneId, state: MachineState, now: Time, policy: &Policy) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        let in_grace = entry
            .started_at
            .is_some_and(|at| now.since(at) < START_GRACE);
        entry.ask = Ask::Look;
        entry.next_at = now + policy.probe_interval;
        match state {
            MachineState::Running | MachineState::Starting | MachineState::Stopping => {}
            MachineState::Stopped | MachineState::Suspended if in_grace => {}
            MachineState::Stopped | MachineState::Suspended if entry.starts < STARTS_MAX => {
                entry.ask = Ask::Start;
                entry.next_at = now;
                entry.starts += 1;
                entry.started_at = Some(now);
            }
            MachineState::Stopped | MachineState::Suspended => {
                let why = format!("it is off after {STARTS_MAX} starts");
                self.give_up(clone, (Failure::MachineDied, why), now, policy);
            }
            MachineState::Failed => {
                let why = "the provider calls it failed".to_owned();
                self.give_up(clone, (Failure::MachineDied, why), now, policy);
            }
            // Made a moment ago it may not show yet, and gone for good the lists say so.
            MachineState::Missing => {
                entry.next_at = now + LOOK_AGAIN;
                self.find.next_at = self.find.next_at.min(now + LOOK_AGAIN);
            }
        }
    }

    /// What its app said.
    pub(super) fn probed(
        &mut self,
        clone: CloneId,
        probed: ProbeResult,
        now: Time,
        policy: &Policy,
    ) {
        let is_last = self.is_last();
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        let Ask::Probe(address) = entry.ask else {
            return;
        };
        match (&entry.life, probed) {
            (Life::Rising { .. }, ProbeResult::Ready) => {
                entry.turn(Life::Serving { address }, now);
                entry.ask = Ask::Probe(address);
                entry.next_at = now + policy.check_interval;
                self.refusals = 0;
                self.told.push((clone, Story::Serving));
                self.changed = true;
            }
            (Life::Rising { .. }, ProbeResult::NotReady(_)) => {
                entry.next_at = now + policy.probe_interval;
                if now.since(entry.looked_at) >= LOOK_AGAIN {
                    entry.ask = Ask::Look;
                }
            }
            (Life::Serving { .. }, ProbeResult::Ready) => {
                if entry.misses >= MISSES_MAX {
                    self.told.push((clone, Story::Serving));
                }
                entry.misses = 0;
                entry.next_at = now + policy.check_interval;
            }
            (Life::Serving { .. }, ProbeResult::NotReady(why)) => {
                entry.misses = entry.misses.saturating_add(1);
                if entry.misses >= MISSES_MAX && !is_last {
                    self.ails(clone, &why, now);
                } else {
                    if entry.misses == MISSES_MAX {
                        self.told.push((clone, Story::Ailing { why }));
                    }
                    // The machine may be gone: the provider knows.
                    entry.ask = Ask::Look;
                    entry.next_at = now;
                }
            }
            _ => {}
        }
    }

    /// Somebody could not reach this instance, or one of all: clones are looked at now, where nobody is looking already.
    pub fn suspected(&mut self, which: Option<InstanceId>, now: Time) {
        for (clone, entry) in &mut self.clones {
            let is_it = which.is_none_or(|which| which == InstanceId::Clone(*clone));
            if is_it && matches!(entry.life, Life::Serving { .. }) {
                entry.next_at = entry.next_at.min(now);
            }
        }
    }

    /// Takes a clone out of service until its app answers again.
    fn ails(&mut self, clone: CloneId, why: &str, now: Time) {
        if let Some(entry) = self.clones.get_mut(&clone) {
            let (since, served) = (now, true);
            entry.turn(Life::Rising { since, served }, now);
            let why = why.to_owned();
            self.told.push((clone, Story::Ailing { why }));
            self.changed = true;
        }
    }

    /// Clones whose app did not answer within the start timeout are given up. Where it is all there is, it is given that
    /// time once more: another one would begin anew, and may be as slow.
    pub(super) fn give_up_the_late(&mut self, now: Time, policy: &Policy) {
        let more = match self.alone && self.live() == 1 {
            true => policy.start_timeout,
            false => Span::ZERO,
        };
        let late = |entry: &Entry| match entry.life {
            Life::Rising { since, .. } => since + policy.start_timeout + more <= now,
            _ => false,
        };
        let all = self.clones.iter();
        let late: Vec<_> = all
            .filter(|(_, it)| late(it))
            .map(|(id, it)| (*id, it.stage()))
            .collect();
        for (clone, stage) in late {
            let failure = match stage {
                Stage::MachineUp => Failure::AppSilent,
                _ => Failure::MachineSilent,
            };
            let why = format!("not ready within {}", policy.start_timeout);
            self.give_up(clone, (failure, why), now, policy);
        }
    }

    /// What one clone could not do the next can't either, so soon.
    fn give_up(
        &mut self,
        clone: CloneId,
        (failure, why): (Failure, String),
        now: Time,
        policy: &Policy,
    ) {
        self.refusals += 1;
        let trouble = Trouble::new(ErrorClass::Capacity, why.as_str());
        self.no_new_before = now + wait(&trouble, self.refusals, policy);
        self.refused = Some((now, failure, why.clone()));
        self.told.push((clone, Story::GivenUp { why }));
        self.leave(clone, true, now);
    }

    /// Nobody is led to it any more: when what is in flight has ended, or its time is over, it is removed.
    pub(super) fn drained(
        &mut self,
        clone: CloneId,
        drained: Result<Option<u32>, String>,
        now: Time,
        policy: &Policy,
    ) {
        let Some(entry) = self.clones.get_mut(&clone) else {
            return;
        };
        if !matches!(entry.life, Life::Leaving { .. }) {
            return;
        }
        entry.next_at = now + COUNT_AGAIN;
        let Ok(open) = drained else {
            // Somebody may be led to it by now, and has all the time again.
            entry.clear_since = None;
            return;
        };
        let since = *entry.clear_since.get_or_insert(now);
        let counted = open == Some(0) && !policy.drain_whole;
        let until = match counted {
            true => since + DRAIN_MIN,
            false => since + policy.drain_timeout.max(DRAIN_MIN),
        };
        if until <= now {
            return self.remove(clone, now);
        }
        entry.next_at = entry.next_at.min(until);
    }
}
