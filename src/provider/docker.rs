//! A service that is a container of Docker or Podman, made by the operator; Anteroom starts and stops it, and makes
//! and removes clones of it.
//!
//! The container's own restart policy should be `no` or `unless-stopped`: with `always` the engine wakes it
//! behind our back when it restarts itself. How answers become states and troubles is in [`answer`], what a clone is
//! made of in [`copy`], and what is done with clones in [`clones`].

mod answer;
mod clones;
mod copy;
mod engine;
mod list;
mod usage;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    InspectContainerOptions, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::future::BoxFuture;

use super::mark::Mark;
use super::{Answer, BadSettings, Checkup, Provider, Said, bare};
use crate::engine::id::{CloneId, InstanceId, ServiceName, Token};
use crate::engine::load::Usage;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, Trouble};
use answer::Sent;
pub use engine::Endpoint;
use engine::{Call, Engine};

/// The word in the configuration.
const KIND: &str = "docker";
/// What is paid while the machine sleeps.
const ASLEEP: &str = "its disk, on the engine's host";
/// What the engine may take on top of `stop_timeout`: the kill, and removing the network.
const ENGINE_MARGIN: Duration = Duration::from_secs(10);
/// What a whole call may take on top of `stop_timeout`: a little more, so that our own deadline comes first.
const CALL_MARGIN: Duration = Duration::from_secs(15);
/// What copying the seed's disk may take.
const COPY_TIMEOUT: Duration = Duration::from_secs(600);

/// Which container, at which engine, and how its app is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service; with the container it marks the clones.
    pub service: ServiceName,
    /// Name or id.
    pub container: String,
    /// Where the engine's API is.
    pub endpoint: Endpoint,
    /// The port the app listens on inside the container.
    pub port: u16,
    /// Under which address it is reached from here.
    pub address: AddressFrom,
    /// What clones begin with.
    pub clone_from: CloneFrom,
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

/// What a clone begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneFrom {
    /// The image of the seed, as it was before the seed first ran.
    Image,
    /// The seed's disk as it is. The seed stands still while it is copied.
    Disk,
}

/// What is there under a name.
enum Seen {
    /// Nothing.
    Nothing,
    /// A container.
    Container(Box<ContainerInspectResponse>),
    /// One that Podman tells no more of than that it is about to be in this state.
    Passing(MachineState),
}

/// The provider of `kind = "docker"`.
pub struct Docker {
    settings: Settings,
    mark: Mark,
    engine: Engine,
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
        let copying = match settings.clone_from {
            CloneFrom::Image => Duration::ZERO,
            CloneFrom::Disk => COPY_TIMEOUT,
        };
        let within = settings.stop_timeout.max(copying) + ENGINE_MARGIN;
        Ok(Docker {
            mark: Mark::new(&settings.service, KIND, &settings.container),
            engine: Engine::new(settings.endpoint.clone(), within),
            settings,
        })
    }

    fn name(&self, instance: InstanceId) -> String {
        match instance {
            InstanceId::Seed => self.settings.container.clone(),
            InstanceId::Clone(clone) => self.mark.name(clone),
        }
    }

    async fn see(&self, name: &str) -> Result<Seen, Trouble> {
        let call = Call {
            name: "inspect",
            on: name,
            sent: Sent::Read,
        };
        let asked = self.engine.ask(call, |engine| async move {
            let options = None::<InspectContainerOptions>;
            engine.inspect_container(name, options).await
        });
        let error = match asked.await? {
            Ok(found) => return Ok(Seen::Container(Box::new(found))),
            Err(error) => error,
        };
        if let Some(state) = answer::podman_state(&error) {
            return Ok(Seen::Passing(state));
        }
        match self.engine.trouble(call, &error) {
            trouble if trouble.class == ErrorClass::NotFound => Ok(Seen::Nothing),
            trouble => Err(trouble),
        }
    }

    async fn look(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let name = self.name(instance);
        let ours = |found: &ContainerInspectResponse| {
            instance == InstanceId::SEED || clones::is_of(found, &name)
        };
        Ok(match self.see(&name).await? {
            Seen::Container(found) if ours(&found) => self.machine(&found),
            Seen::Container(_) | Seen::Nothing => bare(MachineState::Missing),
            Seen::Passing(state) => bare(state),
        })
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

    async fn wake(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let before = self.look(instance).await?;
        let name = self.name(instance);
        let call = |name: &'static str, on| Call {
            name,
            on,
            sent: Sent::Write,
        };
        match before.state {
            MachineState::Missing => return Err(self.missing(instance)),
            // Start answers 409 here: a paused container is woken by unpausing it.
            MachineState::Suspended => {
                let name = name.as_str();
                let woken = self
                    .engine
                    .call(call("unpause", name), |engine| async move {
                        engine.unpause_container(name).await
                    });
                woken.await?;
            }
            _ => {
                if before.state == MachineState::Stopped && instance != InstanceId::SEED {
                    self.join_networks(&name).await?;
                }
                let name = name.as_str();
                let started = self.engine.call(call("start", name), |engine| async move {
                    let options = None::<StartContainerOptions>;
                    engine.start_container(name, options).await
                });
                started.await?;
            }
        }
        self.look(instance).await
    }

    async fn put_to_sleep(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let before = self.look(instance).await?;
        let name = self.name(instance);
        let name = name.as_str();
        let call = |what: &'static str| Call {
            name: what,
            on: name,
            sent: Sent::Write,
        };
        match before.state {
            MachineState::Missing => return Err(self.missing(instance)),
            MachineState::Stopped => return Ok(before),
            // A frozen process hears no signal; Podman refuses to stop it.
            MachineState::Suspended => {
                let woken = self.engine.call(call("unpause"), |engine| async move {
                    engine.unpause_container(name).await
                });
                woken.await?;
            }
            _ => {}
        }
        let secs = self.settings.stop_timeout.as_millis().div_ceil(1000);
        let secs = i32::try_from(secs).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(secs).build();
        let stopped = self.engine.call(call("stop"), |engine| async move {
            engine.stop_container(name, Some(options)).await
        });
        stopped.await?;
        self.look(instance).await
    }

    fn missing(&self, instance: InstanceId) -> Trouble {
        let (name, endpoint) = (self.name(instance), &self.settings.endpoint);
        let detail = format!("there is no container {name:?} at {endpoint}");
        Trouble::new(ErrorClass::NotFound, detail)
    }
}

impl Provider for Docker {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn call_timeout(&self) -> Duration {
        let copying = match self.settings.clone_from {
            CloneFrom::Image => Duration::ZERO,
            CloneFrom::Disk => COPY_TIMEOUT,
        };
        self.settings.stop_timeout.max(copying) + CALL_MARGIN
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        Box::pin(self.look(instance))
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(self.wake(instance))
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(self.put_to_sleep(instance))
    }

    fn can_clone(&self) -> bool {
        true
    }

    fn find(&self) -> Said<'_, Vec<Owned>> {
        Box::pin(self.find_clones())
    }

    fn make_clone(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.make(clone))
    }

    /// Names are unique at an engine.
    fn make_clone_repeats(&self) -> bool {
        true
    }

    fn delete(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.remove(clone))
    }

    fn usage(&self, instance: InstanceId) -> Said<'_, Usage> {
        Box::pin(self.used(instance))
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(async {
            let (container, endpoint) = (&self.settings.container, &self.settings.endpoint);
            let seed = self.look(InstanceId::SEED).await;
            let what = format!("container {container:?} at {endpoint}");
            let mut checkup = Checkup::of_seed(what, seed, ASLEEP);
            checkup.credential = match &checkup.seed {
                Ok(_) => Ok(format!("{endpoint} answers")),
                Err(trouble) => Err(trouble.clone()),
            };
            checkup.marked = self.marked().await;
            if let Ok(found) = self.seed().await {
                checkup.warnings.extend(copy::warnings(&found));
            }
            checkup
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_change_the_path_is_refused() {
        let with = |name: &str| {
            Docker::new(Settings {
                service: "web".parse().unwrap(),
                container: name.to_owned(),
                endpoint: Endpoint::Unix("/s".to_owned()),
                port: 80,
                address: AddressFrom::Container,
                clone_from: CloneFrom::Image,
                stop_timeout: Duration::from_secs(10),
            })
        };
        assert!(with("web-1_a.b").is_ok());
        for bad in ["", "a/b", "../x", "a?b", ".a", "/a"] {
            assert!(with(bad).is_err(), "{bad}");
        }
    }
}
