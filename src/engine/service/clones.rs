//! The service's clones: visitors are led to those that serve, and what the fleet wants done is done under the service's
//! operations and stands in its record. How many are wanted, `scaling` says.

use super::Service;
use super::state::State;
use crate::engine::contract::{Effect, Event, Routing};
use crate::engine::fleet::{Deed, Life};
use crate::engine::idle::Verdict;
use crate::engine::record::Base;
use crate::engine::time::Time;
use crate::engine::traffic::Upstream;
use crate::engine::view::{CloneStep, CloneView};

impl Service {
    /// Takes clones out of service or back, as many as are wanted now. Their deeds come after the routing.
    pub(super) fn settle_fleet(&mut self, out: &mut Vec<Effect>) {
        if self.policy.clones.is_none() || matches!(self.state, State::Fresh) {
            return;
        }
        self.fleet.settle(self.now, &self.policy);
        let wanted = match self.base {
            Base::Seed => self.clones_wanted(out),
            Base::Clones => self.clones_wanted_alone(out),
        };
        self.fleet.stand_alone(self.base == Base::Clones);
        self.fleet.want(wanted, self.now, &self.policy);
        self.tell_of_the_hour(out);
    }

    /// Whether the stop of an awake service waits for nothing but its clones.
    pub(super) fn is_about_to_sleep(&self) -> bool {
        let State::Awake(awake) = &self.state else {
            return false;
        };
        match self.verdict() {
            Verdict::Sleep => true,
            Verdict::NotBefore(_) | Verdict::InUse => awake.sleep_asked.is_some(),
            Verdict::Held(_) | Verdict::Blind(_) => false,
        }
    }

    /// Whether visitors are led to a clone.
    pub(super) fn clones_serve(&self) -> bool {
        self.fleet.upstreams().next().is_some()
    }

    /// Where requests may go now.
    pub(super) fn upstreams(&self) -> Vec<Upstream> {
        let seed = self.state.upstream();
        match &self.state {
            State::Awake(awake) => {
                // A seed that does not answer is left out while others do.
                let seed = seed.filter(|_| awake.healthy || !self.clones_serve());
                seed.into_iter().chain(self.fleet.upstreams()).collect()
            }
            State::Learning(_) | State::Waking(_) | State::Failed(_) => {
                self.fleet.upstreams().collect()
            }
            State::Diverting(leaving) | State::Draining(leaving)
                if self.base == Base::Clones && leaving.lets_in() =>
            {
                self.fleet.upstreams().collect()
            }
            _ => seed.into_iter().collect(),
        }
    }

    /// Where visitors are to be led. What is published is what is in service, and nothing else.
    pub(super) fn route(&mut self) {
        let routing = match &self.state {
            State::Fresh => return,
            State::Learning(_) | State::Waking(_) | State::Failed(_) | State::Awake(_) => {
                match self.upstreams() {
                    none if none.is_empty() => Routing::Asleep,
                    some => Routing::Awake(some),
                }
            }
            State::Asleep(_) | State::Diverting(_) | State::Draining(_) | State::Stopping(_) => {
                Routing::Asleep
            }
        };
        self.want_routing(routing);
    }

    pub(super) fn advance_fleet(&mut self, out: &mut Vec<Effect>) {
        let Some(terms) = self.policy.clones else {
            return;
        };
        if matches!(self.state, State::Fresh) {
            return;
        }
        let unlisted = self.publishing.is_settled();
        while let Some((deed, recorded)) = self.fleet.next(self.now, &terms, unlisted) {
            self.tell_of_clones(out);
            let changed = self.fleet.take_changed();
            let record = recorded.then(|| self.record(true, out));
            if changed && !recorded {
                self.record(false, out);
            }
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
        let unlisted = self.publishing.is_settled();
        (!matches!(self.state, State::Fresh)).then(|| self.fleet.due(terms, unlisted))?
    }

    pub(super) fn clones_view(&self) -> Vec<CloneView> {
        let view = |(clone, life): (_, &Life)| CloneView {
            clone,
            step: match life {
                Life::Making { .. } | Life::Stripping { .. } => CloneStep::Making,
                Life::Rising { .. } => CloneStep::Starting,
                Life::Serving { .. } => CloneStep::Serving,
                Life::Leaving { .. } | Life::Removing { .. } => CloneStep::Leaving,
            },
        };
        self.fleet.lives().map(view).collect()
    }

    pub(super) fn tell_of_clones(&mut self, out: &mut Vec<Effect>) {
        for (which, story) in self.fleet.take_told() {
            out.push(Effect::Tell(Event::Clone { which, story }));
        }
    }
}
