//! The service's clones: what the fleet wants done is done under the service's operations and stands in its record.

use super::Service;
use super::state::State;
use crate::engine::contract::{Effect, Event};
use crate::engine::fleet::{Deed, Life};
use crate::engine::time::Time;
use crate::engine::view::{CloneStep, CloneView};

impl Service {
    pub(super) fn advance_fleet(&mut self, out: &mut Vec<Effect>) {
        let Some(terms) = self.policy.clones else {
            return;
        };
        if matches!(self.state, State::Fresh) {
            return;
        }
        self.fleet.want(terms.wanted);
        self.fleet.lose_overdue(self.now, &self.policy);
        while let Some((deed, recorded)) = self.fleet.next(self.now, &terms) {
            self.tell_of_clones(out);
            self.fleet.take_changed();
            let record = recorded.then(|| self.record(true, out));
            let op = self.next_op();
            let limit = self.policy.call_timeout;
            let lost_at = self.now
                + match deed {
                    Deed::Make(_) => limit + terms.settles,
                    _ => limit,
                };
            self.fleet.doing(&deed, op, record, self.now, lost_at);
            out.push(Effect::Fleet(op, deed));
            if recorded {
                // A record that is not written takes with it all that follows it in one step, so the next deed waits for
                // the next.
                break;
            }
        }
        self.tell_of_clones(out);
        if self.fleet.take_changed() {
            self.record(false, out);
        }
    }

    pub(super) fn fleet_due(&self) -> Option<Time> {
        let terms = self.policy.clones.as_ref()?;
        (!matches!(self.state, State::Fresh)).then(|| self.fleet.due(terms))?
    }

    pub(super) fn clones_view(&self) -> Vec<CloneView> {
        let view = |(clone, life): (_, &Life)| CloneView {
            clone,
            step: match life {
                Life::Making { .. } | Life::Stripping { .. } => CloneStep::Making,
                Life::Made => CloneStep::Made,
                Life::Removing { .. } => CloneStep::Leaving,
            },
        };
        self.fleet.lives().map(view).collect()
    }

    fn tell_of_clones(&mut self, out: &mut Vec<Effect>) {
        for (which, story) in self.fleet.take_told() {
            out.push(Effect::Tell(Event::Clone { which, story }));
        }
    }
}
