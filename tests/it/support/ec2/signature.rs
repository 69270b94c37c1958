//! The signature of a call, checked by the published rules alone.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::{KEY_ID, Manner, REGION, Refusal, SECRET};

/// Signature Version 4, from its published rules.
pub(super) fn is_good(head: &Parts, body: &[u8], manner: &Manner) -> Result<(), Refusal> {
    let denied = |code, said: &str| Err(Refusal(401, code, said.to_owned()));
    let value = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let session = value("x-amz-security-token");
    let Some(told) = value("authorization") else {
        return denied(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        );
    };
    let part = |name: &str| {
        let rest = told.split_once(&format!("{name}="))?.1;
        rest.split(',').next()
    };
    let (Some(credential), Some(signed), Some(signature)) =
        (part("Credential"), part("SignedHeaders"), part("Signature"))
    else {
        return denied(
            "IncompleteSignature",
            "Authorization header is not complete",
        );
    };
    let scope: Vec<&str> = credential.split('/').collect();
    let [id, day, region, "ec2", "aws4_request"] = scope.as_slice() else {
        return denied(
            "SignatureDoesNotMatch",
            "Credential should be scoped to ec2",
        );
    };
    if *id != KEY_ID || session != manner.session.as_deref() {
        return denied(
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        );
    }
    let at = value("x-amz-date").unwrap_or_default();
    let now = jiff::Timestamp::now();
    let sent: Option<jiff::civil::DateTime> = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", at)
        .ok()
        .and_then(|time| time.to_datetime().ok());
    let sent = sent.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let fresh = sent.is_some_and(|sent| sent.timestamp().duration_since(now).abs().as_secs() < 300);
    if !fresh || !at.starts_with(day) || *region != REGION {
        return denied("RequestExpired", "Request has expired");
    }
    let names: Vec<&str> = signed.split(';').collect();
    let sent: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).collect();
    let must = |name: &&&str| **name == "host" || name.starts_with("x-amz-");
    if let Some(name) = sent.iter().filter(must).find(|name| !names.contains(name)) {
        return denied("SignatureDoesNotMatch", &format!("{name} must be signed"));
    }
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        head.method,
        head.uri.path(),
        head.uri.query().unwrap_or_default()
    );
    for name in &names {
        let value = value(name).unwrap_or_default();
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(canonical, "{name}:{value}").expect("memory");
    }
    write!(canonical, "\n{signed}\n{}", hex(&Sha256::digest(body))).expect("memory");
    let scope = scope[1..].join("/");
    let canonical = hex(&Sha256::digest(&canonical));
    let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{canonical}");
    let start = format!("AWS4{SECRET}").into_bytes();
    let key = scope.split('/').fold(start, |key, part| mac(&key, part));
    match hex(&mac(&key, &to_sign)) == signature {
        true => Ok(()),
        false => denied(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match",
        ),
    }
}

fn mac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
