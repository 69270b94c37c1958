//! What a clone is made of: the seed's own description, less what belongs to the seed alone.
//!
//! Named volumes and folders of the host are shared with the seed, as between all containers that name them; a volume
//! without a name is new and empty, and goes with the clone.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HostConfig, RestartPolicyNameEnum,
};

/// The label that says which clone a container, or an image, is of: its whole name.
pub(super) const LABEL_CLONE: &str = "anteroom.clone";
/// The label that says which service and seed it serves: `service/tag`.
pub(super) const LABEL_OF: &str = "anteroom.of";

/// Labels that would let others take a clone for the seed: Compose removes containers that it did not make, and
/// Traefik would send visitors before the clone is ready.
const LABELS_OF_THE_SEED: [&str; 3] = ["com.docker.compose.", "traefik.", "anteroom."];

/// How long the name of a volume is that was given none: a number of 256 bits.
const NAMELESS_VOLUME_LEN: usize = 64;

/// A clone of this container, made from this image. It is not started.
///
/// # Errors
/// Why there can be none: it would want the very ports of the seed.
pub(super) fn body(
    seed: &ContainerInspectResponse,
    image: String,
    marks: HashMap<String, String>,
) -> Result<ContainerCreateBody, String> {
    let config = seed.config.clone().unwrap_or_default();
    // The same keys, in two types.
    let body = serde_json::to_value(config).and_then(serde_json::from_value);
    let mut body: ContainerCreateBody =
        body.map_err(|error| format!("its description is not understood: {error}"))?;
    let id = seed.id.as_deref().unwrap_or_default();
    if let Some(hostname) = body.hostname.take_if(|name| id.starts_with(name.as_str())) {
        let own = format!("HOSTNAME={hostname}");
        body.env
            .iter_mut()
            .for_each(|env| env.retain(|it| *it != own));
    }
    let labels = body.labels.get_or_insert_default();
    labels.retain(|name, _| !LABELS_OF_THE_SEED.iter().any(|of| name.starts_with(of)));
    labels.extend(marks);
    let binds = seed.host_config.as_ref().and_then(|it| it.binds.as_deref());
    let nameless = binds
        .unwrap_or_default()
        .iter()
        .filter_map(|bind| nameless_at(bind));
    let volumes = body.volumes.get_or_insert_default();
    volumes.extend(nameless.map(str::to_owned));
    volumes.sort();
    volumes.dedup();
    body.image = Some(image);
    body.host_config = Some(host(seed)?);
    Ok(body)
}

fn host(seed: &ContainerInspectResponse) -> Result<HostConfig, String> {
    let mut host = seed.host_config.clone().unwrap_or_default();
    let network = host.network_mode.as_deref().unwrap_or_default();
    if network == "host" || network.starts_with("container:") {
        return Err(format!(
            "it uses the network of another ({network:?}), where a clone would want its very port"
        ));
    }
    host.container_id_file = None;
    host.auto_remove = Some(false);
    for bindings in host.port_bindings.iter_mut().flat_map(HashMap::values_mut) {
        for binding in bindings.iter_mut().flatten() {
            // The engine chooses a port of the host.
            binding.host_port = Some(String::new());
        }
    }
    if let Some(binds) = &mut host.binds {
        binds.retain(|bind| nameless_at(bind).is_none());
    }
    for mount in host.mounts.iter_mut().flatten() {
        if is_nameless(mount.source.as_deref()) {
            mount.source = None;
        }
    }
    for link in host.links.iter_mut().flatten() {
        *link = link_to_make(link);
    }
    for ulimit in host.ulimits.iter_mut().flatten() {
        // Podman tells them in another way than it takes them.
        let name = ulimit.name.as_deref().unwrap_or_default();
        if let Some(short) = name.strip_prefix("RLIMIT_") {
            ulimit.name = Some(short.to_ascii_lowercase());
        }
    }
    Ok(host)
}

/// What a person should know of the seed, each with its mend.
pub(super) fn warnings(seed: &ContainerInspectResponse) -> Vec<String> {
    let host = seed.host_config.as_ref();
    let policy = host.and_then(|host| host.restart_policy.as_ref()?.name);
    let mut warnings = Vec::new();
    if policy == Some(RestartPolicyNameEnum::ALWAYS) {
        warnings.push(
            "its restart policy is `always`, so the engine starts it whenever it is restarted itself; \
             make it `unless-stopped`"
                .to_owned(),
        );
    }
    if let Err(why) = self::host(seed) {
        warnings.push(format!("it can't be cloned: {why}"));
    }
    warnings
}

/// Where a volume without a name is; Podman tells of them beside those with one, and nowhere else.
fn nameless_at(bind: &str) -> Option<&str> {
    let mut parts = bind.split(':');
    is_nameless(parts.next()).then(|| parts.next())?
}

fn is_nameless(volume: Option<&str>) -> bool {
    volume.is_some_and(|name| {
        name.len() == NAMELESS_VOLUME_LEN && name.bytes().all(|c| c.is_ascii_hexdigit())
    })
}

/// A link is told as `/other:/seed/alias` and taken as `other:alias`.
fn link_to_make(told: &str) -> String {
    let Some((other, alias)) = told.split_once(':') else {
        return told.to_owned();
    };
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    format!("{}:{alias}", other.trim_start_matches('/'))
}

/// The networks of the seed that the clone is not in yet.
pub(super) fn networks_to_join(
    seed: &ContainerInspectResponse,
    clone: &ContainerInspectResponse,
) -> Vec<String> {
    let of = |found: &ContainerInspectResponse| {
        let networks = found.network_settings.as_ref()?.networks.as_ref()?;
        Some(networks.keys().cloned().collect::<Vec<_>>())
    };
    let has = of(clone).unwrap_or_default();
    let mut wants = of(seed).unwrap_or_default();
    wants.retain(|network| !has.contains(network));
    wants.sort();
    wants
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seed() -> Value {
        let nameless = "0f".repeat(32);
        json!({
            "Id": "ba5bec0e1bf41c1a903056c97302668a9d4fcb67e0f6d327b85c71b81edba479",
            "Config": {
                "Hostname": "ba5bec0e1bf4",
                "Env": ["MODE=production", "HOSTNAME=ba5bec0e1bf4"],
                "Cmd": ["httpd", "-f"],
                "Image": "shop:1",
                "Labels": {
                    "team": "blue",
                    "com.docker.compose.project": "shop",
                    "traefik.enable": "true",
                },
            },
            "HostConfig": {
                "NetworkMode": "front",
                "AutoRemove": true,
                "Memory": 1048576,
                "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }] },
                "Binds": ["shop:/data", format!("{nameless}:/cache:rw"), "/srv/a:/a:ro"],
                "Mounts": [{ "Type": "volume", "Source": nameless, "Target": "/tmp" }],
                "Links": ["/redis:/shop/cache"],
                "Ulimits": [{ "Name": "RLIMIT_NOFILE", "Soft": 1024, "Hard": 1024 }],
            },
            "NetworkSettings": { "Networks": { "front": {}, "back": {} } },
        })
    }

    fn made(change: impl FnOnce(&mut Value)) -> Result<Value, String> {
        let mut seed = seed();
        change(&mut seed);
        let seed: ContainerInspectResponse = serde_json::from_value(seed).unwrap();
        let marks = HashMap::from([(LABEL_CLONE.to_owned(), "ar-shop".to_owned())]);
        let body = body(&seed, "sha256:7".to_owned(), marks)?;
        Ok(serde_json::to_value(body).unwrap())
    }

    #[test]
    fn a_clone_is_the_seed_less_what_is_its_own() {
        let made = made(|_| {}).unwrap();
        assert_eq!(made["Hostname"], Value::Null);
        assert_eq!(made["Env"], json!(["MODE=production"]));
        assert_eq!(made["Cmd"], json!(["httpd", "-f"]));
        assert_eq!(made["Image"], "sha256:7");
        assert_eq!(
            made["Labels"],
            json!({ "team": "blue", "anteroom.clone": "ar-shop" })
        );
        let host = &made["HostConfig"];
        assert_eq!(host["AutoRemove"], false);
        assert_eq!(host["Memory"], 1_048_576);
        assert_eq!(
            host["PortBindings"]["80/tcp"],
            json!([{ "HostIp": "127.0.0.1", "HostPort": "" }])
        );
        assert_eq!(host["Binds"], json!(["shop:/data", "/srv/a:/a:ro"]));
        assert!(made["Volumes"].get("/cache").is_some(), "a new one");
        assert_eq!(host["Mounts"][0]["Source"], Value::Null);
        assert_eq!(host["Links"], json!(["redis:cache"]));
        assert_eq!(host["Ulimits"][0]["Name"], "nofile");
    }

    #[test]
    fn a_name_that_was_given_on_purpose_stays() {
        let made = made(|seed| seed["Config"]["Hostname"] = "shop".into()).unwrap();
        assert_eq!(made["Hostname"], "shop");
    }

    #[test]
    fn what_shares_a_network_has_no_clones() {
        for network in ["host", "container:7"] {
            let made = made(|seed| seed["HostConfig"]["NetworkMode"] = network.into());
            assert!(made.is_err(), "{network}");
        }
    }

    #[test]
    fn a_clone_joins_the_networks_that_it_lacks() {
        let of = |json: Value| serde_json::from_value::<ContainerInspectResponse>(json).unwrap();
        let clone = of(json!({ "NetworkSettings": { "Networks": { "front": {} } } }));
        assert_eq!(networks_to_join(&of(seed()), &clone), ["back"]);
        assert!(networks_to_join(&of(seed()), &of(seed())).is_empty());
    }
}
