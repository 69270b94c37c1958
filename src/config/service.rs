//! One service, as configured.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::challenge::Challenge;
use super::provider::Provider;
use super::reading::Reading;
use super::scale::Scale;
use super::{Around, value};
use crate::engine::admit::Rules;
use crate::engine::id::ServiceName;
use crate::engine::ignore;
use crate::engine::time::Span;

/// The largest body of a request that may be held while its service wakes, in bytes. A larger one is answered
/// 503 at once, so held requests cannot fill the memory.
pub const HOLD_BODY_MAX: usize = 1024 * 1024;

/// What visitors ask for, by one or more hostnames.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its hostnames, in lower case and without ports; never empty, and none belongs to another service.
    pub hosts: Vec<String>,
    /// The app's port on every instance; 1 to 65535.
    pub port: u16,
    /// How requests reach the app when it is awake.
    pub ingress: Ingress,
    /// How long there must be no traffic before it sleeps; at least 1 s.
    pub idle_timeout: Span,
    /// How long it stays awake at least; may be zero.
    pub min_awake: Span,
    /// How long a wake may take; at least 1 s.
    pub start_timeout: Span,
    /// How long running requests may take to end before a stop; may be zero.
    pub drain_timeout: Span,
    /// How long a request that does not ask for HTML is held during a wake, at most 10 min; none: not at all.
    pub hold: Option<Span>,
    /// The largest body that is held, in bytes.
    pub hold_body_max: usize,
    /// Requests a second that come to a freshly ready app, 1 to 1000; none: all at once.
    pub ramp: Option<u32>,
    /// How the app is asked whether it is ready.
    pub health: Health,
    /// Statuses and ranges, as Traefik's errors middleware takes them.
    pub app_errors: Vec<String>,
    /// Where the machine lives.
    pub provider: Provider,
    /// Who may wake it, and how.
    pub wake: Wake,
    /// Paths of which the room keeps the last good copy, each with one `*` at most.
    pub copies: Vec<String>,
    /// Whose requests neither wake it nor keep it awake.
    pub ignore: Vec<ignore::Rule>,
    /// Paths that no honest visitor opens while it sleeps; see [`trap`](crate::engine::trap).
    pub traps: Vec<String>,
    /// How long the network of somebody who opened one may not wake it; 1 min to 30 d.
    pub trap_ban: Span,
    /// Whose pages, by their origins as browsers write them, may read what the room answers in its place.
    pub origins: Vec<String>,
    /// The folder of its theme; none for the built-in pages.
    pub theme: Option<PathBuf>,
    /// How it is scaled; none where one instance is all there may be.
    pub scale: Option<Scale>,
    /// What a running machine costs.
    pub cost: Option<Cost>,
}

/// How requests reach an awake app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// From Traefik directly, with the room as fallback.
    Failover,
    /// Always through the room.
    Proxy,
}

/// How the app is asked whether it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked for; starts with `/`.
    pub path: String,
    /// The answers that mean ready, each within 100 to 599; never empty.
    pub status: Vec<RangeInclusive<u16>>,
    /// The pause between two probes; 100 ms to 1 h.
    pub interval: Span,
    /// How long one answer may take; 100 ms to 5 min.
    pub timeout: Span,
    /// The `Host` header; none for the first of the service's hosts.
    pub host: Option<String>,
}

impl Health {
    /// Whether an answer with this status means that the app is ready.
    #[must_use]
    pub fn accepts(&self, status: u16) -> bool {
        self.status.iter().any(|range| range.contains(&status))
    }
}

/// Who may wake the service, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// What a client must do.
    pub by: WakeBy,
    /// What is to be solved; there with [`WakeBy::Challenge`], and only there.
    pub challenge: Option<Challenge>,
    /// Who may, and how often. The limit over all services is none here: it is the deployment's.
    pub rules: Rules,
}

/// What a client must do to wake a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeBy {
    /// Run the page's script, or press its button.
    Page,
    /// Press the page's button.
    Click,
    /// Ask for anything.
    Request,
    /// Solve a challenge.
    Challenge,
}

/// What a running machine costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// The price of an hour; finite and not negative.
    pub per_hour: f64,
    /// Three letters, in upper case.
    pub currency: String,
    /// What is paid for in one piece; at least 1 s. None: billed by use.
    pub billing_increment: Option<Span>,
}

impl Service {
    /// Reads one service. `around` is what the rest of the file says to it.
    pub(super) fn read(
        section: &Reading<'_>,
        name: ServiceName,
        around: &Around,
    ) -> Option<Service> {
        let port = section.integer("port").and_then(|n| u16::try_from(n).ok());
        let hosts = section.some("hosts", value::hostname);
        let provider = Provider::read(section, port.unwrap_or(1));
        let ingress = section
            .choice(
                "ingress",
                &[("failover", Ingress::Failover), ("proxy", Ingress::Proxy)],
            )
            .unwrap_or(around.ingress);
        let spans = [
            "idle_timeout",
            "min_awake",
            "start_timeout",
            "drain_timeout",
        ];
        let [idle_timeout, min_awake, start_timeout, drain_timeout] =
            spans.map(|name| section.span(name));
        let hold = section.span("hold").filter(|span| *span > Span::ZERO);
        let ramp = section.integer("ramp").and_then(|n| u32::try_from(n).ok());
        let health = health(section);
        let app_errors = section.some("app_errors", |text| {
            value::status(text).map(|_| text.to_owned())
        });
        let wake = wake(section);
        let copies = section.list("copies", value::copied);
        let ignore = super::ignore::read(section);
        let traps = section.list("traps", value::request_path);
        let trap_ban = section.span("trap_ban");
        let origins = section.list("origins", value::page_origin);
        let theme = section.read("theme", value::words).map(PathBuf::from);
        let scale = section
            .section("scale")
            .and_then(|scale| Scale::read(&scale, provider.as_ref(), around));
        let cost = section.section("cost").and_then(|cost| read_cost(&cost));
        Some(Service {
            name,
            hosts,
            port: port?,
            ingress,
            idle_timeout: idle_timeout?,
            min_awake: min_awake?,
            start_timeout: start_timeout?,
            drain_timeout: drain_timeout?,
            hold,
            hold_body_max: HOLD_BODY_MAX,
            ramp: ramp.filter(|rate| *rate > 0),
            health: health?,
            app_errors,
            provider: provider?,
            wake: wake?,
            ignore,
            copies,
            traps,
            trap_ban: trap_ban?,
            origins,
            theme,
            scale,
            cost,
        })
    }
}

fn health(service: &Reading<'_>) -> Option<Health> {
    let section = service.section_or_empty("health")?;
    let path = section.read("path", value::request_path);
    let status = section.read("status", value::statuses);
    let (interval, timeout) = (section.span("interval"), section.span("timeout"));
    let host = section.read("host", value::hostname);
    Some(Health {
        path: path?,
        status: status?,
        interval: interval?,
        timeout: timeout?,
        host,
    })
}

fn wake(service: &Reading<'_>) -> Option<Wake> {
    let section = service.section_or_empty("wake")?;
    let by = section.choice(
        "by",
        &[
            ("page", WakeBy::Page),
            ("click", WakeBy::Click),
            ("request", WakeBy::Request),
            ("challenge", WakeBy::Challenge),
        ],
    );
    let challenge = match by == Some(WakeBy::Challenge) || section.has("challenge") {
        true => Some(Challenge::read(&section)?),
        false => None,
    };
    if by != Some(WakeBy::Challenge) && challenge.is_some() {
        section.warn("challenge", "is looked at only with by = \"challenge\"");
    }
    let rate = |name| section.read(name, value::rate).flatten();
    let rules = Rules {
        deny: section.list("deny", value::network),
        allow: section.list("allow", value::network),
        per_client: rate("per_client"),
        per_network: rate("per_network"),
        per_service: rate("per_service"),
        over_all: None,
        per_day: section.integer("per_day").and_then(|n| n.try_into().ok()),
    };
    let by = by?;
    Some(Wake {
        by,
        challenge: challenge.filter(|_| by == WakeBy::Challenge),
        rules,
    })
}

fn read_cost(section: &Reading<'_>) -> Option<Cost> {
    let per_hour = section.number("per_hour");
    let currency = section.read("currency", value::currency);
    let billing_increment = section.span("billing_increment");
    Some(Cost {
        per_hour: per_hour?,
        currency: currency?,
        billing_increment,
    })
}
