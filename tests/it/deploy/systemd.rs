//! `deploy/systemd/`: what systemd's own check says, and what the units start.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{run, text};
use crate::support::ports::free_port;
use crate::support::wait::eventually;

const UNITS: [&str; 2] = ["anteroom.service", "node_exporter.service"];

fn unit(name: &str) -> String {
    text(&format!("deploy/systemd/{name}"))
}

/// The value of a setting that is there once.
fn setting(unit: &str, name: &str) -> String {
    let start = format!("{name}=");
    let mut found = unit.lines().filter_map(|line| line.strip_prefix(&start));
    let value = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(found.next(), None, "{name} twice");
    value.to_owned()
}

#[test]
fn systemd_finds_the_units_good() {
    let dir = tempfile::tempdir().unwrap();
    for name in UNITS {
        // The check wants the programs to be there.
        let binary = crate::support::anteroom::binary();
        let unit = unit(name).replace("/usr/local/bin/anteroom", binary);
        let file = dir.path().join(name);
        std::fs::write(&file, unit).unwrap();
        let said = run(Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&file));
        // It ends well with a setting that it does not know.
        assert!(!said.contains(name), "{said}");
    }
}

#[test]
fn both_have_little_left_that_they_may_do() {
    for name in UNITS {
        let unit = unit(name);
        for (setting_, value) in [
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", ""),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateTmp", "yes"),
            ("SystemCallFilter", "@system-service"),
            // Neither tells systemd that it is ready.
            ("Type", "simple"),
        ] {
            assert_eq!(setting(&unit, setting_), value, "{name}: {setting_}");
        }
    }
    let unit = unit("anteroom.service");
    assert!(setting(&unit, "ExecReload").contains("-HUP"));
    assert_eq!(setting(&unit, "StateDirectory"), "anteroom");
}

/// As systemd reads what it starts: `$$` is a dollar, and two backslashes are one.
fn shell_of(start: &str) -> String {
    let line = start
        .strip_prefix("/bin/sh -c '")
        .and_then(|it| it.strip_suffix('\''));
    line.unwrap().replace("$$", "$").replace("\\\\", "\\")
}

#[tokio::test]
async fn node_exporter_listens_on_the_address_of_its_card_and_tells_of_processors_and_memory_alone()
{
    let port = free_port();
    let start = setting(&unit("node_exporter.service"), "ExecStart");
    // The only card that is everywhere has an address of the host alone.
    let line = shell_of(&start)
        .replace("scope global", "scope host")
        .replace(":9100", &format!(":{port}"));
    let started = |card: &str| {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", &line]).env("INTERFACE", card);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.kill_on_drop(true).spawn().unwrap()
    };
    let _running = started("lo");
    let http = anteroom::telemetry::http_client()
        .no_proxy()
        .build()
        .unwrap();
    let get = async || {
        let answer = http
            .get(format!("http://127.0.0.1:{port}/metrics"))
            .send()
            .await;
        answer.ok()?.text().await.ok()
    };
    eventually(Duration::from_secs(20), async || get().await.is_some()).await;
    let told = get().await.unwrap();
    for name in [
        "node_cpu_seconds_total{",
        "node_memory_MemTotal_bytes ",
        "node_memory_MemAvailable_bytes ",
    ] {
        assert!(told.contains(&format!("\n{name}")), "{name}");
    }
    let others = ["node_filesystem", "node_network", "node_uname", "node_boot"];
    assert!(others.iter().all(|name| !told.contains(name)));
    // Without a card it does not listen anywhere.
    let status = started("no-such-card").wait().await.unwrap();
    assert!(!status.success());
}
