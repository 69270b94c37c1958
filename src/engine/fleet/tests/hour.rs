//! How many clones are made in an hour.

use super::*;

#[test]
fn without_a_record_a_quarter_of_the_hour_is_left_and_the_rest_comes_back_evenly() {
    let mut world = World::new(0);
    world.want(3);
    if let Some(terms) = &mut world.policy.clones {
        terms.per_hour = 4;
    }
    let terms = world.terms();
    world.fleet.load_nothing(world.now, &terms);
    world.fleet.load(FleetRecord::default(), world.now);
    for (minutes, made) in [(14, 1), (20, 2), (29, 2), (35, 3)] {
        let now = START + Span::mins(minutes);
        world.live(now);
        assert_eq!(world.made.len(), made, "after {minutes} minutes");
        let next = world.fleet.kept_back_until(now, &terms);
        assert_eq!(next.is_some(), made < 3, "{next:?}");
    }
    assert!(world.fleet.record().begun.len() >= 4, "it is written down");
}

#[test]
fn without_a_record_no_more_than_the_bound_are_made_within_the_next_hour() {
    for per_hour in [1, 2, 3, 20, 1_000] {
        let (mut fleet, mut terms) = (Fleet::default(), World::new(0).terms());
        terms.per_hour = per_hour;
        fleet.load_nothing(START, &terms);
        let left = per_hour - fleet.begun.len() as u16;
        assert_eq!(left, (per_hour / 4).max(1));
        let back = fleet.begun.iter().map(|at| (*at + HOUR).since(START));
        assert!(back.clone().all(|after| after > Span::ZERO && after < HOUR));
        assert!(back.is_sorted());
    }
}
