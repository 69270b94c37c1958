//! What admins ask about what has been: why a service is as it is, its wakes and stops with those who asked for them, and
//! that a client be forgotten, or one who opened a trap be pardoned.

use std::collections::BTreeMap;

use http::StatusCode;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;

use super::{Admin, Answer, Refusal, json_answer};
use crate::driver::bans::ban;
use crate::engine::contract::Event;
use crate::engine::time::{Span, Time};
use crate::engine::triggerers::{Asked, Outcome};
use crate::engine::why;
use crate::store::{LedgerEntry, StoreError};

/// Entries given when the caller names no limit, and at most.
const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 2_000;

/// So far back the ledger is read for evidence: a stop and the wake before it are a few lines.
const EVIDENCE_LINES: usize = 50;

/// For so long `why` tells who was refused.
const REFUSED_TOLD: Span = Span::mins(24 * 60);

/// So many who are held for a trap are told one by one.
const TRAPPED_TOLD: usize = 10;

/// The body of `pardon`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pardon {
    /// An address, or a network.
    network: String,
}

/// The body of `forget`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forget {
    /// An address, or a network as it is written down.
    address: String,
}

impl Admin {
    pub(super) async fn why(&self, name: &str) -> Result<Answer, Refusal> {
        let handle = self.handle(name)?;
        let (view, now) = (handle.view(), self.clock.now());
        // Without the store there is what is seen now, and that is no failure.
        let told = self.store.ledger(handle.service(), EVIDENCE_LINES).await;
        let told = told.inspect_err(|error| unreadable(name, error));
        let told = told.unwrap_or_default();
        let lines: Vec<_> = told.iter().map(|line| (line.at, &line.event)).collect();
        let asked = self.store.triggerers(handle.service(), now, usize::MAX);
        let asked = asked.await.inspect_err(|error| unreadable(name, error));
        let asked = asked.unwrap_or_default();
        let latest = |which: fn(&Event) -> bool| told.iter().find(|line| which(&line.event));
        let answer = json!({
            "service": name, "phase": view.phase, "since": view.since,
            "why": why::sentence(&view, now, &lines),
            "blind": view.blind, "hold": view.hold, "last_activity": view.last_activity,
            "sleeps_at": view.sleeps_at, "passed_the_room": handle.edge().passed_total(),
            "last_wake": latest(|it| matches!(it, Event::WakeBegan(_) | Event::Adopted)),
            "last_idle": latest(|it| matches!(it, Event::WentIdle { .. })),
            "trapped": self.trapped(&asked, now),
            "refused": refused(&asked, now),
            "scale": view.scale,
            "last_scaled": latest(|it| matches!(it, Event::Scaled { .. })),
            "last_stop": latest(|it| matches!(it, Event::Slept { .. } | Event::Vanished { .. })),
        });
        Ok(json_answer(StatusCode::OK, &answer))
    }

    /// Those who opened a trap and are held for it, the latest first. Of one whose name says nothing of its network, as
    /// the privacy setting may want it, nobody knows whether it was pardoned.
    fn trapped<'a>(&self, asked: &'a [Asked], now: Time) -> Vec<&'a Asked> {
        let is_held = |asked: &&Asked| {
            let Outcome::Trapped { banned_until } = asked.outcome else {
                return false;
            };
            let network = asked.who.parse::<IpNet>();
            let held = network.map_or(true, |network| self.admission.bans(network.addr(), now));
            now < banned_until && held
        };
        asked.iter().filter(is_held).take(TRAPPED_TOLD).collect()
    }

    pub(super) async fn pardon(&self, ask: &Pardon) -> Result<Answer, Refusal> {
        let network = ban(ask.network.trim()).map_err(|why| {
            let why = format!("{:?} {why}", ask.network);
            Refusal::new(StatusCode::BAD_REQUEST, why)
        })?;
        let pardoned = self.admission.pardon(network).await.map_err(|error| {
            tracing::error!(%error, "a ban may stand in the store still; ask again");
            away()
        })?;
        let (held, bans) = pardoned;
        tracing::info!(%network, held, bans, "a network is pardoned");
        let answer = json!({ "pardoned": network, "held": held, "bans": bans });
        Ok(json_answer(StatusCode::OK, &answer))
    }

    pub(super) async fn ledger(&self, name: &str, query: &str) -> Result<Answer, Refusal> {
        let handle = self.handle(name)?;
        let limit = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("limit=")?.parse().ok());
        let limit = limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
        let (service, now) = (handle.service(), self.clock.now());
        let failed = |error: StoreError| {
            unreadable(name, &error);
            away()
        };
        let entries: Vec<LedgerEntry> = self.store.ledger(service, limit).await.map_err(failed)?;
        let asked = self.store.triggerers(service, now, limit);
        let asked = asked.await.map_err(failed)?;
        let answer = json!({ "service": name, "entries": entries, "triggerers": asked });
        Ok(json_answer(StatusCode::OK, &answer))
    }

    pub(super) async fn forget(&self, ask: &Forget) -> Result<Answer, Refusal> {
        let forgotten = self.clients.forgotten(ask.address.trim(), self.clock.now());
        let forgotten =
            forgotten.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        self.admission.forget(&forgotten);
        let forgot = self.store.forget(&forgotten).await.map_err(|error| {
            tracing::error!(%error, "a client is not forgotten everywhere; ask again");
            away()
        })?;
        tracing::info!(
            triggerers = forgot.triggerers,
            limits = forgot.limits,
            ledger = forgot.ledger,
            "a client is forgotten"
        );
        let answer = json!({ "forgotten": forgotten.network(), "removed": forgot });
        Ok(json_answer(StatusCode::OK, &answer))
    }
}

/// How many were refused lately, by the rule.
fn refused(asked: &[Asked], now: Time) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for asked in asked {
        if let Outcome::Refused { rule } = asked.outcome
            && now.since(asked.when) < REFUSED_TOLD
        {
            *counts.entry(rule.as_str()).or_default() += 1;
        }
    }
    counts
}

fn unreadable(service: &str, error: &StoreError) {
    tracing::error!(service, %error, "the ledger can't be read");
}

fn away() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the store can't be asked now; see the log, and try again",
    )
}
