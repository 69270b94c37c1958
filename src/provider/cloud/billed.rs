//! What the clouds share where a machine that is off is paid like one that runs: DigitalOcean and Hetzner.
//!
//! Both take orders (`power_on`, `shutdown`, ...) at once and carry them out later, so each order is followed to its
//! end, and one that ends in an error is a trouble. Both call a shutdown done when the machine was told of it; whether it
//! goes down is seen on the machine alone. What differs between them stands behind [`Billed`]: paths, fields, words.

mod checkup;
mod power;
mod snapshot;
mod swap;
mod verified;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::account::Account;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::policy::Sleep;
use crate::provider::bare;
pub(crate) use snapshot::{Recipe, Snapshot};
pub(crate) use verified::Verified;

/// A list that is so many polls old is good enough for who did not write since. However many services an account has,
/// it is read no more often.
const LIST_AGE_POLLS: u32 = 2;

/// So late a machine that was asked for may appear in the cloud's lists. Nobody knows a bound; minutes were never seen.
pub(crate) const SETTLES: Duration = Duration::from_secs(90);

/// Between two looks at an order that is carried out, or at a machine on its way.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// Such a cloud, as one account sees it.
pub(crate) trait Billed: Send + Sync + Sized + 'static {
    /// What a machine is called there.
    const MACHINE: &'static str;

    /// The list that all services of the account share.
    fn account(&self) -> &Account<Vec<Server>>;

    /// Reads that list to its last page.
    fn servers(self: Arc<Self>) -> BoxFuture<'static, Result<Vec<Server>, Trouble>>;

    /// One machine by its own page; none when there is none.
    fn server(&self, id: u64) -> impl Future<Output = Result<Option<Server>, Trouble>> + Send;

    /// What is done to a machine that is locked: an order to its power; none for anything else.
    fn under_way(&self, id: u64) -> impl Future<Output = Result<Option<Power>, Trouble>> + Send;

    /// Gives an order.
    fn order(&self, id: u64, power: Power) -> impl Future<Output = Result<Order, Trouble>> + Send;

    /// Looks how far an order is.
    fn look_at(&self, order: &Order) -> impl Future<Output = Result<Order, Trouble>> + Send;

    /// Our snapshots of the machine with this mark: of somebody else's nothing is told.
    fn snapshots(&self, mark: &str) -> impl Future<Output = Result<Vec<Snapshot>, Trouble>> + Send;

    /// One of our snapshots by its own page; none when there is none, or it is not ours.
    fn snapshot(
        &self,
        id: u64,
        mark: &str,
    ) -> impl Future<Output = Result<Option<Snapshot>, Trouble>> + Send;

    /// Orders a snapshot; it carries the mark, the moment and the recipe.
    fn take(
        &self,
        server: &Server,
        mark: &str,
        at: u64,
    ) -> impl Future<Output = Result<Order, Trouble>> + Send;

    /// Writes on a snapshot since when a machine is being made from it, or that none is.
    fn note_waking(
        &self,
        snapshot: &Snapshot,
        mark: &str,
        since: Option<u64>,
    ) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Makes a machine from a snapshot by its recipe. The new machine's id, and the order to follow.
    fn create(
        &self,
        snapshot: &Snapshot,
        mark: &str,
        ssh_keys: &[String],
    ) -> impl Future<Output = Result<(u64, Option<Order>), Trouble>> + Send;

    /// Destroys a machine. Only a verified snapshot makes what this takes.
    fn destroy(&self, verified: &Verified) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Deletes a snapshot.
    fn forget(&self, snapshot: &Snapshot) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// A machine in the list of an account.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) state: MachineState,
    /// Something is done to it, and until that is over it takes no order.
    pub(crate) locked: bool,
    pub(crate) private: Option<IpAddr>,
    pub(crate) public: Option<IpAddr>,
    /// Its tags; of a cloud with labels each as `key=value`.
    pub(crate) marks: Vec<String>,
    /// From which image it was made.
    pub(crate) image: Option<u64>,
    /// What it takes to make it again.
    pub(crate) recipe: Recipe,
    /// Why it could not be made again as it is.
    pub(crate) hindrance: Option<String>,
}

/// An order to a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// Switch it on.
    On,
    /// Ask its system to shut down.
    Shutdown,
    /// Switch it off, as by pulling the plug.
    Off,
}

/// An order that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) stand: Stand,
}

/// How far an order is.
#[derive(Clone, Debug)]
pub(crate) enum Stand {
    /// It is being carried out.
    UnderWay,
    /// It was carried out.
    Done,
    /// It ended in an error.
    Failed(Trouble),
}

/// Under which address a machine is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// The one in its private network.
    Private,
    /// The public one.
    Public,
}

/// Which machine it is, and what its sleep is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The machine of this id; asleep it is switched off.
    Off(u64),
    /// The one machine with this mark; asleep it is a snapshot.
    Snapshot(Snapshots),
}

/// How a machine is kept as a snapshot while it sleeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshots {
    /// A tag, or a label as `key=value`: on the machine, on its snapshots, and on nothing else.
    pub mark: String,
    /// The keys that may enter a machine that is made again, as the cloud names them.
    pub ssh_keys: Vec<String>,
    /// A machine that was asked for may appear so late in the cloud's lists: [`SETTLES`].
    pub settles: Duration,
}

/// How one machine is kept, whatever the cloud.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    pub(crate) kept: Kept,
    /// The port the app listens on.
    pub(crate) port: u16,
    pub(crate) address: AddressFrom,
    /// How long it may take to shut down by itself before it is switched off.
    pub(crate) stop_timeout: Duration,
    /// Between two looks.
    pub(crate) poll: Duration,
}

/// Keeps one machine at such a cloud.
pub(crate) struct Keeper<C> {
    cloud: Arc<C>,
    keeping: Keeping,
    /// When this keeper last wrote: lists from before say nothing.
    wrote: Mutex<Option<Instant>>,
    /// The machine that this keeper made last: lists may not have it yet.
    made: Mutex<Option<u64>>,
}

impl<C: Billed> Keeper<C> {
    pub(crate) fn new(cloud: Arc<C>, keeping: Keeping) -> Keeper<C> {
        Keeper {
            cloud,
            keeping,
            wrote: Mutex::new(None),
            made: Mutex::new(None),
        }
    }

    /// The machine as it is, or was in a list that is young enough and not from before our last write.
    pub(crate) async fn look(&self) -> Result<Machine, Trouble> {
        let id = match &self.keeping.kept {
            Kept::Off(id) => *id,
            Kept::Snapshot(kept) => return self.look_marked(kept).await,
        };
        let list = self.list().await?;
        let listed = list.iter().find(|server| server.id == id);
        let server = match listed {
            Some(server) => Some(server.clone()),
            // A list and the machine's own page may disagree for a moment.
            None => self.cloud.server(id).await?,
        };
        match server {
            Some(server) => self.machine(&server).await,
            None => Ok(bare(MachineState::Missing)),
        }
    }

    /// The account's machines: a list that is young enough, and not from before our last write.
    async fn list(&self) -> Result<Arc<Vec<Server>>, Trouble> {
        let young = Instant::now().checked_sub(self.keeping.poll * LIST_AGE_POLLS);
        let wrote = *self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        let since = young.max(wrote).unwrap_or_else(Instant::now);
        let cloud = Arc::clone(&self.cloud);
        self.cloud.account().list(since, || cloud.servers()).await
    }

    /// Brings the machine up.
    pub(crate) async fn wake(&self) -> Result<Machine, Trouble> {
        match &self.keeping.kept {
            Kept::Off(id) => self.switch_on(*id).await,
            Kept::Snapshot(kept) => Box::pin(self.bring_back(kept)).await,
        }
    }

    /// Puts the machine to sleep, as the settings say.
    pub(crate) async fn put_to_sleep(&self) -> Result<Machine, Trouble> {
        match &self.keeping.kept {
            Kept::Off(id) => self.switch_off(*id).await,
            Kept::Snapshot(kept) => Box::pin(self.put_away(kept)).await,
        }
    }

    /// The machine came up and its app answers: snapshots from before that are not needed any more.
    pub(crate) async fn woke(&self) -> Result<(), Trouble> {
        match &self.keeping.kept {
            Kept::Off(_) => Ok(()),
            Kept::Snapshot(kept) => Box::pin(self.forget_older(kept)).await,
        }
    }

    /// How the settings want the machine put to sleep.
    pub(crate) fn sleep(&self) -> Sleep {
        match self.keeping.kept {
            Kept::Off(_) => Sleep::Stop,
            Kept::Snapshot(_) => Sleep::Swap,
        }
    }

    fn note_write(&self) {
        *self.wrote.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The machine's state and address. Of a locked machine the state alone says little: off may be "not yet up".
    async fn machine(&self, server: &Server) -> Result<Machine, Trouble> {
        let state = match (server.state, server.locked) {
            (MachineState::Stopped, true) => match self.cloud.under_way(server.id).await? {
                Some(Power::On) => MachineState::Starting,
                // It can't be started before that is over.
                _ => MachineState::Stopping,
            },
            (MachineState::Running, true) => match self.cloud.under_way(server.id).await? {
                Some(Power::Shutdown | Power::Off) => MachineState::Stopping,
                // Also while a backup is made.
                _ => MachineState::Running,
            },
            (state, _) => state,
        };
        Ok(self.seen(server, state))
    }

    fn seen(&self, server: &Server, state: MachineState) -> Machine {
        let up = matches!(state, MachineState::Running | MachineState::Starting);
        let ip = match self.keeping.address {
            _ if !up => None,
            AddressFrom::Private => server.private,
            AddressFrom::Public => server.public,
        };
        let address = ip.map(|ip| SocketAddr::new(ip, self.keeping.port));
        Machine { state, address }
    }

    fn missing(id: u64) -> Trouble {
        let detail = format!("there is no {} {id}", C::MACHINE);
        Trouble::new(ErrorClass::NotFound, detail)
    }
}
