//! The limits across a loss of Redis: what a room let in by itself is charged later, and a Redis that has lost its
//! memory gives nobody a wake back.

use std::time::Duration;

use crate::lifecycle::{client, let_in, press, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::redis::Server;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);

struct House {
    server: Server,
    machine: Machine,
    room: Anteroom,
    _dir: tempfile::TempDir,
}

impl House {
    async fn start(wake: &str) -> House {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(Duration::from_millis(50)).await;
        let config = service(&machine, &format!("wake = {{ {wake} }}"));
        let url = format!("redis://{}", server.at());
        let room = Anteroom::start_on(dir.path(), &url, &config, free_port(), free_port()).await;
        room.phase("blog", "asleep", SOON).await;
        House {
            server,
            machine,
            room,
            _dir: dir,
        }
    }

    /// A visitor wakes the service, uses it, and goes.
    async fn visit(&self) {
        assert_eq!(press(&client(), &self.room).await, 202);
        let_in(&client(), &self.room).await;
        self.room.phase("blog", "asleep", SOON).await;
    }

    async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.server.ask(words).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn what_was_let_in_without_redis_is_charged_once_when_it_is_back() {
    let house = House::start("per_day = 8").await;
    house.server.hold();
    house.room.log("the store is away", SOON).await;
    assert_eq!(press(&client(), &house.room).await, 202);
    let_in(&client(), &house.room).await;
    house.server.release();
    house
        .room
        .log("what was let in without the store is charged", SOON)
        .await;
    let day: String = house.ask(&["GET", "anteroom:{blog}:limit:day"]).await;
    assert!(day.ends_with(":1"), "{day}");
    let who: u32 = house.ask(&["ZCARD", "anteroom:{blog}:triggerers"]).await;
    assert_eq!(who, 1);
    for limit in ["client:127.0.0.1/32", "network:127.0.0.0/24", "service"] {
        let key = format!("anteroom:{{blog}}:limit:{limit}");
        let there: u32 = house.ask(&["EXISTS", &key]).await;
        assert_eq!(there, 1, "{limit}");
    }
    house.room.phase("blog", "asleep", SOON).await;
    house.visit().await;
    let day: String = house.ask(&["GET", "anteroom:{blog}:limit:day"]).await;
    assert!(day.ends_with(":2"), "{day}");
    assert_eq!(
        house
            .room
            .whole_log()
            .matches("without the store is charged")
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_wiped_redis_gives_nobody_a_wake_back() {
    let house = House::start("per_client = \"1/1d\"").await;
    house.visit().await;
    assert_eq!(press(&client(), &house.room).await, 429);
    let _: () = house.ask(&["FLUSHALL"]).await;
    assert_eq!(press(&client(), &house.room).await, 429, "at once");
    eventually(SOON, async || {
        let back: u32 = house.ask(&["EXISTS", "anteroom:secret"]).await;
        back == 1
    })
    .await;
    assert_eq!(press(&client(), &house.room).await, 429, "and later");
    assert_eq!(house.machine.starts(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn the_quarter_of_a_room_by_itself_comes_out_of_the_limit_and_not_on_top() {
    let mut house = House::start("per_client = \"2/1d\"").await;
    house.visit().await;
    house.visit().await;
    house.server.kill();
    house.room.log("the store is away", SOON).await;
    assert_eq!(press(&client(), &house.room).await, 429);
    house.server.again().await;
    house.room.log("the store is there again", SOON).await;
    assert_eq!(
        press(&client(), &house.room).await,
        429,
        "it came back with nothing"
    );
    assert_eq!(house.machine.starts(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn an_admin_gives_a_client_its_wakes_back_by_deleting_its_limit() {
    let house = House::start("per_client = \"1/1d\"").await;
    house.visit().await;
    assert_eq!(press(&client(), &house.room).await, 429);
    let key = "anteroom:{blog}:limit:client:127.0.0.1/32";
    let gone: u32 = house.ask(&["DEL", key]).await;
    assert_eq!(gone, 1);
    house.visit().await;
    assert_eq!(house.machine.starts(), 2);
}
