//! `deploy/prometheus/`: what `promtool` says of it.

use std::path::Path;
use std::process::Command;

use super::{repository, run, text};

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
