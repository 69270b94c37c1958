//! Admission: one script on the service's keys, and one round trip.
//!
//! In a cluster the limit over all services may be on another node, which no script reaches. There the service is
//! asked first, and only when it would let the client in, one is taken from all, then the service is charged; when
//! somebody was faster meanwhile, it is given back.

use redis::Value;
use serde::Serialize;
use tokio::time::Instant;

use super::link::Ask;
use super::script::Call;
use super::settings::Form;
use super::{RedisStore, clients, json, parsed};
use crate::engine::admit::{Applicant, Key, Rate, Rule, Rules, Verdict, limits};
use crate::engine::contract::TriggerBy;
use crate::engine::id::ServiceName;
use crate::engine::time::{Span, Time};
use crate::engine::triggerers::Outcome;
use crate::store::StoreError;

/// The `{}` of what belongs to all services.
pub(super) const ALL: &str = "all";

/// A client at a service's door.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) now: Time,
    pub(super) applicant: &'a Applicant,
    pub(super) rules: &'a Rules,
}

/// What stands in a list of triggerers, but for what came of it. Read as [`Listed`](clients::Listed).
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Time>,
    pub(super) when: Time,
    pub(super) who: &'a str,
    pub(super) by: TriggerBy,
    pub(super) path: &'a str,
    pub(super) agent: &'a str,
}

/// What the script on the service's keys answers.
enum Ruled {
    Settled(Verdict),
    Free,
}

/// What the script on the limit over all answers.
enum Shared {
    Done,
    Refused(Span),
}

impl RedisStore {
    pub(super) async fn rule(&self, wish: Wish<'_>) -> Result<Verdict, StoreError> {
        let never = |rule| Verdict::Refused {
            rule,
            retry_after: None,
        };
        if wish.applicant.banned {
            return Ok(never(Rule::Banned));
        }
        if let Some(rule) = wish.rules.lists(wish.applicant.address) {
            return Ok(never(rule));
        }
        let deadline = self.link.deadline();
        match (self.link.form(), wish.rules.over_all) {
            (Form::Cluster, Some(rate)) => self.in_two_slots(deadline, wish, rate).await,
            _ => settled(self.of_service(deadline, wish, "admit").await?),
        }
    }

    async fn in_two_slots(
        &self,
        deadline: Instant,
        wish: Wish<'_>,
        rate: Rate,
    ) -> Result<Verdict, StoreError> {
        let share = |what| self.of_all(deadline, wish.now, rate, what);
        match self.of_service(deadline, wish, "ask").await? {
            Ruled::Settled(Verdict::Refused { rule, retry_after }) => {
                let all = share("ask").await?;
                let verdict = longest(rule, retry_after, &all);
                self.list_refusal(deadline, wish, verdict).await;
                Ok(verdict)
            }
            Ruled::Settled(joined) => Ok(joined),
            Ruled::Free => {
                if let Shared::Refused(wait) = share("take").await? {
                    let verdict = Verdict::Refused {
                        rule: Rule::OverAll,
                        retry_after: Some(wait),
                    };
                    self.list_refusal(deadline, wish, verdict).await;
                    return Ok(verdict);
                }
                let verdict = settled(self.of_service(deadline, wish, "admit").await?)?;
                if !matches!(verdict, Verdict::Wake(_)) {
                    share("give").await?;
                }
                Ok(verdict)
            }
        }
    }

    /// Lists somebody who was refused by two keys together, neither of which knew of the other.
    async fn list_refusal(&self, deadline: Instant, wish: Wish<'_>, verdict: Verdict) {
        let Verdict::Refused { rule, .. } = verdict else {
            return;
        };
        if rule == Rule::Spent {
            return;
        }
        // Where it fails, the refusal is right all the same.
        let _ = self.list(deadline, wish, Outcome::of(verdict)).await;
    }

    /// Lists somebody who did not wake the service.
    pub(super) async fn list(
        &self,
        deadline: Instant,
        wish: Wish<'_>,
        outcome: Outcome,
    ) -> Result<(), StoreError> {
        let call = self.call_of(wish, "list", Some(outcome), &[]);
        let ask = Ask::Script(&call);
        let listed = self.link.ask_by(deadline, wish.service.as_str(), ask);
        listed.await.map(drop)
    }

    async fn of_service(
        &self,
        deadline: Instant,
        wish: Wish<'_>,
        what: &str,
    ) -> Result<Ruled, StoreError> {
        let apart = *self.link.form() == Form::Cluster;
        let limits: Vec<_> = limits(wish.service, wish.applicant, wish.rules)
            .filter(|(rule, ..)| !(apart && *rule == Rule::OverAll))
            .collect();
        let call = self.call_of(wish, what, None, &limits);
        let ask = Ask::Script(&call);
        let answer = self.link.ask_by(deadline, wish.service.as_str(), ask);
        read_ruled(answer.await?)
    }

    /// A call of `admit.lua`.
    fn call_of(
        &self,
        wish: Wish<'_>,
        what: &str,
        listed: Option<Outcome>,
        limits: &[(Rule, Key, Rate)],
    ) -> Call<'_> {
        let Wish {
            service,
            now,
            applicant,
            rules,
        } = wish;
        self.writes_to(service);
        let kept = self.kept();
        let end = clients::addresses_end(now, kept);
        let addresses = format!("addresses:{}", end.0);
        let names = [
            "wake",
            "wanted",
            "triggerers",
            "refusals",
            &*addresses,
            "limit:day",
        ];
        let mut keys = self.keys(service, names).to_vec();
        keys.extend(limits.iter().map(|(_, key, _)| self.limit_key(key)));
        let name = format!("{}-{}", self.token, self.next_call());
        let address = applicant.names.address.as_deref();
        let entry = Entry {
            id: &name,
            until: address.map(|_| end),
            when: now,
            who: &applicant.names.who,
            by: applicant.trigger.by,
            path: &applicant.trigger.path,
            agent: &applicant.agent,
        };
        let budget = rules.per_day.map(|budget| budget.to_string());
        let mut call = self.scripts.admit.call(&keys);
        call = call.arg(what).arg(now.0.to_string());
        call = call.arg(json(&applicant.trigger)).arg(json(&entry));
        call = call.arg(budget.unwrap_or_default()).arg(name.as_str());
        call = call.arg(address.unwrap_or_default());
        call = call.arg(end.since(now).0.to_string());
        call = call.arg(kept.network.0.to_string());
        call = call.arg(listed.map(|outcome| json(&outcome)).unwrap_or_default());
        for (rule, _, rate) in limits {
            call = call.arg(rule.as_str()).arg(rate.interval().0.to_string());
            call = call.arg(rate.count().to_string());
        }
        call
    }

    async fn of_all(
        &self,
        deadline: Instant,
        now: Time,
        rate: Rate,
        what: &str,
    ) -> Result<Shared, StoreError> {
        let call = self.scripts.share.call(&[self.limit_key(&Key::OverAll)]);
        let call = call.arg(what).arg(now.0.to_string());
        let call = call.arg(rate.interval().0.to_string());
        let call = call.arg(rate.count().to_string());
        let answer = self.link.ask_by(deadline, ALL, Ask::Script(&call)).await?;
        let answer: Vec<String> = parsed(answer)?;
        match &answer[..] {
            [_, wait] => Ok(Shared::Refused(Span(number(wait)?))),
            _ => Ok(Shared::Done),
        }
    }

    pub(super) fn limit_key(&self, key: &Key) -> String {
        let p = &self.prefix;
        match key {
            Key::Client(service, net) => format!("{p}:{{{service}}}:limit:client:{net}"),
            Key::Network(service, net) => format!("{p}:{{{service}}}:limit:network:{net}"),
            Key::Spent(service, serial) => format!("{p}:{{{service}}}:limit:spent:{serial}"),
            Key::Service(service) => format!("{p}:{{{service}}}:limit:service"),
            Key::OverAll => format!("{p}:{{{ALL}}}:limit:wakes"),
        }
    }
}

/// Of two refusals the one that lasts longer, of equals the first in the order of the rules.
fn longest(rule: Rule, wait: Option<Span>, all: &Shared) -> Verdict {
    let (rule, retry_after) = match all {
        Shared::Refused(all) if (Some(*all), rule) > (wait, Rule::OverAll) => {
            (Rule::OverAll, Some(*all))
        }
        _ => (rule, wait),
    };
    Verdict::Refused { rule, retry_after }
}

fn read_ruled(answer: Value) -> Result<Ruled, StoreError> {
    let answer: Vec<String> = parsed(answer)?;
    let answer: Vec<_> = answer.iter().map(String::as_str).collect();
    Ok(Ruled::Settled(match answer[..] {
        ["wake", wake] => Verdict::Wake(number(wake)?),
        ["joined", wake] => Verdict::Joined(number(wake)?),
        ["refused", rule, wait] => Verdict::Refused {
            rule: limit_named(rule).ok_or_else(|| unreadable(rule))?,
            retry_after: Some(Span(number(wait)?)),
        },
        ["free"] => return Ok(Ruled::Free),
        _ => return Err(unreadable("an answer of its own")),
    }))
}

fn settled(ruled: Ruled) -> Result<Verdict, StoreError> {
    match ruled {
        Ruled::Settled(verdict) => Ok(verdict),
        Ruled::Free => Err(unreadable("free")),
    }
}

fn limit_named(name: &str) -> Option<Rule> {
    use Rule::{OverAll, PerClient, PerDay, PerNetwork, PerService, Spent};
    let limits = [Spent, PerClient, PerNetwork, PerService, OverAll, PerDay];
    limits.into_iter().find(|rule| rule.as_str() == name)
}

fn number(text: &str) -> Result<u64, StoreError> {
    text.parse().map_err(|_| unreadable(text))
}

fn unreadable(what: &str) -> StoreError {
    StoreError::Unavailable(format!("Redis: {what:?} is no answer to an admission"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_refusal_is_told_and_of_equals_the_first() {
        let told =
            |rule, wait, all| match longest(rule, Some(Span(wait)), &Shared::Refused(Span(all))) {
                Verdict::Refused { rule, retry_after } => (rule, retry_after),
                other => panic!("{other:?}"),
            };
        let wait = |ms| Some(Span(ms));
        assert_eq!(told(Rule::PerClient, 5, 4), (Rule::PerClient, wait(5)));
        assert_eq!(told(Rule::PerClient, 5, 5), (Rule::PerClient, wait(5)));
        assert_eq!(told(Rule::PerClient, 5, 6), (Rule::OverAll, wait(6)));
        assert_eq!(told(Rule::PerDay, 5, 5), (Rule::OverAll, wait(5)));
        assert_eq!(told(Rule::PerDay, 6, 5), (Rule::PerDay, wait(6)));
    }
}
