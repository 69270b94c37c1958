//! The processes of one machine: the group that its leader leads, and what carries its mark.
//!
//! Never signals by group number: each member is identified first (see [`procfs::signal`]). While the leader
//! lives, the number is its own and all members are ours; after that only those seen before, and those that
//! carry the mark.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::procfs::{self, Proc, Stat};

/// A process group that is being ended.
pub(super) struct Group {
    leader: Proc,
    marker: String,
    seen: BTreeSet<Proc>,
}

impl Group {
    pub(super) fn new(leader: Proc, marker: &str) -> Group {
        Group {
            leader,
            marker: marker.to_owned(),
            seen: BTreeSet::from([leader]),
        }
    }

    /// Signals every member, when there is something to tell, and counts them.
    pub(super) fn tell(&mut self, signal: Option<Signal>) -> usize {
        let candidates: Vec<Stat> = procfs::all()
            .filter(|stat| stat.group == self.leader.pid || stat.proc == self.leader)
            .collect();
        // Read after the list: had the leader ended before it, the number could be another's by then.
        let leader_lives = procfs::is_alive(self.leader);
        let members: BTreeSet<Proc> = candidates
            .iter()
            .map(|stat| stat.proc)
            .filter(|proc| {
                leader_lives || self.seen.contains(proc) || procfs::carries(proc.pid, &self.marker)
            })
            .collect();
        if let Some(signal) = signal {
            members
                .iter()
                .for_each(|proc| procfs::signal(*proc, signal));
        }
        self.seen.extend(&members);
        members.len()
    }
}

/// Kills what a machine that is off left behind: a worker whose leader crashed would hold the port.
pub(super) fn sweep(marker: &str) {
    procfs::all()
        .filter(|stat| procfs::carries(stat.proc.pid, marker))
        .for_each(|stat| {
            let pid = stat.proc.pid;
            tracing::warn!(pid, marker, "a process without its leader is killed");
            procfs::signal(stat.proc, Signal::KILL);
        });
}
