//! IDCloudHost, against a server that plays it: nobody gives a test a real account.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::engine::time::Span;
use anteroom::provider::Provider;
use anteroom::provider::idcloudhost::{AddressFrom, IdCloudHost, Settings};

use super::{Platform, SEED, TOKEN, conforms, state};
use crate::support::crash;
use crate::support::warren::{APIKEY, LOCATION, Manner, Warren};

const UUID: &str = "f80b1d62-ffe4-43ef-9210-60f05445456a";

/// A cloud with one machine.
fn cloud(manner: Manner) -> Warren {
    let warren = Warren::start();
    warren.make(UUID, "10.123.8.223");
    warren.behave(manner);
    warren
}

fn settings(warren: &Warren) -> Settings {
    settings_at(warren.url())
}

fn settings_at(base_url: String) -> Settings {
    Settings {
        service: "blog".parse().expect("a name"),
        clone_timeout: Duration::from_secs(60),
        billing_account: None,
        base_url,
        location: LOCATION.into(),
        uuid: UUID.into(),
        apikey: APIKEY.into(),
        port: 80,
        address: AddressFrom::Private,
        stop_timeout: Duration::from_secs(20),
        ca: None,
    }
}

fn provider(settings: Settings) -> IdCloudHost {
    IdCloudHost::new(settings).expect("good settings")
}

impl Platform for Warren {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(provider(settings(self)))
    }

    fn running(&self) -> usize {
        Warren::running(self)
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        let uuid = "00000000-0000-4000-8000-000000000000".into();
        let settings = Settings {
            uuid,
            ..settings(self)
        };
        Some(Arc::new(provider(settings)))
    }
}

mod as_documented {
    use super::*;
    conforms!(cloud(Manner::default()));
}

mod strict_and_sparse {
    use super::*;
    conforms!(cloud(Manner {
        refuses_repeats: true,
        sparse: true,
        tombstones: true,
        ..Manner::default()
    }));
}

mod that_loses_every_answer {
    use super::*;
    conforms!(cloud(Manner {
        loses_answers: true,
        ..Manner::default()
    }));
}

#[tokio::test]
async fn a_write_of_minutes_is_waited_for_and_a_second_one_is_told_that_it_is_busy() {
    let warren = cloud(Manner {
        takes: Duration::from_millis(400),
        ..Manner::default()
    });
    let (one, two) = (provider(settings(&warren)), provider(settings(&warren)));
    assert!(one.call_timeout() > Duration::from_secs(300));
    let (first, second) = tokio::join!(one.start(SEED, TOKEN), two.start(SEED, TOKEN));
    let (done, refused) = match first {
        Ok(done) => (done, second),
        Err(refused) => (second.expect("one of them"), Err(refused)),
    };
    assert_eq!(done.state, MachineState::Running);
    assert_eq!(refused.expect_err("locked").class, ErrorClass::Busy);
    assert_eq!(warren.calls("POST /v1/jkt01/user-resource/vm/start"), 2);
}

#[tokio::test]
async fn a_machine_that_does_not_shut_down_is_switched_off() {
    let warren = cloud(Manner::default());
    let provider = provider(Settings {
        stop_timeout: Duration::from_secs(1),
        ..settings(&warren)
    });
    provider.start(SEED, TOKEN).await.expect("it starts");
    warren.behave(Manner {
        ignores_shutdown: true,
        ..Manner::default()
    });
    let stopped = provider.stop(SEED, TOKEN).await.expect("by the switch");
    assert_eq!(stopped.state, MachineState::Stopped);
    assert_eq!(warren.calls("POST /v1/jkt01/user-resource/vm/stop"), 2);
}

#[tokio::test]
async fn fifty_services_read_one_list_and_wait_together_when_told_to() {
    let warren = cloud(Manner::default());
    for number in 0..50 {
        warren.make(&format!("vm-{number}"), "10.0.0.1");
    }
    let service = |number: u32| {
        let uuid = format!("vm-{number}");
        provider(Settings {
            uuid,
            ..settings(&warren)
        })
    };
    let services: Vec<_> = (0..50).map(service).collect();
    let looks = services.iter().map(|service| service.inspect(SEED));
    for machine in futures_util::future::join_all(looks).await {
        assert_eq!(
            machine.map(|machine| machine.state),
            Ok(MachineState::Stopped)
        );
    }
    let list = "GET /v1/jkt01/user-resource/vm/list";
    assert_eq!(warren.calls(list), 1);
    warren.behave(Manner {
        rate_limited: Some(60),
        ..Manner::default()
    });
    let told = services[0].start(SEED, TOKEN).await.expect_err("too often");
    assert_eq!(told.class, ErrorClass::RateLimited(Some(Span::secs(60))));
    let before: u32 = warren.calls(list) + warren.calls("GET /v1/jkt01/user-resource/vm");
    for service in &services {
        for refused in [service.inspect(SEED).await, service.stop(SEED, TOKEN).await] {
            let Err(trouble) = refused else {
                // What was listed a moment ago is still known.
                continue;
            };
            let ErrorClass::RateLimited(Some(left)) = trouble.class else {
                panic!("{trouble}");
            };
            assert!(left <= Span::secs(60));
        }
    }
    let after = warren.calls(list) + warren.calls("GET /v1/jkt01/user-resource/vm");
    assert_eq!(after, before, "nobody asks meanwhile");
}

#[tokio::test]
async fn each_refusal_has_its_class_and_says_the_mend_and_no_secret() {
    let warren = cloud(Manner::default());
    let with = |change: fn(&mut Settings)| {
        let mut settings = settings(&warren);
        change(&mut settings);
        provider(settings)
    };
    for (provider, class, words) in [
        (
            with(|it| it.apikey = "stolen-token".into()),
            ErrorClass::Auth,
            "credentials",
        ),
        (
            with(|it| it.location = "mars".into()),
            ErrorClass::BadRequest,
            "location",
        ),
        (
            with(|it| it.base_url = "http://127.0.0.1:9/v1".into()),
            ErrorClass::Transient,
            "vm",
        ),
    ] {
        for refused in [
            provider.inspect(SEED).await,
            provider.start(SEED, TOKEN).await,
            provider.stop(SEED, TOKEN).await,
        ] {
            let trouble = refused.expect_err(words);
            assert_eq!(trouble.class, class, "{trouble}");
            assert!(trouble.detail.contains(words), "{trouble}");
            assert!(!trouble.detail.contains("token"), "{trouble}");
        }
    }
    warren.behave(Manner {
        broken: Some(502),
        ..Manner::default()
    });
    let trouble = with(|_| {}).inspect(SEED).await.expect_err("broken");
    assert_eq!(trouble.class, ErrorClass::Transient);
    assert!(!format!("{:?}", settings(&warren)).contains(APIKEY));
    for bad in ["", "a/b", "../x", "a?b"] {
        let mut settings = settings(&warren);
        settings.uuid = bad.into();
        assert!(IdCloudHost::new(settings).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn the_public_address_comes_from_its_own_list_and_a_deleted_machine_is_missing() {
    let warren = cloud(Manner::default());
    warren.assign("203.0.113.9", "another");
    warren.assign("203.0.113.7", UUID);
    let public = provider(Settings {
        address: AddressFrom::Public,
        ..settings(&warren)
    });
    let up = public.start(SEED, TOKEN).await.expect("it starts");
    assert_eq!(up.address, "203.0.113.7:80".parse().ok());
    let private = provider(settings(&warren));
    let up = private.inspect(SEED).await.expect("it is read");
    assert_eq!(up.address, "10.123.8.223:80".parse().ok());
    for tombstones in [false, true] {
        warren.behave(Manner {
            tombstones,
            ..Manner::default()
        });
        warren.delete(UUID);
        let gone = provider(settings(&warren));
        let trouble = gone.start(SEED, TOKEN).await.expect_err("it is gone");
        assert_eq!(trouble.class, ErrorClass::NotFound);
        crate::support::wait::eventually(super::SOON, async || {
            state(&gone).await == MachineState::Missing
        })
        .await;
    }
}

/// A provider that reaches its cloud by this address.
pub(super) fn behind(gate: SocketAddr, _settings: &str) -> Arc<dyn Provider> {
    Arc::new(provider(Settings {
        base_url: format!("http://{gate}/v1"),
        // What was asked for and did not appear by then never will.
        clone_timeout: Duration::from_secs(2),
        ..settings_at(String::new())
    }))
}

/// A cloud with a seed that has a public address, and a free one that is somebody else's.
pub(super) async fn fresh() -> (Warren, crash::Platform) {
    let warren = cloud(Manner::default());
    warren.assign("203.0.113.7", UUID);
    warren.reserve("203.0.113.8");
    let place = crash::Platform::Tcp(warren.address);
    (warren, place)
}

impl crash::Left for Warren {
    fn clones(&self) -> Vec<String> {
        let machines = self.machines().into_iter();
        machines
            .filter(|(uuid, _)| uuid != UUID)
            .map(|(_, name)| name)
            .collect()
    }

    fn addresses(&self) -> usize {
        let known = ["203.0.113.7", "203.0.113.8"];
        let all = self.public_addresses();
        all.iter()
            .filter(|(address, _)| !known.contains(&address.as_str()))
            .count()
    }

    fn seed_is_untouched(&self) -> bool {
        let all = self.public_addresses();
        let its = ("203.0.113.7".to_owned(), Some(UUID.to_owned()));
        let strangers = ("203.0.113.8".to_owned(), None);
        let names = self.machines();
        names.contains(&(UUID.to_owned(), "blog".to_owned()))
            && all.contains(&its)
            && all.contains(&strangers)
            && self.running() == self.clones().len()
    }
}

/// Everything about clones that the real one may do either way.
mod clones {
    use super::super::clones::clones_conform;
    use super::*;

    fn cloud_with_strangers(manner: Manner) -> Warren {
        let warren = cloud(manner);
        warren.assign("203.0.113.7", UUID);
        warren.reserve("203.0.113.8");
        warren
    }

    mod as_documented {
        use super::*;
        clones_conform!(cloud_with_strangers(Manner::default()));
    }

    mod sparse_with_tombstones_and_late_lists {
        use super::*;
        clones_conform!(cloud_with_strangers(Manner {
            sparse: true,
            tombstones: true,
            clones_without_address: true,
            lists_lag: 2,
            ..Manner::default()
        }));
    }

    mod that_loses_every_answer {
        use super::*;
        clones_conform!(cloud_with_strangers(Manner {
            loses_answers: true,
            ..Manner::default()
        }));
    }
}

#[tokio::test]
async fn an_address_that_is_another_machines_by_now_is_left_alone() {
    let (warren, _) = fresh().await;
    let provider = provider(settings(&warren));
    let clone = super::clones::id(1);
    provider.make_clone(clone).await.expect("it is made");
    let addresses = provider.addresses(clone).await.expect("it has one");
    assert_eq!(addresses.len(), 1);
    provider.delete(clone).await.expect("it is deleted");
    let address = addresses[0].address.to_string();
    assert!(warren.public_addresses().contains(&(address.clone(), None)));
    warren.reassign(&address, UUID);
    provider
        .release(clone, &addresses)
        .await
        .expect("left alone");
    assert!(
        warren
            .public_addresses()
            .contains(&(address.clone(), Some(UUID.to_owned())))
    );
    warren.reassign(&address, "");
    provider
        .release(clone, &addresses)
        .await
        .expect("given back");
    assert!(
        warren
            .public_addresses()
            .iter()
            .all(|(it, _)| *it != address)
    );
}

#[tokio::test]
async fn a_seed_that_must_be_off_to_be_cloned_is_told_in_words() {
    let (warren, _) = fresh().await;
    let provider = provider(settings(&warren));
    provider.start(SEED, TOKEN).await.expect("it starts");
    warren.behave(Manner {
        clones_what_is_off: true,
        ..Manner::default()
    });
    let refused = provider.make_clone(super::clones::id(1)).await;
    let refused = refused.expect_err("the seed runs");
    assert_eq!(refused.class, ErrorClass::InvalidState);
    assert!(refused.detail.contains("while it is off"), "{refused}");
}
