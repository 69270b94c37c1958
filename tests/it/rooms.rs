//! Three real rooms on one real Redis, with a crowd, with a killed leader, and with a Redis that hangs or forgets: what
//! visitors and admins see of it, measured.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::lifecycle::{client, let_in, press};
use crate::lifecycle_rooms::House;
use crate::support::anteroom::Anteroom;
use crate::support::machine::APP;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);

/// Nobody of the crowd waits longer.
const PATIENCE: Duration = Duration::from_secs(60);

const VISITORS: usize = 3_000;

const HOST: &str = "blog.example.com";

/// A visitor who changes the room when the own one is gone, as a balancer would see to.
struct Visitor {
    rooms: Arc<Vec<SocketAddr>>,
    at: usize,
}

/// An answer's head and body, one text.
type Text = String;

impl Visitor {
    async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.rooms[self.at % self.rooms.len()]).await
    }

    async fn ask(&self, request: &str) -> io::Result<Text> {
        let mut stream = self.connect().await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await?;
        match text.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(String::from_utf8_lossy(&text).into_owned()),
        }
    }

    async fn get(&self, path: &str) -> io::Result<Text> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\naccept: text/html\r\n");
        self.ask(&format!("{head}connection: close\r\n\r\n")).await
    }

    /// Opens the page and posts its wake.
    async fn wake(&self) -> io::Result<()> {
        let page = self.get("/").await?;
        let Some(nonce) = crate::lifecycle::nonce_of(&page) else {
            // The app is there already.
            return Ok(());
        };
        let body = format!("nonce={nonce}");
        let length = body.len();
        let taken = self
            .ask(&format!(
                "POST /__anteroom/wake HTTP/1.1\r\nhost: {HOST}\r\nx-anteroom-page: 1\r\naccept: application/json\r\n\
                 content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            ))
            .await?;
        assert!(taken.starts_with("HTTP/1.1 202"), "{taken}");
        Ok(())
    }

    /// Waits at an open stream of events until it tells that the service is awake.
    async fn listen(&self) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let request = format!("GET /__anteroom/events HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut heard = Vec::new();
        while stream.read_buf(&mut heard).await? > 0 {
            if String::from_utf8_lossy(&heard).contains(r#""phase":"awake""#) {
                return Ok(());
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks every second, as a page without events does.
    async fn poll(&self) -> io::Result<()> {
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            let status = self.get("/__anteroom/status").await?;
            if status.contains(r#""phase":"awake""#) {
                return Ok(());
            }
        }
    }

    /// From the first page to the app; says whether the room was changed.
    async fn visit(
        mut self,
        listens: bool,
        turns: Arc<Semaphore>,
        waits: Arc<AtomicUsize>,
    ) -> bool {
        let first = self.at;
        let mut turn = turns.acquire_owned().await.ok();
        let (mut woke, mut waited) = (false, false);
        let mut tick = interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            let done = match (woke, waited, listens) {
                (false, ..) => self.wake().await.map(|()| {
                    woke = true;
                    turn = None;
                    waits.fetch_add(1, Relaxed);
                }),
                (true, false, true) => self.listen().await.map(|()| waited = true),
                (true, false, false) => self.poll().await.map(|()| waited = true),
                (true, true, _) => match self.get("/").await {
                    Ok(app) if app.contains(APP) => return self.at != first,
                    Ok(_) => {
                        // A page again: the room does not know of the app any more.
                        waited = false;
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if done.is_err() {
                self.at += 1;
            }
        }
    }
}

async fn epoch(house: &House) -> u64 {
    let lease = house.key("GET", "lease").await;
    let lease: Value = serde_json::from_str(&lease).unwrap_or_default();
    lease["epoch"].as_u64().unwrap_or_default()
}

fn addresses(house: &House) -> Arc<Vec<SocketAddr>> {
    Arc::new(house.rooms.iter().map(|room| room.room).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn three_thousand_visitors_get_the_app_by_one_start_though_the_leader_is_killed() {
    let long = |service: String| service.replace("\"2s\"", "\"2m\"");
    let mut house = House::with(3, Duration::from_secs(4), "", long).await;
    let (rooms, waits) = (addresses(&house), Arc::<AtomicUsize>::default());
    // So that the machine has time for more than the crowd.
    let turns = Arc::new(Semaphore::new(32));
    let mut crowd = JoinSet::new();
    for number in 0..VISITORS {
        let rooms = Arc::clone(&rooms);
        let visitor = Visitor { rooms, at: number };
        let visit = visitor.visit(number % 2 == 0, Arc::clone(&turns), Arc::clone(&waits));
        crowd.spawn(timeout(PATIENCE, visit));
    }
    // Amid the wake, with most of them at their pages.
    eventually(SOON, async || house.machine.starts() > 0).await;
    eventually(SOON, async || waits.load(Relaxed) > VISITORS / 10).await;
    let leader = house.leader().await;
    let before = epoch(&house).await;
    let killed = Instant::now();
    house.rooms[leader].kill().await;
    let gone = house.rooms.remove(leader);
    eventually(SOON, async || epoch(&house).await > before).await;
    let taken_over = killed.elapsed();
    let mut changed = 0;
    while let Some(visit) = crowd.join_next().await {
        let moved = visit.unwrap().expect("everybody gets the app in time");
        changed += usize::from(moved);
    }
    eprintln!(
        "taken over after {taken_over:?}; all have the app after {:?}, {changed} of them by another room",
        killed.elapsed()
    );
    assert!(taken_over < Duration::from_secs(5), "{taken_over:?}");
    assert!(changed >= VISITORS / 10, "{changed} met the dead room");
    assert_eq!(house.machine.starts(), 1);
    assert_eq!(house.machine.stops(), 0);
    drop(gone);
}

/// When an open page hears of each phase, up to the last; one that is over at once may be passed over. A machine that is
/// too busy for it makes the stream end first. `open` waits until all pages are.
async fn hears(room: SocketAddr, phases: &[&str], open: &Barrier) -> BTreeMap<String, Instant> {
    let mut stream = TcpStream::connect(room).await.unwrap();
    let request = format!("GET /__anteroom/events HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut heard, mut at) = (Vec::new(), BTreeMap::new());
    // The first event tells how it is now.
    while !String::from_utf8_lossy(&heard).contains("data:") {
        let read = timeout(SOON, stream.read_buf(&mut heard)).await;
        read.expect("it is told").unwrap();
    }
    open.wait().await;
    let last = phases.last().copied().unwrap_or_default();
    while !at.contains_key(last) && stream.read_buf(&mut heard).await.unwrap() > 0 {
        let text = String::from_utf8_lossy(&heard);
        for phase in phases {
            if text.contains(&format!(r#""phase":"{phase}""#)) {
                at.entry((*phase).to_owned()).or_insert_with(Instant::now);
            }
        }
    }
    at
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server: run tests/run"]
async fn the_pages_of_all_rooms_hear_of_a_change_when_the_leaders_own_does() {
    let house = House::of(3, Duration::from_millis(300), "").await;
    let leader = house.leader().await;
    let mut best: BTreeMap<String, Duration> = BTreeMap::new();
    // A busy machine may disturb one round, and not one after the other.
    for _ in 0..3 {
        let (wake, sleep) = (["waking", "awake"], ["diverting", "stopping", "asleep"]);
        for (command, phases) in [("wake", &wake[..]), ("sleep", &sleep[..])] {
            let open = Arc::new(Barrier::new(4));
            let pages: Vec<_> = (0..3)
                .map(|number| {
                    let (room, phases) = (house.rooms[number].room, phases.to_vec());
                    let open = Arc::clone(&open);
                    tokio::spawn(async move { hears(room, &phases, &open).await })
                })
                .collect();
            open.wait().await;
            let key = "anteroom:{blog}:command";
            let _: i64 = house.server.ask(&["RPUSH", key, command]).await;
            let mut heard = Vec::new();
            for page in pages {
                heard.push(page.await.unwrap());
            }
            for phase in phases {
                let heard: Option<Vec<_>> = heard.iter().map(|at| at.get(*phase)).collect();
                let Some(heard) = heard else {
                    continue;
                };
                let own = *heard[leader];
                let late = heard.iter().map(|at| at.saturating_duration_since(own));
                let late = late.max().unwrap();
                let best = best.entry((*phase).to_owned()).or_insert(late);
                *best = late.min(*best);
            }
        }
        let all = ["waking", "awake", "asleep"].map(|phase| best.get(phase));
        if all
            .iter()
            .all(|late| late.is_some_and(|late| *late < Duration::from_millis(200)))
        {
            break;
        }
    }
    eprintln!("after the leader's own page, at most: {best:?}");
    assert!(best.contains_key("waking") && best.contains_key("awake"));
    for (phase, late) in best {
        assert!(late < Duration::from_millis(200), "{phase}: {late:?}");
    }
}

/// The status hash, once it says this of the phase.
async fn told(house: &House, phase: &str) -> BTreeMap<String, String> {
    let key = "anteroom:{blog}:status";
    let told = async || -> BTreeMap<String, String> { house.server.ask(&["HGETALL", key]).await };
    eventually(SOON, async || told().await["phase"] == phase).await;
    told().await
}

/// Milliseconds since 1970.
fn moment(text: &str) -> i64 {
    let at: jiff::Timestamp = text.parse().unwrap_or_else(|_| panic!("{text} is no time"));
    at.as_millisecond()
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn the_status_hash_tells_what_every_room_shows() {
    let house = House::of(3, Duration::from_millis(700), "").await;
    let began = jiff::Timestamp::now().as_millisecond();
    let fields = |told: &BTreeMap<String, String>| told.keys().cloned().collect::<Vec<_>>();
    let asleep = told(&house, "asleep").await;
    assert_eq!(
        fields(&asleep),
        [
            "active",
            "instances",
            "last_activity",
            "phase",
            "reason",
            "since",
            "triggered_count"
        ]
    );
    assert_eq!((&*asleep["active"], &*asleep["instances"]), ("0", "0"));
    assert_eq!(asleep["triggered_count"], "0");
    let leader = house.leader().await;
    assert_eq!(press(&client(), &house.rooms[(leader + 1) % 3]).await, 202);
    let waking = told(&house, "waking").await;
    assert_eq!(waking.get("upstream"), None);
    assert_eq!(waking["triggered_count"], "1");
    let_in(&client(), &house.rooms[(leader + 2) % 3]).await;
    let awake = told(&house, "awake").await;
    assert_eq!(
        fields(&awake),
        [
            "active",
            "instances",
            "last_activity",
            "phase",
            "reason",
            "run_by",
            "since",
            "triggered_count",
            "upstream"
        ]
    );
    assert_eq!(awake["upstream"], house.machine.address().to_string());
    assert_eq!(awake["run_by"], "127.0.0.0/24");
    assert_eq!(
        (&*awake["instances"], &*awake["triggered_count"]),
        ("1", "1")
    );
    let now = jiff::Timestamp::now().as_millisecond();
    for field in ["since", "last_activity"] {
        assert!((began..=now).contains(&moment(&awake[field])), "{awake:?}");
    }
    // What the rooms show is the same, whichever is asked.
    for room in &house.rooms {
        let view = room.view("blog").await;
        assert_eq!(view["phase"], "awake");
        assert_eq!(view["triggered_count"], 1);
        assert_eq!(view["run_by"]["by"], "page");
    }
    let again = told(&house, "asleep").await;
    assert_eq!((&*again["active"], &*again["instances"]), ("0", "0"));
    assert_eq!(again.get("upstream"), None);
    assert_eq!(again["triggered_count"], "1");
}

/// A request whose body takes its time.
async fn begin_upload(room: &Anteroom) -> TcpStream {
    let mut stream = TcpStream::connect(room.room).await.unwrap();
    let head = format!("POST /upload HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 10\r\n\r\nhello");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_request_through_one_room_keeps_the_machine_that_another_leads_awake() {
    let house = House::of(3, Duration::from_millis(100), "").await;
    let leader = house.leader().await;
    let follower = &house.rooms[(leader + 1) % 3];
    assert_eq!(press(&client(), follower).await, 202);
    let_in(&client(), follower).await;
    let mut upload = begin_upload(follower).await;
    let since = Instant::now();
    eventually(SOON, async || since.elapsed() > Duration::from_secs(5)).await;
    assert_eq!(house.machine.stops(), 0, "more than twice the idle timeout");
    assert_eq!(house.status("active").await.as_deref(), Some("1"));
    upload.write_all(b"world").await.unwrap();
    let mut answer = vec![0; 4_096];
    let read = timeout(SOON, upload.read(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(
        answer.contains("200") && answer.contains("10 bytes"),
        "{answer}"
    );
    drop(upload);
    house.all("asleep").await;
    assert_eq!((house.machine.starts(), house.machine.stops()), (1, 1));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn while_redis_hangs_pages_go_on_any_room_wakes_and_nothing_is_stopped() {
    let house = House::of(3, Duration::from_millis(300), "").await;
    let client = client();
    house.server.hold();
    // Each by itself: none hears of the others.
    for room in &house.rooms {
        let asked = Instant::now();
        assert_eq!(press(&client, room).await, 202);
        let took = asked.elapsed();
        assert!(
            took < Duration::from_secs(1),
            "a page and a wake took {took:?}"
        );
        let_in(&client, room).await;
    }
    assert_eq!(house.machine.starts(), 1, "the others find it running");
    let since = Instant::now();
    eventually(SOON, async || since.elapsed() > Duration::from_secs(4)).await;
    assert_eq!(house.machine.stops(), 0);
    house.server.release();
    house.all("asleep").await;
    assert_eq!((house.machine.starts(), house.machine.stops()), (1, 1));
}

#[tokio::test]
#[ignore = "needs redis-server: run tests/run"]
async fn a_redis_that_forgets_everything_amid_a_wake_and_amid_a_visit_loses_no_machine() {
    let house = House::of(3, Duration::from_secs(2), "").await;
    let client = client();
    let forget = async || {
        let before = house.leader().await;
        let _: () = house.server.ask(&["FLUSHALL"]).await;
        eventually(SOON, async || {
            house.key("GET", "lease").await.contains("epoch")
        })
        .await;
        before
    };
    assert_eq!(press(&client, &house.rooms[0]).await, 202);
    house.all("waking").await;
    eventually(SOON, async || house.machine.runs()).await;
    forget().await;
    for room in &house.rooms {
        let_in(&client, room).await;
    }
    assert_eq!(house.machine.starts(), 1);
    // Somebody is inside a room that did not lead.
    let leader = house.leader().await;
    let upload = begin_upload(&house.rooms[(leader + 1) % 3]).await;
    eventually(SOON, async || {
        house.status("active").await.as_deref() == Some("1")
    })
    .await;
    forget().await;
    let since = Instant::now();
    eventually(SOON, async || since.elapsed() > Duration::from_secs(5)).await;
    assert_eq!(house.machine.stops(), 0);
    drop(upload);
    house.all("asleep").await;
    assert_eq!((house.machine.starts(), house.machine.stops()), (1, 1));
    assert!(!house.machine.runs());
}
