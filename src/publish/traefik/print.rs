//! What `anteroom traefik` prints, for operators who write Traefik's files by hand or want to see what is
//! published for them.

use std::collections::BTreeMap;

use super::form;
use super::{Kind, Settings};
use crate::engine::contract::Routing;
use crate::engine::id::ServiceName;

/// The static configuration that the room's way of routing needs.
#[must_use]
pub fn static_config(settings: &Settings) -> String {
    let entrypoints: String = settings
        .entrypoints
        .iter()
        .map(|name| {
            format!("  {name}:\n    address: \":80\"        # yours\n    http: {{aliasHeadersStrategy: delete}}\n")
        })
        .collect();
    let provider = match &settings.kind {
        Kind::File(path) => {
            let dir = path.parent().unwrap_or(path).display();
            format!("  file: {{directory: {dir}, watch: true}}\n")
        }
        Kind::Http => "  http: {endpoint: \"http://127.0.0.1:8081/traefik\", pollInterval: 1s, pollTimeout: 2s}\n".into(),
        Kind::Nothing => "  file: {directory: /etc/traefik/dynamic, watch: true}\n".into(),
    };
    format!(
        "entryPoints:\n{entrypoints}  traefik:\n    address: \"127.0.0.1:8082\"\n\
         api: {{insecure: true, dashboard: false}}\nping: {{}}\nmetrics:\n  prometheus: \
         {{addEntryPointsLabels: true, addRoutersLabels: true, addServicesLabels: true}}\n\
         providers:\n  providersThrottleDuration: 200ms\n{provider}"
    )
}

/// The dynamic configuration with every service awake at the given addresses: the form for writing by hand.
///
/// # Errors
/// When a text can't be written for Traefik.
pub fn dynamic_config(
    settings: &Settings,
    routings: &BTreeMap<ServiceName, Routing>,
) -> Result<String, String> {
    form::render(settings, routings)
}
