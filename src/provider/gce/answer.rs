//! What Compute Engine's answers mean: an instance, a page of the list, an operation.
//!
//! All but an instance's name is optional: what is asked for with `fields` comes alone. What goes wrong is read in
//! [`trouble`](super::trouble).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::trouble::{self, Said};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::provider::cloud::call::{Does, Reply};
use crate::provider::last_words;

/// Under which address a machine is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// `networkIP` of its first interface, which stays the same for ever.
    Private,
    /// `natIP` of the first interface that has one, another one after each start unless it is reserved.
    Public,
}

/// A machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Instance {
    /// Its number, which no other machine ever has.
    pub(super) id: Option<String>,
    pub(super) name: String,
    status: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Which labels those are: a change of others is refused.
    pub(super) label_fingerprint: Option<String>,
    pub(super) network_interfaces: Vec<Interface>,
    pub(super) disks: Vec<Disk>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) network: Option<String>,
    pub(super) subnetwork: Option<String>,
    #[serde(rename = "networkIP")]
    network_ip: Option<String>,
    pub(super) access_configs: Vec<AccessConfig>,
}

/// What gives an interface a public address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AccessConfig {
    pub(super) name: String,
    #[serde(rename = "natIP")]
    nat_ip: Option<String>,
}

impl AccessConfig {
    /// The address; none before it is given.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.nat_ip.as_ref()?.parse().ok()
    }
}

/// A disk at a machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Disk {
    boot: bool,
    auto_delete: bool,
    pub(super) device_name: String,
    source: Option<String>,
}

impl Disk {
    /// Whether it was made for this machine and would outlive it. A data disk of another name may be anybody's.
    pub(super) fn would_stay_of(&self, instance: &str) -> bool {
        let source = self.source.as_deref().unwrap_or_default();
        let own = source
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with(instance));
        !self.auto_delete && (self.boot || own)
    }
}

impl Instance {
    /// A word that nobody has seen yet is taken for "on its way": looking goes on, and the wake has its deadline.
    pub(super) fn state(&self) -> MachineState {
        match self.status.as_str() {
            "RUNNING" => MachineState::Running,
            "PENDING_STOP" | "STOPPING" | "SUSPENDING" | "DEPROVISIONING" => MachineState::Stopping,
            "TERMINATED" | "STOPPED" => MachineState::Stopped,
            "SUSPENDED" => MachineState::Suspended,
            _ => MachineState::Starting,
        }
    }

    /// The machine with the address that its app listens at, while it is up.
    pub(super) fn machine(&self, from: AddressFrom, port: u16) -> Machine {
        let state = self.state();
        let up = matches!(state, MachineState::Running | MachineState::Starting);
        let ip = match from {
            _ if !up => None,
            AddressFrom::Private => self.private_ip(),
            AddressFrom::Public => self.public_ip(),
        };
        let address = ip.map(|ip| SocketAddr::new(ip, port));
        Machine { state, address }
    }

    fn private_ip(&self) -> Option<IpAddr> {
        let first = self.network_interfaces.first()?;
        first.network_ip.as_ref()?.parse().ok()
    }

    fn public_ip(&self) -> Option<IpAddr> {
        let configs = self
            .network_interfaces
            .iter()
            .flat_map(|interface| &interface.access_configs);
        configs
            .filter_map(|config| config.nat_ip.as_ref()?.parse().ok())
            .next()
    }
}

/// A page of `aggregatedList`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    /// By `zones/ZONE`.
    pub(super) items: BTreeMap<String, Scope>,
    pub(super) next_page_token: Option<String>,
    /// Zones and regions that could not be read.
    pub(super) unreachables: Vec<String>,
}

/// What is in one zone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Scope {
    pub(super) instances: Vec<Instance>,
    warning: Option<Warning>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Warning {
    code: String,
}

impl Scope {
    /// Whether what is not here may be there all the same.
    pub(super) fn is_partial(&self) -> bool {
        let warning = self.warning.as_ref().map(|warning| warning.code.as_str());
        !matches!(warning, None | Some("" | "NO_RESULTS_ON_PAGE"))
    }
}

/// Work that goes on at the cloud by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Operation {
    pub(super) name: String,
    /// The number of the machine that it is about.
    pub(super) target_id: Option<String>,
    status: String,
    http_error_status_code: Option<u16>,
    http_error_message: Option<String>,
    error: Option<Errors>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OneError {
    code: String,
    message: Option<String>,
}

impl Operation {
    /// How it ended; none while it goes on. `DONE` alone is no success.
    pub(super) fn outcome(&self) -> Option<Result<(), Trouble>> {
        if self.status != "DONE" {
            return None;
        }
        let errors = self.error.as_ref().map_or(&[][..], |error| &error.errors);
        if errors.is_empty() && self.http_error_status_code.is_none_or(|code| code < 400) {
            return Some(Ok(()));
        }
        let codes: Vec<_> = errors.iter().map(|error| error.code.clone()).collect();
        let messages = errors.iter().filter_map(|error| error.message.as_deref());
        let message: Vec<_> = messages.chain(self.http_error_message.as_deref()).collect();
        let said = Said {
            status: self.http_error_status_code.unwrap_or_default(),
            message: last_words(message.join("; ").as_bytes()),
            reasons: codes,
            retry_after: None,
        };
        Some(Err(trouble::of_operation(&said)))
    }
}

/// The instance; none when the cloud says that there is none of this name.
pub(super) fn instance(reply: &Reply, name: &str) -> Result<Option<Instance>, Trouble> {
    if reply.status.is_success() {
        return understood(reply).map(Some);
    }
    let said = Said::of(reply);
    match said.status {
        404 if said.misses(name) => Ok(None),
        _ => Err(trouble::of_answer(&said, Does::Read)),
    }
}

/// A page of a list, or another thing that is only read.
pub(super) fn read<T: DeserializeOwned>(reply: &Reply) -> Result<T, Trouble> {
    match reply.status.is_success() {
        true => understood(reply),
        false => Err(trouble::of_answer(&Said::of(reply), Does::Read)),
    }
}

/// The operation that a write began.
pub(super) fn begun(reply: &Reply) -> Result<Operation, Trouble> {
    if !reply.status.is_success() {
        return Err(trouble::of_answer(&Said::of(reply), Does::Write));
    }
    // It may have been done: the machine is read before anything else.
    understood(reply).map_err(|trouble| Trouble::new(ErrorClass::Ambiguous, trouble.detail))
}

fn understood<T: DeserializeOwned>(reply: &Reply) -> Result<T, Trouble> {
    serde_json::from_slice(&reply.body).map_err(|error| {
        let words = last_words(&reply.body);
        let detail = format!("an answer that is not understood ({error}): {words:?}");
        // Something between us and the cloud: it passes, or a person sees it in the log.
        Trouble::new(ErrorClass::Transient, detail)
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            reason: None,
            spent: None,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn every_word_of_the_lifecycle_has_its_state_and_a_new_one_is_on_its_way() {
        for (word, state) in [
            ("PENDING", MachineState::Starting),
            ("PROVISIONING", MachineState::Starting),
            ("STAGING", MachineState::Starting),
            ("REPAIRING", MachineState::Starting),
            ("RUNNING", MachineState::Running),
            ("PENDING_STOP", MachineState::Stopping),
            ("STOPPING", MachineState::Stopping),
            ("SUSPENDING", MachineState::Stopping),
            ("DEPROVISIONING", MachineState::Stopping),
            ("STOPPED", MachineState::Stopped),
            ("TERMINATED", MachineState::Stopped),
            ("SUSPENDED", MachineState::Suspended),
            ("DREAMING", MachineState::Starting),
        ] {
            let body = format!(r#"{{"name":"blog","status":"{word}"}}"#);
            let read = instance(&reply(200, &body), "blog")
                .expect("read")
                .expect("there");
            assert_eq!(read.state(), state, "{word}");
        }
    }

    #[test]
    fn an_address_is_told_of_a_machine_that_is_up() {
        let body = |status: &str| {
            format!(
                r#"{{"name":"blog","status":"{status}","networkInterfaces":[
                {{"networkIP":"10.0.0.7","accessConfigs":[{{"type":"ONE_TO_ONE_NAT"}}]}},
                {{"networkIP":"10.9.0.7","accessConfigs":[{{"natIP":"203.0.113.7"}}]}}]}}"#
            )
        };
        let read = |status: &str| {
            instance(&reply(200, &body(status)), "blog")
                .expect("read")
                .expect("there")
        };
        let at = |from| read("RUNNING").machine(from, 80).address;
        assert_eq!(at(AddressFrom::Private), "10.0.0.7:80".parse().ok());
        assert_eq!(at(AddressFrom::Public), "203.0.113.7:80".parse().ok());
        assert_eq!(
            read("TERMINATED").machine(AddressFrom::Private, 80).address,
            None
        );
    }

    #[test]
    fn done_is_no_success_when_there_is_an_error() {
        let operation = |body: &str| begun(&reply(200, body)).expect("an operation").outcome();
        assert_eq!(operation(r#"{"name":"o","status":"RUNNING"}"#), None);
        assert_eq!(operation(r#"{"name":"o","status":"DONE"}"#), Some(Ok(())));
        let exhausted = operation(
            r#"{"name":"o","status":"DONE","httpErrorStatusCode":503,"httpErrorMessage":"SERVICE UNAVAILABLE",
            "error":{"errors":[{"code":"ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS","message":"not enough"}]}}"#,
        );
        let trouble = exhausted.expect("it is done").expect_err("it failed");
        assert_eq!(trouble.class, ErrorClass::Capacity);
        assert!(trouble.detail.contains("not enough"), "{trouble}");
        let bare = operation(r#"{"name":"o","status":"DONE","httpErrorStatusCode":403}"#);
        assert!(bare.is_some_and(|outcome| outcome.is_err()));
        assert_eq!(
            begun(&reply(200, "<html>")).expect_err("lost").class,
            ErrorClass::Ambiguous
        );
    }

    #[test]
    fn a_zone_that_could_not_be_read_is_known_to_be_partial() {
        let page: Page = read(&reply(
            200,
            r#"{"items":{"zones/a":{"warning":{"code":"NO_RESULTS_ON_PAGE"}},
            "zones/b":{"warning":{"code":"UNREACHABLE"}},"zones/c":{"instances":[{"name":"x"}]}}}"#,
        ))
        .expect("a page");
        let partial = |zone: &str| page.items[zone].is_partial();
        assert!(!partial("zones/a") && partial("zones/b") && !partial("zones/c"));
    }
}
