//! A service that is a container of Docker or Podman, made by the operator; Anteroom starts and stops it.
//!
//! The container's own restart policy should be `no` or `unless-stopped`: with `always` the engine wakes it
//! behind our back when it restarts itself. How answers become states and troubles is in [`answer`].

mod answer;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    InspectContainerOptions, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::future::BoxFuture;

use super::{Answer, BadSettings, Checkup, Provider, bare, seed_only};
use crate::engine::id::{InstanceId, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use answer::Sent;

/// What the engine may take on top of `stop_timeout`: the kill, and removing the network.
const ENGINE_MARGIN: Duration = Duration::from_secs(10);
/// What a whole call may take on top of `stop_timeout`: a little more, so that our own deadline comes first.
const CALL_MARGIN: Duration = Duration::from_secs(15);

/// Which container, at which engine, and how its app is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name or id.
    pub container: String,
    /// Where the engine's API is.
    pub endpoint: Endpoint,
    /// The port the app listens on inside the container.
    pub port: u16,
    /// Under which address it is reached from here.
    pub address: AddressFrom,
    /// From the stop signal to the kill; the engine keeps this time. Whole seconds, rounded up.
    pub stop_timeout: Duration,
}

/// Under which address a container is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// Its own, in its first network by name; 127.0.0.1 (or the engine's host) with the host's network.
    Container,
    /// The one its port is published at.
    Published,
}

/// Where an engine's API is: `unix:///path`, `/path`, `tcp://host:port` or `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this host.
    Unix(String),
    /// `host:port`, in clear: for a socket proxy on a private network.
    Tcp(String),
}

impl FromStr for Endpoint {
    type Err = BadSettings;

    fn from_str(text: &str) -> Result<Endpoint, BadSettings> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Endpoint::Unix(path.to_owned()));
        }
        let host = ["tcp://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| {
                rest.parse::<http::uri::Authority>()
                    .is_ok_and(|a| a.port_u16().is_some())
            });
        host.map(|host| Endpoint::Tcp(host.to_owned()))
            .ok_or_else(|| {
                BadSettings(format!(
                    "`endpoint` {text:?} is none of unix:///path, /path, tcp://host:port, http://host:port"
                ))
            })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// The provider of `kind = "docker"`.
pub struct Docker {
    settings: Settings,
    /// Made on the first call, made anew after a failure: the engine may have been upgraded meanwhile.
    engine: Mutex<Option<bollard::Docker>>,
}

impl Docker {
    /// A provider for this container. Asks nothing.
    ///
    /// # Errors
    ///
    /// When `container` can be no container's name: it becomes part of a path.
    pub fn new(settings: Settings) -> Result<Docker, BadSettings> {
        let name = settings.container.as_bytes();
        let inner = |c: &u8| c.is_ascii_alphanumeric() || b"_.-".contains(c);
        if !(name.first().is_some_and(u8::is_ascii_alphanumeric) && name.iter().all(inner)) {
            let name = &settings.container;
            let rule = "letters, digits, `_`, `.` and `-`, and first a letter or digit";
            return Err(BadSettings(format!(
                "`container` {name:?}: a container's name has {rule}"
            )));
        }
        Ok(Docker {
            settings,
            engine: Mutex::new(None),
        })
    }

    async fn engine(&self) -> Result<bollard::Docker, Trouble> {
        let known = self.engine.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(engine) = known {
            return Ok(engine);
        }
        let timeout = (self.settings.stop_timeout + ENGINE_MARGIN).as_secs();
        let made = match &self.settings.endpoint {
            Endpoint::Unix(path) => {
                bollard::Docker::connect_with_unix(path, timeout, API_DEFAULT_VERSION)
            }
            Endpoint::Tcp(host) => {
                bollard::Docker::connect_with_http(host, timeout, API_DEFAULT_VERSION)
            }
        };
        let made = made.map_err(|e| self.trouble("reaching the engine", Sent::Read, &e))?;
        let made = made.negotiate_version().await;
        let made = made.map_err(|e| self.trouble("asking its version", Sent::Read, &e))?;
        let mut slot = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(made.clone());
        Ok(made)
    }

    /// An error that is no answer of the engine, or says that we speak another version, ends the connection.
    fn trouble(&self, doing: &str, sent: Sent, error: &bollard::errors::Error) -> Trouble {
        if answer::ends_connection(error) {
            let mut slot = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = None;
        }
        let (container, endpoint) = (&self.settings.container, &self.settings.endpoint);
        let detail = format!(
            "{doing}, container {container:?} at {endpoint}: {}",
            answer::words(error)
        );
        Trouble::new(answer::class(error, sent), detail)
    }

    async fn look(&self) -> Result<Machine, Trouble> {
        let engine = self.engine().await?;
        let options = None::<InspectContainerOptions>;
        let asked = engine.inspect_container(&self.settings.container, options);
        let error = match asked.await {
            Ok(found) => return Ok(self.machine(&found)),
            Err(error) => error,
        };
        if let Some(state) = answer::podman_state(&error) {
            return Ok(bare(state));
        }
        match self.trouble("inspecting", Sent::Read, &error) {
            trouble if trouble.class == ErrorClass::NotFound => Ok(bare(MachineState::Missing)),
            trouble => Err(trouble),
        }
    }

    fn machine(&self, found: &ContainerInspectResponse) -> Machine {
        let state = answer::state(found.state.as_ref());
        let reachable = matches!(state, MachineState::Running | MachineState::Starting);
        let address = match self.settings.address {
            AddressFrom::Container => answer::own_address(found, self.settings.port),
            AddressFrom::Published => answer::published_address(found, self.settings.port),
        };
        Machine {
            state,
            address: address.filter(|_| reachable).map(|a| self.on_host(a)),
        }
    }

    /// "Any address" and "this host" mean the engine's host, as it is seen from here.
    fn on_host(&self, address: SocketAddr) -> SocketAddr {
        let ip = address.ip();
        if !(ip.is_unspecified() || ip.is_loopback()) {
            return address;
        }
        let named = match &self.settings.endpoint {
            Endpoint::Unix(_) => None,
            Endpoint::Tcp(host) => host.parse::<SocketAddr>().ok().map(|host| host.ip()),
        };
        let here = match ip {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        SocketAddr::new(named.unwrap_or(here), address.port())
    }

    async fn wake(&self) -> Result<Machine, Trouble> {
        let (before, engine) = (self.look().await?, self.engine().await?);
        let name = &self.settings.container;
        let started = match before.state {
            MachineState::Missing => return Err(self.missing()),
            // Start answers 409 here: a paused container is woken by unpausing it.
            MachineState::Suspended => engine.unpause_container(name).await,
            _ => {
                let options = None::<StartContainerOptions>;
                engine.start_container(name, options).await
            }
        };
        started.map_err(|e| self.trouble("starting", Sent::Write, &e))?;
        self.look().await
    }

    async fn put_to_sleep(&self) -> Result<Machine, Trouble> {
        let (before, engine) = (self.look().await?, self.engine().await?);
        let name = &self.settings.container;
        match before.state {
            MachineState::Missing => return Err(self.missing()),
            MachineState::Stopped => return Ok(before),
            // A frozen process hears no signal; Podman refuses to stop it.
            MachineState::Suspended => {
                let woken = engine.unpause_container(name).await;
                woken.map_err(|e| self.trouble("unpausing", Sent::Write, &e))?;
            }
            _ => {}
        }
        let secs = self.settings.stop_timeout.as_millis().div_ceil(1000);
        let secs = i32::try_from(secs).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(secs).build();
        let stopped = engine.stop_container(name, Some(options)).await;
        stopped.map_err(|e| self.trouble("stopping", Sent::Write, &e))?;
        self.look().await
    }

    fn missing(&self) -> Trouble {
        let (container, endpoint) = (&self.settings.container, &self.settings.endpoint);
        let detail = format!("there is no container {container:?} at {endpoint}");
        Trouble::new(ErrorClass::NotFound, detail)
    }
}

impl Provider for Docker {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn call_timeout(&self) -> Duration {
        self.settings.stop_timeout + CALL_MARGIN
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.look()),
            _ => Box::pin(async { Ok(bare(MachineState::Missing)) }),
        }
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.wake()),
            _ => Box::pin(async move { Err(seed_only("docker", instance)) }),
        }
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.put_to_sleep()),
            _ => Box::pin(async move { Err(seed_only("docker", instance)) }),
        }
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(async {
            let what = format!("the container {}", self.settings.container);
            Checkup::of_seed(what, self.look().await, "its disk")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_socket_or_a_host_with_a_port() {
        for (text, same) in [
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
            ("/run/docker.sock", "unix:///run/docker.sock"),
            ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
            ("http://engine:2375/", "tcp://engine:2375"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), same);
        }
        for bad in [
            "",
            "docker.sock",
            "unix://x",
            "tcp://h",
            "https://h:1",
            "ssh://h",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_would_change_the_path_is_refused() {
        let with = |name: &str| {
            Docker::new(Settings {
                container: name.to_owned(),
                endpoint: Endpoint::Unix("/s".to_owned()),
                port: 80,
                address: AddressFrom::Container,
                stop_timeout: Duration::from_secs(10),
            })
        };
        assert!(with("web-1_a.b").is_ok());
        for bad in ["", "a/b", "../x", "a?b", ".a", "/a"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
