//! Replays a demand minute by minute. Instances share it evenly, take their time to start, and each tells how busy it was
//! at the end of every minute. What is removed is gone at once.

use crate::engine::backoff::mix;
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::load::{Sample, Share};
use crate::engine::time::{Span, Time};

/// A change back within so long is a reversal.
pub(super) const REVERSAL_MINUTES: usize = 30;
/// No policy gets more instances than that.
pub(super) const INSTANCES_MAX: u16 = 500;

/// What happens, whatever a policy does.
pub(super) struct World {
    /// Load in machines, for each minute.
    pub(super) demand: Vec<f64>,
    pub(super) boot_minutes: usize,
    /// By how much a sample is off, in parts of a machine (standard deviation).
    pub(super) noise: f64,
    pub(super) seed: u64,
}

/// What a policy sees at the end of a minute.
pub(super) struct Minute<'a> {
    pub(super) end: Time,
    pub(super) serving: &'a [InstanceId],
    pub(super) starting: u16,
    pub(super) samples: &'a [Sample],
}

/// What a policy did.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// Instances that are paid for, in each minute.
    pub(super) paid: Vec<u16>,
    /// Instances that serve, in each minute.
    pub(super) serving: Vec<u16>,
    /// Changes: at the end of which minute, and by how many.
    pub(super) steps: Vec<(usize, i32)>,
}

impl Course {
    /// A policy says after each minute how many it wants.
    pub(super) fn of(world: &World, mut wants: impl FnMut(&Minute<'_>) -> u16) -> Course {
        let mut course = Course::default();
        let mut serving = vec![InstanceId::Seed];
        // The minutes from which those that start will serve, the earliest first.
        let mut starting: Vec<usize> = Vec::new();
        let mut made = 0;
        for (minute, demand) in world.demand.iter().enumerate() {
            let ready = starting.iter().take_while(|at| **at <= minute).count();
            for _ in starting.drain(..ready) {
                serving.push(clone_number(made));
                made += 1;
            }
            course.paid.push(count(serving.len() + starting.len()));
            course.serving.push(count(serving.len()));
            let end = Time(0) + Span::mins(minute as u64 + 1);
            let samples = world.samples(*demand, &serving, minute, end);
            let have = serving.len() + starting.len();
            let wanted = wants(&Minute {
                end,
                serving: &serving,
                starting: count(starting.len()),
                samples: &samples,
            });
            let wanted = usize::from(wanted.clamp(1, INSTANCES_MAX));
            if wanted != have {
                course.steps.push((minute, wanted as i32 - have as i32));
            }
            starting.extend((have..wanted).map(|_| minute + 1 + world.boot_minutes));
            // The youngest go first, those that never served before them.
            starting.truncate(wanted.saturating_sub(serving.len()).min(starting.len()));
            serving.truncate(wanted);
        }
        course
    }

    /// As few instances as bear each minute, known beforehand.
    pub(super) fn oracle(world: &World) -> Course {
        let paid: Vec<u16> = world.demand.iter().map(|load| needed(*load)).collect();
        let steps = (1..paid.len()).filter(|minute| paid[*minute] != paid[minute - 1]);
        Course {
            steps: steps
                .map(|minute| {
                    (
                        minute,
                        i32::from(paid[minute]) - i32::from(paid[minute - 1]),
                    )
                })
                .collect(),
            serving: paid.clone(),
            paid,
        }
    }

    /// As many as the highest minute needs, always.
    pub(super) fn fixed(world: &World) -> Course {
        let most = world.demand.iter().copied().fold(0.0, f64::max);
        let paid = vec![needed(most); world.demand.len()];
        Course {
            steps: Vec::new(),
            serving: paid.clone(),
            paid,
        }
    }

    pub(super) fn vm_hours(&self) -> f64 {
        self.paid.iter().map(|paid| f64::from(*paid)).sum::<f64>() / 60.0
    }

    /// Minutes in which each instance was busier than this share.
    pub(super) fn minutes_above(&self, world: &World, share: f64) -> usize {
        let loads = world.demand.iter().zip(&self.serving);
        let above = |(load, serving): &(&f64, &u16)| **load > f64::from(**serving) * share + 1e-9;
        loads.filter(above).count()
    }

    /// What the instances could not do, as a part of all that was asked for.
    pub(super) fn undone(&self, world: &World) -> f64 {
        let loads = world.demand.iter().zip(&self.serving);
        let over = loads.map(|(load, serving)| (load - f64::from(*serving)).max(0.0));
        let all: f64 = world.demand.iter().sum();
        over.sum::<f64>() / all.max(f64::MIN_POSITIVE)
    }

    /// Steps that take back the one before, half an hour later at most.
    pub(super) fn reversals(&self) -> usize {
        let back = |two: &&[(usize, i32)]| {
            two[0].1.signum() != two[1].1.signum() && two[1].0 - two[0].0 <= REVERSAL_MINUTES
        };
        self.steps.windows(2).filter(back).count()
    }
}

impl World {
    fn samples(&self, demand: f64, serving: &[InstanceId], minute: usize, at: Time) -> Vec<Sample> {
        let busy = demand / serving.len() as f64;
        let sample = |(nth, instance): (usize, &InstanceId)| {
            let off = match self.noise {
                0.0 => 0.0,
                noise => noise * normal(self.seed, minute as u64, nth as u64),
            };
            let busy = (busy.min(1.0) + off).clamp(0.0, 1.0);
            Sample {
                instance: *instance,
                at,
                busy: Share::hundredths((busy * 10_000.0).round() as u64),
            }
        };
        serving.iter().enumerate().map(sample).collect()
    }
}

fn needed(load: f64) -> u16 {
    count(((load / super::RIGHT - 1e-9).ceil() as usize).max(1))
}

fn count(instances: usize) -> u16 {
    u16::try_from(instances).unwrap_or(u16::MAX)
}

fn clone_number(made: u64) -> InstanceId {
    let slot = (made % u64::from(CloneId::SLOT_MAX)) as u16 + 1;
    CloneId::new(slot, made).map_or(InstanceId::Seed, InstanceId::Clone)
}

/// A normal deviate, the same for the same minute and instance whatever a policy did (Box and Muller's way).
fn normal(seed: u64, minute: u64, nth: u64) -> f64 {
    let state = mix(mix(seed) ^ mix(minute << 16 | nth));
    let unit = |bits: u64| (bits >> 11) as f64 / (1_u64 << 53) as f64;
    let (one, two) = (unit(state).max(f64::MIN_POSITIVE), unit(mix(state)));
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * two).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(demand: Vec<f64>) -> World {
        World {
            demand,
            boot_minutes: 2,
            noise: 0.0,
            seed: 1,
        }
    }

    #[test]
    fn what_is_wanted_serves_when_it_has_started() {
        let world = world(vec![0.5; 6]);
        let course = Course::of(&world, |_| 3);
        assert_eq!(course.paid, [1, 3, 3, 3, 3, 3]);
        assert_eq!(course.serving, [1, 1, 1, 3, 3, 3]);
        assert_eq!(course.steps, [(0, 2)]);
    }

    #[test]
    fn a_step_back_within_half_an_hour_is_a_reversal() {
        let course = Course {
            steps: vec![(0, 1), (30, -1), (61, 1), (62, 2), (80, -1)],
            ..Course::default()
        };
        assert_eq!(course.reversals(), 2);
    }

    #[test]
    fn the_figures_are_of_what_was_asked_for() {
        let world = world(vec![0.7, 0.8, 2.0, 0.1]);
        let oracle = Course::oracle(&world);
        assert_eq!(oracle.paid, [1, 2, 3, 1]);
        assert_eq!(oracle.minutes_above(&world, 0.7), 0);
        let alone = Course::of(&world, |_| 1);
        assert_eq!(alone.minutes_above(&world, 0.7), 2);
        assert!((alone.undone(&world) - 1.0 / 3.6).abs() < 1e-9);
        assert!((Course::fixed(&world).vm_hours() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn noise_has_the_spread_that_was_asked_for() {
        let values: Vec<f64> = (0..20_000).map(|n| normal(1, n / 10, n % 10)).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let spread = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (spread - 1.0).abs() < 0.04,
            "{mean} {spread}"
        );
    }
}
