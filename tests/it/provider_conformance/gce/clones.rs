//! Clones at Compute Engine.

use std::net::SocketAddr;

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::machine::MachineState::{Missing, Running, Starting, Stopped, Stopping};
use anteroom::provider::{Known, May};
use futures_util::future::join_all;

use super::*;
use crate::support::crash;

const IMAGE: &str = "projects/blog-project/global/machineImages/blog-1";

fn id(slot: u16) -> CloneId {
    CloneId::new(slot, 1_795_000_000).expect("within bounds")
}

/// A cloud with the seed and an image of it.
fn cloning(manner: Manner) -> Google {
    let google = cloud(manner);
    google.make_image(IMAGE);
    google
}

fn cloner(google: &Google) -> Gce {
    provider(cloner_settings(google))
}

fn cloner_settings(google: &Google) -> Settings {
    Settings {
        clone_from: Some(IMAGE.parse().expect("a path")),
        ..settings(google)
    }
}

async fn clone_becomes(gce: &Gce, clone: CloneId, wanted: MachineState) {
    let there = async || {
        let machine = gce.inspect(InstanceId::Clone(clone)).await;
        machine.expect("it can be read").state == wanted
    };
    eventually(SOON, there).await;
}

/// The whole life of two clones; afterwards nothing is left of them, and the seed was never written to.
async fn lives_and_leaves_nothing(google: &Google) {
    let gce = cloner(google);
    assert!(gce.can_clone() && gce.make_clone_repeats());
    assert_eq!(gce.find().await, Ok(Vec::new()));
    for slot in [1, 2] {
        let made = gce.make_clone(id(slot)).await.expect("it is made");
        assert!(matches!(made.state, Starting | Running), "{made:?}");
        clone_becomes(&gce, id(slot), Running).await;
        let machine = gce
            .inspect(InstanceId::Clone(id(slot)))
            .await
            .expect("it is read");
        assert!(machine.address.is_some());
        // As after a crash: another Anteroom asks for the same clone.
        gce.make_clone(id(slot)).await.expect("it is there");
        cloner(google)
            .make_clone(id(slot))
            .await
            .expect("it is there");
    }
    assert_eq!(google.names().len(), 3, "{:?}", google.names());
    assert!(
        google.calls("instances.insert") <= 4,
        "once each, and once more when the answer is lost"
    );
    let both = async || gce.find().await.is_ok_and(|found| found.len() == 2);
    eventually(SOON, both).await;
    let (labels, public) = google.shown(&google.names()[0]);
    assert_eq!(labels["managed-by"], "anteroom");
    assert_eq!(labels["anteroom-service"], "blog");
    assert_eq!(labels["anteroom-intent"], id(1).to_string());
    assert_eq!((labels["anteroom-tag"].len(), public), (6, None));
    assert_eq!(gce.addresses(id(1)).await, Ok(Vec::new()));

    let one = InstanceId::Clone(id(1));
    gce.stop(one, intent()).await.expect("it stops");
    clone_becomes(&gce, id(1), Stopped).await;
    gce.start(one, intent()).await.expect("it starts");
    clone_becomes(&gce, id(1), Running).await;

    for slot in [1, 2] {
        let gone = gce.delete(id(slot)).await.expect("it goes");
        assert!(matches!(gone.state, Stopping | Missing), "{gone:?}");
        clone_becomes(&gce, id(slot), Missing).await;
        let again = gce.delete(id(slot)).await.expect("it is gone");
        assert!(matches!(again.state, Stopping | Missing), "{again:?}");
        gce.release(id(slot), &[]).await.expect("nothing is left");
    }
    eventually(SOON, async || google.names() == [NAME]).await;
    eventually(SOON, async || gce.find().await == Ok(Vec::new())).await;
    assert_eq!(google.disks_left(), Vec::<String>::new());
    assert_eq!(state(&gce).await, Stopped, "the seed");
}

macro_rules! lives {
    ($($name:ident: $manner:expr;)*) => {
        $(#[tokio::test]
        async fn $name() {
            lives_and_leaves_nothing(&cloning($manner)).await;
        })*
    };
}

const SLOW: Duration = Duration::from_millis(60);

lives! {
    lives_at_a_cloud_that_is_quick: Manner::default();
    lives_at_a_cloud_that_takes_its_time: Manner { takes: SLOW, waits_not: true, ..Manner::default() };
    lives_at_a_cloud_that_reads_as_before: Manner {
        takes: SLOW / 2,
        reads_old: SLOW,
        lists_old: SLOW * 2,
        ..Manner::default()
    };
    lives_at_a_cloud_that_loses_every_answer: Manner { takes: SLOW, loses_answers: true, ..Manner::default() };
    lives_at_a_cloud_whose_operations_may_not_be_read: Manner { takes: SLOW, hides_operations: true, ..Manner::default() };
}

#[tokio::test]
async fn making_may_be_dropped_anywhere_and_done_by_many_at_once_and_makes_one() {
    let google = cloning(Manner {
        takes: Duration::from_millis(10),
        ..Manner::default()
    });
    let gce = cloner(&google);
    for (slot, after_ms) in [(1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 32)] {
        let after = Duration::from_millis(after_ms);
        let _ = tokio::time::timeout(after, gce.make_clone(id(slot))).await;
        gce.make_clone(id(slot)).await.expect("it is made");
        clone_becomes(&gce, id(slot), Running).await;
        let _ = tokio::time::timeout(after, gce.delete(id(slot))).await;
        let gone = async || {
            gce.delete(id(slot))
                .await
                .is_ok_and(|it| it.state == Missing)
        };
        eventually(SOON, gone).await;
        assert_eq!(google.names(), [NAME]);
    }
    let makers: Vec<_> = (0..5).map(|_| cloner(&google)).collect();
    let made = join_all(makers.iter().map(|gce| gce.make_clone(id(9)))).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    assert_eq!(google.names().len(), 2);
    assert_eq!(google.disks_left(), Vec::<String>::new());
}

#[tokio::test]
async fn addresses_that_nobody_asked_for_are_taken_away_and_those_that_are_wanted_stay() {
    let google = cloning(Manner {
        gives_addresses: true,
        takes: Duration::from_millis(10),
        ..Manner::default()
    });
    let gce = cloner(&google);
    assert!(gce.strips());
    gce.make_clone(id(1)).await.expect("it is made");
    let addresses = gce.addresses(id(1)).await.expect("they are read");
    assert_eq!(addresses.len(), 1);
    assert_eq!(addresses[0].id, "nic0/External NAT");
    assert_eq!(addresses[0].address.to_string(), "203.0.113.1");
    for _ in 0..2 {
        gce.release(id(1), &addresses)
            .await
            .expect("it goes, or is gone");
        assert_eq!(gce.addresses(id(1)).await, Ok(Vec::new()));
    }
    assert_eq!(google.calls("instances.deleteAccessConfig"), 1);
    assert_eq!(gce.addresses(id(2)).await, Ok(Vec::new()), "no such clone");
    gce.release(id(2), &addresses).await.expect("no such clone");

    google.behave(Manner::default());
    let public = provider(Settings {
        address: AddressFrom::Public,
        ..cloner_settings(&google)
    });
    assert!(!public.strips());
    let made = public.make_clone(id(3)).await.expect("it is made");
    assert_eq!(made.address, "203.0.113.2:80".parse().ok());
}

/// The name alone makes nobody ours: what lacks our labels is never started, stopped or deleted.
#[tokio::test]
async fn a_strangers_machine_with_a_clones_name_is_missing_and_left_alone() {
    let google = cloning(Manner::default());
    let gce = cloner(&google);
    gce.make_clone(id(1)).await.expect("it is made");
    let clones: Vec<_> = google
        .names()
        .into_iter()
        .filter(|name| name != NAME)
        .collect();
    let (name, other) = (&clones[0], ("anteroom-tag", "aaaaaa"));
    let (labels, _) = google.shown(name);
    let tag = ("anteroom-tag", labels["anteroom-tag"].as_str());
    for labels in [
        &[][..],
        &[("managed-by", "anteroom"), other][..],
        &[tag][..],
    ] {
        google.delete(name);
        google.make_labelled(name, labels);
        // As a fresh Anteroom would, which has not made it itself.
        let gce = cloner(&google);
        let taken = gce.make_clone(id(1)).await.expect_err("the name is taken");
        assert_eq!(taken.class, ErrorClass::BadRequest, "{taken}");
        let clone = InstanceId::Clone(id(1));
        assert_eq!(gce.inspect(clone).await.map(|it| it.state), Ok(Missing));
        for refused in [
            gce.start(clone, intent()).await,
            gce.stop(clone, intent()).await,
        ] {
            assert_eq!(
                refused.map_err(|trouble| trouble.class),
                Err(ErrorClass::NotFound)
            );
        }
        assert_eq!(gce.delete(id(1)).await.map(|it| it.state), Ok(Missing));
        assert_eq!(gce.find().await, Ok(Vec::new()));
        assert_eq!(gce.addresses(id(1)).await, Ok(Vec::new()));
        assert!(google.names().contains(name), "it is still there");
    }
}

#[tokio::test]
async fn a_clone_that_can_not_be_made_leaves_nothing_and_says_why() {
    let google = cloning(Manner::default());
    for (slot, code, class) in [
        (1, "ZONE_RESOURCE_POOL_EXHAUSTED", ErrorClass::Capacity),
        (2, "QUOTA_EXCEEDED", ErrorClass::Quota),
    ] {
        google.behave(Manner {
            fails: Some(code),
            takes: Duration::from_millis(20),
            ..Manner::default()
        });
        let gce = cloner(&google);
        let trouble = gce.make_clone(id(slot)).await.expect_err(code);
        assert_eq!(trouble.class, class, "{trouble}");
        clone_becomes(&gce, id(slot), Missing).await;
        assert_eq!(google.names(), [NAME]);
        google.behave(Manner::default());
        gce.make_clone(id(slot))
            .await
            .expect("the next try is a new one");
        gce.delete(id(slot)).await.expect("it goes");
    }
    let without = provider(Settings {
        clone_from: Some(
            "projects/blog-project/global/instanceTemplates/none"
                .parse()
                .expect("a path"),
        ),
        ..settings(&google)
    });
    let trouble = without
        .make_clone(id(3))
        .await
        .expect_err("no such template");
    assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
    let never = provider(settings(&google));
    assert!(!never.can_clone());
    let trouble = never.make_clone(id(2)).await.expect_err("nothing to clone");
    assert!(trouble.detail.contains("clone_from"), "{trouble}");
}

#[tokio::test]
async fn a_list_that_lacks_the_zone_is_no_list_of_clones_and_other_services_have_their_own() {
    let google = cloning(Manner::default());
    let gce = cloner(&google);
    gce.make_clone(id(1)).await.expect("it is made");
    let shop = provider(Settings {
        service: "shop".parse().expect("a name"),
        ..cloner_settings(&google)
    });
    assert_eq!(shop.find().await, Ok(Vec::new()));
    google.behave(Manner {
        partial: true,
        ..Manner::default()
    });
    // A list from before is young enough for a while, so the next one is asked for by a write.
    gce.stop(InstanceId::Clone(id(1)), intent())
        .await
        .expect("it stops");
    let unsure = gce.find().await.expect_err("it may be there");
    assert_eq!(unsure.class, ErrorClass::Transient);
    clone_becomes(&gce, id(1), Stopped).await;
}

#[tokio::test]
async fn a_checkup_reads_what_the_credential_may_do_and_changes_nothing() {
    let google = cloning(Manner::default());
    let gce = cloner(&google);
    gce.make_clone(id(1)).await.expect("it is made");
    let writes = google.changes(NAME);
    let well = gce.checkup().await;
    assert!(
        well.what.contains(NAME) && well.what.contains(PROJECT),
        "{}",
        well.what
    );
    assert!(
        well.credential
            .is_ok_and(|who| who.contains("this machine"))
    );
    let all = [
        (May::Read, Known::Yes),
        (May::Power, Known::Yes),
        (May::Clone, Known::Unknown),
    ];
    assert_eq!((well.may, well.warnings), (all.to_vec(), Vec::new()));
    assert_eq!(well.seed.map(|seed| seed.state), Ok(Stopped));
    let marked = well.marked.expect("the list is read");
    assert!(
        marked.len() == 1 && marked[0].starts_with("ar-blog-"),
        "{marked:?}"
    );

    for (word, may) in [
        ("stop", (May::Power, Known::No)),
        ("delete", (May::Clone, Known::No)),
    ] {
        google.behave(Manner {
            grants_no: Some(word),
            ..Manner::default()
        });
        let lacking = gce.checkup().await;
        assert!(lacking.may.contains(&may), "{:?}", lacking.may);
    }
    google.behave(Manner {
        grants_no: Some("suspend"),
        ..Manner::default()
    });
    let odd = provider(Settings {
        sleep: Sleep::Suspend,
        clone_from: Some(
            "projects/blog-project/global/machineImages/none"
                .parse()
                .expect("a path"),
        ),
        ..settings(&google)
    });
    let warnings = odd.checkup().await.warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("sleep = \"stop\"") && warnings[1].contains("not there"));
    let elsewhere = provider(Settings {
        project: "another".into(),
        ..settings(&google)
    });
    let refused = elsewhere.checkup().await;
    assert!(refused.credential.is_ok(), "the token is good");
    assert!(refused.may.contains(&(May::Read, Known::No)));
    google.desk.give(Giving {
        lives: 3600,
        broken: Some(404),
        hiccups: 0,
    });
    let around = Surroundings {
        named: Some("/not-there".into()),
        ..Surroundings::default()
    };
    let nobody = provider(Settings {
        around,
        ..settings(&google)
    });
    assert!(nobody.checkup().await.credential.is_err());
    assert_eq!(google.changes(NAME), writes, "the seed was only read");
}

/// What the process that is killed knows the cloud by.
pub(in crate::provider_conformance) fn behind(gate: SocketAddr) -> Arc<dyn Provider> {
    let gce = Gce::new(Settings {
        service: "blog".parse().expect("a name"),
        base_url: format!("http://{gate}/compute/v1"),
        project: PROJECT.into(),
        zone: ZONE.into(),
        instance: NAME.into(),
        credentials: None,
        around: Surroundings {
            metadata_host: Some(gate.to_string()),
            ..Surroundings::default()
        },
        port: 80,
        address: AddressFrom::Private,
        sleep: Sleep::Stop,
        clone_from: Some(IMAGE.parse().expect("a path")),
        stop_timeout: Duration::from_secs(20),
        ca: None,
    });
    Arc::new(gce.expect("good settings"))
}

/// A cloud that gives addresses that nobody asked for.
pub(in crate::provider_conformance) async fn fresh() -> (Google, crash::Platform) {
    let google = cloning(Manner {
        takes: Duration::from_millis(20),
        reads_old: Duration::from_millis(20),
        gives_addresses: true,
        ..Manner::default()
    });
    let place = crash::Platform::Tcp(google.address);
    (google, place)
}

impl crash::Left for Google {
    fn clones(&self) -> Vec<String> {
        let names = self.names().into_iter().filter(|name| name != NAME);
        // A disk that stays is paid as well.
        names.chain(self.disks_left()).collect()
    }

    fn addresses(&self) -> usize {
        let names = self.names();
        let public = |name: &&String| self.shown(name).1.is_some();
        names.iter().filter(public).count()
    }

    fn seed_is_untouched(&self) -> bool {
        self.names().iter().any(|name| name == NAME) && self.changes(NAME) == 0
    }
}

#[tokio::test]
async fn a_clone_that_did_not_get_its_labels_is_given_them() {
    let google = cloning(Manner {
        forgets_labels: true,
        ..Manner::default()
    });
    let gce = cloner(&google);
    gce.make_clone(id(1)).await.expect("it is made");
    let found = gce.find().await.expect("a list");
    assert_eq!(found.len(), 1);
    // So does the next Anteroom, when this one was killed before it could.
    let names = google.names();
    let name = names.iter().find(|name| *name != NAME).expect("the clone");
    google.relabel(name, &[("team", "web")]);
    let gce = cloner(&google);
    gce.make_clone(id(1)).await.expect("it is ours");
    let (labels, _) = google.shown(name);
    assert_eq!(labels["team"], "web");
    assert_eq!(labels["managed-by"], "anteroom");
    let gone = gce.delete(id(1)).await.expect("it is deleted");
    assert_eq!(gone.state, Missing);
}
