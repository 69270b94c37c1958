//! A virtual machine or a container on Proxmox VE.
//!
//! Facts that shape this file: what a call starts is a task, and only the task's end tells whether it went well, so
//! every task is followed; the list of all guests is a few seconds behind, so a guest that was just told to do
//! something is asked itself; a guest that a token may not see is missing from the list, which is not the same as
//! missing; and nothing there pushes. How answers become states and troubles is in [`answer`].

mod address;
mod answer;
mod checkup;
mod clones;
mod cluster;
mod place;
mod power;
mod rights;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use super::cloud::pinned::Fingerprint;
pub use settings::{AddressFrom, CloneKind, GuestKind, Settings};

use super::mark::Mark;
use super::{Answer, BadSettings, Checkup, Provider, Said, bare};
use crate::engine::id::{CloneId, InstanceId, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, Trouble};
use crate::engine::policy::Sleep;
use cluster::Cluster;
use place::Place;
use power::{START_FOLLOWED, STOP_FOLLOWED_ON};

/// A list of this age is good enough. However many services a cluster has, it is read no more often.
const LIST_AGE_MAX: Duration = Duration::from_secs(2);

/// How far the list may lag behind: for so long after a write the guest itself is asked. The nodes tell one another
/// every 10 s.
const LIST_LAGS: Duration = Duration::from_secs(30);

/// How long a known address of a guest that runs is taken for granted.
const ADDRESS_AGE_MAX: Duration = Duration::from_secs(60);

/// What a whole call may take on top: the reads around a task.
const CALL_MARGIN: Duration = Duration::from_secs(120);

/// How long a clone may still appear whose answer was lost: a call that is under way is given up after 35 s.
pub const CLONE_SETTLES: Duration = Duration::from_secs(60);

/// How long a name may take to become an address.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// The provider of `kind = "proxmox"`.
pub struct Proxmox {
    settings: Settings,
    mark: Mark,
    cluster: Arc<Cluster>,
    /// Clones are made and deleted one at a time.
    turn: Arc<Semaphore>,
    known: Mutex<Known>,
}

/// What is remembered of guests, by their numbers.
#[derive(Default)]
struct Known {
    /// When this provider last changed one.
    wrote: BTreeMap<u32, Instant>,
    /// Its address, and when it told it.
    ips: BTreeMap<u32, (Instant, IpAddr)>,
}

/// A guest, looked at closely.
struct Seen {
    place: Place,
    state: MachineState,
    is_template: bool,
    is_paused: bool,
    /// The task that moves it.
    task: Option<String>,
}

impl Proxmox {
    /// A provider for this guest. Asks nothing.
    ///
    /// # Errors
    /// When the number is none of a guest, the token's name is not one or can't be a header, or the file of
    /// certificates can't be read.
    pub fn new(settings: Settings) -> Result<Proxmox, BadSettings> {
        settings.check()?;
        let seed = settings.vmid.to_string();
        Ok(Proxmox {
            mark: Mark::new(&settings.service, "proxmox", &seed),
            cluster: Cluster::of(&settings)?,
            settings,
            turn: Arc::new(Semaphore::new(1)),
            known: Mutex::default(),
        })
    }

    /// The guest as the list has it, where that is sure, else as it says itself.
    async fn look(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(self.latest_write());
        let found = self.find_it(instance, since.unwrap_or_else(Instant::now));
        match found.await? {
            Some((place, listed)) => self.machine_at(place, listed).await,
            None => Ok(bare(MachineState::Missing)),
        }
    }

    /// The guest at this place, whose state the list may tell.
    async fn machine_at(
        &self,
        place: Place,
        listed: Option<MachineState>,
    ) -> Result<Machine, Trouble> {
        let wrote = self.known().wrote.get(&place.vmid).copied();
        let settled = wrote.is_none_or(|wrote| wrote.elapsed() >= LIST_LAGS);
        if let Some(state) = listed.filter(|_| settled) {
            return self.machine(&place, state).await;
        }
        match self.see(place).await? {
            Some(seen) => self.machine(&seen.place, seen.state).await,
            None => Ok(bare(MachineState::Missing)),
        }
    }

    async fn find_it(
        &self,
        instance: InstanceId,
        since: Instant,
    ) -> Result<Option<(Place, Option<MachineState>)>, Trouble> {
        match instance {
            InstanceId::Seed => self.find_seed(since).await,
            InstanceId::Clone(clone) => {
                let guests = self.cluster.guests(since).await?;
                self.named(&guests, clone).await?.first()
            }
        }
    }

    /// Where the guest is and what the list says of it; none when there is none.
    async fn find_seed(
        &self,
        since: Instant,
    ) -> Result<Option<(Place, Option<MachineState>)>, Trouble> {
        let vmid = self.settings.vmid;
        let guests = self.cluster.guests(since).await?;
        let Some(guest) = guests.iter().find(|guest| guest.is(vmid)) else {
            return match self.cluster.may_see(vmid).await? {
                true => Ok(None),
                false => {
                    let mend = "the token may not see it; give the token VM.Audit there (with privilege separation it \
                                has none of its user's rights)";
                    let detail = format!("guest {vmid}: {mend}");
                    Err(Trouble::new(ErrorClass::Forbidden, detail))
                }
            };
        };
        let Some(place) = guest.place() else {
            return Ok(None);
        };
        if let Some(wanted) = self.settings.guest.filter(|wanted| *wanted != place.kind) {
            let (is, wanted) = (place.kind.word(), wanted.word());
            let detail = format!("guest {vmid} is of the type {is}, and `guest` says {wanted}");
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        }
        Ok(Some((place, guest.state())))
    }

    /// The guest as it says itself, and what moves it; none when it is gone.
    async fn see(&self, place: Place) -> Result<Option<Seen>, Trouble> {
        let current = match self.cluster.current(&place).await {
            Ok(current) => current,
            Err(trouble) if trouble.class == ErrorClass::NotFound => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let moving = self.cluster.moving(&place).await?;
        let still = current.state();
        let (task, state) = match moving {
            Some((task, state)) => (Some(task), state),
            None => (None, still),
        };
        let (is_template, is_paused) = (current.is_template(), current.is_paused());
        Ok(Some(Seen {
            place,
            state,
            is_template,
            is_paused,
            task,
        }))
    }

    /// The same of an instance, wherever it is.
    async fn see_it(&self, instance: InstanceId) -> Result<Seen, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(self.latest_write());
        let found = self.find_it(instance, since.unwrap_or_else(Instant::now));
        let seen = match found.await? {
            Some((place, _)) => self.see(place).await?,
            None => None,
        };
        seen.ok_or_else(|| match instance {
            InstanceId::Seed => self.missing(&self.settings.vmid.to_string()),
            InstanceId::Clone(clone) => self.missing(&self.mark.name(clone)),
        })
    }

    async fn machine(&self, place: &Place, state: MachineState) -> Result<Machine, Trouble> {
        if state != MachineState::Running {
            self.known().ips.remove(&place.vmid);
            return Ok(bare(state));
        }
        let address = match &self.settings.address {
            AddressFrom::Fixed(address) if place.vmid == self.settings.vmid => {
                resolve(address).await
            }
            _ => {
                let ip = self.ip(place).await?;
                ip.map(|ip| SocketAddr::new(ip, self.settings.port))
            }
        };
        Ok(Machine { state, address })
    }

    async fn ip(&self, place: &Place) -> Result<Option<IpAddr>, Trouble> {
        let known = self.known().ips.get(&place.vmid).copied();
        if let Some((_, ip)) = known.filter(|(told, _)| told.elapsed() < ADDRESS_AGE_MAX) {
            return Ok(Some(ip));
        }
        let ip = address::usable(&self.cluster.interfaces(place).await?);
        let mut known = self.known();
        match ip {
            Some(ip) => drop(known.ips.insert(place.vmid, (Instant::now(), ip))),
            None => drop(known.ips.remove(&place.vmid)),
        }
        Ok(ip)
    }

    /// From now on, for a while, the guest is asked itself, and no list from before is good enough.
    fn wrote(&self, vmid: u32) {
        let mut known = self.known();
        known.wrote.retain(|_, wrote| wrote.elapsed() < LIST_LAGS);
        known.wrote.insert(vmid, Instant::now());
    }

    fn latest_write(&self) -> Option<Instant> {
        self.known().wrote.values().copied().max()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self, guest: &str) -> Trouble {
        let detail = format!("there is no guest {guest}");
        Trouble::new(ErrorClass::NotFound, detail)
    }
}

/// A name that does not resolve is a guest that is not reachable yet.
async fn resolve(address: &str) -> Option<SocketAddr> {
    let found = tokio::time::timeout(RESOLVE_WITHIN, tokio::net::lookup_host(address));
    match found.await {
        Ok(Ok(mut addresses)) => addresses.next(),
        Ok(Err(error)) => {
            tracing::debug!(address, %error, "the app's address does not resolve");
            None
        }
        Err(_) => None,
    }
}

impl Provider for Proxmox {
    fn kind(&self) -> &'static str {
        "proxmox"
    }

    fn call_timeout(&self) -> Duration {
        let stop = self.settings.stop_timeout + STOP_FOLLOWED_ON * 2;
        stop.max(START_FOLLOWED) + CALL_MARGIN
    }

    fn sleep(&self) -> Sleep {
        self.settings.sleep
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        Box::pin(self.look(instance))
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(self.wake(instance))
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(self.put_to_sleep(instance))
    }

    fn suspend(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(self.hibernate(instance))
    }

    fn can_clone(&self) -> bool {
        true
    }

    fn find(&self) -> Said<'_, Vec<Owned>> {
        Box::pin(self.find_clones())
    }

    fn make_clone(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.make(clone))
    }

    fn clone_settles(&self) -> Duration {
        self.settings.clone_settles
    }

    fn delete(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.remove(clone))
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(self.examine())
    }
}
