//! A deployment in small, and all of it real: Anteroom, Traefik, node_exporter, and Prometheus with the files of `deploy/`. It
//! lives through what the metrics tell of: wakes, stops, what goes wrong with both, and load that comes and goes.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;

use super::prometheus::placed;
use crate::lifecycle::{client, press};
use crate::support::anteroom::Anteroom;
use crate::support::exporter::NodeExporter;
use crate::support::machine::{APP, Machine};
use crate::support::ports::{free_port, free_ports};
use crate::support::prometheus_server::PrometheusServer;
use crate::support::traefik::{Places, Traefik};
use crate::support::wait::eventually;

/// Long enough for a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// Everything that runs. It ends with this.
pub(super) struct Scene {
    pub(super) prometheus: PrometheusServer,
    anteroom: Anteroom,
    traefik: Traefik,
    machine: Machine,
    _exporter: NodeExporter,
    _dir: TempDir,
}

/// `blog` is behind Traefik and wakes at the asking of its page, once; `shop` is scaled by alerts, and what
/// `mill` does is measured; `broken` can't be started.
fn services(machine: &Machine) -> String {
    let times = "idle_timeout = \"1h\"\nmin_awake = \"0s\"\ndrain_timeout = \"1s\"\nhealth = { interval = \"100ms\", timeout = \"1s\" }";
    let app = r#"provider = { kind = "process", command = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "{port}"] }"#;
    format!(
        r#"[service.blog]
hosts = ["blog.example.com"]
port = {blog}
ingress = "failover"
start_timeout = "20s"
{times}
wake = {{ per_client = "1/1d" }}
{machine}

[service.shop]
hosts = ["shop.example.com"]
port = {shop}
ingress = "proxy"
start_timeout = "20s"
{times}
{app}
scale = {{ max = 2, cooldown = "0s", interval = "1s", up_window = "2s", signal = {{ kind = "webhook" }} }}

[service.mill]
hosts = ["mill.example.com"]
port = {mill}
ingress = "proxy"
start_timeout = "20s"
{times}
{app}
scale = {{ max = 2, interval = "1s", signal = {{ kind = "provider" }} }}

[service.broken]
hosts = ["broken.example.com"]
port = 80
ingress = "proxy"
start_timeout = "1s"
{times}
provider = {{ kind = "command", start = ["false"], stop = ["true"], state = ["echo", "stopped"], address = "127.0.0.1" }}
"#,
        blog = machine.app_port(),
        machine = machine.provider(),
        // Their clones take the next ones.
        shop = free_ports(8),
        mill = free_ports(8),
    )
}

impl Scene {
    /// Starts all of it, and lives through it once.
    pub(super) async fn lived() -> Scene {
        let scene = Scene::start().await;
        for service in ["shop", "mill"] {
            scene.anteroom.phase(service, "asleep", SOON).await;
            scene.anteroom.command(service, "wake").await;
        }
        scene.blog().await;
        scene.shop().await;
        scene
    }

    async fn start() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let (room, admin, own) = (free_port(), free_port(), free_port());
        let machine = Machine::new(Duration::from_millis(50)).await;
        let places = Places {
            room,
            admin,
            machine: machine.address(),
        };
        let traefik = Traefik::start(dir.path(), "published", &places).await;
        let more = traefik.section("file", room) + &services(&machine);
        let anteroom = Anteroom::start_at(dir.path(), &more, room, admin).await;
        let exporter = NodeExporter::at(SocketAddr::new(machine.address().ip(), 9100)).await;
        let api = traefik.api.strip_prefix("http://").expect("it is a URL");
        let config = placed(dir.path(), "not asked for on this host")
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{admin}"))
            .replace("127.0.0.1:8082", api)
            .replace("127.0.0.1:9090", &format!("127.0.0.1:{own}"))
            .replace("scrape_timeout: 5s", "scrape_timeout: 1s")
            .replace(": 15s", ": 1s");
        let prometheus = PrometheusServer::start_at(dir.path(), &config, own).await;
        Scene {
            prometheus,
            anteroom,
            traefik,
            machine,
            _exporter: exporter,
            _dir: dir,
        }
    }

    /// Waits until Prometheus has this.
    pub(super) async fn told(&self, query: &str) {
        eventually(SOON, async || {
            !self.prometheus.query(query).await.is_empty()
        })
        .await;
    }

    /// Wakes by the page and by hand, a wake that is refused, a stop that can't be published, and a machine that goes away.
    async fn blog(&self) {
        let (anteroom, blog) = (&self.anteroom, "blog");
        anteroom.phase("broken", "asleep", SOON).await;
        anteroom.command("broken", "wake").await;
        anteroom.phase(blog, "asleep", SOON).await;
        assert_eq!(press(&client(), anteroom).await, StatusCode::ACCEPTED);
        anteroom.phase(blog, "awake", SOON).await;
        self.visit().await;
        self.told("anteroom_wake_duration_seconds_count{service=\"blog\"} >= 1")
            .await;
        // What can't be written can't be in force.
        let routing = self.traefik.dynamic.join("anteroom.yml");
        std::fs::remove_file(&routing).expect("it is published");
        std::fs::create_dir(&routing).expect("the folder is ours");
        anteroom.command(blog, "sleep").await;
        self.told("anteroom_publish_failures_total").await;
        std::fs::remove_dir(&routing).expect("nothing is in it");
        anteroom.phase(blog, "asleep", SOON).await;
        assert_ne!(press(&client(), anteroom).await, StatusCode::ACCEPTED);
        anteroom.command(blog, "wake").await;
        anteroom.phase(blog, "awake", SOON).await;
        self.machine.crash();
        self.told("anteroom_machines_vanished_total").await;
        // It is woken again for its visitors.
        anteroom.phase(blog, "awake", SOON).await;
        self.visit().await;
    }

    /// A visitor comes through Traefik and gets the app.
    async fn visit(&self) {
        eventually(SOON, async || {
            let request = client().get(format!("http://{}/", self.traefik.web));
            let answer = request.header("host", "blog.example.com").send().await;
            let text = answer.expect("Traefik answers").text().await;
            text.is_ok_and(|text| text.contains(APP))
        })
        .await;
    }

    /// Alerts that ask for one more than there may be, and for fewer again.
    async fn shop(&self) {
        self.anteroom.phase("mill", "awake", SOON).await;
        self.anteroom.phase("shop", "awake", SOON).await;
        let serving = |count: u32| {
            format!("anteroom_instances{{service=\"shop\", kind=\"serving\"}} == {count}")
        };
        self.told(&serving(1)).await;
        let high = jiff::Timestamp::now();
        self.alert("up", "firing", high).await;
        self.told(&serving(2)).await;
        self.told("anteroom_scalings_hindered_total{service=\"shop\"}")
            .await;
        self.alert("up", "resolved", high).await;
        self.alert("down", "firing", jiff::Timestamp::now()).await;
        self.told(&serving(1)).await;
        self.told("anteroom_clones_total{kind=\"gone\"}").await;
    }

    /// An alert about `shop` comes in.
    async fn alert(&self, way: &str, status: &str, began: jiff::Timestamp) {
        let url = format!("http://{}/v1/scale-{way}", self.anteroom.admin);
        let alert = json!({
            "status": status, "labels": { "service": "shop" }, "startsAt": began.to_string(), "fingerprint": way,
        });
        let body = json!({ "alerts": [alert] }).to_string();
        let answer = client().post(url).body(body).send().await;
        assert_eq!(answer.expect("it answers").status(), StatusCode::OK);
    }
}
