//! A service under load: clones come, serve, and go, with a platform that does what it is asked.

use std::collections::VecDeque;

use super::house::House;
use super::*;
use crate::engine::fleet::Deed;
use crate::engine::id::InstanceId;

impl House {
    /// With the seed and two clones.
    fn busy() -> House {
        let mut house = House::awake();
        house.demand = 20_000;
        house.live(Span::mins(5));
        assert_eq!((house.serving().len(), house.made), (3, 2));
        house
    }
}

#[test]
fn as_many_clones_come_as_the_load_needs_and_no_more() {
    let mut house = House::awake();
    assert_eq!(house.serving(), [InstanceId::SEED]);
    house.demand = 20_000;
    house.live(Span::secs(50));
    assert_eq!(house.made, 0, "a moment is not a minute");
    house.live(Span::mins(30));
    assert_eq!((house.serving().len(), house.made), (3, 2));
    house.demand = 90_000;
    house.live(Span::mins(30));
    assert_eq!((house.serving().len(), house.made), (4, 3), "max");
    let scale = house.engine.view().scale.expect("it is scaled");
    assert!(scale.why.contains("no more than 4"), "{}", scale.why);
}

#[test]
fn clones_go_one_by_one_unlisted_before_they_are_deleted() {
    let mut house = House::busy();
    house.demand = 2_000;
    house.live(Span::mins(17));
    assert_eq!(house.serving().len(), 2, "one step at a time");
    house.live(Span::mins(40));
    assert_eq!(house.serving(), [InstanceId::SEED]);
    assert!(house.clones.is_empty() && house.made == 2);
    for (clone, routing) in &house.deleted {
        let Routing::Awake(listed) = routing else {
            panic!("{routing:?}");
        };
        assert!(
            listed
                .iter()
                .all(|it| it.instance != InstanceId::Clone(*clone))
        );
    }
}

#[test]
fn a_clone_that_answers_somebody_is_not_deleted_before_its_time() {
    let mut house = House::busy();
    (house.demand, house.in_flight) = (2_000, 1);
    while house.serving().len() == 3 {
        house.live(Span::secs(1));
    }
    house.live(Span::secs(28));
    assert!(house.deleted.is_empty(), "drain_timeout is 30 s");
    house.live(Span::secs(6));
    assert_eq!(house.deleted.len(), 1);
}

#[test]
fn nothing_goes_while_nothing_is_measured() {
    let mut house = House::busy();
    house.measured = false;
    house.live(Span::mins(120));
    assert_eq!((house.serving().len(), house.deleted.len()), (3, 0));
}

#[test]
fn an_idle_service_loses_its_clones_first_and_its_seed_last() {
    let mut house = House::busy();
    // Busy without visitors: the load alone would keep them.
    house.used = false;
    while house.deleted.len() < 2 {
        assert_eq!((house.stops, house.engine.phase()), (0, Phase::Awake));
        house.live(Span::secs(1));
        assert!(house.now < Time(1_795_000_000_000) + Span::mins(60));
    }
    house.live(Span::mins(2));
    assert_eq!((house.stops, house.engine.phase()), (1, Phase::Asleep));
    assert!(house.clones.is_empty());
}

#[test]
fn a_visitor_calls_clones_back_that_were_about_to_go() {
    let mut house = House::busy();
    (house.used, house.in_flight) = (false, 0);
    let leaving = |house: &House| house.engine.fleet.upstreams().count() < 2;
    while !leaving(&house) {
        house.live(Span::secs(1));
    }
    house.used = true;
    house.live(Span::mins(2));
    assert_eq!((house.serving().len(), house.stops), (3, 0));
    assert_eq!(house.made as usize - house.deleted.len(), 2);
}

#[test]
fn a_seed_that_dies_is_woken_behind_the_clones_that_serve() {
    let mut house = House::busy();
    house.seed_on = false;
    house.live(Span::secs(45));
    assert!(house.seed_on, "it was started again");
    house.live(Span::mins(1));
    assert_eq!(house.serving().len(), 3);
    assert!(house.deleted.is_empty());
}

#[test]
fn visitors_are_led_to_the_clones_while_the_seed_is_away() {
    let mut house = House::busy();
    house.seed_on = false;
    let mut least = usize::MAX;
    for _ in 0..60 {
        house.live(Span::secs(1));
        least = least.min(house.engine.view().upstreams.len());
    }
    assert!(least >= 2, "{least}");
}

#[test]
fn a_clone_that_dies_is_taken_out_and_replaced() {
    let mut house = House::busy();
    let (dead, _) = house.clones.pop_last().expect("there are two");
    house.live(Span::secs(25));
    assert!(!house.serving().contains(&InstanceId::Clone(dead)));
    house.live(Span::mins(20));
    assert_eq!((house.serving().len(), house.made), (3, 3));
}

#[test]
fn a_clone_that_did_not_appear_is_not_replaced_before_something_says_that_it_is_needed() {
    let mut house = House::awake();
    let mut policy = house.engine.policy().clone();
    if let Some(terms) = &mut policy.clones {
        terms.repeats = false;
    }
    house.engine.set_policy(policy);
    (house.demand, house.loses) = (10_000, true);
    while house.made == 0 {
        house.live(Span::secs(1));
    }
    house.measured = false;
    house.live(Span::mins(30));
    assert_eq!(house.made, 1, "it is not known whether it is needed");
    (house.measured, house.loses) = (true, false);
    house.live(Span::mins(30));
    assert_eq!((house.serving().len(), house.made), (2, 2));
}

#[test]
fn clones_that_serve_stay_where_the_next_owner_finds_the_seed_off() {
    let mut house = House::busy();
    house.seed_on = false;
    let record = Record {
        fleet: house.engine.fleet.record(),
        ..Record::default()
    };
    let (name, policy) = (house.engine.name().clone(), house.engine.policy().clone());
    house.engine = Service::new(name, policy, house.now);
    house.answers = VecDeque::from([Input::Loaded(Some(Box::new(record)))]);
    house.live(Span::mins(2));
    assert_eq!((house.serving().len(), house.deleted.len()), (3, 0));
    assert!(house.seed_on, "the seed comes back behind them");
    house.used = false;
    house.live(Span::mins(60));
    assert_eq!(
        (house.engine.phase(), house.deleted.len()),
        (Phase::Asleep, 2)
    );
}

#[test]
fn who_is_suspected_is_asked_at_once_and_nobody_else() {
    let mut house = House::busy();
    let asked = |which: Option<InstanceId>, house: &mut House| {
        let mut out = Vec::new();
        let step = Input::Suspected(which);
        house.engine.step(house.now, step, &mut out);
        let mut asked = Vec::new();
        for effect in out {
            match &effect {
                Effect::Probe(_, instance, _) => asked.push(*instance),
                Effect::Fleet(_, Deed::Probe(clone, _)) => asked.push(InstanceId::Clone(*clone)),
                _ => {}
            }
            house.act(effect);
        }
        house.live(Span::secs(3));
        asked.sort();
        asked
    };
    let mut all = house.serving();
    all.sort();
    assert_eq!(all.len(), 3);
    // Between two checks, so that none is due by itself.
    house.live(Span::secs(1));
    for instance in all.clone() {
        assert_eq!(asked(Some(instance), &mut house), [instance]);
    }
    assert_eq!(asked(None, &mut house), all);
}

#[test]
fn no_more_are_made_in_an_hour_than_allowed() {
    let mut house = House::awake();
    let mut policy = house.engine.policy().clone();
    if let Some(terms) = &mut policy.clones {
        terms.per_hour = 5;
    }
    house.engine.set_policy(policy);
    house.demand = 20_000;
    for _ in 0..59 {
        house.live(Span::mins(1));
        house.clones.clear();
    }
    assert_eq!(house.made, 5);
    house.live(Span::mins(30));
    assert!(house.made > 5);
}
