//! The way to a stop, and what calls it off.

use super::super::state::LeavingStep;
use super::*;
use crate::engine::policy::Sleep;

#[test]
fn a_sleep_diverts_proves_looks_records_and_stops_in_this_order() {
    let mut play = Play::idle();
    assert!(words(&play.out).ends_with(&["record", "publish asleep"]));
    play.settle();
    assert_eq!(words(&play.out), ["prove"]);
    let op = play.op(|effect| matches!(effect, Effect::ProveDivert(_)));
    play.give(Input::Diverted(op, Ok(())));
    play.now = play.now + Span(1);
    play.give(Input::Seen(Activity::quiet(Source::Edge)));
    assert_eq!(words(&play.out), ["look"]);
    play.looked(Activity::quiet(Source::Edge));
    assert_eq!(words(&play.out), ["must record", "stop"]);
    play.give(Input::Stopped(
        play.call(),
        Ok(machine(MachineState::Stopped)),
    ));
    assert_eq!(play.phase(), Phase::Asleep);
}

#[test]
fn a_trigger_while_stopping_brings_the_service_back() {
    let mut play = Play::stopping();
    play.give(Input::Triggered(trigger()));
    assert_eq!(play.phase(), Phase::Stopping);
    play.give(Input::Stopped(
        play.call(),
        Ok(machine(MachineState::Stopped)),
    ));
    assert_eq!(play.phase(), Phase::Waking);
    assert_eq!(play.asked(is_start), 1);
}

#[test]
fn a_machine_that_cannot_be_stopped_serves_the_visitor_who_waits() {
    let mut play = Play::stopping();
    play.give(Input::Triggered(trigger()));
    for _ in 0..20 {
        if let Some(call) = play.engine.call {
            let answer = Err(refused(ErrorClass::Transient));
            play.give(match call.kind {
                CallKind::Stop => Input::Stopped(call.op, answer),
                _ => Input::Inspected(call.op, answer),
            });
        }
        if play.phase() == Phase::Waking {
            return;
        }
        play.pass(30 * SECOND);
    }
    panic!("the visitor waits for ever");
}

#[test]
fn a_visitor_a_hold_and_a_missing_source_call_the_stop_off_at_every_step() {
    let steps = [Play::idle, Play::draining, Play::looking];
    for (number, step) in steps.iter().enumerate() {
        let hold = Input::Held {
            until: Time(u64::MAX / 2),
            reason: "backup".into(),
        };
        let used = Activity {
            used: true,
            ..Activity::quiet(Source::Edge)
        };
        let objections = [
            Input::Triggered(trigger()),
            Input::Seen(used),
            hold,
            Input::SignalLost(Source::Edge),
        ];
        for objection in objections {
            let mut play = step();
            play.give(objection.clone());
            assert!(
                play.cancelled(),
                "step {number}, {objection:?}: {:?}",
                play.out
            );
            assert_eq!(play.engine.view().upstreams, [upstream()]);
        }
        let mut play = step();
        play.pass(61 * SECOND);
        assert!(
            play.cancelled(),
            "step {number}, no sample for a minute: {:?}",
            play.out
        );
    }
}

#[test]
fn the_last_look_calls_the_stop_off_when_it_sees_anybody_or_fails() {
    let quiet = Activity::quiet(Source::Edge);
    let busy = [
        Activity {
            used: true,
            ..quiet
        },
        Activity {
            in_flight: 1,
            ..quiet
        },
        Activity { long: 1, ..quiet },
        Activity::quiet(Source::Traefik),
    ];
    for sample in busy {
        let mut play = Play::looking();
        play.looked(sample);
        assert!(play.cancelled(), "{sample:?}");
    }
}

#[test]
fn after_a_visitor_the_idle_timeout_says_when_a_stop_is_due_again_and_after_trouble_a_minute() {
    let used = Activity {
        used: true,
        ..Activity::quiet(Source::Edge)
    };
    let other = Activity::quiet(Source::Traefik);
    for (step, objection, again) in [
        (Play::idle_with as fn(Policy) -> Play, Input::Seen(used), 5),
        (Play::idle_with, Input::Triggered(trigger()), 5),
        (Play::idle_with, Input::SignalLost(Source::Edge), 60),
        (
            Play::looking_with,
            Input::LookedOnce(OpId(0), Ok(vec![used])),
            5,
        ),
        (
            Play::looking_with,
            Input::LookedOnce(OpId(0), Ok(vec![other])),
            60,
        ),
    ] {
        let policy = Policy {
            idle_timeout: Span::secs(5),
            min_awake: Span::ZERO,
            ..Policy::default()
        };
        let mut play = step(policy);
        let said = format!("{objection:?}");
        match objection {
            Input::LookedOnce(_, Ok(samples)) => play.looked(samples[0]),
            objection => play.give(objection),
        }
        assert!(play.cancelled(), "{said}");
        let since = play.now;
        play.quiet_until(Phase::Diverting);
        let after = play.now.since(since);
        let due = Span::secs(again);
        assert!(
            due <= after && after <= due + Span::secs(1),
            "{said}: {after}"
        );
    }
}

#[test]
fn a_look_that_nobody_waits_for_any_more_still_tells_of_use() {
    let mut play = Play::looking();
    let State::Draining(leaving) = &play.engine.state else {
        panic!("not draining")
    };
    let LeavingStep::Looking { op } = leaving.step else {
        panic!("not looking")
    };
    let reason = "repair".into();
    let until = play.now + Span::mins(1);
    play.give(Input::Held { until, reason });
    assert!(play.cancelled());
    let used = Activity {
        used: true,
        ..Activity::quiet(Source::Edge)
    };
    play.give(Input::LookedOnce(op, Ok(vec![used])));
    assert_eq!(play.engine.idle.last_use(), play.now);
}

#[test]
fn a_stop_that_is_not_recorded_is_not_asked_for() {
    let mut play = Play::stopping();
    let op = play.op(|effect| matches!(effect, Effect::Record { required: true, .. }));
    play.give(Input::NotRecorded(op));
    assert!(play.cancelled());
    assert_eq!(play.engine.view().upstreams, [upstream()]);
}

#[test]
fn every_repeated_stop_has_a_required_record_before_it() {
    let mut play = Play::stopping();
    play.give(Input::Stopped(
        play.call(),
        Err(refused(ErrorClass::Transient)),
    ));
    play.pass(2 * SECOND);
    play.inspected(MachineState::Running);
    assert_eq!(words(&play.out), ["must record", "stop"]);
    let op = play.op(|effect| matches!(effect, Effect::Record { required: true, .. }));
    play.give(Input::NotRecorded(op));
    assert_eq!(
        play.phase(),
        Phase::Stopping,
        "an earlier stop may have worked: look first"
    );
    play.pass(10 * SECOND);
    assert_eq!(words(&play.out), ["inspect"]);
}

#[test]
fn an_admins_wish_for_sleep_outlives_trouble_and_ends_when_somebody_comes() {
    let mut play = Play::awake();
    play.give(Input::Seen(Activity::quiet(Source::Edge)));
    play.give(Input::SleepAsked { who: "ann".into() });
    assert_eq!(play.phase(), Phase::Diverting);
    play.give(Input::SignalLost(Source::Edge));
    assert!(play.cancelled());
    play.quiet_until(Phase::Diverting);
    let reason = "repair".into();
    let until = play.now + Span::mins(1);
    play.give(Input::Held { until, reason });
    assert!(play.cancelled());
    for _ in 0..300 {
        play.now = play.now + Span(SECOND);
        play.give(Input::Seen(Activity::quiet(Source::Edge)));
        assert_eq!(play.phase(), Phase::Awake, "the wish ended with the hold");
    }
}

fn suspending() -> Play {
    Play::stopping_with(Policy {
        sleep: Sleep::Suspend,
        ..Policy::default()
    })
}

/// The way in which the machine is put to sleep by the last step.
fn way(play: &Play) -> Option<Sleep> {
    play.out.iter().find_map(|effect| match effect {
        Effect::Stop(_, _, sleep) => Some(*sleep),
        _ => None,
    })
}

#[test]
fn a_suspended_machine_sleeps() {
    let mut play = suspending();
    assert_eq!(way(&play), Some(Sleep::Suspend));
    play.give(Input::Stopped(
        play.call(),
        Ok(machine(MachineState::Suspended)),
    ));
    assert_eq!(play.phase(), Phase::Asleep);
}

#[test]
fn a_machine_that_cannot_be_suspended_is_stopped() {
    for class in [
        ErrorClass::InvalidState,
        ErrorClass::BadRequest,
        ErrorClass::Forbidden,
    ] {
        let mut play = suspending();
        play.give(Input::Stopped(play.call(), Err(refused(class))));
        while play.engine.call.is_none() {
            play.pass(SECOND);
        }
        play.inspected(MachineState::Running);
        assert_eq!(way(&play), Some(Sleep::Stop), "{class}");
    }
    let mut play = suspending();
    let busy = refused(ErrorClass::Busy);
    play.give(Input::Stopped(play.call(), Err(busy)));
    while play.engine.call.is_none() {
        play.pass(SECOND);
    }
    play.inspected(MachineState::Running);
    assert_eq!(
        way(&play),
        Some(Sleep::Suspend),
        "what passes by itself is tried again"
    );
}

fn swapping() -> Play {
    Play::stopping_with(Policy {
        sleep: Sleep::Swap,
        ..Policy::default()
    })
}

#[test]
fn a_machine_that_is_merely_off_is_not_swapped_yet() {
    let mut play = swapping();
    assert_eq!(way(&play), Some(Sleep::Swap));
    // It was switched off, and then something failed: the stop is asked to finish, ever more rarely.
    let mut asked_at = play.now;
    let mut waits = Vec::new();
    for _ in 0..4 {
        play.give(Input::Stopped(
            play.call(),
            Err(refused(ErrorClass::Transient)),
        ));
        while way(&play).is_none() {
            match play.engine.call {
                Some(_) => play.inspected(MachineState::Stopped),
                None => play.pass(SECOND),
            }
        }
        waits.push(play.now.since(asked_at));
        asked_at = play.now;
    }
    assert!(
        waits.is_sorted() && waits.first() < waits.last(),
        "{waits:?}"
    );
    let done = Ok(machine(MachineState::Stopped));
    play.give(Input::Stopped(play.call(), done));
    assert_eq!(play.phase(), Phase::Asleep);
}

#[test]
fn who_comes_before_a_machine_is_swapped_has_it_back() {
    let mut play = swapping();
    play.give(Input::Triggered(trigger()));
    play.give(Input::Stopped(play.call(), Err(refused(ErrorClass::Busy))));
    while play.engine.call.is_none() {
        play.pass(SECOND);
    }
    play.inspected(MachineState::Stopped);
    assert_eq!(play.phase(), Phase::Waking);
}

#[test]
fn the_next_owner_finishes_the_swap_of_a_machine_that_is_off() {
    let record = Record {
        stand: Stand::Stopping {
            why: SleepWhy::Idle,
        },
        ..Record::default()
    };
    let policy = Policy {
        sleep: Sleep::Swap,
        ..Policy::default()
    };
    let mut play = Play::with(policy, Some(record));
    play.settle();
    let began = play.now;
    while way(&play).is_none() {
        match play.engine.call {
            Some(_) => play.inspected(MachineState::Stopped),
            None => play.pass(SECOND),
        }
        assert!(play.now.since(began) < Span::mins(1), "{:?}", play.phase());
    }
    assert_eq!(play.phase(), Phase::Stopping);
}

#[test]
fn a_machine_that_is_not_suspended_in_time_is_stopped() {
    let mut play = suspending();
    let accepted = Ok(machine(MachineState::Running));
    play.give(Input::Stopped(play.call(), accepted));
    let began = play.now;
    while way(&play).is_none() {
        match play.engine.call {
            Some(_) => play.inspected(MachineState::Running),
            None => play.pass(SECOND),
        }
        assert!(play.now.since(began) < Span::mins(5));
    }
    assert_eq!(way(&play), Some(Sleep::Stop));
}
