//! Kills a process at every call that it makes to a platform: before the call gets there, when the work is done and
//! nobody has told, and when the answer is on its way.
//!
//! The process is this test binary once more, running [`live`]: the shipped driver and engine over a real store in a
//! file, with the provider under test behind a [`Gate`] that counts its calls.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anteroom::driver::clock::Clock;
use anteroom::driver::probe::{ProbeSettings, Prober};
use anteroom::driver::task::{self, Setup};
use anteroom::driver::way::RoomOnly;
use anteroom::engine::id::{CloneId, InstanceId, Token};
use anteroom::engine::machine::{Machine, MachineState, Owned, PublicAddress};
use anteroom::engine::policy::{CloneTerms, Policy};
use anteroom::engine::time::Span;
use anteroom::engine::view::CloneStep;
use anteroom::provider::{Answer, Provider, Said};
use anteroom::store::file::FileStore;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::app::App;

/// Longer than any of these lives.
const SOON: Duration = Duration::from_secs(60);

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The platform has not heard of the call.
    Before,
    /// It has done the work, and nobody knows.
    Done,
    /// It has answered.
    Answered,
}

/// Where the platform is.
#[derive(Clone, Debug)]
pub(crate) enum Platform {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Stands between the process and the platform.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    platform: Platform,
    calls: Arc<AtomicU32>,
    blow: Arc<Mutex<Option<Blow>>>,
}

struct Blow {
    at: u32,
    moment: Moment,
    pid: i32,
}

impl Gate {
    pub(crate) async fn before(platform: Platform) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let gate = Gate {
            address: listener.local_addr().expect("it is bound"),
            platform,
            calls: Arc::default(),
            blow: Arc::default(),
        };
        tokio::spawn({
            let gate = gate.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let gate = gate.clone();
                    let service = hyper::service::service_fn(move |r| gate.clone().pass(r));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    tokio::spawn(connection);
                }
            }
        });
        gate
    }

    fn strike(&self, call: u32, moment: Moment) -> bool {
        let mut blow = self.blow.lock().expect("no test panics here");
        let due = blow
            .as_ref()
            .is_some_and(|b| b.at == call && b.moment == moment);
        if let Some(blow) = blow.take_if(|_| due) {
            let pid = rustix::process::Pid::from_raw(blow.pid).expect("a process");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
        }
        due
    }

    async fn pass(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let call = self.calls.fetch_add(1, SeqCst) + 1;
        if self.strike(call, Moment::Before) {
            return Err("the caller is dead".into());
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = Request::from_parts(head, Full::new(body));
        let answer = match &self.platform {
            Platform::Tcp(address) => send(TcpStream::connect(address).await?, request).await?,
            Platform::Unix(path) => send(UnixStream::connect(path).await?, request).await?,
        };
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        if self.strike(call, Moment::Done) {
            return Err("the caller is dead".into());
        }
        let gate = self.clone();
        tokio::spawn(async move {
            // Some of the answer is on its way by then, or all of it.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            gate.strike(call, Moment::Answered);
        });
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// What is left at a platform of what was made there.
pub(crate) trait Left {
    /// Machines beside the seed, by name.
    fn clones(&self) -> Vec<String>;
    /// Public addresses that are not the seed's.
    fn addresses(&self) -> usize;
    /// Whether the seed is as it was at first.
    fn seed_is_untouched(&self) -> bool;
}

/// Which life the process lives. It comes to it by its environment.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The kind, which the child's own table knows.
    pub(crate) kind: &'static str,
    /// What the child builds the provider from, beside the gate's address.
    pub(crate) settings: String,
}

const KIND: &str = "ANTEROOM_CRASH_KIND";
const SETTINGS: &str = "ANTEROOM_CRASH_SETTINGS";
const GATE: &str = "ANTEROOM_CRASH_GATE";
const STORE: &str = "ANTEROOM_CRASH_STORE";
const WANTED: &str = "ANTEROOM_CRASH_WANTED";

/// Kills the process at every call of its making of a clone, and of its deleting of it, at each moment. `fresh` gives a
/// platform with its seed. Afterwards a new process brings it to an end, and the platform is as it should be.
pub(crate) async fn survives<P, F>(life: Life, mut fresh: impl FnMut() -> F)
where
    P: Left,
    F: Future<Output = (P, Platform)>,
{
    let mut killed = [0; 2];
    for moment in [Moment::Before, Moment::Done, Moment::Answered] {
        for at in 1.. {
            let (platform, place) = fresh().await;
            let gate = Gate::before(place).await;
            let folder = tempfile::tempdir().expect("a folder");
            let store = folder.path().join("a.db");
            let mut died = false;
            for (phase, wanted) in [1_u16, 0].into_iter().enumerate() {
                gate.calls.store(0, SeqCst);
                let died_now = !run(&life, &gate, &store, wanted, Some((at, moment))).await;
                killed[phase] += u32::from(died_now);
                died |= died_now;
                if died_now {
                    assert!(run(&life, &gate, &store, wanted, None).await, "it ends");
                }
                let at = format!("call {at}, {moment:?}, {wanted} wanted");
                let clones = platform.clones();
                assert_eq!(clones.len(), usize::from(wanted), "{at}: {clones:?}");
                assert_eq!(platform.addresses(), 0, "{at}: addresses");
                assert!(platform.seed_is_untouched(), "{at}: the seed");
            }
            if !died {
                break;
            }
        }
    }
    eprintln!(
        "killed {} times in making, {} in deleting",
        killed[0], killed[1]
    );
    assert!(killed.iter().all(|times| *times >= 6), "{killed:?}");
}

/// The same where nothing stands between the process and its platform: it is killed as it enters each of these calls of
/// the system, those of the store among them.
pub(crate) async fn survives_its_system_calls<P: Left>(
    life: impl Fn(&P) -> Life,
    mut fresh: impl FnMut() -> P,
) {
    let mut killed = [0; 2];
    for at in 1.. {
        let platform = fresh();
        let life = life(&platform);
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("a.db");
        let mut died = false;
        for (phase, wanted) in [1_u16, 0].into_iter().enumerate() {
            let died_now = !run_traced(&life, &store, wanted, at).await;
            killed[phase] += u32::from(died_now);
            died |= died_now;
            if died_now {
                let never = 65_535;
                assert!(run_traced(&life, &store, wanted, never).await, "it ends");
            }
            let at = format!("call {at}, {wanted} wanted");
            let clones = platform.clones();
            assert_eq!(clones.len(), usize::from(wanted), "{at}: {clones:?}");
            assert!(platform.seed_is_untouched(), "{at}: the seed");
        }
        if !died {
            break;
        }
    }
    let [made, deleted] = killed;
    eprintln!("killed {made} times in making, {deleted} in deleting");
    assert!(killed.iter().all(|times| *times >= 3), "{killed:?}");
}

const SYSTEM_CALLS: &str =
    "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,flock,pwrite64,ftruncate";

/// Whether the process came to its end by itself. A thread of it that enters one of the calls for the `at`th time kills it.
async fn run_traced(life: &Life, store: &Path, wanted: u16, at: u32) -> bool {
    let mut tracer = Command::new("strace");
    tracer.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    tracer.arg(format!("trace={SYSTEM_CALLS}"));
    tracer.arg("-e");
    tracer.arg(format!("inject={SYSTEM_CALLS}:signal=KILL:when={at}"));
    tracer.arg(std::env::current_exe().expect("this binary"));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut child = spawn(tracer, life, nowhere, store, wanted);
    drop(child.stdin.take());
    ended(&mut child).await
}

fn spawn(mut command: Command, life: &Life, gate: SocketAddr, store: &Path, wanted: u16) -> Child {
    let lives = "provider_conformance::crash::lives";
    command
        .args(["--exact", lives, "--nocapture"])
        .env(KIND, life.kind)
        .env(SETTINGS, &life.settings)
        .env(GATE, gate.to_string())
        .env(STORE, store)
        .env(WANTED, wanted.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it runs")
}

/// Whether it came to its end by itself; else it was killed.
async fn ended(child: &mut Child) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    let status = tokio::time::timeout(SOON, child.wait()).await;
    let status = status.expect("it ends in time").expect("it is our child");
    let died = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    assert!(died || status.success(), "the process says {status}");
    !died
}

/// Whether the process came to its end by itself.
async fn run(
    life: &Life,
    gate: &Gate,
    store: &Path,
    wanted: u16,
    blow: Option<(u32, Moment)>,
) -> bool {
    let binary = std::env::current_exe().expect("this binary");
    let mut child = spawn(Command::new(binary), life, gate.address, store, wanted);
    let pid = i32::try_from(child.id().expect("it runs")).expect("a process id");
    *gate.blow.lock().expect("no test panics here") =
        blow.map(|(at, moment)| Blow { at, moment, pid });
    // It begins when it is told to: the blow is in place.
    drop(child.stdin.take());
    let by_itself = ended(&mut child).await;
    *gate.blow.lock().expect("no test panics here") = None;
    by_itself
}

/// The life of the process, when this is it: leads a service until its clones are as they are wanted.
pub(crate) async fn live(provider: impl Fn(&str, &str, SocketAddr) -> Arc<dyn Provider>) {
    let Ok(kind) = std::env::var(KIND) else {
        return;
    };
    let var = |name| std::env::var(name).expect("the parent gives it");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut std::io::stdin(), &mut told).expect("the parent is there");
    let gate = var(GATE).parse().expect("an address");
    let wanted: u16 = var(WANTED).parse().expect("a number");
    let provider = Arc::new(Watched {
        inner: provider(&kind, &var(SETTINGS), gate),
        lists: AtomicU32::new(0),
        looks: AtomicU32::new(0),
        seed: App::echo().await.address,
    });
    let store = FileStore::open(Path::new(&var(STORE))).expect("the store opens");
    let client = anteroom::driver::probe::client().expect("a client");
    let running = task::spawn(Setup {
        load: None,
        name: "blog".parse().expect("a name"),
        policy: Policy {
            probe_interval: Span(100),
            drain_timeout: Span::ZERO,
            clones: Some(CloneTerms {
                wanted,
                most: 1,
                per_hour: 1_000,
                settles: provider.clone_settles().into(),
                repeats: provider.make_clone_repeats(),
                strips: provider.strips(),
            }),
            call_timeout: Span::from(provider.call_timeout()) + Span::secs(10),
            ..Policy::default()
        },
        provider: Arc::clone(&provider) as Arc<dyn Provider>,
        store: Arc::new(store),
        way: Arc::new(RoomOnly),
        prober: Prober::new(
            client,
            ProbeSettings {
                path: "/".into(),
                host: "blog.test".into(),
                status: vec![200..=299],
                timeout: Duration::from_secs(1),
            },
        ),
        clock: Clock::system(),
        owner: "the process".into(),
        place: "the process".into(),
        shutdown: CancellationToken::new(),
    });
    let view = running.handle.watch();
    let settled = || async {
        let view = view.borrow();
        let steps = [CloneStep::Starting, CloneStep::Serving];
        let made = view.clones.iter().filter(|it| steps.contains(&it.step));
        provider.lists.load(SeqCst) > 0
            && (wanted == 0 || provider.looks.load(SeqCst) > 0)
            && made.count() == usize::from(wanted)
            && view.clones.len() == usize::from(wanted)
    };
    super::wait::eventually(SOON, settled).await;
}

/// A provider that counts the lists that were read. Its seed runs, whatever the platform says: clones are made for an
/// awake service.
struct Watched {
    inner: Arc<dyn Provider>,
    lists: AtomicU32,
    /// Looks at clones that were answered. Before the first of one, the record says that it is made.
    looks: AtomicU32,
    seed: SocketAddr,
}

impl Provider for Watched {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn call_timeout(&self) -> Duration {
        self.inner.call_timeout()
    }
    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        let running = Machine {
            state: MachineState::Running,
            address: Some(self.seed),
        };
        match instance {
            InstanceId::Seed => Box::pin(async { Ok(running) }),
            clone => Box::pin(async move {
                let seen = self.inner.inspect(clone).await?;
                self.looks.fetch_add(1, SeqCst);
                Ok(seen)
            }),
        }
    }
    fn start(&self, instance: InstanceId, token: Token) -> Answer<'_> {
        if self.inner.kind() == "process" {
            // The tracer would wait for the end of what is started.
            let starting = Machine {
                state: MachineState::Starting,
                address: None,
            };
            return Box::pin(async { Ok(starting) });
        }
        self.inner.start(instance, token)
    }
    fn stop(&self, instance: InstanceId, token: Token) -> Answer<'_> {
        self.inner.stop(instance, token)
    }
    fn can_clone(&self) -> bool {
        self.inner.can_clone()
    }
    fn find(&self) -> Said<'_, Vec<Owned>> {
        Box::pin(async {
            let found = self.inner.find().await?;
            self.lists.fetch_add(1, SeqCst);
            Ok(found)
        })
    }
    fn make_clone(&self, clone: CloneId) -> Answer<'_> {
        self.inner.make_clone(clone)
    }
    fn clone_settles(&self) -> Duration {
        self.inner.clone_settles()
    }
    fn make_clone_repeats(&self) -> bool {
        self.inner.make_clone_repeats()
    }
    fn addresses(&self, clone: CloneId) -> Said<'_, Vec<PublicAddress>> {
        self.inner.addresses(clone)
    }
    fn strips(&self) -> bool {
        self.inner.strips()
    }
    fn release<'a>(&'a self, clone: CloneId, addresses: &'a [PublicAddress]) -> Said<'a, ()> {
        self.inner.release(clone, addresses)
    }
    fn delete(&self, clone: CloneId) -> Answer<'_> {
        self.inner.delete(clone)
    }
}
