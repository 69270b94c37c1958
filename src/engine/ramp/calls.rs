//! Places that are promised for a while: how many are still open, and until when.

use std::collections::VecDeque;

use crate::engine::time::{Span, Time};

/// Promises of one moment are kept together, so that there are never more than a few.
const TOGETHER: Span = Span::millis(100);

/// Places that are promised.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// The oldest first; none of them is empty.
    groups: VecDeque<(Time, u64)>,
    open: u64,
}

impl Calls {
    /// So many more, until then.
    pub(super) fn add(&mut self, until: Time, count: u64) {
        if count == 0 {
            return;
        }
        self.open += count;
        match self.groups.back_mut() {
            Some((last, open)) if until.since(*last) < TOGETHER => *open += count,
            _ => self.groups.push_back((until, count)),
        }
    }

    /// One of them is used, the oldest one; false where there is none.
    pub(super) fn take(&mut self) -> bool {
        let Some((_, open)) = self.groups.front_mut() else {
            return false;
        };
        *open -= 1;
        if *open == 0 {
            self.groups.pop_front();
        }
        self.open -= 1;
        true
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some((until, open)) = self.groups.front()
            && *until <= now
        {
            self.open -= open;
            self.groups.pop_front();
        }
    }

    pub(super) fn open(&self) -> u64 {
        self.open
    }
}
