//! Droplets that are snapshots while they sleep. Everything that is to be known of a snapshot stands in its name: it is the
//! one field that the cloud lets us write when we order it.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Cloud, PAGES_MAX, answer};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::cloud::billed::{Order, Recipe, Server, Snapshot, Stand};
use crate::provider::cloud::call::Does;

/// The feature of a droplet that has no public address.
pub(super) const NO_PUBLIC: &str = "no_public";

/// What every name of ours begins with.
const PREFIX: &str = "anteroom";

/// What a name holds of the recipe, in this order.
const FIELDS: [&str; 6] = ["size", "region", "vpc", "features", "name", "tags"];

/// Stands for nothing.
const NONE: &str = "-";

/// The bytes that a name may have; nothing says how many the cloud takes.
const NAME_BYTES_MAX: usize = 255;

/// Why this recipe can't be written on a snapshot.
pub(super) fn hindrance(recipe: &Recipe) -> Option<String> {
    for needed in ["size", "region", "name", "tags"] {
        if recipe.get(needed).is_none_or(String::is_empty) {
            return Some(format!("the cloud does not tell its {needed}"));
        }
    }
    if recipe
        .values()
        .any(|value| value.contains(char::is_whitespace))
    {
        return Some("its name or a tag holds a space".to_owned());
    }
    // The longest mark is among the tags; two moments have ten digits each.
    let tags = recipe.get("tags").map_or(0, String::len);
    let longest = name(
        &"x".repeat(tags),
        9_999_999_999,
        Some(9_999_999_999),
        recipe,
    );
    (longest.len() > NAME_BYTES_MAX)
        .then(|| "its tags are too long for a snapshot's name".to_owned())
}

/// The name of a snapshot.
fn name(mark: &str, at: u64, waking: Option<u64>, recipe: &Recipe) -> String {
    let waking = waking.map_or(NONE.to_owned(), |since| since.to_string());
    let mut words = vec![PREFIX.to_owned(), mark.to_owned(), at.to_string(), waking];
    words.extend(FIELDS.iter().map(|field| {
        let value = recipe.get(*field).filter(|value| !value.is_empty());
        value.map_or(NONE.to_owned(), String::clone)
    }));
    words.join(" ")
}

#[derive(Deserialize)]
struct Listed {
    /// A number, as text.
    id: Value,
    #[serde(default)]
    name: String,
    #[serde(default)]
    resource_id: Value,
    #[serde(default)]
    size_gigabytes: f64,
}

impl Listed {
    /// The snapshot, if its name is one of ours for this mark.
    fn ours(&self, mark: &str) -> Option<Snapshot> {
        let mut words = self.name.split(' ');
        if words.next() != Some(PREFIX) || words.next() != Some(mark) {
            return None;
        }
        let at = words.next()?.parse().ok()?;
        let waking = match words.next()? {
            NONE => None,
            since => Some(since.parse().ok()?),
        };
        let mut recipe = Recipe::new();
        for field in FIELDS {
            let value = words.next()?;
            let value = if value == NONE { "" } else { value };
            recipe.insert(field.to_owned(), value.to_owned());
        }
        words.next().is_none().then_some(Snapshot {
            id: number(&self.id)?,
            of: number(&self.resource_id)?,
            available: false,
            gigabytes: self.size_gigabytes,
            at,
            waking,
            recipe,
        })
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

impl Cloud {
    pub(super) async fn list_snapshots(&self, mark: &str) -> Result<Vec<Snapshot>, Trouble> {
        #[derive(Deserialize)]
        struct Page {
            snapshots: Vec<Listed>,
            #[serde(default)]
            links: Value,
        }
        let mut ours = std::collections::BTreeMap::new();
        for page in 1..=PAGES_MAX {
            let path = format!("/v2/snapshots?resource_type=droplet&per_page=200&page={page}");
            let reply = self.account.get("snapshots", path).await?;
            let page: Page = answer::understood(&reply, Does::Read)?;
            let listed = page.snapshots.iter().filter_map(|it| it.ours(mark));
            ours.extend(listed.map(|it| (it.id, it)));
            if !page
                .links
                .pointer("/pages/next")
                .is_some_and(Value::is_string)
            {
                break;
            }
        }
        Ok(ours.into_values().collect())
    }

    /// A snapshot's own page tells of which droplet it is, its image's page whether it can be used.
    pub(super) async fn read_snapshot(
        &self,
        id: u64,
        mark: &str,
    ) -> Result<Option<Snapshot>, Trouble> {
        #[derive(Deserialize)]
        struct One {
            snapshot: Listed,
        }
        #[derive(Deserialize)]
        struct Of {
            image: Image,
        }
        #[derive(Deserialize)]
        struct Image {
            status: String,
            size_gigabytes: f64,
        }
        let reply = self.account.get("snapshot", format!("/v2/snapshots/{id}"));
        let one = found(answer::understood::<One>(&reply.await?, Does::Read))?;
        let Some(mut snapshot) = one.and_then(|one| one.snapshot.ours(mark)) else {
            return Ok(None);
        };
        let reply = self
            .account
            .get("image", format!("/v2/images/{id}"))
            .await?;
        let of = found(answer::understood::<Of>(&reply, Does::Read))?;
        if let Some(Of { image }) = of {
            snapshot.available = image.status == "available";
            // Both must say that there is something in it.
            snapshot.gigabytes = snapshot.gigabytes.min(image.size_gigabytes);
        }
        Ok(Some(snapshot))
    }

    pub(super) async fn take_snapshot(
        &self,
        server: &Server,
        mark: &str,
        at: u64,
    ) -> Result<Order, Trouble> {
        let path = format!("/v2/droplets/{}/actions", server.id);
        let name = name(mark, at, None, &server.recipe);
        let body = json!({ "type": "snapshot", "name": name });
        let reply = self
            .account
            .write("take_snapshot", Method::POST, path, Some(&body));
        answer::order(&reply.await?, Does::Write)
    }

    pub(super) async fn mark_waking(
        &self,
        snapshot: &Snapshot,
        mark: &str,
        since: Option<u64>,
    ) -> Result<(), Trouble> {
        let path = format!("/v2/images/{}", snapshot.id);
        let body = json!({ "name": name(mark, snapshot.at, since, &snapshot.recipe) });
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
            droplet: Id,
            #[serde(default)]
            links: Links,
        }
        #[derive(Deserialize)]
        struct Id {
            id: u64,
        }
        #[derive(Default, Deserialize)]
        struct Links {
            #[serde(default)]
            actions: Vec<Id>,
        }
        let field = |name: &str| snapshot.recipe.get(name).map_or("", String::as_str);
        let list = |name: &str| -> Vec<String> {
            let words = field(name).split(',').filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        };
        let features = list("features");
        let has = |feature: &str| features.iter().any(|it| it == feature);
        let keys: Vec<Value> = ssh_keys.iter().map(|key| id_or_text(key)).collect();
        let mut body = json!({
            "name": field("name"), "region": field("region"), "size": field("size"),
            "image": snapshot.id, "tags": list("tags"), "ssh_keys": keys,
            "ipv6": has("ipv6"), "monitoring": has("monitoring"), "backups": has("backups"),
        });
        if !field("vpc").is_empty() {
            body["vpc_uuid"] = json!(field("vpc"));
        }
        if has(NO_PUBLIC) {
            body["public_networking"] = json!(false);
        }
        let path = "/v2/droplets".to_owned();
        let reply = self
            .account
            .write("create", Method::POST, path, Some(&body));
        let made: Made = answer::understood(&reply.await?, Does::Write)?;
        let order = made.links.actions.first().map(|action| Order {
            id: action.id,
            stand: Stand::UnderWay,
        });
        Ok((made.droplet.id, order))
    }
}

/// Keys are told by their number or by their fingerprint.
fn id_or_text(key: &str) -> Value {
    key.parse::<u64>()
        .map_or_else(|_| json!(key), |id| json!(id))
}

fn found<T>(read: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(trouble) if trouble.class == ErrorClass::NotFound => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let fields = [
            ("size", "s-1vcpu-1gb"),
            ("region", "nyc3"),
            ("vpc", ""),
            ("features", "ipv6,monitoring"),
            ("name", "web-1"),
            ("tags", "blog-vm,env:prod"),
        ];
        fields
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn listed(name: &str) -> Listed {
        Listed {
            id: json!("6372321"),
            name: name.into(),
            resource_id: json!("3164444"),
            size_gigabytes: 2.3,
        }
    }

    #[test]
    fn what_is_written_on_a_snapshot_is_read_again_and_a_stranger_s_is_not() {
        for waking in [None, Some(1_795_000_060)] {
            let name = name("blog-vm", 1_795_000_000, waking, &recipe());
            let ours = listed(&name).ours("blog-vm").expect("ours");
            assert_eq!(
                (ours.id, ours.of, ours.at),
                (6_372_321, 3_164_444, 1_795_000_000)
            );
            assert_eq!(ours.waking, waking);
            assert_eq!(ours.recipe, recipe());
            assert!(listed(&name).ours("blog").is_none());
            assert!(listed(&format!("{name} more")).ours("blog-vm").is_none());
        }
        for stranger in [
            "",
            "Nifty New Snapshot",
            "anteroom",
            "anteroom blog-vm",
            "anteroom blog-vm x - a b c d e f",
        ] {
            assert!(listed(stranger).ours("blog-vm").is_none(), "{stranger}");
        }
    }

    #[test]
    fn a_droplet_that_could_not_be_made_again_is_not_put_away() {
        assert_eq!(hindrance(&recipe()), None);
        let spoils: [fn(&mut Recipe); 4] = [
            |it| {
                it.remove("size");
            },
            |it| {
                it.insert("tags".into(), String::new());
            },
            |it| {
                it.insert("name".into(), "two words".into());
            },
            |it| {
                it.insert("tags".into(), "t".repeat(120));
            },
        ];
        for spoil in spoils {
            let mut recipe = recipe();
            spoil(&mut recipe);
            assert!(hindrance(&recipe).is_some(), "{recipe:?}");
        }
    }
}
