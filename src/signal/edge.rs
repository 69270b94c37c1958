//! The room's own count of a service's requests, and the gate through which they reach the app.
//!
//! Counting and closing must not race: a stop may follow only if no request slipped in. So a request first
//! counts itself and then looks at the gate, and the driver first closes the gate and then looks at the count.
//! With sequentially consistent operations at least one of the two sees the other. Read [`crew`] for the instances behind
//! the gate, [`waiting`] for those who stand before it.

mod crew;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use crate::engine::contract::{Activity, Source, Upstream};
use crate::engine::id::InstanceId;
pub use crew::Stay;
use crew::{Crew, Member};
pub use waiting::Wait;
use waiting::Waiting;

/// The gate and the counters of one service.
#[derive(Debug, Default)]
pub struct Edge {
    open: AtomicBool,
    used: AtomicBool,
    in_flight: AtomicU32,
    long: AtomicU32,
    passed_total: AtomicU64,
    crew: Crew,
    waiting: Waiting,
}

/// What a request is to the idle clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Somebody uses the service.
    Qualifying,
    /// Counted while it runs, but it does not keep the service awake (monitors, prefetches).
    Passing,
}

/// A request that is on its way through the gate to one instance. Dropping it ends the request's count.
#[derive(Debug)]
pub struct Pass {
    edge: Arc<Edge>,
    member: Arc<Member>,
    what: Use,
    long: bool,
}

impl Edge {
    /// A closed gate with nothing behind it.
    #[must_use]
    pub fn new() -> Arc<Edge> {
        Arc::new(Edge::default())
    }

    /// Counts a request in and lets it pass to the instance that has the fewest, if the gate is open.
    pub fn enter(self: &Arc<Self>, what: Use, stay: Stay) -> Option<(Upstream, Pass)> {
        self.in_flight.fetch_add(1, SeqCst);
        let open = self.open.load(SeqCst);
        let member = open.then(|| self.crew.choose(stay, &[])).flatten();
        let Some(member) = member else {
            self.in_flight.fetch_sub(1, SeqCst);
            return None;
        };
        self.mark(what);
        self.passed_total.fetch_add(1, SeqCst);
        let pass = Pass {
            edge: Arc::clone(self),
            member,
            what,
            long: false,
        };
        Some((pass.member.upstream, pass))
    }

    fn mark(&self, what: Use) {
        if what == Use::Qualifying {
            self.used.store(true, SeqCst);
        }
    }

    /// From now on requests pass to these instances and to no other; where there are none, no request passes. Those
    /// inside go on.
    pub fn lead_to(&self, upstreams: &[Upstream]) {
        if upstreams.is_empty() {
            return self.close();
        }
        self.crew.lead_to(upstreams);
        self.open.store(true, SeqCst);
    }

    /// Lets no request pass from now on. Those inside go on.
    pub fn close(&self) {
        self.open.store(false, SeqCst);
        self.crew.lead_to(&[]);
    }

    /// Whether requests pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(SeqCst)
    }

    /// What happened since the last sample, and what is inside now.
    #[must_use]
    pub fn sample(&self) -> Activity {
        Activity {
            source: Source::Edge,
            used: self.used.swap(false, SeqCst),
            in_flight: self.in_flight.load(SeqCst),
            long: self.long.load(SeqCst),
        }
    }

    /// Requests and long connections that are inside now.
    #[must_use]
    pub fn inside(&self) -> (u32, u32) {
        (self.in_flight.load(SeqCst), self.long.load(SeqCst))
    }

    /// Requests and long connections that are open at this instance now, whether it still serves or is led to no more. After
    /// [`lead_to`](Edge::lead_to) without it the count can only fall.
    #[must_use]
    pub fn busy_at(&self, instance: InstanceId) -> u32 {
        self.crew.busy_at(instance)
    }

    /// Requests that have passed since the start.
    #[must_use]
    pub fn passed_total(&self) -> u64 {
        self.passed_total.load(SeqCst)
    }
}

impl Pass {
    /// Whether there are other instances that the request could go to.
    #[must_use]
    pub fn has_choice(&self) -> bool {
        self.edge.crew.serving() > 1
    }

    /// The instance has answered.
    pub fn reached(&self) {
        self.member.reached();
    }

    /// The instance took no connection: others are asked first for a moment.
    pub fn refused(&self) {
        self.edge.crew.pass_over(&self.member);
    }

    /// Goes to another instance, none of `tried`; none when no such instance serves now.
    #[must_use]
    pub fn elsewhere(mut self, stay: Stay, tried: &[Upstream]) -> Option<(Upstream, Pass)> {
        let member = self.edge.crew.choose(stay, tried)?;
        let left = std::mem::replace(&mut self.member, member);
        left.leave(self.long);
        Some((self.member.upstream, self))
    }

    /// From here on this is a long connection (an upgrade or an event stream): it counts as such until it
    /// closes, however silent it is.
    #[must_use]
    pub fn into_long(mut self) -> Pass {
        if !self.long {
            self.long = true;
            self.member.lengthen();
            self.edge.long.fetch_add(1, SeqCst);
            self.edge.in_flight.fetch_sub(1, SeqCst);
        }
        self
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // The end of a request is activity too: the idle clock starts when the last one has ended.
        self.edge.mark(self.what);
        self.member.leave(self.long);
        let count = if self.long {
            &self.edge.long
        } else {
            &self.edge.in_flight
        };
        count.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(edge: &Edge) {
        edge.lead_to(&[Upstream {
            instance: InstanceId::SEED,
            address: ([127, 0, 0, 1], 80).into(),
        }]);
    }

    #[test]
    fn a_closed_gate_lets_nobody_in_and_leaves_no_trace() {
        let edge = Edge::new();
        assert!(edge.enter(Use::Qualifying, Stay::Short).is_none());
        assert_eq!(edge.sample(), Activity::quiet(Source::Edge));
    }

    #[test]
    fn a_long_connection_is_counted_until_it_closes() {
        let edge = Edge::new();
        open(&edge);
        let (_, pass) = edge.enter(Use::Qualifying, Stay::Long).expect("open");
        let pass = pass.into_long();
        assert_eq!(edge.busy_at(InstanceId::SEED), 1);
        edge.close();
        let _ = edge.sample();
        assert_eq!(
            edge.sample(),
            Activity {
                long: 1,
                ..Activity::quiet(Source::Edge)
            }
        );
        drop(pass);
        assert!(edge.sample().used, "its end is activity");
        assert_eq!(edge.busy_at(InstanceId::SEED), 0);
        assert_eq!(edge.sample(), Activity::quiet(Source::Edge));
    }

    #[test]
    fn a_monitor_is_counted_but_keeps_nothing_awake() {
        let edge = Edge::new();
        open(&edge);
        let pass = edge.enter(Use::Passing, Stay::Short);
        assert_eq!(
            edge.sample(),
            Activity {
                in_flight: 1,
                ..Activity::quiet(Source::Edge)
            }
        );
        drop(pass);
        assert!(!edge.sample().used);
    }

    #[test]
    fn closing_never_misses_a_request_that_got_in() {
        for _ in 0..2_000 {
            let edge = Edge::new();
            open(&edge);
            let visitor = Arc::clone(&edge);
            let thread = std::thread::spawn(move || visitor.enter(Use::Qualifying, Stay::Short));
            edge.close();
            let seen = edge.sample();
            let pass = thread.join().expect("the visitor does not panic");
            assert!(
                pass.is_none() || seen.busy(),
                "somebody is inside and the count says nobody"
            );
        }
    }
}
