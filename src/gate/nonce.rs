//! The page's nonce: `v2.<minute, 8 hex>.<serial, 16 hex>.<mac>`, where the mac is HMAC-SHA256 over the service, the
//! host, the minute and the serial.
//!
//! Each answer carries one of its own, which is why it has a serial: so one that was used can be told from one that
//! was not. It proves that its sender has seen a page of this service under this host lately, and nothing about who
//! the sender is. To check it nothing is stored: every replica with the same key accepts what any of them gave out.
//! Whether it was spent before is for the caller to know, by the serial.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};

mod seal;

/// How long a nonce counts, to the minute. A page that has stood open for longer asks for a fresh one.
pub const LIVES: Span = Span::mins(10);

/// A nonce of the next minute counts too: the clocks of two replicas differ a little.
const AHEAD_MAX: u32 = 1;

/// Serials are this far apart: an odd number, so that none comes twice before all have come.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the parts of a nonce stand: the version, the minute, the serial and 43 characters of base64, with points
/// between them.
const MINUTE: std::ops::Range<usize> = 3..11;
const SERIAL: std::ops::Range<usize> = 12..28;
const MAC: std::ops::Range<usize> = 29..Nonce::LENGTH;

const MINUTE_MS: u64 = 60_000;

/// Why a nonce does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Not of our form at all.
    #[error("not a nonce")]
    Malformed,
    /// Ours, but of another time.
    #[error("the nonce is too old")]
    Expired,
    /// Not signed by us for this service and host.
    #[error("the nonce is not signed by us for this service")]
    Forged,
}

/// A nonce, as it stands in a page: letters, digits, points, hyphens and underscores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; Nonce::LENGTH]);

/// Makes and checks nonces with one key, and still accepts those of the key before it. Clones are the same keeper.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    keys: ArcSwap<Keys>,
    serial: AtomicU64,
}

struct Keys {
    current: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
}

impl Nonce {
    /// In bytes; all have the same.
    pub const LENGTH: usize = 72;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("it was written as ASCII")
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Nonce {
    /// Without the mac: whoever reads logs must not be able to wake anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({}..)", &self.as_str()[..SERIAL.end])
    }
}

impl Keeper {
    /// A keeper with this key, which all replicas need to have alike. Serials begin at `first`, a random number, so
    /// that two replicas give out no serial twice.
    #[must_use]
    pub fn new(key: [u8; 32], first: u64) -> Keeper {
        Keeper(Arc::new(Inner {
            keys: ArcSwap::from_pointee(Keys {
                current: keyed(&key),
                previous: None,
            }),
            serial: AtomicU64::new(first),
        }))
    }

    /// From now on nonces are made with this key. Those of the last one still count, for as long as pages with them
    /// may be open.
    pub fn renew(&self, key: [u8; 32]) {
        self.0.keys.rcu(|keys| Keys {
            current: keyed(&key),
            previous: Some(keys.current.clone()),
        });
    }

    /// A nonce for one page of this service under this host. No other has its serial.
    #[must_use]
    pub fn nonce(&self, service: &ServiceName, host: &str, now: Time) -> Nonce {
        let serial = self.0.serial.fetch_add(STEP, Relaxed);
        let keys = self.0.keys.load();
        sign(&keys.current, service, host, minute_of(now), serial)
    }

    /// The serial of a nonce that was made for this service and host within the last ten minutes.
    ///
    /// # Errors
    ///
    /// Says why it does not count. A nonce that isn't ours is never called expired.
    pub fn check(
        &self,
        service: &ServiceName,
        host: &str,
        nonce: &str,
        now: Time,
    ) -> Result<u64, NonceError> {
        let (minute, serial) = parts_of(nonce).ok_or(NonceError::Malformed)?;
        // Both keys are always tried, so that the time taken does not tell which one it was. The whole text is
        // compared, not the decoded mac: two texts for one mac would be two nonces.
        let fits = |key| {
            let ours = sign(key, service, host, minute, serial);
            ours.0.ct_eq(nonce.as_bytes())
        };
        let keys = self.0.keys.load();
        let current = fits(&keys.current);
        let previous = keys.previous.as_ref().map_or(0.into(), fits);
        if !bool::from(current | previous) {
            return Err(NonceError::Forged);
        }
        let this = minute_of(now);
        let oldest = u64::from(this).saturating_sub(LIVES.0 / MINUTE_MS);
        let fresh = u64::from(minute) >= oldest && minute <= this.saturating_add(AHEAD_MAX);
        match fresh {
            true => Ok(serial),
            false => Err(NonceError::Expired),
        }
    }
}

impl fmt::Debug for Keeper {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// The key as HMAC uses it, worked out once.
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104 §2)")
}

/// Eight thousand years of minutes have room.
fn minute_of(now: Time) -> u32 {
    u32::try_from(now.0 / MINUTE_MS).unwrap_or(u32::MAX)
}

fn sign(key: &Hmac<Sha256>, service: &ServiceName, host: &str, minute: u32, serial: u64) -> Nonce {
    let mut mac = key.clone();
    // The purpose comes first, so that a key shared with another use signs nothing that counts here. No service
    // name and no host holds a zero byte.
    for part in ["anteroom wake nonce v2", service.as_str(), host] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac.update(&minute.to_be_bytes());
    mac.update(&serial.to_be_bytes());
    let mut text = [b'.'; Nonce::LENGTH];
    text[..2].copy_from_slice(b"v2");
    write_hex(&mut text[MINUTE], minute.into());
    write_hex(&mut text[SERIAL], serial);
    URL_SAFE_NO_PAD
        .encode_slice(mac.finalize().into_bytes(), &mut text[MAC])
        .expect("32 bytes are 43 characters of base64");
    Nonce(text)
}

/// The last digits of a number, as many as there is room for.
fn write_hex(room: &mut [u8], number: u64) {
    let mut left = number;
    for digit in room.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(left & 15) as usize];
        left >>= 4;
    }
}

/// The minute and the serial of what has the form of a nonce.
fn parts_of(nonce: &str) -> Option<(u32, u64)> {
    let bytes = nonce.as_bytes();
    let points = [2, MINUTE.end, SERIAL.end];
    let formed = bytes.len() == Nonce::LENGTH
        && bytes.starts_with(b"v2")
        && points.iter().all(|point| bytes[*point] == b'.')
        && bytes.is_ascii();
    let digits = |range: std::ops::Range<usize>| {
        let text = nonce.get(range).filter(|_| formed)?;
        let lower = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        text.bytes().all(lower).then_some(text)
    };
    let minute = u32::from_str_radix(digits(MINUTE)?, 16).ok()?;
    let serial = u64::from_str_radix(digits(SERIAL)?, 16).ok()?;
    Some((minute, serial))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time(1_790_000_000_000);
    const HOST: &str = "blog.test";

    fn blog() -> ServiceName {
        "blog".parse().unwrap()
    }

    fn keeper() -> Keeper {
        Keeper::new([7; 32], 1)
    }

    fn nonce(keeper: &Keeper, at: Time) -> String {
        keeper.nonce(&blog(), HOST, at).to_string()
    }

    fn check(keeper: &Keeper, nonce: &str, at: Time) -> Result<u64, NonceError> {
        keeper.check(&blog(), HOST, nonce, at)
    }

    #[test]
    fn every_nonce_is_another_and_says_its_serial() {
        let keeper = Keeper::new([7; 32], u64::MAX);
        let nonces: Vec<String> = (0..1_000).map(|_| nonce(&keeper, NOW)).collect();
        let serials = nonces
            .iter()
            .map(|nonce| check(&keeper, nonce, NOW).unwrap());
        assert_eq!(serials.collect::<BTreeSet<_>>().len(), 1_000);
        assert_eq!(check(&keeper, &nonces[0], NOW), Ok(u64::MAX));
        let shared = keeper.clone();
        assert_ne!(nonce(&keeper, NOW), nonce(&shared, NOW));
    }

    #[test]
    fn a_nonce_lives_for_ten_minutes() {
        let start = Time(NOW.0 / MINUTE_MS * MINUTE_MS);
        let nonce = nonce(&keeper(), start);
        let at = |now| check(&keeper(), &nonce, now);
        assert_eq!(at(start), Ok(1));
        assert_eq!(at(start + LIVES + Span::millis(59_999)), Ok(1));
        assert_eq!(at(start + LIVES + Span::mins(1)), Err(NonceError::Expired));
        assert_eq!(at(start - Span::mins(1)), Ok(1), "clocks differ a little");
        assert_eq!(at(start - Span::mins(2)), Err(NonceError::Expired));
    }

    #[test]
    fn a_nonce_of_another_service_host_or_key_is_forged() {
        let nonce = nonce(&keeper(), NOW);
        let shop = "shop".parse().unwrap();
        for (keeper, service, host) in [
            (keeper(), &shop, HOST),
            (keeper(), &blog(), "www.blog.test"),
            (keeper(), &blog(), ""),
            (Keeper::new([8; 32], 1), &blog(), HOST),
        ] {
            let checked = keeper.check(service, host, &nonce, NOW);
            assert_eq!(checked, Err(NonceError::Forged), "{service:?} {host}");
        }
    }

    #[test]
    fn the_previous_key_still_counts_and_makes_none() {
        let rotated = keeper();
        let shared = rotated.clone();
        let old = nonce(&rotated, NOW);
        shared.renew([8; 32]);
        assert_eq!(check(&rotated, &old, NOW), Ok(1));
        let new = nonce(&rotated, NOW);
        assert_eq!(check(&keeper(), &new, NOW), Err(NonceError::Forged));
        assert!(check(&Keeper::new([8; 32], 1), &new, NOW).is_ok());
        rotated.renew([9; 32]);
        assert_eq!(check(&rotated, &old, NOW), Err(NonceError::Forged));
    }

    #[test]
    fn what_is_not_of_our_form_is_malformed() {
        let good = nonce(&keeper(), NOW);
        let with = |place: usize, with: &str| {
            let mut text = good.clone();
            text.replace_range(place..place + with.len(), with);
            text
        };
        for text in [
            String::new(),
            "v2".into(),
            "v2....".into(),
            "v2.".repeat(24),
            good[..Nonce::LENGTH - 1].into(),
            format!("{good}A"),
            with(0, "v1"),
            with(2, ":"),
            with(3, "+"),
            with(4, "A"),
            with(11, "-"),
            with(12, "g"),
            with(20, "C"),
            with(28, "_"),
            with(40, "\u{e9}"),
            good.to_uppercase(),
        ] {
            let checked = check(&keeper(), &text, NOW);
            assert_eq!(checked, Err(NonceError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn neither_the_keys_nor_a_mac_are_shown() {
        assert_eq!(format!("{:?}", keeper()), "Keeper { .. }");
        let nonce = keeper().nonce(&blog(), HOST, NOW);
        let shown = format!("{nonce:?}");
        assert_eq!(shown, "Nonce(v2.01c73875.0000000000000001..)");
    }

    #[test]
    fn a_nonce_stands_in_html_and_in_a_form_as_it_is() {
        for at in [Time(0), NOW, Time(u64::MAX)] {
            let nonce = nonce(&keeper(), at);
            let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
            assert!(nonce.bytes().all(plain), "{nonce}");
            assert_eq!(check(&keeper(), &nonce, at), Ok(1));
        }
    }

    proptest! {
        #[test]
        fn a_mutated_nonce_is_never_accepted(
            at in 0..u64::MAX / 2,
            first in any::<u64>(),
            place in any::<prop::sample::Index>(),
            with in any::<char>(),
            how in 0..3u8,
        ) {
            let keeper = Keeper::new([7; 32], first);
            let nonce = nonce(&keeper, Time(at));
            let mut mutated: Vec<char> = nonce.chars().collect();
            let place = place.index(mutated.len());
            match how {
                0 => mutated[place] = with,
                1 => mutated.insert(place, with),
                _ => { mutated.remove(place); }
            }
            let mutated: String = mutated.into_iter().collect();
            prop_assume!(mutated != nonce);
            prop_assert!(check(&keeper, &mutated, Time(at)).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", at in any::<u64>()) {
            prop_assert!(check(&keeper(), &text, Time(at)).is_err());
        }

        #[test]
        fn no_text_of_our_length_makes_it_panic(text in "v2\\.[0-9a-f]{8}\\.[0-9a-f]{16}\\.[-_a-zA-Z0-9]{43}", at in any::<u64>()) {
            prop_assert!(check(&keeper(), &text, Time(at)).is_err());
        }
    }
}
