//! What a visitor sees while the service isn't there: the waiting page and its relatives, and the same for
//! programs, from the engine's view to bytes. Pure: no clock, no request, no I/O.
//!
//! A page is one document without any other resource, and the same bytes for everybody who asks for the same
//! host within a moment, but for one gap: they are prepared when the state changes, and each answer fills the gap with
//! its own nonce of the gate. That is why its policy names hashes and not nonces, and why what differs between services
//! goes in as data (`<script type="application/json">`, which no browser runs).
//!
//! The page says only what is true (I14): a stage when it is reached, "ready" when the app answers. Without a
//! script it still works, by a form and a link.
//!
//! Read [`scene`] (what is shown when), [`text`] (the words), [`lang`] (the languages), [`accept`] (who reads which), [`html`] (the page), `dress` (its style and
//! script, and its policy), [`theme`] (an operator's own pages), [`sheet`] (its gap), [`status`] (for programs), then `templates/waiting.js`. All states that there are stand in [`samples`].
//!
//! # What the script expects of the room
//!
//! | request | answers |
//! |---|---|
//! | `POST /__anteroom/wake`, form `nonce`, `by`; `X-Anteroom-Page: 1` | 202 and the status; 409 when the nonce is too old, with a fresh `nonce` if the room likes; 429 with `retry_after`; 403 |
//! | `GET /__anteroom/events` | [`event`]s |
//! | `GET /__anteroom/status` | [`status_json`] |
//!
//! Each with `X-Anteroom`: an answer without it came from the app.

pub mod accept;
pub mod challenge;
mod check;
mod dress;
mod host;
pub mod html;
pub mod lang;
pub mod samples;
pub mod scene;
pub mod sheet;
pub mod status;
pub mod text;
pub mod theme;

pub use challenge::{Asked, Puzzle, Tried, challenge};
pub use check::Widget;
pub use html::{Page, denied, limited, render, still, time_in_gap, unavailable, unknown, unsent};
pub use lang::Lang;
pub use scene::{Scene, retry_after};
pub use sheet::Sheet;
pub use status::{denied_words, event, limited_words, problem_json, status_json};
pub use theme::{Theme, ThemeError};

use std::sync::Arc;

/// Where the waiting page stands still without a script: `?to=` says where the visitor wants to go; without it that is
/// where the visitor comes from.
pub const STILL: &str = "/__anteroom/still";

/// What a page needs to know besides the view.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The host, as the visitor wrote it. It may hold anything; it is escaped wherever it is shown.
    pub host: String,
    /// The gate's nonce, or [`sheet::GAP`] where each answer will have its own.
    pub nonce: String,
    /// What the visitor must do.
    pub wake_by: WakeBy,
    /// What the visitor reads.
    pub lang: Lang,
    /// The service's own pages; none for ours.
    pub theme: Option<Arc<Theme>>,
}

/// What a visitor must do to wake a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeBy {
    /// Open the page: its script asks, or its button.
    Page,
    /// Press the button.
    Click,
    /// Nothing: a request is enough.
    Request,
    /// Open the page: its script asks, and works for it where it must; or its button, and a wait.
    Challenge,
}

#[cfg(test)]
mod tests;
