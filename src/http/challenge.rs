//! What a wish to wake must show where its service asks for a challenge: who passes, and what the others are asked.
//!
//! Nobody is asked for anything while the service is awake or on its way. Where the load is no more than usual, the
//! page's script may owe its proof: the wake begins at once, and the visitor's browser works while the machine
//! boots. What is owed and how hard it is, [`engine::toll`](crate::engine::toll) says; whether it is solved,
//! [`gate::challenge`](crate::gate::challenge).

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::room::Room;
use super::visit::Visit;
use crate::config::{self, ChallengeKind};
use crate::engine::route;
use crate::engine::time::{Span, Time};
use crate::engine::toll::Toll;
use crate::engine::view::Phase;
use crate::gate::{Bound, ChallengeError, Task};

/// What a site asks of those who would wake it, and what is remembered of them. A reload begins anew.
#[derive(Debug)]
pub struct Challenger {
    rules: config::Challenge,
    toll: Mutex<Toll>,
}

/// What a visitor brings with its wish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought<'a> {
    pub(super) nonce: &'a str,
    pub(super) challenge: &'a str,
    pub(super) answer: &'a str,
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

/// A piece of work, as the page's script gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Puzzle {
    kind: &'static str,
    /// What is to be solved and sent back.
    text: String,
    /// How many zero bits.
    bits: u8,
}

/// What is asked of a visitor who does not pass.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Demand {
    /// The challenge.
    pub(super) challenge: Puzzle,
    /// The other way in.
    pub(super) or: Wait,
    /// It was taken, but too soon.
    #[serde(skip)]
    pub(super) early: bool,
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

impl Challenger {
    /// A challenger with these rules that remembers nothing yet.
    #[must_use]
    pub fn new(rules: config::Challenge) -> Challenger {
        Challenger {
            rules,
            toll: Mutex::default(),
        }
    }

    fn toll(&self) -> MutexGuard<'_, Toll> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.toll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was owed is not any more: nothing came of the wish.
    pub(super) fn forgive(&self, puzzle: &Puzzle, now: Time) {
        self.toll().pay(&puzzle.text, now);
    }

    fn work(&self, room: &Room, bound: Bound<'_>, now: Time, extra: u8) -> Puzzle {
        let ChallengeKind::Pow(pow) = self.rules.kind;
        let bits = pow.bits.saturating_add(extra).min(pow.bits_max);
        Puzzle {
            kind: "pow",
            text: room.keeper.challenge(bound, Task::Work(bits), now),
            bits,
        }
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
pub(super) fn look(room: &Room, visit: &Visit, brought: Brought<'_>) -> Result<Passed, Demand> {
    let (found, now) = (&visit.found, room.now());
    let Some(challenger) = &found.site.challenger else {
        return Ok(Passed::Free);
    };
    let view = found.site.handle.view();
    if route::is_on_its_way(&view) || view.phase == Phase::Awake {
        return Ok(Passed::Free);
    }
    let bound = bound(visit, brought.nonce);
    let (challenge, answer) = (brought.challenge, brought.answer);
    let early = match room.keeper.solved(bound, challenge, answer, now) {
        Ok(_) => return Ok(Passed::Free),
        Err(ChallengeError::Early(left)) => Some(left),
        Err(_) => None,
    };
    let most = challenger.rules.extra_max();
    let mut toll = challenger.toll();
    // Whoever is there too early has been counted before.
    let extra = match early {
        Some(_) => toll.extra(now, most),
        None => toll.wish(now, most),
    };
    let puzzle = challenger.work(room, bound, now, extra);
    if brought.by_script && early.is_none() && toll.gives_credit(now) {
        toll.owe(puzzle.text.clone(), now);
        return Ok(Passed::Owing(puzzle));
    }
    drop(toll);
    let or = match early {
        Some(left) => Wait {
            kind: "wait",
            text: challenge.to_owned(),
            wait: left,
        },
        None => challenger.wait(room, bound, now, extra),
    };
    Err(Demand {
        challenge: puzzle,
        or,
        early: early.is_some(),
    })
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
