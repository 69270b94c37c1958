//! A service whose load is known, and what the policy makes of it.

use super::*;
use crate::engine::id::CloneId;

mod alerting;
mod steady;
mod unclear;
mod way;

/// Instances that share a load evenly, and take the time that machines take.
pub(super) struct Shop {
    pub(super) terms: Terms,
    pub(super) scaler: Scaler,
    pub(super) now: Time,
    pub(super) serving: Vec<InstanceId>,
    /// When those that start will serve.
    pub(super) starting: Vec<Time>,
    pub(super) boot: Span,
    /// Load of the visitors in ten thousandths of a machine, and of each instance for itself.
    pub(super) load: u64,
    pub(super) base: u64,
    /// The numbers that were wanted, one after the other.
    pub(super) steps: Vec<u16>,
    next: u64,
}

/// No step.
pub(super) const NONE: [u16; 0] = [];

/// Bounds that only the tests of bounds meet.
pub(super) fn terms() -> Terms {
    Terms {
        max: 50,
        ..Terms::default()
    }
}

/// `projected` as it is unless configured otherwise.
pub(super) fn projected() -> Terms {
    let mode = Mode::Projected {
        margin: Share::percent(10),
    };
    Terms {
        mode,
        down_window: mode.default_down_window(),
        ..terms()
    }
}

impl Shop {
    pub(super) fn new(instances: u16, terms: Terms) -> Shop {
        let mut shop = Shop {
            terms,
            scaler: Scaler::default(),
            now: Time(1_800_000_000_000),
            serving: vec![InstanceId::Seed],
            starting: Vec::new(),
            boot: Span::mins(2),
            load: 0,
            base: 0,
            steps: Vec::new(),
            next: 0,
        };
        for _ in 1..instances {
            shop.open_one();
        }
        shop
    }

    fn open_one(&mut self) {
        self.next += 1;
        let slot = u16::try_from(self.next % 999).unwrap() + 1;
        let clone = CloneId::new(slot, self.next).unwrap();
        self.serving.push(InstanceId::Clone(clone));
    }

    /// What each instance says.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let busy = self.load.div_ceil(self.serving.len() as u64) + self.base;
        let (at, busy) = (self.now, Share::hundredths(busy));
        let sample = |instance: &InstanceId| Sample {
            instance: *instance,
            at,
            busy,
        };
        self.serving.iter().map(sample).collect()
    }

    /// So much time passes until the next look at the signal.
    pub(super) fn pass(&mut self, span: Span) {
        self.now = self.now + span;
        let (now, before) = (self.now, self.starting.len());
        self.starting.retain(|at| *at > now);
        for _ in self.starting.len()..before {
            self.open_one();
        }
    }

    pub(super) fn with_crew<T>(&mut self, of: impl FnOnce(&mut Scaler, &Crew<'_>) -> T) -> T {
        let crew = Crew {
            serving: &self.serving,
            starting: u16::try_from(self.starting.len()).unwrap(),
            leaving: 0,
        };
        of(&mut self.scaler, &crew)
    }

    pub(super) fn hear(&mut self, samples: &[Sample]) {
        let (now, terms) = (self.now, self.terms);
        self.with_crew(|scaler, crew| scaler.measured(samples, crew, now, &terms));
    }

    pub(super) fn ask(&mut self) -> Verdict {
        let (now, terms) = (self.now, self.terms);
        self.with_crew(|scaler, crew| scaler.decide(now, crew, &terms))
    }

    /// Asks, and does what is wanted.
    pub(super) fn follow(&mut self) -> Verdict {
        let verdict = self.ask();
        let have = self.serving.len() + self.starting.len();
        let wanted = usize::from(verdict.wanted);
        assert!((self.terms.min..=self.terms.max).contains(&verdict.wanted));
        if wanted != have {
            self.steps.push(verdict.wanted);
        }
        for _ in have..wanted {
            self.starting.push(self.now + self.boot);
        }
        for _ in wanted..have {
            if self.starting.pop().is_none() {
                self.serving.pop();
            }
        }
        verdict
    }

    /// A look at the signal, and what comes of it.
    pub(super) fn tick(&mut self) -> Verdict {
        self.pass(self.terms.interval);
        let samples = self.samples();
        self.hear(&samples);
        self.follow()
    }

    pub(super) fn tick_for(&mut self, span: Span) -> Verdict {
        let end = self.now + span;
        let mut verdict = self.tick();
        while self.now < end {
            verdict = self.tick();
        }
        verdict
    }

    pub(super) fn have(&self) -> u16 {
        u16::try_from(self.serving.len() + self.starting.len()).unwrap()
    }
}
