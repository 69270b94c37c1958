//! Grafana's signature of a call: lower-case hex of HMAC-SHA256 over the body, or over `timestamp:body` where its contact point
//! names a header for the timestamp (Grafana: "HMAC signature" of the webhook contact point).

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The header that carries the signature.
pub const HEADER: &str = "x-grafana-alerting-signature";

/// A signature with a timestamp is good for so long, before and after: the clocks of two machines differ, and a call
/// takes its time.
pub const GOOD_FOR: Duration = Duration::from_secs(5 * 60);

/// Why a signature is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The timestamp is not there, or is no number.
    #[error("the signature's timestamp is missing, or is no number of seconds")]
    NoTime,
    /// It is of another time.
    #[error("the signature is too old, or from the future; compare the clocks")]
    Old,
    /// It is another's.
    #[error("the signature is wrong")]
    Wrong,
}

/// Checks a signature. `timestamp` is the value of its header, where the settings name one; `now` is in seconds of
/// Unix time.
///
/// # Errors
/// Why it is not believed.
pub fn check(
    secret: &[u8],
    signature: &[u8],
    timestamp: Option<Option<&str>>,
    body: &[u8],
    now: u64,
) -> Result<(), Bad> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    if let Some(timestamp) = timestamp {
        let timestamp = timestamp.ok_or(Bad::NoTime)?;
        let at: u64 = timestamp.parse().map_err(|_| Bad::NoTime)?;
        if at.abs_diff(now) > GOOD_FOR.as_secs() {
            return Err(Bad::Old);
        }
        mac.update(timestamp.as_bytes());
        mac.update(b":");
    }
    mac.update(body);
    let expected = mac.finalize().into_bytes();
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    match bool::from(signature.ct_eq(expected.as_bytes())) {
        true => Ok(()),
        false => Err(Bad::Wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    const KEY: &[u8] = b"Jefe";
    const BODY: &[u8] = b"what do ya want for nothing?";
    const SIGNATURE: &[u8] = b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    #[test]
    fn a_signature_is_of_the_body_and_the_key() {
        assert_eq!(check(KEY, SIGNATURE, None, BODY, 0), Ok(()));
        let upper = SIGNATURE.to_ascii_uppercase();
        for (key, signature, body) in [
            (b"jefe".as_slice(), SIGNATURE, BODY),
            (KEY, SIGNATURE, b"what do ya want for nothing".as_slice()),
            (KEY, &SIGNATURE[..63], BODY),
            (KEY, upper.as_slice(), BODY),
            (KEY, b"", BODY),
        ] {
            assert_eq!(check(key, signature, None, body, 0), Err(Bad::Wrong));
        }
    }

    #[test]
    fn a_signature_with_a_time_is_good_for_five_minutes() {
        // printf '1795248000:{}' | openssl dgst -sha256 -hmac secret
        let signature = b"254d5738d6c15032d073ca4f2a8be6c8fb6e529fca2c7a3b99b48816ba807af3";
        let at = 1_795_248_000;
        let ask = |timestamp, now| check(b"secret", signature, Some(timestamp), b"{}", now);
        for now in [at - 300, at, at + 300] {
            assert_eq!(ask(Some("1795248000"), now), Ok(()));
        }
        for now in [at - 301, at + 301, 0, u64::MAX] {
            assert_eq!(ask(Some("1795248000"), now), Err(Bad::Old));
        }
        assert_eq!(ask(Some("1795248001"), at), Err(Bad::Wrong));
        for bad in [
            None,
            Some(""),
            Some("-1"),
            Some("1795248000.5"),
            Some("soon"),
        ] {
            assert_eq!(ask(bad, at), Err(Bad::NoTime));
        }
        // Without its time it is another signature.
        assert_eq!(
            check(b"secret", signature, None, b"{}", at),
            Err(Bad::Wrong)
        );
    }
}
