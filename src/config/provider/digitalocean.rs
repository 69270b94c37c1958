//! A droplet at DigitalOcean, as configured.

use std::path::PathBuf;

use super::{BILLED_OFF, Machine, MachineAddress, machine_address};
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
    /// The droplet's id.
    pub droplet: u64,
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
        let droplet = section.integer("droplet");
        let base_url = section.read("base_url", value::url);
        let address = machine_address(section);
        let stop_timeout = section.span("stop_timeout");
        section.warn("kind", BILLED_OFF);
        Some(DigitalOcean {
            base_url: base_url?,
            token: token?,
            droplet: u64::try_from(droplet?).ok()?,
            address: address?,
            stop_timeout: stop_timeout?,
            ca: section.read("ca", value::words).map(PathBuf::from),
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "droplet",
            place: self.base_url.clone(),
            id: self.droplet.to_string(),
        }
    }
}
