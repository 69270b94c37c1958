//! A virtual machine of libvirt, as configured.

use super::parts::Machine;
use crate::config::reading::Reading;
use crate::config::value;
use crate::engine::policy::Sleep;
use crate::engine::time::Span;

/// A virtual machine of libvirt.
#[derive(Clone, Debug, PartialEq)]
pub struct Libvirt {
    /// Where libvirt is.
    pub uri: String,
    /// Its name or UUID.
    pub domain: String,
    /// `lease`, `agent`, `arp`, or where the app listens, as `host:port`.
    pub address: String,
    /// How it is put to sleep.
    pub sleep: Sleep,
    /// How long it may take to shut down, or to be saved; 1 s to 1 h.
    pub stop_timeout: Span,
    /// The program that is run.
    pub virsh: String,
}

impl Libvirt {
    pub(super) fn read(section: &Reading<'_>, port: u16) -> Option<Libvirt> {
        let uri = section.read("uri", value::words);
        let domain = section.read("domain", domain);
        let address = section.read("address", |text| match text {
            "lease" | "agent" | "arp" => Ok(text.to_owned()),
            fixed => value::address(fixed, port),
        });
        let sleep = section.choice("sleep", &[("stop", Sleep::Stop), ("save", Sleep::Suspend)]);
        let stop_timeout = section.span("stop_timeout");
        let virsh = section.read("virsh", value::words);
        Some(Libvirt {
            uri: uri?,
            domain: domain?,
            address: address?,
            sleep: sleep?,
            stop_timeout: stop_timeout?,
            virsh: virsh?,
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "domain",
            place: self.uri.clone(),
            id: self.domain.clone(),
        }
    }
}

fn domain(text: &str) -> value::Parsed<String> {
    match text.bytes().all(|c| c.is_ascii_digit()) {
        true => {
            Err("would be taken for a number that changes at each start; write the UUID".into())
        }
        false => value::words(text),
    }
}
