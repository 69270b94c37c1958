//! A machine at AWS EC2, as configured.

use std::path::PathBuf;

use super::parts::{Machine, MachineAddress, machine_address};
use crate::config::reading::Reading;
use crate::config::secret::Secret;
use crate::config::value;
use crate::engine::policy::Sleep;
use crate::engine::time::Span;

/// A machine at AWS EC2.
#[derive(Clone, Debug, PartialEq)]
pub struct Ec2 {
    /// The region.
    pub region: String,
    /// EC2's address, without a slash at its end; none for the region's own.
    pub base_url: Option<String>,
    /// The machine's id.
    pub instance: String,
    /// The launch template that clones are launched from.
    pub launch_template: Option<String>,
    /// Which version of it.
    pub launch_template_version: String,
    /// Where the keys come from.
    pub keys: Keys,
    /// Which of its addresses is used.
    pub address: MachineAddress,
    /// How it is put to sleep.
    pub sleep: Sleep,
    /// How long it may take to shut down before it is switched off; 1 s to 1 h.
    pub stop_timeout: Span,
    /// A file of certificates that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Keys {
    /// They are written down.
    Written {
        /// The access key's id.
        id: String,
        /// Its secret.
        secret: Secret,
        /// The session's token, of keys that do not last.
        session: Option<Secret>,
    },
    /// The files of profiles have them under this name.
    Profile(String),
    /// Wherever tools of AWS look for them.
    Anywhere,
}

impl Ec2 {
    pub(super) fn read(section: &Reading<'_>) -> Option<Ec2> {
        let region = section.read("region", lower);
        let instance = section.read("instance", |text| match text.starts_with("i-") {
            true => lower(text),
            false => {
                Err("is not the id of a machine; write it like \"i-0123456789abcdef0\"".into())
            }
        });
        let launch_template = match section.has("launch_template") {
            true => Some(section.read("launch_template", value::words)?),
            false => None,
        };
        let version = section.read("launch_template_version", value::words);
        let keys = keys(section);
        let base_url = match section.has("base_url") {
            true => Some(section.read("base_url", value::url)?),
            false => None,
        };
        let address = machine_address(section);
        let sleep = section.choice(
            "sleep",
            &[("stop", Sleep::Stop), ("hibernate", Sleep::Suspend)],
        );
        let stop_timeout = section.span("stop_timeout");
        Some(Ec2 {
            region: region?,
            base_url,
            instance: instance?,
            launch_template,
            launch_template_version: version?,
            keys: keys?,
            address: address?,
            sleep: sleep?,
            stop_timeout: stop_timeout?,
            ca: section.read("ca", value::words).map(PathBuf::from),
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "instance",
            place: self.region.clone(),
            id: self.instance.clone(),
        }
    }
}

fn keys(section: &Reading<'_>) -> Option<Keys> {
    let written = ["access_key_id", "secret_access_key"].map(|name| section.has(name));
    // Also where it is not looked at, it must be one.
    let profile = match section.has("profile") {
        true => Some(section.read("profile", value::words)?),
        false => None,
    };
    match (written, profile) {
        ([false, false], None) => Some(Keys::Anywhere),
        ([false, false], Some(name)) => Some(Keys::Profile(name)),
        ([true, true], profile) => {
            if profile.is_some() {
                let told = "is not looked at, because an access key is written down";
                section.warn("profile", told);
            }
            Some(Keys::Written {
                id: section.read("access_key_id", value::words)?,
                secret: section.secret("secret_access_key")?,
                session: section.secret("session_token"),
            })
        }
        ([id, _], _) => {
            let (there, missing) = match id {
                true => ("access_key_id", "secret_access_key"),
                false => ("secret_access_key", "access_key_id"),
            };
            section.fault(there, format!("is half a key; write {missing} as well"));
            None
        }
    }
}

/// A name of small letters, digits and `-`.
fn lower(text: &str) -> value::Parsed<String> {
    match text.bytes().any(|c| c.is_ascii_uppercase()) {
        true => Err("has capitals; there are none in such names".into()),
        false => value::name(text),
    }
}
