//! A storm: three rooms, many visitors at once, and the server that rules on their wakes is killed amid it.
//!
//! Every wake that the store tells is counted here, and so is every one that a room spends by itself while the store is
//! away. The task of each service is played: it hears of a wake, rests again after a while, and so lets the next one in,
//! until the limits are spent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anteroom::driver::admission::{Admission, Wish};
use anteroom::driver::clock::Clock;
use anteroom::driver::handle::{Admitted, Handle, Inbox, door};
use anteroom::driver::names::Clients;
use anteroom::engine::admit::{Applicant, Late, Rate, Rule, Rules, Verdict};
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::privacy::{Forgotten, Kept, Privacy};
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::engine::triggerers::{Asked, Outcome};
use anteroom::engine::view::{Phase, View};
use anteroom::signal::edge::Edge;
use anteroom::store::redis::{RedisStore, Settings};
use anteroom::store::{Answer, Claim, Forgot, LedgerEntry, Store, StoreError};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::support::house::view;
use crate::support::redis::{Cluster, Server, Watched, settings};
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

const ROOMS: usize = 3;
const SERVICES: usize = 6;

/// In each room.
const CALLERS: usize = 8;

/// Addresses from which they come.
const CLIENTS: usize = 24;

/// A service rests when so many have joined its wake.
const JOINED: usize = 60;

const YEAR: Span = Span(366 * 86_400_000);

const PER_CLIENT: u32 = 5;
const PER_SERVICE: u32 = 24;
const OVER_ALL: u32 = 100;

fn rules() -> Rules {
    let rate = |count| Rate::new(count, YEAR).ok();
    Rules {
        per_client: rate(PER_CLIENT),
        per_service: rate(PER_SERVICE),
        over_all: rate(OVER_ALL),
        ..Rules::default()
    }
}

/// A ruling as it was told.
#[derive(Clone, Debug)]
struct Told {
    service: ServiceName,
    client: IpAddr,
    verdict: Verdict,
}

/// The store of one room, which keeps what it told.
struct Witness {
    store: RedisStore,
    told: Arc<Mutex<Vec<Told>>>,
    /// Rulings that did not come.
    failed: Arc<AtomicUsize>,
}

impl Store for Witness {
    fn claim<'a>(&'a self, service: &'a ServiceName, owner: &'a str) -> Answer<'a, Claim> {
        self.store.claim(service, owner)
    }

    fn save<'a>(
        &'a self,
        service: &'a ServiceName,
        epoch: Epoch,
        record: &'a Record,
        entries: &'a [LedgerEntry],
        heard: u64,
    ) -> Answer<'a, ()> {
        self.store.save(service, epoch, record, entries, heard)
    }

    fn admit<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        rules: &'a Rules,
    ) -> Answer<'a, Verdict> {
        Box::pin(async move {
            let ruled = self.store.admit(service, now, applicant, rules).await;
            match &ruled {
                Ok(verdict) => self.told.lock().unwrap().push(Told {
                    service: service.clone(),
                    client: applicant.address,
                    verdict: *verdict,
                }),
                Err(_) => {
                    self.failed.fetch_add(1, Relaxed);
                }
            }
            ruled
        })
    }

    fn note<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        applicant: &'a Applicant,
        outcome: Outcome,
    ) -> Answer<'a, ()> {
        self.store.note(service, now, applicant, outcome)
    }

    fn charge_late<'a>(&'a self, now: Time, late: &'a Late) -> Answer<'a, ()> {
        self.store.charge_late(now, late)
    }

    fn life<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, String> {
        self.store.life(service)
    }

    fn keep(&self, kept: Kept) {
        self.store.keep(kept);
    }

    fn triggerers<'a>(
        &'a self,
        service: &'a ServiceName,
        now: Time,
        limit: usize,
    ) -> Answer<'a, Vec<Asked>> {
        self.store.triggerers(service, now, limit)
    }

    fn forget<'a>(&'a self, forgotten: &'a Forgotten) -> Answer<'a, Forgot> {
        self.store.forget(forgotten)
    }

    fn secret(&self, fresh: [u8; 32]) -> Answer<'_, [u8; 32]> {
        self.store.secret(fresh)
    }

    fn load<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, Option<Record>> {
        self.store.load(service)
    }

    fn ledger<'a>(
        &'a self,
        service: &'a ServiceName,
        limit: usize,
    ) -> Answer<'a, Vec<LedgerEntry>> {
        self.store.ledger(service, limit)
    }
}

/// One room: its door, and a handle for each service.
struct Room {
    admission: Arc<Admission>,
    handles: Vec<Handle>,
}

/// Three rooms, and who plays in them.
struct Storm {
    told: Arc<Mutex<Vec<Told>>>,
    failed: Arc<AtomicUsize>,
    /// Wakes that a room let in by itself, of each service.
    alone: Arc<Mutex<BTreeMap<(usize, ServiceName), u32>>>,
    calm: Arc<AtomicBool>,
    playing: JoinSet<()>,
}

impl Storm {
    fn begin(settings: &Settings) -> Storm {
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let failed: Arc<AtomicUsize> = Arc::default();
        let mut storm = Storm {
            told: Arc::clone(&told),
            failed: Arc::clone(&failed),
            alone: Arc::default(),
            calm: Arc::default(),
            playing: JoinSet::new(),
        };
        let names: Vec<ServiceName> = (0..SERVICES)
            .map(|number| format!("s{number}").parse().unwrap())
            .collect();
        let mut inboxes: Vec<Vec<Inbox>> = names.iter().map(|_| Vec::new()).collect();
        let mut rooms = Vec::new();
        for _ in 0..ROOMS {
            let store: Arc<dyn Store> = Arc::new(Witness {
                store: RedisStore::open(settings.clone()).unwrap(),
                told: Arc::clone(&told),
                failed: Arc::clone(&failed),
            });
            let mut handles = Vec::new();
            for (name, inboxes) in names.iter().zip(&mut inboxes) {
                let first = View {
                    service: name.clone(),
                    ..view(Phase::Asleep)
                };
                let (handle, inbox) = door(first, Edge::new());
                handles.push(handle);
                inboxes.push(inbox);
            }
            let clients = Clients::new([7; 32], Privacy::default());
            let admission = Arc::new(Admission::new(store, clients));
            let settling = settle(Arc::clone(&admission), Arc::clone(&storm.calm));
            storm.playing.spawn(settling);
            rooms.push(Arc::new(Room { admission, handles }));
        }
        for (name, inboxes) in names.into_iter().zip(inboxes) {
            let store = RedisStore::open(settings.clone()).unwrap();
            let alone = Arc::clone(&storm.alone);
            storm.playing.spawn(play(name, store, inboxes, alone));
        }
        for number in 0..ROOMS * CALLERS {
            let room = Arc::clone(&rooms[number % ROOMS]);
            let calm = Arc::clone(&storm.calm);
            storm.playing.spawn(call(room, number, calm));
        }
        storm
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    fn wakes(&self) -> Vec<Told> {
        let wakes = |told: &Told| matches!(told.verdict, Verdict::Wake(_));
        self.told().into_iter().filter(wakes).collect()
    }

    /// Waits until so many wakes were told.
    async fn has_woken(&self, count: usize) {
        eventually(SOON, async || self.wakes().len() >= count).await;
    }

    /// Waits until a ruling did not come.
    async fn is_felt(&self) {
        eventually(SOON, async || self.failed.load(Relaxed) > 0).await;
    }

    /// Waits until the store refuses everybody: all that can be had has been had.
    async fn is_spent(&self) {
        eventually(SOON, async || {
            let told = self.told.lock().unwrap();
            let refused =
                |told: &&Told| matches!(told.verdict, Verdict::Refused { rule, .. } if rule != Rule::PerClient);
            let latest = told.iter().rev().take(600);
            let services: BTreeSet<_> = latest.clone().map(|told| &told.service).collect();
            services.len() == SERVICES && latest.filter(refused).count() == 600
        })
        .await;
    }

    /// Waits until this server has charged all that was let in, by the store or by a room alone, and not much more: at most
    /// what was under way when the server died.
    async fn is_charged(&self, server: &Server, prefix: &str) {
        let key = format!("{prefix}:{{all}}:limit:wakes");
        let interval = Rate::new(OVER_ALL, YEAR).unwrap().interval().0;
        let charged = async || {
            let whole_at: u64 = server.ask(&["GET", &key]).await;
            let now = Clock::system().now().0;
            usize::try_from(whole_at.saturating_sub(now).div_ceil(interval)).unwrap()
        };
        let let_in =
            || self.wakes().len() + self.alone.lock().unwrap().values().sum::<u32>() as usize;
        let mut found = (0, 0);
        let all = async {
            while found.0 < found.1 || found.1 == 0 {
                tokio::task::yield_now().await;
                found = (charged().await, let_in());
            }
        };
        let all = timeout(SOON, all).await;
        assert!(all.is_ok(), "charged and let in: {found:?}");
        assert!(found.0 <= found.1 + ROOMS * CALLERS, "{found:?}");
        self.calm.store(true, Relaxed);
    }

    /// What every storm must leave: nobody was let in beyond a limit, but within what a room may spend alone.
    fn assert_within_limits(&self) {
        let wakes = self.wakes();
        let mut numbers = BTreeSet::new();
        let (mut by_service, mut by_client) = (BTreeMap::new(), BTreeMap::new());
        for told in &wakes {
            let Verdict::Wake(number) = told.verdict else {
                continue;
            };
            let service = told.service.clone();
            let new = numbers.insert((service.clone(), number));
            assert!(new, "{service}: wake {number} was told twice");
            *by_service.entry(service.clone()).or_insert(0) += 1;
            *by_client.entry((service, told.client)).or_insert(0) += 1;
        }
        assert!(wakes.len() <= OVER_ALL as usize, "{} wakes", wakes.len());
        for (service, count) in &by_service {
            assert!(*count <= PER_SERVICE, "{service}: {count} wakes");
        }
        for (client, count) in &by_client {
            assert!(*count <= PER_CLIENT, "{client:?}: {count} wakes");
        }
        let alone = self.alone.lock().unwrap();
        for room in 0..ROOMS {
            let of_room = alone.iter().filter(|((of, _), _)| *of == room);
            let mut sum = 0;
            for ((_, service), count) in of_room {
                assert!(
                    *count <= PER_SERVICE / 4,
                    "room {room}, {service}: {count} alone"
                );
                sum += count;
            }
            assert!(sum <= OVER_ALL / 4, "room {room}: {sum} alone");
        }
        let alone: u32 = alone.values().sum();
        eprintln!(
            "{} rulings, {} did not come; {} wakes told, {alone} by rooms alone",
            self.told.lock().unwrap().len(),
            self.failed.load(Relaxed),
            wakes.len(),
        );
    }
}

/// Has what was let in without the store charged when it is back, as a room does.
async fn settle(admission: Arc<Admission>, calm: Arc<AtomicBool>) {
    let clock = Clock::system();
    let mut tick = interval(Duration::from_millis(300));
    while !calm.load(Relaxed) {
        tick.tick().await;
        admission.settle(clock.now()).await;
    }
}

/// Asks again and again, for one service after the other, each time as another client.
async fn call(room: Arc<Room>, number: usize, calm: Arc<AtomicBool>) {
    let (clock, rules) = (Clock::system(), rules());
    let mut tick = interval(Duration::from_millis(4));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut asked = number;
    while !calm.load(Relaxed) {
        tick.tick().await;
        asked += 1;
        let handle = &room.handles[asked % SERVICES];
        let client = (asked * 7 + number) % CLIENTS;
        let address = IpAddr::from([203, 0, 113, u8::try_from(client).unwrap()]);
        // The view under which this was asked, for whoever plays the task.
        let version = handle.view().version.to_string();
        let wish = Wish {
            address,
            nonce: None,
            by: TriggerBy::Page,
            path: &version,
            agent: "storm/1",
        };
        // A refusal is as good an answer as any.
        let asked = room.admission.ask(handle, &rules, clock.now(), wish);
        let _ = asked.await;
    }
}

/// Plays the task of a service for all rooms: hears of wakes, and rests when enough have joined one. After each wake that
/// a room let in by itself it shows a new view there, so each version of a view stands for one such wake.
async fn play(
    service: ServiceName,
    store: RedisStore,
    mut inboxes: Vec<Inbox>,
    alone: Arc<Mutex<BTreeMap<(usize, ServiceName), u32>>>,
) {
    let asleep = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    let (mut epoch, mut heard, mut joined) = (None, 0, 0);
    loop {
        let [one, two, three] = &mut inboxes[..] else {
            panic!("there are three rooms");
        };
        let (room, came) = tokio::select! {
            came = one.triggers.recv() => (0, came),
            came = two.triggers.recv() => (1, came),
            came = three.triggers.recv() => (2, came),
        };
        let Some(Admitted { trigger, wake }) = came else {
            return;
        };
        if wake == 0 {
            let shown = &inboxes[room].view;
            let version = shown.borrow().version;
            if trigger.path == version.to_string() {
                let mut alone = alone.lock().unwrap();
                *alone.entry((room, service.clone())).or_insert(0) += 1;
                shown.send_modify(|view| Arc::make_mut(view).version += 1);
            }
            continue;
        }
        heard = heard.max(wake);
        joined += 1;
        if joined < JOINED {
            continue;
        }
        if epoch.is_none() {
            epoch = store
                .claim(&service, "player")
                .await
                .ok()
                .map(|it| it.epoch);
        }
        let Some(under) = epoch else { continue };
        match store.save(&service, under, &asleep, &[], heard).await {
            Ok(()) => joined = 0,
            Err(StoreError::Stale { .. }) => epoch = None,
            Err(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: run tests/run"]
async fn when_a_master_dies_in_the_storm_the_next_one_goes_on_counting_where_it_was() {
    let mut watched = Watched::start().await;
    let settings = settings(&watched.url());
    let prefix = &settings.prefix;
    let storm = Storm::begin(&settings);
    storm.has_woken(OVER_ALL as usize / 3).await;
    watched.servers[0].kill();
    storm.is_felt().await;
    storm.is_spent().await;
    let master = new_master(&watched).await;
    storm.is_charged(master, prefix).await;
    storm.assert_within_limits();
    let mut numbers = 0;
    for number in 0..SERVICES {
        let key = format!("{prefix}:{{s{number}}}:wake");
        numbers += master.ask::<u32>(&["HGET", &key, "last"]).await;
    }
    // What was told, and at most what was under way.
    let told = u32::try_from(storm.wakes().len()).unwrap();
    assert!((told..=OVER_ALL).contains(&numbers), "{numbers} of {told}");
}

async fn new_master(watched: &Watched) -> &Server {
    for server in &watched.servers[1..] {
        let role: redis::RedisResult<Vec<redis::Value>> = server.try_ask(&["ROLE"]).await;
        if role.is_ok_and(|role| role[0] == redis::Value::BulkString(b"master".to_vec())) {
            return server;
        }
    }
    panic!("there is no master");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: run tests/run"]
async fn when_a_node_of_a_cluster_dies_in_the_storm_and_comes_again_no_wake_is_had_twice() {
    // What a server has answered is in its file: that is what makes it remember.
    let mut cluster = Cluster::with("appendonly yes\n").await;
    let settings = settings(&cluster.url());
    let storm = Storm::begin(&settings);
    storm.has_woken(OVER_ALL as usize / 3).await;
    let port = cluster.node_of("s0").await.port;
    let mut nodes = cluster.nodes.iter_mut();
    let node = nodes.find(|node| node.port == port).unwrap();
    node.kill();
    storm.is_felt().await;
    node.again().await;
    storm.is_spent().await;
    let server = cluster.node_of("all").await;
    storm.is_charged(server, &settings.prefix).await;
    storm.assert_within_limits();
}
