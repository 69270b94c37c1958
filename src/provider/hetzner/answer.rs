//! What Hetzner's answers mean. Errors are `{"error": {code, message, details}}`, and the code decides; where there is
//! none, something else than the API has answered, and the status decides.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::swap;
use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::provider::cloud::billed::{Order, Power, Recipe, Server, Stand};
use crate::provider::cloud::call::{Does, Reply};
use crate::provider::last_words;

#[derive(Deserialize)]
struct Machine {
    id: u64,
    #[serde(default)]
    name: String,
    status: String,
    #[serde(default)]
    locked: bool,
    #[serde(default)]
    public_net: PublicNet,
    #[serde(default)]
    private_net: Vec<PrivateNet>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    server_type: Named,
    #[serde(default)]
    location: Option<Named>,
    #[serde(default)]
    datacenter: Datacenter,
    #[serde(default)]
    volumes: Vec<u64>,
    #[serde(default)]
    placement_group: Option<Id>,
    #[serde(default)]
    image: Option<Id>,
    #[serde(default)]
    protection: Protection,
}

#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

/// Where the location stood before it stood beside it.
#[derive(Default, Deserialize)]
struct Datacenter {
    #[serde(default)]
    location: Named,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Default, Deserialize)]
struct Protection {
    #[serde(default)]
    delete: bool,
}

#[derive(Default, Deserialize)]
struct PublicNet {
    #[serde(default)]
    ipv4: Option<Address>,
    #[serde(default)]
    ipv6: Option<Network>,
    #[serde(default)]
    floating_ips: Vec<u64>,
    #[serde(default)]
    firewalls: Vec<Id>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(default)]
    id: Option<u64>,
    ip: IpAddr,
}

/// A public network; whatever it is, it has an id.
#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    id: Option<u64>,
}

#[derive(Deserialize)]
struct PrivateNet {
    #[serde(default)]
    network: u64,
    ip: IpAddr,
}

#[derive(Deserialize)]
struct Action {
    id: u64,
    command: String,
    status: String,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Machine {
    /// A word that nobody has seen yet, `unknown` among them, is taken for "on its way": looking goes on, and the wake
    /// has its deadline.
    fn state(&self) -> MachineState {
        match self.status.as_str() {
            "running" => MachineState::Running,
            "off" => MachineState::Stopped,
            "stopping" | "deleting" => MachineState::Stopping,
            _ => MachineState::Starting,
        }
    }

    fn server(&self) -> Server {
        Server {
            id: self.id,
            name: self.name.clone(),
            state: self.state(),
            locked: self.locked,
            private: self.private_net.first().map(|net| net.ip),
            public: self.public_net.ipv4.as_ref().map(|address| address.ip),
            marks: self
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
            image: self.image.as_ref().map(|image| image.id),
            recipe: self.recipe(),
            hindrance: self.hindrance(),
        }
    }

    /// Its labels, and beside them what ours hold. What an address is at the moment, its number tells.
    fn recipe(&self) -> Recipe {
        let before = &self.datacenter.location;
        let location = &self.location.as_ref().unwrap_or(before).name;
        let net = &self.public_net;
        let ipv4 = net.ipv4.as_ref().map(|net| net.id);
        let ipv6 = net.ipv6.as_ref().map(|net| net.id);
        let ids = |ids: Vec<u64>| {
            let ids = ids.iter().map(u64::to_string);
            ids.collect::<Vec<_>>().join(".")
        };
        let mut recipe = self.labels.clone();
        recipe.extend([
            (swap::TYPE.to_owned(), self.server_type.name.clone()),
            (swap::LOCATION.to_owned(), location.clone()),
            (swap::NAME.to_owned(), self.name.clone()),
            (
                swap::NETWORKS.to_owned(),
                ids(self.private_net.iter().map(|net| net.network).collect()),
            ),
            (
                swap::FIREWALLS.to_owned(),
                ids(net.firewalls.iter().map(|wall| wall.id).collect()),
            ),
            (swap::IPV4.to_owned(), swap::address(ipv4)),
            (swap::IPV6.to_owned(), swap::address(ipv6)),
        ]);
        if let Some(group) = &self.placement_group {
            recipe.insert(swap::GROUP.to_owned(), group.id.to_string());
        }
        recipe
    }

    fn hindrance(&self) -> Option<String> {
        let told = match () {
            () if !self.volumes.is_empty() => {
                "volumes are attached to it, and would be left behind"
            }
            () if !self.public_net.floating_ips.is_empty() => {
                "floating IPs are assigned to it, and would be left behind"
            }
            () if self.protection.delete => "it is protected against deletion",
            () => return swap::hindrance(&self.labels, &self.recipe()),
        };
        Some(told.to_owned())
    }
}

/// One page of the list, and whether there is another.
pub(super) fn servers(reply: &Reply) -> Result<(Vec<Server>, bool), Trouble> {
    #[derive(Deserialize)]
    struct Page {
        servers: Vec<Machine>,
        #[serde(default)]
        meta: Value,
    }
    let page: Page = understood(reply, Does::Read)?;
    let next = page.meta.pointer("/pagination/next_page");
    let more = next.is_some_and(Value::is_u64);
    Ok((page.servers.iter().map(Machine::server).collect(), more))
}

/// A server; none when there is none.
pub(super) fn server(reply: &Reply) -> Result<Option<Server>, Trouble> {
    #[derive(Deserialize)]
    struct One {
        server: Machine,
    }
    match understood::<One>(reply, Does::Read) {
        Ok(one) => Ok(Some(one.server.server())),
        Err(trouble) if trouble.class == ErrorClass::NotFound => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// An action.
pub(super) fn order(reply: &Reply, does: Does) -> Result<Order, Trouble> {
    #[derive(Deserialize)]
    struct One {
        action: Action,
    }
    let One { action } = understood(reply, does)?;
    let stand = match action.status.as_str() {
        "success" => Stand::Done,
        "error" => {
            let fault = action.error.unwrap_or(Fault {
                code: String::new(),
                message: "it does not say why".into(),
            });
            let class = of_code(&fault.code, reply).unwrap_or(ErrorClass::InvalidState);
            let (id, command) = (action.id, &action.command);
            let words = last_words(fault.message.as_bytes());
            let detail = format!("the action {id} ({command}) failed: {} {words}", fault.code);
            Stand::Failed(Trouble::new(class, detail))
        }
        _ => Stand::UnderWay,
    };
    Ok(Order {
        id: action.id,
        stand,
    })
}

/// The order to its power among a server's actions that is under way.
pub(super) fn under_way(reply: &Reply) -> Result<Option<Power>, Trouble> {
    #[derive(Deserialize)]
    struct Page {
        actions: Vec<Action>,
    }
    let page: Page = understood(reply, Does::Read)?;
    let mut running = page.actions.iter().filter(|it| it.status == "running");
    Ok(running.find_map(|action| match action.command.as_str() {
        "start_server" | "poweron" | "reboot_server" | "reset_server" | "create_server" => {
            Some(Power::On)
        }
        "shutdown_server" | "shutdown" => Some(Power::Shutdown),
        "stop_server" | "poweroff" => Some(Power::Off),
        _ => None,
    }))
}

/// An answer of which nothing but its success matters.
pub(super) fn done(reply: &Reply) -> Result<(), Trouble> {
    match reply.status.is_success() {
        true => Ok(()),
        false => Err(trouble(reply, Does::Write)),
    }
}

pub(super) fn understood<T: DeserializeOwned>(reply: &Reply, does: Does) -> Result<T, Trouble> {
    if !reply.status.is_success() {
        return Err(trouble(reply, does));
    }
    serde_json::from_slice(&reply.body).map_err(|error| {
        let words = last_words(&reply.body);
        let detail = format!("an answer that is not understood ({error}): {words:?}");
        let class = match does {
            // Something between us and the cloud: it passes, or a person sees it in the log.
            Does::Read => ErrorClass::Transient,
            // It was done, whatever the answer says.
            Does::Write => ErrorClass::Ambiguous,
        };
        Trouble::new(class, detail)
    })
}

/// What a code means; none for one that nobody has seen yet.
fn of_code(code: &str, reply: &Reply) -> Option<ErrorClass> {
    Some(match code {
        "unauthorized" => ErrorClass::Auth,
        "forbidden" | "token_readonly" => ErrorClass::Forbidden,
        "not_found" => ErrorClass::NotFound,
        "invalid_input" | "json_error" | "unsupported_error" => ErrorClass::BadRequest,
        "conflict" | "locked" => ErrorClass::Busy,
        "uniqueness_error" => ErrorClass::AlreadyThere,
        "resource_unavailable" | "placement_error" | "no_space_left_in_location" => {
            ErrorClass::Capacity
        }
        "resource_limit_exceeded" => ErrorClass::Quota,
        "protected" | "server_error" | "action_failed" => ErrorClass::InvalidState,
        "rate_limit_exceeded" => ErrorClass::RateLimited(reply.retry_after),
        "maintenance" => ErrorClass::Transient,
        _ => return None,
    })
}

pub(super) fn trouble(reply: &Reply, does: Does) -> Trouble {
    let (code, said) = message(&reply.body);
    let lost = match does {
        Does::Write => ErrorClass::Ambiguous,
        Does::Read => ErrorClass::Transient,
    };
    let class = match (reply.status.as_u16(), of_code(&code, reply)) {
        // Whether a write that failed within the cloud was done is open, whatever its code.
        (500..=599, None | Some(ErrorClass::InvalidState)) => lost,
        (_, Some(class)) => class,
        (401, None) => ErrorClass::Auth,
        (403, None) => ErrorClass::Forbidden,
        (404, None) => ErrorClass::NotFound,
        (409 | 423, None) => ErrorClass::Busy,
        (429, None) => ErrorClass::RateLimited(reply.retry_after),
        _ => ErrorClass::BadRequest,
    };
    let mend = match class {
        ErrorClass::Auth => "; is `token` right, and of this project?",
        ErrorClass::Forbidden => "; the token may only read: make one with Read & Write",
        _ => "",
    };
    Trouble::new(class, format!("{}, {code} {said}{mend}", reply.status))
}

fn message(body: &[u8]) -> (String, String) {
    #[derive(Deserialize)]
    struct Refusal {
        error: Fault,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => {
            let words = last_words(refusal.error.message.as_bytes());
            (refusal.error.code, words)
        }
        Err(_) => (String::new(), last_words(body)),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::engine::time::Span;

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
    fn every_refusal_has_its_class() {
        let limited = ErrorClass::RateLimited(Some(Span::secs(9)));
        for (status, code, wanted) in [
            (401, "unauthorized", ErrorClass::Auth),
            (403, "forbidden", ErrorClass::Forbidden),
            (403, "token_readonly", ErrorClass::Forbidden),
            (404, "not_found", ErrorClass::NotFound),
            (422, "invalid_input", ErrorClass::BadRequest),
            (409, "uniqueness_error", ErrorClass::AlreadyThere),
            (409, "conflict", ErrorClass::Busy),
            (423, "locked", ErrorClass::Busy),
            (412, "resource_unavailable", ErrorClass::Capacity),
            (412, "placement_error", ErrorClass::Capacity),
            (403, "resource_limit_exceeded", ErrorClass::Quota),
            (403, "protected", ErrorClass::InvalidState),
            (429, "rate_limit_exceeded", limited),
            (503, "maintenance", ErrorClass::Transient),
            (500, "service_error", ErrorClass::Transient),
            (504, "timeout", ErrorClass::Transient),
            (418, "a_new_code", ErrorClass::BadRequest),
        ] {
            let fault = serde_json::json!({ "code": code, "message": "words", "details": null });
            let body = serde_json::json!({ "error": fault }).to_string();
            let told = trouble(&reply(status, &body), Does::Read);
            assert_eq!(told.class, wanted, "{told}");
            assert!(told.detail.contains(code), "{told}");
        }
        for (status, wanted) in [
            (502, ErrorClass::Ambiguous),
            (401, ErrorClass::Auth),
            (429, limited),
            (423, ErrorClass::Busy),
        ] {
            let told = trouble(&reply(status, "<html>"), Does::Write);
            assert_eq!(told.class, wanted, "{told}");
        }
    }

    #[test]
    fn a_server_tells_its_state_and_its_addresses() {
        let server = |status: &str| {
            let body = format!(
                r#"{{"server":{{"id":42,"name":"blog","status":"{status}","locked":true,
                "public_net":{{"ipv4":{{"ip":"203.0.113.7"}},"ipv6":{{"ip":"2001:db8::/64"}}}},
                "private_net":[{{"network":4711,"ip":"10.0.0.2"}}]}}}}"#
            );
            server(&reply(200, &body))
                .expect("understood")
                .expect("there")
        };
        for (status, state) in [
            ("running", MachineState::Running),
            ("off", MachineState::Stopped),
            ("initializing", MachineState::Starting),
            ("starting", MachineState::Starting),
            ("migrating", MachineState::Starting),
            ("rebuilding", MachineState::Starting),
            ("unknown", MachineState::Starting),
            ("stopping", MachineState::Stopping),
            ("deleting", MachineState::Stopping),
        ] {
            assert_eq!(server(status).state, state, "{status}");
        }
        let server = server("running");
        assert!(server.locked);
        assert_eq!(server.public, "203.0.113.7".parse().ok());
        assert_eq!(server.private, "10.0.0.2".parse().ok());
    }

    #[test]
    fn a_server_without_a_public_address_is_one() {
        let body = r#"{"server":{"id":42,"status":"off","public_net":{"ipv4":null,"ipv6":null}}}"#;
        let server = server(&reply(200, body))
            .expect("understood")
            .expect("there");
        assert_eq!((server.private, server.public), (None, None));
    }

    #[test]
    fn an_action_that_failed_is_a_trouble_of_its_code() {
        let stand = |status: &str, error: &str| {
            let body = format!(
                r#"{{"action":{{"id":1337,"command":"start_server","status":"{status}","progress":50,"error":{error}}}}}"#
            );
            order(&reply(201, &body), Does::Write)
                .expect("an action")
                .stand
        };
        assert!(matches!(stand("running", "null"), Stand::UnderWay));
        assert!(matches!(stand("success", "null"), Stand::Done));
        for (code, wanted) in [
            ("action_failed", ErrorClass::InvalidState),
            ("resource_unavailable", ErrorClass::Capacity),
            ("something_new", ErrorClass::InvalidState),
        ] {
            let error = format!(r#"{{"code":"{code}","message":"no"}}"#);
            let Stand::Failed(trouble) = stand("error", &error) else {
                panic!("it failed");
            };
            assert_eq!(trouble.class, wanted, "{trouble}");
            assert!(trouble.detail.contains("1337"), "{trouble}");
        }
        let Stand::Failed(trouble) = stand("error", "null") else {
            panic!("it failed");
        };
        assert_eq!(trouble.class, ErrorClass::InvalidState);
    }
}
