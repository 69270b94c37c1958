//! What everybody else sees of a service: one immutable value, made by the engine after a step, watched by the
//! page, the router of requests, the admin API and the metrics. Reading it takes no lock and asks no task.

use serde::{Deserialize, Serialize};

use super::eta::Eta;
use super::id::{CloneId, ServiceName};
use super::record::Hold;
pub use super::story::Failure;
use super::story::Stage;
use super::time::Time;
use super::traffic::{Source, Upstream};
use super::trigger::Trigger;

/// The phases of a service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Just started: the machine's state isn't known yet.
    Learning,
    /// The machine is off.
    Asleep,
    /// On its way to ready.
    Waking,
    /// The app answers.
    Awake,
    /// Idle: visitors are being led to the room. The app still answers; a visitor calls the stop off.
    Diverting,
    /// Visitors reach the room; running requests end. A visitor still calls the stop off.
    Draining,
    /// The machine is being stopped.
    Stopping,
    /// The wake failed; it says why and when it tries again.
    Failed,
}

impl Phase {
    /// The word used in headers, keys, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::Awake => "awake",
            Self::Diverting => "diverting",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// A service as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Which service.
    pub service: ServiceName,
    /// Rises with every change that a visitor's page shows (not with every sample).
    pub version: u64,
    /// Its phase.
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since: Time,
    /// The wake that is under way, or that failed.
    pub wake: Option<WakeView>,
    /// The wake that made it ready, while it is; none where its app was found answering, or never went away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub woken: Option<WokenView>,
    /// What earlier wakes took; none before the first.
    pub eta: Option<Eta>,
    /// Why the last wake failed, in phase `Failed`.
    pub failure: Option<FailureView>,
    /// Where requests may go. Not empty exactly while the gate is open.
    pub upstreams: Vec<Upstream>,
    /// Whether the awake app answered our last probe.
    pub healthy: bool,
    /// The last wake's asker.
    pub run_by: Option<Trigger>,
    /// Accepted triggers in all.
    pub triggered_count: u64,
    /// The last qualifying traffic that was seen.
    pub last_activity: Option<Time>,
    /// The hold, if there is one.
    pub hold: Option<Hold>,
    /// The sources without a fresh sample: while there is one, nothing is stopped.
    pub blind: Vec<Source>,
    /// When the service will be put to sleep if nobody comes; none while something forbids it.
    pub sleeps_at: Option<Time>,
    /// The clones that are, are being made or are leaving.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clones: Vec<CloneView>,
    /// How many instances its load needs; none while that is nobody's question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleView>,
    /// One sentence: why the service is as it is.
    pub why: String,
}

/// How many instances are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleView {
    /// So many in all.
    pub wanted: u16,
    /// Why, as it was when that was first so.
    pub why: String,
}

/// A clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneView {
    /// Which.
    pub clone: CloneId,
    /// How far it is.
    pub step: CloneStep,
}

/// How far a clone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneStep {
    /// It is being made.
    Making,
    /// It is made, and its app does not answer yet, or no more.
    Starting,
    /// Visitors are led to it.
    Serving,
    /// Running requests end, or it is being removed.
    Leaving,
}

/// A wake under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeView {
    /// When it was accepted.
    pub since: Time,
    /// The furthest stage that it has reached.
    pub stage: Stage,
    /// When it fails if the app stays silent.
    pub deadline: Time,
    /// Whether the app crashed while somebody used it.
    pub after_crash: bool,
}

/// A wake that is over: the app is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WokenView {
    /// When it was accepted.
    pub since: Time,
    /// When the app answered.
    pub ready: Time,
}

/// A failed wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureView {
    /// Why.
    pub failure: Failure,
    /// When the next try is; none when only a new visitor or a person brings one.
    pub retry_at: Option<Time>,
}
