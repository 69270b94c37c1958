//! `GET /__anteroom/still`: the waiting page that is not looked at again by itself, for somebody without a script who
//! reads slowly, or listens (WCAG 2.2.1, 2.2.4 and technique F41).
//!
//! The visitor's own address keeps its query and gets no parameter of ours: it is kept in ours, as `?to=`. As soon as
//! the service is awake, this path leads there.

use http::header;
use http::request::Parts;

use super::head::Head;
use super::reply::{self, Reply};
use super::room::Room;
use super::visit::Visit;
use super::wake;
use crate::page::{self, Ask};

/// Answers one request for it.
pub(super) fn answer(room: &Room, visit: &Visit, request: &Parts) -> Reply {
    let (found, now) = (&visit.found, room.now());
    let view = found.site.handle.view();
    let query = request.uri.query().unwrap_or_default();
    let Some(place) = wake::field(query, "to").filter(|place| wake::is_place(place)) else {
        let referer = request.headers.get(header::REFERER);
        let referer = referer.and_then(|value| value.to_str().ok());
        let place = wake::back_to(referer, request.host().unwrap_or_default());
        let here = match is_here(&place) {
            true => place,
            false => address(&place),
        };
        return reply::see_other(view.phase, &here);
    };
    if !view.upstreams.is_empty() {
        return reply::see_other(view.phase, &place);
    }
    let manner = visit.manner();
    // Its address is its visitor's own, so it is made for this answer alone.
    let ask = Ask {
        nonce: found.nonce(&room.keeper, now).as_str().to_owned(),
        ..found.ask(manner.lang)
    };
    reply::wait(found, &view, now, manner, || {
        page::still(&view, now, &ask, &place)
    })
}

/// Whether this path and query is one of ours that says where its visitor wants to go.
pub(super) fn is_here(path: &str) -> bool {
    let to = path
        .strip_prefix(page::STILL)
        .and_then(|rest| rest.strip_prefix("?to="));
    to.is_some_and(|to| to.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Our path for a visitor who wants to go to this one.
fn address(place: &str) -> String {
    let mut address = format!("{}?to=", page::STILL);
    for byte in place.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                address.push(char::from(byte));
            }
            other => address.push_str(&format!("%{other:02X}")),
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_whole() {
        for place in ["/", "/a?b=c&d=%20+e#f", "/a%2Fb?to=/c"] {
            let here = address(place);
            assert!(is_here(&here), "{here}");
            let query = here.split_once('?').unwrap().1;
            assert_eq!(wake::field(query, "to").as_deref(), Some(place), "{here}");
        }
        assert!(!is_here("/__anteroom/still"));
        assert!(!is_here("/__anteroom/stills?to=/"));
        assert!(!is_here("/__anteroom/error?to=/"));
    }
}
