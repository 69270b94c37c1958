//! The words between the engine and its driver: what goes in ([`Input`]) and what comes out ([`Effect`]).
//!
//! Rules of the contract, held by the simulation:
//!
//! 1. [`Service::step`](super::service::Service::step) never fails and never blocks.
//! 2. After each step the driver carries out all effects, in their order, before it reads its inbox again.
//! 3. [`Effect::Record`] stands before the effects that it records, and the driver waits for that write. When
//!    a `required` write fails, the driver drops the effects that follow it in the same step and answers
//!    [`Input::NotRecorded`].
//! 4. Every action has an [`OpId`]; an answer with another id changes nothing.
//! 5. [`Service::next_wakeup`](super::service::Service::next_wakeup) is the only source of timers.

use std::net::SocketAddr;

use super::fleet::{Deed, Heard};
use super::id::{InstanceId, OpId};
use super::load::Sample;
use super::machine::{Machine, Trouble};
use super::policy::Sleep;
use super::record::Record;
use super::scale::Alert;
use super::time::Time;

pub use super::story::{Event, SleepWhy, Stage};
pub use super::traffic::{Activity, Routing, Source, Upstream};
pub use super::trigger::{Trigger, TriggerBy};

/// Everything that can happen to a service.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// What the store holds; the first input after a start, exactly once.
    Loaded(Option<Box<Record>>),
    /// A client asked for a wake and was admitted.
    Triggered(Trigger),
    /// A wake that an earlier owner has counted already is still wanted.
    StillWanted(Trigger),
    /// Do not sleep before `until`.
    Held {
        /// The end of the hold.
        until: Time,
        /// Who or what asked for it, for `why` and the log.
        reason: String,
    },
    /// The hold is over.
    Released,
    /// An admin wants the service asleep now. Running requests still end first; a hold wins.
    SleepAsked {
        /// Who asked for it, for `why` and the ledger.
        who: String,
    },
    /// The answer to [`Effect::Inspect`].
    Inspected(OpId, Result<Machine, Trouble>),
    /// The answer to [`Effect::Start`].
    Started(OpId, Result<Machine, Trouble>),
    /// The answer to [`Effect::Stop`].
    Stopped(OpId, Result<Machine, Trouble>),
    /// The answer to [`Effect::Probe`].
    Probed(OpId, ProbeResult),
    /// The answer to [`Effect::Publish`]: `Ok` once the routing is proven to be in force.
    Published(OpId, Result<(), String>),
    /// The answer to [`Effect::ProveDivert`]: `Ok` once a probe along the visitors' way met the room.
    Diverted(OpId, Result<(), String>),
    /// The answer to [`Effect::LastLook`]: one fresh sample of each required source, taken with the gate
    /// closed; it tells of all use since the source's sample before it. One that comes too late still tells of use.
    LookedOnce(OpId, Result<Vec<Activity>, String>),
    /// A sample of one source of activity.
    Seen(Activity),
    /// A source failed, restarted or lost its count: what happened meanwhile is unknown, and unknown isn't idle.
    SignalLost(Source),
    /// The answer to [`Effect::Fleet`].
    Fleet(OpId, Heard),
    /// Somebody could not reach this instance of the awake app (a refused connection); none where it is not known which it
    /// was (Traefik's errors path).
    Suspected(Option<InstanceId>),
    /// So many visitors wait for the service now, in all rooms. Said again and again while it wakes.
    Waiting(u32),
    /// What the load signal told of the instances that serve; of some of them, or of none, where it could not.
    Measured(Vec<Sample>),
    /// An alert of somebody else's rules fires, or no longer does.
    Alerted(Alert),
    /// A required record was not written; the effects behind it were dropped.
    NotRecorded(OpId),
    /// A moment named by `next_wakeup` has come.
    Tick,
}

/// What the driver must do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write the record (and the ledger entries of this step) before the effects behind it.
    Record {
        /// Names this write in [`Input::NotRecorded`].
        op: OpId,
        /// What a new owner needs to go on.
        record: Box<Record>,
        /// Whether the effects behind this one must wait for the write to succeed.
        required: bool,
    },
    /// Ask the provider for the machine's state and address.
    Inspect(OpId, InstanceId),
    /// Ask the provider to start the machine. Idempotent.
    Start(OpId, InstanceId),
    /// Ask the provider to put the machine to sleep in this way. Idempotent.
    Stop(OpId, InstanceId, Sleep),
    /// Ask the provider for this deed about the clones. Idempotent; all but the reading ones stand behind a required
    /// record.
    Fleet(OpId, Deed),
    /// Ask the app itself, at this address, whether it is ready.
    Probe(OpId, InstanceId, SocketAddr),
    /// Put this routing in force for the visitors.
    Publish(OpId, Routing),
    /// Prove that visitors reach the room.
    ProveDivert(OpId),
    /// With the gate closed, take one fresh sample of each required source.
    LastLook(OpId),
    /// Something worth a log line, a counter and (for some) a ledger entry.
    Tell(Event),
}

/// What the app said to a readiness probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// An answer within the expected statuses.
    Ready,
    /// Refused, timed out, or an answer that isn't "ready"; the text says which.
    NotReady(String),
}
