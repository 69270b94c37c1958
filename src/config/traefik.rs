//! The Traefik in front of the room, as configured.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::reading::Reading;
use super::value;

/// The Traefik in front of the room. All URLs are `http://` or `https://`, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traefik {
    /// How the routing of the services gets to Traefik.
    pub publish: Publish,
    /// How Traefik reaches the room.
    pub room_url: String,
    /// How our probe reaches Traefik; none: the visitors' way is not probed.
    pub public_url: Option<String>,
    /// Traefik's API and `/metrics`; always there when a service has `ingress = "failover"`.
    pub api: Option<String>,
    /// The entry points that services are published on; never empty.
    pub entrypoints: Vec<String>,
}

/// How the routing of the services gets to Traefik.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// In a file that Traefik watches.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Traefik fetches it from the admin listener.
    Http,
    /// Not at all: the operator writes it by hand.
    None,
}

impl Traefik {
    /// Reads `[traefik]`. `listen` is the room's own listener, if it is known.
    pub(super) fn read(section: &Reading<'_>, listen: Option<SocketAddr>) -> Option<Traefik> {
        let publish = match section.has("publish") {
            true => section.section("publish").and_then(|it| publish(&it)),
            false => {
                section.fault(
                    "publish",
                    "is missing; write publish = { kind = \"file\", path = \
                     \"/etc/traefik/dynamic/anteroom.yml\" }, or { kind = \"http\" }, or { kind = \"none\" }",
                );
                None
            }
        };
        let room_url = room_url(section, listen);
        let public_url = section.read("public_url", value::url);
        let api = section.read("api", value::url);
        let entrypoints = section.some("entrypoints", entrypoint);
        Some(Traefik {
            publish: publish?,
            room_url: room_url?,
            public_url,
            api,
            entrypoints,
        })
    }
}

fn room_url(section: &Reading<'_>, listen: Option<SocketAddr>) -> Option<String> {
    if section.has("room_url") {
        return section.read("room_url", value::origin);
    }
    let listen = listen?;
    if listen.port() == 0 || listen.ip().is_unspecified() {
        let mend = format!(
            "is missing, and server.listen = \"{listen}\" does not say it; \
             write room_url = \"http://127.0.0.1:8080\" with the address that Traefik can reach"
        );
        section.fault("room_url", mend);
        return None;
    }
    Some(format!("http://{listen}"))
}

fn publish(section: &Reading<'_>) -> Option<Publish> {
    if section
        .table
        .get("kind")
        .map(|node| node.shown())
        .as_deref()
        == Some("\"redis\"")
    {
        let mend = "\"redis\" is not in this version; there are file, http, none";
        section.fault("kind", mend);
        return None;
    }
    let kind = section.choice(
        "kind",
        &[("file", "file"), ("http", "http"), ("none", "none")],
    )?;
    let path = section.read("path", value::words).map(PathBuf::from);
    match (kind, path) {
        ("file", Some(path)) => {
            section.warn_of_folder("path", &path);
            Some(Publish::File { path })
        }
        ("file", None) => {
            if !section.has("path") {
                let mend = "is missing; write path = \"/etc/traefik/dynamic/anteroom.yml\"";
                section.fault("path", mend);
            }
            None
        }
        (_, Some(_)) => {
            let mend =
                format!("is only for kind = \"file\", and the kind is {kind:?}; take it out");
            section.fault("path", mend);
            None
        }
        ("http", None) => Some(Publish::Http),
        (_, None) => Some(Publish::None),
    }
}

fn entrypoint(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !text.is_empty() && text.chars().all(inner) {
        true => Ok(text.to_owned()),
        false => Err("is not the name of an entry point; write it like \"web\"".into()),
    }
}
