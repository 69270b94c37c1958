//! A wake for which many wait: it brings more than one instance.

use super::house::House;
use super::*;
use crate::engine::id::InstanceId;
use crate::engine::record::Base;
use crate::engine::scale::{Alert, Crowd, Direction, Terms};

/// One for each 20 visitors, three at most of four.
fn policy() -> Policy {
    let mut policy = House::policy();
    if let Some(terms) = &mut policy.scale {
        terms.crowd = Some(Crowd { each: 20, max: 3 });
    }
    policy
}

fn scaled(mut policy: Policy, change: impl FnOnce(&mut Terms)) -> Policy {
    change(policy.scale.as_mut().expect("it is scaled"));
    policy
}

/// Asleep, with so many who wait. The seed answers half a minute after its start.
fn asleep(policy: Policy, waiting: u32) -> House {
    let mut house = House::with(policy, false);
    house.seed_boots_in = Span::secs(30);
    house.waiting = waiting;
    house.live(Span::secs(20));
    assert_eq!((house.engine.phase(), house.made), (Phase::Asleep, 0));
    house
}

/// Then somebody asks.
fn woken(policy: Policy, waiting: u32) -> House {
    let mut house = asleep(policy, waiting);
    house.answers.push_back(Input::Triggered(trigger()));
    house.live(Span::secs(3));
    assert_eq!(house.engine.phase(), Phase::Waking);
    house
}

fn why(house: &House) -> String {
    let scale = house.engine.view().scale;
    scale.map_or_else(String::new, |scale| {
        format!("{}: {}", scale.wanted, scale.why)
    })
}

#[test]
fn who_waits_brings_instances_from_the_start_and_they_stay_until_the_load_says_otherwise() {
    let mut house = woken(policy(), 45);
    assert_eq!(house.made, 2, "they are made while the seed starts");
    assert_eq!(why(&house), "3: 45 visitors waited");
    house.waiting = 0;
    house.live(Span::secs(40));
    assert_eq!(house.engine.phase(), Phase::Awake);
    assert_eq!(house.serving().len(), 3);
    assert!(
        why(&house).starts_with("3: 45 visitors waited; "),
        "{}",
        why(&house)
    );
    // Nobody came of them; the usual time passes before one goes.
    house.live(Span::mins(14));
    assert_eq!((house.serving().len(), house.made), (3, 2));
    house.live(Span::mins(4));
    assert_eq!(house.serving().len(), 2);
    assert!(!why(&house).contains("waited"), "{}", why(&house));
    house.live(Span::mins(30));
    assert_eq!(house.serving(), [InstanceId::SEED]);
}

#[test]
fn few_who_wait_bring_no_more_than_the_seed() {
    let mut house = woken(policy(), 20);
    house.live(Span::mins(2));
    assert_eq!((house.made, house.serving().len()), (0, 1));
    // They are the next wake's, or nobody's.
    house.waiting = 500;
    house.live(Span::mins(2));
    assert_eq!(house.made, 0, "awake, the load decides");
}

#[test]
fn who_comes_while_it_wakes_brings_more_and_who_gives_up_takes_nothing_back() {
    let mut house = woken(policy(), 25);
    assert_eq!(house.made, 1);
    house.waiting = 2;
    house.live(Span::secs(3));
    assert_eq!((house.made, house.clones.len()), (1, 1));
    house.waiting = 5_000;
    house.live(Span::secs(3));
    assert_eq!(
        (house.made, house.clones.len()),
        (2, 2),
        "no more than its own max"
    );
    assert_eq!(why(&house), "3: 5000 visitors waited");
}

#[test]
fn the_bounds_of_the_service_hold_for_those_who_wait_too() {
    let lower = scaled(policy(), |terms| terms.max = 2);
    assert_eq!(woken(lower, 900).made, 1);
    let mut rare = policy();
    if let Some(terms) = &mut rare.clones {
        terms.per_hour = 1;
    }
    let mut house = woken(rare, 900);
    house.live(Span::mins(2));
    assert_eq!((house.made, house.serving().len()), (1, 2));
}

#[test]
fn never_fewer_come_than_the_service_has_at_least() {
    let house = woken(scaled(policy(), |terms| terms.min = 4), 25);
    assert_eq!(house.made, 3);
}

#[test]
fn of_a_service_without_its_seed_all_that_are_called_for_are_clones() {
    let mut template = policy();
    template.base = Base::Clones;
    let mut house = asleep(template, 45);
    house.boots_in = Span::secs(20);
    house.answers.push_back(Input::Triggered(trigger()));
    house.live(Span::secs(5));
    assert_eq!((house.engine.phase(), house.made), (Phase::Waking, 3));
    assert_eq!(why(&house), "3: 45 visitors waited");
    house.live(Span::mins(5));
    assert_eq!((house.engine.phase(), house.made), (Phase::Awake, 3));
    assert_eq!((house.serving().len(), house.starts), (3, 0));
}

#[test]
fn visitors_are_let_in_to_what_answers_first() {
    let house = woken(policy(), 45);
    assert!(house.engine.takes_requests());
    assert_eq!(house.serving().len(), 2);
    assert!(!house.serving().contains(&InstanceId::SEED));
}

#[test]
fn a_wake_that_is_given_up_leaves_no_clone_and_its_next_try_is_of_the_seed_alone() {
    let mut house = asleep(policy(), 45);
    (house.boots_in, house.seed_boots_in) = (Span::mins(1_000), Span::mins(1_000));
    house.answers.push_back(Input::Triggered(trigger()));
    let mut failed = 0;
    for _ in 0..20 * 60 {
        let before = house.engine.phase();
        house.live(Span::secs(1));
        if (before, house.engine.phase()) == (Phase::Waking, Phase::Failed) {
            failed += 1;
            house.live(Span::secs(40));
            assert_eq!(house.clones.len(), 0, "none is left");
        }
    }
    assert!(failed > 1, "it was tried again");
    assert_eq!(house.made, 2);
}

#[test]
fn a_machine_that_nobody_asked_for_wakes_for_nobody() {
    let mut house = House::with(policy(), true);
    (house.seed_boots_in, house.waiting) = (Span::secs(30), 500);
    house.live(Span::mins(2));
    assert_eq!((house.engine.phase(), house.made), (Phase::Awake, 0));
}

#[test]
fn an_alert_for_fewer_waits_for_the_cooldown_from_the_wake_on() {
    let mut house = woken(scaled(policy(), |terms| terms.alerts_only = true), 45);
    house.answers.push_back(Input::Alerted(Alert {
        name: 1,
        direction: Direction::Down,
        at: house.now,
        firing: true,
    }));
    while house.engine.phase() != Phase::Awake {
        house.live(Span::secs(1));
    }
    house.live(Span::secs(170));
    assert_eq!(house.serving().len(), 3);
    house.live(Span::secs(20));
    assert_eq!(house.serving().len(), 2);
}
