//! Prometheus' part of the house: which instances it is told of, and where they are measured.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Service, Signal};
use crate::driver::handle::Handle;
use crate::engine::id::ServiceName;
use crate::engine::view::Phase;
use crate::http::admin::TargetList;
use crate::publish::prometheus::{self, Listed, NODE_EXPORTER, Target};

/// At the start, so long is waited for all services to be known. Until then nothing is told, and Prometheus keeps what it has.
const START_WAIT: Duration = Duration::from_secs(10);

/// What is told to Prometheus. Cheap to clone.
#[derive(Clone)]
pub(super) struct Targets {
    state: Arc<ArcSwap<State>>,
    began: Instant,
}

struct State {
    job: String,
    file: Option<PathBuf>,
    services: Vec<Measured>,
}

/// A service, and where its instances are measured.
struct Measured {
    handle: Handle,
    port: u16,
    path: String,
}

impl State {
    fn of(config: &Config, handles: &BTreeMap<ServiceName, Handle>) -> State {
        let measured = |service: &Service| {
            let handle = handles.get(&service.name)?.clone();
            let signal = service.scale.as_ref().and_then(|it| it.signal.as_ref());
            let (port, path) = match signal {
                Some(Signal::NodeExporter(exporter)) => (exporter.port, exporter.path.clone()),
                _ => (NODE_EXPORTER, "/metrics".to_owned()),
            };
            Some(Measured { handle, port, path })
        };
        State {
            job: config.prometheus.job.clone(),
            file: config.prometheus.targets_file.clone(),
            services: config.services.values().filter_map(measured).collect(),
        }
    }

    fn targets(&self) -> Vec<Target> {
        let of = |measured: &Measured| {
            let target = |upstream: &crate::engine::contract::Upstream| Target {
                service: measured.handle.service().clone(),
                instance: upstream.instance,
                address: (upstream.address.ip(), measured.port).into(),
                path: measured.path.clone(),
            };
            measured
                .handle
                .with_view(|view| view.upstreams.iter().map(target).collect::<Vec<_>>())
        };
        self.services.iter().flat_map(of).collect()
    }

    fn is_known(&self) -> bool {
        let known = |it: &Measured| it.handle.with_view(|view| view.phase != Phase::Learning);
        self.services.iter().all(known)
    }
}

impl Targets {
    /// Tells of these services from now on.
    pub(super) fn new(config: &Config, handles: &BTreeMap<ServiceName, Handle>) -> Targets {
        Targets {
            state: Arc::new(ArcSwap::from_pointee(State::of(config, handles))),
            began: Instant::now(),
        }
    }

    /// The services are these now.
    pub(super) fn update(&self, config: &Config, handles: &BTreeMap<ServiceName, Handle>) {
        self.state.store(Arc::new(State::of(config, handles)));
    }

    /// Keeps the file, where there is one.
    pub(super) fn keep_file(&self, end: &CancellationToken) {
        let targets = self.clone();
        let list = Arc::new(move || Listed {
            file: targets.state.load().file.clone(),
            list: targets.list(),
        });
        tokio::spawn(prometheus::keep_file(list, end.clone()));
    }

    /// What the admin listener serves.
    pub(super) fn served(&self) -> TargetList {
        let targets = self.clone();
        Arc::new(move || targets.list())
    }

    fn list(&self) -> Option<Bytes> {
        let state = self.state.load();
        let known = self.began.elapsed() >= START_WAIT || state.is_known();
        known.then(|| prometheus::render(&state.job, &state.targets()))
    }
}
