//! What is written down about a service: enough for a new owner to go on where the last one was killed.

use serde::{Deserialize, Serialize};

use super::eta::WakeHistory;
use super::fleet::FleetRecord;
use super::id::OpId;
use super::story::{Failure, SleepWhy};
use super::time::Time;
use super::traffic::Upstream;
use super::trigger::Trigger;

/// The lasting state of a service. Written by its owner alone, under its epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The last operation id that was given out when this was written; a new life starts well above it.
    pub last_op: OpId,
    /// Where the service was in its life.
    pub stand: Stand,
    /// Since when the machine has run, as far as we know: for minimum up-time and billing.
    pub up_since: Option<Time>,
    /// The last wake's asker.
    pub run_by: Option<Trigger>,
    /// Accepted triggers since the record began.
    pub triggered_count: u64,
    /// The last qualifying traffic that was seen.
    pub last_activity: Option<Time>,
    /// The hold, if there is one.
    pub hold: Option<Hold>,
    /// How long earlier wakes took.
    #[serde(flatten)]
    pub history: WakeHistory,
    /// What it runs on, or ran on last.
    #[serde(skip_serializing_if = "Base::is_seed")]
    pub base: Base,
    /// The clones, those that are intended and those that are leaving too.
    #[serde(skip_serializing_if = "FleetRecord::is_empty")]
    pub fleet: FleetRecord,
}

/// What a service runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// Its seed, which a wake starts and a sleep stops; clones come and go beside it.
    #[default]
    Seed,
    /// Its clones alone, which a wake makes and a sleep deletes; the seed is only what they are made from.
    Clones,
}

impl Base {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
    const fn is_seed(&self) -> bool {
        matches!(self, Base::Seed)
    }
}

/// "Do not sleep before."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The end of the hold.
    pub until: Time,
    /// Who or what asked for it.
    pub reason: String,
}

impl Stand {
    /// Whether the service is neither on its way into sleep nor out of it, so that no wake is under way or waits
    /// for the end of a stop. A wake that failed is under way still: it is tried again while somebody asks, and
    /// those have paid for it once.
    #[must_use]
    pub const fn at_rest(&self) -> bool {
        match self {
            Stand::Asleep | Stand::Awake { .. } => true,
            Stand::Unknown
            | Stand::Failed { .. }
            | Stand::Waking { .. }
            | Stand::Leaving { .. }
            | Stand::Stopping { .. } => false,
        }
    }
}

/// Where a service was in its life when the record was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Stand {
    /// Nothing is known: a new service.
    #[default]
    Unknown,
    /// The machine was seen stopped.
    Asleep,
    /// A start was asked for, or was about to be.
    Waking {
        /// When the wake was accepted.
        since: Time,
    },
    /// The app answered.
    Awake {
        /// Where the seed's app listens; none where clones alone serve.
        upstream: Option<Upstream>,
    },
    /// Visitors are being led away; the machine still runs and may still be used.
    Leaving {
        /// Where the seed's app listens; none where clones alone serve.
        upstream: Option<Upstream>,
    },
    /// A stop was asked for, or was about to be.
    Stopping {
        /// Why.
        why: SleepWhy,
    },
    /// A wake failed; the machine may be in any state.
    Failed {
        /// Why, in a word.
        failure: Failure,
        /// When the wake was accepted.
        since: Time,
    },
}
