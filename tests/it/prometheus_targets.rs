//! A real Prometheus learns of the instances of the real binary, both ways, and forgets them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::lifecycle::service;
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::prometheus_server::PrometheusServer;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

/// By which ways it is told.
const WAYS: [&str; 2] = ["fetched", "read"];

fn config(dir: &Path, admin: u16) -> String {
    format!(
        r#"global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
  - job_name: fetched
    http_sd_configs:
      - url: http://127.0.0.1:{admin}/prometheus/targets
        refresh_interval: 1s
  - job_name: read
    file_sd_configs: [{{ files: ["{dir}/targets/*.json"] }}]
"#,
        dir = dir.display()
    )
}

fn labels(machine: &Machine) -> Value {
    json!({
        "instance": format!("{}:9100", machine.address().ip()), "job": "vms", "anteroom_service": "blog",
        "anteroom_instance": "seed", "anteroom_role": "seed",
    })
}

/// Both ways tell of these.
async fn tells(prometheus: &PrometheusServer, targets: &[Value]) {
    for way in WAYS {
        eventually(SOON, async || prometheus.targets(way).await == targets).await;
    }
}

#[tokio::test]
async fn a_real_prometheus_learns_what_serves_and_keeps_it_while_nobody_tells() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("targets")).expect("it is ours");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let targets = format!("{}/targets/anteroom.json", dir.path().display());
    let blog = service(&machine, "").replace("\"2s\"", "\"1h\"");
    let more = format!("[prometheus]\ntargets_file = \"{targets}\"\njob = \"vms\"\n{blog}");
    let (room, admin) = (free_port(), free_port());
    let mut anteroom = Anteroom::start_at(dir.path(), &more, room, admin).await;
    let prometheus = PrometheusServer::start(dir.path(), &config(dir.path(), admin)).await;
    tells(&prometheus, &[]).await;
    let read = || std::fs::read_to_string(&targets).ok();
    eventually(SOON, async || read().as_deref() == Some("[]\n")).await;
    anteroom.command("blog", "wake").await;
    tells(&prometheus, &[labels(&machine)]).await;
    anteroom.command("blog", "sleep").await;
    tells(&prometheus, &[]).await;
    anteroom.command("blog", "wake").await;
    tells(&prometheus, &[labels(&machine)]).await;
    // While it is away, and while a new one does not know yet, Prometheus keeps what it has.
    anteroom.kill().await;
    let failures = || prometheus.own("prometheus_sd_http_failures_total");
    let before = failures().await;
    eventually(SOON, async || failures().await > before + 1).await;
    tells(&prometheus, &[labels(&machine)]).await;
    let anteroom = anteroom.again().await;
    anteroom.phase("blog", "awake", SOON).await;
    tells(&prometheus, &[labels(&machine)]).await;
    anteroom.command("blog", "sleep").await;
    tells(&prometheus, &[]).await;
}
