//! A guest of Proxmox VE, as configured.

use std::path::PathBuf;

use super::Machine;
use crate::config::reading::Reading;
use crate::config::secret::Secret;
use crate::config::value;
use crate::engine::policy::Sleep;
use crate::engine::time::Span;

/// A guest of Proxmox VE.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxmox {
    /// A node's address, without a slash at its end.
    pub base_url: String,
    /// The token's name.
    pub token_id: String,
    /// The token's secret.
    pub secret: Secret,
    /// The guest's number, 100 to 999,999,999.
    pub vmid: u32,
    /// What it must be.
    pub guest: Option<Guest>,
    /// Where the app listens, as `host:port`; none where the guest is asked.
    pub address: Option<String>,
    /// How it is put to sleep.
    pub sleep: Sleep,
    /// How long it may take to shut down before it is switched off; 1 s to 1 h.
    pub stop_timeout: Span,
    /// A file of certificates that are believed beside those of the system.
    pub ca: Option<PathBuf>,
    /// The one certificate that is believed: 64 hexadecimal digits, with colons or without.
    pub fingerprint: Option<String>,
}

/// What a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
}

impl Proxmox {
    pub(super) fn read(section: &Reading<'_>, port: u16) -> Option<Proxmox> {
        let base_url = section.read("base_url", value::url);
        let token_id = section.read("token_id", token_id);
        let secret = section.secret("secret");
        let vmid = section.integer("vmid");
        let guest = match section.has("guest") {
            true => section.choice("guest", &[("qemu", Guest::Qemu), ("lxc", Guest::Lxc)]),
            false => None,
        };
        let address = section.read("address", |text| match text {
            "guest" => Ok(None),
            fixed => value::address(fixed, port).map(Some),
        });
        let sleep = section.choice(
            "sleep",
            &[("stop", Sleep::Stop), ("suspend", Sleep::Suspend)],
        );
        let stop_timeout = section.span("stop_timeout");
        if section.has("ca") && section.has("fingerprint") {
            section.warn(
                "ca",
                "is not looked at, because fingerprint says what is believed",
            );
        }
        Some(Proxmox {
            base_url: base_url?,
            token_id: token_id?,
            secret: secret?,
            vmid: u32::try_from(vmid?).ok()?,
            guest,
            address: address?,
            sleep: sleep?,
            stop_timeout: stop_timeout?,
            ca: section.read("ca", value::words).map(PathBuf::from),
            fingerprint: section.read("fingerprint", fingerprint),
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "guest",
            place: self.base_url.clone(),
            id: self.vmid.to_string(),
        }
    }
}

fn token_id(text: &str) -> value::Parsed<String> {
    let parts = text.split_once('!');
    let named = parts.is_some_and(|(user, name)| user.contains('@') && !name.is_empty());
    match named && !text.contains(['=', ' ']) {
        true => value::words(text),
        false => Err("is not the name of a token; write it like \"anteroom@pve!power\"".into()),
    }
}

fn fingerprint(text: &str) -> value::Parsed<String> {
    let digits = text.replace(':', "");
    match digits.len() == 64 && digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => {
            Err("is not the SHA-256 of a certificate: 64 hexadecimal digits, like AB:CD:...".into())
        }
    }
}
