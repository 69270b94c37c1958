//! Last good copies of what programs fetch by themselves: `robots.txt`, the favicon, a site map, `/.well-known/`.
//!
//! While an app sleeps, a crawler that finds no `robots.txt` but an error takes the whole site for forbidden (RFC 9309
//! §2.3.1.4), and a browser's tab loses its icon. So the room fetches these itself while the app is awake, soon after
//! it is ready and then once an hour, without a cookie, straight from an instance: that is no traffic, and where
//! Traefik leads visitors past the room there would be nothing to see. It answers from these copies while nobody can go
//! to the app, and nothing of that wakes anything. Copies are in memory alone: a room that starts anew has them again
//! within a second of an awake app, and of a sleeping one it says that it can't know.
//!
//! Read on in `taken` (what may be kept) and in [`reply`](super::reply) (how it is answered).

mod taken;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::reply::{self, Reply};
use super::room::{Found, Room, Site};
use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};
use crate::engine::view::Phase;
pub(super) use taken::Copy;
use taken::Fetched;

/// Places of one service beside those that its configuration names; what is asked for beyond them is forgotten.
const PLACES_MAX: usize = 16;

/// Bytes of all copies together.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often it is looked whether a service has become awake.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Copies of an app that stays awake are renewed so often.
const RENEWED_AFTER: Span = Span::mins(60);

/// Certificates are asked for under this path with words that are good once.
const NEVER: &str = "/.well-known/acme-challenge/";

/// All copies.
#[derive(Default)]
pub(super) struct Copies(Mutex<HashMap<ServiceName, Kept>>);

/// The copies of one service.
#[derive(Default)]
struct Kept {
    /// The awakening for which they were fetched, and when.
    fetched: Option<(Time, Time)>,
    busy: bool,
    places: BTreeMap<(Arc<str>, String), Known>,
}

/// What is known of a place.
#[derive(Clone)]
enum Known {
    /// It was asked for: it is fetched next time.
    Asked,
    /// The app says that there is nothing.
    Absent,
    Copy(Arc<Copy>),
}

/// Whether a path is one of which copies are kept: it is named, or it fits a name with one `*`.
pub(super) fn fits(patterns: &[String], path: &str) -> bool {
    let fits = |pattern: &String| match pattern.split_once('*') {
        None => pattern == path,
        Some((start, end)) => {
            path.len() >= start.len() + end.len() && path.starts_with(start) && path.ends_with(end)
        }
    };
    !path.starts_with(NEVER) && patterns.iter().any(fits)
}

impl Copies {
    /// The answer to a request that can't go to the app, if it is for a place of which something is known.
    pub(super) fn answer(
        &self,
        found: &Found,
        method: &Method,
        uri: &http::Uri,
        headers: &HeaderMap,
        now: Time,
    ) -> Option<Reply> {
        let reads = matches!(*method, Method::GET | Method::HEAD) && uri.query().is_none();
        if !reads || !fits(&found.site.copies, uri.path()) {
            return None;
        }
        let phase = found.site.handle.view().phase;
        match self.known(found, uri.path())? {
            Known::Asked => None,
            Known::Absent => Some(reply::no_copy(phase)),
            Known::Copy(copy) => Some(reply::copy(phase, &copy, copy.is_had(headers), now)),
        }
    }

    fn known(&self, found: &Found, path: &str) -> Option<Known> {
        let mut all = self.lock();
        let kept = all.entry(found.site.handle.service().clone()).or_default();
        let place = (Arc::clone(&found.host), path.to_owned());
        let named = |path: &String| found.site.copies.contains(path);
        let asked = kept.places.keys().filter(|known| !named(&known.1));
        let has_room = named(&place.1) || asked.count() < PLACES_MAX;
        if has_room && !kept.places.contains_key(&place) {
            kept.places.insert(place.clone(), Known::Asked);
        }
        kept.places.get(&place).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Kept>> {
        // Nothing in here is ever half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places to fetch now, if it is time; the caller says [`done`](Copies::done) after them.
    fn begin(&self, site: &Site, since: Time, now: Time) -> Option<Vec<(Arc<str>, String)>> {
        let mut all = self.lock();
        let kept = all.entry(site.handle.service().clone()).or_default();
        let due = match kept.fetched {
            None => true,
            Some((of, at)) => of != since || now.since(at) >= RENEWED_AFTER,
        };
        if !due || kept.busy {
            return None;
        }
        let host: Arc<str> = site.hosts.first()?.to_ascii_lowercase().into();
        for path in site.copies.iter().filter(|path| !path.contains('*')) {
            let place = (Arc::clone(&host), path.clone());
            kept.places.entry(place).or_insert(Known::Asked);
        }
        kept.busy = true;
        kept.fetched = Some((since, now));
        Some(kept.places.keys().cloned().collect())
    }

    /// Keeps what was fetched. `named`: the configuration names this place; of others where there is nothing nobody need
    /// know, and somebody who asks for many must not take the room of those that are there.
    fn keep(
        &self,
        service: &ServiceName,
        place: (Arc<str>, String),
        named: bool,
        fetched: Fetched,
    ) {
        let mut all = self.lock();
        let size = |known: &Known| match known {
            Known::Copy(copy) => copy.body.len(),
            Known::Asked | Known::Absent => 0,
        };
        let others = all.iter().flat_map(|(name, kept)| {
            let places = kept.places.iter();
            let place = &place;
            places.filter(move |(other, _)| name != service || *other != place)
        });
        let bytes: usize = others.map(|(_, known)| size(known)).sum();
        let Some(places) = all.get_mut(service).map(|kept| &mut kept.places) else {
            return;
        };
        let had = matches!(places.get(&place), Some(Known::Copy(_)));
        match fetched {
            Fetched::Copy(copy) if bytes + copy.body.len() <= BYTES_MAX => {
                places.insert(place, Known::Copy(Arc::new(copy)));
            }
            Fetched::Absent if named => {
                places.insert(place, Known::Absent);
            }
            Fetched::Absent => {
                places.remove(&place);
            }
            // The last good one stays.
            Fetched::Copy(_) | Fetched::Nothing if had || named => {}
            Fetched::Copy(_) | Fetched::Nothing => {
                places.remove(&place);
            }
        }
    }

    fn done(&self, service: &ServiceName) {
        if let Some(kept) = self.lock().get_mut(service) {
            kept.busy = false;
        }
    }
}

/// Fetches copies from the services that are awake, until `stop`.
pub(super) async fn tend(room: Arc<Room>, stop: CancellationToken) {
    let Some(client) = taken::client() else {
        return;
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        for site in room.sites().all() {
            let view = site.handle.view();
            let awake = view.phase == Phase::Awake && view.healthy && !site.copies.is_empty();
            let Some(upstream) = view.upstreams.first().filter(|_| awake) else {
                continue;
            };
            let Some(places) = room.copies.begin(&site, view.since, room.now()) else {
                continue;
            };
            let (room, client, address) = (Arc::clone(&room), client.clone(), upstream.address);
            tokio::spawn(async move {
                let service = site.handle.service();
                for place in places {
                    let fetched =
                        taken::fetch(&client, address, &place.0, &place.1, room.now()).await;
                    let named = site.copies.contains(&place.1);
                    room.copies.keep(service, place, named, fetched);
                }
                room.copies.done(service);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_or_fits_a_name_with_a_star() {
        let patterns = ["/robots.txt", "/apple-touch-icon*.png", "/.well-known/*"];
        let patterns = patterns.map(str::to_owned);
        for (path, yes) in [
            ("/robots.txt", true),
            ("/robots.txt/", false),
            ("/ROBOTS.TXT", false),
            ("/apple-touch-icon.png", true),
            ("/apple-touch-icon-120x120-precomposed.png", true),
            ("/apple-touch-icon.pn", false),
            ("/.well-known/security.txt", true),
            ("/.well-known/acme-challenge/abc", false),
            ("/.well-known", false),
            ("/", false),
        ] {
            assert_eq!(fits(&patterns, path), yes, "{path}");
        }
        assert!(!fits(&[], "/robots.txt"));
    }
}
