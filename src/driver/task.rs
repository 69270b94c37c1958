//! One service's task in one room: it leads the service, or follows the room that does.
//!
//! On a store of one room it leads at once and always. Where many rooms share the store it follows until the lease
//! is free, leads until the lease is another's, and follows again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::face::Face;
use super::follow::{Follow, Turn};
use super::handle::{Admitted, Command, Handle, door};
use super::lead::{End, Lead};
use super::probe::Prober;
use super::story::Story;
use super::way::Way;
use crate::engine::contract::{Routing, Source, Trigger};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::policy::Policy;
use crate::engine::record::{Record, Stand};
use crate::engine::service::Service;
use crate::provider::Provider;
use crate::signal::edge::Edge;
use crate::signal::samples::Samples;
use crate::store::shared::{Envelope, News};
use crate::store::{Claim, Store};

/// A call of the store that takes longer has failed.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to write a record that is not written yet, and to take ownership.
pub(super) const STORE_AGAIN: Duration = Duration::from_secs(2);

/// A room that goes says so, if that takes no longer.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

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

/// A running task and the doors to it.
pub struct Running {
    /// For the room.
    pub handle: Handle,
    /// For the signal of Traefik, whose requests do not pass the room.
    pub samples: Samples,
    /// Ends when the task has ended.
    pub task: JoinHandle<()>,
}

/// Starts the task of a service.
pub fn spawn(setup: Setup) -> Running {
    let edge = Edge::new();
    let service = Service::new(setup.name.clone(), setup.policy.clone(), setup.clock.now());
    let (handle, inbox) = door(service.view(), Arc::clone(&edge));
    let samples = Samples::new(Source::Traefik);
    let story = Story::new(setup.name.clone());
    let news = match setup.store.shared() {
        Some(shared) => shared.news(&setup.name),
        // Nobody tells anything.
        None => mpsc::channel(1).1,
    };
    let task = Task {
        face: Face::new(edge, inbox.view, story),
        triggers: inbox.triggers,
        commands: inbox.commands,
        samples: samples.clone(),
        news,
        envelope: None,
        routing: None,
        memory: None,
        bring: None,
        epoch: None,
        is_new: true,
        setup,
    };
    Running {
        handle,
        samples,
        task: tokio::spawn(task.run()),
    }
}

/// What stays with the room, whether it leads or follows.
pub(super) struct Task {
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

impl Task {
    async fn run(mut self) {
        let shutdown = self.setup.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.live() => {}
        }
        self.face.close();
        let _ = timeout(GOODBYE_TIMEOUT, self.goodbye()).await;
    }

    async fn live(&mut self) {
        let store = Arc::clone(&self.setup.store);
        if store.shared().is_none() {
            let claim = self.claim().await;
            let record = claim.record.map(Box::new);
            Lead::new(self, Some(claim.epoch)).live(record, None).await;
            tracing::warn!(service = %self.setup.name, "another owner took the service over; this one stands back");
            return;
        }
        let mut wiped = false;
        loop {
            match Follow::new(self).live().await {
                Turn::Lead(Claim { epoch, record }) => {
                    let service = &self.setup.name;
                    tracing::debug!(%service, %epoch, "this room leads the service");
                    self.epoch = Some(epoch);
                    // Nobody has led it since this room did.
                    let known = wiped && epoch == Epoch(1);
                    let record = record.map(Box::new).or_else(|| match known {
                        true => self.memory.clone(),
                        false => self.remembered(),
                    });
                    let end = Lead::new(self, Some(epoch)).live(record, None).await;
                    self.epoch = None;
                    wiped = matches!(end, End::Disowned);
                    let service = &self.setup.name;
                    match end {
                        End::Disowned => {
                            tracing::warn!(%service, "another room leads the service now, or the store was wiped; this one stands back");
                        }
                        End::HandedOver => {
                            tracing::debug!(%service, "another room leads the service from now on");
                        }
                        End::Back => {}
                    }
                }
                Turn::Alone(trigger) => {
                    let service = &self.setup.name;
                    tracing::warn!(%service, "the store is away: this room wakes the service by itself, and stops nothing");
                    let record = self.remembered();
                    Lead::new(self, None).live(record, Some(trigger)).await;
                    // Whatever a leader says now is news to this room.
                    self.envelope = None;
                }
            }
        }
    }

    /// Takes ownership; waits for the store as long as it takes. Pages are served meanwhile.
    async fn claim(&mut self) -> Claim {
        let mut told = false;
        loop {
            let claim = self.setup.store.claim(&self.setup.name, &self.setup.owner);
            match timeout(STORE_TIMEOUT, claim).await {
                Ok(Ok(claim)) => return claim,
                Ok(Err(error)) if !told => {
                    tracing::error!(service = %self.setup.name, %error, "the store can't be asked; trying on");
                    told = true;
                }
                _ => {}
            }
            tokio::time::sleep(STORE_AGAIN).await;
        }
    }

    /// What this room knows of the service where the store knows nothing. The machine's own state is asked for.
    fn remembered(&self) -> Option<Box<Record>> {
        let mut record = self.memory.clone()?;
        record.stand = Stand::Unknown;
        Some(record)
    }

    async fn goodbye(&mut self) {
        let Some(shared) = self.setup.store.shared() else {
            return;
        };
        if let Some(epoch) = self.epoch {
            // Whoever leads next waits for the end of the lease at most.
            let _ = shared.hand_over(&self.setup.name, epoch, None).await;
        }
        let _ = shared.goodbye(&self.setup.name).await;
    }
}
