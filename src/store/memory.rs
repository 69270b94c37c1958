//! The store of a process that need not remember: for the demo, for tests, and for whoever accepts that a restart
//! asks the provider afresh. What it holds ends with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock};

use super::{Answer, Claim, LEDGER_MAX, LedgerEntry, Store, StoreError};
use crate::engine::admit::{Applicant, Book, Late, Rules, Verdict};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::record::Record;
use crate::engine::time::Time;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    all: Mutex<All>,
    secret: OnceLock<[u8; 32]>,
}

#[derive(Debug, Default)]
struct All {
    services: BTreeMap<ServiceName, Kept>,
    limits: Book,
}

#[derive(Debug, Default)]
struct Kept {
    epoch: Epoch,
    record: Option<Record>,
    /// Oldest first.
    ledger: VecDeque<LedgerEntry>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Store for MemoryStore {
    fn claim<'a>(&'a self, service: &'a ServiceName, _owner: &'a str) -> Answer<'a, Claim> {
        Box::pin(async move {
            let mut all = self.all();
            let kept = all.services.entry(service.clone()).or_default();
            kept.epoch = Epoch(kept.epoch.0 + 1);
            Ok(Claim {
                epoch: kept.epoch,
                record: kept.record.clone(),
            })
        })
    }

    fn save<'a>(
        &'a self,
        service: &'a ServiceName,
        epoch: Epoch,
        record: &'a Record,
        entries: &'a [LedgerEntry],
        heard: u64,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let All { services, limits } = &mut *self.all();
            let Some(kept) = services.get_mut(service) else {
                return Err(StoreError::Stale {
                    current: Epoch(0),
                    ours: epoch,
                });
            };
            if kept.epoch != epoch {
                return Err(StoreError::Stale {
                    current: kept.epoch,
                    ours: epoch,
                });
            }
            kept.record = Some(record.clone());
            kept.ledger.extend(entries.iter().cloned());
            let over = kept.ledger.len().saturating_sub(LEDGER_MAX);
            kept.ledger.drain(..over);
            limits.hear(service, heard, record.stand.at_rest());
            Ok(())
        })
    }

    fn admit<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        rules: &'a Rules,
    ) -> Answer<'a, Verdict> {
        Box::pin(async move { Ok(self.all().limits.admit(service, now, applicant, rules)) })
    }

    fn charge_late<'a>(&'a self, now: Time, late: &'a Late) -> Answer<'a, ()> {
        Box::pin(async move {
            let limits = &mut self.all().limits;
            if let Some(charge) = limits.late(now, late) {
                limits.charge(charge);
            }
            Ok(())
        })
    }

    fn tidy(&self, now: Time) -> Answer<'_, ()> {
        Box::pin(async move {
            let limits = &mut self.all().limits;
            let past = limits.past(now);
            limits.forget(&past);
            Ok(())
        })
    }

    fn secret(&self, fresh: [u8; 32]) -> Answer<'_, [u8; 32]> {
        Box::pin(async move { Ok(*self.secret.get_or_init(|| fresh)) })
    }

    fn load<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, Option<Record>> {
        Box::pin(async move {
            Ok(self
                .all()
                .services
                .get(service)
                .and_then(|kept| kept.record.clone()))
        })
    }

    fn ledger<'a>(
        &'a self,
        service: &'a ServiceName,
        limit: usize,
    ) -> Answer<'a, Vec<LedgerEntry>> {
        Box::pin(async move {
            let all = self.all();
            let ledger = all.services.get(service).map(|kept| &kept.ledger);
            Ok(ledger
                .into_iter()
                .flat_map(|ledger| ledger.iter().rev().take(limit).cloned())
                .collect())
        })
    }
}
