//! What a leader hears of the load: the samples of its signal, and the alerts of somebody else's rules. Both can be
//! missing, late, doubled, replayed, or of somebody else.

use anteroom::engine::contract::{Input, Upstream};
use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::load::{Sample, Share};
use anteroom::engine::scale::{Alert, Direction};
use anteroom::engine::time::{Span, Time};

use crate::driver::Role;
use crate::plan::{HOUR, MINUTE, SECOND};
use crate::world::{Event, World};

/// A signal has a deadline for everything: it is measured within that.
const MEASURED_WITHIN: u64 = 8 * SECOND;

/// A rule fires when it has held at so many looks in a row.
const HOLDS_BEFORE: u32 = 2;

/// What a process that leads knows of its measuring.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Tells the present leadership from earlier ones.
    turn: u64,
    /// When the load is measured next.
    due_at: u64,
    measuring: bool,
    /// A look whether it is due is under way.
    awaited: bool,
    last: Vec<Sample>,
}

impl Gauge {
    pub(crate) fn begin(&mut self, now: u64) {
        *self = Gauge {
            turn: self.turn + 1,
            due_at: now,
            ..Gauge::default()
        };
    }
}

impl World {
    /// As the driver does after each step: measures where it is due, or waits until it is.
    pub(crate) fn measure_if_due(&mut self, life: u64) {
        if self.plan.load.is_none() {
            return;
        }
        let now = self.now;
        let Some(process) = self.process(life) else {
            return;
        };
        let gauge = &mut process.gauge;
        let due = process.role != Role::Follows && process.engine.takes_requests();
        if !due || gauge.measuring || gauge.awaited {
            return;
        }
        gauge.awaited = true;
        let (delay, turn) = (gauge.due_at.saturating_sub(now), gauge.turn);
        self.after(delay, Event::Measure { life, turn });
    }

    pub(crate) fn measure(&mut self, life: u64, turn: u64) {
        let (now, terms) = (self.now, self.plan.policy.scale);
        let Some(process) = self.process(life) else {
            return;
        };
        let gauge = &mut process.gauge;
        if gauge.turn != turn {
            return;
        }
        gauge.awaited = false;
        let takes = process.engine.takes_requests() && !gauge.measuring;
        let Some(terms) = terms.filter(|terms| takes && !terms.alerts_only) else {
            return;
        };
        if gauge.due_at > now {
            return self.measure_if_due(life);
        }
        (gauge.measuring, gauge.due_at) = (true, now + terms.interval.0);
        let crew = process.view.upstreams.clone();
        let samples = self.sampled(life, &crew, terms.interval);
        let most = match self.mishap(self.plan.load.as_ref().map_or(0, |load| load.faults)) {
            true => MEASURED_WITHIN,
            false => 300,
        };
        let takes = self.demand.rng.within(10, most);
        self.after(
            takes,
            Event::Measured {
                life,
                turn,
                samples,
            },
        );
    }

    pub(crate) fn measured(&mut self, life: u64, turn: u64, samples: Vec<Sample>) {
        let Some(process) = self.process(life) else {
            return;
        };
        if process.gauge.turn != turn {
            return;
        }
        process.gauge.measuring = false;
        process.gauge.last.clone_from(&samples);
        self.give(life, Input::Measured(samples));
        self.measure_if_due(life);
    }

    /// What the signal tells of these.
    fn sampled(&mut self, life: u64, crew: &[Upstream], interval: Span) -> Vec<Sample> {
        let (now, faults) = (self.now, self.load().faults);
        let site = self.site_of(life);
        if self.mishap(faults / 20) {
            let length = self.demand.rng.within(10 * SECOND, 30 * MINUTE);
            self.demand.is_stuck = self.demand.rng.chance(500);
            self.demand.silent_until = now + length;
            self.note(|| format!("nothing tells the load for {length} ms"));
        }
        if now < self.demand.silent_until || self.mishap(faults / 2) {
            // It tells nothing, or only what it told before.
            let told = self.process(life).map(|it| it.gauge.last.clone());
            return told.filter(|_| self.demand.is_stuck).unwrap_or_default();
        }
        // Figures are scraped at a pace of their own.
        let age = now % (interval.0 / 2).max(1);
        let at = self.clock(site) - Span(age);
        let mut samples = Vec::new();
        for up in crew {
            let (noise, instance) = (self.load().noise, up.instance);
            let wrong = self.demand.rng.within(0, 2 * noise);
            let Some(share) = self.share_of(instance, crew) else {
                continue;
            };
            let busy = Share::hundredths((share + wrong).saturating_sub(noise));
            let sample = Sample { instance, at, busy };
            match self.mishap(faults).then(|| self.demand.rng.within(0, 5)) {
                None => samples.push(sample),
                // It is missing.
                Some(0 | 1) => {}
                // It is of long ago, when nobody came.
                Some(2) => {
                    let ago = self.demand.rng.within(3 * interval.0 + 1, HOUR);
                    let (at, busy) = (at - Span(ago), Share::default());
                    samples.push(Sample { at, busy, ..sample });
                }
                // A clock is wrong.
                Some(3) => {
                    let ahead = self.demand.rng.within(SECOND, HOUR);
                    let (at, busy) = (at + Span(ahead), Share::default());
                    samples.push(Sample { at, busy, ..sample });
                }
                // It comes twice.
                Some(4) => samples.extend([sample, sample]),
                // It has another's name.
                _ => {
                    let slot = self.demand.rng.within(1, 4) as u16;
                    let stranger = CloneId::new(slot, 1 + self.demand.rng.within(1, 9));
                    let instance = stranger.map_or(instance, InstanceId::Clone);
                    samples.push(Sample { instance, ..sample });
                }
            }
        }
        samples
    }

    /// Somebody else's rules look at how busy the instances are on average, and raise alerts.
    pub(crate) fn rules_look(&mut self) {
        let Some(every) = self.load().rules_every else {
            return;
        };
        self.after(every, Event::Rules);
        let terms = self.plan.policy.scale.unwrap_or_default();
        if !self.stormy() && !std::mem::replace(&mut self.demand.was_calm, true) {
            // What was lost is said once more.
            self.end_rules();
        }
        let crew = self.in_service();
        let shares = crew
            .iter()
            .filter_map(|up| self.share_of(up.instance, &crew));
        let shares: Vec<u64> = shares.collect();
        let each = shares.iter().sum::<u64>() / (shares.len() as u64).max(1);
        let known = !shares.is_empty() && self.now >= self.demand.silent_until;
        let up = known && each > terms.up_at.in_hundredths();
        let down = known && each < terms.down_at.in_hundredths();
        self.rule_is(0, Direction::Up, up, known);
        self.rule_is(1, Direction::Down, down, known);
    }

    fn end_rules(&mut self) {
        let rules = std::mem::take(&mut self.demand.rules);
        for (nth, rule) in rules.iter().enumerate() {
            if let Some(at) = rule.last {
                let direction = [Direction::Up, Direction::Down][nth];
                self.say(nth, direction, at, false);
            }
        }
    }

    fn rule_is(&mut self, nth: usize, direction: Direction, holds: bool, known: bool) {
        let (now, clock) = (self.now, self.clock(0));
        let rule = &mut self.demand.rules[nth];
        rule.held = if holds { rule.held + 1 } else { 0 };
        let begins = rule.held >= HOLDS_BEFORE && rule.fires_since.is_none();
        // Without data a rule says nothing, or that it is over.
        let quiet = !known && self.demand.rng.chance(500);
        let ends = rule.fires_since.is_some() && !holds && !quiet;
        if begins {
            (rule.fires_since, rule.last) = (Some(now), Some(clock));
        } else if ends {
            rule.fires_since = None;
        }
        if let Some(at) = rule.last.filter(|_| begins || ends) {
            self.say(nth, direction, at, begins);
        }
    }

    fn say(&mut self, nth: usize, direction: Direction, at: Time, firing: bool) {
        self.send_alert(Alert {
            name: nth as u64 + 1,
            direction,
            at,
            firing,
        });
    }

    /// An alert on its way: lost, late, doubled, or sent once more hours later by whoever kept it.
    fn send_alert(&mut self, alert: Alert) {
        let faults = self.load().faults;
        self.note(|| format!("an alert: {alert:?}"));
        let soon = self.demand.rng.within(5, 500);
        if !self.mishap(faults) {
            self.after(soon, Event::Alert(alert));
        }
        if self.mishap(faults) {
            let late = self.demand.rng.within(SECOND, 2 * MINUTE);
            self.after(late, Event::Alert(alert));
        }
        if self.stormy() && self.demand.rng.chance(300) {
            let left = self.plan.calm_from - self.now;
            let later = self.demand.rng.within(MINUTE, 3 * HOUR).min(left);
            self.after(later, Event::Alert(alert));
        }
    }

    pub(crate) fn alert_arrives(&mut self, alert: Alert) {
        let (now, turn) = (self.now, |it: &mut crate::driver::Process| {
            (it.life, it.gauge.turn)
        });
        let Some((life, turn)) = self.owner().map(turn) else {
            return;
        };
        if let Some(process) = self.process(life) {
            process.gauge.due_at = now;
        }
        self.give_owner(Input::Alerted(alert));
        self.after(0, Event::Measure { life, turn });
    }
}
