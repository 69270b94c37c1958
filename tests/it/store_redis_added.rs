//! Services that are added, changed and taken out in Redis while rooms run.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;

use crate::lifecycle::{client, let_in, press, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::redis::{Cluster, Server, settings};
use crate::support::wait::eventually;

/// What is promised is a second; the rest is for a busy machine.
const A_SECOND: Duration = Duration::from_secs(3);

const SOON: Duration = Duration::from_secs(20);

const SERVICES: &str = "anteroom:services";

/// The JSON of the service that `[service.blog]` would say for this machine.
fn json(machine: &Machine, change: impl FnOnce(&mut toml::Table)) -> String {
    let file: toml::Table = service(machine, "").parse().unwrap();
    let mut blog = file["service"]["blog"].as_table().unwrap().clone();
    change(&mut blog);
    serde_json::to_string(&blog).unwrap()
}

fn plain(machine: &Machine) -> String {
    json(machine, |_| {})
}

struct Rooms {
    server: Server,
    rooms: Vec<Anteroom>,
    _dirs: Vec<tempfile::TempDir>,
}

impl Rooms {
    async fn start(count: usize, config: &str) -> Rooms {
        let server = Server::start().await;
        let mut rooms = Rooms {
            server,
            rooms: Vec::new(),
            _dirs: Vec::new(),
        };
        for _ in 0..count {
            rooms.more(config).await;
        }
        rooms
    }

    async fn more(&mut self, config: &str) {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("redis://{}", self.server.at());
        let room = Anteroom::start_on(dir.path(), &url, config, free_port(), free_port()).await;
        self.rooms.push(room);
        self._dirs.push(dir);
    }

    async fn set(&self, name: &str, text: &str) {
        let _: u32 = self.server.ask(&["HSET", SERVICES, name, text]).await;
    }

    async fn told(&self) -> BTreeMap<String, String> {
        self.server.ask(&["HGETALL", "anteroom:refused"]).await
    }

    /// Waits until every room has these services.
    async fn have(&self, names: &[&str]) {
        for room in &self.rooms {
            eventually(A_SECOND, async || known(room).await == names).await;
        }
    }
}

async fn known(room: &Anteroom) -> Vec<String> {
    let list = room.admin(Method::GET, "").await;
    let names = list["services"].as_array().unwrap().iter();
    names
        .map(|it| it["service"].as_str().unwrap().to_owned())
        .collect()
}

async fn status(room: &Anteroom, host: &str) -> u16 {
    let page = client()
        .get(format!("http://{}/", room.room))
        .header("host", host);
    let page = page
        .header("accept", "text/html")
        .send()
        .await
        .expect("the room answers");
    page.status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_service_is_added_changed_and_taken_out_on_every_room_within_a_second() {
    let rooms = Rooms::start(2, "").await;
    let machine = Machine::new(Duration::from_millis(50)).await;
    rooms.set("blog", &plain(&machine)).await;
    rooms.have(&["blog"]).await;
    for room in &rooms.rooms {
        assert_eq!(status(room, "blog.example.com").await, 503);
    }
    let changed = json(&machine, |blog| {
        blog.insert("hosts".into(), vec!["other.example.com"].into());
    });
    rooms.set("blog", &changed).await;
    for room in &rooms.rooms {
        eventually(A_SECOND, async || {
            (
                status(room, "other.example.com").await,
                status(room, "blog.example.com").await,
            ) == (503, 404)
        })
        .await;
    }
    let shop = json(&machine, |shop| {
        shop.insert("hosts".into(), vec!["shop.example.com"].into());
    });
    rooms.set("shop", &shop).await;
    rooms.have(&["blog", "shop"]).await;
    let _: u32 = rooms.server.ask(&["HDEL", SERVICES, "blog"]).await;
    rooms.have(&["shop"]).await;
    let _: u32 = rooms.server.ask(&["DEL", SERVICES]).await;
    rooms.have(&[]).await;
    assert_eq!(machine.starts(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn an_added_service_is_woken_like_any_other_and_a_room_that_starts_has_it() {
    let rooms = Rooms::start(1, "").await;
    let machine = Machine::new(Duration::from_millis(50)).await;
    let lasting = json(&machine, |blog| {
        blog.insert("idle_timeout".into(), "10m".into());
    });
    rooms.set("blog", &lasting).await;
    rooms.have(&["blog"]).await;
    let room = &rooms.rooms[0];
    room.phase("blog", "asleep", SOON).await;
    assert_eq!(press(&client(), room).await, 202);
    let_in(&client(), room).await;
    let Rooms {
        server,
        mut rooms,
        _dirs,
    } = rooms;
    let mut room = rooms.remove(0);
    room.kill().await;
    let room = room.again().await;
    assert_eq!(known(&room).await, ["blog"]);
    room.phase("blog", "awake", SOON).await;
    assert_eq!(machine.starts(), 1);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_bad_service_changes_nothing_and_is_told_in_its_status_until_it_is_mended() {
    let machine = Machine::new(Duration::from_millis(50)).await;
    let filed = service(&machine, "")
        .replace("service.blog", "service.filed")
        .replace("blog.", "filed.");
    let rooms = Rooms::start(2, &filed).await;
    let status_of = async |name: &str| -> Option<String> {
        let key = format!("anteroom:{{{name}}}:status");
        rooms.server.ask(&["HGET", &key, "refused"]).await
    };
    let good = plain(&machine);
    rooms.set("blog", &good).await;
    rooms.have(&["blog", "filed"]).await;
    let bad = json(&machine, |blog| {
        blog.insert("port".into(), 0.into());
    });
    rooms.set("blog", &bad).await;
    rooms.set("new", "{").await;
    rooms.set("filed", &good).await;
    rooms.set("No Name", &good).await;
    let runs = r#"{"hosts": ["p.example.com"], "port": 9, "provider": {"kind": "process", "command": ["true"]}}"#;
    rooms.set("runs", runs).await;
    eventually(A_SECOND, async || rooms.told().await.len() == 5).await;
    let told = rooms.told().await;
    for (name, why) in [
        (
            "blog",
            "service.blog.port: 0 is out of bounds; write 1 to 65535",
        ),
        ("new", "this is not JSON"),
        ("filed", "has a service of this name"),
        ("runs", "store.services_may_run = true"),
    ] {
        let key = format!("anteroom:services {name}");
        assert!(told[&key].contains(why), "{told:?}");
        let shown = status_of(name).await.unwrap_or_default();
        assert!(shown.contains(why), "{name}: {shown}");
    }
    assert!(told.contains_key("anteroom:services No Name"));
    rooms.have(&["blog", "filed"]).await;
    assert_eq!(
        status(&rooms.rooms[0], "blog.example.com").await,
        503,
        "its earlier form holds"
    );
    // The other room may have told it first.
    rooms.rooms[0].log("0 is out of bounds", A_SECOND).await;
    let log = rooms.rooms[0].whole_log();
    assert_eq!(log.matches("0 is out of bounds").count(), 1, "{log}");
    for name in ["new", "filed", "No Name", "runs"] {
        let _: u32 = rooms.server.ask(&["HDEL", SERVICES, name]).await;
    }
    rooms.set("blog", &good).await;
    eventually(A_SECOND, async || rooms.told().await.is_empty()).await;
    for name in ["blog", "new", "filed", "runs"] {
        assert_eq!(status_of(name).await, None, "{name}");
    }
    // Another type of key is told as well, and changes nothing.
    let _: u32 = rooms.server.ask(&["DEL", SERVICES]).await;
    rooms.have(&["filed"]).await;
    rooms.set("blog", &good).await;
    rooms.have(&["blog", "filed"]).await;
    let _: () = rooms.server.ask(&["SET", SERVICES, "hello"]).await;
    eventually(A_SECOND, async || rooms.told().await.contains_key(SERVICES)).await;
    rooms.have(&["blog", "filed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn secrets_are_read_where_the_text_points() {
    let rooms = Rooms::start(1, "").await;
    let machine = Machine::new(Duration::from_millis(50)).await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let text = json(&machine, |blog| {
        let webhook = blog["provider"]["webhook"].as_table_mut().unwrap();
        let file = toml::Table::from_iter([("file".to_owned(), token.to_str().unwrap().into())]);
        webhook.insert("token".into(), file.into());
    });
    rooms.set("blog", &text).await;
    eventually(A_SECOND, async || {
        let told = rooms.told().await;
        told.get("anteroom:services blog")
            .is_some_and(|why| why.contains("cannot be read"))
    })
    .await;
    // What is mended elsewhere is seen without a new text.
    std::fs::write(&token, "a long enough token").unwrap();
    eventually(SOON, async || known(&rooms.rooms[0]).await == ["blog"]).await;
    eventually(SOON, async || rooms.told().await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_wiped_server_takes_no_service_away_and_gets_them_back() {
    let mut rooms = Rooms::start(2, "").await;
    let machine = Machine::new(Duration::from_millis(50)).await;
    let good = plain(&machine);
    rooms.set("blog", &good).await;
    rooms.have(&["blog"]).await;
    for _ in 0..3 {
        let _: () = rooms.server.ask(&["FLUSHALL"]).await;
        eventually(A_SECOND, async || {
            for room in &rooms.rooms {
                assert_eq!(known(room).await, ["blog"]);
            }
            let back: Option<String> = rooms.server.ask(&["HGET", SERVICES, "blog"]).await;
            back.as_ref() == Some(&good)
        })
        .await;
    }
    // The same for one that came back with nothing; and what is taken out by hand after that is taken out.
    rooms.server.kill();
    rooms.server.again().await;
    eventually(SOON, async || {
        for room in &rooms.rooms {
            assert_eq!(known(room).await, ["blog"]);
        }
        let back: Option<String> = rooms.server.ask(&["HGET", SERVICES, "blog"]).await;
        back.as_ref() == Some(&good)
    })
    .await;
    for room in &rooms.rooms {
        room.log("the store was wiped; its services are written back", SOON)
            .await;
    }
    // Each room has looked since.
    rooms
        .set(
            "shop",
            &good.replace("blog.example.com", "shop.example.com"),
        )
        .await;
    rooms.have(&["blog", "shop"]).await;
    let _: u32 = rooms.server.ask(&["DEL", SERVICES]).await;
    rooms.have(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_reload_of_the_file_keeps_what_was_added_and_wins_over_it() {
    let rooms = Rooms::start(1, "").await;
    let machine = Machine::new(Duration::from_millis(50)).await;
    rooms.set("blog", &plain(&machine)).await;
    rooms
        .set(
            "shop",
            &plain(&machine).replace("blog.example.com", "shop.example.com"),
        )
        .await;
    rooms.have(&["blog", "shop"]).await;
    let room = &rooms.rooms[0];
    let file = std::fs::read_to_string(&room.config).unwrap();
    let mine = service(&machine, "").replace("blog.example.com", "mine.example.com");
    std::fs::write(&room.config, format!("{file}\n{mine}")).unwrap();
    let mark = room.mark();
    room.hang_up();
    room.log_after(mark, "the configuration is reloaded", SOON)
        .await;
    rooms.have(&["blog", "shop"]).await;
    assert_eq!(status(room, "mine.example.com").await, 503);
    assert_eq!(status(room, "blog.example.com").await, 404);
    eventually(A_SECOND, async || {
        rooms.told().await.contains_key("anteroom:services blog")
    })
    .await;
    // Without it, the added one is in force again.
    std::fs::write(&room.config, file).unwrap();
    room.hang_up();
    eventually(A_SECOND, async || {
        status(room, "blog.example.com").await == 503
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn in_a_cluster_the_services_are_found_and_a_wiped_node_is_known_as_wiped() {
    use anteroom::store::Store;
    let cluster = Cluster::start().await;
    let settings = settings(&cluster.url());
    let store = anteroom::store::redis::RedisStore::open(settings.clone()).unwrap();
    let surface = store.surface().unwrap();
    let key = format!("{}:services", settings.prefix);
    let node = cluster.node_of(&key).await;
    let _: u32 = node.ask(&["HSET", &key, "blog", "{}"]).await;
    let first = surface.services("").await.unwrap();
    let texts = BTreeMap::from([("blog".to_owned(), "{}".to_owned())]);
    assert_eq!(first.texts.as_ref(), Some(&texts));
    let again = surface.services(&first.seen).await.unwrap();
    assert_eq!((again.texts, &again.life), (None, &first.life));
    let _: () = node.ask(&["FLUSHALL"]).await;
    let wiped = surface.services(&first.seen).await.unwrap();
    assert_ne!(wiped.life, first.life);
    surface.restore(&texts).await.unwrap();
    assert_eq!(surface.services("").await.unwrap().texts, Some(texts));
}
