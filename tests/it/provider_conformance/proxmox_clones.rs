//! Clones on Proxmox VE.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::proxmox::{CloneKind, Proxmox, Settings};
use anteroom::provider::{Known, May, Provider};
use serde_json::json;

use super::clones::clones_conform;
use super::proxmox::{VM, cluster, provider, settings, settings_at, with_container};
use super::{SEED, SOON, TOKEN, becomes, state};
use crate::support::crash;
use crate::support::proxmox::{Pve, TOKEN_ID};
use crate::support::wait::eventually;

fn clone(slot: u16) -> CloneId {
    CloneId::new(slot, 1_795_000_000).expect("within bounds")
}

async fn of(one: &Proxmox, clone: CloneId) -> MachineState {
    let machine = one.inspect(InstanceId::Clone(clone)).await;
    machine.expect("it can be read").state
}

async fn comes(one: &Proxmox, clone: CloneId, wanted: MachineState) {
    eventually(SOON, async || of(one, clone).await == wanted).await;
}

async fn starts(one: &Proxmox, clone: CloneId) {
    let instance = InstanceId::Clone(clone);
    eventually(SOON, async || one.start(instance, TOKEN).await.is_ok()).await;
    comes(one, clone, MachineState::Running).await;
}

async fn goes(one: &Proxmox, clone: CloneId) {
    let gone = async || {
        let deleted = one.delete(clone).await;
        deleted.is_ok_and(|machine| machine.state == MachineState::Missing)
    };
    eventually(SOON, gone).await;
    assert_eq!(of(one, clone).await, MachineState::Missing);
}

async fn found(one: &Proxmox) -> Vec<CloneId> {
    let found = one.find().await.expect("listed");
    let mut found: Vec<_> = found.into_iter().map(|owned| owned.clone).collect();
    found.sort();
    found
}

async fn clones_live_beside_the_seed(pve: &Pve) {
    let one = provider(settings(pve));
    assert!(one.can_clone() && !one.make_clone_repeats() && !one.strips());
    for slot in [1, 2, 1] {
        let made = one.make_clone(clone(slot)).await.expect("made");
        assert_ne!(made.state, MachineState::Missing);
    }
    assert_eq!(pve.clones().len(), 2);
    one.start(SEED, TOKEN).await.expect("it starts");
    becomes(&one, MachineState::Running).await;
    for slot in [1, 2] {
        starts(&one, clone(slot)).await;
    }
    assert_eq!(found(&one).await, [clone(1), clone(2)]);
    let instance = InstanceId::Clone(clone(1));
    let fresh = provider(settings(pve));
    for _ in 0..2 {
        let off = fresh.stop(instance, TOKEN).await.expect("it stops");
        assert_eq!(off.state, MachineState::Stopped);
    }
    assert_eq!(of(&fresh, clone(2)).await, MachineState::Running);
    for slot in [1, 2] {
        for _ in 0..2 {
            goes(&fresh, clone(slot)).await;
        }
    }
    assert!(pve.clones().is_empty(), "{:?}", pve.clones());
    assert!(found(&fresh).await.is_empty());
    assert_eq!(state(&fresh).await, MachineState::Running, "the seed");
}

#[tokio::test]
async fn clones_of_a_virtual_machine_live_beside_it() {
    clones_live_beside_the_seed(&cluster()).await;
}

#[tokio::test]
async fn clones_of_a_container_live_beside_it() {
    clones_live_beside_the_seed(&with_container()).await;
}

#[tokio::test]
async fn clones_live_beside_the_seed_where_every_answer_is_lost() {
    let pve = cluster();
    let all = ["clone", "start", "stop", "shutdown"].map(|end| json!(["POST", end]));
    pve.set(json!({ "lost": all }));
    clones_live_beside_the_seed(&pve).await;
}

#[tokio::test]
async fn clones_live_beside_the_seed_where_tasks_take_a_while() {
    let pve = with_container();
    pve.set(json!({ "time_scale": 0.05 }));
    pve.set(json!({ "ct_secs": {
        "create": 4, "clone": 4, "destroy": 4, "snapshot": 0, "delsnapshot": 0, "rollback": 0,
        "template": 0, "resize": 0, "migrate": 0,
    }}));
    clones_live_beside_the_seed(&pve).await;
}

#[tokio::test]
async fn a_call_may_be_dropped_anywhere_and_two_at_once_make_one_clone() {
    let pve = cluster();
    let one = provider(settings(&pve));
    for after_ms in [0, 1, 2, 4, 8, 16, 32] {
        let after = Duration::from_millis(after_ms);
        let _ = tokio::time::timeout(after, one.make_clone(clone(1))).await;
        let (first, second) = tokio::join!(one.make_clone(clone(1)), one.make_clone(clone(1)));
        first.and(second).expect("both are made");
        assert_eq!(pve.clones().len(), 1, "after {after_ms} ms");
        let _ = tokio::time::timeout(after, one.delete(clone(1))).await;
        goes(&one, clone(1)).await;
        assert!(pve.clones().is_empty());
    }
}

#[tokio::test]
async fn a_number_that_somebody_else_takes_first_is_passed_over() {
    let pve = cluster();
    let one = provider(settings(&pve));
    // The next free number is told, and taken before it is used.
    pve.set(json!({ "thief": 3 }));
    one.make_clone(clone(1)).await.expect("made");
    assert_eq!(pve.calls("POST", "/qemu/100/clone"), 4);
    assert_eq!(pve.clones().len(), 1);
    goes(&one, clone(1)).await;
    assert_eq!(pve.all(), 4, "the seed, and what others made");
}

#[tokio::test]
async fn a_linked_clone_comes_from_a_template_and_one_of_anything_else_is_refused() {
    let pve = cluster();
    let disk =
        json!({ "config": { "scsi0": "local-lvm:base-9000-disk-0,size=8G" }, "template": true });
    pve.call("add_vm", json!([9000, "template"]), disk);
    let linked = |clone_from| {
        provider(Settings {
            clone: CloneKind::Linked,
            clone_from,
            ..settings(&pve)
        })
    };
    let one = linked(Some(9000));
    one.make_clone(clone(1)).await.expect("made");
    assert_eq!(pve.calls("POST", "/qemu/9000/clone"), 1);
    assert_eq!(pve.calls("POST", "full=0"), 1);
    goes(&one, clone(1)).await;
    pve.set_guest(
        VM,
        json!({ "config": { "name": "blog", "scsi0": "local-lvm:vm-100-disk-0,size=8G" } }),
    );
    let told = linked(None)
        .make_clone(clone(1))
        .await
        .expect_err("no template");
    assert_eq!(told.class, ErrorClass::BadRequest, "{told}");
    let told = linked(Some(777))
        .make_clone(clone(1))
        .await
        .expect_err("nothing");
    assert_eq!(told.class, ErrorClass::NotFound, "{told}");
}

#[tokio::test]
async fn what_a_clone_takes_over_from_its_source_does_not_keep_it_from_being_deleted() {
    let pve = cluster();
    pve.set_guest(
        VM,
        json!({ "config": { "name": "blog", "onboot": 1, "protection": 1, "tags": "web" } }),
    );
    let one = provider(settings(&pve));
    one.make_clone(clone(1)).await.expect("made");
    goes(&one, clone(1)).await;
    one.make_clone(clone(2)).await.expect("made");
    starts(&one, clone(2)).await;
    let config = pve.clones_config();
    assert_eq!(
        (&config["onboot"], &config["protection"]),
        (&json!("0"), &json!("0"))
    );
    assert_eq!(config["tags"], "web;anteroom");
    assert!(config["description"].as_str().unwrap().contains("blog"));
    goes(&one, clone(2)).await;
    let seed = pve.guest(VM, "config");
    assert_eq!(
        (&seed["onboot"], &seed["protection"], &seed["tags"]),
        (&json!(1), &json!(1), &json!("web"))
    );
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone_even_under_our_name() {
    let pve = cluster();
    let one = provider(settings(&pve));
    let other = provider(Settings {
        service: "shop".parse().expect("a name"),
        ..settings(&pve)
    });
    one.make_clone(clone(1)).await.expect("made");
    assert!(found(&other).await.is_empty());
    let gone = other.delete(clone(1)).await.expect("there is none");
    assert_eq!(gone.state, MachineState::Missing);
    let told = other.start(InstanceId::Clone(clone(1)), TOKEN).await;
    assert_eq!(told.map_err(|told| told.class), Err(ErrorClass::NotFound));
    // Whatever somebody calls the seed, it is the seed.
    let name = pve.clones().remove(0);
    pve.set_guest(VM, json!({ "name": name, "config": { "name": name } }));
    goes(&one, clone(1)).await;
    assert_eq!(pve.all(), 1);
    assert_eq!(pve.calls("DELETE", "/qemu/100"), 0);
    // A list that is behind shows a name that a guest has no more.
    pve.set_guest(VM, json!({ "name": "blog", "config": { "name": "blog" } }));
    one.make_clone(clone(2)).await.expect("made");
    let name = pve.clones().remove(0);
    pve.call("freeze_list", json!([true]), json!({}));
    pve.rename(&name, "precious");
    let fresh = provider(settings(&pve));
    fresh.delete(clone(2)).await.expect("there is none");
    assert_eq!(pve.all(), 2);
}

#[tokio::test]
async fn a_clone_whose_name_is_not_in_the_list_yet_is_found_all_the_same() {
    let pve = cluster();
    let one = provider(settings(&pve));
    one.make_clone(clone(1)).await.expect("made");
    pve.set(json!({ "nameless": true }));
    let fresh = provider(settings(&pve));
    eventually(SOON, async || found(&fresh).await == [clone(1)]).await;
    fresh.make_clone(clone(1)).await.expect("it is there");
    assert_eq!(pve.clones().len(), 1);
    goes(&fresh, clone(1)).await;
}

#[tokio::test]
async fn a_node_that_is_off_with_guests_whose_names_are_unknown_stops_nobody_elsewhere() {
    let pve = cluster();
    pve.call("add_vm", json!([200, "far"]), json!({ "node": "pve2" }));
    pve.set(json!({ "nameless": true }));
    pve.call("set_node_offline", json!(["pve2"]), json!({}));
    let one = provider(settings(&pve));
    one.make_clone(clone(1)).await.expect("made");
    starts(&one, clone(1)).await;
    assert_eq!(found(&one).await, [clone(1)]);
    // Whether there is another one on that node nobody knows.
    let told = one.delete(clone(1)).await.expect_err("not sure");
    assert_eq!(told.class, ErrorClass::Transient);
    assert!(pve.clones().is_empty(), "what is known is deleted");
    let told = one.inspect(InstanceId::Clone(clone(1))).await;
    assert_eq!(told.map_err(|told| told.class), Err(ErrorClass::Transient));
    pve.call(
        "set_node_offline",
        json!(["pve2"]),
        json!({ "offline": false }),
    );
    goes(&one, clone(1)).await;
}

#[tokio::test]
async fn the_documented_privileges_are_enough_and_without_them_it_is_said() {
    let pve = cluster();
    pve.call("add_vm", json!([101, "another"]), json!({}));
    pve.set(json!({ "pools": { "anteroom": [] }, "pool_info": { "anteroom": { "comment": null, "storage": [] } } }));
    let grant = |path: &str, privileges: &[&str]| {
        let args: Vec<_> = [TOKEN_ID, path]
            .into_iter()
            .chain(privileges.iter().copied())
            .collect();
        pve.call("grant", json!(args), json!({}));
    };
    let one = provider(Settings {
        pool: Some("anteroom".into()),
        ..settings(&pve)
    });
    let power = ["VM.Audit", "VM.PowerMgmt", "VM.GuestAgent.Audit"];
    grant("/vms/100", &power);
    one.start(SEED, TOKEN).await.expect("it starts");
    one.stop(SEED, TOKEN).await.expect("it stops");
    let told = one.make_clone(clone(1)).await.expect_err("not yet");
    assert_eq!(told.class, ErrorClass::Forbidden, "{told}");
    grant("/vms/100", &["VM.Clone"]);
    grant("/pool/anteroom", &power);
    grant("/pool/anteroom", &["VM.Allocate", "VM.Config.Options"]);
    one.make_clone(clone(1)).await.expect("made");
    starts(&one, clone(1)).await;
    assert_eq!(found(&one).await, [clone(1)]);
    let checkup = one.checkup().await;
    assert!(
        checkup.may.iter().all(|(_, known)| *known == Known::Yes),
        "{checkup:?}"
    );
    assert_eq!(checkup.marked, Ok(pve.clones()));
    assert!(checkup.warnings.is_empty());
    goes(&one, clone(1)).await;
}

#[tokio::test]
async fn a_checkup_tells_what_a_token_lacks_and_only_reads() {
    let pve = cluster();
    pve.call(
        "grant",
        json!([TOKEN_ID, "/vms/200", "VM.Audit"]),
        json!({}),
    );
    let one = provider(settings(&pve));
    let checkup = one.checkup().await;
    assert!(
        checkup.may.contains(&(May::Power, Known::No)),
        "{checkup:?}"
    );
    assert!(checkup.warnings[0].contains("privilege separation"));
    assert_eq!(
        checkup.seed.map_err(|told| told.class),
        Err(ErrorClass::Forbidden)
    );
    let stolen = provider(Settings {
        secret: "a-stolen-secret".into(),
        ..settings(&pve)
    });
    let checkup = stolen.checkup().await;
    assert_eq!(
        checkup.credential.map_err(|told| told.class),
        Err(ErrorClass::Auth)
    );
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(pve.calls(method, ""), 0);
    }
}

mod of_a_virtual_machine {
    use super::*;
    clones_conform!(cluster());
}

mod of_a_container {
    use super::*;
    clones_conform!(with_container());
}

/// A provider that reaches its cluster by this address.
pub(super) fn behind(gate: SocketAddr) -> Arc<dyn Provider> {
    Arc::new(provider(settings_at(format!("http://{gate}"))))
}

/// A cluster with a seed, and a guest of somebody else.
pub(super) async fn fresh() -> (Pve, crash::Platform) {
    let pve = cluster();
    pve.make_vm(777, "precious");
    let place = crash::Platform::Tcp(pve.plain());
    (pve, place)
}

impl crash::Left for Pve {
    fn clones(&self) -> Vec<String> {
        Pve::clones(self)
    }

    fn addresses(&self) -> usize {
        0
    }

    fn seed_is_untouched(&self) -> bool {
        let is = |name: &str, wanted: &str| self.guest(VM, name) == wanted;
        let touched = |method| self.calls(method, "/777") + self.calls(method, "/100/config");
        let alone = ["POST", "PUT", "DELETE"].map(touched) == [0; 3];
        alone && is("name", "blog") && is("status", "stopped") && self.calls("DELETE", "/100") == 0
    }
}
