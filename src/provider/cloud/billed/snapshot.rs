//! A machine while it is a snapshot: what is written on it, so that it can be found and made into a machine again without
//! anything that is kept here.

use std::collections::BTreeMap;

/// What it takes to make a machine again: fields of the cloud's own, by their names.
pub(crate) type Recipe = BTreeMap<String, String>;

/// One of our snapshots.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) id: u64,
    /// The machine of which it was taken.
    pub(crate) of: u64,
    /// The cloud says that it can be used.
    pub(crate) available: bool,
    /// Its size, in gigabytes.
    pub(crate) gigabytes: f64,
    /// When its order was given, in seconds of Unix time.
    pub(crate) at: u64,
    /// Since when a machine is being made from it, in seconds of Unix time.
    pub(crate) waking: Option<u64>,
    pub(crate) recipe: Recipe,
}

impl Snapshot {
    /// Whether a machine can be made from it.
    pub(crate) fn is_good(&self) -> bool {
        self.available && self.gigabytes > 0.0
    }
}
