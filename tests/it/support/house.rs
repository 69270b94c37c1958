//! A room with one site, whose task is played by the test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anteroom::config::WakeBy;
use anteroom::driver::admission::Admission;
use anteroom::driver::handle::{Admitted, Command, Handle, Inbox, door};
use anteroom::driver::names::Clients;
use anteroom::engine::admit::Rules;
use anteroom::engine::contract::{Stage, Trigger, Upstream};
use anteroom::engine::id::InstanceId;
use anteroom::engine::privacy::Privacy;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::{Phase, View, WakeView, WokenView};
use anteroom::gate::Keeper;
use anteroom::http::{Limits, Room, Setup, Site, Sites};
use anteroom::signal::edge::Edge;
use anteroom::store::Store;
use anteroom::store::memory::MemoryStore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::visitor::{Visitor, soon};

/// The room, and the task's side of the door.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) room: Arc<Room>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) edge: Arc<Edge>,
    pub(crate) inbox: Inbox,
    pub(crate) clock: Arc<AtomicU64>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    handle: Handle,
}

/// A view of a service in this phase.
pub(crate) fn view(phase: Phase) -> View {
    View {
        service: "blog".parse().unwrap(),
        version: 1,
        phase,
        since: Time(0),
        wake: None,
        woken: None,
        eta: None,
        failure: None,
        upstreams: Vec::new(),
        healthy: false,
        run_by: None,
        triggered_count: 0,
        last_activity: None,
        hold: None,
        blind: Vec::new(),
        sleeps_at: None,
        clones: Vec::new(),
        scale: None,
        why: String::new(),
    }
}

/// Short deadlines, so that a test that waits for one is over soon.
pub(crate) fn limits() -> Limits {
    Limits {
        head_wait_proxy: Duration::from_millis(300),
        head_wait_stranger: Duration::from_millis(300),
        drain: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// A site that sleeps and is woken by its page.
fn site(handle: Handle) -> Site {
    Site {
        handle,
        hosts: vec!["blog.test".to_owned(), "www.blog.test".to_owned()],
        wake_by: WakeBy::Page,
        challenger: None,
        hold: None,
        hold_body_max: 1 << 20,
        ramp: None,
        admit: Rules::default(),
        waits_per_client: None,
        ignore: Vec::new(),
        copies: Vec::new(),
        origins: Vec::new(),
        theme: None,
        traps: vec!["/.env".to_owned(), "/.git/".to_owned()],
        trap_ban: Span::mins(60),
        key: Some("secret".to_owned()),
    }
}

impl House {
    /// A house whose site sleeps and is woken by its page.
    pub(crate) async fn asleep() -> House {
        House::with(Limits::default(), |_| {}).await
    }

    /// A house whose site is awake, and its app there.
    pub(crate) async fn awake(app: SocketAddr) -> House {
        let house = House::asleep().await;
        house.wake(app);
        house
    }

    /// A house that sleeps, changed by the test.
    pub(crate) async fn with(limits: Limits, change: impl FnOnce(&mut Site)) -> House {
        House::on(Arc::new(MemoryStore::new()), limits, change).await
    }

    /// A house that sleeps on this store, changed by the test.
    pub(crate) async fn on(
        store: Arc<dyn Store>,
        limits: Limits,
        change: impl FnOnce(&mut Site),
    ) -> House {
        let edge = Edge::new();
        let (handle, inbox) = door(view(Phase::Asleep), Arc::clone(&edge));
        let mut site = site(handle.clone());
        change(&mut site);
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let hands = Arc::clone(&clock);
        let clients = Clients::new([7; 32], Privacy::default());
        let admission = Arc::new(Admission::new(store, clients));
        let room = Room::new(Setup {
            sites: Sites::new(vec![site]),
            trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
            keeper: Keeper::new([7; 32], 1 << 60),
            admission: Arc::clone(&admission),
            clock: Arc::new(move || Time(hands.load(SeqCst))),
            seed: 7,
            limits,
        });
        let listener = anteroom::http::listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(anteroom::http::listen::serve(
            listener,
            Arc::clone(&room),
            shutdown.clone(),
        ));
        House {
            address,
            room,
            admission,
            edge,
            inbox,
            clock,
            shutdown,
            serving,
            handle,
        }
    }

    /// The sites are read again; this one is changed by the test.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Site)) {
        let mut site = site(self.handle.clone());
        change(&mut site);
        self.room.set_sites(Sites::new(vec![site]));
    }

    /// A fresh connection.
    pub(crate) async fn visitor(&self) -> Visitor {
        Visitor::connect(self.address).await
    }

    /// Changes what everybody sees.
    pub(crate) fn show(&self, change: impl FnOnce(&mut View)) {
        self.inbox.view.send_modify(|view| {
            let mut next = View::clone(view);
            next.version += 1;
            change(&mut next);
            *view = Arc::new(next);
        });
    }

    /// The app is there, and the gate opens.
    pub(crate) fn wake(&self, app: SocketAddr) {
        self.show(|view| {
            view.phase = Phase::Awake;
            view.healthy = true;
            view.upstreams = vec![Upstream {
                instance: InstanceId::SEED,
                address: app,
            }];
        });
        self.open();
    }

    /// The gate opens to the instances that the view shows.
    pub(crate) fn open(&self) {
        let upstreams = self.inbox.view.borrow().upstreams.clone();
        self.edge.lead_to(&upstreams);
    }

    /// A wake is under way since now.
    pub(crate) fn wakes(&self) {
        let since = Time(self.clock.load(SeqCst));
        self.show(|view| {
            view.phase = Phase::Waking;
            view.wake = Some(WakeView {
                since,
                stage: Stage::MachineUp,
                deadline: since + Span::mins(5),
                after_crash: false,
            });
        });
    }

    /// When the wake that is under way began.
    pub(crate) fn woke_at(&self) -> Time {
        self.inbox.view.borrow().wake.unwrap().since
    }

    /// That wake has brought the app.
    pub(crate) fn is_fresh(&self, app: SocketAddr) {
        let (since, ready) = (self.woke_at(), Time(self.clock.load(SeqCst)));
        self.show(|view| {
            view.wake = None;
            view.woken = Some(WokenView { since, ready });
        });
        self.wake(app);
    }

    /// The clock runs as fast as any.
    pub(crate) fn clock_runs(&self) {
        let clock = Arc::clone(&self.clock);
        tokio::spawn(async move {
            let mut last = Instant::now();
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let passed = last.elapsed().as_millis();
                last += Duration::from_millis(passed as u64);
                clock.fetch_add(passed as u64, SeqCst);
            }
        });
    }

    /// Waits until so many requests wait their turn.
    pub(crate) async fn waits_at_the_gate(&self, requests: usize) {
        soon(async {
            while self.room.in_line("blog.test") != requests {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// So many watch the service now.
    pub(crate) fn watchers(&self) -> usize {
        self.inbox.view.receiver_count()
    }

    /// Waits until so many watch the service: each request that is held is one.
    pub(crate) async fn is_watched_by(&self, watchers: usize) {
        soon(async {
            while self.watchers() < watchers {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// The clock goes on.
    pub(crate) fn later(&self, span: Span) {
        self.clock.fetch_add(span.0, SeqCst);
    }

    /// The next trigger.
    pub(crate) async fn trigger(&mut self) -> Trigger {
        self.admitted().await.trigger
    }

    /// The next trigger, with the number of its wake.
    pub(crate) async fn admitted(&mut self) -> Admitted {
        soon(self.inbox.triggers.recv())
            .await
            .expect("the room is there")
    }

    /// Whether nobody has asked for anything.
    pub(crate) fn is_left_alone(&mut self) -> bool {
        self.inbox.triggers.try_recv().is_err() && self.inbox.commands.try_recv().is_err()
    }

    /// The next command.
    pub(crate) async fn command(&mut self) -> Command {
        soon(self.inbox.commands.recv())
            .await
            .expect("the room is there")
    }

    /// Waits until nobody is behind the gate.
    pub(crate) async fn empties(&self) {
        soon(async {
            while {
                let seen = self.edge.sample();
                seen.in_flight + seen.long > 0
            } {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
