//! Wakes that were let in while Redis was away, charged when it is back: one script on the service's keys. In a cluster
//! the limit over all services may be on another node; it is charged by the same script on its own keys, each of which
//! remembers what it has charged.

use super::RedisStore;
use super::admit::ALL;
use super::link::Ask;
use super::settings::Form;
use crate::engine::admit::{Key, Late, Rate, limits};
use crate::engine::time::Time;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn charge(&self, now: Time, late: &Late) -> Result<(), StoreError> {
        let all = limits(&late.service, &late.applicant, &late.rules);
        let all: Vec<_> = all.map(|(_, key, rate)| (key, rate)).collect();
        let apart = *self.link.form() == Form::Cluster;
        let (over_all, own): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(key, _)| apart && *key == Key::OverAll);
        let keys = self.keys(&late.service, ["late", "triggerers", "limit:day"]);
        let who = late.applicant.trigger.who.as_str();
        let day = late.rules.per_day.is_some();
        self.charge_on(late.service.as_str(), keys, now, late, (who, day), &own)
            .await?;
        if over_all.is_empty() {
            return Ok(());
        }
        let key = format!("{}:{{{ALL}}}:late", self.prefix);
        let keys = [key.clone(), key.clone(), key];
        let late = Late {
            // Each service's are in their order, and so are they remembered there.
            by: format!("{} {}", late.by, late.service),
            ..late.clone()
        };
        self.charge_on(ALL, keys, now, &late, ("", false), &over_all)
            .await
    }

    async fn charge_on(
        &self,
        tag: &str,
        keys: [String; 3],
        now: Time,
        late: &Late,
        (who, day): (&str, bool),
        limits: &[(Key, Rate)],
    ) -> Result<(), StoreError> {
        let mut keys = keys.to_vec();
        keys.extend(limits.iter().map(|(key, _)| self.limit_key(key)));
        let mut call = self.scripts.late.call(&keys);
        call = call.arg(late.by.as_str()).arg(late.number.to_string());
        call = call.arg(late.at.0.to_string()).arg(now.0.to_string());
        call = call.arg(who).arg(if day { "1" } else { "" });
        for (_, rate) in limits {
            call = call.arg(rate.interval().0.to_string());
            call = call.arg(rate.count().to_string());
        }
        self.link.ask(tag, Ask::Script(&call)).await.map(drop)
    }
}
