//! Wakes that were let in while Redis was away, charged when it is back: one script on the service's keys. In a cluster
//! the limit over all services may be on another node; it is charged by the same script on its own keys, each of which
//! remembers what it has charged.

use super::admit::{ALL, Entry};
use super::link::Ask;
use super::script::Call;
use super::settings::Form;
use super::{RedisStore, clients, json};
use crate::engine::admit::{Key, Late, Rate, limits};
use crate::engine::time::Time;
use crate::store::StoreError;

impl RedisStore {
    pub(super) async fn charge(&self, now: Time, late: &Late) -> Result<(), StoreError> {
        let all = limits(&late.service, &late.applicant, &late.rules);
        let all = all.map(|(_, key, rate)| (key, rate));
        let apart = *self.link.form() == Form::Cluster;
        let (over_all, own): (Vec<_>, Vec<_>) =
            all.partition(|(key, _)| apart && *key == Key::OverAll);
        self.charge_service(now, late, &own).await?;
        match over_all[..] {
            [] => Ok(()),
            _ => self.charge_all(now, late, &over_all).await,
        }
    }

    async fn charge_service(
        &self,
        now: Time,
        late: &Late,
        limits: &[(Key, Rate)],
    ) -> Result<(), StoreError> {
        let (service, applicant) = (&late.service, &late.applicant);
        self.writes_to(service);
        let kept = self.kept();
        let end = clients::addresses_end(late.at, kept);
        let addresses = format!("addresses:{}", end.0);
        let keys = self.keys(service, ["late", "triggerers", &*addresses, "limit:day"]);
        let id = format!("{}-{}", late.by, late.number);
        let address = applicant.names.address.as_deref();
        let entry = Entry {
            id: &id,
            until: address.map(|_| end),
            when: late.at,
            who: &applicant.names.who,
            by: applicant.trigger.by,
            path: &applicant.trigger.path,
            agent: &applicant.agent,
        };
        let budget = if late.rules.per_day.is_some() {
            "1"
        } else {
            ""
        };
        let call = self.call_late(now, &late.by, late, keys, limits);
        let call = call.arg(budget).arg(json(&entry)).arg(id.as_str());
        let call = call.arg(address.unwrap_or_default());
        let call = call.arg(end.since(now).0.to_string());
        let call = with(call.arg(kept.network.0.to_string()), limits);
        self.link
            .ask(service.as_str(), Ask::Script(&call))
            .await
            .map(drop)
    }

    async fn charge_all(
        &self,
        now: Time,
        late: &Late,
        limits: &[(Key, Rate)],
    ) -> Result<(), StoreError> {
        let key = format!("{}:{{{ALL}}}:late", self.prefix);
        let keys = [key.clone(), key.clone(), key.clone(), key];
        // Each service's are in their order, and so are they remembered there.
        let by = format!("{} {}", late.by, late.service);
        let call = self.call_late(now, &by, late, keys, limits);
        let call = (0..6).fold(call, |call, _| call.arg(""));
        let call = with(call, limits);
        self.link.ask(ALL, Ask::Script(&call)).await.map(drop)
    }

    /// The beginning of a call of `late.lua`.
    fn call_late(
        &self,
        now: Time,
        by: &str,
        late: &Late,
        keys: [String; 4],
        limits: &[(Key, Rate)],
    ) -> Call<'_> {
        let mut keys = keys.to_vec();
        keys.extend(limits.iter().map(|(key, _)| self.limit_key(key)));
        let call = self.scripts.late.call(&keys);
        let call = call.arg(by).arg(late.number.to_string());
        call.arg(late.at.0.to_string()).arg(now.0.to_string())
    }
}

fn with<'a>(call: Call<'a>, limits: &[(Key, Rate)]) -> Call<'a> {
    limits.iter().fold(call, |call, (_, rate)| {
        let call = call.arg(rate.interval().0.to_string());
        call.arg(rate.count().to_string())
    })
}
