//! What the platform refuses.

use super::*;

#[test]
fn a_refused_credential_is_not_hammered() {
    let mut world = World::new(0);
    world.want(2);
    let terms = world.terms();
    world.fleet.settle(world.now, &world.policy);
    world.fleet.want(2, world.now, &world.policy);
    let (find, _) = world
        .fleet
        .next(world.now, &terms, true)
        .expect("it looks first");
    assert_eq!(find, Deed::Find);
    let (op, end) = (OpId(1), world.now + Span::secs(60));
    world.fleet.doing(&find, op, None, world.now, end);
    world
        .fleet
        .heard(op, Heard::Found(Ok(Vec::new())), world.now, &world.policy);
    let mut asked = 0;
    let end = world.now + Span::mins(60);
    let mut op = 1;
    while world.now < end {
        while let Some((deed, _)) = {
            world.fleet.settle(world.now, &world.policy);
            world.fleet.want(2, world.now, &world.policy);
            world.fleet.next(world.now, &terms, true)
        } {
            op += 1;
            let lost_at = world.now + Span::secs(60);
            world.fleet.doing(&deed, OpId(op), None, world.now, lost_at);
            let heard = match deed {
                Deed::Make(_) => {
                    asked += 1;
                    Heard::Made(Err(Trouble::new(ErrorClass::Auth, "refused")))
                }
                Deed::Find => Heard::Found(Ok(Vec::new())),
                Deed::Addresses(_) => Heard::Addresses(Ok(Vec::new())),
                Deed::Release(..) => Heard::Released(Ok(())),
                Deed::Delete(_) => Heard::Deleted(Ok(Machine {
                    state: MachineState::Missing,
                    address: None,
                })),
                other => panic!("{other:?} of a clone that was never made"),
            };
            world.fleet.heard(OpId(op), heard, world.now, &world.policy);
        }
        let due = world.fleet.due(&terms, true).unwrap_or(end);
        world.now = due.max(world.now + Span(1));
    }
    assert!((2..=26).contains(&asked), "asked {asked} times in an hour");
}
