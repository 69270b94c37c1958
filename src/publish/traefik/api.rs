//! Reading back: Traefik's own word that a routing is in force. What is misconfigured shows there as a disabled
//! router with an error, and to visitors as 404.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::form::Expected;

/// Traefik answers from memory.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) struct Api {
    http: reqwest::Client,
    base: String,
}

#[derive(Debug, Deserialize)]
struct Router {
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    error: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Service {
    #[serde(default, rename = "loadBalancer")]
    balancer: Option<Balancer>,
}

#[derive(Debug, Deserialize)]
struct Balancer {
    #[serde(default)]
    servers: Vec<Server>,
}

#[derive(Debug, Deserialize)]
struct Server {
    #[serde(default)]
    url: String,
}

impl Api {
    pub(super) fn new(base: &str) -> Result<Api, reqwest::Error> {
        let http = crate::telemetry::http_client()
            .no_proxy()
            .timeout(CALL_TIMEOUT)
            .build()?;
        Ok(Api {
            http,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// Looks until everything is as expected; then says so. At the deadline it says what is not.
    pub(super) async fn until_taken_up(
        &self,
        expected: &[Expected],
        provider: &str,
        within: Duration,
    ) -> Result<(), String> {
        let deadline = Instant::now() + within;
        let mut open: Vec<&Expected> = expected.iter().collect();
        loop {
            let mut why = String::new();
            let mut still_open = Vec::new();
            for each in open {
                if let Err(not_yet) = self.is_as(each, provider).await {
                    why = not_yet;
                    still_open.push(each);
                }
            }
            open = still_open;
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(why);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn is_as(&self, expected: &Expected, provider: &str) -> Result<(), String> {
        let url = format!(
            "{}/api/http/routers/{}@{provider}",
            self.base, expected.router
        );
        let Some(router) = self.get::<Router>(&url).await? else {
            return Err(format!(
                "Traefik does not know the router {}@{provider} yet",
                expected.router
            ));
        };
        if router.status != "enabled" {
            return Err(format!(
                "Traefik has {} {}: {}",
                router.name,
                router.status,
                router.error.join("; ")
            ));
        }
        if router.service.split('@').next() != Some(expected.service.as_str()) {
            return Err(format!("{} still leads to {}", router.name, router.service));
        }
        let Some((name, servers)) = &expected.servers else {
            return Ok(());
        };
        let url = format!("{}/api/http/services/{name}@{provider}", self.base);
        let service = self.get::<Service>(&url).await?;
        let balancer = service.and_then(|service| service.balancer);
        let mut listed: Vec<String> = balancer
            .map(|balancer| {
                balancer
                    .servers
                    .into_iter()
                    .map(|server| server.url)
                    .collect()
            })
            .unwrap_or_default();
        listed.sort();
        let mut wanted = servers.clone();
        wanted.sort();
        match listed == wanted {
            true => Ok(()),
            false => Err(format!(
                "{name}@{provider} has the servers {listed:?}, not {wanted:?}"
            )),
        }
    }

    async fn get<T: for<'a> Deserialize<'a>>(&self, url: &str) -> Result<Option<T>, String> {
        let answer = self.http.get(url).send().await;
        let answer = answer
            .map_err(|error| format!("Traefik's API does not answer: {}", error.without_url()))?;
        match answer.status().as_u16() {
            404 => Ok(None),
            200 => answer
                .json()
                .await
                .map(Some)
                .map_err(|error| format!("Traefik's API: {}", error.without_url())),
            status => Err(format!("Traefik's API answers {status}")),
        }
    }
}
