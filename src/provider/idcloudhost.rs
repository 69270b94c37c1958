//! A virtual machine at IDCloudHost, or at another cloud that runs Warren (`base_url` says where).
//!
//! Facts that shape this file: writes answer when they are done, after seconds or minutes, and there is no task to
//! follow; no call is idempotent, so after a write that failed the machine is read before anybody tells of it; what is
//! missing is told with 400; and the machine's public address stands in another list. How answers become states and
//! troubles is in [`answer`], how clones are made and deleted in [`clones`].

mod answer;
mod checkup;
mod clones;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;

use super::cloud::account::Account;
use super::cloud::call::{Call, Caller, Does, Reply, form};
use super::mark::Mark;
use super::{Answer, BadSettings, Checkup, Provider, Said, bare};
use crate::engine::id::{CloneId, InstanceId, ServiceName, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, PublicAddress, Trouble};
use answer::{Address, Vm};

/// Where IDCloudHost itself is.
pub const BASE_URL: &str = "https://api.idcloudhost.com/v1";

/// A read. Seconds are usual.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// A write answers when it is done: a start was seen to take a minute.
const WRITE_WITHIN: Duration = Duration::from_secs(300);

/// What a whole call may take on top: the reads around a write.
const CALL_MARGIN: Duration = Duration::from_secs(65);

/// A list of this age is good enough for who did not write since. However many services an account has, it is read
/// no more often.
const LIST_AGE_MAX: Duration = Duration::from_secs(2);

const FORM: &str = "application/x-www-form-urlencoded";

/// Which machine, at which account, and how its app is reached.
#[derive(Clone)]
pub struct Settings {
    /// The service whose machine it is.
    pub service: ServiceName,
    /// The cloud's address, without a slash at its end.
    pub base_url: String,
    /// The location, as in the cloud's paths.
    pub location: String,
    /// The machine's own id.
    pub uuid: String,
    /// The account's token.
    pub apikey: String,
    /// The port the app listens on.
    pub port: u16,
    /// Under which address it is reached from here.
    pub address: AddressFrom,
    /// How long it may take to shut down by itself before it is switched off.
    pub stop_timeout: Duration,
    /// How long making a clone may take, and so how long one may still appear whose answer was lost.
    pub clone_timeout: Duration,
    /// The billing account, where the token is not bound to one.
    pub billing_account: Option<u64>,
    /// Certificates (PEM) that are believed beside those of the system.
    pub ca: Option<PathBuf>,
}

/// Under which address a machine is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFrom {
    /// The one in its private network.
    Private,
    /// The public one that is assigned to it.
    Public,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("base_url", &self.base_url)
            .field("location", &self.location)
            .field("uuid", &self.uuid)
            .finish_non_exhaustive()
    }
}

/// The provider of `kind = "idcloudhost"`.
pub struct IdCloudHost {
    settings: Settings,
    mark: Mark,
    cloud: Arc<Cloud>,
    /// When this provider last wrote: lists from before say nothing.
    wrote: Mutex<Option<Instant>>,
}

/// One account at one location, shared by all its machines.
struct Cloud {
    caller: Caller,
    location: String,
    billing_account: Option<u64>,
    headers: HeaderMap,
    vms: Account<Vec<Vm>>,
    addresses: Account<Vec<Address>>,
}

/// Base address, location, token, billing account, file of certificates.
type CloudKey = (String, String, String, Option<u64>, Option<PathBuf>);

/// The accounts in use.
static CLOUDS: Mutex<BTreeMap<CloudKey, Weak<Cloud>>> = Mutex::new(BTreeMap::new());

impl IdCloudHost {
    /// A provider for this machine. Asks nothing.
    ///
    /// # Errors
    /// When the location or the id would change the path that is asked, the token can't be a header, or the file of
    /// certificates can't be read.
    pub fn new(settings: Settings) -> Result<IdCloudHost, BadSettings> {
        let plain = |text: &str| {
            let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
            !text.is_empty() && text.len() <= 64 && text.bytes().all(inner)
        };
        for (key, text) in [("location", &settings.location), ("uuid", &settings.uuid)] {
            if !plain(text) {
                let rule = "1 to 64 letters, digits and `-`";
                return Err(BadSettings(format!("`{key}` {text:?} is not {rule}")));
            }
        }
        let seed = format!("{} {}", settings.location, settings.uuid);
        Ok(IdCloudHost {
            mark: Mark::new(&settings.service, "idcloudhost", &seed),
            cloud: Cloud::of(&settings)?,
            settings,
            wrote: Mutex::new(None),
        })
    }

    /// The machine as it is, or was in a list that is young enough and not from before our last write.
    async fn look(&self) -> Result<Machine, Trouble> {
        let vms = self.vms().await?;
        let listed = vms.iter().find(|vm| vm.uuid == self.settings.uuid);
        let vm = match listed {
            Some(vm) => Some(vm.clone()),
            // A list and the machine's own page may disagree for a moment.
            None => self.cloud.vm(&self.settings.uuid).await?,
        };
        match vm {
            Some(vm) => self.machine(&vm).await,
            None => Ok(bare(MachineState::Missing)),
        }
    }

    /// The account's machines, in a list that is young enough and not from before our last write.
    async fn vms(&self) -> Result<Arc<Vec<Vm>>, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let wrote = *self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        let since = young.max(wrote).unwrap_or_else(Instant::now);
        self.cloud.vms(since).await
    }

    /// The machine as its own page has it.
    async fn look_closely(&self, uuid: &str) -> Result<Machine, Trouble> {
        match self.cloud.vm(uuid).await? {
            Some(vm) => self.machine(&vm).await,
            None => Ok(bare(MachineState::Missing)),
        }
    }

    async fn machine(&self, vm: &Vm) -> Result<Machine, Trouble> {
        let state = vm.state();
        let up = matches!(state, MachineState::Running | MachineState::Starting);
        let ip = match self.settings.address {
            _ if !up => None,
            AddressFrom::Private => vm.private_ip(),
            AddressFrom::Public => self.public_ip(vm).await?,
        };
        let address = ip.map(|ip| SocketAddr::new(ip, self.settings.port));
        Ok(Machine { state, address })
    }

    /// The assigned public address; the machine's own page does not always have it.
    async fn public_ip(&self, vm: &Vm) -> Result<Option<IpAddr>, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let addresses = self
            .cloud
            .addresses(young.unwrap_or_else(Instant::now))
            .await?;
        let assigned = addresses.iter().find_map(|address| address.of(&vm.uuid));
        Ok(assigned.or_else(|| vm.public_ip()))
    }

    async fn wake(&self, uuid: &str) -> Result<Machine, Trouble> {
        let before = self.look_closely(uuid).await?;
        match before.state {
            MachineState::Missing => return Err(self.missing(uuid)),
            MachineState::Running => return Ok(before),
            _ => {}
        }
        let started = self.write("vm/start", uuid, &[]).await;
        self.settled(started, uuid, MachineState::Running).await
    }

    /// By the machine's own shutdown; by the switch, when that takes too long or is refused.
    async fn put_to_sleep(&self, uuid: &str) -> Result<Machine, Trouble> {
        let before = self.look_closely(uuid).await?;
        match before.state {
            MachineState::Missing => return Err(self.missing(uuid)),
            MachineState::Stopped => return Ok(before),
            _ => {}
        }
        let asked = self.write_within("vm/stop", uuid, &[], self.settings.stop_timeout);
        let asked = self.settled(asked.await, uuid, MachineState::Stopped).await;
        let by_itself = match &asked {
            Ok(machine) => machine.state == MachineState::Stopped,
            Err(trouble) => !matches!(
                trouble.class,
                ErrorClass::Ambiguous | ErrorClass::InvalidState | ErrorClass::BadRequest
            ),
        };
        if by_itself {
            return asked;
        }
        let forced = self.write("vm/stop", uuid, &[("force", "true")]).await;
        self.settled(forced, uuid, MachineState::Stopped).await
    }

    async fn write(
        &self,
        what: &'static str,
        uuid: &str,
        more: &[(&str, &str)],
    ) -> Result<Vm, Trouble> {
        self.write_within(what, uuid, more, WRITE_WITHIN).await
    }

    async fn write_within(
        &self,
        what: &'static str,
        uuid: &str,
        more: &[(&str, &str)],
        within: Duration,
    ) -> Result<Vm, Trouble> {
        let mut fields = vec![("uuid", uuid)];
        fields.extend_from_slice(more);
        let path = format!("/user-resource/{what}");
        let body = Some((FORM, form(&fields)));
        let made = self.change(what, Method::POST, &path, body, within).await;
        let vm = made.and_then(|reply| answer::vm(&reply, Does::Write, uuid));
        vm.and_then(|vm| vm.ok_or_else(|| self.missing(uuid)))
            .inspect_err(|trouble| self.cloud.vms.heed(trouble))
    }

    /// A call that changes something. Whatever came of it, lists from before say nothing.
    async fn change(
        &self,
        name: &'static str,
        method: Method,
        page: &str,
        body: Option<(&'static str, Vec<u8>)>,
        within: Duration,
    ) -> Result<Reply, Trouble> {
        self.cloud.vms.may_ask()?;
        let call = Call {
            name,
            does: Does::Write,
            method,
            path: format!("/{}{page}", self.cloud.location),
            body,
            within,
        };
        let made = self.cloud.caller.make(call, &self.cloud.headers).await;
        // Also when the answer was lost: it may have been done.
        *self.wrote.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        made
    }

    /// What came of a write. Whether a machine that is as it was asked to be already makes a success of the call is
    /// not written anywhere, so where it was refused the machine is looked at.
    async fn settled(
        &self,
        written: Result<Vm, Trouble>,
        uuid: &str,
        wanted: MachineState,
    ) -> Result<Machine, Trouble> {
        match written {
            Ok(vm) => self.machine(&vm).await,
            Err(trouble) => match trouble.class {
                ErrorClass::BadRequest
                | ErrorClass::InvalidState
                | ErrorClass::Busy
                | ErrorClass::Ambiguous => match self.look_closely(uuid).await {
                    Ok(machine) if machine.state == wanted => Ok(machine),
                    _ => Err(trouble),
                },
                _ => Err(trouble),
            },
        }
    }

    fn missing(&self, uuid: &str) -> Trouble {
        let location = &self.settings.location;
        let detail = format!("there is no machine {uuid} at {location}");
        Trouble::new(ErrorClass::NotFound, detail)
    }
}

impl Cloud {
    /// The account of these settings, the same for all services that name it.
    fn of(settings: &Settings) -> Result<Arc<Cloud>, BadSettings> {
        let key = (
            settings.base_url.clone(),
            settings.location.clone(),
            settings.apikey.clone(),
            settings.billing_account,
            settings.ca.clone(),
        );
        let mut clouds = CLOUDS.lock().unwrap_or_else(PoisonError::into_inner);
        clouds.retain(|_, cloud| cloud.strong_count() > 0);
        if let Some(cloud) = clouds.get(&key).and_then(Weak::upgrade) {
            return Ok(cloud);
        }
        let apikey = HeaderValue::from_str(&settings.apikey);
        let mut apikey = apikey
            .map_err(|_| BadSettings("`apikey` holds what no header can: a line break?".into()))?;
        apikey.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("apikey", apikey);
        let cloud = Arc::new(Cloud {
            caller: Caller::new("idcloudhost", &settings.base_url, settings.ca.as_deref())?,
            location: settings.location.clone(),
            billing_account: settings.billing_account,
            headers,
            vms: Account::new(),
            addresses: Account::new(),
        });
        clouds.insert(key, Arc::downgrade(&cloud));
        Ok(cloud)
    }

    async fn vms(self: &Arc<Self>, since: Instant) -> Result<Arc<Vec<Vm>>, Trouble> {
        let cloud = Arc::clone(self);
        let read = move || {
            async move {
                let reply = cloud.read("vm/list", "/user-resource/vm/list").await?;
                answer::list(&reply)
            }
            .boxed()
        };
        self.vms.list(since, read).await
    }

    async fn addresses(self: &Arc<Self>, since: Instant) -> Result<Arc<Vec<Address>>, Trouble> {
        self.vms.may_ask()?;
        let cloud = Arc::clone(self);
        let read = move || {
            async move {
                let page = match cloud.billing_account {
                    Some(account) => {
                        format!("/network/ip_addresses?billing_account_id={account}")
                    }
                    None => "/network/ip_addresses".to_owned(),
                };
                let reply = cloud.read("ip_addresses", &page).await?;
                answer::list(&reply)
            }
            .boxed()
        };
        let listed = self.addresses.list(since, read).await;
        listed.inspect_err(|trouble| self.vms.heed(trouble))
    }

    /// One machine by its own page; none when there is none.
    async fn vm(&self, uuid: &str) -> Result<Option<Vm>, Trouble> {
        self.vms.may_ask()?;
        let page = format!("/user-resource/vm?uuid={uuid}");
        let vm = match self.read("vm", &page).await {
            Ok(reply) => answer::vm(&reply, Does::Read, uuid),
            Err(trouble) => Err(trouble),
        };
        vm.inspect_err(|trouble| self.vms.heed(trouble))
    }

    async fn read(&self, name: &'static str, page: &str) -> Result<Reply, Trouble> {
        let call = Call {
            name,
            does: Does::Read,
            method: Method::GET,
            path: format!("/{}{page}", self.location),
            body: None,
            within: READ_WITHIN,
        };
        self.caller.make(call, &self.headers).await
    }
}

impl Provider for IdCloudHost {
    fn kind(&self) -> &'static str {
        "idcloudhost"
    }

    fn call_timeout(&self) -> Duration {
        self.settings.stop_timeout + WRITE_WITHIN + CALL_MARGIN
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        match instance {
            InstanceId::Seed => Box::pin(self.look()),
            InstanceId::Clone(clone) => Box::pin(self.look_at_clone(clone)),
        }
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(async move {
            let uuid = self.uuid(instance).await?;
            self.wake(&uuid).await
        })
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        Box::pin(async move {
            let uuid = self.uuid(instance).await?;
            self.put_to_sleep(&uuid).await
        })
    }

    fn can_clone(&self) -> bool {
        true
    }

    fn find(&self) -> Said<'_, Vec<Owned>> {
        Box::pin(self.find_clones())
    }

    fn make_clone(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.make(clone))
    }

    /// The call lasts as long as the copy, and nothing but its name tells of it.
    fn clone_settles(&self) -> Duration {
        self.settings.clone_timeout
    }

    fn addresses(&self, clone: CloneId) -> Said<'_, Vec<PublicAddress>> {
        Box::pin(self.addresses_of(clone))
    }

    fn strips(&self) -> bool {
        self.settings.address == AddressFrom::Private
    }

    fn release<'a>(&'a self, clone: CloneId, addresses: &'a [PublicAddress]) -> Said<'a, ()> {
        Box::pin(self.give_back(clone, addresses))
    }

    fn delete(&self, clone: CloneId) -> Answer<'_> {
        Box::pin(self.remove(clone))
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(self.examine())
    }
}
