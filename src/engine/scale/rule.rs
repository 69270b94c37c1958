//! The rule itself: from a load that is known to the number of instances.
//!
//! A load that stays as it is brings no step after which the other direction is taken, for any number and any load: what
//! is added leaves them at most at `up_at` and busier than what removes, and nothing is removed that would leave the rest
//! at `up_at` or above.

use super::watch::Machines;
use super::{Mode, Terms};
use crate::engine::load::Share;

/// Whether one instance may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fewer {
    /// It may.
    Enough,
    /// What the rule looks at is not below its bound.
    Busy { is: Share, below: Share },
    /// The rule allows it, but those that are left would be this busy: too busy at once.
    Needed(Share),
}

/// How many instances bring the load to `up_at` of each, or below.
pub(super) fn needed(load: Machines, terms: &Terms) -> u16 {
    load.needs(terms.up_at)
}

/// Whether one of so many may go, two or more.
pub(super) fn fewer(load: Machines, have: u16, terms: &Terms) -> Fewer {
    let left = load.each(have.saturating_sub(1));
    let (is, below) = match terms.mode {
        Mode::Threshold => (load.each(have), terms.down_at),
        Mode::Projected { margin } => (left, less(terms.up_at, margin)),
    };
    match (is < below, left < terms.up_at) {
        (false, _) => Fewer::Busy { is, below },
        (true, false) => Fewer::Needed(left),
        (true, true) => Fewer::Enough,
    }
}

fn less(share: Share, by: Share) -> Share {
    Share::hundredths(share.in_hundredths().saturating_sub(by.in_hundredths()))
}
