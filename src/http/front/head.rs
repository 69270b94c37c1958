//! The heads that the front understands; hyper gets all others.

use std::borrow::Cow;

use http::header::{self, HeaderName};
use httparse::{EMPTY_HEADER, Header, Request, Status};

use crate::http::head::Head;

/// Lines of a head. hyper takes 100; a browser sends 20, and a proxy adds ten.
pub(super) const LINES_MAX: usize = 64;

/// Lines that say that there is more to a request than its bytes and one answer: hyper sees to them.
const NOT_OURS: [HeaderName; 5] = [
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::TRAILER,
    HeaderName::from_static("http2-settings"),
];

/// A plain GET, borrowed from the bytes that it came in.
#[derive(Debug)]
pub(super) struct PlainGet<'a> {
    path: &'a str,
    host: &'a str,
    /// Only text.
    lines: &'a [Header<'a>],
}

impl PlainGet<'_> {
    /// Reads these bytes as exactly one plain GET by HTTP/1.1, and gives it to `then`. None when they are anything
    /// else: not whole, more than one request, with a body, in an odd form.
    pub(super) fn read<T>(
        bytes: &[u8],
        then: impl FnOnce(&PlainGet<'_>) -> Option<T>,
    ) -> Option<T> {
        // Before the work of parsing: most requests for an awake app are none of ours.
        if !bytes.starts_with(b"GET /") || !bytes.ends_with(b"\r\n\r\n") {
            return None;
        }
        let mut lines = [EMPTY_HEADER; LINES_MAX];
        let mut request = Request::new(&mut lines);
        if request.parse(bytes) != Ok(Status::Complete(bytes.len())) || request.version != Some(1) {
            return None;
        }
        let target = request.path?;
        let path = target.split('?').next().unwrap_or_default();
        let lines: &[Header<'_>] = request.headers;
        let has_length = |line: &Header<'_>| line.name.eq_ignore_ascii_case("content-length");
        let plain = target.bytes().all(is_plain_in_target)
            && lines.iter().all(|line| is_plain(line) && !has_length(line));
        let mut hosts = lines
            .iter()
            .filter(|line| line.name.eq_ignore_ascii_case("host"));
        let (host, more) = (hosts.next()?, hosts.next());
        let get = PlainGet {
            path,
            host: str::from_utf8(host.value).ok()?,
            lines,
        };
        (plain && more.is_none()).then(|| then(&get)).flatten()
    }
}

/// What may stand in a target without being quoted (RFC 3986 §2), so that hyper would read the same path.
pub(super) fn is_plain_in_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/?-._~%!$&'()*+,;=:@".contains(&byte)
}

/// Whether a line is text, and says nothing that only hyper sees to.
pub(super) fn is_plain(line: &Header<'_>) -> bool {
    let text = |byte: &u8| *byte == b'\t' || (b' '..=b'~').contains(byte);
    let named = |name: &HeaderName| line.name.eq_ignore_ascii_case(name.as_str());
    let keeps_open = !named(&header::CONNECTION) || line.value.eq_ignore_ascii_case(b"keep-alive");
    keeps_open && line.value.iter().all(text) && !NOT_OURS.iter().any(named)
}

impl Head for PlainGet<'_> {
    fn method(&self) -> &str {
        "GET"
    }

    fn path(&self) -> &str {
        self.path
    }

    fn host(&self) -> Option<&str> {
        Some(self.host)
    }

    fn line(&self, name: &HeaderName) -> Option<&str> {
        let name = name.as_str();
        let named = |line: &&Header<'_>| line.name.eq_ignore_ascii_case(name);
        str::from_utf8(self.lines.iter().find(named)?.value).ok()
    }

    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = Cow<'a, str>> {
        let named = |line: &&Header<'_>| line.name.eq_ignore_ascii_case(name.as_str());
        let text = |line: &'a Header<'_>| String::from_utf8_lossy(line.value);
        self.lines.iter().filter(named).map(text)
    }

    fn wants_upgrade(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(head: &str) -> Option<String> {
        PlainGet::read(head.as_bytes(), |get| Some(get.path().to_owned()))
    }

    #[test]
    fn a_plain_get_is_read() {
        let head = "GET /a/b?c=/d HTTP/1.1\r\nHost: blog.test\r\nconnection: Keep-Alive\r\naccept: a\r\nACCEPT: b\r\n\r\n";
        assert_eq!(path(head).as_deref(), Some("/a/b"));
        let accept = |get: &PlainGet<'_>| {
            assert_eq!(get.host(), Some("blog.test"));
            assert_eq!(get.line(&header::ACCEPT), Some("a"));
            assert_eq!(get.lines(&header::ACCEPT).collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(get.line(&header::COOKIE), None);
            Some(())
        };
        assert!(PlainGet::read(head.as_bytes(), accept).is_some());
    }

    #[test]
    fn everything_else_is_left_to_hyper() {
        for head in [
            "",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: \u{e9}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n",
        ] {
            assert_eq!(path(head), None, "{head:?}");
        }
    }
}
