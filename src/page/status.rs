//! A service for scripts and programs: the status document, the problem document, the event.

use bytes::Bytes;
use serde::Serialize;

use super::host::Host;
use super::lang::Lang;
use super::scene::{self, Scene};
use super::text::{Words, fill};
use crate::engine::contract::Stage;
use crate::engine::time::{Span, Time};
use crate::engine::view::{Phase, View};

/// What the page's script and other clients read. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    phase: Phase,
    scene: Scene,
    stage: Option<Stage>,
    percent: u8,
    elapsed_ms: Option<u64>,
    eta: Option<EtaMs>,
    retry_after: u32,
    failure: Option<&'static str>,
    next_try_ms: Option<u64>,
    version: u64,
    healthy: bool,
    /// Since when the phase is as it is: a mark that two statuses can be compared by, not a time to reckon with.
    since: Time,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct EtaMs {
    median_ms: u64,
    p90_ms: Option<u64>,
}

/// RFC 9457, with the same extensions as the status.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: String,
    status: u16,
    detail: String,
    host: &'a str,
    #[serde(flatten)]
    state: Status,
}

impl Status {
    pub(super) fn of(view: &View, now: Time) -> Status {
        let failed = view.failure.filter(|_| view.phase == Phase::Failed);
        Status {
            phase: view.phase,
            scene: Scene::of(view),
            stage: scene::stage(view),
            percent: scene::percent(view, now),
            elapsed_ms: scene::wake_of(view).map(|wake| now.since(wake.since).0),
            eta: view.eta.map(|eta| EtaMs {
                median_ms: eta.median.0,
                p90_ms: eta.p90.map(|p90| p90.0),
            }),
            retry_after: scene::retry_after(view, now),
            failure: failed.map(|failed| failed.failure.as_str()),
            next_try_ms: failed
                .and_then(|failed| failed.retry_at)
                .map(|at| at.since(now).0),
            version: view.version,
            healthy: view.healthy,
            since: view.since,
        }
    }
}

/// The status document: `phase`, `scene`, `stage`, `percent`, `elapsed_ms`, `eta`, `retry_after`, `failure`,
/// `next_try_ms`, `version`, `healthy`, `since`. Times but `since` are lengths from `now` on, because clocks differ.
#[must_use]
pub fn status_json(view: &View, now: Time) -> Bytes {
    json(&Status::of(view, now)).into()
}

/// The problem document (RFC 9457) for a client that prefers JSON: the service isn't there yet. It goes with
/// status 503.
#[must_use]
pub fn problem_json(view: &View, now: Time, host: &str, lang: Lang) -> Bytes {
    let text = lang.text();
    let detail = match view.failure {
        Some(failed) if view.phase == Phase::Failed => text.failure(failed.failure),
        _ => &text.problem,
    };
    let wait = text.time(Span::secs(scene::retry_after(view, now).into()));
    let problem = Problem {
        r#type: "urn:anteroom:not-ready",
        title: fill(&text.scene(Scene::of(view)).heading, &[("host", host)]),
        status: 503,
        detail: fill(detail, &[("time", &wait)]),
        host,
        state: Status::of(view, now),
    };
    json(&problem).into()
}

/// The title and the detail of a problem document for a client that has woken the service too often: what the page says.
#[must_use]
pub fn limited_words(lang: Lang, host: &str, wait: Span) -> (String, String) {
    words(lang, host, &lang.text().plain.limited, wait)
}

/// The same for one that may not wake it.
#[must_use]
pub fn denied_words(lang: Lang, host: &str) -> (String, String) {
    words(lang, host, &lang.text().plain.denied, Span::ZERO)
}

fn words(lang: Lang, host: &str, words: &Words, wait: Span) -> (String, String) {
    let (host, time) = (Host::of(host), lang.text().time(wait));
    let fill = |pattern| host.text(pattern, &[("time", &time)]);
    (fill(&words.heading), fill(&words.lead))
}

/// One frame of the event stream: the status, under the view's version as its id.
#[must_use]
pub fn event(view: &View, now: Time) -> Bytes {
    let status = json(&Status::of(view, now));
    format!("id: {}\nevent: state\ndata: {status}\n\n", view.version).into()
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs of numbers and texts become JSON")
}
