//! Measuring the load of the instances that serve, every interval and after an alert.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Done, Lead};
use crate::engine::contract::Input;

impl Lead<'_> {
    /// When the load is to be measured next; none while it need not be, or is being measured.
    pub(super) fn measure_due(&self) -> Option<Instant> {
        let scaled = self.seat.setup.load.is_some() && self.seat.setup.policy.scale.is_some();
        let due = scaled && !self.measuring && self.service.takes_requests();
        due.then_some(self.measure_at)
    }

    /// The load is measured as soon as it can be.
    pub(super) fn measure_soon(&mut self) {
        self.measure_at = Instant::now();
    }

    /// Asks the signal; what it tells comes back as an input.
    pub(super) fn measure(&mut self) {
        let setup = &self.seat.setup;
        let (Some(load), Some(terms)) = (&setup.load, &setup.policy.scale) else {
            return;
        };
        let (load, now) = (Arc::clone(load), setup.clock.now());
        let crew = self.service.view().upstreams;
        self.measure_at = Instant::now() + terms.interval.into();
        self.measuring = true;
        self.doing
            .spawn(async move { Done::Measured(load.measure(&crew, now).await.samples) });
    }

    pub(super) fn measured(&mut self, samples: Vec<crate::engine::load::Sample>) -> Input {
        self.measuring = false;
        Input::Measured(samples)
    }
}
