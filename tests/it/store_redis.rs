//! What only a store in Redis must do: stand off when Redis is away, follow a failover, and keep owners apart when
//! a server forgets.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anteroom::engine::contract::Event;
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::record::Record;
use anteroom::engine::time::Time;
use anteroom::store::redis::RedisStore;
use anteroom::store::shared::{Beat, Shared};
use anteroom::store::{LedgerEntry, Store, StoreError};

use crate::lifecycle::{client, press, service as service_of};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::redis::{Cluster, Server, Watched, conforms, documented_user, settings, store};
use crate::support::wait::eventually;

/// A caller waits no longer, with some room for a busy machine.
const ONCE: Duration = Duration::from_millis(250);

/// A caller that is told at once.
const AT_ONCE: Duration = Duration::from_millis(5);

const SOON: Duration = Duration::from_secs(20);

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn record(count: u64) -> Record {
    Record {
        triggered_count: count,
        ..Record::default()
    }
}

fn entry(at: u64) -> LedgerEntry {
    LedgerEntry {
        at: Time(at),
        event: Event::Adopted,
    }
}

fn url(server: &Server) -> String {
    format!("redis://{}", server.at())
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_single_server_conforms() {
    let server = Server::start().await;
    conforms(&url(&server));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_user_with_the_documented_rights_and_no_others_conforms() {
    let server = Server::with(&format!("{}\nuser default off\n", documented_user("t*"))).await;
    conforms(&format!("redis://anteroom:p%40ss@{}/3", server.at()));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn the_documented_rights_are_enough_for_what_admins_write() {
    let server = Server::with(&documented_user("t*")).await;
    let store = store(&format!("redis://anteroom:p%40ss@{}", server.at()));
    let surface = store.surface().unwrap();
    surface.bans().await.unwrap();
    let one = |why: &str| std::collections::BTreeMap::from([("services blog".into(), why.into())]);
    surface.services("").await.unwrap();
    surface.restore(&one("{}")).await.unwrap();
    surface.tell(&one("why"), &[]).await.unwrap();
    let mended = ["services blog".to_owned(), "ban:x".to_owned()];
    surface.tell(&Default::default(), &mended).await.unwrap();
    store.secret([7; 32]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server and openssl: run tests/run"]
async fn a_server_with_tls_and_certificates_on_both_sides_conforms() {
    let server = Server::with_tls().await;
    let dir = server.dir().display();
    conforms(&format!(
        "rediss://{}?ca={dir}/ca.pem&cert={dir}/own.pem&key={dir}/own.key",
        server.at()
    ));
    // Without the certificate of its authority the server is not believed.
    let stranger = store(&format!("rediss://{}", server.at()));
    let refused = stranger
        .ready(Duration::from_millis(500))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_master_behind_sentinels_conforms() {
    let watched = Watched::start().await;
    conforms(&watched.url());
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_cluster_conforms() {
    let cluster = Cluster::start().await;
    conforms(&cluster.url());
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn what_is_wrong_with_the_login_is_said_and_passwords_are_not() {
    let server = Server::with("requirepass secret-1\nuser few on >secret-2 ~* +ping\n").await;
    let at = server.at();
    for (url, said) in [
        (
            format!("redis://:hunter2@{at}"),
            "the user or the password is wrong; check store.url",
        ),
        (
            format!("redis://nobody:hunter2@{at}"),
            "the user or the password is wrong",
        ),
        (
            format!("redis://{at}"),
            "it asks for a password; store.url has none",
        ),
    ] {
        let refused = store(&url)
            .ready(Duration::from_millis(300))
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains(said), "{url}: {refused}");
        assert!(refused.contains(&at), "{refused}");
        assert!(
            !refused.contains("hunter2") && !refused.contains("secret"),
            "{refused}"
        );
    }
    let few = store(&format!("redis://few:secret-2@{at}"));
    let refused = few
        .claim(&service("blog"), "a")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("docs/redis.md has the rights"),
        "{refused}"
    );
    assert_eq!(
        few.trouble(),
        None,
        "one refused command is no server that is away"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn a_server_that_hangs_costs_one_caller_its_deadline_and_the_next_ones_nothing() {
    let server = Server::start().await;
    let store = store(&url(&server));
    let blog = service("blog");
    let epoch = store.claim(&blog, "a").await.unwrap().epoch;
    server.hold();
    let took = async || {
        let asked = Instant::now();
        let answer = store.load(&blog).await;
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
        asked.elapsed()
    };
    let first = took().await;
    assert!(first < ONCE, "{first:?}");
    for _ in 0..100 {
        let next = took().await;
        assert!(next < AT_ONCE, "{next:?}");
    }
    let trouble = store.trouble().unwrap();
    assert!(trouble.contains("no answer within 180ms"), "{trouble}");
    server.release();
    store.ready(SOON).await.unwrap();
    store
        .save(&blog, epoch, &record(1), &[entry(1)], 0)
        .await
        .unwrap();
    assert_eq!(store.trouble(), None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn a_server_that_is_gone_fails_calls_at_once_and_is_found_again() {
    let mut server = Server::start().await;
    let store = store(&url(&server));
    let blog = service("blog");
    store.claim(&blog, "a").await.unwrap();
    server.kill();
    for _ in 0..100 {
        let asked = Instant::now();
        store.load(&blog).await.unwrap_err();
        assert!(asked.elapsed() < ONCE, "{:?}", asked.elapsed());
    }
    server.again().await;
    store.ready(SOON).await.unwrap();
    // It kept nothing, and knows no script either.
    assert_eq!(store.claim(&blog, "a").await.unwrap().epoch, Epoch(1));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn nobody_writes_under_an_epoch_that_came_twice_because_the_server_was_wiped() {
    let server = Server::start().await;
    let settings = settings(&url(&server));
    let open = || RedisStore::open(settings.clone()).unwrap();
    let (old, new) = (open(), open());
    let blog = service("blog");
    for _ in 0..3 {
        old.claim(&blog, "old").await.unwrap();
    }
    old.save(&blog, Epoch(3), &record(1), &[], 0).await.unwrap();
    let _: () = server.ask(&["FLUSHALL"]).await;
    let stale = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Stale { .. }));
    assert!(stale(
        old.save(&blog, Epoch(3), &record(2), &[entry(2)], 0).await
    ));
    let beat = Beat {
        epoch: Epoch(3),
        ..Beat::default()
    };
    assert!(stale(old.beat(&blog, beat).await.map(|_| ())));
    for epoch in 1..=3 {
        let claim = new.claim(&blog, "new").await.unwrap();
        assert_eq!(claim.epoch, Epoch(epoch));
        assert!(stale(
            old.save(&blog, Epoch(3), &record(2), &[entry(2)], 0).await
        ));
    }
    new.save(&blog, Epoch(3), &record(3), &[], 0).await.unwrap();
    assert_eq!(old.load(&blog).await.unwrap(), Some(record(3)));
    assert_eq!(old.ledger(&blog, 9).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = Server::start().await;
    let store = store(&url(&server));
    let blog = service("blog");
    let epoch = store.claim(&blog, "a").await.unwrap().epoch;
    for count in 0..3 {
        let _: () = server.ask(&["SCRIPT", "FLUSH"]).await;
        store
            .save(&blog, epoch, &record(count), &[], 0)
            .await
            .unwrap();
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_save_that_arrives_late_or_twice_changes_nothing() {
    let server = Server::start().await;
    let settings = settings(&url(&server));
    let store = RedisStore::open(settings.clone()).unwrap();
    let blog = service("blog");
    let epoch = store.claim(&blog, "a").await.unwrap().epoch;
    for count in 1..=3 {
        store
            .save(&blog, epoch, &record(count), &[entry(count)], 0)
            .await
            .unwrap();
    }
    let key = |name: &str| format!("{}:{{blog}}:{name}", settings.prefix);
    let state: String = server.ask(&["GET", &key("state")]).await;
    let by = state
        .split("\"by\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let script = include_str!("../../src/store/redis/save.lua");
    let (state_key, ledger_key) = (key("state"), key("ledger"));
    for (number, expected) in [("2", "overtaken"), ("3", "saved")] {
        let words = [
            "EVAL",
            script,
            "4",
            &state_key,
            &ledger_key,
            &key("wake"),
            &key("wanted"),
            "1",
            by,
            number,
            "{}",
            "0",
            "1",
            "2000",
            "{}",
        ];
        let answer: Vec<String> = server.ask(&words).await;
        assert_eq!(answer, [expected]);
        let now: String = server.ask(&["GET", &state_key]).await;
        assert_eq!(now, state, "{number}");
        assert_eq!(store.ledger(&blog, 9).await.unwrap().len(), 3, "{number}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn what_somebody_else_wrote_into_a_key_is_reported_and_left() {
    let server = Server::start().await;
    let settings = settings(&url(&server));
    let store = RedisStore::open(settings.clone()).unwrap();
    let blog = service("blog");
    let epoch = store.claim(&blog, "a").await.unwrap().epoch;
    let key = format!("{}:{{blog}}:state", settings.prefix);
    for text in ["", "junk", "{\"epoch\":-1}", "{\"epoch\":1,\"by\":\"\"}"] {
        let _: () = server.ask(&["SET", &key, text]).await;
        let told = [
            store.claim(&blog, "a").await.map(|_| ()).unwrap_err(),
            store
                .save(&blog, epoch, &record(1), &[entry(1)], 0)
                .await
                .unwrap_err(),
            store.load(&blog).await.map(|_| ()).unwrap_err(),
        ];
        for error in told {
            assert!(
                matches!(error, StoreError::Corrupt { .. }),
                "{text}: {error}"
            );
            assert!(error.to_string().contains(&key), "{text}: {error}");
        }
        let left: String = server.ask(&["GET", &key]).await;
        assert_eq!(left, text);
    }
    assert_eq!(store.ledger(&blog, 9).await.unwrap(), []);
    // A ledger of another type refuses the save as a whole.
    let _: () = server.ask(&["DEL", &key]).await;
    let epoch = store.claim(&blog, "a").await.unwrap().epoch;
    let ledger = format!("{}:{{blog}}:ledger", settings.prefix);
    let _: () = server.ask(&["SET", &ledger, "junk"]).await;
    store
        .save(&blog, epoch, &record(7), &[entry(1)], 0)
        .await
        .unwrap_err();
    assert_eq!(store.load(&blog).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn saves_go_on_after_a_failover_and_an_old_owner_stays_out() {
    let mut watched = Watched::start().await;
    let settings = settings(&watched.url());
    let open = || RedisStore::open(settings.clone()).unwrap();
    let (old, new) = (open(), open());
    let blog = service("blog");
    let before = old.claim(&blog, "old").await.unwrap().epoch;
    let epoch = new.claim(&blog, "new").await.unwrap().epoch;
    new.save(&blog, epoch, &record(1), &[entry(1)], 0)
        .await
        .unwrap();
    let both: u32 = watched.servers[0].ask(&["WAIT", "2", "5000"]).await;
    assert_eq!(both, 2, "the replicas have it");
    watched.servers[0].kill();
    let killed = Instant::now();
    let longest = Cell::new(Duration::ZERO);
    eventually(SOON, async || {
        let asked = Instant::now();
        let saved = new.save(&blog, epoch, &record(2), &[entry(2)], 0).await;
        longest.set(longest.get().max(asked.elapsed()));
        saved.is_ok()
    })
    .await;
    let longest = longest.get();
    eprintln!(
        "a save after {:?}, no call longer than {longest:?}",
        killed.elapsed()
    );
    assert!(longest < ONCE, "{longest:?}");
    let stale = async || old.save(&blog, before, &record(3), &[], 0).await;
    eventually(SOON, async || {
        matches!(stale().await, Err(StoreError::Stale { .. }))
    })
    .await;
    assert_eq!(new.load(&blog).await.unwrap(), Some(record(2)));
    // The old master comes back as one, and is not believed. The Sentinels may say once more who is the master.
    watched.servers[0].again().await;
    eventually(SOON, async || {
        let saved = new.save(&blog, epoch, &record(4), &[], 0).await;
        assert!(
            !matches!(saved, Err(StoreError::Stale { .. })),
            "it knows nothing of it"
        );
        saved.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn a_master_that_becomes_a_replica_is_left_for_the_new_one() {
    let watched = Watched::start().await;
    let store = store(&watched.url());
    let blog = service("blog");
    let epoch = store.claim(&blog, "a").await.unwrap().epoch;
    let _: u32 = watched.servers[0].ask(&["WAIT", "2", "5000"]).await;
    let _: () = watched.sentinels[0]
        .ask(&["SENTINEL", "FAILOVER", "mymaster"])
        .await;
    let old = &watched.servers[0];
    eventually(SOON, async || {
        // It closes all connections when it changes.
        let info: redis::RedisResult<String> = old.try_ask(&["INFO", "replication"]).await;
        info.is_ok_and(|info| info.contains("role:slave"))
    })
    .await;
    eventually(SOON, async || {
        store.save(&blog, epoch, &record(1), &[], 0).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server: run tests/run"]
async fn a_node_of_a_cluster_that_hangs_takes_only_its_own_services_along() {
    let cluster = Cluster::start().await;
    let store = store(&cluster.url());
    let lost = service("blog");
    let node = cluster.node_of("blog").await;
    let mut others = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        if cluster.node_of(name).await.port != node.port {
            others.push(service(name));
        }
    }
    assert!(others.len() >= 2);
    let epoch = store.claim(&lost, "a").await.unwrap().epoch;
    for other in &others {
        store.claim(other, "a").await.unwrap();
    }
    node.hold();
    let took = async || {
        let asked = Instant::now();
        store.load(&lost).await.unwrap_err();
        asked.elapsed()
    };
    let first = took().await;
    assert!(first < ONCE, "{first:?}");
    for _ in 0..100 {
        let next = took().await;
        assert!(next < AT_ONCE, "{next:?}");
    }
    for other in &others {
        eventually(Duration::from_secs(2), async || {
            store.load(other).await.is_ok()
        })
        .await;
    }
    node.release();
    eventually(SOON, async || {
        store.save(&lost, epoch, &record(1), &[], 0).await.is_ok()
    })
    .await;
    assert_eq!(store.load(&lost).await.unwrap(), Some(record(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn anteroom_keeps_its_services_in_redis() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(100)).await;
    let config = service_of(&machine, "");
    let (room, admin) = (free_port(), free_port());
    let anteroom = Anteroom::start_on(dir.path(), &url(&server), &config, room, admin).await;
    anteroom.phase("blog", "asleep", SOON).await;
    press(&client(), &anteroom).await;
    anteroom.phase("blog", "awake", SOON).await;
    let state = async || {
        server
            .ask::<String>(&["GET", "anteroom:{blog}:state"])
            .await
    };
    assert!(
        state().await.starts_with("{\"epoch\":1,"),
        "{}",
        state().await
    );
    let ledger: u32 = server.ask(&["XLEN", "anteroom:{blog}:ledger"]).await;
    assert!(ledger >= 1);
    let secret: String = server.ask(&["GET", "anteroom:secret"]).await;
    let mut anteroom = anteroom;
    anteroom.kill().await;
    let anteroom = anteroom.again().await;
    anteroom.phase("blog", "awake", SOON).await;
    // The lease of the one that was killed ends first.
    eventually(SOON, async || state().await.starts_with("{\"epoch\":2,")).await;
    anteroom.phase("blog", "awake", SOON).await;
    let kept: String = server.ask(&["GET", "anteroom:secret"]).await;
    assert_eq!(kept, secret);
    assert_eq!(machine.starts(), 1);
}
