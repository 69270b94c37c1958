//! What is about clients in the file, beside their limits: who woke a service, and the age of everything.
//!
//! | table | key | value |
//! |---|---|---|
//! | `triggerers` | service, number | who woke it, as JSON; the numbers rise by one |
//!
//! Only who woke a service is here: that is written with the charge in one transaction. Those who join or are refused
//! cost no write; the process remembers them.

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::remove;
use super::tables::{LEDGER, all_of, begin, parse};
use super::{Outcome, json};
use crate::engine::admit::Key;
use crate::engine::id::ServiceName;
use crate::engine::privacy::{Forgotten, Kept};
use crate::engine::time::Time;
use crate::engine::triggerers::{Asked, TRIGGERERS_MAX};
use crate::store::{Forgot, LedgerEntry};

const TRIGGERERS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("triggerers");

/// A table whose entries are numbered within each service.
type Numbered = TableDefinition<'static, (&'static str, u64), &'static [u8]>;

/// Sees to it that the table is there.
pub(super) fn create(write: &WriteTransaction) -> Result<(), TableError> {
    write.open_table(TRIGGERERS).map(drop)
}

/// Whether the table is there.
pub(super) fn open(read: &ReadTransaction) -> Result<(), TableError> {
    read.open_table(TRIGGERERS).map(drop)
}

/// Lists who woke a service, within the transaction of the charge.
pub(super) fn note(
    write: &WriteTransaction,
    service: &ServiceName,
    asked: &Asked,
) -> Result<(), redb::Error> {
    let mut table = write.open_table(TRIGGERERS)?;
    let name = service.as_str();
    let last = table.range(all_of(service))?.next_back().transpose()?;
    let next = last.map_or(0, |(key, _)| key.value().1 + 1);
    table.insert((name, next), json(asked).as_slice())?;
    let oldest_kept = (next + 1).saturating_sub(TRIGGERERS_MAX as u64);
    table.retain_in((name, 0)..(name, oldest_kept), |_, _| false)?;
    Ok(())
}

/// Who woke a service, as it was written. What can't be read is left out.
pub(super) fn read(database: &Database, service: &ServiceName) -> Outcome<Vec<Asked>> {
    let read = database.begin_read()?;
    let table = read.open_table(TRIGGERERS)?;
    let mut all = Vec::new();
    for line in table.range(all_of(service))? {
        let (_, asked) = line?;
        all.extend(serde_json::from_slice::<Asked>(asked.value()));
    }
    Ok(Ok(all))
}

/// What becomes of a line. It was read without the turn to write, so it counts only while the line is as it was.
struct Change {
    service: String,
    number: u64,
    was: Vec<u8>,
    is: Option<Vec<u8>>,
}

/// What is to be changed for its age.
pub(super) struct Stale {
    listed: Vec<Change>,
    lines: Vec<Change>,
}

/// What of a table is to be changed. Lines that can't be read are left as they are: they are reported to whoever asks for
/// them.
fn changes<T: DeserializeOwned + Serialize + PartialEq + Clone>(
    read: &ReadTransaction,
    table: Numbered,
    change: impl Fn(T) -> Option<T>,
) -> Result<Vec<Change>, redb::Error> {
    let mut all = Vec::new();
    for line in read.open_table(table)?.iter()? {
        let (key, text) = line?;
        let (service, number) = key.value();
        let Ok(was) = parse::<T>(text.value(), String::new) else {
            continue;
        };
        let is = change(was.clone());
        if is.as_ref() != Some(&was) {
            all.push(Change {
                service: service.to_owned(),
                number,
                was: text.value().to_owned(),
                is: is.map(|is| json(&is)),
            });
        }
    }
    Ok(all)
}

fn make(write: &WriteTransaction, table: Numbered, changes: &[Change]) -> Result<(), redb::Error> {
    let mut table = write.open_table(table)?;
    for change in changes {
        let key = (&*change.service, change.number);
        let same = table.get(key)?.is_some_and(|now| now.value() == change.was);
        match &change.is {
            _ if !same => {}
            None => drop(table.remove(key)?),
            Some(is) => drop(table.insert(key, is.as_slice())?),
        }
    }
    Ok(())
}

/// What is not kept at `now`: addresses, then all else. None where there is nothing to remove.
pub(super) fn stale(database: &Database, now: Time, kept: Kept) -> Outcome<Option<Stale>> {
    let read = database.begin_read()?;
    let listed = changes::<Asked>(&read, TRIGGERERS, |asked| asked.at(now, kept))?;
    let young = |entry: &LedgerEntry| now.since(entry.at) <= kept.network;
    let lines = changes::<LedgerEntry>(&read, LEDGER, |entry| Some(entry).filter(young))?;
    let any = !(listed.is_empty() && lines.is_empty());
    Ok(Ok(any.then_some(Stale { listed, lines })))
}

/// Removes it.
pub(super) fn remove_stale(database: &Database, stale: &Stale) -> Result<(), redb::Error> {
    let write = begin(database)?;
    make(&write, TRIGGERERS, &stale.listed)?;
    make(&write, LEDGER, &stale.lines)?;
    write.commit()?;
    Ok(())
}

/// Removes a client with these limits, in one transaction.
pub(super) fn forget(
    database: &Database,
    forgotten: &Forgotten,
    limits: &[Key],
) -> Outcome<Forgot> {
    let read = database.begin_read()?;
    let stays = |asked: &Asked| !asked.is_of(forgotten);
    let listed = changes::<Asked>(&read, TRIGGERERS, |asked| Some(asked).filter(stays))?;
    let lines = changes::<LedgerEntry>(&read, LEDGER, |mut entry| {
        entry.event.forget(forgotten);
        Some(entry)
    })?;
    let write = begin(database)?;
    remove(&write, limits)?;
    make(&write, TRIGGERERS, &listed)?;
    make(&write, LEDGER, &lines)?;
    write.commit()?;
    Ok(Ok(Forgot {
        triggerers: listed.len(),
        limits: limits.len(),
        ledger: lines.len(),
    }))
}
