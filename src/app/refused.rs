//! What stands in the store and can't be taken as it is: said once in the log, and for as long as it stands in the store
//! itself, where whoever wrote it looks.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::surface::Surface;

/// Said again so often: before it would run out in the store.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// A key is shown up to so many characters.
const SHOWN_MAX: usize = 100;

/// What was told.
#[derive(Default)]
pub(super) struct Refused {
    /// Key without prefix, and why.
    told: BTreeMap<String, String>,
    /// No longer refused, and the store has not heard it yet.
    mended: Vec<String>,
    at: Option<Instant>,
}

impl Refused {
    /// Tells people what is refused now; what is not any more is told as mended.
    pub(super) async fn tell(&mut self, surface: &dyn Surface, refused: BTreeMap<String, String>) {
        for (key, why) in &refused {
            if self.told.get(key) != Some(why) {
                let (key, why) = (masked(key), masked(why));
                tracing::error!(
                    key,
                    why,
                    "what stands in the store is refused, and changes nothing"
                );
            }
        }
        let mended: Vec<_> = self
            .told
            .keys()
            .filter(|key| !refused.contains_key(*key))
            .cloned()
            .collect();
        for key in &mended {
            tracing::info!(key = masked(key), "it is no longer refused");
        }
        self.mended.extend(mended);
        self.mended.retain(|key| !refused.contains_key(key));
        let due = self.told != refused || self.at.is_none_or(|at| at.elapsed() >= TELL_AGAIN);
        self.told = refused;
        if !due && self.mended.is_empty() {
            return;
        }
        if self.told.is_empty() && self.mended.is_empty() {
            return;
        }
        // It is said again soon, so a store that is away hears it when it is back.
        if surface.tell(&self.told, &self.mended).await.is_ok() {
            self.mended.clear();
            self.at = Some(Instant::now());
        } else {
            self.at = None;
        }
    }
}

/// A text that somebody else chose, no longer than a person reads.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

/// A key for the log. What is nearly an address is one to a person, and the log keeps none: without digits.
fn masked(key: &str) -> String {
    match key.starts_with("ban:") {
        true => key.replace(|c: char| c.is_ascii_digit(), "#"),
        false => key.to_owned(),
    }
}
