//! The waiting page and the events, prepared once for everybody who sees the same: visitors come in thousands,
//! and a service changes a few times in a minute.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::room::Found;
use crate::config::WakeBy;
use crate::engine::time::Time;
use crate::engine::view::{Phase, View};
use crate::gate::Keeper;
use crate::page::{self, Ask, Page};

/// The waiting page of one host in both its forms, and its event, as they were last prepared.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    waiting: ArcSwapOption<Prepared>,
    unsent: ArcSwapOption<Prepared>,
    event: Arc<ArcSwapOption<Event>>,
}

/// A prepared page, and when it was right.
#[derive(Debug)]
pub(super) struct Prepared {
    version: u64,
    tick: u64,
    page: Page,
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
            waiting: ArcSwapOption::empty(),
            unsent: ArcSwapOption::empty(),
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
        let frame = page::event(view, now);
        self.event.store(Some(Arc::new(Event {
            version: view.version,
            second,
            frame: frame.clone(),
        })));
        frame
    }
}

impl Found {
    /// The waiting page for this view: at most one second old while something happens, one minute else. With
    /// `unsent` it says that the visitor's form was not sent. A race prepares it twice, which harms nobody.
    pub(super) fn page(&self, view: &View, now: Time, keeper: &Keeper, unsent: bool) -> Page {
        let tick = match view.phase {
            Phase::Waking | Phase::Diverting | Phase::Draining | Phase::Stopping => now.0 / 1_000,
            Phase::Learning | Phase::Asleep | Phase::Awake | Phase::Failed => now.0 / 60_000,
        };
        let place = match unsent {
            true => &self.shelf.unsent,
            false => &self.shelf.waiting,
        };
        if let Some(ready) = &*place.load()
            && (ready.version, ready.tick) == (view.version, tick)
        {
            return ready.page.clone();
        }
        let ask = self.ask(keeper, now);
        let page = match unsent {
            true => page::unsent(view, now, &ask),
            false => page::render(view, now, &ask),
        };
        place.store(Some(Arc::new(Prepared {
            version: view.version,
            tick,
            page: page.clone(),
        })));
        page
    }

    fn ask(&self, keeper: &Keeper, now: Time) -> Ask {
        Ask {
            host: self.host.to_string(),
            nonce: keeper.nonce(self.site.handle.service(), now),
            wake_by: match self.site.wake_by {
                WakeBy::Page => page::WakeBy::Page,
                WakeBy::Click => page::WakeBy::Click,
                WakeBy::Request => page::WakeBy::Request,
            },
        }
    }
}
