//! After a start: the record says what was intended, the provider says what is. From both follows where to go on.

use super::state::{Asleep, Learning, StartStep, State, StopStep, Stopping};
use super::{CallKind, Service};
use crate::engine::backoff::mix;
use crate::engine::contract::{Effect, Event, SleepWhy, Trigger, Upstream};
use crate::engine::id::OpId;
use crate::engine::idle::Verdict;
use crate::engine::machine::{Machine, MachineState, Trouble};
use crate::engine::policy::Sleep;
use crate::engine::record::{Base, Record, Stand};
use crate::engine::time::{Span, Time};

/// While asleep, somebody else may start the machine (or a lost start may come true late): look so often.
pub(super) const PATROL_INTERVAL: Span = Span::mins(5);

/// After so many failed looks a waiting visitor is told that the wake fails.
pub(super) const LOOKS_BEFORE_FAILING: u32 = 3;

/// Ids for each millisecond of the wall clock, so that the ids of a life begin above those of every earlier one,
/// also of one that wrote no record. No life uses them up, and today's stay below 2^53, which JSON holds exactly.
const IDS_PER_MS: u64 = 1 << 10;

/// When the clock ran backwards, so many ids above the last recorded one are skipped instead: years of probes. Up to
/// as many more, of each room and leadership its own: two that lead on one record, because a store forgot the first,
/// share none.
const IDS_SKIPPED: u64 = 1 << 24;

impl Service {
    pub(super) fn loaded(&mut self, record: Option<Box<Record>>, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::Fresh) {
            return;
        }
        if record.is_none()
            && let Some(terms) = &self.policy.clones
        {
            self.fleet.load_nothing(self.now, terms);
        }
        let record = record.map_or_else(Record::default, |record| *record);
        self.op = first_op(record.last_op, self.now, self.policy.seed);
        // No two lives show different things under one version.
        self.version = self.version.max(self.now.0);
        self.up_since = record.up_since;
        self.run_by = record.run_by.map(Trigger::lasting);
        self.triggered_count = record.triggered_count;
        self.hold = record.hold;
        self.history = record.history;
        self.base = self.base_of(&record.stand, record.base);
        self.fleet.load(record.fleet, self.now);
        // What happened while nobody watched isn't known, and unknown is not idle.
        self.idle.know_nothing(self.now);
        match record.stand {
            Stand::Awake { upstream } | Stand::Leaving { upstream } if self.resumes(upstream) => {
                self.resume_awake(upstream);
            }
            stand => {
                let learning = Learning {
                    stand,
                    wanted: None,
                    failures: 0,
                    next_call_at: self.now,
                };
                self.enter(State::Learning(learning));
            }
        }
        // The next life's ids start above this one's from now on.
        self.record(false, out);
    }

    /// Whether there is somebody to lead visitors to.
    fn resumes(&self, seed: Option<Upstream>) -> bool {
        match self.base {
            Base::Seed => seed.is_some(),
            Base::Clones => self.clones_serve(),
        }
    }

    pub(super) fn advance_learning(&mut self, out: &mut Vec<Effect>) {
        let State::Learning(learning) = &mut self.state else {
            return;
        };
        if learning.failures >= LOOKS_BEFORE_FAILING && learning.wanted.is_some() {
            let wanted = learning.wanted.take();
            return self.begin_wanted(wanted, out);
        }
        if learning.next_call_at <= self.now {
            self.make_call(CallKind::Inspect, out);
        }
    }

    pub(super) fn learning_heard(
        &mut self,
        answer: Result<Machine, Trouble>,
        out: &mut Vec<Effect>,
    ) {
        match answer {
            Ok(machine) => self.learned(&machine, out),
            Err(trouble) => self.learning_failed(&trouble, out),
        }
    }

    fn learning_failed(&mut self, trouble: &Trouble, out: &mut Vec<Effect>) {
        let State::Learning(learning) = &mut self.state else {
            return;
        };
        learning.failures += 1;
        let failures = learning.failures;
        let at = self.now + self.wait_after(failures);
        if let State::Learning(learning) = &mut self.state {
            learning.next_call_at = at;
        }
        out.push(Effect::Tell(Event::Retrying {
            what: trouble.to_string(),
            at,
        }));
    }

    fn learned(&mut self, machine: &Machine, out: &mut Vec<Effect>) {
        let State::Learning(learning) = &mut self.state else {
            return;
        };
        let wanted = learning.wanted.take();
        let stand = match &learning.stand {
            // Whoever asked has given up long ago, and asks again by the page if not.
            Stand::Waking { since } if self.now.since(*since) > self.policy.start_timeout => {
                Stand::Unknown
            }
            stand => stand.clone(),
        };
        let up = match machine.state {
            MachineState::Running | MachineState::Starting | MachineState::Failed => true,
            MachineState::Stopped | MachineState::Suspended | MachineState::Missing => false,
            MachineState::Stopping => return self.learned_stopping(&stand, wanted, out),
        };
        match stand {
            Stand::Waking { since } => self.continue_wake(since, out),
            _ if wanted.is_some() => self.begin_wanted(wanted, out),
            // A stop that was only intended is not carried out: whether the machine is in use isn't known any more
            // (the last owner may have come back to Awake with a store that took no record of it).
            _ if up => self.adopt(out),
            // Off may be half of this sleep: the stop is asked to finish it.
            Stand::Stopping { why } if self.policy.sleep == Sleep::Swap => {
                self.resume_stop(why, out)
            }
            Stand::Stopping { why } => self.fell_asleep(why, Span::ZERO, out),
            _ => self.found_off("the machine is off", out),
        }
    }

    /// Off, and nobody asks for it. But somebody may be inside a clone, and what happened while nobody watched isn't
    /// known: then the seed comes back behind them, and all sleep together.
    pub(super) fn found_off(&mut self, what: &str, out: &mut Vec<Effect>) {
        if self.clones_serve() && self.verdict() != Verdict::Sleep {
            self.wake_after_crash(what, out)
        } else {
            self.rest(out)
        }
    }

    /// The machine is on its way down: by our own stop, or by somebody else's.
    fn learned_stopping(
        &mut self,
        stand: &Stand,
        wanted: super::state::Wanted,
        out: &mut Vec<Effect>,
    ) {
        match stand {
            Stand::Stopping { why } => {
                let why = *why;
                self.resume_stop(why, out);
                if let State::Stopping(stopping) = &mut self.state {
                    stopping.wanted = wanted;
                }
            }
            Stand::Waking { since } => self.continue_wake(*since, out),
            _ if wanted.is_some() => self.begin_wanted(wanted, out),
            _ => {
                let at = self.now + self.policy.probe_interval;
                if let State::Learning(learning) = &mut self.state {
                    learning.next_call_at = at;
                }
            }
        }
    }

    /// The machine is going down already: watch it until it is off.
    fn resume_stop(&mut self, why: SleepWhy, out: &mut Vec<Effect>) {
        let step = StopStep::Accepted(self.now);
        let stopping = Stopping::begun(why, step, self.up_since, self.now);
        self.enter(State::Stopping(stopping));
        self.advance_stopping(out);
    }

    /// Asleep, with nothing to tell.
    pub(super) fn rest(&mut self, out: &mut Vec<Effect>) {
        self.up_since = None;
        self.enter(State::Asleep(Asleep {
            patrol_at: self.now + PATROL_INTERVAL,
        }));
        self.record(false, out);
    }

    /// A machine that runs though we did not start it: find out whether its app answers, and let it sleep when
    /// nobody uses it.
    pub(super) fn adopt(&mut self, out: &mut Vec<Effect>) {
        out.push(Effect::Tell(Event::Adopted));
        self.begin_wake(None, false, out);
        if let State::Waking(waking) = &mut self.state {
            waking.start = StartStep::Look;
        }
    }

    pub(super) fn advance_asleep(&mut self, out: &mut Vec<Effect>) {
        let wanted = self.wanted_base();
        let State::Asleep(asleep) = &mut self.state else {
            return;
        };
        // A template may be running for its own reasons; the fleet looks after clones.
        if wanted == Base::Clones {
            return;
        }
        if asleep.patrol_at <= self.now && self.call.is_none() {
            asleep.patrol_at = self.now + PATROL_INTERVAL;
            self.make_call(CallKind::Inspect, out);
        }
    }

    pub(super) fn asleep_heard(&mut self, answer: Result<Machine, Trouble>, out: &mut Vec<Effect>) {
        if self.wanted_base() == Base::Clones {
            return;
        }
        // Otherwise it is asleep as it should be, or not known: the next patrol looks again.
        if let Ok(MachineState::Running | MachineState::Starting) =
            answer.map(|machine| machine.state)
        {
            self.adopt(out);
        }
    }

    pub(super) fn begin_wanted(&mut self, wanted: super::state::Wanted, out: &mut Vec<Effect>) {
        let (trigger, asked_at) = match wanted {
            Some((trigger, asked_at)) => (Some(trigger), asked_at),
            None => (None, self.now),
        };
        self.begin_wake(trigger, false, out);
        self.date_wake(asked_at);
    }

    /// The wait of a visitor began when the visitor came, not when the machine could be asked.
    pub(super) fn date_wake(&mut self, asked_at: Time) {
        if let State::Waking(waking) = &mut self.state {
            waking.began = asked_at.min(waking.began);
        }
    }
}

/// Where the ids of a life begin.
fn first_op(last_op: OpId, now: Time, seed: u64) -> OpId {
    match now.0.saturating_mul(IDS_PER_MS) {
        by_clock if by_clock > last_op.0 => OpId(by_clock),
        _ => OpId(
            last_op
                .0
                .saturating_add(IDS_SKIPPED + mix(seed ^ now.0) % IDS_SKIPPED),
        ),
    }
}
