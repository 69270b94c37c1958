//! One cluster of Proxmox VE as one token sees it: what is asked of it, by all services that use it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::GuestKind;
use super::Settings;
use super::address::{FromAgent, Interface};
use super::answer::{self, Current, Described, Guest, Task};
use super::place::{API, Place};
use super::rights::Rights;
use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::provider::BadSettings;
use crate::provider::cloud::account::Account;
use crate::provider::cloud::call::{Call, Caller, Does, Trust, form};

/// A read. The node that is asked may ask another one, which it gives 30 s itself.
const READ_WITHIN: Duration = Duration::from_secs(35);

/// A write answers with the name of its task at once; some wait 10 s for a lock before.
const WRITE_WITHIN: Duration = Duration::from_secs(35);

/// How often a task is looked at: at first, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(2);

const FORM: &str = "application/x-www-form-urlencoded";

/// A cluster.
pub(super) struct Cluster {
    caller: Caller,
    headers: HeaderMap,
    guests: Account<Vec<Guest>>,
}

/// Base address, token, secret, trust.
type Key = (String, String, String, Trust);

/// The clusters in use.
static CLUSTERS: Mutex<BTreeMap<Key, Weak<Cluster>>> = Mutex::new(BTreeMap::new());

impl Cluster {
    /// The cluster of these settings, the same for all services that name it.
    pub(super) fn of(settings: &Settings) -> Result<Arc<Cluster>, BadSettings> {
        let trust = settings.trust();
        let (base, token) = (&settings.base_url, &settings.token_id);
        let key = (
            base.clone(),
            token.clone(),
            settings.secret.clone(),
            trust.clone(),
        );
        let mut clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
        clusters.retain(|_, cluster| cluster.strong_count() > 0);
        if let Some(cluster) = clusters.get(&key).and_then(Weak::upgrade) {
            return Ok(cluster);
        }
        let secret = format!("PVEAPIToken={token}={}", settings.secret);
        let bad = |_| BadSettings("`secret` holds what no header can: a line break?".into());
        let mut secret = HeaderValue::from_str(&secret).map_err(bad)?;
        secret.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, secret);
        let cluster = Arc::new(Cluster {
            caller: Caller::that_trusts("proxmox", base, &trust)?,
            headers,
            guests: Account::new(),
        });
        clusters.insert(key, Arc::downgrade(&cluster));
        Ok(cluster)
    }

    /// All guests that the token may see, as of `since` or later. A guest's state in it may be some seconds old: the
    /// nodes tell one another.
    pub(super) async fn guests(
        self: &Arc<Self>,
        since: Instant,
    ) -> Result<Arc<Vec<Guest>>, Trouble> {
        let cluster = Arc::clone(self);
        let read = move || {
            async move {
                let path = format!("{API}/cluster/resources?type=vm");
                cluster.get("resources", path).await
            }
            .boxed()
        };
        self.guests.list(since, read).await
    }

    /// Whether the token may see this guest; if not, that the list does not have it means nothing.
    pub(super) async fn may_see(&self, vmid: u32) -> Result<bool, Trouble> {
        let path = format!("/vms/{vmid}");
        Ok(self.rights().await?.hold("VM.Audit", &path))
    }

    /// What the token may do.
    pub(super) async fn rights(&self) -> Result<Rights, Trouble> {
        self.get("permissions", format!("{API}/access/permissions"))
            .await
    }

    pub(super) async fn current(&self, place: &Place) -> Result<Current, Trouble> {
        self.get("status", place.path("/status/current")).await
    }

    /// The task that moves this guest now, if the token sees one: its own, and with `Sys.Audit` everybody's.
    pub(super) async fn moving(
        &self,
        place: &Place,
    ) -> Result<Option<(String, MachineState)>, Trouble> {
        let (node, vmid) = (&place.node, place.vmid);
        let path = format!("{API}/nodes/{node}/tasks?source=active&vmid={vmid}");
        let tasks: Vec<Task> = self.get("tasks", path).await?;
        let moves = |task: Task| task.moves().map(|state| (task.upid, state));
        Ok(tasks.into_iter().find_map(moves))
    }

    /// The guest's network interfaces; none while it can't tell them yet.
    pub(super) async fn interfaces(&self, place: &Place) -> Result<Vec<Interface>, Trouble> {
        match place.kind {
            GuestKind::Lxc => {
                let told: Option<_> = self.get("interfaces", place.path("/interfaces")).await?;
                Ok(told.unwrap_or_default())
            }
            GuestKind::Qemu => {
                let path = place.path("/agent/network-get-interfaces");
                let told: Result<FromAgent, _> = self.get("agent", path).await;
                match told {
                    Ok(told) => Ok(told.result),
                    // It comes with the rest of the system.
                    Err(trouble) if is_agent_away(&trouble) => Ok(Vec::new()),
                    Err(mut trouble) => {
                        let mend = "install and enable the QEMU guest agent and let the token have VM.GuestAgent.Audit \
                                    (before version 9: VM.Monitor), or write the address down as `address`";
                        trouble.detail = format!("{}; {mend}", trouble.detail);
                        Err(trouble)
                    }
                }
            }
        }
    }

    /// What a guest says of itself.
    pub(super) async fn config(&self, place: &Place) -> Result<Described, Trouble> {
        self.get("config", place.path("/config")).await
    }

    /// Changes what a guest says of itself.
    pub(super) async fn configure(
        &self,
        place: &Place,
        fields: &[(&str, &str)],
    ) -> Result<(), Trouble> {
        let (path, body) = (place.path("/config"), Some(form(fields)));
        let told: Result<Value, _> = self.write("config", Method::PUT, path, body).await;
        told.map(|_| ())
    }

    /// The lowest number that no guest has.
    pub(super) async fn next_number(&self) -> Result<u32, Trouble> {
        let path = format!("{API}/cluster/nextid");
        let told: Value = self.get("nextid", path).await?;
        let number = answer::number(&told).and_then(|number| number.try_into().ok());
        number.ok_or_else(|| {
            let detail = format!("nextid: {told} is no number of a guest");
            Trouble::new(ErrorClass::Transient, detail)
        })
    }

    /// Asks for a guest to be deleted, with its disks and with what other lists say of it; answers with its task.
    pub(super) async fn delete(&self, place: &Place) -> Result<String, Trouble> {
        let path = place.path("?purge=1");
        self.write("delete", Method::DELETE, path, None).await
    }

    /// Asks for a change of a guest; answers with the name of the task that makes it.
    pub(super) async fn change(
        &self,
        place: &Place,
        name: &'static str,
        fields: &[(&str, &str)],
    ) -> Result<String, Trouble> {
        let path = place.path(&format!("/{name}"));
        self.write(name, Method::POST, path, Some(form(fields)))
            .await
    }

    /// Looks at a task until it ends, at most for so long; none when it still runs then.
    ///
    /// # Errors
    /// What the task says went wrong, or why it could not be looked at.
    pub(super) async fn follow(
        &self,
        node: &str,
        upid: &str,
        within: Duration,
    ) -> Result<Option<()>, Trouble> {
        let until = Instant::now() + within;
        let mut pause = LOOK_FIRST;
        let name: String = reqwest::Url::parse("path:///")
            .map(|mut url| {
                url.set_path(upid);
                url.path().trim_start_matches('/').to_owned()
            })
            .unwrap_or_default();
        loop {
            let path = format!("{API}/nodes/{node}/tasks/{name}/status");
            let task: Result<Task, Trouble> = self.get("task", path).await;
            match task {
                Ok(task) => {
                    if let Some(outcome) = task.outcome() {
                        return outcome.map(Some);
                    }
                }
                // What is accepted goes on, whether it can be looked at or not.
                Err(trouble) if trouble.class == ErrorClass::Transient => {}
                Err(trouble) => return Err(trouble),
            }
            if Instant::now() + pause >= until {
                return Ok(None);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: String,
    ) -> Result<T, Trouble> {
        let call = Call {
            name,
            does: Does::Read,
            method: Method::GET,
            path,
            body: None,
            within: READ_WITHIN,
        };
        let reply = self.caller.make(call, &self.headers).await?;
        answer::data(&reply, Does::Read).inspect_err(|trouble| self.guests.heed(trouble))
    }

    async fn write<T: DeserializeOwned>(
        &self,
        name: &'static str,
        method: Method,
        path: String,
        body: Option<Vec<u8>>,
    ) -> Result<T, Trouble> {
        self.guests.may_ask()?;
        let call = Call {
            name,
            does: Does::Write,
            method,
            path,
            body: body.map(|body| (FORM, body)),
            within: WRITE_WITHIN,
        };
        let reply = self.caller.make(call, &self.headers).await?;
        answer::data(&reply, Does::Write).inspect_err(|trouble| self.guests.heed(trouble))
    }
}

/// The agent does not answer (yet): the system inside is still coming up, or going down.
fn is_agent_away(trouble: &Trouble) -> bool {
    let said = &trouble.detail;
    said.contains("guest agent is not running")
        || said.contains("not running")
        || said.contains("got timeout")
}
