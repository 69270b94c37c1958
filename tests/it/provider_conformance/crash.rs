//! A process that is killed at every call of the making and the deleting of a clone leaves nothing behind. Each kind with
//! clones has its line here.

use std::net::SocketAddr;
use std::sync::Arc;

use anteroom::provider::Provider;

use super::{docker, ec2_clones, gce, idcloudhost, process, proxmox_clones};
use crate::support::crash::{Life, live, survives, survives_its_system_calls};
use crate::support::docker::{Engine, docker as docker_engine, podman as podman_engine};

/// Not a test by itself: the process that the others kill. Without its parent's word it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lives() {
    live(provider).await;
}

/// The provider of this kind, behind the gate.
fn provider(kind: &str, settings: &str, gate: SocketAddr) -> Arc<dyn Provider> {
    match kind {
        "ec2" => ec2_clones::behind(gate),
        "proxmox" => proxmox_clones::behind(gate),
        "gce" => gce::clones::behind(gate),
        "idcloudhost" => idcloudhost::behind(gate, settings),
        "docker" => docker::behind(gate, settings),
        "process" => process::again(settings),
        other => panic!("no kind {other:?} is killed"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idcloudhost() {
    let life = Life {
        kind: "idcloudhost",
        settings: String::new(),
    };
    survives(life, idcloudhost::fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gce() {
    let life = Life {
        kind: "gce",
        settings: String::new(),
    };
    survives(life, gce::clones::fresh).await;
}

async fn container(engine: &'static Engine) {
    let life = Life {
        kind: "docker",
        settings: docker::to_die(engine.kind).to_owned(),
    };
    survives(life, || docker::fresh(engine)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs docker.io: run tests/run"]
async fn docker() {
    container(docker_engine()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs podman: run tests/run"]
async fn podman() {
    container(podman_engine()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ec2() {
    let life = Life {
        kind: "ec2",
        settings: String::new(),
    };
    survives(life, ec2_clones::fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxmox() {
    let life = Life {
        kind: "proxmox",
        settings: String::new(),
    };
    survives(life, proxmox_clones::fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs strace: run tests/run"]
async fn process() {
    survives_its_system_calls(process::life, process::fresh).await;
}
