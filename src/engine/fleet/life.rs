//! What is written down of one clone, and what it asks for next.

use std::net::SocketAddr;

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
    /// It exists: it is started where it must be, and its app is asked until it answers.
    Rising {
        /// Since when.
        since: Time,
        /// Somebody may be inside: it has served before, or nobody knows.
        #[serde(default)]
        served: bool,
    },
    /// Its app answers; visitors are led to it.
    Serving {
        /// Where the app listens.
        address: SocketAddr,
    },
    /// No visitor is led to it any more; running requests end.
    Leaving {
        /// It does not come back, whatever is wanted.
        #[serde(default)]
        for_good: bool,
        /// Where its public addresses were not given back yet: those that are known.
        #[serde(default)]
        unstripped: Option<Vec<PublicAddress>>,
    },
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
        /// The machine was seen gone, or not seen yet.
        #[serde(default)]
        gone: bool,
    },
}

/// What is asked next of a clone that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ask {
    /// The platform, for its state and address.
    #[default]
    Look,
    /// The platform, to start it.
    Start,
    /// The app at this address.
    Probe(SocketAddr),
}

impl Entry {
    /// What is to be done for it now, and whether what is known must be written down before. `unlisted`: the routing in
    /// force leads to none that leaves.
    pub(super) fn deed(
        &self,
        clone: CloneId,
        terms: &CloneTerms,
        unlisted: bool,
    ) -> Option<(Deed, bool)> {
        match &self.life {
            Life::Making { .. } if self.lost && !terms.repeats => None,
            Life::Making { .. } => Some((Deed::Make(clone), true)),
            Life::Stripping { addresses } if addresses.is_empty() => {
                Some((Deed::Addresses(clone), false))
            }
            Life::Stripping { addresses } => Some((Deed::Release(clone, addresses.clone()), true)),
            Life::Rising { .. } | Life::Serving { .. } => Some(match self.ask {
                Ask::Look => (Deed::Look(clone), false),
                Ask::Start => (Deed::Start(clone), true),
                Ask::Probe(address) => (Deed::Probe(clone, address), false),
            }),
            Life::Leaving { .. } => unlisted.then_some((Deed::Drain(clone), false)),
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
            _ => false,
        }
    }

    /// Whether there may be a machine that costs money.
    pub(super) fn may_cost(&self) -> bool {
        match &self.life {
            Life::Removing {
                may_appear, gone, ..
            } => may_appear.is_some() || !*gone,
            _ => true,
        }
    }

    /// Whether it is, or is on its way to be, what was wanted.
    pub(super) fn is_live(&self) -> bool {
        !matches!(self.life, Life::Leaving { .. } | Life::Removing { .. })
    }

    /// Whether it can be taken out of service now: an answer that is on its way must not change what there is.
    pub(super) fn may_leave(&self) -> bool {
        self.is_live()
            && (self.call.is_none()
                || matches!(self.life, Life::Rising { .. } | Life::Serving { .. }))
    }
}
