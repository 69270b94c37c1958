//! A server at Hetzner Cloud, as configured.

use std::path::PathBuf;

use super::billed::{Kept, label};
use super::parts::{Machine, MachineAddress, machine_address};
use crate::config::reading::Reading;
use crate::config::secret::Secret;
use crate::config::value;
use crate::engine::time::Span;

/// A server at Hetzner Cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Hetzner {
    /// The cloud's address, without a slash at its end.
    pub base_url: String,
    /// The project's token.
    pub token: Secret,
    /// Which server, and what its sleep is.
    pub kept: Kept,
    /// Which of its addresses is used.
    pub address: MachineAddress,
    /// How long it may take to shut down before it is switched off; 1 s to 1 h.
    pub stop_timeout: Span,
    /// A file of certificates that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

impl Hetzner {
    pub(super) fn read(section: &Reading<'_>) -> Option<Hetzner> {
        let token = section.secret("token");
        let kept = Kept::read(section, "server", "label", label);
        let base_url = section.read("base_url", value::url);
        let address = machine_address(section);
        let stop_timeout = section.span("stop_timeout");
        Some(Hetzner {
            base_url: base_url?,
            token: token?,
            kept: kept?,
            address: address?,
            stop_timeout: stop_timeout?,
            ca: section.read("ca", value::words).map(PathBuf::from),
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "server",
            place: self.base_url.clone(),
            id: self.kept.id(),
        }
    }
}
