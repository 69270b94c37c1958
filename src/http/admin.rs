//! The admin listener: state, commands, metrics and discovery. Never public.
//!
//! With a token, every call but `/livez` and `/readyz` must carry it. Without one, only loopback peers are
//! served, and only under a loopback name, so that a web page in the admin's browser can't reach it by a name
//! that it lets point here (DNS rebinding); a call that a browser sends for another site is refused.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::driver::admission::Admission;
use crate::driver::clock::Clock;
use crate::driver::handle::{Command, Handle};
use crate::driver::names::Clients;
use crate::engine::id::ServiceName;
use crate::store::Store;
use crate::telemetry::metrics;

mod alerts;
mod entry;
mod past;

pub use alerts::{Alerts, Signed};

/// A command's body is a few words of JSON.
const BODY_MAX: usize = 16 * 1024;

/// Admins, Prometheus and Traefik together need a handful.
const CONNECTIONS_MAX: usize = 256;

/// For a call's head, and for an idle connection.
const HEAD_WAIT: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// After a failed accept (out of file numbers, above all).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A hold without a length, and the longest one.
const HOLD_DEFAULT: Duration = Duration::from_secs(60 * 60);
const HOLD_MAX: Duration = Duration::from_secs(60 * 60 * 24 * 30);

/// The dynamic configuration for Traefik's HTTP provider, once there is one.
pub type TraefikConfig = Arc<dyn Fn() -> Option<Bytes> + Send + Sync>;

/// The instances for Prometheus; none while they are not known yet.
pub type TargetList = Arc<dyn Fn() -> Option<Bytes> + Send + Sync>;

/// What the admin listener serves.
pub struct Admin {
    /// The services, swapped on reload.
    pub services: ArcSwap<BTreeMap<ServiceName, Handle>>,
    /// For the ledger.
    pub store: Arc<dyn Store>,
    /// For who is to be forgotten.
    pub clients: Clients,
    /// Forgets them as well.
    pub admission: Arc<Admission>,
    /// The time.
    pub clock: Clock,
    /// The secret; none means loopback only.
    pub token: ArcSwap<Option<String>>,
    /// For `/traefik`.
    pub traefik: ArcSwap<Option<TraefikConfig>>,
    /// For `/prometheus/targets`.
    pub targets: TargetList,
    /// For `/v1/scale-up` and `/v1/scale-down`.
    pub alerts: Alerts,
}

type Answer = Response<Full<Bytes>>;

/// Why a call isn't served.
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Refusal {
        Refusal {
            status,
            why: why.into(),
        }
    }

    fn answer(&self) -> Answer {
        problem(self.status, &self.why)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    #[serde(default, rename = "for")]
    length: Option<jiff::SignedDuration>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    who: Option<String>,
}

/// Serves admins until `shutdown`; a call that is under way then is let end within its own deadlines.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let calls = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (admin, shutdown) = (Arc::clone(&admin), shutdown.clone());
        calls.spawn(async move {
            let service = service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(admin.answer(peer, request).await) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WAIT)
                .max_header_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            let mut serving = std::pin::pin!(serving);
            // A connection that breaks off is the caller's affair.
            tokio::select! {
                _ = serving.as_mut() => {}
                () = shutdown.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(HEAD_WAIT, serving).await;
                }
            }
            drop(place);
        });
    }
    calls.close();
    calls.wait().await;
}

impl Admin {
    /// Answers one call. Never fails.
    pub async fn answer<B>(&self, peer: SocketAddr, request: Request<B>) -> Answer
    where
        B: http_body::Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/livez" => return text(StatusCode::OK, "alive\n"),
            "/readyz" => return self.ready(),
            _ => {}
        }
        if let Some(direction) = alerts::direction(&path) {
            let told = Box::pin(self.alerts(peer, request, direction)).await;
            return told.unwrap_or_else(|it| it.answer());
        }
        if let Err(refusal) = self.admit(peer, request.headers()) {
            return refusal.answer();
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method(), segments.as_slice()) {
            (&Method::GET, ["metrics"]) => openmetrics(),
            (&Method::GET, ["traefik"]) => self.traefik_config(),
            (&Method::GET, ["prometheus", "targets"]) => self.prometheus_targets(),
            (&Method::GET, ["api", "v1", "services"]) => self.list(),
            (&Method::GET, ["api", "v1", "services", name]) => self.one(name),
            (&Method::GET, ["api", "v1", "services", name, "why"]) => {
                self.why(name).await.unwrap_or_else(|it| it.answer())
            }
            (&Method::GET, ["api", "v1", "services", name, "ledger"]) => {
                let ledger = self.ledger(name, &query).await;
                ledger.unwrap_or_else(|it| it.answer())
            }
            (&Method::POST, ["api", "v1", "forget"]) => match read(request).await {
                Ok(ask) => self.forget(&ask).await.unwrap_or_else(|it| it.answer()),
                Err(why) => problem(StatusCode::BAD_REQUEST, &why),
            },
            (&Method::POST, ["api", "v1", "pardon"]) => match read(request).await {
                Ok(ask) => self.pardon(&ask).await.unwrap_or_else(|it| it.answer()),
                Err(why) => problem(StatusCode::BAD_REQUEST, &why),
            },
            (&Method::POST, ["api", "v1", "services", name, verb]) => {
                let (name, verb) = ((*name).to_owned(), (*verb).to_owned());
                match read_or(request, Ask::default()).await {
                    Ok(ask) => self.command(&name, &verb, ask),
                    Err(why) => problem(StatusCode::BAD_REQUEST, &why),
                }
            }
            _ => problem(
                StatusCode::NOT_FOUND,
                "there is nothing here; see docs/operations.md for the paths",
            ),
        }
    }

    /// A room whose store is away is ready all the same: it serves pages and lets people in, and taking it out of
    /// service, with all others on that store, would leave visitors with nothing.
    fn ready(&self) -> Answer {
        if self.store.trouble().is_some() {
            let body = "ready, and degraded: the store is away, so wakes go on within a quarter of the limits and \
                        nothing is put to sleep; the log says why it is away\n";
            return text(StatusCode::OK, body);
        }
        let services = self.services.load();
        let learning = services
            .values()
            .filter(|s| s.view().phase == crate::engine::view::Phase::Learning)
            .count();
        match learning {
            0 => text(StatusCode::OK, "ready\n"),
            n => text(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("{n} services are not known yet\n"),
            ),
        }
    }

    fn handle(&self, name: &str) -> Result<Handle, Refusal> {
        let services = self.services.load();
        let found = name
            .parse()
            .ok()
            .and_then(|name: ServiceName| services.get(&name).cloned());
        found.ok_or_else(|| {
            let known: Vec<_> = services.keys().map(ServiceName::as_str).collect();
            let known = if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            };
            Refusal::new(
                StatusCode::NOT_FOUND,
                format!("there is no service {name:?}; there are: {known}"),
            )
        })
    }

    fn list(&self) -> Answer {
        let services = self.services.load();
        let views: Vec<_> = services.values().map(|handle| handle.view()).collect();
        let views: Vec<_> = views.iter().map(AsRef::as_ref).collect();
        json_answer(StatusCode::OK, &json!({ "services": views }))
    }

    fn one(&self, name: &str) -> Answer {
        match self.handle(name) {
            Ok(handle) => json_answer(StatusCode::OK, &json!(handle.view().as_ref())),
            Err(refusal) => refusal.answer(),
        }
    }

    fn command(&self, name: &str, verb: &str, ask: Ask) -> Answer {
        let handle = match self.handle(name) {
            Ok(handle) => handle,
            Err(refusal) => return refusal.answer(),
        };
        let who = ask.who.unwrap_or_else(|| "admin".into());
        let command = match verb {
            "wake" => Command::Wake { who },
            "sleep" => Command::Sleep { who },
            "release" => Command::Release,
            "hold" => {
                let length = match ask.length.map(Duration::try_from) {
                    None => HOLD_DEFAULT,
                    Some(Ok(length)) if length <= HOLD_MAX && !length.is_zero() => length,
                    Some(_) => {
                        return problem(
                            StatusCode::BAD_REQUEST,
                            "a hold lasts between 1s and 30 days",
                        );
                    }
                };
                Command::Hold {
                    length,
                    reason: ask.reason.unwrap_or(who),
                }
            }
            _ => {
                return problem(
                    StatusCode::NOT_FOUND,
                    "the commands are wake, sleep, hold and release",
                );
            }
        };
        match handle.command(command) {
            Ok(()) => json_answer(
                StatusCode::ACCEPTED,
                &json!({ "service": name, "accepted": verb }),
            ),
            Err(busy) => problem(StatusCode::SERVICE_UNAVAILABLE, &busy.to_string()),
        }
    }

    /// An empty configuration would wipe Traefik's routers; while nothing is known yet, 503 keeps the old one.
    fn traefik_config(&self) -> Answer {
        match self
            .traefik
            .load()
            .as_ref()
            .as_ref()
            .and_then(|config| config())
        {
            Some(body) => with_type(StatusCode::OK, "application/json", body),
            None => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "there is no routing to publish yet",
            ),
        }
    }

    /// Prometheus keeps its list when it gets another status than 200.
    fn prometheus_targets(&self) -> Answer {
        match (self.targets)() {
            Some(body) => with_type(StatusCode::OK, "application/json", body),
            None => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "it is not known yet which instances serve",
            ),
        }
    }
}

/// The body of a call.
async fn read<B, T>(request: Request<B>) -> Result<T, String>
where
    B: http_body::Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T: DeserializeOwned,
{
    parsed(&bytes(request, BODY_MAX).await?)
}

/// The same of a call that may have none.
async fn read_or<B, T>(request: Request<B>, none: T) -> Result<T, String>
where
    B: http_body::Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T: DeserializeOwned,
{
    let body = bytes(request, BODY_MAX).await?;
    match body.is_empty() {
        true => Ok(none),
        false => parsed(&body),
    }
}

fn parsed<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body is not as expected: {error}"))
}

async fn bytes<B>(request: Request<B>, most: usize) -> Result<Bytes, String>
where
    B: http_body::Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = Limited::new(request.into_body(), most).collect();
    let body = tokio::time::timeout(Duration::from_secs(10), Box::pin(body)).await;
    let body = body.map_err(|_| "the body did not come within 10s".to_owned())?;
    let body = body.map_err(|_| format!("the body is longer than {most} bytes or broke off"))?;
    Ok(body.to_bytes())
}

fn openmetrics() -> Answer {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    with_type(StatusCode::OK, kind, metrics().text().into())
}

fn text(status: StatusCode, body: &str) -> Answer {
    with_type(
        status,
        "text/plain; charset=utf-8",
        Bytes::copy_from_slice(body.as_bytes()),
    )
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Answer {
    with_type(status, "application/json", format!("{value:#}\n").into())
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    with_type(
        status,
        "application/problem+json",
        format!("{body}\n").into(),
    )
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    );
    answer
}
