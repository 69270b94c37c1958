//! The phases, one sentence at a time. Days of all of them together are lived in `tests/sim`.

mod crowd;
mod house;
mod leaving;
mod play;
mod scaling;
mod template;
mod template_days;

use super::*;
use crate::engine::contract::{SleepWhy, Stage};
use crate::engine::machine::MachineState;
use crate::engine::record::Stand;
use crate::engine::view::{Failure, Phase, WokenView};
use play::{MINUTE, Play, SECOND, is_start, is_stop, machine, refused, trigger, upstream, words};

#[test]
fn a_wake_records_starts_probes_and_then_lets_visitors_in() {
    let mut play = Play::asleep();
    play.give(Input::Triggered(trigger()));
    assert_eq!(words(&play.out), ["record", "start"]);
    play.started(MachineState::Starting);
    assert_eq!(words(&play.out), [""; 0]);
    assert_eq!(
        play.engine.view().wake.map(|wake| wake.stage),
        Some(Stage::MachineStarting)
    );
    play.pass(SECOND);
    assert_eq!(words(&play.out), ["inspect"]);
    play.inspected(MachineState::Running);
    assert_eq!(words(&play.out), ["probe"]);
    assert_eq!(
        play.engine.view().wake.map(|wake| wake.stage),
        Some(Stage::MachineUp)
    );
    assert!(play.engine.view().upstreams.is_empty());
    play.probed(ProbeResult::NotReady("refused".into()));
    play.pass(SECOND);
    play.probed(ProbeResult::Ready);
    assert_eq!(
        words(&play.out),
        ["record", "inspect", "probe", "publish awake"]
    );
    assert_eq!(play.engine.view().upstreams, [upstream()]);
}

#[test]
fn ten_thousand_triggers_are_one_start() {
    let mut play = Play::asleep();
    let mut starts = 0;
    for _ in 0..10_000 {
        play.give(Input::Triggered(trigger()));
        starts += play.asked(is_start);
    }
    assert_eq!(starts, 1);
    assert_eq!(play.engine.view().triggered_count, 10_000);
}

#[test]
fn records_and_views_name_no_client_and_the_event_of_the_wake_does() {
    let who = trigger().who;
    let waking = Stand::Waking {
        since: Time(1_000_000_000),
    };
    let ways = [
        ("asleep", Play::asleep()),
        ("stopping", Play::stopping()),
        ("loaded asleep", Play::resumed(Stand::Asleep)),
        ("loaded waking", Play::resumed(waking)),
    ];
    for (name, mut play) in ways {
        let mut told = 0;
        for input in [Input::Tick, Input::Triggered(trigger()), Input::Tick] {
            play.give(input);
            let view = serde_json::to_string(&play.engine.view()).unwrap();
            assert!(!view.contains(&who), "{name}: {view}");
            for effect in &play.out {
                match effect {
                    Effect::Record { record, .. } => {
                        let record = serde_json::to_string(record).unwrap();
                        assert!(!record.contains(&who), "{name}: {record}");
                    }
                    Effect::Tell(Event::WakeBegan(trigger)) => {
                        assert_eq!(trigger.who, who, "{name}");
                        told += 1;
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(told, u32::from(name == "asleep"), "{name}");
    }
}

#[test]
fn late_start_answer_after_timeout_is_ignored() {
    let mut play = Play::asleep();
    play.give(Input::Triggered(trigger()));
    let late = play.call();
    play.pass(46 * SECOND);
    play.pass(2 * SECOND);
    assert_eq!(
        words(&play.out),
        ["inspect"],
        "a lost answer is followed by a look"
    );
    let before = play.engine.view();
    play.give(Input::Started(late, Ok(machine(MachineState::Running))));
    assert_eq!(play.out, []);
    assert_eq!(play.engine.view(), before);
}

#[test]
fn a_refusal_to_look_is_no_accepted_start() {
    let mut play = Play::asleep();
    play.give(Input::Triggered(trigger()));
    play.give(Input::Started(
        play.call(),
        Err(refused(ErrorClass::Ambiguous)),
    ));
    play.pass(2 * SECOND);
    play.give(Input::Inspected(
        play.call(),
        Err(refused(ErrorClass::AlreadyThere)),
    ));
    assert_eq!(
        play.engine.view().wake.map(|wake| wake.stage),
        Some(Stage::Asked)
    );
}

#[test]
fn a_quick_wake_is_probed_quickly_and_a_slow_one_at_the_interval() {
    let mut play = Play::asleep();
    play.give(Input::Triggered(trigger()));
    play.started(MachineState::Running);
    let began = play.now;
    let mut pauses = Vec::new();
    while play.now.since(began) < Span::secs(60) {
        let asked = play.now;
        play.probed(ProbeResult::NotReady("refused".into()));
        while play.asked(|effect| matches!(effect, Effect::Probe(..))) == 0 {
            play.pass(10);
            if play.engine.call.is_some() {
                play.inspected(MachineState::Running);
            }
        }
        pauses.push(play.now.since(asked).as_millis());
    }
    assert_eq!((pauses[0], pauses[19]), (100, 100));
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses.last(), Some(&1_000), "the interval is the bound");
}

#[test]
fn a_service_stays_awake_for_its_minimum() {
    let policy = Policy {
        idle_timeout: Span::mins(1),
        min_awake: Span::mins(10),
        ..Policy::default()
    };
    let mut play = Play::awake_with(policy);
    let woken = play.now;
    play.quiet_until(Phase::Diverting);
    assert!(play.now.since(woken) >= Span::mins(10));
}

#[test]
fn a_paid_hour_is_used_up_and_the_next_one_is_not_begun() {
    let policy = Policy {
        billing_increment: Some(Span::mins(60)),
        ..Policy::default()
    };
    let mut play = Play::awake_with(policy);
    let up = play.engine.up_since.expect("it is up");
    play.quiet_until(Phase::Diverting);
    let ran = play.now.since(up);
    assert!(ran >= Span::mins(58) && ran < Span::mins(60), "{ran}");
}

/// Lets a wake run into its start timeout, with a machine that runs and an app that is silent.
fn fail_by_silence(play: &mut Play) {
    for _ in 0..1_000 {
        if play.phase() == Phase::Failed {
            return;
        }
        if let Some(call) = play.engine.call {
            let answer = Ok(machine(MachineState::Running));
            play.give(match call.kind {
                CallKind::Start => Input::Started(call.op, answer),
                _ => Input::Inspected(call.op, answer),
            });
        }
        play.pass(SECOND);
    }
    panic!("it never fails");
}

#[test]
fn a_failed_wake_is_tried_again_while_somebody_wants_it_and_given_up_after() {
    let mut play = Play::asleep();
    let began = play.now;
    play.give(Input::Triggered(trigger()));
    let mut tries = 0;
    while play.now.since(began) < Span::mins(60) {
        fail_by_silence(&mut play);
        tries += 1;
        assert_eq!(
            play.engine.view().failure.map(|failure| failure.failure),
            Some(Failure::AppSilent)
        );
        while play.phase() == Phase::Failed {
            play.pass(SECOND);
        }
        if play.phase() == Phase::Stopping {
            break;
        }
        assert_eq!(play.phase(), Phase::Waking);
    }
    assert!(tries > 2, "{tries} tries");
    assert!(
        play.now.since(began) >= Span::mins(30),
        "somebody wanted it that long"
    );
    assert_eq!(
        play.phase(),
        Phase::Stopping,
        "nobody has asked for half an hour"
    );
    play.inspected(MachineState::Running);
    assert_eq!(play.asked(is_stop), 1);
}

#[test]
fn a_visitor_of_a_service_that_was_given_up_and_is_held_is_woken_for() {
    let mut play = Play::asleep();
    play.give(Input::Triggered(trigger()));
    play.give(Input::Started(play.call(), Err(refused(ErrorClass::Quota))));
    while play.phase() != Phase::Stopping {
        if play.engine.call.is_some() {
            play.inspected(MachineState::Stopping);
        }
        play.pass(10 * SECOND);
    }
    let until = play.now + Span::mins(120);
    let reason = "repair".into();
    play.give(Input::Held { until, reason });
    play.inspected(MachineState::Running);
    play.pass(10 * SECOND);
    assert_eq!(play.asked(is_stop), 0, "the hold wins");
    play.give(Input::Triggered(trigger()));
    assert_eq!(play.phase(), Phase::Waking);
}

#[test]
fn a_hold_wins_over_giving_up() {
    let mut play = Play::asleep();
    play.give(Input::Triggered(trigger()));
    play.give(Input::Started(play.call(), Err(refused(ErrorClass::Quota))));
    assert_eq!(play.phase(), Phase::Failed);
    let until = play.now + Span::mins(120);
    play.give(Input::Held {
        until,
        reason: "repair".into(),
    });
    while play.now < until {
        let stopping = play.phase() == Phase::Stopping;
        assert!(!stopping, "given up while it is held");
        if play.phase() == Phase::Waking
            && let Some(call) = play.engine.call
        {
            let answer = Err(refused(ErrorClass::Quota));
            play.give(match call.kind {
                CallKind::Start => Input::Started(call.op, answer),
                _ => Input::Inspected(call.op, Ok(machine(MachineState::Stopped))),
            });
        }
        play.pass(10 * SECOND);
    }
}

#[test]
fn a_machine_that_goes_down_under_a_visitor_is_woken_again() {
    let mut play = Play::awake();
    play.pass(11 * SECOND);
    play.probed(ProbeResult::NotReady("refused".into()));
    play.inspected(MachineState::Stopped);
    assert_eq!(play.phase(), Phase::Waking);
    assert!(play.engine.view().wake.is_some_and(|wake| wake.after_crash));
    play.inspected(MachineState::Stopped);
    assert_eq!(play.asked(is_start), 1);
}

#[test]
fn a_machine_that_goes_down_when_nobody_uses_it_stays_down() {
    let mut play = Play::awake();
    for _ in 0..200 {
        play.now = play.now + Span(SECOND);
        play.give(Input::Seen(Activity::quiet(Source::Edge)));
    }
    play.probed(ProbeResult::NotReady("refused".into()));
    play.inspected(MachineState::Stopped);
    assert_eq!(play.phase(), Phase::Asleep);
}

#[test]
fn the_app_is_believed_before_an_old_word_of_the_provider() {
    let mut play = Play::awake();
    play.pass(61 * SECOND);
    play.inspected(MachineState::Stopped);
    assert_eq!(play.phase(), Phase::Awake);
    play.probed(ProbeResult::Ready);
    play.pass(SECOND);
    play.inspected(MachineState::Running);
    assert_eq!(play.phase(), Phase::Awake);
}

#[test]
fn a_machine_found_running_is_not_started_once_it_is_off_again() {
    let mut play = Play::asleep();
    play.pass(6 * MINUTE);
    play.inspected(MachineState::Running);
    assert_eq!(play.phase(), Phase::Waking);
    play.pass(4 * SECOND);
    play.inspected(MachineState::Stopped);
    assert_eq!(play.phase(), Phase::Asleep);
    assert_eq!(play.asked(is_start), 0);
}

#[test]
fn ids_of_a_new_life_are_above_those_of_the_last() {
    let old = Play::awake();
    let last = old.engine.op;
    let later = Play::awake();
    assert_eq!(later.engine.op, last, "the same life has the same ids");
    for clock in [old.now + Span(SECOND), Time(0)] {
        let mut out = Vec::new();
        let mut heir = Service::new("blog".parse().unwrap(), Policy::default(), clock);
        let record = Record {
            last_op: last,
            ..Record::default()
        };
        heir.step(clock, Input::Loaded(Some(Box::new(record))), &mut out);
        assert!(heir.op > last);
    }
}

/// What follows from each record and each state of the machine.
#[test]
fn every_record_resumes_by_what_the_machine_is() {
    use MachineState::{Running, Starting, Stopped, Stopping};
    use Phase as P;
    let now = Time(1_000_000_000);
    let (fresh, old) = (now - Span::mins(1), now - Span::mins(60));
    let failed = Stand::Failed {
        failure: Failure::AppSilent,
        since: fresh,
    };
    let idle = Stand::Stopping {
        why: SleepWhy::Idle,
    };
    let waking = Stand::Waking { since: fresh };
    let long_ago = Stand::Waking { since: old };
    let upstream = Some(upstream());
    let awake = Stand::Awake { upstream };
    let leaving = Stand::Leaving { upstream };
    let table = [
        (
            Stand::Unknown,
            [P::Asleep, P::Waking, P::Waking, P::Learning],
        ),
        (
            Stand::Asleep,
            [P::Asleep, P::Waking, P::Waking, P::Learning],
        ),
        (waking, [P::Waking, P::Waking, P::Waking, P::Waking]),
        (long_ago, [P::Asleep, P::Waking, P::Waking, P::Learning]),
        (awake, [P::Awake, P::Awake, P::Awake, P::Awake]),
        (leaving, [P::Awake, P::Awake, P::Awake, P::Awake]),
        (idle, [P::Asleep, P::Waking, P::Waking, P::Stopping]),
        (failed, [P::Asleep, P::Waking, P::Waking, P::Learning]),
    ];
    for (stand, phases) in table {
        for (state, phase) in [Stopped, Starting, Running, Stopping]
            .into_iter()
            .zip(phases)
        {
            let mut play = Play::resumed(stand.clone());
            play.inspected(state);
            assert_eq!(
                play.phase(),
                phase,
                "{stand:?}, and the machine is {state:?}"
            );
            assert_eq!(
                play.asked(is_stop),
                0,
                "{stand:?}: nothing is stopped unseen"
            );
        }
    }
}

#[test]
fn a_recorded_awake_service_whose_machine_is_off_rests_and_is_not_started() {
    let mut play = Play::resumed(Stand::Awake {
        upstream: Some(upstream()),
    });
    play.probed(ProbeResult::NotReady("refused".into()));
    play.inspected(MachineState::Stopped);
    assert_eq!(play.phase(), Phase::Asleep);
    assert_eq!(play.asked(is_start), 0);
}

#[test]
fn only_a_wake_makes_an_app_freshly_ready() {
    let mut play = Play::asleep();
    play.give(Input::Triggered(trigger()));
    let since = play.now;
    play.started(MachineState::Starting);
    play.pass(SECOND);
    play.inspected(MachineState::Running);
    assert_eq!(play.engine.view().woken, None);
    play.probed(ProbeResult::Ready);
    let ready = play.now;
    assert_eq!(play.engine.view().woken, Some(WokenView { since, ready }));
    // It was awake before the room was.
    let upstream = Some(upstream());
    let mut play = Play::resumed(Stand::Awake { upstream });
    play.inspected(MachineState::Running);
    assert_eq!(
        (play.phase(), play.engine.view().woken),
        (Phase::Awake, None)
    );
}

#[test]
fn what_waiting_does_not_mend_is_told_at_once_and_not_hammered() {
    for (class, failure, least) in [
        (ErrorClass::Capacity, Failure::NoCapacity, 30),
        (ErrorClass::Quota, Failure::Quota, 60),
        (ErrorClass::Auth, Failure::Refused, 60),
        (ErrorClass::Forbidden, Failure::Refused, 60),
    ] {
        let mut play = Play::asleep();
        play.give(Input::Triggered(trigger()));
        play.give(Input::Started(play.call(), Err(refused(class))));
        let told = play.engine.view().failure.expect("it failed");
        assert_eq!(told.failure, failure);
        let retry_at = told.retry_at.expect("somebody waits");
        assert!(retry_at.since(play.now) >= Span::secs(least), "{class}");
    }
}

#[test]
fn a_credential_that_is_refused_twice_fails_the_wake() {
    let mut play = Play::resumed(Stand::Waking {
        since: Time(1_000_000_000),
    });
    play.inspected(MachineState::Starting);
    for _ in 0..2 {
        assert_eq!(play.phase(), Phase::Waking);
        while play.engine.call.is_none() {
            play.pass(SECOND);
        }
        play.give(Input::Inspected(
            play.call(),
            Err(refused(ErrorClass::Auth)),
        ));
    }
    assert_eq!(play.phase(), Phase::Failed);
}
