//! Who may call: whoever has the token, or, where there is none, whoever is on this host and no other site's page.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;

use super::{Admin, Refusal};

impl Admin {
    /// Whether this call may be made.
    pub(super) fn admit(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(token) = self.token.load().as_ref() {
            return match bears(headers, token) {
                true => Ok(()),
                false => {
                    let why = "this call needs the admin token: Authorization: Bearer ...";
                    Err(Refusal::new(StatusCode::UNAUTHORIZED, why))
                }
            };
        }
        let host = headers
            .get(header::HOST)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let refused = |why| Err(Refusal::new(StatusCode::FORBIDDEN, why));
        if !peer.ip().to_canonical().is_loopback() {
            return refused("without an admin token only loopback is served; set admin.token");
        }
        if !is_loopback_name(host) {
            return refused(
                "without an admin token this listener is served under a loopback name only",
            );
        }
        if headers
            .get("sec-fetch-site")
            .is_some_and(|site| site != "same-origin" && site != "none")
        {
            return refused("a call from another site's page is refused");
        }
        Ok(())
    }
}

/// Whether the call carries the token, as `Bearer` (RFC 6750) or as the password of anybody (RFC 7617): senders of alerts
/// and Prometheus know the one or the other.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION);
    let Some((scheme, given)) = given
        .and_then(|given| given.to_str().ok())
        .and_then(|given| given.split_once(' '))
    else {
        return false;
    };
    let given = match scheme.to_ascii_lowercase().as_str() {
        "bearer" => given.as_bytes().to_vec(),
        "basic" => {
            let login = STANDARD.decode(given.trim()).unwrap_or_default();
            let colon = login.iter().position(|byte| *byte == b':');
            colon.map_or_else(Vec::new, |colon| login[colon + 1..].to_vec())
        }
        _ => return false,
    };
    bool::from(given.as_slice().ct_eq(token.as_bytes()))
}

fn is_loopback_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_known_in_both_forms() {
        let bears = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, given.parse().expect("a value"));
            bears(&headers, "to:ken")
        };
        let basic = |login: &str| format!("Basic {}", STANDARD.encode(login));
        for good in [
            "Bearer to:ken",
            "bearer to:ken",
            &basic(":to:ken"),
            &basic("grafana:to:ken"),
        ] {
            assert!(bears(good), "{good}");
        }
        for bad in [
            "",
            "to:ken",
            "Bearer",
            "Bearer to:ke",
            "Digest to:ken",
            "Basic",
            "Basic x",
            &basic("to:ken"),
            &basic("to:ken:"),
        ] {
            assert!(!bears(bad), "{bad}");
        }
        assert!(!super::bears(&HeaderMap::new(), "to:ken"));
    }

    #[test]
    fn only_loopback_names_are_loopback_names() {
        for good in [
            "localhost:8081",
            "127.0.0.1:8081",
            "127.0.0.1",
            "[::1]:8081",
            "[::1]",
            "LOCALHOST",
        ] {
            assert!(is_loopback_name(good), "{good}");
        }
        for bad in [
            "",
            "evil.test",
            "evil.test:8081",
            "127.0.0.1.evil.test",
            "10.0.0.1:8081",
            "localhost.evil.test",
        ] {
            assert!(!is_loopback_name(bad), "{bad}");
        }
    }
}
