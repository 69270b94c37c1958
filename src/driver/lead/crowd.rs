//! Counting those who wait for a wake, in all rooms, while that may change how many instances it brings.

use std::time::Duration;

use tokio::time::Instant;

use super::Lead;
use crate::engine::contract::Input;
use crate::engine::view::Phase;

/// Between two counts. Those of other rooms come with their signs of life, three times less often.
const COUNT_EVERY: Duration = Duration::from_millis(250);

impl Lead<'_> {
    /// When those who wait are counted next; none where nobody asks how many they are.
    pub(super) fn count_due(&self) -> Option<Instant> {
        let scale = self.seat.setup.policy.scale;
        let asked = scale.is_some_and(|terms| terms.crowd.is_some());
        let due = asked && self.service.phase() == Phase::Waking;
        due.then_some(self.count_at)
    }

    pub(super) fn count(&mut self) -> Input {
        self.count_at = Instant::now() + COUNT_EVERY;
        Input::Waiting(self.heart.waiting(self.seat.face.waiting()))
    }
}
