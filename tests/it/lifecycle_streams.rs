//! Streams behind the real Traefik, of a service with three instances: they pass the room, which gives each to the instance that has the
//! fewest open, whoever else has come and gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::lifecycle::client;
use crate::support::anteroom::Anteroom;
use crate::support::ports::free_port;
use crate::support::traefik::{Places, Traefik};
use crate::support::visitor::Visitor;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(40);
const EVENTS: &str = "accept: text/event-stream\r\n";
const SOCKET: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

struct House {
    traefik: Traefik,
    anteroom: Anteroom,
    _dir: tempfile::TempDir,
}

impl House {
    /// Three instances serve.
    async fn scaled() -> House {
        let dir = tempfile::tempdir().expect("a folder");
        let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apps/streams.py");
        let (room, admin) = (free_port(), free_port());
        let machine = "127.0.0.1:9".parse().expect("an address");
        let places = Places {
            room,
            admin,
            machine,
        };
        let traefik = Traefik::start(dir.path(), "published", &places).await;
        let service = format!(
            "{}[service.blog]\nhosts = [\"blog.test\"]\nport = {}\nidle_timeout = \"1h\"\ndrain_timeout = \"1s\"\n\
             health = {{ interval = \"100ms\", timeout = \"1s\" }}\n\
             provider = {{ kind = \"process\", command = [\"python3\", \"-B\", \"{}\", \"{{port}}\"] }}\n\
             scale = {{ max = 3, cooldown = \"1s\", signal = {{ kind = \"webhook\" }} }}\n",
            traefik.section("file", room),
            free_port(),
            app.display(),
        );
        let anteroom = Anteroom::start_at(dir.path(), &service, room, admin).await;
        anteroom.command("blog", "wake").await;
        anteroom.phase("blog", "awake", SOON).await;
        let alert = json!({ "alerts": [{
            "status": "firing", "labels": { "service": "blog" }, "fingerprint": "busy",
            "startsAt": jiff::Timestamp::now().to_string(),
        }] });
        let url = format!("http://{}/v1/scale-up", anteroom.admin);
        let answer = client().post(url).json(&alert).send().await;
        assert_eq!(answer.expect("it answers").status(), 200);
        eventually(SOON, async || {
            let view = anteroom.view("blog").await;
            view["upstreams"].as_array().map_or(0, Vec::len) == 3
        })
        .await;
        let house = House {
            traefik,
            anteroom,
            _dir: dir,
        };
        eventually(SOON, async || {
            let mut visitor = Visitor::connect(house.traefik.web).await;
            let answer = visitor.get("/", "accept: text/html\r\n").await;
            answer.status == 200 && !answer.header("x-app").is_empty()
        })
        .await;
        house
    }

    /// Opens a stream; says at which instance.
    async fn open(&self, lines: &str, status: u16) -> (String, Visitor) {
        let mut visitor = Visitor::connect(self.traefik.web).await;
        let head = format!("GET / HTTP/1.1\r\nhost: blog.test\r\n{lines}\r\n");
        visitor.send(&head).await;
        let answer = visitor.head().await;
        assert_eq!(answer.status, status, "{answer:?}");
        (answer.header("x-app").to_owned(), visitor)
    }
}

fn shares(open: &[(String, Visitor)]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for (at, _) in open {
        *shares.entry(at.as_str()).or_default() += 1;
    }
    shares
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_to_the_instance_that_has_the_fewest_open() {
    let house = House::scaled().await;
    for (lines, status) in [(SOCKET, 101), (EVENTS, 200)] {
        let mut open = Vec::new();
        for _ in 0..9 {
            open.push(house.open(lines, status).await);
        }
        let even = shares(&open);
        assert!(
            even.len() == 3 && even.values().all(|count| *count == 3),
            "{even:?}"
        );
        // All that one of them has end: the next ones are for it, as soon as that is seen.
        let left = open[0].0.clone();
        open.retain(|(at, _)| *at != left);
        let more = tokio::sync::Mutex::new(open);
        eventually(SOON, async || {
            let next = house.open(lines, status).await;
            let is_left = next.0 == left;
            more.lock().await.push(next);
            is_left
        })
        .await;
        let mut open = more.into_inner();
        for _ in 0..2 {
            open.push(house.open(lines, status).await);
            assert_eq!(
                open.last().map(|(at, _)| at),
                Some(&left),
                "{:?}",
                shares(&open)
            );
        }
    }
    house.anteroom.command("blog", "sleep").await;
    house.anteroom.phase("blog", "asleep", SOON).await;
}
