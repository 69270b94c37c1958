//! What people write into a shared store, taken up within a second: the deployment's secret, services that are added at
//! run time, and bans. What can't be taken as it is changes nothing and is told, in the log and where it was written.
//!
//! It reads again and again and compares, so whatever was missed is made good by the next look. While the store is
//! away, what was read last holds; why it is away, the store itself says, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::bans::KnownBans;
use super::refused::{Refused, shortened};
use crate::driver::admission::Admission;
use crate::driver::clock::Clock;
use crate::store::surface::Surface;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

/// From the beginning of one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// From one search for bans, for which the server looks at every key, to the second look after it.
const SEARCH_EVERY: Duration = Duration::from_millis(550);

/// A search that takes long is followed by a pause of so many times as long, so that many keys are no great load.
const PAUSES: u32 = 2;

/// Between two tries to take up services that were refused.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What the app hears of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The deployment's secret.
    pub(super) secret: [u8; 32],
    /// The services that were added, as they are written.
    pub(super) services: BTreeMap<String, String>,
    /// Rises while some of them are refused: what is wrong may be mended elsewhere, in a file or at a socket.
    pub(super) tries: u64,
}

/// What was refused, by what it is and why.
pub(super) type Refusals = BTreeMap<String, String>;

/// Looks until `end`. What is heard changes only when the store says something new. `refused` are the services that
/// the app refuses.
pub(super) fn watch(
    store: Arc<dyn Store>,
    admission: Arc<Admission>,
    clock: Clock,
    first: Heard,
    refused: watch::Receiver<Refusals>,
    end: CancellationToken,
) -> watch::Receiver<Heard> {
    let (heard, hear) = watch::channel(first);
    let watch = Watch {
        store,
        admission,
        clock,
        heard,
        services: Services {
            refused,
            try_at: Instant::now() + TRY_AGAIN,
            life: None,
            seen: String::new(),
            bad: None,
        },
        bad_secret: None,
        search_at: Instant::now(),
        bans: KnownBans::default(),
        told: Refused::default(),
    };
    tokio::spawn(watch.run(end));
    hear
}

struct Watch {
    store: Arc<dyn Store>,
    admission: Arc<Admission>,
    clock: Clock,
    heard: watch::Sender<Heard>,
    services: Services,
    bad_secret: Option<String>,
    search_at: Instant,
    bans: KnownBans,
    told: Refused,
}

/// The services as they were read last.
struct Services {
    refused: watch::Receiver<Refusals>,
    try_at: Instant,
    /// The store's life; empty while what it lost is not written back.
    life: Option<String>,
    seen: String,
    /// Why they can't be read.
    bad: Option<String>,
}

impl Watch {
    async fn run(mut self, end: CancellationToken) {
        loop {
            let begun = Instant::now();
            tokio::select! {
                () = end.cancelled() => return,
                () = self.look() => {}
            }
            tokio::select! {
                () = end.cancelled() => return,
                () = sleep_until(begun + LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&mut self) {
        let store = Arc::clone(&self.store);
        if let Some(surface) = store.surface() {
            self.secret().await;
            self.services(surface).await;
            if self.search_at <= Instant::now() {
                self.search(surface).await;
            }
            let refused = self.refused();
            metrics().refused_values(refused.len());
            self.told.tell(surface, refused).await;
        }
        let up = store.trouble().is_none();
        metrics().store_up(up);
        if up {
            self.admission.settle(self.clock.now()).await;
        }
    }

    async fn search(&mut self, surface: &dyn Surface) {
        let begun = Instant::now();
        if let Ok(read) = surface.bans().await {
            self.bans.take(read, &self.admission, self.clock.now());
        }
        let ended = Instant::now();
        self.search_at = (begun + SEARCH_EVERY).max(ended + (ended - begun) * PAUSES);
    }

    fn refused(&self) -> Refusals {
        let mut refused = self.bans.refused.clone();
        for (name, why) in &*self.services.refused.borrow() {
            refused.insert(format!("services {}", shortened(name)), why.clone());
        }
        for (key, why) in [
            ("services", &self.services.bad),
            ("secret", &self.bad_secret),
        ] {
            refused.extend(why.clone().map(|why| (key.to_owned(), why)));
        }
        refused
    }

    /// Takes the store's secret, and gives it ours if it has none (any more): so all rooms agree again after a wiped
    /// one.
    async fn secret(&mut self) {
        let ours = self.heard.borrow().secret;
        match self.store.secret(ours).await {
            Ok(secret) => {
                self.heard.send_if_modified(|heard| {
                    let new = heard.secret != secret;
                    heard.secret = secret;
                    new
                });
                self.bad_secret = None;
            }
            Err(StoreError::Corrupt { why, .. }) => self.bad_secret = Some(why),
            Err(_) => {}
        }
    }

    /// Takes the services that were added. A store that was wiped gets them back: nobody took them out, and their
    /// machines may be running.
    async fn services(&mut self, surface: &dyn Surface) {
        let read = match surface.services(&self.services.seen).await {
            Ok(read) => read,
            Err(StoreError::Corrupt { why, .. }) => {
                let mend = "what was read last holds; delete the key, or take some out";
                self.services.bad = Some(format!("{why}; {mend}"));
                return;
            }
            Err(_) => return,
        };
        self.services.bad = None;
        let lived = self.services.life.replace(read.life.clone());
        if lived.is_some_and(|life| life != read.life) {
            return self.restore(surface).await;
        }
        let refused = !self.services.refused.borrow().is_empty();
        let again = refused && self.services.try_at <= Instant::now();
        if again {
            self.services.try_at = Instant::now() + TRY_AGAIN;
        }
        self.services.seen = read.seen;
        self.heard.send_if_modified(|heard| {
            let new = read.texts.filter(|texts| *texts != heard.services);
            let changed = new.is_some();
            heard.services = new.unwrap_or_else(|| std::mem::take(&mut heard.services));
            heard.tries += u64::from(again);
            changed || again
        });
    }

    /// Writes back what the store has lost. The next look takes what is there then.
    async fn restore(&mut self, surface: &dyn Surface) {
        let known = self.heard.borrow().services.clone();
        if !known.is_empty() {
            let services = known.len();
            tracing::warn!(
                services,
                "the store was wiped; its services are written back"
            );
        }
        self.services.seen.clear();
        if surface.restore(&known).await.is_err() {
            self.services.life = Some(String::new());
        }
    }
}
