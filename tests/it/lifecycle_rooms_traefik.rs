//! Two rooms on one Redis, each behind a Traefik of its own: visitors who pass neither room, because Traefik sends them straight
//! to the app, count as much as those of the leader.

use std::time::{Duration, Instant};

use crate::lifecycle::{client, press};
use crate::support::anteroom::Anteroom;
use crate::support::machine::{APP, Machine};
use crate::support::ports::free_port;
use crate::support::redis::Server;
use crate::support::traefik::{Places, Traefik};
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(40);
const HOST: &str = "blog.example.com";
const IDLE: Duration = Duration::from_secs(6);

/// A room and the Traefik in front of it.
struct Entrance {
    room: Anteroom,
    traefik: Traefik,
    _dir: tempfile::TempDir,
}

impl Entrance {
    async fn open(machine: &Machine, store: &str) -> Entrance {
        let dir = tempfile::tempdir().expect("a folder");
        let (room, admin) = (free_port(), free_port());
        let places = Places {
            room,
            admin,
            machine: machine.address(),
        };
        let traefik = Traefik::start(dir.path(), "published", &places).await;
        let services = format!(
            "{}[service.blog]\nhosts = [\"{HOST}\"]\nmin_awake = \"0s\"\nidle_timeout = \"{}s\"\ndrain_timeout = \"1s\"\n\
             health = {{ interval = \"100ms\", timeout = \"1s\" }}\nport = {}\n{}\n",
            traefik.section("file", room),
            IDLE.as_secs(),
            machine.app_port(),
            machine.provider(),
        );
        let room = Anteroom::start_on(dir.path(), store, &services, room, admin).await;
        Entrance {
            room,
            traefik,
            _dir: dir,
        }
    }

    /// One visit through Traefik: whether the app answers.
    async fn visit(&self) -> bool {
        let request = client().get(format!("http://{}/", self.traefik.web));
        let answer = request.header("host", HOST).send().await;
        let text = answer.expect("Traefik answers").text().await;
        text.is_ok_and(|text| text.contains(APP))
    }

    /// Requests that the room has forwarded.
    async fn passed(&self) -> u64 {
        let why = self.room.admin(reqwest::Method::GET, "/blog/why").await;
        why["passed_the_room"].as_u64().expect("a count")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik and redis-server: run tests/run"]
async fn traffic_that_only_a_followers_traefik_sees_keeps_the_machine_up() {
    let server = Server::start().await;
    let machine = Machine::new(Duration::from_millis(100)).await;
    let store = format!("redis://{}", server.at());
    let leading = Entrance::open(&machine, &store).await;
    leading.room.phase("blog", "asleep", SOON).await;
    let following = Entrance::open(&machine, &store).await;
    for entrance in [&leading, &following] {
        entrance.room.phase("blog", "asleep", SOON).await;
        eventually(SOON, async || !entrance.visit().await).await;
    }
    assert_eq!(press(&client(), &following.room).await, 202);
    for entrance in [&leading, &following] {
        eventually(SOON, async || entrance.visit().await).await;
    }
    // Until Traefik sends visitors straight to the app.
    eventually(SOON, async || {
        let before = following.passed().await;
        following.visit().await && following.passed().await == before
    })
    .await;
    let since = Instant::now();
    eventually(SOON, async || {
        assert!(following.visit().await, "it is not put to sleep");
        since.elapsed() > 2 * IDLE
    })
    .await;
    assert_eq!(machine.stops(), 0);
    // Nobody comes any more: both ways are led away before the machine stops.
    for entrance in [&leading, &following] {
        entrance.room.phase("blog", "asleep", SOON).await;
    }
    assert_eq!((machine.starts(), machine.stops()), (1, 1));
    for entrance in [&leading, &following] {
        assert!(!entrance.visit().await);
        let log = entrance.room.whole_log();
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik and redis-server: run tests/run"]
async fn services_and_a_secret_that_come_by_redis_reach_traefik() {
    let server = Server::start().await;
    let machine = Machine::new(Duration::from_millis(100)).await;
    let store = format!("redis://{}", server.at());
    let entrance = Entrance::open(&machine, &store).await;
    entrance.room.phase("blog", "asleep", SOON).await;
    let shop = "shop.example.com";
    let text = format!(
        r#"{{"hosts": ["{shop}"], "port": 80, "provider": {{"kind": "docker", "container": "none"}}}}"#
    );
    let _: u32 = server
        .ask(&["HSET", "anteroom:services", "shop", &text])
        .await;
    let routing = || {
        let file = entrance.traefik.dynamic.join("anteroom.yml");
        std::fs::read_to_string(file).unwrap_or_default()
    };
    let key = || {
        let routing = routing();
        let (_, key) = routing.split_once("X-Anteroom-Key")?;
        Some(key.chars().take(50).collect::<String>())
    };
    eventually(SOON, async || {
        routing().contains(shop) && routing().contains(HOST)
    })
    .await;
    let before = key().expect("a key");
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let _: () = server.ask(&["SET", "anteroom:secret", other]).await;
    eventually(SOON, async || key().is_some_and(|key| key != before)).await;
    assert!(!entrance.visit().await, "the page is there all the time");
    let _: u32 = server.ask(&["HDEL", "anteroom:services", "shop"]).await;
    eventually(SOON, async || {
        !routing().contains(shop) && routing().contains(HOST)
    })
    .await;
    assert_eq!(press(&client(), &entrance.room).await, 202);
    eventually(SOON, async || entrance.visit().await).await;
}
