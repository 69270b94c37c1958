//! Machines and operations as Compute Engine shows them.

use std::collections::BTreeMap;

use std::time::Instant;

use serde_json::{Value, json};

use super::{Manner, Operation, PROJECT, Vm, ZONE};

fn url(what: &str) -> String {
    format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/{what}")
}

/// A machine as it was at this moment; none for now.
pub(super) fn instance(
    (zone, name): &(String, String),
    vm: &Vm,
    at: Instant,
    manner: Manner,
) -> Value {
    let state = vm.state(at);
    let mut interface = json!({
        "kind": "compute#networkInterface", "name": "nic0", "networkIP": vm.private,
        "network": url("global/networks/default"), "subnetwork": url("regions/europe-west1/subnetworks/default"),
    });
    if let Some(public) = &vm.public {
        let mut config = json!({ "kind": "compute#accessConfig", "name": "External NAT", "type": "ONE_TO_ONE_NAT" });
        if state == "RUNNING" {
            config["natIP"] = json!(public);
        }
        interface["accessConfigs"] = json!([config]);
    }
    json!({
        "kind": "compute#instance", "id": vm.number.to_string(), "name": name, "zone": url(&format!("zones/{zone}")),
        "selfLink": url(&format!("zones/{zone}/instances/{name}")),
        "creationTimestamp": "2026-11-20T08:14:09.123-08:00",
        "machineType": url(&format!("zones/{zone}/machineTypes/e2-small")),
        "status": manner.word.unwrap_or(state), "labels": vm.labels, "labelFingerprint": fingerprint(&vm.labels),
        "networkInterfaces": [interface],
        "disks": [{
            "kind": "compute#attachedDisk", "boot": true, "autoDelete": vm.disk_goes, "type": "PERSISTENT",
            "deviceName": "persistent-disk-0", "mode": "READ_WRITE", "source": url(&format!("zones/{zone}/disks/{name}")),
        }],
        "scheduling": { "provisioningModel": "STANDARD", "automaticRestart": true, "preemptible": false },
        "deletionProtection": false,
    })
}

/// A page of `aggregatedList`, with a zone in which there is nothing.
pub(super) fn list(page: &[(&(String, String), &Vm)], at: Instant, manner: Manner) -> Value {
    let shown: Vec<_> = page
        .iter()
        .map(|(of, vm)| instance(of, vm, at, manner))
        .collect();
    let nothing = json!({ "warning": { "code": "NO_RESULTS_ON_PAGE", "message": "There are no results for scope." } });
    let here = if shown.is_empty() {
        nothing.clone()
    } else {
        json!({ "instances": shown })
    };
    let here = match manner.partial {
        true => {
            json!({ "warning": { "code": "UNREACHABLE", "message": "The zone could not be reached." } })
        }
        false => here,
    };
    json!({
        "kind": "compute#instanceAggregatedList", "id": "projects/blog-project/aggregated/instances",
        "selfLink": url("aggregated/instances"),
        "items": { format!("zones/{ZONE}"): here, "zones/us-central1-a": nothing },
    })
}

/// An operation as it is now.
pub(super) fn operation(number: usize, of: &Operation) -> Value {
    let (zone, name) = &of.target;
    let done = of.is_done(Instant::now());
    let mut shown = json!({
        "kind": "compute#operation", "id": (9000 + number).to_string(), "name": format!("operation-{number}"),
        "zone": url(&format!("zones/{zone}")), "operationType": of.kind,
        "targetLink": url(&format!("zones/{zone}/instances/{name}")), "targetId": of.machine.to_string(),
        "status": if done { "DONE" } else { "RUNNING" }, "progress": if done { 100 } else { 0 },
        "user": "anteroom@blog-project.iam.gserviceaccount.com", "insertTime": "2026-11-21T05:14:09.123-08:00",
    });
    if let Some(request) = &of.request {
        shown["clientOperationId"] = json!(request);
    }
    if let Some(code) = of.error.filter(|_| done) {
        let status = if code.starts_with("ZONE_RESOURCE_POOL") {
            503
        } else {
            400
        };
        shown["httpErrorStatusCode"] = json!(status);
        shown["httpErrorMessage"] = json!("as the test wants it");
        shown["error"] =
            json!({ "errors": [{ "code": code, "message": format!("{code}, of {name}") }] });
    }
    shown
}

/// Changes with the labels; what it is made of is nobody's business.
pub(super) fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    use base64::Engine as _;
    let mut hash = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(labels, &mut hash);
    let bytes = std::hash::Hasher::finish(&hash).to_be_bytes();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
