//! The door for whoever would wake a service: asks the store, which rules and charges, and hands the trigger to the
//! service's task.
//!
//! Where the store does not answer in time, wakes go on within a local budget, a quarter of every limit: a person who
//! can't get in because a database is away would be worse than a few wakes more than the limits say. They are charged
//! when the store is back.
//!
//! The door also keeps a book of all that it let in itself, at the full limits. Nobody gets past that who is not
//! let in by a store that still remembers: neither while it is away nor after it was wiped. Read on in
//! [`own`](super::own).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, timeout, timeout_at};

use super::bans::Bans;
use super::handle::{Admitted, Handle};
use super::names::Clients;
use super::own::Own;
use crate::engine::admit::{Applicant, Rule, Rules, Verdict};
use crate::engine::contract::{Trigger, TriggerBy};
use crate::engine::privacy::Forgotten;
use crate::engine::time::Time;
use crate::engine::triggerers;
use crate::engine::view::Phase;
use crate::store::Store;
use crate::telemetry::metrics;

pub use super::own::Refusal;

/// How long the store may take: a visitor waits no longer for it.
pub const ADMIT_TIMEOUT: Duration = Duration::from_millis(200);

/// How long charging one late wake may take; nobody waits for it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

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
    own: Mutex<Own>,
    away: AtomicBool,
}

impl Admission {
    /// The door to this store's limits. Whoever comes is named by `clients` from there on.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clients: Clients) -> Admission {
        Admission {
            store,
            clients,
            bans: ArcSwap::default(),
            own: Mutex::default(),
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
        let deadline = Instant::now() + ADMIT_TIMEOUT;
        let service = handle.service();
        self.remembered(deadline, handle, now, applicant, rules)
            .await?;
        let asked = timeout_at(deadline, self.store.admit(service, now, applicant, rules));
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
        if away.is_none() && matches!(verdict, Verdict::Wake(_)) {
            let life = timeout_at(deadline, self.store.life(service)).await;
            let life = life.ok().and_then(Result::ok);
            self.own().charged(service, now, applicant, rules, life);
        }
        self.tell(away);
        match verdict {
            Verdict::Wake(number) => Ok(number),
            Verdict::Joined(number) => {
                metrics().joined(service);
                Ok(number)
            }
            Verdict::Refused { rule, retry_after } => Err(Refusal { rule, retry_after }),
        }
    }

    /// What this room itself knows against a client. A store that remembers all it was told may know better: somebody
    /// may have given the client its wakes back there.
    async fn remembered(
        &self,
        deadline: Instant,
        handle: &Handle,
        now: Time,
        applicant: &Applicant,
        rules: &Rules,
    ) -> Result<(), Refusal> {
        let (service, version) = (handle.service(), handle.view().version);
        let against = self.own().against(service, version, now, applicant, rules);
        let Some((refusal, life)) = against else {
            return Ok(());
        };
        let kept = timeout_at(deadline, self.store.life(service)).await;
        match (life, kept) {
            (Some(life), Ok(Ok(kept))) if life == kept => Ok(()),
            _ => Err(refusal),
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
        self.own().rule(service, version, now, applicant, rules)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges what was let in while the store was away, if it is back. Call it now and then; one call at a time.
    pub async fn settle(&self, now: Time) {
        let (mut charged, mut failing) = (0u32, BTreeSet::new());
        loop {
            let Some(late) = self.own().late(&failing) else {
                break;
            };
            let call = timeout(SETTLE_TIMEOUT, self.store.charge_late(now, &late));
            match call.await {
                Ok(Ok(())) => {
                    charged += 1;
                    self.own().settled(late.number);
                }
                // Those of one service go in their order; another one's may do better.
                _ => {
                    failing.insert(late.service);
                }
            }
            if self.store.trouble().is_some() {
                break;
            }
        }
        if charged > 0 {
            tracing::info!(
                wakes = charged,
                "what was let in without the store is charged"
            );
        }
    }

    /// Forgets a client here; the store has its own.
    pub fn forget(&self, forgotten: &Forgotten) {
        self.own().forget(forgotten);
    }

    /// Forgets the clients whose limits are whole again.
    pub fn tidy(&self, now: Time) {
        self.own().tidy(now);
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
