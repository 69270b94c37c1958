//! A container of Docker or Podman, as configured.

use std::fmt;
use std::path::PathBuf;

use http::uri::Authority;

use super::parts::Machine;
use crate::config::reading::Reading;
use crate::config::value::{self, Parsed};
use crate::engine::time::Span;

/// A container that exists already.
#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    /// Its name or id.
    pub container: String,
    /// Where Docker listens.
    pub endpoint: DockerEndpoint,
    /// Which of its addresses is used.
    pub address: DockerAddress,
    /// What clones begin with.
    pub clone_from: DockerCloneFrom,
    /// How long it may take to end before it is killed; 0 to 1 h.
    pub stop_timeout: Span,
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

/// What a clone begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerCloneFrom {
    /// The image.
    Image,
    /// The seed's disk as it is.
    Disk,
}

impl Docker {
    pub(super) fn read(section: &Reading<'_>) -> Option<Docker> {
        let container = section.read("container", value::words);
        let endpoint = section.read("endpoint", endpoint_of);
        let address = section.choice(
            "address",
            &[
                ("container", DockerAddress::Container),
                ("published", DockerAddress::Published),
            ],
        );
        let clone_from = section.choice(
            "clone_from",
            &[
                ("image", DockerCloneFrom::Image),
                ("disk", DockerCloneFrom::Disk),
            ],
        );
        let stop_timeout = section.span("stop_timeout");
        Some(Docker {
            container: container?,
            endpoint: endpoint?,
            address: address?,
            clone_from: clone_from?,
            stop_timeout: stop_timeout?,
        })
    }

    pub(super) fn machine(&self) -> Machine {
        Machine {
            what: "container",
            place: self.endpoint.to_string(),
            id: self.container.clone(),
        }
    }
}

/// Where Docker listens.
fn endpoint_of(text: &str) -> Parsed<DockerEndpoint> {
    let wrong = "is not where Docker can listen; write it like \"unix:///var/run/docker.sock\" \
                 or \"tcp://127.0.0.1:2375\"";
    let tcp = |host: &str| {
        let authority = host.parse::<Authority>().ok()?;
        authority.port_u16().filter(|port| *port > 0)?;
        Some(DockerEndpoint::Tcp(host.to_owned()))
    };
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(DockerEndpoint::Unix(path.into())),
        Some(("tcp", host)) => tcp(host).ok_or_else(|| wrong.to_owned()),
        _ => Err(wrong.to_owned()),
    }
}
