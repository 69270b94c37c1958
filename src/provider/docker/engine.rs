//! The connection to an engine, and one call to it: with a deadline, a line in the log and a metric.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::errors::Error;
use tokio::time::Instant;

use super::KIND;
use super::answer::{self, Sent};
use crate::engine::machine::Trouble;
use crate::provider::BadSettings;
use crate::telemetry::metrics;

/// How long the engine may take to answer a question.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an engine's API is: `unix:///path`, `/path`, `tcp://host:port` or `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket on this host.
    Unix(String),
    /// `host:port`, in clear: for a socket proxy on a private network.
    Tcp(String),
}

impl FromStr for Endpoint {
    type Err = BadSettings;

    fn from_str(text: &str) -> Result<Endpoint, BadSettings> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Endpoint::Unix(path.to_owned()));
        }
        let host = ["tcp://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .map(|rest| rest.trim_end_matches('/'))
            .filter(|rest| {
                rest.parse::<http::uri::Authority>()
                    .is_ok_and(|a| a.port_u16().is_some())
            });
        host.map(|host| Endpoint::Tcp(host.to_owned()))
            .ok_or_else(|| {
                BadSettings(format!(
                    "`endpoint` {text:?} is none of unix:///path, /path, tcp://host:port, http://host:port"
                ))
            })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// An engine that is asked.
pub(super) struct Engine {
    pub(super) endpoint: Endpoint,
    /// How long it may take to do what it is told.
    write_timeout: Duration,
    /// Made on the first call, made anew after a failure: the engine may have been upgraded meanwhile.
    connection: Mutex<Option<bollard::Docker>>,
}

/// A call that is about to be made.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// Its name in the log and the metrics.
    pub(super) name: &'static str,
    /// What it is done to.
    pub(super) on: &'a str,
    pub(super) sent: Sent,
}

impl Engine {
    pub(super) fn new(endpoint: Endpoint, write_timeout: Duration) -> Engine {
        Engine {
            endpoint,
            write_timeout,
            connection: Mutex::new(None),
        }
    }

    /// Makes a call. What the engine answers is the inner result; the outer one fails when there is no engine.
    ///
    /// # Errors
    /// When the engine can't be connected to, or no version can be agreed on.
    pub(super) async fn ask<T, F>(
        &self,
        call: Call<'_>,
        ask: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<Result<T, Error>, Trouble>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let began = Instant::now();
        let answered = match self.connected(call).await {
            Ok(engine) => {
                let within = match call.sent {
                    Sent::Read => READ_TIMEOUT,
                    Sent::Write => self.write_timeout,
                };
                let answered = tokio::time::timeout(within, ask(engine)).await;
                Ok(answered.unwrap_or(Err(Error::RequestTimeoutError)))
            }
            Err(trouble) => Err(trouble),
        };
        let outcome = match &answered {
            Ok(Ok(_)) => "ok",
            Ok(Err(Error::DockerResponseServerError { status_code, .. })) => match status_code {
                400..=499 => "refused",
                _ => "failed",
            },
            Ok(Err(_)) | Err(_) => "no_answer",
        };
        let (provider, name, took) = (KIND, call.name, began.elapsed());
        let took_ms = took.as_millis();
        tracing::debug!(
            provider,
            call = name,
            outcome,
            took_ms,
            "an engine was asked"
        );
        metrics().provider_called(provider, name, outcome, took.into());
        answered
    }

    /// Makes a call, and takes every answer but a good one for a trouble.
    pub(super) async fn call<T, F>(
        &self,
        call: Call<'_>,
        ask: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let answered = self.ask(call, ask).await?;
        answered.map_err(|error| self.trouble(call, &error))
    }

    async fn connected(&self, call: Call<'_>) -> Result<bollard::Docker, Trouble> {
        let known = self.connection.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(engine) = known {
            return Ok(engine);
        }
        let connecting = Call {
            sent: Sent::Read,
            ..call
        };
        let timeout = self.write_timeout.max(READ_TIMEOUT).as_secs();
        let made = match &self.endpoint {
            Endpoint::Unix(path) => {
                bollard::Docker::connect_with_unix(path, timeout, API_DEFAULT_VERSION)
            }
            Endpoint::Tcp(host) => {
                bollard::Docker::connect_with_http(host, timeout, API_DEFAULT_VERSION)
            }
        };
        let made = made.map_err(|error| self.trouble(connecting, &error))?;
        let made = tokio::time::timeout(READ_TIMEOUT, made.negotiate_version()).await;
        let made = made
            .unwrap_or(Err(Error::RequestTimeoutError))
            .map_err(|error| self.trouble(connecting, &error))?;
        let mut slot = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Some(made.clone());
        Ok(made)
    }

    /// An error that is no answer of the engine, or says that we speak another version, ends the connection.
    pub(super) fn trouble(&self, call: Call<'_>, error: &Error) -> Trouble {
        if answer::ends_connection(error) {
            let slot = self.connection.lock();
            *slot.unwrap_or_else(PoisonError::into_inner) = None;
        }
        let (name, on, endpoint) = (call.name, call.on, &self.endpoint);
        let words = answer::words(error);
        let detail = format!("{name} {on:?} at {endpoint}: {words}");
        Trouble::new(answer::class(error, call.sent), detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_socket_or_a_host_with_a_port() {
        for (text, same) in [
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
            ("/run/docker.sock", "unix:///run/docker.sock"),
            ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
            ("http://engine:2375/", "tcp://engine:2375"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), same);
        }
        for bad in [
            "",
            "docker.sock",
            "unix://x",
            "tcp://h",
            "https://h:1",
            "ssh://h",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
