//! Random histories of several services, against a plain model.

use std::collections::BTreeMap;

use anteroom::engine::id::Epoch;
use anteroom::engine::record::Record;
use anteroom::store::{LEDGER_MAX, LedgerEntry, Store, StoreError};
use proptest::prelude::*;

use super::samples::{full_record, stands};
use super::{entry, service, stores};

const SERVICES: [&str; 3] = ["a", "a-1", "a1"];

#[derive(Clone, Debug)]
enum Op {
    Claim,
    /// A save under the current epoch plus `ahead`, with so many entries.
    Save {
        ahead: i64,
        record: Box<Record>,
        entries: u64,
    },
    Load,
    Ledger {
        limit: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let record = (proptest::sample::select(stands()), any::<u64>()).prop_map(|(stand, count)| {
        Box::new(Record {
            triggered_count: count,
            ..full_record(stand)
        })
    });
    let ahead = prop_oneof![6 => Just(0), 1 => Just(-1), 1 => -3..3i64];
    let entries = prop_oneof![12 => 0..4u64, 1 => 900..2_100u64];
    prop_oneof![
        1 => Just(Op::Claim),
        4 => (ahead, record, entries)
            .prop_map(|(ahead, record, entries)| Op::Save { ahead, record, entries }),
        1 => Just(Op::Load),
        1 => prop_oneof![0..6usize, Just(usize::MAX)].prop_map(|limit| Op::Ledger { limit }),
    ]
}

#[derive(Default)]
struct Model {
    epoch: u64,
    record: Option<Record>,
    /// Oldest first, and never cut.
    ledger: Vec<LedgerEntry>,
}

impl Model {
    fn latest(&self, limit: usize) -> Vec<LedgerEntry> {
        let kept = self.ledger.iter().rev().take(LEDGER_MAX);
        kept.take(limit).cloned().collect()
    }
}

async fn play(kind: &str, store: &dyn Store, history: &[(usize, Op)]) {
    let mut models: BTreeMap<usize, Model> = BTreeMap::new();
    for (step, (which, op)) in history.iter().enumerate() {
        let (name, model) = (service(SERVICES[*which]), models.entry(*which).or_default());
        let at = format!("{kind}, step {step}");
        match op {
            Op::Claim => {
                let claim = store.claim(&name, "owner").await.unwrap();
                model.epoch += 1;
                assert_eq!(claim.epoch, Epoch(model.epoch), "{at}");
                assert_eq!(claim.record, model.record, "{at}");
            }
            Op::Save {
                ahead,
                record,
                entries,
            } => {
                let epoch = Epoch(model.epoch.saturating_add_signed(*ahead));
                let first = model.ledger.len() as u64;
                let lines: Vec<_> = (first..first + entries).map(entry).collect();
                let saved = store.save(&name, epoch, record, &lines, 0).await;
                if epoch == Epoch(model.epoch) && model.epoch > 0 {
                    saved.unwrap_or_else(|error| panic!("{at}: {error}"));
                    model.record = Some((**record).clone());
                    model.ledger.extend(lines);
                } else {
                    assert!(matches!(saved, Err(StoreError::Stale { .. })), "{at}");
                }
            }
            Op::Load => assert_eq!(store.load(&name).await.unwrap(), model.record, "{at}"),
            Op::Ledger { limit } => {
                let ledger = store.ledger(&name, *limit).await.unwrap();
                assert_eq!(ledger, model.latest(*limit), "{at}");
            }
        }
    }
    for (which, model) in models {
        let name = service(SERVICES[which]);
        assert_eq!(store.load(&name).await.unwrap(), model.record, "{kind}");
        let ledger = store.ledger(&name, usize::MAX).await.unwrap();
        assert_eq!(ledger, model.latest(usize::MAX), "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_random_history_ends_as_a_plain_model_says(
        history in proptest::collection::vec((0..SERVICES.len(), op()), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (kind, store) in stores() {
            runtime.block_on(play(kind, &*store, &history));
        }
    }
}
