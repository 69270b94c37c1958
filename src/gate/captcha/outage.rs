//! Whether a verifier is there. One call without a verdict is bad luck; after some in a row nobody is asked to solve
//! what can't be checked, until a while has passed and one may try again.

use super::answer::Unknown;
use crate::engine::time::{Span, Time};

/// Calls without a verdict, in a row, that are an outage.
const IN_A_ROW: u32 = 3;

/// After so long it is tried again.
const AGAIN: Span = Span::secs(30);

/// What is known of a verifier.
#[derive(Debug, Default)]
pub(super) struct Outage {
    in_a_row: u32,
    again: Time,
    since: Option<Time>,
}

impl Outage {
    /// Whether nobody need try.
    pub(super) fn is_on(&self, now: Time) -> bool {
        self.since.is_some() && now < self.again
    }

    /// There was a verdict. Says for how long there had been an outage, if it ends by this.
    pub(super) fn ends(&mut self, now: Time) -> Option<Span> {
        self.in_a_row = 0;
        self.since.take().map(|since| now.since(since))
    }

    /// There was none. Whether an outage begins by this. A secret that is not known will not be the next time.
    pub(super) fn goes_on(&mut self, why: Unknown, now: Time) -> bool {
        self.in_a_row = match why {
            Unknown::Secret => IN_A_ROW,
            Unknown::Silent | Unknown::Failing => self.in_a_row.saturating_add(1),
        };
        if self.in_a_row < IN_A_ROW {
            return false;
        }
        self.again = now + AGAIN;
        let begins = self.since.is_none();
        self.since.get_or_insert(now);
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    #[test]
    fn three_in_a_row_are_an_outage_that_is_told_once() {
        let mut outage = Outage::default();
        assert!(!outage.goes_on(Unknown::Silent, NOW));
        assert!(!outage.goes_on(Unknown::Failing, NOW));
        assert_eq!(outage.ends(NOW), None);
        let told: Vec<_> = (0..5)
            .map(|_| outage.goes_on(Unknown::Silent, NOW))
            .collect();
        assert_eq!(told, [false, false, true, false, false]);
        assert!(outage.is_on(NOW + AGAIN - Span(1)));
        let later = NOW + AGAIN;
        assert!(!outage.is_on(later), "somebody may try");
        assert!(!outage.goes_on(Unknown::Silent, later));
        assert!(outage.is_on(later), "one try in vain, and it goes on");
        let end = later + AGAIN;
        assert_eq!(outage.ends(end), Some(end.since(NOW)));
        assert!(!outage.is_on(end));
        assert!(!outage.goes_on(Unknown::Silent, end));
    }

    #[test]
    fn a_secret_that_is_not_known_is_an_outage_at_once() {
        let mut outage = Outage::default();
        assert!(outage.goes_on(Unknown::Secret, NOW));
        assert!(outage.is_on(NOW));
    }
}
