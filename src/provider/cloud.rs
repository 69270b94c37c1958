//! What the providers that are clouds share: how a call is made, and one account for all services that use it.

pub(super) mod account;
pub(super) mod bearer;
pub(super) mod billed;
pub(super) mod call;
pub(super) mod pinned;
mod rate;
