//! From the checked configuration of a service's scaling to its signal of load: one line for each kind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use futures_util::future::BoxFuture;

use crate::config::signal::{Resources, Signal};
use crate::config::{PrometheusLogin, PrometheusServer, Service};
use crate::provider::Provider;
use crate::signal::load::node_exporter::{self, NodeExporter, Of};
use crate::signal::load::prometheus::{self, Login, Prometheus, Server};
use crate::signal::load::provider::OfProvider;
use crate::signal::load::{LoadSignal, Webhook};

/// The Prometheus servers that are asked, each once for all services. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    known: Arc<Mutex<Known>>,
}

/// By their addresses and logins.
type Known = BTreeMap<(String, Login), Arc<Server>>;

impl Servers {
    fn of(&self, server: &PrometheusServer) -> anyhow::Result<Arc<Server>> {
        let login = match &server.login {
            PrometheusLogin::None => Login::None,
            PrometheusLogin::Basic { username, password } => {
                Login::Basic(username.clone(), password.expose().to_owned())
            }
            PrometheusLogin::Bearer(token) => Login::Bearer(token.expose().to_owned()),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server.url.clone(), login);
        if let Some(server) = known.get(&key) {
            return Ok(Arc::clone(server));
        }
        // Those of an earlier configuration.
        known.retain(|_, server| Arc::strong_count(server) > 1);
        let made = Server::new(&key.0, &key.1).with_context(|| format!("asking {}", key.0))?;
        let made = Arc::new(made);
        known.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

/// What tells how busy the instances of a service are; none where it is not scaled.
///
/// # Errors
///
/// When a part can't be built.
pub fn load_signal(
    service: &Service,
    provider: &Arc<dyn Provider>,
    servers: &Servers,
) -> anyhow::Result<Option<Arc<dyn LoadSignal>>> {
    let Some((scale, signal)) = service
        .scale
        .as_ref()
        .and_then(|scale| Some((scale, scale.signal.as_ref()?)))
    else {
        return Ok(None);
    };
    let (name, interval) = (service.name.clone(), scale.rule.interval.into());
    Ok(Some(match signal {
        Signal::NodeExporter(asked) => Arc::new(NodeExporter::new(node_exporter::Settings {
            service: name,
            port: asked.port,
            path: asked.path.clone(),
            of: match asked.of {
                Resources::Cpu => Of::Cpu,
                Resources::Memory => Of::Memory,
                Resources::Both => Of::Both,
            },
            interval,
        })?),
        Signal::Prometheus(asked) => {
            let settings = prometheus::Settings {
                service: name,
                query: asked.query.clone(),
                at: asked.at.clone(),
                interval,
            };
            Arc::new(Prometheus::new(settings, servers.of(&asked.server)?))
        }
        Signal::Provider => {
            let provider = Arc::clone(provider);
            let ask = move |instance| {
                let provider = Arc::clone(&provider);
                let usage = async move { provider.usage(instance).await };
                Box::pin(usage) as BoxFuture<'static, _>
            };
            Arc::new(OfProvider::new(name, interval, Box::new(ask)))
        }
        Signal::Webhook => Arc::new(Webhook),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn each_kind_is_built_and_one_server_is_shared() {
        let text = include_str!("../../../tests/data/config/good/scale.toml");
        let env = |_: &str| Some("a-token".to_owned());
        let config = Config::parse(text, "a.toml", &env).unwrap();
        let servers = Servers::default();
        let folder = std::path::Path::new("/tmp");
        let build = |name: &str| {
            let service = &config.services[&name.parse().unwrap()];
            let provider = super::super::provider(service, folder).unwrap();
            load_signal(service, &provider, &servers).unwrap()
        };
        let kind = |name: &str| build(name).map(|signal| signal.kind());
        assert_eq!(kind("one"), None);
        assert_eq!(kind("blog"), Some("node-exporter"));
        assert_eq!(kind("shop"), Some("provider"));
        assert_eq!(kind("forum"), Some("webhook"));
        let (one, other) = (build("wiki"), build("wiki"));
        assert_eq!(one.map(|signal| signal.kind()), Some("prometheus"));
        assert_eq!(servers.known.lock().unwrap().len(), 1);
        assert!(!format!("{servers:?}").contains("a-token"));
        drop(other);
    }
}
