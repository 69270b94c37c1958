//! What reading alone shows of an account and of the machine.

use super::{Billed, Keeper, Kept};
use crate::engine::machine::ErrorClass;
use crate::provider::mark::Mark;
use crate::provider::{Checkup, Known, May};

/// What is paid for a machine that is off.
const ASLEEP: &str = "the full price, as if it ran";

/// What is paid while there is a snapshot alone.
const ASLEEP_SWAPPED: &str =
    "its snapshots, by their size; the full price while it is switched off but not yet destroyed";

impl<C: Billed> Keeper<C> {
    /// Reads the account's list and the machine.
    pub(crate) async fn checkup(&self) -> Checkup {
        let list = self.list().await;
        let seed = match &list {
            // Nothing else would be answered either.
            Err(trouble) if trouble.class == ErrorClass::Auth => Err(trouble.clone()),
            _ => self.look().await,
        };
        let read = match &list {
            Ok(_) => Known::Yes,
            Err(trouble) if trouble.class == ErrorClass::Forbidden => Known::No,
            Err(_) => Known::Unknown,
        };
        let one = C::MACHINE;
        let (what, asleep) = match &self.keeping.kept {
            Kept::Off(id) => (format!("{one} {id}"), ASLEEP),
            Kept::Snapshot(kept) => (format!("the {one} marked {:?}", kept.mark), ASLEEP_SWAPPED),
        };
        let marked = list.clone().map(|list| {
            let names = list.iter().map(|server| server.name.clone());
            names
                .filter(|name| Mark::service_of(name).is_some())
                .collect()
        });
        let lists = |count: usize| format!("it lists the account's {one}s: {count}");
        Checkup {
            what,
            credential: list.map(|list| lists(list.len())),
            // Neither cloud tells what a token may do but by doing it.
            may: vec![(May::Read, read), (May::Power, Known::Unknown)],
            seed,
            asleep,
            marked,
            warnings: Vec::new(),
        }
    }
}
