//! What people write for all services into a store that others than Anteroom write into, and what they are told of
//! it. `docs/redis.md` has it as a person sees it.
//!
//! It carries texts and judges none: what a name or a value means is said above.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Answer;
use crate::engine::time::Span;

/// Bans that are read, at most; with those above it nobody says which ones hold. Whoever has more bans networks.
pub const BANS_MAX: usize = 100_000;

/// Services that may be added. Each costs a task.
pub const ADDED_MAX: usize = 1_000;

/// How long a person can read what was refused, once nobody refuses it any more.
pub const REFUSED_KEPT: Span = Span::secs(15);

/// The surface of a shared store.
pub trait Surface: Send + Sync {
    /// What is written behind `ban:`, each an address or a network if it is as it should be. It looks at all keys
    /// little by little, so it may take longer than other calls, and others wait about half a millisecond at a time for
    /// it.
    fn bans(&self) -> Answer<'_, Bans>;

    /// Bans a network for this long, unless it is banned already: what an admin wrote stays as it is.
    fn ban(&self, network: IpNet, length: Span) -> Answer<'_, ()>;

    /// Takes away the bans of these networks, as they are written, and of single addresses alike; says how many there
    /// were.
    fn unban<'a>(&'a self, networks: &'a [IpNet]) -> Answer<'a, usize>;

    /// The services that were added, unless they are the ones that were `seen`: what [`Services::seen`] said of them.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`](super::StoreError::Corrupt) when the key holds something else, or more than
    /// [`ADDED_MAX`].
    fn services<'a>(&'a self, seen: &'a str) -> Answer<'a, Services>;

    /// Writes services back that a wiped store has lost; what is there stays as it is.
    fn restore<'a>(&'a self, texts: &'a BTreeMap<String, String>) -> Answer<'a, ()>;

    /// Tells people what was refused and why, by the key without the prefix, for a service `services NAME`; what is
    /// `mended` is no longer told. Of a service it is told in its status as well.
    /// To be called again within [`REFUSED_KEPT`] for as long as it is so.
    fn tell<'a>(
        &'a self,
        refused: &'a BTreeMap<String, String>,
        mended: &'a [String],
    ) -> Answer<'a, ()>;
}

/// The services as they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The store's life: another word than before says that it has lost what was in it, so that what is missing now was
    /// not taken away by a person.
    pub life: String,
    /// Says which texts these are.
    pub seen: String,
    /// The texts by their names, both as they were written; none when they were seen.
    pub texts: Option<BTreeMap<String, String>>,
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
