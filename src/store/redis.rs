//! The store of many replicas: a Redis 7 or Valkey, a single one, one behind Sentinels, or a cluster. All keys of a
//! service share its `{}`, so each operation is one script on one node. `docs/redis.md` shows every key.
//!
//! Fencing does not rest on the lease, which runs out: the epoch stands in the state, which does not, beside the
//! token of whoever claimed it. So an epoch that comes twice, because the server was wiped or forgot the last
//! claim in a failover, lets nobody in who did not claim it.
//!
//! It never blocks a caller for longer than the link's deadline, and uses no command that looks at all keys or
//! changes the server's configuration. Read on in `link`; the scripts are the files ending in `.lua`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use redis::{FromRedisValue, Value, cmd, from_redis_value};
use serde::Deserialize;

use super::shared::Shared;
use super::surface::Surface;
use super::{Answer, Claim, Forgot, LEDGER_MAX, LedgerEntry, Store, StoreError};
use crate::engine::admit::{Applicant, Late, Rules, Verdict};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::privacy::{Forgotten, Kept};
use crate::engine::record::Record;
use crate::engine::time::Time;
use crate::engine::triggerers::{Asked, Outcome};

use admit::Wish;
use link::{Ask, Link};
use news::Subscription;
use script::{Call, Scripts};
pub use settings::{CALL_TIMEOUT, Form, Login, Settings, Tls};

mod admit;
mod clients;
mod late;
mod link;
mod news;
mod rooms;
mod script;
mod settings;
mod surface;
mod wire;

/// A store in a Redis. It connects on first use.
pub struct RedisStore {
    link: Link,
    news: Subscription,
    scripts: Scripts,
    prefix: String,
    /// Who claims with this value: no other store value in the world has it.
    token: String,
    /// Numbers the calls, so that one that arrives late or twice is known.
    calls: AtomicU64,
    kept: ArcSwap<Kept>,
    /// The services that this process has written to: those that are configured.
    written: Mutex<BTreeSet<ServiceName>>,
}

/// The state of a service as it is kept.
#[derive(Deserialize)]
struct Written {
    /// Stands before the record in every state, so a text without it is none.
    #[serde(rename = "save")]
    _save: u64,
    record: Option<Record>,
}

impl RedisStore {
    /// A store in this Redis.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the system gives no randomness.
    pub fn open(settings: Settings) -> Result<RedisStore, StoreError> {
        let token = getrandom::u64()
            .map_err(|error| StoreError::Unavailable(format!("no randomness: {error}")))?;
        Ok(RedisStore {
            prefix: settings.prefix.clone(),
            news: Subscription::new(settings.clone(), token),
            link: Link::new(settings, token),
            scripts: Scripts::new(),
            token: format!("{token:016x}"),
            calls: AtomicU64::new(0),
            kept: ArcSwap::default(),
            written: Mutex::default(),
        })
    }

    /// Waits until Redis is there, at most so long.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] with the reason of the latest try.
    pub async fn ready(&self, within: Duration) -> Result<(), StoreError> {
        self.link.ready(within).await
    }

    fn kept(&self) -> Kept {
        **self.kept.load()
    }

    fn writes_to(&self, service: &ServiceName) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if !written.contains(service) {
            written.insert(service.clone());
        }
    }

    fn written_to(&self) -> Vec<ServiceName> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.iter().cloned().collect()
    }

    fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Relaxed) + 1
    }

    fn keys<const N: usize>(&self, service: &ServiceName, names: [&str; N]) -> [String; N] {
        names.map(|name| format!("{}:{{{service}}}:{name}", self.prefix))
    }

    /// Runs a script that does something under an epoch, or says why not.
    async fn done(
        &self,
        word: &str,
        service: &ServiceName,
        epoch: Epoch,
        call: Call<'_>,
    ) -> Result<(), StoreError> {
        let answer = self.run(service, &call).await?;
        self.said(word, service, epoch, &answer)
    }

    /// What a script says that does something under an epoch.
    fn said(
        &self,
        word: &str,
        service: &ServiceName,
        epoch: Epoch,
        answer: &[String],
    ) -> Result<(), StoreError> {
        let answer: Vec<_> = answer.iter().map(String::as_str).collect();
        match answer[..] {
            [said] if said == word => Ok(()),
            ["stale", current] => Err(StoreError::Stale {
                current: Epoch(current.parse().unwrap_or_default()),
                ours: epoch,
            }),
            ["overtaken"] => Err(StoreError::Unavailable("a later save came first".into())),
            _ => Err(self.corrupt(service, "state", "it begins with no epoch")),
        }
    }

    async fn run(&self, service: &ServiceName, call: &Call<'_>) -> Result<Vec<String>, StoreError> {
        let answer = self.link.ask(service.as_str(), Ask::Script(call)).await?;
        parsed(answer)
    }

    fn corrupt(&self, service: &ServiceName, key: &str, why: &str) -> StoreError {
        let [what] = self.keys(service, [key]);
        StoreError::Corrupt {
            what,
            why: format!("{why}; delete the key to start anew"),
        }
    }

    fn read<T: for<'t> Deserialize<'t>>(
        &self,
        service: &ServiceName,
        key: &str,
        text: &str,
    ) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| self.corrupt(service, key, &error.to_string()))
    }
}

impl Store for RedisStore {
    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }

    fn claim<'a>(&'a self, service: &'a ServiceName, owner: &'a str) -> Answer<'a, Claim> {
        Box::pin(async move {
            let claim = self.take(service, owner, "").await?;
            claim.ok_or_else(|| self.corrupt(service, "lease", "it stands above a claim"))
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
            let number = self.next_call();
            let keys = self.keys(service, ["state", "ledger", "wake", "wanted"]);
            let call = self.scripts.save.call(&keys);
            let call = call.arg(epoch.to_string()).arg(self.token.as_str());
            let call = call.arg(number.to_string()).arg(json(record));
            let at_rest = u8::from(record.stand.at_rest()).to_string();
            let call = call.arg(heard.to_string()).arg(at_rest);
            let call = call.arg(LEDGER_MAX.to_string());
            let call = call.arg(self.kept().network.0.to_string());
            self.writes_to(service);
            let old = entries.len().saturating_sub(LEDGER_MAX);
            let call = entries
                .iter()
                .skip(old)
                .fold(call, |call, it| call.arg(json(it)));
            self.done("saved", service, epoch, call).await
        })
    }

    fn admit<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        rules: &'a Rules,
    ) -> Answer<'a, Verdict> {
        Box::pin(self.rule(Wish {
            service,
            now,
            applicant,
            rules,
        }))
    }

    fn note<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        outcome: Outcome,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let rules = &Rules::default();
            let wish = Wish {
                service,
                now,
                applicant,
                rules,
            };
            self.list(self.link.deadline(), wish, outcome).await
        })
    }

    fn keep(&self, kept: Kept) {
        self.kept.store(Arc::new(kept));
    }

    fn tidy(&self, now: Time) -> Answer<'_, ()> {
        Box::pin(self.trim(now))
    }

    fn triggerers<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        limit: usize,
    ) -> Answer<'a, Vec<Asked>> {
        Box::pin(self.latest_triggerers(service, now, limit))
    }

    fn forget<'a>(&'a self, forgotten: &'a Forgotten) -> Answer<'a, Forgot> {
        Box::pin(self.forget_all(forgotten))
    }

    fn charge_late<'a>(&'a self, now: Time, late: &'a Late) -> Answer<'a, ()> {
        Box::pin(self.charge(now, late))
    }

    fn life<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, String> {
        Box::pin(async move {
            let fresh = format!("{}-{}", self.token, self.next_call());
            let mut ask = cmd("SET");
            ask.arg(&self.keys(service, ["life"])).arg(&fresh);
            ask.arg("NX").arg("GET");
            let kept = self.link.ask(service.as_str(), Ask::Command(&ask)).await?;
            Ok(parsed::<Option<String>>(kept)?.unwrap_or(fresh))
        })
    }

    fn secret(&self, fresh: [u8; 32]) -> Answer<'_, [u8; 32]> {
        Box::pin(async move {
            let key = format!("{}:secret", self.prefix);
            let mut ask = cmd("SET");
            ask.arg(&key).arg(BASE64.encode(fresh)).arg("NX").arg("GET");
            let kept: Option<String> = parsed(self.link.ask(&key, Ask::Command(&ask)).await?)?;
            let Some(kept) = kept else {
                return Ok(fresh);
            };
            let kept = BASE64.decode(kept.trim()).ok();
            let kept = kept.and_then(|bytes| bytes.try_into().ok());
            kept.ok_or_else(|| StoreError::Corrupt {
                what: key,
                why: "it is not 32 bytes in base64; delete the key to have a new one".into(),
            })
        })
    }

    fn trouble(&self) -> Option<String> {
        self.link.trouble()
    }

    fn surface(&self) -> Option<&dyn Surface> {
        Some(self)
    }

    fn load<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, Option<Record>> {
        Box::pin(async move {
            let mut ask = cmd("GET");
            ask.arg(&self.keys(service, ["state"]));
            let state = self.link.ask(service.as_str(), Ask::Command(&ask)).await?;
            let Some(state) = parsed::<Option<String>>(state)? else {
                return Ok(None);
            };
            let kept: Written = self.read(service, "state", &state)?;
            Ok(kept.record)
        })
    }

    fn ledger<'a>(
        &'a self,
        service: &'a ServiceName,
        limit: usize,
    ) -> Answer<'a, Vec<LedgerEntry>> {
        Box::pin(async move {
            if limit == 0 {
                return Ok(Vec::new());
            }
            let mut ask = cmd("XREVRANGE");
            ask.arg(&self.keys(service, ["ledger"])).arg("+").arg("-");
            ask.arg("COUNT").arg(limit.min(LEDGER_MAX));
            let entries = self.link.ask(service.as_str(), Ask::Command(&ask)).await?;
            let entries: Vec<(String, Vec<String>)> = parsed(entries)?;
            let entry = |(id, fields): &(String, Vec<String>)| match &fields[..] {
                [_, entry] => self.read(service, "ledger", entry),
                _ => Err(self.corrupt(service, "ledger", &format!("{id} has not one field"))),
            };
            entries.iter().map(entry).collect()
        })
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records and events are plain data with text keys")
}

fn parsed<T: FromRedisValue>(answer: Value) -> Result<T, StoreError> {
    from_redis_value(answer).map_err(|error| StoreError::Unavailable(format!("Redis: {error}")))
}
