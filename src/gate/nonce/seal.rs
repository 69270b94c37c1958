//! A seal: the keeper's key on anything that a visitor carries for the room. Each use has a purpose of its own, so
//! that what is sealed for one counts for no other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Keeper;

/// Half of an HMAC-SHA256 (RFC 2104 §5 allows it): nobody can try enough of them against a room.
const SEAL_BYTES: usize = 16;

impl Keeper {
    /// The seal of these parts: 22 characters of base64 for URLs.
    pub(in crate::gate) fn seal(&self, purpose: &str, parts: &[&[u8]]) -> String {
        sealed(&self.0.keys.load().current, purpose, parts)
    }

    /// Whether this is their seal, by this key or by the one before it.
    pub(in crate::gate) fn is_sealed(&self, purpose: &str, parts: &[&[u8]], seal: &str) -> bool {
        let keys = self.0.keys.load();
        let fits = |key| {
            let right = sealed(key, purpose, parts);
            right.as_bytes().ct_eq(seal.as_bytes())
        };
        // Both are always tried, as with a nonce.
        let current = fits(&keys.current);
        let previous = keys.previous.as_ref().map_or(0.into(), fits);
        (current | previous).into()
    }
}

fn sealed(key: &Hmac<Sha256>, purpose: &str, parts: &[&[u8]]) -> String {
    let mut mac = key.clone();
    // Each part says how long it is, so that no two lists of parts are one text.
    for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..SEAL_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_of_one_purpose_these_parts_and_this_key() {
        let keeper = Keeper::new([7; 32], 0);
        let seal = keeper.seal("a", &[b"bc", b"d"]);
        assert_eq!(seal.len(), 22);
        assert!(keeper.is_sealed("a", &[b"bc", b"d"], &seal));
        assert!(!keeper.is_sealed("b", &[b"bc", b"d"], &seal));
        assert!(!keeper.is_sealed("a", &[b"b", b"cd"], &seal));
        assert!(!keeper.is_sealed("a", &[b"bc"], &seal));
        assert!(!keeper.is_sealed("a", &[b"bc", b"d"], ""));
        keeper.renew([8; 32]);
        assert!(
            keeper.is_sealed("a", &[b"bc", b"d"], &seal),
            "the key before"
        );
        keeper.renew([9; 32]);
        assert!(!keeper.is_sealed("a", &[b"bc", b"d"], &seal));
    }
}
