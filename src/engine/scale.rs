//! How many instances a service needs, decided from how busy they are.
//!
//! [`Scaler`] is told what is measured ([`Scaler::measured`]) and which alerts fire ([`Scaler::alerted`]), and is asked
//! for a [`Verdict`]. It makes nothing and removes nothing: [`fleet`](super::fleet) does, towards the number wanted.
//!
//! What it reckons with is the load of all instances together, in machines: that stays what it is when their number
//! changes, where the load of each does not. So load that was measured before an instance came still says how many are
//! needed, and nobody adds another because of it. Three things bend that, each to the safe side. What an instance takes
//! for itself makes the load of more machines greater: what was measured on more is too high to go down by, never too
//! low, and what was measured on fewer is not gone down by at all. A machine that is busy all the time hides what it
//! could not do: on the way up its load is the least that it may be, on the way down it counts as a machine more. An
//! instance that says nothing counts as idle on the way up, and on the way down as a reason to wait.
//!
//! `watch` makes rounds of the samples, `window` remembers them in little room, `rule` is the rule itself, [`alerts`]
//! knows what fires, [`Crowd`] what a wake begins with, [`Why`] says it to people. `docs/scaling.md` has the whole rule for operators, and what it does on real traces.

use super::id::InstanceId;
use super::load::{Sample, Share};
use super::time::{Span, Time};
use alerts::Alerts;
pub use alerts::{Alert, Direction};
pub use crowd::{Called, Crowd};
use rule::Fewer;
use watch::Watch;
pub use why::Why;

pub mod alerts;
mod crowd;
mod floor;
mod rule;
#[cfg(test)]
mod tests;
mod watch;
mod why;
mod window;

/// By which rule it is gone down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When the instances together are less busy than `down_at`.
    Threshold,
    /// When one instance fewer would stay this much below `up_at`.
    Projected {
        /// How much below.
        margin: Share,
    },
}

impl Mode {
    /// The margin of [`Mode::Projected`] unless something else is configured.
    pub const MARGIN: Share = Share::percent(10);

    /// How long load must have been low before an instance goes, unless something else is configured: by the traces in
    /// `docs/scaling.md` the shortest that seldom takes away what is wanted back within half an hour.
    #[must_use]
    pub const fn default_down_window(self) -> Span {
        match self {
            Mode::Threshold => Span::mins(15),
            Mode::Projected { .. } => Span::mins(30),
        }
    }
}

/// What an operator sets. Numbers are of instances in all, the seed among them where it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Never fewer.
    pub min: u16,
    /// Never more. It wins over `min`.
    pub max: u16,
    /// By which rule it is gone down.
    pub mode: Mode,
    /// More are wanted when they are busier than this over `up_window`.
    pub up_at: Share,
    /// One fewer is wanted when they were less busy than this throughout `down_window`. Only of [`Mode::Threshold`].
    pub down_at: Share,
    /// The time over which load is averaged.
    pub up_window: Span,
    /// The time for which load must have been low.
    pub down_window: Span,
    /// After a change, nothing goes for so long; where there are alerts only, nothing comes either.
    pub cooldown: Span,
    /// How often a sample of each instance comes.
    pub interval: Span,
    /// A sample tells of the time before it. What an instance says so soon after it began to serve is of its start, too, and
    /// does not count.
    pub settling: Span,
    /// There are no samples: each alert that fires moves by one instance.
    pub alerts_only: bool,
    /// What those who wait for a wake call for; none where a wake brings one instance.
    pub crowd: Option<Crowd>,
}

/// Signals average over up to a minute (a `rate` over four scrapes).
pub const SETTLING_MAX: Span = Span::mins(1);

impl Terms {
    /// How long an instance settles where the signal's own samples come that often: four of them.
    #[must_use]
    pub fn settling_of(interval: Span) -> Span {
        Span(interval.0.saturating_mul(4)).min(SETTLING_MAX)
    }

    /// The `down_at` of an `up_at`: half of it less 5 points. So a load that brought a second instance leaves both
    /// busier than that, and one instance without its second is 10 points below `up_at`.
    #[must_use]
    pub const fn default_down_at(up_at: Share) -> Share {
        Share::hundredths((up_at.in_hundredths() / 2).saturating_sub(500))
    }

    /// A sample older than this says nothing of now: two in a row were lost.
    #[must_use]
    pub fn stale_after(&self) -> Span {
        Span(self.interval.0.saturating_mul(3))
    }

    /// The number within the bounds that is nearest to this one.
    fn within(&self, instances: u16) -> u16 {
        instances.max(self.min).min(self.max)
    }
}

impl Default for Terms {
    fn default() -> Terms {
        let up_at = Share::percent(70);
        Terms {
            min: 1,
            max: 1,
            mode: Mode::Threshold,
            up_at,
            down_at: Terms::default_down_at(up_at),
            up_window: Span::mins(1),
            down_window: Mode::Threshold.default_down_window(),
            cooldown: Span::mins(3),
            interval: Span::secs(15),
            settling: SETTLING_MAX,
            alerts_only: false,
            crowd: None,
        }
    }
}

/// The instances of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crew<'a> {
    /// Those that get requests.
    pub serving: &'a [InstanceId],
    /// How many are wanted and do not serve yet: being made, or starting.
    pub starting: u16,
    /// How many are on their way out.
    pub leaving: u16,
}

impl Crew<'_> {
    /// How many are wanted now.
    #[must_use]
    pub fn wanted(&self) -> u16 {
        serving(self).saturating_add(self.starting)
    }
}

/// How many instances are wanted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// So many in all, serving or starting.
    pub wanted: u16,
    /// Why.
    pub why: Why,
}

/// Decides for one service. A new one knows nothing, changes nothing until it has seen enough, and keeps the number
/// that it finds.
#[derive(Clone, Debug, Default)]
pub struct Scaler {
    watch: Watch,
    alerts: Alerts,
    /// When another number was last wanted than there was, and how many there were.
    changed: Option<(Time, u16)>,
    floor: floor::Floor,
}

impl Scaler {
    /// Takes samples, in any order. Each counts once, and only while it is fresh and of an instance that serves. To be
    /// called after each look at the signal, also when it told nothing.
    pub fn measured(&mut self, samples: &[Sample], crew: &Crew<'_>, now: Time, terms: &Terms) {
        self.watch.measured(samples, crew, now, terms);
        match self.watch.evenly(crew, now, terms) {
            Some(load) => self.floor.saw(now, serving(crew), load, terms),
            None => self.floor.lost(),
        }
    }

    /// Takes what an alert says. Whether it is news: then the load should be measured now and a verdict asked for.
    pub fn alerted(&mut self, alert: Alert, now: Time) -> bool {
        self.alerts.heard(alert, now)
    }

    /// How many instances are wanted now. What is wanted stays wanted, for as long as its reason lasts, until the crew
    /// shows it; then the cooldown begins.
    pub fn decide(&mut self, now: Time, crew: &Crew<'_>, terms: &Terms) -> Verdict {
        self.watch.measured(&[], crew, now, terms);
        let verdict = self.verdict(now, crew, terms);
        if verdict.wanted != crew.wanted() {
            self.changed = Some((now, crew.wanted()));
        }
        verdict
    }

    /// What those who wait call for is wanted, whatever was decided, and is a change like any other: `cooldown` counts
    /// from the last time that this is said.
    pub fn called_for(&mut self, now: Time) {
        self.changed = Some((now, 0));
    }

    /// The next moment at which the verdict may be another without a new sample or alert.
    #[must_use]
    pub fn due(&self, now: Time, terms: &Terms) -> Option<Time> {
        let cooldown = self.changed.map(|(at, _)| at + terms.cooldown);
        let stale = self.watch.turns_stale_at(terms);
        let untrusted = self.alerts.ends_at(terms);
        let due = stale.chain(untrusted).chain(cooldown);
        due.filter(|at| *at > now).min()
    }

    fn verdict(&self, now: Time, crew: &Crew<'_>, terms: &Terms) -> Verdict {
        let have = crew.wanted();
        if terms.within(have) != have {
            let (min, max) = (terms.min.min(terms.max), terms.max);
            let wanted = terms.within(have);
            let why = Why::Bounds { min, max };
            return Verdict { wanted, why };
        }
        let (wanted, why) = if terms.min >= terms.max {
            (have, Why::Fixed { instances: have })
        } else if terms.alerts_only {
            self.by_alerts(now, crew, terms)
        } else if let Some(up) = self.up(now, crew, terms) {
            up
        } else {
            self.down(now, crew, terms)
        };
        Verdict { wanted, why }
    }

    /// More, if the load needs more than there are and will be.
    fn up(&self, now: Time, crew: &Crew<'_>, terms: &Terms) -> Option<(u16, Why)> {
        let load = self.watch.at_least(now, terms)?;
        let (have, needed) = (crew.wanted(), rule::needed(load, terms));
        let (load, up_at, over) = (load.each(serving(crew)), terms.up_at, terms.up_window);
        let too_busy = Why::TooBusy {
            load,
            over,
            needed,
            up_at,
        };
        if needed > have {
            return Some(match terms.within(needed) {
                wanted if wanted == needed => (wanted, too_busy),
                wanted => (
                    wanted,
                    Why::Full {
                        load,
                        over,
                        needed,
                        max: terms.max,
                    },
                ),
            });
        }
        let starting = crew.starting;
        let waits = starting > 0 && needed > serving(crew);
        waits.then_some((have, Why::Coming { starting, load }))
    }

    /// One fewer, if nothing speaks against it.
    fn down(&self, now: Time, crew: &Crew<'_>, terms: &Terms) -> (u16, Why) {
        let have = crew.wanted();
        let keep = |why| (have, why);
        if let Some(why) = self.unclear(now, crew, terms) {
            return keep(why);
        }
        let Some(load) = self.watch.at_most() else {
            return keep(Why::Learning);
        };
        let (each, over) = (load.each(have), terms.down_window);
        if have <= terms.min {
            return keep(Why::Least { load: each, over });
        }
        match rule::fewer(load, have, terms) {
            Fewer::Enough => {}
            too_busy => return keep(self.too_busy(too_busy, now, each, have, terms)),
        }
        let ready = self.watch.low_since().map(|at| at + terms.down_window);
        match (ready, self.cooldown(now, have, terms)) {
            (None, _) => keep(Why::Learning),
            (Some(at), _) if !self.watch.reached(at) => keep(Why::NotYet { at }),
            (_, Some(until)) => keep(Why::Cooldown { until }),
            _ => {
                let (wanted, load) = (have - 1, each);
                (wanted, Why::Quiet { load, over, wanted })
            }
        }
    }

    /// Why the rule lets none of so many go, each of which was up to so busy.
    fn too_busy(&self, rule: Fewer, now: Time, load: Share, have: u16, terms: &Terms) -> Why {
        if let Some(lowest) = self.floor.stuck(now, have, terms) {
            let down_at = terms.down_at;
            return Why::BaseLoad { lowest, down_at };
        }
        let (over, mode) = (terms.down_window, terms.mode);
        match rule {
            Fewer::Busy { is, below } => Why::Busy {
                load,
                over,
                mode,
                is,
                below,
            },
            Fewer::Needed(load) => Why::Needed {
                fewer: have.saturating_sub(1),
                load,
            },
            Fewer::Enough => Why::Least { load, over },
        }
    }

    /// Why it isn't clear how busy all of them are.
    fn unclear(&self, now: Time, crew: &Crew<'_>, terms: &Terms) -> Option<Why> {
        if crew.serving.is_empty() {
            return Some(Why::NobodyServes);
        }
        if crew.starting > 0 {
            let starting = crew.starting;
            return Some(Why::Starting { starting });
        }
        if crew.leaving > 0 {
            let leaving = crew.leaving;
            return Some(Why::Leaving { leaving });
        }
        if let Some(instance) = self.watch.settling(now, terms) {
            return Some(Why::Settling { instance });
        }
        let instance = self.watch.blind(now, terms)?;
        Some(Why::Blind { instance })
    }

    /// One more or one fewer, as the alerts say.
    fn by_alerts(&self, now: Time, crew: &Crew<'_>, terms: &Terms) -> (u16, Why) {
        let have = crew.wanted();
        let Some(direction) = self.alerts.firing(now, terms) else {
            return (have, Why::NoAlert);
        };
        let end = match direction {
            Direction::Up => terms.max,
            Direction::Down => terms.min,
        };
        if have == end {
            return (have, Why::AlertAtEnd { direction });
        }
        if crew.starting > 0 {
            let starting = crew.starting;
            return (have, Why::Starting { starting });
        }
        if crew.leaving > 0 && direction == Direction::Down {
            let leaving = crew.leaving;
            return (have, Why::Leaving { leaving });
        }
        if let Some(until) = self.cooldown(now, have, terms) {
            return (have, Why::Cooldown { until });
        }
        let wanted = match direction {
            Direction::Up => have + 1,
            Direction::Down => have - 1,
        };
        (wanted, Why::Alert { direction, wanted })
    }

    /// Until when it is too early for another change. A change that was wanted and is not seen yet is still wanted.
    fn cooldown(&self, now: Time, have: u16, terms: &Terms) -> Option<Time> {
        // A clock that jumped back does not hold it for longer than the cooldown.
        let seen = |(at, had): &(Time, u16)| *at <= now && *had != have;
        let (changed, _) = self.changed.filter(seen)?;
        Some(changed + terms.cooldown).filter(|until| *until > now)
    }
}

fn serving(crew: &Crew<'_>) -> u16 {
    u16::try_from(crew.serving.len()).unwrap_or(u16::MAX)
}
