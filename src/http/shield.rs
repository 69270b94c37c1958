//! The shield against floods of the room's own answers: so many for each client, and a table that no flood can make
//! grow. It forgets everything at a restart; what must not be forgotten is in the store.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;

use crate::engine::admit::Rate;
use crate::engine::client;

/// Sets of places in the table. A client's address says which set is its own.
const SETS: usize = 8_192;

/// Places in a set. With 65,536 places in all the table takes 1.1 MiB, and never more.
const WAYS: usize = 8;

/// Counts the room's own answers to each client.
pub(super) struct Shield {
    limiter: RateLimiter<IpNet, Table, DefaultClock>,
}

impl Shield {
    /// A shield that lets so much through for each client.
    pub(super) fn new(rate: Rate) -> Shield {
        let count = rate.count().try_into().expect("a rate has at least one");
        let quota = Quota::with_period(Duration::from(rate.interval()));
        let quota = quota.expect("an interval is at least a millisecond");
        Shield {
            limiter: RateLimiter::new(
                quota.allow_burst(count),
                Table::new(),
                DefaultClock::default(),
            ),
        }
    }

    /// Counts one answer to this client; the time until there may be one when it has had too many.
    pub(super) fn holds_off(&self, address: IpAddr) -> Option<Duration> {
        let too_early = self.limiter.check_key(&client::household(address)).err()?;
        Some(too_early.wait_time_from(self.limiter.clock().now()))
    }
}

/// Timestamps of clients, in a table of fixed size. Where a set is full, the client whose timestamp is the earliest
/// goes: it has used the least, so it gains the least by being met as a new one.
struct Table {
    sets: Box<[Mutex<[Place; WAYS]>]>,
    hasher: RandomState,
}

/// A client by the hash of its address, and its timestamp. An empty place has the earliest of all.
#[derive(Clone, Copy, Default)]
struct Place {
    client: u64,
    tat: u64,
}

impl Table {
    fn new() -> Table {
        let set = || Mutex::new([Place::default(); WAYS]);
        Table {
            sets: std::iter::repeat_with(set).take(SETS).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl StateStore for Table {
    type Key = IpNet;

    fn measure_and_replace<T, F, E>(&self, key: &IpNet, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Not zero, which is an empty place.
        let client = self.hasher.hash_one(key) | 1;
        // The upper half, so that the bit above takes nothing from it.
        let set = &self.sets[(client >> 32) as usize % SETS];
        // A place is whole at every moment, so a panic of another holder changes nothing.
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter().position(|place| place.client == client);
        let kept = known.map(|at| Nanos::new(set[at].tat));
        let (answer, tat) = f(kept)?;
        let earliest = || (0..WAYS).min_by_key(|at| set[*at].tat);
        let at = known.or_else(earliest).unwrap_or_default();
        let tat = tat.as_u64();
        set[at] = Place { client, tat };
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Span;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn shield(count: u32) -> Shield {
        Shield::new(Rate::new(count, Span::mins(60)).unwrap())
    }

    #[test]
    fn each_client_has_its_own_and_a_household_is_one() {
        let shield = shield(3);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (first, same) in [
            ("203.0.113.1", "::ffff:203.0.113.1"),
            ("203.0.113.2", "203.0.113.2"),
            ("2001:db8::1", "2001:db8:0:0:ffff::9"),
            ("2001:db8:0:1::1", "2001:db8:0:1::2"),
        ] {
            for address in [first, same, first] {
                assert_eq!(shield.holds_off(ip(address)), None);
            }
            let wait = shield.holds_off(ip(same)).unwrap();
            let interval = Duration::from_secs(20 * 60);
            assert!(wait <= interval && wait > interval / 2, "{wait:?}");
        }
    }

    #[test]
    fn a_flood_of_addresses_takes_no_memory_and_lets_nobody_be_forgotten_who_has_used_much() {
        let shield = shield(1_000);
        let heavy = IpAddr::from(Ipv4Addr::new(203, 0, 113, 1));
        while shield.holds_off(heavy).is_none() {}
        for n in 0..300_000u128 {
            let one = Ipv6Addr::from((0x2001_0db8 << 96) | (n << 64));
            assert_eq!(shield.holds_off(one.into()), None);
        }
        assert!(shield.holds_off(heavy).is_some());
        assert_eq!(size_of::<Mutex<[Place; WAYS]>>() * SETS, 1_114_112);
    }
}
