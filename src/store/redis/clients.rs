//! What is about clients, beside their limits: the lists of triggerers, and forgetting.
//!
//! An entry says who asked by the name that may be kept for long. An address stands apart, in a hash that ends by itself
//! before the first address in it is too old: `addresses:END`, with END the moment of that, so that nobody has to be
//! there to remove one.

use std::collections::{BTreeMap, BTreeSet};

use redis::{FromRedisValue, cmd};
use serde::Deserialize;

use super::link::Ask;
use super::surface::{SCAN_COUNT, SCANS_MAX};
use super::{RedisStore, json, parsed};
use crate::engine::contract::Trigger;
use crate::engine::id::ServiceName;
use crate::engine::privacy::{FORGOTTEN, Forgotten, Kept};
use crate::engine::time::Time;
use crate::engine::triggerers::{Asked, latest};
use crate::store::{Forgot, LedgerEntry, StoreError};

/// The hashes of addresses that there are at a time.
const PIECES: u64 = 24;

/// A list of triggerers, by the name of its key.
const LISTS: [&str; 2] = ["triggerers", "refusals"];

/// An entry of a list, as it is kept.
#[derive(Deserialize)]
pub(super) struct Listed {
    /// Names its address.
    id: String,
    /// The END of the hash with its address; none where none was written.
    #[serde(default)]
    until: Option<Time>,
    #[serde(flatten)]
    asked: Asked,
}

/// When the hash ends that an address of now belongs into: no address in it is kept for too long, and none for less than
/// 23 hours of 24.
pub(super) fn addresses_end(now: Time, kept: Kept) -> Time {
    let piece = (kept.address.0 / PIECES).max(1);
    Time(now.0 / piece * piece) + kept.address
}

/// The keys of a service that are about clients, without what all keys of it begin with.
type Keys = BTreeMap<ServiceName, BTreeSet<String>>;

impl RedisStore {
    fn key_of(&self, service: &ServiceName, name: &str) -> String {
        format!("{}:{{{service}}}:{name}", self.prefix)
    }

    async fn asked<T: FromRedisValue>(
        &self,
        service: &ServiceName,
        command: &str,
        name: &str,
        arguments: &[String],
    ) -> Result<T, StoreError> {
        let mut ask = cmd(command);
        ask.arg(self.key_of(service, name)).arg(arguments);
        parsed(self.link.ask(service.as_str(), Ask::Command(&ask)).await?)
    }

    /// A list, oldest first, each entry beside its text.
    async fn listed(
        &self,
        service: &ServiceName,
        name: &str,
    ) -> Result<Vec<(String, Listed)>, StoreError> {
        let all = ["0".to_owned(), "-1".to_owned()];
        let texts: Vec<String> = self.asked(service, "ZRANGE", name, &all).await?;
        let listed = texts.into_iter().filter_map(|text| {
            // An earlier version's, which ends within a day.
            let listed = serde_json::from_str(&text).ok()?;
            Some((text, listed))
        });
        Ok(listed.collect())
    }

    pub(super) async fn latest_triggerers(
        &self,
        service: &ServiceName,
        now: Time,
        limit: usize,
    ) -> Result<Vec<Asked>, StoreError> {
        let mut all = Vec::new();
        for name in LISTS {
            all.extend(self.listed(service, name).await?);
        }
        let ends: BTreeSet<Time> = all.iter().filter_map(|(_, it)| it.until).collect();
        let mut addresses = BTreeMap::new();
        for end in ends.into_iter().filter(|end| *end > now) {
            let name = format!("addresses:{}", end.0);
            let some: BTreeMap<String, String> = self.asked(service, "HGETALL", &name, &[]).await?;
            addresses.extend(some);
        }
        let whole = all.into_iter().filter_map(|(_, mut listed)| {
            listed.asked.address = addresses.remove(&listed.id);
            listed.asked.at(now, self.kept())
        });
        Ok(latest(whole.collect(), limit))
    }

    /// Removes what is too old from the lists and ledgers that this process has written to. Keys that nobody writes to
    /// any more end by themselves.
    pub(super) async fn trim(&self, now: Time) -> Result<(), StoreError> {
        let oldest = (now - self.kept().network).0;
        for service in self.written_to() {
            for name in LISTS {
                let range = ["-inf".to_owned(), oldest.to_string()];
                let _: u64 = self
                    .asked(&service, "ZREMRANGEBYSCORE", name, &range)
                    .await?;
            }
            let range = ["MINID".to_owned(), oldest.to_string()];
            let _: u64 = self.asked(&service, "XTRIM", "ledger", &range).await?;
        }
        Ok(())
    }

    pub(super) async fn forget_all(&self, forgotten: &Forgotten) -> Result<Forgot, StoreError> {
        let mut keys = Keys::new();
        for server in self.servers().await? {
            self.find(server, forgotten, &mut keys).await?;
        }
        let mut forgot = Forgot::default();
        for (service, names) in &keys {
            let (limits, others): (Vec<_>, Vec<_>) =
                names.iter().partition(|name| name.starts_with("limit:"));
            for name in limits {
                let gone: usize = self.asked(service, "DEL", name, &[]).await?;
                forgot.limits += gone;
            }
            forgot.triggerers += self.unlist(service, &others, forgotten).await?;
            forgot.ledger += self.unname(service, forgotten).await?;
        }
        Ok(forgot)
    }

    /// Gathers one server's keys that may name a client; of the limits, those that do.
    async fn find(
        &self,
        server: u16,
        forgotten: &Forgotten,
        found: &mut Keys,
    ) -> Result<(), StoreError> {
        let head = format!("{}:{{", self.prefix);
        let mut cursor = String::from("0");
        for _ in 0..SCANS_MAX {
            let mut ask = cmd("SCAN");
            // A prefix holds no character that a pattern gives a meaning to, and neither does a brace.
            ask.arg(&cursor).arg("MATCH").arg(format!("{head}*"));
            ask.arg("COUNT").arg(SCAN_COUNT);
            let answer = self.link.ask_at(server, &ask).await?;
            let (next, keys): (String, Vec<Vec<u8>>) = parsed(answer)?;
            for key in &keys {
                let key = String::from_utf8_lossy(key);
                let parts = key.strip_prefix(&head).and_then(|it| it.split_once("}:"));
                if let Some((service, name)) = parts
                    && may_name(name, forgotten)
                    && let Ok(service) = service.parse::<ServiceName>()
                {
                    found.entry(service).or_default().insert(name.to_owned());
                }
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
        Err(StoreError::Unavailable(format!(
            "Redis: a search of {SCANS_MAX} steps did not end"
        )))
    }

    /// Removes a client's entries from the lists of a service, and its addresses.
    async fn unlist(
        &self,
        service: &ServiceName,
        names: &[&String],
        forgotten: &Forgotten,
    ) -> Result<usize, StoreError> {
        let mut ids = BTreeSet::new();
        for name in names.iter().filter(|name| name.starts_with("addresses:")) {
            let all: BTreeMap<String, String> = self.asked(service, "HGETALL", name, &[]).await?;
            let of_it = all.into_iter().filter(|(_, who)| forgotten.covers(who));
            let of_it: Vec<_> = of_it.map(|(id, _)| id).collect();
            if !of_it.is_empty() {
                let _: usize = self.asked(service, "HDEL", name, &of_it).await?;
            }
            ids.extend(of_it);
        }
        let mut gone = 0;
        for name in LISTS {
            let all = self.listed(service, name).await?;
            let of_it = all
                .into_iter()
                .filter(|(_, it)| ids.contains(&it.id) || it.asked.is_of(forgotten));
            let of_it: Vec<_> = of_it.map(|(text, _)| text).collect();
            if !of_it.is_empty() {
                let removed: usize = self.asked(service, "ZREM", name, &of_it).await?;
                gone += removed;
            }
        }
        Ok(gone)
    }

    /// Takes a client's name out of the ledger of a service, of the wake that is wanted, and of its status: its room reads the
    /// ledger only now and then, and not at all any more when it has ended.
    async fn unname(
        &self,
        service: &ServiceName,
        forgotten: &Forgotten,
    ) -> Result<usize, StoreError> {
        let all = ["-".to_owned(), "+".to_owned()];
        let lines: Vec<(String, Vec<String>)> =
            self.asked(service, "XRANGE", "ledger", &all).await?;
        let mut renamed = Vec::new();
        for (id, fields) in &lines {
            if let [_, text] = &fields[..]
                && let Ok(mut entry) = serde_json::from_str::<LedgerEntry>(text)
                && entry.event.forget(forgotten)
            {
                renamed.push((id, json(&entry)));
            }
        }
        let wanted: Option<String> = self.asked(service, "GET", "wanted", &[]).await?;
        let trigger = wanted.as_deref().map(serde_json::from_str::<Trigger>);
        let mut nameless = trigger.and_then(Result::ok);
        if !nameless.as_mut().is_some_and(|it| it.forget(forgotten)) {
            nameless = None;
        }
        let run_by = ["run_by".to_owned()];
        let run_by: Option<String> = self.asked(service, "HGET", "status", &run_by).await?;
        let run_by = run_by.filter(|who| forgotten.covers(who));
        if renamed.is_empty() && nameless.is_none() && run_by.is_none() {
            return Ok(0);
        }
        let keys = self.keys(service, ["ledger", "wanted", "status"]);
        let call = self.scripts.forget.call(&keys);
        let call = call.arg(wanted.filter(|_| nameless.is_some()).unwrap_or_default());
        let call = call.arg(nameless.map(|it| json(&it)).unwrap_or_default());
        let call = call.arg(run_by.unwrap_or_default()).arg(FORGOTTEN);
        let call = renamed
            .iter()
            .fold(call, |call, (id, text)| call.arg(id.as_str()).arg(&**text));
        self.run(service, &call).await?;
        Ok(renamed.len())
    }
}

/// Whether a key may name the client: a limit does by its own name, the others by what is in them.
fn may_name(name: &str, forgotten: &Forgotten) -> bool {
    match name.split_once(':') {
        Some(("limit", limit)) => limit
            .split_once(':')
            .is_some_and(|(_, who)| forgotten.covers(who)),
        Some(("addresses", _)) => true,
        _ => matches!(
            name,
            "triggerers" | "refusals" | "ledger" | "wanted" | "status"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Span;

    #[test]
    fn a_hash_of_addresses_ends_before_its_first_one_is_too_old() {
        let kept = Kept::default();
        let hour = Span::mins(60);
        for minute in 0..180 {
            let now = Time(1_800_000_000_000) + Span::mins(minute);
            let end = addresses_end(now, kept);
            assert!(end <= now + kept.address, "{minute}");
            assert!(end > now + Span(kept.address.0 - hour.0), "{minute}");
        }
        let short = Kept {
            address: Span(1),
            ..kept
        };
        assert_eq!(addresses_end(Time(7), short), Time(8));
    }
}
