//! The truth about the limits (I12): buckets that are counted by the world's own clock.
//!
//! For a limit of `n` that gives one back every `i`, its quarter `q = max(n / 4, 1)` with `j`, and a stretch of time `T` in
//! which `R` processes lived and the store was wiped or lost its last writes `W` times, there are at most
//!
//! - `n + T / i` wakes by the store between two losses, so `(1 + W) * (n + T / i)` in all;
//! - `q + T / j` wakes of each process without the store, which come out of the store's bucket later: it may be in debt, and
//!   lets nobody through before that is paid back;
//! - `n + T / i` wakes of each process by all ways, however often the store was wiped, but those that a store which has lost
//!   nothing allows.
//!
//! So `min(1 + W, R) * (n + T / i) + R * (q + T / j)` in all. The store reckons by the clocks of the rooms: add what
//! comes back in [`CLOCKS_DIFFER`]. Each part is held by itself, at every wake; and a store refuses nobody for whom there is room.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anteroom::engine::admit::{Applicant, Rate, Rule, Rules};

use crate::plan::CLOCKS_DIFFER;
use crate::world::DAWN;

const DAY: u64 = 24 * 60 * 60 * 1_000;

/// What was let through by one store, or by one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    service: Meter,
    clients: BTreeMap<IpAddr, Meter>,
    /// The number of a day, and its wakes.
    day: (u64, u32),
}

/// When a bucket will be full again. It may be in debt.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    full_at: u64,
}

impl Meter {
    /// One that was let through at `at`, and is told of now.
    fn charge(&mut self, at: u64, now: u64, rate: Rate) {
        // A book does not remember more debt than this.
        let most = now + 2 * rate.whole().0;
        let from = if self.full_at > now { self.full_at } else { at };
        self.full_at = (from.max(at) + rate.interval().0).min(most);
    }

    /// Whether there is one to be had, if the clocks may be wrong by `slack`.
    fn has(&self, now: u64, rate: Rate, slack: i64) -> bool {
        let early = self.full_at.max(now) - now;
        let early = i64::try_from(early).unwrap_or(i64::MAX);
        early <= i64::try_from(rate.tolerance().0).unwrap_or(0) + slack
    }
}

const SLACK: i64 = CLOCKS_DIFFER as i64;

impl Meters {
    /// Counts a wake that was let through; which limit it breaks, if it breaks one.
    pub(crate) fn admit(
        &mut self,
        now: u64,
        applicant: &Applicant,
        rules: &Rules,
        clocks_differ: bool,
    ) -> Result<(), &'static str> {
        let slack = if clocks_differ { SLACK } else { 0 };
        let broken = self.broken(now, applicant, rules, slack);
        self.charge(now, now, applicant, rules);
        broken.map_or(Ok(()), |rule| Err(rule.as_str()))
    }

    /// Whether no limit has a reason to refuse.
    pub(crate) fn has_room(&self, now: u64, applicant: &Applicant, rules: &Rules) -> bool {
        self.broken(now, applicant, rules, -SLACK).is_none() && !near_midnight(now)
    }

    fn broken(&self, now: u64, applicant: &Applicant, rules: &Rules, slack: i64) -> Option<Rule> {
        let client = self.clients.get(&applicant.address);
        let client = client.copied().unwrap_or_default();
        let lacks = |meter: Meter, rate: Option<Rate>| {
            rate.is_some_and(|rate| !meter.has(now, rate, slack))
        };
        let (day, count) = self.day;
        let spent = if day == today(now) { count } else { 0 };
        if lacks(client, rules.per_client) {
            return Some(Rule::PerClient);
        }
        if lacks(self.service, rules.per_service) {
            return Some(Rule::PerService);
        }
        let over = rules.per_day.is_some_and(|budget| spent >= budget);
        (over && !near_midnight(now)).then_some(Rule::PerDay)
    }

    pub(crate) fn charge(&mut self, at: u64, now: u64, applicant: &Applicant, rules: &Rules) {
        if let Some(rate) = rules.per_client {
            let client = self.clients.entry(applicant.address).or_default();
            client.charge(at, now, rate);
        }
        if let Some(rate) = rules.per_service {
            self.service.charge(at, now, rate);
        }
        // Around midnight the rooms' clocks do not agree on the day.
        if near_midnight(at) || today(at) < self.day.0 {
            return;
        }
        self.day = match self.day {
            (day, count) if day == today(at) => (day, count + 1),
            _ => (today(at), 1),
        };
    }
}

fn today(now: u64) -> u64 {
    (DAWN + now) / DAY
}

fn near_midnight(now: u64) -> bool {
    let since = (DAWN + now) % DAY;
    since.min(DAY - since) <= CLOCKS_DIFFER
}
