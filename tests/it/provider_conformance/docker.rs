//! Containers, at real engines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::id::InstanceId;
use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::Provider;
use anteroom::provider::docker::{AddressFrom, CloneFrom, Docker, Endpoint, Settings};

use serde_json::Value;

use super::beside::{Shared, lives_beside};
use super::clones::{clones_conform, id};
use super::{Platform, SEED, SOON, TOKEN, becomes, conforms, is_down, is_up, state};
use crate::support::crash::{self, Left};
use crate::support::docker::{Engine, Kind, docker, podman};
use crate::support::ports::free_port;
use crate::support::wait::eventually;

/// One container at one engine.
pub(super) struct Container {
    engine: &'static Engine,
    name: String,
    port: u16,
    address: AddressFrom,
    clone_from: CloneFrom,
    /// What it was first.
    id: String,
}

impl Container {
    fn app(engine: &'static Engine, options: &[&str]) -> Container {
        let port = free_port();
        let name = engine.create_app(port, options);
        Container::that_is(engine, name, port, AddressFrom::Container)
    }

    /// One that was made already; it serves nothing.
    pub(super) fn of_name(engine: &'static Engine, name: String) -> Container {
        Container::that_is(engine, name, 80, AddressFrom::Container)
    }

    fn that_is(
        engine: &'static Engine,
        name: String,
        port: u16,
        address: AddressFrom,
    ) -> Container {
        Container {
            engine,
            id: engine.cli(&["inspect", "--format", "{{.Id}}", &name]),
            name,
            port,
            address,
            clone_from: CloneFrom::Image,
        }
    }

    /// One with networks of which clones take part: Podman's by a program of the user's, so that the host's firewall
    /// stays as it is.
    fn to_clone(engine: &'static Engine) -> Container {
        let port = free_port();
        let (name, address) = match engine.kind {
            Kind::Docker => (engine.create_app(port, &[]), AddressFrom::Container),
            Kind::Podman => {
                let publish = format!("127.0.0.1::{port}");
                let options = ["--network=slirp4netns", "-p", &publish];
                (engine.create_app(port, &options), AddressFrom::Published)
            }
        };
        Container::that_is(engine, name, port, address)
    }

    fn docker(&self, name: &str) -> Docker {
        self.of(&format!("s-{}", self.name), name)
    }

    fn of(&self, service: &str, name: &str) -> Docker {
        let socket = self.engine.socket.to_string_lossy().into_owned();
        let mut settings = settings(service, name, Endpoint::Unix(socket), self.port);
        (settings.address, settings.clone_from) = (self.address, self.clone_from);
        Docker::new(settings).expect("good settings")
    }
}

fn settings(service: &str, container: &str, endpoint: Endpoint, port: u16) -> Settings {
    Settings {
        service: service.parse().expect("a name"),
        container: container.to_owned(),
        endpoint,
        port,
        address: AddressFrom::Container,
        clone_from: CloneFrom::Image,
        stop_timeout: Duration::from_secs(5),
    }
}

/// A container whose clones are made by a process that dies; its name is that of the engine.
pub(super) async fn fresh(engine: &'static Engine) -> (Container, crash::Platform) {
    let options = ["--name", to_die(engine.kind), "--network=none"];
    let name = engine.create(&options, &["/bin/busybox", "true"]);
    let container = Container::that_is(engine, name, 80, AddressFrom::Container);
    (container, crash::Platform::Unix(engine.socket.clone()))
}

/// The provider of that container.
pub(super) fn behind(gate: SocketAddr, container: &str) -> Arc<dyn Provider> {
    let endpoint = Endpoint::Tcp(gate.to_string());
    let settings = settings(&format!("s-{container}"), container, endpoint, 80);
    Arc::new(Docker::new(settings).expect("good settings"))
}

pub(super) fn to_die(kind: Kind) -> &'static str {
    match kind {
        Kind::Docker => "docker-dies",
        Kind::Podman => "podman-dies",
    }
}

impl Platform for Container {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.docker(&self.name))
    }

    fn running(&self) -> usize {
        let filter = format!("name=^/?{}$", self.name);
        let ids = self.engine.cli(&["ps", "-q", "--filter", &filter]);
        ids.lines().count()
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(self.docker("nobody")))
    }
}

impl Left for Container {
    fn clones(&self) -> Vec<String> {
        let filter = format!("name=^/?ar-s-{}-", self.name);
        let names = ["ps", "-a", "--format={{.Names}}", "--filter", &filter];
        self.engine.cli(&names).lines().map(str::to_owned).collect()
    }

    /// Those of its network are private.
    fn addresses(&self) -> usize {
        0
    }

    fn seed_is_untouched(&self) -> bool {
        let made = ["inspect", "--format", "{{.Id}}", &self.name];
        self.id == self.engine.cli(&made)
    }
}

impl Shared for Container {
    fn other(&self) -> Arc<dyn Provider> {
        Arc::new(self.of("other", &self.name))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for clone in self.clones() {
            self.engine.remove(&clone);
        }
        self.engine.remove(&self.name);
    }
}

async fn answers(address: SocketAddr) {
    let connects = || async { tokio::net::TcpStream::connect(address).await.is_ok() };
    eventually(SOON, connects).await;
}

mod docker_conforms {
    use super::{Container, conforms};
    conforms!(Container::app(crate::support::docker::docker(), &[]), #[ignore = "needs docker.io: run tests/run"]);
}

mod podman_conforms {
    use super::{Container, conforms};
    conforms!(Container::app(crate::support::docker::podman(), &[]), #[ignore = "needs podman: run tests/run"]);
}

mod docker_clones {
    use super::{Container, clones_conform, lives_beside};
    clones_conform!(
        Container::to_clone(crate::support::docker::docker()),
        ignore = "needs docker.io: run tests/run"
    );
    lives_beside!(Container::to_clone(crate::support::docker::docker()), #[ignore = "needs docker.io: run tests/run"]);
}

mod podman_clones {
    use super::{Container, clones_conform, lives_beside};
    clones_conform!(
        Container::to_clone(crate::support::docker::podman()),
        ignore = "needs podman: run tests/run"
    );
    lives_beside!(Container::to_clone(crate::support::docker::podman()), #[ignore = "needs podman: run tests/run"]);
}

async fn a_paused_container_is_woken_and_stopped(engine: &'static Engine) {
    let app = Container::app(engine, &[]);
    let provider = app.provider();
    provider.start(SEED, TOKEN).await.expect("it starts");
    is_up(&app, &*provider).await;
    for wake in [true, false] {
        engine.cli(&["pause", &app.name]);
        assert_eq!(state(&*provider).await, MachineState::Suspended);
        match wake {
            true => {
                provider.start(SEED, TOKEN).await.expect("it is unpaused");
                answers(is_up(&app, &*provider).await.address.expect("an address")).await;
            }
            false => {
                provider.stop(SEED, TOKEN).await.expect("it stops");
                is_down(&app, &*provider).await;
            }
        }
    }
}

async fn a_bad_entrypoint_is_a_bad_request(engine: &'static Engine) {
    let mut app = Container::app(engine, &[]);
    engine.remove(&app.name);
    app.name = engine.create(&[], &["/bin/nothing"]);
    let provider = app.provider();
    let trouble = provider
        .start(SEED, TOKEN)
        .await
        .expect_err("no such program");
    assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
    assert_eq!(state(&*provider).await, MachineState::Stopped);
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn docker_wakes_and_stops_a_paused_container() {
    a_paused_container_is_woken_and_stopped(docker()).await;
}

#[tokio::test]
#[ignore = "needs podman: run tests/run"]
async fn podman_wakes_and_stops_a_paused_container() {
    a_paused_container_is_woken_and_stopped(podman()).await;
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn docker_refuses_a_bad_entrypoint() {
    a_bad_entrypoint_is_a_bad_request(docker()).await;
}

#[tokio::test]
#[ignore = "needs podman: run tests/run"]
async fn podman_refuses_a_bad_entrypoint() {
    a_bad_entrypoint_is_a_bad_request(podman()).await;
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn an_app_is_reached_at_its_own_and_at_its_published_address() {
    let port = free_port();
    let publish = format!("127.0.0.1:{port}:80");
    let engine = docker();
    let name = engine.create_app(80, &["-p", &publish]);
    let mut app = Container::that_is(engine, name, 80, AddressFrom::Container);
    app.provider().start(SEED, TOKEN).await.expect("it starts");
    let own = is_up(&app, &*app.provider())
        .await
        .address
        .expect("an address");
    assert_eq!(own.port(), 80);
    answers(own).await;
    app.address = AddressFrom::Published;
    let published = is_up(&app, &*app.provider()).await.address;
    assert_eq!(published, Some(SocketAddr::from(([127, 0, 0, 1], port))));
    answers(published.expect("an address")).await;
    app.provider().stop(SEED, TOKEN).await.expect("it stops");
    let off = app.provider().inspect(SEED).await.expect("it can be read");
    assert_eq!((off.state, off.address), (MachineState::Stopped, None));
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn a_container_is_starting_until_its_healthcheck_passes() {
    let health = [
        "--health-cmd",
        "/bin/busybox test -e /ok",
        "--health-interval=1s",
    ];
    let options = [
        &health[..],
        &["--health-start-period=60s", "--health-retries=1"],
    ]
    .concat();
    let engine = docker();
    let name = engine.create(&options, &["/bin/busybox", "httpd", "-f", "-p", "80"]);
    let app = Container::that_is(engine, name, 80, AddressFrom::Container);
    // The check runs by a shell, which the image needs a name for.
    let provider = app.provider();
    provider.start(SEED, TOKEN).await.expect("it starts");
    assert_eq!(state(&*provider).await, MachineState::Starting);
    engine.cli(&[
        "exec",
        &app.name,
        "/bin/busybox",
        "ln",
        "-s",
        "busybox",
        "/bin/sh",
    ]);
    engine.cli(&["exec", &app.name, "/bin/busybox", "touch", "/ok"]);
    becomes(&*provider, MachineState::Running).await;
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn an_engine_that_comes_later_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("engine.sock");
    let app = Container::app(docker(), &[]);
    let endpoint = Endpoint::Unix(socket.to_string_lossy().into_owned());
    let provider = Docker::new(settings("blog", &app.name, endpoint, app.port));
    let provider = provider.expect("good settings");
    let trouble = provider.inspect(SEED).await.expect_err("nobody there");
    assert_eq!(trouble.class, ErrorClass::Transient, "{trouble}");
    std::os::unix::fs::symlink(&app.engine.socket, &socket).expect("a link");
    assert_eq!(state(&provider).await, MachineState::Stopped);
    std::fs::remove_file(&socket).expect("there");
    let trouble = provider.stop(SEED, TOKEN).await.expect_err("gone again");
    assert_eq!(trouble.class, ErrorClass::Transient, "{trouble}");
}

#[tokio::test]
async fn an_engine_that_refuses_is_a_passing_trouble() {
    let endpoint = Endpoint::Tcp(format!("127.0.0.1:{}", free_port()));
    let provider = Docker::new(settings("blog", "web", endpoint, 80)).expect("good settings");
    for answer in [
        provider.start(SEED, TOKEN).await,
        provider.stop(SEED, TOKEN).await,
    ] {
        assert_eq!(answer.map_err(|t| t.class), Err(ErrorClass::Transient));
    }
}

/// What is under this name at the engine, as JSON.
fn inspected(engine: &Engine, name: &str) -> Value {
    let all = engine.cli(&["inspect", name]);
    let mut all: Vec<Value> = serde_json::from_str(&all).expect("JSON");
    all.remove(0)
}

async fn a_clone_begins_with_the_disk_of_the_seed(engine: &'static Engine) {
    let mut app = Container::to_clone(engine);
    app.provider().start(SEED, TOKEN).await.expect("it starts");
    let busybox = "/bin/busybox";
    engine.cli(&["exec", &app.name, busybox, "touch", "/written"]);
    for (from, wanted) in [(CloneFrom::Image, false), (CloneFrom::Disk, true)] {
        app.clone_from = from;
        let provider = app.provider();
        let clone = id(1);
        for _ in 0..2 {
            provider.make_clone(clone).await.expect("it is made");
        }
        let started = provider.start(InstanceId::Clone(clone), TOKEN).await;
        started.expect("it starts");
        let name = app.clones().remove(0);
        let listed = engine.cli(&["exec", &name, busybox, "ls", "/"]);
        assert_eq!(listed.contains("written"), wanted, "{from:?}: {listed}");
        let images = || {
            let label = format!("label=anteroom.clone={name}");
            let images = engine.cli(&["images", "-a", "-q", "--filter", &label]);
            images.lines().count()
        };
        assert_eq!(images(), usize::from(wanted));
        let deleted = provider.delete(clone).await.expect("it is deleted");
        assert_eq!(deleted.state, MachineState::Missing);
        assert_eq!(images(), 0, "its image goes with it");
    }
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn docker_clones_the_disk_of_the_seed() {
    a_clone_begins_with_the_disk_of_the_seed(docker()).await;
}

#[tokio::test]
#[ignore = "needs podman: run tests/run"]
async fn podman_clones_the_disk_of_the_seed() {
    a_clone_begins_with_the_disk_of_the_seed(podman()).await;
}

/// What is told of the seed is what its clones are made with, at both engines.
async fn a_clone_is_made_as_the_seed_was(engine: &'static Engine) {
    let mut app = Container::to_clone(engine);
    engine.remove(&app.name);
    let port = app.port.to_string();
    let publish = format!("127.0.0.1:{}:{port}", free_port());
    let mut options = vec!["-e", "MODE=production", "--memory=64m", "-v", "/cache"];
    options.extend(["--label", "team=blue", "--label", "traefik.enable=true"]);
    options.extend(["-p", &publish]);
    if engine.kind == Kind::Podman {
        options.push("--network=slirp4netns");
    }
    app.name = engine.create_app(app.port, &options);
    let (provider, clone) = (app.provider(), id(7));
    provider.start(SEED, TOKEN).await.expect("it starts");
    provider.make_clone(clone).await.expect("it is made");
    let started = provider.start(InstanceId::Clone(clone), TOKEN).await;
    answers(started.expect("it starts").address.expect("an address")).await;
    let name = app.clones().remove(0);
    let (seed, made) = (inspected(engine, &app.name), inspected(engine, &name));
    for same in ["/Config/Cmd", "/HostConfig/Memory", "/HostConfig/Ulimits"] {
        assert_eq!(made.pointer(same), seed.pointer(same), "{same}");
    }
    let env = made["Config"]["Env"].to_string();
    assert!(env.contains("MODE=production"), "{env}");
    assert_ne!(made["Config"]["Hostname"], seed["Config"]["Hostname"]);
    let labels = &made["Config"]["Labels"];
    assert_eq!(labels["team"], "blue");
    assert_eq!(labels["anteroom.clone"], name.as_str());
    assert_eq!(
        labels["traefik.enable"],
        Value::Null,
        "it is published by us"
    );
    let volume = |of: &Value| of["Mounts"][0]["Name"].as_str().map(str::to_owned);
    assert_ne!(
        volume(&made).expect("a volume"),
        volume(&seed).expect("a volume")
    );
    let ports = |of: &Value| of["NetworkSettings"]["Ports"].to_string();
    assert_ne!(ports(&made), ports(&seed), "each has its own");
    provider.delete(clone).await.expect("it is deleted");
    let left = engine.cli(&["volume", "ls", "-q"]);
    assert!(!left.contains(&volume(&made).expect("a volume")));
    assert!(left.contains(&volume(&seed).expect("a volume")));
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn docker_makes_a_clone_as_the_seed_was_made() {
    a_clone_is_made_as_the_seed_was(docker()).await;
}

#[tokio::test]
#[ignore = "needs podman: run tests/run"]
async fn podman_makes_a_clone_as_the_seed_was_made() {
    a_clone_is_made_as_the_seed_was(podman()).await;
}

async fn what_cannot_be_cloned_is_said(engine: &'static Engine) {
    let mut app = Container::to_clone(engine);
    let (provider, clone) = (app.provider(), id(1));
    provider.make_clone(clone).await.expect("it is made");
    let name = app.clones().remove(0);
    engine.remove(&name);
    // A stranger has the name of the clone.
    engine.create(&["--name", &name], &["/bin/busybox", "true"]);
    let trouble = provider.make_clone(clone).await.expect_err("a stranger");
    assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
    let deleted = provider.delete(clone).await.expect("ours is gone");
    assert_eq!(deleted.state, MachineState::Missing);
    assert_eq!(app.clones(), [name], "the stranger is not touched");

    engine.remove(&app.name);
    let options = ["--network=host", "--restart=always"];
    app.name = engine.create_app(app.port, &options);
    let provider = app.provider();
    let trouble = provider.make_clone(clone).await.expect_err("one port");
    assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
    assert_eq!(
        provider.checkup().await.warnings.len(),
        2,
        "this, and `always`"
    );
    engine.remove(&app.name);
    let trouble = provider.make_clone(clone).await.expect_err("no seed");
    assert_eq!(trouble.class, ErrorClass::NotFound, "{trouble}");
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn docker_says_what_cannot_be_cloned() {
    what_cannot_be_cloned_is_said(docker()).await;
}

#[tokio::test]
#[ignore = "needs podman: run tests/run"]
async fn podman_says_what_cannot_be_cloned() {
    what_cannot_be_cloned_is_said(podman()).await;
}

/// Networks beside the first are joined after a clone was made, and before it starts when that was interrupted.
#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn a_clone_is_in_all_networks_of_the_seed() {
    let engine = docker();
    let mut app = Container::to_clone(engine);
    engine.remove(&app.name);
    let network = engine.second_network();
    app.name = engine.create_app(app.port, &[]);
    engine.cli(&["network", "connect", &network, &app.name]);
    let (provider, clone) = (app.provider(), id(1));
    provider.make_clone(clone).await.expect("it is made");
    let name = app.clones().remove(0);
    let networks = || inspected(engine, &name)["NetworkSettings"]["Networks"].clone();
    assert!(networks().get(&network).is_some(), "{}", networks());
    engine.cli(&["network", "disconnect", &network, &name]);
    let started = provider.start(InstanceId::Clone(clone), TOKEN).await;
    started.expect("it starts");
    assert!(networks().get(&network).is_some(), "{}", networks());
    provider.delete(clone).await.expect("it is deleted");
    engine.remove(&app.name);
    engine.cli(&["network", "rm", &network]);
}
