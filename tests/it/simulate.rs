//! `anteroom simulate`: the goals of the scaling policy on real traces, and the page that shows them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::lifecycle::{client, let_in, press, service};
use crate::support::anteroom::{Anteroom, binary};
use crate::support::machine::Machine;
use crate::support::wait::eventually;

const WORLD_CUP: &str = "tests/data/traces/worldcup98_first_half.csv";
const BALANCER: &str = "tests/data/traces/nab_elb_request_count.csv";
const SOON: Duration = Duration::from_secs(20);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn ran(words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("simulate").args(words).current_dir(root());
    command.output().unwrap()
}

fn said(words: &[&str]) -> String {
    let output = ran(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What each policy did: the shipped one and the rival's.
fn figures(words: &[&str]) -> (Value, Value) {
    let report: Value = serde_json::from_str(&said(&[words, &["--json"]].concat())).unwrap();
    let policies = report["policies"].as_array().unwrap();
    assert_eq!(policies[0]["policy"], "oracle");
    assert_eq!(policies[3]["policy"], "hpa");
    (policies[2].clone(), policies[3].clone())
}

fn number(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap()
}

#[test]
fn the_usual_settings_reach_their_goals_on_the_world_cup() {
    let (ours, _) = figures(&["--trace", WORLD_CUP, "--peak", "7", "--boot", "2m"]);
    assert!(number(&ours, "times_oracle") <= 1.08, "{ours}");
    assert!(
        number(&ours, "minutes_above_70_per_87_days") <= 250.0,
        "{ours}"
    );
    assert!(number(&ours, "reversals_per_87_days") <= 5.0, "{ours}");
}

#[test]
fn no_trace_and_no_noise_lets_the_rival_be_better_in_everything() {
    let cost = ["vm_hours", "minutes_above_70", "reversals"];
    for trace in [WORLD_CUP, BALANCER] {
        for noise in ["0", "10"] {
            for (peak, policy) in [
                ("7", "threshold"),
                ("7", "projected"),
                ("20", "threshold"),
                ("20", "projected"),
            ] {
                let (ours, rival) = figures(&[
                    "--trace", trace, "--peak", peak, "--noise", noise, "--policy", policy,
                ]);
                let better = |name: &&str| number(&ours, name) < number(&rival, name);
                let same = |name: &&str| number(&ours, name) == number(&rival, name);
                assert!(
                    cost.iter().any(better) || cost.iter().all(same),
                    "{ours} {rival}"
                );
            }
        }
    }
}

#[test]
fn the_page_shows_what_the_command_prints() {
    let path = root().join("docs/scaling.md");
    let drawn = root().join("docs/scaling-worldcup98.svg");
    let (begin, end) = ("<!-- tables -->\n", "<!-- end of tables -->");
    let tables = said(&["--table", "--trace", WORLD_CUP, "--trace", BALANCER]);
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("chart.svg");
    said(&["--trace", WORLD_CUP, "--svg", chart.to_str().unwrap()]);
    let chart = std::fs::read_to_string(chart).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let fresh = format!("{before}{begin}\n{tables}{end}{after}");
    if std::env::var_os("ANTEROOM_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
        std::fs::write(&drawn, &chart).unwrap();
        return;
    }
    assert!(
        page == fresh,
        "docs/scaling.md is stale; run the test with ANTEROOM_BLESS=1"
    );
    let shown = std::fs::read_to_string(&drawn).unwrap_or_default();
    assert!(
        shown == chart,
        "{drawn:?} is stale; run the test with ANTEROOM_BLESS=1"
    );
}

#[test]
fn the_same_seed_has_the_same_noise_and_another_has_other() {
    let noisy = |seed| said(&["--trace", BALANCER, "--noise", "10", "--seed", seed]);
    assert_eq!(noisy("1"), noisy("1"));
    assert_ne!(noisy("1"), noisy("2"));
}

#[test]
fn what_cannot_be_replayed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let trace: PathBuf = folder.path().join("trace.csv");
    std::fs::write(&trace, "time,count\n0,1\n60,1\n120,many\n").unwrap();
    let trace = trace.to_str().unwrap();
    for (words, part) in [
        (&["--trace", trace][..], "line 4"),
        (&["--trace", "/no/such.csv"], "/no/such.csv"),
        (&["--trace", BALANCER, "--peak", "0"], "--peak"),
        (&["--trace", BALANCER, "--noise", "101"], "--noise"),
        (
            &["--trace", BALANCER, "--policy", "threshold,up=3"],
            "no key `up`",
        ),
        (&["--trace", BALANCER, "--trace", BALANCER], "one --trace"),
        (&["--from-ledger", "30d"], "--service"),
    ] {
        let output = ran(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(part),
            "{words:?}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_told_what_another_timeout_would_have_cost() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let cost = "cost = { per_hour = 3600, currency = \"EUR\" }";
    let anteroom = Anteroom::start(dir.path(), &service(&machine, cost)).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let config = anteroom.config.to_str().unwrap();
    let asked = ["--from-ledger", "30d", "--service", "blog", "-c", config];
    let output = ran(&asked);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no wake that ended in sleep"), "{error}");
    for _ in 0..2 {
        assert_eq!(press(&client(), &anteroom).await, 202);
        let_in(&client(), &anteroom).await;
        anteroom.phase("blog", "asleep", SOON).await;
    }
    let ledger = async || anteroom.admin(reqwest::Method::GET, "/blog/ledger").await;
    eventually(SOON, async || {
        ledger().await["entries"][0]["event"] == "slept"
    })
    .await;
    let told = said(&[&asked[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["lives"], 2, "{told}");
    let timeouts = told["idle_timeouts"].as_array().unwrap();
    let (now, longer) = (&timeouts[0], &timeouts[1]);
    assert_eq!(
        (&now["idle_timeout_ms"], &now["wakes"]),
        (&2_000.into(), &2.into())
    );
    let cost = now["awake_ms"].as_f64().unwrap() / 1_000.0;
    assert!((now["cost"].as_f64().unwrap() - cost).abs() < 1e-9, "{now}");
    // Five minutes would have been one wake, and both lives lie within seconds.
    assert_eq!(longer["wakes"], 1);
    assert!(
        (300_000..330_000).contains(&longer["awake_ms"].as_u64().unwrap()),
        "{longer}"
    );
    assert!(said(&asked).contains("2s (now)"));
}
