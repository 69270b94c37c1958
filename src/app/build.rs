//! From checked configuration to parts: one line for each kind of store and provider.

mod load;
mod provider;

pub use load::{Servers, load_signal};
pub(super) use provider::provider;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::{Config, Ingress, RedisUrl, Scale, Secret, Service, StoreUrl};
use crate::driver::probe::{ProbeSettings, Prober};
use crate::engine::contract::Source;
use crate::engine::id::ServiceName;
use crate::engine::policy::{CloneTerms, Policy};
use crate::engine::record::Base;
use crate::engine::time::Span;
use crate::provider::Provider;
use crate::store::Store;
use crate::store::file::FileStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::{self, RedisStore};

/// The engine waits for an answer so much longer than the driver lets a call last: an answer of the driver
/// always comes first.
const CALL_MARGIN: Span = Span::secs(10);

/// So long is waited for a Redis when we start. Visitors wait as well meanwhile, so it is not long.
const REDIS_WITHIN: Duration = Duration::from_secs(1);

/// Opens the store. A file that can't be used is a fault of the configuration; a Redis that is away is one of the things
/// that happen, and visitors are served without it.
pub(super) async fn store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &config.store.url {
        StoreUrl::Memory => Arc::new(MemoryStore::new()),
        StoreUrl::File(path) => Arc::new(
            FileStore::open(path).with_context(|| format!("the store {}", path.display()))?,
        ),
        StoreUrl::Redis(url) => {
            let store = RedisStore::open(redis_settings(url, &config.store.prefix))?;
            if let Err(error) = store.ready(REDIS_WITHIN).await {
                tracing::error!(%error, "starting without the store: pages are served, and services are known when it is there");
            }
            Arc::new(store)
        }
    })
}

/// The secret of the store; of a shared one that does not give it, a secret of this room's own until it does.
pub(super) async fn secret(store: &dyn Store) -> anyhow::Result<[u8; 32]> {
    let own = random()?;
    match store.secret(own).await {
        Ok(kept) => Ok(kept),
        Err(error) if store.surface().is_some() => {
            tracing::warn!(%error, "this room has a secret of its own until the store gives its");
            Ok(own)
        }
        Err(error) => Err(error).context("the store's secret"),
    }
}

/// The services that were added in the store, as it says them now; none where it can't be read, until it can.
pub(super) async fn added(store: &dyn Store) -> BTreeMap<String, String> {
    let Some(surface) = store.surface() else {
        return BTreeMap::new();
    };
    let read = surface.services("").await.ok();
    read.and_then(|read| read.texts).unwrap_or_default()
}

/// How the store `redis` reaches what a URL names; all its keys begin with `prefix`.
#[must_use]
pub fn redis_settings(url: &RedisUrl, prefix: &str) -> redis::Settings {
    use crate::config::redis::{RedisForm, RedisLogin};
    let login = |login: &RedisLogin| redis::Login {
        user: login.user.clone(),
        password: login
            .password
            .as_ref()
            .map(Secret::expose)
            .map(str::to_owned),
    };
    redis::Settings {
        form: match &url.form {
            RedisForm::Single => redis::Form::Single,
            RedisForm::Sentinel { master } => redis::Form::Sentinel {
                master: master.clone(),
            },
            RedisForm::Cluster => redis::Form::Cluster,
        },
        nodes: url.nodes.clone(),
        login: login(&url.login),
        sentinel_login: login(&url.sentinel_login),
        database: url.database,
        tls: url.tls.as_ref().map(|tls| redis::Tls {
            ca: tls.ca.clone(),
            own: tls.own.clone(),
        }),
        prefix: prefix.to_owned(),
        call_timeout: redis::CALL_TIMEOUT,
    }
}

/// Where providers keep what must outlive the process: beside the store's file, else in a folder of the user's.
pub(super) fn state_dir(config: &Config) -> PathBuf {
    match &config.store.url {
        StoreUrl::File(path) => path.with_extension("run"),
        StoreUrl::Memory | StoreUrl::Redis(_) => {
            let base =
                std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
            base.join(format!("anteroom-{}", rustix::process::getuid().as_raw()))
        }
    }
}

pub(super) fn prober(service: &Service, client: reqwest::Client) -> Prober {
    let settings = ProbeSettings {
        path: service.health.path.clone(),
        host: health_host(service),
        status: service.health.status.clone(),
        timeout: service.health.timeout.into(),
    };
    Prober::new(client, settings)
}

pub(super) fn health_host(service: &Service) -> String {
    let named = service.health.host.as_ref().or(service.hosts.first());
    named.cloned().unwrap_or_default()
}

pub(super) fn policy(service: &Service, provider: &dyn Provider) -> Policy {
    let through_traefik = service.ingress == Ingress::Failover;
    Policy {
        idle_timeout: service.idle_timeout,
        min_awake: service.min_awake,
        start_timeout: service.start_timeout,
        drain_timeout: service.drain_timeout,
        drain_whole: through_traefik,
        probe_interval: service.health.interval,
        call_timeout: Span::from(provider.call_timeout()) + CALL_MARGIN,
        billing_increment: service
            .cost
            .as_ref()
            .and_then(|cost| cost.billing_increment),
        sources: if through_traefik {
            vec![Source::Edge, Source::Traefik]
        } else {
            vec![Source::Edge]
        },
        sleep: provider.sleep(),
        // Where nothing is scaled none is wanted: what is there of an earlier configuration is removed.
        clones: provider.can_clone().then(|| CloneTerms {
            wanted: 0,
            most: service.scale.as_ref().map_or(0, Scale::clones_max),
            per_hour: service
                .scale
                .as_ref()
                .map_or(0, |scale| scale.creations_per_hour),
            settles: provider.clone_settles().into(),
            repeats: provider.make_clone_repeats(),
            strips: provider.strips(),
        }),
        base: service
            .scale
            .as_ref()
            .map_or(Base::Seed, |scale| scale.base),
        scale: service.scale.as_ref().and_then(Scale::terms),
        seed: seed(service.name.as_str()) ^ seed(&owner()),
        ..Policy::default()
    }
}

/// By what name people know this process.
pub(super) fn owner() -> String {
    format!("{} pid {}", host(), std::process::id())
}

/// Where this process is: no other is there while it runs.
pub(super) fn place(listen: SocketAddr) -> String {
    format!("{} {listen}", host())
}

fn host() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// Services that fail together must not come back together, and rooms must not choose alike.
fn seed(name: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv)
}

/// By this key Traefik proves that it is Traefik who names the service.
pub(super) fn traefik_key(secret: &[u8; 32], service: &ServiceName) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(b"traefik key of ");
    mac.update(service.as_str().as_bytes());
    mac.finalize()
        .into_bytes()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(super) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(bytes)
}
