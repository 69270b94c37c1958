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
