//! Load from the node_exporter of each instance, asked directly at the instance's own address.
//!
//! An instance is told by its address: a clone that carries the seed's hostname or labels is no matter. The processors are
//! busy for as long as they are neither idle nor waiting for a disk; what the host gave to others (`steal`) counts as busy,
//! because such a machine is full, whatever it does itself. [`text`] reads the answer, [`figures`] compares two of them,
//! [`link`] keeps the connection in between.

mod figures;
mod link;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::{HeaderValue, Uri};
use tokio::time::{Instant, timeout};

use self::figures::Busy;
use self::link::{Failed, Link, Question};
use self::text::{Figures, Lines};
use super::{Lack, LoadSignal, Measured};
use crate::engine::id::{InstanceId, ServiceName};
use crate::engine::load::{Sample, Share};
use crate::engine::time::Time;
use crate::engine::traffic::Upstream;
use crate::telemetry::metrics;

/// The word in the configuration.
const KIND: &str = "node-exporter";

/// An exporter reads `/proc` and answers in milliseconds: one that takes longer is on a machine that has no sample.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// Instances of one service that are asked at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Readings that are further apart than so many intervals are not compared: what lies between them is old.
const INTERVALS_MAX: u32 = 3;

/// What is asked of whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service.
    pub service: ServiceName,
    /// The exporter's port, at the address of each instance.
    pub port: u16,
    /// Where its metrics are; starts with `/` and has no query.
    pub path: String,
    /// What of the machine is looked at.
    pub of: Of,
    /// How often it is measured.
    pub interval: Duration,
}

/// What of a machine is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Its processors.
    Cpu,
    /// Its memory.
    Memory,
    /// Whichever of the two is busier.
    Both,
}

/// A path that can be no part of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path")]
pub struct BadPath(String);

/// The signal of `kind = "node-exporter"`.
pub struct NodeExporter {
    settings: Settings,
    path: Uri,
    peers: Mutex<BTreeMap<InstanceId, Peer>>,
}

/// What is kept of an instance from one measurement to the next.
struct Peer {
    question: Question,
    address: SocketAddr,
    link: Option<Link>,
    last: Option<(Figures, Instant)>,
}

impl NodeExporter {
    /// A signal that has measured nothing yet.
    ///
    /// # Errors
    ///
    /// When the path can't be asked for.
    pub fn new(settings: Settings) -> Result<NodeExporter, BadPath> {
        // The other collectors cost the machine more than these two.
        let collectors = match settings.of {
            Of::Cpu => "?collect[]=cpu",
            Of::Memory => "?collect[]=meminfo",
            Of::Both => "?collect[]=cpu&collect[]=meminfo",
        };
        let path = format!("{}{collectors}", settings.path);
        Ok(NodeExporter {
            path: path.parse().map_err(|_| BadPath(settings.path.clone()))?,
            settings,
            peers: Mutex::default(),
        })
    }

    async fn measured(&self, crew: &[Upstream], now: Time) -> Measured {
        let mut known = std::mem::take(&mut *self.peers());
        let asked = crew.iter().map(|one| {
            let address = SocketAddr::new(one.address.ip(), self.settings.port);
            let peer = known.remove(&one.instance);
            let peer = peer.filter(|peer| peer.address == address);
            (one.instance, peer.unwrap_or_else(|| self.peer(address)))
        });
        let asked: Vec<_> = asked.collect();
        // Those of instances that are gone.
        drop(known);
        let answers = stream::iter(asked)
            .map(|(instance, mut peer)| async move {
                let busy = self.asked(&mut peer).await;
                (instance, peer, busy)
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut steal = None;
        let mut peers = BTreeMap::new();
        let measured = answers.into_iter().map(|(instance, peer, busy)| {
            peers.insert(instance, peer);
            let sample = busy.map(|Busy { share, steal: s }| {
                steal = steal.max(Some(s));
                Sample {
                    instance,
                    at: now,
                    busy: share,
                }
            });
            (instance, sample)
        });
        let measured: Measured = measured.collect();
        *self.peers() = peers;
        if self.settings.of != Of::Memory {
            self.stolen(steal);
        }
        measured.told(&self.settings.service, KIND)
    }

    fn stolen(&self, most: Option<Share>) {
        let service = &self.settings.service;
        let ratio = most.unwrap_or_default().in_hundredths() as f64 / 10_000.0;
        metrics().stolen(service, ratio);
        if ratio > 0.0 {
            tracing::debug!(%service, ratio, "the host gave processors to others");
        }
    }

    fn peer(&self, address: SocketAddr) -> Peer {
        let host = HeaderValue::try_from(address.to_string());
        Peer {
            question: Question {
                path: self.path.clone(),
                host: host.expect("an address is the value of a header"),
            },
            address,
            link: None,
            last: None,
        }
    }

    async fn asked(&self, peer: &mut Peer) -> Result<Busy, Lack> {
        let began = Instant::now();
        let soon = |at: Instant| began - at < super::apart(self.settings.interval);
        if self.settings.of != Of::Memory && peer.last.as_ref().is_some_and(|(_, at)| soon(*at)) {
            return Err(Lack::Soon);
        }
        let within = ASKED_WITHIN.min(self.settings.interval);
        let answer = timeout(within, peer.read()).await;
        let answer = answer.unwrap_or_else(|_| {
            // What would still come is no answer to the next question.
            peer.link = None;
            Err(format!(
                "its node_exporter gave no answer within {within:?}"
            ))
        });
        let outcome = if answer.is_ok() { "ok" } else { "no_answer" };
        metrics().load_asked(KIND, outcome, began.elapsed().into());
        let figures = answer.map_err(Lack::NoAnswer)?;
        // The answer tells of a moment after the question.
        let oldest = self.settings.interval * INTERVALS_MAX;
        let last = peer.last.as_ref().map(|(last, at)| (last, began - *at));
        let last = last.filter(|(_, elapsed)| *elapsed <= oldest);
        let busy = figures::busy(self.settings.of, last, &figures);
        peer.last = Some((figures, began));
        busy
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, Peer>> {
        // Every change puts a whole map in its place.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// Asks over the kept connection, and once more over a new one when that has ended: a GET may be repeated.
    async fn read(&mut self) -> Result<Figures, String> {
        let cpus = self.last.as_ref().map_or(0, |(last, _)| last.cpus.len());
        if let Some(mut link) = self.link.take()
            && link.is_free().await
        {
            match link.ask(&self.question, Lines::like(cpus)).await {
                Ok(lines) => {
                    self.link = Some(link);
                    return Ok(lines.end());
                }
                Err(Failed::Wrong(why)) => return Err(why),
                Err(Failed::Silent(_)) => {}
            }
        }
        let mut link = Link::connect(self.address).await?;
        match link.ask(&self.question, Lines::like(cpus)).await {
            Ok(lines) => {
                self.link = Some(link);
                Ok(lines.end())
            }
            Err(Failed::Wrong(why) | Failed::Silent(why)) => Err(why),
        }
    }
}

impl LoadSignal for NodeExporter {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn measure<'a>(&'a self, crew: &'a [Upstream], now: Time) -> BoxFuture<'a, Measured> {
        Box::pin(self.measured(crew, now))
    }
}
