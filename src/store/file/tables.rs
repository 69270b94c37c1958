//! What is in the file, and what each operation does to it in one transaction.
//!
//! | table | key | value |
//! |---|---|---|
//! | `epochs` | service | the epoch of its owner |
//! | `records` | service | the record, as JSON |
//! | `ledger` | service, number | the entry, as JSON; the numbers rise by one |
//! | `secrets` | `deployment` | 32 random bytes |
//!
//! The tables of the limits are in [`limits`](super::limits), that of the triggerers in [`clients`](super::clients).
//! A number that is missing in the ledger was too old.
//!
//! JSON, so that a person can read what a broken file still holds, and a new version what an old one wrote.

use std::path::Path;

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};
use serde::de::DeserializeOwned;

use super::{Outcome, clients, limits};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::record::Record;
use crate::engine::time::Time;
use crate::store::{Claim, LEDGER_MAX, LedgerEntry, StoreError};

const EPOCHS: TableDefinition<'_, &str, u64> = TableDefinition::new("epochs");
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
pub(super) const LEDGER: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("ledger");

const SECRETS: TableDefinition<'_, &str, [u8; 32]> = TableDefinition::new("secrets");

/// What a save says of the wakes: up to which number the owner has heard of them, and whether the service rests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) number: u64,
    pub(super) at_rest: bool,
}

/// The one secret there is.
const DEPLOYMENT: &str = "deployment";

/// Pages kept in memory. The whole file of fifty busy services is smaller.
const CACHE_BYTES: usize = 16 << 20;

/// Opens the file and sees to it that it has all tables, so that a read finds them.
pub(super) fn open(path: &Path) -> Result<Database, redb::Error> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(path)?;
    if has_all(&database.begin_read()?)? {
        return Ok(database);
    }
    let write = begin(&database)?;
    write.open_table(EPOCHS)?;
    write.open_table(RECORDS)?;
    write.open_table(LEDGER)?;
    write.open_table(SECRETS)?;
    limits::create(&write)?;
    clients::create(&write)?;
    write.commit()?;
    Ok(database)
}

fn has_all(read: &ReadTransaction) -> Result<bool, redb::Error> {
    let opened = read
        .open_table(EPOCHS)
        .and_then(|_| read.open_table(RECORDS))
        .and_then(|_| read.open_table(LEDGER))
        .and_then(|_| read.open_table(SECRETS).map(drop))
        .and_then(|()| limits::open(read))
        .and_then(|()| clients::open(read));
    match opened {
        Ok(()) => Ok(true),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

pub(super) fn claim(database: &Database, service: &ServiceName) -> Outcome<Claim> {
    let write = begin(database)?;
    let claim = {
        let mut epochs = write.open_table(EPOCHS)?;
        let epoch = Epoch(current(&epochs, service)?.0 + 1);
        epochs.insert(service.as_str(), epoch.0)?;
        record(&write.open_table(RECORDS)?, service)?.map(|record| Claim { epoch, record })
    };
    match &claim {
        Ok(_) => write.commit()?,
        Err(_) => write.abort()?,
    }
    Ok(claim)
}

pub(super) fn save(
    database: &Database,
    service: &ServiceName,
    epoch: Epoch,
    record: &[u8],
    entries: &[Vec<u8>],
    oldest: Time,
    heard: Heard,
) -> Outcome<()> {
    let write = begin(database)?;
    let current = current(&write.open_table(EPOCHS)?, service)?;
    if current != epoch || current == Epoch::default() {
        write.abort()?;
        return Ok(Err(StoreError::Stale {
            current,
            ours: epoch,
        }));
    }
    write
        .open_table(RECORDS)?
        .insert(service.as_str(), record)?;
    append(&mut write.open_table(LEDGER)?, service, entries, oldest)?;
    let heard = limits::hear(&write, service, heard)?;
    match &heard {
        Ok(()) => write.commit()?,
        Err(_) => write.abort()?,
    }
    Ok(heard)
}

pub(super) fn secret(database: &Database, fresh: [u8; 32]) -> Outcome<[u8; 32]> {
    let write = begin(database)?;
    let kept = write
        .open_table(SECRETS)?
        .get(DEPLOYMENT)?
        .map(|kept| kept.value());
    let Some(kept) = kept else {
        write.open_table(SECRETS)?.insert(DEPLOYMENT, fresh)?;
        write.commit()?;
        return Ok(Ok(fresh));
    };
    write.abort()?;
    Ok(Ok(kept))
}

pub(super) fn load(database: &Database, service: &ServiceName) -> Outcome<Option<Record>> {
    let read = database.begin_read()?;
    record(&read.open_table(RECORDS)?, service)
}

pub(super) fn ledger(
    database: &Database,
    service: &ServiceName,
    limit: usize,
) -> Outcome<Vec<LedgerEntry>> {
    let read = database.begin_read()?;
    let table = read.open_table(LEDGER)?;
    let mut entries = Vec::new();
    for line in table.range(all_of(service))?.rev().take(limit) {
        let (key, json) = line?;
        let what = || format!("ledger entry {} of {service}", key.value().1);
        match parse(json.value(), what) {
            Ok(entry) => entries.push(entry),
            Err(corrupt) => return Ok(Err(corrupt)),
        }
    }
    Ok(Ok(entries))
}

/// The service's epoch; zero, which is never given out, when nobody claimed it.
fn current(
    epochs: &impl ReadableTable<&'static str, u64>,
    service: &ServiceName,
) -> Result<Epoch, redb::Error> {
    let epoch = epochs.get(service.as_str())?;
    Ok(epoch.map_or(Epoch::default(), |epoch| Epoch(epoch.value())))
}

fn record(
    records: &impl ReadableTable<&'static str, &'static [u8]>,
    service: &ServiceName,
) -> Outcome<Option<Record>> {
    Ok(match records.get(service.as_str())? {
        Some(json) => parse(json.value(), || format!("the record of {service}")).map(Some),
        None => Ok(None),
    })
}

fn append(
    ledger: &mut Table<'_, (&'static str, u64), &'static [u8]>,
    service: &ServiceName,
    entries: &[Vec<u8>],
    oldest: Time,
) -> Result<(), redb::Error> {
    let name = service.as_str();
    let last = ledger.range(all_of(service))?.next_back().transpose()?;
    let mut next = last.map_or(0, |(key, _)| key.value().1 + 1);
    for entry in entries {
        ledger.insert((name, next), entry.as_slice())?;
        next += 1;
    }
    let mut oldest_kept = next.saturating_sub(LEDGER_MAX as u64);
    for line in ledger.range((name, oldest_kept)..=(name, u64::MAX))? {
        let (key, text) = line?;
        match serde_json::from_slice::<LedgerEntry>(text.value()) {
            Ok(entry) if entry.at < oldest => oldest_kept = key.value().1 + 1,
            // One that can't be read is left for whoever reads the ledger.
            Ok(_) | Err(_) => break,
        }
    }
    ledger.retain_in((name, 0)..(name, oldest_kept), |_, _| false)?;
    Ok(())
}

pub(super) fn all_of(service: &ServiceName) -> std::ops::RangeInclusive<(&str, u64)> {
    (service.as_str(), 0)..=(service.as_str(), u64::MAX)
}

pub(super) fn parse<T: DeserializeOwned>(
    json: &[u8],
    what: impl FnOnce() -> String,
) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|error| StoreError::Corrupt {
        what: what(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blog() -> ServiceName {
        "blog".parse().unwrap()
    }

    fn fresh() -> (Database, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let database = open(&directory.path().join("store")).unwrap();
        (database, directory)
    }

    #[test]
    fn a_corrupt_record_is_named_and_left_as_it_is_and_its_epoch_too() {
        let (database, _directory) = fresh();
        let broken: &[u8] = b"{\"last_op\": 7, \"stand\"";
        let write = begin(&database).unwrap();
        let mut records = write.open_table(RECORDS).unwrap();
        records.insert("blog", broken).unwrap();
        drop(records);
        let mut epochs = write.open_table(EPOCHS).unwrap();
        epochs.insert("blog", 4).unwrap();
        drop(epochs);
        write.commit().unwrap();

        let named = |error: StoreError| error.to_string().contains("the record of blog");
        assert!(named(load(&database, &blog()).unwrap().unwrap_err()));
        assert!(named(claim(&database, &blog()).unwrap().unwrap_err()));

        let read = database.begin_read().unwrap();
        let records = read.open_table(RECORDS).unwrap();
        assert_eq!(records.get("blog").unwrap().unwrap().value(), broken);
        let epochs = read.open_table(EPOCHS).unwrap();
        assert_eq!(epochs.get("blog").unwrap().unwrap().value(), 4);
    }

    #[test]
    fn a_corrupt_ledger_entry_is_named_by_its_number() {
        let (database, _directory) = fresh();
        let write = begin(&database).unwrap();
        let mut table = write.open_table(LEDGER).unwrap();
        table.insert(("blog", 31), b"?".as_slice()).unwrap();
        drop(table);
        write.commit().unwrap();
        let error = ledger(&database, &blog(), 10).unwrap().unwrap_err();
        assert!(error.to_string().contains("entry 31 of blog"), "{error}");
    }

    #[test]
    fn a_read_does_not_wait_for_a_write() {
        let (database, _directory) = fresh();
        let under_way = begin(&database).unwrap();
        let mut records = under_way.open_table(RECORDS).unwrap();
        records.insert("blog", b"half".as_slice()).unwrap();
        assert_eq!(load(&database, &blog()).unwrap().unwrap(), None);
        drop(records);
        drop(under_way);
    }
}
