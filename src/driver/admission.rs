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
use ipnet::IpNet;
use tokio::time::{Instant, timeout, timeout_at};

use super::bans::Bans;
use super::handle::{Admitted, Handle};
use super::names::Clients;
use super::own::Own;
use crate::engine::admit::{Applicant, Rate, Rule, Rules, Verdict, gcra};
use crate::engine::client;
use crate::engine::contract::{Trigger, TriggerBy};
use crate::engine::id::ServiceName;
use crate::engine::privacy::Forgotten;
use crate::engine::time::{Span, Time};
use crate::engine::trap::Trapped;
use crate::engine::triggerers::{self, Outcome};
use crate::engine::view::Phase;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

pub use super::own::Refusal;

/// How long the store may take: a visitor waits no longer for it.
pub const ADMIT_TIMEOUT: Duration = Duration::from_millis(200);

/// What this room writes by itself, bans and those who are listed though nobody asked the store about them: 60 at once
/// each, and then one a second. Whoever has more networks than that to scan from shall not fill the store.
const WRITTEN: Rate = match Rate::new(60, Span::mins(1)) {
    Ok(rate) => rate,
    Err(_) => panic!("sixty a minute are a rate"),
};

/// How long charging one late wake may take; nobody waits for it.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// A client's request that asks for a wake.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The client's true address.
    pub address: IpAddr,
    /// The serial of the page's nonce, where it brings one: it pays for one wake.
    pub nonce: Option<&'a str>,
    /// What asks.
    pub by: TriggerBy,
    /// What for, without its query.
    pub path: &'a str,
    /// Its user agent as it came.
    pub agent: &'a str,
}

/// What became of a wish that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It woke the service.
    Woke,
    /// The service is awake, or on its way by another wish.
    Joined,
}

/// The door, shared by all services.
pub struct Admission {
    store: Arc<dyn Store>,
    clients: Clients,
    bans: ArcSwap<Bans>,
    trapped: Mutex<Trapped>,
    bans_written: Mutex<Option<Time>>,
    listed: Mutex<Option<Time>>,
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
            trapped: Mutex::default(),
            bans_written: Mutex::default(),
            listed: Mutex::default(),
            own: Mutex::default(),
            away: AtomicBool::new(false),
        }
    }

    /// Replaces the bans. Whoever is in one of them wakes nothing from now on.
    pub fn set_bans(&self, bans: Bans) {
        self.bans.store(Arc::new(bans));
    }

    /// Somebody of this network opened a trap of this service: nobody there wakes anything from now on, for this long.
    /// In a store that others read too, it is written as a ban, at most [`WRITTEN`]; what is beyond that holds in
    /// this room alone. Who it was is listed, within the same bound.
    pub async fn catch(
        &self,
        service: &ServiceName,
        network: IpNet,
        now: Time,
        length: Span,
        wish: Wish<'_>,
    ) {
        if !locked(&self.trapped).catch(network, now, length) {
            return;
        }
        metrics().trapped(service);
        let applicant = self.applicant(now, wish, &Rules::default());
        let (client, path) = (&*applicant.names.who, wish.path);
        tracing::info!(%service, client, path, "somebody opened a trap; its network wakes nothing for {length}");
        let banned_until = now + length;
        let listed = self.list(service, now, &applicant, Outcome::Trapped { banned_until });
        let written = async {
            if let Some(surface) = self.store.surface()
                && may(&self.bans_written, now)
            {
                // Where it fails, it holds here all the same.
                let _ = timeout(ADMIT_TIMEOUT, surface.ban(network, length)).await;
            }
        };
        tokio::join!(listed, written);
    }

    /// Somebody answered a challenge of this service with what answers nothing: counted, and listed, at most
    /// [`WRITTEN`].
    pub async fn unproven(&self, service: &ServiceName, now: Time, wish: Wish<'_>) {
        let rule = Rule::Unproven;
        metrics().refused(service, rule.as_str());
        let applicant = self.applicant(now, wish, &Rules::default());
        self.list(service, now, &applicant, Outcome::Refused { rule })
            .await;
    }

    async fn list(
        &self,
        service: &ServiceName,
        now: Time,
        applicant: &Applicant,
        outcome: Outcome,
    ) {
        if may(&self.listed, now) {
            let listed = self.store.note(service, now, applicant, outcome);
            // Where it fails, the metric has counted it all the same.
            let _ = timeout(ADMIT_TIMEOUT, listed).await;
        }
    }

    /// Whether a trap holds this client, or a ban.
    #[must_use]
    pub fn bans(&self, address: IpAddr, now: Time) -> bool {
        self.bans.load().hold(address) || locked(&self.trapped).holds(address, now)
    }

    /// Lets those go whose network touches this one and opened a trap, and takes the bans away that stand in the store
    /// for exactly these networks. Says how many this room held, and how many stood there.
    ///
    /// # Errors
    /// When the store can't be asked; here they are free all the same.
    pub async fn pardon(&self, network: IpNet) -> Result<(usize, usize), StoreError> {
        let network = network.trunc();
        let mut named = BTreeSet::from([network]);
        if client::network(network.addr()).contains(&network) {
            named.insert(client::network(network.addr()));
        }
        let held = locked(&self.trapped).pardon(network);
        named.extend(&held);
        let named: Vec<_> = named.into_iter().collect();
        let stood = match self.store.surface() {
            Some(surface) => surface.unban(&named).await?,
            None => 0,
        };
        Ok((held.len(), stood))
    }

    /// These bans do not stand in the store any more: whoever opened a trap and was in one is free here as well.
    pub fn bans_gone(&self, networks: impl IntoIterator<Item = IpNet>, now: Time) {
        let mut trapped = locked(&self.trapped);
        for network in networks {
            trapped.taken_away(network, now);
        }
    }

    /// Somebody as the rules and the lists see it.
    fn applicant(&self, now: Time, wish: Wish<'_>, rules: &Rules) -> Applicant {
        let names = self.clients.names(now, wish.address, rules);
        Applicant {
            address: wish.address,
            nonce: wish.nonce.map(str::to_owned),
            banned: self.bans(wish.address, now),
            trigger: Trigger {
                by: wish.by,
                who: names.who.clone(),
                path: wish.path.to_owned(),
            },
            agent: triggerers::agent(wish.agent),
            names,
        }
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
    ) -> Result<Taken, Refusal> {
        let applicant = self.applicant(now, wish, rules);
        let wake = self.rule(handle, rules, now, &applicant).await;
        let (taken, wake) = wake.inspect_err(|refusal| {
            let (service, rule) = (handle.service(), refusal.rule.as_str());
            metrics().refused(service, rule);
            let client = &*applicant.names.who;
            tracing::debug!(%service, client, rule, "a wake is refused");
        })?;
        let trigger = applicant.trigger;
        handle.trigger(Admitted { trigger, wake });
        Ok(taken)
    }

    /// Whether it wakes, with the number of the wake; or the refusal.
    async fn rule(
        &self,
        handle: &Handle,
        rules: &Rules,
        now: Time,
        applicant: &Applicant,
    ) -> Result<(Taken, u64), Refusal> {
        // For good, so also where a wake costs nothing.
        let ban = applicant.banned.then_some(Rule::Banned);
        if let Some(rule) = ban.or_else(|| rules.lists(applicant.address)) {
            let retry_after = None;
            return Err(Refusal { rule, retry_after });
        }
        if matches!(handle.view().phase, Phase::Waking | Phase::Awake) {
            return Ok((Taken::Joined, 0));
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
            Verdict::Wake(number) => Ok((Taken::Woke, number)),
            Verdict::Joined(number) => {
                metrics().joined(service);
                Ok((Taken::Joined, number))
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
        locked(&self.own)
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

/// Whether one more may be written by what is remembered here.
fn may(written: &Mutex<Option<Time>>, now: Time) -> bool {
    let mut written = locked(written);
    let mark = gcra(*written, WRITTEN, now);
    mark.map(|mark| *written = Some(mark)).is_ok()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The value is whole at every moment, so a panic of another holder changes nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
