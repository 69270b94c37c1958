//! The store of a process that need not remember: for the demo, for tests, and for whoever accepts that a restart
//! asks the provider afresh. What it holds ends with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arc_swap::ArcSwap;

use super::{Answer, Claim, Forgot, LEDGER_MAX, LedgerEntry, Store, StoreError};
use crate::engine::admit::{Applicant, Book, Late, Rules, Verdict};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::privacy::{Forgotten, Kept};
use crate::engine::record::Record;
use crate::engine::time::Time;
use crate::engine::triggerers::{Asked, Outcome, Triggerers, latest};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    all: Mutex<All>,
    secret: OnceLock<[u8; 32]>,
    kept: ArcSwap<Kept>,
}

#[derive(Debug, Default)]
struct All {
    services: BTreeMap<ServiceName, Owned>,
    limits: Book,
    triggerers: BTreeMap<ServiceName, Triggerers>,
}

#[derive(Debug, Default)]
struct Owned {
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

    fn kept(&self) -> Kept {
        **self.kept.load()
    }
}

impl Owned {
    /// Drops what is too old or too much.
    fn trim(&mut self, now: Time, kept: Kept) {
        let old = |entry: &LedgerEntry| now.since(entry.at) > kept.network;
        while self.ledger.front().is_some_and(old) || self.ledger.len() > LEDGER_MAX {
            self.ledger.pop_front();
        }
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
            let All {
                services, limits, ..
            } = &mut *self.all();
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
            if let Some(last) = entries.last() {
                kept.trim(last.at, self.kept());
            }
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
        Box::pin(async move {
            let All {
                limits, triggerers, ..
            } = &mut *self.all();
            let verdict = limits.admit(service, now, applicant, rules);
            let asked = Asked::of(now, applicant, Outcome::of(verdict));
            let triggerers = triggerers.entry(service.clone()).or_default();
            triggerers.note(asked, self.kept());
            Ok(verdict)
        })
    }

    fn note<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        outcome: Outcome,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let asked = Asked::of(now, applicant, outcome);
            let listed = &mut self.all().triggerers;
            let listed = listed.entry(service.clone()).or_default();
            listed.note(asked, self.kept());
            Ok(())
        })
    }

    fn keep(&self, kept: Kept) {
        self.kept.store(Arc::new(kept));
    }

    fn charge_late<'a>(&'a self, now: Time, late: &'a Late) -> Answer<'a, ()> {
        Box::pin(async move {
            let All {
                limits, triggerers, ..
            } = &mut *self.all();
            if let Some(charge) = limits.late(now, late) {
                limits.charge(charge);
                let woke = Outcome::Woke { wake: 0 };
                let asked = Asked::of(late.at, &late.applicant, woke);
                let triggerers = triggerers.entry(late.service.clone()).or_default();
                triggerers.note(asked, self.kept());
            }
            Ok(())
        })
    }

    fn tidy(&self, now: Time) -> Answer<'_, ()> {
        Box::pin(async move {
            let All {
                services,
                limits,
                triggerers,
            } = &mut *self.all();
            let past = limits.past(now);
            limits.forget(&past);
            for list in triggerers.values_mut() {
                list.tidy(now, self.kept());
            }
            for owned in services.values_mut() {
                owned.trim(now, self.kept());
            }
            Ok(())
        })
    }

    fn triggerers<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        limit: usize,
    ) -> Answer<'a, Vec<Asked>> {
        Box::pin(async move {
            let all = self.all();
            let listed = all.triggerers.get(service);
            let listed = listed.into_iter().flat_map(Triggerers::all).cloned();
            let left = listed.filter_map(|asked| asked.at(now, self.kept()));
            Ok(latest(left.collect(), limit))
        })
    }

    fn forget<'a>(&'a self, forgotten: &'a Forgotten) -> Answer<'a, Forgot> {
        Box::pin(async move {
            let All {
                services,
                limits,
                triggerers,
            } = &mut *self.all();
            let keys = limits.of(forgotten);
            limits.forget(&keys);
            let listed = triggerers.values_mut().map(|list| list.forget(forgotten));
            let lines = services
                .values_mut()
                .flat_map(|owned| &mut owned.ledger)
                .filter_map(|entry| entry.event.forget(forgotten).then_some(()));
            Ok(Forgot {
                triggerers: listed.sum(),
                limits: keys.len(),
                ledger: lines.count(),
            })
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
