//! What Warren's answers mean.
//!
//! Live answers leave out many fields of the documented ones, so all but the id and the status are optional; and what
//! is missing, a wrong location and a wrong field are all told with 400 or 404, so the words decide.

use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::machine::{ErrorClass, MachineState, PublicAddress, Trouble};
use crate::provider::cloud::call::{Does, Reply};
use crate::provider::last_words;

/// A machine.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Vm {
    pub(super) uuid: String,
    #[serde(default)]
    pub(super) name: String,
    status: String,
    #[serde(default)]
    private_ipv4: Option<String>,
    #[serde(default)]
    public_ipv4: Option<String>,
}

/// A public address.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Address {
    /// Its number; another reservation of the same address has another.
    #[serde(default)]
    id: Option<u64>,
    address: String,
    #[serde(default)]
    assigned_to: Option<String>,
}

impl Vm {
    /// A word that nobody has seen yet is taken for "on its way": looking goes on, and the wake has its deadline.
    pub(super) fn state(&self) -> MachineState {
        match self.status.to_ascii_lowercase().as_str() {
            "running" => MachineState::Running,
            "stopped" => MachineState::Stopped,
            "deleted" => MachineState::Missing,
            "stopping" | "deleting" => MachineState::Stopping,
            "error" | "failed" => MachineState::Failed,
            _ => MachineState::Starting,
        }
    }

    pub(super) fn private_ip(&self) -> Option<IpAddr> {
        self.private_ipv4.as_ref()?.parse().ok()
    }

    pub(super) fn public_ip(&self) -> Option<IpAddr> {
        self.public_ipv4.as_ref()?.parse().ok()
    }
}

impl Address {
    /// This address, if it is assigned to that machine.
    pub(super) fn of(&self, uuid: &str) -> Option<IpAddr> {
        let assigned = self.is_of(uuid);
        assigned.then(|| self.address.parse().ok()).flatten()
    }

    pub(super) fn is_of(&self, uuid: &str) -> bool {
        self.assigned_to() == Some(uuid)
    }

    /// The machine, or whatever else, that it is assigned to.
    pub(super) fn assigned_to(&self) -> Option<&str> {
        self.assigned_to.as_deref().filter(|to| !to.is_empty())
    }

    /// Nobody has it, and it is paid for.
    pub(super) fn is_free(&self) -> bool {
        self.assigned_to().is_none()
    }

    pub(super) fn public(&self) -> Option<PublicAddress> {
        Some(PublicAddress {
            id: self.id.map(|id| id.to_string()).unwrap_or_default(),
            address: self.address.parse().ok()?,
        })
    }

    /// Whether it is the same reservation of the same address.
    pub(super) fn is(&self, known: &PublicAddress) -> bool {
        self.public().is_some_and(|public| public == *known)
    }
}

/// A list.
pub(super) fn list<T: DeserializeOwned>(reply: &Reply) -> Result<Vec<T>, Trouble> {
    if !reply.status.is_success() {
        return Err(trouble(reply, Does::Read));
    }
    understood(reply)
}

/// The machine of this id; none when the cloud says that there is none, or that it was deleted.
pub(super) fn vm(reply: &Reply, does: Does, uuid: &str) -> Result<Option<Vm>, Trouble> {
    if reply.status.is_success() {
        let vm: Vm = understood(reply)?;
        return Ok((vm.state() != MachineState::Missing).then_some(vm));
    }
    let said = message(&reply.body);
    let gone = said.contains("No such virtual machine") && said.contains(uuid);
    match reply.status.as_u16() {
        400 | 404 if gone => Ok(None),
        _ => Err(trouble(reply, does)),
    }
}

/// The machine that was made from this one.
pub(super) fn new_vm(reply: &Reply, source: &str) -> Result<Vm, Trouble> {
    if reply.status.is_success() {
        // It was made, whatever the answer holds.
        let read = understood::<Vm>(reply);
        return read.map_err(|trouble| Trouble::new(ErrorClass::Ambiguous, trouble.detail));
    }
    match vm(reply, Does::Write, source) {
        Ok(_) => {
            let detail = format!("the machine {source} that is to be cloned does not exist");
            Err(Trouble::new(ErrorClass::NotFound, detail))
        }
        // The words for a source in the wrong state are not known.
        Err(trouble) if trouble.class == ErrorClass::BadRequest => {
            let class = ErrorClass::InvalidState;
            let mend = "maybe a machine is cloned only while it is off";
            Err(Trouble::new(class, format!("{}; {mend}", trouble.detail)))
        }
        Err(trouble) => Err(trouble),
    }
}

/// A write whose answer holds nothing of use, or nothing at all.
pub(super) fn done(reply: &Reply) -> Result<(), Trouble> {
    match reply.status.is_success() {
        true => Ok(()),
        false => Err(trouble(reply, Does::Write)),
    }
}

/// The deletion of the machine of this id; one that is gone is deleted.
pub(super) fn deleted(reply: &Reply, uuid: &str) -> Result<(), Trouble> {
    if reply.status.is_success() {
        return Ok(());
    }
    vm(reply, Does::Write, uuid).map(|_| ())
}

fn understood<T: DeserializeOwned>(reply: &Reply) -> Result<T, Trouble> {
    serde_json::from_slice(&reply.body).map_err(|error| {
        let words = last_words(&reply.body);
        let detail = format!("an answer that is not understood ({error}): {words:?}");
        // Something between us and the cloud: it passes, or a person sees it in the log.
        Trouble::new(ErrorClass::Transient, detail)
    })
}

fn trouble(reply: &Reply, does: Does) -> Trouble {
    let said = message(&reply.body);
    let (class, mend) = match reply.status.as_u16() {
        401 => (ErrorClass::Auth, ""),
        403 if said.contains("resource_forbidden") => (ErrorClass::Forbidden, ""),
        403 if said.to_ascii_lowercase().contains("credential") => (ErrorClass::Auth, ""),
        403 => (ErrorClass::Forbidden, ""),
        // The gateway's word for a path that it does not know: never that a machine is missing.
        404 if said.to_ascii_lowercase().contains("no route") => {
            let mend = "; is `location` one that this account has, and `base_url` right?";
            (ErrorClass::BadRequest, mend)
        }
        404 => (ErrorClass::NotFound, ""),
        400 if said.contains("resource_forbidden") => (ErrorClass::Forbidden, ""),
        400 | 422 => (ErrorClass::BadRequest, ""),
        402 => (ErrorClass::Quota, ""),
        409 => (ErrorClass::Busy, ""),
        429 => (ErrorClass::RateLimited(reply.retry_after), ""),
        500..=599 if does == Does::Write => (ErrorClass::Ambiguous, ""),
        500..=599 => (ErrorClass::Transient, ""),
        _ => (ErrorClass::BadRequest, ""),
    };
    Trouble::new(class, format!("{}, {said}{mend}", reply.status))
}

/// The words of an error in any of the forms that it has: `message`, `error`, `errors.Error`, else whatever `errors`
/// holds; else the body itself, which may be HTML.
fn message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return last_words(body);
    };
    let told = ["message", "error"]
        .iter()
        .find_map(|key| value.get(key)?.as_str());
    let error = || value.pointer("/errors/Error")?.as_str();
    match told.or_else(error) {
        Some(told) => last_words(told.as_bytes()),
        None => {
            let errors = value.get("errors").unwrap_or(&value);
            last_words(errors.to_string().as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::engine::time::Span;

    const UUID: &str = "f80b1d62-ffe4-43ef-9210-60f05445456a";

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            reason: None,
            retry_after: Some(Span::secs(9)),
            spent: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_sparse_machine_is_one_and_a_tombstone_is_none() {
        let vm = |body: &str| vm(&reply(200, body), Does::Read, UUID);
        let sparse = format!(r#"{{"uuid":"{UUID}","name":"x","status":"running"}}"#);
        let sparse = vm(&sparse).expect("understood").expect("there");
        assert_eq!(sparse.state(), MachineState::Running);
        assert!(sparse.private_ip().is_none() && sparse.public_ip().is_none());
        let dead = format!(r#"{{"uuid":"{UUID}","status":"Deleted"}}"#);
        assert!(vm(&dead).expect("understood").is_none());
        let word = format!(r#"{{"uuid":"{UUID}","status":"provisioning"}}"#);
        let word = vm(&word).expect("understood").expect("there");
        assert_eq!(word.state(), MachineState::Starting);
        let html = vm("<html>").expect_err("no machine");
        assert_eq!(html.class, ErrorClass::Transient);
    }

    #[test]
    fn a_missing_machine_is_told_with_400_and_its_own_id() {
        let gone = |uuid: &str, mark: &str| {
            let body = format!(
                r#"{{"errors":{{"Error":"No such virtual machine exists{mark} {uuid}"}}}}"#
            );
            vm(&reply(400, &body), Does::Read, UUID)
        };
        assert!(gone(UUID, ":").expect("told").is_none());
        assert!(gone(UUID, ".").expect("told").is_none());
        let other = gone("another", ":").expect_err("not ours");
        assert_eq!(other.class, ErrorClass::BadRequest);
    }

    #[test]
    fn every_refusal_has_its_class() {
        let forbidden =
            r#"{"errors":{"consumer::resource_forbidden":{"msg":"no","type":"consumer"}}}"#;
        for (status, body, wanted) in [
            (401, "{}", ErrorClass::Auth),
            (
                403,
                r#"{"message":"Invalid authentication credentials"}"#,
                ErrorClass::Auth,
            ),
            (403, forbidden, ErrorClass::Forbidden),
            (400, forbidden, ErrorClass::Forbidden),
            (
                400,
                r#"{"errors":{"name":"too short"}}"#,
                ErrorClass::BadRequest,
            ),
            (
                404,
                r#"{"message":"no route and no API found with those values"}"#,
                ErrorClass::BadRequest,
            ),
            (
                404,
                r#"{"message":"no Route matched with those values"}"#,
                ErrorClass::BadRequest,
            ),
            (409, r#"{"message":"Server is locked"}"#, ErrorClass::Busy),
            (
                429,
                "slow down",
                ErrorClass::RateLimited(Some(Span::secs(9))),
            ),
            (502, "<html>bad gateway</html>", ErrorClass::Transient),
        ] {
            let told = vm(&reply(status, body), Does::Read, UUID).expect_err(body);
            assert_eq!(told.class, wanted, "{told}");
        }
        let lost = vm(&reply(500, "{}"), Does::Write, UUID).expect_err("lost");
        assert_eq!(lost.class, ErrorClass::Ambiguous);
    }

    #[test]
    fn a_public_address_is_that_which_is_assigned() {
        let addresses = r#"[{"address":"203.0.113.9"},{"address":"203.0.113.7","assigned_to":"f80b1d62-ffe4-43ef-9210-60f05445456a"}]"#;
        let addresses: Vec<Address> = list(&reply(200, addresses)).expect("a list");
        let ours = addresses.iter().find_map(|address| address.of(UUID));
        assert_eq!(ours, "203.0.113.7".parse().ok());
    }
}
