//! What a wish to wake must show where its service asks for a challenge: who passes, and what the others are asked.
//!
//! Nobody is asked for anything while the service is awake or on its way. Where the load is no more than usual, the
//! page's script may owe its proof: the wake begins at once, and the visitor's browser works while the machine
//! boots. What is owed and how hard it is, [`engine::toll`](crate::engine::toll) says; whether it is solved,
//! [`gate::challenge`](crate::gate::challenge).
//!
//! A kind that people solve stands on the challenge's own page ([`page::challenge`](crate::page::challenge)). It adds a
//! variant to [`Puzzle`] and an arm to [`Challenger::check`], which may ask a server elsewhere: nothing is locked meanwhile,
//! and whoever is there when the service is on its way by then passes, whatever was answered.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::check::{Check, Widget};
use super::room::Room;
use super::visit::Visit;
use crate::config::{self, ChallengeKind};
use crate::engine::chess::Position;
use crate::engine::route;
use crate::engine::time::{Span, Time};
use crate::engine::toll::Toll;
use crate::engine::view::Phase;
use crate::gate::{Bound, ChallengeError, Task};
use crate::page::{self, Tried};

/// What a site asks of those who would wake it, and what is remembered of them. A reload begins anew.
#[derive(Debug)]
pub struct Challenger {
    rules: config::Challenge,
    check: Option<Check>,
    toll: Mutex<Toll>,
    /// Counts what people were asked, so that nobody is asked the same twice in a row.
    turn: AtomicU64,
}

/// What a visitor brings with its wish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought<'a> {
    pub(super) nonce: &'a str,
    /// The nonce's serial.
    pub(super) serial: u64,
    pub(super) challenge: &'a str,
    pub(super) answer: &'a str,
    /// The challenge of the other way in, beside one that is answered.
    pub(super) or: &'a str,
    /// It is the page's script that asks: it can prove later what it owes now.
    pub(super) by_script: bool,
}

/// Who passes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Nothing is asked for, or it is proven.
    Free,
    /// On credit: this is owed from now on. Forgive it if nothing came of the wish.
    Owing(Puzzle),
}

/// What is to be solved, as a script or a program gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Puzzle {
    /// Work for the page's script.
    Pow {
        /// What is to be solved and sent back.
        text: String,
        /// How many zero bits.
        bits: u8,
    },
    /// A mate in one move.
    Chess {
        /// What is sent back, with the move.
        text: String,
        /// The position, in Forsyth-Edwards Notation.
        fen: String,
        #[serde(skip)]
        position: Position,
    },
    /// Cloudflare's widget.
    Turnstile(Widget),
    /// hCaptcha's.
    Hcaptcha(Widget),
}

/// What is asked of a visitor who does not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// The challenge.
    pub(super) puzzle: Puzzle,
    /// The other way in.
    pub(super) or: Wait,
    /// What the visitor has tried.
    pub(super) tried: Tried,
}

/// A time to wait before the wish is sent again with this text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Wait {
    kind: &'static str,
    /// What is sent back.
    pub(super) text: String,
    /// How long from now.
    #[serde(rename = "wait_ms")]
    pub(super) wait: Span,
}

/// What became of what a visitor brought.
enum Checked {
    Solved,
    /// Not solved; and a wait of the visitor's that is not over, if there is one.
    Not(Tried, Option<Wait>),
}

impl Puzzle {
    /// What is sent back; empty where the challenge has no text of ours.
    fn text(&self) -> &str {
        match self {
            Puzzle::Pow { text, .. } | Puzzle::Chess { text, .. } => text,
            Puzzle::Turnstile(_) | Puzzle::Hcaptcha(_) => "",
        }
    }
}

impl Demand {
    /// The same for the challenge's page.
    pub(super) fn asked<'a>(&'a self, nonce: &'a str, back: &'a str) -> page::Asked<'a> {
        page::Asked {
            nonce,
            back,
            puzzle: match &self.puzzle {
                Puzzle::Pow { .. } => page::Puzzle::None,
                Puzzle::Chess { text, position, .. } => page::Puzzle::Chess {
                    text,
                    position: *position,
                },
                Puzzle::Turnstile(widget) | Puzzle::Hcaptcha(widget) => widget.shown(),
            },
            or: &self.or.text,
            wait: self.or.wait,
            tried: self.tried,
        }
    }
}

impl Challenger {
    /// A challenger with these rules that remembers nothing yet.
    #[must_use]
    pub fn new(rules: config::Challenge) -> Challenger {
        let check = match &rules.kind {
            ChallengeKind::Captcha(captcha) => Some(Check::new(captcha)),
            ChallengeKind::Pow(_) | ChallengeKind::Chess => None,
        };
        Challenger {
            rules,
            check,
            toll: Mutex::default(),
            turn: AtomicU64::new(0),
        }
    }

    /// Whether a captcha service knows our secret, or in words why that can't be said; none where there is no such service.
    /// Calls it.
    pub async fn knows_secret(&self) -> Option<Result<bool, &'static str>> {
        let check = self.check.as_ref()?;
        Some(check.knows_secret().await)
    }

    fn toll(&self) -> MutexGuard<'_, Toll> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.toll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was owed is not any more: nothing came of the wish.
    pub(super) fn forgive(&self, puzzle: &Puzzle, now: Time) {
        self.toll().pay(puzzle.text(), now);
    }

    /// Whether it is solved by people, on a page of its own, and not by the waiting page's script.
    pub(super) fn is_for_people(&self) -> bool {
        match self.rules.kind {
            ChallengeKind::Pow(_) => false,
            ChallengeKind::Chess | ChallengeKind::Captcha(_) => true,
        }
    }

    /// Whether what was brought solves it. A kind that asks a server elsewhere does so here.
    async fn check(
        &self,
        room: &Room,
        client: IpAddr,
        bound: Bound<'_>,
        brought: Brought<'_>,
    ) -> Checked {
        let now = room.now();
        let solved = |challenge, answer| room.keeper.solved(bound, challenge, answer, now);
        let early = |text: &str, wait| {
            Some(Wait {
                kind: "wait",
                text: text.to_owned(),
                wait,
            })
        };
        let tried = match solved(brought.challenge, brought.answer) {
            Ok(_) => return Checked::Solved,
            Err(ChallengeError::Early(left)) => {
                return Checked::Not(Tried::TooSoon, early(brought.challenge, left));
            }
            Err(ChallengeError::Unsolved) => Tried::Wrong,
            Err(_) => match &self.check {
                Some(check) if !brought.answer.is_empty() => {
                    match check.tried(room, bound, client, brought.answer).await {
                        None => return Checked::Solved,
                        Some(tried) => tried,
                    }
                }
                _ => Tried::Nothing,
            },
        };
        // Who waits does not wait anew because of a wrong answer, and may come in when it is over.
        match solved(brought.or, "") {
            Ok(_) => Checked::Solved,
            Err(ChallengeError::Early(left)) => Checked::Not(tried, early(brought.or, left)),
            Err(_) => Checked::Not(tried, None),
        }
    }

    fn puzzle(&self, room: &Room, bound: Bound<'_>, serial: u64, now: Time, extra: u8) -> Puzzle {
        match self.rules.kind {
            ChallengeKind::Captcha(_) => {
                let check = self.check.as_ref().expect("it was made with one");
                check.puzzle(bound.nonce, now)
            }
            ChallengeKind::Pow(pow) => {
                let bits = pow.bits.saturating_add(extra).min(pow.bits_max);
                Puzzle::Pow {
                    text: room.keeper.challenge(bound, Task::Work(bits), now),
                    bits,
                }
            }
            ChallengeKind::Chess => {
                // Rooms begin at different serials, so their visitors see different positions.
                let turn = self.turn.fetch_add(1, Relaxed);
                let position = Position::nth(serial.wrapping_add(turn));
                Puzzle::Chess {
                    text: room.keeper.challenge(bound, Task::Mate(position), now),
                    fen: position.board().fen(),
                    position,
                }
            }
        }
    }

    /// The longest body of a wish, in bytes, beyond the usual: its answer may be a token.
    pub(super) fn more_body(&self) -> usize {
        self.check.as_ref().map_or(0, Check::token_max)
    }

    fn wait(&self, room: &Room, bound: Bound<'_>, now: Time, extra: u8) -> Wait {
        let span = Span(self.rules.patience.0 << extra);
        Wait {
            kind: "wait",
            text: room.keeper.challenge(bound, Task::Wait(span), now),
            wait: span,
        }
    }
}

/// Whether this wish passes.
///
/// # Errors
/// What is asked of the visitor first.
pub(super) async fn look(
    room: &Room,
    visit: &Visit,
    brought: Brought<'_>,
) -> Result<Passed, Demand> {
    let Some(challenger) = &visit.found.site.challenger else {
        return Ok(Passed::Free);
    };
    if is_under_way(visit) {
        return Ok(Passed::Free);
    }
    let bound = bound(visit, brought.nonce);
    let (tried, waits) = match challenger
        .check(room, visit.seen.hop.client, bound, brought)
        .await
    {
        Checked::Solved => return Ok(Passed::Free),
        Checked::Not(tried, waits) => (tried, waits),
    };
    if is_under_way(visit) {
        return Ok(Passed::Free);
    }
    let (now, most) = (room.now(), challenger.rules.extra_max());
    let mut toll = challenger.toll();
    // Whoever is there too early has been counted before.
    let extra = match tried {
        Tried::TooSoon | Tried::Unchecked => toll.extra(now, most),
        Tried::Nothing | Tried::Wrong => toll.wish(now, most),
    };
    let puzzle = challenger.puzzle(room, bound, brought.serial, now, extra);
    let may_owe = brought.by_script && tried != Tried::TooSoon && !challenger.is_for_people();
    if may_owe && toll.gives_credit(now) {
        toll.owe(puzzle.text().to_owned(), now);
        return Ok(Passed::Owing(puzzle));
    }
    drop(toll);
    let or = waits.unwrap_or_else(|| challenger.wait(room, bound, now, extra));
    Err(Demand { puzzle, or, tried })
}

/// Whether somebody has woken the service already.
fn is_under_way(visit: &Visit) -> bool {
    let view = visit.found.site.handle.view();
    route::is_on_its_way(&view) || view.phase == Phase::Awake
}

/// Whether this proves what was owed.
pub(super) fn settles(room: &Room, visit: &Visit, brought: Brought<'_>) -> bool {
    let now = room.now();
    let Some(challenger) = &visit.found.site.challenger else {
        return false;
    };
    let bound = bound(visit, brought.nonce);
    let solved = room
        .keeper
        .solved(bound, brought.challenge, brought.answer, now);
    matches!(solved, Ok(Task::Work(_))) && challenger.toll().pay(brought.challenge, now)
}

fn bound<'a>(visit: &'a Visit, nonce: &'a str) -> Bound<'a> {
    Bound {
        service: visit.found.site.handle.service(),
        host: &visit.found.host,
        nonce,
    }
}
