//! How long whoever is at a clone has to come to an end before it goes.

use super::appearing::{asking, hear, inherit, machine, take};
use super::*;

const TIME_TO_END: Span = Span::secs(30);

/// After how long a clone that one visitor never leaves is deleted, where between these times it is not sure that
/// nobody is led to it.
fn gone_after(unsure: std::ops::Range<Span>) -> Span {
    let (mut world, clone) = asking(false);
    world.policy.drain_timeout = TIME_TO_END;
    inherit(&mut world, clone);
    let began = world.now;
    let mut op = 2;
    loop {
        op += 1;
        let after = world.now.since(began);
        assert!(after < Span::mins(5), "it stays for ever");
        let heard = match take(&mut world, op) {
            None => {
                world.now = world.now + Span(500);
                continue;
            }
            Some(Deed::Drain(_)) if unsure.contains(&after) => {
                Heard::Drained(Err("a room is silent".to_owned()))
            }
            Some(Deed::Drain(_)) => Heard::Drained(Ok(Some(1))),
            Some(Deed::Find) => Heard::Found(Ok(vec![Owned {
                clone,
                machine: machine(MachineState::Running),
            }])),
            Some(Deed::Look(_)) => Heard::Looked(Ok(machine(MachineState::Running))),
            Some(_) => return after,
        };
        hear(&mut world, op, heard);
    }
}

#[test]
fn who_may_have_been_led_to_it_meanwhile_has_the_whole_time_again() {
    let at_once = gone_after(Span::ZERO..Span::ZERO);
    assert!(
        at_once >= TIME_TO_END && at_once <= Span::secs(40),
        "{at_once}"
    );
    let later = gone_after(Span::secs(20)..Span::secs(25));
    assert!(
        later >= Span::secs(50) && later <= Span::secs(65),
        "{later}"
    );
}
