//! A droplet at DigitalOcean, as configured.

use std::path::PathBuf;

use super::billed::{Kept, tag};
use super::parts::{Machine, MachineAddress, machine_address};
use crate::config::reading::Reading;
use crate::config::secret::Secret;
use crate::config::value;
use crate::engine::time::Span;

/// A droplet at DigitalOcean.
#[derive(Clone, Debug, PartialEq)]
pub struct DigitalOcean {
    /// The cloud's address, without a slash at its end.
    pub base_url: String,
    /// The account's token.
    pub token: Secret,
    /// Which droplet, and what its sleep is.
    pub kept: Kept,
    /// Which of its addresses is used.
    pub address: MachineAddress,
    /// How long it may take to shut down before it is switched off; 1 s to 1 h.
    pub stop_timeout: Span,
    /// A file of certificates that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

impl DigitalOcean {
    pub(super) fn read(section: &Reading<'_>) -> Option<DigitalOcean> {
        let token = section.secret("token");
        let kept = Kept::read(section, "droplet", "tag", tag);
        let base_url = section.read("base_url", value::url);
        let address = machine_address(section);
        let stop_timeout = section.span("stop_timeout");
        Some(DigitalOcean {
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
            what: "droplet",
            place: self.base_url.clone(),
            id: self.kept.id(),
        }
    }
}
