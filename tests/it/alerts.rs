//! Alerts that come in at the real binary: whose they are, who may send them, and how much of them passes.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::lifecycle::{client, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::wait::eventually;

const GRAFANA: &str = include_str!("../data/alerts/grafana.json");
const KEY: &str = "the-key-of-the-contact-point";
const SIGNATURE: &str = "X-Grafana-Alerting-Signature";
const TIMESTAMP: &str = "X-Grafana-Alerting-Timestamp";
const SOON: Duration = Duration::from_secs(20);

/// The service `blog`, which sleeps and is scaled by alerts.
fn blog() -> String {
    format!(
        "[service.blog]\nhosts = [\"blog.example.com\"]\nport = {}\ningress = \"proxy\"\n\
         provider = {{ kind = \"process\", command = [\"app\", \"{{port}}\"] }}\n\
         scale = {{ max = 2, signal = {{ kind = \"webhook\" }} }}\n",
        free_port()
    )
}

/// An Anteroom with this service, and these lines before it.
async fn anteroom(dir: &Path, lines: &str) -> Anteroom {
    let anteroom = Anteroom::start(dir, &format!("{lines}\n{}", blog())).await;
    anteroom.log("listening", SOON).await;
    anteroom
}

fn call(anteroom: &Anteroom, way: &str) -> RequestBuilder {
    client().post(format!("http://{}/v1/scale-{way}", anteroom.admin))
}

async fn told(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.expect("it answers");
    let status = answer.status();
    (status, answer.json().await.expect("JSON"))
}

/// An alert of `blog` that began at this second.
fn alert(second: u32, status: &str) -> String {
    let at = format!("2026-11-21T17:{:02}:{:02}Z", second / 60, second % 60);
    json!({ "alerts": [{
        "status": status, "labels": { "service": "blog" }, "startsAt": at, "fingerprint": "57c6d9296de2ad39",
    }] })
    .to_string()
}

#[tokio::test]
async fn each_alert_goes_to_its_own_service() {
    let dir = tempfile::tempdir().expect("a folder");
    let anteroom = anteroom(dir.path(), "").await;
    let (status, answer) = told(call(&anteroom, "up").body(GRAFANA)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        answer,
        json!({
            "services": { "blog": { "firing": 1, "no_evidence": 1 } },
            "unknown": { "shop": 2, "wiki": 1, "No Service": 1 }, "without_label": 1, "left_out": 3,
        })
    );
    anteroom.log("an alert came in", SOON).await;
    // By PUT as well, and the other way is another alert.
    let url = format!("http://{}/v1/scale-down", anteroom.admin);
    let put = client().request(Method::PUT, url).body(GRAFANA);
    let (status, answer) = told(put).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["services"]["blog"]["firing"], 1);
    let (status, _) = told(client().get(format!("http://{}/v1/scale-up", anteroom.admin))).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let (status, answer) = told(call(&anteroom, "up").body(r#"{"alerts":[{}]}"#)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["detail"], "alerts[0].status is missing");
    let (status, _) = told(call(&anteroom, "up").body("x".repeat((1 << 20) + 1))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // Another site's page may not.
    let foreign = call(&anteroom, "up").header("sec-fetch-site", "cross-site");
    assert_eq!(told(foreign.body(GRAFANA)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        anteroom.whole_log().matches("an alert came in").count(),
        2,
        "nothing else passed"
    );
}

#[tokio::test]
async fn an_alert_of_which_nothing_comes_is_answered_with_what_to_mend() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::ZERO).await;
    let shop = service(&machine, "").replace("blog", "shop");
    // On clones alone, and never on more than one.
    let wiki = blog().replace("blog", "wiki");
    let wiki = wiki.replace(
        "max = 2, signal = { kind = \"webhook\" }",
        "max = 1, seed = \"template\"",
    );
    let anteroom = anteroom(dir.path(), &format!("{shop}\n{wiki}")).await;
    let one = |labels: Value, at: &str| json!({ "status": "firing", "labels": labels, "startsAt": at, "fingerprint": "f" });
    let now = "2026-11-21T17:00:00Z";
    let alerts = json!({ "alerts": [
        one(json!({ "service": "shop" }), now),
        one(json!({ "service": "wiki" }), now),
        one(json!({ "service": "blog" }), "2999-01-01T00:00:00Z"),
        one(json!({ "service": "blog", "anteroom_service": "" }), now),
    ] });
    for again in [false, true] {
        let (status, answer) = told(call(&anteroom, "up").body(alerts.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let done = if again { "repeated" } else { "firing" };
        assert_eq!(
            answer["services"],
            json!({ "shop": { "not_scaled": 1 }, "wiki": { "not_scaled": 1 }, "blog": { "ahead": 1, done: 1 } })
        );
        let mend = |of: &str| answer["mend"][of].as_str().unwrap_or_default().to_owned();
        assert!(mend("shop").contains("[service.NAME.scale]"), "{answer}");
        assert!(mend("blog").contains("clocks"), "{answer}");
    }
    let log = anteroom.whole_log();
    assert_eq!(log.matches("nothing comes of an alert").count(), 3, "{log}");
}

#[tokio::test]
async fn a_thousand_replays_are_one_alert_and_a_flood_of_others_is_held_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let anteroom = anteroom(dir.path(), "").await;
    // One client: what is known lately is known for a minute, and a client for each takes longer.
    let (http, url) = (client(), format!("http://{}/v1/scale-up", anteroom.admin));
    for again in 0..1_000 {
        let (status, answer) = told(http.post(&url).body(alert(0, "firing"))).await;
        assert_eq!(status, StatusCode::OK);
        let done = &answer["services"]["blog"];
        let expected = if again == 0 { "firing" } else { "repeated" };
        assert_eq!(done[expected], 1, "{again}: {answer}");
    }
    let mut held_back = 0;
    for second in 1..100 {
        let answer = http.post(&url).body(alert(second, "firing"));
        let answer = answer.send().await.expect("it answers");
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers()["retry-after"], "60");
            held_back += 1;
        }
    }
    // The first of all is one of the 32.
    assert_eq!(held_back, 99 - 31);
    let passed = anteroom.whole_log().matches("an alert came in").count();
    assert_eq!(passed, 32);
}

#[tokio::test]
async fn a_call_that_is_not_signed_as_it_must_be_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    std::fs::write(&key, KEY).expect("it is ours");
    let webhook = format!(
        "[admin.webhook]\nsecret = {{ file = \"{}\" }}\ntimestamp_header = \"{TIMESTAMP}\"",
        key.display()
    );
    let anteroom = anteroom(dir.path(), &webhook).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("a clock after 1970").as_secs();
    let signed = |key: &str, at: u64, body: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key");
        mac.update(format!("{at}:{body}").as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let body = alert(0, "firing");
    let send = |signature: String, at: u64| {
        let call = call(&anteroom, "up").header(SIGNATURE, signature);
        told(call.header(TIMESTAMP, at.to_string()).body(body.clone()))
    };
    let replayed = now - 301;
    for (what, signature, at) in [
        ("another key", signed("forged", now, &body), now),
        ("another body", signed(KEY, now, &alert(1, "firing")), now),
        ("another time", signed(KEY, now - 1, &body), now),
        ("old", signed(KEY, replayed, &body), replayed),
        ("nothing", String::new(), now),
    ] {
        assert_eq!(
            send(signature, at).await.0,
            StatusCode::UNAUTHORIZED,
            "{what}"
        );
    }
    let without_time = call(&anteroom, "up").header(SIGNATURE, signed(KEY, now, &body));
    let unsigned = call(&anteroom, "up").bearer_auth(KEY);
    for refused in [without_time, unsigned, call(&anteroom, "up")] {
        let (status, _) = told(refused.body(body.clone())).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    assert!(!anteroom.whole_log().contains("an alert came in"));
    let (status, answer) = send(signed(KEY, now, &body), now).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["services"]["blog"]["firing"], 1);
    assert!(!anteroom.whole_log().contains(KEY));
}

#[tokio::test]
async fn a_real_alertmanager_is_understood_when_it_knows_the_token() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("token"), "token-of-the-admin").expect("it is ours");
    let (room, admin) = (free_port(), free_port());
    let token = format!(
        "token = {{ file = \"{}\" }}",
        dir.path().join("token").display()
    );
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:{room}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n{token}\n[store]\nurl = \"memory:\"\n{}",
        blog()
    );
    let config = dir.path().join("anteroom.toml");
    std::fs::write(&config, text).expect("it is ours");
    let anteroom = Anteroom::run(config, room, admin).await;
    let receiver = |name: &str, http: &str| {
        format!(
            "  - name: {name}\n    webhook_configs: [{{ url: \"http://127.0.0.1:{admin}/v1/scale-up\", http_config: {http} }}]\n"
        )
    };
    let config = format!(
        "route: {{ receiver: bearer, group_wait: 0s, group_interval: 1s, routes: [{{ receiver: basic, matchers: [way=basic], group_wait: 0s, group_interval: 1s }}] }}\nreceivers:\n{}{}",
        receiver(
            "bearer",
            "{ authorization: { credentials: token-of-the-admin } }"
        ),
        receiver(
            "basic",
            "{ basic_auth: { username: alertmanager, password: token-of-the-admin } }"
        ),
    );
    let alertmanager = Alertmanager::start(dir.path(), &config).await;
    for way in ["bearer", "basic"] {
        let mark = anteroom.mark();
        let raised = json!([{
            "labels": { "alertname": "Busy", "service": "blog", "way": way },
            "startsAt": "2026-11-21T17:04:10Z",
        }]);
        alertmanager.raise(&raised).await;
        let line = anteroom.log_after(mark, "an alert came in", SOON).await;
        assert!(
            line.contains("firing=true") && line.contains("blog"),
            "{line}"
        );
        let mut ended = raised.clone();
        ended[0]["endsAt"] = "2026-11-21T17:05:10Z".into();
        alertmanager.raise(&ended).await;
        anteroom.log_after(mark, "firing=false", SOON).await;
    }
    // Whoever does not know it is told nothing.
    let (status, _) = told(call(&anteroom, "up").body(GRAFANA)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, _) = told(
        call(&anteroom, "up")
            .basic_auth("token-of-the-admin", Some(""))
            .body(GRAFANA),
    )
    .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// The real one. It ends with the value that holds it.
struct Alertmanager {
    child: std::process::Child,
    port: u16,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Alertmanager {
    async fn start(dir: &Path, config: &str) -> Alertmanager {
        let path = dir.join("alertmanager.yml");
        std::fs::write(&path, config).expect("it is ours");
        let port = free_port();
        let child = std::process::Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", dir.join("alerts").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::fs::File::create(dir.join("alertmanager.log")).expect("it is ours"))
            .spawn()
            .expect("prometheus-alertmanager is installed (tests/run does that)");
        let alertmanager = Alertmanager { child, port };
        eventually(SOON, async || {
            let ready = alertmanager.url("/-/ready");
            client()
                .get(ready)
                .send()
                .await
                .is_ok_and(|it| it.status().is_success())
        })
        .await;
        alertmanager
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn raise(&self, alerts: &Value) {
        let raised = client().post(self.url("/api/v2/alerts")).json(alerts);
        let raised = raised.send().await.expect("it answers");
        assert!(raised.status().is_success(), "{raised:?}");
    }
}
