//! What DigitalOcean's answers mean. Errors are `{id, message}`; the id repeats the status, so for 422, which stands for
//! almost everything, the words decide.

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
struct Droplet {
    id: u64,
    #[serde(default)]
    name: String,
    status: String,
    #[serde(default)]
    locked: bool,
    #[serde(default)]
    networks: Networks,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    size_slug: String,
    #[serde(default)]
    region: Value,
    #[serde(default)]
    vpc_uuid: Option<String>,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    volume_ids: Vec<String>,
    #[serde(default)]
    image: Value,
}

#[derive(Default, Deserialize)]
struct Networks {
    #[serde(default)]
    v4: Vec<Network>,
}

#[derive(Deserialize)]
struct Network {
    ip_address: IpAddr,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Action {
    id: u64,
    status: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Droplet {
    /// A word that nobody has seen yet is taken for "on its way": looking goes on, and the wake has its deadline.
    fn state(&self) -> MachineState {
        match self.status.as_str() {
            "active" => MachineState::Running,
            "off" | "archive" => MachineState::Stopped,
            _ => MachineState::Starting,
        }
    }

    fn address(&self, kind: &str) -> Option<IpAddr> {
        let networks = self.networks.v4.iter();
        let mut of_kind = networks.filter(|network| network.kind == kind);
        of_kind.next().map(|network| network.ip_address)
    }

    fn server(&self) -> Server {
        Server {
            id: self.id,
            name: self.name.clone(),
            state: self.state(),
            locked: self.locked,
            private: self.address("private"),
            public: self.address("public"),
            marks: self.tags.clone().unwrap_or_default(),
            image: self.image.get("id").and_then(Value::as_u64),
            recipe: self.recipe(),
            hindrance: self.hindrance(),
        }
    }

    fn recipe(&self) -> Recipe {
        let region = self.region.get("slug").and_then(Value::as_str);
        let mut features = self.features.clone();
        if self.address("public").is_none() {
            features.push(swap::NO_PUBLIC.to_owned());
        }
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Recipe::from([
            field("size", &self.size_slug),
            field("region", region.unwrap_or_default()),
            field("vpc", self.vpc_uuid.as_deref().unwrap_or_default()),
            field("features", &features.join(",")),
            field("name", &self.name),
            field("tags", &self.tags.clone().unwrap_or_default().join(",")),
        ])
    }

    fn hindrance(&self) -> Option<String> {
        if !self.volume_ids.is_empty() {
            return Some("volumes are attached to it, and would be left behind".to_owned());
        }
        swap::hindrance(&self.recipe())
    }
}

/// One page of the list, and whether there is another.
pub(super) fn droplets(reply: &Reply) -> Result<(Vec<Server>, bool), Trouble> {
    #[derive(Deserialize)]
    struct Page {
        droplets: Vec<Droplet>,
        #[serde(default)]
        links: Value,
    }
    let page: Page = understood(reply, Does::Read)?;
    let more = page
        .links
        .pointer("/pages/next")
        .is_some_and(Value::is_string);
    Ok((page.droplets.iter().map(Droplet::server).collect(), more))
}

/// A droplet; none when there is none.
pub(super) fn droplet(reply: &Reply) -> Result<Option<Server>, Trouble> {
    #[derive(Deserialize)]
    struct One {
        droplet: Droplet,
    }
    match understood::<One>(reply, Does::Read) {
        Ok(one) => Ok(Some(one.droplet.server())),
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
        "completed" => Stand::Done,
        "errored" => {
            let detail = format!("the action {} ({}) errored", action.id, action.kind);
            Stand::Failed(Trouble::new(ErrorClass::InvalidState, detail))
        }
        _ => Stand::UnderWay,
    };
    Ok(Order {
        id: action.id,
        stand,
    })
}

/// The order to its power among a droplet's actions that is under way.
pub(super) fn under_way(reply: &Reply) -> Result<Option<Power>, Trouble> {
    #[derive(Deserialize)]
    struct Page {
        actions: Vec<Action>,
    }
    let page: Page = understood(reply, Does::Read)?;
    let mut running = page.actions.iter().filter(|it| it.status == "in-progress");
    Ok(running.find_map(|action| match action.kind.as_str() {
        "power_on" | "boot" | "reboot" | "power_cycle" | "create" => Some(Power::On),
        "shutdown" => Some(Power::Shutdown),
        "power_off" => Some(Power::Off),
        _ => None,
    }))
}

/// An answer without a body.
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

pub(super) fn trouble(reply: &Reply, does: Does) -> Trouble {
    let said = message(&reply.body);
    let words = said.to_ascii_lowercase();
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    let class = match reply.status.as_u16() {
        401 => ErrorClass::Auth,
        403 => ErrorClass::Forbidden,
        404 => ErrorClass::NotFound,
        402 => ErrorClass::Quota,
        409 | 423 => ErrorClass::Busy,
        429 => ErrorClass::RateLimited(reply.retry_after),
        422 if has(&["pending event", "locked", "in progress"]) => ErrorClass::Busy,
        422 if has(&["limit", "billing", "payment"]) => ErrorClass::Quota,
        422 if has(&["unavailable", "not available", "sold out", "capacity"]) => {
            ErrorClass::Capacity
        }
        422 if has(&["already powered", "currently powered"]) => ErrorClass::AlreadyThere,
        500..=599 => match does {
            Does::Write => ErrorClass::Ambiguous,
            Does::Read => ErrorClass::Transient,
        },
        _ => ErrorClass::BadRequest,
    };
    let mend = match class {
        ErrorClass::Auth => "; is `token` right, and not expired?",
        ErrorClass::Forbidden => "; the token lacks a scope, see docs/providers.md",
        _ => "",
    };
    Trouble::new(class, format!("{}, {said}{mend}", reply.status))
}

fn message(body: &[u8]) -> String {
    let value = serde_json::from_slice::<Value>(body).ok();
    let told = value
        .as_ref()
        .and_then(|value| value.get("message")?.as_str());
    last_words(told.map_or(body, str::as_bytes))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::engine::time::Span;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: Some(Span::secs(9)),
            reason: None,
            spent: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn every_refusal_has_its_class() {
        let limited = ErrorClass::RateLimited(Some(Span::secs(9)));
        for (status, message, wanted) in [
            (401, "Unable to authenticate you", ErrorClass::Auth),
            (403, "You do not have access", ErrorClass::Forbidden),
            (
                404,
                "The resource you were accessing could not be found.",
                ErrorClass::NotFound,
            ),
            (
                422,
                "Droplet already has a pending event.",
                ErrorClass::Busy,
            ),
            (
                422,
                "Droplet is already powered on.",
                ErrorClass::AlreadyThere,
            ),
            (
                422,
                "creating this will exceed your droplet limit",
                ErrorClass::Quota,
            ),
            (
                422,
                "Size is not available in this region.",
                ErrorClass::Capacity,
            ),
            (422, "Name can't be blank", ErrorClass::BadRequest),
            (429, "API Rate limit exceeded.", limited),
            (500, "Server Error", ErrorClass::Transient),
            (503, "Service Unavailable", ErrorClass::Transient),
        ] {
            let body = serde_json::json!({ "id": "a_word", "message": message }).to_string();
            let told = trouble(&reply(status, &body), Does::Read);
            assert_eq!(told.class, wanted, "{told}");
            assert!(told.detail.contains(message), "{told}");
        }
        let lost = trouble(&reply(502, "<html>"), Does::Write);
        assert_eq!(lost.class, ErrorClass::Ambiguous);
    }

    #[test]
    fn a_droplet_tells_its_state_and_its_addresses() {
        let droplet = |status: &str| {
            let body = format!(
                r#"{{"droplet":{{"id":3164444,"name":"blog","status":"{status}","locked":true,"networks":{{"v4":[
                {{"ip_address":"203.0.113.7","type":"public"}},{{"ip_address":"10.128.0.2","type":"private"}}],"v6":[]}}}}}}"#
            );
            droplet(&reply(200, &body))
                .expect("understood")
                .expect("there")
        };
        for (status, state) in [
            ("new", MachineState::Starting),
            ("active", MachineState::Running),
            ("off", MachineState::Stopped),
            ("archive", MachineState::Stopped),
            ("a-new-word", MachineState::Starting),
        ] {
            assert_eq!(droplet(status).state, state, "{status}");
        }
        let droplet = droplet("active");
        assert!(droplet.locked);
        assert_eq!(droplet.public, "203.0.113.7".parse().ok());
        assert_eq!(droplet.private, "10.128.0.2".parse().ok());
    }

    #[test]
    fn a_sparse_droplet_is_one_and_html_is_none() {
        let sparse = reply(200, r#"{"droplet":{"id":1,"status":"off"}}"#);
        let sparse = droplet(&sparse).expect("understood").expect("there");
        assert_eq!((sparse.private, sparse.public), (None, None));
        let html = droplet(&reply(200, "<html>")).expect_err("no droplet");
        assert_eq!(html.class, ErrorClass::Transient);
        let html = order(&reply(201, "<html>"), Does::Write).expect_err("no action");
        assert_eq!(html.class, ErrorClass::Ambiguous);
    }

    #[test]
    fn an_action_that_errored_is_a_trouble_with_its_number() {
        let body = |status: &str| {
            let action = format!(r#"{{"id":36804636,"status":"{status}","type":"power_on"}}"#);
            reply(201, &format!(r#"{{"action":{action}}}"#))
        };
        let stand = |status: &str| order(&body(status), Does::Write).expect("an action").stand;
        assert!(matches!(stand("in-progress"), Stand::UnderWay));
        assert!(matches!(stand("completed"), Stand::Done));
        let Stand::Failed(trouble) = stand("errored") else {
            panic!("it errored");
        };
        assert!(trouble.detail.contains("36804636"), "{trouble}");
    }
}
