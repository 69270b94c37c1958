//! The plain pages, prepared once for everybody who is refused in the same words: a flood of refusals must cost less
//! than what it asks for.
//!
//! Where a page says how long it is until something may be asked again, that is put into its gap for each answer, as
//! a nonce is into a waiting page. A theme may say it anywhere, also where a gap can't be: its page is prepared for
//! one length of time.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;

use super::manner::Manner;
use super::room::{Found, Room, Sites};
use super::stock::{Keeps, Stock, Weight};
use crate::engine::time::{Span, Time};
use crate::page::sheet::{Coding, GAP};
use crate::page::{self, Lang, Page, Sheet, Theme};

/// Which page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Not from this network.
    Denied,
    /// The app gave no good answer.
    Unavailable,
    /// Not before this time is over.
    Limited(Span),
}

/// How many kinds there are.
const KINDS: usize = 3;

impl Kind {
    const fn index(self) -> usize {
        match self {
            Kind::Denied => 0,
            Kind::Unavailable => 1,
            Kind::Limited(_) => 2,
        }
    }
}

/// The pages of one host, or those of no host, in each language and coding, as they were last prepared. How much is
/// kept in all is for the [`Stock`] to say.
#[derive(Debug)]
pub(super) struct Plains {
    pages: Vec<ArcSwapOption<Plain>>,
}

/// A prepared page.
#[derive(Debug)]
struct Plain {
    /// The length of time that it says; empty where it says none, or has a gap for it.
    says: String,
    csp: HeaderValue,
    coding: Coding,
    sheet: Sheet,
    weight: Weight,
}

impl Default for Plains {
    fn default() -> Plains {
        let places = KINDS * Lang::all().count() * 2;
        Plains {
            pages: (0..places).map(|_| ArcSwapOption::empty()).collect(),
        }
    }
}

impl Keeps for Plains {
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

/// The place of a page.
fn place(kind: usize, lang: Lang, coding: Coding) -> usize {
    let both = kind * Lang::all().count() + lang.index();
    both * 2 + usize::from(coding == Coding::Gzip)
}

impl Found {
    /// A plain page of this host.
    pub(super) fn plain(&self, room: &Room, manner: Manner, kind: Kind) -> Page {
        let (lang, theme, host) = (manner.lang, self.theme(), &*self.host);
        let (says, gap) = match kind {
            Kind::Limited(wait) => {
                let gap = page::time_in_gap(lang, wait);
                match gap.filter(|_| theme.is_none()) {
                    Some(gap) => (GAP.to_owned(), gap),
                    None => (lang.text().time(wait), String::new()),
                }
            }
            Kind::Denied | Kind::Unavailable => (String::new(), String::new()),
        };
        let make = || {
            self.themed(match kind {
                Kind::Denied => page::denied(lang, theme, host),
                Kind::Unavailable => page::unavailable(lang, theme, host),
                Kind::Limited(_) => page::limited(lang, theme, host, &says),
            })
        };
        let wanted = Wanted {
            kind: kind.index(),
            says: &says,
            gap: &gap,
            manner,
        };
        self.plains.page(&room.stock, room.now(), wanted, make)
    }
}

impl Sites {
    /// The page of a host that no site has.
    pub(super) fn unknown(&self, room: &Room, manner: Manner) -> Page {
        let wanted = Wanted {
            kind: 0,
            says: "",
            gap: "",
            manner,
        };
        let theme = self.nobodys_theme.as_deref();
        let make = || {
            let page = page::unknown(manner.lang, theme);
            let first = || theme.is_some_and(Theme::is_first_fault);
            if let Some(fault) = page.fault.as_ref().filter(|_| first()) {
                tracing::error!(%fault, "the theme of unknown hosts fails, the built-in page is served");
            }
            page
        };
        self.nobodys.page(&room.stock, room.now(), wanted, make)
    }
}

/// Which page is wanted, and what stands in it.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    kind: usize,
    says: &'a str,
    gap: &'a str,
    manner: Manner,
}

impl Plains {
    /// The page, as it was prepared or as `make` makes it now.
    fn page(
        self: &Arc<Plains>,
        stock: &Stock,
        now: Time,
        wanted: Wanted<'_>,
        make: impl Fn() -> Page,
    ) -> Page {
        let Manner { lang, coding, .. } = wanted.manner;
        let ready = |coding| {
            let ready = self.pages[place(wanted.kind, lang, coding)].load();
            ready
                .as_ref()
                .filter(|page| page.says == wanted.says)
                .cloned()
        };
        let plain =
            ready(coding).unwrap_or_else(|| match coding == Coding::Gzip && !stock.may_pack(now) {
                true => ready(Coding::Plain)
                    .unwrap_or_else(|| self.prepare(stock, wanted, Coding::Plain, make())),
                false => self.prepare(stock, wanted, coding, make()),
            });
        Page {
            html: plain.sheet.whole(wanted.gap),
            csp: plain.csp.clone(),
            lang,
            coding: plain.coding,
            fault: None,
        }
    }

    fn prepare(
        self: &Arc<Plains>,
        stock: &Stock,
        wanted: Wanted<'_>,
        coding: Coding,
        page: Page,
    ) -> Arc<Plain> {
        let packed = match coding {
            Coding::Gzip => Sheet::gzip(&page.html),
            Coding::Plain => None,
        };
        let coding = match packed {
            Some(_) => Coding::Gzip,
            None => Coding::Plain,
        };
        let sheet = packed.unwrap_or_else(|| Sheet::cut(&page.html));
        let bytes = sheet.length() + wanted.says.len();
        let at = place(wanted.kind, wanted.manner.lang, coding);
        let mut prepared = None;
        stock.keep(self, at, bytes, |weight| {
            let plain = Arc::new(Plain {
                says: wanted.says.to_owned(),
                csp: page.csp,
                coding,
                sheet,
                weight,
            });
            self.pages[at].store(Some(Arc::clone(&plain)));
            prepared = Some(plain);
        });
        prepared.expect("the stock puts what it keeps")
    }
}
