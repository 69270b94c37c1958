//! What a visitor must solve before its wish to wake a service counts (`wake.by = "challenge"`).
//!
//! Nothing is stored: a challenge is a text that says what is to be done, sealed for one service, one host and one
//! nonce of the page. So it can't be moved elsewhere, and it is worth one wake, because its nonce is. Every room
//! with the same key takes the solution of what any of them asked.
//!
//! `c1.<kind>.<time, hex ms>.<what, hex>.<seal>`: `p` for work of so many bits, `m` for the mate in the position of this
//! number, `w` for a wait of so many milliseconds.
//!
//! **Work** is a number, in decimal digits: SHA-256 over the SHA-256 of the challenge's text and the number's eight
//! bytes, highest first, begins with so many zero bits. It is friction and no wall: a machine made for it is
//! thousands of times faster than a telephone. What bounds the cost of a service are its limits.
//!
//! A **mate** is one move in a position of chess ([`engine::chess`](crate::engine::chess)), as players write it. It is for people to
//! smile at, and no wall either: a program that plays chess sees it at once.
//!
//! A **wait** is solved by coming back with it later. It asks for no script and no eyes, so it is the other way in
//! beside every challenge.

use sha2::{Digest, Sha256};

use super::nonce::{Keeper, LIVES};
use crate::engine::chess::Position;
use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};

const PURPOSE: &str = "anteroom challenge v1";

/// The clocks of two rooms differ a little.
const AHEAD: Span = Span::mins(1);

/// `c1.p.`, two times 16 hex digits and the seal are 61.
const LENGTH_MAX: usize = 64;

/// The digits of the largest number.
const DIGITS_MAX: usize = 20;

/// To whom and for what a challenge is given.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// The service that would be woken.
    pub service: &'a ServiceName,
    /// The host that was asked for.
    pub host: &'a str,
    /// The page's nonce.
    pub nonce: &'a str,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To find a number: so many zero bits.
    Work(u8),
    /// To find the move that mates.
    Mate(Position),
    /// To come back after this time.
    Wait(Span),
}

/// Why a solution does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Not of our form at all.
    #[error("not a challenge")]
    Malformed,
    /// Not sealed by us for this service, host and nonce.
    #[error("the challenge is not ours, or not for this")]
    Forged,
    /// Ours, but of another time.
    #[error("the challenge is too old")]
    Expired,
    /// The answer is wrong.
    #[error("the challenge is not solved")]
    Unsolved,
    /// It is too early; so long yet.
    #[error("the wait is not over")]
    Early(Span),
}

impl Task {
    const fn parts(self) -> (&'static str, u64) {
        match self {
            Task::Work(bits) => ("p", bits as u64),
            Task::Mate(position) => ("m", position.number()),
            Task::Wait(span) => ("w", span.0),
        }
    }

    fn of(kind: &str, what: u64) -> Option<Task> {
        match kind {
            "p" => u8::try_from(what).ok().map(Task::Work),
            "m" => Position::of(what).map(Task::Mate),
            "w" => Some(Task::Wait(Span(what))),
            _ => None,
        }
    }
}

impl Keeper {
    /// A challenge to whoever holds this nonce.
    #[must_use]
    pub fn challenge(&self, bound: Bound<'_>, task: Task, now: Time) -> String {
        let (kind, what) = task.parts();
        let body = format!("c1.{kind}.{:x}.{what:x}", now.0);
        let seal = self.seal(PURPOSE, &parts(bound, &body));
        format!("{body}.{seal}")
    }

    /// Whether this is a challenge of ours to this holder, of the last ten minutes, and solved. Says what it was.
    ///
    /// # Errors
    ///
    /// Says why it does not count. A challenge that isn't ours is never called expired or unsolved.
    pub fn solved(
        &self,
        bound: Bound<'_>,
        challenge: &str,
        answer: &str,
        now: Time,
    ) -> Result<Task, ChallengeError> {
        let (at, task, body, seal) = read(challenge).ok_or(ChallengeError::Malformed)?;
        if !self.is_sealed(PURPOSE, &parts(bound, body), seal) {
            return Err(ChallengeError::Forged);
        }
        if now.since(at) > LIVES || at.since(now) > AHEAD {
            return Err(ChallengeError::Expired);
        }
        match task {
            Task::Work(bits) if works(challenge, answer, bits) => Ok(task),
            Task::Mate(position) if position.is_mate(answer) => Ok(task),
            Task::Work(_) | Task::Mate(_) => Err(ChallengeError::Unsolved),
            Task::Wait(span) => match span.0.saturating_sub(now.since(at).0) {
                0 => Ok(task),
                left => Err(ChallengeError::Early(Span(left))),
            },
        }
    }
}

fn parts<'a>(bound: Bound<'a>, body: &'a str) -> [&'a [u8]; 4] {
    let Bound {
        service,
        host,
        nonce,
    } = bound;
    [service.as_str(), host, nonce, body].map(str::as_bytes)
}

fn read(challenge: &str) -> Option<(Time, Task, &str, &str)> {
    if challenge.len() > LENGTH_MAX {
        return None;
    }
    let (body, seal) = challenge.rsplit_once('.')?;
    let mut words = body.strip_prefix("c1.")?.split('.');
    let kind = words.next()?;
    let (at, what) = (hex(words.next()?)?, hex(words.next()?)?);
    let task = Task::of(kind, what)?;
    words
        .next()
        .is_none()
        .then_some((Time(at), task, body, seal))
}

/// Digits only: a sign would be read by `from_str_radix` too.
fn hex(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| plain)
}

/// Whether this number solves the work.
fn works(challenge: &str, answer: &str, bits: u8) -> bool {
    let plain = answer.len() <= DIGITS_MAX && answer.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = answer.parse::<u64>().ok().filter(|_| plain) else {
        return false;
    };
    zero_bits(&work(&Sha256::digest(challenge).into(), number)) >= u32::from(bits)
}

fn work(seed: &[u8; 32], number: u64) -> [u8; 32] {
    let hash = Sha256::new().chain_update(seed);
    hash.chain_update(number.to_be_bytes()).finalize().into()
}

fn zero_bits(hash: &[u8; 32]) -> u32 {
    let empty = hash.iter().take_while(|byte| **byte == 0).count();
    let rest = hash.get(empty).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(empty).unwrap_or(0) * 8 + rest
}

/// The smallest number that solves a challenge of work of so many bits; for tests and for other programs that wait.
#[must_use]
pub fn solve(challenge: &str, bits: u8) -> u64 {
    let seed = Sha256::digest(challenge).into();
    (0..=u64::MAX)
        .find(|number| zero_bits(&work(&seed, *number)) >= u32::from(bits))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
