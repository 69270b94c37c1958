//! What the page shows of a service: one of a few scenes, chosen from the engine's view. The script gets the
//! scene with every status, so that this choice is made in one place.

use serde::Serialize;

use crate::engine::contract::Stage;
use crate::engine::eta;
use crate::engine::time::{Span, Time};
use crate::engine::view::{Phase, View, WakeView};

/// What the page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scene {
    /// Nothing is known yet, or it changes in this moment.
    Learning,
    /// Off: it can be started.
    Asleep,
    /// On its way.
    Waking,
    /// On its way again after a crash.
    Crashed,
    /// Being switched off.
    Stopping,
    /// On, but the app does not answer.
    Unhealthy,
    /// The app answers.
    Ready,
    /// The wake failed.
    Failed,
}

/// Seconds a client waits at most before it asks again, so that it hears of the end soon.
const RETRY_MAX: u64 = 60;

/// Milliseconds in one step of the time until a failed wake is tried again: what is prepared is right for one step.
const RETRY_STEP_MS: u64 = 5_000;

/// Seconds after which it is worth asking again when nothing better is known.
const RETRY_SOON: u64 = 5;

impl Scene {
    /// The scene of this view.
    #[must_use]
    pub fn of(view: &View) -> Scene {
        match view.phase {
            // Traefik or the visitor came here while the gate is still, or again, open: a moment later it is
            // clear which way it went.
            Phase::Learning | Phase::Diverting | Phase::Draining => Scene::Learning,
            Phase::Asleep => Scene::Asleep,
            Phase::Waking if view.wake.is_some_and(|wake| wake.after_crash) => Scene::Crashed,
            Phase::Waking => Scene::Waking,
            Phase::Awake if view.healthy => Scene::Ready,
            Phase::Awake => Scene::Unhealthy,
            Phase::Stopping => Scene::Stopping,
            Phase::Failed => Scene::Failed,
        }
    }

    /// The word used in JSON and in the page's `data-scene`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Scene::Learning => "learning",
            Scene::Asleep => "asleep",
            Scene::Waking => "waking",
            Scene::Crashed => "crashed",
            Scene::Stopping => "stopping",
            Scene::Unhealthy => "unhealthy",
            Scene::Ready => "ready",
            Scene::Failed => "failed",
        }
    }

    /// Whether there is a wake whose progress can be shown.
    #[must_use]
    pub const fn is_on_its_way(self) -> bool {
        matches!(self, Scene::Waking | Scene::Crashed)
    }

    /// Whether a visitor's wish to start it would change anything.
    #[must_use]
    pub const fn can_be_asked(self) -> bool {
        matches!(self, Scene::Asleep | Scene::Stopping | Scene::Failed)
    }
}

/// The wake that is under way, if one is.
pub(super) fn wake_of(view: &View) -> Option<WakeView> {
    view.wake.filter(|_| Scene::of(view).is_on_its_way())
}

/// The furthest stage that the wake has reached.
pub(super) fn stage(view: &View) -> Option<Stage> {
    wake_of(view).map(|wake| wake.stage)
}

/// How far the wake is, in percent: 100 only when the app answers.
pub(super) fn percent(view: &View, now: Time) -> u8 {
    match (Scene::of(view), wake_of(view)) {
        (Scene::Ready, _) => 100,
        (_, Some(wake)) => eta::percent(now.since(wake.since), wake.stage, view.eta),
        (_, None) => 0,
    }
}

/// Seconds after which a page without a script is loaded again, 5 to 60; none where nothing changes by itself.
pub(super) fn refresh_after(view: &View, now: Time) -> Option<u32> {
    let soon = u32::try_from(RETRY_SOON).unwrap_or(1);
    match Scene::of(view) {
        Scene::Asleep | Scene::Stopping => None,
        Scene::Learning | Scene::Waking | Scene::Crashed => Some(soon),
        Scene::Ready | Scene::Unhealthy => Some(soon),
        Scene::Failed => {
            let retry_at = view.failure.and_then(|failed| failed.retry_at);
            retry_at.map(|_| retry_after(view, now).max(soon))
        }
    }
}

/// Seconds until it is worth asking again, 1 to 60.
#[must_use]
pub fn retry_after(view: &View, now: Time) -> u32 {
    let median = view.eta.map(|eta| eta.median);
    let wait = match Scene::of(view) {
        Scene::Learning | Scene::Ready => Span::secs(1),
        Scene::Unhealthy => Span::secs(RETRY_SOON),
        Scene::Asleep | Scene::Stopping => median.unwrap_or(Span::secs(30)),
        Scene::Waking | Scene::Crashed => {
            let ends = wake_of(view)
                .zip(median)
                .map(|(wake, usual)| wake.since + usual);
            let left = ends.map(|end| end.since(now)).filter(|left| left.0 > 0);
            left.unwrap_or(Span::secs(RETRY_SOON))
        }
        Scene::Failed => {
            let retry_at = view.failure.and_then(|failed| failed.retry_at);
            retry_at.map_or(Span::secs(RETRY_MAX), |at| {
                Span(at.since(now).0.div_ceil(RETRY_STEP_MS) * RETRY_STEP_MS)
            })
        }
    };
    u32::try_from(wait.0.div_ceil(1_000).clamp(1, RETRY_MAX)).unwrap_or(1)
}
