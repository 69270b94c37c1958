//! One service's task in one room: it leads the service, or follows the room that does.
//!
//! On a store of one room it leads at once and always. Where many rooms share the store it follows until the lease
//! is free, leads until the lease is another's, and follows again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::face::Face;
use super::follow::{Follow, Turn};
use super::handle::{Handle, door};
use super::lead::{End, Lead};
use super::seat::{STORE_AGAIN, STORE_TIMEOUT, Seat};
use super::story::Story;
use crate::engine::contract::{Source, Trigger};
use crate::engine::id::Epoch;
use crate::engine::service::Service;
use crate::signal::edge::Edge;
use crate::signal::samples::Samples;
use crate::store::Claim;

pub use super::seat::Setup;

/// A room that goes says so, if that takes no longer.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

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
    spawn_at(setup, Edge::new())
}

/// The same behind this gate: whoever came in through it under an earlier task of the service is still counted. That one must
/// have ended.
pub fn spawn_at(setup: Setup, edge: Arc<Edge>) -> Running {
    let service = Service::new(setup.name.clone(), setup.policy.clone(), setup.clock.now());
    let (handle, inbox) = door(service.view(), Arc::clone(&edge));
    let samples = Samples::new(Source::Traefik);
    let story = Story::new(setup.name.clone());
    let news = match setup.store.shared() {
        Some(shared) => shared.news(&setup.name),
        // Nobody tells anything.
        None => mpsc::channel(1).1,
    };
    let seat = Seat {
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
        task: tokio::spawn(run(seat)),
    }
}

async fn run(mut seat: Seat) {
    let shutdown = seat.setup.shutdown.clone();
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = live(&mut seat) => {}
    }
    seat.face.close();
    let _ = timeout(GOODBYE_TIMEOUT, goodbye(&seat)).await;
}

async fn live(seat: &mut Seat) {
    if seat.setup.store.shared().is_none() {
        let claim = claim(seat).await;
        let record = claim.record.map(Box::new);
        Lead::new(seat, Some(claim.epoch)).live(record, None).await;
        tracing::warn!(service = %seat.setup.name, "another owner took the service over; this one stands back");
        return;
    }
    let mut wiped = false;
    loop {
        match Follow::new(seat).live().await {
            Turn::Lead(claim) => wiped = matches!(lead(seat, *claim, wiped).await, End::Disowned),
            Turn::Alone(trigger) => lead_alone(seat, trigger).await,
        }
    }
}

/// Leads the service for as long as it is this room's. `wiped`: this room lost it last, maybe because the store was
/// wiped.
async fn lead(seat: &mut Seat, claim: Claim, wiped: bool) -> End {
    let Claim { epoch, record } = claim;
    tracing::debug!(service = %seat.setup.name, %epoch, "this room leads the service");
    seat.epoch = Some(epoch);
    let record = record.map(Box::new).or_else(|| match epoch {
        // Nobody has led it since this room did.
        Epoch(1) if wiped => seat.memory.clone(),
        _ => seat.remembered(),
    });
    let end = Lead::new(seat, Some(epoch)).live(record, None).await;
    seat.epoch = None;
    let service = &seat.setup.name;
    match end {
        End::Disowned => {
            tracing::warn!(%service, "another room leads the service now, or the store was wiped; this one stands back");
        }
        End::HandedOver => tracing::debug!(%service, "another room leads the service from now on"),
        End::Back => {}
    }
    end
}

/// Wakes the service for this trigger, until the store is back.
async fn lead_alone(seat: &mut Seat, trigger: Trigger) {
    let service = &seat.setup.name;
    tracing::warn!(%service, "the store is away: this room wakes the service by itself, and stops nothing");
    let record = seat.remembered();
    let first = trigger.clone();
    Lead::new(seat, None).live(record, Some(trigger)).await;
    // The engine keeps no client's name; the leader is to write it down.
    seat.bring = seat.bring.take().map(|_| first);
    // Whatever a leader says now is news to this room.
    seat.envelope = None;
}

/// Takes ownership; waits for the store as long as it takes. Pages are served meanwhile.
async fn claim(seat: &Seat) -> Claim {
    let Setup {
        name, owner, store, ..
    } = &seat.setup;
    let mut told = false;
    loop {
        match timeout(STORE_TIMEOUT, store.claim(name, owner)).await {
            Ok(Ok(claim)) => return claim,
            Ok(Err(error)) if !told => {
                tracing::error!(service = %name, %error, "the store can't be asked; trying on");
                told = true;
            }
            _ => {}
        }
        tokio::time::sleep(STORE_AGAIN).await;
    }
}

async fn goodbye(seat: &Seat) {
    let Some(shared) = seat.setup.store.shared() else {
        return;
    };
    if let Some(epoch) = seat.epoch {
        // Whoever leads next waits for the end of the lease at most.
        let _ = shared.hand_over(&seat.setup.name, epoch, None).await;
    }
    let _ = shared.goodbye(&seat.setup.name).await;
}
