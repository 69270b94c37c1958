//! Where the machine of a service lives, as configured.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::keys::PROVIDER_KINDS;
use super::problem::nearest;
use super::raw::{Node, Value};
use super::reader::Reader;
use super::reading::Reading;
use super::secret::Secret;
use super::value;
use crate::engine::time::Span;

/// Kinds of the plan that are not in this version.
const LATER_KINDS: &[&str] = &[
    "gce",
    "proxmox",
    "ec2",
    "libvirt",
    "wol",
    "digitalocean",
    "hetzner",
];

/// Where the machine lives.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// A child process on this host; it listens on 127.0.0.1 at the service's port.
    Process {
        /// The program and its arguments, never empty; `{port}` stands for the port to listen on.
        command: Vec<String>,
        /// The folder it runs in; none for Anteroom's own.
        cwd: Option<PathBuf>,
        /// What is added to the environment.
        env: BTreeMap<String, String>,
        /// How long it may take to end before it is killed; 0 to 1 h.
        stop_timeout: Span,
    },
    /// A container that exists already.
    Docker {
        /// Its name or id.
        container: String,
        /// Where Docker listens.
        endpoint: DockerEndpoint,
        /// Which of its addresses is used.
        address: DockerAddress,
        /// How long it may take to end before it is killed; 0 to 1 h.
        stop_timeout: Span,
    },
    /// Anything that programs or a webhook can start and stop.
    Command {
        /// What is called.
        control: Control,
        /// Where the app listens, always as `host:port`.
        address: String,
        /// How long one call may take; 1 s to 1 h.
        timeout: Span,
    },
    /// A virtual machine at IDCloudHost, or at another cloud of its kind.
    IdCloudHost {
        /// The cloud's address, without a slash at its end.
        base_url: String,
        /// The location, as in the cloud's paths.
        location: String,
        /// The machine's id.
        uuid: String,
        /// The account's token.
        apikey: Secret,
        /// Which of its addresses is used.
        address: MachineAddress,
        /// How long it may take to shut down before it is switched off; 1 s to 1 h.
        stop_timeout: Span,
        /// A file of certificates that are believed beside those of the system.
        ca: Option<PathBuf>,
    },
}

/// Which address of a cloud's machine is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineAddress {
    /// The one in its private network.
    Private,
    /// The public one.
    Public,
}

/// What the command provider calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Three programs with their arguments, none of them empty.
    Programs {
        /// Starts the machine.
        start: Vec<String>,
        /// Stops the machine.
        stop: Vec<String>,
        /// Prints the machine's state.
        state: Vec<String>,
    },
    /// A URL.
    Webhook {
        /// `http://` or `https://`, without a slash at the end.
        url: String,
        /// What is sent as `Authorization: Bearer`.
        token: Option<Secret>,
    },
}

/// Where Docker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerEndpoint {
    /// A socket in the file system, by its absolute path.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl fmt::Display for DockerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DockerEndpoint::Unix(path) => write!(f, "unix://{}", path.display()),
            DockerEndpoint::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// Which address of a container is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerAddress {
    /// The container's own.
    Container,
    /// The port it publishes on the host.
    Published,
}

impl Provider {
    /// The word in the configuration (`kind = "..."`).
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Provider::Process { .. } => "process",
            Provider::Docker { .. } => "docker",
            Provider::Command { .. } => "command",
            Provider::IdCloudHost { .. } => "idcloudhost",
        }
    }

    /// Reads the block of a service whose app listens on `port`.
    pub(super) fn read(service: &Reading<'_>, port: u16) -> Option<Provider> {
        let Some(node) = service.table.get("provider") else {
            service.fault(
                "provider",
                "is missing; write provider = { kind = \"docker\", container = \"blog\" }",
            );
            return None;
        };
        let kind = kind(service.reader, node)?;
        let section = service.reader.open(node, kind)?;
        // The kind was read above; this asks the table of keys as for every other key.
        section.read("kind", value::words)?;
        match kind {
            "process" => process(&section),
            "docker" => docker(&section),
            "idcloudhost" => idcloudhost(&section),
            _ => command(&section, port),
        }
    }
}

/// The kind, as the id of the section that describes it.
fn kind(reader: &Reader<'_>, node: &Node) -> Option<&'static str> {
    let known = PROVIDER_KINDS.join(", ");
    let written = node.table().and_then(|table| table.get("kind"));
    let Some((at, Value::Text(kind))) = written.map(|at| (at, &at.value)) else {
        let message = format!("needs a kind in quotes; there are {known}");
        let at = written.unwrap_or(node);
        reader.fault(at.line, &at.path, message);
        return None;
    };
    let found = PROVIDER_KINDS.iter().find(|known| *known == kind).copied();
    if found.is_none() {
        let meant = nearest(kind, PROVIDER_KINDS.iter().copied());
        let message = match meant {
            _ if LATER_KINDS.contains(&kind.as_str()) => {
                format!("{kind:?} is not in this version; there are {known}")
            }
            Some(meant) => format!("{kind:?} is not a kind of provider; did you mean {meant:?}?"),
            None => format!("{kind:?} is not a kind of provider; there are {known}"),
        };
        reader.fault(at.line, &at.path, message);
    }
    found
}

fn process(section: &Reading<'_>) -> Option<Provider> {
    let command = program(section, "command");
    let cwd = section.read("cwd", value::words).map(PathBuf::from);
    let env = section.map("env");
    for name in env.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            section.fault("env", format!("{name:?} cannot be the name of a variable"));
        }
    }
    Some(Provider::Process {
        command,
        cwd,
        env,
        stop_timeout: section.span("stop_timeout")?,
    })
}

fn docker(section: &Reading<'_>) -> Option<Provider> {
    let container = section.read("container", value::words);
    let endpoint = section.read("endpoint", value::docker_endpoint);
    let address = section.choice(
        "address",
        &[
            ("container", DockerAddress::Container),
            ("published", DockerAddress::Published),
        ],
    );
    let stop_timeout = section.span("stop_timeout");
    Some(Provider::Docker {
        container: container?,
        endpoint: endpoint?,
        address: address?,
        stop_timeout: stop_timeout?,
    })
}

fn idcloudhost(section: &Reading<'_>) -> Option<Provider> {
    let location = section.read("location", value::name);
    let uuid = section.read("uuid", value::name);
    let apikey = section.secret("apikey");
    let base_url = section.read("base_url", value::url);
    let address = section.choice(
        "address",
        &[
            ("private", MachineAddress::Private),
            ("public", MachineAddress::Public),
        ],
    );
    Some(Provider::IdCloudHost {
        base_url: base_url?,
        location: location?,
        uuid: uuid?,
        apikey: apikey?,
        address: address?,
        stop_timeout: section.span("stop_timeout")?,
        ca: section.read("ca", value::words).map(PathBuf::from),
    })
}

fn command(section: &Reading<'_>, port: u16) -> Option<Provider> {
    let control = match section.section("webhook") {
        Some(webhook) => {
            for name in ["start", "stop", "state"] {
                if section.has(name) {
                    section.fault(name, "is written beside webhook; take one of them out");
                }
            }
            let (url, token) = (webhook.read("url", value::url), webhook.secret("token"));
            url.map(|url| Control::Webhook { url, token })
        }
        None => Some(Control::Programs {
            start: needed(section, "start"),
            stop: needed(section, "stop"),
            state: needed(section, "state"),
        }),
    };
    let address = section.read("address", |text| value::address(text, port));
    let timeout = section.span("timeout");
    Some(Provider::Command {
        control: control?,
        address: address?,
        timeout: timeout?,
    })
}

/// A program that must be written because there is no webhook.
fn needed(section: &Reading<'_>, name: &str) -> Vec<String> {
    if !section.has(name) && !section.has("webhook") {
        let mend = format!("is missing; write {name} = [\"./vm\", \"{name}\"], or a webhook");
        section.fault(name, mend);
    }
    program(section, name)
}

/// A program and its arguments. Arguments may be empty; the program may not.
fn program(section: &Reading<'_>, name: &str) -> Vec<String> {
    let words = section.some(name, |text| match text.contains('\0') {
        true => Err("holds a zero byte, which no argument can".to_owned()),
        false => Ok(text.to_owned()),
    });
    if words.first().is_some_and(String::is_empty) {
        section.fault(name, "begins with an empty text; the program comes first");
    }
    words
}
