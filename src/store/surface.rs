//! What people write for all services into a store that others than Anteroom write into, and what they are told of
//! it. `docs/redis.md` has it as a person sees it.
//!
//! It carries texts and judges none: what a name or a value means is said above.

use std::collections::BTreeMap;

use super::Answer;
use crate::engine::time::Span;

/// Bans that are read, at most; with those above it nobody says which ones hold. Whoever has more bans networks.
pub const BANS_MAX: usize = 100_000;

/// How long a person can read what was refused, once nobody refuses it any more.
pub const REFUSED_KEPT: Span = Span::secs(15);

/// The surface of a shared store.
pub trait Surface: Send + Sync {
    /// What is written behind `ban:`, each an address or a network if it is as it should be. It looks at all keys
    /// little by little, so it may take longer than other calls, and costs nobody else more than a fraction of a
    /// millisecond at a time.
    fn bans(&self) -> Answer<'_, Bans>;

    /// Tells people what was refused and why, by the key without the prefix; what is `mended` is no longer told.
    /// To be called again within [`REFUSED_KEPT`] for as long as it is so.
    fn tell<'a>(
        &'a self,
        refused: &'a BTreeMap<String, String>,
        mended: &'a [String],
    ) -> Answer<'a, ()>;
}

/// The bans as they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    /// What stands behind `ban:`, each once, in no order; at most [`BANS_MAX`].
    pub names: Vec<String>,
    /// There were more than that.
    pub more: bool,
    /// A part of the store could not be asked: what it holds is missing here.
    pub partly: bool,
}
