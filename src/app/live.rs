//! A service that runs: its task, the doors to it, and the token that ends it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::build;
use super::theme::Themes;
use super::traefik::Traefik;
use crate::config::{Config, Ingress, Service};
use crate::driver::clock::Clock;
use crate::driver::handle::Handle;
use crate::driver::task::{self, Running, Setup};
use crate::driver::way::{RoomOnly, Way};
use crate::engine::id::{CloneId, ServiceName};
use crate::engine::view::{Phase, View};
use crate::http::{Site, Sites};
use crate::signal::edge::Edge;
use crate::store::Store;

/// What all services share.
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) traefik: Option<Traefik>,
    pub(super) probes: reqwest::Client,
    pub(super) prometheus: build::Servers,
    pub(super) state_dir: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) secret: [u8; 32],
    pub(super) gates: Gates,
}

/// The gates of services for as long as anybody is inside or may come in: a service that is changed, or taken out and put back,
/// gets a new task, and that must know of those who came in before.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<BTreeMap<ServiceName, Weak<Edge>>>);

impl Gates {
    fn of(&self, service: &ServiceName) -> Arc<Edge> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| gate.strong_count() > 0);
        if let Some(gate) = gates.get(service).and_then(Weak::upgrade) {
            return gate;
        }
        let gate = Edge::new();
        gates.insert(service.clone(), Arc::downgrade(&gate));
        gate
    }
}

pub(super) struct Live {
    config: Service,
    running: Running,
    end: CancellationToken,
}

impl Live {
    /// Whether the service can be built; starts nothing.
    pub(super) fn check(service: &Service, parts: &Parts) -> anyhow::Result<()> {
        let provider = build::provider(service, &parts.state_dir)?;
        build::load_signal(service, &provider, &parts.prometheus)?;
        Ok(())
    }

    pub(super) fn start(service: &Service, parts: &Parts) -> anyhow::Result<Live> {
        let provider = build::provider(service, &parts.state_dir)?;
        let prober = build::prober(service, parts.probes.clone());
        let way: Arc<dyn Way> = match (&parts.traefik, service.ingress) {
            (Some(traefik), Ingress::Failover) => traefik.way(service),
            _ => Arc::new(RoomOnly),
        };
        let end = CancellationToken::new();
        let setup = Setup {
            name: service.name.clone(),
            policy: build::policy(service, provider.as_ref()),
            load: build::load_signal(service, &provider, &parts.prometheus)?,
            provider,
            store: Arc::clone(&parts.store),
            way,
            prober,
            clock: parts.clock,
            owner: build::owner(),
            place: build::place(parts.listen),
            shutdown: end.clone(),
        };
        let running = task::spawn_at(setup, parts.gates.of(&service.name));
        if let (Some(traefik), Ingress::Failover) = (&parts.traefik, service.ingress) {
            traefik.listen(service, running.samples.clone());
        }
        Ok(Live {
            config: service.clone(),
            running,
            end,
        })
    }

    /// What the service is doing.
    pub(super) fn phase(&self) -> Phase {
        self.running.handle.with_view(|view| view.phase)
    }

    /// Its clones that are not gone.
    pub(super) fn clones(&self) -> Vec<CloneId> {
        let clones = |view: &View| view.clones.iter().map(|it| it.clone).collect();
        self.running.handle.with_view(clones)
    }

    /// The service goes on with these settings. Its clones may be where they do not lead.
    pub(super) fn tell_of_a_move(&self, to: &Service) {
        let clones = self.clones();
        if self.config.provider == to.provider || clones.is_empty() {
            return;
        }
        let names: Vec<_> = clones.iter().map(ToString::to_string).collect();
        let (service, clones) = (&to.name, names.join(", "));
        tracing::warn!(
            %service, clones,
            "its provider's settings are changed while clones run: those that are not where the new ones look run on, and must be \
             deleted there"
        );
    }

    /// Ends the task; the machine stays as it is.
    pub(super) async fn end(self, parts: &Parts, within: Duration) {
        self.end.cancel();
        if let Some(traefik) = &parts.traefik {
            traefik.forget(&self.config);
        }
        let _ = tokio::time::timeout(within, self.running.task).await;
    }
}

pub(super) fn handles(services: &BTreeMap<ServiceName, Live>) -> BTreeMap<ServiceName, Handle> {
    services
        .iter()
        .map(|(name, live)| (name.clone(), live.running.handle.clone()))
        .collect()
}

/// The sites of these services, with the pages that `config` names.
pub(super) async fn sites(
    services: &BTreeMap<ServiceName, Live>,
    secret: &[u8; 32],
    config: &Config,
) -> Sites {
    let themes = Themes::of(config).await;
    let over_all = config.limits.over_all;
    let site = |live: &Live| {
        let key = build::traefik_key(secret, &live.config.name);
        Site::of(
            &live.config,
            live.running.handle.clone(),
            Some(key),
            over_all,
            themes.get(live.config.theme.as_ref()),
        )
    };
    let nobodys = themes.get(config.server.theme.as_ref());
    Sites::new(services.values().map(site).collect()).with_theme(nobodys)
}
