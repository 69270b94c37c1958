//! The page's nonce: `v1.<minute, hex>.<mac>`, where the mac is HMAC-SHA256 over the service and the minute.
//!
//! It is the same for everybody within a minute, because the page's bytes are prepared once and shared. So it
//! proves that its sender has seen a page of this service lately, and nothing about who the sender is. Nothing is
//! stored: every replica with the same key accepts what any of them gave out.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};

/// How long a nonce counts, to the minute. A page that has stood open for longer asks for a fresh one.
pub const LIVES: Span = Span::mins(10);

/// A nonce of the next minute counts too: the clocks of two replicas differ a little.
const AHEAD_MAX: u64 = 1;

/// The version and the two points, 16 hex digits and 43 characters of base64 are 63.
const LENGTH_MAX: usize = 64;

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
    /// Not signed by us for this service.
    #[error("the nonce is not signed by us for this service")]
    Forged,
}

/// Makes and checks nonces with one key, and still accepts those of the key before it. Clones are the same keeper.
#[derive(Clone)]
pub struct Keeper(Arc<ArcSwap<Keys>>);

struct Keys {
    current: Hmac<Sha256>,
    previous: Option<Hmac<Sha256>>,
}

impl Keeper {
    /// A keeper with this key. All replicas need the same one.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Keeper {
        Keeper(Arc::new(ArcSwap::from_pointee(Keys {
            current: keyed(&key),
            previous: None,
        })))
    }

    /// From now on nonces are made with this key. Those of the last one still count, for as long as pages with them
    /// may be open.
    pub fn renew(&self, key: [u8; 32]) {
        self.0.rcu(|keys| Keys {
            current: keyed(&key),
            previous: Some(keys.current.clone()),
        });
    }

    /// The nonce of this service for this minute.
    #[must_use]
    pub fn nonce(&self, service: &ServiceName, now: Time) -> String {
        sign(&self.0.load().current, service, now.0 / MINUTE_MS)
    }

    /// Whether this nonce was made for this service within the last ten minutes.
    ///
    /// # Errors
    ///
    /// Says why it does not count. A nonce that isn't ours is never called expired.
    pub fn check(&self, service: &ServiceName, nonce: &str, now: Time) -> Result<(), NonceError> {
        let minute = minute_of(nonce).ok_or(NonceError::Malformed)?;
        // Both keys are always tried, so that the time taken does not tell which one it was. The whole text is
        // compared, not the decoded mac: two texts for one mac would be two nonces.
        let fits = |key| {
            sign(key, service, minute)
                .as_bytes()
                .ct_eq(nonce.as_bytes())
        };
        let keys = self.0.load();
        let current = fits(&keys.current);
        let previous = keys.previous.as_ref().map_or(0.into(), fits);
        if !bool::from(current | previous) {
            return Err(NonceError::Forged);
        }
        let this = now.0 / MINUTE_MS;
        let oldest = this.saturating_sub(LIVES.0 / MINUTE_MS);
        match (oldest..=this.saturating_add(AHEAD_MAX)).contains(&minute) {
            true => Ok(()),
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

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104 §2)")
}

fn sign(key: &Hmac<Sha256>, service: &ServiceName, minute: u64) -> String {
    let mut mac = key.clone();
    // The purpose comes first, so that a key shared with another use signs nothing that counts here. No service
    // name holds a zero byte.
    for part in ["anteroom wake nonce v1", service.as_str()] {
        mac.update(part.as_bytes());
        mac.update(&[0]);
    }
    mac.update(&minute.to_be_bytes());
    let mac = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("v1.{minute:x}.{mac}")
}

fn minute_of(nonce: &str) -> Option<u64> {
    let rest = nonce
        .strip_prefix("v1.")
        .filter(|_| nonce.len() <= LENGTH_MAX)?;
    let (minute, mac) = rest.split_once('.')?;
    let well_formed = minute.bytes().all(|c| c.is_ascii_hexdigit()) && !mac.is_empty();
    u64::from_str_radix(minute, 16).ok().filter(|_| well_formed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time(1_790_000_000_000);

    fn blog() -> ServiceName {
        "blog".parse().unwrap()
    }

    fn keeper() -> Keeper {
        Keeper::new([7; 32])
    }

    #[test]
    fn a_nonce_is_the_same_within_a_minute_and_lives_for_ten() {
        let start = Time(NOW.0 / MINUTE_MS * MINUTE_MS);
        let nonce = keeper().nonce(&blog(), start);
        assert_eq!(nonce, keeper().nonce(&blog(), start + Span::millis(59_999)));
        assert_ne!(nonce, keeper().nonce(&blog(), start + Span::mins(1)));
        let check = |now| keeper().check(&blog(), &nonce, now);
        assert_eq!(check(start), Ok(()));
        assert_eq!(check(start + LIVES + Span::millis(59_999)), Ok(()));
        assert_eq!(
            check(start + LIVES + Span::mins(1)),
            Err(NonceError::Expired)
        );
        assert_eq!(
            check(start - Span::mins(1)),
            Ok(()),
            "clocks differ a little"
        );
        assert_eq!(check(start - Span::mins(2)), Err(NonceError::Expired));
    }

    #[test]
    fn a_nonce_of_another_service_or_key_is_forged() {
        let nonce = keeper().nonce(&blog(), NOW);
        let shop = "shop".parse().unwrap();
        assert_eq!(keeper().check(&shop, &nonce, NOW), Err(NonceError::Forged));
        let other = Keeper::new([8; 32]);
        assert_eq!(other.check(&blog(), &nonce, NOW), Err(NonceError::Forged));
    }

    #[test]
    fn the_previous_key_still_counts_and_makes_none() {
        let rotated = keeper();
        let shared = rotated.clone();
        let old = rotated.nonce(&blog(), NOW);
        shared.renew([8; 32]);
        assert_eq!(rotated.check(&blog(), &old, NOW), Ok(()));
        assert_ne!(rotated.nonce(&blog(), NOW), old);
        assert_eq!(
            rotated.nonce(&blog(), NOW),
            Keeper::new([8; 32]).nonce(&blog(), NOW)
        );
        rotated.renew([9; 32]);
        assert_eq!(rotated.check(&blog(), &old, NOW), Err(NonceError::Forged));
    }

    #[test]
    fn what_is_not_of_our_form_is_malformed() {
        for text in [
            "",
            "v1",
            "v1.",
            "v1..",
            "v1.1c.",
            "v1.zz.mac",
            "v1.+1.mac",
            "v2.1.mac",
            "v1.10000000000000000.mac",
            &"v1.1.".repeat(100),
        ] {
            let checked = keeper().check(&blog(), text, NOW);
            assert_eq!(checked, Err(NonceError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn the_keys_are_not_shown() {
        assert_eq!(format!("{:?}", keeper()), "Keeper { .. }");
    }

    #[test]
    fn a_nonce_stands_in_html_and_in_a_form_as_it_is() {
        let nonce = keeper().nonce(&blog(), Time(u64::MAX));
        assert!(nonce.len() <= LENGTH_MAX);
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        assert!(nonce.bytes().all(plain), "{nonce}");
    }

    proptest! {
        #[test]
        fn a_mutated_nonce_is_never_accepted(
            at in 0..u64::MAX / 2,
            place in any::<prop::sample::Index>(),
            with in any::<char>(),
            how in 0..3u8,
        ) {
            let nonce = keeper().nonce(&blog(), Time(at));
            let mut mutated: Vec<char> = nonce.chars().collect();
            let place = place.index(mutated.len());
            match how {
                0 => mutated[place] = with,
                1 => mutated.insert(place, with),
                _ => { mutated.remove(place); }
            }
            let mutated: String = mutated.into_iter().collect();
            prop_assume!(mutated != nonce);
            prop_assert!(keeper().check(&blog(), &mutated, Time(at)).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", at in any::<u64>()) {
            prop_assert!(keeper().check(&blog(), &text, Time(at)).is_err());
        }
    }
}
