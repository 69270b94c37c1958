//! What the door knows by itself: the wakes that it let in, at their full limits; what it may spend while the store is
//! away, a quarter of them; and what of that the store has yet to hear.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::engine::admit::{Applicant, Book, Late, Rate, Rule, Rules, Ruling, Verdict};
use crate::engine::id::ServiceName;
use crate::engine::privacy::Forgotten;
use crate::engine::time::{Span, Time};

/// Clients and networks that each of the two books remembers at a time: 3 MB at most. An address gets in only by an
/// admitted wake, so a flood of refused ones adds none.
const KEYS_MAX: usize = 16_384;

/// The client does not wake the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule says so.
    pub rule: Rule,
    /// When it may ask again; none when waiting does not help.
    pub retry_after: Option<Span>,
}

/// Wakes that wait to be charged. Past that the oldest are not charged any more; there is an entry only for each wake
/// within the local budget, so it takes many services, or a store that is away for many days.
const LATE_MAX: usize = 1_000;

/// The longest that the budget of a day may count.
const DAY: Span = Span::mins(24 * 60);

/// The door's own memory.
#[derive(Debug)]
pub(super) struct Own {
    /// All that was let in here, by the store or without it.
    all: Book,
    /// What was let in without the store since it was away.
    alone: Book,
    /// The version of each service's view at its last wake: until its task shows something else, it has not taken
    /// that one up, and others join it.
    versions: BTreeMap<ServiceName, u64>,
    lives: BTreeMap<ServiceName, Life>,
    late: VecDeque<Late>,
    by: String,
    number: u64,
}

/// Whether the store still knows what it was told of a service.
#[derive(Debug)]
struct Life {
    word: Option<String>,
    /// It has forgotten: until then this room may know more than it.
    lost_until: Option<Time>,
}

impl Default for Own {
    fn default() -> Own {
        let word = || RandomState::new().hash_one(0);
        Own {
            all: Book::with_room_for(KEYS_MAX),
            alone: Book::with_room_for(KEYS_MAX),
            versions: BTreeMap::new(),
            lives: BTreeMap::new(),
            late: VecDeque::new(),
            by: format!("{:016x}{:016x}", word(), word()),
            number: 0,
        }
    }
}

impl Own {
    /// What the full limits say against a client, by this room's own wakes alone; and the word by which a store that still
    /// knows them all is known.
    pub(super) fn against(
        &self,
        service: &ServiceName,
        version: u64,
        now: Time,
        applicant: &Applicant,
        rules: &Rules,
    ) -> Option<(Refusal, Option<String>)> {
        let ruling = self.all.rule(service, now, applicant, rules);
        let Ruling::Settled(Verdict::Refused { rule, retry_after }) = ruling else {
            return None;
        };
        if self.versions.get(service) == Some(&version) {
            // Whoever comes before the task has taken the last one up joins it.
            return None;
        }
        let life = self.lives.get(service);
        let whole = life.filter(|life| life.lost_until.is_none_or(|until| until <= now));
        let word = whole.and_then(|life| life.word.clone());
        Some((Refusal { rule, retry_after }, word))
    }

    /// The store has let in a wake, and lives by this word.
    pub(super) fn charged(
        &mut self,
        service: &ServiceName,
        now: Time,
        applicant: &Applicant,
        rules: &Rules,
        word: Option<String>,
    ) {
        self.all.mirror(service, now, applicant, rules);
        let life = self.lives.entry(service.clone()).or_insert(Life {
            word: word.clone(),
            lost_until: None,
        });
        if life.word != word {
            // What it was told before is not known there any more.
            let lost_until = Some(now + longest(rules));
            *life = Life { word, lost_until };
        }
    }

    /// Rules within a quarter of the limits, for a service whose view has this version.
    pub(super) fn rule(
        &mut self,
        service: &ServiceName,
        version: u64,
        now: Time,
        applicant: &Applicant,
        rules: &Rules,
    ) -> Verdict {
        if self.versions.get(service) != Some(&version) {
            self.alone.hear(service, u64::MAX, true);
        }
        match self.alone.admit(service, now, applicant, &rules.quarter()) {
            Verdict::Wake(_) => {
                self.versions.insert(service.clone(), version);
                self.all.mirror(service, now, applicant, rules);
                self.owe(service, now, applicant, rules);
                Verdict::Wake(0)
            }
            Verdict::Joined(_) => Verdict::Joined(0),
            refused @ Verdict::Refused { .. } => refused,
        }
    }

    fn owe(&mut self, service: &ServiceName, at: Time, applicant: &Applicant, rules: &Rules) {
        self.number += 1;
        if self.late.len() == LATE_MAX {
            self.late.pop_front();
            tracing::error!("too many wakes wait for the store; the oldest will not be charged");
        }
        self.late.push_back(Late {
            by: self.by.clone(),
            number: self.number,
            service: service.clone(),
            at,
            applicant: applicant.clone(),
            rules: Rules {
                deny: Vec::new(),
                allow: Vec::new(),
                ..*rules
            },
        });
    }

    /// The next wake that the store has yet to charge, of a service that is not `failing`.
    pub(super) fn late(&self, failing: &BTreeSet<ServiceName>) -> Option<Late> {
        let next = self.late.iter().find(|it| !failing.contains(&it.service));
        next.cloned()
    }

    /// The store has charged this one.
    pub(super) fn settled(&mut self, number: u64) {
        self.late.retain(|late| late.number != number);
    }

    /// Forgets a client, and lets it have its wakes again.
    pub(super) fn forget(&mut self, forgotten: &Forgotten) {
        for book in [&mut self.all, &mut self.alone] {
            let keys = book.of(forgotten);
            book.forget(&keys);
        }
        self.late.retain(|late| {
            let names = &late.applicant.names;
            let address = names.address.iter().any(|it| forgotten.covers(it));
            !address && !forgotten.covers(&names.who) && !forgotten.covers(&names.client)
        });
    }

    /// Forgets the clients whose limits are whole again, and wakes that no limit remembers any more.
    pub(super) fn tidy(&mut self, now: Time) {
        for book in [&mut self.all, &mut self.alone] {
            let past = book.past(now);
            book.forget(&past);
        }
        self.late
            .retain(|late| now.since(late.at) < longest(&late.rules));
    }
}

/// How long a limit may remember a wake of now.
fn longest(rules: &Rules) -> Span {
    let rates = [
        rules.per_client,
        rules.per_network,
        rules.per_service,
        rules.over_all,
    ];
    let whole = rates.into_iter().flatten().map(Rate::whole).max();
    // A timestamp lies at most twice that ahead.
    whole.map_or(DAY, |whole| Span(whole.0 * 2).max(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::contract::{Trigger, TriggerBy};

    const NOW: Time = Time(1_800_000_000_000);

    fn who(number: u32) -> Applicant {
        let trigger = Trigger {
            by: TriggerBy::Page,
            who: String::new(),
            path: String::new(),
        };
        Applicant::plain(std::net::Ipv4Addr::from(number).into(), trigger)
    }

    fn daily(count: u32) -> Rules {
        Rules {
            per_client: Rate::new(count, DAY).ok(),
            ..Rules::default()
        }
    }

    fn word(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_store_that_still_remembers_is_believed_and_one_that_has_lost_its_memory_is_not() {
        let (blog, rules) = ("blog".parse().unwrap(), daily(1));
        let mut own = Own::default();
        let against = |own: &Own, now| own.against(&blog, 1, now, &who(1), &rules).map(|it| it.1);
        assert_eq!(against(&own, NOW), None, "nothing is known of it");
        own.charged(&blog, NOW, &who(1), &rules, word("a"));
        assert_eq!(against(&own, NOW), Some(word("a")));
        // It was wiped, and somebody else has woken the service since.
        own.charged(&blog, NOW, &who(2), &rules, word("b"));
        assert_eq!(against(&own, NOW), Some(None), "no word of it counts");
        let day = NOW + DAY;
        assert_eq!(against(&own, day), None, "the limit is whole again");
        own.charged(&blog, day + DAY, &who(1), &rules, word("b"));
        assert_eq!(against(&own, day + DAY), Some(word("b")));
    }

    #[test]
    fn whoever_comes_to_a_wake_of_this_room_joins_it_until_the_service_shows_something_else() {
        let (blog, rules) = ("blog".parse().unwrap(), daily(1));
        let mut own = Own::default();
        assert_eq!(own.rule(&blog, 7, NOW, &who(1), &rules), Verdict::Wake(0));
        assert!(own.against(&blog, 7, NOW, &who(1), &rules).is_none());
        assert_eq!(own.rule(&blog, 7, NOW, &who(1), &rules), Verdict::Joined(0));
        assert!(own.against(&blog, 8, NOW, &who(1), &rules).is_some());
    }

    #[test]
    fn whoever_is_forgotten_has_its_wakes_again_and_its_neighbour_has_not() {
        use crate::driver::names::Clients;
        use crate::engine::privacy::Privacy;
        let (blog, rules) = ("blog".parse().unwrap(), daily(1));
        let mut own = Own::default();
        for number in [1, 2] {
            own.rule(&blog, u64::from(number), NOW, &who(number), &rules);
        }
        let clients = Clients::new([7; 32], Privacy::default());
        own.forget(&clients.forgotten("0.0.0.1", NOW).unwrap());
        assert!(own.against(&blog, 9, NOW, &who(1), &rules).is_none());
        assert!(own.against(&blog, 9, NOW, &who(2), &rules).is_some());
        let left: Vec<_> = own.late.iter().map(|late| late.number).collect();
        assert_eq!(left, [2]);
    }

    #[test]
    fn what_waits_for_the_store_is_bounded_and_ends_with_its_limit() {
        let (blog, shop): (ServiceName, ServiceName) =
            ("blog".parse().unwrap(), "shop".parse().unwrap());
        let rules = daily(4);
        let mut own = Own::default();
        for number in 0..LATE_MAX as u32 + 5 {
            own.owe(&blog, NOW, &who(number), &rules);
        }
        own.owe(&shop, NOW, &who(1), &rules);
        assert_eq!(own.late.len(), LATE_MAX);
        let none = BTreeSet::new();
        assert_eq!(own.late(&none).map(|late| late.number), Some(7));
        own.settled(7);
        assert_eq!(own.late(&none).map(|late| late.number), Some(8));
        let failing = BTreeSet::from([blog]);
        assert_eq!(own.late(&failing).map(|late| late.service), Some(shop));
        own.tidy(NOW + DAY);
        assert_eq!(own.late.len(), LATE_MAX - 1);
        own.tidy(NOW + DAY + DAY);
        assert_eq!(own.late.len(), 0);
    }
}
