//! The waiting page and the events, prepared once for everybody who sees the same: visitors come in thousands,
//! and a service changes a few times in a minute.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::render::{self, Keeper, Page};
use super::room::Found;
use crate::engine::time::Time;
use crate::engine::view::{Phase, View};

/// The waiting page of one host, as it was last prepared.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    page: ArcSwapOption<Prepared>,
    event: Arc<ArcSwapOption<Event>>,
}

/// A prepared page, and when it was right.
#[derive(Debug)]
pub(super) struct Prepared {
    version: u64,
    tick: u64,
    pub(super) page: Page,
}

/// A prepared event.
#[derive(Debug)]
pub(super) struct Event {
    version: u64,
    second: u64,
    frame: Bytes,
}

impl Shelf {
    /// An empty shelf. All hosts of a site share its events.
    pub(super) fn new(event: Arc<ArcSwapOption<Event>>) -> Shelf {
        Shelf {
            page: ArcSwapOption::empty(),
            event,
        }
    }

    /// The event that tells this view.
    pub(super) fn event(&self, view: &View, now: Time) -> Bytes {
        let second = now.0 / 1_000;
        if let Some(event) = &*self.event.load()
            && event.version == view.version
            && event.second == second
        {
            return event.frame.clone();
        }
        let frame = render::event(view, now);
        self.event.store(Some(Arc::new(Event {
            version: view.version,
            second,
            frame: frame.clone(),
        })));
        frame
    }
}

impl Found {
    /// The waiting page for this view: at most one second old while a wake is under way, one minute else. A
    /// race prepares it twice, which harms nobody.
    pub(super) fn page(&self, view: &View, now: Time, keeper: &Keeper) -> Arc<Prepared> {
        let tick = match view.phase {
            Phase::Waking | Phase::Diverting | Phase::Draining | Phase::Stopping => now.0 / 1_000,
            Phase::Learning | Phase::Asleep | Phase::Awake | Phase::Failed => now.0 / 60_000,
        };
        if let Some(ready) = &*self.shelf.page.load()
            && (ready.version, ready.tick) == (view.version, tick)
        {
            return Arc::clone(ready);
        }
        let nonce = keeper.nonce(self.site.handle.service(), now);
        let prepared = Arc::new(Prepared {
            version: view.version,
            tick,
            page: render::waiting(view, now, &self.host, &nonce, self.site.wake_by),
        });
        self.shelf.page.store(Some(Arc::clone(&prepared)));
        prepared
    }
}
