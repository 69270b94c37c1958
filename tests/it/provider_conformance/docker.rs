//! Containers, at real engines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::Provider;
use anteroom::provider::docker::{AddressFrom, Docker, Endpoint, Settings};

use super::{Platform, SEED, SOON, TOKEN, becomes, conforms, is_down, is_up, state};
use crate::support::docker::{Engine, docker, podman};
use crate::support::wait::{eventually, free_port};

/// One container at one engine.
struct Container {
    engine: &'static Engine,
    name: String,
    port: u16,
    address: AddressFrom,
}

impl Container {
    fn app(engine: &'static Engine, options: &[&str]) -> Container {
        let port = free_port();
        Container {
            engine,
            name: engine.create_app(port, options),
            port,
            address: AddressFrom::Container,
        }
    }

    fn docker(&self, name: &str) -> Docker {
        Docker::new(Settings {
            container: name.to_owned(),
            endpoint: Endpoint::Unix(self.engine.socket.to_string_lossy().into_owned()),
            port: self.port,
            address: self.address,
            stop_timeout: Duration::from_secs(5),
        })
        .expect("good settings")
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

impl Drop for Container {
    fn drop(&mut self) {
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
    let mut app = Container {
        engine,
        name: engine.create_app(80, &["-p", &publish]),
        port: 80,
        address: AddressFrom::Container,
    };
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
    let app = Container {
        engine,
        name: engine.create(&options, &["/bin/busybox", "httpd", "-f", "-p", "80"]),
        port: 80,
        address: AddressFrom::Container,
    };
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
    let provider = Docker::new(Settings {
        container: app.name.clone(),
        endpoint: Endpoint::Unix(socket.to_string_lossy().into_owned()),
        port: app.port,
        address: AddressFrom::Container,
        stop_timeout: Duration::from_secs(5),
    })
    .expect("good settings");
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
    let provider = Docker::new(Settings {
        container: "web".to_owned(),
        endpoint: Endpoint::Tcp(format!("127.0.0.1:{}", free_port())),
        port: 80,
        address: AddressFrom::Container,
        stop_timeout: Duration::from_secs(5),
    })
    .expect("good settings");
    for answer in [
        provider.start(SEED, TOKEN).await,
        provider.stop(SEED, TOKEN).await,
    ] {
        assert_eq!(answer.map_err(|t| t.class), Err(ErrorClass::Transient));
    }
}
