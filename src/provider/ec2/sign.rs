//! Signature Version 4 for the one form of request that is sent here: a POST of a form to the root of a host.
//!
//! The rules are those of "Signature Version 4 signing process" in AWS's General Reference. A library of AWS's own does
//! the same and more; it brings 25 packages, a second generation of the hashes among them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::credentials::Keys;

/// How a request is named within the signature's scope.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed.
pub(super) struct Signed<'a> {
    /// As in the header `Host`.
    pub(super) host: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// As in the header `Content-Type`.
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    /// The time of signing, as `20150830T123600Z`.
    pub(super) at: &'a str,
}

/// The value of the header `Authorization`. Signed are `content-type`, `host`, `x-amz-date` and, where the keys have a
/// session, `x-amz-security-token`: all of them must be sent as they are told here.
pub(super) fn authorization(signed: &Signed<'_>, keys: &Keys) -> String {
    let (at, host) = (signed.at, signed.host);
    let mut headers = format!(
        "content-type:{}\nhost:{host}\nx-amz-date:{at}\n",
        signed.content_type
    );
    let mut names = "content-type;host;x-amz-date".to_owned();
    if let Some(session) = &keys.session {
        headers.push_str(&format!("x-amz-security-token:{session}\n"));
        names.push_str(";x-amz-security-token");
    }
    let body = hex(&Sha256::digest(signed.body));
    let canonical = format!("POST\n/\n\n{headers}\n{names}\n{body}");
    let day = at.split('T').next().unwrap_or_default();
    let scope = format!("{day}/{}/{}/aws4_request", signed.region, signed.service);
    let canonical = hex(&Sha256::digest(canonical));
    let to_sign = format!("{ALGORITHM}\n{at}\n{scope}\n{canonical}");
    let mut key = mac(format!("AWS4{}", keys.secret).as_bytes(), day.as_bytes());
    for part in [signed.region, signed.service, "aws4_request"] {
        key = mac(&key, part.as_bytes());
    }
    let signature = hex(&mac(&key, to_sign.as_bytes()));
    let id = &keys.id;
    format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(session: Option<&str>) -> String {
        let keys = Keys {
            id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session: session.map(str::to_owned),
            expires: None,
        };
        let signed = Signed {
            host: "example.amazonaws.com",
            region: "us-east-1",
            service: "service",
            content_type: "application/x-www-form-urlencoded",
            body: b"Param1=value1",
            at: "20150830T123600Z",
        };
        authorization(&signed, &keys)
    }

    /// The example `post-x-www-form-urlencoded` of AWS's test suite for signers.
    #[test]
    fn the_signature_is_that_of_the_published_example() {
        assert_eq!(
            signature(None),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }

    /// As signed by botocore 1.44.5.
    #[test]
    fn a_session_is_signed_as_well() {
        let told = signature(Some(
            "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQW",
        ));
        assert!(told.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "));
        assert!(
            told.ends_with(
                "Signature=870c39853278c96f20fb5d4dddc48c7828691a0ea205bb4eb3a5b87cd5602408"
            ),
            "{told}"
        );
    }
}
