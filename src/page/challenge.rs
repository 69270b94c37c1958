//! The challenge's own page, for what the waiting page's script can't solve by itself: what is asked, and always the
//! other way in beside it: to wait, and to press the button. Also the page of those who have no script.
//!
//! A kind that people solve adds a variant to [`Puzzle`] and a part to `templates/challenge.html`, and says what its
//! part needs of the page's policy ([`dress::Own`]). Read on in [`board`] (chess).

use askama::Template;
use serde::Serialize;

use super::check::{CODE, Check, Widget};
use super::dress::{self, Needs, Own};
use super::host::Host;
use super::html::door_shut;
use super::lang::Lang;
use super::text::Text;
use super::{Page, Theme};
use crate::engine::chess::Position;
use crate::engine::time::Span;
use board::Board;

mod board;

/// What is asked of a visitor, and what its answer takes along.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The page's nonce.
    pub nonce: &'a str,
    /// Where the visitor wanted to go: a path on this host.
    pub back: &'a str,
    /// What can be solved on this page.
    pub puzzle: Puzzle<'a>,
    /// The other way in: the challenge that waiting solves.
    pub or: &'a str,
    /// How long that is yet.
    pub wait: Span,
    /// What was tried before.
    pub tried: Tried,
}

/// What can be solved on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Puzzle<'a> {
    /// Nothing: only the wait is there.
    None,
    /// A mate in one move.
    Chess {
        /// What is sent back with the move.
        text: &'a str,
        /// What is shown.
        position: Position,
    },
    /// The widget of a captcha service.
    Check(Widget<'a>),
}

/// What a visitor has tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// Nothing yet.
    Nothing,
    /// To press the button before the wait was over.
    TooSoon,
    /// An answer, and it was wrong.
    Wrong,
    /// An answer that nobody could check.
    Unchecked,
}

#[derive(Serialize, Template)]
#[template(path = "challenge.html")]
struct Challenge<'a> {
    text: &'a Text,
    title: String,
    heading: String,
    lead: Option<String>,
    notice: Option<Notice<'a>>,
    icon: &'static str,
    nonce: &'a str,
    back: &'a str,
    chess: Option<Board<'a>>,
    check: Option<Check<'a>>,
    or: &'a str,
    or_lead: Option<String>,
    style: &'a str,
}

/// What is said of the last try.
#[derive(Serialize)]
struct Notice<'a> {
    /// To stand out; none where there is nothing more to say.
    heading: Option<&'a str>,
    lead: String,
}

/// The page of a challenge.
#[must_use]
pub fn challenge(lang: Lang, theme: Option<&Theme>, host: &str, asked: Asked<'_>) -> Page {
    let text = lang.text();
    let words = &text.challenge;
    let host = Host::of(host);
    let wait = text.time(asked.wait);
    let times = [("time", wait.as_str())];
    let html = |pattern: &str| host.html(pattern, &times);
    let chess = &words.chess;
    let (lead, wrong, or) = match asked.puzzle {
        Puzzle::None => (&words.wait.lead, None, None),
        Puzzle::Chess { .. } => (&chess.lead, Some(&chess.wrong), Some(&chess.or)),
        Puzzle::Check(_) => (&words.wait.lead, Some(&words.check.wrong), None),
    };
    let notice = match asked.tried {
        Tried::Nothing => None,
        Tried::TooSoon => Some((Some(words.early.heading.as_str()), &words.early.lead)),
        Tried::Wrong => wrong.map(|wrong| (None, wrong)),
        Tried::Unchecked => Some((None, &words.check.unknown)),
    };
    let title = match asked.tried {
        Tried::TooSoon => &words.early.title,
        Tried::Nothing | Tried::Wrong | Tried::Unchecked => &words.wait.title,
    };
    let (styles, scripts) = ([board::STYLE], [board::SCRIPT.as_str()]);
    let widget = match asked.puzzle {
        Puzzle::Check(widget) => Some(widget),
        Puzzle::None | Puzzle::Chess { .. } => None,
    };
    let (code, sources) = ([CODE.as_str()], widget.map(|widget| widget.sources()));
    let own = match asked.puzzle {
        Puzzle::None => Own::default(),
        Puzzle::Chess { .. } => Own {
            styles: &styles,
            scripts: &scripts,
            sources: &[],
        },
        Puzzle::Check(_) => Own {
            styles: &[],
            scripts: &code,
            sources: sources.as_deref().unwrap_or_default(),
        },
    };
    dress::make(lang, theme, "challenge.html", Needs::Own(own), |dress| {
        Challenge {
            text,
            title: host.text(title, &times),
            heading: html(&words.wait.heading),
            // How long it is yet is said in one place.
            lead: (or.is_some() || asked.tried != Tried::TooSoon).then(|| html(lead)),
            notice: notice.map(|(heading, lead)| Notice {
                heading,
                lead: html(lead),
            }),
            icon: door_shut(),
            nonce: asked.nonce,
            back: asked.back,
            chess: match asked.puzzle {
                Puzzle::Chess { text, position } => Some(Board::of(lang, text, position)),
                Puzzle::None | Puzzle::Check(_) => None,
            },
            check: widget.map(|widget| Check::of(&widget, lang)),
            or: asked.or,
            or_lead: or.map(|or| html(or)),
            style: &dress.style,
        }
    })
}
