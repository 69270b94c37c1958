//! The bans as they were read last, and what of them is in force.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::refused::shortened;
use crate::driver::admission::Admission;
use crate::driver::bans::{Bans, ban};
use crate::engine::time::Time;
use crate::store::surface::{self, BANS_MAX};
use crate::telemetry::metrics;

/// Bad names that are told one by one; the rest is counted.
const BAD_BANS_TOLD: usize = 50;

/// The bans as they were read last.
#[derive(Default)]
pub(super) struct KnownBans {
    /// Says whether they are still the same, whatever their order.
    mark: Option<(usize, u64, bool)>,
    names: Vec<String>,
    /// Why some of them are not in force, by their keys.
    pub(super) refused: BTreeMap<String, String>,
}

impl KnownBans {
    /// Puts in force what was read, if it is not what was read before.
    pub(super) fn take(&mut self, read: surface::Bans, admission: &Admission, now: Time) {
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
        if !more {
            let left: HashSet<&str> = names.iter().map(String::as_str).collect();
            let gone = self.names.iter().filter(|name| !left.contains(&***name));
            admission.bans_gone(gone.filter_map(|name| ban(name).ok()), now);
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
