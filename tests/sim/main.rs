//! The shipped engine against a seeded fake world, a day for each seed.
//!
//! `world` is the queue of events, `driver` the process that owns the service, `provider` and `fate` the machine
//! and its mishaps, `way` Traefik and the signals, `visitors` the people, `store` the memory, `writes` how it is
//! written. `invariants` says what must be true after every step, `stops` what at a stop; `mutants` plants bugs that
//! must be found.
//!
//! On every second day or so the service has clones: `account` is what the platform has of them, `deeds` how they are
//! asked for, `crew` what must be true of them.
//!
//! On half of these the shipped policy says how many: `demand` is what visitors need, `gauge` what a leader hears of it,
//! `scaling` what must be true of the number.
//!
//! On every third day there are two or three rooms on one store: `rooms` says what they are, `leading` and `following`
//! what they do, `door` who may wake the service, `limits` what is true of that, `blows` what befalls rooms and store.
//!
//! `ANTEROOM_SIM_SEEDS` sets how many days are lived; `ANTEROOM_SIM_SEED` replays one and tells it. `ANTEROOM_SIM_BUG`
//! plants only the bugs that have it in their name, within `ANTEROOM_SIM_DAYS`; with a seed, that one in that day.

mod account;
mod blows;
mod crew;
mod deeds;
mod demand;
mod door;
mod driver;
mod fate;
mod following;
mod gauge;
mod invariants;
mod leading;
mod limits;
mod mutants;
mod plan;
mod provider;
mod rng;
mod rooms;
mod scaling;
mod serving;
mod stops;
mod store;
mod visitors;
mod way;
mod world;
mod writes;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use anteroom::engine::admit::Rules;
use anteroom::engine::view::Phase;
use mutants::{BUGS, BUGS_OF_CLONES, BUGS_OF_LOAD, BUGS_OF_ROOMS, Bug};
use plan::{MINUTE, Plan, SECOND, has_clones, has_load, has_many_rooms};
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
            sum.add(counts);
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(worker), scope.spawn(worker)];
        let mut all = (Vec::new(), Counts::default());
        for thread in threads {
            let (failures, counts) = thread.join().expect("no day panics");
            all.0.extend(failures);
            all.1.add(counts);
        }
        all.0.sort_by_key(|(seed, _)| *seed);
        all
    })
}

#[test]
fn the_engine_keeps_every_invariant_on_every_day() {
    if let Some(seed) = number("ANTEROOM_SIM_SEED") {
        eprintln!("{:#?}", Plan::of(seed));
        let name = std::env::var("ANTEROOM_SIM_BUG").unwrap_or_default();
        let bug = all_bugs().find(|(bug, _)| format!("{bug:?}") == name);
        let (broken, counts) = live(seed, bug.map(|(bug, _)| bug), true);
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
    assert!(counts.deleted > days, "too few clones end");
    assert!(
        counts.ups > days && counts.downs > days / 4 && counts.settled > days,
        "too little load comes and goes"
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
fn ten_thousand_visitors_of_three_rooms_are_one_start() {
    let calm = (0..).find(|seed| has_many_rooms(*seed) && Plan::of(*seed).is_calm());
    let plan = Plan {
        rooms: 3,
        skews: vec![0, 30 * SECOND, 60 * SECOND],
        rules: Rules::default(),
        visit_every: 60 * MINUTE,
        ..Plan::of(calm.expect("one of them"))
    };
    let mut world = World::new(plan, None, false);
    let mut minutes = 5..100;
    let asleep = |world: &mut World| world.owner().map(|it| it.view.phase) == Some(Phase::Asleep);
    minutes.find(|minute| {
        world.live_until(minute * MINUTE);
        asleep(&mut world)
    });
    assert!(asleep(&mut world), "{:?}", world.broken);
    let before = world.counts;
    for _ in 0..10_000 {
        world.somebody_comes();
    }
    world.live_until(world.now + 3 * MINUTE);
    assert_eq!(world.broken, None);
    assert_eq!(world.facts.starts_this_sleep, 1);
    assert_eq!(world.counts.starts, before.starts + 1);
    assert_eq!(world.counts.admitted, before.admitted + 1);
}

#[test]
fn every_planted_bug_is_found_by_its_invariant() {
    if number("ANTEROOM_SIM_SEED").is_some() {
        return;
    }
    let only = std::env::var("ANTEROOM_SIM_BUG").unwrap_or_default();
    let all: Vec<(Bug, &str)> = all_bugs()
        .filter(|(bug, _)| format!("{bug:?}").contains(&only))
        .collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut missed = Vec::new();
        while let Some((bug, invariant)) = all.get(next.fetch_add(1, Relaxed)).copied() {
            let (found, others) = find(bug, invariant);
            match found {
                Some(day) => println!("{bug:?}: {invariant} on day {day}, before that {others:?}"),
                None => missed.push((bug, invariant, others)),
            }
        }
        missed
    };
    let missed: Vec<_> = std::thread::scope(|scope| {
        let threads = [scope.spawn(worker), scope.spawn(worker)];
        let missed = threads
            .into_iter()
            .map(|it| it.join().expect("no day panics"));
        missed.flatten().collect()
    });
    assert!(missed.is_empty(), "not found: {missed:?}");
}

fn all_bugs() -> impl Iterator<Item = (Bug, &'static str)> {
    let usual = BUGS.into_iter().chain(BUGS_OF_ROOMS);
    usual.chain(BUGS_OF_CLONES).chain(BUGS_OF_LOAD)
}

/// The first day on which the planted bug breaks its invariant, and the days before on which it broke another.
fn find(bug: Bug, invariant: &str) -> (Option<u64>, Vec<(u64, &'static str)>) {
    let of_rooms = BUGS_OF_ROOMS.iter().any(|(it, _)| *it == bug);
    let of_clones = BUGS_OF_CLONES.iter().any(|(it, _)| *it == bug);
    let of_load = BUGS_OF_LOAD.iter().any(|(it, _)| *it == bug);
    let mut others = Vec::new();
    let mut days = (0..number("ANTEROOM_SIM_DAYS").unwrap_or(DAYS_TO_FIND_A_BUG))
        .filter(|seed| !of_rooms || has_many_rooms(*seed))
        .filter(|seed| !of_clones && !of_load || has_clones(*seed))
        .filter(|seed| !of_load || has_load(*seed));
    let found = days.find(|seed| match live(*seed, Some(bug), false).0 {
        Some(broken) if broken.invariant == invariant => true,
        Some(broken) => {
            others.push((*seed, broken.invariant));
            false
        }
        None => false,
    });
    (found, others)
}
