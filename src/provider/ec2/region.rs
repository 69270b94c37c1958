//! One account in one region: what is asked of it, by all services that use it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::answer::{self, Instance};
use super::credentials::{Credentials, Keys, Source, Surroundings};
use super::settings::Settings;
use super::sign::{self, Signed};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::BadSettings;
use crate::provider::cloud::account::Account;
use crate::provider::cloud::call::{Call, Caller, Does, Reply, form};

/// Any call: EC2 answers at once and works on.
const WITHIN: Duration = Duration::from_secs(30);

/// The version of the interface.
const VERSION: &str = "2016-11-15";

/// How many ids one filter takes (EC2's API reference, `Filter`).
const FILTER_VALUES_MAX: usize = 200;

/// How many machines a page may have (`DescribeInstances`, `MaxResults`).
const PAGE: &str = "1000";

/// More pages than any account has.
const PAGES_MAX: usize = 100;

/// The tag of every machine that an Anteroom launched: its name.
pub(super) const TAG: &str = "anteroom";

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// An account in a region.
pub(super) struct Region {
    caller: Caller,
    host: String,
    name: String,
    credentials: Credentials,
    /// The machines that services name, and how many do.
    named: Mutex<BTreeMap<String, usize>>,
    seeds: Account<Vec<Instance>>,
    marked: Account<Vec<Instance>>,
}

/// Fields of a form.
pub(super) type Fields = Vec<(String, String)>;

/// Base address, region, where the keys come from, file of certificates.
type Key = (String, String, Source, Surroundings, Option<PathBuf>);

/// The accounts in use.
static REGIONS: Mutex<BTreeMap<Key, Weak<Region>>> = Mutex::new(BTreeMap::new());

/// A machine that a service names, as long as the service is there.
pub(super) struct Named {
    region: Arc<Region>,
    id: String,
}

impl Drop for Named {
    fn drop(&mut self) {
        let mut named = self.region.named();
        let left = named.get(&self.id).copied().unwrap_or_default();
        match left {
            0 | 1 => drop(named.remove(&self.id)),
            _ => drop(named.insert(self.id.clone(), left - 1)),
        }
    }
}

impl Region {
    /// The account of these settings, the same for all services that name it.
    pub(super) fn of(settings: &Settings) -> Result<Arc<Region>, BadSettings> {
        let (base, around) = (settings.base(), &settings.surroundings);
        let key = (
            base.clone(),
            settings.region.clone(),
            settings.credentials.clone(),
            around.clone(),
            settings.ca.clone(),
        );
        let mut regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|_, region| region.strong_count() > 0);
        if let Some(region) = regions.get(&key).and_then(Weak::upgrade) {
            return Ok(region);
        }
        let host = reqwest::Url::parse(&base).ok().and_then(|url| {
            let host = url.host_str()?;
            Some(match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            })
        });
        let bad = || BadSettings(format!("`base_url` {base:?} is not an address"));
        let region = Arc::new(Region {
            caller: Caller::new("ec2", &base, settings.ca.as_deref())?,
            host: host.ok_or_else(bad)?,
            name: settings.region.clone(),
            credentials: Credentials::new(settings.credentials.clone(), around.clone())?,
            named: Mutex::default(),
            seeds: Account::new(),
            marked: Account::new(),
        });
        regions.insert(key, Arc::downgrade(&region));
        Ok(region)
    }

    /// From now on the list has this machine.
    pub(super) fn name(self: &Arc<Self>, id: &str) -> Named {
        *self.named().entry(id.to_owned()).or_default() += 1;
        Named {
            region: Arc::clone(self),
            id: id.to_owned(),
        }
    }

    /// All machines that services name and that exist, as of `since` or later.
    pub(super) async fn seeds(
        self: &Arc<Self>,
        since: Instant,
    ) -> Result<Arc<Vec<Instance>>, Trouble> {
        let region = Arc::clone(self);
        let read = move || {
            async move {
                let ids: Vec<String> = region.named().keys().cloned().collect();
                let mut found = Vec::new();
                for ids in ids.chunks(FILTER_VALUES_MAX) {
                    // Named as ids, one that does not exist would make the whole call fail.
                    found.extend(region.filtered("instance-id", ids).await?);
                }
                Ok(found)
            }
            .boxed()
        };
        self.seeds.list(since, read).await
    }

    /// All machines that an Anteroom launched, as of `since` or later.
    pub(super) async fn marked(
        self: &Arc<Self>,
        since: Instant,
    ) -> Result<Arc<Vec<Instance>>, Trouble> {
        self.seeds.may_ask()?;
        let region = Arc::clone(self);
        let read = move || async move { region.filtered("tag-key", &[TAG.into()]).await }.boxed();
        self.marked.list(since, read).await
    }

    /// Every page of the machines of this filter.
    async fn filtered(&self, filter: &str, values: &[String]) -> Result<Vec<Instance>, Trouble> {
        let mut fields: Fields = vec![
            ("MaxResults".into(), PAGE.into()),
            ("Filter.1.Name".into(), filter.into()),
        ];
        let value =
            |(at, value): (usize, &String)| (format!("Filter.1.Value.{}", at + 1), value.clone());
        fields.extend(values.iter().enumerate().map(value));
        let mut found = Vec::new();
        let mut page = fields.clone();
        for _ in 0..PAGES_MAX {
            let reply = self.ask("DescribeInstances", Does::Read, &page).await?;
            let (more, next) = answer::instances(&reply, Does::Read)?;
            found.extend(more);
            let Some(next) = next else { return Ok(found) };
            page.clone_from(&fields);
            page.push(("NextToken".into(), next));
        }
        let detail = format!("DescribeInstances: more than {PAGES_MAX} pages");
        Err(Trouble::new(ErrorClass::Transient, detail))
    }

    /// One machine by its id; none when there is none.
    pub(super) async fn one(&self, id: &str) -> Result<Option<Instance>, Trouble> {
        self.seeds.may_ask()?;
        let fields = vec![("InstanceId.1".to_owned(), id.to_owned())];
        match self.ask("DescribeInstances", Does::Read, &fields).await {
            Ok(reply) => {
                let (found, _) = answer::instances(&reply, Does::Read)?;
                Ok(found.into_iter().find(|instance| instance.id == id))
            }
            Err(trouble) if trouble.class == ErrorClass::NotFound => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Makes a change; answers with the machines that it concerned.
    pub(super) async fn change(
        &self,
        action: &'static str,
        fields: &Fields,
    ) -> Result<Vec<Instance>, Trouble> {
        self.seeds.may_ask()?;
        let reply = self.ask(action, Does::Write, fields).await?;
        Ok(answer::instances(&reply, Does::Write)?.0)
    }

    /// Whether this call may be made. It is not.
    pub(super) async fn might(
        &self,
        action: &'static str,
        fields: &Fields,
    ) -> Result<bool, Trouble> {
        self.seeds.may_ask()?;
        let keys = self.credentials.keys().await?;
        let mut fields = fields.clone();
        fields.push(("DryRun".to_owned(), "true".to_owned()));
        let reply = self.send(action, Does::Read, &fields, &keys).await?;
        answer::may(&reply).inspect_err(|trouble| self.seeds.heed(trouble))
    }

    /// A call that succeeded.
    async fn ask(
        &self,
        action: &'static str,
        does: Does,
        fields: &Fields,
    ) -> Result<Reply, Trouble> {
        let keys = self.credentials.keys().await?;
        let reply = self.send(action, does, fields, &keys).await?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        let trouble = answer::trouble(&reply, does);
        self.seeds.heed(&trouble);
        if trouble.class != ErrorClass::Auth {
            return Err(trouble);
        }
        // A role's keys are renewed, and a file may have others by now.
        self.credentials.forget();
        let renewed = self.credentials.keys().await?;
        if renewed == keys {
            return Err(trouble);
        }
        let reply = self.send(action, does, fields, &renewed).await?;
        match reply.status.is_success() {
            true => Ok(reply),
            false => Err(answer::trouble(&reply, does)),
        }
    }

    async fn send(
        &self,
        action: &'static str,
        does: Does,
        fields: &Fields,
        keys: &Keys,
    ) -> Result<Reply, Trouble> {
        let head = [("Action", action), ("Version", VERSION)];
        let fields = fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let fields: Vec<(&str, &str)> = head.into_iter().chain(fields).collect();
        let body = form(&fields);
        let signed = Signed {
            host: &self.host,
            region: &self.name,
            service: "ec2",
            content_type: FORM,
            body: &body,
            at: SystemTime::now(),
        };
        let header = |(name, value): (String, String)| {
            let name = HeaderName::try_from(name).ok()?;
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        let headers = sign::headers(&signed, keys)?;
        let headers: Option<HeaderMap> = headers.into_iter().map(header).collect();
        let headers = headers.ok_or_else(|| {
            Trouble::new(
                ErrorClass::Auth,
                "the access key holds what no header can: a line break?",
            )
        })?;
        let call = Call {
            name: action,
            does,
            method: Method::POST,
            path: "/".to_owned(),
            body: Some((FORM, body)),
            within: WITHIN,
        };
        self.caller.make(call, &headers).await
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
