//! What people write into Redis with `redis-cli`, and what every room makes of it within a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anteroom::store::Store;
use anteroom::store::surface::{BANS_MAX, Bans};

use crate::lifecycle::{client, nonce_of, post, press, service};
use crate::support::anteroom::Anteroom;
use crate::support::machine::Machine;
use crate::support::ports::free_port;
use crate::support::redis::{Cluster, Server, Watched, settings, store};
use crate::support::wait::eventually;

/// What is promised is a second; the rest is for a busy machine.
const A_SECOND: Duration = Duration::from_secs(3);

const SOON: Duration = Duration::from_secs(20);

fn url(server: &Server) -> String {
    format!("redis://{}", server.at())
}

/// A room on this store, with one service that sleeps.
async fn room(dir: &std::path::Path, url: &str, machine: &Machine) -> Anteroom {
    let config = service(machine, "");
    let room = Anteroom::start_on(dir, url, &config, free_port(), free_port()).await;
    room.phase("blog", "asleep", SOON).await;
    room
}

async fn text(room: &Anteroom, path: &str) -> (u16, String) {
    let answer = client()
        .get(format!("http://{}{path}", room.admin))
        .send()
        .await;
    let answer = answer.expect("the admin listener answers");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a text"))
}

async fn metric(room: &Anteroom, name: &str) -> Option<u64> {
    let (_, text) = text(room, "/metrics").await;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

async fn bans(room: &Anteroom, count: u64) {
    eventually(A_SECOND, async || {
        metric(room, "anteroom_bans").await == Some(count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_ban_by_hand_holds_on_every_room_within_a_second_and_ends_with_its_key() {
    let server = Server::start().await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let machine = Machine::new(Duration::from_millis(50)).await;
    let first = room(one.path(), &url(&server), &machine).await;
    let second =
        Anteroom::start_on(other.path(), &url(&server), "", free_port(), free_port()).await;
    for ban in ["127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.1"] {
        let key = format!("anteroom:ban:{ban}");
        let _: () = server.ask(&["SET", &key, "a scanner", "EX", "60"]).await;
        bans(&first, 1).await;
        bans(&second, 1).await;
        assert_eq!(press(&client(), &first).await, 403, "{ban}");
        let _: () = server.ask(&["PEXPIRE", &key, "1"]).await;
        bans(&first, 0).await;
        bans(&second, 0).await;
    }
    assert_eq!(machine.starts(), 0);
    assert_eq!(press(&client(), &first).await, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn the_bans_hold_while_redis_is_away() {
    let mut server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let room = room(dir.path(), &url(&server), &machine).await;
    let _: () = server.ask(&["SET", "anteroom:ban:127.0.0.0/8", ""]).await;
    bans(&room, 1).await;
    assert_eq!(metric(&room, "anteroom_store_up").await, Some(1));
    assert_eq!(text(&room, "/readyz").await, (200, "ready\n".into()));
    server.kill();
    eventually(A_SECOND, async || {
        metric(&room, "anteroom_store_up").await == Some(0)
    })
    .await;
    let (status, body) = text(&room, "/readyz").await;
    assert_eq!(status, 200);
    assert!(
        body.contains("degraded") && !body.contains("127.0.0.1"),
        "{body}"
    );
    assert_eq!(press(&client(), &room).await, 403);
    // It comes back with nothing, and so does the ban.
    server.again().await;
    eventually(SOON, async || {
        metric(&room, "anteroom_bans").await == Some(0)
    })
    .await;
    eventually(A_SECOND, async || {
        metric(&room, "anteroom_store_up").await == Some(1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_bad_ban_changes_nothing_and_is_told_until_it_is_gone() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let room = room(dir.path(), &url(&server), &machine).await;
    let _: () = server.ask(&["SET", "anteroom:ban:127.0.0.0/8", ""]).await;
    let _: () = server.ask(&["SET", "anteroom:ban:hello", ""]).await;
    let _: () = server
        .ask(&["SET", "anteroom:ban:198.51.100.9/33", ""])
        .await;
    let told = async || {
        let told: BTreeMap<String, String> = server.ask(&["HGETALL", "anteroom:refused"]).await;
        told
    };
    eventually(A_SECOND, async || told().await.len() == 2).await;
    for key in ["anteroom:ban:hello", "anteroom:ban:198.51.100.9/33"] {
        let why = &told().await[key];
        assert!(why.contains("write it like"), "{why}");
    }
    let left: i64 = server.ask(&["PTTL", "anteroom:refused"]).await;
    assert!((1..=15_000).contains(&left), "{left}");
    assert_eq!(metric(&room, "anteroom_bans").await, Some(1));
    assert_eq!(metric(&room, "anteroom_refused_values").await, Some(2));
    // It stands for longer than the hash would live by itself.
    let begun = Instant::now();
    eventually(SOON, async || {
        assert_eq!(told().await.len(), 2);
        begun.elapsed() > Duration::from_secs(16)
    })
    .await;
    let log = room.whole_log();
    assert_eq!(log.matches("ban:hello").count(), 1, "{log}");
    assert!(!log.contains("198.51.100.9"), "{log}");
    let _: () = server.ask(&["DEL", "anteroom:ban:hello"]).await;
    eventually(A_SECOND, async || told().await.len() == 1).await;
    let _: () = server.ask(&["DEL", "anteroom:ban:198.51.100.9/33"]).await;
    eventually(A_SECOND, async || told().await.is_empty()).await;
}

/// Writes keys that are no bans, and bans, on the server itself; so many at a time that a busy one answers.
async fn fill(server: &Server, prefix: &str, others: u32, bans: u32) {
    const SOME: u32 = 5_000;
    let script = "for n = ARGV[2], ARGV[3] do redis.call('SET', ARGV[1] .. ':x:' .. n, '') end \
                  for n = ARGV[4], ARGV[5] do redis.call('SET', ARGV[1] .. ':ban:10.' .. math.floor(n / 65536) .. '.' .. \
                  math.floor(n / 256) % 256 .. '.' .. n % 256, '') end";
    for from in (1..=others.max(bans)).step_by(SOME as usize) {
        let to = from + SOME - 1;
        let ends = [from, to.min(others), from, to.min(bans)].map(|it| it.to_string());
        let [a, b, c, d] = &ends;
        let _: () = server.ask(&["EVAL", script, "0", prefix, a, b, c, d]).await;
    }
}

async fn read(store: &dyn Store) -> Bans {
    store.surface().unwrap().bans().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn all_bans_are_found_among_many_keys_and_no_more_than_the_bound() {
    let server = Server::start().await;
    let settings = settings(&url(&server));
    let store = anteroom::store::redis::RedisStore::open(settings.clone()).unwrap();
    fill(&server, &settings.prefix, 100_000, 1_000).await;
    let begun = Instant::now();
    let found = read(&store).await;
    eprintln!("1,000 bans among 101,000 keys in {:?}", begun.elapsed());
    assert_eq!(
        (found.names.len(), found.more, found.partly),
        (1_000, false, false)
    );
    fill(&server, &settings.prefix, 0, BANS_MAX as u32 + 1).await;
    let begun = Instant::now();
    let found = read(&store).await;
    eprintln!(
        "{BANS_MAX} bans among 200,000 keys in {:?}",
        begun.elapsed()
    );
    assert_eq!((found.names.len(), found.more), (BANS_MAX, true));
    let info: String = server.ask(&["INFO", "commandstats"]).await;
    assert!(!info.contains("cmdstat_keys"), "{info}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn the_master_behind_sentinels_is_asked_for_bans() {
    let watched = Watched::start().await;
    let settings = settings(&watched.url());
    let store = anteroom::store::redis::RedisStore::open(settings.clone()).unwrap();
    let key = format!("{}:ban:203.0.113.7", settings.prefix);
    let _: () = watched.servers[0].ask(&["SET", &key, ""]).await;
    assert_eq!(read(&store).await.names, ["203.0.113.7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn every_master_of_a_cluster_is_asked_for_bans_and_one_that_hangs_is_told() {
    let cluster = Cluster::start().await;
    let settings = settings(&cluster.url());
    let store = anteroom::store::redis::RedisStore::open(settings.clone()).unwrap();
    let mut written = Vec::new();
    for number in 0..60 {
        let name = format!("203.0.113.{number}");
        let key = format!("{}:ban:{name}", settings.prefix);
        let node = cluster.node_of(&key).await;
        let _: () = node.ask(&["SET", &key, ""]).await;
        written.push((node.port, name));
    }
    let found = read(&store).await;
    assert_eq!((found.names.len(), found.partly), (60, false));
    let held = cluster.node_of("blog").await;
    held.hold();
    let mut there: Vec<_> = written
        .iter()
        .filter(|(port, _)| *port != held.port)
        .collect();
    let mut found = read(&store).await;
    held.release();
    found.names.sort();
    there.sort_by(|one, other| one.1.cmp(&other.1));
    let there: Vec<_> = there.iter().map(|(_, name)| name.as_str()).collect();
    assert!(found.partly && there.len() < 60);
    assert_eq!(found.names, there);
    eventually(SOON, async || !read(&store).await.partly).await;
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_store_that_is_away_gives_no_bans() {
    let gone = store(&format!("redis://127.0.0.1:{}", free_port()));
    assert!(gone.surface().unwrap().bans().await.is_err());
}

/// A room that was started while its Redis was away.
async fn alone(dir: &std::path::Path, url: &str, config: &str) -> Anteroom {
    Anteroom::start_on(dir, url, config, free_port(), free_port()).await
}

async fn page(room: &Anteroom) -> (u16, String) {
    let page = client()
        .get(format!("http://{}/", room.room))
        .header("host", "blog.example.com");
    let page = page
        .header("accept", "text/html")
        .send()
        .await
        .expect("the room answers");
    let status = page.status().as_u16();
    (status, page.text().await.expect("a page"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn rooms_that_start_while_redis_is_away_serve_pages_and_agree_on_a_secret_later() {
    let mut server = Server::start().await;
    server.kill();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let machine = Machine::new(Duration::from_millis(50)).await;
    let config = service(&machine, "");
    let begun = Instant::now();
    let first = alone(one.path(), &url(&server), &config).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    first.log("starting without the store", SOON).await;
    let (status, before) = page(&first).await;
    assert_eq!(status, 503);
    let (status, ready) = text(&first, "/readyz").await;
    assert_eq!(status, 200, "{ready}");
    let second = alone(other.path(), &url(&server), "").await;
    server.again().await;
    first.phase("blog", "asleep", SOON).await;
    eventually(SOON, async || {
        let secret: Option<String> = server.ask(&["GET", "anteroom:secret"]).await;
        secret.is_some()
    })
    .await;
    // One of the two was first; the other takes its secret over.
    eventually(SOON, async || {
        [&first, &second]
            .iter()
            .any(|room| room.whole_log().contains("the store's secret is taken up"))
    })
    .await;
    // What was shown before counts still.
    let nonce = nonce_of(&before).expect("a nonce");
    assert_eq!(post(&client(), &first, nonce).await, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn the_secret_outlives_a_wiped_server_and_another_ones_is_taken_up() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(Duration::from_millis(50)).await;
    let room = room(dir.path(), &url(&server), &machine).await;
    let secret = async || {
        server
            .ask::<Option<String>>(&["GET", "anteroom:secret"])
            .await
    };
    let before = secret().await;
    assert!(before.is_some());
    let _: () = server.ask(&["FLUSHALL"]).await;
    eventually(A_SECOND, async || secret().await == before).await;
    let (_, shown) = page(&room).await;
    let other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let _: () = server.ask(&["SET", "anteroom:secret", other]).await;
    room.log("the store's secret is taken up", A_SECOND).await;
    let nonce = nonce_of(&shown).expect("a nonce");
    assert_eq!(post(&client(), &room, nonce).await, 202);
    let _: () = server.ask(&["SET", "anteroom:secret", "hello"]).await;
    eventually(A_SECOND, async || {
        let told: BTreeMap<String, String> = server.ask(&["HGETALL", "anteroom:refused"]).await;
        told.get("anteroom:secret")
            .is_some_and(|why| why.contains("32 bytes"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn whoever_opens_a_trap_in_one_room_is_banned_in_all_and_what_an_admin_wrote_stays() {
    let server = Server::start().await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let machine = Machine::new(Duration::from_millis(50)).await;
    let first = room(one.path(), &url(&server), &machine).await;
    let second =
        Anteroom::start_on(other.path(), &url(&server), "", free_port(), free_port()).await;
    let by_hand = "anteroom:ban:198.51.100.0/24";
    let _: () = server.ask(&["SET", by_hand, "a scanner"]).await;
    bans(&first, 1).await;
    for address in ["203.0.113.9", "198.51.100.9"] {
        let url = format!("http://{}/.env", first.room);
        let scan = client().get(url).header("host", crate::lifecycle::HOST);
        let answer = scan.header("x-forwarded-for", address).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 503);
    }
    bans(&second, 2).await;
    let by_trap = "anteroom:ban:203.0.113.0/24";
    let (word, left): (String, i64) = (
        server.ask(&["GET", by_trap]).await,
        server.ask(&["PTTL", by_trap]).await,
    );
    assert_eq!(word, "trap");
    assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");
    let (word, left): (String, i64) = (
        server.ask(&["GET", by_hand]).await,
        server.ask(&["PTTL", by_hand]).await,
    );
    assert_eq!((&*word, left), ("a scanner", -1));
    assert_eq!(machine.starts(), 0);
}
