//! Load behind the real Traefik, with real containers: clones come and go, share the load, and no request fails, also where
//! Anteroom is killed while it makes and while it removes them.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::MutexGuard;

use crate::support::anteroom::Anteroom;
use crate::support::chart::{self, Moment};
use crate::support::docker::{self, Engine};
use crate::support::load::{self, Load};
use crate::support::machine::APP;
use crate::support::ports::free_port;
use crate::support::traefik::{Places, Traefik};
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(60);
/// For clones to come, or to go, with all their windows.
const LATER: Duration = Duration::from_secs(150);
const HOST: &str = "hash.example.com";

/// What a machine has of a processor, and what an answer costs of one: at 6 a second three are needed, at 1 a second one.
const QUOTA: &str = "QUOTA=0.1";
const COST: &str = "COST=0.03";
const SLOW: u64 = 1_000;
const FAST: u64 = 6_000;

/// What was seen of a run.
type Moments = std::sync::Mutex<Vec<Moment>>;

struct House {
    name: &'static str,
    engine: &'static Engine,
    seed: String,
    traefik: Traefik,
    anteroom: Anteroom,
    _dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl House {
    /// `name`: of the service, another one for each test, for all are on one engine.
    async fn awake(name: &'static str) -> House {
        let turn = load::TURN.lock().await;
        let engine = docker::docker();
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apps");
        let app = format!("-v={}:/app:ro", app.display());
        let options = [
            "-v=/usr:/usr:ro",
            "-v=/lib:/lib:ro",
            "-v=/lib64:/lib64:ro",
            app.as_str(),
            "-e",
            QUOTA,
            "-e",
            COST,
        ];
        let seed = engine.create(&options, &["/usr/bin/python3", "-B", "/app/hash.py"]);
        let dir = tempfile::tempdir().expect("a folder");
        let (room, admin) = (free_port(), free_port());
        let machine = "127.0.0.1:9".parse().expect("an address");
        let places = Places {
            room,
            admin,
            machine,
        };
        let traefik = Traefik::start(dir.path(), "published", &places).await;
        let services = format!(
            "{}[service.{name}]\nhosts = [\"{HOST}\"]\nport = 8000\nidle_timeout = \"20m\"\ndrain_timeout = \"3s\"\n\
             start_timeout = \"60s\"\nhealth = {{ path = \"/health\", interval = \"200ms\", timeout = \"2s\" }}\n\
             provider = {{ kind = \"docker\", container = \"{seed}\", endpoint = \"unix://{}\" }}\n\
             [service.{name}.scale]\nmax = 4\nup_window = \"6s\"\ndown_window = \"15s\"\ncooldown = \"5s\"\n\
             interval = \"2s\"\ncreations_per_hour = 600\nsignal = {{ kind = \"node-exporter\", port = 9100 }}\n",
            traefik.section("file", room),
            engine.socket.display(),
        );
        let anteroom = Anteroom::start_at(dir.path(), &services, room, admin).await;
        anteroom.phase(name, "asleep", SOON).await;
        anteroom.command(name, "wake").await;
        anteroom.phase(name, "awake", SOON).await;
        let house = House {
            name,
            engine,
            seed,
            traefik,
            anteroom,
            _dir: dir,
            _turn: turn,
        };
        let http = anteroom::telemetry::http_client()
            .no_proxy()
            .build()
            .expect("a client");
        eventually(SOON, async || {
            let url = format!("http://{}/", house.traefik.web);
            let answer = http.get(url).header("host", HOST).send().await;
            answer.is_ok_and(|answer| answer.headers().contains_key("x-app"))
        })
        .await;
        house
    }

    /// At 1 a second.
    fn load(&self) -> Load {
        load::start(self.traefik.web, HOST, 1, Duration::from_secs(600), APP)
    }

    /// The containers of clones, running or not.
    fn clones(&self) -> Vec<String> {
        let all = [
            "ps",
            "-a",
            "--format",
            "{{.Names}} {{.Label \"anteroom.of\"}}",
        ];
        let all = self.engine.cli(&all);
        let of = format!(" {}/", self.name);
        let ours = all.lines().filter(|line| line.contains(&of));
        ours.map(str::to_owned).collect()
    }

    async fn moment(&self, load: &Load) -> Moment {
        let view = self.anteroom.view(self.name).await;
        let serving = serving(&view);
        Moment {
            seconds: load.age().as_secs_f64(),
            rate: load.rate() as f64 / 1_000.0,
            serving,
            wanted: view["scale"]["wanted"].as_u64().unwrap_or(serving),
        }
    }

    /// Until so many serve, and nothing else is there.
    async fn settled(&self, load: &Load, count: u64, moments: &Moments) {
        eventually(LATER, async || {
            let moment = self.moment(load).await;
            note(moments, moment);
            moment.serving == count && self.clones().len() as u64 + 1 == count
        })
        .await;
    }

    /// Until a clone is at one of these steps.
    async fn step(&self, steps: &[&str]) {
        eventually(LATER, async || {
            let view = self.anteroom.view(self.name).await;
            let clones = view["clones"].as_array().cloned().unwrap_or_default();
            let at = |clone: &Value| steps.contains(&clone["step"].as_str().unwrap_or_default());
            clones.iter().any(at)
        })
        .await;
    }

    /// From one rate to another within this time.
    async fn ramp(&self, load: &Load, to: u64, within: Duration, moments: &Moments) {
        let (from, began) = (load.rate() as f64, load.age());
        eventually(within + SOON, async || {
            let part = (load.age() - began).as_secs_f64() / within.as_secs_f64();
            let part = part.min(1.0);
            load.set_rate((from + (to as f64 - from) * part) as u64);
            let moment = self.moment(load).await;
            note(moments, moment);
            part >= 1.0
        })
        .await;
    }
}

fn note(moments: &Moments, moment: Moment) {
    moments.lock().expect("no test panics with it").push(moment);
}

fn serving(view: &Value) -> u64 {
    view["upstreams"].as_array().map_or(0, Vec::len) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs docker.io, python3 and traefik: run tests/run"]
async fn clones_come_with_the_load_share_it_and_go_without_a_failed_request() {
    let house = House::awake("hash").await;
    let (load, moments) = (house.load(), Moments::default());
    house
        .ramp(&load, FAST, Duration::from_secs(25), &moments)
        .await;
    house.settled(&load, 3, &moments).await;
    let _ = load.take_shares();
    let hold = load.age() + Duration::from_secs(20);
    eventually(SOON, async || {
        let moment = house.moment(&load).await;
        note(&moments, moment);
        load.age() >= hold
    })
    .await;
    let shares = load.take_shares();
    let all: usize = shares.values().sum();
    assert_eq!(shares.len(), 3, "{shares:?}");
    for share in shares.values() {
        assert!(share * 100 >= all * 20, "not shared: {shares:?}");
    }
    house
        .ramp(&load, SLOW, Duration::from_secs(15), &moments)
        .await;
    house.settled(&load, 1, &moments).await;
    let moments = moments.into_inner().expect("no test panics with it");
    let most = moments.iter().map(|it| it.serving).max();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/charts/load.svg");
    chart::write(&chart, &moments);
    let tally = load.stop().await;
    assert!(most.is_some_and(|most| (3..=4).contains(&most)), "{most:?}");
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200 app"], "{tally:?}");
    house.engine.remove(&house.seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs docker.io, python3 and traefik: run tests/run"]
async fn an_anteroom_that_is_killed_while_it_clones_and_while_it_deletes_loses_nothing() {
    let mut house = House::awake("mint").await;
    let (load, moments) = (house.load(), Moments::default());
    load.set_rate(FAST);
    house.step(&["making", "starting"]).await;
    house.anteroom.kill().await;
    house.anteroom = house.anteroom.again().await;
    house.settled(&load, 3, &moments).await;
    load.set_rate(SLOW);
    house.step(&["leaving"]).await;
    house.anteroom.kill().await;
    house.anteroom = house.anteroom.again().await;
    house.settled(&load, 1, &moments).await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200 app"], "{tally:?}");
    house.engine.remove(&house.seed);
}
