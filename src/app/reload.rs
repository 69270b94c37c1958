//! What changes while it runs: the file is read again, and the store says something new for all services. Services that
//! changed get a new task, the others notice nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::live::{self, Live, Parts};
use super::theme;
use super::{App, TASK_END_TIMEOUT, scaled, signed, token};
use crate::config::Config;
use crate::config::added::Added;
use crate::engine::id::ServiceName;

/// The file with the services that were added beside it. `before` is what was added until now.
pub(super) fn with_added(
    file: &Config,
    texts: &BTreeMap<String, String>,
    before: &Added,
    parts: &Parts,
) -> (Config, Added) {
    let env = |name: &str| std::env::var(name).ok();
    let check = |service: &_| Live::check(service, parts).map_err(|error| format!("{error:#}"));
    let added = file.add(texts, &before.services, &env, &check);
    let mut config = file.clone();
    for (service, _) in added.services.values() {
        config
            .services
            .insert(service.name.clone(), service.clone());
    }
    (config, added)
}

impl App {
    /// Puts a new configuration in force. What can't be changed without a restart is named in the log and left.
    pub async fn reload(&mut self, mut file: Config) {
        let ours = &self.file;
        let fixed = [
            ("server.listen", ours.server.listen != file.server.listen),
            ("admin.listen", ours.admin.listen != file.admin.listen),
            ("store", ours.store != file.store),
            ("traefik", ours.traefik != file.traefik),
        ];
        for (key, _) in fixed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!(key, "this takes a restart; the old value stays in force");
        }
        file.server.listen = ours.server.listen;
        file.admin.listen = ours.admin.listen;
        file.store.clone_from(&ours.store);
        file.traefik.clone_from(&ours.traefik);
        let themed = !theme::folders(&self.config).is_empty();
        if let Err(error) = self.put_in_force(&file).await {
            return tracing::error!("nothing is changed: {error:#}");
        }
        // The files of a theme may have changed though the configuration has not.
        if themed || !theme::folders(&self.config).is_empty() {
            self.set_sites(&self.config).await;
        }
        self.room
            .set_trusted_proxies(file.server.trusted_proxies.clone());
        if self.file.limits.pages_per_client != file.limits.pages_per_client {
            self.room.set_pages_per_client(file.limits.pages_per_client);
        }
        self.clients.set_privacy(file.privacy);
        self.parts.store.keep(file.privacy.kept);
        self.admin.token.store(Arc::new(token(&file)));
        self.admin.alerts.signed.store(signed(&file).map(Arc::new));
        tracing::info!(
            services = self.services.len(),
            "the configuration is reloaded"
        );
        self.file = file;
    }

    /// Lays the added services beside those of this file, and takes both up.
    async fn put_in_force(&mut self, file: &Config) -> anyhow::Result<()> {
        let texts = self.heard.borrow().services.clone();
        let (config, added) = with_added(file, &texts, &self.added, &self.parts);
        if config.services != self.config.services || config.limits != self.config.limits {
            self.reload_services(&config).await?;
        }
        for (name, (_, text)) in &added.services {
            if self.added.services.get(name).map(|(_, text)| text) != Some(text) {
                tracing::info!(service = %name, "it is added, as the store says");
            }
        }
        self.refused.send_replace(added.refused.clone());
        let handles = live::handles(&self.services);
        self.targets.update(&config, &handles);
        (self.config, self.added) = (config, added);
        Ok(())
    }

    async fn reload_services(&mut self, config: &Config) -> anyhow::Result<()> {
        let changed =
            |name: &ServiceName| self.config.services.get(name) != config.services.get(name);
        // Everything that can fail is tried before anything is changed.
        for service in config
            .services
            .values()
            .filter(|service| changed(&service.name))
        {
            Live::check(service, &self.parts)?;
        }
        let leaving: Vec<_> = self
            .services
            .keys()
            .filter(|name| changed(name))
            .cloned()
            .collect();
        if let Some(traefik) = &self.parts.traefik {
            traefik.update(config, &self.parts.secret).await;
        }
        for name in &leaving {
            if let Some(live) = self.services.remove(name) {
                match config.services.get(name) {
                    None => taken_out(name, &live),
                    Some(service) => live.tell_of_a_move(service),
                }
                live.end(&self.parts, TASK_END_TIMEOUT).await;
                self.admin.alerts.forget(name);
            }
        }
        for service in config.services.values() {
            if !self.services.contains_key(&service.name) {
                self.services
                    .insert(service.name.clone(), Live::start(service, &self.parts)?);
            }
        }
        self.set_sites(config).await;
        let handles = live::handles(&self.services);
        self.admin.services.store(Arc::new(handles));
        self.admin.alerts.scaled.store(Arc::new(scaled(config)));
        Ok(())
    }

    async fn set_sites(&self, config: &Config) {
        let sites = live::sites(&self.services, &self.parts.secret, config);
        self.room.set_sites(sites.await);
    }

    /// Waits until the store says something new for all services. May be given up at any moment.
    pub async fn hear(&mut self) {
        if self.heard.changed().await.is_err() {
            // Nobody listens to the store any more: the process is ending.
            std::future::pending::<()>().await;
        }
    }

    /// Puts in force what was heard.
    pub async fn heed(&mut self) {
        let secret = self.heard.borrow_and_update().secret;
        if secret != self.parts.secret {
            tracing::info!("the store's secret is taken up; nonces made before still count");
            self.parts.secret = secret;
            self.keeper.renew(secret);
            self.clients.renew(secret);
            if let Some(traefik) = &self.parts.traefik {
                traefik.update(&self.config, &secret).await;
            }
            self.set_sites(&self.config).await;
        }
        let file = self.file.clone();
        if let Err(error) = self.put_in_force(&file).await {
            tracing::error!("nothing is changed: {error:#}");
        }
    }
}

/// Nobody looks after its machines from here on.
fn taken_out(service: &ServiceName, live: &Live) {
    let (phase, clones) = (live.phase().as_str(), live.clones());
    if clones.is_empty() {
        return tracing::info!(%service, phase, "it is taken out; its machine stays as it is");
    }
    let names: Vec<_> = clones.iter().map(ToString::to_string).collect();
    let clones = names.join(", ");
    tracing::warn!(
        %service, phase, clones,
        "it is taken out; its machine and its clones run on, and nobody looks after them: put it back and let it sleep, or \
         delete what `anteroom doctor` names"
    );
}
