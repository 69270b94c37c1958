//! The shipped engine against a seeded fake world, a day for each seed.
//!
//! `world` is the queue of events, `driver` the process that owns the service, `provider` and `fate` the machine
//! and its mishaps, `way` Traefik and the signals, `visitors` the people, `store` the memory. `invariants` says
//! what must be true after every step, `mutants` plants bugs that must be found.
//!
//! `ANTEROOM_SIM_SEEDS` sets how many days are lived; `ANTEROOM_SIM_SEED` replays one and tells it.

mod driver;
mod fate;
mod invariants;
mod mutants;
mod plan;
mod provider;
mod rng;
mod store;
mod visitors;
mod way;
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use mutants::{BUGS, Bug};
use plan::Plan;
use world::{Broken, Counts, World};

/// A planted bug must be found within so many days.
const DAYS_TO_FIND_A_BUG: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> u64 {
    let usual = if cfg!(debug_assertions) { 200 } else { 2_000 };
    number("ANTEROOM_SIM_SEEDS").unwrap_or(usual)
}

fn live(seed: u64, bug: Option<Bug>, trace: bool) -> (Option<Broken>, Counts) {
    let mut world = World::new(Plan::of(seed), bug, trace);
    world.live();
    (world.broken, world.counts)
}

/// Lives the days from 0 on two threads; gives the failures, and the sum of what happened.
fn live_all(days: u64) -> (Vec<(u64, Broken)>, Counts) {
    let next = AtomicU64::new(0);
    let worker = || {
        let (mut failures, mut sum) = (Vec::new(), Counts::default());
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= days || failures.len() >= 20 {
                return (failures, sum);
            }
            let (broken, counts) = live(seed, None, false);
            failures.extend(broken.map(|broken| (seed, broken)));
            sum.steps += counts.steps;
            sum.wakes += counts.wakes;
            sum.stops += counts.stops;
            sum.kills += counts.kills;
            sum.starts += counts.starts;
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(worker), scope.spawn(worker)];
        let mut all = (Vec::new(), Counts::default());
        for thread in threads {
            let (failures, counts) = thread.join().expect("no day panics");
            all.0.extend(failures);
            all.1.steps += counts.steps;
            all.1.wakes += counts.wakes;
            all.1.stops += counts.stops;
            all.1.kills += counts.kills;
            all.1.starts += counts.starts;
        }
        all.0.sort_by_key(|(seed, _)| *seed);
        all
    })
}

#[test]
fn the_engine_keeps_every_invariant_on_every_day() {
    if let Some(seed) = number("ANTEROOM_SIM_SEED") {
        eprintln!("{:#?}", Plan::of(seed));
        let (broken, counts) = live(seed, None, true);
        assert_eq!(broken, None, "seed {seed}, {counts:?}");
        return;
    }
    let (began, days) = (Instant::now(), seeds());
    let (failures, counts) = live_all(days);
    let took = began.elapsed().as_secs_f64();
    println!(
        "{days} days in {took:.1} s, {:.0} a second: {counts:?}",
        days as f64 / took
    );
    for (
        seed,
        Broken {
            invariant, what, ..
        },
    ) in &failures
    {
        println!(
            "seed {seed} breaks {invariant}: {}",
            what.chars().take(300).collect::<String>()
        );
        println!(
            "  ANTEROOM_SIM_SEED={seed} cargo test --release --test sim -- --nocapture every_invariant"
        );
    }
    assert!(
        failures.is_empty(),
        "{} days break an invariant",
        failures.len()
    );
    assert!(
        counts.wakes > days && counts.stops > days && counts.kills > 0,
        "too little happens"
    );
}

#[test]
fn the_same_seed_lives_the_same_day() {
    for seed in [1, 2, 3] {
        assert_eq!(
            live(seed, None, false).1.steps,
            live(seed, None, false).1.steps
        );
    }
}

#[test]
fn every_planted_bug_is_found_by_its_invariant() {
    if number("ANTEROOM_SIM_SEED").is_some() {
        return;
    }
    let mut missed = Vec::new();
    for (bug, invariant) in BUGS {
        let mut others = Vec::new();
        let found = (0..DAYS_TO_FIND_A_BUG).find(|seed| match live(*seed, Some(bug), false).0 {
            Some(broken) if broken.invariant == invariant => true,
            Some(broken) => {
                others.push((*seed, broken.invariant));
                false
            }
            None => false,
        });
        match found {
            Some(seed) => println!("{bug:?}: {invariant} on day {seed}, before that {others:?}"),
            None => missed.push((bug, invariant, others)),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
