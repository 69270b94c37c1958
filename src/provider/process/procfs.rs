//! What `/proc` says of processes. A pid alone names nobody, because pids are used again; a pid with its start
//! time names one process of this boot ([`Proc`]).
//!
//! Source: `proc(5)`, `/proc/pid/stat`.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::provider::cpus;

/// One process of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Proc {
    pub(super) pid: u32,
    /// Field 22 of its stat: clock ticks since boot.
    pub(super) started_ticks: u64,
}

/// What we need of `/proc/pid/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) proc: Proc,
    /// The process group, which is the pid of its leader.
    pub(super) group: u32,
    /// The time that it and the children that it waited for ran, in clock ticks.
    pub(super) ran_ticks: u64,
    /// Not ended. A zombie has ended, and only waits for its parent to hear it.
    pub(super) alive: bool,
}

impl Stat {
    pub(super) const fn leads(&self) -> bool {
        self.group == self.proc.pid
    }
}

/// Names the running kernel: pids and start times of another boot mean nothing.
pub(super) fn boot_id() -> std::io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The identity of a process that is alive now.
pub(super) fn identify(pid: u32) -> Option<Proc> {
    stat(pid).map(|stat| stat.proc)
}

pub(super) fn is_alive(proc: Proc) -> bool {
    stat(proc.pid).is_some_and(|stat| stat.proc == proc && stat.alive)
}

/// Every process that is alive, except us.
pub(super) fn all() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter_map(stat)
        .filter(|stat| stat.alive)
}

/// Whether it was started with `variable` (`NAME=value`) in its environment. No for a process of another user
/// and for one that wrote over its environment.
pub(super) fn carries(pid: u32, variable: &str) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .any(|entry| entry == variable.as_bytes())
}

/// Signals this very process, and never another that got its pid: the descriptor pins the process, then the
/// identity is read, then it is signalled.
pub(super) fn signal(proc: Proc, signal: Signal) {
    let pid = i32::try_from(proc.pid).ok().and_then(Pid::from_raw);
    let Some(Ok(pinned)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return;
    };
    if is_alive(proc) {
        // It may end in between, which is what the signal was for.
        let _ = pidfd_send_signal(&pinned, signal);
    }
}

/// Clock ticks in a second, as `/proc` counts them on every architecture that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// Clock ticks, in microseconds.
pub(super) const fn micros(ticks: u64) -> u64 {
    ticks.saturating_mul(1_000_000 / TICKS_PER_SECOND)
}

/// The time since boot, in microseconds.
pub(super) fn uptime_micros() -> Option<u64> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let (secs, hundredths) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let (secs, hundredths): (u64, u64) = (secs.parse().ok()?, hundredths.parse().ok()?);
    Some(micros(secs * TICKS_PER_SECOND + hundredths))
}

/// How many processors the process may run on.
pub(super) fn processors(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = text
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    cpus::count(list.trim())
}

fn parse(pid: u32, text: &str) -> Option<Stat> {
    // The name stands in parentheses and may itself hold some: the fields begin after the last one.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X" | "x");
    let group = fields.nth(1)?.parse().ok()?;
    // Fields 14 to 17: itself and its children, each in its own code and in the kernel.
    let mut ran_ticks = 0_u64;
    for ticks in fields.by_ref().skip(8).take(4) {
        ran_ticks = ran_ticks.saturating_add(ticks.parse().ok()?);
    }
    let started_ticks = fields.nth(4)?.parse().ok()?;
    Some(Stat {
        proc: Proc { pid, started_ticks },
        group,
        ran_ticks,
        alive,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "42 (a) b) S 1 40 7 0 -1 4194304 97 0 0 0 1 2 3 4 20 0 1 0 123456 9 9";

    #[test]
    fn a_stat_line_is_read_after_the_last_parenthesis() {
        let proc = Proc {
            pid: 42,
            started_ticks: 123_456,
        };
        let stat = parse(42, LINE).unwrap();
        assert_eq!((stat.proc, stat.group, stat.alive), (proc, 40, true));
        assert_eq!(stat.ran_ticks, 1 + 2 + 3 + 4);
        assert!(!parse(42, &LINE.replace(") S", ") Z")).unwrap().alive);
        assert_eq!(parse(42, "42 (cut) S 1"), None);
    }

    #[test]
    fn this_host_has_processors_and_a_time_since_boot() {
        assert!(processors(std::process::id()) >= Some(1));
        assert!(uptime_micros() > Some(0));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let zombie = identify(child.id()).unwrap();
        let pid = Pid::from_child(&child);
        // Waits for its end and leaves it a zombie.
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )
        .unwrap();
        assert_eq!(identify(child.id()), Some(zombie));
        assert!(!is_alive(zombie));
        child.wait().unwrap();
        assert_eq!(identify(zombie.pid), None);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let me = identify(std::process::id()).unwrap();
        assert!(is_alive(me));
        let before = Proc {
            started_ticks: me.started_ticks - 1,
            ..me
        };
        assert!(!is_alive(before));
        // Were the identity not looked at, this would end the test.
        signal(before, Signal::KILL);
    }
}
