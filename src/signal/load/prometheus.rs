//! Load from a Prometheus: an expression of the operator's, in percent.
//!
//! An answer of Prometheus carries the moment at which it was asked, not the one at which was measured: a machine that died
//! is told of for up to five minutes more, as if it were still there. So a second expression says when each instance was
//! measured; where the operator writes none, it is [`SCRAPED`]. [`answer`] reads answers and finds instances in them,
//! [`server`] asks.

mod answer;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use self::answer::{Found, Whom};
use self::server::Pair;
pub use self::server::{BadServer, Login, Server};
use super::{Lack, LoadSignal, Measured};
use crate::engine::id::ServiceName;
use crate::engine::load::{Sample, Share};
use crate::engine::time::{Span, Time};
use crate::engine::traffic::Upstream;

/// The word in the configuration.
const KIND: &str = "prometheus";

/// When each target was scraped last, where that scrape succeeded, in seconds since the epoch; zero where it failed.
/// `timestamp` gives a sample's own time when it is asked of a selector itself.
pub const SCRAPED: &str = "timestamp(up) * up";

/// What rates come out with where everything is used: they are extrapolated. More is no percentage.
const PERCENT_MAX: f64 = 110.0;

/// And where nothing is used.
const PERCENT_MIN: f64 = -1.0;

/// A moment so far ahead of Prometheus' own clock is no moment.
const AHEAD_MAX_SECS: f64 = 5.0;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service.
    pub service: ServiceName,
    /// The expression for the load, in percent.
    pub query: String,
    /// The expression for when was measured, in seconds since the epoch; none for [`SCRAPED`].
    pub at: Option<String>,
    /// How often it is measured.
    pub interval: Duration,
}

/// The signal of `kind = "prometheus"`.
#[derive(Debug)]
pub struct Prometheus {
    settings: Settings,
    server: Arc<Server>,
}

impl Prometheus {
    /// A signal that asks this server.
    #[must_use]
    pub fn new(settings: Settings, server: Arc<Server>) -> Prometheus {
        Prometheus { settings, server }
    }

    async fn measured(&self, crew: &[Upstream], now: Time) -> Measured {
        let Settings {
            service,
            query,
            at,
            interval,
        } = &self.settings;
        let at = at.as_deref().unwrap_or(SCRAPED);
        let began = Instant::now();
        // Whoever comes at the next interval gets an answer of its own.
        let fresh = *interval - *interval / 10;
        let (when, heard) = self.server.ask(query, at, fresh).await;
        let measured = match heard {
            // It is younger than the answer where that came while we waited.
            Ok(pair) => of(
                &pair,
                began.saturating_duration_since(when),
                service,
                crew,
                now,
            ),
            Err(why) => {
                let why = Lack::NoAnswer(format!("Prometheus tells nothing: {why}"));
                Measured::nothing(crew, &why)
            }
        };
        measured.told(service, KIND)
    }
}

/// What an answer that is `old` says of these instances.
fn of(pair: &Pair, old: Duration, service: &ServiceName, crew: &[Upstream], now: Time) -> Measured {
    let one = |one: &Upstream| {
        let ip = one.address.ip();
        let same = crew.iter().filter(|other| other.address.ip() == ip);
        let whom = Whom {
            service,
            one,
            shared: same.count() > 1,
        };
        let sample = sample(pair, whom).map(|(busy, age)| Sample {
            instance: one.instance,
            at: now - (age + Span::from(old)),
            busy,
        });
        (one.instance, sample)
    };
    crew.iter().map(one).collect()
}

/// How busy an instance was, and how long before the answer.
fn sample(pair: &Pair, whom: Whom<'_>) -> Result<(Share, Span), Lack> {
    let (value, label) = match pair.values.value(whom) {
        Found::One(value, label) => (value, label),
        Found::Several(count) => {
            return Err(lack(format!(
                "the query gives {count} values of it; write one that begins with avg by (instance)"
            )));
        }
        Found::Nothing => {
            let address = whom.one.address;
            return Err(lack(format!(
                "the query gives nothing of {address}: no label `instance` with this host, no \
                 `anteroom_instance`"
            )));
        }
    };
    let busy = percent(value)?;
    let moment = pair.moments.least(whom, label.as_deref()).ok_or_else(|| {
        lack("Prometheus does not tell when it was measured: `up` has nothing of it; write `at`")
    })?;
    Ok((busy, age(pair.moments.evaluated, moment)?))
}

/// A percentage. What lies a little beside 0 and 100 is of rates.
fn percent(value: f64) -> Result<Share, Lack> {
    match value {
        value if (PERCENT_MIN..=PERCENT_MAX).contains(&value) => {
            let hundredths = (value.max(0.0) * 100.0).round();
            Ok(Share::hundredths(hundredths as u64))
        }
        value => Err(lack(format!(
            "the query gives {value}, which is no percentage from 0 to 100"
        ))),
    }
}

/// How old a measurement is, by Prometheus' own clock.
fn age(evaluated: f64, moment: f64) -> Result<Span, Lack> {
    let age = evaluated - moment;
    // Zero times anything is no moment; neither is what is not finite.
    if moment <= 0.0 || !age.is_finite() {
        return Err(lack("Prometheus could not scrape it the last time"));
    }
    match age >= -AHEAD_MAX_SECS {
        true => Ok(Span::millis((age.max(0.0) * 1000.0).ceil() as u64)),
        false => Err(lack("it was measured in the future, as `at` says")),
    }
}

fn lack(why: impl Into<String>) -> Lack {
    Lack::NoFigure(why.into())
}

impl LoadSignal for Prometheus {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn measure<'a>(&'a self, crew: &'a [Upstream], now: Time) -> BoxFuture<'a, Measured> {
        Box::pin(self.measured(crew, now))
    }
}
