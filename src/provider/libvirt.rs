//! A virtual machine of libvirt (a domain): started, shut down, or saved with its memory, by running `virsh`.
//!
//! No library of libvirt is linked, so the program stays one static file; how virsh is run is in [`virsh`], what it
//! prints and complains of in [`answer`].

mod answer;
mod virsh;

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::{Answer, BadSettings, Checkup, Provider, bare, host_and_port, seed_only};
use crate::engine::id::{InstanceId, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::policy::Sleep;
use answer::{Does, Seen};
use virsh::Ask;

/// The word in the configuration.
const KIND: &str = "libvirt";
/// What is paid while the machine sleeps.
const ASLEEP: &str = "its disks, and a file of the size of its memory when that is saved";
/// How long one question may take; the way may be by ssh.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a start may take: a saved memory is read back from the disk before it is answered.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a request to shut down, or switching off, may take to be taken.
const ORDER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a domain that was asked to shut down is looked at.
const ENDING_POLL: Duration = Duration::from_millis(500);
/// How often it is asked again: one that was still starting up did not hear it.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// What a call may take on top of `stop_timeout`: looking before and after, resuming, and switching off.
const CALL_MARGIN: Duration = Duration::from_secs(120);

/// Which domain, at which libvirt, and how its app is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: a name on the path, or a path.
    pub virsh: String,
    /// Where libvirt is (`virsh --connect`): `qemu:///system`, `qemu+ssh://host/system`.
    pub uri: String,
    /// Name or UUID.
    pub domain: String,
    /// The port the app listens on, on the domain's own address.
    pub port: u16,
    /// Where the app is reached.
    pub address: AddressFrom,
    /// How it is put to sleep.
    pub sleep: Sleep,
    /// From the request to shut down until it is switched off; also how long saving its memory may take.
    pub stop_timeout: Duration,
}

/// Where a domain's address comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// From the DHCP server of libvirt's own network.
    Lease,
    /// From the guest agent in the domain.
    Agent,
    /// From the host's table of neighbours.
    Arp,
    /// `host:port`; a name is looked up at each reading.
    Fixed(String),
}

impl FromStr for AddressFrom {
    type Err = BadSettings;

    fn from_str(text: &str) -> Result<AddressFrom, BadSettings> {
        Ok(match text {
            "lease" => Self::Lease,
            "agent" => Self::Agent,
            "arp" => Self::Arp,
            fixed => {
                host_and_port(fixed)?;
                Self::Fixed(fixed.to_owned())
            }
        })
    }
}

/// The provider of `kind = "libvirt"`.
pub struct Libvirt {
    settings: Settings,
    /// One start or stop at a time.
    turn: Semaphore,
}

impl Libvirt {
    /// A provider for this domain. Asks nothing.
    ///
    /// # Errors
    /// When a text can't be what it is for, or `domain` would be taken for a domain's number of the day.
    pub fn new(settings: Settings) -> Result<Libvirt, BadSettings> {
        let texts = [
            ("virsh", &settings.virsh),
            ("uri", &settings.uri),
            ("domain", &settings.domain),
        ];
        for (key, text) in texts {
            if text.is_empty() || text.contains(char::is_control) {
                return Err(BadSettings(format!("`{key}` {text:?} can be none")));
            }
        }
        if settings.domain.bytes().all(|c| c.is_ascii_digit()) {
            let domain = &settings.domain;
            return Err(BadSettings(format!(
                "`domain` {domain:?}: virsh would take it for a number that changes at each start; write the UUID"
            )));
        }
        Ok(Libvirt {
            settings,
            turn: Semaphore::new(1),
        })
    }

    async fn seen(&self) -> Result<Seen, Trouble> {
        let printed = match self.read("domstate", &["--reason"]).await {
            Err(trouble) if trouble.class == ErrorClass::NotFound => return Ok(Seen::Missing),
            printed => printed?,
        };
        match answer::seen(&printed) {
            Some(Seen::OffMaybeSaved) => {
                let info = self.read("dominfo", &[]).await?;
                Ok(match answer::is_saved(&info) {
                    true => Seen::Saved,
                    false => Seen::Off,
                })
            }
            Some(seen) => Ok(seen),
            None => {
                let domain = &self.settings.domain;
                let detail = format!("the state of domain {domain:?} is told as {printed:?}");
                Err(Trouble::new(ErrorClass::BadRequest, detail))
            }
        }
    }

    async fn look(&self) -> Result<Machine, Trouble> {
        let state = self.seen().await?.state();
        let address = match state {
            MachineState::Running => self.address().await?,
            _ => None,
        };
        Ok(Machine { state, address })
    }

    /// None while it can't be told yet: there is no lease, or the agent does not run yet.
    async fn address(&self) -> Result<Option<SocketAddr>, Trouble> {
        let source = match &self.settings.address {
            AddressFrom::Lease => "lease",
            AddressFrom::Agent => "agent",
            AddressFrom::Arp => "arp",
            AddressFrom::Fixed(address) => {
                return Ok(super::resolve(address, READ_TIMEOUT).await);
            }
        };
        match self.read("domifaddr", &["--source", source]).await {
            Ok(printed) => {
                let ip = answer::address(&printed);
                Ok(ip.map(|ip| SocketAddr::new(ip, self.settings.port)))
            }
            // A domain without an agent, or a credential that may not ask it, will not have an address later.
            Err(trouble) if !trouble.class.passes_by_itself() => Err(trouble),
            Err(trouble) => {
                tracing::debug!(%trouble, "the domain's address is not known yet");
                Ok(None)
            }
        }
    }

    async fn wake(&self) -> Result<Machine, Trouble> {
        let _turn = self.turn.acquire().await;
        let (command, within) = match self.seen().await? {
            Seen::Missing => return Err(self.missing()),
            Seen::Running | Seen::Starting => return self.look().await,
            Seen::Paused => ("resume", ORDER_TIMEOUT),
            Seen::PmSuspended => ("dompmwakeup", ORDER_TIMEOUT),
            Seen::Crashed => {
                self.write("destroy", &[], ORDER_TIMEOUT).await?;
                ("start", START_TIMEOUT)
            }
            Seen::Off | Seen::OffMaybeSaved | Seen::Saved | Seen::Stopping => {
                ("start", START_TIMEOUT)
            }
        };
        self.write(command, &[], within).await?;
        self.look().await
    }

    async fn put_to_sleep(&self) -> Result<Machine, Trouble> {
        let _turn = self.turn.acquire().await;
        match self.seen().await? {
            Seen::Missing => return Err(self.missing()),
            seen @ (Seen::Off | Seen::OffMaybeSaved | Seen::Saved) => {
                return Ok(bare(seen.state()));
            }
            // A guest that does not run hears nothing.
            Seen::Paused => self.write("resume", &[], ORDER_TIMEOUT).await?,
            Seen::PmSuspended => self.write("dompmwakeup", &[], ORDER_TIMEOUT).await?,
            Seen::Crashed => return self.switch_off().await,
            Seen::Running | Seen::Starting | Seen::Stopping => {}
        }
        let deadline = Instant::now() + self.settings.stop_timeout;
        let mut asked_at = None;
        while Instant::now() < deadline {
            if asked_at.is_none_or(|at: Instant| at.elapsed() >= ASK_AGAIN) {
                self.write("shutdown", &[], ORDER_TIMEOUT).await?;
                asked_at = Some(Instant::now());
            }
            sleep(ENDING_POLL).await;
            if let Some(off) = self.off().await? {
                return Ok(off);
            }
        }
        let (domain, waited) = (&self.settings.domain, self.settings.stop_timeout);
        tracing::warn!(
            domain,
            ?waited,
            "the domain did not shut down when asked and is switched off"
        );
        self.switch_off().await
    }

    async fn switch_off(&self) -> Result<Machine, Trouble> {
        self.write("destroy", &[], ORDER_TIMEOUT).await?;
        Ok(bare(self.seen().await?.state()))
    }

    async fn save(&self) -> Result<Machine, Trouble> {
        let _turn = self.turn.acquire().await;
        match self.seen().await? {
            Seen::Missing => return Err(self.missing()),
            seen @ (Seen::Off | Seen::OffMaybeSaved | Seen::Saved) => {
                return Ok(bare(seen.state()));
            }
            _ => {}
        }
        // One that is paused would else be paused again when it is woken.
        let saved = self.write("managedsave", &["--running"], self.settings.stop_timeout);
        saved.await.map_err(|trouble| match trouble.class {
            // There is no room for its memory.
            ErrorClass::Capacity => Trouble::new(ErrorClass::InvalidState, trouble.detail),
            _ => trouble,
        })?;
        Ok(bare(self.seen().await?.state()))
    }

    /// The machine, if it is off.
    async fn off(&self) -> Result<Option<Machine>, Trouble> {
        let state = self.seen().await?.state();
        let off = matches!(
            state,
            MachineState::Stopped | MachineState::Suspended | MachineState::Missing
        );
        Ok(off.then(|| bare(state)))
    }

    async fn read(&self, command: &'static str, more: &[&str]) -> Result<String, Trouble> {
        let ask = Ask {
            command,
            more,
            does: Does::Read,
            within: READ_TIMEOUT,
        };
        ask.run(&self.settings).await
    }

    /// That it is so already is a success, and so is that it is off when it is to be: the state is read afterwards.
    async fn write(
        &self,
        command: &'static str,
        more: &[&str],
        within: Duration,
    ) -> Result<(), Trouble> {
        let ask = Ask {
            command,
            more,
            does: Does::Write,
            within,
        };
        let Err(trouble) = ask.run(&self.settings).await else {
            return Ok(());
        };
        match trouble.class {
            ErrorClass::AlreadyThere => Ok(()),
            ErrorClass::InvalidState if self.off().await?.is_some() && command != "start" => Ok(()),
            _ => Err(trouble),
        }
    }

    fn missing(&self) -> Trouble {
        let Settings { domain, uri, .. } = &self.settings;
        let detail = format!("there is no domain {domain:?} at {uri}");
        Trouble::new(ErrorClass::NotFound, detail)
    }
}

impl Provider for Libvirt {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn call_timeout(&self) -> Duration {
        self.settings.stop_timeout.max(START_TIMEOUT) + CALL_MARGIN
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
            _ => Box::pin(async move { Err(seed_only(KIND, instance)) }),
        }
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.put_to_sleep()),
            _ => Box::pin(async move { Err(seed_only(KIND, instance)) }),
        }
    }

    fn suspend(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.save()),
            _ => Box::pin(async move { Err(seed_only(KIND, instance)) }),
        }
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(async {
            let Settings { domain, uri, .. } = &self.settings;
            let seed = self.look().await;
            let credential = match &seed {
                Err(trouble) => Err(trouble.clone()),
                Ok(_) => Ok(format!("{uri} answers")),
            };
            let mut checkup = Checkup::of_seed(format!("domain {domain:?} at {uri}"), seed, ASLEEP);
            checkup.credential = credential;
            checkup
        })
    }
}
