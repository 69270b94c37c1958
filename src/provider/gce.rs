//! A virtual machine at Google Compute Engine.
//!
//! Facts that shape this file: a write answers at once with an operation that goes on by itself, and why it failed
//! stands in the operation alone; every write takes a `requestId`, and a repeated one is not carried out again; for a
//! moment after a write the machine still reads as before; and a machine that is suspended must be resumed, one that is
//! stopped must be started. How a machine is woken and put to sleep is in [`power`], how clones are made and deleted in
//! [`clones`], what the answers mean in [`answer`] and [`trouble`], who we are in [`credentials`] and [`token`].

mod answer;
mod checkup;
mod clones;
mod credentials;
mod power;
mod project;
mod token;
mod trouble;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::mark::Mark;
use super::{Answer, BadSettings, Checkup, Provider, Said, bare};
use crate::engine::id::{CloneId, InstanceId, ServiceName, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, PublicAddress, Trouble};
use crate::engine::policy::Sleep;
use answer::Instance;
use power::Asked;
use project::Member;

pub use answer::AddressFrom;
pub use clones::CloneFrom;
pub use credentials::Surroundings;

/// Where Compute Engine is.
pub const BASE_URL: &str = "https://compute.googleapis.com/compute/v1";

/// A read. Less than a second is usual; a page of 500 machines takes some.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// A write, which answers when its operation has begun.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// The start of a machine is followed so long, because that a zone has no capacity is told by its operation. After it
/// the machine is on its way, and whoever looks follows the operation.
const START_FOLLOWED: Duration = Duration::from_secs(30);

/// A stop without the machine's own shutdown is followed so long.
const FORCED_FOLLOWED: Duration = Duration::from_secs(60);

/// The making of a clone is followed so long: its disks are copied meanwhile.
const INSERT_FOLLOWED: Duration = Duration::from_secs(240);

/// The deletion of a clone is followed so long.
const DELETE_FOLLOWED: Duration = Duration::from_secs(120);

/// A clone whose making was answered by silence shows within so long, or never: a request that the cloud received has
/// begun an operation by then.
const CLONE_SETTLES: Duration = Duration::from_secs(120);

/// A machine that is on its way down when it is wanted is waited for so long.
const REST_WITHIN: Duration = Duration::from_secs(120);

/// What a whole call may take on top: the reads and writes around the waiting.
const CALL_MARGIN: Duration = Duration::from_secs(150);

/// Which machine, in which project, and how its app is reached.
#[derive(Clone)]
pub struct Settings {
    /// The service whose machine it is.
    pub service: ServiceName,
    /// The cloud's address, up to the version in its path, without a slash at its end.
    pub base_url: String,
    /// The project's id.
    pub project: String,
    /// The zone, such as `europe-west1-b`.
    pub zone: String,
    /// The machine's name.
    pub instance: String,
    /// A file of credentials; none for those that are found as Google's own programs find them.
    pub credentials: Option<PathBuf>,
    /// Where credentials are found when no file is configured.
    pub around: Surroundings,
    /// The port the app listens on.
    pub port: u16,
    /// Under which address it is reached from here.
    pub address: AddressFrom,
    /// What asleep means. A suspended machine is kept for 60 days at most.
    pub sleep: Sleep,
    /// What clones are made of; none for no clones.
    pub clone_from: Option<CloneFrom>,
    /// How long it may take to shut down by itself before that is cut short.
    pub stop_timeout: Duration,
    /// Certificates (PEM) that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url)
            .field("project", &self.project)
            .field("zone", &self.zone)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// The provider of `kind = "gce"`.
pub struct Gce {
    settings: Settings,
    mark: Mark,
    project: Member,
    /// What we know better than what is read, by the machine's name.
    asked: Mutex<BTreeMap<String, Asked>>,
    /// When this provider last wrote: lists from before say nothing.
    wrote: Mutex<Option<Instant>>,
}

impl Gce {
    /// A provider for this machine. Asks nothing.
    ///
    /// # Errors
    /// When the project, the zone or the name is none that Google gives, or the file of certificates can't be read.
    pub fn new(settings: Settings) -> Result<Gce, BadSettings> {
        // A project may have the domain of its company before it: `example.com:blog`.
        let project = settings.project.replace(['.', ':'], "-");
        for (key, text, checked) in [
            ("project", &settings.project, &project),
            ("zone", &settings.zone, &settings.zone),
            ("instance", &settings.instance, &settings.instance),
        ] {
            let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            let ends = checked.starts_with('-') || checked.ends_with('-');
            let long = checked.is_empty() || checked.len() > 128;
            if long || ends || !checked.bytes().all(inner) {
                let rule = "lowercase letters, digits and `-`, as Google gives them";
                return Err(BadSettings(format!("`{key}` {text:?} is not of {rule}")));
            }
        }
        let seed = [&settings.project, &settings.zone, &settings.instance].map(String::as_str);
        Ok(Gce {
            mark: Mark::new(&settings.service, "gce", &seed.join("/")),
            project: Member::of(&settings)?,
            settings,
            asked: Mutex::default(),
            wrote: Mutex::new(None),
        })
    }

    /// The machine as it is, or was in a list that is young enough and not from before our last write.
    async fn look(&self, name: &str) -> Result<Machine, Trouble> {
        let seed = name == self.settings.instance;
        if seed && self.project.is_alone() {
            return self.look_closely(name).await;
        }
        let listed = self.project.instances(self.young()).await?;
        match listed.instance(&self.settings.zone, name) {
            Some(instance) if seed || self.is_ours(instance) => {
                let machine = instance.machine(self.settings.address, self.settings.port);
                self.weighed(name, machine).await
            }
            // A list and the machine's own page may disagree for a moment, and a zone may be missing in the list.
            _ => self.look_closely(name).await,
        }
    }

    /// Since when a list must be.
    fn young(&self) -> Instant {
        let young = Instant::now().checked_sub(self.project.list_age_max());
        let wrote = *self.wrote();
        young.max(wrote).unwrap_or_else(Instant::now)
    }

    /// The same, asked of the machine's own page.
    async fn look_closely(&self, name: &str) -> Result<Machine, Trouble> {
        let read = self.read(name).await?;
        self.weighed(name, read).await
    }

    /// What the machine's own page says, whatever we know better.
    async fn read(&self, name: &str) -> Result<Machine, Trouble> {
        let instance = self.project.instance(&self.settings.zone, name).await?;
        let ours = |instance: &Instance| name == self.settings.instance || self.is_ours(instance);
        Ok(match instance.filter(ours) {
            Some(instance) => instance.machine(self.settings.address, self.settings.port),
            None => bare(MachineState::Missing),
        })
    }

    fn name(&self, instance: InstanceId) -> Result<String, Trouble> {
        match instance {
            InstanceId::Seed => Ok(self.settings.instance.clone()),
            InstanceId::Clone(clone) => self.name_of(clone),
        }
    }

    fn missing(&self, name: &str) -> Trouble {
        let (zone, project) = (&self.settings.zone, &self.settings.project);
        let detail = format!("there is no instance {name} in {zone} of the project {project}");
        Trouble::new(ErrorClass::NotFound, detail)
    }

    fn wrote(&self) -> MutexGuard<'_, Option<Instant>> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.wrote.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider for Gce {
    fn kind(&self) -> &'static str {
        "gce"
    }

    fn call_timeout(&self) -> Duration {
        let down = self.settings.stop_timeout + FORCED_FOLLOWED;
        let up = REST_WITHIN + START_FOLLOWED;
        down.max(up).max(INSERT_FOLLOWED) + CALL_MARGIN
    }

    fn sleep(&self) -> Sleep {
        self.settings.sleep
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        Box::pin(async move { self.look(&self.name(instance)?).await })
    }

    fn start(&self, instance: InstanceId, token: Token) -> Answer<'_> {
        Box::pin(async move { self.wake(&self.name(instance)?, token).await })
    }

    fn stop(&self, instance: InstanceId, token: Token) -> Answer<'_> {
        Box::pin(async move { self.shut_down(&self.name(instance)?, token).await })
    }

    fn suspend(&self, instance: InstanceId, token: Token) -> Answer<'_> {
        Box::pin(async move { self.put_to_rest(&self.name(instance)?, token).await })
    }

    fn can_clone(&self) -> bool {
        self.settings.clone_from.is_some()
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
        CLONE_SETTLES
    }

    fn make_clone_repeats(&self) -> bool {
        true
    }

    fn addresses(&self, clone: CloneId) -> Said<'_, Vec<PublicAddress>> {
        Box::pin(self.public_addresses(clone))
    }

    fn strips(&self) -> bool {
        self.settings.address == AddressFrom::Private
    }

    fn release<'a>(&'a self, clone: CloneId, addresses: &'a [PublicAddress]) -> Said<'a, ()> {
        Box::pin(self.release_all(clone, addresses))
    }

    fn delete(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.delete_clone(clone))
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(self.examine())
    }
}
