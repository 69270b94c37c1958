//! A nonce pays for one wake: in every store, for every room, and after a restart.

use anteroom::engine::admit::{Applicant, Late, Rule, Rules, Verdict};
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::store::Store;
use anteroom::store::file::FileStore;

use super::limits::{T0, applicant, rate};
use super::{service, stores};

/// For longer than that no nonce counts.
const REMEMBERED: Span = Span::mins(15);

fn with(nonce: &str, address: &str) -> Applicant {
    Applicant {
        nonce: Some(nonce.to_owned()),
        ..applicant(address)
    }
}

async fn ask(store: &dyn Store, name: &ServiceName, now: Time, who: &Applicant) -> Verdict {
    let asked = store.admit(name, now, who, &Rules::default()).await;
    asked.unwrap()
}

/// The wake is over, and the service asleep.
async fn rest(store: &dyn Store, name: &ServiceName, epoch: Epoch) {
    let record = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    store
        .save(name, epoch, &record, &[], u64::MAX)
        .await
        .unwrap();
}

fn is_spent(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Refused {
            rule: Rule::Spent,
            ..
        }
    )
}

#[tokio::test]
async fn a_nonce_that_has_paid_for_a_wake_pays_for_no_other() {
    for (kind, store) in stores() {
        let (blog, shop) = (service("blog"), service("shop"));
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        let one = with("n1", "203.0.113.1");
        assert_eq!(
            ask(&*store, &blog, T0, &one).await,
            Verdict::Wake(1),
            "{kind}"
        );
        // A double press joins the wake that it asked for.
        assert_eq!(
            ask(&*store, &blog, T0, &one).await,
            Verdict::Joined(1),
            "{kind}"
        );
        rest(&*store, &blog, epoch).await;
        for who in [&one, &with("n1", "198.51.100.7")] {
            let verdict = ask(&*store, &blog, T0 + Span::mins(9), who).await;
            assert!(is_spent(verdict), "{kind}: {verdict:?}");
        }
        // It is of one service, and others are as good as ever.
        assert_eq!(
            ask(&*store, &shop, T0, &one).await,
            Verdict::Wake(1),
            "{kind}"
        );
        let other = with("n2", "203.0.113.1");
        assert_eq!(
            ask(&*store, &blog, T0, &other).await,
            Verdict::Wake(2),
            "{kind}"
        );
        rest(&*store, &blog, epoch).await;
        let past = T0 + REMEMBERED;
        assert_eq!(
            ask(&*store, &blog, past, &one).await,
            Verdict::Wake(3),
            "{kind}"
        );
        let listed = store.triggerers(&blog, past, 100).await.unwrap();
        assert_eq!(listed.len(), 4, "{kind}: a spent nonce is not worth a line");
    }
}

#[tokio::test]
async fn a_nonce_that_only_joined_or_was_refused_is_not_spent() {
    for (kind, store) in stores() {
        let blog = service("blog");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        let (one, two) = (with("n1", "203.0.113.1"), with("n2", "203.0.113.2"));
        assert_eq!(
            ask(&*store, &blog, T0, &one).await,
            Verdict::Wake(1),
            "{kind}"
        );
        assert_eq!(
            ask(&*store, &blog, T0, &two).await,
            Verdict::Joined(1),
            "{kind}"
        );
        rest(&*store, &blog, epoch).await;
        let rules = Rules {
            per_service: rate(1, Span::mins(2)),
            ..Rules::default()
        };
        let verdict = store
            .admit(&blog, T0, &with("n3", "203.0.113.3"), &rules)
            .await;
        assert_eq!(verdict.unwrap(), Verdict::Wake(2), "{kind}");
        rest(&*store, &blog, epoch).await;
        let verdict = store.admit(&blog, T0, &two, &rules).await.unwrap();
        let refused = matches!(
            verdict,
            Verdict::Refused {
                rule: Rule::PerService,
                ..
            }
        );
        assert!(refused, "{kind}: {verdict:?}");
        assert_eq!(
            ask(&*store, &blog, T0, &two).await,
            Verdict::Wake(3),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_nonce_that_was_taken_without_the_store_is_spent_when_it_is_back() {
    for (kind, store) in stores() {
        let blog = service("blog");
        store.claim(&blog, "a").await.unwrap();
        let late = Late {
            by: "room".into(),
            number: 1,
            service: blog.clone(),
            at: T0,
            applicant: with("n1", "203.0.113.1"),
            rules: Rules::default(),
        };
        let soon = T0 + Span::mins(1);
        store.charge_late(soon, &late).await.unwrap();
        let verdict = ask(&*store, &blog, soon, &late.applicant).await;
        assert!(is_spent(verdict), "{kind}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_restart_makes_no_nonce_good_again() {
    let directory = tempfile::tempdir().unwrap();
    let open = || FileStore::open(directory.path().join("store")).unwrap();
    let blog = service("blog");
    let one = with("n1", "203.0.113.1");
    let store = open();
    assert_eq!(ask(&store, &blog, T0, &one).await, Verdict::Wake(1));
    drop(store);
    let store = open();
    let epoch = store.claim(&blog, "b").await.unwrap().epoch;
    rest(&store, &blog, epoch).await;
    assert!(is_spent(ask(&store, &blog, T0, &one).await));
    store.tidy(T0 + REMEMBERED).await.unwrap();
    assert_eq!(
        ask(&store, &blog, T0, &one).await,
        Verdict::Wake(2),
        "forgotten"
    );
}
