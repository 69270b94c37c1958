//! The limits on wakes: every store rules as the engine's book does, and forgets none of it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anteroom::engine::admit::{Applicant, Book, Rate, Rule, Rules, Verdict};
use anteroom::engine::contract::{Trigger, TriggerBy};
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::store::Store;
use anteroom::store::file::FileStore;
use proptest::prelude::*;

use super::samples::stands;
use super::{service, stores};

pub(super) const T0: Time = Time(1_800_000_000_000);
pub(super) const DAY: Span = Span::mins(24 * 60);

pub(super) fn applicant(address: &str) -> Applicant {
    Applicant::plain(
        address.parse().unwrap(),
        Trigger {
            by: TriggerBy::Page,
            who: "203.0.113.0/24".into(),
            path: "/\"\u{0}ä".into(),
        },
    )
}

pub(super) fn rate(count: u32, per: Span) -> Option<Rate> {
    Some(Rate::new(count, per).unwrap())
}

pub(super) fn refused(rule: Rule, retry_after: Option<Span>) -> Verdict {
    Verdict::Refused { rule, retry_after }
}

/// Saves a record with this stand.
async fn save(store: &dyn Store, name: &ServiceName, epoch: Epoch, stand: Stand, heard: u64) {
    let record = Record {
        stand,
        ..Record::default()
    };
    let saved = store.save(name, epoch, &record, &[], heard).await;
    saved.expect("the epoch is the current one");
}

#[tokio::test]
async fn who_is_banned_denied_or_not_allowed_is_refused_for_good_also_when_a_wake_is_wanted() {
    let rules = Rules {
        deny: vec!["203.0.113.0/24".parse().unwrap()],
        allow: vec!["203.0.112.0/23".parse().unwrap()],
        ..Rules::default()
    };
    for (kind, store) in stores() {
        let blog = service("blog");
        let mut banned = applicant("203.0.113.1");
        banned.banned = true;
        for _ in 0..2 {
            for (who, rule) in [
                (&banned, Rule::Banned),
                (&applicant("203.0.113.1"), Rule::Denied),
                (&applicant("::ffff:203.0.113.1"), Rule::Denied),
                (&applicant("198.51.100.1"), Rule::NotAllowed),
                (&applicant("2001:db8::1"), Rule::NotAllowed),
            ] {
                let verdict = store.admit(&blog, T0, who, &rules).await.unwrap();
                assert_eq!(verdict, refused(rule, None), "{kind}");
            }
            let allowed = applicant("203.0.112.1");
            let verdict = store.admit(&blog, T0, &allowed, &rules).await.unwrap();
            assert!(matches!(verdict, Verdict::Wake(1) | Verdict::Joined(1)));
        }
    }
}

#[tokio::test]
async fn a_wake_is_wanted_until_an_owner_has_heard_of_it_and_the_service_rests() {
    let rules = Rules {
        per_day: Some(2),
        ..Rules::default()
    };
    for (kind, store) in stores() {
        let blog = service("blog");
        let who = applicant("203.0.113.1");
        let ask = async || store.admit(&blog, T0, &who, &rules).await.unwrap();
        assert_eq!(ask().await, Verdict::Wake(1), "{kind}: nobody claimed it");
        let first = store.claim(&blog, "a").await.unwrap().epoch;
        let since = T0;
        save(&*store, &blog, first, Stand::Asleep, 0).await;
        assert_eq!(ask().await, Verdict::Joined(1), "{kind}: not heard of");
        save(&*store, &blog, first, Stand::Waking { since }, 1).await;
        assert_eq!(ask().await, Verdict::Joined(1), "{kind}: it is waking");
        // The next owner has heard of nothing itself; a save of the last one changes nothing any more.
        let second = store.claim(&blog, "b").await.unwrap().epoch;
        let stale = store.save(&blog, first, &Record::default(), &[], 1).await;
        assert!(stale.is_err(), "{kind}");
        assert_eq!(ask().await, Verdict::Joined(1), "{kind}");
        save(&*store, &blog, second, Stand::Asleep, 0).await;
        assert_eq!(ask().await, Verdict::Wake(2), "{kind}: it is over");
        assert_eq!(ask().await, Verdict::Joined(2), "{kind}");
        save(&*store, &blog, second, Stand::Asleep, 1).await;
        assert_eq!(ask().await, Verdict::Joined(2), "{kind}: the old number");
        save(&*store, &blog, second, Stand::Asleep, 2).await;
        let spent = ask().await;
        let day = matches!(
            spent,
            Verdict::Refused {
                rule: Rule::PerDay,
                retry_after: Some(_)
            }
        );
        assert!(day, "{kind}: {spent:?}");
    }
}

#[tokio::test]
async fn a_record_that_says_neither_asleep_nor_awake_ends_no_wake() {
    for (kind, store) in stores() {
        let blog = service("blog");
        let who = applicant("203.0.113.1");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        for stand in stands() {
            let ask = async || {
                let rules = Rules::default();
                store.admit(&blog, T0, &who, &rules).await.unwrap()
            };
            let (Verdict::Wake(number) | Verdict::Joined(number)) = ask().await else {
                panic!("{kind}: there is no limit");
            };
            save(&*store, &blog, epoch, stand.clone(), number).await;
            let expected = match stand {
                Stand::Asleep | Stand::Awake { .. } => Verdict::Wake(number + 1),
                _ => Verdict::Joined(number),
            };
            assert_eq!(ask().await, expected, "{kind}: {stand:?}");
        }
    }
}

#[tokio::test]
async fn all_limits_are_charged_or_none_and_the_longest_refusal_is_told() {
    let rules = Rules {
        per_client: rate(1, Span::mins(1)),
        per_network: rate(1, Span::mins(60)),
        over_all: rate(3, DAY),
        ..Rules::default()
    };
    for (kind, store) in stores() {
        let names = [service("blog"), service("shop")];
        let mut epochs = Vec::new();
        for name in &names {
            epochs.push(store.claim(name, "a").await.unwrap().epoch);
        }
        let hour = Span::mins(60);
        for (which, address, after, expected) in [
            (0, "203.0.113.1", 0, Verdict::Wake(1)),
            (0, "203.0.113.1", 0, refused(Rule::PerNetwork, Some(hour))),
            // The refused ones have paid nothing, and another service's limits are its own.
            (1, "203.0.113.1", 0, Verdict::Wake(1)),
            (0, "2001:db8::1", 0, Verdict::Wake(2)),
            (
                1,
                "198.51.100.1",
                0,
                refused(Rule::OverAll, Some(Span::mins(480))),
            ),
            (
                0,
                "203.0.113.1",
                1_000,
                refused(Rule::OverAll, Some(Span::secs(8 * 3_600 - 1))),
            ),
            (0, "203.0.113.1", Span::mins(480).0, Verdict::Wake(3)),
        ] {
            let (now, who) = (T0 + Span(after), applicant(address));
            let verdict = store.admit(&names[which], now, &who, &rules).await.unwrap();
            assert_eq!(verdict, expected, "{kind}: {address} after {after}");
            save(&*store, &names[which], epochs[which], Stand::Asleep, 9).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_at_the_same_time_one_wakes_and_all_others_join() {
    let rules = Arc::new(Rules {
        per_client: rate(1, DAY),
        per_service: rate(1, DAY),
        ..Rules::default()
    });
    for (kind, store) in stores() {
        let asking: Vec<_> = (0..1_000u32)
            .map(|number| {
                let (store, rules) = (Arc::clone(&store), Arc::clone(&rules));
                tokio::spawn(async move {
                    let who = applicant(&Ipv4Addr::from(number << 4).to_string());
                    store.admit(&service("blog"), T0, &who, &rules).await
                })
            })
            .collect();
        let mut woke = 0;
        for asked in asking {
            match asked.await.unwrap().unwrap() {
                Verdict::Wake(1) => woke += 1,
                Verdict::Joined(1) => {}
                other => panic!("{kind}: {other:?}"),
            }
        }
        assert_eq!(woke, 1, "{kind}");
    }
}

pub(super) const SERVICES: [&str; 3] = ["a", "a-1", "a1"];

pub(super) const ADDRESSES: [&str; 6] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.112.1",
    "2001:db8:0:1::1",
    "2001:db8:0:1:ffff::2",
    "2001:db8:0:2::1",
];

#[derive(Clone, Debug)]
enum Op {
    Admit(usize),
    Save { behind: u64, stand: Stand },
    Later(u64),
    Again,
}

fn op() -> impl Strategy<Value = Op> {
    let behind = prop_oneof![6 => Just(0), 1 => 0..3u64];
    let stand = prop_oneof![3 => Just(Stand::Asleep), 1 => proptest::sample::select(stands())];
    prop_oneof![
        6 => (0..ADDRESSES.len()).prop_map(Op::Admit),
        4 => (behind, stand).prop_map(|(behind, stand)| Op::Save { behind, stand }),
        2 => prop_oneof![0..2_000u64, 0..100_000_000u64].prop_map(Op::Later),
        1 => Just(Op::Again),
    ]
}

pub(super) fn rules() -> impl Strategy<Value = Rules> {
    let rate = || {
        let per = proptest::sample::select(vec![1_000, 60_000, 3_600_000, 86_400_007]);
        proptest::option::of((1..4u32, per).prop_map(|(n, ms)| Rate::new(n, Span(ms)).unwrap()))
    };
    let budget = proptest::option::of(1..4u32);
    (rate(), rate(), rate(), rate(), budget).prop_map(|(a, b, c, d, per_day)| Rules {
        per_client: a,
        per_network: b,
        per_service: c,
        over_all: d,
        per_day,
        ..Rules::default()
    })
}

/// Plays a history against the book. `again` gives the store as it is after a restart.
async fn play(
    kind: &str,
    mut store: Arc<dyn Store>,
    again: &dyn Fn(Arc<dyn Store>) -> Arc<dyn Store>,
    rules: &Rules,
    history: &[(usize, Op)],
) {
    let mut book = Book::default();
    let mut now = T0;
    let names = SERVICES.map(service);
    let mut epochs = [Epoch(0); 3];
    for (step, (which, op)) in history.iter().enumerate() {
        let name = &names[*which];
        match op {
            Op::Admit(address) => {
                let who = applicant(ADDRESSES[*address]);
                let expected = book.admit(name, now, &who, rules);
                let verdict = store.admit(name, now, &who, rules).await.unwrap();
                assert_eq!(verdict, expected, "{kind}, step {step}");
            }
            Op::Save { behind, stand } => {
                if epochs[*which] == Epoch(0) {
                    epochs[*which] = store.claim(name, "owner").await.unwrap().epoch;
                }
                let heard = book.wakes(name).last.saturating_sub(*behind);
                book.hear(name, heard, stand.at_rest());
                save(&*store, name, epochs[*which], stand.clone(), heard).await;
            }
            Op::Later(ms) => now = now + Span(*ms),
            Op::Again => {
                store = again(store);
                epochs = [Epoch(0); 3];
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_random_history_of_wakes_is_ruled_on_as_the_book_says(
        rules in rules(),
        history in proptest::collection::vec((0..SERVICES.len(), op()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (kind, store) in stores() {
            runtime.block_on(play(kind, store, &|store| store, &rules, &history));
        }
        let directory = tempfile::tempdir().unwrap();
        let open = || -> Arc<dyn Store> {
            Arc::new(FileStore::open(directory.path().join("store")).unwrap())
        };
        let again = |store| {
            drop(store);
            open()
        };
        runtime.block_on(play("a file opened again", open(), &again, &rules, &history));
    }
}
