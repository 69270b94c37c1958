//! The proof without which no machine is destroyed.

use super::{Server, Snapshot};
use crate::engine::machine::{ErrorClass, MachineState, Trouble};

/// An order for a snapshot that was given while the machine was seen to be off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    machine: u64,
    at: u64,
}

impl Taken {
    /// Begins a snapshot of a machine, at this moment of Unix time.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorClass::InvalidState) unless the machine is off.
    pub(super) fn of(server: &Server, at: u64) -> Result<Taken, Trouble> {
        match server.state {
            MachineState::Stopped => Ok(Taken {
                machine: server.id,
                at,
            }),
            _ => Err(refused(
                "it is not off, so no snapshot of it would be whole",
            )),
        }
    }

    /// Whether this snapshot is the one that was ordered.
    pub(super) fn is(&self, snapshot: &Snapshot) -> bool {
        snapshot.of == self.machine && snapshot.at == self.at
    }
}

/// A machine that may be destroyed, because everything on it is in a snapshot that can be used: made while the machine was
/// off, and the machine has not run since. Nothing but [`Verified::new`] makes one.
#[derive(Debug)]
pub(crate) struct Verified {
    machine: u64,
    snapshot: u64,
}

impl Verified {
    /// Compares the order with what the cloud says now, by their own pages, of machine and snapshot.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorClass::InvalidState) with what is not as it must be.
    pub(super) fn new(
        taken: &Taken,
        server: &Server,
        snapshot: &Snapshot,
    ) -> Result<Verified, Trouble> {
        let rules = [
            (server.id == taken.machine, "the machine is another"),
            (
                server.state == MachineState::Stopped,
                "the machine is not off any more",
            ),
            (
                taken.is(snapshot),
                "the snapshot is not the one that was ordered",
            ),
            (snapshot.available, "the snapshot is not available"),
            (snapshot.gigabytes > 0.0, "the snapshot is empty"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(refused(what)),
            None => Ok(Verified {
                machine: server.id,
                snapshot: snapshot.id,
            }),
        }
    }

    /// The machine that may be destroyed.
    pub(crate) fn machine(&self) -> u64 {
        self.machine
    }

    /// The snapshot that holds what was on it.
    pub(crate) fn snapshot(&self) -> u64 {
        self.snapshot
    }
}

fn refused(what: &str) -> Trouble {
    let detail = format!("the machine is not destroyed: {what}");
    Trouble::new(ErrorClass::InvalidState, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: u64, state: MachineState) -> Server {
        Server {
            id,
            name: "blog".into(),
            state,
            locked: false,
            private: None,
            public: None,
            marks: Vec::new(),
            image: None,
            recipe: std::collections::BTreeMap::new(),
            hindrance: None,
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            id: 9,
            of: 1,
            available: true,
            gigabytes: 2.3,
            at: 100,
            waking: None,
            recipe: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn nothing_but_a_whole_snapshot_of_the_machine_as_it_is_proves_anything() {
        let off = server(1, MachineState::Stopped);
        let taken = Taken::of(&off, 100).expect("it is off");
        let proof = Verified::new(&taken, &off, &snapshot()).expect("all is well");
        assert_eq!((proof.machine(), proof.snapshot()), (1, 9));
        for state in [
            MachineState::Running,
            MachineState::Starting,
            MachineState::Missing,
        ] {
            assert!(Taken::of(&server(1, state), 100).is_err());
            assert!(Verified::new(&taken, &server(1, state), &snapshot()).is_err());
        }
        let another = server(2, MachineState::Stopped);
        assert!(Verified::new(&taken, &another, &snapshot()).is_err());
        let bad: [fn(&mut Snapshot); 5] = [
            |it| it.of = 2,
            |it| it.at = 99,
            |it| it.available = false,
            |it| it.gigabytes = 0.0,
            |it| it.gigabytes = f64::NAN,
        ];
        for spoil in bad {
            let mut snapshot = snapshot();
            spoil(&mut snapshot);
            assert!(
                Verified::new(&taken, &off, &snapshot).is_err(),
                "{snapshot:?}"
            );
        }
    }
}
