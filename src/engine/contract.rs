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

use serde::{Deserialize, Serialize};

use super::id::{InstanceId, OpId};
use super::machine::{Machine, Trouble};
use super::record::Record;
use super::time::{Span, Time};

/// Everything that can happen to a service.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// What the store holds; the first input after a start, exactly once.
    Loaded(Option<Box<Record>>),
    /// A client asked for a wake and was admitted.
    Triggered(Trigger),
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
    SleepAsked,
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
    /// Somebody could not reach the awake app (Traefik's errors path, or a refused connection).
    Suspected,
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
    /// Ask the provider to stop the machine. Idempotent.
    Stop(OpId, InstanceId),
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

/// Who or what asked for a wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// What kind of asker.
    pub by: TriggerBy,
    /// The asker, masked as the privacy setting says (a network, a name of an admin, a schedule).
    pub who: String,
    /// What was asked for, without its query.
    #[serde(default)]
    pub path: String,
}

/// What kind of asker a trigger came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerBy {
    /// The waiting page's script.
    Page,
    /// The waiting page's button.
    Click,
    /// A request by itself (`wake.by = "request"`, or a held API request).
    Request,
    /// An admin's command.
    Admin,
    /// The engine: the app crashed while somebody used it.
    Crash,
}

/// What the app said to a readiness probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// An answer within the expected statuses.
    Ready,
    /// Refused, timed out, or an answer that isn't "ready"; the text says which.
    NotReady(String),
}

/// Where visitors of a service are led.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// To the room.
    Asleep,
    /// To these instances, with the room as fallback.
    Awake(Vec<Upstream>),
}

/// An instance that may be given requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Upstream {
    /// Which instance.
    pub instance: InstanceId,
    /// Where its app listens.
    pub address: SocketAddr,
}

/// A source of activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Our own edge: every request that passes the room.
    Edge,
    /// Traefik's router counters: requests that do not pass the room.
    Traefik,
}

/// One sample of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Where it comes from.
    pub source: Source,
    /// Whether there was qualifying traffic since the last sample of this source.
    pub used: bool,
    /// Requests that are being answered now.
    pub in_flight: u32,
    /// Open long connections (upgrades, event streams) now.
    pub long: u32,
}

impl Activity {
    /// Nothing happened and nothing is open.
    #[must_use]
    pub const fn quiet(source: Source) -> Activity {
        Activity {
            source,
            used: false,
            in_flight: 0,
            long: 0,
        }
    }

    /// Whether anybody is using the service by this sample.
    #[must_use]
    pub const fn busy(&self) -> bool {
        self.used || self.in_flight > 0 || self.long > 0
    }
}

/// How far a wake has come. A stage is reached when it is true, never before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The wake is accepted.
    Asked,
    /// The provider has accepted the start.
    MachineStarting,
    /// The provider says that the machine runs.
    MachineUp,
    /// The app has answered our probe.
    AppAnswering,
}

/// What is told to people: one log line, one counter, and for some a ledger entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A wake was accepted and began.
    WakeBegan(Trigger),
    /// A stage of the wake was reached.
    StageReached {
        /// The stage.
        stage: Stage,
        /// Since the trigger.
        after: Span,
    },
    /// The app is ready.
    Woken {
        /// From the trigger to the app's first good answer.
        took: Span,
    },
    /// The wake failed for now.
    WakeFailed {
        /// Why, as a sentence for the log.
        why: String,
        /// When it is tried again.
        retry_at: Option<Time>,
    },
    /// A machine was found running that we did not start, or that ran before us.
    Adopted,
    /// The service went idle: visitors are being led to the room.
    WentIdle {
        /// For how long there was no traffic.
        idle: Span,
        /// What decided it.
        why: SleepWhy,
    },
    /// Visitors provably reach the room.
    DivertProven,
    /// The stop was called off.
    StopCancelled {
        /// Why.
        why: String,
    },
    /// The machine is being stopped.
    StopBegan,
    /// The machine is seen stopped.
    Slept {
        /// How long the machine ran.
        awake: Span,
        /// What decided it.
        why: SleepWhy,
    },
    /// The machine went away by itself or by somebody else's hand.
    Vanished {
        /// What was seen.
        what: String,
    },
    /// The awake app does not answer probes, or answers again.
    HealthChanged {
        /// Whether it answers now.
        healthy: bool,
        /// What the probe saw.
        what: String,
    },
    /// A source of activity is missing: nothing will be stopped until it is back.
    Blind {
        /// The source.
        source: Source,
    },
    /// A call to the provider did not succeed and is tried again.
    Retrying {
        /// What was tried, and the answer.
        what: String,
        /// When.
        at: Time,
    },
    /// A routing could not be put in force; it is tried again.
    PublishFailed {
        /// Why.
        why: String,
    },
    /// A hold began or was extended.
    HoldBegan {
        /// The end.
        until: Time,
        /// Who asked.
        reason: String,
    },
    /// The hold ended.
    HoldEnded,
}

/// Why a service is put to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SleepWhy {
    /// No qualifying traffic for the idle timeout.
    Idle,
    /// An admin asked for it.
    Admin,
    /// Its wake failed and nobody asks for it any more.
    GivenUp,
}
