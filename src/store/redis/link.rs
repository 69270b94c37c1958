//! The link to a Redis: every call has a deadline, and a Redis that is away costs a caller that once.
//!
//! The call that finds it away marks the link; from then on calls fail at once, until the keeper, a task in the
//! background, has connected again. In a cluster one node may be away while the others are there, so a mark is put
//! on one `{}` of keys there, and the keeper asks for each marked one until it is answered.
//!
//! With Sentinels the keeper asks them for the master whenever it connects, and listens for `+switch-master`, so
//! a failover is followed before a call meets the old master.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::script::Call;
use super::settings::{Form, Settings};
use super::wire::{self, NoWire, Wire};
use crate::engine::backoff::Backoff;
use crate::engine::time::Span;
use crate::store::StoreError;

/// How long a new connection may take. Nobody waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two tries to connect.
const CONNECT_AGAIN: Backoff = Backoff {
    first: Span(50),
    max: Span(1_000),
};

/// A connection that is lost sooner counts as a failed one, so that a Redis that answers nothing but greetings is
/// not connected to all the time.
const LIVED_MIN: Duration = Duration::from_secs(1);

/// Between two questions to a part of a cluster that is away, and between two searches for a Sentinel that tells
/// of failovers.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A link. It connects on first use and ends with this value.
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: OnceLock<Keeper>,
    seed: u64,
}

struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Shared {
    settings: Settings,
    state: watch::Sender<State>,
    /// The parts of a cluster that are away, by their `{}`, each with the reason. At most one for each service.
    away: Mutex<BTreeMap<String, String>>,
}

#[derive(Clone)]
enum State {
    Starting,
    Up {
        wire: Wire,
        /// Which connection it is, so that a late failure of the last one does not end this one.
        number: u64,
    },
    Down {
        why: String,
    },
}

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Command(&'a Cmd),
    Script(&'a Call<'a>),
    /// A command for the server that has this slot; where there is one server, for that one. A failure marks no
    /// part of a cluster.
    At(u16, &'a Cmd),
}

impl Link {
    pub(super) fn new(settings: Settings, seed: u64) -> Link {
        let (state, _) = watch::channel(State::Starting);
        let away = Mutex::default();
        let shared = Shared {
            settings,
            state,
            away,
        };
        Link {
            shared: Arc::new(shared),
            keeper: OnceLock::new(),
            seed,
        }
    }

    /// What it leads to.
    pub(super) fn form(&self) -> &Form {
        &self.shared.settings.form
    }

    /// When a call that begins now must be over.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.shared.settings.call_timeout
    }

    /// Asks about keys with this `{}`, or about one key without, named whole.
    pub(super) async fn ask(&self, tag: &str, ask: Ask<'_>) -> Result<Value, StoreError> {
        self.ask_by(self.deadline(), tag, ask).await
    }

    /// Asks the server that has this slot; where there is one server, that one.
    pub(super) async fn ask_at(&self, slot: u16, command: &Cmd) -> Result<Value, StoreError> {
        let ask = Ask::At(slot, command);
        self.ask_by(self.deadline(), "", ask).await
    }

    /// Asks as part of a call that has begun.
    pub(super) async fn ask_by(
        &self,
        deadline: Instant,
        tag: &str,
        ask: Ask<'_>,
    ) -> Result<Value, StoreError> {
        let limit = self.shared.settings.call_timeout;
        let (mut wire, number) = self.wire(deadline).await?;
        let of_a_tag = !matches!(ask, Ask::At(..));
        if let Some(why) = self.shared.away().get(tag).filter(|_| of_a_tag) {
            return Err(StoreError::Unavailable(why.clone()));
        }
        let answer = timeout_at(deadline, send(&mut wire, ask)).await;
        let (why, away) = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => (self.shared.tell(&told(&error)), is_away(&error)),
            Err(_) => (self.shared.tell(&no_answer(limit)), true),
        };
        if away && (of_a_tag || *self.form() != Form::Cluster) {
            self.shared.mark(tag, number, &why);
        }
        Err(StoreError::Unavailable(why))
    }

    /// Waits until Redis is there, at most so long.
    pub(super) async fn ready(&self, within: Duration) -> Result<(), StoreError> {
        self.start();
        let mut state = self.shared.state.subscribe();
        let up = state.wait_for(|state| matches!(state, State::Up { .. }));
        match timeout(within, up).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let why = self.trouble();
                let why = why.unwrap_or_else(|| self.shared.tell(&no_answer(within)));
                Err(StoreError::Unavailable(why))
            }
        }
    }

    /// Why Redis, or a part of it, is away; none when all that was asked lately was answered.
    pub(super) fn trouble(&self) -> Option<String> {
        match &*self.shared.state.borrow() {
            State::Down { why } => Some(why.clone()),
            State::Starting | State::Up { .. } => self.shared.away().values().next().cloned(),
        }
    }

    fn start(&self) {
        self.keeper.get_or_init(|| {
            let keeping = keep(Arc::clone(&self.shared), self.seed);
            Keeper(tokio::spawn(keeping).abort_handle())
        });
    }

    async fn wire(&self, deadline: Instant) -> Result<(Wire, u64), StoreError> {
        self.start();
        if let State::Up { wire, number } = &*self.shared.state.borrow() {
            return Ok((wire.clone(), *number));
        }
        let mut state = self.shared.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Starting));
        if timeout_at(deadline, known).await.is_err() {
            // Whoever asks next need not wait as well.
            let limit = self.shared.settings.call_timeout;
            self.shared
                .mark("", 0, &self.shared.tell(&no_answer(limit)));
        }
        match &*self.shared.state.borrow() {
            State::Up { wire, number } => Ok((wire.clone(), *number)),
            State::Down { why } => Err(StoreError::Unavailable(why.clone())),
            State::Starting => Err(StoreError::Unavailable("it is not connected yet".into())),
        }
    }
}

impl Shared {
    fn away(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, what: &str) -> String {
        let (host, port) = &self.settings.nodes[0];
        match &self.settings.form {
            Form::Single => format!("Redis at {host}:{port}: {what}"),
            Form::Sentinel { master } => format!("Redis, the master {master}: {what}"),
            Form::Cluster => format!("the Redis cluster of {host}:{port}: {what}"),
        }
    }

    /// A call over the connection of this number (0: before the first) failed.
    fn mark(&self, tag: &str, number: u64, why: &str) {
        if number > 0 && self.settings.form == Form::Cluster {
            let marked = self.away().insert(tag.to_owned(), why.to_owned());
            if marked.is_none() {
                tracing::error!(keys = tag, error = why, "a part of the store is away");
            }
            return;
        }
        let ended = self.state.send_if_modified(|state| {
            let ends = match state {
                State::Starting => number == 0,
                State::Up { number: up, .. } => *up == number,
                State::Down { .. } => false,
            };
            if ends {
                *state = State::Down { why: why.into() };
            }
            ends
        });
        if ended {
            tracing::error!(error = why, "the store is away");
        }
    }

    /// There is still no connection: says why in the words of the latest try.
    fn refuse(&self, why: String) {
        if matches!(&*self.state.borrow(), State::Starting) {
            tracing::error!(error = why, "the store is away");
        }
        self.state.send_replace(State::Down { why });
    }
}

/// Sends a command, or a script: by its name, and with its source where the server does not know it.
async fn send(wire: &mut Wire, ask: Ask<'_>) -> RedisResult<Value> {
    match ask {
        Ask::Command(command) => wire.send(command).await,
        Ask::At(slot, command) => wire.send_at(slot, command).await,
        Ask::Script(call) => match wire.send(call.short()).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                wire.send(&call.whole()).await
            }
            answer => answer,
        },
    }
}

/// Connects, and connects again whenever the connection is lost. Never ends by itself.
async fn keep(shared: Arc<Shared>, seed: u64) {
    let mut failures = 0;
    for number in 1.. {
        let connected = timeout(CONNECT_TIMEOUT, wire::connect(&shared.settings)).await;
        let lived = match connected {
            Ok(Ok(wire)) => {
                let up = State::Up {
                    wire: wire.clone(),
                    number,
                };
                if let State::Down { why } = shared.state.send_replace(up) {
                    tracing::info!(was = why, "the store is there again");
                }
                let since = Instant::now();
                watch_over(&shared, wire).await;
                since.elapsed()
            }
            Ok(Err(NoWire { at, error })) => {
                shared.refuse(shared.tell(&format!("{at}: {}", told(&error))));
                Duration::ZERO
            }
            Err(_) => {
                shared.refuse(shared.tell(&no_answer(CONNECT_TIMEOUT)));
                Duration::ZERO
            }
        };
        if lived < LIVED_MIN {
            failures += 1;
            sleep(CONNECT_AGAIN.wait(failures, seed).into()).await;
        } else {
            failures = 0;
        }
    }
}

/// Waits until the connection is lost, and does meanwhile what its form needs.
async fn watch_over(shared: &Shared, wire: Wire) {
    let mut state = shared.state.subscribe();
    let lost = state.wait_for(|state| !matches!(state, State::Up { .. }));
    match &shared.settings.form {
        Form::Single => {
            let _ = lost.await;
        }
        Form::Sentinel { master } => tokio::select! {
            _ = lost => {}
            () = master_moved(&shared.settings, master) => {
                let why = shared.tell("the master has moved");
                tracing::info!(why, "the store is looked up again");
                shared.state.send_replace(State::Down { why });
            }
        },
        Form::Cluster => tokio::select! {
            _ = lost => {}
            () = ask_for_the_away(shared, wire) => {}
        },
    }
}

async fn master_moved(settings: &Settings, master: &str) {
    loop {
        if let Some(mut news) = wire::sentinel_news(settings).await {
            while let Some(message) = news.next().await {
                let text: String = message.get_payload().unwrap_or_default();
                if text.split(' ').next() == Some(master) {
                    return;
                }
            }
        }
        sleep(ASK_AGAIN).await;
    }
}

async fn ask_for_the_away(shared: &Shared, wire: Wire) {
    loop {
        sleep(ASK_AGAIN).await;
        let tags: Vec<_> = shared.away().keys().cloned().collect();
        let asked = tags.into_iter().map(|tag| {
            let mut wire = wire.clone();
            async move {
                let mut question = cmd("EXISTS");
                match tag.contains(':') {
                    true => question.arg(&tag),
                    false => question.arg(format!("{}:{{{tag}}}:state", shared.settings.prefix)),
                };
                if let Ok(Ok(_)) = timeout(shared.settings.call_timeout, wire.send(&question)).await
                {
                    shared.away().remove(&tag);
                    tracing::info!(keys = tag, "a part of the store is there again");
                }
            }
        });
        futures_util::future::join_all(asked).await;
    }
}

fn no_answer(within: Duration) -> String {
    format!("no answer within {within:?}")
}

/// What a person is told, with the mend where there is one.
fn told(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => {
            "the user or the password is wrong; check store.url".into()
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            format!("{error}; docs/redis.md has the rights that the user needs")
        }
        _ if error.code() == Some("NOAUTH") => "it asks for a password; store.url has none".into(),
        _ => error.to_string(),
    }
}

/// Whether the server, as opposed to the question, is the trouble.
fn is_away(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed => true,
        ErrorKind::ClusterConnectionNotFound => true,
        ErrorKind::Server(kind) => {
            [BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain].contains(&kind)
        }
        _ => error.code() == Some("NOAUTH"),
    }
}
