//! The waiting page and the events, prepared once for everybody who sees the same: visitors come in thousands,
//! and a service changes a few times in a minute.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

use super::front::Wire;
use super::manner::Manner;
use super::reply;
use super::room::Found;
use super::visit;
use crate::config::WakeBy;
use crate::engine::id::ServiceName;
use crate::engine::route::Form;
use crate::engine::time::Time;
use crate::engine::view::{Phase, View};
use crate::gate::{Keeper, Nonce};
use crate::page::sheet::{GAP, GAP_LENGTH};
use crate::page::{self, Ask, Lang, Page, Sheet};
use crate::telemetry::metrics;

// A nonce fills the gap.
const _: () = assert!(GAP_LENGTH == Nonce::LENGTH);

/// The waiting page of one host in both its forms, and its event, as they were last prepared.
#[derive(Debug)]
pub(super) struct Shelf {
    waiting: ArcSwapOption<Prepared>,
    unsent: ArcSwapOption<Prepared>,
    event: Arc<ArcSwapOption<Event>>,
    wire: ArcSwapOption<PreparedWire>,
    /// Counts the waiting pages.
    pub(super) pages: Counter,
    /// Counts the answers on our own paths.
    pub(super) own_paths: Counter,
}

/// The waiting page with its head, and when it was right.
#[derive(Debug)]
struct PreparedWire {
    version: u64,
    tick: u64,
    lang: Lang,
    retry_after: u32,
    wire: Arc<Wire>,
}

/// A prepared page, and when it was right.
#[derive(Debug)]
pub(super) struct Prepared {
    version: u64,
    tick: u64,
    /// With a gap in place of the nonce.
    page: Page,
    sheet: Sheet,
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
    pub(super) fn new(service: &ServiceName, event: Arc<ArcSwapOption<Event>>) -> Shelf {
        Shelf {
            waiting: ArcSwapOption::empty(),
            unsent: ArcSwapOption::empty(),
            event,
            wire: ArcSwapOption::empty(),
            pages: metrics().answers(service, Form::Page.as_str()),
            own_paths: metrics().answers(service, visit::OWN_PATH),
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
    /// The waiting page for this view, with a nonce of its own: at most one second old while something happens, one
    /// minute else. In the form for it, it says that the visitor's form was not sent.
    pub(super) fn page(&self, view: &View, now: Time, keeper: &Keeper, manner: Manner) -> Page {
        let prepared = self.prepared(view, now, manner);
        let nonce = self.nonce(keeper, now);
        Page {
            html: prepared.sheet.whole(nonce.as_str()),
            ..prepared.page.clone()
        }
    }

    /// A nonce for one page.
    pub(super) fn nonce(&self, keeper: &Keeper, now: Time) -> Nonce {
        keeper.nonce(self.site.handle.service(), &self.host, now)
    }

    /// The page as all share it. A race prepares it twice, which harms nobody.
    fn prepared(&self, view: &View, now: Time, manner: Manner) -> Arc<Prepared> {
        let tick = tick(view, now);
        let unsent = manner.form == Form::UnsentPage;
        let place = match unsent {
            true => &self.shelf.unsent,
            false => &self.shelf.waiting,
        };
        if let Some(ready) = &*place.load()
            && (ready.version, ready.tick, ready.page.lang) == (view.version, tick, manner.lang)
        {
            return Arc::clone(ready);
        }
        let ask = self.ask(manner.lang);
        let page = match unsent {
            true => page::unsent(view, now, &ask),
            false => page::render(view, now, &ask),
        };
        let prepared = Arc::new(Prepared {
            version: view.version,
            tick,
            sheet: Sheet::cut(page.html.clone()),
            page,
        });
        place.store(Some(Arc::clone(&prepared)));
        prepared
    }

    /// The whole answer that goes with [`page`](Found::page), as it is sent, but for the nonce.
    pub(super) fn wire(&self, view: &View, now: Time, lang: Lang) -> Arc<Wire> {
        let tick = tick(view, now);
        let retry_after = page::retry_after(view, now);
        if let Some(ready) = &*self.shelf.wire.load()
            && (ready.version, ready.tick) == (view.version, tick)
            && (ready.lang, ready.retry_after) == (lang, retry_after)
        {
            return Arc::clone(&ready.wire);
        }
        let form = Form::Page;
        let manner = Manner { form, lang };
        let prepared = self.prepared(view, now, manner);
        let reply = reply::wait(self, view, now, manner, || prepared.page.clone());
        let wire = Arc::new(Wire::new(&reply, prepared.sheet.clone()));
        self.shelf.wire.store(Some(Arc::new(PreparedWire {
            version: view.version,
            tick,
            lang,
            retry_after,
            wire: Arc::clone(&wire),
        })));
        wire
    }

    fn ask(&self, lang: Lang) -> Ask {
        Ask {
            host: self.host.to_string(),
            lang,
            nonce: GAP.into(),
            wake_by: match self.site.wake_by {
                WakeBy::Page => page::WakeBy::Page,
                WakeBy::Click => page::WakeBy::Click,
                WakeBy::Request => page::WakeBy::Request,
            },
        }
    }
}

/// The time in steps: a page is right for one of them.
fn tick(view: &View, now: Time) -> u64 {
    match view.phase {
        Phase::Waking | Phase::Diverting | Phase::Draining | Phase::Stopping => now.0 / 1_000,
        Phase::Learning | Phase::Asleep | Phase::Awake | Phase::Failed => now.0 / 60_000,
    }
}
