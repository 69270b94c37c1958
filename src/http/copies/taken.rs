//! What of an app's answer may be kept, and for whom it is new.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::engine::time::Time;
use crate::telemetry;

/// The longest body that is kept.
const BODY_MAX: usize = 64 * 1024;

/// The time that an app may take for one.
const FETCH_MAX: Duration = Duration::from_secs(5);

/// A copy of an answer.
#[derive(Debug)]
pub(in crate::http) struct Copy {
    /// Its body, whole.
    pub(in crate::http) body: Bytes,
    /// `Content-Type`, `Last-Modified` and `Cache-Control` as the app gave them, and an `ETag`, the app's or one of ours.
    pub(in crate::http) lines: Vec<(HeaderName, HeaderValue)>,
    /// When it was taken.
    pub(in crate::http) taken: Time,
}

/// What came of fetching.
#[derive(Debug)]
pub(super) enum Fetched {
    Copy(Copy),
    /// The app says that there is nothing.
    Absent,
    /// Nothing that tells anything.
    Nothing,
}

/// The client that fetches. None when the system has no room for one.
pub(super) fn client() -> Option<reqwest::Client> {
    let client = telemetry::http_client()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(FETCH_MAX)
        .user_agent(concat!("Anteroom/", env!("CARGO_PKG_VERSION"), " (copies)"));
    client.build().ok()
}

/// Fetches one place from an instance.
pub(super) async fn fetch(
    client: &reqwest::Client,
    address: SocketAddr,
    host: &str,
    path: &str,
    now: Time,
) -> Fetched {
    let request = client
        .get(format!("http://{address}{path}"))
        .header(header::HOST, host)
        // As a visitor's would have; an app that leads everybody to https would say nothing else.
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", host);
    let Ok(mut answer) = request.send().await else {
        return Fetched::Nothing;
    };
    match answer.status().as_u16() {
        200 if may_be_kept(answer.headers()) => {}
        404 | 410 => return Fetched::Absent,
        _ => return Fetched::Nothing,
    }
    let mut body = BytesMut::new();
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) if body.len() + piece.len() <= BODY_MAX => {
                body.extend_from_slice(&piece)
            }
            Ok(None) => break,
            _ => return Fetched::Nothing,
        }
    }
    Fetched::Copy(Copy::of(answer.headers(), body.freeze(), now))
}

/// Whether everybody may have this answer later (RFC 9111 §3). A page is no copy: there are apps that answer every path
/// with their page.
fn may_be_kept(headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        let lines = headers.get_all::<HeaderName>(name).iter();
        let mut lines =
            lines.map(|line| String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase());
        lines.any(|line| line.split(',').any(|part| part.trim().starts_with(word)))
    };
    let forbids = ["private", "no-store"];
    !headers.contains_key(header::SET_COOKIE)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !has(header::VARY, "*")
        && !forbids.iter().any(|word| has(header::CACHE_CONTROL, word))
        && !has(header::CONTENT_TYPE, "text/html")
}

impl Copy {
    fn of(headers: &HeaderMap, body: Bytes, taken: Time) -> Copy {
        let kept = [
            header::CONTENT_TYPE,
            header::LAST_MODIFIED,
            header::CACHE_CONTROL,
        ];
        let kept = kept
            .into_iter()
            .filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
        let mut lines: Vec<_> = kept.collect();
        let tag = headers.get(header::ETAG).cloned();
        lines.extend(tag.or_else(|| tag_of(&body)).map(|tag| (header::ETAG, tag)));
        Copy { body, lines, taken }
    }

    /// Whether the client says that it has this copy already (RFC 9110 §13.1.2 and §13.1.3).
    pub(super) fn is_had(&self, headers: &HeaderMap) -> bool {
        let line = |name| {
            let line = self.lines.iter().find(|line| line.0 == name);
            line.and_then(|line| line.1.to_str().ok())
        };
        let tags: Vec<_> = headers.get_all(header::IF_NONE_MATCH).iter().collect();
        if !tags.is_empty() {
            let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
            let ours = line(header::ETAG).map(weak);
            let theirs = tags.iter().filter_map(|tag| tag.to_str().ok());
            let mut theirs = theirs.flat_map(|tags| tags.split(','));
            return theirs.any(|tag| tag.trim() == "*" || Some(weak(tag)) == ours);
        }
        let since = headers.get(header::IF_MODIFIED_SINCE);
        let since = since.and_then(|since| since.to_str().ok());
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        match (
            since.and_then(date),
            line(header::LAST_MODIFIED).and_then(date),
        ) {
            (Some(since), Some(modified)) => modified <= since,
            _ => false,
        }
    }
}

/// A tag for a body of which the app gave none.
fn tag_of(body: &[u8]) -> Option<HeaderValue> {
    let hash = Sha256::digest(body);
    let text: String = hash
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    HeaderValue::from_str(&format!("\"{text}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn what_is_for_one_alone_is_not_kept() {
        for (lines, yes) in [
            (vec![("content-type", "text/plain")], true),
            (vec![("cache-control", "public, max-age=60")], true),
            (vec![("vary", "accept-encoding")], true),
            (vec![("set-cookie", "a=b")], false),
            (vec![("cache-control", "max-age=1, PRIVATE")], false),
            (vec![("cache-control", "no-store")], false),
            (vec![("cache-control", "private=\"x\"")], false),
            (vec![("vary", "accept, *")], false),
            (vec![("content-type", "text/html; charset=utf-8")], false),
            (vec![("content-encoding", "gzip")], false),
        ] {
            assert_eq!(may_be_kept(&headers(&lines)), yes, "{lines:?}");
        }
    }

    #[test]
    fn who_has_it_is_told_so() {
        let of_app = headers(&[
            ("etag", "W/\"a\""),
            ("last-modified", "Mon, 02 Nov 2026 10:00:00 GMT"),
        ]);
        let copy = Copy::of(&of_app, Bytes::from_static(b"x"), Time(0));
        for (name, value, had) in [
            ("if-none-match", "\"a\"", true),
            ("if-none-match", "\"b\", W/\"a\"", true),
            ("if-none-match", "*", true),
            ("if-none-match", "\"b\"", false),
            ("if-modified-since", "Mon, 02 Nov 2026 10:00:00 GMT", true),
            ("if-modified-since", "Mon, 02 Nov 2026 09:59:59 GMT", false),
            ("if-modified-since", "yesterday", false),
            ("range", "bytes=0-1", false),
        ] {
            assert_eq!(
                copy.is_had(&headers(&[(name, value)])),
                had,
                "{name}: {value}"
            );
        }
        // The tag counts, and the date only without one (RFC 9110 §13.2.2).
        let both = [
            ("if-none-match", "\"b\""),
            ("if-modified-since", "Mon, 02 Nov 2026 10:00:00 GMT"),
        ];
        assert!(!copy.is_had(&headers(&both)));
        let untagged = Copy::of(&HeaderMap::new(), Bytes::from_static(b"x"), Time(0));
        let tag = untagged.lines[0].1.to_str().unwrap();
        assert!(untagged.is_had(&headers(&[("if-none-match", tag)])));
    }
}
