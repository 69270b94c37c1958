//! One project at Google, shared by all services that are in it: one list, one token, one wait when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{self, Instance, Operation, Page};
use super::credentials::Surroundings;
use super::token::Tokens;
use super::{READ_WITHIN, Settings, WRITE_WITHIN};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::BadSettings;
use crate::provider::cloud::account::Account;
use crate::provider::cloud::call::{Call, Caller, Does, Reply};

/// How old a list of one page may be. One of more pages may be so many times older: however large a project is, its
/// list takes no more of its quota.
const PAGE_AGE_MAX: Duration = Duration::from_secs(2);

/// As many as the cloud gives in one page.
const PER_PAGE: &str = "500";

/// A list that is longer has an end that we never reach: 100,000 machines.
const PAGES_MAX: u32 = 200;

/// What is asked for of a list; the rest of a machine is a hundred times as much.
const FIELDS: &str = "items/*/instances(name,status,labels,networkInterfaces(networkIP,accessConfigs(natIP))),\
                      items/*/warning(code),nextPageToken,unreachables";

/// The instances of a project, by zone and name.
#[derive(Debug, Default)]
pub(super) struct Listed {
    instances: BTreeMap<String, BTreeMap<String, Instance>>,
    /// Zones in which there may be more.
    partial: BTreeSet<String>,
}

impl Listed {
    pub(super) fn instance(&self, zone: &str, name: &str) -> Option<&Instance> {
        self.instances.get(zone)?.get(name)
    }

    /// The instances of a zone.
    pub(super) fn zone(&self, zone: &str) -> impl Iterator<Item = &Instance> {
        self.instances
            .get(zone)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// Whether there may be more in this zone.
    pub(super) fn is_partial(&self, zone: &str) -> bool {
        self.partial.contains(zone)
    }

    /// All instances of the project.
    pub(super) fn all(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().flat_map(BTreeMap::values)
    }

    fn add(&mut self, page: Page) {
        let zone = |scope: &str| scope.rsplit('/').next().unwrap_or_default().to_owned();
        for (scope, content) in page.items {
            if content.is_partial() {
                self.partial.insert(zone(&scope));
            }
            let of_zone = self.instances.entry(zone(&scope)).or_default();
            of_zone.extend(
                content
                    .instances
                    .into_iter()
                    .map(|one| (one.name.clone(), one)),
            );
        }
        self.partial
            .extend(page.unreachables.iter().map(|scope| zone(scope)));
    }
}

/// A project.
pub(super) struct Project {
    caller: Caller,
    tokens: Tokens,
    name: String,
    list: Account<Listed>,
    /// Of the latest list.
    pages: AtomicU32,
    /// The cloud did not understand `FIELDS`: whole machines are asked for.
    whole: AtomicBool,
    /// The services that use it.
    members: AtomicU32,
}

/// Base address, project, credentials and where else they are looked for, file of certificates.
type Key = (
    String,
    String,
    Option<PathBuf>,
    Surroundings,
    Option<PathBuf>,
);

/// The projects in use.
static PROJECTS: Mutex<BTreeMap<Key, Weak<Project>>> = Mutex::new(BTreeMap::new());

/// A service's hold on its project.
pub(super) struct Member(Arc<Project>);

impl Member {
    /// The project of these settings, the same for all services that name it.
    pub(super) fn of(settings: &Settings) -> Result<Member, BadSettings> {
        let key = (
            settings.base_url.clone(),
            settings.project.clone(),
            settings.credentials.clone(),
            settings.around.clone(),
            settings.ca.clone(),
        );
        let mut projects = PROJECTS.lock().unwrap_or_else(PoisonError::into_inner);
        projects.retain(|_, project| project.strong_count() > 0);
        let project = match projects.get(&key).and_then(Weak::upgrade) {
            Some(project) => project,
            None => {
                let ca = settings.ca.as_deref();
                let (credentials, around) = (settings.credentials.clone(), settings.around.clone());
                let project = Arc::new(Project {
                    caller: Caller::new("gce", &settings.base_url, ca)?,
                    tokens: Tokens::new(credentials, around, ca)?,
                    name: settings.project.clone(),
                    list: Account::new(),
                    pages: AtomicU32::new(1),
                    whole: AtomicBool::new(false),
                    members: AtomicU32::new(0),
                });
                projects.insert(key, Arc::downgrade(&project));
                project
            }
        };
        project.members.fetch_add(1, Ordering::Relaxed);
        Ok(Member(project))
    }

    /// Whether no other service uses the project: then one machine is read, and not the list of all.
    pub(super) fn is_alone(&self) -> bool {
        self.0.members.load(Ordering::Relaxed) == 1
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Member {
    type Target = Arc<Project>;
    fn deref(&self) -> &Arc<Project> {
        &self.0
    }
}

impl Project {
    /// How old a list may be for who did not write since.
    pub(super) fn list_age_max(&self) -> Duration {
        PAGE_AGE_MAX * self.pages.load(Ordering::Relaxed).max(1)
    }

    /// All instances, as they were at `since` or later.
    pub(super) async fn instances(
        self: &Arc<Self>,
        since: Instant,
    ) -> Result<Arc<Listed>, Trouble> {
        let project = Arc::clone(self);
        let read = move || async move { project.read_list().await }.boxed();
        self.list.list(since, read).await
    }

    async fn read_list(&self) -> Result<Listed, Trouble> {
        let mut listed = Listed::default();
        let mut token = None;
        for page in 1..=PAGES_MAX {
            let read = self.read_page(token.as_deref()).await?;
            token = read
                .next_page_token
                .clone()
                .filter(|token| !token.is_empty());
            listed.add(read);
            if token.is_none() {
                self.pages.store(page, Ordering::Relaxed);
                return Ok(listed);
            }
        }
        let detail = format!("the list of instances has more than {PAGES_MAX} pages");
        Err(Trouble::new(ErrorClass::BadRequest, detail))
    }

    async fn read_page(&self, token: Option<&str>) -> Result<Page, Trouble> {
        let mut query = vec![("maxResults", PER_PAGE)];
        query.extend(token.map(|token| ("pageToken", token)));
        let path = format!("/projects/{}/aggregated/instances", self.name);
        let whole = self.whole.load(Ordering::Relaxed);
        if !whole {
            query.push(("fields", FIELDS));
        }
        let reply = self.read("instances.aggregatedList", &path, &query).await?;
        if reply.status == StatusCode::BAD_REQUEST && !whole {
            tracing::warn!(
                "the cloud does not take `fields` for its list; whole instances are read"
            );
            self.whole.store(true, Ordering::Relaxed);
            query.pop();
            let reply = self.read("instances.aggregatedList", &path, &query).await?;
            return answer::read(&reply);
        }
        answer::read(&reply)
    }

    /// One instance by its own page; none when there is none.
    pub(super) async fn instance(
        &self,
        zone: &str,
        name: &str,
    ) -> Result<Option<Instance>, Trouble> {
        let path = self.path(zone, &format!("instances/{name}"));
        let reply = self.read("instances.get", &path, &[]).await?;
        let instance = answer::instance(&reply, name);
        instance.inspect_err(|trouble| self.list.heed(trouble))
    }

    /// The operation as it is.
    pub(super) async fn operation(&self, zone: &str, name: &str) -> Result<Operation, Trouble> {
        let path = self.path(zone, &format!("operations/{name}"));
        let reply = self.read("zoneOperations.get", &path, &[]).await?;
        answer::read(&reply).inspect_err(|trouble| self.list.heed(trouble))
    }

    /// The operation when it is done, or after a while that the cloud chooses, at most `within`.
    pub(super) async fn wait(
        &self,
        zone: &str,
        name: &str,
        within: Duration,
    ) -> Result<Operation, Trouble> {
        let call = Call {
            name: "zoneOperations.wait",
            does: Does::Read,
            method: Method::POST,
            path: self.path(zone, &format!("operations/{name}/wait")),
            body: None,
            within,
        };
        let reply = self.ask(call).await?;
        answer::read(&reply).inspect_err(|trouble| self.list.heed(trouble))
    }

    /// Begins a change; `what` follows the zone in the path.
    pub(super) async fn write(
        &self,
        name: &'static str,
        (method, zone, what): (Method, &str, &str),
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Operation, Trouble> {
        let call = Call {
            name,
            does: Does::Write,
            method,
            path: with_query(&self.path(zone, what), query),
            body: body.map(|body| ("application/json", body.to_string().into_bytes())),
            within: WRITE_WITHIN,
        };
        let reply = self.ask(call).await?;
        answer::begun(&reply).inspect_err(|trouble| self.list.heed(trouble))
    }

    /// Who we are, when that is good for a token.
    pub(super) async fn who(&self) -> Result<String, Trouble> {
        self.tokens.who().await
    }

    /// Which of these permissions we have on an instance.
    pub(super) async fn granted(
        &self,
        zone: &str,
        name: &str,
        wanted: &[&str],
    ) -> Result<Vec<String>, Trouble> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Granted {
            permissions: Vec<String>,
        }
        let body = serde_json::json!({ "permissions": wanted });
        let call = Call {
            name: "instances.testIamPermissions",
            does: Does::Read,
            method: Method::POST,
            path: self.path(zone, &format!("instances/{name}/testIamPermissions")),
            body: Some(("application/json", body.to_string().into_bytes())),
            within: READ_WITHIN,
        };
        let granted: Granted = answer::read(&self.ask(call).await?)?;
        Ok(granted.permissions)
    }

    /// Why a machine image or an instance template can't be used now, when it can't.
    pub(super) async fn source(&self, path: &str) -> Result<Option<String>, Trouble> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Source {
            status: Option<String>,
        }
        let reply = self.read("clone_from", &format!("/{path}"), &[]).await?;
        let source: Source = answer::read(&reply)?;
        // Templates have no status.
        Ok(source.status.filter(|status| status != "READY"))
    }

    fn path(&self, zone: &str, what: &str) -> String {
        format!("/projects/{}/zones/{zone}/{what}", self.name)
    }

    async fn read(
        &self,
        name: &'static str,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Reply, Trouble> {
        let call = Call {
            name,
            does: Does::Read,
            method: Method::GET,
            path: with_query(path, query),
            body: None,
            within: READ_WITHIN,
        };
        self.ask(call).await
    }

    /// Asks with a token; once more with a new one when it was refused, which has changed nothing.
    async fn ask(&self, call: Call) -> Result<Reply, Trouble> {
        self.list.may_ask()?;
        let token = self.tokens.token().await?;
        let reply = self.caller.make(call.clone(), &token.headers).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        self.tokens.refused(&token);
        let token = self.tokens.token().await?;
        self.caller.make(call, &token.headers).await
    }
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let mut url = reqwest::Url::parse("query://query").expect("it is one");
    url.query_pairs_mut().extend_pairs(query);
    let query = url.query().unwrap_or_default().replace('+', "%20");
    format!("{path}?{query}")
}
