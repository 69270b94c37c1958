//! Which header lines pass from the visitor to the app and back.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

/// The prefix of what Traefik and we say to each other; an app never sees or says it.
const OURS: &str = "x-anteroom";

/// The prefix of what a proxy tells about its visitor.
const FORWARDED: &str = "x-forwarded-";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Lines that belong to one connection only (RFC 9110 §7.6.1), and the two that old clients send.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Who speaks to us, as far as the app is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    /// The other end of the connection.
    pub(super) peer: IpAddr,
    /// The client's true address.
    pub(super) client: IpAddr,
    /// Whether the peer's own `X-Forwarded-*` lines are believed.
    pub(super) trusted: bool,
}

/// Makes a visitor's lines fit for the app.
pub(super) fn to_app(headers: &mut HeaderMap, host: Option<HeaderValue>, hop: &Hop) {
    let trailers = words(headers, &header::TE).any(|word| word.eq_ignore_ascii_case("trailers"));
    strip(headers, |name| {
        // The body's own length is said by the client library; two sources could disagree (RFC 9112 §6.3).
        *name == header::CONTENT_LENGTH
            || *name == header::FORWARDED
            || is_alias(name.as_str())
            || (!hop.trusted && (name.as_str().starts_with(FORWARDED) || *name == REAL_IP))
    });
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    append_peer(headers, hop);
    if let Some(host) = host {
        headers
            .entry(FORWARDED_HOST)
            .or_insert_with(|| host.clone());
        headers.insert(header::HOST, host);
    }
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static("http"));
    if let Ok(client) = HeaderValue::from_str(&hop.client.to_string()) {
        headers.insert(REAL_IP, client);
    }
}

/// Makes an app's lines fit for the visitor.
pub(super) fn to_visitor(headers: &mut HeaderMap) {
    strip(headers, |_| false);
}

/// Drops the lines of one connection, those that `Connection` names, ours, and what else is unwanted.
fn strip(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let named: Vec<HeaderName> = words(headers, &header::CONNECTION)
        .filter_map(|word| word.parse().ok())
        // What routes or tells the client's address is not a connection's to drop.
        .filter(|name: &HeaderName| *name != header::HOST && !name.as_str().starts_with(FORWARDED))
        .collect();
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            HOP_BY_HOP.contains(name)
                || named.contains(name)
                || name.as_str().starts_with(OURS)
                || unwanted(name)
        })
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The words of a line that is a list, however many lines it was sent in.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

/// `X_Forwarded_For` and its like: servers that turn names into variables can't tell them from the real ones.
fn is_alias(name: &str) -> bool {
    name.contains('_') && {
        let name = name.replace('_', "-");
        name.starts_with(FORWARDED) || name.starts_with(OURS) || REAL_IP == name.as_str()
    }
}

/// Adds the peer to the chain, as every proxy does for the hop that it saw.
fn append_peer(headers: &mut HeaderMap, hop: &Hop) {
    let mut chain: Vec<u8> = Vec::new();
    for line in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(hop.peer.to_canonical().to_string().as_bytes());
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    value.parse::<HeaderValue>().unwrap(),
                )
            })
            .collect()
    }

    fn hop(peer: &str, trusted: bool) -> Hop {
        Hop {
            peer: peer.parse().unwrap(),
            client: "198.51.100.7".parse().unwrap(),
            trusted,
        }
    }

    const SPOOFED: [(&str, &str); 13] = [
        ("connection", "close, x-secret, te"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers, gzip"),
        ("proxy-authorization", "basic"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "6.6.6.6"),
        ("x_forwarded_for", "7.7.7.7"),
        ("forwarded", "for=8.8.8.8"),
        ("x-anteroom-key", "secret"),
        ("cookie", "a=b"),
    ];

    fn sent(trusted: bool) -> Vec<String> {
        let mut headers = map(&SPOOFED);
        let host = HeaderValue::from_static("blog.test");
        to_app(&mut headers, Some(host), &hop("127.0.0.1", trusted));
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_stranger_tells_the_app_nothing_about_itself() {
        assert_eq!(
            sent(false),
            [
                "cookie: a=b",
                "host: blog.test",
                "te: trailers",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: blog.test",
                "x-forwarded-proto: http",
                "x-real-ip: 198.51.100.7",
            ]
        );
    }

    #[test]
    fn a_trusted_proxys_chain_is_kept_and_lengthened() {
        assert_eq!(
            sent(true),
            [
                "cookie: a=b",
                "host: blog.test",
                "te: trailers",
                "x-forwarded-for: 6.6.6.6, 127.0.0.1",
                "x-forwarded-host: evil.test",
                "x-forwarded-proto: https",
                "x-real-ip: 198.51.100.7",
            ]
        );
    }

    #[test]
    fn an_app_cannot_wear_our_mark() {
        let mut headers = map(&[
            ("x-anteroom", "asleep"),
            ("connection", "keep-alive, x-debug"),
            ("x-debug", "1"),
            ("content-length", "3"),
            ("set-cookie", "a=b"),
        ]);
        to_visitor(&mut headers);
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "set-cookie"]);
    }
}
