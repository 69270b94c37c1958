//! Measuring the load of the instances that serve, every interval and after an alert.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Done, Lead};
use crate::engine::contract::Input;
use crate::engine::id::{InstanceId, ServiceName};
use crate::engine::scale::Terms;
use crate::engine::time::Time;
use crate::signal::load::{Lack, Measured};

/// So often in a row an instance could not be measured when somebody is told: what it said before is stale then.
const LOOKS_BEFORE_TELLING: u32 = 3;

/// The looks at the load.
#[derive(Debug)]
pub(super) struct Looks {
    /// When the next one is due.
    at: Instant,
    under_way: bool,
    lacking: Lacking,
}

impl Looks {
    /// The first one is due now.
    pub(super) fn new() -> Looks {
        Looks {
            at: Instant::now(),
            under_way: false,
            lacking: Lacking::default(),
        }
    }

    /// The one that was under way broke off.
    pub(super) fn lost(&mut self) {
        self.under_way = false;
    }
}

/// The instances that could not be measured the last time, and how often in a row.
#[derive(Debug, Default)]
struct Lacking(BTreeMap<InstanceId, u32>);

/// What a person is to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Unknown(InstanceId, String),
    KnownAgain(InstanceId),
}

impl Lacking {
    fn heard(&mut self, measured: &Measured, now: Time, terms: &Terms) -> Vec<News> {
        let before = std::mem::take(&mut self.0);
        let mut news = Vec::new();
        let mut lacking: Vec<_> = measured.lacking.clone();
        for sample in &measured.samples {
            let (instance, age) = (sample.instance, now.since(sample.at));
            if age > terms.stale_after() {
                let why =
                    format!("its newest figure is {age} old; is interval long enough for it?");
                lacking.push((instance, Lack::NoFigure(why)));
            } else if before.get(&instance).copied() >= Some(LOOKS_BEFORE_TELLING) {
                news.push(News::KnownAgain(instance));
            }
        }
        for (instance, why) in lacking {
            let times = before.get(&instance).copied().unwrap_or(0);
            // A reading that comes too soon says nothing of the signal.
            let times = times.saturating_add(u32::from(why != Lack::Soon));
            if times == LOOKS_BEFORE_TELLING && why != Lack::Soon {
                news.push(News::Unknown(instance, why.to_string()));
            }
            self.0.insert(instance, times);
        }
        news
    }
}

impl News {
    fn tell(&self, service: &ServiceName) {
        match self {
            News::Unknown(instance, why) => tracing::warn!(
                %service, %instance, why,
                "it is not known how busy an instance is: nothing is removed meanwhile, and where more are wanted it counts as idle"
            ),
            News::KnownAgain(instance) => {
                tracing::info!(%service, %instance, "it is known again how busy the instance is");
            }
        }
    }
}

impl Lead<'_> {
    /// When the load is to be measured next; none while it need not be, or is being measured.
    pub(super) fn measure_due(&self) -> Option<Instant> {
        let scaled = self.seat.setup.load.is_some() && self.seat.setup.policy.scale.is_some();
        let due = scaled && !self.looks.under_way && self.service.takes_requests();
        due.then_some(self.looks.at)
    }

    /// The load is measured as soon as it can be.
    pub(super) fn measure_soon(&mut self) {
        self.looks.at = Instant::now();
    }

    /// Asks the signal; what it tells comes back as an input.
    pub(super) fn measure(&mut self) {
        let setup = &self.seat.setup;
        let (Some(load), Some(terms)) = (&setup.load, &setup.policy.scale) else {
            return;
        };
        let (load, now) = (Arc::clone(load), setup.clock.now());
        let crew = self.service.view().upstreams;
        self.looks.at = Instant::now() + terms.interval.into();
        self.looks.under_way = true;
        self.doing
            .spawn(async move { Done::Measured(load.measure(&crew, now).await) });
    }

    pub(super) fn measured(&mut self, measured: Measured) -> Input {
        self.looks.under_way = false;
        let setup = &self.seat.setup;
        // Where alerts are all there is, nothing is ever measured.
        if let Some(terms) = setup.policy.scale.filter(|terms| !terms.alerts_only) {
            let news = self
                .looks
                .lacking
                .heard(&measured, setup.clock.now(), &terms);
            news.iter().for_each(|news| news.tell(&setup.name));
        }
        Input::Measured(measured.samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::load::{Sample, Share};

    const NOW: Time = Time(1_795_280_650_000);

    fn lacks(why: Lack) -> Measured {
        Measured {
            samples: Vec::new(),
            lacking: vec![(InstanceId::SEED, why)],
        }
    }

    fn told(at: Time) -> Measured {
        let sample = Sample {
            instance: InstanceId::SEED,
            at,
            busy: Share::percent(10),
        };
        Measured {
            samples: vec![sample],
            lacking: Vec::new(),
        }
    }

    #[test]
    fn a_person_hears_once_that_an_instance_is_not_measured_and_once_that_it_is_again() {
        let (mut lacking, terms) = (Lacking::default(), Terms::default());
        let mut hear = |measured: Measured| lacking.heard(&measured, NOW, &terms);
        let silent = || lacks(Lack::NoAnswer("it is silent".to_owned()));
        let unknown = News::Unknown(InstanceId::SEED, "it is silent".to_owned());
        assert_eq!(hear(lacks(Lack::First)), []);
        assert_eq!(hear(silent()), []);
        assert_eq!(hear(lacks(Lack::Soon)), []);
        assert_eq!(hear(silent()), [unknown]);
        assert_eq!(hear(silent()), []);
        assert_eq!(hear(told(NOW)), [News::KnownAgain(InstanceId::SEED)]);
        assert_eq!(hear(told(NOW)), []);
        // A figure that is only repeated is none.
        let old = || told(Time(NOW.0 - terms.stale_after().0 - 1));
        assert_eq!((hear(old()), hear(old())), (Vec::new(), Vec::new()));
        assert!(matches!(&hear(old())[..], [News::Unknown(_, why)] if why.contains(" old")));
        // One that has left is forgotten.
        assert_eq!(hear(Measured::default()), []);
        assert_eq!(hear(told(NOW)), []);
    }
}
