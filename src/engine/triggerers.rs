//! Who asked for wakes, and what came of it: a bounded list that forgets addresses before networks, and all of it in
//! the end.
//!
//! It has everybody whom the limits ruled on. Ten thousand visitors of one sleep must not cost ten thousand writes, so
//! of those who join a wake the first [`JOINS_MAX`] are listed, and the others are counted in a metric alone. Who is
//! refused is listed apart, with those who opened a trap or proved nothing: a flood of refusals pushes out nobody who
//! woke the service.
//!
//! [`Triggerers`] is the plain meaning; a store with scripts of its own must list as it does.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::admit::{Applicant, Rule, Verdict};
use super::privacy::{Forgotten, Kept};
use super::time::Time;
use super::trigger::TriggerBy;

/// So many who woke or joined are listed of a service, and so many who were refused.
pub const TRIGGERERS_MAX: usize = 1_000;

/// So many are listed who joined one wake.
pub const JOINS_MAX: u32 = 16;

/// The longest user agent that is kept, in bytes.
pub const AGENT_MAX: usize = 200;

/// One who asked for a wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When.
    pub when: Time,
    /// Its network, or its name of the day.
    pub who: String,
    /// Its whole address, while it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// By what.
    pub by: TriggerBy,
    /// For what, without its query.
    pub path: String,
    /// With which user agent.
    pub agent: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It woke the service.
    Woke {
        /// The number of the wake; 0 where the store that gives them was away.
        wake: u64,
    },
    /// It joined a wake that was asked for already.
    Joined {
        /// The number of the wake.
        wake: u64,
    },
    /// It did not wake the service.
    Refused {
        /// What refused it.
        rule: Rule,
    },
    /// It opened a trap; see [`trap`](super::trap).
    Trapped {
        /// Its network wakes nothing before.
        banned_until: Time,
    },
}

impl Outcome {
    /// What is listed of a verdict.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Outcome {
        match verdict {
            Verdict::Wake(wake) => Outcome::Woke { wake },
            Verdict::Joined(wake) => Outcome::Joined { wake },
            Verdict::Refused { rule, .. } => Outcome::Refused { rule },
        }
    }
}

impl Asked {
    /// What is listed of an applicant.
    #[must_use]
    pub fn of(now: Time, applicant: &Applicant, outcome: Outcome) -> Asked {
        Asked {
            when: now,
            who: applicant.names.who.clone(),
            address: applicant.names.address.clone(),
            by: applicant.trigger.by,
            path: applicant.trigger.path.clone(),
            agent: applicant.agent.clone(),
            outcome,
        }
    }

    /// What is left of it at `now`; none when nothing is.
    #[must_use]
    pub fn at(mut self, now: Time, kept: Kept) -> Option<Asked> {
        let age = now.since(self.when);
        if age >= kept.address {
            self.address = None;
        }
        (age < kept.network).then_some(self)
    }

    /// Whether it is one who is to be forgotten.
    #[must_use]
    pub fn is_of(&self, forgotten: &Forgotten) -> bool {
        let address = self.address.iter().any(|address| forgotten.covers(address));
        address || forgotten.covers(&self.who)
    }
}

/// A user agent as it is kept: without control characters, and cut where it is too long.
#[must_use]
pub fn agent(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > AGENT_MAX {
            break;
        }
        kept.push(c);
    }
    kept
}

/// The lists of one service.
#[derive(Clone, Debug, Default)]
pub struct Triggerers {
    /// Who woke the service or joined; oldest first.
    woke: VecDeque<Asked>,
    /// Who was refused or caught; oldest first.
    refused: VecDeque<Asked>,
    /// The last wake that somebody joined, and how many are listed.
    joins: (u64, u32),
}

impl Triggerers {
    /// Whether there is room for this one: of those who join a wake, not all are listed.
    #[must_use]
    pub fn lists(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Joined { wake } => self.joins.0 != wake || self.joins.1 < JOINS_MAX,
            Outcome::Woke { .. } | Outcome::Trapped { .. } => true,
            // Nobody asks a store about these; and one nonce can be sent again as often as anybody likes.
            Outcome::Refused { rule } => !matches!(
                rule,
                Rule::Banned | Rule::Denied | Rule::NotAllowed | Rule::Spent
            ),
        }
    }

    /// Lists one, if there is room for it.
    pub fn note(&mut self, asked: Asked, kept: Kept) {
        if !self.lists(asked.outcome) {
            return;
        }
        if let Outcome::Joined { wake } = asked.outcome {
            let listed = if self.joins.0 == wake {
                self.joins.1
            } else {
                0
            };
            self.joins = (wake, listed + 1);
        }
        self.tidy(asked.when, kept);
        let list = match asked.outcome {
            Outcome::Woke { .. } | Outcome::Joined { .. } => &mut self.woke,
            Outcome::Refused { .. } | Outcome::Trapped { .. } => &mut self.refused,
        };
        list.push_back(asked);
        if list.len() > TRIGGERERS_MAX {
            list.pop_front();
        }
    }

    /// Forgets what is not kept any longer.
    pub fn tidy(&mut self, now: Time, kept: Kept) {
        for list in [&mut self.woke, &mut self.refused] {
            let left = std::mem::take(list).into_iter();
            list.extend(left.filter_map(|asked| asked.at(now, kept)));
        }
    }

    /// Forgets a client; says how many entries went.
    pub fn forget(&mut self, forgotten: &Forgotten) -> usize {
        let before = self.woke.len() + self.refused.len();
        self.woke.retain(|asked| !asked.is_of(forgotten));
        self.refused.retain(|asked| !asked.is_of(forgotten));
        before - self.woke.len() - self.refused.len()
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Asked> {
        self.woke.iter().chain(&self.refused)
    }
}

/// The latest `limit` of these, newest first.
#[must_use]
pub fn latest(mut asked: Vec<Asked>, limit: usize) -> Vec<Asked> {
    asked.sort_by_key(|asked| std::cmp::Reverse(asked.when));
    asked.truncate(limit);
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Span;
    use crate::engine::trigger::Trigger;

    const T0: Time = Time(1_800_000_000_000);

    fn asked(when: Time, outcome: Outcome) -> Asked {
        let trigger = Trigger {
            by: TriggerBy::Page,
            who: String::new(),
            path: "/".into(),
        };
        let applicant = Applicant::plain("203.0.113.7".parse().unwrap(), trigger);
        Asked::of(when, &applicant, outcome)
    }

    fn count(list: &Triggerers, which: fn(&Outcome) -> bool) -> usize {
        list.all().filter(|asked| which(&asked.outcome)).count()
    }

    const REFUSED: Outcome = Outcome::Refused {
        rule: Rule::PerClient,
    };

    #[test]
    fn a_flood_of_refusals_pushes_out_nobody_who_woke() {
        let mut list = Triggerers::default();
        list.note(asked(T0, Outcome::Woke { wake: 1 }), Kept::default());
        for n in 0..3 * TRIGGERERS_MAX as u64 {
            list.note(asked(T0 + Span(n), REFUSED), Kept::default());
        }
        assert_eq!(list.all().count(), 1 + TRIGGERERS_MAX);
        assert_eq!(count(&list, |it| matches!(it, Outcome::Woke { .. })), 1);
    }

    #[test]
    fn the_first_who_join_each_wake_are_listed() {
        let mut list = Triggerers::default();
        for wake in [1, 2] {
            for _ in 0..10_000 {
                list.note(asked(T0, Outcome::Joined { wake }), Kept::default());
            }
        }
        assert_eq!(list.all().count(), 2 * JOINS_MAX as usize);
    }

    #[test]
    fn an_address_is_forgotten_before_its_network_and_both_in_the_end() {
        let (kept, day) = (Kept::default(), Span::mins(24 * 60));
        let mut list = Triggerers::default();
        list.note(asked(T0, Outcome::Woke { wake: 1 }), kept);
        list.tidy(T0 + day - Span(1), kept);
        assert!(list.all().all(|asked| asked.address.is_some()));
        list.tidy(T0 + day, kept);
        let left: Vec<_> = list
            .all()
            .map(|asked| (&*asked.who, &asked.address))
            .collect();
        assert_eq!(left, [("203.0.113.0/24", &None)]);
        list.note(asked(T0 + Span(30 * day.0), REFUSED), kept);
        assert_eq!(count(&list, |it| matches!(it, Outcome::Woke { .. })), 0);
    }

    #[test]
    fn a_user_agent_is_cut_between_characters_and_has_no_control_characters() {
        assert_eq!(agent("curl/8.5\r\n\u{1b}[31m"), "curl/8.5[31m");
        let long = agent(&"ä".repeat(300));
        assert_eq!(long, "ä".repeat(100));
    }

    #[test]
    fn an_entry_reads_like_one_line() {
        let text = serde_json::to_string(&asked(T0, REFUSED)).unwrap();
        let expected = concat!(
            r#"{"when":1800000000000,"who":"203.0.113.0/24","address":"203.0.113.7","by":"page","path":"/","agent":"","#,
            r#""outcome":"refused","rule":"per_client"}"#
        );
        assert_eq!(text, expected);
        assert_eq!(
            serde_json::from_str::<Asked>(&text).unwrap(),
            asked(T0, REFUSED)
        );
        let caught = asked(T0, Outcome::Trapped { banned_until: T0 });
        let text = serde_json::to_string(&caught).unwrap();
        let end = r#""outcome":"trapped","banned_until":1800000000000}"#;
        assert!(text.ends_with(end), "{text}");
        assert_eq!(serde_json::from_str::<Asked>(&text).unwrap(), caught);
    }
}
