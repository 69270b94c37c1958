//! Ports of loopback for programs that are told theirs before they listen.
//!
//! Between the moment in which a port is found free and that in which its program listens there, nobody else must take
//! it: another test, another test program on this machine, a clone that looks for a port by itself. So each test
//! program takes whole blocks of ports for itself, by locks on files that end with it, and gives each port out once.

use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Below the range from which the system takes the ports of outgoing connections, so that none of the thousands
/// that tests make takes the port while its listener is off.
const PORTS: std::ops::Range<u16> = 16_384..32_000;

/// Ports that are taken at a time. A whole run needs some hundreds.
const BLOCK: u16 = 64;

/// The blocks of this test program, and what is left of the latest.
struct Taken {
    locks: Vec<File>,
    next: u16,
    end: u16,
}

static TAKEN: Mutex<Taken> = Mutex::new(Taken {
    locks: Vec::new(),
    next: 0,
    end: 0,
});

/// A port that nobody else is given.
pub(crate) fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many ports in a row that nobody else is given; at most a block of them.
pub(crate) fn free_ports(count: u16) -> u16 {
    assert!((1..=BLOCK).contains(&count), "{count} ports in a row");
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while taken.next + count <= taken.end {
            let first = taken.next;
            // Whoever takes ports in another manner may be here.
            let is_free = |port| TcpListener::bind(("0.0.0.0", port)).is_ok();
            match (first..first + count).rev().find(|port| !is_free(*port)) {
                Some(busy) => taken.next = busy + 1,
                None => {
                    taken.next = first + count;
                    return first;
                }
            }
        }
        taken.take_block();
    }
}

impl Taken {
    fn take_block(&mut self) {
        let user = rustix::process::getuid().as_raw();
        let dir = std::env::temp_dir().join(format!("anteroom-test-ports-{user}"));
        std::fs::create_dir_all(&dir).expect("the folder for temporary files is there");
        for first in PORTS.step_by(usize::from(BLOCK)) {
            let end = first.saturating_add(BLOCK).min(PORTS.end);
            let mut options = File::options();
            options.create(true).truncate(false).write(true);
            let lock = options.open(dir.join(first.to_string()));
            let lock = lock.expect("the folder is ours");
            match lock.try_lock() {
                Ok(()) => {
                    self.locks.push(lock);
                    (self.next, self.end) = (first, end);
                    return;
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => panic!("a lock on a file: {error}"),
            }
        }
        panic!("loopback has no free port");
    }
}
