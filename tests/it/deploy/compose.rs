//! `deploy/compose/`: what it names is there, Anteroom takes its file, and the compose program takes the whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{repository, run, text, yaml};
use crate::support::anteroom::binary;

const FILE: &str = "deploy/compose/compose.yml";

fn names(of: &Value) -> BTreeSet<String> {
    of.as_object().unwrap().keys().cloned().collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}

#[test]
fn every_file_service_network_volume_and_secret_that_is_named_is_there() {
    let compose = yaml(FILE);
    let services = names(&compose["services"]);
    let wanted = [
        "anteroom",
        "blog",
        "grafana",
        "prometheus",
        "redis",
        "traefik",
    ];
    assert_eq!(services, wanted.map(str::to_owned).into());
    let there = |kind: &str| names(&compose[kind]);
    let (networks, volumes, secrets) = (there("networks"), there("volumes"), there("secrets"));
    let mut used = BTreeSet::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        for network in list(&service["networks"]) {
            assert!(networks.contains(&word(network)), "{name}: {network}");
        }
        if let Some(other) = service["network_mode"].as_str() {
            assert!(
                services.contains(other.strip_prefix("service:").unwrap()),
                "{name}"
            );
        }
        let after: Vec<String> = match &service["depends_on"] {
            Value::Object(after) => after.keys().cloned().collect(),
            after => list(after).iter().map(word).collect(),
        };
        assert!(
            after.iter().all(|it| services.contains(it)),
            "{name}: {after:?}"
        );
        for secret in list(&service["secrets"]) {
            let source = secret["source"].as_str().or(secret.as_str()).unwrap();
            assert!(secrets.contains(source), "{name}: {source}");
        }
        for volume in list(&service["volumes"]) {
            let volume = word(volume);
            let source = volume.split(':').next().unwrap();
            if source.starts_with('.') {
                let path = Path::new("deploy/compose").join(source);
                assert!(
                    repository(path.to_str().unwrap()).exists(),
                    "{name}: {source}"
                );
                assert!(
                    volume.ends_with(":ro"),
                    "{name}: {volume} is the repository's"
                );
            } else if !source.starts_with('/') {
                assert!(volumes.contains(source), "{name}: {source}");
                used.insert(source.to_owned());
            }
        }
        // Nobody but this host is let in.
        for port in list(&service["ports"]) {
            assert!(word(port).starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
    assert_eq!(used, volumes, "each volume is used");
    let build = &compose["services"]["anteroom"]["build"];
    assert!(repository(&word(&build["dockerfile"])).exists());
}

#[test]
fn the_parts_meet_at_the_same_addresses_and_paths() {
    let compose = yaml(FILE);
    let anteroom = text("deploy/compose/anteroom.toml");
    let (traefik, prometheus) = (
        text("traefik/published/traefik.yml"),
        text("deploy/prometheus/prometheus.yml"),
    );
    for (address, in_all) in [
        ("127.0.0.1:8081", [&anteroom, &prometheus]),
        ("127.0.0.1:8082", [&anteroom, &traefik]),
        ("127.0.0.1:8082", [&prometheus, &traefik]),
        ("/etc/traefik/dynamic", [&anteroom, &traefik]),
        ("127.0.0.1:9090", [&anteroom, &prometheus]),
    ] {
        assert!(
            in_all.iter().all(|text| text.contains(address)),
            "{address}"
        );
    }
    let environment = &compose["services"]["grafana"]["environment"];
    // The image takes `__FILE` off; whatever Grafana's files ask for is set.
    let set: BTreeSet<String> = names(environment)
        .iter()
        .map(|name| name.replace("__FILE", ""))
        .collect();
    for file in super::files("deploy/grafana/provisioning") {
        for asked in text(&file).split("${").skip(1) {
            let name = asked.split('}').next().unwrap();
            assert!(
                set.contains(name) || name == "GF_ANTEROOM_ADMIN_TOKEN",
                "{file}: {name}"
            );
        }
    }
    let header = "X-Grafana-Alerting-Timestamp";
    let points = text("deploy/grafana/provisioning/alerting/contact-points.yml");
    assert!(anteroom.contains(header) && points.matches(header).count() == 2);
    let dashboards = word(
        &yaml("deploy/grafana/provisioning/dashboards/anteroom.yml")["providers"][0]["options"]["path"],
    );
    let mounted = list(&compose["services"]["grafana"]["volumes"]);
    assert!(
        mounted
            .iter()
            .any(|it| word(it).contains(&format!(":{dashboards}:")))
    );
}

#[test]
fn anteroom_takes_its_file_and_the_compose_program_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    for secret in ["admin_token", "webhook_secret"] {
        std::fs::write(dir.path().join(secret), "0123456789abcdef0123456789abcdef").unwrap();
    }
    let config = text("deploy/compose/anteroom.toml");
    let config = config.replace("/run/secrets", dir.path().to_str().unwrap());
    let file = dir.path().join("anteroom.toml");
    std::fs::write(&file, config).unwrap();
    run(Command::new(binary()).args(["check", "-c"]).arg(&file));
    let told = run(Command::new("docker-compose")
        .arg("-f")
        .arg(repository(FILE))
        .arg("config"));
    assert!(told.contains("service:redis"), "{told}");
}
