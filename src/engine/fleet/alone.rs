//! What a service asks that runs on its clones alone: how far they have come, and what stands in their way.

use super::life::Ask;
use super::serving::MISSES_MAX;
use super::{Entry, Fleet, Life};
use crate::engine::machine::Trouble;
use crate::engine::policy::CloneTerms;
use crate::engine::story::{Failure, Stage};
use crate::engine::time::Time;

impl Fleet {
    /// Whether no seed serves beside them. The last clone stays in service then though its app does not answer, as a seed
    /// does: a busy app may miss a probe and serve all the same.
    pub fn stand_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    /// Whether there is no clone, nor may be one that was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clones.is_empty()
    }

    /// Whether a list was read in this life.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.find.read.is_some()
    }

    /// Lists in a row that could not be read.
    #[must_use]
    pub fn lists_failed(&self) -> u32 {
        self.find.failures
    }

    /// Whether a clone on its way out may be taken back.
    #[must_use]
    pub fn can_come_back(&self) -> bool {
        self.clones.values().any(Entry::can_come_back)
    }

    /// How far the clone has come that has come furthest; none where none is wanted.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        let live = self.clones.values().filter(|entry| entry.is_live());
        live.map(Entry::stage).max()
    }

    /// Whether a clone that serves answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        let answers =
            |entry: &Entry| matches!(entry.life, Life::Serving { .. }) && entry.misses < MISSES_MAX;
        self.clones.values().any(answers)
    }

    /// What the last call met with that did not succeed; none once one has.
    #[must_use]
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Why a clone could not be made, or did not come up, since then.
    #[must_use]
    pub fn refused_since(&self, since: Time) -> Option<(Failure, &str)> {
        let refused = self.refused.as_ref().filter(|(at, ..)| *at >= since);
        refused.map(|(_, failure, why)| (*failure, why.as_str()))
    }

    /// When the next clone may be made, by the bound for an hour and after a refusal.
    #[must_use]
    pub fn allowed_at(&self, terms: &CloneTerms) -> Time {
        self.no_new_before.max(self.hour_allows_at(terms))
    }

    /// Whether visitors could be led nowhere without it.
    pub(super) fn is_last(&self) -> bool {
        self.alone && self.upstreams().count() == 1
    }
}

impl Entry {
    pub(super) fn can_come_back(&self) -> bool {
        let comes = matches!(
            self.life,
            Life::Leaving {
                for_good: false,
                ..
            }
        );
        comes && self.absent == 0
    }

    pub(super) fn stage(&self) -> Stage {
        match (&self.life, self.ask) {
            (Life::Making { .. }, _) => Stage::Asked,
            (Life::Serving { .. }, _) => Stage::AppAnswering,
            (Life::Rising { .. }, Ask::Probe(_)) => Stage::MachineUp,
            _ => Stage::MachineStarting,
        }
    }
}
