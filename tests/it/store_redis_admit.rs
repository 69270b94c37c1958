//! Admission in Redis: the script's arithmetic is the engine's, in random histories without number; every key
//! about a client has an end; one round trip; nobody is charged twice in a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::admit::{Applicant, Book, Key, Rate, Rule, Rules, Verdict, gcra, limits};
use anteroom::engine::backoff::mix;
use anteroom::engine::contract::{Trigger, TriggerBy};
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::store::Store;
use anteroom::store::redis::{RedisStore, Settings};

use crate::support::redis::{Cluster, Server, settings};

const T0: Time = Time(1_800_000_000_000);
const DAY: u64 = 86_400_000;

/// Histories in all, over all workers.
const HISTORIES: u64 = 100_000;

/// Each with a connection and a prefix of its own.
const WORKERS: u64 = 16;

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % sides
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn rate(&mut self) -> Option<Rate> {
        let per = [1_000, 1_001, 59_999, 3_600_000, DAY + 7, 366 * DAY];
        let count = [1, 1, 2, 3, 7, 1_000, 999_983];
        let (count, per) = (self.one(&count), self.one(&per));
        let rate = Rate::new(count, Span(per)).ok();
        rate.filter(|_| self.below(3) > 0)
    }

    fn rules(&mut self) -> Rules {
        let (per_client, per_network, per_service) = (self.rate(), self.rate(), self.rate());
        Rules {
            per_client,
            per_network,
            per_service,
            per_day: (self.below(3) == 0).then(|| self.one(&[1, 2, 5])),
            ..Rules::default()
        }
    }

    /// Mostly forwards, by anything from nothing to a year; sometimes a little back, as between two replicas.
    fn later(&mut self, now: Time) -> Time {
        let steps = [0, 0, 1, 999, 1_000, 30_000, 3_600_000, DAY, 366 * DAY];
        let most = self.one(&steps);
        match self.below(8) {
            0 => now - Span(self.below(2_000)),
            1 => now + Span(most),
            _ => now + Span(self.below(most + 1)),
        }
    }
}

const ADDRESSES: [&str; 5] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.112.1",
    "2001:db8:0:1::1",
    "2001:db8:0:1:ffff::2",
];

fn applicant(address: &str) -> Applicant {
    Applicant::plain(
        address.parse().unwrap(),
        Trigger {
            by: TriggerBy::Page,
            who: address.into(),
            path: "/\"\u{0}ä".into(),
        },
    )
}

/// What admission means, said as plainly as can be: everything is kept for ever.
#[derive(Default)]
struct Plain {
    marks: BTreeMap<Key, Time>,
    days: BTreeMap<(ServiceName, u64), u32>,
    last: u64,
    wanted: bool,
}

impl Plain {
    fn admit(&mut self, name: &ServiceName, now: Time, who: &Applicant, rules: &Rules) -> Verdict {
        if self.wanted {
            return Verdict::Joined(self.last);
        }
        let asked: Vec<_> = limits(name, who, rules)
            .map(|(rule, key, rate)| {
                let kept = self.marks.get(&key).copied();
                (rule, key, gcra(kept, rate, now))
            })
            .collect();
        let day = (name.clone(), now.0 / DAY);
        let spent = self.days.get(&day).copied().unwrap_or(0);
        let mut refusals: Vec<_> = asked
            .iter()
            .filter_map(|(rule, _, answer)| answer.err().map(|wait| (wait, *rule)))
            .collect();
        if rules.per_day.is_some_and(|budget| spent >= budget) {
            refusals.push((Time((day.1 + 1) * DAY).since(now), Rule::PerDay));
        }
        refusals.sort_by_key(|(wait, rule)| (std::cmp::Reverse(*wait), *rule));
        if let Some((wait, rule)) = refusals.first() {
            return Verdict::Refused {
                rule: *rule,
                retry_after: Some(*wait),
            };
        }
        for (_, key, answer) in asked {
            self.marks.insert(key, answer.unwrap());
        }
        if rules.per_day.is_some() {
            // Only the day of the last wake is known: one that comes back has its budget anew.
            self.days.clear();
            self.days.insert(day, spent + 1);
        }
        self.last += 1;
        self.wanted = true;
        Verdict::Wake(self.last)
    }
}

fn open(settings: Settings) -> RedisStore {
    // Many workers on a busy machine: what is looked at here is what is answered, not how fast.
    let call_timeout = Duration::from_secs(20);
    RedisStore::open(Settings {
        call_timeout,
        ..settings
    })
    .unwrap()
}

/// Plays one worker's histories; gives how often each kind of verdict came.
async fn play(store: RedisStore, worker: u64) -> BTreeMap<&'static str, u64> {
    let mut seen = BTreeMap::new();
    for number in (0..HISTORIES).filter(|number| number % WORKERS == worker) {
        let mut dice = Dice(number << 20);
        let (name, rules) = (format!("s{number}").parse().unwrap(), dice.rules());
        let (mut book, mut plain) = (Book::default(), Plain::default());
        let mut went_back = false;
        let mut now = T0;
        let epoch = store.claim(&name, "a").await.unwrap().epoch;
        for step in 0..6 + dice.below(6) {
            let later = dice.later(now);
            went_back |= later < now;
            now = later;
            let who = applicant(dice.one(&ADDRESSES));
            let expected = plain.admit(&name, now, &who, &rules);
            let verdict = store.admit(&name, now, &who, &rules).await.unwrap();
            assert_eq!(
                verdict, expected,
                "history {number}, step {step}: {rules:?}"
            );
            if !went_back {
                // The book forgets what is past, so it is no measure for a clock that goes back.
                let ruled = book.admit(&name, now, &who, &rules);
                assert_eq!(verdict, ruled, "history {number}, step {step}");
            }
            let kind = match verdict {
                Verdict::Wake(_) => "wake",
                Verdict::Joined(_) => "joined",
                Verdict::Refused { rule, .. } => rule.as_str(),
            };
            *seen.entry(kind).or_default() += 1;
            if plain.wanted && dice.below(5) > 0 {
                plain.wanted = false;
                book.hear(&name, plain.last, true);
                rest(&store, &name, epoch, plain.last).await;
            }
        }
    }
    seen
}

async fn rest(store: &dyn Store, name: &ServiceName, epoch: Epoch, heard: u64) {
    let asleep = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    store.save(name, epoch, &asleep, &[], heard).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_hundred_thousand_random_histories_are_ruled_on_as_the_engine_and_a_plain_reference_do() {
    let server = Server::start().await;
    let url = format!("redis://{}", server.at());
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| tokio::spawn(play(open(settings(&url)), worker)))
        .collect();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for worker in workers {
        for (kind, count) in worker.await.unwrap() {
            *seen.entry(kind).or_default() += count;
        }
    }
    eprintln!("{seen:?}");
    for kind in [
        "wake",
        "joined",
        "per_client",
        "per_network",
        "per_service",
        "per_day",
    ] {
        assert!(
            seen.get(kind).is_some_and(|count| *count > 1_000),
            "{kind}: {seen:?}"
        );
    }
}

/// A clock that is right, so that what Redis lets run out is what the engine means.
fn now() -> Time {
    anteroom::driver::clock::Clock::system().now()
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn every_key_about_a_client_has_an_end() {
    let server = Server::start().await;
    let store = open(settings(&format!("redis://{}", server.at())));
    let blog: ServiceName = "blog".parse().unwrap();
    let rate = |count, ms| Rate::new(count, Span(ms)).ok();
    let rules = Rules {
        per_client: rate(3, 60_000),
        per_network: rate(3, 60_000),
        per_service: rate(100, 366 * DAY),
        over_all: rate(100, DAY),
        per_day: Some(100),
        ..Rules::default()
    };
    let epoch = store.claim(&blog, "a").await.unwrap().epoch;
    let mut heard = 0;
    for address in ADDRESSES {
        let verdict = store
            .admit(&blog, now(), &applicant(address), &rules)
            .await
            .unwrap();
        if let Verdict::Wake(number) = verdict {
            heard = number;
        }
        rest(&store, &blog, epoch, heard).await;
    }
    let last = applicant(ADDRESSES[3]);
    assert_eq!(
        store.admit(&blog, now(), &last, &rules).await.unwrap(),
        Verdict::Wake(6)
    );
    let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
    let mut lasting = Vec::new();
    for key in &keys {
        let left: i64 = server.ask(&["PTTL", key]).await;
        if left < 0 {
            lasting.push(key.rsplit(':').next().unwrap());
        }
        let about = |words: &[&str]| words.iter().any(|it| key.contains(it));
        if about(&["203.0.", "2001:db8", "addresses", "wanted"]) {
            assert!((1..=DAY as i64 + 60_000).contains(&left), "{key}: {left}");
        }
        if about(&["triggerers", "refusals"]) {
            assert!((1..=30 * DAY as i64).contains(&left), "{key}: {left}");
        }
    }
    lasting.sort_unstable();
    assert_eq!(lasting, ["state", "wake"], "{keys:?}");
    let kept: Vec<String> = {
        let key = keys.iter().find(|key| key.ends_with("triggerers")).unwrap();
        server.ask(&["ZRANGE", key, "0", "-1"]).await
    };
    assert_eq!(kept.len(), ADDRESSES.len() + 1, "{kept:?}");
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn an_admission_is_one_round_trip() {
    let server = Server::start().await;
    let store = open(settings(&format!("redis://{}", server.at())));
    let blog: ServiceName = "blog".parse().unwrap();
    let rate = Rate::new(1_000, Span(60_000)).ok();
    let rules = Rules {
        per_client: rate,
        per_network: rate,
        per_service: rate,
        over_all: rate,
        per_day: Some(1_000),
        ..Rules::default()
    };
    let who = applicant(ADDRESSES[0]);
    store.admit(&blog, now(), &who, &rules).await.unwrap();
    let calls = async || {
        let info: String = server.ask(&["INFO", "commandstats"]).await;
        let line = info
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"))
            .unwrap();
        let calls = line
            .split("calls=")
            .nth(1)
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        calls.parse::<u64>().unwrap()
    };
    let before = calls().await;
    for _ in 0..10 {
        store.admit(&blog, now(), &who, &rules).await.unwrap();
    }
    assert_eq!(calls().await - before, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: run tests/run"]
async fn in_a_cluster_the_limit_over_all_is_charged_once_for_each_wake_however_many_ask() {
    let cluster = Cluster::start().await;
    let store = Arc::new(open(settings(&cluster.url())));
    let rules = Arc::new(Rules {
        over_all: Rate::new(20, Span(366 * DAY)).ok(),
        ..Rules::default()
    });
    let now = now();
    let asking: Vec<_> = (0..600u32)
        .map(|number| {
            let (store, rules) = (Arc::clone(&store), Arc::clone(&rules));
            tokio::spawn(async move {
                let name: ServiceName = format!("s{}", number % 30).parse().unwrap();
                let who = applicant(ADDRESSES[number as usize % ADDRESSES.len()]);
                store.admit(&name, now, &who, &rules).await.unwrap()
            })
        })
        .collect();
    let mut woke = 0;
    for asked in asking {
        match asked.await.unwrap() {
            Verdict::Wake(_) => woke += 1,
            Verdict::Joined(_) => {}
            Verdict::Refused { rule, .. } => assert_eq!(rule, Rule::OverAll),
        }
    }
    assert!(woke <= 20, "{woke}");
    // What was given back can be had: in the end all of it is spent, and no more.
    for number in 0..30 {
        let name: ServiceName = format!("t{number}").parse().unwrap();
        let verdict = store
            .admit(&name, now, &applicant(ADDRESSES[0]), &rules)
            .await
            .unwrap();
        woke += u64::from(matches!(verdict, Verdict::Wake(_)));
    }
    assert_eq!(woke, 20);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_call_that_arrives_twice_is_the_wake_that_it_was_at_first_and_costs_nothing_more() {
    let server = Server::start().await;
    let settings = settings(&format!("redis://{}", server.at()));
    let prefix = settings.prefix.clone();
    let store = open(settings);
    let blog: ServiceName = "blog".parse().unwrap();
    let rules = Rules {
        per_day: Some(9),
        ..Rules::default()
    };
    let who = applicant(ADDRESSES[0]);
    store.admit(&blog, T0, &who, &rules).await.unwrap();
    let key = |name: &str| format!("{prefix}:{{blog}}:{name}");
    let names = [
        "wake",
        "wanted",
        "triggerers",
        "refusals",
        "addresses:1",
        "limit:day",
    ];
    let keys = names.map(key);
    let by: String = server.ask(&["HGET", &keys[0], "by"]).await;
    let script = concat!(
        include_str!("../../src/store/redis/gcra.lua"),
        include_str!("../../src/store/redis/admit.lua")
    );
    let day = &keys[5];
    let now = T0.0.to_string();
    for (call, expected) in [(by.as_str(), "wake"), ("other-1", "joined")] {
        let keys = keys.iter().map(String::as_str);
        let arguments = [
            "admit", &now, "{}", "{}", "9", call, "", "1000", "86400000", "",
        ];
        let words = ["EVAL", script, "6"].into_iter();
        let words: Vec<&str> = words.chain(keys).chain(arguments).collect();
        let answer: Vec<String> = server.ask(&words).await;
        assert_eq!(answer, [expected, "1"]);
    }
    let spent: String = server.ask(&["GET", day]).await;
    assert!(spent.ends_with(":1"), "{spent}");
}
