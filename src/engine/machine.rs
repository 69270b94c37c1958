//! A machine as a provider describes it, and what can go wrong when a provider is asked.
//!
//! States and error classes are one vocabulary for all providers; each provider maps its own answers onto
//! them, and the engine treats a class the same wherever it came from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::id::CloneId;
use super::time::Span;

/// What a provider says of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its state.
    pub state: MachineState,
    /// Where its app listens, once known. `Running` without an address isn't usable yet.
    pub address: Option<SocketAddr>,
}

/// The state of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// Off; start wakes it.
    Stopped,
    /// On its way up.
    Starting,
    /// The provider calls it running. That isn't "ready": ready is the app's own answer.
    Running,
    /// On its way down.
    Stopping,
    /// Paused with its memory kept; start wakes it.
    Suspended,
    /// The provider does not know it.
    Missing,
    /// The provider reports a fault.
    Failed,
}

/// A machine at the provider that carries the service's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Which clone its mark names. Two machines can carry the same one, where names are not unique.
    pub clone: CloneId,
    /// What the provider says of it.
    pub machine: Machine,
}

/// A public address that a clone has and that is paid for, or at which the clone can be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublicAddress {
    /// The provider's own name of it.
    pub id: String,
    /// The address.
    pub address: IpAddr,
}

/// A call to a provider that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind; the engine acts on this alone.
    pub class: ErrorClass,
    /// What was tried, on what, and the provider's words: for the log, never for a visitor.
    pub detail: String,
}

impl Trouble {
    /// A trouble of this class with this detail.
    pub fn new(class: ErrorClass, detail: impl Into<String>) -> Trouble {
        Trouble {
            class,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.class)
    }
}

/// The kinds of trouble, and what each asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The machine does not exist.
    NotFound,
    /// It already is as asked: success.
    AlreadyThere,
    /// Another operation runs: retry the same one, bounded.
    Busy,
    /// Not possible in its present state: read the state, decide again.
    InvalidState,
    /// Too many calls: wait at least this long.
    RateLimited(Option<Span>),
    /// The provider has no capacity: retry slowly, and say so to the visitor.
    Capacity,
    /// A limit or a bill: retrying does not help.
    Quota,
    /// The credential is refused.
    Auth,
    /// The credential may not do this.
    Forbidden,
    /// The provider does not understand us: a bug or a bad configuration.
    BadRequest,
    /// Refused, unreachable, 5xx before anything was done: retry.
    Transient,
    /// Sent, but the answer was lost: read the state before anything else.
    Ambiguous,
}

impl ErrorClass {
    /// Whether trying again soon can help without a person.
    #[must_use]
    pub const fn passes_by_itself(self) -> bool {
        match self {
            Self::AlreadyThere
            | Self::Busy
            | Self::InvalidState
            | Self::RateLimited(_)
            | Self::Capacity
            | Self::Transient
            | Self::Ambiguous => true,
            Self::NotFound | Self::Quota | Self::Auth | Self::Forbidden | Self::BadRequest => false,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::AlreadyThere => "already there",
            Self::Busy => "busy",
            Self::InvalidState => "not possible in its state",
            Self::RateLimited(_) => "rate limited",
            Self::Capacity => "no capacity",
            Self::Quota => "quota or billing",
            Self::Auth => "credential refused",
            Self::Forbidden => "not permitted",
            Self::BadRequest => "bad request",
            Self::Transient => "temporary",
            Self::Ambiguous => "no answer",
        })
    }
}
