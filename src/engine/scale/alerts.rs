//! Alerts that somebody else's rules raise. Where there are samples they only say "look now"; where there are none, one
//! that fires moves by an instance, and by another after each cooldown for as long as it fires.

use super::Terms;
use crate::engine::time::{Span, Time};

/// More alerts of one service are not kept apart: the one that was heard of longest ago is dropped.
const ALERTS_MAX: usize = 16;
/// An alert that says that it began later than this is not believed: the clocks of two machines differ by less.
const AHEAD_MAX: Span = Span::mins(1);
/// For so long after it began to fire an alert is acted on, or for [`TRUSTED_COOLDOWNS`] if that is longer. Its end may
/// have been lost, and who sends it repeats it only after hours (Grafana: 4), so silence doesn't tell. An hour is 20 steps
/// at the usual cooldown.
pub(super) const TRUSTED: Span = Span::mins(60);
/// A sustained alert reaches the right size also where the cooldown is long.
const TRUSTED_COOLDOWNS: u64 = 10;

/// Where an alert wants the number of instances to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More.
    Up,
    /// Fewer.
    Down,
}

impl Direction {
    /// The word used in logs and between rooms.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What an alert says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which alert: the same for all that is said of it, and of no other (made of the sender's fingerprint).
    pub name: u64,
    /// Where to.
    pub direction: Direction,
    /// When it began to fire, also where it says that it no longer does. An alert that begins anew has a later one.
    pub at: Time,
    /// Whether it fires. One that is resolved, or has no data, only ends what it said before.
    pub firing: bool,
}

impl Alert {
    /// Whether it says that it began so far ahead of now that it is not believed.
    #[must_use]
    pub fn is_ahead(&self, now: Time) -> bool {
        self.at.since(now) > AHEAD_MAX
    }
}

/// The alerts of one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Alerts {
    /// Heard of longest ago first. Those that ended are kept, so that what they said before is known when it comes again.
    known: Vec<Alert>,
}

impl Alerts {
    /// Whether it is news.
    pub(super) fn heard(&mut self, alert: Alert, now: Time) -> bool {
        if alert.is_ahead(now) {
            return false;
        }
        let same = |known: &Alert| (known.name, known.direction) == (alert.name, alert.direction);
        if let Some(place) = self.known.iter().position(same) {
            let known = self.known[place];
            let ends = known.at == alert.at && known.firing && !alert.firing;
            if alert.at <= known.at && !ends {
                return false;
            }
            self.known.remove(place);
        }
        if self.known.len() == ALERTS_MAX {
            self.known.remove(0);
        }
        self.known.push(alert);
        alert.firing
    }

    /// Where those that fire want to go. Up wins: too few is worse than too many.
    pub(super) fn firing(&self, now: Time, terms: &Terms) -> Option<Direction> {
        let fires = |alert: &&Alert| alert.firing && now.since(alert.at) < trusted(terms);
        let mut firing = self.known.iter().filter(fires);
        let any = firing.next()?;
        let up = any.direction == Direction::Up || firing.any(|one| one.direction == Direction::Up);
        Some(if up { Direction::Up } else { Direction::Down })
    }

    /// When those that fire are no longer trusted.
    pub(super) fn ends_at(&self, terms: &Terms) -> impl Iterator<Item = Time> {
        let (firing, trusted) = (self.known.iter(), trusted(terms));
        let firing = firing.filter(|alert| alert.firing);
        firing.map(move |alert| alert.at + trusted)
    }
}

fn trusted(terms: &Terms) -> Span {
    TRUSTED.max(Span(terms.cooldown.0.saturating_mul(TRUSTED_COOLDOWNS)))
}
