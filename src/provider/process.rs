//! A service that is a process on this host: woken by spawning it, put to sleep by ending its process group.
//!
//! The child belongs to the host, not to Anteroom: it outlives a restart or a crash, and the next Anteroom
//! adopts it. What it is known by is in [`record`]; how a stranger with a reused pid is never signalled is in
//! [`group`]. Linux only: identities are read from `/proc`.
//!
//! Its clones are processes of the same command at other ports ([`ports`]); a clone exists from when its port is written
//! down until its files are removed.
//!
//! Under systemd the unit needs `KillMode=process`, or systemd ends the children together with Anteroom.

mod clones;
mod group;
mod ports;
mod procfs;
mod record;
mod spawn;
mod usage;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Answer, BadSettings, Checkup, Provider, Said, bare};
use crate::engine::id::{CloneId, InstanceId, ServiceName, Token};
use crate::engine::load::Usage;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, Trouble};
use group::Group;
use ports::SeedPort;
use procfs::Proc;
use record::Files;

/// The word in the configuration.
const KIND: &str = "process";
/// How often a process that was asked to end is looked at.
const ENDING_POLL: Duration = Duration::from_millis(20);
/// How long a killed process may take to vanish: it may hang in the kernel, on a dead disk for example.
const KILLED_WAIT: Duration = Duration::from_secs(10);
/// What a call may take on top of `stop_timeout`: the kill, and looking.
const CALL_MARGIN: Duration = Duration::from_secs(15);

/// What the process is and where its traces are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service; with the instance it names the files in `state_dir`.
    pub service: ServiceName,
    /// Program and arguments; `{port}` stands for the port, here and in `env`. Not a shell line.
    pub command: Vec<String>,
    /// Where the app listens, on 127.0.0.1.
    pub port: u16,
    /// The directory it runs in; ours by default.
    pub cwd: Option<PathBuf>,
    /// Its environment, on top of `PATH`, `HOME` and the like. Nothing else of ours is handed down: our
    /// environment holds secrets.
    pub env: BTreeMap<String, String>,
    /// From the polite signal (SIGTERM) to the one that cannot be refused (SIGKILL).
    pub stop_timeout: Duration,
    /// Holds the record of the running process, and its output. Made when missing. Two Anterooms that share
    /// it on one host share the process.
    pub state_dir: PathBuf,
}

/// The provider of `kind = "process"`.
pub struct Process {
    seed: Arc<Inner>,
    clones: Arc<Mutex<BTreeMap<CloneId, Arc<Inner>>>>,
    _port: SeedPort,
}

struct Inner {
    /// The seed's; a clone has a port of its own in them.
    settings: Settings,
    instance: InstanceId,
    files: Files,
    /// One start or stop at a time; a call that was dropped goes on with its turn.
    turn: Semaphore,
    stopping: AtomicBool,
    /// The process was asked to end, so its end is no news.
    asked: AtomicBool,
    last_exit: Mutex<Option<String>>,
}

impl Process {
    /// A provider for this process. Starts nothing and touches no file.
    ///
    /// # Errors
    ///
    /// When the command is empty, or `state_dir` is no path.
    pub fn new(settings: Settings) -> Result<Process, BadSettings> {
        if settings.command.first().is_none_or(String::is_empty) {
            return Err(BadSettings("`command` names no program".to_owned()));
        }
        let seed = Inner::new(settings.clone(), InstanceId::SEED)
            .map_err(|error| BadSettings(format!("`state_dir` is no path: {error}")))?;
        Ok(Process {
            seed: Arc::new(seed),
            clones: Arc::default(),
            _port: SeedPort::new(settings.port),
        })
    }

    /// How the process ended last, as far as this provider saw it: `exit status: 1`.
    #[must_use]
    pub fn last_exit(&self) -> Option<String> {
        let last = self.seed.last_exit.lock();
        last.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does file and `/proc` work for an instance; none for a clone that does not exist.
    async fn of(&self, instance: InstanceId) -> Result<Option<Arc<Inner>>, Trouble> {
        let InstanceId::Clone(clone) = instance else {
            return Ok(Some(Arc::clone(&self.seed)));
        };
        let (seed, clones) = (Arc::clone(&self.seed), Arc::clone(&self.clones));
        blocking(move || seed.clone_that_is(clone, &clones)).await
    }

    async fn need(&self, instance: InstanceId) -> Result<Arc<Inner>, Trouble> {
        self.of(instance).await?.ok_or_else(|| missing(instance))
    }

    async fn look(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let Some(inner) = self.of(instance).await? else {
            return Ok(bare(MachineState::Missing));
        };
        blocking(move || {
            inner.files.trim_log();
            Ok(inner.machine(inner.files.find().is_some()))
        })
        .await
    }
}

fn missing(instance: InstanceId) -> Trouble {
    Trouble::new(ErrorClass::NotFound, format!("there is no {instance}"))
}

impl Provider for Process {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn call_timeout(&self) -> Duration {
        self.seed.settings.stop_timeout + CALL_MARGIN
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        Box::pin(self.look(instance))
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(async move {
            let inner = self.need(instance).await?;
            finished(async move {
                let _turn = inner.turn.acquire().await;
                let here = Arc::clone(&inner);
                blocking(move || here.start()).await
            })
            .await
        })
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(async move {
            let inner = self.need(instance).await?;
            finished(async move {
                let _turn = inner.turn.acquire().await;
                inner.stop().await
            })
            .await
        })
    }

    /// Only what is told its port can listen at another one.
    fn can_clone(&self) -> bool {
        let Settings { command, env, .. } = &self.seed.settings;
        let mut texts = command.iter().chain(env.values());
        texts.any(|text| text.contains("{port}"))
    }

    fn finds_clones(&self) -> bool {
        true
    }

    fn find(&self) -> Said<'_, Vec<Owned>> {
        Box::pin(self.find_clones())
    }

    fn make_clone(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.make(clone))
    }

    /// What is written down is there at once.
    fn make_clone_repeats(&self) -> bool {
        true
    }

    fn delete(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.remove(clone))
    }

    fn usage(&self, instance: InstanceId) -> Said<'_, Usage> {
        Box::pin(self.used(instance))
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(async {
            let Settings { command, port, .. } = &self.seed.settings;
            let program = command.first().map_or("", String::as_str);
            let what = format!("process {program:?} at port {port} of this host");
            // Not `inspect`: that also keeps the log short.
            let here = Arc::clone(&self.seed);
            let seed = blocking(move || Ok(here.machine(here.files.find().is_some()))).await;
            let mut checkup = Checkup::of_seed(what, seed, "nothing");
            let here = Arc::clone(&self.seed);
            let all = blocking(move || here.all_clones()).await;
            let name = |(service, clone)| self.seed.mark_of(&service).name(clone);
            checkup.marked = all.map(|all| all.into_iter().map(name).collect());
            if !self.can_clone() {
                let mend = "there is no {port} in `command` and `env`: it can't be cloned";
                checkup.warnings.push(mend.to_owned());
            }
            checkup
        })
    }
}

impl Inner {
    fn new(settings: Settings, instance: InstanceId) -> std::io::Result<Inner> {
        Ok(Inner {
            files: Files::of(&settings.service, instance, &settings.state_dir)?,
            settings,
            instance,
            turn: Semaphore::new(1),
            stopping: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            last_exit: Mutex::new(None),
        })
    }

    fn machine(&self, runs: bool) -> Machine {
        match (runs, self.stopping.load(Ordering::Acquire)) {
            (false, _) => bare(MachineState::Stopped),
            (true, true) => bare(MachineState::Stopping),
            (true, false) => Machine {
                state: MachineState::Running,
                address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, self.settings.port))),
            },
        }
    }

    /// Adopts the process that runs, or spawns one. The lock file keeps other Anterooms on this host out
    /// until the record is written; see [`record`].
    fn start(self: &Arc<Self>) -> Result<Machine, Trouble> {
        let _lock = self.files.lock().map_err(|e| self.no_files(&e))?;
        // It may have been removed while we waited for the lock.
        if self.instance != InstanceId::SEED
            && ports::of(&self.files)
                .map_err(|e| self.no_files(&e))?
                .is_none()
        {
            return Err(missing(self.instance));
        }
        if let Some(found) = self.files.find() {
            self.remember(found);
            return Ok(self.machine(true));
        }
        // What a dead leader left behind would hold the port.
        group::sweep(self.files.marker());
        self.files.forget().map_err(|e| self.no_files(&e))?;
        let log = self.files.open_log().map_err(|e| self.no_files(&e))?;
        let child = spawn::spawn(&self.settings, self.files.marker(), &log)?;
        if let Some(found) = child.id().and_then(procfs::identify) {
            self.remember(found);
        }
        self.asked.store(false, Ordering::Release);
        tokio::spawn(Arc::clone(self).reap(child));
        Ok(self.machine(true))
    }

    /// A lost record costs a search, not a second process: no reason to fail the start.
    fn remember(&self, found: Proc) {
        if let Err(error) = self.files.remember(found) {
            let service = &self.settings.service;
            tracing::warn!(%service, %error, "the process runs, but its record could not be written");
        }
    }

    async fn reap(self: Arc<Self>, mut child: tokio::process::Child) {
        let how = match child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("unknown: {error}"),
        };
        let service = &self.settings.service;
        match self.asked.load(Ordering::Acquire) {
            true => tracing::info!(%service, %how, "the process ended"),
            false => tracing::warn!(%service, %how, "the process ended by itself"),
        }
        let mut last = self
            .last_exit
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(how);
    }

    async fn stop(self: &Arc<Self>) -> Result<Machine, Trouble> {
        let here = Arc::clone(self);
        let found = blocking(move || Ok(here.files.find())).await?;
        let Some(leader) = found else {
            let here = Arc::clone(self);
            return blocking(move || {
                group::sweep(here.files.marker());
                Ok(bare(MachineState::Stopped))
            })
            .await;
        };
        let _stopping = Raised::new(self);
        let group = Group::new(leader, self.files.marker());
        let group = match ended(group, Signal::TERM, self.settings.stop_timeout).await? {
            Ended::Yes => return Ok(bare(MachineState::Stopped)),
            Ended::No(group) => group,
        };
        let service = &self.settings.service;
        let waited = self.settings.stop_timeout;
        tracing::warn!(%service, ?waited, "the process did not end when asked and is killed");
        match ended(group, Signal::KILL, KILLED_WAIT).await? {
            Ended::Yes => Ok(bare(MachineState::Stopped)),
            Ended::No(_) => Ok(bare(MachineState::Stopping)),
        }
    }

    fn no_files(&self, error: &std::io::Error) -> Trouble {
        let class = match error.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotADirectory => {
                ErrorClass::BadRequest
            }
            _ => ErrorClass::Transient,
        };
        let place = self.settings.state_dir.display();
        Trouble::new(class, format!("keeping records in {place}: {error}"))
    }
}

/// Says "stopping" for as long as it lives.
struct Raised(Arc<Inner>);

impl Raised {
    fn new(inner: &Arc<Inner>) -> Raised {
        inner.asked.store(true, Ordering::Release);
        inner.stopping.store(true, Ordering::Release);
        Raised(Arc::clone(inner))
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.stopping.store(false, Ordering::Release);
    }
}

enum Ended {
    Yes,
    No(Group),
}

/// Signals every member of the group and waits until none is left, or the time is up. New members get a
/// SIGKILL too, but not a SIGTERM: that is the leader's affair.
async fn ended(mut group: Group, signal: Signal, within: Duration) -> Result<Ended, Trouble> {
    let deadline = Instant::now() + within;
    let mut asked = false;
    loop {
        let tell = (!asked || signal == Signal::KILL).then_some(signal);
        let (left, back) = blocking(move || Ok((group.tell(tell), group))).await?;
        (group, asked) = (back, true);
        if left == 0 {
            return Ok(Ended::Yes);
        }
        if Instant::now() >= deadline {
            return Ok(Ended::No(group));
        }
        tokio::time::sleep(ENDING_POLL).await;
    }
}

/// Runs on a task of its own, so that a caller who drops the call does not cut it in two.
async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, Trouble>> + Send + 'static,
) -> Result<T, Trouble> {
    flat(tokio::spawn(work).await)
}

/// Runs file and `/proc` work off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    flat(tokio::task::spawn_blocking(work).await)
}

fn flat<T>(joined: Result<Result<T, Trouble>, tokio::task::JoinError>) -> Result<T, Trouble> {
    joined.unwrap_or_else(|error| {
        let detail = format!("the call to the process did not finish: {error}");
        Err(Trouble::new(ErrorClass::Ambiguous, detail))
    })
}
