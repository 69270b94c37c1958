//! The head of a request, as far as the room looks at it, whoever has read it: hyper, or the [`front`](super::front).

use std::borrow::Cow;

use http::header::{self, HeaderName};
use http::request::Parts;

use super::tunnel;

/// What the room asks of a head. Only values of visible ASCII count as text (RFC 9110 §5.5).
pub(super) trait Head {
    /// The method, in capitals.
    fn method(&self) -> &str;

    /// The path, without the query.
    fn path(&self) -> &str;

    /// The host that was asked for, with its port: an absolute URI wins over the header (RFC 9112 §3.2.2).
    fn host(&self) -> Option<&str>;

    /// The first line of this name, if it is text.
    fn line(&self, name: &HeaderName) -> Option<&str>;

    /// All lines of this name, with a mark in place of bytes that are no text. In `X-Forwarded-For` such bytes can't be
    /// an address, and the walk stops at them; but what a proxy appended behind them counts. Else a client could pass
    /// for its proxy by sending such a byte.
    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = Cow<'a, str>>;

    /// Whether the connection is to be upgraded (RFC 9110 §7.8).
    fn wants_upgrade(&self) -> bool;
}

impl Head for Parts {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn host(&self) -> Option<&str> {
        match self.uri.authority() {
            Some(authority) => {
                let host = authority.as_str();
                Some(host.rsplit_once('@').map_or(host, |(_, host)| host))
            }
            None => self.line(&header::HOST),
        }
    }

    fn line(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = Cow<'a, str>> {
        let lines = self.headers.get_all(name).iter();
        lines.map(|line| String::from_utf8_lossy(line.as_bytes()))
    }

    fn wants_upgrade(&self) -> bool {
        tunnel::wanted(&self.headers)
    }
}

/// `blog.test:8080`, `blog.test.` and `[::1]:8080` without what isn't the host.
pub(super) fn without_port(host: &str) -> &str {
    let host = match host.rsplit_once(':') {
        Some((before, port))
            if port.bytes().all(|c| c.is_ascii_digit()) && !before.ends_with(':') =>
        {
            before
        }
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_without_its_port() {
        for (asked, host) in [
            ("blog.test", "blog.test"),
            ("blog.test:8080", "blog.test"),
            ("blog.test.", "blog.test"),
            ("blog.test.:80", "blog.test"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(without_port(asked), host, "{asked}");
        }
    }
}
