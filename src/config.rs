//! The configuration: one TOML file, read into types that cannot be wrong.
//!
//! [`Config::load`] gives either a checked configuration, with its warnings, or every fault of the file: each
//! with its line, its key and the mend. Nothing else in the house reads the file or the raw form.
//!
//! It never connects to anything and never writes; files are read only where a value says `{ file = "..." }`.
//!
//! Read on in [`service`] and [`provider`]; the table of all keys, which bounds, defaults and the reference page
//! come from, is in `keys`.

mod across;
pub mod added;
pub mod captcha;
pub mod challenge;
mod ignore;
mod keys;
mod problem;
pub mod prometheus;
pub mod provider;
mod raw;
mod reader;
mod reading;
pub mod redis;
mod reference;
pub mod scale;
mod schema;
mod secret;
pub mod service;
pub mod signal;
mod taken;
mod traefik;
mod value;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

pub use self::captcha::{Captcha, CaptchaVendor};
pub use self::challenge::{Challenge, ChallengeKind, Pow};
pub use self::problem::Problem;
pub use self::prometheus::{Prometheus, PrometheusLogin, PrometheusServer};
pub use self::provider::{MachineAddress, Provider};
pub use self::reader::EnvLookup;
pub use self::redis::RedisUrl;
pub use self::reference::reference;
pub use self::scale::Scale;
pub use self::secret::Secret;
pub use self::service::{Cost, HOLD_BODY_MAX, Health, Ingress, Service, Wake, WakeBy};
pub use self::signal::Signal;
pub use self::traefik::{Publish, Traefik};

use self::raw::{Node, Table, Value};
use self::reader::Reader;
use self::reading::Reading;
use crate::engine::admit::Rate;
use crate::engine::id::ServiceName;
use crate::engine::privacy::{Addresses, Kept, Privacy};
use crate::engine::time::Span;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The listener for visitors.
    pub server: Server,
    /// The listener for admins.
    pub admin: Admin,
    /// Where records are kept.
    pub store: Store,
    /// Limits of the whole deployment.
    pub limits: Limits,
    /// What is written down of clients.
    pub privacy: Privacy,
    /// The Traefik in front of the room.
    pub traefik: Option<Traefik>,
    /// The Prometheus that is asked for load and told of instances.
    pub prometheus: Prometheus,
    /// The services, by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// What is allowed and yet doubtful, in the order of the file.
    pub warnings: Vec<Problem>,
    /// What services that are added at run time are read with.
    base: Base,
}

/// What lies under a service that does not stand in the file.
#[derive(Clone, Debug, PartialEq)]
struct Base {
    /// The name of the file.
    file: String,
    defaults: Table,
    around: Around,
}

/// What the rest of the file says to every service.
#[derive(Clone, Debug, PartialEq)]
struct Around {
    /// What holds when a service writes none.
    ingress: Ingress,
    /// Who is asked where a service names no other.
    prometheus: Option<PrometheusServer>,
    /// `[prometheus]` has a url that was refused: no service is told that it is missing.
    prometheus_refused: bool,
}

/// The listener for visitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long running requests may take to end when Anteroom itself is stopped; 0 to 1 h.
    pub drain_timeout: Span,
    /// The folder of the theme for hosts that no service has; none for the built-in page.
    pub theme: Option<PathBuf>,
}

/// The listener for admins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens: on loopback, or there is a token. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What an admin must send.
    pub token: Option<Secret>,
    /// How alerts that come in are signed; none where they are not.
    pub webhook: Option<Webhook>,
}

/// How alerts that come in are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The key of the signature.
    pub secret: Secret,
    /// The header with the time of the call, lower case; none where the body alone is signed.
    pub timestamp_header: Option<String>,
}

/// Where records are kept, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The store.
    pub url: StoreUrl,
    /// The first word of every key: 1 to 40 of letters, digits, `-`, `_` and `.`.
    pub prefix: String,
    /// Whether a service that was added in the store may run programs.
    pub services_may_run: bool,
}

/// Limits of the whole deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wakes of all services together.
    pub over_all: Option<Rate>,
    /// The room's own answers to each client.
    pub pages_per_client: Option<Rate>,
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// In memory: forgotten at the end of the process.
    Memory,
    /// In this file.
    File(PathBuf),
    /// In this Redis.
    Redis(Box<RedisUrl>),
}

impl Config {
    /// Reads the file, with this process's environment.
    ///
    /// # Errors
    ///
    /// Every fault that could be found, in the order of the file; never an empty list.
    pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|why| {
            vec![Problem {
                file: file.clone(),
                line: None,
                key: String::new(),
                message: format!("cannot be read: {why}"),
            }]
        })?;
        Config::parse(&text, &file, &|name| std::env::var(name).ok())
    }

    /// Reads `text`; `file` is how messages name it, `env` is asked for `{ env = "..." }`.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &str, env: EnvLookup<'_>) -> Result<Config, Vec<Problem>> {
        let mut root = raw::parse(text, file)?;
        spread_defaults(&mut root);
        let reader = Reader::new(file, env);
        let config = reader.open(&root, "").and_then(|root| read(&root, file));
        let warnings = reader.finish()?;
        let config = config.expect("a configuration without a problem is whole");
        Ok(Config { warnings, ..config })
    }
}

/// Lays `[defaults]` under every service.
fn spread_defaults(root: &mut Node) {
    let Value::Table(root) = &mut root.value else {
        return;
    };
    let Some(defaults) = root.get("defaults").and_then(Node::table).cloned() else {
        return;
    };
    let Some(Value::Table(services)) = root.get_mut("service").map(|node| &mut node.value) else {
        return;
    };
    for service in services.values_mut() {
        if let Value::Table(service) = &mut service.value {
            raw::lay_under(service, &defaults, "service");
        }
    }
}

fn read(root: &Reading<'_>, file: &str) -> Option<Config> {
    // A misspelt key is reported here also when no service is there to take it.
    root.section("defaults");
    let server = root.section_or_empty("server").map(|it| read_server(&it));
    let admin = root.section_or_empty("admin").map(|it| read_admin(&it));
    let store = root.section_or_empty("store").map(|it| read_store(&it));
    let limits = root.section_or_empty("limits").map(|it| read_limits(&it));
    let privacy = root.section_or_empty("privacy").map(|it| read_privacy(&it));
    let listen = server
        .as_ref()
        .and_then(|server| server.as_ref()?.listen.into());
    let traefik = root.section("traefik").map(|it| Traefik::read(&it, listen));
    let prometheus = root.section_or_empty("prometheus");
    let asked = prometheus.as_ref().is_none_or(|it| it.has("url"));
    let prometheus = prometheus.and_then(|it| Prometheus::read(&it));
    let asks = prometheus.as_ref().and_then(|it| it.server.clone());
    let around = Around {
        ingress: match root.has("traefik") {
            true => Ingress::Failover,
            false => Ingress::Proxy,
        },
        prometheus_refused: asked && asks.is_none(),
        prometheus: asks,
    };
    let services = read_services(root, &around);
    across::hosts(root);
    let config = Config {
        server: server??,
        admin: admin??,
        store: store??,
        limits: limits?,
        privacy: privacy??,
        // A Traefik that was refused is a problem, so the configuration is not handed out without it.
        traefik: traefik.flatten(),
        prometheus: prometheus?,
        services,
        warnings: Vec::new(),
        base: Base {
            file: file.to_owned(),
            defaults: root
                .table
                .get("defaults")
                .and_then(Node::table)
                .cloned()
                .unwrap_or_default(),
            around,
        },
    };
    across::check(root, &config);
    Some(config)
}

fn read_server(section: &Reading<'_>) -> Option<Server> {
    let listen = section.read("listen", value::listen);
    let trusted_proxies = section.list("trusted_proxies", value::network);
    let drain_timeout = section.span("drain_timeout");
    Some(Server {
        listen: listen?,
        trusted_proxies,
        drain_timeout: drain_timeout?,
        theme: section.read("theme", value::words).map(PathBuf::from),
    })
}

fn read_admin(section: &Reading<'_>) -> Option<Admin> {
    // A listener that was refused is stood in for by one that no other check complains of.
    let stand_in = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen = section.read("listen", value::listen).unwrap_or(stand_in);
    let token = section.secret("token");
    if token.is_none() && !section.has("token") && !listen.ip().is_loopback() {
        let mend = "without a token only loopback may be served; write token = \
                    { env = \"ANTEROOM_ADMIN_TOKEN\" }, or listen = \"127.0.0.1:8081\"";
        section.fault("listen", mend);
    }
    let webhook = section.section("webhook");
    let webhook = webhook.and_then(|it| {
        let secret = it.secret("secret");
        let timestamp_header = it.read("timestamp_header", value::header);
        Some(Webhook {
            secret: secret?,
            timestamp_header,
        })
    });
    Some(Admin {
        listen,
        token,
        webhook,
    })
}

fn read_store(section: &Reading<'_>) -> Option<Store> {
    let url = section.read("url", value::store);
    if let (Some(StoreUrl::Redis(redis)), Some(node)) = (&url, section.table.get("url")) {
        let logins = [&redis.login, &redis.sentinel_login];
        let secret = logins.iter().any(|login| login.password.is_some());
        if secret && matches!(node.value, Value::Text(_)) {
            let mend = "a password is not written into this file; write url = { env = \"ANTEROOM_STORE_URL\" }";
            section.fault("url", mend);
        }
    }
    let prefix = section.read("prefix", value::prefix);
    let services_may_run = section.truth("services_may_run");
    Some(Store {
        url: url?,
        prefix: prefix?,
        services_may_run: services_may_run?,
    })
}

fn read_limits(section: &Reading<'_>) -> Limits {
    let rate = |name| section.read(name, value::rate).flatten();
    Limits {
        over_all: rate("over_all"),
        pages_per_client: rate("pages_per_client"),
    }
}

fn read_privacy(section: &Reading<'_>) -> Option<Privacy> {
    let meanings = [
        ("full", Addresses::Full),
        ("network", Addresses::Network),
        ("keyed", Addresses::Keyed),
    ];
    let addresses = section.choice("addresses", &meanings);
    let address = section.span("address_kept");
    let network = section.span("network_kept");
    if address > network && network.is_some() {
        let mend = "an address is not kept for longer than its network; write at most network_kept";
        section.fault("address_kept", mend);
    }
    let kept = Kept {
        address: address?,
        network: network?,
    };
    Some(Privacy {
        addresses: addresses?,
        kept,
    })
}

fn read_services(root: &Reading<'_>, around: &Around) -> BTreeMap<ServiceName, Service> {
    let Some(node) = root.table.get("service") else {
        return BTreeMap::new();
    };
    let Some(table) = node.table() else {
        root.fault("service", "is not a table; write [service.NAME]");
        return BTreeMap::new();
    };
    table
        .iter()
        .filter_map(|(name, node)| read_service(root.reader, name, node, around))
        .collect()
}

fn read_service(
    reader: &Reader<'_>,
    name: &str,
    node: &Node,
    around: &Around,
) -> Option<(ServiceName, Service)> {
    let parsed: Option<ServiceName> = name
        .parse()
        .map_err(|why| reader.fault(node.line, &node.path, format!("{name:?}: {why}")))
        .ok();
    let section = reader.open(node, "service")?;
    let stand_in = || "refused".parse().expect("a plain word is a name");
    let service = Service::read(&section, parsed.clone().unwrap_or_else(stand_in), around)?;
    Some((parsed?, service))
}

/// The tables of the services, for checks that name lines.
fn service_nodes<'a>(root: &Reading<'a>) -> Option<&'a Table> {
    root.table.get("service")?.table()
}
