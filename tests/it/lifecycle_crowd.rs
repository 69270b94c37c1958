//! Many who wait at the pages of two rooms: the wake brings as many instances as they call for.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lifecycle::{client, press};
use crate::support::anteroom::{Anteroom, binary};
use crate::support::ports::{free_port, free_ports};
use crate::support::redis::Server;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(40);

/// Two rooms on one Redis and one machine, whose processes are the instances: one for each 5 visitors, 4 at most.
struct House {
    rooms: [Anteroom; 2],
    _server: Server,
    _dir: tempfile::TempDir,
}

impl House {
    async fn asleep() -> House {
        let server = Server::start().await;
        let dir = tempfile::tempdir().expect("a folder");
        // Its clones take the next ones.
        let (app, binary) = (free_ports(8), binary());
        let service = format!(
            r#"[service.blog]
hosts = ["blog.example.com"]
port = {app}
ingress = "proxy"
idle_timeout = "1h"
hold = "30s"
health = {{ interval = "100ms", timeout = "1s" }}
provider = {{ kind = "process", command = ["{binary}", "demo-app", "--port", "{{port}}", "--start-up-ms", "6000"] }}
[service.blog.scale]
max = 4
wake_instances = {{ visitors_each = 5 }}
creations_per_hour = 1000
signal = {{ kind = "webhook" }}
"#
        );
        let store = format!("redis://{}", server.at());
        let start = async |name: &str| {
            let (room, admin) = (free_port(), free_port());
            let config = dir.path().join(name);
            let text = format!(
                "[server]\nlisten = \"127.0.0.1:{room}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
                 [store]\nurl = \"{store}\"\n{service}"
            );
            std::fs::write(&config, text).expect("the folder is ours");
            Anteroom::run(config, room, admin).await
        };
        let rooms = [start("one.toml").await, start("two.toml").await];
        for room in &rooms {
            room.phase("blog", "asleep", SOON).await;
        }
        House {
            rooms,
            _server: server,
            _dir: dir,
        }
    }

    /// The instances that serve, and what is said of their number.
    async fn settled(&self) -> (usize, String) {
        let room = &self.rooms[0];
        room.phase("blog", "awake", SOON).await;
        eventually(SOON, async || {
            let view = room.view("blog").await;
            let clones = view["clones"].as_array().cloned().unwrap_or_default();
            clones.iter().all(|clone| clone["step"] == "serving")
        })
        .await;
        let view = room.view("blog").await;
        let serving = view["upstreams"].as_array().map_or(0, Vec::len);
        (serving, view["scale"]["why"].to_string())
    }
}

/// Whoever this is waits at the events of the page, until the stream is dropped.
async fn waits(room: SocketAddr, client: &str) -> TcpStream {
    ask(room, client, "/__anteroom/events", "HTTP/1.1 200").await
}

async fn ask(room: SocketAddr, client: &str, path: &str, expected: &str) -> TcpStream {
    let mut stream = TcpStream::connect(room).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: blog.example.com\r\naccept: application/json\r\nx-forwarded-for: {client}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; expected.len()];
    if !head.is_empty() {
        stream.read_exact(&mut head).await.unwrap();
    }
    assert_eq!(String::from_utf8_lossy(&head), expected);
    stream
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn those_who_wait_in_two_rooms_bring_as_many_instances_as_they_call_for() {
    let house = House::asleep().await;
    let [one, two] = [house.rooms[0].room, house.rooms[1].room];
    let mut streams = Vec::new();
    for number in 0..6 {
        streams.push(waits(one, &format!("203.0.113.{number}")).await);
        streams.push(waits(two, &format!("198.51.100.{number}")).await);
    }
    // Somebody in the room that follows presses the button, or in the one that leads.
    assert_eq!(press(&client(), &house.rooms[1]).await, 202);
    let (serving, why) = house.settled().await;
    assert_eq!(serving, 3, "12 visitors, one instance for each 5: {why}");
    assert!(why.contains("12 visitors waited"), "{why}");
    for room in &house.rooms {
        assert!(!room.whole_log().contains("ERROR"));
    }
    drop(streams);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn one_client_alone_brings_one_instance_and_held_requests_count() {
    let house = House::asleep().await;
    let [one, two] = [house.rooms[0].room, house.rooms[1].room];
    let mut streams = Vec::new();
    for number in 0..30 {
        streams.push(waits(one, "203.0.113.7").await);
        // Who has gone again does not wait.
        drop(waits(one, &format!("192.0.2.{number}")).await);
    }
    // Five of the one client, and three whose requests are held: the first of them asks for the wake.
    for number in 0..3 {
        streams.push(ask(two, &format!("198.51.100.{number}"), "/api", "").await);
    }
    let (serving, why) = house.settled().await;
    assert_eq!(serving, 2, "8 of them: {why}");
}
