//! Servers that are snapshots while they sleep. Everything that is to be known of a snapshot stands in its labels: those of
//! the server, and beside them ours, which begin with `anteroom-`.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cloud, PAGES_MAX, answer};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::cloud::billed::{Order, Recipe, Server, Snapshot, Stand};
use crate::provider::cloud::call::Does;

/// What our own labels begin with.
const OURS: &str = "anteroom-";
const AT: &str = "anteroom-at";
const WAKING: &str = "anteroom-waking";
pub(super) const TYPE: &str = "anteroom-type";
pub(super) const LOCATION: &str = "anteroom-location";
pub(super) const NAME: &str = "anteroom-name";
pub(super) const NETWORKS: &str = "anteroom-networks";
pub(super) const FIREWALLS: &str = "anteroom-firewalls";
pub(super) const GROUP: &str = "anteroom-group";
pub(super) const IPV4: &str = "anteroom-ipv4";
pub(super) const IPV6: &str = "anteroom-ipv6";

/// No such address.
const NONE: &str = "none";
/// An address that the next server gets a new one for.
const NEW: &str = "new";

/// The characters of a label's value.
const VALUE_MAX: usize = 63;

/// The label of an address: none, one without a number, or one that may be kept.
pub(super) fn address(id: Option<Option<u64>>) -> String {
    match id {
        None => NONE.to_owned(),
        Some(None) => NEW.to_owned(),
        Some(Some(id)) => id.to_string(),
    }
}

/// Why this recipe can't be written on a snapshot.
pub(super) fn hindrance(labels: &BTreeMap<String, String>, recipe: &Recipe) -> Option<String> {
    for needed in [TYPE, LOCATION, NAME] {
        if recipe.get(needed).is_none_or(String::is_empty) {
            let field = needed.trim_start_matches(OURS);
            return Some(format!("the cloud does not tell its {field}"));
        }
    }
    if labels.keys().any(|key| key.starts_with(OURS)) {
        return Some(format!("it has a label that begins with {OURS}"));
    }
    let long = recipe.iter().find(|(_, value)| value.len() > VALUE_MAX);
    long.map(|(key, _)| format!("{key} is too long for a snapshot's label"))
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    image_size: Option<f64>,
    #[serde(default)]
    created_from: Option<Id>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

impl Image {
    /// The snapshot, if it is one of ours for this mark.
    fn ours(self, mark: &str) -> Option<Snapshot> {
        let mut recipe = self.labels;
        let at = recipe.remove(AT)?.parse().ok()?;
        let waking = recipe.remove(WAKING).and_then(|since| since.parse().ok());
        let marked = recipe
            .iter()
            .any(|(key, value)| format!("{key}={value}") == mark);
        (marked && self.kind == "snapshot").then_some(Snapshot {
            id: self.id,
            of: self.created_from.map_or(0, |server| server.id),
            available: self.status == "available",
            gigabytes: self.image_size.unwrap_or_default(),
            at,
            waking,
            recipe,
        })
    }
}

/// The labels of a snapshot.
fn labels(at: u64, waking: Option<u64>, recipe: &Recipe) -> BTreeMap<String, String> {
    let mut labels = recipe.clone();
    labels.insert(AT.to_owned(), at.to_string());
    if let Some(since) = waking {
        labels.insert(WAKING.to_owned(), since.to_string());
    }
    labels
}

impl Cloud {
    pub(super) async fn list_snapshots(&self, mark: &str) -> Result<Vec<Snapshot>, Trouble> {
        #[derive(Deserialize)]
        struct Page {
            images: Vec<Image>,
            #[serde(default)]
            meta: Value,
        }
        let mut ours = BTreeMap::new();
        for page in 1..=PAGES_MAX {
            let path = format!("/images?type=snapshot&per_page=50&page={page}");
            let reply = self.account.get("images", path).await?;
            let page: Page = answer::understood(&reply, Does::Read)?;
            let listed = page.images.into_iter().filter_map(|it| it.ours(mark));
            ours.extend(listed.map(|it| (it.id, it)));
            let next = page.meta.pointer("/pagination/next_page");
            if !next.is_some_and(Value::is_u64) {
                break;
            }
        }
        Ok(ours.into_values().collect())
    }

    pub(super) async fn read_snapshot(
        &self,
        id: u64,
        mark: &str,
    ) -> Result<Option<Snapshot>, Trouble> {
        #[derive(Deserialize)]
        struct One {
            image: Image,
        }
        let reply = self.account.get("image", format!("/images/{id}"));
        match answer::understood::<One>(&reply.await?, Does::Read) {
            Ok(one) => Ok(one.image.ours(mark)),
            Err(trouble) if trouble.class == ErrorClass::NotFound => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    pub(super) async fn take_snapshot(&self, server: &Server, at: u64) -> Result<Order, Trouble> {
        let mut recipe = server.recipe.clone();
        for key in [IPV4, IPV6] {
            if let Some(id) = recipe.get(key).and_then(|it| it.parse().ok())
                && !self.outlives(id).await?
            {
                recipe.insert(key.to_owned(), NEW.to_owned());
            }
        }
        let path = format!("/servers/{}/actions/create_image", server.id);
        let description = format!(
            "{} asleep, by Anteroom",
            recipe.get(NAME).map_or("", |it| it)
        );
        let labels = labels(at, None, &recipe);
        let body = json!({ "type": "snapshot", "description": description, "labels": labels });
        let reply = self
            .account
            .write("create_image", Method::POST, path, Some(&body));
        answer::order(&reply.await?, Does::Write)
    }

    /// Whether a public address stays when its server is deleted.
    async fn outlives(&self, id: u64) -> Result<bool, Trouble> {
        #[derive(Deserialize)]
        struct One {
            primary_ip: PrimaryIp,
        }
        #[derive(Deserialize)]
        struct PrimaryIp {
            auto_delete: bool,
        }
        let reply = self.account.get("primary_ip", format!("/primary_ips/{id}"));
        let one: One = answer::understood(&reply.await?, Does::Read)?;
        Ok(!one.primary_ip.auto_delete)
    }

    pub(super) async fn mark_waking(
        &self,
        snapshot: &Snapshot,
        since: Option<u64>,
    ) -> Result<(), Trouble> {
        let path = format!("/images/{}", snapshot.id);
        let body = json!({ "labels": labels(snapshot.at, since, &snapshot.recipe) });
        let reply = self
            .account
            .write("note_waking", Method::PUT, path, Some(&body));
        answer::done(&reply.await?)
    }

    pub(super) async fn make_from(
        &self,
        snapshot: &Snapshot,
        ssh_keys: &[String],
    ) -> Result<(u64, Option<Order>), Trouble> {
        #[derive(Deserialize)]
        struct Made {
            server: Id,
            #[serde(default)]
            action: Option<Id>,
        }
        let field = |key: &str| snapshot.recipe.get(key).map_or("", String::as_str);
        let ids = |key: &str| -> Vec<u64> {
            let ids = field(key).split('.').map(str::parse);
            ids.filter_map(Result::ok).collect()
        };
        let own = snapshot
            .recipe
            .iter()
            .filter(|(key, _)| !key.starts_with(OURS));
        let firewalls = ids(FIREWALLS)
            .into_iter()
            .map(|id| json!({ "firewall": id }));
        let mut net = json!({
            "enable_ipv4": field(IPV4) != NONE, "enable_ipv6": field(IPV6) != NONE,
        });
        for (name, key) in [("ipv4", IPV4), ("ipv6", IPV6)] {
            if let Ok(id) = field(key).parse::<u64>() {
                net[name] = json!(id);
            }
        }
        let mut body = json!({
            "name": field(NAME), "server_type": field(TYPE), "location": field(LOCATION),
            "image": snapshot.id.to_string(), "labels": own.collect::<BTreeMap<_, _>>(),
            "networks": ids(NETWORKS), "firewalls": firewalls.collect::<Vec<_>>(),
            "ssh_keys": ssh_keys, "public_net": net, "start_after_create": true,
        });
        if let Some(group) = ids(GROUP).first() {
            body["placement_group"] = json!(group);
        }
        let path = "/servers".to_owned();
        let reply = self
            .account
            .write("create", Method::POST, path, Some(&body))
            .await?;
        answer::done(&reply)?;
        // The answer may hold a password: its words are told to nobody.
        let made: Made = serde_json::from_slice(&reply.body).map_err(|_| {
            let detail = "the answer to the creation is not understood";
            Trouble::new(ErrorClass::Ambiguous, detail)
        })?;
        let order = made.action.map(|action| Order {
            id: action.id,
            stand: Stand::UnderWay,
        });
        Ok((made.server.id, order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let fields = [
            ("anteroom", "blog"),
            ("env", "prod"),
            (TYPE, "cx22"),
            (LOCATION, "fsn1"),
            (NAME, "web-1"),
            (NETWORKS, "4711.4712"),
            (IPV4, "17"),
        ];
        fields
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn image(labels: BTreeMap<String, String>) -> Image {
        Image {
            id: 7,
            kind: "snapshot".into(),
            status: "available".into(),
            image_size: Some(2.3),
            created_from: Some(Id { id: 42 }),
            labels,
        }
    }

    #[test]
    fn what_is_written_on_a_snapshot_is_read_again_and_a_stranger_s_is_not() {
        for waking in [None, Some(1_795_000_060)] {
            let labels = labels(1_795_000_000, waking, &recipe());
            let ours = image(labels.clone()).ours("anteroom=blog").expect("ours");
            assert_eq!((ours.id, ours.of, ours.at), (7, 42, 1_795_000_000));
            assert_eq!((ours.waking, ours.recipe), (waking, recipe()));
            assert!(image(labels).ours("anteroom=shop").is_none());
        }
        // Somebody's own snapshot of the same server has its label, and not our moment.
        assert!(image(recipe()).ours("anteroom=blog").is_none());
    }

    #[test]
    fn a_server_that_could_not_be_made_again_is_not_put_away() {
        let own = BTreeMap::new();
        assert_eq!(hindrance(&own, &recipe()), None);
        let mut long = recipe();
        long.insert(NETWORKS.into(), "1".repeat(64));
        assert!(hindrance(&own, &long).is_some());
        let mut without = recipe();
        without.remove(LOCATION);
        assert!(hindrance(&own, &without).is_some());
        let taken = BTreeMap::from([("anteroom-x".to_owned(), "y".to_owned())]);
        assert!(hindrance(&taken, &recipe()).is_some());
    }
}
