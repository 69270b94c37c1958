//! The load that instances have even when nobody comes. Where that alone is above `down_at`, nothing ever goes: people
//! are told.

use super::{Mode, Terms};
use crate::engine::load::Share;
use crate::engine::time::{Span, Time};

/// A day has a night: load that never fell in it does not fall.
pub(super) const DAY: Span = Span::mins(24 * 60);

/// How low the load of each has been since their number changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    instances: u16,
    since: Time,
    lowest: Option<Share>,
}

impl Floor {
    /// So busy was each of so many.
    pub(super) fn saw(&mut self, now: Time, instances: u16, load: Share, terms: &Terms) {
        let same = instances == self.instances && self.since <= now;
        match self.lowest.filter(|_| same && load >= terms.down_at) {
            Some(lowest) => self.lowest = Some(lowest.min(load)),
            None => {
                *self = Floor {
                    instances,
                    since: now,
                    lowest: Some(load),
                }
            }
        }
    }

    /// Nothing is known of now: it may be low.
    pub(super) fn lost(&mut self) {
        self.lowest = None;
    }

    /// The lowest load of a day, if it never fell below `down_at` though fewer instances could have carried it then.
    pub(super) fn stuck(&self, now: Time, instances: u16, terms: &Terms) -> Option<Share> {
        let lowest = self.lowest?;
        let all = lowest.in_hundredths() * u64::from(instances);
        let fewer = terms.up_at.in_hundredths() * u64::from(instances.saturating_sub(1));
        let stuck = terms.mode == Mode::Threshold
            && instances == self.instances
            && now.since(self.since) >= DAY
            && all < fewer
            && lowest >= terms.down_at;
        stuck.then_some(lowest)
    }
}
