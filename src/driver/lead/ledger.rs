//! What belongs in the ledger. It is written together with the next record, so that both tell the same; where no record comes with it, the last
//! one is written again.

use super::{End, Lead};
use crate::driver::story::belongs_in_ledger;
use crate::engine::contract::{Effect, Event};
use crate::engine::time::Time;
use crate::store::LedgerEntry;

/// Ledger entries that wait for the store. When it is away for longer than that, the oldest are dropped.
const ENTRIES_WAITING_MAX: usize = 1_000;

impl Lead<'_> {
    /// Keeps what belongs in the ledger until a record takes it along.
    pub(super) fn note(&mut self, now: Time, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Tell(event) = effect
                && belongs_in_ledger(event)
            {
                self.entries.push(LedgerEntry {
                    at: now,
                    event: Event::clone(event),
                });
            }
        }
        let over = self.entries.len().saturating_sub(ENTRIES_WAITING_MAX);
        self.entries.drain(..over);
    }

    /// Writes what no record of this step took along. While a record is not written, what waits goes with that.
    pub(super) async fn write_entries(&mut self) -> Result<(), End> {
        if self.entries.is_empty() || self.unsaved.is_some() || self.epoch.is_none() {
            return Ok(());
        }
        if let Some(record) = self.seat.memory.clone() {
            self.save(Some(record)).await?;
        }
        Ok(())
    }
}
