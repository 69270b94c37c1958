//! The routing itself: what a service looks like to Traefik while it sleeps and while it is awake.
//!
//! Asleep, the router leads straight to the room. Awake, it leads to a failover whose main is the instances and
//! whose fallback is the room. On the instances, inside the failover, stand two middlewares: `errors` turns 502
//! to 504 into the room's page, `retry` without a status list tries another instance when nothing was sent yet.
//! Streams go through the room also while awake: Traefik counts a request when it ends, and never counts an
//! event stream that the client aborts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Settings;
use crate::engine::contract::Routing;
use crate::engine::id::ServiceName;

/// A service, as Traefik must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Its name.
    pub name: ServiceName,
    /// Its hostnames.
    pub hosts: Vec<String>,
    /// The path of Traefik's health check.
    pub health_path: String,
    /// The Host header of Traefik's health check.
    pub health_host: String,
    /// The one status that counts as healthy; none for Traefik's own 200 to 399.
    pub health_status: Option<u16>,
    /// Statuses whose answers are replaced by the room's page.
    pub app_errors: Vec<String>,
    /// By this Traefik proves to the room that it is Traefik who names the service.
    pub key: String,
}

/// What Traefik must say once it has taken the routing up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The router.
    pub router: String,
    /// Where it leads.
    pub service: String,
    /// The instances' balancer and its servers, while awake.
    pub servers: Option<(String, Vec<String>)>,
}

/// The name of a service's main router, and of its failover.
#[must_use]
pub fn main_name(service: &ServiceName) -> String {
    format!("anteroom-{service}")
}

/// The name of the balancer over a service's instances.
#[must_use]
pub fn instances_name(service: &ServiceName) -> String {
    format!("anteroom-{service}-vms")
}

/// The name under which Traefik knows the room, for this service.
#[must_use]
pub fn room_name(service: &ServiceName) -> String {
    format!("anteroom-{service}-room")
}

/// Renders the routing of all services. Services that have not spoken yet are asleep. The order is fixed, so
/// equal routings are equal texts. JSON is YAML 1.2, so the same text serves the file and the HTTP provider.
///
/// # Errors
/// When a text would be taken for a template or would break out of a rule.
pub fn render(
    settings: &Settings,
    routings: &BTreeMap<ServiceName, Routing>,
) -> Result<String, String> {
    let mut parts = Parts::default();
    for service in &settings.services {
        refuse_templates(service)?;
        parts.add(
            settings,
            service,
            routings.get(&service.name).unwrap_or(&Routing::Asleep),
        );
    }
    serde_json::to_string_pretty(&json!({ "http": parts })).map_err(|error| error.to_string())
}

/// What Traefik must say of it.
pub(super) fn expected(
    settings: &Settings,
    routings: &BTreeMap<ServiceName, Routing>,
) -> Vec<Expected> {
    let expect = |service: &ServiceSettings| {
        let name = &service.name;
        let router = main_name(name);
        match routings.get(name).unwrap_or(&Routing::Asleep) {
            Routing::Asleep => Expected {
                router,
                service: room_name(name),
                servers: None,
            },
            Routing::Awake(_) => {
                let urls = urls(routings.get(name).unwrap_or(&Routing::Asleep));
                Expected {
                    service: main_name(name),
                    router,
                    servers: Some((instances_name(name), urls)),
                }
            }
        }
    };
    settings.services.iter().map(expect).collect()
}

fn urls(routing: &Routing) -> Vec<String> {
    match routing {
        Routing::Asleep => Vec::new(),
        Routing::Awake(upstreams) => upstreams
            .iter()
            .map(|upstream| format!("http://{}", upstream.address))
            .collect(),
    }
}

/// Traefik reads its files as Go templates, and ends a rule's text at a backtick.
fn refuse_templates(service: &ServiceSettings) -> Result<(), String> {
    let texts =
        service
            .hosts
            .iter()
            .chain([&service.health_path, &service.health_host, &service.key]);
    let mut texts = texts.chain(&service.app_errors);
    match texts.find(|text| text.contains("{{") || text.contains('`')) {
        Some(text) => Err(format!(
            "service {}: {text:?} can't be written for Traefik",
            service.name
        )),
        None => Ok(()),
    }
}

/// The sections of `http:`; empty ones are left out, because Traefik refuses them.
#[derive(Debug, Default, Serialize)]
struct Parts {
    #[serde(skip_serializing_if = "Map::is_empty")]
    routers: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    middlewares: Map<String, Value>,
    #[serde(rename = "serversTransports", skip_serializing_if = "Map::is_empty")]
    transports: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    services: Map<String, Value>,
}

impl Parts {
    fn add(&mut self, settings: &Settings, service: &ServiceSettings, routing: &Routing) {
        let (main, room) = (main_name(&service.name), room_name(&service.name));
        let hosts: Vec<String> = service
            .hosts
            .iter()
            .map(|host| format!("Host(`{host}`)"))
            .collect();
        let hosts = hosts.join(" || ");
        let router = |rule: String, to: &str| json!({ "rule": rule, "entryPoints": settings.entrypoints, "service": to });
        let id = format!("{main}-id");
        self.middlewares.insert(
            id.clone(),
            json!({ "headers": { "customRequestHeaders": {
                "X-Anteroom-Service": service.name.as_str(), "X-Anteroom-Key": service.key } } }),
        );
        self.services.insert(
            room.clone(),
            json!({ "middlewares": [id], "loadBalancer": { "servers": [{ "url": settings.room_url }] } }),
        );
        if *routing == Routing::Asleep {
            self.routers.insert(main, router(hosts, &room));
            return;
        }
        self.routers
            .insert(main.clone(), router(hosts.clone(), &main));
        // Longer rules come first with Traefik, so these three need no priority.
        let socket = format!("({hosts}) && HeaderRegexp(`Upgrade`, `(?i)^websocket$`)");
        self.routers
            .insert(format!("{main}-websocket"), router(socket, &room));
        let events = format!("({hosts}) && HeaderRegexp(`Accept`, `(?i)text/event-stream`)");
        self.routers
            .insert(format!("{main}-events"), router(events, &room));
        // What an open page asks is no traffic of the app's, and its turn is the room's to give.
        let own = format!("({hosts}) && PathPrefix(`/__anteroom/`)");
        self.routers
            .insert(format!("{main}-own"), router(own, &room));
        self.add_instances(service, routing);
    }

    fn add_instances(&mut self, service: &ServiceSettings, routing: &Routing) {
        let (main, instances) = (main_name(&service.name), instances_name(&service.name));
        let room = room_name(&service.name);
        let (errors, retry) = (format!("{main}-errors"), format!("{main}-retry"));
        let rewrites: Map<String, Value> = service
            .app_errors
            .iter()
            .map(|status| (status.clone(), json!(503)))
            .collect();
        self.middlewares.insert(
            errors.clone(),
            json!({ "errors": {
                "status": service.app_errors, "service": room, "statusRewrites": rewrites,
                "query": "/__anteroom/error?status={originalStatus}&url={url}" } }),
        );
        self.middlewares
            .insert(retry.clone(), json!({ "retry": { "attempts": 3 } }));
        self.transports.insert(
            main.clone(),
            json!({ "forwardingTimeouts": { "dialTimeout": "1s", "idleConnTimeout": "30s" } }),
        );
        self.services.insert(
            main.clone(),
            json!({ "failover": { "service": instances, "fallback": room } }),
        );
        let servers: Vec<Value> = urls(routing)
            .into_iter()
            .map(|url| json!({ "url": url }))
            .collect();
        let mut health = json!({
            "path": service.health_path, "hostname": service.health_host, "interval": "2s",
            "unhealthyInterval": "500ms", "timeout": "1s", "followRedirects": false });
        if let Some(status) = service.health_status {
            health["status"] = json!(status);
        }
        self.services.insert(
            instances,
            json!({ "middlewares": [errors, retry], "loadBalancer": {
                "serversTransport": main, "servers": servers, "healthCheck": health,
                "passiveHealthCheck": { "failureWindow": "10s", "maxFailedAttempts": 3 } } }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::contract::Upstream;
    use crate::engine::id::InstanceId;
    use crate::publish::traefik::Kind;

    fn settings(hosts: &[&str]) -> Settings {
        let blog = ServiceSettings {
            name: "blog".parse().expect("a name"),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            health_path: "/".into(),
            health_host: "blog.test".into(),
            health_status: None,
            app_errors: vec!["502-504".into()],
            key: "k".into(),
        };
        Settings {
            kind: Kind::Nothing,
            room_url: "http://127.0.0.1:9000".into(),
            api: None,
            entrypoints: vec!["web".into()],
            services: vec![blog],
        }
    }

    fn rendered(routing: Routing) -> Value {
        let routings = BTreeMap::from([("blog".parse().expect("a name"), routing)]);
        let text =
            render(&settings(&["blog.test", "www.blog.test"]), &routings).expect("it renders");
        serde_json::from_str(&text).expect("JSON")
    }

    fn awake() -> Routing {
        let address = "10.0.0.7:80".parse().expect("an address");
        Routing::Awake(vec![Upstream {
            instance: InstanceId::SEED,
            address,
        }])
    }

    #[test]
    fn asleep_no_machine_is_named() {
        let http = &rendered(Routing::Asleep)["http"];
        assert_eq!(
            http["routers"]["anteroom-blog"]["service"],
            "anteroom-blog-room"
        );
        assert_eq!(http["routers"].as_object().map(Map::len), Some(1));
        assert!(!http.to_string().contains("failover") && !http.to_string().contains("10.0.0.7"));
    }

    #[test]
    fn awake_the_failover_leads_to_the_instances_and_streams_to_the_room() {
        let http = &rendered(awake())["http"];
        assert_eq!(http["routers"]["anteroom-blog"]["service"], "anteroom-blog");
        assert_eq!(
            http["routers"]["anteroom-blog-websocket"]["service"],
            "anteroom-blog-room"
        );
        assert_eq!(
            http["routers"]["anteroom-blog-events"]["service"],
            "anteroom-blog-room"
        );
        assert_eq!(
            http["routers"]["anteroom-blog-own"]["service"],
            "anteroom-blog-room"
        );
        let vms = &http["services"]["anteroom-blog-vms"];
        assert_eq!(
            vms["loadBalancer"]["servers"][0]["url"],
            "http://10.0.0.7:80"
        );
        assert_eq!(
            vms["middlewares"],
            json!(["anteroom-blog-errors", "anteroom-blog-retry"])
        );
        assert!(
            http["middlewares"]["anteroom-blog-retry"]["retry"]
                .get("status")
                .is_none()
        );
    }

    #[test]
    fn a_template_in_a_name_is_refused() {
        for host in ["a`) || Host(`b", "{{ env \"SECRET\" }}"] {
            assert!(
                render(&settings(&[host]), &BTreeMap::new()).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn without_services_no_empty_section_is_written() {
        let mut none = settings(&[]);
        none.services.clear();
        let text = render(&none, &BTreeMap::new()).expect("it renders");
        assert_eq!(
            serde_json::from_str::<Value>(&text).expect("JSON"),
            json!({ "http": {} })
        );
    }
}
