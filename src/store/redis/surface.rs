//! What people write: bans, by their keys, and services, in a hash.
//!
//! Keys are looked for with `SCAN`, a part at a time, never with `KEYS`; in a cluster on every master.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ipnet::IpNet;
use redis::{Value, cmd};

use super::link::Ask;
use super::settings::Form;
use super::{RedisStore, parsed};
use crate::engine::time::Span;
use crate::store::surface::{ADDED_MAX, BANS_MAX, Bans, REFUSED_KEPT, Services, Surface};
use crate::store::{Answer, StoreError};

/// What a refusal of an added service begins with.
const OF_SERVICE: &str = "services ";

/// How long a status is kept that nobody renews.
const STATUS_KEPT: Span = Span::secs(60);

/// Keys that one `SCAN` looks at: about half a millisecond of the server's time, for which others wait.
pub(super) const SCAN_COUNT: usize = 1_000;

/// One server's `SCAN`s in one search: 10 million keys. More, and the search is given up.
pub(super) const SCANS_MAX: usize = 10_000;

impl RedisStore {
    /// A key that belongs to no service.
    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// A slot of every server that has keys.
    pub(super) async fn servers(&self) -> Result<BTreeSet<u16>, StoreError> {
        if *self.link.form() != Form::Cluster {
            return Ok(BTreeSet::from([0]));
        }
        let slots: Vec<Vec<Value>> = parsed(self.slots().await?)?;
        let mut servers = BTreeMap::new();
        for range in slots {
            // From, to, the master, its replicas.
            if let [Value::Int(from), _, master, ..] = &range[..]
                && let Ok(from) = u16::try_from(*from)
            {
                servers.insert(format!("{master:?}"), from);
            }
        }
        Ok(servers.into_values().collect())
    }

    /// Who has which slots, from the first server that answers.
    async fn slots(&self) -> Result<Value, StoreError> {
        let mut ask = cmd("CLUSTER");
        ask.arg("SLOTS");
        let mut answer = self.link.ask_at(0, &ask).await;
        for slot in [6_000, 11_000, 16_000] {
            if answer.is_err() {
                answer = self.link.ask_at(slot, &ask).await;
            }
        }
        answer
    }

    /// Gathers what stands behind `ban:` on one server; says whether all fit in.
    async fn scan(&self, server: u16, found: &mut HashSet<String>) -> Result<bool, StoreError> {
        let head = self.key("ban:");
        let mut cursor = String::from("0");
        for _ in 0..SCANS_MAX {
            let mut ask = cmd("SCAN");
            // A prefix holds no character that a pattern gives a meaning to.
            ask.arg(&cursor).arg("MATCH").arg(format!("{head}*"));
            ask.arg("COUNT").arg(SCAN_COUNT);
            let answer = self.link.ask_at(server, &ask).await?;
            let (next, keys): (String, Vec<Vec<u8>>) = parsed(answer)?;
            for key in keys {
                let key = String::from_utf8_lossy(&key);
                if found.len() == BANS_MAX {
                    return Ok(false);
                }
                found.insert(key.strip_prefix(&head).unwrap_or(&key).to_owned());
            }
            if next == "0" {
                return Ok(true);
            }
            cursor = next;
        }
        Err(StoreError::Unavailable(format!(
            "Redis: a search of {SCANS_MAX} steps did not end"
        )))
    }
}

impl RedisStore {
    /// Tells what is refused of services in their status, or takes it from there.
    async fn tell_status(&self, name: &str, why: Option<&String>) -> Result<(), StoreError> {
        let service = name.strip_prefix(OF_SERVICE).and_then(|it| it.parse().ok());
        let Some(service) = service else {
            return Ok(());
        };
        let [status] = self.keys(&service, ["status"]);
        let mut ask = cmd(if why.is_some() { "HSET" } else { "HDEL" });
        ask.arg(&status).arg("refused").arg(why);
        self.link.ask(service.as_str(), Ask::Command(&ask)).await?;
        // A service that no room has, yet, keeps no status for good.
        for how in ["NX", "GT"] {
            let mut end = cmd("PEXPIRE");
            end.arg(&status).arg(STATUS_KEPT.0).arg(how);
            self.link.ask(service.as_str(), Ask::Command(&end)).await?;
        }
        Ok(())
    }
}

impl Surface for RedisStore {
    fn services<'a>(&'a self, seen: &'a str) -> Answer<'a, Services> {
        Box::pin(async move {
            let key = self.key("services");
            // The braces put it where the services are.
            let life = self.key(&format!("life:{{{key}}}"));
            let call = self.scripts.services.call(&[key.clone(), life]);
            let call = call.arg(format!("{}-{}", self.token, self.next_call()));
            let call = call.arg(seen).arg(ADDED_MAX.to_string());
            let answer = self.link.ask(&key, Ask::Script(&call)).await?;
            let mut answer = parsed::<Vec<Vec<u8>>>(answer)?.into_iter();
            let mut next = || {
                let text = answer.next()?;
                Some(String::from_utf8_lossy(&text).into_owned())
            };
            let (Some(life), Some(now)) = (next(), next()) else {
                return Err(StoreError::Unavailable(
                    "Redis: no answer in an answer".into(),
                ));
            };
            if life == "bad" {
                let (what, why) = (key, now);
                return Err(StoreError::Corrupt { what, why });
            }
            let mut texts = BTreeMap::new();
            while let (Some(name), Some(text)) = (next(), next()) {
                texts.insert(name, text);
            }
            Ok(Services {
                life,
                texts: (now != seen).then_some(texts),
                seen: now,
            })
        })
    }

    fn restore<'a>(&'a self, texts: &'a BTreeMap<String, String>) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = self.key("services");
            for (name, text) in texts {
                let mut write = cmd("HSETNX");
                write.arg(&key).arg(name).arg(text);
                self.link.ask(&key, Ask::Command(&write)).await?;
            }
            Ok(())
        })
    }

    fn ban(&self, network: IpNet, length: Span) -> Answer<'_, ()> {
        Box::pin(async move {
            let key = self.key(&format!("ban:{network}"));
            let mut write = cmd("SET");
            write.arg(&key).arg("trap");
            write.arg("NX").arg("PX").arg(length.0);
            // Of all bans together it is known whether they can be written.
            self.link.ask("ban", Ask::Command(&write)).await.map(drop)
        })
    }

    fn unban<'a>(&'a self, networks: &'a [IpNet]) -> Answer<'a, usize> {
        Box::pin(async move {
            let mut gone = 0;
            for network in networks {
                let single = network.prefix_len() == network.max_prefix_len();
                let single = single.then(|| network.addr().to_string());
                for name in [Some(network.to_string()), single].into_iter().flatten() {
                    let mut remove = cmd("DEL");
                    remove.arg(self.key(&format!("ban:{name}")));
                    let answer = self.link.ask("ban", Ask::Command(&remove)).await?;
                    gone += parsed::<usize>(answer)?;
                }
            }
            Ok(gone)
        })
    }

    fn bans(&self) -> Answer<'_, Bans> {
        Box::pin(async move {
            let mut found = HashSet::new();
            let (mut more, mut failure) = (false, None);
            let servers = self.servers().await?;
            for server in &servers {
                match self.scan(*server, &mut found).await {
                    Ok(all) => more |= !all,
                    Err(error) => failure = Some(error),
                }
            }
            match failure {
                Some(error) if servers.len() == 1 => Err(error),
                failure => Ok(Bans {
                    names: found.into_iter().collect(),
                    more,
                    partly: failure.is_some(),
                }),
            }
        })
    }

    fn tell<'a>(
        &'a self,
        refused: &'a BTreeMap<String, String>,
        mended: &'a [String],
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = self.key("refused");
            let ask = async |ask: &redis::Cmd| self.link.ask(&key, Ask::Command(ask)).await;
            for name in mended {
                self.tell_status(name, None).await?;
            }
            for (name, why) in refused {
                self.tell_status(name, Some(why)).await?;
            }
            if !mended.is_empty() {
                let mut forget = cmd("HDEL");
                forget.arg(&key);
                for name in mended {
                    forget.arg(self.key(name));
                }
                ask(&forget).await?;
            }
            if refused.is_empty() {
                return Ok(());
            }
            let mut write = cmd("HSET");
            write.arg(&key);
            for (name, why) in refused {
                write.arg(self.key(name)).arg(why);
            }
            ask(&write).await?;
            ask(cmd("PEXPIRE").arg(&key).arg(REFUSED_KEPT.0)).await?;
            Ok(())
        })
    }
}
