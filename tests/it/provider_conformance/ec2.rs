//! EC2, against a strict server of our own and against the Python package moto.

use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::engine::policy::Sleep;
use anteroom::engine::time::Span;
use anteroom::provider::Provider;
use anteroom::provider::ec2::{AddressFrom, Ec2 as Provided, Settings, Source, Surroundings};

use super::{Platform, SEED, TOKEN, becomes, conforms, state};
use crate::support::ec2::{Ec2, KEY_ID, Manner, REGION, SECRET, TEMPLATE};
use crate::support::ec2_metadata::Metadata;
use crate::support::ec2_moto::Moto;
use crate::support::wait::eventually;

pub(super) const ID: &str = "i-0123456789abcdef0";

/// An account with one machine.
pub(super) fn account(manner: Manner) -> Ec2 {
    let ec2 = Ec2::start();
    ec2.make(ID, "10.0.0.5");
    ec2.behave(manner);
    ec2
}

pub(super) fn settings_at(url: String, instance: &str) -> Settings {
    Settings {
        service: "blog".parse().expect("a name"),
        launch_template: Some(TEMPLATE.into()),
        launch_template_version: "$Default".into(),
        region: REGION.into(),
        base_url: Some(url),
        instance: instance.into(),
        credentials: Source::Keys {
            id: KEY_ID.into(),
            secret: SECRET.into(),
            session: None,
        },
        surroundings: Surroundings::default(),
        port: 80,
        address: AddressFrom::Private,
        sleep: Sleep::Stop,
        stop_timeout: Duration::from_secs(20),
        ca: None,
    }
}

pub(super) fn settings(ec2: &Ec2) -> Settings {
    settings_at(ec2.url(), ID)
}

pub(super) fn provider(settings: Settings) -> Provided {
    Provided::new(settings).expect("good settings")
}

impl Platform for Ec2 {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(provider(settings(self)))
    }

    fn running(&self) -> usize {
        Ec2::running(self)
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        let settings = settings_at(self.url(), "i-00000000000000000");
        Some(Arc::new(provider(settings)))
    }
}

mod at_once {
    use super::*;
    conforms!(account(Manner::default()));
}

mod that_takes_its_time_and_is_read_late {
    use super::*;
    conforms!(account(Manner {
        takes: Duration::from_millis(300),
        lags: Duration::from_millis(100),
        ..Manner::default()
    }));
}

mod that_loses_every_answer {
    use super::*;
    conforms!(account(Manner {
        loses_answers: true,
        ..Manner::default()
    }));
}

#[tokio::test]
async fn moto_understands_us_and_we_understand_moto() {
    let moto = Moto::start();
    let image = "Action=DescribeImages&Owner.1=amazon&MaxResults=5";
    let image = moto.call(REGION, image, "imageId").await;
    let run = format!("Action=RunInstances&ImageId={image}&MinCount=1&MaxCount=1");
    let id = moto.call(REGION, &run, "instanceId").await;
    let one = provider(settings_at(moto.url(), &id));
    assert_eq!(state(&one).await, MachineState::Running);
    for _ in 0..2 {
        let off = one.stop(SEED, TOKEN).await.expect("it stops");
        assert_eq!(off.state, MachineState::Stopped);
        one.start(SEED, TOKEN).await.expect("it starts");
        becomes(&one, MachineState::Running).await;
    }
    let up = one.inspect(SEED).await.expect("read");
    assert!(
        up.address.is_some_and(|address| address.ip().is_ipv4()),
        "{up:?}"
    );
    let public = provider(Settings {
        address: AddressFrom::Public,
        ..settings_at(moto.url(), &id)
    });
    let there = public.inspect(SEED).await.expect("read");
    assert_ne!(there.address, up.address);
    let missing = provider(settings_at(moto.url(), "i-00000000000000000"));
    assert_eq!(state(&missing).await, MachineState::Missing);
    let told = missing.start(SEED, TOKEN).await.expect_err("not there");
    assert_eq!(told.class, ErrorClass::NotFound);
    moto.call(
        REGION,
        &format!("Action=TerminateInstances&InstanceId.1={id}"),
        "instanceId",
    )
    .await;
    becomes(&one, MachineState::Missing).await;
}

#[tokio::test]
async fn a_machine_that_does_not_shut_down_is_switched_off() {
    let ec2 = account(Manner::default());
    let one = provider(Settings {
        stop_timeout: Duration::from_secs(1),
        ..settings(&ec2)
    });
    one.start(SEED, TOKEN).await.expect("it starts");
    ec2.behave(Manner {
        ignores_shutdown: true,
        takes: Duration::from_millis(50),
        ..Manner::default()
    });
    let asked = one.stop(SEED, TOKEN).await.expect("by force");
    assert_eq!(asked.state, MachineState::Stopping);
    assert_eq!(ec2.calls("StopInstances", "Force=true"), 1);
    becomes(&one, MachineState::Stopped).await;
}

#[tokio::test]
async fn a_start_while_it_stops_is_told_to_wait() {
    let ec2 = account(Manner::default());
    let one = provider(settings(&ec2));
    one.start(SEED, TOKEN).await.expect("it starts");
    ec2.behave(Manner {
        takes: Duration::from_millis(500),
        ..Manner::default()
    });
    let stopping = async {
        let off = one.stop(SEED, TOKEN).await.expect("it stops");
        assert_eq!(off.state, MachineState::Stopped);
    };
    let meanwhile = async {
        becomes(&one, MachineState::Stopping).await;
        let told = one.start(SEED, TOKEN).await.expect_err("not yet");
        assert_eq!(told.class, ErrorClass::Busy);
    };
    tokio::join!(stopping, meanwhile);
    let up = one.start(SEED, TOKEN).await.expect("now it does");
    assert_eq!(up.state, MachineState::Starting);
}

#[tokio::test]
async fn a_hibernated_machine_is_suspended_and_one_that_can_not_be_says_so() {
    let ec2 = account(Manner {
        hibernates: true,
        ..Manner::default()
    });
    let one = provider(Settings {
        sleep: Sleep::Suspend,
        ..settings(&ec2)
    });
    one.start(SEED, TOKEN).await.expect("it starts");
    one.suspend(SEED, TOKEN).await.expect("it hibernates");
    becomes(&one, MachineState::Suspended).await;
    let off = one.stop(SEED, TOKEN).await.expect("it sleeps already");
    assert_eq!(off.state, MachineState::Suspended);
    one.start(SEED, TOKEN).await.expect("it comes back");
    becomes(&one, MachineState::Running).await;
    ec2.behave(Manner::default());
    let told = one.suspend(SEED, TOKEN).await.expect_err("not configured");
    assert_eq!(told.class, ErrorClass::InvalidState);
}

#[tokio::test]
async fn fifty_services_read_one_list_page_by_page_and_wait_together() {
    let ec2 = account(Manner {
        page: Some(20),
        ..Manner::default()
    });
    let id = |number: u32| format!("i-{number:017x}");
    for number in 0..50 {
        ec2.make(&id(number), "10.0.1.1");
    }
    let service = |number| provider(settings_at(ec2.url(), &id(number)));
    let services: Vec<_> = (0..50).map(service).collect();
    let looks = services.iter().map(|service| service.inspect(SEED));
    for machine in futures_util::future::join_all(looks).await {
        assert_eq!(
            machine.map(|machine| machine.state),
            Ok(MachineState::Stopped)
        );
    }
    assert_eq!(ec2.calls("", ""), 0);
    assert_eq!(ec2.calls("DescribeInstances", ""), 3, "three pages");
    for code in [
        "RequestLimitExceeded",
        "Throttling",
        "EC2ThrottledException",
    ] {
        let ec2 = account(Manner {
            refuses: Some(("*", 503, code)),
            ..Manner::default()
        });
        let (one, two) = (provider(settings(&ec2)), provider(settings(&ec2)));
        let told = one.start(SEED, TOKEN).await.expect_err("too often");
        assert_eq!(told.class, ErrorClass::RateLimited(None));
        for told in [two.inspect(SEED).await, two.start(SEED, TOKEN).await] {
            let told = told.expect_err("it waits as well");
            let ErrorClass::RateLimited(Some(left)) = told.class else {
                panic!("{told}");
            };
            assert!(left <= Span::secs(30));
        }
        assert_eq!(ec2.calls("DescribeInstances", ""), 1);
    }
}

#[tokio::test]
async fn each_refusal_has_its_class() {
    for (status, code, class) in [
        (500, "InsufficientInstanceCapacity", ErrorClass::Capacity),
        (400, "VcpuLimitExceeded", ErrorClass::Quota),
        (403, "UnauthorizedOperation", ErrorClass::Forbidden),
        (400, "IncorrectInstanceState", ErrorClass::InvalidState),
        (500, "InternalError", ErrorClass::Ambiguous),
        (503, "Unavailable", ErrorClass::Transient),
        (400, "SomethingNew", ErrorClass::BadRequest),
    ] {
        let ec2 = account(Manner {
            refuses: Some(("StartInstances", status, code)),
            ..Manner::default()
        });
        let told = provider(settings(&ec2)).start(SEED, TOKEN).await;
        let told = told.expect_err("refused");
        assert_eq!(told.class, class, "{told}");
        assert!(told.detail.contains(code), "{told}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_never_shown() {
    let ec2 = account(Manner::default());
    let with = |id: &str, secret: &str| {
        let credentials = Source::Keys {
            id: id.into(),
            secret: secret.into(),
            session: None,
        };
        provider(Settings {
            credentials,
            ..settings(&ec2)
        })
    };
    for bad in [with(KEY_ID, "a-stolen-secret"), with("AKIASTOLEN", SECRET)] {
        for told in [bad.inspect(SEED).await, bad.start(SEED, TOKEN).await] {
            let told = told.expect_err("not ours");
            assert_eq!(told.class, ErrorClass::Auth, "{told}");
            assert!(!told.detail.to_lowercase().contains("stolen"), "{told}");
        }
    }
    assert!(!format!("{:?}", settings(&ec2)).contains(SECRET));
    let change = |change: fn(&mut Settings)| {
        let mut settings = settings(&ec2);
        change(&mut settings);
        Provided::new(settings).err().expect("bad").to_string()
    };
    assert!(change(|it| it.region = "Frankfurt".into()).contains("`region`"));
    assert!(change(|it| it.instance = "blog".into()).contains("`instance`"));
    assert!(change(|it| it.base_url = Some("nowhere".into())).contains("`base_url`"));
}

#[tokio::test]
async fn a_machine_that_is_being_deleted_is_not_started_and_then_it_is_missing() {
    let ec2 = account(Manner {
        takes: Duration::from_millis(300),
        ..Manner::default()
    });
    let one = provider(settings(&ec2));
    ec2.terminate(ID);
    let told = one.start(SEED, TOKEN).await.expect_err("too late");
    assert_eq!(told.class, ErrorClass::NotFound);
    assert_eq!(ec2.calls("StartInstances", ""), 0);
    becomes(&one, MachineState::Missing).await;
}

/// A provider without written keys, which finds this around it.
fn surrounded(ec2: &Ec2, credentials: Source, variables: &[(&str, &str)]) -> Provided {
    let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let surroundings = Surroundings {
        variables: variables.iter().map(variable).collect(),
        home: None,
    };
    provider(Settings {
        credentials,
        surroundings,
        ..settings(ec2)
    })
}

#[tokio::test]
async fn keys_are_found_where_all_tools_look_for_them() {
    let ec2 = account(Manner::default());
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("credentials");
    let text = format!(
        "[default]\naws_access_key_id = no\naws_secret_access_key = no\n[blog]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
    );
    std::fs::write(&file, &text).expect("ours");
    let file = file.to_str().expect("plain");
    let off = ("AWS_EC2_METADATA_DISABLED", "true");
    let id = ("AWS_ACCESS_KEY_ID", KEY_ID);
    let secret = ("AWS_SECRET_ACCESS_KEY", SECRET);
    let files = ("AWS_SHARED_CREDENTIALS_FILE", file);
    for good in [
        surrounded(&ec2, Source::Anywhere, &[id, secret, off]),
        surrounded(
            &ec2,
            Source::Anywhere,
            &[files, ("AWS_PROFILE", "blog"), off],
        ),
        surrounded(&ec2, Source::Profile("blog".into()), &[files, off]),
    ] {
        assert_eq!(state(&good).await, MachineState::Stopped);
    }
    let nothing = ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
    for (bad, words) in [
        (
            surrounded(&ec2, Source::Anywhere, &[nothing, off]),
            "no keys",
        ),
        (
            surrounded(&ec2, Source::Profile("nobody".into()), &[files, off]),
            "nobody",
        ),
        (
            surrounded(&ec2, Source::Anywhere, &[files, ("AWS_PROFILE", "nobody")]),
            "AWS_PROFILE",
        ),
        (
            surrounded(
                &ec2,
                Source::Anywhere,
                &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")],
            ),
            "metadata",
        ),
    ] {
        let told = bad.inspect(SEED).await.expect_err(words);
        assert_eq!(told.class, ErrorClass::Auth, "{told}");
        assert!(told.detail.contains(words), "{told}");
    }
}

#[tokio::test]
async fn keys_of_a_role_come_from_the_metadata_service_and_are_renewed() {
    let ec2 = account(Manner {
        session: Some("session-1".into()),
        ..Manner::default()
    });
    let metadata = Metadata::start();
    metadata.gives("session-1", Duration::from_secs(3600));
    let url = metadata.url();
    let one = surrounded(
        &ec2,
        Source::Anywhere,
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)],
    );
    for _ in 0..3 {
        one.start(SEED, TOKEN).await.expect("it starts");
    }
    assert_eq!(metadata.given(), 1, "they are kept");
    // They are revoked before their time.
    ec2.behave(Manner {
        session: Some("session-2".into()),
        ..Manner::default()
    });
    metadata.gives("session-2", Duration::from_secs(60));
    one.start(SEED, TOKEN).await.expect("with new keys");
    assert_eq!(metadata.given(), 2);
    // These expire soon: they are renewed before.
    metadata.gives("session-2", Duration::from_secs(3600));
    one.start(SEED, TOKEN).await.expect("with renewed keys");
    eventually(super::SOON, async || metadata.given() == 3).await;
    // While the service is away, what is at hand is good enough.
    metadata.gives("", Duration::ZERO);
    one.start(SEED, TOKEN).await.expect("with the keys at hand");
}
