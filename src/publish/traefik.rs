//! The routing of all services, as Traefik's dynamic configuration.
//!
//! One task owns the whole of it, because every change of Traefik's configuration, for whatever service, marks
//! all servers of all services as up for one health interval. So changes are gathered for a moment, content that
//! did not change is never written, and an answer is given only when Traefik itself says that it has taken the
//! routing up. What Traefik refuses is put back to what it had. Read [`form`] for the routing itself.

mod api;
pub mod form;
pub mod print;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::file;
use crate::engine::contract::Routing;
use crate::engine::id::ServiceName;
use form::ServiceSettings;

/// Changes within this time are written together.
const GATHER: Duration = Duration::from_millis(50);

/// After a write, the next one waits so long: each resets Traefik's health of all services.
const BETWEEN_WRITES: Duration = Duration::from_millis(200);

/// At the start, so long is waited for all services to say their routing. Until then Traefik keeps what it has.
const START_WAIT: Duration = Duration::from_secs(3);

/// Traefik takes a file up within twice its throttle, which is 2 s where the operator left it alone.
const TAKE_UP_TIMEOUT: Duration = Duration::from_secs(12);

/// Publishes that may wait for the task; a service has one under way at a time.
const WAITING_MAX: usize = 1_024;

/// How the routing gets to Traefik.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By a file in a directory that Traefik watches.
    File(PathBuf),
    /// Traefik fetches it from the admin listener.
    Http,
    /// Not at all: the operator writes it by hand.
    Nothing,
}

/// What the publisher needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the routing gets to Traefik.
    pub kind: Kind,
    /// How Traefik reaches the room.
    pub room_url: String,
    /// Traefik's API; without it a publish counts as done when it is written.
    pub api: Option<String>,
    /// The entry points of the routers.
    pub entrypoints: Vec<String>,
    /// The services that Traefik routes.
    pub services: Vec<ServiceSettings>,
}

/// The door to the publisher's task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Publisher {
    asks: mpsc::Sender<Ask>,
    served: Arc<ArcSwapOption<Bytes>>,
}

#[derive(Debug)]
enum Ask {
    Publish {
        service: ServiceName,
        routing: Routing,
        done: oneshot::Sender<Result<(), String>>,
    },
    Services(Vec<ServiceSettings>),
}

/// Starts the publisher's task; it ends when `end` is cancelled and leaves the routing as it is.
///
/// # Errors
/// When the client for Traefik's API can't be made.
pub fn spawn(settings: Settings, end: CancellationToken) -> Result<Publisher, reqwest::Error> {
    let (asks, inbox) = mpsc::channel(WAITING_MAX);
    let served: Arc<ArcSwapOption<Bytes>> = Arc::default();
    let api = settings.api.as_deref().map(api::Api::new).transpose()?;
    let task = Task {
        settings,
        api,
        served: Arc::clone(&served),
        routings: BTreeMap::new(),
        waiting: Vec::new(),
        in_force: None,
        written_at: None,
    };
    tokio::spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = task.run(inbox) => {}
        }
    });
    Ok(Publisher { asks, served })
}

impl Publisher {
    /// Puts a service's routing in force; answers when Traefik has taken it up.
    ///
    /// # Errors
    /// Why it is not in force: Traefik's own words where it has any.
    pub async fn publish(&self, service: ServiceName, routing: Routing) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let ended = |_| "the publisher has ended".to_owned();
        self.asks
            .send(Ask::Publish {
                service,
                routing,
                done,
            })
            .await
            .map_err(|_| ended(()))?;
        answer.await.map_err(|_| ended(()))?
    }

    /// Replaces the services that are published. Those that stay keep their routing.
    pub async fn set_services(&self, services: Vec<ServiceSettings>) {
        // An ended publisher publishes nothing: the process is ending.
        let _ = self.asks.send(Ask::Services(services)).await;
    }

    /// What the admin listener serves to Traefik's HTTP provider; none until everything is known, because an
    /// empty configuration would take all of Traefik's routers away.
    #[must_use]
    pub fn served(&self) -> Option<Bytes> {
        self.served.load().as_deref().cloned()
    }
}

struct Waiting {
    service: ServiceName,
    routing: Routing,
    done: oneshot::Sender<Result<(), String>>,
}

struct Task {
    settings: Settings,
    api: Option<api::Api>,
    served: Arc<ArcSwapOption<Bytes>>,
    routings: BTreeMap<ServiceName, Routing>,
    waiting: Vec<Waiting>,
    in_force: Option<String>,
    written_at: Option<Instant>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        let start = Instant::now();
        while let Some(ask) = inbox.recv().await {
            self.take(ask);
            self.gather(&mut inbox, start).await;
            self.write().await;
        }
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Publish {
                service,
                routing,
                done,
            } => {
                self.routings.insert(service.clone(), routing.clone());
                self.waiting.push(Waiting {
                    service,
                    routing,
                    done,
                });
            }
            Ask::Services(services) => {
                self.routings
                    .retain(|name, _| services.iter().any(|service| service.name == *name));
                self.settings.services = services;
            }
        }
    }

    /// Takes in what comes within a moment; at the start, until every service has spoken.
    async fn gather(&mut self, inbox: &mut mpsc::Receiver<Ask>, start: Instant) {
        let now = Instant::now();
        let pause = self.written_at.map_or(now, |at| at + BETWEEN_WRITES);
        let until = match self.in_force.is_none() && !self.all_known() {
            true => (start + START_WAIT).max(now),
            false => (now + GATHER).max(pause),
        };
        while let Ok(Some(ask)) = tokio::time::timeout_at(until, inbox.recv()).await {
            self.take(ask);
            if self.in_force.is_none() && self.all_known() {
                return;
            }
        }
    }

    fn all_known(&self) -> bool {
        self.settings
            .services
            .iter()
            .all(|service| self.routings.contains_key(&service.name))
    }

    async fn write(&mut self) {
        let result = match form::render(&self.settings, &self.routings) {
            Ok(text) => self.put_in_force(text).await,
            Err(why) => Err(why),
        };
        for waiting in self.waiting.drain(..) {
            // A newer ask of the same service has taken this one's place in what was written.
            let current = self.routings.get(&waiting.service) == Some(&waiting.routing);
            let answer = match current {
                true => result.clone(),
                false => Err("a newer routing took its place".to_owned()),
            };
            // Whoever no longer waits has given up on this publish.
            let _ = waiting.done.send(answer);
        }
    }

    async fn put_in_force(&mut self, text: String) -> Result<(), String> {
        if self.in_force.as_ref() == Some(&text) {
            return Ok(());
        }
        let expected = form::expected(&self.settings, &self.routings);
        match self.settings.kind.clone() {
            Kind::Nothing => {}
            Kind::Http => {
                let before = self.served.swap(Some(Arc::new(Bytes::from(text.clone()))));
                if let Err(why) = self.verify(&expected, "http").await {
                    self.served.store(before);
                    self.in_force = None;
                    return Err(why);
                }
            }
            Kind::File(path) => {
                let before = file::replace(&path, &text).await?;
                if let Err(why) = self.verify(&expected, "file").await {
                    let put_back = file::put_back(&path, before).await;
                    self.in_force = None;
                    return Err(match put_back {
                        Ok(()) => format!("{why}; the file is put back to what it was"),
                        Err(error) => format!("{why}; and the file could not be put back: {error}"),
                    });
                }
            }
        }
        self.written_at = Some(Instant::now());
        self.in_force = Some(text);
        Ok(())
    }

    async fn verify(&self, expected: &[form::Expected], provider: &str) -> Result<(), String> {
        match &self.api {
            None => Ok(()),
            Some(api) => {
                api.until_taken_up(expected, provider, TAKE_UP_TIMEOUT)
                    .await
            }
        }
    }
}
