//! The waiting page and the events, prepared once for everybody who sees the same: visitors come in thousands,
//! and a service changes a few times in a minute.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::HeaderValue;
use prometheus_client::metrics::counter::Counter;

use super::cors::Reader;
use super::front::Wire;
use super::manner::Manner;
use super::reply;
use super::room::{Found, Room};
use super::stock::{Keeps, Stock, Weight};
use super::visit;
use crate::config::WakeBy;
use crate::engine::id::ServiceName;
use crate::engine::route::Form;
use crate::engine::time::Time;
use crate::engine::view::{Phase, View};
use crate::gate::{Keeper, Nonce};
use crate::page::sheet::{Coding, GAP, GAP_LENGTH};
use crate::page::{self, Ask, Lang, Page, Sheet, Theme};
use crate::telemetry::metrics;

// A nonce fills the gap.
const _: () = assert!(GAP_LENGTH == Nonce::LENGTH);

/// The waiting page of one host in both its forms, in each language and coding, and its event, as they were last
/// prepared. How much is kept in all is for the [`Stock`] to say.
#[derive(Debug)]
pub(super) struct Shelf {
    pages: Vec<ArcSwapOption<Prepared>>,
    event: Arc<ArcSwapOption<Event>>,
    /// Counts the waiting pages.
    pub(super) answers: Counter,
    /// Counts the answers on our own paths.
    pub(super) own_paths: Counter,
}

/// A prepared answer, and when it was right.
#[derive(Debug)]
pub(super) struct Prepared {
    right: Right,
    csp: HeaderValue,
    lang: Lang,
    coding: Coding,
    /// The whole answer, but for the nonce.
    pub(super) wire: Wire,
    weight: Weight,
}

/// What a prepared answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Right {
    version: u64,
    tick: u64,
    retry_after: u32,
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
        let places = Lang::all().count() * 4;
        Shelf {
            pages: (0..places).map(|_| ArcSwapOption::empty()).collect(),
            event,
            answers: metrics().answers(service, Form::Page.as_str()),
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

impl Keeps for Shelf {
    fn number(&self, at: usize) -> Option<u64> {
        self.pages[at]
            .load()
            .as_ref()
            .map(|page| page.weight.number)
    }

    fn empty(&self, at: usize) {
        self.pages[at].store(None);
    }
}

/// The place of an answer on its shelf.
fn place(manner: Manner) -> usize {
    let (unsent, gzip) = (
        manner.form == Form::UnsentPage,
        manner.coding == Coding::Gzip,
    );
    manner.lang.index() * 4 + usize::from(unsent) * 2 + usize::from(gzip)
}

impl Found {
    /// The waiting page for this view, with a nonce of its own: at most one second old while something happens, one
    /// minute else. In the form for it, it says that the visitor's form was not sent.
    pub(super) fn page(&self, view: &View, room: &Room, now: Time, manner: Manner) -> Page {
        let prepared = self.prepared(view, room, now, manner);
        let nonce = self.nonce(&room.keeper, now);
        Page {
            html: prepared.wire.body(nonce.as_str()),
            csp: prepared.csp.clone(),
            lang: prepared.lang,
            coding: prepared.coding,
            fault: None,
        }
    }

    /// A nonce for one page.
    pub(super) fn nonce(&self, keeper: &Keeper, now: Time) -> Nonce {
        keeper.nonce(self.site.handle.service(), &self.host, now)
    }

    /// The whole answer as all share it. A race prepares it twice, which harms nobody.
    pub(super) fn prepared(
        &self,
        view: &View,
        room: &Room,
        now: Time,
        manner: Manner,
    ) -> Arc<Prepared> {
        let right = Right {
            version: view.version,
            tick: tick(view, now),
            retry_after: page::retry_after(view, now),
        };
        let ready = |manner| {
            let ready = self.shelf.pages[place(manner)].load();
            ready.as_ref().filter(|page| page.right == right).cloned()
        };
        if let Some(ready) = ready(manner) {
            return ready;
        }
        let plain = Manner {
            coding: Coding::Plain,
            ..manner
        };
        match manner.coding == Coding::Gzip && !room.stock.may_pack(now) {
            true => {
                ready(plain).unwrap_or_else(|| self.prepare(view, right, &room.stock, now, plain))
            }
            false => self.prepare(view, right, &room.stock, now, manner),
        }
    }

    fn prepare(
        &self,
        view: &View,
        right: Right,
        stock: &Stock,
        now: Time,
        manner: Manner,
    ) -> Arc<Prepared> {
        let ask = self.ask(manner.lang);
        let mut page = match manner.form {
            Form::UnsentPage => page::unsent(view, now, &ask),
            _ => page::render(view, now, &ask),
        };
        page = self.themed(page);
        let packed = match manner.coding {
            Coding::Gzip => Sheet::gzip(&page.html),
            Coding::Plain => None,
        };
        if packed.is_some() {
            page.coding = Coding::Gzip;
        }
        let (csp, lang, coding) = (page.csp.clone(), page.lang, page.coding);
        let sheet = packed.unwrap_or_else(|| Sheet::cut(&page.html));
        let reader = match self.site.origins.is_empty() {
            true => Reader::Unasked,
            false => Reader::Own,
        };
        let reply = reader.shown(reply::wait(self, view, now, manner, || page));
        let wire = Wire::new(&reply, sheet);
        let mut prepared = None;
        stock.keep(&self.shelf, place(manner), wire.weight(), |weight| {
            let page = Arc::new(Prepared {
                right,
                csp,
                lang,
                coding,
                wire,
                weight,
            });
            self.shelf.pages[place(manner)].store(Some(Arc::clone(&page)));
            prepared = Some(page);
        });
        prepared.expect("the stock puts what it keeps")
    }

    /// The site's own pages, if it has any.
    pub(super) fn theme(&self) -> Option<&Theme> {
        self.site.theme.as_deref()
    }

    /// A page as it was made, after it is told that the theme could not make it.
    pub(super) fn themed(&self, page: Page) -> Page {
        let first = || self.theme().is_some_and(Theme::is_first_fault);
        if let Some(fault) = page.fault.as_ref().filter(|_| first()) {
            let service = self.site.handle.service();
            tracing::error!(%service, %fault, "the theme fails, the built-in page is served");
        }
        page
    }

    /// What a page of this host needs to know besides the view.
    pub(super) fn ask(&self, lang: Lang) -> Ask {
        Ask {
            host: self.host.to_string(),
            lang,
            theme: self.site.theme.clone(),
            nonce: GAP.into(),
            wake_by: match self.site.wake_by {
                WakeBy::Page => page::WakeBy::Page,
                WakeBy::Click => page::WakeBy::Click,
                WakeBy::Request => page::WakeBy::Request,
                // What people solve is on a page of its own, and the button leads there.
                WakeBy::Challenge => match &self.site.challenger {
                    Some(challenger) if challenger.is_for_people() => page::WakeBy::Click,
                    _ => page::WakeBy::Challenge,
                },
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

#[cfg(test)]
impl Shelf {
    /// Puts something of this weight into a place.
    pub(super) fn put(&self, at: usize, weight: Weight) {
        let right = Right {
            version: 0,
            tick: 0,
            retry_after: 0,
        };
        self.pages[at].store(Some(Arc::new(Prepared {
            right,
            csp: HeaderValue::from_static("default-src 'none'"),
            lang: Lang::ENGLISH,
            coding: Coding::Plain,
            wire: Wire::new(
                &http::Response::new(super::body::Body::empty()),
                Sheet::default(),
            ),
            weight,
        })));
    }
}
