//! One call to a cloud: with a deadline, a line in the log, a metric, and no redirect followed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, timeout};

use super::rate;
use crate::engine::machine::{ErrorClass, Trouble};
use crate::engine::time::Span;
use crate::provider::cloud::pinned::{self, Fingerprint};
use crate::provider::{BadSettings, causes, last_words};
use crate::telemetry::metrics;

/// The most that is read of an answer: a list of ten thousand machines.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a call does there, which decides what a lost answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    /// Reads: asking again is harmless.
    Read,
    /// Writes: a lost answer leaves open whether it was done.
    Write,
}

/// A call that is about to be made.
#[derive(Clone)]
pub(crate) struct Call {
    /// Its name in the log and the metrics.
    pub(crate) name: &'static str,
    pub(crate) does: Does,
    pub(crate) method: Method,
    /// What follows the base address, with its query.
    pub(crate) path: String,
    /// Its content type and its bytes.
    pub(crate) body: Option<(&'static str, Vec<u8>)>,
    /// How long the whole call may take.
    pub(crate) within: Duration,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The words beside the status, where they are others than usual: Proxmox VE tells its errors there.
    pub(crate) reason: Option<String>,
    pub(crate) retry_after: Option<Span>,
    /// No further call is left to us; one is again after so long.
    pub(crate) spent: Option<Span>,
    pub(crate) body: Vec<u8>,
}

/// Which certificates of a cloud are believed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Those that the system believes.
    System,
    /// Those of this file (PEM) as well.
    File(PathBuf),
    /// One alone, by its fingerprint.
    Pinned(Fingerprint),
}

/// Calls one cloud at one address.
pub(crate) struct Caller {
    kind: &'static str,
    client: reqwest::Client,
    base: String,
}

impl Caller {
    /// A caller of this address, which has no slash at its end. `ca` is a file of certificates (PEM) that are
    /// believed beside those of the system.
    pub(crate) fn new(
        kind: &'static str,
        base: &str,
        ca: Option<&Path>,
    ) -> Result<Caller, BadSettings> {
        let trust = ca.map_or(Trust::System, |path| Trust::File(path.to_owned()));
        Caller::that_trusts(kind, base, &trust)
    }

    /// A caller of what is on this host or beside it, such as a metadata server: past any proxy, which would be another
    /// machine with another identity, and would read the token.
    pub(crate) fn direct(kind: &'static str, base: &str) -> Result<Caller, BadSettings> {
        Caller::built(
            kind,
            base,
            &Trust::System,
            reqwest::Client::builder().no_proxy(),
        )
    }

    /// A caller as by [`new`](Caller::new), with the certificates that are believed.
    pub(crate) fn that_trusts(
        kind: &'static str,
        base: &str,
        trust: &Trust,
    ) -> Result<Caller, BadSettings> {
        Caller::built(kind, base, trust, reqwest::Client::builder())
    }

    fn built(
        kind: &'static str,
        base: &str,
        trust: &Trust,
        client: reqwest::ClientBuilder,
    ) -> Result<Caller, BadSettings> {
        // An error says that one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = client
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("anteroom/", env!("CARGO_PKG_VERSION")));
        match trust {
            Trust::System => {}
            Trust::File(path) => {
                let bad = |error: String| BadSettings(format!("`ca` {}: {error}", path.display()));
                let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
                let certificates = reqwest::Certificate::from_pem_bundle(&pem);
                for certificate in certificates.map_err(|error| bad(error.to_string()))? {
                    client = client.add_root_certificate(certificate);
                }
            }
            Trust::Pinned(fingerprint) => {
                client = client.tls_backend_preconfigured(pinned::believing(*fingerprint)?);
            }
        }
        let client = client.build();
        Ok(Caller {
            kind,
            client: client.map_err(|error| BadSettings(format!("no HTTP client: {error:?}")))?,
            base: base.to_owned(),
        })
    }

    /// Makes a call; `headers` say who we are.
    ///
    /// # Errors
    /// [`Transient`](ErrorClass::Transient) when nothing was sent or nothing could be changed by it,
    /// [`Ambiguous`](ErrorClass::Ambiguous) when a write was sent and its answer did not come.
    pub(crate) async fn make(&self, call: Call, headers: &HeaderMap) -> Result<Reply, Trouble> {
        let began = Instant::now();
        let made = timeout(call.within, self.send(&call, headers)).await;
        let took = began.elapsed();
        let lost = match call.does {
            Does::Read => ErrorClass::Transient,
            Does::Write => ErrorClass::Ambiguous,
        };
        let trouble = |class: ErrorClass, said: &str| {
            Trouble::new(class, format!("{} {}: {said}", self.kind, call.name))
        };
        let made = match made {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                let class = match error.is_connect() {
                    true => ErrorClass::Transient,
                    false => lost,
                };
                Err(trouble(class, &causes(&error.without_url())))
            }
            Err(_) => Err(trouble(
                lost,
                &format!("no answer within {:?}", call.within),
            )),
        };
        let (provider, name, took_ms) = (self.kind, call.name, took.as_millis());
        let outcome = match &made {
            Ok(reply) => {
                let status = reply.status.as_u16();
                tracing::debug!(provider, call = name, status, took_ms, "a cloud answered");
                outcome(reply.status)
            }
            Err(trouble) => {
                tracing::debug!(provider, call = name, %trouble, took_ms, "a cloud did not answer");
                "no_answer"
            }
        };
        metrics().provider_called(provider, name, outcome, took.into());
        made
    }

    async fn send(&self, call: &Call, headers: &HeaderMap) -> Result<Reply, reqwest::Error> {
        let url = format!("{}{}", self.base, call.path);
        let mut request = self.client.request(call.method.clone(), url);
        request = request.headers(headers.clone());
        if let Some((kind, body)) = &call.body {
            request = request.header(http::header::CONTENT_TYPE, *kind);
            request = request.body(body.clone());
        } else if call.method == Method::POST {
            // RFC 9110, section 8.6: a length is told even of nothing. There are clouds that refuse what tells none (411).
            request = request.header(http::header::CONTENT_LENGTH, 0);
        }
        let mut answer = request.send().await?;
        let status = answer.status();
        let retry_after = rate::retry_after(status, answer.headers());
        let spent = rate::spent(answer.headers());
        let reason = answer.extensions().get::<hyper::ext::ReasonPhrase>();
        let reason = reason.map(|words| last_words(words.as_bytes()));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if room < chunk.len() {
                break;
            }
        }
        Ok(Reply {
            status,
            reason,
            retry_after,
            spent,
            body,
        })
    }
}

fn outcome(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "ok",
        429 => "rate_limited",
        400..=499 => "refused",
        500..=599 => "failed",
        _ => "other",
    }
}

/// A form's body. Clouds are known that take a `+` for a plus, so a space is `%20`.
pub(crate) fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut url = reqwest::Url::parse("form://form").expect("it is one");
    url.query_pairs_mut().extend_pairs(fields);
    let form = url.query().unwrap_or_default();
    form.replace('+', "%20").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_no_plus_but_an_escaped_one() {
        let form = form(&[("name", "a b+c&d"), ("uuid", "ü")]);
        assert_eq!(form, b"name=a%20b%2Bc%26d&uuid=%C3%BC");
    }
}
