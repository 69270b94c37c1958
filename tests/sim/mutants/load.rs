//! Planted bugs about the load: what is measured and what alerts say is spoiled, or the terms by which it is decided.

use anteroom::engine::contract::Input;
use anteroom::engine::load::{Sample, Share};
use anteroom::engine::policy::{CloneTerms, Policy};
use anteroom::engine::scale::{Alert, Terms};
use anteroom::engine::time::{Span, Time};

use super::{Bug, Mutant};

/// Those that only a load can show.
pub(crate) const BUGS_OF_LOAD: [(Bug, &str); 9] = [
    (Bug::StaleLoadCountsAsFresh, "I9"),
    (Bug::MissingLoadCountsAsIdle, "I9"),
    (Bug::ReplayedAlertCountsAsNew, "I9"),
    (Bug::RevokedAlertCountsAsFiring, "I9"),
    (Bug::LoadOfEachCountsAsTheLoad, "I10"),
    (Bug::MaxIsIgnored, "I5"),
    (Bug::MinIsIgnored, "I5"),
    (Bug::LoadIsNotHeard, "load"),
    (Bug::LowLoadIsNotBelieved, "load"),
];

impl Mutant {
    pub(super) fn spoil_terms(&self, policy: Policy) -> Policy {
        let Some(terms) = policy.scale else {
            return policy;
        };
        let (scale, most) = match self.bug {
            Some(Bug::MaxIsIgnored) => (Terms { max: 50, ..terms }, 50),
            Some(Bug::MinIsIgnored) => (Terms { min: 1, ..terms }, 0),
            Some(Bug::LowLoadIsNotBelieved) => {
                let down_window = Span::mins(24 * 60);
                (
                    Terms {
                        down_window,
                        ..terms
                    },
                    0,
                )
            }
            _ => return policy,
        };
        let clones = policy.clones.map(|terms| CloneTerms {
            most: terms.most.max(most),
            ..terms
        });
        Policy {
            scale: Some(scale),
            clones,
            ..policy
        }
    }

    /// What the engine hears of the load.
    pub(super) fn spoil_load(&self, now: Time, input: Input) -> Input {
        match (self.bug, input) {
            (Some(Bug::LoadIsNotHeard), Input::Measured(_)) => Input::Measured(Vec::new()),
            (Some(Bug::StaleLoadCountsAsFresh), Input::Measured(mut samples)) => {
                samples.iter_mut().for_each(|it| it.at = now);
                Input::Measured(samples)
            }
            (Some(Bug::MissingLoadCountsAsIdle), Input::Measured(mut samples)) => {
                for up in self.engine.view().upstreams {
                    if samples.iter().all(|it| it.instance != up.instance) {
                        samples.push(Sample {
                            instance: up.instance,
                            at: now,
                            busy: Share::default(),
                        });
                    }
                }
                Input::Measured(samples)
            }
            (Some(Bug::LoadOfEachCountsAsTheLoad), Input::Measured(mut samples)) => {
                let alone = self.engine.view().upstreams.len() < 2;
                for sample in &mut samples {
                    let busy = sample.busy.in_hundredths();
                    sample.busy = Share::hundredths(if alone { busy * 2 } else { busy / 3 });
                }
                Input::Measured(samples)
            }
            (Some(Bug::ReplayedAlertCountsAsNew), Input::Alerted(alert)) if alert.firing => {
                Input::Alerted(Alert { at: now, ..alert })
            }
            (Some(Bug::RevokedAlertCountsAsFiring), Input::Alerted(alert)) if !alert.firing => {
                let (at, firing) = (now, true);
                Input::Alerted(Alert {
                    at,
                    firing,
                    ..alert
                })
            }
            (_, input) => input,
        }
    }
}
