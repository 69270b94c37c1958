//! The words: what the page room and the gate room give us, behind one thin wall. Until
//! those rooms are there, plain stand-ins live here; their nonces are not signed.

use bytes::Bytes;
use http::HeaderValue;

use crate::config::WakeBy;
use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};
use crate::engine::view::View;

/// Signs and checks the page's nonces.
#[derive(Debug, Default)]
pub struct Keeper {}

/// Why a nonce does not count.
#[derive(Debug)]
pub(super) struct NonceError;

const NONCE_LIVES: Span = Span::mins(10);

impl Keeper {
    pub(super) fn nonce(&self, service: &ServiceName, now: Time) -> String {
        format!("{service}.{}", now.0)
    }

    pub(super) fn check(
        &self,
        service: &ServiceName,
        nonce: &str,
        now: Time,
    ) -> Result<(), NonceError> {
        let (name, at) = nonce.rsplit_once('.').ok_or(NonceError)?;
        let at: u64 = at.parse().map_err(|_| NonceError)?;
        match name == service.as_str() && now.since(Time(at)) < NONCE_LIVES {
            true => Ok(()),
            false => Err(NonceError),
        }
    }
}

/// A page, and the policy that lets its own script run and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) html: Bytes,
    pub(super) csp: HeaderValue,
}

fn page(text: &str) -> Page {
    Page {
        html: format!("<!doctype html><html lang=en><title>Anteroom</title><p>{text}</p></html>")
            .into(),
        csp: HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    }
}

pub(super) fn waiting(view: &View, _now: Time, host: &str, nonce: &str, _by: WakeBy) -> Page {
    page(&format!(
        "{host} is {}<form method=post action=/__anteroom/wake><input type=hidden name=nonce value={nonce}><button>Wake</button></form>",
        view.phase.as_str()
    ))
}

pub(super) fn unsent(view: &View, _now: Time, host: &str) -> Page {
    page(&format!(
        "{host} is {}: your form was not sent",
        view.phase.as_str()
    ))
}

pub(super) fn denied(host: &str) -> Page {
    page(&format!("{host} sleeps, and your network may not wake it"))
}

pub(super) fn unknown() -> Page {
    page("no such site here")
}

pub(super) fn unavailable(host: &str) -> Page {
    page(&format!("{host} is temporarily unavailable"))
}

pub(super) fn status_json(view: &View, _now: Time) -> Bytes {
    format!("{{\"phase\":\"{}\"}}", view.phase.as_str()).into()
}

pub(super) fn problem_json(view: &View, _now: Time, _host: &str) -> Bytes {
    format!("{{\"status\":503,\"phase\":\"{}\"}}", view.phase.as_str()).into()
}

pub(super) fn event(view: &View, _now: Time) -> Bytes {
    format!("data: {{\"phase\":\"{}\"}}\n\n", view.phase.as_str()).into()
}

pub(super) fn retry_after(_view: &View, _now: Time) -> u32 {
    5
}
