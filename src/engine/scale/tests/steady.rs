//! Load that stays as it is brings no to and fro (I10).

use proptest::prelude::*;

use super::super::rule::{Fewer, fewer, needed};
use super::super::watch::Machines;
use super::*;

/// One instance cannot be busier than this.
const WHOLE: u64 = 10_000;

/// The number that so much load leads to from here, and the direction in which it went.
fn settles(visitors: u64, base: u64, from: u16, terms: &Terms) -> (u16, i8) {
    let (mut have, mut went) = (from, 0);
    for _ in 0..=2 * terms.max {
        let each = visitors.div_ceil(u64::from(have)) + base;
        let load = Machines(each.min(WHOLE) * u64::from(have));
        let (next, way) = match needed(load, terms).min(terms.max) {
            more if more > have => (more, 1),
            _ if have > terms.min && fewer(load, have, terms) == Fewer::Enough => (have - 1, -1),
            _ => return (have, went),
        };
        assert!(
            went == 0 || went == way,
            "{visitors} + {base} each: {from} became {have}, then {next}"
        );
        (have, went) = (next, way);
    }
    panic!("{visitors} + {base} each never settles from {from}");
}

#[test]
fn no_load_on_any_number_of_instances_flaps() {
    for terms in [terms(), projected()] {
        for from in 1..=50 {
            for load in (0..=u64::from(from) * WHOLE).step_by(10) {
                let (have, _) = settles(load, 0, from, &terms);
                // In tenths of a percent of a machine, so that what is shared evenly may round up.
                assert!(have == terms.max || load <= u64::from(have) * 7_000 + 50);
            }
        }
    }
}

#[test]
fn no_base_load_and_no_pair_of_bounds_flaps() {
    for (up_at, down_at, margin) in [
        (70, 30, 10),
        (90, 89, 1),
        (50, 70, 0),
        (20, 5, 5),
        (99, 98, 1),
    ] {
        for mode in [
            Mode::Threshold,
            Mode::Projected {
                margin: Share::percent(margin),
            },
        ] {
            let terms = Terms {
                mode,
                up_at: Share::percent(up_at),
                down_at: Share::percent(down_at),
                ..terms()
            };
            for base in [0, 500, 2_500, 3_800, 6_900, 9_000] {
                for from in 1..=50 {
                    for load in (0..=u64::from(from) * WHOLE).step_by(977) {
                        settles(load, base, from, &terms);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// The whole policy, with its windows and with machines that take their time.
    #[test]
    fn the_policy_goes_one_way_and_then_rests(
        from in 1_u16..12,
        load in 0_u64..80_000,
        base in 0_u64..4_000,
        by_projection: bool,
        boot in 0_u64..10,
    ) {
        let terms = if by_projection { projected() } else { terms() };
        let mut shop = Shop::new(from, Terms { interval: Span::secs(30), ..terms });
        (shop.load, shop.base, shop.boot) = (load, base, Span::mins(boot));
        shop.tick_for(Span::mins(8 * 60));
        let mut steps = vec![from];
        steps.append(&mut shop.steps);
        prop_assert!(steps.is_sorted() || steps.iter().rev().is_sorted(), "{steps:?}");
        let needs = (0..=50).find(|n| *n > 0 && load.div_ceil(*n) + base <= 7_000);
        prop_assert!(u64::from(shop.have()) >= needs.unwrap_or(50).min(50));
        shop.tick_for(Span::mins(60));
        prop_assert!(shop.steps.is_empty());
    }
}
