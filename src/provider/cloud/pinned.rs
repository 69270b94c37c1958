//! One certificate that is believed, known by its fingerprint: for a host that signs its own, as Proxmox VE does.
//!
//! Its name, its dates and who signed it are not looked at: whoever wrote the fingerprint down looked at this very
//! certificate. That the server holds its key is proved by the handshake, as ever.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};

use crate::provider::BadSettings;

/// The SHA-256 of a certificate (DER).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl FromStr for Fingerprint {
    type Err = BadSettings;

    /// Reads 64 hexadecimal digits, in pairs with colons between them or without.
    fn from_str(text: &str) -> Result<Fingerprint, BadSettings> {
        let pairs: Vec<&[u8]> = match text.contains(':') {
            true => text.split(':').map(str::as_bytes).collect(),
            false => text.as_bytes().chunks(2).collect(),
        };
        let byte = |pair: &&[u8]| match pair {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Fingerprint).ok_or_else(|| {
            let rule =
                "the SHA-256 of a certificate: 64 hexadecimal digits, as AB:CD:... or ABCD...";
            BadSettings(format!("`fingerprint` {text:?} is not {rule}"))
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, byte) in self.0.iter().enumerate() {
            let colon = if number == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a client needs that believes this certificate and no other.
///
/// # Errors
/// When the cryptography has no version of TLS, which would be a fault of the build.
pub(super) fn believing(fingerprint: Fingerprint) -> Result<ClientConfig, BadSettings> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Pinned {
        fingerprint,
        provider: Arc::clone(&provider),
    });
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| BadSettings(format!("no TLS client: {error}")))?;
    let config = config
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(config.with_no_client_auth())
}

#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = Fingerprint(Sha256::digest(end_entity).into());
        match shown == self.fingerprint {
            true => Ok(ServerCertVerified::assertion()),
            false => {
                let told = NotPinned(shown);
                let other = CertificateError::Other(rustls::OtherError(Arc::new(told)));
                Err(Error::InvalidCertificate(other))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// The certificate that was shown is another one.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not the one of `fingerprint`; the one that was shown is {0}")]
struct NotPinned(Fingerprint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_with_colons_and_without_and_shown_with_them() {
        let with = ["AB"; 32].join(":");
        let without = "ab".repeat(32);
        let read: Fingerprint = with.parse().expect("one");
        assert_eq!(Ok(read), without.parse());
        assert_eq!(read.to_string(), with);
        let (short, long) = (&with[3..], format!("{with}:AB"));
        let odd = with.replacen("AB:AB", "A:BAB", 1);
        let signed = without.replacen("ab", "+b", 1);
        for bad in ["", "AB", short, &long, &odd, &signed, &"xy".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn another_certificate_is_refused_and_its_fingerprint_told() {
        let certificate = CertificateDer::from(b"not looked into".to_vec());
        let own = Fingerprint(Sha256::digest(&certificate).into());
        let verify = |fingerprint| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let pinned = Pinned {
                fingerprint,
                provider,
            };
            let name = ServerName::try_from("pve.example.com").expect("a name");
            let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
            pinned.verify_server_cert(&certificate, &[], &name, &[], now)
        };
        assert!(verify(own).is_ok());
        let refused = verify(Fingerprint([0; 32])).expect_err("another");
        assert!(refused.to_string().contains(&own.to_string()), "{refused}");
    }
}
