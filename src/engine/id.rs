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

/// One machine of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum InstanceId {
    /// The one that always exists.
    Seed,
    /// One that was made from it.
    Clone(CloneId),
}

impl InstanceId {
    /// The instance that always exists.
    pub const SEED: InstanceId = InstanceId::Seed;
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstanceId::Seed => f.write_str(SEED),
            InstanceId::Clone(clone) => clone.fmt(f),
        }
    }
}

/// A clone: its place among the service's machines, and which of those that ever had this place.
///
/// The generation is the second (Unix time) in which the clone was intended. So a name that is made of both is never
/// given out twice, also when everything that was written down is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloneId {
    slot: u16,
    generation: u64,
}

impl CloneId {
    /// The highest slot.
    pub const SLOT_MAX: u16 = 999;
    /// The highest generation: seven digits to the base 36, in the year 4453.
    pub const GENERATION_MAX: u64 = 36_u64.pow(7) - 1;

    /// The clone of this slot (1 to 999) and generation; none outside these bounds.
    #[must_use]
    pub const fn new(slot: u16, generation: u64) -> Option<CloneId> {
        match slot {
            1..=Self::SLOT_MAX if generation <= Self::GENERATION_MAX => {
                Some(CloneId { slot, generation })
            }
            _ => None,
        }
    }

    /// Its place among the service's machines.
    #[must_use]
    pub const fn slot(self) -> u16 {
        self.slot
    }

    /// The second in which it was intended.
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.generation
    }
}

/// `clone-2-top2v4`: the slot, and the generation to the base 36.
impl fmt::Display for CloneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clone-{}-", self.slot)?;
        let mut digits = [0; 7];
        let mut left = self.generation;
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(left % 36) as usize];
            left /= 36;
            if left == 0 || first == 0 {
                break;
            }
        }
        f.write_str(std::str::from_utf8(&digits[first..]).unwrap_or_default())
    }
}

/// Why a text is not a clone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clone is written like clone-2-top2v4")]
pub struct BadClone;

impl FromStr for CloneId {
    type Err = BadClone;
    fn from_str(text: &str) -> Result<Self, BadClone> {
        let rest = text.strip_prefix("clone-").ok_or(BadClone)?;
        let (slot, generation) = rest.split_once('-').ok_or(BadClone)?;
        let slot = slot.parse().map_err(|_| BadClone)?;
        let generation = u64::from_str_radix(generation, 36).map_err(|_| BadClone)?;
        let clone = CloneId::new(slot, generation).ok_or(BadClone)?;
        // One text for each: no sign, no capital, no zero in front.
        (clone.to_string() == text).then_some(clone).ok_or(BadClone)
    }
}

/// How an instance is written down: as people are told of it. Records of old have the number 0 for the seed.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    OldSeed(u8),
    Text(String),
}

/// The seed, as it is written down.
const SEED: &str = "seed";

impl From<InstanceId> for Written {
    fn from(instance: InstanceId) -> Written {
        Written::Text(instance.to_string())
    }
}

impl TryFrom<Written> for InstanceId {
    type Error = BadClone;
    fn try_from(written: Written) -> Result<Self, BadClone> {
        match written {
            Written::OldSeed(0) => Ok(InstanceId::Seed),
            Written::OldSeed(_) => Err(BadClone),
            Written::Text(text) if text == SEED => Ok(InstanceId::Seed),
            Written::Text(text) => Ok(InstanceId::Clone(text.parse()?)),
        }
    }
}

impl Serialize for CloneId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CloneId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What makes a repeated call to a provider the same call: given out once for an intent, and the same in every try of
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// As a UUID of version 8 (RFC 9562, section 5.8); never the nil one.
    #[must_use]
    pub fn uuid(self) -> String {
        let mut bytes = self.0;
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let mut text = String::with_capacity(36);
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        text
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

    #[test]
    fn an_instance_is_read_back_as_it_was_written() {
        let clone = CloneId::new(2, 1_795_000_000).expect("within bounds");
        assert_eq!(clone.to_string(), "clone-2-top2v4");
        for generation in [0, 35, 36, CloneId::GENERATION_MAX] {
            let clone = CloneId::new(999, generation).expect("within bounds");
            assert_eq!(clone.to_string().parse(), Ok(clone));
            let written = serde_json::to_string(&InstanceId::Clone(clone)).expect("writable");
            let read: InstanceId = serde_json::from_str(&written).expect("readable");
            assert_eq!(read, InstanceId::Clone(clone));
        }
        assert_eq!(
            serde_json::to_string(&InstanceId::Seed).ok(),
            Some("\"seed\"".to_owned())
        );
        for seed in ["\"seed\"", "0"] {
            let read = serde_json::from_str::<InstanceId>(seed).ok();
            assert_eq!(read, Some(InstanceId::Seed), "{seed}");
        }
        for bad in [
            "1",
            "\"Seed\"",
            "\"clone-0-1\"",
            "\"clone-1-01\"",
            "\"clone-+1-1\"",
            "\"clone-1-A\"",
            "\"clone-1\"",
        ] {
            assert!(serde_json::from_str::<InstanceId>(bad).is_err(), "{bad}");
        }
        assert_eq!(CloneId::new(0, 1), None);
        assert_eq!(CloneId::new(1, CloneId::GENERATION_MAX + 1), None);
    }

    #[test]
    fn a_token_is_a_uuid_of_version_8() {
        assert_eq!(
            Token([0; 16]).uuid(),
            "00000000-0000-8000-8000-000000000000"
        );
        assert_eq!(
            Token([0xff; 16]).uuid(),
            "ffffffff-ffff-8fff-bfff-ffffffffffff"
        );
    }
}
