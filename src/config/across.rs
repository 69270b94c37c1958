//! What no single key can say: values that contradict each other, and values that are allowed yet doubtful.

use std::collections::BTreeMap;

use super::raw::{Node, Value};
use super::reading::Reading;
use super::service::{Ingress, Service};
use super::taken::{Taken, clash};
use super::{Config, Publish, StoreUrl, service_nodes};
use crate::engine::id::ServiceName;
use crate::engine::time::Span;

/// Checks the whole configuration, and notes what it finds in the reader of `root`.
pub(super) fn check(root: &Reading<'_>, config: &Config) {
    listeners(root, config);
    failover(root, config);
    machines(root, config);
    doubtful_store(root, config);
    for service in config.services.values() {
        doubtful_times(root, service);
    }
    if config.services.is_empty() && !root.has("service") {
        root.warn(
            "",
            "there is no service; write [service.NAME] with hosts, port and provider",
        );
    }
}

fn listeners(root: &Reading<'_>, config: &Config) {
    let (server, admin) = (config.server.listen, config.admin.listen);
    if clash(server, admin) {
        let line = line_in(root, "admin", "listen");
        let message = format!(
            "{admin} is also where server.listen serves visitors; write another port, like \"127.0.0.1:8081\""
        );
        root.reader.fault(line, "admin.listen", message);
    }
}

/// Failover needs a Traefik, and eyes on it.
fn failover(root: &Reading<'_>, config: &Config) {
    let direct = |service: &&Service| service.ingress == Ingress::Failover;
    for service in config.services.values().filter(direct) {
        let (line, key) = place(root, &service.name, "ingress");
        if !root.has("traefik") {
            let message = "failover needs the Traefik that fails over; write [traefik], \
                           or ingress = \"proxy\"";
            root.reader.fault(line, &key, message);
        }
    }
    let Some(traefik) = &config.traefik else {
        return;
    };
    let names: Vec<_> = config
        .services
        .values()
        .filter(direct)
        .map(|it| it.name.as_str())
        .collect();
    if names.is_empty() {
        return;
    }
    let Some(Value::Table(table)) = root.table.get("traefik").map(|node| &node.value) else {
        return;
    };
    let line = line_in(root, "traefik", "api");
    let names = names.join(", ");
    if traefik.api.is_none() && !table.contains_key("api") {
        let message = format!(
            "is missing; without it the service would never sleep: the visitors of {names} do not pass the room, \
             and only Traefik can count them. Write api = \"http://127.0.0.1:8082\", or ingress = \"proxy\""
        );
        root.reader.fault(line, "traefik.api", message);
    }
    if traefik.public_url.is_none() && traefik.publish != Publish::None {
        let message = format!(
            "is missing; without it nothing proves that the visitors of {names} reach the room before a machine \
             is stopped. Write public_url = \"http://127.0.0.1:80\""
        );
        root.reader.warn(
            line_in(root, "traefik", "public_url"),
            "traefik.public_url",
            message,
        );
    }
}

/// A hostname leads to one service. Read from the raw form, so that a service with another fault takes part.
pub(super) fn hosts(root: &Reading<'_>) {
    let mut taken: BTreeMap<String, &Node> = BTreeMap::new();
    for service in service_nodes(root)
        .into_iter()
        .flat_map(|table| table.values())
    {
        let hosts = service.table().and_then(|table| table.get("hosts"));
        let Some(Value::List(hosts)) = hosts.map(|node| &node.value) else {
            continue;
        };
        for node in hosts {
            let Some(host) = root.reader.quiet_text(node) else {
                continue;
            };
            if let Some(first) = taken.insert(host.to_ascii_lowercase(), node) {
                let message = format!(
                    "{host:?} is already in {} at line {}; a hostname belongs to one service",
                    first.path, first.line
                );
                root.reader.fault(node.line, &node.path, message);
            }
        }
    }
}

/// A machine belongs to one service, else one would put the other to sleep.
fn machines(root: &Reading<'_>, config: &Config) {
    let mut taken = Taken::new(config);
    for service in config.services.values() {
        for (key, message) in taken.machine(service) {
            let (line, key) = place(root, &service.name, key);
            root.reader.fault(line, &key, message);
        }
        taken.take(service);
    }
}

fn doubtful_store(root: &Reading<'_>, config: &Config) {
    let StoreUrl::File(path) = &config.store.url else {
        return;
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("the folder {} is not there; make it", folder.display());
        root.reader
            .warn(line_in(root, "store", "url"), "store.url", message);
    }
}

fn doubtful_times(root: &Reading<'_>, service: &Service) {
    let warn = |key: &str, message: String| {
        let (line, key) = place(root, &service.name, key);
        root.reader.warn(line, &key, message);
    };
    let less = |key: &str, span: Span, than: &str, other: Span, so: &str| {
        if span < other {
            warn(key, format!("{span} is less than {than} ({other}); {so}"));
        }
    };
    less(
        "idle_timeout",
        service.idle_timeout,
        "health.interval",
        service.health.interval,
        "the service may be put to sleep before it was seen ready twice",
    );
    less(
        "start_timeout",
        service.start_timeout,
        "health.timeout",
        service.health.timeout,
        "a wake may fail before the first probe has an answer",
    );
    less(
        "start_timeout",
        service.start_timeout,
        "health.interval",
        service.health.interval,
        "a wake is over after one probe",
    );
}

/// The line of a key of a top-level table; of the table, or of the file's beginning, when it is not written.
fn line_in(root: &Reading<'_>, table: &str, key: &str) -> usize {
    let Some(table) = root.table.get(table) else {
        return 1;
    };
    let node = table.table().and_then(|table| table.get(key));
    node.map_or(table.line, |node| node.line)
}

/// The line and the full name of a service's key, where it was written: in the service or in `[defaults]`.
fn place(root: &Reading<'_>, name: &ServiceName, key: &str) -> (usize, String) {
    let service = service_nodes(root).and_then(|table| table.get(name.as_str()));
    let node = service
        .and_then(Node::table)
        .and_then(|table| table.get(key));
    match (node, service) {
        (Some(node), _) => (node.line, node.path.clone()),
        (None, service) => {
            let line = service.map_or(1, |node| node.line);
            (line, format!("service.{name}.{key}"))
        }
    }
}
