//! The page for a browser without a script, where a service asks for a challenge: a wait, and the button again.

use askama::Template;
use serde::Serialize;

use super::Page;
use super::dress;
use super::html::door_shut;
use super::lang::Lang;
use super::text::{Text, fill};
use crate::engine::time::Span;

/// What the page's form takes along.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// The page's nonce.
    pub nonce: &'a str,
    /// The challenge that the wait solves.
    pub challenge: &'a str,
    /// Where the visitor wanted to go: a path on this host.
    pub back: &'a str,
}

#[derive(Serialize, Template)]
#[template(path = "challenge.html")]
struct Challenge<'a> {
    text: &'a Text,
    title: String,
    heading: String,
    lead: String,
    icon: &'static str,
    nonce: &'a str,
    challenge: &'a str,
    back: &'a str,
    style: &'a str,
}

/// The wait before the button counts: this long yet. `early`: it was pressed too soon.
#[must_use]
pub fn challenge(lang: Lang, host: &str, carried: Carried<'_>, wait: Span, early: bool) -> Page {
    let text = lang.text();
    let words = match early {
        true => &text.challenge.early,
        false => &text.challenge.wait,
    };
    let wait = text.time(wait);
    let named = |pattern: &str| fill(pattern, &[("host", host), ("time", &wait)]);
    dress::make(lang, None, "challenge.html", false, |dress| Challenge {
        text,
        title: named(&words.title),
        heading: named(&words.heading),
        lead: named(&words.lead),
        icon: door_shut(),
        nonce: carried.nonce,
        challenge: carried.challenge,
        back: carried.back,
        style: &dress.style,
    })
}
