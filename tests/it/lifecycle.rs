//! The main job of the real binary, with a machine that the test plays: asleep, page, wake, app, idle, asleep;
//! and the same with the process killed at every named step.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::anteroom::Anteroom;
use crate::support::load;
use crate::support::machine::{APP, Machine};
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);
pub(crate) const HOST: &str = "blog.example.com";

pub(crate) fn service(machine: &Machine, more: &str) -> String {
    format!(
        "[service.blog]\nhosts = [\"{HOST}\"]\nport = {}\ningress = \"proxy\"\nidle_timeout = \"2s\"\nmin_awake = \"0s\"\n\
         start_timeout = \"20s\"\ndrain_timeout = \"1s\"\nhealth = {{ interval = \"100ms\", timeout = \"1s\" }}\n{}\n{more}\n",
        machine.app_port(),
        machine.provider(),
    )
}

pub(crate) fn client() -> reqwest::Client {
    let client = anteroom::telemetry::http_client()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    client.timeout(SOON).build().expect("a client")
}

async fn get(client: &reqwest::Client, anteroom: &Anteroom, path: &str) -> reqwest::Response {
    let request = client
        .get(format!("http://{}{path}", anteroom.room))
        .header("host", HOST);
    request
        .header("accept", "text/html")
        .send()
        .await
        .expect("the room answers")
}

/// Does what the page's script does: takes the nonce from the page and posts it.
pub(crate) async fn press(client: &reqwest::Client, anteroom: &Anteroom) -> StatusCode {
    let pressed = press_or_pass(client, anteroom).await;
    pressed.unwrap_or_else(|page| panic!("no nonce in {page}"))
}

/// The same for a visitor who may be let in already; gives what there is instead of the waiting page then.
pub(crate) async fn press_or_pass(
    client: &reqwest::Client,
    anteroom: &Anteroom,
) -> Result<StatusCode, String> {
    let page = get(client, anteroom, "/").await.text().await;
    let page = page.expect("a page");
    match nonce_of(&page) {
        Some(nonce) => Ok(post(client, anteroom, nonce).await),
        None => Err(page),
    }
}

/// Posts the wake with this nonce.
pub(crate) async fn post(client: &reqwest::Client, anteroom: &Anteroom, nonce: &str) -> StatusCode {
    let wake = client
        .post(format!("http://{}/__anteroom/wake", anteroom.room))
        .header("host", HOST);
    let wake = wake
        .header("x-anteroom-page", "1")
        .header("accept", "application/json");
    wake.form(&[("nonce", nonce)])
        .send()
        .await
        .expect("the room answers")
        .status()
}

pub(crate) async fn let_in(client: &reqwest::Client, anteroom: &Anteroom) {
    eventually(SOON, async || {
        let answer = get(client, anteroom, "/").await;
        answer.status() == 200 && answer.text().await.is_ok_and(|text| text.contains(APP))
    })
    .await;
}

#[tokio::test]
async fn a_visitor_wakes_the_service_and_it_sleeps_when_nobody_comes() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(300)).await;
    let anteroom = Anteroom::start(dir.path(), &service(&machine, "")).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();

    let page = get(&client, &anteroom, "/").await;
    assert_eq!(page.status(), 503);
    assert_eq!(page.headers()["x-anteroom"], "asleep");
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert!(page.headers().contains_key("retry-after"));
    assert_eq!(machine.starts(), 0, "a GET wakes nothing");

    assert_eq!(press(&client, &anteroom).await, 202);
    let_in(&client, &anteroom).await;
    assert_eq!(machine.starts(), 1);

    anteroom.phase("blog", "asleep", SOON).await;
    assert!(!machine.runs());
    assert_eq!(machine.stops(), 1);
    assert_eq!(get(&client, &anteroom, "/").await.status(), 503);

    // What everybody sees is written down a moment later.
    let ledger = async || anteroom.admin(Method::GET, "/blog/ledger").await;
    eventually(SOON, async || {
        ledger().await["entries"][0]["event"] == "slept"
    })
    .await;
    let ledger = ledger().await;
    let told: Vec<_> = ledger["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .rev()
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|entry| entry["event"].as_str().unwrap_or("?"))
        .collect();
    assert_eq!(told, ["wake_began", "woken", "went_idle", "slept"]);
    let by = &ledger["entries"][3];
    assert_eq!(
        (by["by"].as_str(), by["who"].as_str()),
        (Some("page"), Some("127.0.0.0/24"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_first_visitors_make_one_start_call() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_secs(1)).await;
    let anteroom = Anteroom::start(
        dir.path(),
        &service(&machine, "wake = { by = \"request\" }"),
    )
    .await;
    anteroom.phase("blog", "asleep", SOON).await;
    raise_file_limit();
    let (client, url) = (client(), format!("http://{}/", anteroom.room));
    let visit = |_| {
        let visit = client
            .get(&url)
            .header("host", HOST)
            .header("accept", "text/html");
        visit
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .send()
    };
    let answers = futures_util::future::join_all((0..10_000).map(visit)).await;
    for answer in answers {
        let status = answer.expect("an answer").status();
        assert!(status == 503 || status == 200, "{status}");
    }
    let_in(&client, &anteroom).await;
    assert_eq!(machine.starts(), 1);
}

/// Ten thousand connections at once are ten thousand files.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .expect("up to the hard limit");
}

#[tokio::test]
async fn a_silent_websocket_keeps_the_service_awake_until_it_closes() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let anteroom = Anteroom::start(dir.path(), &service(&machine, "")).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();
    press(&client, &anteroom).await;
    let_in(&client, &anteroom).await;

    let mut request = format!("ws://{}/", anteroom.room)
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("host", HOST.parse().expect("a host"));
    let (mut socket, _) = tokio_tungstenite::connect_async(request)
        .await
        .expect("the upgrade passes the room");
    // Three idle times long.
    let opened = tokio::time::Instant::now();
    eventually(SOON, async || {
        let view = anteroom.view("blog").await;
        assert_eq!(view["phase"], "awake", "{view}");
        opened.elapsed() > Duration::from_secs(6)
    })
    .await;
    socket
        .send(Message::text("still there?"))
        .await
        .expect("it is open");
    let echo = socket.next().await.expect("an echo").expect("it is open");
    assert_eq!(echo, Message::text("still there?"));
    socket.close(None).await.expect("it closes");
    drop(socket);
    anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!(machine.stops(), 1);
}

/// A log line that stands for each named step, and whether the service is woken or left alone to get there.
const WAKING_STEPS: [&str; 5] = [
    "waking",
    "the machine is starting",
    "the machine is up",
    "the app answers",
    "ready in",
];
const STOPPING_STEPS: [&str; 4] = [
    "idle for",
    "visitors reach the room",
    "stopping the machine",
    "asleep, after",
];

#[tokio::test]
async fn killed_at_any_step_of_waking_it_ends_awake_with_one_machine() {
    for step in WAKING_STEPS {
        let dir = tempfile::tempdir().expect("a folder");
        let machine = Machine::new(Duration::from_millis(200)).await;
        let mut anteroom = Anteroom::start(dir.path(), &service(&machine, "")).await;
        anteroom.phase("blog", "asleep", SOON).await;
        let client = client();
        let mark = anteroom.mark();
        press(&client, &anteroom).await;
        anteroom.log_after(mark, step, SOON).await;
        anteroom.kill().await;
        let anteroom = anteroom.again().await;
        let_in(&client, &anteroom).await;
        assert!(
            machine.starts() <= 2,
            "killed at {step:?}: {} starts",
            machine.starts()
        );
        anteroom.phase("blog", "asleep", SOON).await;
        assert!(!machine.runs(), "killed at {step:?}");
    }
}

#[tokio::test]
async fn killed_at_any_step_of_stopping_it_ends_asleep() {
    for step in STOPPING_STEPS {
        let dir = tempfile::tempdir().expect("a folder");
        let machine = Machine::new(Duration::from_millis(50)).await;
        let mut anteroom = Anteroom::start(dir.path(), &service(&machine, "")).await;
        anteroom.phase("blog", "asleep", SOON).await;
        let client = client();
        press(&client, &anteroom).await;
        let mark = anteroom.mark();
        anteroom.log_after(mark, step, SOON).await;
        anteroom.kill().await;
        let anteroom = anteroom.again().await;
        anteroom.phase("blog", "asleep", SOON).await;
        assert!(!machine.runs(), "killed at {step:?}");
        // And it wakes again as if nothing had been.
        press(&client, &anteroom).await;
        let_in(&client, &anteroom).await;
    }
}

#[tokio::test]
async fn a_restart_leaves_an_awake_service_awake() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let services = service(&machine, "").replace("idle_timeout = \"2s\"", "idle_timeout = \"10m\"");
    let mut anteroom = Anteroom::start(dir.path(), &services).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();
    press(&client, &anteroom).await;
    let_in(&client, &anteroom).await;
    assert!(anteroom.terminate(SOON).await.success());
    assert!(machine.runs(), "machines stay as they are");
    let anteroom = anteroom.again().await;
    anteroom.phase("blog", "awake", SOON).await;
    let_in(&client, &anteroom).await;
    assert_eq!((machine.starts(), machine.stops()), (1, 0));
}

#[tokio::test]
async fn a_machine_that_dies_under_a_visitor_is_woken_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let services = service(&machine, "").replace("idle_timeout = \"2s\"", "idle_timeout = \"10m\"");
    let anteroom = Anteroom::start(dir.path(), &services).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();
    press(&client, &anteroom).await;
    let_in(&client, &anteroom).await;
    let load = load::start(anteroom.room, HOST, 100, SOON, APP);
    let mark = anteroom.mark();
    machine.crash();
    anteroom.log_after(mark, "ready in", SOON).await;
    let_in(&client, &anteroom).await;
    load::assert_clean(&load.stop().await);
    assert_eq!(machine.starts(), 2);
}

#[tokio::test]
async fn a_provider_that_hangs_slows_no_page() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let anteroom = Anteroom::start(dir.path(), &service(&machine, "")).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();
    machine.hang(true);
    press(&client, &anteroom).await;
    anteroom.phase("blog", "waking", SOON).await;
    for _ in 0..200 {
        let page = tokio::time::timeout(Duration::from_secs(1), get(&client, &anteroom, "/")).await;
        assert_eq!(page.expect("at once").status(), 503);
    }
    machine.hang(false);
    let_in(&client, &anteroom).await;
}

#[tokio::test]
async fn admin_commands_do_what_they_say() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let services = service(&machine, "").replace("idle_timeout = \"2s\"", "idle_timeout = \"10m\"");
    let anteroom = Anteroom::start(dir.path(), &services).await;
    anteroom.phase("blog", "asleep", SOON).await;
    anteroom.command("blog", "wake").await;
    anteroom.phase("blog", "awake", SOON).await;
    anteroom.command("blog", "hold").await;
    eventually(SOON, async || {
        !anteroom.view("blog").await["hold"].is_null()
    })
    .await;
    anteroom.command("blog", "sleep").await;
    let why = anteroom.admin(Method::GET, "/blog/why").await;
    assert!(
        why["why"].as_str().is_some_and(|why| why.contains("hold")),
        "{why}"
    );
    anteroom.command("blog", "release").await;
    anteroom.command("blog", "sleep").await;
    anteroom.phase("blog", "asleep", SOON).await;
    let missing = anteroom.admin(Method::GET, "/nothing").await;
    assert!(
        missing["detail"]
            .as_str()
            .is_some_and(|text| text.contains("blog")),
        "{missing}"
    );
    let all: Value = anteroom.admin(Method::GET, "").await;
    assert_eq!(all["services"].as_array().map(Vec::len), Some(1));
}

/// The value of the form's hidden field, with or without quotes.
pub(crate) fn nonce_of(page: &str) -> Option<&str> {
    let (_, rest) = page
        .split_once("name=nonce value=")
        .or_else(|| page.split_once("name=\"nonce\" value="))?;
    rest.trim_start_matches('"').split(['"', '>', ' ']).next()
}

#[tokio::test]
async fn a_reload_changes_what_changed_and_a_bad_file_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let services = service(&machine, "").replace("idle_timeout = \"2s\"", "idle_timeout = \"10m\"");
    let anteroom = Anteroom::start(dir.path(), &services).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();
    press(&client, &anteroom).await;
    let_in(&client, &anteroom).await;
    let good = std::fs::read_to_string(&anteroom.config).expect("the file");

    let mark = anteroom.mark();
    std::fs::write(&anteroom.config, good.replace("10m", "10 parsecs")).expect("the file is ours");
    anteroom.hang_up();
    let line = anteroom.log_after(mark, "nothing is changed", SOON).await;
    assert!(line.contains("nothing is changed"));
    let_in(&client, &anteroom).await;

    let mark = anteroom.mark();
    std::fs::write(&anteroom.config, good.replace("10m", "1s")).expect("the file is ours");
    anteroom.hang_up();
    anteroom
        .log_after(mark, "the configuration is reloaded", SOON)
        .await;
    anteroom.phase("blog", "asleep", SOON).await;
    assert_eq!((machine.starts(), machine.stops()), (1, 1));
}
