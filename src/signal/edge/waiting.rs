//! Who waits for a service in this room: the open event streams of its waiting page, and the requests that are held.
//!
//! Counted only as they come and go. One client, by its address, counts for so many at most: the count calls for machines,
//! and who opens a thousand pages must not order them all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::Edge;

/// The count of a room. It has no more clients than the room has connections.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    all: AtomicU32,
    clients: Mutex<HashMap<IpNet, Client>>,
}

#[derive(Debug, Default)]
struct Client {
    open: u32,
    counted: u32,
}

/// Somebody who waits. Dropping it ends the wait.
#[derive(Debug)]
pub struct Wait {
    edge: Arc<Edge>,
    client: IpNet,
}

impl Edge {
    /// This client waits from now on. It counts for `most` at most, however often it waits at a time.
    #[must_use]
    pub fn wait(self: &Arc<Self>, client: IpNet, most: u32) -> Wait {
        self.waiting.change(client, |it| {
            it.open += 1;
            it.counted = it.counted.max(it.open.min(most));
        });
        let edge = Arc::clone(self);
        Wait { edge, client }
    }

    /// How many wait now.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.all.load(Relaxed)
    }
}

impl Waiting {
    fn change(&self, client: IpNet, change: impl FnOnce(&mut Client)) {
        // Whoever panics here has changed nothing by halves.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let it = clients.entry(client).or_default();
        let before = it.counted;
        change(it);
        let after = it.counted;
        if it.open == 0 {
            clients.remove(&client);
        }
        // Within the lock, so that no two changes cross.
        let all = self.all.load(Relaxed).saturating_sub(before);
        self.all.store(all.saturating_add(after), Relaxed);
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.edge.waiting.change(self.client, |it| {
            it.open = it.open.saturating_sub(1);
            it.counted = it.counted.min(it.open);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::household;

    fn client(text: &str) -> IpNet {
        household(text.parse().expect("an address"))
    }

    #[test]
    fn who_comes_waits_and_who_goes_does_not() {
        let edge = Edge::new();
        let waits: Vec<_> = (0..9)
            .map(|n| edge.wait(client(&format!("192.0.2.{n}")), 1))
            .collect();
        assert_eq!(edge.waiting(), 9);
        drop(waits);
        assert_eq!(edge.waiting(), 0);
        assert!(edge.waiting.clients.lock().unwrap().is_empty());
    }

    #[test]
    fn one_client_counts_for_so_many_and_no_more() {
        let edge = Edge::new();
        // One household: the same /64.
        let addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];
        let mut waits: Vec<_> = addresses.map(|it| edge.wait(client(it), 2)).into();
        assert_eq!(edge.waiting(), 2);
        let other = edge.wait(client("2001:db8:0:1::1"), 2);
        assert_eq!(edge.waiting(), 3);
        waits.pop();
        assert_eq!(edge.waiting(), 3, "two are left");
        waits.pop();
        assert_eq!(edge.waiting(), 2);
        // A reload that allows more holds for who comes from then on.
        waits.push(edge.wait(client("2001:db8::4"), 9));
        assert_eq!(edge.waiting(), 3);
        drop((waits, other));
        assert_eq!(edge.waiting(), 0);
    }
}
