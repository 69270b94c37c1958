//! The whole requests for our own paths: what the waiting page's script asks between its events.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use httparse::{EMPTY_HEADER, Status};

use super::head::{LINES_MAX, is_plain, is_plain_in_target};
use crate::http::paths;

/// Reads these bytes as exactly one GET or POST for one of our paths, with its whole body. None when they are
/// anything else: not whole, more than one request, in an odd form. The events are no such request: they don't end.
pub(super) fn read(bytes: &[u8]) -> Option<Request<Full<Bytes>>> {
    let mut lines = [EMPTY_HEADER; LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let Ok(Status::Complete(head_bytes)) = request.parse(bytes) else {
        return None;
    };
    let method = match request.method? {
        "GET" => Method::GET,
        "POST" => Method::POST,
        _ => return None,
    };
    let target = request.path?;
    let ours = target.starts_with(paths::PREFIX) && target.bytes().all(is_plain_in_target);
    if !ours || request.version != Some(1) || !request.headers.iter().all(is_plain) {
        return None;
    }
    let uri: Uri = target.parse().ok()?;
    let body = &bytes[head_bytes..];
    let mut whole = Request::new(Full::new(Bytes::copy_from_slice(body)));
    for line in request.headers {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(line.value).ok()?;
        whole.headers_mut().append(name, value);
    }
    let lines = |name| whole.headers().get_all(name).iter();
    let said = match (lines(header::CONTENT_LENGTH).count(), &method) {
        (0, _) => 0,
        (1, &Method::POST) => length(whole.headers().get(header::CONTENT_LENGTH)?)?,
        _ => return None,
    };
    if said != body.len() || lines(header::HOST).count() != 1 || uri.path() == paths::EVENTS {
        return None;
    }
    *whole.method_mut() = method;
    *whole.uri_mut() = uri;
    Some(whole)
}

/// Digits only: a sign would be read by `parse`, and by nobody else.
fn length(value: &HeaderValue) -> Option<usize> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_request_for_our_paths_is_read() {
        let text = "POST /__anteroom/wake?a=b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 3\r\n\r\nabc";
        let request = read(text.as_bytes()).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/__anteroom/wake?a=b");
        assert_eq!(request.headers().get_all("x-a").iter().count(), 2);
        let body = request.into_body().into_inner();
        assert_eq!(body.as_deref(), Some(b"abc".as_slice()));
        assert!(read(b"GET /__anteroom/ping HTTP/1.1\r\nHost: a\r\n\r\n").is_some());
    }

    #[test]
    fn everything_else_is_left_to_hyper() {
        for (first, lines, body) in [
            ("GET / HTTP/1.1", "", ""),
            ("GET /__anteroom HTTP/1.1", "", ""),
            ("GET /__anteroom/events?a HTTP/1.1", "", ""),
            ("HEAD /__anteroom/ping HTTP/1.1", "", ""),
            ("PUT /__anteroom/wake HTTP/1.1", "", ""),
            ("POST /__anteroom/wake HTTP/1.0", "", ""),
            ("POST http://a/__anteroom/wake HTTP/1.1", "", ""),
            ("POST /__anteroom/wake# HTTP/1.1", "", ""),
            ("POST /__anteroom/wake HTTP/1.1", "Host: b\r\n", ""),
            ("POST /__anteroom/wake HTTP/1.1", "", "a"),
            (
                "POST /__anteroom/wake HTTP/1.1",
                "Content-Length: 2\r\n",
                "a",
            ),
            (
                "POST /__anteroom/wake HTTP/1.1",
                "Content-Length: 1\r\n",
                "ab",
            ),
            (
                "POST /__anteroom/wake HTTP/1.1",
                "Content-Length: +1\r\n",
                "a",
            ),
            ("POST /__anteroom/wake HTTP/1.1", "Content-Length:\r\n", ""),
            (
                "POST /__anteroom/wake HTTP/1.1",
                "Content-Length: 1\r\nContent-Length: 1\r\n",
                "a",
            ),
            (
                "POST /__anteroom/wake HTTP/1.1",
                "Transfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            (
                "POST /__anteroom/wake HTTP/1.1",
                "Connection: close\r\n",
                "",
            ),
            (
                "POST /__anteroom/wake HTTP/1.1",
                "Expect: 100-continue\r\n",
                "",
            ),
            ("GET /__anteroom/ping HTTP/1.1", "Content-Length: 0\r\n", ""),
        ] {
            let text = format!("{first}\r\nHost: a\r\n{lines}\r\n{body}");
            assert!(read(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(
            read(b"GET /__anteroom/ping HTTP/1.1\r\n\r\n").is_none(),
            "no host"
        );
        assert!(
            read(b"GET /__anteroom/ping HTTP/1.1\r\nHost: a\r\n").is_none(),
            "half a head"
        );
    }
}
