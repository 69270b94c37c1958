//! Which guest of which cluster, as the operator wrote it down.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::id::ServiceName;
use crate::engine::policy::Sleep;
use crate::provider::BadSettings;
use crate::provider::cloud::call::Trust;
use crate::provider::cloud::pinned::Fingerprint;

/// Which guest, at which cluster, and how its app is reached.
#[derive(Clone)]
pub struct Settings {
    /// The service whose guest it is.
    pub service: ServiceName,
    /// A node's address, such as `https://pve.example.com:8006`, without a slash at its end.
    pub base_url: String,
    /// The token's name, such as `anteroom@pve!power`.
    pub token_id: String,
    /// The token's secret.
    pub secret: String,
    /// The guest's number, 100 to 999,999,999. It is found on whatever node it is.
    pub vmid: u32,
    /// What it must be; none where either will do.
    pub guest: Option<GuestKind>,
    /// How clones are made.
    pub clone: CloneKind,
    /// The number of the guest that clones are made from; none for the seed itself.
    pub clone_from: Option<u32>,
    /// The pool that clones are put in.
    pub pool: Option<String>,
    /// Where the disks of full clones go; none for where those of their source are.
    pub storage: Option<String>,
    /// How long a clone that was asked for may still appear when the answer was lost.
    pub clone_settles: Duration,
    /// The port the app listens on.
    pub port: u16,
    /// Under which address it is reached from here. Clones tell theirs themselves.
    pub address: AddressFrom,
    /// How it is put to sleep. A container is always stopped.
    pub sleep: Sleep,
    /// How long it may take to shut down by itself before it is switched off.
    pub stop_timeout: Duration,
    /// Certificates (PEM) that are believed beside those of the system.
    pub ca: Option<PathBuf>,
    /// The one certificate that is believed; `ca` is not looked at then.
    pub fingerprint: Option<Fingerprint>,
}

/// How clones are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneKind {
    /// With disks of their own.
    Full,
    /// With disks that hold what differs from their source, which must be a template.
    Linked,
}

/// What a guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestKind {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
}

impl GuestKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            GuestKind::Qemu => "qemu",
            GuestKind::Lxc => "lxc",
        }
    }
}

/// Under which address a guest is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// What the guest says: a virtual machine by its agent, a container by its node.
    Guest,
    /// Always this, as `host:port`.
    Fixed(String),
}

impl Settings {
    pub(super) fn trust(&self) -> Trust {
        match (self.fingerprint, &self.ca) {
            (Some(fingerprint), _) => Trust::Pinned(fingerprint),
            (None, Some(path)) => Trust::File(path.clone()),
            (None, None) => Trust::System,
        }
    }
}

impl Settings {
    /// Whether these can ever work.
    pub(super) fn check(&self) -> Result<(), BadSettings> {
        if !(100..=999_999_999).contains(&self.vmid) {
            let vmid = self.vmid;
            return Err(BadSettings(format!(
                "`vmid` {vmid} is not within 100 to 999999999"
            )));
        }
        let parts = self.token_id.split_once('!');
        let named = parts.is_some_and(|(user, name)| user.contains('@') && !name.is_empty());
        if !named || self.token_id.contains(['=', ' ']) {
            let token = &self.token_id;
            let rule = "the name of a token, such as anteroom@pve!power";
            return Err(BadSettings(format!("`token_id` {token:?} is not {rule}")));
        }
        Ok(())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url)
            .field("token_id", &self.token_id)
            .field("vmid", &self.vmid)
            .finish_non_exhaustive()
    }
}
