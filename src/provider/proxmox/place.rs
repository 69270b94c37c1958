//! Where a guest is.

use super::GuestKind;

/// Where tasks and guests are.
pub(super) const API: &str = "/api2/json";

/// A guest and the node it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: String,
    pub(super) kind: GuestKind,
    pub(super) vmid: u32,
}

impl Place {
    /// The address of what belongs to it.
    pub(super) fn path(&self, rest: &str) -> String {
        let (node, kind, vmid) = (&self.node, self.kind.word(), self.vmid);
        format!("{API}/nodes/{node}/{kind}/{vmid}{rest}")
    }
}
