//! How much is kept prepared, over all hosts, languages and codings of a room: a fixed amount, whatever clients ask
//! for. When there is more, the oldest goes; it is made again when somebody asks for it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::engine::time::Time;

/// Bytes of prepared answers that a room keeps. A page takes 20 to 40 KiB, a compressed one a third of it: two
/// hundred hosts that are asked for in four languages have room.
const KEPT_MAX: usize = 32 << 20;

/// Pages that are compressed within a second, over all hosts; beyond them they are sent as they are. Each takes
/// somewhat less than a millisecond: so nobody who asks for all languages of all hosts keeps a processor busy.
const PACKED_PER_SECOND_MAX: u64 = 200;

/// Places after which those that are empty by now are taken out of the list.
const LIST_MIN: usize = 1_024;

/// What is kept prepared.
#[derive(Debug)]
pub(super) struct Stock {
    kept_max: usize,
    kept: Arc<AtomicUsize>,
    list: Mutex<List>,
    /// The second, and how many pages were compressed in it.
    packed: AtomicU64,
}

#[derive(Debug, Default)]
struct List {
    /// The oldest first.
    places: VecDeque<Place>,
    /// The number of the next one.
    next: u64,
    tidy_at: usize,
}

/// What prepared answers stand on, each in its place.
pub(super) trait Keeps: fmt::Debug + Send + Sync {
    /// The number of the answer that stands in this place; none where it is empty.
    fn number(&self, at: usize) -> Option<u64>;

    /// Takes out what stands in this place.
    fn empty(&self, at: usize);

    /// Whether this answer still stands in its place.
    fn holds(&self, at: usize, number: u64) -> bool {
        self.number(at) == Some(number)
    }

    /// Takes this answer out of its place, if it still stands there.
    fn clear(&self, at: usize, number: u64) {
        if self.holds(at, number) {
            self.empty(at);
        }
    }
}

/// Where something prepared stands.
#[derive(Debug)]
struct Place {
    shelf: Weak<dyn Keeps>,
    at: usize,
    number: u64,
}

/// What one prepared answer weighs, for as long as it lives.
#[derive(Debug)]
pub(super) struct Weight {
    bytes: usize,
    all: Arc<AtomicUsize>,
    /// Tells the answer from others that stood in the same place.
    pub(super) number: u64,
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

impl Default for Stock {
    fn default() -> Stock {
        Stock::of(KEPT_MAX)
    }
}

impl Stock {
    /// A stock of so many bytes.
    fn of(kept_max: usize) -> Stock {
        Stock {
            kept_max,
            kept: Arc::default(),
            list: Mutex::default(),
            packed: AtomicU64::new(0),
        }
    }

    /// Takes something of this many bytes into the stock, which `put` puts into its place on the shelf, and throws
    /// out the oldest for which there is no room any more. An answer that is just being sent weighs until then.
    pub(super) fn keep(
        &self,
        shelf: &Arc<impl Keeps + 'static>,
        at: usize,
        bytes: usize,
        put: impl FnOnce(Weight),
    ) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let number = list.next;
        list.next += 1;
        self.kept.fetch_add(bytes, Relaxed);
        let all = Arc::clone(&self.kept);
        put(Weight { bytes, all, number });
        let shelf = Arc::downgrade(shelf) as Weak<dyn Keeps>;
        list.places.push_back(Place { shelf, at, number });
        while self.kept.load(Relaxed) > self.kept_max {
            let Some(oldest) = list.places.pop_front() else {
                break;
            };
            if let Some(shelf) = oldest.shelf.upgrade() {
                shelf.clear(oldest.at, oldest.number);
            }
        }
        if list.places.len() > list.tidy_at.max(LIST_MIN) {
            list.places.retain(Place::is_taken);
            list.tidy_at = 2 * list.places.len();
        }
    }

    /// Whether one more page may be compressed now.
    pub(super) fn may_pack(&self, now: Time) -> bool {
        // The second in the upper bits, the count in the lower ones.
        let second = (now.0 / 1_000) << 16;
        let next = |packed: u64| match packed & !0xffff == second {
            true if packed & 0xffff >= PACKED_PER_SECOND_MAX => None,
            true => Some(packed + 1),
            false => Some(second + 1),
        };
        self.packed.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

impl Place {
    fn is_taken(&self) -> bool {
        let shelf = self.shelf.upgrade();
        shelf.is_some_and(|shelf| shelf.holds(self.at, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wait::Shelf;
    use crate::page::Lang;

    fn shelf(name: &str) -> Arc<Shelf> {
        Arc::new(Shelf::new(&name.parse().unwrap(), Arc::default()))
    }

    /// Keeps something; how many bytes there are then, and in how many places.
    fn keep(stock: &Stock, shelf: &Arc<Shelf>, at: usize, bytes: usize) -> (usize, usize) {
        stock.keep(shelf, at, bytes, |weight| shelf.put(at, weight));
        let list = stock.list.lock().unwrap();
        (stock.kept.load(Relaxed), list.places.len())
    }

    #[test]
    fn a_client_that_asks_for_all_languages_of_a_thousand_hosts_fills_no_more_than_the_stock() {
        let stock = Stock::default();
        let shelves: Vec<_> = (0..1_000).map(|at| shelf(&format!("s{at}"))).collect();
        let places = Lang::all().count() * 4;
        let mut most = 0;
        for round in 0..2 {
            for at in 0..places {
                for shelf in &shelves {
                    let (kept, listed) = keep(&stock, shelf, at, 30_000 + round);
                    assert!(
                        kept <= KEPT_MAX && listed <= 2 * LIST_MIN,
                        "{kept} {listed}"
                    );
                    most = most.max(kept);
                }
            }
        }
        assert!(most > KEPT_MAX - 40_000, "there is room for {most}");
        drop(shelves);
        assert_eq!(stock.kept.load(Relaxed), 0, "what is gone weighs nothing");
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_made_anew_is_young() {
        let stock = Stock::of(30);
        let shelf = shelf("blog");
        for at in [0, 1, 0, 2] {
            keep(&stock, &shelf, at, 10);
        }
        assert_eq!(keep(&stock, &shelf, 3, 10).0, 30);
        let there = |at, number| shelf.holds(at, number);
        assert!(!there(1, 1) && there(0, 2) && there(2, 3) && there(3, 4));
        assert_eq!(keep(&stock, &shelf, 4, 40).0, 0, "larger than all");
    }

    #[test]
    fn one_host_that_changes_for_ever_makes_no_endless_list() {
        let stock = Stock::default();
        let (still, busy) = (shelf("still"), shelf("busy"));
        keep(&stock, &still, 0, 10);
        for _ in 0..10_000 {
            let (_, listed) = keep(&stock, &busy, 0, 10);
            assert!(listed <= LIST_MIN + 1, "{listed}");
        }
        assert!(still.holds(0, 0));
    }

    #[test]
    fn only_so_many_pages_are_compressed_in_a_second() {
        let stock = Stock::default();
        for second in [1_000, 2_000, 9_000] {
            let packed = (0..1_000)
                .filter(|at| stock.may_pack(Time(second + at)))
                .count();
            assert_eq!(packed as u64, PACKED_PER_SECOND_MAX);
        }
    }
}
