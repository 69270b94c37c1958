//! One alert that goes on takes a service to the right size and no further, whatever is sent beside it: the real binary, with
//! processes as seed and clones.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lifecycle::client;
use crate::support::anteroom::{Anteroom, binary};
use crate::support::load;
use crate::support::ports::free_ports;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(40);

struct Scaled {
    anteroom: Anteroom,
    http: reqwest::Client,
    began: String,
    _dir: tempfile::TempDir,
}

impl Scaled {
    /// `more`: keys of its scaling.
    async fn start(more: &str) -> Scaled {
        let dir = tempfile::tempdir().expect("a folder");
        // Its clones take the next ones.
        let (app, binary) = (free_ports(8), binary());
        let service = format!(
            r#"[service.blog]
hosts = ["blog.example.com"]
port = {app}
ingress = "proxy"
idle_timeout = "1h"
health = {{ interval = "100ms", timeout = "1s" }}
drain_timeout = "5s"
scale = {{ max = 3, cooldown = "1s",{more} signal = {{ kind = "webhook" }} }}
provider = {{ kind = "process", command = ["{binary}", "demo-app", "--port", "{{port}}", "--start-up-ms", "50"] }}
"#
        );
        let anteroom = Anteroom::start(dir.path(), &service).await;
        anteroom.command("blog", "wake").await;
        anteroom.phase("blog", "awake", SOON).await;
        let began = jiff::Timestamp::now().to_string();
        Scaled {
            anteroom,
            http: client(),
            began,
            _dir: dir,
        }
    }

    async fn send(&self, way: &str, status: &str, fingerprint: &str) -> Value {
        let alert = json!({ "alerts": [{
            "status": status, "labels": { "service": "blog" }, "startsAt": self.began, "fingerprint": fingerprint,
        }] });
        let url = format!("http://{}/v1/scale-{way}", self.anteroom.admin);
        let answer = self
            .http
            .post(url)
            .json(&alert)
            .send()
            .await
            .expect("it answers");
        answer.json().await.expect("JSON")
    }

    async fn instances(&self) -> BTreeSet<String> {
        let view = self.anteroom.view("blog").await;
        let upstreams = view["upstreams"].as_array().cloned().unwrap_or_default();
        upstreams
            .iter()
            .map(|it| it["instance"].to_string())
            .collect()
    }

    async fn becomes(&self, count: usize) {
        eventually(SOON, async || {
            let now = self.instances().await.len();
            assert!(now <= 3, "{now} instances");
            now == count
        })
        .await;
    }
}

#[tokio::test]
async fn one_alert_that_goes_on_reaches_the_right_size_and_a_thousand_replays_change_nothing() {
    let scaled = Scaled::start("").await;
    assert_eq!(scaled.instances().await.len(), 1);
    let room = scaled.anteroom.room;
    let load = load::start(room, "blog.example.com", 50, SOON * 3, "The app is awake");
    let told = scaled.send("up", "firing", "busy").await;
    assert_eq!(told["services"]["blog"]["firing"], 1, "{told}");
    scaled.becomes(3).await;
    let full = scaled.instances().await;
    for _ in 0..1_000 {
        let told = scaled.send("up", "firing", "busy").await;
        assert_eq!(told["services"]["blog"]["repeated"], 1, "{told}");
    }
    assert_eq!(scaled.instances().await, full);
    // Fewer, one by one, when it has ended and another says so.
    scaled.send("up", "resolved", "busy").await;
    scaled.send("down", "firing", "quiet").await;
    scaled.becomes(2).await;
    scaled.becomes(1).await;
    scaled.send("down", "resolved", "quiet").await;
    assert!(
        scaled.instances().await.contains("\"seed\""),
        "the seed stays"
    );
    // They came and went under visitors, and nobody noticed.
    let tally = load.stop().await;
    assert!(tally["200 app"] > 100, "{tally:?}");
    assert_eq!(tally.len(), 1, "{tally:?}");
    scaled.anteroom.command("blog", "sleep").await;
    scaled.anteroom.phase("blog", "asleep", SOON).await;
}

#[tokio::test]
async fn what_keeps_clones_back_is_told_at_once_and_until_when() {
    let scaled = Scaled::start(" creations_per_hour = 1,").await;
    scaled.send("up", "firing", "busy").await;
    scaled.becomes(2).await;
    // Nothing else happens, so nothing else is written.
    eventually(SOON, async || {
        let ledger = scaled
            .anteroom
            .admin(reqwest::Method::GET, "/blog/ledger")
            .await;
        let entries = ledger["entries"].as_array().cloned().unwrap_or_default();
        let told = |it: &Value| {
            it["event"] == "scale_hindered"
                && it["why"]
                    .to_string()
                    .contains("(creations_per_hour), the next at")
        };
        entries.iter().any(told)
    })
    .await;
    let view = scaled.anteroom.view("blog").await;
    assert_eq!(view["scale"]["wanted"], 3, "{view}");
    assert!(
        view["scale"]["why"]
            .to_string()
            .contains("creations_per_hour"),
        "{view}"
    );
    scaled.anteroom.command("blog", "sleep").await;
    scaled.anteroom.phase("blog", "asleep", SOON).await;
}
