//! How long the fleet waits before it asks for the same again.

use crate::engine::machine::{ErrorClass, Trouble};
use crate::engine::policy::Policy;
use crate::engine::time::Span;

/// Between two looks for a clone whose making was interrupted, the first and the longest.
pub(super) const LOOK_FIRST: Span = Span::secs(2);
pub(super) const LOOK_MAX: Span = Span::secs(30);

/// The least wait after a trouble that only time or a person mends.
const CAPACITY_WAIT: Span = Span::secs(30);
const REFUSED_WAIT: Span = Span::mins(5);

/// How long after a trouble the same is tried again.
pub(super) fn wait(trouble: &Trouble, failures: u32, policy: &Policy) -> Span {
    let wait = policy.backoff.wait(failures, policy.seed);
    match trouble.class {
        ErrorClass::RateLimited(Some(after)) => wait.max(after),
        ErrorClass::Capacity => wait.max(CAPACITY_WAIT),
        class if !class.passes_by_itself() => wait.max(REFUSED_WAIT),
        _ => wait,
    }
}
