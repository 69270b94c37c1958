//! The limits on wakes in the file: what a restart must not forget, and nothing that means nothing any more.
//!
//! | table | key | value |
//! |---|---|---|
//! | `limits` | service, `client NETWORK`, `network NETWORK` or `service`; empty for all services, `over_all` | the timestamp of `engine::admit::gcra`, in ms since the epoch |
//! | `days` | service | the day, as whole days UTC since the epoch, and its wakes |
//! | `wakes` | service | the numbers of its wakes and what is wanted, as JSON |

use std::borrow::Cow;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};

use super::tables::{Heard, begin, parse};
use super::{Outcome, json};
use crate::engine::admit::{Book, Charge, Day, Key, Wakes};
use crate::engine::id::ServiceName;
use crate::engine::time::Time;
use crate::store::StoreError;

const LIMITS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("limits");
const DAYS: TableDefinition<'_, &str, (u64, u32)> = TableDefinition::new("days");
const WAKES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("wakes");

/// Sees to it that the tables are there.
pub(super) fn create(write: &WriteTransaction) -> Result<(), TableError> {
    write.open_table(LIMITS)?;
    write.open_table(DAYS)?;
    write.open_table(WAKES).map(drop)
}

/// Whether the tables are there.
pub(super) fn open(read: &ReadTransaction) -> Result<(), TableError> {
    read.open_table(LIMITS)?;
    read.open_table(DAYS)?;
    read.open_table(WAKES).map(drop)
}

/// All that the file knows of the limits.
pub(super) fn read(database: &Database) -> Outcome<Book> {
    let read = database.begin_read()?;
    let mut book = Book::default();
    for line in read.open_table(LIMITS)?.iter()? {
        let (key, tat) = line?;
        match key_of(key.value()) {
            Some(key) => book.mark(key, Time(tat.value())),
            None => return Ok(Err(corrupt(format!("the limit {:?}", key.value())))),
        }
    }
    for line in read.open_table(DAYS)?.iter()? {
        let (service, day) = line?;
        let (day, count) = day.value();
        match service.value().parse() {
            Ok(service) => book.set_day(service, Day { day, count }),
            Err(_) => return Ok(Err(corrupt(format!("the day of {:?}", service.value())))),
        }
    }
    for line in read.open_table(WAKES)?.iter()? {
        let (service, wakes) = line?;
        let what = || format!("the wakes of {:?}", service.value());
        match (service.value().parse(), parse(wakes.value(), what)) {
            (Ok(service), Ok(wakes)) => book.set_wakes(service, wakes),
            (Err(_), Ok(_)) => return Ok(Err(corrupt(what()))),
            (_, Err(error)) => return Ok(Err(error)),
        }
    }
    Ok(Ok(book))
}

/// Writes what an admitted wake changes, in one transaction.
pub(super) fn charge(database: &Database, charge: &Charge) -> Result<(), redb::Error> {
    let write = begin(database)?;
    let mut limits = write.open_table(LIMITS)?;
    for key in &charge.drops {
        let (service, what) = text_of(key);
        limits.remove((service, &*what))?;
    }
    for (key, tat) in &charge.marks {
        let (service, what) = text_of(key);
        limits.insert((service, &*what), tat.0)?;
    }
    drop(limits);
    let service = charge.service.as_str();
    if let Some(day) = charge.day {
        let mut days = write.open_table(DAYS)?;
        days.insert(service, (day.day, day.count))?;
    }
    let wakes = json(&charge.wakes);
    write.open_table(WAKES)?.insert(service, wakes.as_slice())?;
    write.commit()?;
    Ok(())
}

/// Writes what the owner has heard of, within the transaction of a save.
pub(super) fn hear(write: &WriteTransaction, service: &ServiceName, heard: Heard) -> Outcome<()> {
    let mut table = write.open_table(WAKES)?;
    let name = service.as_str();
    let kept = match table.get(name)? {
        Some(json) => parse::<Wakes>(json.value(), || format!("the wakes of {service}")),
        None => return Ok(Ok(())),
    };
    let kept = match kept {
        Ok(kept) => kept,
        Err(corrupt) => return Ok(Err(corrupt)),
    };
    let mut wakes = kept.clone();
    wakes.hear(heard.number, heard.at_rest);
    if wakes != kept {
        table.insert(name, json(&wakes).as_slice())?;
    }
    Ok(Ok(()))
}

fn corrupt(what: String) -> StoreError {
    let why = "it is not of this version".into();
    StoreError::Corrupt { what, why }
}

fn text_of(key: &Key) -> (&str, Cow<'static, str>) {
    match key {
        Key::Client(service, one) => (service.as_str(), format!("client {one}").into()),
        Key::Network(service, network) => (service.as_str(), format!("network {network}").into()),
        Key::Service(service) => (service.as_str(), "service".into()),
        Key::OverAll => ("", "over_all".into()),
    }
}

fn key_of((service, what): (&str, &str)) -> Option<Key> {
    if (service, what) == ("", "over_all") {
        return Some(Key::OverAll);
    }
    let service = service.parse().ok()?;
    Some(match what.split_once(' ') {
        None if what == "service" => Key::Service(service),
        Some(("client", one)) => Key::Client(service, one.parse().ok()?),
        Some(("network", network)) => Key::Network(service, network.parse().ok()?),
        _ => return None,
    })
}
