//! A server at Hetzner Cloud. One that is off is paid in full, and every started hour is paid whole.
//!
//! Facts that shape this file: an order (`poweron`, `shutdown`, ...) is an action that is followed by its id; the server
//! tells itself when it is on its way; an error has a code, which is the same for all paths. How answers become states and
//! troubles is in [`answer`]; how a machine is kept, with DigitalOcean's, in `cloud/billed`.

mod answer;
mod swap;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Method;

use super::cloud::account::Account;
use super::cloud::bearer::{Bearer, Key};
use super::cloud::billed::{
    self, Billed, Keeper, Keeping, Order, Power, Server, Snapshot, Verified,
};
pub use super::cloud::billed::{AddressFrom, Kept, Snapshots};
use super::cloud::call::Does;
use super::{Answer, BadSettings, Checkup, Provider, Said, bare, seed_only};
use crate::engine::id::{InstanceId, Token};
use crate::engine::machine::{MachineState, Trouble};
use crate::engine::policy::Sleep;

/// Where Hetzner Cloud is, with the version of its API.
pub const BASE_URL: &str = "https://api.hetzner.cloud/v1";

/// Between two looks at an action.
pub const POLL: Duration = billed::POLL;

/// So late a machine that was asked for may appear.
pub const SETTLES: Duration = billed::SETTLES;

/// Pages of 50, the most there is.
const PAGES_MAX: u32 = 200;

/// Which server, at which account, and how its app is reached.
#[derive(Clone)]
pub struct Settings {
    /// The cloud's address, without a slash at its end.
    pub base_url: String,
    /// The account's token.
    pub token: String,
    /// Which server, and what its sleep is.
    pub kept: Kept,
    /// The port the app listens on.
    pub port: u16,
    /// Under which address it is reached from here.
    pub address: AddressFrom,
    /// How long it may take to shut down by itself before it is switched off.
    pub stop_timeout: Duration,
    /// Certificates (PEM) that are believed beside those of the system.
    pub ca: Option<PathBuf>,
    /// Between two looks at an action: [`POLL`].
    pub poll: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

/// The provider of `kind = "hetzner"`.
pub struct Hetzner {
    keeper: Keeper<Cloud>,
}

/// One account, shared by all its servers.
struct Cloud {
    account: Bearer<Vec<Server>>,
}

/// The accounts in use.
static CLOUDS: Mutex<BTreeMap<Key, Weak<Cloud>>> = Mutex::new(BTreeMap::new());

impl Hetzner {
    /// A provider for this server. Asks nothing.
    ///
    /// # Errors
    /// When the token can't be a header, or the file of certificates can't be read.
    pub fn new(settings: Settings) -> Result<Hetzner, BadSettings> {
        let cloud = Cloud::of(&settings)?;
        let keeping = Keeping {
            kept: settings.kept,
            port: settings.port,
            address: settings.address,
            stop_timeout: settings.stop_timeout,
            poll: settings.poll,
        };
        Ok(Hetzner {
            keeper: Keeper::new(cloud, keeping),
        })
    }
}

impl Cloud {
    /// The account of these settings, the same for all services that name it.
    fn of(settings: &Settings) -> Result<Arc<Cloud>, BadSettings> {
        let key = (
            settings.base_url.clone(),
            settings.token.clone(),
            settings.ca.clone(),
        );
        let mut clouds = CLOUDS.lock().unwrap_or_else(PoisonError::into_inner);
        clouds.retain(|_, cloud| cloud.strong_count() > 0);
        if let Some(cloud) = clouds.get(&key).and_then(Weak::upgrade) {
            return Ok(cloud);
        }
        let (base_url, ca) = (&settings.base_url, settings.ca.as_deref());
        let cloud = Arc::new(Cloud {
            account: Bearer::new("hetzner", base_url, &settings.token, ca)?,
        });
        clouds.insert(key, Arc::downgrade(&cloud));
        Ok(cloud)
    }

    /// What was answered, with its trouble made known to all services of the account.
    fn heeded<T>(&self, answered: Result<T, Trouble>) -> Result<T, Trouble> {
        answered.inspect_err(|trouble| self.account.list.heed(trouble))
    }

    async fn pages(&self) -> Result<Vec<Server>, Trouble> {
        let mut servers = BTreeMap::new();
        for page in 1..=PAGES_MAX {
            let path = format!("/servers?per_page=50&page={page}");
            let reply = self.account.get("servers", path).await?;
            let (listed, more) = answer::servers(&reply)?;
            // One that was on an earlier page already: the list moved meanwhile.
            servers.extend(listed.into_iter().map(|server| (server.id, server)));
            if !more {
                break;
            }
        }
        Ok(servers.into_values().collect())
    }
}

impl Billed for Cloud {
    const MACHINE: &'static str = "server";

    fn account(&self) -> &Account<Vec<Server>> {
        &self.account.list
    }

    fn servers(self: Arc<Self>) -> BoxFuture<'static, Result<Vec<Server>, Trouble>> {
        async move { self.pages().await }.boxed()
    }

    async fn server(&self, id: u64) -> Result<Option<Server>, Trouble> {
        let reply = self.account.get("server", format!("/servers/{id}"));
        self.heeded(answer::server(&reply.await?))
    }

    async fn under_way(&self, id: u64) -> Result<Option<Power>, Trouble> {
        let path = format!("/servers/{id}/actions?status=running&per_page=50&page=1");
        let reply = self.account.get("server_actions", path).await?;
        self.heeded(answer::under_way(&reply))
    }

    async fn order(&self, id: u64, power: Power) -> Result<Order, Trouble> {
        let name = match power {
            Power::On => "poweron",
            Power::Shutdown => "shutdown",
            Power::Off => "poweroff",
        };
        let path = format!("/servers/{id}/actions/{name}");
        let reply = self.account.write(name, Method::POST, path, None);
        self.heeded(answer::order(&reply.await?, Does::Write))
    }

    async fn look_at(&self, order: &Order) -> Result<Order, Trouble> {
        let path = format!("/actions/{}", order.id);
        let reply = self.account.get("action", path).await?;
        self.heeded(answer::order(&reply, Does::Read))
    }

    async fn snapshots(&self, mark: &str) -> Result<Vec<Snapshot>, Trouble> {
        self.heeded(self.list_snapshots(mark).await)
    }

    async fn snapshot(&self, id: u64, mark: &str) -> Result<Option<Snapshot>, Trouble> {
        self.heeded(self.read_snapshot(id, mark).await)
    }

    async fn take(&self, server: &Server, _mark: &str, at: u64) -> Result<Order, Trouble> {
        self.heeded(self.take_snapshot(server, at).await)
    }

    async fn note_waking(
        &self,
        snapshot: &Snapshot,
        _mark: &str,
        since: Option<u64>,
    ) -> Result<(), Trouble> {
        self.heeded(self.mark_waking(snapshot, since).await)
    }

    async fn create(
        &self,
        snapshot: &Snapshot,
        _mark: &str,
        ssh_keys: &[String],
    ) -> Result<(u64, Option<Order>), Trouble> {
        self.heeded(self.make_from(snapshot, ssh_keys).await)
    }

    async fn destroy(&self, verified: &Verified) -> Result<(), Trouble> {
        let path = format!("/servers/{}", verified.machine());
        let reply = self.account.write("destroy", Method::DELETE, path, None);
        self.heeded(answer::done(&reply.await?))
    }

    async fn forget(&self, snapshot: &Snapshot) -> Result<(), Trouble> {
        let path = format!("/images/{}", snapshot.id);
        let reply = self
            .account
            .write("delete_snapshot", Method::DELETE, path, None);
        self.heeded(answer::done(&reply.await?))
    }
}

impl Provider for Hetzner {
    fn kind(&self) -> &'static str {
        "hetzner"
    }

    fn call_timeout(&self) -> Duration {
        self.keeper.call_timeout()
    }

    fn sleep(&self) -> Sleep {
        self.keeper.sleep()
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.keeper.look()),
            _ => Box::pin(async { Ok(bare(MachineState::Missing)) }),
        }
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.keeper.wake()),
            _ => Box::pin(async move { Err(seed_only("hetzner", instance)) }),
        }
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.keeper.put_to_sleep()),
            _ => Box::pin(async move { Err(seed_only("hetzner", instance)) }),
        }
    }

    fn woke(&self, instance: InstanceId) -> Said<'_, ()> {
        match instance {
            InstanceId::SEED => Box::pin(self.keeper.woke()),
            _ => Box::pin(async { Ok(()) }),
        }
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(self.keeper.checkup())
    }
}
