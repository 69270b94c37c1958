//! What is written down of one clone, and what it asks for next.

use serde::{Deserialize, Serialize};

use super::{Deed, Entry};
use crate::engine::id::CloneId;
use crate::engine::machine::PublicAddress;
use crate::engine::policy::CloneTerms;
use crate::engine::time::Time;

/// Where a clone is in its life. Written down before anything that it names is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Life {
    /// The provider was asked for it, or was about to be.
    Making {
        /// When that was intended.
        since: Time,
    },
    /// It exists, and its public addresses are being given back.
    Stripping {
        /// Those that are known.
        #[serde(default)]
        addresses: Vec<PublicAddress>,
    },
    /// It exists as it was wanted.
    Made,
    /// It is being removed.
    Removing {
        /// Its making was asked for then, and is not known to have been done: it may still appear.
        #[serde(default)]
        may_appear: Option<Time>,
        /// What must be given back when it is gone.
        #[serde(default)]
        addresses: Vec<PublicAddress>,
        /// All its addresses are written down.
        #[serde(default)]
        noted: bool,
        /// The machine was seen gone.
        #[serde(default)]
        gone: bool,
    },
}

impl Entry {
    /// What is to be done for it now, and whether what is known must be written down before.
    pub(super) fn deed(&self, clone: CloneId, terms: &CloneTerms) -> Option<(Deed, bool)> {
        match &self.life {
            Life::Making { .. } if self.lost && !terms.repeats => None,
            Life::Making { .. } => Some((Deed::Make(clone), true)),
            Life::Stripping { addresses } if addresses.is_empty() => {
                Some((Deed::Addresses(clone), false))
            }
            Life::Stripping { addresses } => Some((Deed::Release(clone, addresses.clone()), true)),
            Life::Made => None,
            Life::Removing {
                addresses,
                noted,
                gone,
                ..
            } => match (noted, gone) {
                (false, _) => Some((Deed::Addresses(clone), false)),
                (true, false) => Some((Deed::Delete(clone), true)),
                (true, true) if addresses.is_empty() => None,
                (true, true) => Some((Deed::Release(clone, addresses.clone()), true)),
            },
        }
    }

    /// Whether lists tell what becomes of it: it was asked for, and is not known to exist.
    pub(super) fn may_appear(&self, terms: &CloneTerms) -> bool {
        match &self.life {
            Life::Making { .. } => self.lost && !terms.repeats,
            Life::Removing {
                may_appear, gone, ..
            } => may_appear.is_some() && *gone,
            Life::Stripping { .. } | Life::Made => false,
        }
    }
}
