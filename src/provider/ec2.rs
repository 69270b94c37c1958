//! A virtual machine at AWS EC2.
//!
//! Facts that shape this file: every call is a signed form and answers with XML; a start or a stop is accepted at once
//! and goes on by itself; what was just changed may be read as it was for some seconds; and calls are counted for the
//! whole account, so one list is read for all its services. How answers become states and troubles is in [`answer`].

mod answer;
mod checkup;
mod clones;
mod credentials;
mod power;
mod region;
mod settings;
mod sign;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::mark::Mark;
use super::{Answer, BadSettings, Checkup, Provider, Said, bare};
use crate::engine::id::{CloneId, InstanceId, Token};
use crate::engine::machine::{Machine, MachineState, Owned, Trouble};
use crate::engine::policy::Sleep;
use answer::Instance;
use region::{Named, Region};

pub use credentials::{Source, Surroundings};
pub use settings::{AddressFrom, Settings};

/// A list of this age is good enough. However many services an account has, it is read no more often.
const LIST_AGE_MAX: Duration = Duration::from_secs(1);

/// For so long after a change, a machine that is read as it was before is taken to be on its way.
const READS_LAG: Duration = Duration::from_secs(15);

/// What a whole call may take on top: the reads around a change, and a first reading of the keys.
const CALL_MARGIN: Duration = Duration::from_secs(150);

/// The provider of `kind = "ec2"`.
pub struct Ec2 {
    settings: Settings,
    mark: Mark,
    region: Arc<Region>,
    _named: Named,
    known: Mutex<Known>,
}

/// What is remembered for a moment.
#[derive(Default)]
struct Known {
    /// When each machine was last changed, by its id, and which way that led.
    wrote: BTreeMap<String, (Instant, MachineState)>,
    /// When each clone was launched, and its id.
    launched: BTreeMap<CloneId, (Instant, String)>,
}

impl Ec2 {
    /// A provider for this machine. Asks nothing.
    ///
    /// # Errors
    /// When the region or the id is none, a key can't be in a header, or the file of certificates can't be read.
    pub fn new(settings: Settings) -> Result<Ec2, BadSettings> {
        settings.check()?;
        let region = Region::of(&settings)?;
        let seed = format!("{} {}", settings.region, settings.instance);
        Ok(Ec2 {
            mark: Mark::new(&settings.service, "ec2", &seed),
            _named: region.name(&settings.instance),
            region,
            settings,
            known: Mutex::default(),
        })
    }

    /// The seed as the list has it, or as it was just told to become.
    async fn look(&self) -> Result<Machine, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(self.latest_write());
        let listed = self
            .region
            .seeds(since.unwrap_or_else(Instant::now))
            .await?;
        let id = &self.settings.instance;
        let instance = match listed.iter().find(|instance| instance.id == *id) {
            Some(instance) => Some(instance.clone()),
            // It may have been named after the list was begun.
            None => self.region.one(id).await?,
        };
        Ok(match instance {
            Some(instance) => self.as_it_goes(&instance),
            None => bare(MachineState::Missing),
        })
    }

    async fn look_at(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        match instance {
            InstanceId::Seed => self.look().await,
            InstanceId::Clone(clone) => self.look_at_clone(clone).await,
        }
    }

    /// The machine, with what was just changed taken into account: it may be read as it was before.
    fn as_it_goes(&self, instance: &Instance) -> Machine {
        let wrote = self.known().wrote.get(&instance.id).copied();
        let lags = wrote.filter(|(at, _)| at.elapsed() < READS_LAG);
        match (lags, instance.state()) {
            (
                Some((_, MachineState::Starting)),
                MachineState::Stopped | MachineState::Suspended,
            ) => bare(MachineState::Starting),
            (Some((_, MachineState::Stopping)), MachineState::Running) => {
                bare(MachineState::Stopping)
            }
            _ => self.machine(instance),
        }
    }

    fn machine(&self, instance: &Instance) -> Machine {
        let state = instance.state();
        let up = matches!(state, MachineState::Running | MachineState::Starting);
        let ip = match self.settings.address {
            _ if !up => None,
            AddressFrom::Private => instance.private_ip(),
            AddressFrom::Public => instance.public_ip(),
        };
        let address = ip.map(|ip| SocketAddr::new(ip, self.settings.port));
        Machine { state, address }
    }

    fn wrote(&self, id: &str, way: MachineState) {
        let mut known = self.known();
        known.wrote.retain(|_, (at, _)| at.elapsed() < READS_LAG);
        known.wrote.insert(id.to_owned(), (Instant::now(), way));
    }

    fn latest_write(&self) -> Option<Instant> {
        self.known().wrote.values().map(|(at, _)| *at).max()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider for Ec2 {
    fn kind(&self) -> &'static str {
        "ec2"
    }

    fn call_timeout(&self) -> Duration {
        self.settings.stop_timeout + CALL_MARGIN
    }

    fn sleep(&self) -> Sleep {
        self.settings.sleep
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        Box::pin(self.look_at(instance))
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(async move {
            if let InstanceId::Clone(clone) = instance {
                // One that was just launched may be unknown by its id yet, and starts by itself.
                let machine = self.look_at_clone(clone).await?;
                if matches!(
                    machine.state,
                    MachineState::Starting | MachineState::Running
                ) {
                    return Ok(machine);
                }
            }
            self.wake(&self.id(instance).await?).await
        })
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(async move {
            let id = self.id(instance).await?;
            self.put_to_sleep(instance, &id).await
        })
    }

    fn suspend(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(async move { self.hibernate(&self.id(instance).await?).await })
    }

    fn can_clone(&self) -> bool {
        self.settings.launch_template.is_some()
    }

    fn finds_clones(&self) -> bool {
        true
    }

    fn find(&self) -> Said<'_, Vec<Owned>> {
        Box::pin(self.find_clones())
    }

    fn make_clone(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.make(clone))
    }

    fn clone_settles(&self) -> Duration {
        clones::SETTLES
    }

    /// A launch is known by its token.
    fn make_clone_repeats(&self) -> bool {
        true
    }

    fn delete(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.remove(clone))
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(self.examine())
    }
}
