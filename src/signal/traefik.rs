//! Activity of the requests that Traefik sends straight to an instance: the change of its routers' counters.
//!
//! One scrape serves all services. What the counters can't tell (Traefik restarted, the scrape failed, this is
//! the first one) is reported as a lost signal, which restarts the idle clock: unknown is never idle. Health
//! probes are in no router's counter, and what the routers send to the room is counted by the room itself.

mod count;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::samples::Samples;
use crate::engine::contract::Activity;
use crate::engine::id::ServiceName;
use count::Counters;

/// Between two scrapes. The idle timeout is late by this much at most.
const SCRAPE_EVERY: Duration = Duration::from_secs(5);

/// Traefik answers from memory; a scrape that takes longer has failed.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(2);

/// Traefik's metrics of a thousand routers are about 2 MiB.
const SCRAPE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A service, as it appears in the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The router's name, without its provider.
    pub router: String,
    /// The service that the router leads to while awake, without its provider.
    pub service: String,
}

/// Reads Traefik's counters. Cheap to clone.
#[derive(Clone)]
pub struct TraefikSignal {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    services: Mutex<BTreeMap<ServiceName, Listening>>,
    /// One scrape at a time: the last look must compare with the scrape before it.
    last: AsyncMutex<Option<Counters>>,
}

#[derive(Clone)]
struct Listening {
    watched: Watched,
    samples: Samples,
    /// Whether its routers lead to the room: then Traefik forgets its line.
    diverted: bool,
}

impl TraefikSignal {
    /// Starts scraping `api` (Traefik's API address; its metrics are at `/metrics`) until `end`.
    ///
    /// # Errors
    /// When the client can't be made.
    pub fn spawn(api: &str, end: CancellationToken) -> Result<TraefikSignal, reqwest::Error> {
        let signal = TraefikSignal::new(api)?;
        let scraper = signal.clone();
        tokio::spawn(async move {
            let mut tick = interval(SCRAPE_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    _ = tick.tick() => {
                        if let Err(why) = scraper.scrape().await {
                            tracing::warn!(why, "Traefik's counters can't be read");
                        }
                    }
                }
            }
        });
        Ok(signal)
    }

    fn new(api: &str) -> Result<TraefikSignal, reqwest::Error> {
        let http = crate::telemetry::http_client()
            .no_proxy()
            .timeout(SCRAPE_TIMEOUT)
            .build()?;
        let url = format!("{}/metrics", api.trim_end_matches('/'));
        let (services, last) = (Mutex::default(), AsyncMutex::default());
        Ok(TraefikSignal {
            inner: Arc::new(Inner {
                http,
                url,
                services,
                last,
            }),
        })
    }

    /// From now on this service's task hears of its traffic.
    pub fn listen(&self, service: ServiceName, watched: Watched, samples: Samples) {
        self.services().insert(
            service,
            Listening {
                watched,
                samples,
                diverted: false,
            },
        );
    }

    /// Says whether the service's routers lead to the room; called before that comes into force.
    pub fn set_diverted(&self, service: &ServiceName, diverted: bool) {
        if let Some(listening) = self.services().get_mut(service) {
            listening.diverted = diverted;
        }
    }

    /// The service's task has ended.
    pub fn forget(&self, service: &ServiceName) {
        self.services().remove(service);
    }

    fn services(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, Listening>> {
        // Every change is one insert or one remove.
        self.inner
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh scrape for one service's last look: its use since its task last heard of any.
    ///
    /// # Errors
    /// When Traefik does not answer, or its counters can't be compared.
    pub async fn look_now(&self, service: &ServiceName) -> Result<Activity, String> {
        let comparable = self.scrape().await?.contains(service);
        let services = self.services();
        let samples = services.get(service).map(|listening| &listening.samples);
        // The task may have taken already what this scrape said: then there is nothing more to tell.
        samples
            .filter(|_| comparable)
            .and_then(Samples::take_heard)
            .ok_or_else(|| "Traefik's counters can't be compared with earlier ones".into())
    }

    /// Reads the counters and tells every service's task what they say. Returns the services whose counters could be
    /// compared with the reading before.
    async fn scrape(&self) -> Result<BTreeSet<ServiceName>, String> {
        let mut last = self.inner.last.lock().await;
        let text = match self.fetch().await {
            Ok(text) => text,
            Err(why) => {
                // What happens until the next good scrape isn't known.
                *last = None;
                for listening in self.services().values() {
                    listening.samples.lost();
                }
                return Err(why);
            }
        };
        let services = self.services().clone();
        let watched = services.values().map(|listening| &listening.watched);
        let now = Counters::read(&text, watched);
        let mut comparable = BTreeSet::new();
        for (name, listening) in services {
            let (watched, diverted) = (&listening.watched, listening.diverted);
            let used = last
                .as_ref()
                .and_then(|last| now.used_since(last, watched, diverted));
            match used {
                Some(used) => {
                    listening.samples.heard(used);
                    comparable.insert(name);
                }
                None => listening.samples.lost(),
            }
        }
        *last = Some(now);
        Ok(comparable)
    }

    async fn fetch(&self) -> Result<String, String> {
        let read = async {
            let mut answer = self
                .inner
                .http
                .get(&self.inner.url)
                .send()
                .await?
                .error_for_status()?;
            let mut text = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                text.extend_from_slice(&chunk);
                if text.len() > SCRAPE_BYTES_MAX {
                    return Ok(None);
                }
            }
            Ok::<_, reqwest::Error>(Some(text))
        };
        match read.await {
            Ok(Some(text)) => {
                String::from_utf8(text).map_err(|_| "the metrics are not text".to_owned())
            }
            Ok(None) => Err(format!(
                "the metrics are longer than {SCRAPE_BYTES_MAX} bytes"
            )),
            Err(error) => Err(error.without_url().to_string()),
        }
    }
}

impl std::fmt::Debug for TraefikSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraefikSignal")
            .field("url", &self.inner.url)
            .finish_non_exhaustive()
    }
}
