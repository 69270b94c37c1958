//! What people write into a shared store, taken up within a second: bans, and the deployment's secret. What can't be taken as it is
//! changes nothing and is told, in the log and where it was written.
//!
//! It reads again and again and compares, so whatever was missed is made good by the next look. While the store is
//! away, what was read last holds.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::refused::{Refused, shortened};
use crate::driver::admission::Admission;
use crate::driver::bans::{Bans, ban};
use crate::store::surface::{self, BANS_MAX};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics;

/// From the beginning of one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// A look that takes long is followed by a pause of so many times as long, so that many keys are no load.
const PAUSES: u32 = 2;

/// Bad names that are told one by one; the rest is counted.
const BAD_BANS_TOLD: usize = 50;

/// What the app hears of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The deployment's secret.
    pub(super) secret: [u8; 32],
}

/// Looks until `end`. What is heard changes only when the store says something new.
pub(super) fn watch(
    store: Arc<dyn Store>,
    admission: Arc<Admission>,
    first: Heard,
    end: CancellationToken,
) -> watch::Receiver<Heard> {
    let (heard, hear) = watch::channel(first);
    let watch = Watch {
        store,
        admission,
        heard,
        bad_secret: None,
        bans: Known::default(),
        refused: Refused::default(),
    };
    tokio::spawn(watch.run(end));
    hear
}

struct Watch {
    store: Arc<dyn Store>,
    admission: Arc<Admission>,
    heard: watch::Sender<Heard>,
    bad_secret: Option<String>,
    bans: Known,
    refused: Refused,
}

impl Watch {
    async fn run(mut self, end: CancellationToken) {
        loop {
            let begun = Instant::now();
            tokio::select! {
                () = end.cancelled() => return,
                () = self.look() => {}
            }
            let took = begun.elapsed();
            let pause = LOOK_EVERY.saturating_sub(took).max(took * PAUSES);
            tokio::select! {
                () = end.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Why something can't be read, the store itself says, once.
    async fn look(&mut self) {
        let store = Arc::clone(&self.store);
        if let Some(surface) = store.surface() {
            self.secret().await;
            if let Ok(read) = surface.bans().await {
                self.bans.take(read, &self.admission);
            }
            let mut refused = self.bans.refused.clone();
            refused.extend(
                self.bad_secret
                    .clone()
                    .map(|why| ("secret".to_owned(), why)),
            );
            metrics().refused_values(refused.len());
            self.refused.tell(surface, refused).await;
        }
        metrics().store_up(store.trouble().is_none());
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
}

/// The bans as they were read last.
#[derive(Default)]
struct Known {
    /// Says whether they are still the same, whatever their order.
    mark: Option<(usize, u64, bool)>,
    names: Vec<String>,
    refused: BTreeMap<String, String>,
}

impl Known {
    fn take(&mut self, read: surface::Bans, admission: &Admission) {
        let (mut names, more) = (read.names, read.more);
        if read.partly {
            // What was read last holds for the part that is away.
            names.append(&mut self.names.clone());
            names.sort_unstable();
            names.dedup();
        }
        let sum = names.iter().fold(0u64, |sum, name| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            sum.wrapping_add(hasher.finish())
        });
        let mark = Some((names.len(), sum, more));
        if self.mark == mark {
            return;
        }
        let (mut bad, mut good) = (Vec::new(), Vec::new());
        for name in &names {
            match ban(name) {
                Ok(network) => good.push(network),
                Err(why) => bad.push((name, why)),
            }
        }
        bad.sort_unstable();
        metrics().bans(good.len());
        if self.mark.is_some() || !names.is_empty() {
            tracing::info!(bans = good.len(), "the bans are taken up");
        }
        admission.set_bans(good.into_iter().collect::<Bans>());
        self.refused = bad
            .iter()
            .take(BAD_BANS_TOLD)
            .map(|(name, why)| (format!("ban:{}", shortened(name)), (*why).to_owned()))
            .collect();
        let untold = bad.len().saturating_sub(BAD_BANS_TOLD);
        if untold > 0 {
            let why = format!("{untold} more are not addresses or networks");
            self.refused.insert("ban:*".into(), why);
        }
        if more {
            let why = format!(
                "there are more than {BANS_MAX} bans, and those above are not in force; ban networks instead of addresses"
            );
            self.refused.insert("ban".into(), why);
        }
        (self.mark, self.names) = (mark, names);
    }
}
