//! Wakes that were let in while a store was away: every store charges them as the engine's book does, each once.

use anteroom::engine::admit::{Book, Late, Rate, Rule, Rules, Verdict};
use anteroom::engine::id::ServiceName;
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::engine::triggerers::Outcome;
use anteroom::store::Store;
use anteroom::store::file::FileStore;
use proptest::prelude::*;

use super::limits::{ADDRESSES, DAY, SERVICES, T0, applicant, rate, refused, rules};
use super::{service, stores};

fn late(by: &str, number: u64, name: &ServiceName, at: Time, address: &str, rules: &Rules) -> Late {
    Late {
        by: by.into(),
        number,
        service: name.clone(),
        at,
        applicant: applicant(address),
        rules: rules.clone(),
    }
}

/// The service rests, and all its wakes are heard of.
async fn rest(store: &dyn Store, name: &ServiceName) {
    let epoch = store.claim(name, "owner").await.unwrap().epoch;
    let record = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    store
        .save(name, epoch, &record, &[], u64::MAX >> 12)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_late_wake_is_charged_once_however_often_it_is_told() {
    let rules = Rules {
        per_client: rate(2, DAY),
        ..Rules::default()
    };
    for (kind, store) in stores() {
        let blog = service("blog");
        let one = late("a", 1, &blog, T0, "203.0.113.1", &rules);
        for _ in 0..3 {
            store.charge_late(T0, &one).await.unwrap();
        }
        let listed = store.triggerers(&blog, T0, 9).await.unwrap();
        let woke: Vec<_> = listed.iter().map(|it| (it.when, it.outcome)).collect();
        assert_eq!(woke, [(T0, Outcome::Woke { wake: 0 })], "{kind}");
        assert_eq!(listed[0].address.as_deref(), Some("203.0.113.1"), "{kind}");
        let ask = async || {
            let who = applicant("203.0.113.1");
            store.admit(&blog, T0, &who, &rules).await.unwrap()
        };
        assert_eq!(
            ask().await,
            Verdict::Wake(1),
            "{kind}: one of two is left, and no wake is wanted"
        );
        rest(&*store, &blog).await;
        let half = Some(Span(DAY.0 / 2));
        assert_eq!(ask().await, refused(Rule::PerClient, half), "{kind}");
        // Another one of the same, and the same number of somebody else's.
        store
            .charge_late(T0, &late("a", 2, &blog, T0, "203.0.113.1", &rules))
            .await
            .unwrap();
        store
            .charge_late(T0, &late("b", 1, &blog, T0, "203.0.113.1", &rules))
            .await
            .unwrap();
        let more = Some(Span(DAY.0 / 2 * 3));
        assert_eq!(
            ask().await,
            refused(Rule::PerClient, more),
            "{kind}: past the limit"
        );
    }
}

#[tokio::test]
async fn a_late_wake_charges_every_limit_and_the_budget_of_its_own_day() {
    for (kind, store) in stores() {
        let (blog, shop) = (service("blog"), service("shop"));
        let one = |change: &dyn Fn(&mut Rules)| {
            let mut rules = Rules::default();
            change(&mut rules);
            rules
        };
        let all = Rules {
            per_client: rate(1, DAY),
            per_network: rate(1, DAY),
            per_service: rate(1, DAY),
            over_all: rate(1, DAY),
            per_day: Some(1),
            ..Rules::default()
        };
        store
            .charge_late(T0, &late("a", 1, &blog, T0, "203.0.113.1", &all))
            .await
            .unwrap();
        for (name, address, rules, rule) in [
            (
                &blog,
                "203.0.113.1",
                one(&|it| it.per_client = rate(1, DAY)),
                Rule::PerClient,
            ),
            (
                &blog,
                "203.0.113.2",
                one(&|it| it.per_network = rate(1, DAY)),
                Rule::PerNetwork,
            ),
            (
                &blog,
                "198.51.100.1",
                one(&|it| it.per_service = rate(1, DAY)),
                Rule::PerService,
            ),
            (
                &shop,
                "198.51.100.1",
                one(&|it| it.over_all = rate(1, DAY)),
                Rule::OverAll,
            ),
            (
                &blog,
                "198.51.100.1",
                one(&|it| it.per_day = Some(1)),
                Rule::PerDay,
            ),
        ] {
            let verdict = store
                .admit(name, T0, &applicant(address), &rules)
                .await
                .unwrap();
            let told = matches!(verdict, Verdict::Refused { rule: by, .. } if by == rule);
            assert!(told, "{kind}, {rule:?}: {verdict:?}");
        }
        // Of yesterday: today's budget is whole.
        let budget = one(&|it| it.per_day = Some(1));
        let yesterday = T0 - DAY;
        store
            .charge_late(T0, &late("a", 1, &shop, yesterday, "203.0.113.1", &budget))
            .await
            .unwrap();
        let verdict = store
            .admit(&shop, T0, &applicant("203.0.113.1"), &budget)
            .await
            .unwrap();
        assert_eq!(verdict, Verdict::Wake(1), "{kind}");
    }
}

#[derive(Clone, Debug)]
enum Op {
    Admit(usize),
    /// By whom, how long ago, whether a second time as well.
    Late(bool, usize, u64, bool),
    Later(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let ago = prop_oneof![Just(0), 0..4_000u64, 0..200_000_000u64];
    prop_oneof![
        4 => (0..ADDRESSES.len()).prop_map(Op::Admit),
        4 => (any::<bool>(), 0..ADDRESSES.len(), ago, any::<bool>())
            .prop_map(|(by, who, ago, twice)| Op::Late(by, who, ago, twice)),
        2 => prop_oneof![0..2_000u64, 0..100_000_000u64].prop_map(Op::Later),
    ]
}

async fn play(kind: &str, store: &dyn Store, rules: &Rules, history: &[(usize, Op)]) {
    let mut book = Book::default();
    let (mut now, mut number) = (T0, 0);
    let names = SERVICES.map(service);
    for (step, (which, op)) in history.iter().enumerate() {
        let name = &names[*which];
        match op {
            Op::Admit(address) => {
                let who = applicant(ADDRESSES[*address]);
                let expected = book.admit(name, now, &who, rules);
                let verdict = store.admit(name, now, &who, rules).await.unwrap();
                assert_eq!(verdict, expected, "{kind}, step {step}");
                book.hear(name, u64::MAX >> 12, true);
                rest(store, name).await;
            }
            Op::Late(by, address, ago, twice) => {
                number += 1;
                let by = if *by { "a" } else { "b" };
                let late = late(
                    by,
                    number,
                    name,
                    now - Span(*ago),
                    ADDRESSES[*address],
                    rules,
                );
                for _ in 0..1 + u32::from(*twice) {
                    if let Some(charge) = book.late(now, &late) {
                        book.charge(charge);
                    }
                    store.charge_late(now, &late).await.unwrap();
                }
            }
            Op::Later(ms) => now = now + Span(*ms),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_random_history_with_late_wakes_is_ruled_on_as_the_book_says(
        rules in rules(),
        history in proptest::collection::vec((0..SERVICES.len(), op()), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (kind, store) in stores() {
            runtime.block_on(play(kind, &*store, &rules, &history));
        }
    }
}

#[tokio::test]
async fn a_file_opened_again_knows_what_it_has_charged() {
    let directory = tempfile::tempdir().unwrap();
    let open = || FileStore::open(directory.path().join("store")).unwrap();
    let rules = Rules {
        per_service: Rate::new(2, DAY).ok(),
        ..Rules::default()
    };
    let blog = service("blog");
    let one = late("a", 1, &blog, T0, "203.0.113.1", &rules);
    open().charge_late(T0, &one).await.unwrap();
    let store = open();
    store.charge_late(T0, &one).await.unwrap();
    let verdict = store
        .admit(&blog, T0, &applicant("203.0.113.1"), &rules)
        .await;
    assert_eq!(verdict.unwrap(), Verdict::Wake(1));
}
