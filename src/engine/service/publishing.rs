//! Keeps the visitors' routing as it should be: what is wanted, what is in force, and the one publish under way.

use super::Service;
use crate::engine::contract::{Effect, Event, Routing};
use crate::engine::id::OpId;
use crate::engine::time::Time;

#[derive(Clone, Debug)]
pub(super) struct Publishing {
    pub(super) wanted: Routing,
    in_force: Option<Routing>,
    pending: Option<(OpId, Routing, Time)>,
    failures: u32,
    retry_at: Time,
}

impl Publishing {
    pub(super) fn new(wanted: Routing) -> Publishing {
        Publishing {
            wanted,
            in_force: None,
            pending: None,
            failures: 0,
            retry_at: Time(0),
        }
    }

    /// Whether the wanted routing is proven to be in force and nothing else is on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_none() && self.in_force.as_ref() == Some(&self.wanted)
    }

    pub(super) fn due(&self, now: Time) -> Option<Time> {
        match &self.pending {
            Some((_, _, lost_at)) => Some(*lost_at),
            None if self.is_settled() => None,
            None => Some(self.retry_at.max(now)),
        }
    }
}

impl Service {
    pub(super) fn want_routing(&mut self, routing: Routing) {
        if self.publishing.wanted != routing {
            self.publishing.wanted = routing;
            self.publishing.failures = 0;
            self.publishing.retry_at = self.now;
        }
    }

    pub(super) fn published(
        &mut self,
        op: OpId,
        result: Result<(), String>,
        out: &mut Vec<Effect>,
    ) {
        let Some((_, routing, _)) = self
            .publishing
            .pending
            .take_if(|(pending, _, _)| *pending == op)
        else {
            return;
        };
        match result {
            Ok(()) => {
                self.publishing.in_force = Some(routing);
                self.publishing.failures = 0;
            }
            Err(why) => self.publish_failed(why, out),
        }
    }

    fn publish_failed(&mut self, why: String, out: &mut Vec<Effect>) {
        self.publishing.in_force = None;
        self.publishing.failures += 1;
        self.publishing.retry_at = self.now + self.wait_after(self.publishing.failures);
        out.push(Effect::Tell(Event::PublishFailed { why }));
    }

    pub(super) fn advance_publishing(&mut self, out: &mut Vec<Effect>) {
        if self
            .publishing
            .pending
            .take_if(|(_, _, lost_at)| *lost_at <= self.now)
            .is_some()
        {
            self.publish_failed("no answer from the publisher".into(), out);
        }
        let publishing = &self.publishing;
        if publishing.pending.is_some() || publishing.is_settled() || publishing.retry_at > self.now
        {
            return;
        }
        if matches!(self.state, super::State::Fresh) {
            return;
        }
        let routing = publishing.wanted.clone();
        let op = self.next_op();
        self.publishing.pending = Some((op, routing.clone(), self.now + self.policy.call_timeout));
        out.push(Effect::Publish(op, routing));
    }
}
