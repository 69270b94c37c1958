//! Where visitors are led, and what is heard of them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::id::InstanceId;

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

impl Source {
    /// The word used in logs, JSON and sentences.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Traefik => "traefik",
        }
    }
}

/// These in a sentence: `edge and traefik`.
#[must_use]
pub fn words(sources: &[Source]) -> String {
    let words: Vec<_> = sources.iter().map(|source| source.as_str()).collect();
    words.join(" and ")
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
