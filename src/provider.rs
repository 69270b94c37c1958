//! Where instances live. One trait, [`Provider`]; one folder entry for each kind; one conformance suite for all
//! (`tests/it/provider_conformance.rs`).
//!
//! A provider maps its platform's answers onto [`MachineState`](crate::engine::machine::MachineState) and
//! [`ErrorClass`](crate::engine::machine::ErrorClass) and decides nothing: when to call and what to do with an
//! answer is the engine's.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::engine::id::InstanceId;
use crate::engine::machine::{Machine, Trouble};

/// The answer of a provider.
pub type Answer<'a> = BoxFuture<'a, Result<Machine, Trouble>>;

/// A platform that can start and stop the machines of one service.
///
/// Every call may be dropped at any await (the driver has a deadline on each) and may be repeated: all are
/// idempotent. `start` of a running machine and `stop` of a stopped one are successes and change nothing.
pub trait Provider: Send + Sync + 'static {
    /// The word in the configuration (`kind = "..."`).
    fn kind(&self) -> &'static str;

    /// How long one call may take before its answer counts as lost.
    fn call_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Reads the machine's state and address. Changes nothing. A machine that does not exist is
    /// `Ok(Machine { state: Missing, .. })`, not an error.
    fn inspect(&self, instance: InstanceId) -> Answer<'_>;

    /// Asks the platform to start the machine and returns as soon as it has accepted: the machine need not run
    /// yet. A suspended machine is resumed.
    fn start(&self, instance: InstanceId) -> Answer<'_>;

    /// Asks the platform to stop the machine, gracefully first, then by force. Returns when it is stopped, or
    /// when the platform has accepted and goes on by itself (state `Stopping`).
    fn stop(&self, instance: InstanceId) -> Answer<'_>;
}
