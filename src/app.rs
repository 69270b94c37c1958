//! The composition root: what is built from a configuration, in what order it starts and stops.
//!
//! Starting: the store, the services' tasks, the visitors' and the admin's listeners. Stopping: the listeners
//! drain, then the tasks end; machines stay as they are. Reloading: services that changed get a new task, the
//! others notice nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::added::Added;
use crate::config::{Config, Scale, Secret, Service};
use crate::driver::admission::Admission;
use crate::driver::clock::Clock;
use crate::driver::names::Clients;
use crate::engine::id::{InstanceId, ServiceName};
use crate::gate::Keeper;
use crate::http::admin::{self, Admin, Alerts, Signed};
use crate::http::{Limits, Room, listen, room};
use crate::provider::mark;
use crate::store::Store;
pub use build::{Servers, load_signal, redis_settings};
use live::{Live, Parts};
use surface::{Heard, Refusals};

mod bans;
mod build;
pub mod doctor;
mod live;
mod prometheus;
mod refused;
mod reload;
mod surface;
pub mod theme;
mod traefik;

/// A task that does not end by then is left behind; the next owner takes over where its record stands.
const TASK_END_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks for clients whose limits are whole again, to forget them.
const TIDY_EVERY: Duration = Duration::from_secs(10 * 60);

/// A running Anteroom.
pub struct App {
    /// What the file says.
    file: Config,
    /// What is in force: the file, with the services that were added.
    config: Config,
    added: Added,
    parts: Parts,
    services: BTreeMap<ServiceName, Live>,
    room: Arc<Room>,
    keeper: Keeper,
    clients: Clients,
    /// What the store says for all services.
    heard: watch::Receiver<Heard>,
    /// What is refused of it, for whoever wrote it.
    refused: watch::Sender<Refusals>,
    admin: Arc<Admin>,
    targets: prometheus::Targets,
    listeners: CancellationToken,
    /// Ends the publisher and the scraper: after the tasks that need them.
    helpers: CancellationToken,
    serving: Vec<JoinHandle<()>>,
}

impl App {
    /// Builds and starts everything.
    ///
    /// # Errors
    /// When the store can't be opened, a port can't be listened on, or a service can't be built. Nothing runs
    /// then.
    pub async fn start(config: Config) -> anyhow::Result<App> {
        let clock = Clock::system();
        let visitors = bind(config.server.listen, "server.listen")?;
        let admins = bind(config.admin.listen, "admin.listen")?;
        let store = build::store(&config).await?;
        store.keep(config.privacy.kept);
        let secret = build::secret(&*store).await?;
        let clients = Clients::new(secret, config.privacy);
        let listeners = CancellationToken::new();
        let helpers = CancellationToken::new();
        let traefik = traefik::start(&config, &secret, &helpers)?;
        let state_dir = build::state_dir(&config);
        let parts = Parts {
            store: Arc::clone(&store),
            clock,
            traefik,
            probes: crate::driver::probe::client()?,
            prometheus: build::Servers::default(),
            state_dir,
            listen: config.server.listen,
            secret,
            gates: live::Gates::default(),
        };
        let (file, texts) = (config, build::added(&*store).await);
        let (config, added) = reload::with_added(&file, &texts, &Added::default(), &parts);
        if let Some(traefik) = parts
            .traefik
            .as_ref()
            .filter(|_| !added.services.is_empty())
        {
            traefik.update(&config, &secret).await;
        }
        let mut services = BTreeMap::new();
        for service in config.services.values() {
            services.insert(service.name.clone(), Live::start(service, &parts)?);
        }
        let limits = Limits {
            drain: config.server.drain_timeout.into(),
            pages_per_client: config.limits.pages_per_client,
            ..Limits::default()
        };
        let admission = Arc::new(Admission::new(Arc::clone(&store), clients.clone()));
        tokio::spawn(keep_tidy(
            Arc::clone(&store),
            Arc::clone(&admission),
            clock,
            helpers.clone(),
        ));
        let keeper = Keeper::new(secret, u64::from_le_bytes(build::random()?));
        let (refused, refusals) = watch::channel(added.refused.clone());
        let heard = surface::watch(
            Arc::clone(&store),
            Arc::clone(&admission),
            clock,
            Heard {
                secret,
                services: texts,
                tries: 0,
            },
            refusals,
            helpers.clone(),
        );
        let room = Room::new(room::Setup {
            sites: live::sites(&services, &secret, &config).await,
            trusted_proxies: config.server.trusted_proxies.clone(),
            keeper: keeper.clone(),
            admission: Arc::clone(&admission),
            clock: Arc::new(move || clock.now()),
            seed: u64::from_le_bytes(build::random()?),
            limits,
        });
        let handles = live::handles(&services);
        let targets = prometheus::Targets::new(&config, &handles);
        targets.keep_file(&helpers);
        let admin = Arc::new(Admin {
            services: ArcSwap::from_pointee(handles),
            store,
            clients: clients.clone(),
            admission: Arc::clone(&admission),
            clock,
            token: ArcSwap::from_pointee(token(&config)),
            traefik: ArcSwap::from_pointee(parts.traefik.as_ref().map(traefik::Traefik::served)),
            targets: targets.served(),
            alerts: Alerts::new(signed(&config), scaled(&config)),
        });
        let serving = vec![
            tokio::spawn(listen::serve(
                visitors,
                Arc::clone(&room),
                listeners.clone(),
            )),
            tokio::spawn(admin::serve(admins, Arc::clone(&admin), listeners.clone())),
        ];
        let (visitors, admins) = (config.server.listen, config.admin.listen);
        tracing::info!(%visitors, %admins, services = services.len(), "listening");
        Ok(App {
            file,
            config,
            added,
            parts,
            services,
            room,
            keeper,
            clients,
            heard,
            refused,
            admin,
            targets,
            listeners,
            helpers,
            serving,
        })
    }

    /// Ends: no new visitors, running requests are let end, then the tasks end. Machines stay as they are.
    pub async fn stop(self) {
        self.listeners.cancel();
        for serving in self.serving {
            // A listener that panicked has ended too.
            let _ = serving.await;
        }
        for (_, live) in self.services {
            live.end(&self.parts, TASK_END_TIMEOUT).await;
        }
        self.helpers.cancel();
    }
}

impl App {
    /// For the demo. Like [`stop`](App::stop), and then asks every provider to stop its machine.
    pub async fn stop_with_machines(self) {
        let providers: Vec<_> = self
            .config
            .services
            .values()
            .map(|service| build::provider(service, &self.parts.state_dir))
            .collect();
        self.stop().await;
        for provider in providers.into_iter().flatten() {
            let token = mark::token(&["stop with machines", &build::owner()]);
            if let Err(trouble) = provider.stop(InstanceId::SEED, token).await {
                tracing::warn!(%trouble, "a machine could not be stopped");
            }
        }
    }
}

/// The Traefik configuration that goes with a configuration.
pub struct TraefikConfiguration {
    /// What Traefik is started with.
    pub fixed: String,
    /// The routing, every service awake at its port on 127.0.0.1.
    pub dynamic: String,
}

/// Renders the Traefik configuration for writing by hand. The key by which Traefik proves itself is left to the
/// published way.
///
/// # Errors
/// When there is no `[traefik]` section, or a name can't be written for Traefik.
pub fn traefik_configuration(config: &Config) -> anyhow::Result<TraefikConfiguration> {
    use crate::engine::contract::{Routing, Upstream};
    use crate::publish::traefik::print;
    let settings = traefik::settings(config, &[0; 32]);
    let settings = settings.context("there is no [traefik] section; docs/traefik.md shows one")?;
    let seed = |port| Upstream {
        instance: InstanceId::SEED,
        address: ([127, 0, 0, 1], port).into(),
    };
    let awake = config
        .services
        .values()
        .map(|s| (s.name.clone(), Routing::Awake(vec![seed(s.port)])));
    let dynamic = print::dynamic_config(&settings, &awake.collect()).map_err(anyhow::Error::msg)?;
    Ok(TraefikConfiguration {
        fixed: print::static_config(&settings),
        dynamic,
    })
}

async fn keep_tidy(
    store: Arc<dyn Store>,
    admission: Arc<Admission>,
    clock: Clock,
    end: CancellationToken,
) {
    let mut tick = tokio::time::interval(TIDY_EVERY);
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = tick.tick() => {}
        }
        admission.tidy(clock.now());
        // Where it fails there is always a next time, and whoever needs the store more says what is wrong with it.
        if let Ok(Err(error)) = tokio::time::timeout(TIDY_EVERY, store.tidy(clock.now())).await {
            tracing::debug!(%error, "the limits are not tidied");
        }
    }
}

fn bind(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    listen::bind(address).with_context(|| {
        format!("{key} = \"{address}\" can't be listened on; is another program there? Choose another port")
    })
}

fn token(config: &Config) -> Option<String> {
    config
        .admin
        .token
        .as_ref()
        .map(Secret::expose)
        .map(str::to_owned)
}

fn signed(config: &Config) -> Option<Signed> {
    let webhook = config.admin.webhook.as_ref()?;
    Some(Signed {
        secret: webhook.secret.expose().to_owned(),
        timestamp_header: webhook.timestamp_header.clone(),
    })
}

/// The services that may have more than one instance.
fn scaled(config: &Config) -> BTreeSet<ServiceName> {
    let services = config.services.values();
    let terms = |service: &Service| service.scale.as_ref().and_then(Scale::terms);
    let scaled = services.filter(|service| terms(service).is_some());
    scaled.map(|service| service.name.clone()).collect()
}
