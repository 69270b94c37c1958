//! Clones at EC2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::ec2::{Ec2 as Provided, Settings, Source};
use anteroom::provider::{Known, May, Provider};

use super::clones::clones_conform;
use super::ec2::{ID, account, provider, settings, settings_at};
use super::{SEED, SOON, TOKEN, becomes, state};
use crate::support::crash;
use crate::support::ec2::{Ec2, Manner, REGION};
use crate::support::ec2_moto::Moto;
use crate::support::wait::eventually;

fn clone(slot: u16) -> CloneId {
    CloneId::new(slot, 1_795_000_000).expect("within bounds")
}

async fn comes(one: &Provided, clone: CloneId, wanted: MachineState) {
    let reads = async || {
        let machine = one.inspect(InstanceId::Clone(clone)).await;
        machine.expect("it can be read").state == wanted
    };
    eventually(SOON, reads).await;
}

async fn goes(one: &Provided, clone: CloneId) {
    let gone = async || {
        let deleted = one.delete(clone).await;
        deleted.is_ok_and(|machine| machine.state == MachineState::Missing)
    };
    eventually(SOON, gone).await;
    comes(one, clone, MachineState::Missing).await;
}

async fn found(one: &Provided) -> Vec<CloneId> {
    let found = one.find().await.expect("listed");
    let mut found: Vec<_> = found.into_iter().map(|owned| owned.clone).collect();
    found.sort();
    found
}

async fn clones_live_beside_the_seed(ec2: &Ec2) {
    let one = provider(settings(ec2));
    assert!(one.can_clone() && one.make_clone_repeats() && !one.strips());
    one.start(SEED, TOKEN).await.expect("it starts");
    becomes(&one, MachineState::Running).await;
    for slot in [1, 2, 1] {
        let made = one.make_clone(clone(slot)).await.expect("made");
        assert_ne!(made.state, MachineState::Missing);
    }
    for slot in [1, 2] {
        let instance = InstanceId::Clone(clone(slot));
        one.start(instance, TOKEN)
            .await
            .expect("it starts by itself");
        comes(&one, clone(slot), MachineState::Running).await;
        let up = one.inspect(instance).await.expect("read");
        assert!(up.address.is_some());
        assert_eq!(one.addresses(clone(slot)).await, Ok(Vec::new()));
    }
    eventually(SOON, async || found(&one).await == [clone(1), clone(2)]).await;
    assert_eq!(ec2.clones().len(), 2);
    let instance = InstanceId::Clone(clone(1));
    for _ in 0..2 {
        let off = one.stop(instance, TOKEN).await.expect("it stops");
        assert_eq!(off.state, MachineState::Stopped);
    }
    let fresh = provider(settings(ec2));
    fresh.start(instance, TOKEN).await.expect("it starts");
    comes(&fresh, clone(1), MachineState::Running).await;
    for slot in [1, 2] {
        for _ in 0..2 {
            goes(&fresh, clone(slot)).await;
        }
    }
    assert!(ec2.clones().is_empty());
    assert!(found(&fresh).await.is_empty());
    assert_eq!(state(&fresh).await, MachineState::Running, "the seed");
}

#[tokio::test]
async fn clones_live_beside_the_seed_at_once() {
    clones_live_beside_the_seed(&account(Manner::default())).await;
}

#[tokio::test]
async fn clones_live_beside_the_seed_where_all_takes_its_time_and_lists_lag() {
    let manner = Manner {
        takes: Duration::from_millis(400),
        lags: Duration::from_millis(200),
        ..Manner::default()
    };
    clones_live_beside_the_seed(&account(manner)).await;
}

#[tokio::test]
async fn clones_live_beside_the_seed_where_every_answer_is_lost() {
    let manner = Manner {
        loses_answers: true,
        ..Manner::default()
    };
    clones_live_beside_the_seed(&account(manner)).await;
}

#[tokio::test]
async fn a_launch_that_is_repeated_while_lists_lag_makes_one_machine() {
    let ec2 = account(Manner {
        lags: Duration::from_secs(3600),
        ..Manner::default()
    });
    let (one, next) = (provider(settings(&ec2)), provider(settings(&ec2)));
    for one in [&one, &next] {
        let (first, second) = tokio::join!(one.make_clone(clone(1)), one.make_clone(clone(1)));
        first.and(second).expect("both are made");
        let seen = one.inspect(InstanceId::Clone(clone(1))).await;
        let seen = seen.expect("read").state;
        assert_eq!(seen, MachineState::Starting, "it is known to be there");
    }
    let told = one.delete(clone(1)).await;
    assert_eq!(told.map(|it| it.state), Ok(MachineState::Stopping));
    assert_eq!(ec2.calls("RunInstances", ""), 4);
    assert_eq!(ec2.made(), 1);
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let ec2 = account(Manner::default());
    let one = provider(settings(&ec2));
    let other = provider(Settings {
        service: "shop".parse().expect("a name"),
        ..settings(&ec2)
    });
    one.make_clone(clone(1)).await.expect("made");
    assert!(found(&other).await.is_empty());
    let gone = other.delete(clone(1)).await.expect("there is none");
    assert_eq!(gone.state, MachineState::Missing);
    let told = other.start(InstanceId::Clone(clone(1)), TOKEN).await;
    assert_eq!(told.map_err(|told| told.class), Err(ErrorClass::NotFound));
    assert_eq!(found(&one).await, [clone(1)]);
    // The seed may wear what it wants.
    ec2.tag(ID, "anteroom", &ec2.clones()[0]);
    goes(&one, clone(1)).await;
    assert_eq!(state(&one).await, MachineState::Stopped);
    assert_eq!(ec2.calls("TerminateInstances", ID), 0);
}

#[tokio::test]
async fn what_goes_wrong_at_a_launch_is_told() {
    for (status, code, class) in [
        (500, "InsufficientInstanceCapacity", ErrorClass::Capacity),
        (400, "VcpuLimitExceeded", ErrorClass::Quota),
        (403, "UnauthorizedOperation", ErrorClass::Forbidden),
    ] {
        let ec2 = account(Manner {
            refuses: Some(("RunInstances", status, code)),
            ..Manner::default()
        });
        let told = provider(settings(&ec2)).make_clone(clone(1)).await;
        assert_eq!(told.map_err(|told| told.class), Err(class));
    }
    let ec2 = account(Manner::default());
    for (template, class) in [
        (None, ErrorClass::BadRequest),
        (Some("nothing"), ErrorClass::BadRequest),
    ] {
        let one = provider(Settings {
            launch_template: template.map(str::to_owned),
            ..settings(&ec2)
        });
        assert_eq!(one.can_clone(), template.is_some());
        let told = one.make_clone(clone(1)).await;
        assert_eq!(told.map_err(|told| told.class), Err(class));
    }
    let one = provider(settings(&ec2));
    one.make_clone(clone(1)).await.expect("made");
    ec2.behave(Manner {
        refuses: Some(("TerminateInstances", 400, "OperationNotPermitted")),
        ..Manner::default()
    });
    let told = one.delete(clone(1)).await;
    assert_eq!(
        told.map_err(|told| told.class),
        Err(ErrorClass::InvalidState)
    );
}

#[tokio::test]
async fn moto_launches_tags_finds_and_deletes_a_clone() {
    let moto = Moto::start();
    let image = "Action=DescribeImages&Owner.1=amazon&MaxResults=5";
    let image = moto.call(REGION, image, "imageId").await;
    let template = format!(
        "Action=CreateLaunchTemplate&LaunchTemplateName=blog&LaunchTemplateData.ImageId={image}&LaunchTemplateData.InstanceType=t3.micro"
    );
    moto.call(REGION, &template, "launchTemplateId").await;
    let run = format!("Action=RunInstances&ImageId={image}&MinCount=1&MaxCount=1");
    let id = moto.call(REGION, &run, "instanceId").await;
    let one = provider(settings_at(moto.url(), &id));
    for slot in [1, 2, 2] {
        one.make_clone(clone(slot)).await.expect("made");
    }
    assert_eq!(found(&one).await, [clone(1), clone(2)]);
    comes(&one, clone(1), MachineState::Running).await;
    for slot in [1, 2] {
        goes(&one, clone(slot)).await;
    }
    assert!(found(&one).await.is_empty());
    assert_eq!(state(&one).await, MachineState::Running, "the seed");
}

mod at_once {
    use super::*;
    clones_conform!(account(Manner::default()));
}

mod that_takes_its_time_and_is_read_late {
    use super::*;
    clones_conform!(account(Manner {
        takes: Duration::from_millis(300),
        lags: Duration::from_millis(100),
        ..Manner::default()
    }));
}

mod that_loses_every_answer {
    use super::*;
    clones_conform!(account(Manner {
        loses_answers: true,
        ..Manner::default()
    }));
}

#[tokio::test]
async fn a_checkup_tells_what_the_keys_may_do_and_changes_nothing() {
    let ec2 = account(Manner::default());
    let one = provider(settings(&ec2));
    one.make_clone(clone(1)).await.expect("made");
    let checkup = one.checkup().await;
    let all = [May::Read, May::Power, May::Clone].map(|may| (may, Known::Yes));
    assert_eq!(checkup.may, all);
    assert_eq!(checkup.marked, Ok(ec2.clones()));
    assert!(checkup.credential.is_ok() && checkup.warnings.is_empty());
    for (action, may) in [("StartInstances", May::Power), ("RunInstances", May::Clone)] {
        ec2.behave(Manner {
            refuses: Some((action, 403, "UnauthorizedOperation")),
            ..Manner::default()
        });
        let checkup = one.checkup().await;
        assert!(checkup.may.contains(&(may, Known::No)), "{checkup:?}");
    }
    ec2.behave(Manner::default());
    let lost = provider(Settings {
        launch_template: Some("nothing".into()),
        ..settings(&ec2)
    });
    let checkup = lost.checkup().await;
    assert!(
        checkup.warnings[0].contains("launch template"),
        "{checkup:?}"
    );
    let stolen = provider(Settings {
        credentials: Source::Keys {
            id: "AKIASTOLEN".into(),
            secret: "stolen".into(),
            session: None,
        },
        ..settings(&ec2)
    });
    let checkup = stolen.checkup().await;
    assert_eq!(
        checkup.credential.map_err(|told| told.class),
        Err(ErrorClass::Auth)
    );
    assert_eq!(checkup.may, [(May::Read, Known::Unknown)]);
    assert_eq!((ec2.made(), ec2.running()), (1, 1), "the one clone");
}

/// A provider that reaches EC2 by this address.
pub(super) fn behind(gate: SocketAddr) -> Arc<dyn Provider> {
    Arc::new(provider(settings_at(format!("http://{gate}"), ID)))
}

/// An account with a seed, and a machine of somebody else.
pub(super) async fn fresh() -> (Ec2, crash::Platform) {
    let ec2 = account(Manner::default());
    ec2.make("i-00000000000000001", "10.0.0.6");
    let place = crash::Platform::Tcp(ec2.address);
    (ec2, place)
}

impl crash::Left for Ec2 {
    fn clones(&self) -> Vec<String> {
        Ec2::clones(self)
    }

    fn addresses(&self) -> usize {
        0
    }

    fn seed_is_untouched(&self) -> bool {
        self.running() <= self.clones().len() && self.others_are_off()
    }
}
