//! Alerts of Grafana and Alertmanager: `/v1/scale-up` and `/v1/scale-down`.
//!
//! A call may be sent again, doubled or forged. Who sends it must know the admin token or sign what it sends; what was told a
//! moment ago is not told again, and a service is told so much in a minute. What an alert does is the engine's alone: within the
//! bounds of its service, whatever comes in here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Admin, Answer, Refusal, bytes, json_answer};
use crate::driver::handle::{Command, Handle};
use crate::engine::id::ServiceName;
use crate::engine::scale::{Alert, Direction};
use crate::signal::webhook::{self, Heard, signature};
use crate::telemetry::metrics;

/// A group of two hundred alerts has a few hundred kilobytes.
const BODY_MAX: usize = 1024 * 1024;

/// Bodies that are read at a time: who signs its call is known only when it is whole.
const BODIES_MAX: usize = 8;

/// What a service was told stays known for so long; after that a repetition is told again, because another room may lead the
/// service by now.
const LATELY: Duration = Duration::from_secs(60);

/// Alerts that a service is told in that time.
const LATELY_MAX: usize = 32;

/// Names of services that are not ours, in an answer.
const UNKNOWN_MAX: usize = 20;

/// How a call proves itself that does not carry the admin token.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key of the HMAC.
    pub secret: String,
    /// The header that has the time of the call, which is signed with the body; none: the body alone is signed.
    pub timestamp_header: Option<String>,
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header = &self.timestamp_header;
        f.debug_struct("Signed")
            .field("timestamp_header", header)
            .finish_non_exhaustive()
    }
}

/// What is known of alerts that came in.
#[derive(Debug)]
pub struct Alerts {
    /// How calls are signed; none: they carry the admin token, or come from this host.
    pub signed: ArcSwapOption<Signed>,
    /// The services that may have more than one instance.
    pub scaled: ArcSwap<BTreeSet<ServiceName>>,
    lately: Mutex<BTreeMap<ServiceName, Lately>>,
    bodies: Semaphore,
}

impl Alerts {
    /// Nothing has come in yet. `scaled`: the services that may have more than one instance.
    #[must_use]
    pub fn new(signed: Option<Signed>, scaled: BTreeSet<ServiceName>) -> Alerts {
        Alerts {
            signed: ArcSwapOption::from_pointee(signed),
            scaled: ArcSwap::from_pointee(scaled),
            lately: Mutex::default(),
            bodies: Semaphore::new(BODIES_MAX),
        }
    }

    /// The service begins anew and knows of no alert: what it was told is told again.
    pub fn forget(&self, service: &ServiceName) {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.remove(service);
    }
}

/// What a service was told lately, oldest first.
#[derive(Debug, Default)]
struct Lately(VecDeque<(Alert, Instant)>);

/// What becomes of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// The service is told of it.
    On,
    /// It was told so a moment ago.
    Known,
    /// It has been told so much that it is not told this.
    TooMuch,
}

impl Lately {
    fn pass(&mut self, alert: Alert, now: Instant) -> Passed {
        while self
            .0
            .front()
            .is_some_and(|(_, at)| now.duration_since(*at) >= LATELY)
        {
            self.0.pop_front();
        }
        if self.0.iter().any(|(told, _)| *told == alert) {
            return Passed::Known;
        }
        if self.0.len() >= LATELY_MAX {
            return Passed::TooMuch;
        }
        self.0.push_back((alert, now));
        Passed::On
    }

    /// It was not told after all.
    fn take_back(&mut self) {
        self.0.pop_back();
    }
}

/// What is done about an alert of one of our services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// The service looks at its load now, or moves by one instance where alerts are all that it has.
    Firing,
    /// What fired before has ended.
    Ended,
    /// It was told a moment ago already.
    Repeated,
    /// The alert says that nothing is known, which is no evidence.
    NoEvidence,
    /// Nothing: the service never has more than one instance.
    NotScaled,
    /// Nothing: it says that it began later than now.
    Ahead,
    /// Too many at a time; it is to be sent again.
    HeldBack,
}

impl Done {
    /// The word in the answer and in the metric.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Ended => "ended",
            Self::Repeated => "repeated",
            Self::NoEvidence => "no_evidence",
            Self::NotScaled => "not_scaled",
            Self::Ahead => "ahead",
            Self::HeldBack => "held_back",
        }
    }

    /// What the operator must mend where nothing comes of an alert.
    const fn mend(self) -> Option<&'static str> {
        match self {
            Self::NotScaled => Some(
                "it does not scale, so nothing is done; write max and signal in its [service.NAME.scale], or send its alerts \
                 elsewhere",
            ),
            Self::Ahead => Some(
                "an alert began later than now, so nothing is done; compare the clocks of its sender and of this host",
            ),
            _ => None,
        }
    }
}

/// Which way a path of alerts points.
pub(super) fn direction(path: &str) -> Option<Direction> {
    match path.trim_end_matches('/') {
        "/v1/scale-up" => Some(Direction::Up),
        "/v1/scale-down" => Some(Direction::Down),
        _ => None,
    }
}

impl Admin {
    /// Takes a call.
    pub(super) async fn alerts<B>(
        &self,
        peer: SocketAddr,
        request: Request<B>,
        direction: Direction,
    ) -> Result<Answer, Refusal>
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if !matches!(*request.method(), Method::POST | Method::PUT) {
            let why = "alerts are sent by POST or PUT";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        let headers = request.headers().clone();
        let signed = self.signature(peer, &headers)?;
        let Ok(_place) = self.alerts.bodies.try_acquire() else {
            let why = "too many calls at a time; send it again";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        let bad = |why| Refusal::new(StatusCode::BAD_REQUEST, why);
        let body = bytes(request, BODY_MAX).await.map_err(bad)?;
        if let Some((signed, signature)) = signed {
            let header = signed.timestamp_header.as_ref();
            let timestamp = header.map(|name| {
                let value = headers.get(name.as_str());
                value.and_then(|value| value.to_str().ok())
            });
            let now = self.clock.now().0 / 1000;
            let key = signed.secret.as_bytes();
            let checked = signature::check(key, &signature, timestamp, &body, now);
            checked.map_err(|bad| Refusal::new(StatusCode::UNAUTHORIZED, bad.to_string()))?;
        }
        let call = webhook::read(&body, direction).map_err(bad)?;
        Ok(self.tell(call))
    }

    /// The signature that the call must be checked by; none where it may be made without. Where calls are signed and there
    /// is no admin token, one without a signature is refused on this host, too.
    #[expect(
        clippy::type_complexity,
        reason = "the settings, and the signature that goes with them"
    )]
    fn signature(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Option<(std::sync::Arc<Signed>, Vec<u8>)>, Refusal> {
        let Some(signed) = self.alerts.signed.load_full() else {
            return self.admit(peer, headers).map(|()| None);
        };
        match headers.get(signature::HEADER) {
            Some(signature) => Ok(Some((signed, signature.as_bytes().to_vec()))),
            None if self.token.load().is_some() => self.admit(peer, headers).map(|()| None),
            None => {
                let why = "this call must be signed: X-Grafana-Alerting-Signature";
                Err(Refusal::new(StatusCode::UNAUTHORIZED, why))
            }
        }
    }

    /// Tells the services, each what is its own, and answers what was done.
    fn tell(&self, call: webhook::Call) -> Answer {
        let services = self.services.load();
        let mut done = BTreeMap::<ServiceName, BTreeMap<&str, u32>>::new();
        let (mut unknown, mut unnamed) = (BTreeMap::<String, u32>::new(), 0);
        let mut mend = BTreeMap::<ServiceName, &str>::new();
        let mut held_back = false;
        for heard in call.alerts {
            let (name, alert) = match heard {
                Heard::Of(name, alert) => (name, Some(alert)),
                Heard::NoEvidence(name) => (name, None),
                Heard::Nobody(Some(name)) => {
                    *unknown.entry(name).or_default() += 1;
                    continue;
                }
                Heard::Nobody(None) => {
                    unnamed += 1;
                    continue;
                }
            };
            let Some(handle) = services.get(&name) else {
                *unknown.entry(name.to_string()).or_default() += 1;
                continue;
            };
            let what = alert.map_or(Done::NoEvidence, |alert| self.pass_on(handle, alert));
            held_back |= what == Done::HeldBack;
            metrics().alerted(&name, what.as_str());
            mend.extend(what.mend().map(|words| (name.clone(), words)));
            let of = done.entry(name).or_default();
            *of.entry(what.as_str()).or_default() += 1;
        }
        let unknown: BTreeMap<_, _> = unknown.into_iter().take(UNKNOWN_MAX).collect();
        let mut told = json!({
            "services": done, "unknown": unknown, "without_label": unnamed, "left_out": call.left_out,
        });
        if !mend.is_empty() {
            told["mend"] = json!(mend);
        }
        if !held_back {
            return json_answer(StatusCode::OK, &told);
        }
        let mut answer = json_answer(StatusCode::TOO_MANY_REQUESTS, &told);
        let later = header::HeaderValue::from(LATELY.as_secs());
        answer.headers_mut().insert(header::RETRY_AFTER, later);
        answer
    }

    /// Tells a service of an alert, unless it knows of it, or has been told too much.
    fn pass_on(&self, handle: &Handle, alert: Alert) -> Done {
        let (service, lately) = (handle.service(), &self.alerts.lately);
        let nothing = match self.alerts.scaled.load().contains(service) {
            false => Some(Done::NotScaled),
            true => Some(Done::Ahead).filter(|_| alert.is_ahead(self.clock.now())),
        };
        let mut lately = lately.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = lately.entry(service.clone()).or_default();
        let passed = lately.pass(alert, Instant::now());
        if let Some(nothing) = nothing {
            if passed == Passed::On {
                let why = nothing.mend();
                tracing::warn!(%service, why, "nothing comes of an alert");
            }
            return nothing;
        }
        match passed {
            Passed::Known => Done::Repeated,
            Passed::TooMuch => Done::HeldBack,
            Passed::On if handle.command(Command::Alert(alert)).is_err() => {
                lately.take_back();
                Done::HeldBack
            }
            Passed::On => {
                let (direction, firing) = (alert.direction.as_str(), alert.firing);
                tracing::info!(%service, direction, firing, "an alert came in");
                if firing { Done::Firing } else { Done::Ended }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Time;

    fn alert(name: u64, firing: bool) -> Alert {
        Alert {
            name,
            direction: Direction::Up,
            at: Time(1_795_280_650_000),
            firing,
        }
    }

    #[test]
    fn what_was_told_a_moment_ago_is_not_told_again() {
        let mut lately = Lately::default();
        let now = Instant::now();
        assert_eq!(lately.pass(alert(1, true), now), Passed::On);
        assert_eq!(lately.pass(alert(1, true), now), Passed::Known);
        assert_eq!(lately.pass(alert(1, false), now), Passed::On, "its end");
        assert_eq!(lately.pass(alert(1, false), now), Passed::Known);
        // The service may have another leader by now.
        assert_eq!(lately.pass(alert(1, true), now + LATELY), Passed::On);
        // One that did not come through is tried again.
        assert_eq!(lately.pass(alert(2, true), now + LATELY), Passed::On);
        lately.take_back();
        assert_eq!(lately.pass(alert(2, true), now + LATELY), Passed::On);
    }

    #[test]
    fn a_service_is_told_so_much_in_a_minute() {
        let mut lately = Lately::default();
        let now = Instant::now();
        for name in 0..LATELY_MAX as u64 {
            assert_eq!(lately.pass(alert(name, true), now), Passed::On);
        }
        for name in 100..2_000 {
            assert_eq!(lately.pass(alert(name, true), now), Passed::TooMuch);
        }
        assert_eq!(lately.0.len(), LATELY_MAX);
        assert_eq!(lately.pass(alert(0, true), now), Passed::Known);
        assert_eq!(lately.pass(alert(100, true), now + LATELY), Passed::On);
        assert_eq!(lately.0.len(), 1);
    }
}
