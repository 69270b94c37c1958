//! What a reload does to those who are inside, and to clones: the real binary.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::lifecycle::{client, let_in, press, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(40);
const HOST: &str = "blog.example.com";

/// Writes another file and waits until it is in force; what was logged since then begins at the mark.
async fn reload(anteroom: &Anteroom, change: impl FnOnce(String) -> String) -> usize {
    let text = std::fs::read_to_string(&anteroom.config).expect("the file");
    let mark = anteroom.mark();
    std::fs::write(&anteroom.config, change(text)).expect("the file is ours");
    anteroom.hang_up();
    anteroom
        .log_after(mark, "the configuration is reloaded", SOON)
        .await;
    mark
}

#[tokio::test]
async fn whoever_is_inside_stays_inside_when_the_service_is_changed() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let anteroom = Anteroom::start(dir.path(), &service(&machine, "")).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let client = client();
    press(&client, &anteroom).await;
    let_in(&client, &anteroom).await;
    let url = format!("ws://{}/", anteroom.room);
    let mut request =
        tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(url)
            .expect("a request");
    request
        .headers_mut()
        .insert("host", HOST.parse().expect("a host"));
    let (socket, _) = tokio_tungstenite::connect_async(request)
        .await
        .expect("the upgrade passes the room");
    reload(&anteroom, |text| {
        text.replace("drain_timeout = \"1s\"", "drain_timeout = \"2s\"")
    })
    .await;
    anteroom.phase("blog", "awake", SOON).await;
    // Two idle times long.
    let reloaded = tokio::time::Instant::now();
    eventually(SOON, async || {
        let view = anteroom.view("blog").await;
        assert_eq!(view["phase"], "awake", "{view}");
        reloaded.elapsed() > Duration::from_secs(5)
    })
    .await;
    drop(socket);
    anteroom.phase("blog", "asleep", SOON).await;
}

/// A service of processes with two instances, because an alert says so.
async fn scaled(dir: &Path) -> Anteroom {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apps/late.py");
    let service = format!(
        "[prometheus]\njob = \"vms\"\ntargets_file = \"{0}/one.json\"\n\
         [service.blog]\nhosts = [\"{HOST}\"]\nport = {1}\ningress = \"proxy\"\nidle_timeout = \"1h\"\n\
         drain_timeout = \"20s\"\nhealth = {{ interval = \"100ms\", timeout = \"1s\" }}\n\
         provider = {{ kind = \"process\", command = [\"python3\", \"-B\", \"{2}\", \"{{port}}\"] }}\n\
         [service.blog.scale]\nmax = 2\ncooldown = \"1s\"\nsignal = {{ kind = \"webhook\" }}\n",
        dir.display(),
        free_port(),
        app.display(),
    );
    let anteroom = Anteroom::start(dir, &service).await;
    anteroom.command("blog", "wake").await;
    anteroom.phase("blog", "awake", SOON).await;
    let alert = json!({ "alerts": [{
        "status": "firing", "labels": { "service": "blog" }, "fingerprint": "busy",
        "startsAt": jiff::Timestamp::now().to_string(),
    }] });
    let url = format!("http://{}/v1/scale-up", anteroom.admin);
    let answer = client().post(url).json(&alert).send().await;
    assert_eq!(answer.expect("it answers").status(), 200);
    eventually(SOON, async || serving(&anteroom).await == 2).await;
    anteroom
}

async fn serving(anteroom: &Anteroom) -> usize {
    let view = anteroom.view("blog").await;
    view["upstreams"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_clone_that_a_reload_takes_away_is_removed_when_its_last_request_has_ended() {
    let dir = tempfile::tempdir().expect("a folder");
    let anteroom = scaled(dir.path()).await;
    let client = client();
    let url = format!("http://{}/late", anteroom.room);
    let visits = (0..6).map(|_| client.get(&url).header("host", HOST).send());
    let answers = join_all(visits).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|it| it.expect("it answers"))
        .collect();
    let by: BTreeSet<_> = answers.iter().map(|it| &it.headers()["x-app"]).collect();
    assert_eq!(by.len(), 2, "both have some");
    let mark = reload(&anteroom, |text| text.replace("max = 2", "max = 1")).await;
    for answer in answers {
        assert_eq!(answer.text().await.expect("it is whole"), "this is the app");
    }
    let gone = anteroom.log_after(mark, "the clone is gone", SOON).await;
    assert!(gone.contains("blog"));
    assert_eq!(serving(&anteroom).await, 1);
    anteroom.command("blog", "sleep").await;
    anteroom.phase("blog", "asleep", SOON).await;
}

#[tokio::test]
async fn a_service_that_is_taken_out_names_its_clones_and_finds_them_when_it_is_put_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let anteroom = scaled(dir.path()).await;
    let good = std::fs::read_to_string(&anteroom.config).expect("the file");
    let service = good.find("[service.blog]").expect("it is there");
    let doctor = || {
        let mut command = std::process::Command::new(crate::support::anteroom::binary());
        let said = command
            .args(["doctor", "-c"])
            .arg(&anteroom.config)
            .output();
        String::from_utf8(said.expect("it runs").stdout).expect("a text")
    };
    assert!(doctor().contains("  clones: clone-1-"), "{}", doctor());
    let mark = reload(&anteroom, |text| text[..service].to_owned()).await;
    let line = anteroom.log_after(mark, "it is taken out", SOON).await;
    assert!(line.contains("WARN") && line.contains("clone-1-"), "{line}");
    reload(&anteroom, |_| good).await;
    eventually(SOON, async || serving(&anteroom).await == 2).await;
    anteroom.command("blog", "sleep").await;
    anteroom.phase("blog", "asleep", SOON).await;
}

#[tokio::test]
async fn clones_that_the_new_settings_could_not_make_are_removed_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let anteroom = scaled(dir.path()).await;
    let port = anteroom.view("blog").await["upstreams"][0]["address"].clone();
    let port = port
        .as_str()
        .and_then(|it| it.rsplit_once(':'))
        .expect("an address");
    let mark = reload(&anteroom, |text| {
        let text = text.replace("{port}", port.1);
        let scale = text.find("[service.blog.scale]").expect("it is there");
        text[..scale].to_owned()
    })
    .await;
    let line = anteroom.log_after(mark, "are removed", SOON).await;
    assert!(line.contains("clone-1-"), "{line}");
    anteroom.log_after(mark, "the clone is gone", SOON).await;
    eventually(SOON, async || serving(&anteroom).await == 1).await;
    anteroom.command("blog", "sleep").await;
    anteroom.phase("blog", "asleep", SOON).await;
}

#[tokio::test]
async fn clones_that_another_provider_can_not_reach_are_named_and_hold_nothing_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let anteroom = scaled(dir.path()).await;
    let good = std::fs::read_to_string(&anteroom.config).expect("the file");
    let machine = Machine::new(Duration::from_millis(50)).await;
    let mark = reload(&anteroom, |text| {
        let head = text.find("[service.blog]").expect("it is there");
        format!("{}{}", &text[..head], service(&machine, ""))
    })
    .await;
    let changed = "its provider's settings are changed while clones run";
    let out_of_reach = "clones of an earlier provider run on";
    for told in [changed, out_of_reach] {
        let line = anteroom.log_after(mark, told, SOON).await;
        assert!(line.contains("clone-1-"), "{line}");
    }
    anteroom.phase("blog", "asleep", SOON).await;
    // Put back, they are found by their marks.
    reload(&anteroom, |_| good).await;
    eventually(SOON, async || serving(&anteroom).await == 2).await;
    anteroom.command("blog", "sleep").await;
    anteroom.phase("blog", "asleep", SOON).await;
}

#[tokio::test]
async fn what_prometheus_is_told_follows_a_reload() {
    let dir = tempfile::tempdir().expect("a folder");
    let anteroom = scaled(dir.path()).await;
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    let jobs = |list: Value| -> Vec<Value> {
        let targets = list.as_array().cloned().unwrap_or_default();
        targets
            .iter()
            .map(|it| it["labels"]["job"].clone())
            .collect()
    };
    eventually(SOON, async || jobs(read("one.json")) == ["vms", "vms"]).await;
    let mark = reload(&anteroom, |text| {
        text.replace("one.json", "two.json")
            .replace("\"vms\"", "\"apps\"")
    })
    .await;
    eventually(SOON, async || jobs(read("two.json")) == ["apps", "apps"]).await;
    let url = format!("http://{}/prometheus/targets", anteroom.admin);
    let fetched = client().get(url).send().await.expect("it answers");
    assert_eq!(jobs(fetched.json().await.expect("JSON")), ["apps", "apps"]);
    // The old one is whole, and somebody is told to remove it.
    assert_eq!(jobs(read("one.json")), ["vms", "vms"]);
    let line = anteroom.log_after(mark, "no longer kept", SOON).await;
    assert!(line.contains("one.json"), "{line}");
    anteroom.command("blog", "sleep").await;
    anteroom.phase("blog", "asleep", SOON).await;
}
