//! Who of another origin may read what the room answers in the app's place (the Fetch standard, "CORS protocol").
//!
//! A page of one origin that calls a sleeping app of another gets our 503. A browser shows such an answer to the page
//! only where it names the page's origin; else all that the page sees is an error of the network. A service names
//! those pages in `origins`. They are trusted by name, so they are let through with the visitor's cookies too: one
//! that asks with them gets no answer at all from a server that does not say so.
//!
//! A preflight wakes nothing and is kept waiting by nobody. Its answer is that the request itself may come, which then
//! is what it is: told to wait, or held. Our own paths are for our own page, and say nothing of this to anybody.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::head::Head;
use super::reply::{self, Reply};
use crate::engine::view::Phase;

/// What a page may read of our answers beside what every page may: the rest are headers that a browser shows anyway.
const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After, X-Anteroom");

/// For how many seconds a browser may keep the answer to a preflight: soon the app answers itself, by its own rules.
const KEPT_S: u32 = 5;

/// The longest list of headers that a preflight may ask for, in bytes.
const WANTED_MAX: usize = 1_024;

/// Who reads the answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// The service has no pages elsewhere: nothing is said.
    Unasked,
    /// No page of another origin, or none that the service names.
    Own,
    /// A page that the service names, by its origin.
    Listed(HeaderValue),
}

impl Reader {
    /// Who reads the answer to the request with this head. Two origins in one head are none.
    pub(super) fn of(origins: &[String], head: &impl Head) -> Reader {
        if origins.is_empty() {
            return Reader::Unasked;
        }
        let mut lines = head.lines(&header::ORIGIN);
        let listed = match (lines.next(), lines.next()) {
            (Some(line), None) => origins.iter().find(|origin| **origin == *line),
            _ => None,
        };
        let value = listed.and_then(|origin| HeaderValue::from_str(origin).ok());
        value.map_or(Reader::Own, Reader::Listed)
    }

    /// An answer of ours, for this reader.
    pub(super) fn shown(&self, mut reply: Reply) -> Reply {
        let headers = reply.headers_mut();
        match self {
            Reader::Unasked => {}
            Reader::Own => varies(headers),
            Reader::Listed(origin) => {
                varies(headers);
                names(headers, origin);
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
        }
        reply
    }

    /// The answer to a preflight of this reader; none where the request is no preflight, or one that is refused.
    pub(super) fn lets(&self, method: &Method, headers: &HeaderMap, phase: Phase) -> Option<Reply> {
        let Reader::Listed(_) = self else {
            return None;
        };
        let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let is_method = Method::from_bytes(wanted.as_bytes()).is_ok();
        let lines = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let mut lines = lines.iter();
        let (names, more) = (lines.next(), lines.next());
        let fits = method == Method::OPTIONS && is_method && more.is_none();
        if !fits || !names.is_none_or(are_names) {
            return None;
        }
        let mut reply = reply::preflight(phase);
        let said = reply.headers_mut();
        said.insert(header::ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
        if let Some(names) = names {
            said.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        said.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(KEPT_S));
        Some(reply)
    }
}

/// The answer is another one for another origin.
pub(super) fn varies(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

fn names(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    let cookies = HeaderValue::from_static("true");
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, cookies);
}

/// Names of headers with commas between, as the list that a browser sends.
fn are_names(list: &HeaderValue) -> bool {
    let is_name = |name: &[u8]| HeaderName::from_bytes(name.trim_ascii()).is_ok();
    list.len() <= WANTED_MAX && list.as_bytes().split(|byte| *byte == b',').all(is_name)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn reader(lines: &[(&str, &str)]) -> Reader {
        let mut request = Request::get("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let origins = [
            "https://app.test".to_owned(),
            "http://[::1]:8080".to_owned(),
        ];
        Reader::of(&origins, &parts)
    }

    #[test]
    fn only_the_very_origin_is_named() {
        let listed = |origin| Reader::Listed(HeaderValue::from_static(origin));
        for (origin, found) in [
            ("https://app.test", listed("https://app.test")),
            ("http://[::1]:8080", listed("http://[::1]:8080")),
            ("https://APP.test", Reader::Own),
            ("https://app.test:443", Reader::Own),
            ("https://app.test/", Reader::Own),
            ("http://app.test", Reader::Own),
            ("https://app.test.evil.test", Reader::Own),
            ("https://evil.test, https://app.test", Reader::Own),
            ("https://app.test https://evil.test", Reader::Own),
            ("null", Reader::Own),
            ("*", Reader::Own),
            ("", Reader::Own),
        ] {
            assert_eq!(reader(&[("origin", origin)]), found, "{origin:?}");
        }
        let two = [("origin", "https://app.test"); 2];
        assert_eq!(reader(&two), Reader::Own);
        assert_eq!(reader(&[]), Reader::Own);
    }

    #[test]
    fn a_preflight_is_granted_what_it_asks_for_if_that_can_be_said_at_all() {
        let reader = Reader::Listed(HeaderValue::from_static("https://app.test"));
        let granted = |method: &str, headers: Option<&str>| {
            let mut lines = HeaderMap::new();
            lines.insert(
                header::ACCESS_CONTROL_REQUEST_METHOD,
                method.parse().unwrap(),
            );
            if let Some(headers) = headers {
                let name = header::ACCESS_CONTROL_REQUEST_HEADERS;
                lines.insert(name, headers.parse().unwrap());
            }
            let reply = reader.lets(&Method::OPTIONS, &lines, Phase::Asleep)?;
            let said = |name| reply.headers().get(name).cloned();
            Some((
                said(header::ACCESS_CONTROL_ALLOW_METHODS),
                said(header::ACCESS_CONTROL_ALLOW_HEADERS),
            ))
        };
        let value = |text: &str| Some(HeaderValue::from_str(text).unwrap());
        assert_eq!(granted("PUT", None), Some((value("PUT"), None)));
        let names = "authorization,content-type";
        assert_eq!(
            granted("PATCH", Some(names)),
            Some((value("PATCH"), value(names)))
        );
        let long = "a,".repeat(WANTED_MAX / 2) + "a";
        for (method, names) in [
            ("", None),
            ("P UT", None),
            ("PUT,GET", None),
            ("PUT", Some("a b")),
            ("PUT", Some("")),
            ("PUT", Some("a,")),
            ("PUT", Some(&long)),
        ] {
            assert_eq!(granted(method, names), None, "{method:?} {names:?}");
        }
        let lines = HeaderMap::new();
        let no_preflight = reader.lets(&Method::OPTIONS, &lines, Phase::Asleep);
        assert!(no_preflight.is_none());
    }
}
