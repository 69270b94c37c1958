//! What happens to a service, as people are told: in the log, the metrics, the ledger and on the page.

use serde::{Deserialize, Serialize};

use super::fleet;
use super::id::CloneId;
use super::machine::ErrorClass;
use super::privacy::Forgotten;
use super::time::{Span, Time};
use super::traffic::Source;
use super::trigger::Trigger;

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
        /// The admin who asked for it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        who: Option<String>,
        /// The sources of activity that say so: those with a fresh sample.
        #[serde(default)]
        sources: Vec<Source>,
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
    /// The load needs another number of instances.
    Scaled {
        /// How many there were, those that start among them.
        have: u16,
        /// How many are wanted.
        wanted: u16,
        /// Why.
        why: String,
    },
    /// The number of instances can't be what the load asks for.
    ScaleHindered {
        /// Why.
        why: String,
    },
    /// Something happened to a clone.
    Clone {
        /// Which.
        which: CloneId,
        /// What.
        #[serde(flatten)]
        story: fleet::Story,
    },
}

impl Event {
    /// Takes a client's name out; says whether it was there.
    pub fn forget(&mut self, forgotten: &Forgotten) -> bool {
        match self {
            Event::WakeBegan(trigger) => trigger.forget(forgotten),
            _ => false,
        }
    }
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

/// Why a wake failed, in the words that a visitor may hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The app did not answer within the start timeout.
    AppSilent,
    /// The machine did not come up within the start timeout.
    MachineSilent,
    /// The machine stopped again while starting.
    MachineDied,
    /// The machine does not exist.
    MachineMissing,
    /// The provider has no capacity now.
    NoCapacity,
    /// A limit or an unpaid bill at the provider.
    Quota,
    /// As many machines were made within an hour as may be.
    CreationCap,
    /// The provider refuses our credential or our request.
    Refused,
    /// The provider can't be reached or does not answer.
    ProviderDown,
}

impl Failure {
    /// The failure that a lasting trouble of this class means.
    #[must_use]
    pub const fn of(class: ErrorClass) -> Failure {
        match class {
            ErrorClass::NotFound => Failure::MachineMissing,
            ErrorClass::Capacity => Failure::NoCapacity,
            ErrorClass::Quota => Failure::Quota,
            ErrorClass::Auth | ErrorClass::Forbidden | ErrorClass::BadRequest => Failure::Refused,
            ErrorClass::AlreadyThere
            | ErrorClass::Busy
            | ErrorClass::InvalidState
            | ErrorClass::RateLimited(_)
            | ErrorClass::Transient
            | ErrorClass::Ambiguous => Failure::ProviderDown,
        }
    }

    /// The word used in keys, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppSilent => "app_silent",
            Self::MachineSilent => "machine_silent",
            Self::MachineDied => "machine_died",
            Self::MachineMissing => "machine_missing",
            Self::NoCapacity => "no_capacity",
            Self::Quota => "quota",
            Self::CreationCap => "creation_cap",
            Self::Refused => "refused",
            Self::ProviderDown => "provider_down",
        }
    }
}
