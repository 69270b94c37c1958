//! Wakes that were let in while the store could not be asked: charged when it can, without asking the limits again.

use super::{Book, Charge, Day, Wakes, limits};
use crate::engine::admit::{Applicant, DAY_MS, Rate, Rules};
use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};

/// A wake that somebody let in by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// Who let it in: a word that nobody else has, now or later.
    pub by: String,
    /// Which of its wakes that is; it rises. A store that has charged one takes no lower one of the same by.
    pub number: u64,
    /// The service.
    pub service: ServiceName,
    /// When it was let in.
    pub at: Time,
    /// Who woke it.
    pub applicant: Applicant,
    /// The limits that it would have met. The lists mean nothing here.
    pub rules: Rules,
}

/// The timestamp of a limit with one more on it, whether or not there was room for it. In the words of
/// [`gcra`](crate::engine::admit::gcra), `at` for when it was let in:
///
/// 1. `from = max(tat, at)`, without a `tat` that has passed, for nobody need keep such a one; if `from - now > 2w`, then `from = now + t`, as there.
/// 2. `min(from + i, now + 2w)` is kept: more would be taken for nobody's writing, and forgiven.
#[must_use]
pub fn gcra_late(tat: Option<Time>, rate: Rate, at: Time, now: Time) -> Time {
    let most = now + Span(2 * rate.whole().0);
    let mut from = tat.filter(|tat| *tat > now).unwrap_or(at).max(at);
    if from > most {
        from = now + rate.tolerance();
    }
    (from + rate.interval()).min(most)
}

impl Book {
    /// What is to be charged for a late wake; none when it is charged already.
    #[must_use]
    pub fn late(&self, now: Time, late: &Late) -> Option<Charge> {
        let wakes = self.wakes(&late.service);
        let charged = wakes.late.as_ref();
        if charged.is_some_and(|(by, number)| *by == late.by && late.number <= *number) {
            return None;
        }
        let wakes = Wakes {
            late: Some((late.by.clone(), late.number)),
            ..wakes
        };
        let (service, who, rules) = (&late.service, &late.applicant, &late.rules);
        Some(self.overdue(service, late.at, now, who, rules, wakes))
    }

    /// Keeps a wake that somebody else has let in, without asking whether there was room for it. Nobody joins it here.
    pub fn mirror(&mut self, service: &ServiceName, now: Time, who: &Applicant, rules: &Rules) {
        let wakes = Wakes::default();
        let charge = self.overdue(service, now, now, who, rules, wakes);
        self.charge(charge);
    }

    fn overdue(
        &self,
        service: &ServiceName,
        at: Time,
        now: Time,
        who: &Applicant,
        rules: &Rules,
        wakes: Wakes,
    ) -> Charge {
        let marks = limits(service, who, rules).map(|(_, key, rate)| {
            let kept = self.marks.get(&key).copied();
            (key, gcra_late(kept, rate, at, now))
        });
        let marks: Vec<_> = marks.filter(|(_, tat)| *tat > now).collect();
        let day = rules.per_day.and_then(|_| {
            let (day, kept) = (at.0 / DAY_MS, self.days.get(service).copied());
            match kept.unwrap_or_default() {
                later if later.day > day => None,
                same if same.day == day => Some(Day {
                    day,
                    count: same.count.saturating_add(1),
                }),
                _ => Some(Day { day, count: 1 }),
            }
        });
        Charge {
            service: service.clone(),
            wakes,
            drops: self.drops(now, &marks),
            marks,
            day,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::admit::gcra;

    const NOW: Time = Time(1_800_000_000_000);

    fn hourly(count: u32) -> Rate {
        Rate::new(count, Span::mins(60)).unwrap()
    }

    #[test]
    fn a_late_one_costs_what_it_would_have_cost() {
        let rate = hourly(4);
        for tat in [None, Some(NOW), Some(NOW + Span::mins(20))] {
            let kept = gcra(tat, rate, NOW).unwrap();
            assert_eq!(gcra_late(tat, rate, NOW, NOW), kept, "{tat:?}");
        }
        // Ten minutes later the same timestamp is kept: it is a point in time, not a count.
        let later = NOW + Span::mins(10);
        assert_eq!(gcra_late(None, rate, NOW, later), NOW + Span::mins(15));
    }

    #[test]
    fn however_many_come_late_the_limit_is_whole_again_within_twice_its_time() {
        let rate = hourly(2);
        let mut tat = None;
        for _ in 0..100 {
            tat = Some(gcra_late(tat, rate, NOW, NOW));
        }
        assert_eq!(tat, Some(NOW + Span::mins(120)));
        assert_eq!(gcra(tat, rate, NOW), Err(Span::mins(90)));
        // What nobody can have written is forgiven here as there.
        let junk = Some(NOW + Span::mins(10_000));
        assert_eq!(gcra_late(junk, rate, NOW, NOW), NOW + Span::mins(60));
    }
}
