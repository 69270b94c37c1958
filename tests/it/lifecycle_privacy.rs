//! What is written down of visitors, with the real binary: everything that it leaves in its store and in its log is read,
//! and nothing of a client stands there for longer, or in more words, than the setting says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::lifecycle::{let_in, post, press, service};
use crate::support::anteroom::{Anteroom, binary};
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::redis::Server;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);
const DAY_MS: i64 = 86_400_000;

/// Visitors, each with the beginning of its network as it is written down.
const FIRST: (&str, &str) = ("203.0.113.77", "203.0.113.");
const NEIGHBOUR: (&str, &str) = ("203.0.113.78", "203.0.113.");
const OTHER: (&str, &str) = ("2001:db8:77:88::99", "2001:db8:77:");
const ALL: [(&str, &str); 3] = [FIRST, NEIGHBOUR, OTHER];

/// Every visitor's user agent holds this.
const AGENT: &str = "privacy-test/1";

fn from(visitor: (&str, &str)) -> reqwest::Client {
    let headers = [
        ("x-forwarded-for", visitor.0.to_owned()),
        ("user-agent", format!("{AGENT} of {}", visitor.0.len())),
    ];
    let headers = headers.map(|(name, value)| {
        let name = reqwest::header::HeaderName::from_static(name);
        (name, value.parse().expect("plain text"))
    });
    let client = anteroom::telemetry::http_client()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(headers.into_iter().collect());
    client.timeout(SOON).build().expect("a client")
}

/// Two wakes and two sleeps, a refusal of each visitor that woke, an app that is used, and a list that bans.
async fn play(dir: &Path, store: &str, privacy: &str) -> (Anteroom, Machine) {
    let machine = Machine::new(Duration::from_millis(50)).await;
    let wake = "wake = { per_client = \"1/1d\", deny = [\"203.0.113.78\"] }";
    let services = format!("[privacy]\n{privacy}\n{}", service(&machine, wake));
    let anteroom = Anteroom::start_on(dir, store, &services, free_port(), free_port()).await;
    anteroom.phase("blog", "asleep", SOON).await;
    for visitor in [FIRST, OTHER] {
        let client = from(visitor);
        assert_eq!(post(&from(NEIGHBOUR), &anteroom, "none").await, 403);
        assert_eq!(press(&client, &anteroom).await, 202);
        let_in(&client, &anteroom).await;
        anteroom.phase("blog", "asleep", SOON).await;
        assert_eq!(press(&client, &anteroom).await, 429);
    }
    (anteroom, machine)
}

/// Everything in a Redis: each key with its time left in milliseconds (-1 for none) and all that stands in it.
async fn scan(server: &Server) -> BTreeMap<String, (i64, String)> {
    let mut all = BTreeMap::new();
    let mut cursor = String::from("0");
    loop {
        let (next, keys): (String, Vec<String>) =
            server.ask(&["SCAN", &cursor, "COUNT", "1000"]).await;
        for key in keys {
            let left: i64 = server.ask(&["PTTL", &key]).await;
            let kind: String = server.ask(&["TYPE", &key]).await;
            let words: &[&str] = match kind.as_str() {
                "string" => &["GET", &key],
                "hash" => &["HGETALL", &key],
                "zset" => &["ZRANGE", &key, "0", "-1"],
                "stream" => &["XRANGE", &key, "-", "+"],
                "list" => &["LRANGE", &key, "0", "-1"],
                "none" => continue,
                other => panic!("{key} is a {other}"),
            };
            let value: redis::Value = server.ask(words).await;
            all.insert(key, (left, shown(&value)));
        }
        if next == "0" {
            return all;
        }
        cursor = next;
    }
}

fn shown(value: &redis::Value) -> String {
    match value {
        redis::Value::Nil => String::new(),
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Array(all) => all.iter().map(|it| shown(it) + "\n").collect(),
        other => format!("{other:?}"),
    }
}

/// Where these words stand: key and content.
fn with<'a>(
    keys: &'a BTreeMap<String, (i64, String)>,
    words: &'a [String],
) -> impl Iterator<Item = (&'a str, i64)> {
    let holds = |text: &str| words.iter().any(|word| text.contains(word.as_str()));
    keys.iter()
        .filter(move |(key, (_, value))| holds(key) || holds(value))
        .map(|(key, (left, _))| (key.as_str(), *left))
}

fn words(words: impl IntoIterator<Item = &'static str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

fn addresses() -> Vec<String> {
    words(ALL.map(|it| it.0))
}

fn networks() -> Vec<String> {
    words(ALL.map(|it| it.1))
}

/// Whom the list of triggerers names, newest first.
async fn listed(anteroom: &Anteroom) -> Vec<Value> {
    let ledger = anteroom.admin(reqwest::Method::GET, "/blog/ledger").await;
    ledger["triggerers"].as_array().expect("a list").clone()
}

async fn command(anteroom: &Anteroom, words: &[&str]) -> String {
    let mut command = Command::new(binary());
    command.args(words).arg("-c").arg(&anteroom.config);
    let ended = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{words:?}: {ended:?}");
    said
}

async fn metrics(anteroom: &Anteroom) -> String {
    let url = format!("http://{}/metrics", anteroom.admin);
    let answer = reqwest::get(url).await.expect("it answers");
    answer.text().await.expect("text")
}

/// Nothing about a client is without an end, nothing that is forbidden is anywhere, and no address is in the log.
async fn inspect(server: &Server, anteroom: &Anteroom, forbidden: &[String]) {
    let keys = scan(server).await;
    let names = listed(anteroom).await.into_iter();
    let names = names.map(|asked| asked["who"].as_str().expect("a name").to_owned());
    let mut about: Vec<String> = names.chain(networks()).chain(addresses()).collect();
    about.push(AGENT.into());
    for (key, left) in with(&keys, &about) {
        assert!(left > 0 && left <= 30 * DAY_MS, "{key} has no end: {left}");
    }
    for (key, left) in with(&keys, &addresses()) {
        assert!(left <= DAY_MS + 60_000, "{key} has an address for {left}");
    }
    for key in keys.keys().filter(|key| key.contains(":limit:")) {
        assert!(keys[key].0 > 0, "{key} has no end");
    }
    let found: Vec<_> = with(&keys, forbidden).collect();
    assert!(found.is_empty(), "{found:?} in {keys:#?}");
    let (log, metrics) = (anteroom.whole_log(), metrics(anteroom).await);
    for word in addresses().iter().chain(forbidden) {
        assert!(!log.contains(word), "{word} is in the log:\n{log}");
        assert!(!metrics.contains(word), "{word} is in the metrics");
    }
}

/// The setting, and what may stand nowhere with it.
fn settings() -> [(&'static str, Vec<String>); 3] {
    [
        ("addresses = \"full\"", Vec::new()),
        ("addresses = \"network\"", addresses()),
        (
            "addresses = \"keyed\"",
            addresses().into_iter().chain(networks()).collect(),
        ),
    ]
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn nothing_of_a_client_is_kept_for_longer_or_in_more_words_than_the_setting_says() {
    for (privacy, forbidden) in settings() {
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start().await;
        let url = format!("redis://{}", server.at());
        let (mut anteroom, _machine) = play(dir.path(), &url, privacy).await;
        inspect(&server, &anteroom, &forbidden).await;

        let asked = listed(&anteroom).await;
        let outcomes: Vec<_> = asked.iter().map(|it| it["outcome"].as_str()).collect();
        let expected = ["refused", "woke", "refused", "woke"].map(Some);
        assert_eq!(outcomes, expected, "{asked:#?}");
        assert!(
            asked
                .iter()
                .all(|it| it["agent"].as_str().is_some_and(|it| it.contains(AGENT)))
        );
        let whole: Vec<_> = asked.iter().map(|it| it["address"].as_str()).collect();
        let expected = match forbidden.is_empty() {
            true => [OTHER, OTHER, FIRST, FIRST].map(|it| Some(it.0)),
            false => [None; 4],
        };
        assert_eq!(whole, expected, "{privacy}");

        // The one who is forgotten is nowhere; the others stay.
        let name = asked[3]["who"].as_str().expect("a name").to_owned();
        let said = command(&anteroom, &["forget", FIRST.0, "--json"]).await;
        let said: Value = serde_json::from_str(&said).expect("JSON");
        // With `network`, nobody can tell whose its network's entries are.
        let entries = if privacy.contains("network") { 0 } else { 2 };
        assert_eq!(said["removed"]["triggerers"], entries, "{said}");
        assert_eq!(said["removed"]["limits"], 1, "{said}");
        let mut gone = vec![FIRST.0.to_owned()];
        if privacy.contains("keyed") {
            assert_eq!(said["removed"]["ledger"], 1, "{said}");
            gone.push(name.clone());
        }
        let keys = scan(&server).await;
        let found: Vec<_> = with(&keys, &gone).collect();
        assert!(found.is_empty(), "{found:?} in {keys:#?}");
        assert_eq!(listed(&anteroom).await.len(), 4 - entries, "{privacy}");
        assert!(!anteroom.whole_log().contains(FIRST.0));
        let again = press(&from(FIRST), &anteroom).await;
        assert_eq!(again, 202, "{privacy}: its limit is whole again");

        // Also when nobody is there any more.
        let _ = command(&anteroom, &["forget", "2001:db8:77::/48"]).await;
        let keys = scan(&server).await;
        let other = words([OTHER.0, OTHER.1]);
        let found: Vec<_> = with(&keys, &other).collect();
        assert!(found.is_empty(), "{privacy}: {found:?}");
        assert!(anteroom.terminate(SOON).await.success());
        let keys = scan(&server).await;
        let about: Vec<String> = networks().into_iter().chain([name, AGENT.into()]).collect();
        for (key, left) in with(&keys, &about) {
            assert!(left > 0, "{privacy}: {key} has no end");
        }
        let found: Vec<_> = with(&keys, &other).collect();
        assert!(found.is_empty(), "{privacy}: {found:?}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn who_woke_it_last_is_forgotten_in_its_status_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start().await;
    let url = format!("redis://{}", server.at());
    let (mut anteroom, _machine) = play(dir.path(), &url, "addresses = \"network\"").await;
    let network = words([OTHER.1]);
    let told = async || {
        let keys = scan(&server).await;
        with(&keys, &network).any(|(key, _)| key.ends_with(":status"))
    };
    // Its room looks at the ledger now and then.
    eventually(Duration::from_secs(30), told).await;
    let _ = command(&anteroom, &["forget", "2001:db8:77::/48"]).await;
    assert!(!told().await, "{:#?}", scan(&server).await);
    assert!(anteroom.terminate(SOON).await.success());
    let keys = scan(&server).await;
    let found: Vec<_> = with(&keys, &network).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn an_address_ends_with_its_time_though_nobody_is_there_to_remove_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start().await;
    let url = format!("redis://{}", server.at());
    let (mut anteroom, _machine) = play(dir.path(), &url, "address_kept = \"30s\"").await;
    let ended = anteroom.terminate(SOON).await;
    assert!(ended.success());
    let keys = scan(&server).await;
    let all = addresses();
    let mut least = 0;
    for (key, left) in with(&keys, &all) {
        assert!(left > 0 && left <= 30_000, "{key}: {left}");
        assert!(
            key.contains(":addresses:"),
            "{key}: a limit of a day has a name"
        );
        least += 1;
    }
    assert!(least > 0, "{keys:#?}");
    eventually(SOON * 2, async || {
        let keys = scan(&server).await;
        with(&keys, &all).next().is_none()
    })
    .await;
    let keys = scan(&server).await;
    assert!(with(&keys, &networks()).next().is_some(), "networks stay");
}

#[tokio::test]
async fn a_store_file_holds_no_more_than_the_setting_says() {
    for (privacy, forbidden) in settings() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("anteroom.db");
        let url = format!("file:{}", file.display());
        let (mut anteroom, _machine) = play(dir.path(), &url, privacy).await;
        let said = command(&anteroom, &["why", "blog"]).await;
        let name = listed(&anteroom).await[0]["who"].clone();
        let name = name.as_str().expect("a name").to_owned();
        let woken = format!("by {name}, whose page asked for /");
        assert!(
            said.contains(&woken) && said.contains("seen by edge"),
            "{said}"
        );
        assert!(said.contains("without traffic"), "{said}");
        let refused = "Refused in the last 24h: 2 by per_client.";
        assert_eq!(said.lines().skip(1).collect::<Vec<_>>(), [refused]);
        let ledger = command(&anteroom, &["ledger", "blog"]).await;
        assert!(ledger.contains("refused by per_client"), "{ledger}");
        for words in [["status"].as_slice(), &["why", "blog"], &["ledger", "blog"]] {
            let said = command(&anteroom, &[words, &["--json"]].concat()).await;
            serde_json::from_str::<Value>(&said).expect("JSON");
        }
        let forgot = command(&anteroom, &["forget", OTHER.0]).await;
        let entries = if privacy.contains("network") { 0 } else { 2 };
        let removed = format!("{entries} entries among the triggerers, 1 limits");
        assert!(forgot.contains(&removed), "{forgot}");
        assert!(anteroom.terminate(SOON).await.success());
        let written = std::fs::read(&file).expect("the file is there");
        for word in &forbidden {
            let holds = written.windows(word.len()).any(|it| it == word.as_bytes());
            assert!(!holds, "{privacy}: {word} is in the file");
        }
        let log = anteroom.whole_log();
        for word in addresses().iter().chain(&forbidden) {
            assert!(!log.contains(word), "{word} is in the log:\n{log}");
        }
    }
}
