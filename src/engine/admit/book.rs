//! What the limits remember, in memory: one timestamp for each limit in use, the day's count and the number of
//! the last wake of each service.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Applicant, DAY_MS, Rate, Rule, Rules, Verdict, gcra};
use crate::engine::contract::Trigger;
use crate::engine::id::ServiceName;
use crate::engine::privacy::Forgotten;
use crate::engine::time::{Span, Time};

mod late;

pub use late::{Late, gcra_late};

/// Clients, networks and spent nonces that are remembered at a time, in all services: 12 MB at most.
///
/// Each gets in only by an admitted wake, and out as soon as its timestamp means nothing any more, so a
/// flood of refused ones adds none. When the book is full all the same, what would be forgotten soonest goes
/// first, and its client starts afresh, or its nonce would count once more; the limits of services, of all and of the day are never dropped, so the
/// machines' cost stays bounded.
pub const KEYS_MAX: usize = 65_536;

/// What a timestamp is kept for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A client of a service, an IPv4 address or an IPv6 /64, by the name that it may be written down by.
    Client(ServiceName, String),
    /// A network of a service, an IPv4 /24 or an IPv6 /48, in the same way.
    Network(ServiceName, String),
    /// A service.
    Service(ServiceName),
    /// All services together.
    OverAll,
    /// A nonce of a service that has paid for a wake, by its serial.
    Spent(ServiceName, String),
}

impl Key {
    /// Whether it is about a client, or about what one brought, so that there may be any number of such keys.
    #[must_use]
    pub const fn is_of_client(&self) -> bool {
        matches!(self, Key::Client(..) | Key::Network(..) | Key::Spent(..))
    }
}

/// The wakes of a service in one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Which day: whole days UTC since the epoch.
    pub day: u64,
    /// How many.
    pub count: u32,
}

impl Day {
    /// Today with this count as it was kept. A count of another day means nothing.
    fn today(kept: Option<Day>, now: Time) -> Day {
        let day = now.0 / DAY_MS;
        let count = kept.filter(|kept| kept.day == day).map_or(0, |it| it.count);
        Day { day, count }
    }

    fn until_next(self, now: Time) -> Span {
        Time((self.day + 1) * DAY_MS).since(now)
    }
}

/// The numbers of a service's wakes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wakes {
    /// The number of the last admitted wake; 0 before the first.
    pub last: u64,
    /// The highest number that an owner of the service has heard of.
    pub heard: u64,
    /// While the last wake is wanted: what asked for it, without who that is.
    pub wanted: Option<Trigger>,
    /// Who charged wakes late, and the number of the last of them.
    pub late: Option<(String, u64)>,
}

impl Wakes {
    /// The service's owner has heard of the wakes up to this number, and `at_rest` says that the service is not on
    /// its way into or out of sleep: then a wake that was heard of, by this owner or an earlier one, is no longer
    /// wanted.
    pub fn hear(&mut self, number: u64, at_rest: bool) {
        self.heard = self.heard.max(number);
        if at_rest && self.last <= self.heard {
            self.wanted = None;
        }
    }
}

/// What an admitted wake changes, all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The service.
    pub service: ServiceName,
    /// The service's wakes, with the new one wanted.
    pub wakes: Wakes,
    /// Each limit's new timestamp.
    pub marks: Vec<(Key, Time)>,
    /// The day's new count, where there is a budget.
    pub day: Option<Day>,
    /// What is forgotten meanwhile, because it means nothing any more or because the book is full. Comes before
    /// `marks`.
    pub drops: Vec<Key>,
}

/// What [`Book::rule`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Nothing changes.
    Settled(Verdict),
    /// It wakes, once this is charged.
    Admit(Charge),
}

/// The memory of all limits of a deployment.
#[derive(Clone, Debug)]
pub struct Book {
    marks: BTreeMap<Key, Time>,
    /// The marks of clients and networks, in the order in which they come to mean nothing.
    ends: BTreeSet<(Time, Key)>,
    days: BTreeMap<ServiceName, Day>,
    wakes: BTreeMap<ServiceName, Wakes>,
    keys_max: usize,
}

impl Default for Book {
    fn default() -> Book {
        Book::with_room_for(KEYS_MAX)
    }
}

impl Book {
    /// An empty book that remembers at most so many clients and networks, at least the two of one applicant.
    #[must_use]
    pub fn with_room_for(keys_max: usize) -> Book {
        Book {
            marks: BTreeMap::new(),
            ends: BTreeSet::new(),
            days: BTreeMap::new(),
            wakes: BTreeMap::new(),
            keys_max: keys_max.max(2),
        }
    }

    /// Rules on an applicant and charges what it costs.
    pub fn admit(
        &mut self,
        service: &ServiceName,
        now: Time,
        applicant: &Applicant,
        rules: &Rules,
    ) -> Verdict {
        match self.rule(service, now, applicant, rules) {
            Ruling::Settled(verdict) => verdict,
            Ruling::Admit(charge) => {
                let number = charge.wakes.last;
                self.charge(charge);
                Verdict::Wake(number)
            }
        }
    }

    /// Rules on an applicant and changes nothing. The charge is right only for the book as it is now.
    #[must_use]
    pub fn rule(
        &self,
        service: &ServiceName,
        now: Time,
        applicant: &Applicant,
        rules: &Rules,
    ) -> Ruling {
        let never = |rule| {
            let retry_after = None;
            Ruling::Settled(Verdict::Refused { rule, retry_after })
        };
        if applicant.banned {
            return never(Rule::Banned);
        }
        if let Some(rule) = rules.lists(applicant.address) {
            return never(rule);
        }
        let wakes = self.wakes.get(service).cloned().unwrap_or_default();
        if wakes.wanted.is_some() {
            return Ruling::Settled(Verdict::Joined(wakes.last));
        }
        let mut marks = Vec::new();
        let mut refusal: Option<(Rule, Span)> = None;
        let mut refuse = |rule, wait| {
            // Of two that last as long, the first is told.
            if refusal.is_none_or(|(_, longest)| wait > longest) {
                refusal = Some((rule, wait));
            }
        };
        for (rule, key, rate) in limits(service, applicant, rules) {
            match gcra(self.marks.get(&key).copied(), rate, now) {
                Ok(tat) => marks.push((key, tat)),
                Err(wait) => refuse(rule, wait),
            }
        }
        let day = rules.per_day.map(|budget| {
            let mut today = Day::today(self.days.get(service).copied(), now);
            match today.count < budget {
                true => today.count += 1,
                false => refuse(Rule::PerDay, today.until_next(now)),
            }
            today
        });
        if let Some((rule, wait)) = refusal {
            let retry_after = Some(wait);
            return Ruling::Settled(Verdict::Refused { rule, retry_after });
        }
        Ruling::Admit(Charge {
            service: service.clone(),
            wakes: Wakes {
                last: wakes.last + 1,
                heard: wakes.heard,
                late: wakes.late,
                wanted: Some(applicant.trigger.clone().lasting()),
            },
            drops: self.drops(now, &marks),
            marks,
            day,
        })
    }

    /// Makes the change of an admitted wake.
    pub fn charge(&mut self, charge: Charge) {
        self.forget(&charge.drops);
        for (key, tat) in charge.marks {
            self.mark(key, tat);
        }
        if let Some(day) = charge.day {
            self.set_day(charge.service.clone(), day);
        }
        self.set_wakes(charge.service, charge.wakes);
    }

    /// The owner of the service has heard of the wakes up to this number; see [`Wakes::hear`].
    pub fn hear(&mut self, service: &ServiceName, number: u64, at_rest: bool) {
        if let Some(wakes) = self.wakes.get_mut(service) {
            wakes.hear(number, at_rest);
        }
    }

    /// The numbers of a service's wakes.
    #[must_use]
    pub fn wakes(&self, service: &ServiceName) -> Wakes {
        self.wakes.get(service).cloned().unwrap_or_default()
    }

    /// Clients and networks that are remembered now.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.ends.len()
    }

    /// The clients and networks that mean nothing any more: their limits are whole again.
    #[must_use]
    pub fn past(&self, now: Time) -> Vec<Key> {
        let past = self.ends.iter().take_while(|(end, _)| *end <= now);
        past.map(|(_, key)| key.clone()).collect()
    }

    /// The limits of a client or a network, under any of its names.
    #[must_use]
    pub fn of(&self, forgotten: &Forgotten) -> Vec<Key> {
        let covered = |key: &&Key| match key {
            Key::Client(_, name) | Key::Network(_, name) => forgotten.covers(name),
            Key::Service(_) | Key::OverAll | Key::Spent(..) => false,
        };
        self.marks.keys().filter(covered).cloned().collect()
    }

    /// Forgets these.
    pub fn forget(&mut self, keys: &[Key]) {
        for key in keys {
            self.unmark(key);
        }
    }

    /// Keeps a timestamp, as it was kept before a restart.
    pub fn mark(&mut self, key: Key, tat: Time) {
        self.unmark(&key);
        if key.is_of_client() {
            self.ends.insert((tat, key.clone()));
        }
        self.marks.insert(key, tat);
    }

    /// Keeps a day's count, as it was kept before a restart.
    pub fn set_day(&mut self, service: ServiceName, day: Day) {
        self.days.insert(service, day);
    }

    /// Keeps the numbers of a service's wakes, as they were kept before a restart.
    pub fn set_wakes(&mut self, service: ServiceName, wakes: Wakes) {
        self.wakes.insert(service, wakes);
    }

    fn unmark(&mut self, key: &Key) {
        if let Some(tat) = self.marks.remove(key) {
            self.ends.remove(&(tat, key.clone()));
        }
    }

    /// What goes to make room for the new marks.
    fn drops(&self, now: Time, new: &[(Key, Time)]) -> Vec<Key> {
        let past = self.ends.iter().take_while(|(end, _)| *end <= now).count();
        let coming = new.iter().filter(|(key, _)| key.is_of_client()).count();
        let over = (self.ends.len() - past + coming).saturating_sub(self.keys_max);
        let drops = self.ends.iter().take(past + over);
        drops.map(|(_, key)| key.clone()).collect()
    }
}

/// How long a nonce is remembered that has paid for a wake: longer than any nonce counts. As a limit it is a rate of one
/// in that time, so all that holds of limits holds of it: it is charged in the same step, and lasts as they do.
const SPENT: Rate = match Rate::new(1, Span::mins(15)) {
    Ok(rate) => rate,
    Err(_) => panic!("one in a quarter of an hour is a rate"),
};

/// The limits that an applicant meets, each with the key of its timestamp, in the order of asking.
pub fn limits<'a>(
    service: &'a ServiceName,
    applicant: &'a Applicant,
    rules: &'a Rules,
) -> impl Iterator<Item = (Rule, Key, Rate)> + 'a {
    let name = || service.clone();
    let nonce = applicant.nonce.as_ref().map(|serial| {
        let key = Key::Spent(name(), serial.clone());
        (Rule::Spent, key, SPENT)
    });
    let client = rules.per_client.map(|rate| {
        let key = Key::Client(name(), applicant.names.client.clone());
        (Rule::PerClient, key, rate)
    });
    let network = rules.per_network.map(|rate| {
        let key = Key::Network(name(), applicant.names.network.clone());
        (Rule::PerNetwork, key, rate)
    });
    let of_service = rules
        .per_service
        .map(|rate| (Rule::PerService, Key::Service(name()), rate));
    let over_all = rules
        .over_all
        .map(|rate| (Rule::OverAll, Key::OverAll, rate));
    [nonce, client, network, of_service, over_all]
        .into_iter()
        .flatten()
}
