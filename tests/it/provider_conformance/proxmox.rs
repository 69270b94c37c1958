//! Proxmox VE, against the Python package that plays it.

use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::engine::policy::Sleep;
use anteroom::provider::Provider;
use anteroom::provider::proxmox::{AddressFrom, CloneKind, GuestKind, Proxmox, Settings};
use serde_json::json;

use super::{Platform, SEED, TOKEN, conforms, state};
use crate::support::proxmox::{Pve, SECRET, TOKEN_ID};
use crate::support::wait::eventually;

pub(super) const VM: u32 = 100;

/// A cluster with one virtual machine.
pub(super) fn cluster() -> Pve {
    let pve = Pve::start();
    pve.make_vm(VM, "blog");
    pve
}

/// A cluster with one container.
pub(super) fn with_container() -> Pve {
    let pve = Pve::start();
    pve.make_ct(VM, "blog");
    pve
}

pub(super) fn settings(pve: &Pve) -> Settings {
    Settings {
        ca: Some(pve.ca()),
        ..settings_at(pve.url())
    }
}

pub(super) fn settings_at(base_url: String) -> Settings {
    Settings {
        service: "blog".parse().expect("a name"),
        clone: CloneKind::Full,
        clone_from: None,
        pool: None,
        storage: None,
        clone_settles: Duration::from_secs(2),
        base_url,
        token_id: TOKEN_ID.into(),
        secret: SECRET.into(),
        vmid: VM,
        guest: None,
        port: 80,
        address: AddressFrom::Guest,
        sleep: Sleep::Stop,
        stop_timeout: Duration::from_secs(20),
        ca: None,
        fingerprint: None,
    }
}

pub(super) fn provider(settings: Settings) -> Proxmox {
    Proxmox::new(settings).expect("good settings")
}

impl Platform for Pve {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(provider(settings(self)))
    }

    fn running(&self) -> usize {
        Pve::running(self)
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        let vmid = 999;
        Some(Arc::new(provider(Settings {
            vmid,
            ..settings(self)
        })))
    }
}

mod a_virtual_machine {
    use super::*;
    conforms!(cluster());
}

mod a_container {
    use super::*;
    conforms!(with_container());
}

mod whose_tasks_take_a_while {
    use super::*;
    conforms!({
        let pve = cluster();
        pve.set(json!({ "time_scale": 0.05 }));
        let takes = json!({ "start_secs": 4, "stop_secs": 1, "shutdown_secs": 4 });
        pve.set_guest(VM, takes);
        pve
    });
}

mod that_speaks_as_old_versions_do {
    use super::*;
    conforms!({
        let pve = cluster();
        pve.set(json!({ "terse": true }));
        pve
    });
}

mod that_loses_every_answer {
    use super::*;
    conforms!({
        let pve = cluster();
        let all =
            ["start", "stop", "shutdown"].map(|what| json!(["POST", format!("/status/{what}")]));
        pve.set(json!({ "lost": all }));
        pve
    });
}

#[tokio::test]
async fn a_pinned_certificate_is_believed_and_no_other() {
    let (pve, other) = (cluster(), cluster());
    let with = |fingerprint: &str| {
        let fingerprint = Some(fingerprint.parse().expect("a fingerprint"));
        provider(Settings {
            ca: None,
            fingerprint,
            ..settings(&pve)
        })
    };
    assert_eq!(state(&with(pve.fingerprint())).await, MachineState::Stopped);
    let told = with(other.fingerprint()).inspect(SEED).await;
    let told = told.expect_err("another certificate");
    assert_eq!(told.class, ErrorClass::Transient);
    let shown = pve.fingerprint().to_ascii_uppercase();
    let shown = shown
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    let shown = shown.collect::<Vec<_>>().join(":");
    assert!(told.detail.contains(&shown), "{told}");
    let by_the_system = provider(Settings {
        ca: None,
        ..settings(&pve)
    });
    let told = by_the_system
        .inspect(SEED)
        .await
        .expect_err("nobody signed it");
    assert!(told.detail.contains("certificate"), "{told}");
}

#[tokio::test]
async fn a_token_that_may_not_see_the_guest_is_told_so_and_not_that_it_is_missing() {
    let pve = cluster();
    pve.call(
        "grant",
        json!([TOKEN_ID, "/vms/200", "VM.Audit"]),
        json!({}),
    );
    let told = provider(settings(&pve))
        .inspect(SEED)
        .await
        .expect_err("hidden");
    assert_eq!(told.class, ErrorClass::Forbidden);
    assert!(told.detail.contains("VM.Audit"), "{told}");
    pve.call("grant", json!([TOKEN_ID, "/vms", "VM.Audit"]), json!({}));
    let reads = provider(settings(&pve));
    assert_eq!(state(&reads).await, MachineState::Stopped);
    let told = reads
        .start(SEED, TOKEN)
        .await
        .expect_err("it may only read");
    assert_eq!(told.class, ErrorClass::Forbidden);
    assert!(told.detail.contains("VM.PowerMgmt"), "{told}");
    let gone = provider(Settings {
        vmid: 999,
        ..settings(&pve)
    });
    assert_eq!(state(&gone).await, MachineState::Missing);
}

#[tokio::test]
async fn what_went_wrong_in_a_task_is_told() {
    let pve = cluster();
    let one = provider(settings(&pve));
    pve.set_guest(
        VM,
        json!({ "start_error": "start failed: QEMU exited with code 1" }),
    );
    let told = one.start(SEED, TOKEN).await.expect_err("it can't start");
    assert_eq!(told.class, ErrorClass::Transient);
    assert!(told.detail.contains("QEMU exited with code 1"), "{told}");
    pve.set_guest(VM, json!({ "start_error": null }));
    pve.set(json!({ "time_scale": 0.01, "lock_wait": 1 }));
    pve.call("hold_config_lock", json!([VM, null]), json!({}));
    let told = one
        .start(SEED, TOKEN)
        .await
        .expect_err("somebody works on it");
    assert_eq!(told.class, ErrorClass::Busy);
    pve.call("release_config_lock", json!([VM]), json!({}));
    pve.call("lose_quorum", json!([]), json!({}));
    let told = one.start(SEED, TOKEN).await.expect_err("no quorum");
    assert_eq!(told.class, ErrorClass::Transient);
    pve.call("regain_quorum", json!([]), json!({}));
    pve.call("snapshot_lock", json!([VM, "backup"]), json!({}));
    let told = one.start(SEED, TOKEN).await.expect_err("it is backed up");
    assert_eq!(told.class, ErrorClass::Busy);
    pve.call("unlock", json!([VM]), json!({}));
    pve.call("set_node_offline", json!(["pve1"]), json!({}));
    let told = one.start(SEED, TOKEN).await.expect_err("its node is off");
    assert_eq!(told.class, ErrorClass::Transient);
    let unsure = one.inspect(SEED).await.expect_err("nobody knows");
    assert_eq!(unsure.class, ErrorClass::Transient);
}

#[tokio::test]
async fn a_guest_that_does_not_shut_down_is_switched_off() {
    let pve = cluster();
    let one = provider(Settings {
        stop_timeout: Duration::from_secs(2),
        ..settings(&pve)
    });
    one.start(SEED, TOKEN).await.expect("it starts");
    pve.set_guest(VM, json!({ "acpi": false }));
    let off = one.stop(SEED, TOKEN).await.expect("by force");
    assert_eq!(off.state, MachineState::Stopped);
    assert_eq!(
        pve.calls("POST", "/status/shutdown timeout=2&forceStop=1"),
        1
    );
    assert_eq!(pve.calls("POST", "/status/stop"), 0);
    one.start(SEED, TOKEN).await.expect("it starts");
    let failing = json!(["POST", "/status/shutdown", 500, "VM quit/powerdown failed"]);
    pve.call("fail", failing, json!({}));
    let off = one.stop(SEED, TOKEN).await.expect("by the switch");
    assert_eq!(off.state, MachineState::Stopped);
    assert_eq!(pve.calls("POST", "/status/stop"), 1);
}

#[tokio::test]
async fn what_moves_is_said_to_move_and_is_not_told_twice() {
    let pve = cluster();
    pve.set(json!({ "time_scale": 0.05 }));
    pve.set_guest(VM, json!({ "start_secs": 20, "shutdown_secs": 20 }));
    let (one, two) = (provider(settings(&pve)), provider(settings(&pve)));
    for (way, wanted, order) in [
        (
            MachineState::Starting,
            MachineState::Running,
            "/status/start",
        ),
        (
            MachineState::Stopping,
            MachineState::Stopped,
            "/status/shutdown",
        ),
    ] {
        let first = async {
            match way {
                MachineState::Starting => one.start(SEED, TOKEN).await,
                _ => one.stop(SEED, TOKEN).await,
            }
        };
        let meanwhile = async {
            eventually(super::SOON, async || state(&one).await == way).await;
            match way {
                MachineState::Starting => two.start(SEED, TOKEN).await,
                _ => two.stop(SEED, TOKEN).await,
            }
        };
        let (first, second) = tokio::join!(first, meanwhile);
        assert_eq!(first.expect("done").state, wanted);
        assert_eq!(second.expect("followed").state, wanted);
        assert_eq!(pve.calls("POST", order), 1);
    }
}

#[tokio::test]
async fn fifty_services_read_one_list() {
    let pve = cluster();
    for vmid in 200..250 {
        pve.make_vm(vmid, &format!("app-{vmid}"));
    }
    let fixed = AddressFrom::Fixed("192.0.2.7:80".into());
    let service = |vmid| {
        let address = fixed.clone();
        provider(Settings {
            vmid,
            address,
            ..settings(&pve)
        })
    };
    let services: Vec<_> = (200..250).map(service).collect();
    let looks = services.iter().map(|service| service.inspect(SEED));
    for machine in futures_util::future::join_all(looks).await {
        assert_eq!(
            machine.map(|machine| machine.state),
            Ok(MachineState::Stopped)
        );
    }
    assert_eq!(pve.calls("GET", ""), 1, "one call in all");
}

#[tokio::test]
async fn a_list_that_lags_does_not_hide_what_was_just_done() {
    let pve = cluster();
    pve.call("freeze_list", json!([true]), json!({}));
    let one = provider(settings(&pve));
    one.start(SEED, TOKEN).await.expect("it starts");
    assert_eq!(state(&one).await, MachineState::Running);
    one.stop(SEED, TOKEN).await.expect("it stops");
    pve.call("freeze_list", json!([true]), json!({}));
    one.start(SEED, TOKEN).await.expect("it starts");
    assert_eq!(state(&one).await, MachineState::Running);
}

#[tokio::test]
async fn the_address_is_what_the_guest_says_or_what_is_written_down() {
    let pve = cluster();
    pve.make_ct(101, "box");
    let of = |vmid, address| {
        let settings = settings(&pve);
        provider(Settings {
            vmid,
            address,
            ..settings
        })
    };
    let up = of(VM, AddressFrom::Guest)
        .start(SEED, TOKEN)
        .await
        .expect("it starts");
    assert_eq!(up.address, "192.0.2.10:80".parse().ok());
    let up = of(101, AddressFrom::Guest)
        .start(SEED, TOKEN)
        .await
        .expect("it starts");
    assert_eq!(up.address, "192.0.2.20:80".parse().ok());
    let fixed = AddressFrom::Fixed("127.0.0.9:8080".into());
    let up = of(VM, fixed).inspect(SEED).await.expect("read");
    assert_eq!(up.address, "127.0.0.9:8080".parse().ok());
    // The system inside comes up after the machine does.
    pve.set_guest(VM, json!({ "agent": null }));
    let up = of(VM, AddressFrom::Guest)
        .inspect(SEED)
        .await
        .expect("read");
    assert_eq!((up.state, up.address), (MachineState::Running, None));
    let failing = json!([
        "GET",
        "/agent/network-get-interfaces",
        500,
        "No QEMU guest agent configured"
    ]);
    pve.call("fail", failing, json!({}));
    let told = of(VM, AddressFrom::Guest)
        .inspect(SEED)
        .await
        .expect_err("no agent");
    assert_eq!(told.class, ErrorClass::BadRequest);
    assert!(told.detail.contains("`address`"), "{told}");
}

#[tokio::test]
async fn a_suspended_guest_is_resumed_by_its_start() {
    let pve = cluster();
    pve.make_ct(101, "box");
    let one = provider(Settings {
        sleep: Sleep::Suspend,
        ..settings(&pve)
    });
    assert_eq!(one.sleep(), Sleep::Suspend);
    for by_us in [true, false] {
        one.start(SEED, TOKEN).await.expect("it starts");
        if by_us {
            let asleep = one.suspend(SEED, TOKEN).await.expect("it is suspended");
            assert_eq!(asleep.state, MachineState::Suspended);
            assert_eq!(pve.guest(VM, "lock"), "suspended");
        } else {
            pve.set_guest(VM, json!({ "qmpstatus": "paused" }));
        }
        assert_eq!(state(&one).await, MachineState::Suspended);
        let off = one.stop(SEED, TOKEN).await.expect("it sleeps already");
        assert_eq!(off.state, MachineState::Suspended);
        let up = one.start(SEED, TOKEN).await.expect("it is resumed");
        assert_eq!(up.state, MachineState::Running);
    }
    assert_eq!(pve.calls("POST", "/status/resume"), 1);
    pve.set_guest(VM, json!({ "ha_state": "started" }));
    let failing = json!(["POST", "/status/suspend"]);
    let error = json!({ "error": "cannot_suspend_ha_managed_disk" });
    pve.call("fail", failing, error);
    let vm = one.suspend(SEED, TOKEN).await;
    let ct = provider(Settings {
        vmid: 101,
        ..settings(&pve)
    });
    ct.start(SEED, TOKEN).await.expect("it starts");
    for refused in [vm, ct.suspend(SEED, TOKEN).await] {
        let told = refused.expect_err("it can't be");
        assert_eq!(told.class, ErrorClass::InvalidState, "{told}");
    }
}

#[tokio::test]
async fn a_guest_under_high_availability_is_followed_past_its_task() {
    let pve = cluster();
    pve.set(json!({ "time_scale": 0.05, "ha_delay": 10 }));
    pve.set_guest(VM, json!({ "ha_state": "stopped" }));
    let one = provider(settings(&pve));
    let asked = one.start(SEED, TOKEN).await.expect("accepted");
    assert_eq!(asked.state, MachineState::Starting);
    super::becomes(&one, MachineState::Running).await;
    let asked = one.stop(SEED, TOKEN).await.expect("accepted");
    assert_eq!(asked.state, MachineState::Stopping);
    super::becomes(&one, MachineState::Stopped).await;
}

#[tokio::test]
async fn a_guest_is_found_on_whatever_node_it_is() {
    let pve = cluster();
    let one = provider(settings(&pve));
    one.start(SEED, TOKEN).await.expect("it starts");
    pve.call("migrate", json!([VM, "pve2"]), json!({}));
    eventually(super::SOON, async || {
        one.inspect(SEED)
            .await
            .is_ok_and(|machine| machine.state == MachineState::Running)
    })
    .await;
    one.stop(SEED, TOKEN).await.expect("it stops there");
    assert_eq!(pve.calls("POST", "/nodes/pve2/qemu/100/status/shutdown"), 1);
}

#[tokio::test]
async fn bad_settings_are_told_at_once_and_no_secret_is_shown() {
    let pve = cluster();
    let with = |change: fn(&mut Settings)| {
        let mut settings = settings(&pve);
        change(&mut settings);
        Proxmox::new(settings)
    };
    for (bad, words) in [
        (with(|it| it.vmid = 7), "`vmid`"),
        (with(|it| it.token_id = "root@pam".into()), "`token_id`"),
        (with(|it| it.token_id = "root@pam!a=b".into()), "`token_id`"),
        (with(|it| it.secret = "a\nb".into()), "`secret`"),
        (with(|it| it.ca = Some("/nowhere.pem".into())), "`ca`"),
    ] {
        let told = bad.err().expect(words).to_string();
        assert!(told.contains(words), "{told}");
    }
    assert!(!format!("{:?}", settings(&pve)).contains(SECRET));
    let other = provider(Settings {
        guest: Some(GuestKind::Lxc),
        ..settings(&pve)
    });
    let told = other.inspect(SEED).await.expect_err("it is a machine");
    assert_eq!(told.class, ErrorClass::BadRequest);
    let stolen = provider(Settings {
        secret: "a-stolen-secret".into(),
        ..settings(&pve)
    });
    for told in [stolen.inspect(SEED).await, stolen.start(SEED, TOKEN).await] {
        let told = told.expect_err("not ours");
        assert_eq!(told.class, ErrorClass::Auth);
        assert!(!told.detail.contains("stolen"), "{told}");
    }
    pve.set_guest(VM, json!({ "template": true }));
    let told = provider(settings(&pve)).start(SEED, TOKEN).await;
    assert_eq!(told.map_err(|told| told.class), Err(ErrorClass::BadRequest));
}
