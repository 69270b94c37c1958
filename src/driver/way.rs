//! How visitors reach a service: through the room alone, or through Traefik with the room as its fallback. The
//! engine's publish, proof and last look mean something different on each.

use futures_util::future::BoxFuture;

use crate::engine::contract::{Activity, Routing};

/// The answer of a way.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, String>>;

/// The visitors' way to one service.
pub trait Way: Send + Sync + 'static {
    /// Puts a routing in force and returns when it is proven to be.
    fn publish(&self, routing: Routing) -> Answer<'_, ()>;

    /// Proves that a visitor of this service reaches the room now.
    fn prove_divert(&self) -> Answer<'_, ()>;

    /// Fresh samples of the sources beside our own edge.
    fn look(&self) -> Answer<'_, Vec<Activity>>;
}

/// Every request passes the room: there is nothing to publish, and the gate is the proof.
#[derive(Clone, Copy, Debug)]
pub struct RoomOnly;

impl Way for RoomOnly {
    fn publish(&self, _routing: Routing) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn prove_divert(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn look(&self) -> Answer<'_, Vec<Activity>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
