//! The real binary where the seed is only a template: a wake makes a clone, a sleep deletes it, and the seed is neither
//! started nor stopped; and the same with Anteroom killed at every named step.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::lifecycle::{client, let_in, press};
use crate::support::anteroom::Anteroom;
use crate::support::machine::APP;
use crate::support::ports::free_ports;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);

/// A service of processes that say [`APP`]; the folder's name tells them from all others of this machine.
fn service(dir: &Path, idle_timeout: &str) -> (String, u16) {
    let site = dir.join("site");
    std::fs::create_dir(&site).expect("the folder is ours");
    std::fs::write(site.join("index.html"), APP).expect("the folder is ours");
    // Its clones take the next ones.
    let port = free_ports(8);
    let service = format!(
        "[service.blog]\nhosts = [\"blog.example.com\"]\nport = {port}\ningress = \"proxy\"\nidle_timeout = \"{idle_timeout}\"\n\
         min_awake = \"0s\"\nstart_timeout = \"20s\"\ndrain_timeout = \"1s\"\nhealth = {{ interval = \"100ms\", timeout = \"1s\" }}\n\
         scale = {{ seed = \"template\", max = 1, creations_per_hour = 100 }}\n\
         provider = {{ kind = \"process\", command = [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"127.0.0.1:{{port}}\", \"-h\", \"{}\"] }}\n",
        site.display(),
    );
    (service, port)
}

/// The ports of the processes that run.
fn running(dir: &Path) -> Vec<u16> {
    let site = dir.join("site").display().to_string();
    let all = std::fs::read_dir("/proc").expect("the system tells its processes");
    let port = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok()?;
        let words: Vec<_> = line.split('\0').collect();
        let ours = words.contains(&"httpd") && words.contains(&site.as_str());
        let at = words
            .iter()
            .find_map(|word| word.strip_prefix("127.0.0.1:"));
        at.filter(|_| ours)?.parse().ok()
    };
    // The program forks for each connection.
    let all: std::collections::BTreeSet<_> = all.filter_map(port).collect();
    all.into_iter().collect()
}

async fn events(anteroom: &Anteroom) -> Vec<String> {
    let ledger = anteroom.admin(Method::GET, "/blog/ledger").await;
    let entries = ledger["entries"].as_array().cloned().unwrap_or_default();
    let told = |entry: &Value| match entry["step"].as_str() {
        Some(step) => format!("clone {step}"),
        None => entry["event"].as_str().unwrap_or("?").to_owned(),
    };
    entries.iter().rev().map(told).collect()
}

#[tokio::test]
async fn a_wake_makes_a_clone_and_a_sleep_deletes_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (service, port) = service(dir.path(), "2s");
    let anteroom = Anteroom::start(dir.path(), &service).await;
    anteroom.phase("blog", "asleep", SOON).await;
    assert!(running(dir.path()).is_empty());
    for _ in 0..2 {
        let client = client();
        assert_eq!(press(&client, &anteroom).await, 202);
        let_in(&client, &anteroom).await;
        let ports = running(dir.path());
        assert_eq!(ports.len(), 1);
        assert_ne!(ports, [port], "the seed's own port");
        let upstreams = &anteroom.view("blog").await["upstreams"];
        assert_eq!(upstreams.as_array().map(Vec::len), Some(1));
        assert!(
            upstreams[0].to_string().contains(&ports[0].to_string()),
            "{upstreams}"
        );
        anteroom.phase("blog", "asleep", SOON).await;
        assert!(running(dir.path()).is_empty());
    }
    // What everybody sees is written down a moment later.
    eventually(SOON, async || {
        events(&anteroom)
            .await
            .last()
            .is_some_and(|it| it == "slept")
    })
    .await;
    let told = events(&anteroom).await;
    let life = [
        "wake_began",
        "clone begun",
        "clone made",
        "clone serving",
        "woken",
        "went_idle",
        "clone leaving",
        "clone removing",
        "clone gone",
        "slept",
    ];
    assert_eq!(told, [life, life].concat());
    let view = anteroom.view("blog").await;
    assert!(
        view["eta"]["median"].as_u64().is_some_and(|ms| ms > 0),
        "{view}"
    );
}

/// Its machine comes up and nothing listens there: the wake fails, and what was made is gone once nobody asks.
#[tokio::test]
async fn a_clone_whose_app_is_silent_fails_the_wake_and_is_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (service, _) = service(dir.path(), "2s");
    let silent = service
        .replace("health = { ", "health = { path = \"/none\", ")
        .replace("start_timeout = \"20s\"", "start_timeout = \"2s\"");
    let anteroom = Anteroom::start(dir.path(), &silent).await;
    anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(press(&client(), &anteroom).await, 202);
    anteroom.phase("blog", "failed", SOON).await;
    let view = anteroom.view("blog").await;
    assert_eq!(view["failure"]["failure"], "app_silent", "{view}");
    anteroom.phase("blog", "asleep", 3 * SOON).await;
    assert_eq!(running(dir.path()), [0; 0]);
}

const WAKING_STEPS: [&str; 7] = [
    "waking",
    "making a clone",
    "the clone is made",
    "the machine is starting",
    "the machine is up",
    "the clone serves",
    "ready in",
];
const STOPPING_STEPS: [&str; 7] = [
    "idle for",
    "visitors reach the room",
    "stopping the machine",
    "the clone is out of service",
    "removing the clone",
    "the clone is gone",
    "asleep, after",
];

#[tokio::test]
async fn killed_at_any_step_of_making_the_clone_it_ends_awake_with_one() {
    for step in WAKING_STEPS {
        let dir = tempfile::tempdir().expect("a folder");
        let (service, _) = service(dir.path(), "3s");
        let mut anteroom = Anteroom::start(dir.path(), &service).await;
        anteroom.phase("blog", "asleep", SOON).await;
        let client = client();
        let mark = anteroom.mark();
        press(&client, &anteroom).await;
        anteroom.log_after(mark, step, SOON).await;
        anteroom.kill().await;
        let anteroom = anteroom.again().await;
        let_in(&client, &anteroom).await;
        assert_eq!(running(dir.path()).len(), 1, "killed at {step:?}");
        anteroom.phase("blog", "asleep", SOON).await;
        assert_eq!(running(dir.path()), [0; 0], "killed at {step:?}");
    }
}

#[tokio::test]
async fn killed_at_any_step_of_deleting_the_clone_it_ends_asleep_without_one() {
    for step in STOPPING_STEPS {
        let dir = tempfile::tempdir().expect("a folder");
        let (service, _) = service(dir.path(), "2s");
        let mut anteroom = Anteroom::start(dir.path(), &service).await;
        anteroom.phase("blog", "asleep", SOON).await;
        let client = client();
        press(&client, &anteroom).await;
        let mark = anteroom.mark();
        anteroom.log_after(mark, step, SOON).await;
        anteroom.kill().await;
        let anteroom = anteroom.again().await;
        anteroom.phase("blog", "asleep", SOON).await;
        assert_eq!(running(dir.path()), [0; 0], "killed at {step:?}");
        // And it wakes again as if nothing had been.
        press(&client, &anteroom).await;
        let_in(&client, &anteroom).await;
        anteroom.phase("blog", "asleep", SOON).await;
        assert_eq!(running(dir.path()), [0; 0], "killed at {step:?}");
    }
}
