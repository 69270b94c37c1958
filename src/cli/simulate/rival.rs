//! The rival: the rule of the Kubernetes horizontal pod autoscaler with its defaults, on the same samples.
//!
//! Wanted are `ceil(ready * busy / target)`. Nothing is done within 10 % of the target. What is not ready counts as idle
//! on the way up, and where that changes the direction nothing is done. Up at once, by twice as many or four more in each
//! look (every 15 s); down to the highest that was wanted within 5 minutes.

use std::collections::VecDeque;

use super::replay::{Course, Minute, World};

const TARGET: f64 = 0.7;
const TOLERANCE: f64 = 0.1;
const LOOKS_A_MINUTE: usize = 4;
const STABLE_MINUTES: usize = 5;

pub(super) fn replay(world: &World) -> Course {
    let mut wanted_lately = VecDeque::new();
    Course::of(world, |minute| {
        let have = count(minute) as u32;
        let wanted = wanted(minute);
        if wanted_lately.len() == STABLE_MINUTES {
            wanted_lately.pop_front();
        }
        wanted_lately.push_back(wanted);
        let highest = wanted_lately.iter().copied().max().unwrap_or(wanted);
        let (mut up_to, goal) = (have, highest.min(have).max(wanted));
        for _ in 0..LOOKS_A_MINUTE {
            up_to = (up_to * 2).max(up_to + 4);
        }
        u16::try_from(goal.min(up_to)).unwrap_or(u16::MAX)
    })
}

fn count(minute: &Minute<'_>) -> usize {
    minute.serving.len() + usize::from(minute.starting)
}

fn wanted(minute: &Minute<'_>) -> u32 {
    let have = count(minute);
    let busy = |sample: &crate::engine::load::Sample| sample.busy.in_hundredths() as f64 / 10_000.0;
    let load: f64 = minute.samples.iter().map(busy).sum();
    let ratio = load / minute.serving.len() as f64 / TARGET;
    let (ratio, of) = match ratio > 1.0 {
        true => (load / have as f64 / TARGET, have),
        false => (ratio, minute.serving.len()),
    };
    let near = (ratio - 1.0).abs() <= TOLERANCE;
    // Those that start turned the way up into a way down.
    let turned = of == have && ratio < 1.0 && minute.starting > 0;
    match near || turned {
        true => have as u32,
        false => ((ratio * of as f64 - 1e-9).ceil() as u32).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(demand: Vec<f64>) -> Course {
        replay(&World {
            demand,
            boot_minutes: 2,
            noise: 0.0,
            seed: 1,
        })
    }

    #[test]
    fn within_a_tenth_of_the_target_it_does_nothing() {
        assert_eq!(replayed(vec![0.76; 20]).steps, []);
        assert_eq!(replayed(vec![0.78; 20]).steps, [(0, 1)]);
    }

    #[test]
    fn it_goes_down_to_what_was_wanted_at_most_in_five_minutes() {
        let demand = [vec![2.0; 20], vec![0.5; 20]].concat();
        let steps = replayed(demand).steps;
        assert_eq!(steps.last(), Some(&(24, -2)));
    }
}
