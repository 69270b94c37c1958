//! How visitors reach a service: through the room alone, or through Traefik with the room as its fallback. The
//! engine's publish, proof and last look mean something different on each.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::engine::contract::{Activity, Routing};
use crate::engine::id::ServiceName;
use crate::publish::traefik::Publisher;
use crate::signal::traefik::TraefikSignal;

/// The answer of a way.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, String>>;

/// The visitors' way to one service.
pub trait Way: Send + Sync + 'static {
    /// Puts a routing in force and returns when it is proven to be.
    fn publish(&self, routing: Routing) -> Answer<'_, ()>;

    /// Proves that a visitor of this service reaches the room now.
    fn prove_divert(&self) -> Answer<'_, ()>;

    /// Fresh samples of the sources beside our own edge.
    fn look(&self) -> Answer<'_, Vec<Activity>>;
}

/// Every request passes the room: there is nothing to publish, and the gate is the proof.
#[derive(Clone, Copy, Debug)]
pub struct RoomOnly;

impl Way for RoomOnly {
    fn publish(&self, _routing: Routing) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn prove_divert(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn look(&self) -> Answer<'_, Vec<Activity>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// A proof that does not come by then does not come: Traefik has said before that the routing is in force.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two tries.
const PROOF_EVERY: Duration = Duration::from_millis(100);

/// One try.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Requests go through Traefik, which sends them straight to the instances while the service is awake.
#[derive(Clone, Debug)]
pub struct ThroughTraefik {
    /// Whose way this is.
    pub service: ServiceName,
    /// Puts the routing in force.
    pub publisher: Publisher,
    /// Reads the counters.
    pub signal: TraefikSignal,
    /// For the proof.
    pub http: reqwest::Client,
    /// Whether we publish. Where the operator writes the routing by hand, nobody can be led away before the stop:
    /// then the proof is that the room can be reached through Traefik at all, by the routers for streams, so that
    /// its errors page takes over when the machine goes.
    pub published: bool,
    /// How visitors reach Traefik; without it, Traefik's own word that it leads to the room is the proof.
    pub public_url: Option<String>,
    /// A hostname of the service.
    pub host: String,
}

impl ThroughTraefik {
    /// Asks along the visitors' way for what only the room answers.
    async fn ping(&self, public_url: &str) -> Result<(), String> {
        let url = format!("{public_url}/__anteroom/ping");
        let mut request = self
            .http
            .get(url)
            .header(http::header::HOST, &self.host)
            .timeout(PING_TIMEOUT);
        if !self.published {
            request = request.header(http::header::ACCEPT, "text/event-stream");
        }
        let answer = request
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        match answer.headers().contains_key("x-anteroom") {
            true => Ok(()),
            false => Err(format!(
                "{} through {public_url} is answered by the app, not by the room",
                self.host
            )),
        }
    }
}

impl Way for ThroughTraefik {
    fn publish(&self, routing: Routing) -> Answer<'_, ()> {
        // Where nothing is published, the routers go on leading to the instances.
        self.signal
            .set_diverted(&self.service, self.published && routing == Routing::Asleep);
        Box::pin(self.publisher.publish(self.service.clone(), routing))
    }

    fn prove_divert(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let Some(public_url) = &self.public_url else {
                return Ok(());
            };
            let deadline = Instant::now() + PROOF_TIMEOUT;
            loop {
                match self.ping(public_url).await {
                    Ok(()) => return Ok(()),
                    Err(why) if Instant::now() >= deadline => return Err(why),
                    Err(_) => tokio::time::sleep(PROOF_EVERY).await,
                }
            }
        })
    }

    fn look(&self) -> Answer<'_, Vec<Activity>> {
        Box::pin(async move { Ok(vec![self.signal.look_now(&self.service).await?]) })
    }
}
