//! What every store does, whatever it is made of. A new kind adds one line to [`KINDS`].

use std::collections::BTreeSet;
use std::sync::Arc;

use anteroom::engine::contract::Event;
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::record::Record;
use anteroom::engine::time::Time;
use anteroom::store::file::FileStore;
use anteroom::store::memory::MemoryStore;
use anteroom::store::{LEDGER_MAX, LedgerEntry, Store, StoreError};

mod clients;
mod history;
mod late;
mod limits;
mod samples;
mod spent;

/// A kind's name, and a way to an empty store of it.
type Kind = (&'static str, fn() -> Arc<dyn Store>);

const KINDS: [Kind; 2] = [
    ("memory", || Arc::new(MemoryStore::new())),
    ("file", || {
        // The directory's name goes at once; the open file lives as long as the store, and nothing is left behind.
        let directory = tempfile::tempdir().unwrap();
        Arc::new(FileStore::open(directory.path().join("store")).unwrap())
    }),
];

/// Those of Redis need a server: `store_redis` runs this suite once more in a child, which is given one.
fn stores() -> impl Iterator<Item = (&'static str, Arc<dyn Store>)> {
    let given = crate::support::redis::given().map(|store| ("redis", store));
    let own = given.is_none().then_some(KINDS).into_iter().flatten();
    given
        .into_iter()
        .chain(own.map(|(kind, open)| (kind, open())))
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn record(count: u64) -> Record {
    Record {
        triggered_count: count,
        ..Record::default()
    }
}

fn entry(at: u64) -> LedgerEntry {
    LedgerEntry {
        at: Time(at),
        event: Event::Adopted,
    }
}

async fn save(
    store: &dyn Store,
    service: &ServiceName,
    epoch: Epoch,
    count: u64,
    entries: &[LedgerEntry],
) {
    let saved = store.save(service, epoch, &record(count), entries, 0).await;
    saved.expect("the epoch is the current one");
}

fn times(ledger: &[LedgerEntry]) -> Vec<u64> {
    ledger.iter().map(|entry| entry.at.0).collect()
}

#[tokio::test]
async fn every_claim_raises_the_epoch_and_returns_what_the_last_owner_wrote() {
    for (kind, store) in stores() {
        let blog = service("blog");
        let first = store.claim(&blog, "a").await.unwrap();
        assert_eq!((first.epoch, first.record), (Epoch(1), None), "{kind}");
        let saved = record(7);
        store
            .save(&blog, first.epoch, &saved, &[], 0)
            .await
            .unwrap();
        let second = store.claim(&blog, "a").await.unwrap();
        let expected = (Epoch(2), Some(saved));
        assert_eq!((second.epoch, second.record), expected, "{kind}");
        let other = store.claim(&service("shop"), "a").await.unwrap();
        assert_eq!((other.epoch, other.record), (Epoch(1), None), "{kind}");
    }
}

#[tokio::test]
async fn a_stale_save_is_refused_and_writes_neither_record_nor_ledger() {
    for (kind, store) in stores() {
        let blog = service("blog");
        let old = store.claim(&blog, "a").await.unwrap().epoch;
        save(&*store, &blog, old, 1, &[entry(1)]).await;
        let new = store.claim(&blog, "b").await.unwrap().epoch;
        let refused = store.save(&blog, old, &record(2), &[entry(2)], 0).await;
        let expected = matches!(refused, Err(StoreError::Stale { current, ours }) if current == new && ours == old);
        assert!(expected, "{kind}: {refused:?}");
        assert_eq!(store.load(&blog).await.unwrap(), Some(record(1)), "{kind}");
        let ledger = store.ledger(&blog, 9).await.unwrap();
        assert_eq!(times(&ledger), [1], "{kind}");
        save(&*store, &blog, new, 3, &[entry(3)]).await;
        assert_eq!(store.load(&blog).await.unwrap(), Some(record(3)), "{kind}");
    }
}

#[tokio::test]
async fn an_epoch_that_this_store_never_gave_out_is_stale() {
    for (kind, store) in stores() {
        let blog = service("blog");
        for claimed in [false, true] {
            if claimed {
                store.claim(&blog, "a").await.unwrap();
            }
            for epoch in [Epoch(0), Epoch(2), Epoch(u64::MAX)] {
                let refused = store.save(&blog, epoch, &record(1), &[entry(1)], 0).await;
                let stale = matches!(refused, Err(StoreError::Stale { .. }));
                assert!(stale, "{kind}, {epoch}, claimed: {claimed}: {refused:?}");
            }
        }
        assert_eq!(store.load(&blog).await.unwrap(), None, "{kind}");
        assert_eq!(store.ledger(&blog, 9).await.unwrap(), [], "{kind}");
    }
}

#[tokio::test]
async fn an_unknown_service_has_no_record_and_no_ledger() {
    for (kind, store) in stores() {
        let near = service("blog-2");
        let epoch = store.claim(&near, "a").await.unwrap().epoch;
        save(&*store, &near, epoch, 1, &[entry(1)]).await;
        for name in ["blog", "blog-", "blog-1", "blog-20", "a", "z"] {
            let Ok(name) = name.parse() else { continue };
            assert_eq!(store.load(&name).await.unwrap(), None, "{kind} {name}");
            let ledger = store.ledger(&name, 9).await.unwrap();
            assert_eq!(ledger, [], "{kind} {name}");
        }
    }
}

#[tokio::test]
async fn the_ledger_is_newest_first_and_no_longer_than_asked() {
    for (kind, store) in stores() {
        let blog = service("blog");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        // Equal and falling times, as after a jump of the clock: the order of writing counts, not the time.
        for batch in [vec![5, 3], vec![], vec![3, 9]] {
            let entries: Vec<_> = batch.into_iter().map(entry).collect();
            save(&*store, &blog, epoch, 0, &entries).await;
        }
        for (limit, expected) in [
            (0, vec![]),
            (1, vec![9]),
            (3, vec![9, 3, 3]),
            (4, vec![9, 3, 3, 5]),
            (usize::MAX, vec![9, 3, 3, 5]),
        ] {
            let ledger = store.ledger(&blog, limit).await.unwrap();
            assert_eq!(times(&ledger), expected, "{kind}, {limit}");
        }
    }
}

#[tokio::test]
async fn the_ledger_keeps_its_latest_entries_and_drops_the_older_ones() {
    let max = LEDGER_MAX as u64;
    // The length before, and the batch that takes it past the bound.
    for (before, batch) in [(max, 1), (max - 3, 7), (0, max + 5), (max, max)] {
        for (kind, store) in stores() {
            let (blog, shop) = (service("blog"), service("shop"));
            let epoch = store.claim(&blog, "a").await.unwrap().epoch;
            let shops = store.claim(&shop, "a").await.unwrap().epoch;
            save(&*store, &shop, shops, 0, &[entry(77)]).await;
            for numbers in [0..before, before..before + batch] {
                let entries: Vec<_> = numbers.map(entry).collect();
                save(&*store, &blog, epoch, 0, &entries).await;
            }
            let end = before + batch;
            let expected: Vec<_> = (end - max..end).rev().collect();
            let ledger = store.ledger(&blog, usize::MAX).await.unwrap();
            assert!(times(&ledger) == expected, "{kind}: {before} + {batch}");
            let others = store.ledger(&shop, 9).await.unwrap();
            assert_eq!(times(&others), [77], "{kind}: another service's ledger");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claims_at_the_same_time_get_epochs_of_their_own() {
    for (kind, store) in stores() {
        let claims: Vec<_> = (0..32)
            .map(|number| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let (blog, owner) = (service("blog"), format!("owner-{number}"));
                    store.claim(&blog, &owner).await.unwrap().epoch.0
                })
            })
            .collect();
        let mut epochs = BTreeSet::new();
        for claim in claims {
            epochs.insert(claim.await.unwrap());
        }
        assert_eq!(epochs, (1..=32).collect(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_beside_a_writer_never_sees_a_save_by_halves() {
    for (kind, store) in stores() {
        let blog = service("blog");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        let writer = {
            let (store, blog) = (Arc::clone(&store), blog.clone());
            tokio::spawn(async move {
                for count in 1..=60 {
                    let entries = [entry(count), entry(count)];
                    save(&*store, &blog, epoch, count, &entries).await;
                }
            })
        };
        while !writer.is_finished() {
            let before = store.load(&blog).await.unwrap();
            let ledger = times(&store.ledger(&blog, 4).await.unwrap());
            let after = store.load(&blog).await.unwrap();
            let count = |record: Option<Record>| record.map_or(0, |record| record.triggered_count);
            let newest = ledger.first().copied().unwrap_or(0);
            assert!(
                count(before) <= newest && newest <= count(after),
                "{kind}: {ledger:?}"
            );
            assert!(
                ledger.chunks(2).all(|pair| pair[0] == pair[1]),
                "{kind}: {ledger:?}"
            );
            tokio::task::yield_now().await;
        }
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn every_stand_comes_back_as_it_was_written() {
    let stands = samples::stands();
    let seen: BTreeSet<_> = stands.iter().map(samples::stand_number).collect();
    assert_eq!(
        seen,
        (0..samples::STANDS).collect(),
        "a stand is missing here"
    );
    for (kind, store) in stores() {
        let blog = service("blog");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        for stand in &stands {
            let full = samples::full_record(stand.clone());
            store.save(&blog, epoch, &full, &[], 0).await.unwrap();
            let loaded = store.load(&blog).await.unwrap();
            assert_eq!(loaded, Some(full), "{kind}");
        }
    }
}

#[tokio::test]
async fn every_event_comes_back_as_it_was_written() {
    let events = samples::events();
    let seen: BTreeSet<_> = events.iter().map(samples::event_number).collect();
    assert_eq!(
        seen,
        (0..samples::EVENTS).collect(),
        "an event is missing here"
    );
    let at = Time(u64::MAX);
    let written: Vec<_> = events
        .into_iter()
        .map(|event| LedgerEntry { at, event })
        .collect();
    for (kind, store) in stores() {
        let blog = service("blog");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        save(&*store, &blog, epoch, 0, &written).await;
        let mut ledger = store.ledger(&blog, usize::MAX).await.unwrap();
        ledger.reverse();
        assert_eq!(ledger, written, "{kind}");
    }
}

#[tokio::test]
async fn the_first_secret_is_kept_whoever_brings_a_fresh_one() {
    for (kind, store) in stores() {
        assert_eq!(store.secret([1; 32]).await.unwrap(), [1; 32], "{kind}");
        assert_eq!(store.secret([2; 32]).await.unwrap(), [1; 32], "{kind}");
    }
}
