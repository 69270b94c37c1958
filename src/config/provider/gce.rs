//! A virtual machine at Google Compute Engine, as configured.

use std::path::PathBuf;

use super::parts::{Machine, MachineAddress, machine_address};
use crate::config::reading::Reading;
use crate::config::value;
use crate::engine::policy::Sleep;
use crate::engine::time::Span;

/// A virtual machine at Google Compute Engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Gce {
    /// The cloud's address, without a slash at its end.
    pub base_url: String,
    /// The project's id.
    pub project: String,
    /// The zone.
    pub zone: String,
    /// The machine's name.
    pub instance: String,
    /// A file of credentials; none for those that are found.
    pub credentials: Option<PathBuf>,
    /// What asleep means.
    pub sleep: Sleep,
    /// Which of its addresses is used.
    pub address: MachineAddress,
    /// What clones are made of, as its path at Google; none for no clones.
    pub clone_from: Option<String>,
    /// How long it may take to shut down before that is cut short; 1 s to 1 h.
    pub stop_timeout: Span,
    /// A file of certificates that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

impl Gce {
    pub(super) fn read(section: &Reading<'_>) -> Option<Gce> {
        let project = section.read("project", project);
        let zone = section.read("zone", name);
        let instance = section.read("instance", name);
        let sleep = section.choice(
            "sleep",
            &[("stop", Sleep::Stop), ("suspend", Sleep::Suspend)],
        );
        let base_url = section.read("base_url", value::url);
        let address = machine_address(section);
        let stop_timeout = section.span("stop_timeout");
        Some(Gce {
            base_url: base_url?,
            project: project?,
            zone: zone?,
            instance: instance?,
            credentials: section.read("credentials", value::words).map(PathBuf::from),
            sleep: sleep?,
            address: address?,
            clone_from: section.read("clone_from", clone_from),
            stop_timeout: stop_timeout?,
            ca: section.read("ca", value::words).map(PathBuf::from),
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "instance",
            place: format!("{} {} {}", self.base_url, self.project, self.zone),
            id: self.instance.clone(),
        }
    }
}

/// A name as Google gives them (RFC 1035, section 2.3.1, without capitals).
fn name(text: &str) -> Result<String, String> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    match first && text.len() <= 63 && !text.ends_with('-') && text.bytes().all(inner) {
        true => Ok(text.to_owned()),
        false => {
            Err("is not a name of Google's: 1 to 63 of a-z, 0-9 and -, with a letter first".into())
        }
    }
}

/// The id of a project, which an old one has its company's domain before.
fn project(text: &str) -> Result<String, String> {
    let (domain, id) = text.rsplit_once(':').unwrap_or(("", text));
    let of_domain = domain.split('.').all(|label| name(label).is_ok());
    match name(id).is_ok() && (domain.is_empty() || of_domain) {
        true => Ok(text.to_owned()),
        false => Err("is not the id of a project (its number and its title are others)".into()),
    }
}

/// A machine image or an instance template, by its path.
fn clone_from(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split('/').collect();
    let named = match parts[..] {
        [
            "projects",
            id,
            "global",
            "machineImages" | "instanceTemplates",
            image,
        ] => project(id).and(name(image)),
        [
            "projects",
            id,
            "regions",
            region,
            "instanceTemplates",
            template,
        ] => project(id).and(name(region)).and(name(template)),
        _ => Err(String::new()),
    };
    let form = "is not like \"projects/PROJECT/global/machineImages/NAME\" (or instanceTemplates)";
    named.map(|_| text.to_owned()).map_err(|_| form.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_google_gives() {
        for good in ["blog", "a", "europe-west1-b", &"x".repeat(63)] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "1a",
            "Blog",
            "a/b",
            "a.b",
            "..",
            &"x".repeat(64),
        ] {
            assert!(name(bad).is_err() && project(bad).is_err(), "{bad}");
        }
        for good in [
            "global/machineImages/a",
            "global/instanceTemplates/a",
            "regions/r/instanceTemplates/a",
        ] {
            assert!(
                clone_from(&format!("projects/example.com:p/{good}")).is_ok(),
                "{good}"
            );
        }
        for bad in [
            "",
            "blog",
            "global/machineImages/a",
            "projects/p/global/images/a",
            "projects/p/global/machineImages/A",
        ] {
            assert!(clone_from(bad).is_err(), "{bad}");
        }
        assert!(project("example.com:blog").is_ok());
        assert!(project("example..com:blog").is_err());
    }
}
