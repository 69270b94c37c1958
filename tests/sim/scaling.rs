//! What must be true of the number of instances where the shipped policy decides it: no step without a reason that was
//! really heard (I9), none to and fro under a load that stays (I10), none beyond the bounds (I5), and in the end as many
//! serve as the load needs ("load").
//!
//! A reason for one fewer: every instance in service has told how busy it is, lately and all through `down_window` with
//! no gap of more than three times the age at which a sample is stale; or a rule that wants fewer fires and was not
//! revoked; or the service is idle, as it must be before a stop. For one more: a sample that is not stale, or a rule. Of
//! this the world knows by itself: it notes what each leader was really told, of which moment, and when.
//!
//! When the number must be right. The load has been the same since `s`, the service awake since `a`, and the last trouble was
//! at `t`: then by `max(s, a, t + settling) + converges`, where `settling` is what `crew` allows for the traces of a
//! trouble, and `converges = (max - 1) * up + (max - min) * down + hour`, with
//!
//! - `up = up_window + stale_after + settling + 3 * interval + cooldown + boot`, as a machine that does all it can hides how
//!   much more there is to do, so that it takes up to `max - 1` looks;
//! - `down = settling + 3 * interval + down_window + stale_after + cooldown + drain + 2 minutes`, for it goes down by one at a
//!   time, and the next waits until the last is gone;
//! - `boot` twice what a machine takes, and its app, with a minute for the calls and the publishing;
//! - `hour`, the wait for the bound of creations, after a loss by which it counts as used up.
//!
//! The number is right if it is at least what brings the load to `up_at` of each, and no more than what the rule can let go of,
//! with the noise of the samples and with the load that each takes for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use anteroom::engine::contract::{Input, Upstream};
use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::scale::{Alert, Direction, Mode, Terms};
use anteroom::engine::view::{CloneStep, CloneView, Phase};

use crate::plan::{HOUR, MINUTE};
use crate::world::World;

/// An alert is believed for so long, or for ten cooldowns.
const TRUSTED: u64 = HOUR;

/// How a leader's view was before a step.
pub(crate) struct Before {
    pub(crate) clones: Vec<CloneView>,
    pub(crate) upstreams: Vec<Upstream>,
}

/// What a leader has really been told of the load.
#[derive(Debug, Default)]
pub(crate) struct Reasons {
    /// Of which moments each instance has spoken.
    spoke: BTreeMap<InstanceId, Vec<u64>>,
    /// The alerts that it was told of, by name, and whether each was ever revoked.
    alerts: BTreeMap<(u64, u64), (Alert, bool)>,
    /// Somebody has asked for sleep, and nobody for the service since.
    sleep_asked: bool,
}

/// What the policy has done lately.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    up_at: u64,
    down_at: u64,
    /// Clones were sent away because nobody used the service.
    sleepy_at: u64,
}

/// Why a clone that was well left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    TooMany,
    Sleep,
    Load,
}

impl World {
    /// Notes what an input tells, before the engine hears it.
    pub(crate) fn told(&mut self, life: u64, input: &Input) {
        if self.plan.load.is_none() {
            return;
        }
        let (now, site) = (self.now, self.site_of(life));
        let window = self
            .plan
            .policy
            .scale
            .map_or(0, |terms| terms.down_window.0);
        let said: Vec<(InstanceId, u64)> = match input {
            Input::Measured(samples) => {
                let clock = self.clock(site);
                let true_ones = samples.iter().filter(|it| it.at <= clock);
                true_ones
                    .map(|it| (it.instance, self.at(site, it.at)))
                    .collect()
            }
            _ => Vec::new(),
        };
        let Some(process) = self.process(life) else {
            return;
        };
        let reasons = &mut process.reasons;
        match input {
            Input::Alerted(alert) => {
                let known = reasons.alerts.entry((alert.name, alert.at.0));
                let known = known.or_insert((*alert, false));
                known.1 |= !alert.firing;
            }
            Input::SleepAsked { .. } => reasons.sleep_asked = true,
            Input::Triggered(_) | Input::Held { .. } => reasons.sleep_asked = false,
            _ => {}
        }
        for (instance, at) in said {
            let spoke = reasons.spoke.entry(instance).or_default();
            spoke.push(at);
            spoke.retain(|at| at + 2 * window + HOUR > now);
        }
    }

    /// After each step of a leader.
    pub(crate) fn check_scaling(&mut self, life: u64, before: &Before) {
        let Some(terms) = self.plan.policy.scale else {
            return;
        };
        if self.owner().map(|owner| owner.life) != Some(life) {
            return;
        }
        let Some(process) = self.process(life) else {
            return;
        };
        let after = process.view.clones.clone();
        if after == before.clones {
            return;
        }
        let (was, is) = (live(&before.clones), live(&after));
        let known = |clone: &&CloneId| before.clones.iter().any(|it| it.clone == **clone);
        let new = is.iter().filter(|clone| !known(clone)).copied();
        let new: Vec<CloneId> = new.filter(|clone| self.is_new(*clone)).collect();
        let served = before
            .clones
            .iter()
            .filter(|it| it.step == CloneStep::Serving);
        let left = served
            .map(|it| it.clone)
            .filter(|clone| !is.contains(clone));
        let left: Vec<CloneId> = left.filter(|clone| self.is_well(*clone)).collect();
        if !new.is_empty() {
            self.counts.ups += 1;
            self.check_more(life, &terms, is.len() - new.len(), is.len());
        }
        if !left.is_empty() {
            self.check_fewer(life, &terms, before, was.len(), &left, is.len());
        }
    }

    /// Nobody has ever had it.
    fn is_new(&self, clone: CloneId) -> bool {
        !self.crew.ours.contains(&clone) && self.account.of(clone).next().is_none()
    }

    /// It serves, and nothing speaks against it.
    fn is_well(&self, clone: CloneId) -> bool {
        let (now, mut vms) = (self.now, self.account.of(clone));
        let well = vms.next().is_some_and(|vm| {
            let missed = vm.missed_at.is_some_and(|at| now < at + MINUTE);
            vm.answers() && vm.delete_asked_at.is_none() && !missed && vm.is_listed(now)
        });
        well && vms.next().is_none()
    }

    fn check_more(&mut self, life: u64, terms: &Terms, was: usize, is: usize) {
        let (now, max) = (self.now, usize::from(terms.max));
        if is + 1 > max {
            self.breaks("I5", || {
                format!("{is} clones and the seed are more than {max}")
            });
        }
        // The seed of a wake that failed is none of them.
        let failed = self.owner().map(|owner| owner.view.phase) == Some(Phase::Failed);
        let too_few = was + usize::from(!failed) < usize::from(terms.min);
        let stale_after = terms.stale_after().0;
        let trusted = trusted(terms);
        let clock = self.clock(self.site_of(life));
        let frozen = now < self.facts.frozen_until;
        let Some(process) = self.process(life) else {
            return;
        };
        let reasons = &process.reasons;
        let heard = match terms.alerts_only {
            true => reasons.fires(Direction::Up, clock.0, trusted),
            false => {
                let newest = reasons.spoke.values().flatten().max();
                newest.is_some_and(|at| now <= at + stale_after)
            }
        };
        if !too_few && !heard && !frozen {
            self.breaks("I9", || {
                format!("one more than {was} clones, and nothing says so")
            });
        }
        if !too_few && self.is_steady(terms, self.crew.steps.down_at) {
            self.breaks("I10", || {
                "a clone comes back under a load that stays".into()
            });
        }
        self.check_converged(terms, "a clone comes");
        self.crew.steps.up_at = now;
    }

    fn check_fewer(
        &mut self,
        life: u64,
        terms: &Terms,
        before: &Before,
        was: usize,
        left: &[CloneId],
        is: usize,
    ) {
        let now = self.now;
        let reason = if was + 1 > usize::from(terms.max) {
            Reason::TooMany
        } else if self.may_sleep(life) {
            Reason::Sleep
        } else {
            Reason::Load
        };
        if reason == Reason::Sleep {
            self.crew.steps.sleepy_at = now;
        }
        let least = usize::from(terms.min);
        if reason != Reason::Sleep && is + 1 < least {
            self.breaks("I5", || {
                format!("{left:?} leave {is} and the seed, fewer than {least}")
            });
        }
        if reason != Reason::Load {
            return;
        }
        self.counts.downs += 1;
        let silent = match terms.alerts_only {
            true => self.no_rule(life, terms),
            false => self.silent(life, terms, before, left),
        };
        if let Some(silent) = silent.filter(|_| now > self.facts.frozen_until) {
            self.breaks("I9", || format!("{left:?} leave, {silent}"));
        }
        if self.is_steady(terms, self.crew.steps.up_at) {
            self.breaks("I10", || {
                format!("{left:?} leave again under a load that stays")
            });
        }
        self.check_converged(terms, "a clone leaves");
        self.crew.steps.down_at = now;
    }

    fn no_rule(&mut self, life: u64, terms: &Terms) -> Option<String> {
        let clock = self.clock(self.site_of(life));
        let reasons = &self.process(life)?.reasons;
        let fires = reasons.fires(Direction::Down, clock.0, trusted(terms));
        (!fires).then(|| "and no rule fires".into())
    }

    /// An instance in service of which too little was heard.
    fn silent(
        &mut self,
        life: u64,
        terms: &Terms,
        before: &Before,
        left: &[CloneId],
    ) -> Option<String> {
        let now = self.now;
        let stale_after = terms.stale_after().0;
        let began = now.saturating_sub(terms.down_window.0);
        let gap_max = 3 * stale_after + terms.interval.0;
        let process = self.process(life)?;
        let (reasons, upstreams) = (&process.reasons, &process.view.upstreams);
        let leaves =
            |it: InstanceId| matches!(it, InstanceId::Clone(clone) if left.contains(&clone));
        for up in &before.upstreams {
            let instance = up.instance;
            if !leaves(instance) && upstreams.iter().all(|it| it.instance != instance) {
                continue;
            }
            let nothing = Vec::new();
            let mut spoke = reasons.spoke.get(&instance).unwrap_or(&nothing).clone();
            spoke.sort_unstable();
            let newest = spoke.last().copied().unwrap_or(0);
            if now > newest + stale_after {
                return Some(format!("and {instance} last spoke at {newest}"));
            }
            let mut last = began;
            for at in spoke.into_iter().filter(|at| *at >= began) {
                if at > last + gap_max {
                    return Some(format!("and {instance} said nothing from {last} to {at}"));
                }
                last = at;
            }
        }
        None
    }

    /// Whether the service is idle by all that is known, or an admin wants it to sleep.
    fn may_sleep(&mut self, life: u64) -> bool {
        let (now, clock) = (self.now, self.clock(self.site_of(life)));
        let idle = self.plan.policy.idle_timeout.0;
        // While a clock that was set back stands still, a hold that was over is over.
        let held = self.facts.hold.is_some_and(|until| until > clock);
        if held && now >= self.facts.frozen_until {
            return false;
        }
        let mut sites = (0..self.ways.len()).filter(|site| !self.is_beyond_reach(*site));
        let quiet = sites.all(|site| self.facts.seems_quiet(site, now, idle));
        let Some(process) = self.process(life) else {
            return false;
        };
        let (asked, unknown_at) = (process.reasons.sleep_asked, process.watched.unknown_at);
        let known = now >= unknown_at + idle || now < self.facts.frozen_until + 10 * MINUTE;
        asked || known && quiet
    }

    /// When something last befell the service that the policy has to do with.
    fn troubled_at(&self) -> u64 {
        let facts = &self.facts;
        let since = facts.disturbed_at.max(self.crew.struck_at);
        let since = since.max(facts.frozen_until).max(self.store.down_until);
        since
            .max(self.account.full_until)
            .max(self.demand.silent_until)
    }

    /// Whether the load was as it is, and nothing befell anybody, since long before that moment.
    fn is_steady(&self, terms: &Terms, at: u64) -> bool {
        let window = terms.up_window.0 + terms.stale_after().0 + terms.interval.0;
        let constant = self.demand.constant_since(self.now);
        let since = self.troubled_at() + self.settling();
        let since = since.max(self.crew.steps.sleepy_at);
        let alerts = if terms.alerts_only { trusted(terms) } else { 0 };
        constant.is_some_and(|constant| at > (constant + window).max(since) + alerts)
    }

    /// Since when the number of instances must be right; none while it need not.
    fn converged_at(&mut self, terms: &Terms) -> Option<u64> {
        let constant = self.demand.constant_since(self.now)?;
        let trouble = self.troubled_at() + self.settling();
        let sleepy = self.crew.steps.sleepy_at;
        let lost = match self.crew.losses.last() {
            Some(at) => at + 2 * HOUR,
            None => 0,
        };
        let owner = self
            .owner()
            .filter(|owner| owner.view.phase == Phase::Awake)?;
        let (life, since) = (owner.life, owner.watched.phase_since);
        let per_hour = self.plan.policy.clones.map_or(0, |terms| terms.per_hour);
        if self.may_sleep(life) || self.crew.is_hour_full(self.now, usize::from(per_hour)) {
            return None;
        }
        let since = constant.max(trouble).max(sleepy).max(since).max(lost);
        Some(since + self.converges_in(terms))
    }

    fn converges_in(&self, terms: &Terms) -> u64 {
        let (max, min) = (u64::from(terms.max), u64::from(terms.min));
        let (plan, clones) = (&self.plan, self.clones());
        let boot = 2 * clones.takes + plan.boot + MINUTE;
        let looks = terms.settling.0 + 3 * terms.interval.0 + terms.stale_after().0;
        let rules = 4 * plan
            .load
            .as_ref()
            .and_then(|it| it.rules_every)
            .unwrap_or(0);
        let up = terms.up_window.0 + looks + terms.cooldown.0 + boot + rules;
        let drain = plan.policy.drain_timeout.0 + 2 * MINUTE;
        let down = looks + terms.down_window.0 + terms.cooldown.0 + drain + rules;
        (max - 1) * up + (max - min) * down
    }

    fn check_converged(&mut self, terms: &Terms, what: &str) {
        let now = self.now;
        if self.converged_at(terms).is_some_and(|at| now > at) {
            let what = what.to_owned();
            self.breaks("I10", || {
                format!("{what} though nothing has changed for long")
            });
        }
    }

    /// The numbers of instances that are right by now; none where others may be.
    pub(crate) fn right_numbers(&mut self) -> Option<RangeInclusive<u16>> {
        let terms = self.plan.policy.scale?;
        let now = self.now;
        let due = self.converged_at(&terms)?;
        if now <= due {
            return None;
        }
        if !terms.alerts_only {
            return Some(self.needed(&terms)..=self.enough(&terms));
        }
        let (clock, trusted) = (self.clock(0), trusted(&terms));
        let reasons = &self.owner()?.reasons;
        // Whoever leads since then was not told: who sends alerts repeats one only after hours.
        let fires = |direction| reasons.fires(direction, clock.0, trusted);
        let (up, down) = (fires(Direction::Up), fires(Direction::Down));
        let least = if up { terms.max } else { terms.min };
        let most = if down { terms.min } else { terms.max };
        (least <= most).then_some(least..=most)
    }

    /// What so many instances together say at least, or at most.
    fn said_by(&self, instances: u16, noise: i64) -> u64 {
        let load = self.load();
        let n = u64::from(instances);
        let each = (self.demand.at(self.now) / n + load.base).min(10_000);
        each.saturating_add_signed(noise).min(10_000) * n
    }

    /// The least number that the load surely needs.
    fn needed(&self, terms: &Terms) -> u16 {
        let noise = i64::try_from(self.load().noise).unwrap_or(0) + 50;
        let up_at = terms.up_at.in_hundredths();
        let more = |n: u16| self.said_by(n, -noise) > up_at * u64::from(n);
        (terms.min..terms.max)
            .find(|n| !more(*n))
            .unwrap_or(terms.max)
    }

    /// The greatest number of which the rule surely lets none go.
    fn enough(&self, terms: &Terms) -> u16 {
        let noise = i64::try_from(self.load().noise).unwrap_or(0) + 50;
        let up_at = terms.up_at.in_hundredths();
        let fewer = |n: &u16| {
            let said = self.said_by(*n, noise);
            let (each, left) = (
                said.div_ceil(u64::from(*n)),
                said.div_ceil(u64::from(*n - 1)),
            );
            left < up_at
                && match terms.mode {
                    Mode::Threshold => each < terms.down_at.in_hundredths(),
                    Mode::Projected { margin } => left < up_at - margin.in_hundredths(),
                }
        };
        let mut down = (terms.min + 1..=terms.max).rev();
        down.find(|n| !fewer(n)).unwrap_or(terms.min)
    }

    /// Every minute: whether as many serve as the load needs.
    pub(crate) fn audit_load(&mut self) {
        let Some(right) = self.right_numbers() else {
            return;
        };
        self.counts.settled += 1;
        let crew = self.in_service();
        let serve = crew.iter().filter(|up| self.serves(up)).count();
        if !right.contains(&u16::try_from(serve).unwrap_or(u16::MAX)) {
            let (need, view) = (
                self.demand.at(self.now),
                self.owner().map(|it| it.view.scale.clone()),
            );
            self.breaks("load", || {
                format!("{serve} serve, {right:?} are right where visitors need {need}: {view:?}")
            });
        }
    }
}

impl Reasons {
    /// Whether an alert of that direction fires, by all that was told of it.
    fn fires(&self, direction: Direction, clock: u64, trusted: u64) -> bool {
        let latest: BTreeMap<u64, &(Alert, bool)> = self
            .alerts
            .iter()
            .map(|((name, _), it)| (*name, it))
            .collect();
        let mut latest = latest.into_values();
        latest.any(|(alert, revoked)| {
            let young = clock < alert.at.0 + trusted;
            alert.direction == direction && !revoked && young
        })
    }
}

fn trusted(terms: &Terms) -> u64 {
    TRUSTED.max(10 * terms.cooldown.0)
}

fn live(clones: &[CloneView]) -> BTreeSet<CloneId> {
    let live = clones.iter().filter(|it| it.step != CloneStep::Leaving);
    live.map(|it| it.clone).collect()
}
