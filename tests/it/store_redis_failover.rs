//! Real tasks of one service in three rooms, a crowd at their doors, and a master that dies as the machine is started:
//! the provider hears of one start.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use anteroom::driver::admission::{Admission, Wish};
use anteroom::driver::clock::Clock;
use anteroom::driver::handle::Handle;
use anteroom::driver::names::Clients;
use anteroom::driver::probe::{self, ProbeSettings, Prober};
use anteroom::driver::task::{self, Running, Setup};
use anteroom::driver::way::RoomOnly;
use anteroom::engine::admit::Rules;
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::id::{InstanceId, Token};
use anteroom::engine::machine::{Machine, MachineState};
use anteroom::engine::policy::Policy;
use anteroom::engine::privacy::Privacy;
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::provider::{Answer, Provider};
use anteroom::store::Store;
use anteroom::store::redis::{RedisStore, Settings};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::support::app::{App, say};
use crate::support::redis::{Cluster, Watched, settings};
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

const ROOMS: usize = 3;

/// In each room.
const CALLERS: usize = 8;

/// One machine for all rooms. It is on its way up until the test says that it is there.
struct Counted {
    app: SocketAddr,
    starts: AtomicU32,
    stops: AtomicU32,
    up: AtomicBool,
}

impl Counted {
    fn machine(&self) -> Machine {
        let state = match (self.starts.load(SeqCst), self.up.load(SeqCst)) {
            (0, _) => MachineState::Stopped,
            (_, false) => MachineState::Starting,
            (_, true) => MachineState::Running,
        };
        Machine {
            state,
            address: Some(self.app),
        }
    }
}

impl Provider for Counted {
    fn kind(&self) -> &'static str {
        "counted"
    }

    fn inspect(&self, _instance: InstanceId) -> Answer<'_> {
        Box::pin(async { Ok(self.machine()) })
    }

    fn start(&self, _instance: InstanceId, _token: Token) -> Answer<'_> {
        self.starts.fetch_add(1, SeqCst);
        Box::pin(async { Ok(self.machine()) })
    }

    fn stop(&self, _instance: InstanceId, _token: Token) -> Answer<'_> {
        self.stops.fetch_add(1, SeqCst);
        Box::pin(async { Ok(self.machine()) })
    }
}

/// Three rooms and their crowd.
struct Storm {
    machine: Arc<Counted>,
    rooms: Vec<Running>,
    shutdown: CancellationToken,
    crowd: JoinSet<()>,
    _app: App,
}

impl Storm {
    /// Begins when every room shows that the service sleeps.
    async fn begin(settings: &Settings) -> Storm {
        let app = App::start(|_| async { say("app") }).await;
        let machine = Arc::new(Counted {
            app: app.address,
            starts: AtomicU32::new(0),
            stops: AtomicU32::new(0),
            up: AtomicBool::new(false),
        });
        let shutdown = CancellationToken::new();
        let client = probe::client().unwrap();
        let mut rooms = Vec::new();
        let mut doors = Vec::new();
        for number in 0..ROOMS {
            let store: Arc<dyn Store> = Arc::new(RedisStore::open(settings.clone()).unwrap());
            rooms.push(task::spawn(Setup {
                load: None,
                name: "blog".parse().unwrap(),
                policy: Policy {
                    probe_interval: Span(100),
                    start_timeout: Span::mins(2),
                    ..Policy::default()
                },
                provider: Arc::clone(&machine) as Arc<dyn Provider>,
                store: Arc::clone(&store),
                way: Arc::new(RoomOnly),
                prober: Prober::new(
                    client.clone(),
                    ProbeSettings {
                        path: "/".into(),
                        host: "blog.test".into(),
                        status: vec![200..=299],
                        timeout: Duration::from_secs(1),
                    },
                ),
                clock: Clock::system(),
                owner: format!("room {number}"),
                place: format!("room {number}"),
                shutdown: shutdown.clone(),
            }));
            let clients = Clients::new([7; 32], Privacy::default());
            doors.push(Arc::new(Admission::new(store, clients)));
        }
        let mut storm = Storm {
            machine,
            rooms,
            shutdown,
            crowd: JoinSet::new(),
            _app: app,
        };
        storm.all(Phase::Asleep).await;
        for number in 0..ROOMS * CALLERS {
            let handle = storm.rooms[number % ROOMS].handle.clone();
            let door = Arc::clone(&doors[number % ROOMS]);
            let ask = ask(door, handle, number, storm.shutdown.clone());
            storm.crowd.spawn(ask);
        }
        storm
    }

    async fn all(&self, phase: Phase) {
        for room in &self.rooms {
            let mut view = room.handle.watch();
            let shown = view.wait_for(|view| view.phase == phase);
            let shown = tokio::time::timeout(SOON, shown).await;
            let now = || room.handle.view();
            assert!(shown.is_ok(), "{phase:?} is not shown: {:?}", now());
        }
    }

    async fn has_started(&self) {
        eventually(SOON, async || self.machine.starts.load(SeqCst) > 0).await;
    }

    /// The machine is there: every room lets visitors in, and one start was all.
    async fn ends_well(mut self) {
        self.machine.up.store(true, SeqCst);
        self.all(Phase::Awake).await;
        let machine = &self.machine;
        assert_eq!(machine.starts.load(SeqCst), 1);
        assert_eq!(machine.stops.load(SeqCst), 0);
        self.shutdown.cancel();
        while let Some(asked) = self.crowd.join_next().await {
            asked.unwrap();
        }
        for room in self.rooms {
            room.task.await.unwrap();
        }
    }
}

/// Somebody who asks again and again.
async fn ask(door: Arc<Admission>, handle: Handle, number: usize, end: CancellationToken) {
    let (clock, rules) = (Clock::system(), Rules::default());
    let mut tick = interval(Duration::from_millis(4));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !end.is_cancelled() {
        tick.tick().await;
        let wish = Wish {
            address: IpAddr::from([203, 0, 113, u8::try_from(number).unwrap()]),
            nonce: None,
            by: TriggerBy::Page,
            path: "/",
            agent: "storm/1",
        };
        let asked = door.ask(&handle, &rules, clock.now(), wish).await;
        asked.expect("there are no limits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_master_that_dies_as_the_machine_starts_brings_no_second_start() {
    let mut watched = Watched::start().await;
    let settings = settings(&watched.url());
    let storm = Storm::begin(&settings).await;
    storm.has_started().await;
    watched.servers[0].kill();
    // A room leads under the new master.
    let key = format!("{}:{{blog}}:lease", settings.prefix);
    eventually(SOON, async || {
        let mut led = false;
        for server in &watched.servers[1..] {
            let info: redis::RedisResult<String> = server.try_ask(&["INFO", "replication"]).await;
            let master = info.is_ok_and(|info| info.contains("role:master"));
            let left: redis::RedisResult<i64> = server.try_ask(&["PTTL", &key]).await;
            led |= master && left.is_ok_and(|left| left > 2_500);
        }
        led
    })
    .await;
    storm.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs redis-server: run tests/run"]
async fn a_node_of_a_cluster_that_comes_again_brings_no_second_start() {
    let mut cluster = Cluster::with("appendonly yes\n").await;
    let settings = settings(&cluster.url());
    let storm = Storm::begin(&settings).await;
    storm.has_started().await;
    let port = cluster.node_of("blog").await.port;
    let mut nodes = cluster.nodes.iter_mut();
    let node = nodes.find(|node| node.port == port).unwrap();
    node.kill();
    // Every room is alone for a while.
    let killed = std::time::Instant::now();
    eventually(SOON, async || killed.elapsed() > Duration::from_secs(2)).await;
    node.again().await;
    let key = format!("{}:{{blog}}:lease", settings.prefix);
    eventually(SOON, async || {
        let left: redis::RedisResult<i64> = node.try_ask(&["PTTL", &key]).await;
        left.is_ok_and(|left| left > 2_500)
    })
    .await;
    storm.ends_well().await;
}
