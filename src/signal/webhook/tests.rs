//! Payloads as they are recorded, whole and spoilt.

use serde_json::{Value, json};

use super::*;

const GRAFANA: &str = include_str!("../../../tests/data/alerts/grafana.json");
const ALERTMANAGER: &str = include_str!("../../../tests/data/alerts/alertmanager.json");

/// 2026-11-21, 17:04:10.
const BEGAN: Time = Time(1_795_280_650_000);

fn service(name: &str) -> ServiceName {
    name.parse().expect("a name")
}

fn alert(fingerprint: &str, firing: bool) -> Alert {
    Alert {
        name: name(fingerprint),
        direction: Direction::Up,
        at: BEGAN,
        firing,
    }
}

/// Grafana's payload, changed.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Call, String> {
    let mut body = serde_json::from_str(GRAFANA).expect("it is JSON");
    change(&mut body);
    read(body.to_string().as_bytes(), Direction::Up)
}

#[test]
fn each_alert_of_grafana_is_of_its_own_service() {
    let call = read(GRAFANA.as_bytes(), Direction::Up).expect("it is whole");
    assert_eq!(call.left_out, 3, "Grafana's own bound");
    assert_eq!(
        call.alerts,
        [
            Heard::Of(service("blog"), alert("57c6d9296de2ad39", true)),
            Heard::Of(service("shop"), alert("2f1a3c77d1c3b2a0", false)),
            Heard::NoEvidence(service("blog")),
            Heard::NoEvidence(service("shop")),
            Heard::Of(service("wiki"), alert("9c1b0b7f5f4e3d2e", false)),
            Heard::Nobody(None),
            Heard::Nobody(Some("No Service".into())),
        ]
    );
}

#[test]
fn an_alert_of_alertmanager_is_as_good() {
    let call = read(ALERTMANAGER.as_bytes(), Direction::Down).expect("it is whole");
    let alert = Alert {
        name: name("a1b2c3d4e5f60718"),
        direction: Direction::Down,
        at: Time(BEGAN.0 + 123),
        firing: true,
    };
    let alerts = vec![Heard::Of(service("blog"), alert)];
    assert_eq!(
        call,
        Call {
            alerts,
            left_out: 0
        }
    );
}

#[test]
fn what_is_missing_is_named() {
    for field in ["status", "labels", "startsAt", "fingerprint"] {
        let why = changed(|body| {
            let alert = body["alerts"][1].as_object_mut().expect("an alert");
            alert.remove(field).expect("it was there");
        });
        assert_eq!(why, Err(format!("alerts[1].{field} is missing")));
    }
    let none = changed(|body| body["alerts"] = Value::Null);
    assert_eq!(none, Err("alerts is missing".into()));
    let empty = changed(|body| body["alerts"][0]["fingerprint"] = "".into());
    assert_eq!(empty, Err("alerts[0].fingerprint is missing".into()));
}

#[test]
fn what_is_wrong_is_named_and_bounded() {
    let status = changed(|body| body["alerts"][0]["status"] = "x".repeat(1000).into());
    let why = status.expect_err("no status");
    assert!(
        why.starts_with("alerts[0].status is ") && why.len() < 200,
        "{why}"
    );
    for bad in ["", "yesterday", "0001-01-01T00:00:00Z", "2026-11-21"] {
        let why = changed(|body| body["alerts"][0]["startsAt"] = bad.into());
        let why = why.expect_err(bad);
        assert!(why.starts_with("alerts[0].startsAt is "), "{why}");
    }
    for bad in [
        "",
        "{",
        "[]",
        "null",
        r#"{"alerts":{}}"#,
        r#"{"alerts":[1]}"#,
        "\u{0}",
    ] {
        let why = read(bad.as_bytes(), Direction::Up).expect_err(bad);
        assert!(
            why.starts_with("the body can't be read") || why == "alerts is missing",
            "{why}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(read(deep.as_bytes(), Direction::Up).is_err());
    let labels = changed(|body| body["alerts"][0]["labels"]["service"] = json!(1));
    assert!(labels.is_err());
}

#[test]
fn a_call_has_its_bound() {
    let many = |count: usize| {
        changed(|body| {
            let one = body["alerts"][0].clone();
            body["alerts"] = vec![one; count].into();
            body["truncatedAlerts"] = Value::Null;
        })
    };
    for (count, left_out) in [(0, 0), (ALERTS_MAX, 0), (ALERTS_MAX + 7, 7)] {
        let call = many(count).expect("it is whole");
        assert_eq!(call.alerts.len(), count.min(ALERTS_MAX));
        assert_eq!(call.left_out, left_out);
    }
}

#[test]
fn two_fingerprints_are_two_alerts() {
    assert_ne!(name("57c6d9296de2ad39"), name("57c6d9296de2ad38"));
    assert_eq!(name("57c6d9296de2ad39"), name("57c6d9296de2ad39"));
}
