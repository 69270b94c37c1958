//! The limits on wakes in the file: what a restart must not forget, and nothing that means nothing any more.
//!
//! | table | key | value |
//! |---|---|---|
//! | `limits` | service, `client NAME`, `network NAME`, `spent SERIAL` or `service`; empty for all services, `over_all` | the timestamp of `engine::admit::gcra`, in ms since the epoch |
//! | `days` | service | the day, as whole days UTC since the epoch, and its wakes |
//! | `wakes` | service | the numbers of its wakes and what is wanted, as JSON |

use std::borrow::Cow;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};

use super::tables::{Heard, begin, parse};
use super::{Outcome, clients, json};
use crate::engine::admit::{Book, Charge, Day, Key, Wakes};
use crate::engine::id::ServiceName;
use crate::engine::time::Time;
use crate::engine::triggerers::Asked;
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
pub(super) fn charge(
    database: &Database,
    charge: &Charge,
    asked: &Asked,
) -> Result<(), redb::Error> {
    let write = begin(database)?;
    remove(&write, &charge.drops)?;
    let mut limits = write.open_table(LIMITS)?;
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
    clients::note(&write, &charge.service, asked)?;
    write.commit()?;
    Ok(())
}

/// Removes these limits, in one transaction.
pub(super) fn forget(database: &Database, keys: &[Key]) -> Result<(), redb::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let write = begin(database)?;
    remove(&write, keys)?;
    write.commit()?;
    Ok(())
}

pub(super) fn remove(write: &WriteTransaction, keys: &[Key]) -> Result<(), redb::Error> {
    let mut limits = write.open_table(LIMITS)?;
    for key in keys {
        let (service, what) = text_of(key);
        limits.remove((service, &*what))?;
    }
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
        Key::Spent(service, serial) => (service.as_str(), format!("spent {serial}").into()),
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
        Some(("client", one)) => Key::Client(service, one.to_owned()),
        Some(("spent", serial)) => Key::Spent(service, serial.to_owned()),
        Some(("network", network)) => Key::Network(service, network.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::admit::{Applicant, Rate, Rules};
    use crate::engine::contract::{Trigger, TriggerBy};
    use crate::engine::time::Span;
    use crate::store::Store;
    use crate::store::file::FileStore;

    const T0: Time = Time(1_800_000_000_000);

    async fn admit(store: &FileStore, now: Time, address: &str) {
        let hourly = |count| Rate::new(count, Span::mins(60)).ok();
        let rules = Rules {
            per_client: hourly(1),
            per_network: hourly(2),
            per_service: hourly(3),
            ..Rules::default()
        };
        let applicant = Applicant::plain(
            address.parse().unwrap(),
            Trigger {
                by: TriggerBy::Page,
                who: String::new(),
                path: String::new(),
            },
        );
        let blog = "blog".parse().unwrap();
        store.admit(&blog, now, &applicant, &rules).await.unwrap();
    }

    fn keys(database: &Database) -> Vec<String> {
        let read = database.begin_read().unwrap();
        let limits = read.open_table(LIMITS).unwrap();
        let lines = limits.iter().unwrap();
        let key = |line: Result<(redb::AccessGuard<'_, _>, _), _>| {
            let (key, _): (
                redb::AccessGuard<'_, (&str, &str)>,
                redb::AccessGuard<'_, u64>,
            ) = line.unwrap();
            key.value().1.to_owned()
        };
        lines.map(key).collect()
    }

    #[tokio::test]
    async fn a_client_is_in_the_file_for_as_long_as_its_limit_means_something() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store");
        let store = FileStore::open(&file).unwrap();
        admit(&store, T0, "203.0.113.1").await;
        let written = keys(&store.file.database().unwrap());
        let all = ["client 203.0.113.1/32", "network 203.0.113.0/24", "service"];
        assert_eq!(written, all);
        store.tidy(T0 + Span::mins(30)).await.unwrap();
        let written = keys(&store.file.database().unwrap());
        assert_eq!(written, ["client 203.0.113.1/32", "service"]);
        drop(store);
        let store = FileStore::open(&file).unwrap();
        store.tidy(T0 + Span::mins(60)).await.unwrap();
        assert_eq!(keys(&store.file.database().unwrap()), ["service"]);
    }
}
