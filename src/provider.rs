//! Where instances live. One trait, [`Provider`]; one folder entry for each kind; one conformance suite for all
//! (`tests/it/provider_conformance.rs`).
//!
//! A provider maps its platform's answers onto [`MachineState`] and
//! [`ErrorClass`] and decides nothing: when to call and what to do with an
//! answer is the engine's.

mod cloud;
pub mod command;
pub mod docker;
pub mod idcloudhost;
pub mod process;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::engine::id::InstanceId;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::engine::time::Span;

/// The answer of a provider.
pub type Answer<'a> = BoxFuture<'a, Result<Machine, Trouble>>;

/// A platform that can start and stop the machines of one service.
///
/// Every call may be dropped at any await (the driver has a deadline on each) and may be repeated: all are
/// idempotent. `start` of a running machine and `stop` of a stopped one are successes and change nothing.
pub trait Provider: Send + Sync + 'static {
    /// The word in the configuration (`kind = "..."`).
    fn kind(&self) -> &'static str;

    /// How long one call may take before its answer counts as lost.
    fn call_timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Reads the machine's state and address. Changes nothing. A machine that does not exist is
    /// `Ok(Machine { state: Missing, .. })`, not an error; starting or stopping one is `NotFound`.
    fn inspect(&self, instance: InstanceId) -> Answer<'_>;

    /// Asks the platform to start the machine and returns as soon as it has accepted: the machine need not run
    /// yet. A suspended machine is resumed.
    fn start(&self, instance: InstanceId) -> Answer<'_>;

    /// Asks the platform to stop the machine, gracefully first, then by force. Returns when it is stopped, or
    /// when the platform has accepted and goes on by itself (state `Stopping`).
    fn stop(&self, instance: InstanceId) -> Answer<'_>;
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
