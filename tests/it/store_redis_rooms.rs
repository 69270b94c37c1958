//! Many rooms on one Redis: one leads under a lease, the others follow, and all hear of each other at once.

use std::time::Duration;

use anteroom::engine::admit::{Applicant, Rules, Verdict};
use anteroom::engine::contract::{Routing, Trigger, TriggerBy};
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::rooms::{Mark, Report};
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::Phase;
use anteroom::store::redis::{RedisStore, Settings};
use anteroom::store::shared::{
    Beat, Envelope, HoldKey, HoldWish, LEASE, News, Shared, Sign, Wanted,
};
use anteroom::store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::house::view;
use crate::support::redis::{Cluster, Server, Watched, documented_user, settings};

const SOON: Duration = Duration::from_secs(20);

fn blog() -> ServiceName {
    "blog".parse().unwrap()
}

fn url(server: &Server) -> String {
    format!("redis://{}", server.at())
}

/// Two rooms on one store, and the prefix of its keys.
fn two(settings: &Settings) -> (RedisStore, RedisStore, String) {
    let open = || RedisStore::open(settings.clone()).unwrap();
    (open(), open(), settings.prefix.clone())
}

fn envelope(epoch: Epoch, seq: u64, phase: Phase) -> Envelope {
    Envelope {
        mark: Mark {
            epoch,
            seq,
            life: 7,
        },
        routing: Routing::Asleep,
        view: view(phase),
    }
}

fn beat(epoch: Epoch) -> Beat {
    Beat {
        epoch,
        owner: "room \"1\"".into(),
        ..Beat::default()
    }
}

fn sign(report: Report) -> Sign<'static> {
    Sign {
        at: "host \"2\"",
        instead: false,
        report,
    }
}

fn applicant(address: &str) -> Applicant {
    Applicant::plain(
        address.parse().unwrap(),
        Trigger {
            by: TriggerBy::Page,
            who: "203.0.113.0/24".into(),
            path: "/wish \"1\"".into(),
        },
    )
}

fn is_stale<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Stale { .. }))
}

/// The next news that `wanted` takes something of. Others may come in between.
async fn hears<T>(news: &mut mpsc::Receiver<News>, wanted: impl Fn(News) -> Option<T>) -> T {
    let heard = async {
        loop {
            if let Some(taken) = wanted(news.recv().await.expect("the store is there")) {
                return taken;
            }
        }
    };
    timeout(SOON, heard).await.expect("the news comes")
}

/// A subscription takes a moment; what is told before is lost, as a beat makes good.
async fn listens(store: &RedisStore, news: &mut mpsc::Receiver<News>) {
    let heard = async {
        loop {
            store.tell(&blog(), "wake".into()).await.unwrap();
            if timeout(Duration::from_millis(50), news.recv())
                .await
                .is_ok()
            {
                return;
            }
        }
    };
    timeout(SOON, heard).await.expect("it listens");
    while news.try_recv().is_ok() {}
}

/// All of it, on a store that nobody has used yet.
async fn conforms(settings: &Settings) {
    let (one, other, _) = two(settings);
    let blog = blog();
    let (mut news, mut others) = (one.news(&blog), other.news(&blog));
    listens(&one, &mut news).await;
    listens(&one, &mut others).await;
    assert_ne!(one.room(), other.room());

    // One leads, and as long as its lease lives no other does.
    let nobody = other.follow(&blog, sign(Report::default())).await.unwrap();
    assert!(!nobody.led && nobody.envelope.is_none());
    let claim = one.claim_free(&blog, "one").await.unwrap().unwrap();
    assert_eq!((claim.epoch, claim.record), (Epoch(1), None));
    assert_eq!(other.claim_free(&blog, "other").await.unwrap(), None);
    let epoch = claim.epoch;

    // Commands that were written are given until they are done, and then once only.
    let heard = one.beat(&blog, beat(epoch)).await.unwrap();
    assert!(
        heard.commands.iter().all(|word| word == "wake"),
        "{heard:?}"
    );
    let done = Some((heard.name.clone(), heard.commands.len()));
    let again = one.beat(&blog, beat(epoch)).await.unwrap();
    assert_eq!(again.commands, heard.commands);
    for word in ["sleep", "dance"] {
        other.tell(&blog, word.into()).await.unwrap();
    }
    let ended = Beat {
        done: done.clone(),
        ..beat(epoch)
    };
    for _ in 0..2 {
        let heard = one.beat(&blog, ended.clone()).await.unwrap();
        assert_eq!(
            heard.commands,
            ["sleep", "dance"],
            "done once, however often it is said"
        );
    }

    // What a leader says, everybody hears at once, and reads later.
    let said = envelope(epoch, 1, Phase::Waking);
    let telling = Beat {
        envelope: Some(said.clone()),
        status: vec![("phase", "waking".into()), ("upstream", "x".into())],
        ..ended.clone()
    };
    one.beat(&blog, telling).await.unwrap();
    let changed = |news| match news {
        News::Changed(envelope) => Some(*envelope),
        _ => None,
    };
    assert_eq!(hears(&mut others, changed).await, said);
    let report = Report {
        uses: 7,
        in_flight: 1,
        seen: said.mark,
        ..Report::default()
    };
    let followed = other.follow(&blog, sign(report)).await.unwrap();
    assert_eq!((followed.envelope, followed.led), (Some(said), true));

    // And the leader hears of who follows, not of itself.
    let heard = one.beat(&blog, ended.clone()).await.unwrap();
    let [room] = &heard.rooms[..] else {
        panic!("{heard:?}");
    };
    assert_eq!((room.room.as_str(), room.report), (other.room(), report));
    assert!(room.age < Span::secs(10), "{:?}", room.age);

    // The hold: written by the leader, by a follower, by hand, and gone again.
    let wish = |reason: &str| HoldWish::Keep {
        reason: reason.into(),
        length: Span::mins(5),
    };
    let holding = Beat {
        hold: Some(wish("a deployment")),
        ..ended.clone()
    };
    for (reason, heard) in [
        ("a deployment", one.beat(&blog, holding).await.unwrap()),
        ("by another", {
            other.hold(&blog, wish("by another")).await.unwrap();
            one.beat(&blog, ended.clone()).await.unwrap()
        }),
    ] {
        let Some(HoldKey {
            reason: told,
            left: Some(left),
        }) = heard.hold
        else {
            panic!("{heard:?}");
        };
        assert_eq!(told, reason);
        assert!(left > Span::mins(4) && left <= Span::mins(5), "{left:?}");
    }
    other.hold(&blog, HoldWish::Drop).await.unwrap();
    assert_eq!(one.beat(&blog, ended.clone()).await.unwrap().hold, None);

    // A wake that another room admits.
    while news.try_recv().is_ok() {}
    let client = applicant("203.0.113.7");
    let now = Time(1_795_248_000_000);
    let verdict = other.admit(&blog, now, &client, &Rules::default()).await;
    assert_eq!(verdict.unwrap(), Verdict::Wake(1));
    let announced = |news| match news {
        News::Wanted(number, trigger) => Some((number, trigger)),
        _ => None,
    };
    assert_eq!(
        hears(&mut news, announced).await,
        (1, client.trigger.clone())
    );
    let heard = one.beat(&blog, ended.clone()).await.unwrap();
    let wanted = |heard| Wanted {
        number: 1,
        trigger: client.trigger.clone(),
        heard,
    };
    assert_eq!(heard.wanted, Some(wanted(false)));
    let waking = Record {
        stand: Stand::Waking { since: now },
        ..Record::default()
    };
    one.save(&blog, epoch, &waking, &[], 1).await.unwrap();
    let heard = one.beat(&blog, ended.clone()).await.unwrap();
    assert_eq!(heard.wanted, Some(wanted(true)));
    let asleep = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    one.save(&blog, epoch, &asleep, &[], 1).await.unwrap();
    assert_eq!(one.beat(&blog, ended.clone()).await.unwrap().wanted, None);

    // Handed over to one room, it is no other's; and the earlier leader is none any more.
    one.hand_over(&blog, epoch, Some(other.room()))
        .await
        .unwrap();
    let free = |news| matches!(news, News::Free).then_some(());
    hears(&mut others, free).await;
    assert!(!other.follow(&blog, sign(report)).await.unwrap().led);
    let next = other.claim_free(&blog, "other").await.unwrap().unwrap();
    assert_eq!((next.epoch, next.record), (Epoch(2), Some(asleep)));
    assert!(is_stale(&one.beat(&blog, ended.clone()).await));
    assert!(is_stale(&one.hand_over(&blog, epoch, None).await));
    assert_eq!(one.claim_free(&blog, "one").await.unwrap(), None);
    let heard = other.beat(&blog, beat(Epoch(2))).await.unwrap();
    assert_eq!(
        heard.rooms.len(),
        1,
        "the earlier leader may have somebody inside"
    );
    one.goodbye(&blog).await.unwrap();
    let heard = other.beat(&blog, beat(Epoch(2))).await.unwrap();
    assert!(heard.rooms.is_empty());

    // The next life of a room at the same place ends the reports of its last one.
    one.follow(&blog, sign(report)).await.unwrap();
    assert_eq!(
        other.beat(&blog, beat(Epoch(2))).await.unwrap().rooms.len(),
        1
    );
    let next_life = RedisStore::open(settings.clone()).unwrap();
    let new = Sign {
        instead: true,
        ..sign(Report::default())
    };
    next_life.follow(&blog, new).await.unwrap();
    let heard = other.beat(&blog, beat(Epoch(2))).await.unwrap();
    assert_eq!(heard.rooms.len(), 1);
    assert_eq!(heard.rooms[0].room, next_life.room());

    // Whoever goes leaves it to the first that comes.
    other.hand_over(&blog, Epoch(2), None).await.unwrap();
    let last = one.claim_free(&blog, "one").await.unwrap().unwrap();
    assert_eq!(last.epoch, Epoch(3));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn rooms_lead_and_follow_on_a_single_server_with_the_documented_rights() {
    let server = Server::with(&format!(
        "{}\nuser default off\n",
        documented_user("anteroom:*")
    ))
    .await;
    let mut settings = settings(&format!("redis://anteroom:p%40ss@{}/3", server.at()));
    // To subscribe to a pattern, a user needs the right to that very pattern.
    settings.prefix = "anteroom".into();
    conforms(&settings).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn rooms_lead_and_follow_behind_sentinels() {
    let watched = Watched::start().await;
    conforms(&settings(&watched.url())).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn rooms_lead_and_follow_on_a_cluster() {
    let cluster = Cluster::start().await;
    conforms(&settings(&cluster.url())).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_lease_that_ran_out_is_free_and_its_leader_may_still_take_it_again() {
    let server = Server::start().await;
    let (one, other, prefix) = two(&settings(&url(&server)));
    let key = format!("{prefix}:{{blog}}:lease");
    let blog = blog();
    let epoch = one
        .claim_free(&blog, "room-\"1\"")
        .await
        .unwrap()
        .unwrap()
        .epoch;
    let lease: String = server.ask(&["GET", &key]).await;
    assert_eq!(lease, r#"{"owner":"room-\"1\"","epoch":1}"#);
    let left = async || server.ask::<u128>(&["PTTL", &key]).await;
    assert!((1..=LEASE.as_millis()).contains(&left().await));
    let _: () = server.ask(&["PEXPIRE", &key, "100000"]).await;
    one.beat(&blog, beat(epoch)).await.unwrap();
    assert!((1..=LEASE.as_millis()).contains(&left().await));
    // Run out, and nobody came: it is still the leader's.
    let _: () = server.ask(&["DEL", &key]).await;
    one.beat(&blog, beat(epoch)).await.unwrap();
    assert_eq!(other.claim_free(&blog, "other").await.unwrap(), None);
    let _: () = server.ask(&["DEL", &key]).await;
    let next = other
        .claim_free(&blog, "other")
        .await
        .unwrap()
        .unwrap()
        .epoch;
    let stale = one.beat(&blog, beat(epoch)).await;
    assert!(matches!(stale, Err(StoreError::Stale { current, .. }) if current == next));
    let lease: String = server.ask(&["GET", &key]).await;
    assert_eq!(lease, r#"{"owner":"other","epoch":2}"#);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn keys_of_another_type_are_told_of_and_stop_nothing() {
    let server = Server::start().await;
    let (one, _, prefix) = two(&settings(&url(&server)));
    let blog = blog();
    let epoch = one.claim_free(&blog, "one").await.unwrap().unwrap().epoch;
    let key = |name: &str| format!("{prefix}:{{blog}}:{name}");
    let _: i64 = server.ask(&["RPUSH", &key("hold"), "x"]).await;
    let _: () = server.ask(&["SET", &key("command"), "wake"]).await;
    let _: () = server.ask(&["SET", &key("wanted"), "a wish"]).await;
    let telling = Beat {
        envelope: Some(envelope(epoch, 1, Phase::Asleep)),
        status: vec![("phase", "asleep".into())],
        ..beat(epoch)
    };
    let heard = one.beat(&blog, telling).await.unwrap();
    assert_eq!(heard.bad.len(), 3, "{:?}", heard.bad);
    assert!(heard.hold.is_none() && heard.commands.is_empty() && heard.wanted.is_none());
    let phase: String = server.ask(&["HGET", &key("status"), "phase"]).await;
    assert_eq!(phase, "asleep");
    assert!(!heard.again);
    // What somebody deletes is to be told again.
    for name in ["status", "view"] {
        let _: i64 = server.ask(&["DEL", &key(name)]).await;
        assert!(one.beat(&blog, beat(epoch)).await.unwrap().again, "{name}");
        let telling = Beat {
            envelope: Some(envelope(epoch, 2, Phase::Asleep)),
            status: vec![("phase", "asleep".into())],
            ..beat(epoch)
        };
        assert!(!one.beat(&blog, telling).await.unwrap().again, "{name}");
    }
    // A hold without an end and without a reason is one.
    for name in ["hold", "command", "wanted"] {
        let _: i64 = server.ask(&["DEL", &key(name)]).await;
    }
    let _: () = server.ask(&["SET", &key("hold"), ""]).await;
    let heard = one.beat(&blog, beat(epoch)).await.unwrap();
    let hold = heard.hold.unwrap();
    assert!(hold.left.is_none() && !hold.reason.is_empty(), "{hold:?}");
    assert!(heard.bad.is_empty());
}
