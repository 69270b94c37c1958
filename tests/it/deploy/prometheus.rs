//! `deploy/prometheus/`: what `promtool` says of it, and that its token opens Anteroom's doors.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::scene::SOON;
use super::{repository, run, text};
use crate::lifecycle::{client, press_or_pass, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::prometheus_server::PrometheusServer;
use crate::support::wait::eventually;

/// Where the token is in earnest.
const TOKEN: &str = "/etc/prometheus/anteroom.token";

/// Puts the files into this folder, with a token of their own there; gives the configuration.
pub(super) fn placed(dir: &Path, token: &str) -> String {
    for name in ["rules.yml", "alerts.yml"] {
        std::fs::write(dir.join(name), text(&format!("deploy/prometheus/{name}"))).unwrap();
    }
    let file = dir.join("anteroom.token");
    std::fs::write(&file, token).unwrap();
    let config = text("deploy/prometheus/prometheus.yml");
    assert_eq!(
        config.matches(TOKEN).count(),
        2,
        "for metrics and for targets"
    );
    config.replace(TOKEN, &file.display().to_string())
}

#[test]
fn promtool_finds_the_configuration_good_and_all_its_rules() {
    let dir = tempfile::tempdir().unwrap();
    let config = placed(dir.path(), "s3cret");
    let file = dir.path().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let said = run(Command::new("promtool")
        .args(["check", "config", "--lint=all", "--lint-fatal"])
        .arg(&file));
    let rules =
        |path| text(path).matches("- record:").count() + text(path).matches("- alert:").count();
    for path in [
        "deploy/prometheus/rules.yml",
        "deploy/prometheus/alerts.yml",
    ] {
        let found = format!("SUCCESS: {} rules found", rules(path));
        assert!(said.contains(&found), "{path}: {said}");
    }
}

#[test]
fn the_rules_make_of_series_what_is_written_beside_them() {
    let series = repository("tests/data/deploy/rules.yml");
    run(Command::new("promtool").args(["test", "rules"]).arg(series));
}

#[test]
fn each_alert_is_raised_in_a_test_and_says_what_to_do() {
    let (alerts, tests) = (
        text("deploy/prometheus/alerts.yml"),
        text("tests/data/deploy/rules.yml"),
    );
    let parts: Vec<&str> = alerts.split("- alert: ").skip(1).collect();
    assert!(parts.len() >= 10);
    for part in parts {
        let name = part.lines().next().unwrap();
        assert!(
            part.contains("runbook: ") && part.contains("summary: "),
            "{name}"
        );
        assert!(
            part.contains("severity: page") || part.contains("severity: ticket"),
            "{name}"
        );
        assert!(tests.contains(name), "{name} is in no test of rules");
    }
}

#[tokio::test]
async fn prometheus_shows_its_token_for_the_metrics_and_for_the_targets() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let blog = service(&machine, "").replace("\"2s\"", "\"1h\"");
    let mut anteroom = Anteroom::start(dir.path(), &blog).await;
    anteroom.kill().await;
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "correct horse battery staple").unwrap();
    let config = std::fs::read_to_string(&anteroom.config).unwrap();
    let token = format!("[admin]\ntoken = {{ file = \"{}\" }}\n", secret.display());
    std::fs::write(&anteroom.config, config.replace("[admin]\n", &token)).unwrap();
    let anteroom = anteroom.again().await;
    // The admin listener tells this test nothing any more, so it comes as a visitor does.
    eventually(SOON, async || {
        press_or_pass(&client(), &anteroom).await == Ok(reqwest::StatusCode::ACCEPTED)
    })
    .await;
    let mut of = Vec::new();
    for (name, token) in [
        ("right", "correct horse battery staple"),
        ("wrong", "correct horse"),
    ] {
        let own = dir.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let admin = anteroom.admin.to_string();
        let config = placed(&own, token)
            .replace("127.0.0.1:8081", &admin)
            .replace("scrape_timeout: 5s", "scrape_timeout: 1s")
            .replace(": 15s", ": 1s");
        of.push(PrometheusServer::start(&own, &config).await);
    }
    let [right, wrong] = of.try_into().ok().unwrap();
    let up = async |of: &PrometheusServer| of.query("up{job=\"anteroom-room\"}").await;
    eventually(SOON, async || up(&right).await == [1.0]).await;
    eventually(SOON, async || {
        right.targets("anteroom-machines").await.len() == 1
    })
    .await;
    eventually(SOON, async || up(&wrong).await == [0.0]).await;
    let refused = async || wrong.own("prometheus_sd_http_failures_total").await;
    eventually(SOON, async || refused().await > 0).await;
    assert_eq!(wrong.targets("anteroom-machines").await.len(), 0);
}
