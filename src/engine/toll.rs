//! What a challenge asks of those who would wake a service: harder with the load, and owed where nothing speaks
//! against it.
//!
//! The load is the number of wishes to wake that came lately, in this room. It halves every minute, so when a flood
//! is over the difficulty falls by one bit a minute. A wish costs whoever sends it next to nothing; so a flood makes
//! everybody's challenge harder, but never harder than the most that a person is asked for.
//!
//! One wake at a time may be taken on credit: it begins at once, and the proof is due while the machine boots. A
//! debt that is not paid closes the credit for an hour. So whoever never proves anything wakes the service once in
//! an hour at most, and that within all its other limits; a person alone at the door waits for no puzzle at all.

use super::time::{Span, Time};

/// Wishes at once that make the challenge one bit harder: fewer are nothing unusual, nor are five a minute all day.
pub const CALM: u64 = 10;

/// In how long the load halves.
pub const HALVES: Span = Span::mins(1);

/// Within how long a proof on credit is due.
pub const DUE: Span = Span::mins(2);

/// For how long nobody has credit after a debt that was not paid.
pub const CLOSED: Span = Span::mins(60);

/// One wish, in the unit of the load.
const WISH: u64 = 1 << 16;

/// What is remembered of the wishes to wake one service, and of a proof that is owed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    load: u64,
    at: Time,
    debt: Option<Debt>,
    closed_until: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Debt {
    /// Which challenge is owed.
    challenge: String,
    due: Time,
}

impl Toll {
    /// Counts one wish, and says how many bits more than the least its challenge has; `most` at most.
    pub fn wish(&mut self, now: Time, most: u8) -> u8 {
        // More load than brings the hardest challenge would only make it last longer.
        let enough = (CALM * WISH) << most.min(32);
        self.load = self.load_at(now).saturating_add(WISH).min(enough);
        self.at = self.at.max(now);
        bits(self.load).min(most)
    }

    /// How many bits more than the least a challenge of now has; `most` at most. Counts nothing.
    #[must_use]
    pub fn extra(&self, now: Time, most: u8) -> u8 {
        bits(self.load_at(now)).min(most)
    }

    /// Whether a wake may be taken now and proven later: nothing is owed, no debt went unpaid lately, and there is
    /// no more load than usual.
    pub fn gives_credit(&mut self, now: Time) -> bool {
        self.collect(now);
        let closed = self.closed_until.is_some_and(|until| now < until);
        self.debt.is_none() && !closed && bits(self.load_at(now)) == 0
    }

    /// A wake was taken on credit: this challenge is owed.
    pub fn owe(&mut self, challenge: String, now: Time) {
        let due = now + DUE;
        self.debt = Some(Debt { challenge, due });
    }

    /// The challenge was solved. Whether it was owed, and came in time.
    pub fn pay(&mut self, challenge: &str, now: Time) -> bool {
        self.collect(now);
        let paid = self.debt.take_if(|debt| debt.challenge == challenge);
        paid.is_some()
    }

    /// A debt that is overdue is not waited for any more.
    fn collect(&mut self, now: Time) {
        if let Some(debt) = self.debt.take_if(|debt| debt.due < now) {
            self.closed_until = Some(debt.due + CLOSED);
        }
    }

    /// What is left of the load. A clock that was set back lets it stand.
    fn load_at(&self, now: Time) -> u64 {
        let passed = now.since(self.at).0;
        let halvings = u32::try_from(passed / HALVES.0).unwrap_or(u32::MAX);
        let left = self.load.checked_shr(halvings).unwrap_or(0);
        // Between two halvings it falls in a straight line.
        left - left / 2 * (passed % HALVES.0) / HALVES.0
    }
}

/// One bit for each doubling of the load above the usual.
fn bits(load: u64) -> u8 {
    let times = load / (CALM * WISH);
    u8::try_from(times.checked_ilog2().map_or(0, |log| log + 1)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Time = Time(1_800_000_000_000);
    const MOST: u8 = 5;

    /// The bits of the last of so many wishes, this far apart.
    fn after(toll: &mut Toll, from: Time, wishes: u64, apart: Span) -> u8 {
        (0..wishes).fold(0, |_, nth| toll.wish(from + Span(apart.0 * nth), MOST))
    }

    #[test]
    fn a_few_people_are_asked_for_the_least() {
        let mut toll = Toll::default();
        assert_eq!(after(&mut toll, NOW, 600, Span::secs(15)), 0);
        let mut toll = Toll::default();
        assert_eq!(after(&mut toll, NOW, 9, Span::ZERO), 0);
    }

    #[test]
    fn each_doubling_of_the_load_is_one_bit_and_there_is_a_most() {
        for (wishes, bits) in [
            (9, 0),
            (10, 1),
            (19, 1),
            (20, 2),
            (40, 3),
            (80, 4),
            (160, 5),
        ] {
            let mut toll = Toll::default();
            assert_eq!(
                after(&mut toll, NOW, wishes, Span::ZERO),
                bits,
                "{wishes} at once"
            );
        }
        let mut toll = Toll::default();
        assert_eq!(after(&mut toll, NOW, 1_000_000, Span::ZERO), MOST);
    }

    #[test]
    fn when_a_flood_is_over_it_falls_by_one_bit_a_minute() {
        let mut toll = Toll::default();
        after(&mut toll, NOW, 1_000_000, Span::ZERO);
        let told: Vec<_> = (0..=7)
            .map(|minute| toll.extra(NOW + Span::mins(minute), MOST))
            .collect();
        assert_eq!(told, [5, 5, 4, 3, 2, 1, 0, 0]);
    }

    #[test]
    fn one_wake_is_taken_on_credit_until_it_is_paid() {
        let mut toll = Toll::default();
        assert!(toll.gives_credit(NOW));
        toll.owe("a".into(), NOW);
        assert!(!toll.gives_credit(NOW + Span::secs(1)));
        assert!(!toll.pay("b", NOW + Span::secs(1)), "another challenge");
        assert!(toll.pay("a", NOW + Span::secs(2)));
        assert!(!toll.pay("a", NOW + Span::secs(2)), "once");
        assert!(toll.gives_credit(NOW + Span::secs(2)));
    }

    #[test]
    fn a_debt_that_is_not_paid_closes_the_credit_for_an_hour() {
        let mut toll = Toll::default();
        toll.owe("a".into(), NOW);
        let late = NOW + DUE + Span(1);
        assert!(!toll.gives_credit(late));
        assert!(!toll.pay("a", late), "too late");
        assert!(!toll.gives_credit(NOW + DUE + CLOSED - Span(1)));
        assert!(toll.gives_credit(NOW + DUE + CLOSED));
    }

    #[test]
    fn under_load_there_is_no_credit() {
        let mut toll = Toll::default();
        after(&mut toll, NOW, 10, Span::ZERO);
        assert!(!toll.gives_credit(NOW));
        assert!(toll.gives_credit(NOW + HALVES));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_easier() {
        let mut toll = Toll::default();
        after(&mut toll, NOW, 80, Span::ZERO);
        assert_eq!(toll.extra(NOW - Span::mins(60), MOST), 4);
        assert_eq!(toll.wish(NOW - Span::mins(60), MOST), 4);
    }

    proptest! {
        #[test]
        fn unproven_wakes_are_one_an_hour_at_most(gaps in proptest::collection::vec(0..600_000u64, 1..400)) {
            let (mut toll, mut now, mut taken) = (Toll::default(), NOW, Vec::new());
            for gap in gaps {
                now = now + Span(gap);
                toll.wish(now, MOST);
                if toll.gives_credit(now) {
                    toll.owe("never paid".into(), now);
                    taken.push(now);
                }
            }
            for pair in taken.windows(2) {
                prop_assert!(pair[1].since(pair[0]) >= CLOSED);
            }
        }

        #[test]
        fn more_wishes_never_make_it_easier(count in 1..300u64, at in 0..300_000u64) {
            let (mut few, mut many) = (Toll::default(), Toll::default());
            after(&mut few, NOW, count, Span::millis(100));
            after(&mut many, NOW, count, Span::millis(100));
            many.wish(NOW + Span::millis(100 * count), MOST);
            let then = NOW + Span(30_000 + at);
            prop_assert!(few.extra(then, MOST) <= many.extra(then, MOST));
        }
    }
}
