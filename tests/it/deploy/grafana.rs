//! `deploy/grafana/`: no Grafana runs here, so its files are held by what they say: that they parse, that what they name
//! exists, and that every query has an answer at a real Prometheus that scrapes a deployment.

use std::collections::BTreeSet;

use serde_json::Value;

use super::scene::{SOON, Scene};
use super::{files, text, yaml};
use crate::support::wait::eventually;

const PROVISIONING: &str = "deploy/grafana/provisioning";

fn dashboard() -> Value {
    serde_json::from_str(&text("deploy/grafana/dashboards/anteroom.json")).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = list(&dashboard["panels"]).iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

/// The rules of alerts.
fn rules() -> Vec<Value> {
    let file = yaml(&format!("{PROVISIONING}/alerting/rules.yml"));
    let groups = list(&file["groups"]).iter();
    groups
        .flat_map(|group| list(&group["rules"]).to_vec())
        .collect()
}

/// A query as Grafana would send it for the last five minutes.
fn asked(query: &str) -> String {
    let query = query.replace("$service", ".*").replace("$__range", "5m");
    let query = query.replace("$__rate_interval", "1m");
    assert!(
        !query.contains('$'),
        "{query}: a variable that this test does not know"
    );
    // What stands in for nothing is no data.
    query.replace(" or vector(0)", "")
}

/// Every value under this key, however deep.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if name == key {
                    found.push(value);
                }
                all(value, key, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| all(value, key, found)),
        _ => {}
    }
}

#[test]
fn every_source_that_is_named_is_there() {
    let sources = yaml(&format!("{PROVISIONING}/datasources/anteroom.yml"));
    let there: BTreeSet<&str> = list(&sources["datasources"])
        .iter()
        .filter_map(|source| source["uid"].as_str())
        .chain(["__expr__"])
        .collect();
    assert_eq!(there.len(), 2);
    let dashboard = dashboard();
    let alerting = yaml(&format!("{PROVISIONING}/alerting/rules.yml"));
    let mut named = Vec::new();
    all(&dashboard, "datasource", &mut named);
    all(&alerting, "datasource", &mut named);
    let mut named: Vec<&Value> = named.iter().map(|source| &source["uid"]).collect();
    all(&alerting, "datasourceUid", &mut named);
    assert!(named.len() > 50);
    for uid in named {
        assert!(uid.as_str().is_some_and(|uid| there.contains(uid)), "{uid}");
    }
    for panel in panels(&dashboard) {
        assert!(panel["datasource"]["uid"].is_string(), "{}", panel["title"]);
        for target in list(&panel["targets"]) {
            assert!(
                target["datasource"]["uid"].is_string(),
                "{}",
                panel["title"]
            );
        }
    }
}

#[test]
fn panels_have_a_number_and_a_place_of_their_own() {
    let dashboard = dashboard();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(
            titles.insert((panel["type"].as_str().unwrap(), title)),
            "{title}"
        );
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(
            at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24,
            "{title}"
        );
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies on another panel");
            }
        }
    }
    for panel in panels(&dashboard) {
        let mut refs = BTreeSet::new();
        let targets = list(&panel["targets"]);
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            assert!(
                refs.insert(target["refId"].as_str().unwrap()),
                "{}",
                panel["title"]
            );
        }
    }
}

#[test]
fn alerts_of_load_are_for_one_service_each_and_are_no_evidence_where_nothing_is_known() {
    let contact = yaml(&format!("{PROVISIONING}/alerting/contact-points.yml"));
    let rules = rules();
    assert_eq!(rules.len(), 2);
    let high_and_low = [
        ("anteroom-scale-up", "/v1/scale-up", "1m", "gt", 0.7),
        ("anteroom-scale-down", "/v1/scale-down", "15m", "lt", 0.3),
    ];
    for (rule, (receiver, path, pending, than, share)) in rules.iter().zip(high_and_low) {
        let title = &rule["title"];
        // In a file that Grafana provisions, `$` begins a variable of the environment, and `$$` is one.
        assert_eq!(rule["labels"]["service"], "{{ $$labels.anteroom_service }}");
        assert_eq!(
            (&rule["noDataState"], &rule["execErrState"]),
            (&"OK".into(), &"OK".into()),
            "{title}"
        );
        assert_eq!(rule["for"], pending, "{title}");
        let told = &rule["notification_settings"];
        assert_eq!(told["receiver"], receiver);
        // Grafana takes no grouping without the first two.
        assert_eq!(
            told["group_by"],
            serde_json::json!(["grafana_folder", "alertname", "service"])
        );
        let data = list(&rule["data"]);
        let condition = data
            .iter()
            .find(|it| it["refId"] == rule["condition"])
            .unwrap();
        let refers = &condition["model"]["expression"];
        assert!(data.iter().any(|it| it["refId"] == *refers), "{title}");
        for each in data {
            assert_eq!(each["refId"], each["model"]["refId"], "{title}");
            assert_eq!(
                each["datasourceUid"], each["model"]["datasource"]["uid"],
                "{title}"
            );
        }
        let evaluator = &condition["model"]["conditions"][0]["evaluator"];
        assert_eq!(
            (&evaluator["type"], &evaluator["params"][0]),
            (&than.into(), &share.into())
        );
        let points = list(&contact["contactPoints"]);
        let point = points.iter().find(|it| it["name"] == receiver).unwrap();
        let hook = &point["receivers"][0];
        assert_eq!(
            (&hook["type"], &hook["disableResolveMessage"]),
            (&"webhook".into(), &false.into())
        );
        let settings = &hook["settings"];
        assert_eq!(settings["url"], format!("${{GF_ANTEROOM_ADMIN_URL}}{path}"));
        assert_eq!(
            settings["hmacConfig"]["secret"],
            "${GF_ANTEROOM_WEBHOOK_SECRET}"
        );
    }
}

#[test]
fn the_windows_of_the_alerts_are_those_of_the_policy() {
    use anteroom::engine::load::Share;
    use anteroom::engine::scale::{Mode, Terms};
    use anteroom::engine::time::Span;
    assert_eq!(Mode::Threshold.default_down_window(), Span::secs(15 * 60));
    assert_eq!(
        Terms::default_down_at(Share::percent(70)),
        Share::percent(30)
    );
}

#[test]
fn every_file_of_it_parses_and_no_secret_is_in_it() {
    let files = files("deploy/grafana");
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        match file.ends_with(".json") {
            true => drop(dashboard()),
            false => assert_eq!(yaml(&file)["apiVersion"], 1, "{file}"),
        }
        for line in text(&file).lines().filter(|line| line.contains("secret:")) {
            assert!(line.contains("\"${GF_"), "{file}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_panel_is_without_data() {
    let scene = Scene::lived().await;
    let prometheus = &scene.prometheus;
    let jobs = "count(up{job=~\"anteroom-room|traefik|prometheus\"} == 1) == 3";
    scene.told(jobs).await;
    let blog = "up{job=\"anteroom\", anteroom_service=\"blog\", anteroom_instance=\"seed\", anteroom_role=\"seed\"} == 1";
    scene.told(blog).await;
    let dashboard = dashboard();
    let mut count = 0;
    for panel in panels(&dashboard) {
        for target in list(&panel["targets"]) {
            let query = asked(target["expr"].as_str().unwrap());
            let (title, within) = (&panel["title"], tokio::time::Instant::now() + SOON);
            eventually(SOON + SOON, async || {
                let late = tokio::time::Instant::now() > within;
                assert!(!late, "{title} has no data: {query}");
                !prometheus.query(&query).await.is_empty()
            })
            .await;
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
    // What the alerts of load look at. `shop` is one again, and `blog` can't be more.
    for rule in rules() {
        let query = rule["data"][0]["model"]["expr"].as_str().unwrap();
        prometheus.query(query).await;
        let first = query.split(" and ").next().unwrap();
        assert!(first.starts_with("anteroom_service:"));
        scene
            .told(&format!("{first}{{anteroom_service=\"blog\"}}"))
            .await;
    }
    // Its own alerts, for what has gone wrong here.
    for alert in [
        "WakeFails",
        "PublishFails",
        "MachineVanished",
        "ScalingHindered",
    ] {
        scene
            .told(&format!(
                "ALERTS{{alertname=\"Anteroom{alert}\", alertstate=\"firing\"}}"
            ))
            .await;
    }
    assert_eq!(
        prometheus
            .query("ALERTS{alertname=~\"Anteroom(Down|StoreAway|Blind)\"}")
            .await,
        Vec::<f64>::new()
    );
}
