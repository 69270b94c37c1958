//! The readiness probe: one GET to the app itself. Ready is the app's own answer, nothing else.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::engine::contract::ProbeResult;

/// What to ask the app, and which answers mean "ready".
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// The path, with a leading slash.
    pub path: String,
    /// The Host header.
    pub host: String,
    /// Statuses that mean "ready".
    pub status: Vec<RangeInclusive<u16>>,
    /// An answer that takes longer is none.
    pub timeout: Duration,
}

/// The client that all probers of a process share: one for each of a thousand services would be 100 MB. It opens
/// a connection for each probe and follows no redirect: a kept connection would prove only that it was open, and
/// the redirect's target isn't this app.
///
/// # Errors
/// When the TLS library can't be set up.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    crate::telemetry::http_client()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
}

/// Asks apps whether they are ready.
#[derive(Clone, Debug)]
pub struct Prober {
    client: reqwest::Client,
    settings: ProbeSettings,
}

impl Prober {
    /// A prober that asks with this client, made by [`client`].
    #[must_use]
    pub fn new(client: reqwest::Client, settings: ProbeSettings) -> Prober {
        Prober { client, settings }
    }

    /// One probe.
    pub async fn ask(&self, address: SocketAddr) -> ProbeResult {
        let url = format!("http://{address}{}", self.settings.path);
        let request = self
            .client
            .get(url)
            .timeout(self.settings.timeout)
            .header(http::header::HOST, &self.settings.host);
        match request
            .header(http::header::USER_AGENT, "anteroom-probe")
            .send()
            .await
        {
            Ok(answer) => {
                let status = answer.status().as_u16();
                match self
                    .settings
                    .status
                    .iter()
                    .any(|range| range.contains(&status))
                {
                    true => ProbeResult::Ready,
                    false => ProbeResult::NotReady(format!("it answers {status}")),
                }
            }
            Err(error) if error.is_timeout() => {
                ProbeResult::NotReady(format!("no answer within {:?}", self.settings.timeout))
            }
            Err(error) if error.is_connect() => {
                ProbeResult::NotReady("it can't be connected to".into())
            }
            Err(error) => ProbeResult::NotReady(format!("it does not answer: {error}")),
        }
    }
}
