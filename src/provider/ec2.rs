//! A virtual machine at AWS EC2.
//!
//! Facts that shape this file: every call is a signed form and answers with XML; a start or a stop is accepted at once
//! and goes on by itself; what was just changed may be read as it was for some seconds; and calls are counted for the
//! whole account, so one list is read for all its services. How answers become states and troubles is in [`answer`].

mod answer;
mod credentials;
mod power;
mod region;
mod settings;
mod sign;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, BadSettings, Provider, bare, seed_only};
use crate::engine::id::{InstanceId, Token};
use crate::engine::machine::{Machine, MachineState, Trouble};
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
    region: Arc<Region>,
    _named: Named,
    /// When this provider last made a change, and which way it led.
    wrote: Mutex<Option<(Instant, MachineState)>>,
}

impl Ec2 {
    /// A provider for this machine. Asks nothing.
    ///
    /// # Errors
    /// When the region or the id is none, a key can't be in a header, or the file of certificates can't be read.
    pub fn new(settings: Settings) -> Result<Ec2, BadSettings> {
        settings.check()?;
        let region = Region::of(&settings)?;
        Ok(Ec2 {
            _named: region.name(&settings.instance),
            region,
            settings,
            wrote: Mutex::new(None),
        })
    }

    /// The machine as the list has it, or as it was just told to become.
    async fn look(&self) -> Result<Machine, Trouble> {
        let wrote = *self.last_write();
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(wrote.map(|(at, _)| at));
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
        let Some(instance) = instance else {
            return Ok(bare(MachineState::Missing));
        };
        let lags = wrote.filter(|(at, _)| at.elapsed() < READS_LAG);
        Ok(match (lags, instance.state()) {
            (
                Some((_, MachineState::Starting)),
                MachineState::Stopped | MachineState::Suspended,
            ) => bare(MachineState::Starting),
            (Some((_, MachineState::Stopping)), MachineState::Running) => {
                bare(MachineState::Stopping)
            }
            _ => self.machine(&instance),
        })
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

    fn wrote(&self, way: MachineState) {
        *self.last_write() = Some((Instant::now(), way));
    }

    fn last_write(&self) -> MutexGuard<'_, Option<(Instant, MachineState)>> {
        self.wrote.lock().unwrap_or_else(PoisonError::into_inner)
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
        match instance {
            InstanceId::SEED => Box::pin(self.look()),
            _ => Box::pin(async { Ok(bare(MachineState::Missing)) }),
        }
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.wake()),
            _ => Box::pin(async move { Err(seed_only("ec2", instance)) }),
        }
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.put_to_sleep()),
            _ => Box::pin(async move { Err(seed_only("ec2", instance)) }),
        }
    }

    fn suspend(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.hibernate()),
            _ => Box::pin(async move { Err(seed_only("ec2", instance)) }),
        }
    }
}
