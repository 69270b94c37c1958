//! The room's own count of a service's requests, and the gate through which they reach the app.
//!
//! Counting and closing must not race: a stop may follow only if no request slipped in. So a request first
//! counts itself and then looks at the gate, and the driver first closes the gate and then looks at the count.
//! With sequentially consistent operations at least one of the two sees the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use crate::engine::contract::{Activity, Source};

/// The gate and the counters of one service.
#[derive(Debug, Default)]
pub struct Edge {
    open: AtomicBool,
    used: AtomicBool,
    in_flight: AtomicU32,
    long: AtomicU32,
    passed_total: AtomicU64,
}

/// What a request is to the idle clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Somebody uses the service.
    Qualifying,
    /// Counted while it runs, but it does not keep the service awake (monitors, prefetches).
    Passing,
}

/// A request that is on its way through the gate. Dropping it ends the request's count.
#[derive(Debug)]
pub struct Pass {
    edge: Arc<Edge>,
    what: Use,
    long: bool,
}

impl Edge {
    /// A closed gate with nothing behind it.
    #[must_use]
    pub fn new() -> Arc<Edge> {
        Arc::new(Edge::default())
    }

    /// Counts a request in and lets it pass, if the gate is open.
    pub fn enter(self: &Arc<Self>, what: Use) -> Option<Pass> {
        self.in_flight.fetch_add(1, SeqCst);
        let pass = Pass {
            edge: Arc::clone(self),
            what,
            long: false,
        };
        if !self.open.load(SeqCst) {
            // Dropping the pass takes the count back; it was never used.
            return self.refuse(pass);
        }
        self.mark(what);
        self.passed_total.fetch_add(1, SeqCst);
        Some(pass)
    }

    fn refuse(&self, mut pass: Pass) -> Option<Pass> {
        pass.what = Use::Passing;
        None
    }

    fn mark(&self, what: Use) {
        if what == Use::Qualifying {
            self.used.store(true, SeqCst);
        }
    }

    /// Lets requests pass from now on.
    pub fn open(&self) {
        self.open.store(true, SeqCst);
    }

    /// Lets no request pass from now on. Those inside go on.
    pub fn close(&self) {
        self.open.store(false, SeqCst);
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

    /// Requests that have passed since the start.
    #[must_use]
    pub fn passed_total(&self) -> u64 {
        self.passed_total.load(SeqCst)
    }
}

impl Pass {
    /// From here on this is a long connection (an upgrade or an event stream): it counts as such until it
    /// closes, however silent it is.
    #[must_use]
    pub fn into_long(mut self) -> Pass {
        if !self.long {
            self.long = true;
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

    #[test]
    fn a_closed_gate_lets_nobody_in_and_leaves_no_trace() {
        let edge = Edge::new();
        assert!(edge.enter(Use::Qualifying).is_none());
        assert_eq!(edge.sample(), Activity::quiet(Source::Edge));
    }

    #[test]
    fn a_long_connection_is_counted_until_it_closes() {
        let edge = Edge::new();
        edge.open();
        let pass = edge.enter(Use::Qualifying).expect("open").into_long();
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
        assert_eq!(edge.sample(), Activity::quiet(Source::Edge));
    }

    #[test]
    fn a_monitor_is_counted_but_keeps_nothing_awake() {
        let edge = Edge::new();
        edge.open();
        let pass = edge.enter(Use::Passing);
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
            edge.open();
            let visitor = Arc::clone(&edge);
            let thread = std::thread::spawn(move || visitor.enter(Use::Qualifying));
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
