//! A provider hears of each wake that has succeeded, and of nothing else that looks like one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use anteroom::driver::clock::Clock;
use anteroom::driver::handle::Command;
use anteroom::driver::probe::{self, ProbeSettings, Prober};
use anteroom::driver::task::{self, Running, Setup};
use anteroom::driver::way::RoomOnly;
use anteroom::engine::id::{InstanceId, Token};
use anteroom::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use anteroom::engine::policy::Policy;
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::provider::{Answer, Provider, Said};
use anteroom::store::memory::MemoryStore;
use tokio_util::sync::CancellationToken;

use crate::support::app::{App, say};
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(30);

/// A machine that is up as soon as it is started.
struct Machines {
    app: SocketAddr,
    on: AtomicBool,
    wokes: AtomicU32,
}

impl Machines {
    fn machine(&self) -> Machine {
        let on = self.on.load(SeqCst);
        Machine {
            state: match on {
                true => MachineState::Running,
                false => MachineState::Stopped,
            },
            address: on.then_some(self.app),
        }
    }

    fn turn(&self, on: bool) -> Answer<'_> {
        self.on.store(on, SeqCst);
        Box::pin(async { Ok(self.machine()) })
    }
}

impl Provider for Machines {
    fn kind(&self) -> &'static str {
        "machines"
    }

    fn inspect(&self, _instance: InstanceId) -> Answer<'_> {
        Box::pin(async { Ok(self.machine()) })
    }

    fn start(&self, _instance: InstanceId, _token: Token) -> Answer<'_> {
        self.turn(true)
    }

    fn stop(&self, _instance: InstanceId, _token: Token) -> Answer<'_> {
        self.turn(false)
    }

    fn woke(&self, instance: InstanceId) -> Said<'_, ()> {
        assert_eq!(instance, InstanceId::SEED);
        self.wokes.fetch_add(1, SeqCst);
        // Nobody waits for it, and nothing comes of its failure.
        Box::pin(async { Err(Trouble::new(ErrorClass::Transient, "not now")) })
    }
}

fn room(machines: &Arc<Machines>, start_timeout: Span) -> Running {
    task::spawn(Setup {
        load: None,
        name: "blog".parse().unwrap(),
        policy: Policy {
            start_timeout,
            ..Policy::default()
        },
        provider: Arc::clone(machines) as Arc<dyn Provider>,
        store: Arc::new(MemoryStore::new()),
        way: Arc::new(RoomOnly),
        prober: Prober::new(
            probe::client().unwrap(),
            ProbeSettings {
                path: "/".into(),
                host: "blog.test".into(),
                status: vec![200..=299],
                timeout: Duration::from_secs(1),
            },
        ),
        clock: Clock::system(),
        owner: "room".into(),
        place: "room".into(),
        shutdown: CancellationToken::new(),
    })
}

async fn becomes(room: &Running, phase: Phase) {
    eventually(SOON, async || room.handle.view().phase == phase).await;
}

fn ask(room: &Running, command: Command) {
    room.handle.command(command).expect("it listens");
}

#[tokio::test]
async fn a_provider_hears_once_of_each_wake_that_has_succeeded() {
    let app = App::start(|_| async { say("app") }).await;
    let machines = Arc::new(Machines {
        app: app.address,
        on: AtomicBool::new(false),
        wokes: AtomicU32::new(0),
    });
    let room = room(&machines, Span::secs(60));
    let who = || "test".to_owned();
    for wakes in 1..=2 {
        becomes(&room, Phase::Asleep).await;
        ask(&room, Command::Wake { who: who() });
        becomes(&room, Phase::Awake).await;
        eventually(SOON, async || machines.wokes.load(SeqCst) == wakes).await;
        ask(&room, Command::Sleep { who: who() });
    }
    becomes(&room, Phase::Asleep).await;
    assert_eq!(machines.wokes.load(SeqCst), 2);
}

#[tokio::test]
async fn a_provider_hears_nothing_of_a_wake_in_vain() {
    // Nobody listens there.
    let machines = Arc::new(Machines {
        app: "127.0.0.1:9".parse().unwrap(),
        on: AtomicBool::new(false),
        wokes: AtomicU32::new(0),
    });
    let room = room(&machines, Span::secs(1));
    becomes(&room, Phase::Asleep).await;
    ask(&room, Command::Wake { who: "test".into() });
    becomes(&room, Phase::Failed).await;
    assert_eq!(machines.wokes.load(SeqCst), 0);
}
