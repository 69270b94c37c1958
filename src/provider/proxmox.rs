//! A virtual machine or a container on Proxmox VE.
//!
//! Facts that shape this file: what a call starts is a task, and only the task's end tells whether it went well, so
//! every task is followed; the list of all guests is a few seconds behind, so a guest that was just told to do
//! something is asked itself; a guest that a token may not see is missing from the list, which is not the same as
//! missing; and nothing there pushes. How answers become states and troubles is in [`answer`].

mod address;
mod answer;
mod cluster;
mod power;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use super::cloud::pinned::Fingerprint;
pub use settings::{AddressFrom, GuestKind, Settings};

use super::{Answer, BadSettings, Provider, bare, seed_only};
use crate::engine::id::{InstanceId, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::policy::Sleep;
use cluster::{Cluster, Place};
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

/// How long a name may take to become an address.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// The provider of `kind = "proxmox"`.
pub struct Proxmox {
    settings: Settings,
    cluster: Arc<Cluster>,
    known: Mutex<Known>,
}

/// What is remembered of the guest.
#[derive(Default)]
struct Known {
    /// When this provider last wrote.
    wrote: Option<Instant>,
    /// Its address, and when it told it.
    ip: Option<(Instant, IpAddr)>,
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
        Ok(Proxmox {
            cluster: Cluster::of(&settings)?,
            settings,
            known: Mutex::new(Known::default()),
        })
    }

    /// The guest as the list has it, where that is sure, else as it says itself.
    async fn look(&self) -> Result<Machine, Trouble> {
        let wrote = self.known().wrote;
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(wrote).unwrap_or_else(Instant::now);
        let Some((place, listed)) = self.find(since).await? else {
            return Ok(bare(MachineState::Missing));
        };
        let settled = wrote.is_none_or(|wrote| wrote.elapsed() >= LIST_LAGS);
        if let Some(state) = listed.filter(|_| settled) {
            return self.machine(&place, state).await;
        }
        match self.see(place).await? {
            Some(seen) => self.machine(&seen.place, seen.state).await,
            None => Ok(bare(MachineState::Missing)),
        }
    }

    /// Where the guest is and what the list says of it; none when there is none.
    async fn find(&self, since: Instant) -> Result<Option<(Place, Option<MachineState>)>, Trouble> {
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
        let kind = guest.kind().unwrap_or(GuestKind::Qemu);
        if let Some(wanted) = self.settings.guest.filter(|wanted| *wanted != kind) {
            let (is, wanted) = (kind.word(), wanted.word());
            let detail = format!("guest {vmid} is of the type {is}, and `guest` says {wanted}");
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        }
        let node = guest.node.clone();
        Ok(Some((Place { node, kind, vmid }, guest.state())))
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

    /// The same from the number alone.
    async fn see_it(&self) -> Result<Option<Seen>, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        match self.find(young.unwrap_or_else(Instant::now)).await? {
            Some((place, _)) => self.see(place).await,
            None => Ok(None),
        }
    }

    async fn machine(&self, place: &Place, state: MachineState) -> Result<Machine, Trouble> {
        if state != MachineState::Running {
            self.known().ip = None;
            return Ok(bare(state));
        }
        let port = self.settings.port;
        let address = match &self.settings.address {
            AddressFrom::Fixed(address) => resolve(address).await,
            AddressFrom::Guest => {
                let ip = self.ip(place).await?;
                ip.map(|ip| SocketAddr::new(ip, port))
            }
        };
        Ok(Machine { state, address })
    }

    async fn ip(&self, place: &Place) -> Result<Option<IpAddr>, Trouble> {
        let known = self.known().ip;
        if let Some((_, ip)) = known.filter(|(told, _)| told.elapsed() < ADDRESS_AGE_MAX) {
            return Ok(Some(ip));
        }
        let ip = address::usable(&self.cluster.interfaces(place).await?);
        self.known().ip = ip.map(|ip| (Instant::now(), ip));
        Ok(ip)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self) -> Trouble {
        let detail = format!("there is no guest {}", self.settings.vmid);
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
        match instance {
            InstanceId::SEED => Box::pin(self.look()),
            _ => Box::pin(async { Ok(bare(MachineState::Missing)) }),
        }
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.wake()),
            _ => Box::pin(async move { Err(seed_only("proxmox", instance)) }),
        }
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.put_to_sleep()),
            _ => Box::pin(async move { Err(seed_only("proxmox", instance)) }),
        }
    }

    fn suspend(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.hibernate()),
            _ => Box::pin(async move { Err(seed_only("proxmox", instance)) }),
        }
    }
}
