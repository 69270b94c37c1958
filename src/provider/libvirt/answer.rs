//! What virsh prints, and what its complaints mean. Observed at libvirt 9.0 with `LC_ALL=C`; the words are those of
//! `virsh-domain-monitor.c` and `virerror.c` of libvirt.

use std::net::IpAddr;

use crate::engine::machine::{ErrorClass, MachineState};

/// What was asked of libvirt, which decides what a connection that broke means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Reads.
    Read,
    /// Changes something.
    Write,
}

/// A domain's state, as far as it decides how it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Off, without a saved memory.
    Off,
    /// Off, its memory saved, or perhaps saved: libvirt forgets the reason when it is restarted.
    OffMaybeSaved,
    /// Off, its memory saved.
    Saved,
    /// Stopped in mid-run by somebody, or by a fault that may be over: it must be resumed.
    Paused,
    /// Put to sleep by the guest itself, its memory kept: it must be woken up.
    PmSuspended,
    Running,
    Starting,
    Stopping,
    /// Its guest panicked, and it was kept for whoever wants to see why: it must be switched off first.
    Crashed,
    Missing,
}

impl Seen {
    /// The state in everybody's words.
    pub(super) const fn state(self) -> MachineState {
        match self {
            Self::Off | Self::OffMaybeSaved => MachineState::Stopped,
            Self::Saved | Self::Paused | Self::PmSuspended => MachineState::Suspended,
            Self::Running => MachineState::Running,
            Self::Starting => MachineState::Starting,
            Self::Stopping => MachineState::Stopping,
            Self::Crashed => MachineState::Failed,
            Self::Missing => MachineState::Missing,
        }
    }
}

/// `domstate --reason`: a state and its reason in brackets. None for what no libvirt is known to print.
pub(super) fn seen(printed: &str) -> Option<Seen> {
    let line = printed.trim();
    let (state, reason) = match line.split_once(" (") {
        Some((state, rest)) => (state, rest.trim_end_matches(')')),
        None => (line, ""),
    };
    Some(match (state, reason) {
        // "no state": on Xen, one that waits for the processor.
        ("running" | "idle" | "blocked" | "no state", _) => Seen::Running,
        ("paused", "saving" | "shutting down") => Seen::Stopping,
        ("paused", "starting up" | "migrating" | "from snapshot" | "creating snapshot") => {
            Seen::Starting
        }
        ("paused", "crashed") => Seen::Crashed,
        ("paused", _) => Seen::Paused,
        ("in shutdown" | "dying", _) => Seen::Stopping,
        ("shut off", "saved") => Seen::Saved,
        ("shut off", "unknown" | "") => Seen::OffMaybeSaved,
        ("shut off", _) => Seen::Off,
        ("pmsuspended", _) => Seen::PmSuspended,
        ("crashed", _) => Seen::Crashed,
        _ => return None,
    })
}

/// Whether `dominfo` says that a memory is saved.
pub(super) fn is_saved(printed: &str) -> bool {
    let saved = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (name == "Managed save").then_some(value.trim() == "yes")
    };
    printed.lines().find_map(saved).unwrap_or_default()
}

/// The address that `domifaddr` prints and others can reach: the first of IPv4, else the first of IPv6.
pub(super) fn address(printed: &str) -> Option<IpAddr> {
    let all = || {
        printed.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            words.find(|word| matches!(*word, "ipv4" | "ipv6"))?;
            let (ip, _prefix) = words.next()?.split_once('/')?;
            ip.parse::<IpAddr>().ok().filter(is_reachable)
        })
    };
    all().find(IpAddr::is_ipv4).or_else(|| all().next())
}

fn is_reachable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified()),
    }
}

/// What a complaint means: the first row of which it holds one of the texts, however they are written.
pub(super) fn class(complaint: &str, does: Does) -> ErrorClass {
    let complaint = complaint.to_ascii_lowercase();
    let row = COMPLAINTS
        .iter()
        .find(|(texts, _)| texts.iter().any(|text| complaint.contains(text)));
    let unsent = complaint.contains("failed to connect to the hypervisor");
    match row.map(|(_, class)| *class) {
        Some(ErrorClass::Ambiguous) if does == Does::Read || unsent => ErrorClass::Transient,
        Some(class) => class,
        None => ErrorClass::Transient,
    }
}

/// In this order: a connection that is refused is told with words that say more behind it.
const COMPLAINTS: &[(&[&str], ErrorClass)] = &[
    (
        &[
            "domain is already active",
            "domain is already running",
            "is already being started",
        ],
        ErrorClass::AlreadyThere,
    ),
    (
        &[
            "authentication failed",
            "authentication unavailable",
            "authentication cancelled",
            "permission denied (",
            "host key verification failed",
        ],
        ErrorClass::Auth,
    ),
    (
        &[
            "operation forbidden",
            "access denied",
            "permission denied",
            "operation not permitted",
        ],
        ErrorClass::Forbidden,
    ),
    (
        &[
            "failed to connect socket",
            "unable to connect to server",
            "end of file while reading data",
            "cannot recv data",
            "cannot write data",
            "client socket is closed",
            "connection reset",
            "keepalive",
        ],
        ErrorClass::Ambiguous,
    ),
    (
        &[
            "timed out during operation",
            "cannot acquire state change lock",
            "another operation",
        ],
        ErrorClass::Busy,
    ),
    (
        &[
            "cannot allocate memory",
            "out of memory",
            "no space left on device",
        ],
        ErrorClass::Capacity,
    ),
    (
        &["requested operation is not valid"],
        ErrorClass::InvalidState,
    ),
    (
        &[
            "not supported by the connection driver",
            "argument unsupported",
            "operation not supported",
            "operation is not supported",
            "unsupported configuration",
            "invalid argument",
            "invalid connection",
            "no connection driver available",
            "unable to parse uri",
            "unexpected qemu uri path",
            "does not support",
        ],
        ErrorClass::BadRequest,
    ),
    // Also told before words of the rows above, when the connection broke as the domain was looked up.
    (
        &["failed to get domain", "domain not found"],
        ErrorClass::NotFound,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_reason_is_one_of_ours() {
        for (printed, wanted) in [
            ("running (booted)\n\n", Seen::Running),
            ("running (restored)", Seen::Running),
            ("idle", Seen::Running),
            ("paused (user)", Seen::Paused),
            ("paused (I/O error)", Seen::Paused),
            ("paused (saving)", Seen::Stopping),
            ("paused (starting up)", Seen::Starting),
            ("paused (crashed)", Seen::Crashed),
            ("in shutdown (user)", Seen::Stopping),
            ("shut off (shutdown)", Seen::Off),
            ("shut off (destroyed)", Seen::Off),
            ("shut off (crashed)", Seen::Off),
            ("shut off (failed)", Seen::Off),
            ("shut off (saved)", Seen::Saved),
            ("shut off (unknown)", Seen::OffMaybeSaved),
            ("pmsuspended (unknown)", Seen::PmSuspended),
            ("crashed (panicked)", Seen::Crashed),
        ] {
            assert_eq!(seen(printed), Some(wanted), "{printed}");
        }
        assert_eq!(seen("laufend (gestartet)"), None);
        assert_eq!(seen(""), None);
    }

    #[test]
    fn an_address_is_one_that_others_reach() {
        let agent = " lo         00:00:00:00:00:00    ipv4         127.0.0.1/8\n\
                     -          -                    ipv6         ::1/128\n\
                     eth0       52:54:00:b1:70:19    ipv6         fe80::5054:ff:feb1:7019/64\n\
                     -          -                    ipv6         fd00::7/64\n\
                     -          -                    ipv4         192.168.122.23/24\n";
        assert_eq!(address(agent), "192.168.122.23".parse().ok());
        let only_six: String = agent
            .lines()
            .take(4)
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(address(&only_six), "fd00::7".parse().ok());
        let arp = " vnet0      52:54:00:b1:70:19    ipv4         192.168.122.23/0";
        assert_eq!(address(arp), "192.168.122.23".parse().ok());
        for none in ["", "\n", " vnet0 52:54:00:b1:70:19 ipv4 nonsense", "ipv4"] {
            assert_eq!(address(none), None, "{none}");
        }
    }

    #[test]
    fn a_saved_memory_is_read_from_the_line_that_says_so() {
        assert!(is_saved("Id:             -\nManaged save:   yes\n"));
        assert!(!is_saved(
            "Name:    Managed save: yes\nManaged save:   no\n"
        ));
        assert!(!is_saved(""));
    }

    #[test]
    fn every_complaint_has_its_class() {
        use ErrorClass::{
            AlreadyThere, Ambiguous, Auth, BadRequest, Busy, Capacity, Forbidden, InvalidState,
            NotFound, Transient,
        };
        for (complaint, does, wanted) in [
            ("error: failed to get domain 'nobody'", Does::Read, NotFound),
            (
                "error: failed to get domain 'a' error: Domain not found: no domain with matching name 'a'",
                Does::Read,
                NotFound,
            ),
            (
                "error: failed to get domain 'a' error: End of file while reading data: Input/output error",
                Does::Read,
                Transient,
            ),
            ("error: Domain is already active", Does::Write, AlreadyThere),
            (
                "error: Failed to shutdown domain 'a' error: Requested operation is not valid: domain is not running",
                Does::Write,
                InvalidState,
            ),
            (
                "error: failed to connect to the hypervisor error: Failed to connect socket to '/s': No such file or directory",
                Does::Write,
                Transient,
            ),
            (
                "error: failed to connect to the hypervisor error: Failed to connect socket to '/s': Permission denied",
                Does::Read,
                Forbidden,
            ),
            (
                "error: failed to connect to the hypervisor error: Cannot recv data: u@h: Permission denied (publickey,password).: Connection reset by peer",
                Does::Read,
                Auth,
            ),
            (
                "error: failed to connect to the hypervisor error: unable to connect to server at '127.0.0.1:1': Connection refused",
                Does::Read,
                Transient,
            ),
            (
                "error: Failed to start domain 'a' error: End of file while reading data: Input/output error",
                Does::Write,
                Ambiguous,
            ),
            (
                "error: Failed to start domain 'a' error: operation forbidden: read only access prevents virDomainCreate",
                Does::Write,
                Forbidden,
            ),
            (
                "error: Failed to query for interfaces addresses error: argument unsupported: QEMU guest agent is not configured",
                Does::Read,
                BadRequest,
            ),
            (
                "error: Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainCreate)",
                Does::Write,
                Busy,
            ),
            (
                "error: internal error: qemu unexpectedly closed the monitor: cannot set up guest memory 'pc.ram': Cannot allocate memory",
                Does::Write,
                Capacity,
            ),
            ("error: internal error: anything", Does::Write, Transient),
        ] {
            assert_eq!(class(complaint, does), wanted, "{complaint}");
        }
    }
}
