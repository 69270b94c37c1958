//! Who may wake a service, and how often: bans, lists, rates and a daily budget, ruled on in one step.
//!
//! The rules are asked in a fixed order: ban, `deny`, `allow`; then, whether a wake is asked for already, which
//! everybody may join for nothing; then all limits together. Either all limits are charged or none is, and of
//! several that refuse, the one that lasts longest is told. So the ten thousand visitors of one sleep cost one
//! wake, and whoever is refused has not paid.
//!
//! [`Book`] holds what the limits remember and is the plain meaning of all this: a store with scripts of its own
//! must answer as it does.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use serde::{Deserialize, Serialize};

use super::contract::Trigger;
use super::privacy::{Lasting, Names};
use super::time::{DAY_MS, Span, Time};

mod book;
#[cfg(test)]
mod tests;

pub use book::{Book, Charge, Day, KEYS_MAX, Key, Late, Ruling, Wakes, gcra_late, limits};

/// At most so many in a rate.
pub const COUNT_MAX: u32 = 1_000_000;

/// The shortest time of a rate.
pub const PER_MIN: Span = Span::secs(1);

/// The longest time of a rate: a year, also a leap one.
pub const PER_MAX: Span = Span::secs(366 * 86_400);

/// So many in such a time: `count` at once, and from then on one every `per / count`.
///
/// It is a bucket of `count` that fills again evenly, not a window that is emptied at its end: in any stretch of
/// time there are at most `count` and one more for each whole [`interval`](Rate::interval) in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Span,
}

/// Why there is no such rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRate {
    /// None, or more than [`COUNT_MAX`].
    #[error("a rate has 1 to 1000000 before the /")]
    Count,
    /// Less than [`PER_MIN`] or more than [`PER_MAX`].
    #[error("a rate has 1s to 366d behind the /")]
    Per,
    /// More than one in a millisecond.
    #[error("a rate is at most one in a millisecond")]
    TooFast,
}

impl Rate {
    /// So many in such a time.
    ///
    /// # Errors
    /// When `count` is not 1 to [`COUNT_MAX`], `per` not [`PER_MIN`] to [`PER_MAX`], or it is more than one in a
    /// millisecond.
    pub const fn new(count: u32, per: Span) -> Result<Rate, BadRate> {
        if count == 0 || count > COUNT_MAX {
            return Err(BadRate::Count);
        }
        if per.0 < PER_MIN.0 || per.0 > PER_MAX.0 {
            return Err(BadRate::Per);
        }
        match per.0 < count as u64 {
            true => Err(BadRate::TooFast),
            false => Ok(Rate { count, per }),
        }
    }

    /// How many at once.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The time in which an empty bucket is full again, as it was written.
    #[must_use]
    pub const fn per(self) -> Span {
        self.per
    }

    /// The time in which one comes back: `per / count`, rounded up to a whole millisecond. So it is never more
    /// than was written, and all arithmetic is in whole numbers far below 2^53, which a script that knows only
    /// floating point numbers does exactly alike.
    #[must_use]
    pub const fn interval(self) -> Span {
        Span(self.per.0.div_ceil(self.count as u64))
    }

    /// How far ahead of now the timestamp of [`gcra`] may be for one more: all but one are used up.
    #[must_use]
    pub const fn tolerance(self) -> Span {
        Span(self.interval().0 * (self.count as u64 - 1))
    }

    /// The time in which an empty bucket is full again, in whole intervals: how far ahead of now the timestamp of
    /// [`gcra`] is when all are used up.
    #[must_use]
    pub const fn whole(self) -> Span {
        Span(self.interval().0 * self.count as u64)
    }

    /// A quarter of it, at least one: what a replica may spend by itself while the store can't be asked.
    #[must_use]
    pub const fn quarter(self) -> Rate {
        match self.count / 4 {
            0 => Rate { count: 1, ..self },
            count => Rate { count, ..self },
        }
    }
}

impl fmt::Display for Rate {
    /// Reads like the configuration: `2/1d`, `10/1h 30m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.count)?;
        let mut left = self.per.0;
        let mut space = "";
        for (unit, name) in [
            (DAY_MS, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1_000, "s"),
            (1, "ms"),
        ] {
            if left >= unit {
                write!(f, "{space}{}{name}", left / unit)?;
                (left, space) = (left % unit, " ");
            }
        }
        Ok(())
    }
}

/// One limit as one timestamp: the generic cell rate algorithm (ITU-T I.371), the bucket written as the moment at
/// which it will be full again. `tat` is that moment as it was kept, none for a full bucket; one that has passed
/// means nothing any more and may be forgotten.
///
/// In whole milliseconds, with `i` the [`interval`](Rate::interval), `t` the [`tolerance`](Rate::tolerance) and
/// `w` the [`whole`](Rate::whole):
///
/// 1. `from = max(tat, now)`.
/// 2. If `from - now > 2w`, then `from = now + t`. This rate cannot have written that: the clock was set back, or
///    the rate was lower before. One is let through, so that nobody is locked out for years, and what is kept is
///    right again.
/// 3. If `from - now <= t`, it is let through and `from + i` is kept.
///
/// # Errors
/// The time until one would be let through, when it is not now. Nothing is to be kept then.
pub fn gcra(tat: Option<Time>, rate: Rate, now: Time) -> Result<Time, Span> {
    let tolerance = rate.tolerance();
    let mut from = tat.unwrap_or(now).max(now);
    if from.since(now).0 > 2 * rate.whole().0 {
        from = now + tolerance;
    }
    match from.since(now).0.checked_sub(tolerance.0) {
        None | Some(0) => Ok(from + rate.interval()),
        Some(early) => Err(Span(early)),
    }
}

/// What a service asks of those who would wake it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Who may not.
    pub deny: Vec<IpNet>,
    /// When not empty, only these may; `deny` still wins.
    pub allow: Vec<IpNet>,
    /// For each client: an IPv4 address, an IPv6 /64.
    pub per_client: Option<Rate>,
    /// For each network: an IPv4 /24, an IPv6 /48.
    pub per_network: Option<Rate>,
    /// For the service.
    pub per_service: Option<Rate>,
    /// For all services of the deployment together.
    pub over_all: Option<Rate>,
    /// Wakes of the service in a day, from midnight to midnight UTC.
    pub per_day: Option<u32>,
}

impl Rules {
    /// How long what is written under a client's name may stand.
    #[must_use]
    pub fn lasting(&self) -> Lasting {
        let whole = |rate: Option<Rate>| rate.map_or(Span::ZERO, Rate::whole);
        Lasting {
            client: whole(self.per_client),
            network: whole(self.per_network),
        }
    }

    /// The same with a quarter of every limit, at least one: what a replica may spend by itself while the store
    /// can't be asked.
    #[must_use]
    pub fn quarter(&self) -> Rules {
        Rules {
            deny: self.deny.clone(),
            allow: self.allow.clone(),
            per_client: self.per_client.map(Rate::quarter),
            per_network: self.per_network.map(Rate::quarter),
            per_service: self.per_service.map(Rate::quarter),
            over_all: self.over_all.map(Rate::quarter),
            per_day: self.per_day.map(|count| (count / 4).max(1)),
        }
    }

    /// What the lists say of an address: the rule that refuses it, if one does.
    #[must_use]
    pub fn lists(&self, address: IpAddr) -> Option<Rule> {
        use super::client::contains;
        if contains(&self.deny, address) {
            return Some(Rule::Denied);
        }
        let allowed = self.allow.is_empty() || contains(&self.allow, address);
        (!allowed).then_some(Rule::NotAllowed)
    }
}

/// Who would wake a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// The client's true address. It is compared with the lists and written nowhere.
    pub address: IpAddr,
    /// What it may be called where it is written down.
    pub names: Names,
    /// The serial of the page's nonce that it brings, where it brings one: that pays for one wake, and for no second.
    pub nonce: Option<String>,
    /// Whether a ban covers it. Bans are looked up by the caller, who has them at hand.
    pub banned: bool,
    /// What is kept of the request when it is the one that wakes.
    pub trigger: Trigger,
    /// Its user agent, [trimmed](super::triggerers::agent).
    pub agent: String,
}

impl Applicant {
    /// Somebody about whom everything may be written down, who is not banned and has no user agent.
    #[must_use]
    pub fn plain(address: IpAddr, trigger: Trigger) -> Applicant {
        Applicant {
            address,
            names: Names::plain(address),
            nonce: None,
            banned: false,
            trigger,
            agent: String::new(),
        }
    }
}

/// What can refuse a wake, in the order of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// An admin's ban.
    Banned,
    /// The list `deny`.
    Denied,
    /// The list `allow`, which has others.
    NotAllowed,
    /// The page's nonce: it has paid for a wake.
    Spent,
    /// The rate of the client.
    PerClient,
    /// The rate of its network.
    PerNetwork,
    /// The rate of the service.
    PerService,
    /// The rate of all services together.
    OverAll,
    /// The service's budget of the day.
    PerDay,
    /// The service's challenge: what was sent as its answer is none.
    Unproven,
}

impl Rule {
    /// The word used in logs, metrics, keys and JSON; of a limit, its key in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Rule::Banned => "banned",
            Rule::Denied => "denied",
            Rule::NotAllowed => "not_allowed",
            Rule::Spent => "spent",
            Rule::PerClient => "per_client",
            Rule::PerNetwork => "per_network",
            Rule::PerService => "per_service",
            Rule::OverAll => "over_all",
            Rule::PerDay => "per_day",
            Rule::Unproven => "unproven",
        }
    }
}

/// What becomes of a wish to wake a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one that wakes: all limits are charged, and the wake has this number. Numbers rise by one within
    /// a service and start at 1.
    Wake(u64),
    /// The wake with this number is asked for already: it costs nobody anything.
    Joined(u64),
    /// It does not wake, and no limit is charged.
    Refused {
        /// Which rule says so.
        rule: Rule,
        /// When it may ask again, at least a millisecond; none when waiting does not help.
        retry_after: Option<Span>,
    },
}
