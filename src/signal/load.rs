//! How busy the instances of a service are. One trait, [`LoadSignal`], and four kinds of it.
//!
//! A signal measures and decides nothing. What it could not measure it leaves out, with the reason: no figure is ever
//! made up, carried on from an earlier one, or taken from another machine. When a figure is of is part of it
//! ([`Sample::at`]); how old it may be is the engine's to say.

pub mod node_exporter;
pub mod prometheus;
pub mod provider;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::engine::id::{InstanceId, ServiceName};
use crate::engine::load::Sample;
use crate::engine::time::Time;
use crate::engine::traffic::Upstream;
use crate::telemetry::metrics;

/// What tells how busy the instances of one service are.
pub trait LoadSignal: Send + Sync + 'static {
    /// The word in the configuration (`kind = "..."`).
    fn kind(&self) -> &'static str;

    /// Measures the instances of `crew`, each once; `now` is the room's clock. Every call to the outside has a deadline,
    /// so this ends within some seconds. Every instance of the crew is told of exactly once: with a sample, or with the
    /// reason why there is none. May be dropped at any await; what was learned until then is forgotten.
    fn measure<'a>(&'a self, crew: &'a [Upstream], now: Time) -> BoxFuture<'a, Measured>;
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// At most one for each instance.
    pub samples: Vec<Sample>,
    /// The instances without one, and why.
    pub lacking: Vec<(InstanceId, Lack)>,
}

/// Why there is no sample of an instance, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// A rate needs two readings.
    #[error("its figures were read for the first time")]
    First,
    /// A rate over a moment says nothing. The reading before is the newest that there is.
    #[error("it was read a moment ago")]
    Soon,
    /// The counters do not go on from the last reading: a reboot, a processor that came or went, a pause.
    #[error("its counters do not go on from the last reading")]
    Broken,
    /// What it answered has no figure of it.
    #[error("{0}")]
    NoFigure(String),
    /// There was no good answer.
    #[error("{0}")]
    NoAnswer(String),
}

impl Measured {
    /// The same reason for all.
    #[must_use]
    pub fn nothing(crew: &[Upstream], why: &Lack) -> Measured {
        let lacking = crew.iter().map(|one| (one.instance, why.clone()));
        Measured {
            samples: Vec::new(),
            lacking: lacking.collect(),
        }
    }

    /// Says it in the log and the metrics.
    fn told(self, service: &ServiceName, kind: &'static str) -> Measured {
        let metrics = metrics();
        metrics.measured(service, "sample", self.samples.len());
        metrics.measured(service, "none", self.lacking.len());
        for Sample { instance, busy, .. } in &self.samples {
            let percent = busy.in_hundredths() as f64 / 100.0;
            tracing::debug!(%service, %instance, kind, percent, "measured");
        }
        for (instance, why) in &self.lacking {
            tracing::debug!(%service, %instance, kind, %why, "not measured");
        }
        self
    }
}

impl FromIterator<(InstanceId, Result<Sample, Lack>)> for Measured {
    fn from_iter<T: IntoIterator<Item = (InstanceId, Result<Sample, Lack>)>>(all: T) -> Measured {
        let mut measured = Measured::default();
        for (instance, sample) in all {
            match sample {
                Ok(sample) => measured.samples.push(sample),
                Err(why) => measured.lacking.push((instance, why)),
            }
        }
        measured
    }
}

/// Readings that are closer together are not compared: counters grow in hundredths of a second, and what an app does in a
/// moment is not its load. An alert that comes right after a reading finds the sample of that.
const APART: Duration = Duration::from_secs(1);

/// The least time between two readings that make a sample, of an instance that is measured every `interval`.
fn apart(interval: Duration) -> Duration {
    APART.min(interval / 4)
}

/// The signal of `kind = "webhook"`: nothing is measured, only alerts that come in are evidence.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl LoadSignal for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn measure<'a>(&'a self, crew: &'a [Upstream], _now: Time) -> BoxFuture<'a, Measured> {
        let why = Lack::NoFigure("nothing is measured: only alerts count".to_owned());
        let measured = Measured::nothing(crew, &why);
        Box::pin(async { measured })
    }
}

impl fmt::Debug for dyn LoadSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}
