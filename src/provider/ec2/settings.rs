//! Which machine of which account, as the operator wrote it down.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::credentials::{Source, Surroundings};
use crate::engine::id::ServiceName;
use crate::engine::policy::Sleep;
use crate::provider::BadSettings;

/// Which machine, in which region, and how its app is reached.
#[derive(Clone)]
pub struct Settings {
    /// The service whose machine it is.
    pub service: ServiceName,
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// EC2's address, without a slash at its end; none for the region's own.
    pub base_url: Option<String>,
    /// The machine's id, such as `i-0123456789abcdef0`.
    pub instance: String,
    /// Where the keys come from.
    pub credentials: Source,
    /// Where keys are looked for that are not written down.
    pub surroundings: Surroundings,
    /// The launch template that clones are launched from, by its name or its id (`lt-...`); without one, no clones.
    pub launch_template: Option<String>,
    /// Which version of it: a number, `$Default` or `$Latest`.
    pub launch_template_version: String,
    /// The port the app listens on.
    pub port: u16,
    /// Under which address it is reached from here.
    pub address: AddressFrom,
    /// How it is put to sleep. A machine that was not launched for hibernation is stopped.
    pub sleep: Sleep,
    /// How long it may take to shut down by itself before it is switched off.
    pub stop_timeout: Duration,
    /// Certificates (PEM) that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

/// Under which address a machine is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// The one in its private network. It stays the same.
    Private,
    /// The public one. It is another one after each start, unless it is an Elastic IP.
    Public,
}

impl Settings {
    /// Whether these can ever work.
    pub(super) fn check(&self) -> Result<(), BadSettings> {
        let plain = |text: &str| {
            let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            !text.is_empty() && text.len() <= 64 && text.bytes().all(inner)
        };
        if !plain(&self.region) {
            let region = &self.region;
            return Err(BadSettings(format!(
                "`region` {region:?} is not a region, such as eu-central-1"
            )));
        }
        if !plain(&self.instance) || !self.instance.starts_with("i-") {
            let instance = &self.instance;
            let rule = "the id of a machine, such as i-0123456789abcdef0";
            return Err(BadSettings(format!(
                "`instance` {instance:?} is not {rule}"
            )));
        }
        if let Source::Keys {
            id,
            secret,
            session,
        } = &self.credentials
        {
            let all = [id, secret].into_iter().chain(session);
            let printable =
                |text: &String| !text.is_empty() && text.bytes().all(|c| c.is_ascii_graphic());
            if !all.into_iter().all(printable) {
                return Err(BadSettings(
                    "the access key holds what no header can: a line break?".into(),
                ));
            }
        }
        Ok(())
    }

    /// Where EC2 is.
    pub(super) fn base(&self) -> String {
        let region = &self.region;
        let end = match region.starts_with("cn-") {
            true => ".cn",
            false => "",
        };
        let own = || format!("https://ec2.{region}.amazonaws.com{end}");
        self.base_url.clone().unwrap_or_else(own)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("region", &self.region)
            .field("base_url", &self.base_url)
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}
