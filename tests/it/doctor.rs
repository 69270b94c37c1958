//! `anteroom doctor`: it finds what is wrong with machines and credentials, says the mend, and only reads.

use std::path::Path;
use std::time::Duration;

use anteroom::config::CaptchaVendor;
use serde_json::Value;

use crate::support::anteroom::binary;
use crate::support::billed::{Manner, TOKEN, World};
use crate::support::gce::{self, Google};
use crate::support::siteverify::{SECRET, SITEKEY, Siteverify, Way};
use crate::support::warren::{self, Warren};
use crate::support::{digitalocean, hetzner};

/// A machine at each of the clouds.
const ID: u64 = 3_164_444;
const UUID: &str = "f80b1d62-ffe4-43ef-9210-60f05445456a";

/// A clone that some Anteroom has made for `old`.
const STRAY: &str = "ar-old-k3x5q2-2-top2v4";

struct Clouds {
    ocean: World,
    hetzner: World,
    warren: Warren,
    dir: tempfile::TempDir,
}

impl Clouds {
    fn start() -> Clouds {
        let clouds = Clouds {
            ocean: digitalocean::start(),
            hetzner: hetzner::start(),
            warren: Warren::start(),
            dir: tempfile::tempdir().expect("a folder"),
        };
        clouds.ocean.make(ID, "10.128.0.2");
        clouds.hetzner.make(ID, "10.0.0.2");
        clouds.warren.make(UUID, "10.123.8.223");
        clouds
    }

    /// A service on each cloud, and one that is a process.
    fn config(&self) -> String {
        let store = self.dir.path().join("anteroom.db");
        format!(
            r#"
            [store]
            url = "file:{store}"
            [service.ocean]
            hosts = ["ocean.example.com"]
            port = 80
            provider = {{ kind = "digitalocean", token = {{ env = "CLOUD_TOKEN" }}, droplet = {ID}, base_url = "{ocean}" }}
            cost = {{ per_hour = 0.0288, currency = "USD" }}
            [service.helsinki]
            hosts = ["helsinki.example.com"]
            port = 80
            provider = {{ kind = "hetzner", token = {{ env = "CLOUD_TOKEN" }}, server = {ID}, base_url = "{hetzner}/v1" }}
            [service.jakarta]
            hosts = ["jakarta.example.com"]
            port = 80
            provider = {{ kind = "idcloudhost", apikey = {{ env = "WARREN_TOKEN" }}, location = "{location}", uuid = "{UUID}", base_url = "{warren}" }}
            [service.local]
            hosts = ["local.example.com"]
            port = 8099
            provider = {{ kind = "process", command = ["sleep", "1"] }}
            "#,
            store = store.display(),
            ocean = self.ocean.url(),
            hetzner = self.hetzner.url(),
            warren = self.warren.url(),
            location = warren::LOCATION,
        )
    }

    async fn ask(&self, config: &str, more: &[&str]) -> Told {
        let file = self.dir.path().join("anteroom.toml");
        std::fs::write(&file, config).expect("the folder is ours");
        ask(&file, more).await
    }

    fn were_only_read(&self) {
        assert_eq!(self.ocean.writes(), Vec::<String>::new());
        assert_eq!(self.hetzner.writes(), Vec::<String>::new());
        assert_eq!(self.warren.writes(), Vec::<String>::new());
    }
}

struct Told {
    code: Option<i32>,
    text: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    fn says(&self, words: &str) {
        assert!(self.text.contains(words), "{words:?} in:\n{}", self.text);
    }
}

async fn ask(file: &Path, more: &[&str]) -> Told {
    let mut doctor = tokio::process::Command::new(binary());
    doctor.args(["doctor", "--config"]).arg(file).args(more);
    doctor.env("CLOUD_TOKEN", TOKEN);
    doctor.env("WARREN_TOKEN", warren::APIKEY);
    doctor.env("STOLEN_TOKEN", "stolen");
    doctor.kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), doctor.output());
    let output = output.await.expect("it ends").expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    for secret in [TOKEN, warren::APIKEY, "stolen"] {
        assert!(!text.contains(secret), "{text}");
    }
    Told {
        code: output.status.code(),
        text,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_the_verifier_of_a_challenge_does_not_know_is_told() {
    for (vendor, kind) in [
        (CaptchaVendor::Turnstile, "turnstile"),
        (CaptchaVendor::Hcaptcha, "hcaptcha"),
    ] {
        let verifier = Siteverify::start(vendor).await;
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("secret"), SECRET).expect("the folder is ours");
        let config = format!(
            r#"
            store = {{ url = "memory:" }}
            [service.local]
            hosts = ["local.example.com"]
            port = 8099
            provider = {{ kind = "process", command = ["sleep", "1"] }}
            wake.by = "challenge"
            wake.challenge = {{ kind = "{kind}", sitekey = "{SITEKEY}", secret = {{ file = "{}/secret" }}, url = "{}/siteverify" }}
            "#,
            dir.path().display(),
            verifier.origin(),
        );
        let file = dir.path().join("anteroom.toml");
        std::fs::write(&file, config).expect("the folder is ours");
        let told = ask(&file, &[]).await;
        told.says("all is well");
        verifier.always_goes(Way::Status(500));
        let told = ask(&file, &[]).await;
        told.says("not found out: the secret of local's challenge: its verifier fails, or is asked too often");
        assert_eq!(told.code, Some(0), "{}", told.text);
        verifier.always_goes(Way::Well);
        verifier.forgets_the_secret();
        let told = ask(&file, &[]).await;
        told.says("WRONG: the verifier of the challenge does not know its secret");
        assert_eq!(told.code, Some(1), "{}", told.text);
        assert!(!told.text.contains(SECRET));
        assert_eq!(verifier.calls().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_house_is_said_to_be_well_and_what_it_costs() {
    let clouds = Clouds::start();
    let told = clouds.ask(&clouds.config(), &[]).await;
    told.says("ocean (digitalocean, droplet 3164444)");
    told.says("credential: it lists the account's droplets: 1");
    told.says("may: read yes, start and stop unknown until it is tried");
    told.says("machine: stopped");
    told.says("asleep you pay: the full price, as if it ran (awake 0.0288 USD an hour)");
    told.says("helsinki (hetzner, server 3164444)");
    told.says(&format!("machine {UUID} at jkt01"));
    told.says("local (process, process \"sleep\" at port 8099 of this host)");
    told.says("asleep you pay: nothing");
    told.says("all is well");
    assert_eq!(told.code, Some(0), "{}", told.text);
    let told = clouds.ask(&clouds.config(), &["--json"]).await;
    let json = told.json();
    assert_eq!(json["well"], true);
    assert_eq!(json["services"].as_array().map(Vec::len), Some(4));
    let ocean = json["services"]
        .as_array()
        .and_then(|all| all.iter().find(|it| it["name"] == "ocean"));
    let ocean = ocean.expect("it is there");
    assert_eq!(ocean["checkup"]["machine"]["state"], "stopped");
    assert_eq!(ocean["checkup"]["credential"]["works"], true);
    assert_eq!(ocean["cost"]["per_hour"], 0.0288);
    clouds.were_only_read();
    let store = clouds.dir.path().join("anteroom.db");
    assert!(!store.exists(), "not even the store is made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_is_wrong_is_named_once_with_its_mend() {
    let clouds = Clouds::start();
    clouds.ocean.delete(ID);
    let refused = clouds.config().replacen("WARREN_TOKEN", "STOLEN_TOKEN", 1);
    clouds.hetzner.behave(Manner {
        broken: Some(502),
        ..Manner::default()
    });
    let told = clouds.ask(&refused, &[]).await;
    told.says("WRONG: the machine does not exist");
    told.says("mend: is its id right");
    told.says("(credential refused)");
    told.says("mend: give it a credential that works");
    told.says("502 Bad Gateway");
    told.says("mend: can it be reached from this host?");
    told.says("3 things are wrong");
    assert_eq!(told.code, Some(1), "{}", told.text);
    let json = clouds.ask(&refused, &["--json"]).await.json();
    assert_eq!(json["well"], false);
    for service in json["services"].as_array().expect("services") {
        let wrong = service["wrong"].as_array().map(Vec::len);
        let local = service["name"] == "local";
        assert_eq!(wrong, Some(usize::from(!local)), "{service:#}");
    }
    clouds.were_only_read();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marked_machine_that_no_service_wants_is_named_and_others_are_not() {
    let clouds = Clouds::start();
    for (id, name) in [(1, STRAY), (2, "ar-old"), (3, "somebody-s-own")] {
        clouds.ocean.make(id, "10.128.0.9");
        clouds.ocean.name(id, name);
    }
    let told = clouds.ask(&clouds.config(), &[]).await;
    told.says(STRAY);
    told.says("no service here wants this machine");
    told.says("mend: delete it there");
    assert!(!told.text.contains("somebody"), "{}", told.text);
    told.says("1 thing is wrong");
    assert_eq!(told.code, Some(1), "{}", told.text);
    let json = clouds.ask(&clouds.config(), &["--json"]).await.json();
    assert_eq!(json["strays"][0]["name"], STRAY);
    assert_eq!(json["strays"][0]["service"], "old");
    clouds.were_only_read();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_a_fault_is_refused_before_anything_is_asked() {
    let clouds = Clouds::start();
    let told = clouds.ask("[service.a]\nport = 0\n", &[]).await;
    assert_eq!(told.code, Some(1), "{}", told.text);
    told.says("problem");
    assert_eq!(clouds.ocean.calls_in_all(), 0);
}

/// Google's metadata server gives a token to whoever asks: that must be this machine itself, not a proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_of_googles_is_examined_and_its_own_token_is_asked_for_past_any_proxy() {
    let (google, dir) = (Google::start(), tempfile::tempdir().expect("a folder"));
    google.make("blog-1", "10.132.0.7");
    let file = dir.path().join("anteroom.toml");
    let config = format!(
        r#"
        [store]
        url = "memory:"
        [service.blog]
        hosts = ["blog.example.com"]
        port = 80
        provider = {{ kind = "gce", project = "{}", zone = "{}", instance = "blog-1", base_url = "{}" }}
        "#,
        gce::PROJECT,
        gce::ZONE,
        google.url(),
    );
    std::fs::write(&file, config).expect("the folder is ours");
    let mut doctor = tokio::process::Command::new(binary());
    doctor.args(["doctor", "--config"]).arg(&file);
    for unset in ["GOOGLE_APPLICATION_CREDENTIALS", "NO_PROXY"] {
        doctor.env_remove(unset);
    }
    let at = format!("localhost:{}", google.address.port());
    doctor.env("CLOUDSDK_CONFIG", dir.path());
    doctor.env("GCE_METADATA_HOST", at);
    doctor
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9");
    doctor.env("no_proxy", "127.0.0.1").kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), doctor.output());
    let output = output.await.expect("it ends").expect("it starts");
    let text = String::from_utf8([output.stdout, output.stderr].concat());
    let told = Told {
        code: output.status.code(),
        text: text.expect("text"),
    };
    told.says("instance blog-1 in europe-west1-b of the project blog-project");
    told.says("credential: the service account of this machine");
    told.says("may: read yes, start and stop yes");
    told.says("machine: stopped");
    assert_eq!(told.code, Some(0), "{}", told.text);
    assert!(!told.text.contains("ya29."));
    assert_eq!(google.changes("blog-1"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_was_left_running_is_told_of() {
    let clouds = Clouds::start();
    let config = clouds.config();
    let from = config.find("[service.jakarta]").expect("it is there");
    let end = config.find("[service.local]").expect("it is there");
    let template = format!(
        "[store]\nurl = \"memory:\"\n{}scale = {{ seed = \"template\" }}\n",
        &config[from..end].trim_end_matches(' ')
    );
    assert_eq!(clouds.ask(&template, &[]).await.code, Some(0));
    clouds.warren.start_by_hand(UUID);
    let told = clouds.ask(&template, &[]).await;
    told.says("is only a template");
    told.says("stop it when you are done with it");
    assert_eq!(told.code, Some(1));
    // One that serves may run.
    let serves = template.replace("\"template\"", "\"serves\"");
    assert_eq!(clouds.ask(&serves, &[]).await.code, Some(0));
}
