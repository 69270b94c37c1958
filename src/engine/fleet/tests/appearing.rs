//! Clones whose making was not answered: they appear, late or never. Each of these was a day of the simulation.

use super::*;

/// The next deed, under way with `number` as its operation.
pub(super) fn take(world: &mut World, number: u64) -> Option<Deed> {
    let terms = world.terms();
    world.fleet.settle(world.now, &world.policy);
    world.fleet.want(terms.wanted, world.now, &world.policy);
    let (deed, _) = world.fleet.next(world.now, &terms, true)?;
    let lost_at = world.now + Span::mins(11);
    world
        .fleet
        .doing(&deed, OpId(number), None, world.now, lost_at);
    Some(deed)
}

pub(super) fn hear(world: &mut World, number: u64, heard: Heard) {
    world
        .fleet
        .heard(OpId(number), heard, world.now, &world.policy);
}

/// A fleet that wants one clone and has just asked for it as operation 2.
pub(super) fn asking(repeats: bool) -> (World, CloneId) {
    let mut world = World::new(0);
    world.policy.clones = Some(CloneTerms {
        wanted: 1,
        most: 4,
        per_hour: 100,
        settles: SETTLES,
        repeats,
        strips: false,
    });
    assert_eq!(take(&mut world, 1), Some(Deed::Find));
    hear(&mut world, 1, Heard::Found(Ok(Vec::new())));
    match take(&mut world, 2) {
        Some(Deed::Make(clone)) => (world, clone),
        other => panic!("{other:?}"),
    }
}

/// An earlier owner may have led visitors to this clone, and nobody wants it any more.
pub(super) fn inherit(world: &mut World, clone: CloneId) {
    let life = Life::Rising {
        since: world.now,
        served: false,
    };
    world.record.clones.insert(clone, life);
    world.kill();
    world.want(0);
}

pub(super) fn machine(state: MachineState) -> Machine {
    Machine {
        state,
        address: None,
    }
}

#[test]
fn a_clone_that_a_list_shows_while_its_answer_is_lost_is_there() {
    let (mut world, clone) = asking(false);
    world.now = world.now + PATROL + Span::secs(1);
    assert_eq!(take(&mut world, 3), Some(Deed::Find));
    let machine = machine(MachineState::Running);
    hear(
        &mut world,
        3,
        Heard::Found(Ok(vec![Owned { clone, machine }])),
    );
    // The list was the last before the answer counts as lost.
    world.now = START + Span::mins(11);
    assert_eq!(take(&mut world, 4), Some(Deed::Find));
    let lives: Vec<_> = world.fleet.lives().collect();
    let (since, served) = (world.now, false);
    assert_eq!(lives, [(clone, &Life::Rising { since, served })]);
}

#[test]
fn a_clone_may_appear_from_the_last_time_that_it_was_asked_for() {
    let (mut world, clone) = asking(false);
    world.now = world.now + SETTLES;
    let refused = Trouble::new(ErrorClass::Transient, "refused");
    hear(&mut world, 2, Heard::Made(Err(refused)));
    world.now = world.now + Span::secs(2);
    let again = world.now;
    let asked = (0..3).any(|_| take(&mut world, 4) == Some(Deed::Make(clone)));
    assert!(asked);
    assert_eq!(
        world.fleet.record().clones[&clone],
        Life::Making { since: again }
    );
}

#[test]
fn a_clone_that_came_to_its_end_while_it_was_asked_for_is_not_asked_for_again() {
    let (mut world, clone) = asking(true);
    let missing = machine(MachineState::Missing);
    hear(&mut world, 2, Heard::Made(Ok(missing)));
    assert_eq!(take(&mut world, 3), Some(Deed::Addresses(clone)));
    let (_, life) = world.fleet.lives().next().expect("it is there");
    assert!(matches!(life, Life::Removing { .. }), "{life:?}");
}

#[test]
fn a_clone_that_appears_after_its_end_was_wanted_is_asked_for_its_addresses_again() {
    let (mut world, clone) = asking(false);
    let lost = Trouble::new(ErrorClass::Ambiguous, "no answer");
    hear(&mut world, 2, Heard::Made(Err(lost)));
    world.want(0);
    world.now = world.now + Span::secs(1);
    assert_eq!(take(&mut world, 3), Some(Deed::Addresses(clone)));
    hear(&mut world, 3, Heard::Addresses(Ok(Vec::new())));
    assert_eq!(take(&mut world, 4), None);
    world.now = world.now + Span::secs(2);
    assert_eq!(take(&mut world, 5), Some(Deed::Find));
    let machine = machine(MachineState::Running);
    hear(
        &mut world,
        5,
        Heard::Found(Ok(vec![Owned { clone, machine }])),
    );
    assert_eq!(take(&mut world, 6), Some(Deed::Addresses(clone)));
    hear(&mut world, 6, Heard::Addresses(Ok(Vec::new())));
    assert_eq!(take(&mut world, 7), Some(Deed::Delete(clone)));
}

#[test]
fn a_clone_to_which_an_earlier_owner_may_lead_visitors_is_drained_before_it_is_deleted() {
    let (mut world, clone) = asking(false);
    inherit(&mut world, clone);
    assert_eq!(take(&mut world, 3), Some(Deed::Find));
    assert_eq!(take(&mut world, 4), Some(Deed::Drain(clone)));
}

#[test]
fn a_clone_that_appears_twice_while_it_is_removed_is_deleted() {
    let (mut world, clone) = asking(false);
    let lost = Trouble::new(ErrorClass::Ambiguous, "no answer");
    hear(&mut world, 2, Heard::Made(Err(lost)));
    world.want(0);
    world.now = world.now + Span::secs(1);
    assert_eq!(take(&mut world, 3), Some(Deed::Addresses(clone)));
    hear(&mut world, 3, Heard::Addresses(Ok(Vec::new())));
    world.now = world.now + Span::secs(2);
    assert_eq!(take(&mut world, 4), Some(Deed::Find));
    let two = [0, 1].map(|_| Owned {
        clone,
        machine: machine(MachineState::Running),
    });
    hear(&mut world, 4, Heard::Found(Ok(two.into())));
    assert_eq!(take(&mut world, 5), Some(Deed::Addresses(clone)));
    hear(&mut world, 5, Heard::Addresses(Ok(Vec::new())));
    assert_eq!(take(&mut world, 6), Some(Deed::Delete(clone)));
}
