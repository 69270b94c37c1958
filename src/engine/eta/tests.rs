//! The estimate, and how honest it is over many simulated wakes.

use super::*;
use crate::engine::backoff::mix;
use crate::engine::record::Record;

fn history(secs: impl IntoIterator<Item = u64>) -> WakeHistory {
    let mut history = WakeHistory::default();
    secs.into_iter()
        .for_each(|secs| history.add(Span::secs(secs)));
    history
}

fn eta(median: u64, p90: Option<u64>) -> Option<Eta> {
    Some(Eta {
        median: Span::secs(median),
        p90: p90.map(Span::secs),
    })
}

#[test]
fn the_first_wakes_have_no_bound() {
    assert_eq!(WakeHistory::default().eta(), None);
    assert_eq!(history([24]).eta(), eta(24, None));
    assert_eq!(history(1..=6).eta(), eta(3, None));
    // The longest of seven, and a fifth of a step beyond it, told in whole seconds.
    assert_eq!(history(1..=7).eta(), eta(4, Some(8)));
}

#[test]
fn the_bound_is_read_at_nine_tenths_of_one_more_than_there_are() {
    let mut nineteen = history((1..=19).map(|n| n * 10));
    nineteen.aim = AIM_FIRST;
    assert_eq!(nineteen.eta(), eta(100, Some(180)));
    nineteen.aim = 8_750;
    assert_eq!(nineteen.eta(), eta(100, Some(175)));
}

#[test]
fn only_the_latest_wakes_count() {
    let all = [300; 100].into_iter().chain([4; REMEMBERED_MAX]);
    assert_eq!(history(all).eta(), eta(4, Some(4)));
}

#[test]
fn wakes_that_never_came_lie_beyond_every_bound() {
    let mut some = history((0..20).map(|n| 20 + n));
    some.add_failed();
    some.aim = AIM_FIRST;
    assert_eq!(some.eta(), eta(30, Some(39)));
    (0..3).for_each(|_| some.add_failed());
    some.aim = AIM_FIRST;
    assert_eq!(some.eta(), eta(31, None), "one in six: nobody can promise");
    (0..20).for_each(|_| some.add_failed());
    assert_eq!(some.eta(), None);
}

#[test]
fn what_is_told_is_never_less_and_reads_as_it_is() {
    for (ms, told_ms) in [
        (0, 0),
        (1, 1_000),
        (24_000, 24_000),
        (298_001, 299_000),
        (299_001, 300_000),
        (300_001, 360_000),
        (3_599_999, 3_600_000),
    ] {
        assert_eq!(told(Span(ms)), Span(told_ms), "{ms}");
        assert_eq!(told(told(Span(ms))), told(Span(ms)));
    }
}

#[test]
fn an_old_record_still_reads_and_a_new_one_reads_back() {
    let old = r#"{"history":[24000,31000],"triggered_count":2}"#;
    let mut record: Record = serde_json::from_str(old).unwrap();
    assert_eq!(record.history, history([24, 31]));
    assert_eq!(
        serde_json::from_str::<Record>("{}").unwrap(),
        Record::default()
    );
    (0..9).for_each(|_| record.history.add(Span::secs(25)));
    record.history.add_failed();
    let written = serde_json::to_string(&record).unwrap();
    assert!(
        written.contains("\"history\":[24000,31000,25000"),
        "{written}"
    );
    assert_eq!(serde_json::from_str::<Record>(&written).unwrap(), record);
}

#[test]
fn percent_never_falls_and_never_reaches_the_end_by_itself() {
    let eta = eta(24, Some(41));
    let stages = [
        Stage::Asked,
        Stage::MachineStarting,
        Stage::MachineUp,
        Stage::AppAnswering,
    ];
    let mut last = 0;
    for ms in (0..600_000).step_by(250) {
        let now = percent(Span(ms), stages[(ms / 150_000) as usize], eta);
        assert!(now >= last && now <= 99, "{ms} ms: {last} then {now}");
        last = now;
    }
}

/// Wakes of one simulated life of many.
const WAKES: u64 = 10_000;

/// Chance, from a seed.
struct Dice(u64);

impl Dice {
    /// From 0 up to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.0) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The bell curve (Box and Muller).
    fn bell(&mut self, mean: f64, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.roll()).ln()).sqrt();
        mean + deviation * radius * (std::f64::consts::TAU * self.roll()).cos()
    }

    /// True with this probability.
    fn falls(&mut self, probability: f64) -> bool {
        self.roll() < probability
    }
}

/// How long the wakes of a simulated service take, in milliseconds; endless for one that never comes.
type Shape = fn(u64, &mut Dice) -> f64;

/// A shape by name, and how much longer than the oracle's the bounds may be on average, in hundredths. The oracle knows
/// the distribution that each single wake is drawn from.
const SHAPES: [(&str, u32, Shape); 18] = [
    ("steady", 105, |_, dice| dice.bell(24e3, 4e3)),
    ("slower and slower", 105, |n, dice| {
        dice.bell(20e3 + 4.0 * n as f64, 4e3)
    }),
    ("faster and faster", 105, |n, dice| {
        dice.bell(60e3 - 4.0 * n as f64, 4e3)
    }),
    ("wandering", 105, |n, dice| {
        dice.bell(40e3 + 25e3 * (n as f64 / 150.0).sin(), 3e3)
    }),
    ("wandering fast", 130, |n, dice| {
        dice.bell(40e3 + 20e3 * (n as f64 / 20.0).sin(), 2e3)
    }),
    ("steps", 110, |n, dice| {
        dice.bell([20e3, 60e3, 35e3, 90e3][(n / 250 % 4) as usize], 4e3)
    }),
    ("day and night", 125, |n, dice| {
        dice.bell(if n % 12 < 8 { 40e3 } else { 22e3 }, 3e3)
    }),
    ("lognormal", 110, |_, dice| 24e3 * dice.bell(0.0, 0.5).exp()),
    ("Pareto of infinite variance", 130, |_, dice| {
        15e3 / (1.0 - dice.roll()).sqrt()
    }),
    ("a cold image in three of ten", 105, |_, dice| {
        match dice.falls(0.3) {
            true => dice.bell(60e3, 8e3),
            false => dice.bell(15e3, 2e3),
        }
    }),
    // The oracle itself stands on the edge here.
    ("a cold image in one of ten", 190, |_, dice| {
        match dice.falls(0.1) {
            true => dice.bell(60e3, 8e3),
            false => dice.bell(15e3, 2e3),
        }
    }),
    (
        "a cold image ever more and less often",
        150,
        |n, dice| match dice.falls(0.5 - 0.4 * (n as f64 / 300.0).sin()) {
            true => dice.bell(60e3, 8e3),
            false => dice.bell(15e3, 2e3),
        },
    ),
    ("three in a hundred never come", 110, |_, dice| {
        match dice.falls(0.03) {
            true => f64::INFINITY,
            false => dice.bell(24e3, 5e3),
        }
    }),
    ("eight in a hundred never come", 125, |_, dice| {
        match dice.falls(0.08) {
            true => f64::INFINITY,
            false => dice.bell(24e3, 5e3),
        }
    }),
    (
        "bad days on which many never come",
        110,
        |n, dice| match dice.falls(if n % 1_000 < 60 { 0.3 } else { 0.01 }) {
            true => f64::INFINITY,
            false => dice.bell(24e3, 5e3),
        },
    ),
    (
        "hardly any chance, ever slower, then new",
        105,
        |n, dice| dice.bell(20e3 + 100.0 * (n % 2_000) as f64, 300.0),
    ),
    ("slow enough for whole minutes", 110, |_, dice| {
        dice.bell(400e3, 60e3)
    }),
    ("a container", 130, |_, dice| {
        900.0 * dice.bell(0.0, 0.4).exp()
    }),
];

fn span(ms: f64) -> Span {
    match ms.is_finite() {
        true => Span(ms.max(200.0) as u64),
        false => Span::FOREVER,
    }
}

/// What came of a simulation.
#[derive(Debug, Default)]
struct Outcome {
    told: u64,
    kept: u64,
    bounds_ms: f64,
    oracles_ms: f64,
}

impl Outcome {
    /// In thousandths of the bounds that were told.
    fn kept_permille(&self) -> u64 {
        self.kept * 1_000 / self.told.max(1)
    }

    /// The bounds' mean in hundredths of the oracle's.
    fn width(&self) -> u32 {
        (100.0 * self.bounds_ms / self.oracles_ms) as u32
    }
}

/// Lets services live for `life` wakes each, [`WAKES`] in all. A new service is of another size.
fn simulate(seed: u64, life: u64, shape: Shape) -> Outcome {
    let mut dice = Dice(mix(seed));
    let (mut history, mut size) = (WakeHistory::default(), 1.0);
    let mut outcome = Outcome::default();
    for n in 0..WAKES {
        if life < WAKES && n % life == 0 {
            history = WakeHistory::default();
            size = dice.bell(0.0, 0.7).exp();
        }
        let took = span(shape(n, &mut dice) * size);
        if let Some(bound) = history.eta().and_then(|eta| eta.p90) {
            outcome.told += 1;
            outcome.kept += u64::from(took <= bound);
            if n % 47 == 0 {
                let mut others = Dice(mix(n));
                let mut drawn: Vec<_> = (0..300).map(|_| shape(n, &mut others) * size).collect();
                drawn.sort_by(f64::total_cmp);
                if drawn[269].is_finite() {
                    outcome.bounds_ms += bound.0 as f64;
                    outcome.oracles_ms += drawn[269];
                }
            }
        }
        history.add(took);
    }
    outcome
}

#[test]
fn nine_of_ten_bounds_hold_however_the_boot_times_drift() {
    for (name, width_max, shape) in SHAPES {
        for seed in 1..=3 {
            let outcome = simulate(seed, WAKES, shape);
            let case = format!("{name}, seed {seed}: {outcome:?}");
            assert!((870..=930).contains(&outcome.kept_permille()), "{case}");
            assert!(outcome.width() <= width_max, "{case}");
            // Where nearly one in ten never comes, there is hardly ever a bound to tell.
            let told_min = if name.starts_with("eight") {
                100
            } else {
                6_500
            };
            assert!(outcome.told >= told_min, "{case}");
        }
    }
}

#[test]
fn nine_of_ten_bounds_hold_for_young_services_too() {
    for life in [8, 10, 15, 20, 40] {
        for (name, width_max) in [
            ("steady", 115),
            ("lognormal", 140),
            // The longest of seven is far out where the tail is heavy: nobody could tell less and be honest.
            ("Pareto of infinite variance", 280),
            ("a cold image in three of ten", 115),
        ] {
            let found = SHAPES.iter().find(|shape| shape.0 == name);
            let shape = found.expect("it is in the table").2;
            let outcome = simulate(life, life, shape);
            let case = format!("{name}, {life} wakes each: {outcome:?}");
            assert!((870..=930).contains(&outcome.kept_permille()), "{case}");
            assert!(outcome.width() <= width_max, "{case}");
        }
    }
}

#[test]
fn where_times_hardly_differ_whole_seconds_only_make_it_safer() {
    let outcome = simulate(1, WAKES, |_, dice| dice.bell(24e3, 400.0));
    assert!(outcome.kept_permille() >= 900, "{outcome:?}");
    assert!(outcome.width() <= 105, "{outcome:?}");
}
