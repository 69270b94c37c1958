//! Traefik's part of the house: one publisher and one signal for all services behind it.

use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::build;
use crate::config::{self, Config, Ingress, Publish, Service};
use crate::driver::way::{ThroughTraefik, Way};
use crate::http::admin::TraefikConfig;
use crate::publish::traefik::form::{self, ServiceSettings};
use crate::publish::traefik::{self as publisher, Kind, Publisher, Settings};
use crate::signal::samples::Samples;
use crate::signal::traefik::{TraefikSignal, Watched};

pub(super) struct Traefik {
    publisher: Publisher,
    signal: TraefikSignal,
    http: reqwest::Client,
    public_url: Option<String>,
    published: bool,
}

/// What the publisher needs of a configuration, if it has a Traefik.
pub(super) fn settings(config: &Config, secret: &[u8; 32]) -> Option<Settings> {
    let traefik = config.traefik.as_ref()?;
    Some(Settings {
        kind: kind(traefik),
        room_url: traefik.room_url.clone(),
        api: traefik.api.clone(),
        entrypoints: traefik.entrypoints.clone(),
        services: services(config, secret),
    })
}

fn kind(traefik: &config::Traefik) -> Kind {
    match &traefik.publish {
        Publish::File { path } => Kind::File(path.clone()),
        Publish::Http => Kind::Http,
        Publish::None => Kind::Nothing,
    }
}

fn services(config: &Config, secret: &[u8; 32]) -> Vec<ServiceSettings> {
    let behind = config
        .services
        .values()
        .filter(|service| service.ingress == Ingress::Failover);
    behind.map(|service| settings_of(service, secret)).collect()
}

fn settings_of(service: &Service, secret: &[u8; 32]) -> ServiceSettings {
    let single = match service.health.status.as_slice() {
        [range] if range.start() == range.end() => Some(*range.start()),
        _ => None,
    };
    ServiceSettings {
        name: service.name.clone(),
        hosts: service.hosts.clone(),
        health_path: service.health.path.clone(),
        health_host: build::health_host(service),
        health_status: single,
        app_errors: service.app_errors.clone(),
        key: build::traefik_key(secret, &service.name),
    }
}

pub(super) fn start(
    config: &Config,
    secret: &[u8; 32],
    end: &CancellationToken,
) -> anyhow::Result<Option<Traefik>> {
    let (Some(traefik), Some(settings)) = (&config.traefik, settings(config, secret)) else {
        return Ok(None);
    };
    let api = traefik.api.as_deref().unwrap_or_default();
    Ok(Some(Traefik {
        publisher: publisher::spawn(settings, end.clone())
            .context("the client for Traefik's API")?,
        signal: TraefikSignal::spawn(api, end.clone())
            .context("the client for Traefik's metrics")?,
        http: crate::telemetry::http_client()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?,
        public_url: traefik.public_url.clone(),
        published: traefik.publish != Publish::None,
    }))
}

impl Traefik {
    pub(super) fn way(&self, service: &Service) -> Arc<dyn Way> {
        Arc::new(ThroughTraefik {
            service: service.name.clone(),
            publisher: self.publisher.clone(),
            signal: self.signal.clone(),
            http: self.http.clone(),
            public_url: self.public_url.clone(),
            published: self.published,
            host: service.hosts.first().cloned().unwrap_or_default(),
        })
    }

    /// The service's task hears of its traffic from now on.
    pub(super) fn listen(&self, service: &Service, samples: Samples) {
        let name = form::main_name(&service.name);
        let watched = Watched {
            router: name.clone(),
            service: name,
        };
        self.signal.listen(service.name.clone(), watched, samples);
    }

    pub(super) fn forget(&self, service: &Service) {
        self.signal.forget(&service.name);
    }

    pub(super) async fn update(&self, config: &Config, secret: &[u8; 32]) {
        self.publisher.set_services(services(config, secret)).await;
    }

    /// What the admin listener serves to Traefik's HTTP provider.
    pub(super) fn served(&self) -> TraefikConfig {
        let publisher = self.publisher.clone();
        Arc::new(move || publisher.served())
    }
}
