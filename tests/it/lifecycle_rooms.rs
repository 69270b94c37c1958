//! Three rooms on one Redis and one machine: whichever a visitor comes to, the service is one.

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::lifecycle::{client, let_in, press, press_or_pass, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::{APP, Machine};
use crate::support::ports::free_port;
use crate::support::redis::{Cluster, Server, Watched};
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);
/// For a stop: on a busy machine a room may be silent for a moment, and a stop that trouble calls off is tried again after
/// a minute.
const REST: Duration = Duration::from_secs(90);

/// Rooms on one store, each in a folder of its own.
pub(crate) struct House {
    pub(crate) rooms: Vec<Anteroom>,
    _dirs: Vec<tempfile::TempDir>,
    pub(crate) server: Server,
    pub(crate) machine: Machine,
}

impl House {
    pub(crate) async fn of(rooms: usize, start_up: Duration, more: &str) -> House {
        House::with(rooms, start_up, more, |service| service).await
    }

    /// The same, with the service's configuration changed.
    pub(crate) async fn with(
        rooms: usize,
        start_up: Duration,
        more: &str,
        change: impl Fn(String) -> String,
    ) -> House {
        let server = Server::start().await;
        let machine = Machine::new(start_up).await;
        let store = format!("redis://{}", server.at());
        let dirs: Vec<_> = (0..rooms)
            .map(|_| tempfile::tempdir().expect("a folder"))
            .collect();
        let mut house = Vec::new();
        for dir in &dirs {
            let services = change(service(&machine, more));
            let room = Anteroom::start_on(dir.path(), &store, &services, free_port(), free_port());
            house.push(room.await);
        }
        let house = House {
            rooms: house,
            _dirs: dirs,
            server,
            machine,
        };
        house.all("asleep").await;
        house
    }

    /// Waits until every room shows this phase.
    pub(crate) async fn all(&self, phase: &str) {
        let within = if phase == "asleep" { REST } else { SOON };
        for room in &self.rooms {
            room.phase("blog", phase, within).await;
        }
    }

    /// Which room leads, and which do not.
    pub(crate) async fn leader(&self) -> usize {
        let owner = self.key("GET", "lease").await;
        let led = |room: &Anteroom| owner.contains(&format!("pid {}\"", room.id()));
        let led = self.rooms.iter().position(led);
        led.unwrap_or_else(|| panic!("one of them leads: {owner}"))
    }

    pub(crate) async fn key(&self, command: &str, name: &str) -> String {
        let key = format!("anteroom:{{blog}}:{name}");
        let told: Option<String> = self.server.ask(&[command, &key]).await;
        told.unwrap_or_default()
    }

    pub(crate) async fn status(&self, field: &str) -> Option<String> {
        let key = "anteroom:{blog}:status";
        self.server.ask(&["HGET", key, field]).await
    }
}

/// Somebody who opens a connection through this room and stays.
pub(crate) async fn stays(room: &Anteroom) -> impl Sized + use<> {
    let url = format!("ws://{}/", room.room);
    let request =
        tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(url);
    let mut request = request.unwrap();
    let host = "blog.example.com".parse().unwrap();
    request.headers_mut().insert("host", host);
    tokio_tungstenite::connect_async(request).await.unwrap()
}

/// Lets time pass: nothing is to happen in it.
async fn nothing_for(span: Duration) {
    let since = Instant::now();
    eventually(SOON, async || since.elapsed() > span).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_visitor_of_any_room_wakes_the_service_for_all() {
    let house = House::of(3, Duration::from_millis(300), "").await;
    let client = client();
    let leader = house.leader().await;
    let follower = &house.rooms[(leader + 1) % 3];
    let other = &house.rooms[(leader + 2) % 3];
    assert_eq!(press(&client, follower).await, 202);
    house.all("awake").await;
    let_in(&client, follower).await;
    let_in(&client, other).await;
    assert_eq!(house.machine.starts(), 1);
    assert_eq!(house.status("phase").await.as_deref(), Some("awake"));
    eventually(SOON, async || {
        house.status("run_by").await.as_deref() == Some("127.0.0.0/24")
    })
    .await;
    // Somebody stays in a room that follows: the machine stays up.
    let socket = stays(follower).await;
    nothing_for(Duration::from_secs(5)).await;
    assert_eq!(house.machine.stops(), 0);
    assert_eq!(house.status("active").await.as_deref(), Some("1"));
    drop(socket);
    house.all("asleep").await;
    assert_eq!((house.machine.starts(), house.machine.stops()), (1, 1));
    for room in &house.rooms {
        assert!(!room.whole_log().contains("ERROR"), "{}", room.whole_log());
    }
    eventually(SOON, async || {
        let ledger = other.admin(Method::GET, "/blog/ledger").await;
        ledger["entries"][0]["event"] == "slept"
    })
    .await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn when_the_leader_is_killed_while_waking_another_goes_on_with_the_same_start() {
    let mut house = House::of(3, Duration::from_secs(4), "").await;
    let client = client();
    let leader = house.leader().await;
    assert_eq!(press(&client, &house.rooms[(leader + 1) % 3]).await, 202);
    house.all("waking").await;
    eventually(SOON, async || house.machine.runs()).await;
    let killed = Instant::now();
    house.rooms[leader].kill().await;
    house.rooms.remove(leader);
    eventually(SOON, async || {
        house.key("GET", "lease").await.contains(r#""epoch":2"#)
    })
    .await;
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    house.all("awake").await;
    for room in &house.rooms {
        let_in(&client, room).await;
    }
    assert_eq!(house.machine.starts(), 1);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn what_an_admin_writes_with_plain_commands_is_in_force_within_a_second() {
    let house = House::of(2, Duration::from_millis(100), "").await;
    let key = |name: &str| format!("anteroom:{{blog}}:{name}");
    let within =
        async |what: &str, field: &'static str, check: &dyn Fn(&serde_json::Value) -> bool| {
            let written = Instant::now();
            for room in &house.rooms {
                eventually(SOON, async || check(&room.view("blog").await[field])).await;
            }
            let took = written.elapsed();
            assert!(took < Duration::from_secs(1), "{what} took {took:?}");
        };
    let _: i64 = house.server.ask(&["RPUSH", &key("command"), "dance"]).await;
    eventually(SOON, async || {
        let refused = house.status("refused").await.unwrap_or_default();
        refused.contains("dance") && refused.contains("wake, sleep, release")
    })
    .await;
    let _: () = house
        .server
        .ask(&["SET", &key("hold"), "a visit", "EX", "600"])
        .await;
    within("a hold", "hold", &|hold| hold["reason"] == "a visit").await;
    let _: i64 = house.server.ask(&["RPUSH", &key("command"), "wake"]).await;
    within("a wake", "phase", &|phase| *phase != "asleep").await;
    house.all("awake").await;
    assert_eq!(house.status("refused").await, None);
    assert_eq!(house.key("LLEN", "command").await, "0");
    let _: i64 = house.server.ask(&["DEL", &key("hold")]).await;
    within("its end", "hold", &serde_json::Value::is_null).await;
    // By the API of whichever room.
    for room in &house.rooms {
        room.command("blog", "hold").await;
        within("a hold by the API", "hold", &|hold| hold.is_object()).await;
        eventually(SOON, async || house.key("EXISTS", "hold").await == "1").await;
        room.command("blog", "release").await;
        within("a release by the API", "hold", &serde_json::Value::is_null).await;
        eventually(SOON, async || house.key("EXISTS", "hold").await == "0").await;
    }
    let _: i64 = house.server.ask(&["RPUSH", &key("command"), "sleep"]).await;
    house.all("asleep").await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_wiped_redis_loses_no_machine_and_a_room_that_goes_leaves_its_services_at_once() {
    let mut house = House::of(2, Duration::from_millis(100), "").await;
    let client = client();
    assert_eq!(press(&client, &house.rooms[0]).await, 202);
    house.all("awake").await;
    let _: () = house.server.ask(&["FLUSHALL"]).await;
    eventually(SOON, async || {
        house.key("GET", "lease").await.contains("epoch")
    })
    .await;
    for room in &house.rooms {
        let_in(&client, room).await;
    }
    assert_eq!(house.machine.stops(), 0);
    let leader = house.leader().await;
    house.rooms[leader].terminate(SOON).await;
    let gone = Instant::now();
    house.rooms.remove(leader);
    eventually(SOON, async || {
        house.key("GET", "lease").await.contains("epoch")
    })
    .await;
    assert!(
        gone.elapsed() < Duration::from_secs(2),
        "{:?}",
        gone.elapsed()
    );
    let_in(&client, &house.rooms[0]).await;
    house.all("asleep").await;
    assert_eq!((house.machine.starts(), house.machine.stops()), (1, 1));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn without_redis_every_room_still_wakes_and_none_stops() {
    let mut house = House::of(2, Duration::from_millis(100), "").await;
    let client = client();
    let leader = house.leader().await;
    let follower = &house.rooms[1 - leader];
    house.server.kill();
    assert_eq!(press(&client, follower).await, 202);
    let_in(&client, follower).await;
    nothing_for(Duration::from_secs(4)).await;
    assert_eq!(house.machine.stops(), 0, "nothing is stopped");
    house.server.again().await;
    // One room saw it asleep last, and shows that until it knows better.
    eventually(REST, async || house.machine.stops() == 1).await;
    house.all("asleep").await;
    assert_eq!((house.machine.starts(), house.machine.stops()), (1, 1));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn while_a_room_is_silent_nothing_is_stopped_and_its_next_life_speaks_for_it() {
    let mut house = House::of(2, Duration::from_millis(100), "").await;
    let client = client();
    let leader = house.leader().await;
    assert_eq!(press(&client, &house.rooms[leader]).await, 202);
    house.all("awake").await;
    let follower = &house.rooms[1 - leader];
    let inside = stays(follower).await;
    let active = async || house.status("active").await;
    eventually(SOON, async || active().await.as_deref() == Some("1")).await;
    // Held by the system, as a machine that is migrated or swaps: it says nothing, and somebody is inside.
    follower.signal(rustix::process::Signal::STOP);
    nothing_for(Duration::from_secs(7)).await;
    assert_eq!(house.machine.stops(), 0);
    follower.signal(rustix::process::Signal::CONT);
    nothing_for(Duration::from_secs(3)).await;
    assert_eq!(house.machine.stops(), 0, "it is still inside");
    // Killed, nobody is; but that is known only when it is there again.
    let mut killed = house.rooms.remove(1 - leader);
    killed.kill().await;
    drop(inside);
    nothing_for(Duration::from_secs(5)).await;
    assert_eq!(house.machine.stops(), 0);
    house.rooms.push(killed.again().await);
    house.all("asleep").await;
    assert_eq!((house.machine.starts(), house.machine.stops()), (1, 1));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn services_are_spread_over_the_rooms_while_they_sleep() {
    let server = Server::start().await;
    let machine = Machine::new(Duration::from_millis(100)).await;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let services = names.map(|name| {
        let service = service(&machine, "");
        service
            .replace("service.blog]", &format!("service.{name}]"))
            .replace("blog.", &format!("{name}."))
    });
    let services = services.concat();
    let store = format!("redis://{}", server.at());
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |dir: usize| {
        let dir = dirs[dir].path();
        Anteroom::start_on(dir, &store, &services, free_port(), free_port())
    };
    let first = start(0).await;
    let led_by = async |room: &Anteroom| {
        let mut led = 0;
        for name in names {
            let key = format!("anteroom:{{{name}}}:lease");
            let lease: Option<String> = server.ask(&["GET", &key]).await;
            led += usize::from(
                lease
                    .unwrap_or_default()
                    .contains(&format!("pid {}\"", room.id())),
            );
        }
        led
    };
    eventually(SOON, async || led_by(&first).await == names.len()).await;
    let second = start(1).await;
    eventually(2 * SOON, async || {
        let (one, other) = (led_by(&first).await, led_by(&second).await);
        one + other == names.len() && other > 0
    })
    .await;
    // Whoever leads it, each room shows it.
    for name in names {
        for room in [&first, &second] {
            room.phase(name, "asleep", SOON).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_wake_whose_number_is_given_out_twice_wakes_twice_and_is_counted_twice() {
    let house = House::of(2, Duration::from_millis(100), "").await;
    let client = client();
    let follower = 1 - house.leader().await;
    for wakes in 1..=2 {
        assert_eq!(press(&client, &house.rooms[follower]).await, 202);
        house.all("awake").await;
        house.all("asleep").await;
        assert_eq!(house.machine.starts(), wakes);
        let count = house.status("triggered_count").await;
        assert_eq!(count, Some(wakes.to_string()));
        // As after a failover to a replica that had not heard of the last wake.
        let key = "anteroom:{blog}:wake";
        let _: i64 = house
            .server
            .ask(&["HDEL", key, "last", "heard", "by"])
            .await;
    }
}

/// Three rooms on a store of any kind, whose machine takes 3 s to start.
async fn three_on(store: &str) -> (Vec<Anteroom>, Vec<tempfile::TempDir>, Machine) {
    let machine = Machine::new(Duration::from_secs(3)).await;
    let (mut rooms, mut dirs) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let dir = tempfile::tempdir().expect("a folder");
        let services = service(&machine, "");
        let room = Anteroom::start_on(dir.path(), store, &services, free_port(), free_port());
        rooms.push(room.await);
        dirs.push(dir);
    }
    for room in &rooms {
        room.phase("blog", "asleep", SOON).await;
    }
    (rooms, dirs, machine)
}

/// A storm of wakes on all rooms, amid which `kill` takes the server away that has the service; then everybody is let
/// in, by one start, and the service sleeps again.
async fn a_storm_costs_one_start(store: &str, kill: impl AsyncFnOnce()) {
    let (rooms, _dirs, machine) = three_on(store).await;
    let client = client();
    let storm = async {
        for _ in 0..10 {
            let presses = (0..30).map(|number| press_or_pass(&client, &rooms[number % 3]));
            for pressed in futures_util::future::join_all(presses).await {
                match pressed {
                    Ok(status) => assert!([202, 429].contains(&status.as_u16()), "{status}"),
                    Err(page) => assert!(page.contains(APP), "{page}"),
                }
            }
        }
    };
    let killed = async {
        eventually(SOON, async || machine.runs()).await;
        kill().await;
    };
    tokio::join!(storm, killed);
    for room in &rooms {
        let_in(&client, room).await;
    }
    assert_eq!(machine.starts(), 1);
    for room in &rooms {
        room.phase("blog", "asleep", REST).await;
    }
    assert_eq!((machine.starts(), machine.stops()), (1, 1));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_master_behind_sentinels_that_dies_in_a_storm_of_wakes_costs_one_start() {
    let mut watched = Watched::start().await;
    let url = watched.url();
    a_storm_costs_one_start(&url, async || watched.servers[0].kill()).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_clusters_node_that_dies_in_a_storm_of_wakes_and_comes_again_empty_costs_one_start() {
    let mut cluster = Cluster::start().await;
    let url = cluster.url();
    a_storm_costs_one_start(&url, async || {
        let mut led = None;
        for (at, node) in cluster.nodes.iter().enumerate() {
            let lease = node.try_ask::<Option<String>>(&["GET", "anteroom:{blog}:lease"]);
            if let Ok(Some(_)) = lease.await {
                led = Some(at);
            }
        }
        let node = &mut cluster.nodes[led.expect("one has the service")];
        node.kill();
        nothing_for(Duration::from_secs(2)).await;
        node.again().await;
    })
    .await;
}
