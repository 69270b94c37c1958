//! The door for whoever would wake a service: asks the store, which rules and charges, and hands the trigger to the
//! service's task.
//!
//! Where the store does not answer in time, wakes go on within a local budget, a quarter of every limit: a person who
//! can't get in because a database is away would be worse than a few wakes more than the limits say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;

use super::bans::Bans;
use super::handle::{Admitted, Handle};
use super::names::Clients;
use crate::engine::admit::{Applicant, Book, Rule, Rules, Verdict};
use crate::engine::contract::{Trigger, TriggerBy};
use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};
use crate::engine::triggerers;
use crate::engine::view::Phase;
use crate::store::Store;
use crate::telemetry::metrics;

/// How long the store may take: a visitor waits no longer for it.
pub const ADMIT_TIMEOUT: Duration = Duration::from_millis(200);

/// The client does not wake the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule says so.
    pub rule: Rule,
    /// When it may ask again; none when waiting does not help.
    pub retry_after: Option<Span>,
}

/// A client's request that asks for a wake.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The client's true address.
    pub address: IpAddr,
    /// What asks.
    pub by: TriggerBy,
    /// What for, without its query.
    pub path: &'a str,
    /// Its user agent as it came.
    pub agent: &'a str,
}

/// The door, shared by all services.
pub struct Admission {
    store: Arc<dyn Store>,
    clients: Clients,
    bans: ArcSwap<Bans>,
    local: Mutex<Local>,
    away: AtomicBool,
}

/// What is spent while the store is away.
#[derive(Debug, Default)]
struct Local {
    book: Book,
    /// The version of each service's view at its last wake: until its task shows something else, it has not taken
    /// that one up, and others join it.
    versions: BTreeMap<ServiceName, u64>,
}

impl Admission {
    /// The door to this store's limits. Whoever comes is named by `clients` from there on.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clients: Clients) -> Admission {
        Admission {
            store,
            clients,
            bans: ArcSwap::default(),
            local: Mutex::default(),
            away: AtomicBool::new(false),
        }
    }

    /// Replaces the bans. Whoever is in one of them wakes nothing from now on.
    pub fn set_bans(&self, bans: Bans) {
        self.bans.store(Arc::new(bans));
    }

    /// Asks for a wake. A service that is awake or on its way costs nobody anything. Waits for the store at most
    /// [`ADMIT_TIMEOUT`].
    ///
    /// # Errors
    /// [`Refusal`] when a rule says no; the trigger is dropped then.
    pub async fn ask(
        &self,
        handle: &Handle,
        rules: &Rules,
        now: Time,
        wish: Wish<'_>,
    ) -> Result<(), Refusal> {
        let names = self.clients.names(now, wish.address, rules);
        let applicant = Applicant {
            address: wish.address,
            banned: self.bans.load().hold(wish.address),
            trigger: Trigger {
                by: wish.by,
                who: names.who.clone(),
                path: wish.path.to_owned(),
            },
            agent: triggerers::agent(wish.agent),
            names,
        };
        let wake = self.rule(handle, rules, now, &applicant).await;
        let wake = wake.inspect_err(|refusal| {
            let (service, rule) = (handle.service(), refusal.rule.as_str());
            metrics().refused(service, rule);
            let client = &*applicant.names.who;
            tracing::debug!(%service, client, rule, "a wake is refused");
        })?;
        let trigger = applicant.trigger;
        handle.trigger(Admitted { trigger, wake });
        Ok(())
    }

    /// The number of the wake, or the refusal.
    async fn rule(
        &self,
        handle: &Handle,
        rules: &Rules,
        now: Time,
        applicant: &Applicant,
    ) -> Result<u64, Refusal> {
        // For good, so also where a wake costs nothing.
        let ban = applicant.banned.then_some(Rule::Banned);
        if let Some(rule) = ban.or_else(|| rules.lists(applicant.address)) {
            let retry_after = None;
            return Err(Refusal { rule, retry_after });
        }
        if matches!(handle.view().phase, Phase::Waking | Phase::Awake) {
            return Ok(0);
        }
        let service = handle.service();
        let asked = timeout(
            ADMIT_TIMEOUT,
            self.store.admit(service, now, applicant, rules),
        );
        let (verdict, away) = match asked.await {
            Ok(Ok(verdict)) => (verdict, None),
            Ok(Err(error)) => (
                self.by_itself(handle, rules, now, applicant),
                Some(error.to_string()),
            ),
            Err(_) => {
                let why = format!("no answer within {ADMIT_TIMEOUT:?}");
                (self.by_itself(handle, rules, now, applicant), Some(why))
            }
        };
        self.tell(away);
        match verdict {
            Verdict::Wake(number) | Verdict::Joined(number) => Ok(number),
            Verdict::Refused { rule, retry_after } => Err(Refusal { rule, retry_after }),
        }
    }

    /// Rules within the local budget. Its numbers are not the store's, so none is told.
    fn by_itself(
        &self,
        handle: &Handle,
        rules: &Rules,
        now: Time,
        applicant: &Applicant,
    ) -> Verdict {
        let (service, version) = (handle.service(), handle.view().version);
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if local.versions.get(service) != Some(&version) {
            local.book.hear(service, u64::MAX, true);
        }
        match local.book.admit(service, now, applicant, &rules.quarter()) {
            Verdict::Wake(_) => {
                local.versions.insert(service.clone(), version);
                Verdict::Wake(0)
            }
            Verdict::Joined(_) => Verdict::Joined(0),
            refused @ Verdict::Refused { .. } => refused,
        }
    }

    /// One line when the store goes and one when it is back, however many visitors notice.
    fn tell(&self, away: Option<String>) {
        match (self.away.swap(away.is_some(), Relaxed), away) {
            (false, Some(error)) => tracing::error!(
                error,
                "the store can't rule on wakes; they go on within a quarter of the limits"
            ),
            (true, None) => tracing::info!("the store rules on wakes again"),
            (false, None) | (true, Some(_)) => {}
        }
    }
}
