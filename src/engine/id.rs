//! Names that can't be mixed up: a service, an instance, one operation, one ownership of a service.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a service: 1 to 40 of `a-z 0-9 -`, starting and ending with a letter or digit.
///
/// It becomes part of Traefik's router names, of Redis keys and of metric labels, so it holds only what all of
/// them take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

/// Why a text isn't a service name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a service name has 1 to 40 of a-z, 0-9 and -, and starts and ends with a letter or a digit"
)]
pub struct BadName;

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let ends = !text.starts_with('-') && !text.ends_with('-');
        match (1..=40).contains(&text.len()) && ends && text.bytes().all(inner) {
            true => Ok(ServiceName(text.into())),
            false => Err(BadName),
        }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> String {
        name.0.to_string()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One machine of a service. Slot 0 is the seed; clones have slots from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u32);

impl InstanceId {
    /// The instance that always exists.
    pub const SEED: InstanceId = InstanceId(0);
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("seed"),
            slot => write!(f, "clone-{slot}"),
        }
    }
}

/// One operation that the engine asked for. Its answer carries the same id; an answer with another id changes
/// nothing. Ids rise for ever within a service, also across restarts: the record keeps the last one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OpId(pub u64);

impl OpId {
    /// The operation after this one.
    #[must_use]
    pub const fn next(self) -> OpId {
        OpId(self.0 + 1)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One ownership of a service. A new owner has a higher epoch; a write with a lower one is refused (fencing).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_name_fits_everywhere_it_is_used() {
        for good in ["blog", "a", "shop-2", &"x".repeat(40)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "Blog",
            "a.b",
            "a`b",
            "ä",
            "a b",
            &"x".repeat(41),
        ] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }
}
