//! How long to wait before trying again: doubling from `first` to `max`, spread by a seeded jitter so that many
//! services that failed together do not come back together.

use super::time::Span;

/// A bounded, seeded exponential back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait before the second try.
    pub first: Span,
    /// No wait is longer.
    pub max: Span,
}

impl Backoff {
    /// The wait after `failures` failures (1 or more): between half of the doubled wait and all of it, never
    /// over `max`. The same arguments give the same wait.
    #[must_use]
    pub fn wait(self, failures: u32, seed: u64) -> Span {
        let doublings = failures.saturating_sub(1).min(20);
        let whole = self.first.0.saturating_mul(1 << doublings).min(self.max.0);
        let half = whole / 2;
        Span(half + mix(seed ^ u64::from(failures)) % (whole - half + 1))
    }
}

/// The finaliser of SplitMix64: spreads a counter over all 64 bits.
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Span(1_000),
        max: Span(60_000),
    };

    #[test]
    fn waits_double_within_their_bounds() {
        for seed in 0..200 {
            for failures in 1..60 {
                let whole = 1_000u64
                    .saturating_mul(1 << (failures - 1).min(20))
                    .min(60_000);
                let wait = BACKOFF.wait(failures, seed).0;
                assert!((whole / 2..=whole).contains(&wait), "{failures}: {wait}");
            }
        }
    }

    #[test]
    fn the_same_seed_waits_the_same_and_others_spread() {
        assert_eq!(BACKOFF.wait(5, 7), BACKOFF.wait(5, 7));
        let mut seen: Vec<_> = (0..100).map(|seed| BACKOFF.wait(5, seed)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 90, "{} different waits", seen.len());
    }
}
