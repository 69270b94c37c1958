//! A leader among other rooms: its signs of life, what they bring, and giving a service away.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Done, End, Lead};
use crate::engine::contract::{Event, Input, Source};
use crate::engine::id::ServiceName;
use crate::engine::record::{Record, Stand};
use crate::engine::view::Phase;
use crate::store::shared::{Heartbeat, Sign};
use crate::store::{LedgerEntry, Store, StoreError};

/// Between two readings of the ledger, for who asked last: what is forgotten there is forgotten in the status, too.
const PAST_EVERY: Duration = Duration::from_secs(10);

/// Entries of a wake and a sleep, with some that were called off.
const PAST_ENTRIES: usize = 20;

impl Lead<'_> {
    /// Leaves a sign of life, if one is due.
    pub(super) fn beat(&mut self) {
        if !self.heart.is_due(self.service.phase()) {
            return;
        }
        let (store, name) = self.store();
        let report = self.seat.face.report();
        if self.epoch.is_none() {
            self.heart.ask();
            let at = self.seat.setup.place.clone();
            self.doing.spawn(async move {
                let sign = Sign {
                    at: &at,
                    instead: false,
                    report,
                };
                Done::Followed(match store.shared() {
                    Some(shared) => shared.follow(&name, sign).await.map(Box::new),
                    None => Err(not_shared()),
                })
            });
            return;
        }
        let view = match self.is_learning() {
            true => self.seat.face.last().cloned(),
            false => None,
        };
        let view = view.unwrap_or_else(|| self.service.view());
        self.read_the_past();
        self.saves_said = self.saves;
        let beat = self.heart.say(&view, report, &self.seat.setup);
        self.doing.spawn(async move {
            Done::Beaten(Box::new(match store.shared() {
                Some(shared) => shared.beat(&name, beat).await,
                None => Err(not_shared()),
            }))
        });
    }

    /// Reads the ledger, now and then and after each record, for who asked last.
    fn read_the_past(&mut self) {
        if self.past_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.past_at = Some(Instant::now() + PAST_EVERY);
        let (store, name) = self.store();
        self.doing
            .spawn(async move { Done::Past(store.ledger(&name, PAST_ENTRIES).await) });
    }

    /// What the store said to a sign of life.
    pub(super) async fn beaten(&mut self, heartbeat: Heartbeat) -> Result<(), End> {
        let now = self.seat.setup.clock.now();
        let view = self.service.view();
        let traffic = self.seat.setup.policy.sources.contains(&Source::Traefik);
        let wanted = heartbeat.wanted.clone();
        let news = self
            .heart
            .heard(&self.seat.setup.name, now, &view, heartbeat);
        for input in news.inputs {
            self.step(input).await?;
        }
        if let Some(wanted) = wanted {
            // Asleep, and written down as that, nothing that was heard of is wanted any more. What is wanted all the
            // same is another wake: a store that forgot its last numbers gives them out again.
            let rests = self.service.phase() == Phase::Asleep && self.unsaved.is_none();
            if rests && self.saves == self.saves_said && wanted.number <= self.heard {
                self.heard = wanted.number.saturating_sub(1);
            }
            if let Some(input) = self.wanted(wanted) {
                self.step(input).await?;
            }
        }
        if news.lost && traffic {
            self.step(Input::SignalLost(Source::Traefik)).await?;
        }
        // Who asks in another room keeps a failing wake alive, and calls back what is about to sleep: there it joins the wake
        // that the store has, which ends with the sleep. Who asked first is known.
        let phase = self.service.phase();
        let leaving = matches!(phase, Phase::Diverting | Phase::Draining | Phase::Stopping);
        if news.asked
            && (leaving || phase == Phase::Failed)
            && let Some(trigger) = view.run_by
        {
            self.step(Input::Triggered(trigger)).await?;
        }
        self.agree().await?;
        self.hand_over();
        Ok(())
    }

    /// Answers the engine where all rooms agree by now, or too much time has passed.
    pub(super) async fn agree(&mut self) -> Result<(), End> {
        while let Some(input) = self.heart.agreed() {
            self.step(input).await?;
        }
        Ok(())
    }

    /// Whether this may be written down: the record of a stop only while no room lets anybody in.
    pub(super) fn all_agree(&self, record: &Record, required: bool) -> bool {
        let stops = required && matches!(record.stand, Stand::Stopping { .. });
        !stops || self.heart.is_closed()
    }

    pub(super) fn store(&self) -> (Arc<dyn Store>, ServiceName) {
        let setup = &self.seat.setup;
        (Arc::clone(&setup.store), setup.name.clone())
    }

    /// Gives a sleeping service to the room that ought to lead it, so that the rooms share the work.
    pub(super) fn hand_over(&mut self) {
        let resting = self.service.phase() == Phase::Asleep
            && self.doing.is_empty()
            && self.save_at.is_none();
        let Some(epoch) = self.epoch.filter(|_| resting) else {
            return;
        };
        let (store, name) = self.store();
        let Some(own) = store.shared().map(|shared| shared.room().to_owned()) else {
            return;
        };
        let Some(to) = self.heart.successor(name.as_str(), &own) else {
            return;
        };
        self.heart.ask();
        self.doing.spawn(async move {
            Done::HandedOver(match store.shared() {
                Some(shared) => shared.hand_over(&name, epoch, Some(&to)).await,
                None => Err(not_shared()),
            })
        });
    }
}

/// Who asked for the last wake; nothing where it was forgotten, or no ledger says.
pub(super) fn last_asker(past: &[LedgerEntry]) -> String {
    let asker = past.iter().find_map(|entry| match &entry.event {
        Event::WakeBegan(trigger) => Some(trigger.who.clone()),
        _ => None,
    });
    asker.unwrap_or_default()
}

fn not_shared() -> StoreError {
    StoreError::Unavailable("the store has one room only".into())
}
