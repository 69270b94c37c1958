//! A service whose seed is a template: it runs on clones alone.

use super::house::House;
use super::*;
use crate::engine::id::InstanceId;
use crate::engine::policy::CloneTerms;
use crate::engine::record::Base;
use crate::engine::story::Stage;

pub(super) fn policy(change: impl FnOnce(&mut CloneTerms)) -> Policy {
    let mut policy = House::policy();
    policy.base = Base::Clones;
    if let Some(terms) = &mut policy.clones {
        terms.most = 4;
        change(terms);
    }
    policy
}

impl House {
    fn template() -> House {
        House::asleep_with(policy(|_| {}))
    }

    /// Asleep, with the seed running for reasons of its own: nobody touches it.
    fn asleep_with(policy: Policy) -> House {
        let mut house = House::with(policy, true);
        house.used = false;
        house.live(Span::secs(30));
        assert_eq!(house.engine.phase(), Phase::Asleep);
        house
    }

    fn trigger(&mut self) {
        self.answers.push_back(Input::Triggered(trigger()));
    }

    fn woken(mut self) -> House {
        self.trigger();
        self.used = true;
        self.live(Span::secs(30));
        assert_eq!(self.engine.phase(), Phase::Awake);
        assert_eq!((self.serving().len(), self.made), (1, 1));
        self
    }

    fn left(&self) -> usize {
        self.clones.len()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let template = self.engine.policy().base == Base::Clones;
        if template && !std::thread::panicking() {
            assert_eq!((self.starts, self.stops), (0, 0), "the seed is left alone");
        }
    }
}

#[test]
fn a_wake_makes_one_clone_and_a_sleep_deletes_it() {
    let mut house = House::template().woken();
    assert!(!house.serving().contains(&InstanceId::SEED));
    house.live(Span::mins(20));
    assert_eq!((house.serving().len(), house.made), (1, 1));
    house.used = false;
    house.live(Span::mins(29));
    assert_eq!((house.engine.phase(), house.left()), (Phase::Awake, 1));
    house.live(Span::mins(3));
    assert_eq!((house.engine.phase(), house.left()), (Phase::Asleep, 0));
    let (_, routing) = &house.deleted[0];
    assert_eq!(*routing, Routing::Asleep, "diverted before it is deleted");
    house.trigger();
    house.live(Span::secs(30));
    assert_eq!((house.engine.phase(), house.made), (Phase::Awake, 2));
}

#[test]
fn the_page_shows_how_far_the_clone_has_come() {
    let mut house = House::template();
    house.boots_in = Span::secs(20);
    house.trigger();
    house.live(Span::secs(10));
    let wake = house.engine.view().wake.expect("it is on its way");
    assert_eq!(wake.stage, Stage::MachineUp);
    house.live(Span::secs(20));
    assert_eq!(house.engine.phase(), Phase::Awake);
    let eta = house.engine.view().eta.expect("a wake was measured");
    assert!(eta.median >= Span::secs(20), "{eta:?}");
}

#[test]
fn under_load_there_are_more_and_one_stays() {
    let mut house = House::template().woken();
    house.demand = 20_000;
    house.live(Span::mins(30));
    assert_eq!((house.serving().len(), house.made), (3, 3));
    house.demand = 90_000;
    house.live(Span::mins(30));
    assert_eq!(
        house.serving().len(),
        4,
        "max, for the seed is none of them"
    );
    house.demand = 0;
    house.live(Span::mins(120));
    assert_eq!(house.serving().len(), 1);
}

#[test]
fn as_many_as_must_be_there_come_with_the_wake() {
    let mut policy = policy(|_| {});
    if let Some(terms) = &mut policy.scale {
        terms.min = 3;
    }
    let mut house = House::asleep_with(policy);
    house.trigger();
    house.live(Span::secs(30));
    assert_eq!((house.serving().len(), house.made), (3, 3));
}

#[test]
fn the_clone_that_serves_stays_when_another_is_wanted_no_more_before_it_serves() {
    let mut house = House::template().woken();
    let want_least = |house: &mut House, least| {
        let mut policy = policy(|_| {});
        if let Some(terms) = &mut policy.scale {
            terms.min = least;
        }
        house.engine.set_policy(policy);
        house.live(Span::secs(3));
    };
    house.hangs = true;
    want_least(&mut house, 2);
    assert_eq!((house.made, house.serving().len()), (2, 1));
    want_least(&mut house, 1);
    for _ in 0..120 {
        house.live(Span::secs(1));
        assert_eq!(house.serving().len(), 1);
    }
}

#[test]
fn a_visitor_on_the_way_to_the_end_calls_the_clone_back() {
    let mut house = House::template().woken();
    house.used = false;
    while house.engine.phase() != Phase::Stopping {
        house.live(Span::secs(1));
    }
    assert_eq!(house.left(), 1);
    house.trigger();
    house.used = true;
    house.live(Span::secs(10));
    assert_eq!((house.engine.phase(), house.made), (Phase::Awake, 1));
    assert_eq!(house.serving().len(), 1);
}

#[test]
fn a_visitor_during_an_admins_sleep_gets_the_clone_back_though_no_more_may_be_made() {
    let mut house = House::asleep_with(policy(|terms| terms.per_hour = 1)).woken();
    house.answers.push_back(Input::SleepAsked {
        who: "admin".into(),
    });
    // Somebody is inside for a moment.
    (house.used, house.in_flight) = (false, 1);
    house.live(Span::secs(8));
    assert_eq!(house.engine.phase(), Phase::Draining);
    house.trigger();
    (house.used, house.in_flight) = (true, 0);
    house.live(Span::secs(60));
    assert_eq!((house.engine.phase(), house.made), (Phase::Awake, 1));
    assert_eq!(house.serving().len(), 1);
}

#[test]
fn a_clone_that_answers_and_is_there_is_not_gone_because_lists_lack_it() {
    let mut house = House::template().woken();
    house.unlisted = true;
    house.live(Span::mins(20));
    assert_eq!((house.serving().len(), house.deleted.len()), (1, 0));
    assert_eq!(house.made, 1);
}

#[test]
fn a_clone_that_answers_somebody_is_not_deleted() {
    let mut house = House::template().woken();
    (house.used, house.in_flight) = (false, 1);
    house.live(Span::mins(120));
    assert_eq!((house.engine.phase(), house.left()), (Phase::Awake, 1));
}

#[test]
fn a_refusal_is_said_at_once_and_not_hammered() {
    for (class, failure) in [
        (ErrorClass::Capacity, Failure::NoCapacity),
        (ErrorClass::Quota, Failure::Quota),
        (ErrorClass::Forbidden, Failure::Refused),
    ] {
        let mut house = House::template();
        house.refuses = Some(class);
        house.trigger();
        house.live(Span::secs(3));
        let view = house.engine.view();
        let failed = view.failure.expect("it failed");
        assert_eq!(failed.failure, failure);
        let wait = failed.retry_at.expect("somebody waits").since(house.now);
        assert!(wait >= Span::secs(20), "{class:?}: {wait}");
        house.refuses = None;
        house.live(Span::mins(10));
        assert_eq!(house.engine.phase(), Phase::Awake, "{class:?}");
    }
}

#[test]
fn a_slow_clone_is_waited_for_after_the_wake_has_failed() {
    let mut house = House::template();
    house.boots_in = Span::mins(5) + Span::secs(20);
    let mut terms = house.engine.policy().clone();
    terms.start_timeout = Span::mins(5);
    house.engine.set_policy(terms);
    house.trigger();
    house.live(Span::mins(5) + Span::secs(3));
    assert_eq!(house.engine.phase(), Phase::Failed);
    house.live(Span::secs(40));
    assert_eq!((house.engine.phase(), house.made), (Phase::Awake, 1));
}

#[test]
fn no_more_are_made_in_an_hour_than_allowed_and_the_page_says_so() {
    let mut house = House::asleep_with(policy(|terms| terms.per_hour = 2));
    for _ in 0..2 {
        house.trigger();
        house.live(Span::secs(20));
        assert_eq!(house.engine.phase(), Phase::Awake);
        house.answers.push_back(Input::SleepAsked {
            who: "admin".into(),
        });
        house.live(Span::mins(5));
        assert_eq!(house.engine.phase(), Phase::Asleep);
    }
    house.trigger();
    house.live(Span::secs(2));
    let view = house.engine.view();
    assert_eq!(
        view.failure.map(|it| it.failure),
        Some(Failure::CreationCap)
    );
    assert!(view.why.contains("creations_per_hour"), "{}", view.why);
    assert_eq!(house.made, 2);
}

#[test]
fn the_last_clone_stays_in_service_while_only_its_app_is_silent() {
    let mut house = House::template().woken();
    house.is_silent = house.clones.keys().copied().collect();
    house.live(Span::mins(3));
    assert_eq!(house.serving().len(), 1, "as a seed does");
    let view = house.engine.view();
    assert!(!view.healthy && view.phase == Phase::Awake);
    house.is_silent.clear();
    house.live(Span::secs(30));
    assert!(house.engine.view().healthy);
    assert_eq!(house.made, 1);
}

#[test]
fn where_two_serve_the_silent_one_is_left_out() {
    let mut house = House::template().woken();
    house.demand = 10_000;
    house.live(Span::mins(10));
    assert_eq!(house.serving().len(), 2);
    let (silent, _) = house.clones.first_key_value().expect("there are two");
    house.is_silent.insert(*silent);
    house.live(Span::mins(1));
    assert_eq!(house.serving().len(), 1);
}

#[test]
fn a_clone_that_vanishes_under_a_visitor_is_replaced() {
    let mut house = House::template().woken();
    house.clones.clear();
    let mut told = false;
    for _ in 0..120 {
        house.live(Span::secs(1));
        told |= house.engine.phase() == Phase::Waking && house.serving().is_empty();
    }
    assert!(told, "it is gone, and visitors are told");
    assert_eq!(house.engine.phase(), Phase::Awake);
    assert_eq!((house.serving().len(), house.made), (1, 2));
}

#[test]
fn a_clone_that_vanishes_when_nobody_uses_it_is_not_replaced() {
    let mut house = House::template().woken();
    house.used = false;
    house.live(Span::mins(15));
    house.clones.clear();
    house.live(Span::mins(10));
    assert_eq!((house.engine.phase(), house.made), (Phase::Asleep, 1));
}

/// Kills the owner after each step of a whole life and lets another go on by what is written down.
#[test]
fn whoever_goes_on_by_the_record_loses_nothing_and_makes_nothing_twice() {
    for cut in 1..400 {
        let mut house = House::template();
        house.boots_in = Span::secs(20);
        house.trigger();
        house.used = true;
        let lives = |house: &mut House, from: u64, to: u64| {
            for second in from..to {
                if second == 60 {
                    house.used = false;
                }
                house.live(Span::secs(1));
            }
        };
        let cut_at = match cut {
            0..60 => cut,
            // Through the sleep: half an hour after the last use.
            _ => 1_700 + cut,
        };
        lives(&mut house, 0, cut_at);
        house.crash();
        lives(&mut house, cut_at, 7_200);
        assert_eq!(house.engine.phase(), Phase::Asleep, "cut at {cut_at}");
        assert_eq!((house.left(), house.made), (0, 1), "cut at {cut_at}");
    }
}

#[test]
fn a_wiped_record_kills_no_clone_in_use() {
    let mut house = House::template().woken();
    house.record = None;
    house.crash();
    house.live(Span::mins(1));
    assert_eq!(
        (house.engine.phase(), house.serving().len()),
        (Phase::Awake, 1)
    );
    assert_eq!(house.made, 1);
}

#[test]
fn a_seed_that_serves_again_is_woken_behind_the_clones() {
    let mut house = House::template().woken();
    house.seed_on = false;
    let mut policy = House::policy();
    policy.base = Base::Seed;
    house.engine.set_policy(policy);
    for _ in 0..60 {
        house.live(Span::secs(1));
        assert!(!house.serving().is_empty(), "somebody always serves");
    }
    house.live(Span::mins(40));
    assert_eq!(house.serving(), [InstanceId::SEED]);
    assert_eq!((house.starts, house.left()), (1, 0));
}

#[test]
fn a_seed_that_became_a_template_serves_until_it_sleeps() {
    let mut house = House::with(House::policy(), true);
    house.live(Span::secs(30));
    assert_eq!(house.serving(), [InstanceId::SEED]);
    let mut later = policy(|_| {});
    later.scale = None;
    house.engine.set_policy(later);
    house.crash();
    house.used = false;
    house.live(Span::mins(40));
    assert_eq!((house.engine.phase(), house.stops), (Phase::Asleep, 1));
    house.stops = 0;
    house.trigger();
    house.live(Span::mins(1));
    assert_eq!((house.serving().len(), house.made), (1, 1));
    assert!(!house.seed_on);
}
