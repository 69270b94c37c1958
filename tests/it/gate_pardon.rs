//! What an admin sees of those who opened a trap or answered a challenge wrongly, and how one is let go, with the real
//! binary: on a file, and with two rooms on a real Redis.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::lifecycle::{HOST, nonce_of, press, service};
use crate::support::anteroom::{Anteroom, binary};
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::redis::Server;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);

/// What is promised between rooms is a second; the rest is for a busy machine.
const A_SECOND: Duration = Duration::from_secs(3);

const SCANNER: &str = "203.0.113.9";
const NEIGHBOUR: &str = "203.0.113.200";
const NETWORK: &str = "203.0.113.0/24";

fn from(address: &str) -> reqwest::Client {
    let lines = [("x-forwarded-for", address), ("user-agent", "zgrab/0.x")];
    let lines = lines.map(|(name, value)| {
        let name = reqwest::header::HeaderName::from_static(name);
        (name, value.parse().expect("plain text"))
    });
    let client = anteroom::telemetry::http_client()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(lines.into_iter().collect());
    client.timeout(SOON).build().expect("a client")
}

async fn room(dir: &Path, store: &str, machine: &Machine, more: &str) -> Anteroom {
    let services = service(machine, more);
    let room = Anteroom::start_on(dir, store, &services, free_port(), free_port()).await;
    room.phase("blog", "asleep", SOON).await;
    room
}

async fn opens_a_trap(room: &Anteroom, address: &str) {
    let url = format!("http://{}/.env?a=secret", room.room);
    let answer = from(address).get(url).header("host", HOST).send().await;
    assert_eq!(answer.expect("an answer").status().as_u16(), 503);
}

async fn why(room: &Anteroom) -> Value {
    room.admin(reqwest::Method::GET, "/blog/why").await
}

async fn command(room: &Anteroom, words: &[&str]) -> String {
    let mut command = Command::new(binary());
    command.args(words).arg("-c").arg(&room.config);
    let ended = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{words:?}: {ended:?}");
    said
}

/// Whoever opened the trap is in `why` and in the ledger, by words and as JSON.
async fn is_told(room: &Anteroom) {
    let told = why(room).await;
    let trapped = &told["trapped"][0];
    assert_eq!(trapped["who"], NETWORK, "{told}");
    assert_eq!(
        (&trapped["address"], &trapped["path"], &trapped["agent"]),
        (&SCANNER.into(), &"/.env".into(), &"zgrab/0.x".into())
    );
    let length = trapped["banned_until"].as_u64().unwrap() - trapped["when"].as_u64().unwrap();
    assert_eq!(length, 3_600_000);
    let said = command(room, &["why", "blog"]).await;
    let begins = format!("{SCANNER} of {NETWORK} opened the trap /.env at ");
    let ends = format!("UTC, or `anteroom pardon {NETWORK}`.");
    assert!(said.contains(&begins) && said.contains(&ends), "{said}");
    let json: Value =
        serde_json::from_str(&command(room, &["why", "blog", "--json"]).await).unwrap();
    assert_eq!(json["trapped"][0], *trapped);
    let said = command(room, &["ledger", "blog"]).await;
    assert!(said.contains("trapped until "), "{said}");
    assert!(!said.contains("secret"), "no query: {said}");
}

#[tokio::test]
async fn who_opened_a_trap_is_told_until_an_admin_lets_it_go() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let store = format!("file:{}", dir.path().join("anteroom.db").display());
    let room = room(dir.path(), &store, &machine, "").await;
    for _ in 0..2 {
        opens_a_trap(&room, SCANNER).await;
    }
    is_told(&room).await;
    let told = why(&room).await;
    assert_eq!(told["trapped"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(press(&from(NEIGHBOUR), &room).await, 403);
    let said = command(&room, &["pardon", NEIGHBOUR]).await;
    let expected = format!(
        "{NEIGHBOUR}/32 may wake services again: 1 held for a trap and 0 bans are lifted\n"
    );
    assert_eq!(said, expected);
    assert_eq!(why(&room).await["trapped"], serde_json::json!([]));
    let past = command(&room, &["ledger", "blog"]).await;
    assert!(past.contains("trapped until "), "what was stays: {past}");
    assert_eq!(press(&from(NEIGHBOUR), &room).await, 202);
    let url = format!("http://{}/api/v1/pardon", room.admin);
    for bad in ["nonsense", "203.0.113.0/33", ""] {
        let body = serde_json::json!({ "network": bad });
        let answer = from(SCANNER).post(&url).json(&body).send().await;
        assert_eq!(answer.unwrap().status().as_u16(), 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn who_opened_a_trap_in_one_room_is_told_and_let_go_in_another() {
    let server = Server::start().await;
    let url = format!("redis://{}", server.at());
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let machine = Machine::new(Duration::from_millis(50)).await;
    let first = room(one.path(), &url, &machine, "").await;
    let second = room(other.path(), &url, &machine, "").await;
    let is_held = async |room: &Anteroom| why(room).await["trapped"][0].is_object();
    for by_hand in [false, true] {
        opens_a_trap(&first, SCANNER).await;
        eventually(A_SECOND, || is_held(&second)).await;
        is_told(&second).await;
        assert_eq!(press(&from(NEIGHBOUR), &second).await, 403);
        // The first room has read the ban as well, so that it will miss it.
        eventually(A_SECOND, async || {
            let bans = reqwest::get(format!("http://{}/metrics", first.admin)).await;
            let bans = bans.unwrap().text().await.unwrap();
            bans.contains("\nanteroom_bans 1\n")
        })
        .await;
        match by_hand {
            true => {
                let gone: u64 = server.ask(&["DEL", "anteroom:ban:203.0.113.0/24"]).await;
                assert_eq!(gone, 1);
            }
            false => {
                let said = command(&second, &["pardon", NETWORK]).await;
                assert!(said.contains("0 held for a trap and 1 bans"), "{said}");
            }
        }
        for room in [&first, &second] {
            eventually(A_SECOND, async || !is_held(room).await).await;
        }
    }
    assert_eq!(press(&from(SCANNER), &first).await, 202);
}

#[tokio::test]
async fn where_addresses_are_names_no_trap_tells_one() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let privacy = "[privacy]\naddresses = \"keyed\"\n";
    let services = format!("{privacy}{}", service(&machine, ""));
    let room = Anteroom::start(dir.path(), &services).await;
    room.phase("blog", "asleep", SOON).await;
    opens_a_trap(&room, SCANNER).await;
    room.log("somebody opened a trap", SOON).await;
    let said = command(&room, &["why", "blog"]).await;
    assert!(said.contains("`anteroom pardon ADDRESS`"), "{said}");
    let told = why(&room).await.to_string();
    for text in [&said, &told, &room.whole_log()] {
        assert!(!text.contains("203.0.113."), "{text}");
    }
    assert!(told.contains("\"path\":\"/.env\""), "{told}");
}

#[tokio::test]
async fn who_answers_a_challenge_wrongly_is_counted_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let store = format!("file:{}", dir.path().join("anteroom.db").display());
    let room = room(
        dir.path(),
        &store,
        &machine,
        "wake = { by = \"challenge\" }",
    )
    .await;
    let page = from(SCANNER).get(format!("http://{}/a?b", room.room));
    let page = page
        .header("host", HOST)
        .header("accept", "text/html")
        .send();
    let page = page.await.unwrap().text().await.unwrap();
    let nonce = nonce_of(&page).expect("a nonce").to_owned();
    let wrong = [
        ("nonce", &*nonce),
        ("challenge", "v1.x.y"),
        ("answer", "7"),
        ("by", "click"),
        ("back", "/a?b"),
    ];
    let wake = from(SCANNER).post(format!("http://{}/__anteroom/wake", room.room));
    let wake = wake.header("host", HOST).form(&wrong).send().await.unwrap();
    assert_eq!(wake.status().as_u16(), 409);
    let told = why(&room).await;
    assert_eq!(
        told["refused"],
        serde_json::json!({ "unproven": 1 }),
        "{told}"
    );
    let said = command(&room, &["why", "blog"]).await;
    assert!(
        said.contains("Refused in the last 24h: 1 by unproven.\n"),
        "{said}"
    );
    let past = room.admin(reqwest::Method::GET, "/blog/ledger").await;
    let asked = &past["triggerers"][0];
    assert_eq!(
        (&asked["rule"], &asked["path"]),
        (&"unproven".into(), &"/a".into()),
        "{past}"
    );
    assert_eq!(machine.starts(), 0);
}
