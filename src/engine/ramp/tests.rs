//! Crowds of every kind before an app that is freshly ready.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const BEGAN: Time = Time(1_800_000_000_000);
const READY: Time = Time(BEGAN.0 + 20_000);

/// What a crowd is like.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    rate: u32,
    sees_all: bool,
    people: u64,
    /// One of so many never asks; 0: all do.
    lost: u64,
    /// Requests that a page makes when it has come.
    parts: u64,
    /// On its way to the room and back, in milliseconds.
    way: u64,
    /// Programs that walk in each second.
    walkers: u64,
}

const PLAIN: Crowd = Crowd {
    rate: 50,
    sees_all: true,
    people: 2_000,
    lost: 0,
    parts: 0,
    way: 20,
    walkers: 0,
};

/// What became of it.
#[derive(Debug, Default)]
struct Told {
    /// When each request reached the app, in milliseconds after it was ready.
    entered: Vec<u64>,
    /// Whose page was opened when, by number.
    pages: Vec<(u64, u64)>,
    /// The longest that a walk-in waited, and how many there were before the end.
    walk_in_max: u64,
    walked: usize,
    /// The longest that a part of a page waited.
    part_max: u64,
    /// The most that it remembered of households.
    kept_max: usize,
}

fn who(number: u64) -> IpNet {
    let number = u32::try_from(number).unwrap();
    IpNet::from(std::net::IpAddr::from(std::net::Ipv4Addr::from(
        0x0a00_0000 + number,
    )))
}

/// What a request in a lane is.
#[derive(Clone, Copy)]
enum What {
    Page(u64),
    Part,
    Turn(u64),
    Walker,
}

/// Plays a crowd until its app is spared no longer, and a little on.
fn play(crowd: Crowd) -> Told {
    let mut ramp = Ramp::new(crowd.rate, crowd.sees_all);
    ramp.follow(BEGAN, BEGAN, None);
    // Who asks when: (when, number).
    let mut asks = BTreeSet::new();
    // Whose page comes when.
    let mut comes = BTreeSet::new();
    let mut lanes = BTreeMap::new();
    let (mut told, mut ids) = (Told::default(), 0..);
    let mut next_id = || ids.next().unwrap();
    for person in 0..crowd.people {
        let number = ramp.number(None, who(person));
        assert_eq!(number, person);
        let Turn::Later(wait) = ramp.turn(BEGAN, number, who(person), 0) else {
            panic!("nobody goes before it is ready");
        };
        if crowd.lost == 0 || person % crowd.lost != 0 {
            asks.insert((wait.0 / 2, number));
        }
    }
    ramp.follow(READY, BEGAN, Some(READY));
    for ms in 0..LASTS.0 + 50 {
        let now = READY + Span(ms);
        if crowd.walkers > 0 && ms % (1_000 / crowd.walkers) == 0 {
            let id = next_id();
            let lane = ramp.lane(now, who(1 << 20), false).unwrap();
            assert!(ramp.wait_in(lane, id, who(1 << 20)));
            lanes.insert(id, (What::Walker, ms));
        }
        while let Some((at, number)) = asks.first().copied()
            && at <= ms
        {
            asks.pop_first();
            let id = next_id();
            match ramp.turn(now, number, who(number), id) {
                Turn::Go => {
                    comes.insert((ms + crowd.way, number));
                }
                Turn::Soon => {
                    lanes.insert(id, (What::Turn(number), ms));
                }
                // Not more often than once a second.
                Turn::Later(wait) => {
                    asks.insert((ms + (wait.0 / 2).max(1_000) + number % 7 * 40, number));
                }
            }
        }
        while let Some((at, number)) = comes.first().copied()
            && at <= ms
        {
            comes.pop_first();
            if !crowd.sees_all {
                told.pages.push((number, ms));
                continue;
            }
            let lane = ramp.lane(now, who(number), true);
            let id = next_id();
            assert!(ramp.wait_in(lane.unwrap_or(Lane::WalkIn), id, who(number)));
            assert!(
                lane == Some(Lane::Inside) || ramp.is_over(now),
                "{number} at {ms}"
            );
            lanes.insert(id, (What::Page(number), ms));
        }
        while let Next::Enter(id) = ramp.next(now) {
            let (what, since) = lanes.remove(&id).unwrap();
            let places = if matches!(what, What::Turn(_)) { 2 } else { 1 };
            told.entered.extend((0..places).map(|_| ms));
            match what {
                What::Page(number) => {
                    told.pages.push((number, ms));
                    for _ in 0..crowd.parts {
                        let id = next_id();
                        let lane = ramp.lane(now, who(number), false).unwrap();
                        assert!(lane == Lane::Inside || ramp.is_over(now));
                        assert!(ramp.wait_in(lane, id, who(number)));
                        lanes.insert(id, (What::Part, ms));
                    }
                }
                What::Turn(number) => {
                    comes.insert((ms + crowd.way, number));
                }
                What::Part => told.part_max = told.part_max.max(ms - since),
                What::Walker => {
                    told.walk_in_max = told.walk_in_max.max(ms - since);
                    told.walked += usize::from(ms < LASTS.0);
                }
            }
        }
        let kept = ramp
            .granted
            .len()
            .max(ramp.guests.len())
            .max(ramp.entered.len());
        told.kept_max = told.kept_max.max(kept);
    }
    assert!(lanes.is_empty(), "{crowd:?}: {} wait on", lanes.len());
    told
}

fn busiest_second(entered: &[u64]) -> usize {
    let spared = entered.partition_point(|at| *at < LASTS.0);
    let entered = &entered[..spared];
    let within = |first: usize| entered.partition_point(|at| *at < entered[first] + 1_000) - first;
    (0..entered.len()).map(within).max().unwrap_or(0)
}

#[test]
fn two_thousand_visitors_come_at_fifty_a_second_in_their_order() {
    let told = play(PLAIN);
    assert_eq!(busiest_second(&told.entered), 50);
    let before: Vec<_> = told.pages.iter().filter(|page| page.1 < LASTS.0).collect();
    assert!(before.len() >= 1_445, "{}", before.len());
    // A page asks a second late at most, and so much of a crowd is a second.
    for pair in before.windows(2) {
        assert!(pair[0].0 < pair[1].0 + 100, "{pair:?}");
    }
    assert!(
        before.iter().all(|page| page.0 < 1_550),
        "first come, first served"
    );
}

#[test]
fn where_visitors_go_straight_to_the_app_a_turn_is_two_requests() {
    let told = play(Crowd {
        sees_all: false,
        ..PLAIN
    });
    assert_eq!(busiest_second(&told.entered), 50);
    let before = told.pages.iter().filter(|page| page.1 < LASTS.0).count();
    assert!((700..=750).contains(&before), "{before}");
}

#[test]
fn a_page_that_was_let_in_gets_its_parts_before_the_next_one_is() {
    let told = play(Crowd { parts: 19, ..PLAIN });
    assert!(busiest_second(&told.entered) <= 50);
    let before = told.pages.iter().filter(|page| page.1 < LASTS.0).count();
    // Twenty requests for each.
    assert!((70..=80).contains(&before), "{before}");
    assert!(told.part_max <= 6_000, "{}", told.part_max);
}

#[test]
fn the_places_of_those_who_left_are_used() {
    let told = play(Crowd { lost: 2, ..PLAIN });
    let before = told.pages.iter().filter(|page| page.1 < LASTS.0).count();
    assert!(before >= 900, "{before}");
    // All but a few of them have left.
    let told = play(Crowd {
        lost: 1,
        people: 1_000,
        walkers: 20,
        ..PLAIN
    });
    assert!(told.walked >= 300, "{}", told.walked);
}

#[test]
fn who_holds_no_number_neither_waits_for_ever_nor_goes_before_the_others() {
    let told = play(Crowd {
        walkers: 4,
        ..PLAIN
    });
    assert!(told.walk_in_max <= 1_500, "{}", told.walk_in_max);
    let told = play(Crowd {
        walkers: 200,
        ..PLAIN
    });
    assert!((145..=155).contains(&told.walked), "{}", told.walked);
    assert!(told.pages.len() >= 1_250, "{}", told.pages.len());
    // Alone, they have every place.
    let told = play(Crowd {
        walkers: 40,
        people: 0,
        ..PLAIN
    });
    assert!(told.walk_in_max <= 30, "{}", told.walk_in_max);
}

#[test]
fn before_it_is_ready_nobody_enters_and_when_the_time_is_over_everybody() {
    let mut ramp = Ramp::new(1, true);
    ramp.follow(BEGAN, BEGAN, None);
    for id in 0..100 {
        assert!(ramp.wait_in(Lane::WalkIn, id, who(9)));
    }
    assert_eq!(ramp.next(BEGAN), Next::Nobody);
    ramp.follow(READY, BEGAN, Some(READY));
    assert_eq!(ramp.next(READY), Next::Enter(0));
    assert!(matches!(ramp.next(READY), Next::At(_)));
    let end = ramp.ends_at().unwrap();
    let left: Vec<_> = std::iter::from_fn(|| match ramp.next(end) {
        Next::Enter(id) => Some(id),
        _ => None,
    })
    .collect();
    assert_eq!(left, (1..100).collect::<Vec<_>>());
    assert_eq!(ramp.turn(end, 7, who(7), 0), Turn::Go);
}

#[test]
fn a_number_lets_one_household_in_once() {
    let mut ramp = Ramp::new(10, true);
    ramp.follow(BEGAN, BEGAN, None);
    for person in 0..3 {
        assert_eq!(ramp.number(None, who(person)), person);
    }
    assert_eq!(
        ramp.number(Some(1), who(9)),
        1,
        "before it was used it is its holder's"
    );
    assert_eq!(
        ramp.number(Some(7), who(9)),
        3,
        "nobody was given that: the last"
    );
    ramp.follow(READY, BEGAN, Some(READY));
    let later = READY + Span::secs(1);
    assert_eq!(ramp.turn(later, 1, who(1), 0), Turn::Go);
    assert_eq!(
        ramp.turn(later, 1, who(1), 0),
        Turn::Go,
        "its answer was lost"
    );
    assert_eq!(
        ramp.number(Some(1), who(2)),
        4,
        "another household's: the last"
    );
    assert_eq!(ramp.lane(later, who(2), true), None);
    assert_eq!(ramp.lane(later, who(1), true), Some(Lane::Inside));
    assert_eq!(
        ramp.lane(later, who(1), true),
        Some(Lane::Inside),
        "who is in is in"
    );
    // A pass that was not used ends.
    assert_eq!(ramp.turn(later, 0, who(0), 0), Turn::Go);
    ramp.number(None, who(8));
    assert_eq!(ramp.lane(later + PASS, who(0), true), None);
    assert_eq!(ramp.lane(later + PASS, who(0), false), Some(Lane::WalkIn));
}

#[test]
fn where_nobody_waits_and_a_place_is_free_a_page_is_opened_at_once() {
    let mut ramp = Ramp::new(1, true);
    ramp.follow(READY, BEGAN, Some(READY));
    assert_eq!(ramp.lane(READY, who(0), true), Some(Lane::Inside));
    assert!(ramp.wait_in(Lane::Inside, 0, who(9)));
    assert_eq!(ramp.lane(READY, who(1), true), None, "somebody waits");
    assert_eq!(ramp.next(READY), Next::Enter(0));
    assert_eq!(ramp.lane(READY, who(1), true), None, "no place is free");
    let later = READY + Span::secs(1);
    assert_eq!(ramp.lane(later, who(1), true), Some(Lane::Inside));
    ramp.number(None, who(2));
    assert_eq!(
        ramp.lane(later, who(3), true),
        None,
        "somebody holds a number"
    );
}

#[test]
fn whoever_walked_in_may_open_a_page_while_others_hold_numbers() {
    let mut ramp = Ramp::new(10, true);
    ramp.follow(BEGAN, BEGAN, None);
    for person in 0..900 {
        ramp.number(None, who(person));
    }
    ramp.follow(READY, BEGAN, Some(READY));
    assert!(ramp.wait_in(Lane::WalkIn, 1, who(1_000)));
    assert_eq!(ramp.lane(READY, who(1_000), true), None);
    assert_eq!(ramp.next(READY), Next::Enter(1));
    let (soon, late) = (READY + Span::secs(9), READY + PASS);
    assert_eq!(ramp.lane(soon, who(1_000), false), Some(Lane::WalkIn));
    assert_eq!(ramp.lane(late, who(1_000), true), None);
    assert_eq!(ramp.lane(soon, who(1_000), true), Some(Lane::Inside));
    assert_eq!(ramp.lane(soon, who(1_000), false), Some(Lane::Inside));
}

#[test]
fn a_household_of_very_many_waits_on_the_page_too() {
    let mut ramp = Ramp::new(10, true);
    ramp.follow(READY, BEGAN, Some(READY));
    let lanes: Vec<_> = (0..100)
        .map(|id| {
            let lane = ramp.lane(READY, who(0), true);
            assert!(lane.is_none_or(|lane| ramp.wait_in(lane, id, who(0))));
            lane
        })
        .collect();
    assert!(lanes[..10].iter().all(|lane| *lane == Some(Lane::Inside)));
    assert!(lanes[10..].iter().all(Option::is_none), "{lanes:?}");
    assert_eq!(
        ramp.lane(READY, who(0), false),
        Some(Lane::Inside),
        "a part"
    );
}

#[test]
fn another_wake_begins_anew_and_keeps_those_in_the_lanes() {
    let mut ramp = Ramp::new(10, true);
    ramp.follow(BEGAN, BEGAN, None);
    ramp.number(None, who(0));
    assert!(ramp.wait_in(Lane::WalkIn, 4, who(9)));
    ramp.follow(READY, READY, None);
    assert_eq!(ramp.number(Some(0), who(0)), 0);
    assert_eq!(ramp.waiting(), 1);
    ramp.leave(4);
    assert_eq!(ramp.waiting(), 0);
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait_longer() {
    let mut ramp = Ramp::new(1, true);
    ramp.follow(READY, BEGAN, Some(READY + Span::mins(60)));
    assert!(ramp.is_over(READY + LASTS), "another room's clock is ahead");
    assert!(ramp.is_over(READY - Span(1)));
}

#[test]
fn lanes_are_bounded() {
    let mut ramp = Ramp::new(1, true);
    ramp.follow(READY, BEGAN, Some(READY));
    let most = u64::try_from(WAITING_MAX).unwrap();
    assert!((0..most).all(|id| ramp.wait_in(Lane::WalkIn, id, who(9))));
    assert!(!ramp.wait_in(Lane::Inside, most, who(9)));
}

#[test]
fn a_rate_that_changes_on_the_way_is_no_debt() {
    let mut ramp = Ramp::new(1_000, true);
    ramp.follow(READY, BEGAN, Some(READY));
    let later = READY + Span::secs(10);
    (0..10_000).for_each(|id| assert!(ramp.wait_in(Lane::WalkIn, id, who(9))));
    while let Next::Enter(_) = ramp.next(later) {}
    ramp.set(later, 10, true);
    let number = ramp.number(None, who(0));
    assert_eq!(
        ramp.turn(later + Span::secs(1), number, who(0), 0),
        Turn::Go
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_second_lets_in_more_than_the_rate_whatever_the_crowd(
        rate in 1..=200u32,
        sees_all in any::<bool>(),
        people in 0..600u64,
        lost in 0..5u64,
        parts in 0..12u64,
        way in 0..2_500u64,
        walkers in 0..40u64,
    ) {
        let crowd = Crowd { rate, sees_all, people, lost, parts, way, walkers };
        let told = play(crowd);
        let most = usize::try_from(rate).unwrap().max(if sees_all { 1 } else { 2 });
        prop_assert!(busiest_second(&told.entered) <= most, "{}", busiest_second(&told.entered));
        prop_assert!(told.kept_max <= 32 * usize::try_from(rate).unwrap() + 2);
        let places = usize::try_from(rate).unwrap() * 30;
        let spared = told.entered.partition_point(|at| *at < LASTS.0);
        prop_assert!(spared <= places + 2);
    }
}
