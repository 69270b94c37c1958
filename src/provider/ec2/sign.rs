//! Signature Version 4 (AWS General Reference, "Signature Version 4 signing process") for the one form of request that is
//! sent here: a POST of a form to the root of a host. AWS's own signer makes it.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use super::credentials::Keys;
use crate::engine::machine::{ErrorClass, Trouble};

/// What is signed.
pub(super) struct Signed<'a> {
    /// As in the header `Host`.
    pub(super) host: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// As in the header `Content-Type`.
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    /// The time of signing.
    pub(super) at: SystemTime,
}

/// The headers that prove who asks: `authorization`, `x-amz-date` and, where the keys have a session,
/// `x-amz-security-token`. All must be sent as they are told here, and so must `Content-Type` and `Host`.
///
/// # Errors
/// [`Auth`](ErrorClass::Auth) when the keys hold what can't be signed.
pub(super) fn headers(signed: &Signed<'_>, keys: &Keys) -> Result<Vec<(String, String)>, Trouble> {
    let session = keys.session.clone();
    let identity = Credentials::new(&keys.id, &keys.secret, session, None, "anteroom").into();
    // What went wrong could hold the keys' own text.
    let bad = || {
        Trouble::new(
            ErrorClass::Auth,
            "a request can't be signed with these keys",
        )
    };
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(signed.region)
        .name(signed.service)
        .time(signed.at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| bad())?;
    let own = [("content-type", signed.content_type), ("host", signed.host)];
    let url = format!("https://{}/", signed.host);
    let body = SignableBody::Bytes(signed.body);
    let request = SignableRequest::new("POST", url, own.into_iter(), body).map_err(|_| bad())?;
    let made = sign(request, &params.into()).map_err(|_| bad())?;
    let (instructions, _) = made.into_parts();
    let told = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(instructions.headers().map(told).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160),
        };
        let headers = headers(&signed, &keys).expect("signed");
        let named = |name: &str| headers.iter().find(|(own, _)| own == name);
        assert_eq!(named("x-amz-date").expect("told").1, "20150830T123600Z");
        assert_eq!(
            named("x-amz-security-token").map(|it| it.1.as_str()),
            session
        );
        named("authorization").expect("told").1.clone()
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
