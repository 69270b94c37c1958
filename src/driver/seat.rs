//! A room's seat at one service: what it is made of, and what stays with it whether it leads or follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::face::Face;
use super::handle::{Admitted, Command};
use super::probe::Prober;
use super::way::Way;
use crate::engine::contract::{Routing, Trigger};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::policy::Policy;
use crate::engine::record::{Record, Stand};
use crate::provider::Provider;
use crate::signal::load::LoadSignal;
use crate::signal::samples::Samples;
use crate::store::Store;
use crate::store::shared::{Envelope, News};

/// A call of the store that takes longer has failed.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to write a record that is not written yet, and to take ownership.
pub(super) const STORE_AGAIN: Duration = Duration::from_secs(2);

/// What a task is made of.
pub struct Setup {
    /// The service.
    pub name: ServiceName,
    /// How it lives.
    pub policy: Policy,
    /// Where its machine lives.
    pub provider: Arc<dyn Provider>,
    /// The lasting memory.
    pub store: Arc<dyn Store>,
    /// How visitors reach it.
    pub way: Arc<dyn Way>,
    /// What tells how busy its instances are; none where nothing is scaled.
    pub load: Option<Arc<dyn LoadSignal>>,
    /// Asks its app whether it is ready.
    pub prober: Prober,
    /// The time.
    pub clock: Clock,
    /// Who we are, for people who read the lease.
    pub owner: String,
    /// Where we are: this host, and where we listen on it.
    pub place: String,
    /// Ends the task; the machine stays as it is.
    pub shutdown: CancellationToken,
}

/// What stays with the room, whether it leads or follows.
pub(super) struct Seat {
    pub(super) setup: Setup,
    pub(super) face: Face,
    pub(super) triggers: mpsc::Receiver<Admitted>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) samples: Samples,
    pub(super) news: mpsc::Receiver<News>,
    /// The latest word of a leader that this room acts by.
    pub(super) envelope: Option<Envelope>,
    /// The routing that is in force on this room's way, as far as it knows.
    pub(super) routing: Option<Routing>,
    /// What this room last wrote down of the service, or would have: it is remembered even where the store forgets.
    pub(super) memory: Option<Box<Record>>,
    /// What this room woke the service for while it was alone, until a leader knows of it.
    pub(super) bring: Option<Trigger>,
    /// The epoch under which this room leads.
    pub(super) epoch: Option<Epoch>,
    /// No room on this store has heard of this one yet.
    pub(super) is_new: bool,
}

impl Seat {
    /// What this room knows of the service where the store knows nothing. The machine's own state is asked for.
    pub(super) fn remembered(&self) -> Option<Box<Record>> {
        let mut record = self.memory.clone()?;
        record.stand = Stand::Unknown;
        Some(record)
    }
}
