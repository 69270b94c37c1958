//! A guest of Proxmox VE, as configured.

use std::path::PathBuf;

use super::parts::Machine;
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
    /// Whether clones have disks of their own.
    pub full_clones: bool,
    /// The guest that clones are made from; none for this one.
    pub clone_from: Option<u32>,
    /// The pool that clones are put in.
    pub pool: Option<String>,
    /// Where the disks of full clones go.
    pub storage: Option<String>,
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
        let full_clones = section.choice("clone", &[("full", true), ("linked", false)]);
        let clone_from = match section.has("clone_from") {
            true => Some(section.integer("clone_from")?),
            false => None,
        };
        let storage = optional(section, "storage")?;
        if storage.is_some() && full_clones == Some(false) {
            section.warn(
                "storage",
                "is not looked at, because linked clones stay where their source is",
            );
        }
        let pool = optional(section, "pool")?;
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
            full_clones: full_clones?,
            clone_from: clone_from.and_then(|vmid| u32::try_from(vmid).ok()),
            pool,
            storage: storage.filter(|_| full_clones == Some(true)),
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

/// A name that need not be written; none in all where what is written is not one.
fn optional(section: &Reading<'_>, name: &str) -> Option<Option<String>> {
    match section.has(name) {
        true => section.read(name, value::words).map(Some),
        false => Some(None),
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
