//! Google Compute Engine, against a server that takes what Google's own discovery document describes: nobody gives a
//! test a real project.

pub(super) mod clones;

use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::engine::policy::Sleep;
use anteroom::engine::time::Span;
use anteroom::provider::Provider;
use anteroom::provider::gce::{AddressFrom, Gce, Settings, Surroundings};
use futures_util::future::join_all;

use super::{Platform, SEED, SOON, becomes, conforms, intent, is_down, is_up, state};
use crate::support::gce::tokens::{CLIENT_SECRET, Giving, REFRESH_TOKEN};
use crate::support::gce::{Google, Manner, PROJECT, ZONE};
use crate::support::wait::eventually;

const NAME: &str = "blog-1";

/// A cloud with one machine, whose address is `10.132.0.7`.
fn cloud(manner: Manner) -> Google {
    let google = Google::start();
    google.make(NAME, "10.132.0.7");
    google.behave(manner);
    google
}

/// With the credentials of the machine that we run on.
fn settings(google: &Google) -> Settings {
    Settings {
        service: "blog".parse().expect("a name"),
        base_url: google.url(),
        project: PROJECT.into(),
        zone: ZONE.into(),
        instance: NAME.into(),
        credentials: None,
        around: Surroundings {
            metadata_host: Some(google.desk.metadata_host()),
            ..Surroundings::default()
        },
        port: 80,
        address: AddressFrom::Private,
        sleep: Sleep::Stop,
        clone_from: None,
        stop_timeout: Duration::from_secs(20),
        ca: None,
    }
}

fn provider(settings: Settings) -> Gce {
    Gce::new(settings).expect("good settings")
}

impl Platform for Google {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(provider(settings(self)))
    }

    fn running(&self) -> usize {
        Google::running(self)
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        let instance = "not-there".into();
        Some(Arc::new(provider(Settings {
            instance,
            ..settings(self)
        })))
    }
}

mod at_once {
    use super::*;
    conforms!(cloud(Manner::default()));
}

mod slow_and_strict {
    use super::*;
    conforms!(cloud(Manner {
        takes: Duration::from_millis(60),
        waits_not: true,
        refuses_repeats: true,
        ..Manner::default()
    }));
}

mod that_reads_as_before_for_a_while {
    use super::*;
    conforms!(cloud(Manner {
        takes: Duration::from_millis(30),
        reads_old: Duration::from_millis(50),
        lists_old: Duration::from_millis(100),
        ..Manner::default()
    }));
}

mod that_loses_every_answer {
    use super::*;
    conforms!(cloud(Manner {
        takes: Duration::from_millis(20),
        loses_answers: true,
        ..Manner::default()
    }));
}

mod whose_operations_may_not_be_read {
    use super::*;
    conforms!(cloud(Manner {
        takes: Duration::from_millis(20),
        hides_operations: true,
        ..Manner::default()
    }));
}

#[tokio::test]
async fn suspends_and_resumes_and_says_of_what_machine_it_can_not() {
    let google = cloud(Manner {
        takes: Duration::from_millis(20),
        ..Manner::default()
    });
    let sleepy = provider(Settings {
        sleep: Sleep::Suspend,
        ..settings(&google)
    });
    assert_eq!(sleepy.sleep(), Sleep::Suspend);
    sleepy.start(SEED, intent()).await.expect("it starts");
    is_up(&google, &sleepy).await;
    let down = sleepy.suspend(SEED, intent()).await.expect("it can");
    assert_eq!((down.state, down.address), (MachineState::Suspended, None));
    assert_eq!(sleepy.suspend(SEED, intent()).await, Ok(down.clone()));
    assert_eq!(sleepy.stop(SEED, intent()).await, Ok(down), "it is asleep");
    sleepy.start(SEED, intent()).await.expect("it is resumed");
    is_up(&google, &sleepy).await;
    let calls = |what: &str| google.calls(&format!("instances.{what}"));
    let all = (calls("start"), calls("suspend"), calls("resume"));
    assert_eq!((all, calls("stop")), ((1, 1, 1), 0));
    google.behave(Manner {
        suspends_not: true,
        ..Manner::default()
    });
    let cannot = sleepy.suspend(SEED, intent()).await.expect_err("it can't");
    assert_eq!(cannot.class, ErrorClass::InvalidState);
    sleepy.stop(SEED, intent()).await.expect("that it can");
    is_down(&google, &sleepy).await;
}

#[tokio::test]
async fn a_shutdown_that_does_not_end_is_cut_short() {
    let google = cloud(Manner {
        ignores_shutdown: true,
        ..Manner::default()
    });
    let provider = provider(Settings {
        stop_timeout: Duration::from_secs(1),
        ..settings(&google)
    });
    provider.start(SEED, intent()).await.expect("it starts");
    let stopped = provider.stop(SEED, intent()).await.expect("by force");
    assert_eq!(stopped.state, MachineState::Stopped);
    let ids = google.request_ids("instances.stop");
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1], "another write has another id");
}

/// Its operation may not be read, or is done before that shows.
#[tokio::test]
async fn a_shutdown_that_is_only_not_seen_to_end_is_not_cut_short() {
    let slow = Manner {
        takes: Duration::from_millis(300),
        ..Manner::default()
    };
    for manner in [
        Manner {
            hides_operations: true,
            ..slow
        },
        Manner {
            reads_old: Duration::from_millis(500),
            ..slow
        },
    ] {
        let google = cloud(manner);
        let provider = provider(settings(&google));
        provider.start(SEED, intent()).await.expect("it starts");
        is_up(&google, &provider).await;
        let stopped = provider.stop(SEED, intent()).await.expect("it stops");
        assert_eq!(stopped.state, MachineState::Stopped);
        assert_eq!(google.calls("instances.stop"), 1);
    }
}

#[tokio::test]
async fn a_machine_on_its_way_down_comes_to_rest_before_it_is_started() {
    let google = cloud(Manner::default());
    google.put(NAME, "STOPPING");
    let provider = provider(settings(&google));
    let at_rest = async {
        eventually(SOON, async || google.calls("instances.get") >= 2).await;
        assert_eq!(google.calls("instances.start"), 0);
        google.put(NAME, "TERMINATED");
    };
    let (started, ()) = tokio::join!(provider.start(SEED, intent()), at_rest);
    started.expect("it starts when it can");
    is_up(&google, &provider).await;
    assert_eq!(google.calls("instances.start"), 1);
}

/// For a moment after a start the machine reads `TERMINATED`, even when the operation is done.
#[tokio::test]
async fn a_machine_that_still_reads_terminated_after_its_start_is_starting() {
    let google = cloud(Manner {
        reads_old: Duration::from_millis(400),
        ..Manner::default()
    });
    let provider = provider(settings(&google));
    let told = provider.start(SEED, intent()).await.expect("it starts");
    assert_eq!(told.state, MachineState::Starting);
    assert_eq!(state(&provider).await, MachineState::Starting);
    let again = provider.start(SEED, intent()).await.expect("on its way");
    assert_eq!(again.state, MachineState::Starting);
    is_up(&google, &provider).await;
    assert_eq!(google.calls("instances.start"), 1);
}

/// Google answers a known `requestId` with the operation that it had, a failed one too.
#[tokio::test]
async fn one_intent_has_one_request_id_until_its_operation_has_failed() {
    let google = cloud(Manner {
        loses_answers: true,
        takes: Duration::from_secs(3600),
        ..Manner::default()
    });
    let (provider, token) = (provider(settings(&google)), intent());
    for _ in 0..2 {
        let told = provider.start(SEED, token).await.expect("read back");
        assert_eq!(told.state, MachineState::Starting);
    }
    let ids = google.request_ids("instances.start");
    assert_eq!(ids.len(), 2, "it is sent again when its answer is lost");
    assert_eq!(ids[0], ids[1]);

    let google = cloud(Manner {
        fails: Some("ZONE_RESOURCE_POOL_EXHAUSTED"),
        ..Manner::default()
    });
    let (provider, token) = (self::provider(settings(&google)), intent());
    provider
        .start(SEED, token)
        .await
        .expect_err("nothing is left");
    google.behave(Manner::default());
    provider
        .start(SEED, token)
        .await
        .expect("there is room again");
    is_up(&google, &provider).await;
    let ids = google.request_ids("instances.start");
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_zone_without_machines_is_told_by_the_operation_and_no_machine_runs() {
    let google = cloud(Manner {
        fails: Some("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"),
        takes: Duration::from_millis(30),
        ..Manner::default()
    });
    let provider = provider(settings(&google));
    let trouble = provider
        .start(SEED, intent())
        .await
        .expect_err("nothing is left");
    assert_eq!(trouble.class, ErrorClass::Capacity, "{trouble}");
    assert_eq!(state(&provider).await, MachineState::Stopped);
    google.behave(Manner::default());
    provider
        .start(SEED, intent())
        .await
        .expect("there is room again");
    is_up(&google, &provider).await;
}

/// The call was dropped, so why the start failed is learnt by looking.
#[tokio::test]
async fn a_start_that_fails_unseen_is_told_to_who_looks() {
    let google = cloud(Manner {
        fails: Some("ZONE_RESOURCE_POOL_EXHAUSTED"),
        takes: Duration::from_millis(300),
        ..Manner::default()
    });
    let provider = provider(settings(&google));
    let begun = async || google.calls("zoneOperations.wait") > 0;
    tokio::select! {
        told = provider.start(SEED, intent()) => panic!("it can't be done yet: {told:?}"),
        () = eventually(SOON, begun) => {}
    }
    assert_eq!(state(&provider).await, MachineState::Starting);
    eventually(SOON, async || match provider.inspect(SEED).await {
        Ok(machine) => {
            assert_eq!(machine.state, MachineState::Starting);
            false
        }
        Err(trouble) => trouble.class == ErrorClass::Capacity,
    })
    .await;
    assert_eq!(state(&provider).await, MachineState::Stopped);
}

#[tokio::test]
async fn what_an_operation_or_a_call_is_refused_with_has_its_class() {
    let google = cloud(Manner::default());
    for (code, class) in [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", ErrorClass::Capacity),
        ("QUOTA_EXCEEDED", ErrorClass::Quota),
        ("RESOURCE_NOT_READY", ErrorClass::Busy),
        ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", ErrorClass::Busy),
        ("UNSUPPORTED_OPERATION", ErrorClass::InvalidState),
        ("RESOURCE_NOT_FOUND", ErrorClass::NotFound),
        ("A_NEW_CODE", ErrorClass::BadRequest),
    ] {
        google.behave(Manner {
            fails: Some(code),
            ..Manner::default()
        });
        let trouble = provider(settings(&google))
            .start(SEED, intent())
            .await
            .expect_err(code);
        assert_eq!(trouble.class, class, "{trouble}");
        assert!(trouble.detail.contains(code), "{trouble}");
    }
    for (status, reason, class) in [
        (400, "resourceNotReady", ErrorClass::Busy),
        (403, "quotaExceeded", ErrorClass::Quota),
        (403, "forbidden", ErrorClass::Forbidden),
        (403, "accessNotConfigured", ErrorClass::Forbidden),
        (412, "conditionNotMet", ErrorClass::Busy),
        (503, "backendError", ErrorClass::Transient),
        (503, "ZONE_RESOURCE_POOL_EXHAUSTED", ErrorClass::Capacity),
    ] {
        google.behave(Manner {
            refuses: Some((status, reason)),
            ..Manner::default()
        });
        let trouble = provider(settings(&google))
            .start(SEED, intent())
            .await
            .expect_err(reason);
        assert_eq!(trouble.class, class, "{trouble}");
    }
    google.behave(Manner {
        broken: Some(502),
        ..Manner::default()
    });
    let trouble = provider(settings(&google))
        .inspect(SEED)
        .await
        .expect_err("broken");
    assert_eq!(trouble.class, ErrorClass::Transient);
}

#[tokio::test]
async fn a_wrong_place_is_told_and_never_taken_for_a_missing_machine() {
    let google = cloud(Manner::default());
    let with = |change: fn(&mut Settings)| {
        let mut settings = settings(&google);
        change(&mut settings);
        provider(settings)
    };
    for (provider, class, words) in [
        (
            with(|it| it.project = "another".into()),
            ErrorClass::Forbidden,
            "projects/another",
        ),
        (
            with(|it| it.zone = "mars-west1-b".into()),
            ErrorClass::BadRequest,
            "zone",
        ),
        (
            with(|it| it.base_url += "/v9"),
            ErrorClass::BadRequest,
            "404",
        ),
        (
            with(|it| it.base_url = "http://127.0.0.1:9/compute/v1".into()),
            ErrorClass::Transient,
            "instances.get",
        ),
    ] {
        for refused in [
            provider.inspect(SEED).await,
            provider.start(SEED, intent()).await,
            provider.stop(SEED, intent()).await,
        ] {
            let trouble = refused.expect_err(words);
            assert_eq!(trouble.class, class, "{trouble}");
            assert!(trouble.detail.contains(words), "{trouble}");
        }
    }
    for bad in ["", "a/b", "../x", "a?b", "Blog", "-a"] {
        let mut settings = settings(&google);
        settings.instance = bad.into();
        assert!(Gce::new(settings).is_err(), "{bad}");
    }
    let of_company = Settings {
        project: "example.com:blog".into(),
        ..settings(&google)
    };
    assert!(Gce::new(of_company).is_ok());
}

#[tokio::test]
async fn a_word_that_nobody_knows_is_on_its_way_and_the_public_address_is_taken_when_wanted() {
    let google = cloud(Manner::default());
    google.assign(NAME, "203.0.113.7");
    let public = provider(Settings {
        address: AddressFrom::Public,
        ..settings(&google)
    });
    let up = public.start(SEED, intent()).await.expect("it starts");
    assert_eq!(up.address, "203.0.113.7:80".parse().ok());
    let private = provider(settings(&google));
    let up = private.inspect(SEED).await.expect("it is read");
    assert_eq!(up.address, "10.132.0.7:80".parse().ok());
    google.behave(Manner {
        word: Some("DREAMING"),
        ..Manner::default()
    });
    becomes(&private, MachineState::Starting).await;
    google.behave(Manner::default());
    google.delete(NAME);
    becomes(&private, MachineState::Missing).await;
    let trouble = private.start(SEED, intent()).await.expect_err("it is gone");
    assert_eq!(trouble.class, ErrorClass::NotFound);
}

/// Fifty services of one project, and two hundred machines of others.
#[tokio::test]
async fn fifty_services_read_one_list_of_pages_and_wait_together_when_told_to() {
    let google = cloud(Manner {
        per_page: 100,
        ..Manner::default()
    });
    for number in 0..250 {
        google.make(&format!("vm-{number}"), "10.0.0.1");
    }
    let service = |number: u32| {
        provider(Settings {
            instance: format!("vm-{number}"),
            ..settings(&google)
        })
    };
    let services: Vec<_> = (0..50).map(service).collect();
    for machine in join_all(services.iter().map(|service| service.inspect(SEED))).await {
        assert_eq!(
            machine.map(|machine| machine.state),
            Ok(MachineState::Stopped)
        );
    }
    let list = || google.calls("instances.aggregatedList");
    assert_eq!(
        (list(), google.calls("instances.get")),
        (3, 0),
        "one list of three pages"
    );
    assert_eq!(google.desk.given(), 1, "one token for all");
    // Told in the manner of 403; the wait is to the next minute.
    google.behave(Manner {
        refuses: Some((403, "rateLimitExceeded")),
        ..Manner::default()
    });
    let told = services[0]
        .start(SEED, intent())
        .await
        .expect_err("too often");
    let ErrorClass::RateLimited(Some(wait)) = told.class else {
        panic!("{told}");
    };
    assert!(wait <= Span::secs(61), "{told}");
    let before = list() + google.calls("instances.get");
    for service in &services {
        let refused = service.stop(SEED, intent()).await.expect_err("all wait");
        assert!(
            matches!(refused.class, ErrorClass::RateLimited(Some(_))),
            "{refused}"
        );
    }
    assert_eq!(
        list() + google.calls("instances.get"),
        before,
        "nobody asks meanwhile"
    );
}

#[tokio::test]
async fn a_cloud_that_takes_no_selection_of_fields_is_asked_for_whole_machines() {
    let google = cloud(Manner {
        refuses_fields: true,
        ..Manner::default()
    });
    let (one, two) = (provider(settings(&google)), provider(settings(&google)));
    assert_eq!(state(&one).await, MachineState::Stopped);
    one.start(SEED, intent()).await.expect("it starts");
    becomes(&two, MachineState::Running).await;
    let lists = google.calls("instances.aggregatedList");
    assert!((2..20).contains(&lists), "{lists}");
}

mod credentials {
    use super::*;

    #[tokio::test]
    async fn the_key_of_a_service_account_signs_for_a_token() {
        let (google, folder) = (
            cloud(Manner::default()),
            tempfile::tempdir().expect("a folder"),
        );
        let key = google.desk.key_file(folder.path());
        let with_key = Settings {
            credentials: Some(key),
            ..settings(&google)
        };
        let provider = provider(Settings {
            around: Surroundings::default(),
            ..with_key
        });
        provider.start(SEED, intent()).await.expect("it may");
        is_up(&google, &provider).await;
        assert_eq!(google.desk.given(), 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs the Python package google-auth: run tests/run"]
    async fn googles_own_library_takes_what_we_sign_and_gets_its_tokens_at_the_stand_in() {
        let (google, folder) = (
            cloud(Manner::default()),
            tempfile::tempdir().expect("a folder"),
        );
        let key = google.desk.key_file(folder.path());
        let ours = provider(Settings {
            credentials: Some(key.clone()),
            ..settings(&google)
        });
        assert_eq!(state(&ours).await, MachineState::Stopped);
        let claims = google.desk.claims(&key);
        let scope = "https://www.googleapis.com/auth/compute";
        assert_eq!(claims["scope"], scope);
        let lives = claims["exp"].as_i64().zip(claims["iat"].as_i64());
        assert_eq!(lives.map(|(until, from)| until - from), Some(3600));
        let user = google.desk.user_file(folder.path());
        assert_eq!(google.desk.gives_googles_library(&key, &user), [true; 3]);
    }

    #[tokio::test]
    async fn a_persons_own_login_asks_with_its_refresh_token_and_names_its_project_for_the_quota() {
        let (google, folder) = (
            cloud(Manner::default()),
            tempfile::tempdir().expect("a folder"),
        );
        let around = Surroundings {
            well_known: Some(google.desk.user_file(folder.path())),
            ..Surroundings::default()
        };
        let provider = provider(Settings {
            around,
            ..settings(&google)
        });
        assert_eq!(state(&provider).await, MachineState::Stopped);
        assert!(google.desk.quota_projects().contains("the-quota-of-this"));
    }

    #[tokio::test]
    async fn twenty_that_need_a_token_at_once_ask_for_one() {
        let google = cloud(Manner::default());
        for number in 0..20 {
            google.make(&format!("vm-{number}"), "10.0.0.1");
        }
        let service = |number: u32| {
            provider(Settings {
                instance: format!("vm-{number}"),
                ..settings(&google)
            })
        };
        let services: Vec<_> = (0..20).map(service).collect();
        let starts = services.iter().map(|it| it.start(SEED, intent()));
        for started in join_all(starts).await {
            started.expect("it starts");
        }
        assert_eq!((google.running(), google.desk.asked()), (20, 1));
    }

    #[tokio::test]
    async fn a_token_that_is_refused_is_asked_for_once_more_and_no_oftener() {
        let google = cloud(Manner::default());
        let provider = provider(settings(&google));
        assert_eq!(state(&provider).await, MachineState::Stopped);
        google.desk.revoke();
        assert_eq!(state(&provider).await, MachineState::Stopped);
        assert_eq!(google.desk.given(), 2);
        google.behave(Manner {
            refuses: Some((401, "authError")),
            ..Manner::default()
        });
        let trouble = provider.start(SEED, intent()).await.expect_err("refused");
        assert_eq!(trouble.class, ErrorClass::Auth);
        assert_eq!(google.desk.given(), 3);
    }

    #[tokio::test]
    async fn a_token_that_is_over_is_asked_for_anew_and_a_hiccup_is_tried_again() {
        let google = cloud(Manner::default());
        google.desk.give(Giving {
            lives: 0,
            broken: None,
            hiccups: 0,
        });
        let provider = provider(settings(&google));
        // It is over when it comes: each call asks anew.
        state(&provider).await;
        state(&provider).await;
        assert_eq!(google.desk.given(), 2);
        google.desk.give(Giving {
            lives: 3600,
            broken: None,
            hiccups: 2,
        });
        assert_eq!(
            state(&provider).await,
            MachineState::Stopped,
            "after two tries in vain"
        );
        state(&provider).await;
        assert_eq!((google.desk.asked(), google.desk.given()), (5, 3));
    }

    #[tokio::test]
    async fn refusals_of_a_token_have_their_class_and_no_secret() {
        let (google, folder) = (
            cloud(Manner::default()),
            tempfile::tempdir().expect("a folder"),
        );
        let user = google.desk.user_file(folder.path());
        let with_user = Settings {
            credentials: Some(user.clone()),
            ..settings(&google)
        };
        let text = std::fs::read_to_string(&user).expect("a file");
        std::fs::write(&user, text.replace("an-id.apps", "another.apps")).expect("it is ours");
        let told = provider(with_user.clone())
            .inspect(SEED)
            .await
            .expect_err("revoked");
        assert_eq!(told.class, ErrorClass::Auth);
        let nowhere = Surroundings {
            metadata_host: Some("127.0.0.1:9".into()),
            ..Surroundings::default()
        };
        let nobody = provider(Settings {
            around: nowhere,
            ..settings(&google)
        });
        let none = nobody.inspect(SEED).await.expect_err("nothing is found");
        assert!(
            none.detail.contains("GOOGLE_APPLICATION_CREDENTIALS"),
            "{none}"
        );
        google.desk.give(Giving {
            lives: 3600,
            broken: Some(404),
            hiccups: 0,
        });
        let bare = provider(settings(&google))
            .inspect(SEED)
            .await
            .expect_err("no account");
        assert_eq!(bare.class, ErrorClass::Auth);
        assert!(bare.detail.contains("service account"), "{bare}");
        let debug = format!("{with_user:?}");
        for words in [told.to_string(), none.to_string(), bare.to_string(), debug] {
            for secret in [CLIENT_SECRET, REFRESH_TOKEN, "ya29."] {
                assert!(!words.contains(secret), "{words}");
            }
        }
    }
}
