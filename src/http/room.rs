//! The room: what every connection shares. It knows the sites, and asks their tasks through handles.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::challenge::Challenger;
use super::check;
use super::copies::Copies;
use super::forward;
use super::forward::link::Links;
use super::hold::HELD_KIB_MAX;
use super::plains::Plains;
use super::ramp::{Pace, Pacing};
use super::shield::Shield;
use super::stock::Stock;
use super::visit::Seen;
use super::wait::Shelf;
use crate::config::{Ingress, Service, WakeBy};
use crate::driver::admission::Admission;
use crate::driver::handle::Handle;
use crate::engine::admit::{self, Rate};
use crate::engine::client;
use crate::engine::id::ServiceName;
use crate::engine::ignore;
use crate::engine::route::{ByRequest, Rules};
use crate::engine::time::{Span, Time};
use crate::gate::Keeper;
use crate::page::theme::Theme;
use crate::signal::edge::Wait;

/// Tells the time. Tests pass their own.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Bounds of the visitors' listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a trusted proxy may take to send a request's head, or keep a connection idle. Traefik keeps
    /// idle connections for 90 s: a shorter time here would close them under its hands.
    pub head_wait_proxy: Duration,
    /// The same for strangers: a browser needs far less, and an attacker gets no more.
    pub head_wait_stranger: Duration,
    /// Connections at a time. Each costs a few tens of KiB at most, and Linux has 65,536 file numbers for us.
    pub connections_max: usize,
    /// Threads that serve visitors, one for each processor; with 0 they are served on the caller's runtime.
    pub workers: usize,
    /// How long running requests may take to end when the process stops.
    pub drain: Duration,
    /// The room's own answers to each client; none: as many as it asks for.
    pub pages_per_client: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_wait_proxy: Duration::from_secs(120),
            head_wait_stranger: Duration::from_secs(10),
            connections_max: 60_000,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            drain: Duration::from_secs(30),
            pages_per_client: None,
        }
    }
}

/// What a room is made of.
pub struct Setup {
    /// The sites at the start.
    pub sites: Sites,
    /// Whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Signs and checks the page's nonces.
    pub keeper: Keeper,
    /// Where wakes are asked for.
    pub admission: Arc<Admission>,
    /// Tells the time.
    pub clock: Clock,
    /// Seeds the spread of the event streams' lengths.
    pub seed: u64,
    /// The listener's bounds.
    pub limits: Limits,
}

/// What the visitors' connections share.
pub struct Room {
    sites: ArcSwap<Sites>,
    trusted: ArcSwap<Vec<IpNet>>,
    shield: ArcSwapOption<Shield>,
    clock: Clock,
    dice: AtomicU64,
    pub(super) keeper: Keeper,
    pub(super) admission: Arc<Admission>,
    pub(super) links: Links,
    pub(super) copies: Copies,
    /// What is prepared, of all shelves.
    pub(super) stock: Stock,
    pub(super) limits: Limits,
    /// How often each client may have a token checked.
    pub(super) checks: LazyLock<Shield>,
    /// Memory for held requests' bodies, in KiB.
    pub(super) held: Arc<Semaphore>,
    /// Upgraded connections: the server no longer knows them.
    pub(super) tunnels: TaskTracker,
    /// Event streams end when this is cancelled.
    pub(super) ending: CancellationToken,
    /// Tunnels are cut when this is cancelled.
    pub(super) cut: CancellationToken,
}

impl Room {
    /// A room.
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Room> {
        Arc::new(Room {
            sites: ArcSwap::from_pointee(setup.sites),
            trusted: ArcSwap::from_pointee(setup.trusted_proxies),
            shield: ArcSwapOption::from_pointee(setup.limits.pages_per_client.map(Shield::new)),
            clock: setup.clock,
            dice: AtomicU64::new(setup.seed),
            keeper: setup.keeper,
            admission: setup.admission,
            links: forward::links(),
            copies: Copies::default(),
            stock: Stock::default(),
            limits: setup.limits,
            checks: LazyLock::new(check::shield),
            held: Arc::new(Semaphore::new(HELD_KIB_MAX as usize)),
            tunnels: TaskTracker::new(),
            ending: CancellationToken::new(),
            cut: CancellationToken::new(),
        })
    }

    /// Replaces the sites; requests on their way keep the old ones, and a crowd that is being let in its order.
    pub fn set_sites(&self, mut sites: Sites) {
        sites.go_on_as(&self.sites.load(), self.now());
        self.sites.store(Arc::new(sites));
    }

    /// Replaces the trusted proxies.
    pub fn set_trusted_proxies(&self, networks: Vec<IpNet>) {
        self.trusted.store(Arc::new(networks));
    }

    /// Replaces the bound of the room's own answers to each client; all are met as new ones.
    pub fn set_pages_per_client(&self, rate: Option<Rate>) {
        self.shield.store(rate.map(Shield::new).map(Arc::new));
    }

    /// Counts one of the room's own answers to this client; the time to wait when it has had too many. A trusted
    /// proxy is nobody's own address: behind one that hides its clients, all would share one count.
    pub(super) fn holds_off(&self, client: IpAddr) -> Option<Duration> {
        let shield = self.shield.load();
        let shield = shield.as_ref()?;
        match client::trusts(&self.trusted(), client) {
            true => None,
            false => shield.holds_off(client),
        }
    }

    /// Requests of this host that wait their turn before a freshly ready app.
    #[must_use]
    pub fn in_line(&self, host: &str) -> usize {
        let sites = self.sites();
        let pace = sites.of_host(host).and_then(|found| found.pace.as_ref());
        pace.map_or(0, |pace| pace.waiting())
    }

    /// Whether this client has had too many tokens checked. Those behind a proxy that hides them are not told apart:
    /// for them there is the bound of all together.
    pub(super) fn checks_too_much(&self, client: IpAddr) -> bool {
        !client::trusts(&self.trusted(), client) && self.checks.holds_off(client).is_some()
    }

    pub(super) fn sites(&self) -> arc_swap::Guard<Arc<Sites>> {
        self.sites.load()
    }

    pub(super) fn trusted(&self) -> arc_swap::Guard<Arc<Vec<IpNet>>> {
        self.trusted.load()
    }

    pub(super) fn now(&self) -> Time {
        (self.clock)()
    }

    /// A number from `low` up to `high`, spread evenly, from the seed (SplitMix64).
    pub(super) fn roll(&self, low: u64, high: u64) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.dice.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        low + (z ^ (z >> 31)) % high.saturating_sub(low).max(1)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What a service is to its visitors.
#[derive(Debug)]
pub struct Site {
    /// The door to its task.
    pub handle: Handle,
    /// Its hostnames, lower case, without port; at least one. The first one names it.
    pub hosts: Vec<String>,
    /// What a visitor must do to wake it.
    pub wake_by: WakeBy,
    /// What must be solved to wake it; none: nothing.
    pub challenger: Option<Challenger>,
    /// How long a client that takes no HTML is kept waiting for the app; none: not at all.
    pub hold: Option<Span>,
    /// The largest body that is kept, in bytes.
    pub hold_body_max: usize,
    /// How fast visitors come to its app when it is freshly ready; none: all at once.
    pub ramp: Option<Pacing>,
    /// Who may wake it, and how often.
    pub admit: admit::Rules,
    /// Those who wait are counted, each client for so many at most; none: nobody asks how many they are.
    pub waits_per_client: Option<u32>,
    /// The paths of which copies are kept, each with one `*` at most.
    pub copies: Vec<String>,
    /// Who neither wakes it nor keeps it awake.
    pub ignore: Vec<ignore::Rule>,
    /// Paths that no honest visitor opens while it sleeps.
    pub traps: Vec<String>,
    /// How long the network of somebody who opened one wakes nothing.
    pub trap_ban: Span,
    /// Whose pages, by their origins, may read what the room answers in its place.
    pub origins: Vec<String>,
    /// Its own pages; none for the built-in ones.
    pub theme: Option<Arc<Theme>>,
    /// What Traefik says in `X-Anteroom-Key` to prove `X-Anteroom-Service`; none: found by host alone.
    pub key: Option<String>,
}

impl Site {
    /// The site of a configured service. `key` is what Traefik says in `X-Anteroom-Key` for it, `over_all` the
    /// limit of all services together, `theme` what was read from the folder that it names.
    #[must_use]
    pub fn of(
        service: &Service,
        handle: Handle,
        key: Option<String>,
        over_all: Option<Rate>,
        theme: Option<Arc<Theme>>,
    ) -> Site {
        let crowd = service.scale.as_ref().and_then(|scale| scale.rule.crowd);
        Site {
            handle,
            hosts: service.hosts.clone(),
            wake_by: service.wake.by,
            challenger: service.wake.challenge.clone().map(Challenger::new),
            hold: service.hold,
            hold_body_max: service.hold_body_max,
            ramp: service.ramp.map(|rate| Pacing {
                rate,
                sees_all: service.ingress == Ingress::Proxy,
            }),
            admit: admit::Rules {
                over_all,
                ..service.wake.rules.clone()
            },
            waits_per_client: crowd.map(|crowd| crowd.each),
            ignore: service.ignore.clone(),
            copies: service.copies.clone(),
            traps: service.traps.clone(),
            trap_ban: service.trap_ban,
            origins: service.origins.clone(),
            theme,
            key,
        }
    }

    /// Whether this client may wake the service.
    pub(super) fn may_wake(&self, client: IpAddr) -> bool {
        self.admit.lists(client).is_none()
    }

    /// Counts a client among those who wait, if it may wake the service and isn't a monitor.
    pub(super) fn waits(&self, seen: &Seen) -> Option<Wait> {
        let most = self.waits_per_client?;
        let counts = !seen.ignored() && self.may_wake(seen.hop.client);
        let client = client::household(seen.hop.client);
        counts.then(|| self.handle.edge().wait(client, most))
    }

    /// The rules for one request.
    pub(super) fn rules(&self, client: IpAddr, ignored: bool) -> Rules {
        Rules {
            by_request: match self.wake_by {
                WakeBy::Page => ByRequest::Held,
                WakeBy::Click | WakeBy::Challenge => ByRequest::Never,
                WakeBy::Request => ByRequest::Always,
            },
            hold: self.hold.is_some(),
            may_wake: self.may_wake(client),
            ignored,
        }
    }
}

/// A site under one of its hostnames, with what is prepared for it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) site: Arc<Site>,
    pub(super) host: Arc<str>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) plains: Arc<Plains>,
    pub(super) pace: Option<Arc<Pace>>,
}

/// All sites, by hostname and by name.
#[derive(Debug, Default)]
pub struct Sites {
    by_host: HashMap<Arc<str>, Found>,
    by_name: HashMap<ServiceName, Found>,
    /// What is prepared for hosts that no site has, and the theme of that.
    pub(super) nobodys: Arc<Plains>,
    pub(super) nobodys_theme: Option<Arc<Theme>>,
}

impl Sites {
    /// Puts the sites in order. A hostname that two of them claim goes to the first; the configuration is
    /// checked against that before.
    #[must_use]
    pub fn new(sites: Vec<Site>) -> Sites {
        let mut all = Sites::default();
        for site in sites.into_iter().map(Arc::new) {
            let events = Arc::default();
            let pace = site.ramp.map(Pace::new);
            for host in &site.hosts {
                let found = Found {
                    site: Arc::clone(&site),
                    host: host.to_ascii_lowercase().into(),
                    shelf: Arc::new(Shelf::new(site.handle.service(), Arc::clone(&events))),
                    plains: Arc::default(),
                    pace: pace.clone(),
                };
                all.by_name
                    .entry(site.handle.service().clone())
                    .or_insert_with(|| found.clone());
                all.by_host.entry(Arc::clone(&found.host)).or_insert(found);
            }
        }
        all
    }

    /// Whoever waits for the app of a site before waits on for it here.
    fn go_on_as(&mut self, before: &Sites, now: Time) {
        for found in self.by_host.values_mut().chain(self.by_name.values_mut()) {
            let same = before.by_name.get(found.site.handle.service());
            let pace = same.and_then(|same| same.pace.clone());
            if let (Some(pace), Some(pacing)) = (pace, found.site.ramp) {
                pace.set(now, pacing);
                found.pace = Some(pace);
            }
        }
    }

    /// The same, with a theme for hosts that none of them has.
    #[must_use]
    pub fn with_theme(self, nobodys_theme: Option<Arc<Theme>>) -> Sites {
        Sites {
            nobodys_theme,
            ..self
        }
    }

    /// Every site, once.
    pub(super) fn all(&self) -> Vec<Arc<Site>> {
        let found = self.by_name.values();
        found.map(|found| Arc::clone(&found.site)).collect()
    }

    /// The site of a host, which must be lower case and without port.
    pub(super) fn of_host(&self, host: &str) -> Option<&Found> {
        self.by_host.get(host)
    }

    /// The site that Traefik names, if the key proves that it is Traefik who names it.
    pub(super) fn of_name(&self, name: &str, key: &[u8], host: &str) -> Option<&Found> {
        let found = self.by_name.get(&name.parse::<ServiceName>().ok()?)?;
        let proven: bool = found.site.key.as_ref()?.as_bytes().ct_eq(key).into();
        let same_host = self
            .by_host
            .get(host)
            .filter(|other| Arc::ptr_eq(&other.site, &found.site));
        proven.then(|| same_host.unwrap_or(found))
    }
}
