//! Where instances live. One trait, [`Provider`]; one folder entry for each kind; one conformance suite for all
//! (`tests/it/provider_conformance.rs`).
//!
//! A provider maps its platform's answers onto [`MachineState`] and
//! [`ErrorClass`] and decides nothing: when to call and what to do with an
//! answer is the engine's.

mod cloud;
pub mod command;
mod cpus;
pub mod digitalocean;
pub mod docker;
pub mod ec2;
pub mod gce;
pub mod hetzner;
pub mod idcloudhost;
pub mod libvirt;
pub mod mark;
pub mod process;
mod program;
pub mod proxmox;
pub mod wol;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::engine::id::{CloneId, InstanceId, Token};
use crate::engine::load::Usage;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, PublicAddress, Trouble};
use crate::engine::policy::Sleep;
use crate::engine::time::Span;

/// What a provider answers, in time.
pub type Said<'a, T> = BoxFuture<'a, Result<T, Trouble>>;

/// What a provider says of a machine.
pub type Answer<'a> = Said<'a, Machine>;

/// A platform that holds the machines of one service: the seed, which exists already and is started and stopped, and
/// clones of it, which are made and deleted.
///
/// Every call may be dropped at any await (the driver has a deadline on each) and may be repeated: all are
/// idempotent. `start` of a running machine and `stop` of a stopped one are successes and change nothing. A call that
/// fails says by its [`ErrorClass`] what may be done next; [`Ambiguous`](ErrorClass::Ambiguous) is told only where
/// reading could not tell either.
///
/// A provider remembers nothing that matters. A clone is found again by its [`mark`], and crash safety is the caller's: it
/// writes down the clone that it is about to make, and the addresses that it is about to lose sight of. The types see to
/// it that no call can delete the seed.
pub trait Provider: Send + Sync + 'static {
    /// The word in the configuration (`kind = "..."`).
    fn kind(&self) -> &'static str;

    /// How long one call may take before its answer counts as lost.
    fn call_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How the settings want machines put to sleep.
    fn sleep(&self) -> Sleep {
        Sleep::Stop
    }

    /// Reads the machine's state and address. Changes nothing. A machine that does not exist is
    /// `Ok(Machine { state: Missing, .. })`, not an error; starting or stopping one is `NotFound`.
    fn inspect(&self, instance: InstanceId) -> Answer<'_>;

    /// Asks the platform to start the machine and returns as soon as it has accepted: the machine need not run
    /// yet. A suspended machine is resumed. `token` is the intent's own, see [`Token`].
    fn start(&self, instance: InstanceId, token: Token) -> Answer<'_>;

    /// Asks the platform to stop the machine, gracefully first, then by force. Returns when it is stopped, or
    /// when the platform has accepted and goes on by itself (state `Stopping`).
    fn stop(&self, instance: InstanceId, token: Token) -> Answer<'_>;

    /// Asks the platform to suspend the machine: its memory is kept, and `start` resumes it. Returns like `stop`.
    /// `InvalidState`, `BadRequest` and `Forbidden` mean that this machine can't be suspended: it is stopped instead.
    fn suspend(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        let kind = self.kind();
        Box::pin(async move {
            let detail = format!("{kind} suspends no machine, so not {instance}");
            Err(Trouble::new(ErrorClass::InvalidState, detail))
        })
    }

    /// The app on this machine answers: the wake has succeeded. Whoever kept something for a wake in vain gives it up here,
    /// and nowhere else. Told once for each wake, not again when it fails or is lost; nobody waits for the answer.
    fn woke(&self, _instance: InstanceId) -> Said<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Whether clones can be made with these settings.
    fn can_clone(&self) -> bool {
        false
    }

    /// Whether clones can be found, and so removed, with these settings, also those that earlier ones made. Where not, nothing
    /// below is asked but `find`.
    fn finds_clones(&self) -> bool {
        self.can_clone()
    }

    /// Every machine that carries this service's mark, one entry for each machine; the seed has none. A list may lag: a
    /// machine that was just made may be missing, one that was just deleted may still be there.
    fn find(&self) -> Said<'_, Vec<Owned>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Looks for the clone by its name, and asks the platform for it where there is none. Returns when it is made, or
    /// when the platform has accepted and goes on by itself (state `Starting`). A clone that was made but does not start
    /// by itself is `Stopped`; `start` starts it. Its name taken by a machine that is not ours is `BadRequest`.
    fn make_clone(&self, clone: CloneId) -> Answer<'_> {
        let kind = self.kind();
        Box::pin(async move {
            let detail = format!("{kind} makes no clones with these settings, so not {clone}");
            Err(Trouble::new(ErrorClass::BadRequest, detail))
        })
    }

    /// After an ambiguous `make_clone`, or a crash within it, the clone may still appear for so long.
    fn clone_settles(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Whether an ambiguous `make_clone` may be repeated at once, because the platform knows it by its token or its
    /// name.
    fn make_clone_repeats(&self) -> bool {
        false
    }

    /// The public addresses that the clone has; none for one that does not exist.
    fn addresses(&self, _clone: CloneId) -> Said<'_, Vec<PublicAddress>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Whether a new clone's public addresses are taken away, because it is reached by a private one.
    fn strips(&self) -> bool {
        false
    }

    /// Takes these addresses from the clone and gives them back to the platform. One that is gone already is fine; one
    /// that belongs to another machine by now is left alone.
    fn release<'a>(&'a self, _clone: CloneId, _addresses: &'a [PublicAddress]) -> Said<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Deletes every machine that has this clone's name and mark, with its disks. `Missing` when none is left,
    /// `Stopping` when the platform has accepted and goes on by itself. What does not exist is deleted already.
    fn delete(&self, _clone: CloneId) -> Answer<'_> {
        Box::pin(async { Ok(bare(MachineState::Missing)) })
    }

    /// What a running instance has used of its processors so far. Changes nothing. A kind without figures of its own says
    /// [`BadRequest`](ErrorClass::BadRequest); a machine that does not run, `InvalidState` or `NotFound`.
    fn usage(&self, _instance: InstanceId) -> Said<'_, Usage> {
        let kind = self.kind();
        Box::pin(async move {
            let detail = format!("{kind} has no figures of its machines' load");
            Err(Trouble::new(ErrorClass::BadRequest, detail))
        })
    }

    /// Reads what a person would ask before trusting these settings. Changes nothing.
    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        let kind = self.kind();
        Box::pin(async move {
            let seed = self.inspect(InstanceId::SEED).await;
            Checkup::of_seed(
                format!("the machine of {kind}"),
                seed,
                "what it costs there",
            )
        })
    }
}

/// What a provider found out about its own settings, by reading alone.
#[derive(Clone, Debug)]
pub struct Checkup {
    /// The account and the machine, for people: "machine f80b1d62 at jkt01". No secret.
    pub what: String,
    /// Whether the credential works; the text says how it was found out, or why there is none to check.
    pub credential: Result<String, Trouble>,
    /// What the credential may do, as far as reading shows.
    pub may: Vec<(May, Known)>,
    /// The seed, or what it clones from.
    pub seed: Result<Machine, Trouble>,
    /// What is paid while the machine sleeps, for people.
    pub asleep: &'static str,
    /// The names of all machines at the account that carry the mark of any Anteroom, whatever their service.
    pub marked: Result<Vec<String>, Trouble>,
    /// What else a person should know, each with its mend.
    pub warnings: Vec<String>,
}

/// Something that a credential must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Read machines.
    Read,
    /// Start and stop the seed.
    Power,
    /// Make and delete clones.
    Clone,
}

/// How a question was answered by reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Only doing it would show.
    Unknown,
}

impl Checkup {
    /// What is known after reading the seed alone: for kinds without a credential and without marked machines.
    #[must_use]
    pub fn of_seed(what: String, seed: Result<Machine, Trouble>, asleep: &'static str) -> Checkup {
        let read = match &seed {
            Ok(_) => Known::Yes,
            Err(_) => Known::No,
        };
        Checkup {
            what,
            credential: Ok("none is needed".to_owned()),
            may: vec![(May::Read, read), (May::Power, Known::Unknown)],
            seed,
            asleep,
            marked: Ok(Vec::new()),
            warnings: Vec::new(),
        }
    }
}

/// Settings that can never work: found when the provider is built, before anything is asked of its platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSettings(pub String);

/// How long a connection to a provider's HTTP interface may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The HTTP client of the providers that speak HTTP: rustls, no redirect followed (a credential goes only
/// where the settings say), `timeout` for a whole call.
pub(crate) fn http_client(timeout: Duration) -> Result<reqwest::Client, BadSettings> {
    // An error says that one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .user_agent(concat!("anteroom/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| BadSettings(format!("no HTTP client: {error:?}")))
}

/// The most bytes of somebody else's words that go into a [`Trouble`].
const WORDS_BYTES_MAX: usize = 1024;

/// The end of `words`, bounded and on one line: what a script or a server said, for the log.
pub(crate) fn last_words(words: &[u8]) -> String {
    let start = words.len().saturating_sub(WORDS_BYTES_MAX);
    let text = String::from_utf8_lossy(&words[start..]);
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The longest `Retry-After` that is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); a date counts as none given.
pub(crate) fn retry_after(headers: &http::HeaderMap) -> Option<Span> {
    let secs = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let wait = Duration::from_secs(secs).min(RETRY_AFTER_MAX);
    Some(Span::secs(wait.as_secs()))
}

/// The error and what it came from; the client's first line says little.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    last_words(words.as_bytes())
}

/// The trouble of a call for a clone at a provider that knows the seed alone.
pub(crate) fn seed_only(kind: &str, instance: InstanceId) -> Trouble {
    Trouble::new(
        ErrorClass::NotFound,
        format!("{kind} has no {instance}: it knows the seed alone"),
    )
}

/// A machine of this state without an address.
pub(crate) const fn bare(state: MachineState) -> Machine {
    Machine {
        state,
        address: None,
    }
}

/// Whether `address` is `host:port`.
pub(crate) fn host_and_port(text: &str) -> Result<(), BadSettings> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        true => Ok(()),
        false => Err(BadSettings(format!("`address` {text:?} is not host:port"))),
    }
}

/// The first address that `host:port` has now. A name that is not known is a machine that is not reachable yet.
pub(crate) async fn resolve(address: &str, within: Duration) -> Option<SocketAddr> {
    match tokio::time::timeout(within, tokio::net::lookup_host(address)).await {
        Ok(Ok(mut found)) => found.next(),
        Ok(Err(error)) => {
            tracing::debug!(address, %error, "the app's address does not resolve");
            None
        }
        Err(_) => None,
    }
}
