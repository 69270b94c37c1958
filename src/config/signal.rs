//! What tells how busy the instances of a service are, as configured.

use super::Around;
use super::keys::SIGNAL_KINDS;
use super::prometheus::{self, PrometheusServer};
use super::provider::Provider;
use super::reading::Reading;
use super::value::{self, Parsed};

/// The longest PromQL expression, in bytes.
const QUERY_BYTES_MAX: usize = 8 * 1024;

/// What tells how busy the instances of a service are.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// The node_exporter of each instance.
    NodeExporter(NodeExporter),
    /// The answer of a Prometheus to a question.
    Prometheus(PrometheusQuery),
    /// The provider's own figures; its kind has some.
    Provider,
    /// Nothing but alerts that come in.
    Webhook,
}

/// The node_exporter of each instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeExporter {
    /// Its port at the instance's address; 1 to 65535.
    pub port: u16,
    /// What is asked for; starts with `/`.
    pub path: String,
    /// What of the machine is looked at.
    pub of: Resources,
}

/// What of a machine is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resources {
    /// Its processors.
    Cpu,
    /// Its memory.
    Memory,
    /// Whichever of the two is busier.
    Both,
}

/// A question to a Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusQuery {
    /// Who is asked.
    pub server: PrometheusServer,
    /// The PromQL expression; its answer is in percent.
    pub query: String,
    /// The PromQL expression for when was measured, in seconds since the epoch; none for the last scrape.
    pub at: Option<String>,
}

impl Signal {
    /// Reads the signal in `scale`. None where there is none; whether there must be one is the caller's.
    pub(super) fn read(
        scale: &Reading<'_>,
        provider: Option<&Provider>,
        around: &Around,
    ) -> Option<Signal> {
        let node = scale.table.get("signal")?;
        let kind = scale.reader.kind(node, SIGNAL_KINDS, "signal")?;
        let section = scale.reader.open(node, section_of(kind))?;
        // The kind was read above; this asks the table of keys as for every other key.
        section.read("kind", value::words)?;
        match kind {
            "node-exporter" => {
                let signal = node_exporter(&section)?;
                if let Some(what) = provider.and_then(Provider::shares_an_address) {
                    let message = format!(
                        "{what} have one address in common, where one node_exporter tells of all; \
                         write signal = {{ kind = \"provider\" }}"
                    );
                    scale.fault("signal", message);
                }
                Some(Signal::NodeExporter(signal))
            }
            "prometheus" => query(&section, around).map(Signal::Prometheus),
            "provider" => {
                if let Some(kind) = provider.map(Provider::kind)
                    && !matches!(kind, "docker" | "process")
                {
                    let message = format!(
                        "{kind} has no figures of its own, only docker and process have; write signal = \
                         {{ kind = \"node-exporter\", port = 9100 }}"
                    );
                    section.fault("kind", message);
                }
                Some(Signal::Provider)
            }
            _ => Some(Signal::Webhook),
        }
    }
}

/// The section of the table of keys that describes this kind of signal.
pub(super) fn section_of(kind: &str) -> &'static str {
    match kind {
        "node-exporter" => "signal node-exporter",
        "prometheus" => "signal prometheus",
        "provider" => "signal provider",
        _ => "signal webhook",
    }
}

fn node_exporter(section: &Reading<'_>) -> Option<NodeExporter> {
    let port = section.integer("port");
    let path = section.read("path", path);
    let of = section.some("of", |text| match text {
        "cpu" | "memory" => Ok(text == "cpu"),
        _ => Err("is nothing that is measured here; write \"cpu\", \"memory\" or both".into()),
    });
    Some(NodeExporter {
        port: u16::try_from(port?).ok()?,
        path: path?,
        of: match (of.contains(&true), of.contains(&false)) {
            (true, true) => Resources::Both,
            (false, true) => Resources::Memory,
            _ => Resources::Cpu,
        },
    })
}

/// A path alone: what follows a `?` is ours.
fn path(text: &str) -> Parsed<String> {
    match text.contains('?') {
        true => Err("has a query; which collectors are asked for follows from of".into()),
        false => value::request_path(text),
    }
}

fn query(section: &Reading<'_>, around: &Around) -> Option<PrometheusQuery> {
    let query = section.read("query", promql);
    let at = section.read("at", promql);
    let url = section.read("url", prometheus::url);
    let server = match section.has("url") {
        // Credentials go only to where they were written for.
        true => Some(PrometheusServer::without_login(url?)),
        false => around.prometheus.clone(),
    };
    if server.is_none() && !around.prometheus_refused {
        let message = "is missing, here and in [prometheus]; write url = \"http://127.0.0.1:9090\"";
        section.fault("url", message);
    }
    Some(PrometheusQuery {
        server: server?,
        query: query?,
        at,
    })
}

fn promql(text: &str) -> Parsed<String> {
    let strange = |c: char| c.is_control() && !c.is_whitespace();
    if text.trim().is_empty() || text.contains(strange) {
        return Err("is not a PromQL expression".into());
    }
    match text.len() <= QUERY_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => Err(format!("is longer than {QUERY_BYTES_MAX} bytes")),
    }
}
