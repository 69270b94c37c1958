//! Load from the provider's own figures: what each instance used of its processors between two readings.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio::time::{Instant, timeout};

use super::{Lack, LoadSignal, Measured};
use crate::engine::id::{InstanceId, ServiceName};
use crate::engine::load::{Sample, Share, Usage};
use crate::engine::machine::Trouble;
use crate::engine::time::Time;
use crate::engine::traffic::Upstream;
use crate::telemetry::metrics;

/// The word in the configuration.
const KIND: &str = "provider";

/// How long a provider may take. A container engine that is busy answers within a second.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// Instances of one service that are asked for at the same time.
const ASKED_AT_ONCE: usize = 4;

/// Readings that are further apart than so many intervals are not compared: what lies between them is old.
const INTERVALS_MAX: u32 = 3;

/// What the host's clock and ours may differ by between two readings: one of them was set, or the answer hung.
const DRIFT: Duration = Duration::from_secs(1);

/// Asks the provider what an instance has used so far.
pub type Ask =
    Box<dyn Fn(InstanceId) -> BoxFuture<'static, Result<Usage, Trouble>> + Send + Sync + 'static>;

/// The signal of `kind = "provider"`.
pub struct OfProvider {
    service: ServiceName,
    interval: Duration,
    ask: Ask,
    last: Mutex<BTreeMap<InstanceId, Reading>>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    usage: Usage,
    at: Instant,
}

impl OfProvider {
    /// A signal of this service that is measured every `interval`.
    #[must_use]
    pub fn new(service: ServiceName, interval: Duration, ask: Ask) -> OfProvider {
        OfProvider {
            service,
            interval,
            ask,
            last: Mutex::default(),
        }
    }

    async fn measured(&self, crew: &[Upstream], now: Time) -> Measured {
        let instances: Vec<_> = crew.iter().map(|one| one.instance).collect();
        let began = Instant::now();
        let soon = |reading: &Reading| began - reading.at < super::apart(self.interval);
        let before = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let before = &before;
        let readings: Vec<_> = stream::iter(instances)
            .map(|instance| async move {
                match before.get(&instance).filter(|last| soon(last)) {
                    Some(last) => (instance, Err(Lack::Soon), Some(*last)),
                    None => (instance, self.read(instance).await, None),
                }
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .collect()
            .await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clear();
        let measured = readings.into_iter().map(|(instance, reading, kept)| {
            last.extend(kept.map(|kept| (instance, kept)));
            let busy = reading.and_then(|reading| {
                last.insert(instance, reading);
                self.between(before.get(&instance), &reading)
            });
            let sample = busy.map(|busy| Sample {
                instance,
                at: now,
                busy,
            });
            (instance, sample)
        });
        let measured: Measured = measured.collect();
        drop(last);
        measured.told(&self.service, KIND)
    }

    async fn read(&self, instance: InstanceId) -> Result<Reading, Lack> {
        let began = Instant::now();
        let within = ASKED_WITHIN.min(self.interval);
        let answer = match timeout(within, (self.ask)(instance)).await {
            Ok(Ok(usage)) => Ok(usage),
            Ok(Err(trouble)) => Err(trouble.to_string()),
            Err(_) => Err(format!("its provider gave no answer within {within:?}")),
        };
        let outcome = if answer.is_ok() { "ok" } else { "no_answer" };
        metrics().load_asked(KIND, outcome, began.elapsed().into());
        let usage = answer.map_err(Lack::NoAnswer)?;
        let at = Instant::now();
        Ok(Reading { usage, at })
    }

    fn between(&self, last: Option<&Reading>, now: &Reading) -> Result<Share, Lack> {
        let oldest = self.interval * INTERVALS_MAX;
        let last = last.filter(|last| now.at - last.at <= oldest);
        let last = last.ok_or(Lack::First)?;
        busy(&last.usage, &now.usage, now.at - last.at).ok_or(Lack::Broken)
    }
}

/// What was used between two readings, of what could have been; none when they don't belong together.
fn busy(before: &Usage, after: &Usage, elapsed: Duration) -> Option<Share> {
    let goes_on = before.life == after.life && before.processors_milli == after.processors_milli;
    let used = after.used_micros.checked_sub(before.used_micros)?;
    let passed = after.passed_micros.checked_sub(before.passed_micros)?;
    let drift = elapsed.abs_diff(Duration::from_micros(passed));
    if !goes_on || passed == 0 || drift > DRIFT {
        return None;
    }
    let could = u128::from(passed) * u128::from(after.processors_milli);
    let hundredths = (u128::from(used) * 1_000 * 10_000).checked_div(could)?;
    Some(Share::hundredths(
        u64::try_from(hundredths).unwrap_or(u64::MAX),
    ))
}

impl LoadSignal for OfProvider {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn measure<'a>(&'a self, crew: &'a [Upstream], now: Time) -> BoxFuture<'a, Measured> {
        Box::pin(self.measured(crew, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Usage = Usage {
        life: 7,
        used_micros: 100_000_000,
        passed_micros: 1_000_000_000,
        processors_milli: 500,
    };

    const QUARTER: Duration = Duration::from_secs(15);

    fn after(used_ms: u64, passed_ms: u64) -> Usage {
        Usage {
            used_micros: BEFORE.used_micros + used_ms * 1_000,
            passed_micros: BEFORE.passed_micros + passed_ms * 1_000,
            ..BEFORE
        }
    }

    #[test]
    fn what_was_used_is_a_share_of_what_may_be_used() {
        let share = |used| busy(&BEFORE, &after(used, 15_000), QUARTER);
        assert_eq!(share(0), Some(Share::default()));
        assert_eq!(
            share(3_000),
            Some(Share::percent(40)),
            "of half a processor"
        );
        assert_eq!(
            share(7_700),
            Some(Share::WHOLE),
            "a quota lets a little more through"
        );
    }

    #[test]
    fn readings_that_do_not_belong_together_give_no_sample() {
        let none = |after: Usage| assert_eq!(busy(&BEFORE, &after, QUARTER), None, "{after:?}");
        none(Usage {
            life: 8,
            ..after(1_000, 15_000)
        });
        none(Usage {
            processors_milli: 1_000,
            ..after(1_000, 15_000)
        });
        none(Usage {
            used_micros: 5,
            ..after(0, 15_000)
        });
        none(Usage {
            passed_micros: 5,
            ..after(1_000, 0)
        });
        none(after(1_000, 0));
        // The host's clock was set.
        none(after(1_000, 75_000));
        none(after(1_000, 5_000));
        assert_eq!(busy(&BEFORE, &BEFORE, Duration::ZERO), None);
    }
}
