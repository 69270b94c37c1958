//! A virtual machine at IDCloudHost, as configured.

use std::path::PathBuf;

use super::parts::{Machine, MachineAddress, machine_address};
use crate::config::reading::Reading;
use crate::config::secret::Secret;
use crate::config::value;
use crate::engine::time::Span;

/// A virtual machine at IDCloudHost, or at another cloud of its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct IdCloudHost {
    /// The cloud's address, without a slash at its end.
    pub base_url: String,
    /// The location, as in the cloud's paths.
    pub location: String,
    /// The machine's id.
    pub uuid: String,
    /// The account's token.
    pub apikey: Secret,
    /// Which of its addresses is used.
    pub address: MachineAddress,
    /// How long it may take to shut down before it is switched off; 1 s to 1 h.
    pub stop_timeout: Span,
    /// How long making a clone may take; 1 min to 2 h.
    pub clone_timeout: Span,
    /// The billing account; none where the token is bound to one.
    pub billing_account: Option<u64>,
    /// A file of certificates that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

impl IdCloudHost {
    pub(super) fn read(section: &Reading<'_>) -> Option<IdCloudHost> {
        let location = section.read("location", value::name);
        let uuid = section.read("uuid", value::name);
        let apikey = section.secret("apikey");
        let base_url = section.read("base_url", value::url);
        let address = machine_address(section);
        Some(IdCloudHost {
            base_url: base_url?,
            location: location?,
            uuid: uuid?,
            apikey: apikey?,
            address: address?,
            stop_timeout: section.span("stop_timeout")?,
            clone_timeout: section.span("clone_timeout")?,
            billing_account: section
                .integer("billing_account")
                .and_then(|number| number.try_into().ok()),
            ca: section.read("ca", value::words).map(PathBuf::from),
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "machine",
            place: self.base_url.clone(),
            id: self.uuid.clone(),
        }
    }
}
