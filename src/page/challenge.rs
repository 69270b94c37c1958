//! The challenge's own page, for what the waiting page's script can't solve by itself: what is asked, and always the
//! other way in beside it: to wait, and to press the button again. Also the page of those who have no script.
//!
//! A kind that people solve adds a variant to [`Puzzle`] and a part to `templates/challenge.html`, and says what its
//! part needs of the page's policy ([`dress::Own`]).

use askama::Template;
use serde::Serialize;

use super::dress::{self, Needs, Own};
use super::host::Host;
use super::html::door_shut;
use super::lang::Lang;
use super::text::Text;
use super::{Page, Theme};
use crate::engine::time::Span;

/// What is asked of a visitor, and what its answer takes along.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The page's nonce.
    pub nonce: &'a str,
    /// Where the visitor wanted to go: a path on this host.
    pub back: &'a str,
    /// What can be solved on this page.
    pub puzzle: Puzzle,
    /// The other way in: the challenge that waiting solves.
    pub or: &'a str,
    /// How long that is yet.
    pub wait: Span,
    /// What was tried before.
    pub tried: Tried,
}

/// What can be solved on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Puzzle {
    /// Nothing: only the wait is there.
    None,
}

/// What a visitor has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// Nothing yet.
    Nothing,
    /// To press the button before the wait was over.
    TooSoon,
    /// An answer, and it was wrong.
    Wrong,
}

#[derive(Serialize, Template)]
#[template(path = "challenge.html")]
struct Challenge<'a> {
    text: &'a Text,
    title: String,
    heading: String,
    lead: String,
    notice: Option<&'a str>,
    icon: &'static str,
    nonce: &'a str,
    back: &'a str,
    or: &'a str,
    style: &'a str,
}

/// The page of a challenge.
#[must_use]
pub fn challenge(lang: Lang, theme: Option<&Theme>, host: &str, asked: Asked<'_>) -> Page {
    let text = lang.text();
    let first = &text.challenge.wait;
    let (words, notice) = match asked.tried {
        Tried::TooSoon => {
            let early = &text.challenge.early;
            (early, Some(early.heading.as_str()))
        }
        Tried::Nothing | Tried::Wrong => (first, None),
    };
    let host = Host::of(host);
    let wait = text.time(asked.wait);
    let times = [("time", wait.as_str())];
    let own = match asked.puzzle {
        Puzzle::None => Own::default(),
    };
    dress::make(lang, theme, "challenge.html", Needs::Own(own), |dress| {
        Challenge {
            text,
            title: host.text(&words.title, &times),
            heading: host.html(&first.heading, &times),
            lead: host.html(&words.lead, &times),
            notice,
            icon: door_shut(),
            nonce: asked.nonce,
            back: asked.back,
            or: asked.or,
            style: &dress.style,
        }
    })
}
