//! Alerts that come in: what Grafana and Alertmanager post when a rule of theirs fires.
//!
//! Both send one call for a group of alerts, which may be of many services, and send it again when they are not sure that it
//! came; so each alert is read by itself, and says by its label which service it is of. What is no evidence of load is told
//! apart here: an alert that has ended, and one that fires because its rule had no data or an error. What an alert means is the
//! engine's ([`Alert`]); that it is not forged, [`signature`]'s.

pub mod signature;

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::engine::id::ServiceName;
use crate::engine::scale::{Alert, Direction};
use crate::engine::time::Time;

/// Alerts that are taken from one call; the others are only counted.
pub const ALERTS_MAX: usize = 200;

/// The labels that name the service, the first one first.
pub const SERVICE_LABELS: [&str; 2] = ["anteroom_service", "service"];

/// What Grafana calls an alert of a rule that had no data, or could not be asked.
const NO_EVIDENCE: [&str; 2] = ["DatasourceNoData", "DatasourceError"];

/// Where Grafana says why an alert is in the state that it is in, when that is not its rule's own doing.
const REASON: &str = "grafana_state_reason";

/// The same in the words of that annotation.
const NO_EVIDENCE_REASONS: [&str; 2] = ["NoData", "Error"];

/// The longest text of somebody else's that goes into an answer, in characters.
const SHOWN_MAX: usize = 80;

/// What one call says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its alerts, in their order.
    pub alerts: Vec<Heard>,
    /// Alerts that are not among them: the sender's own bound, or ours.
    pub left_out: u64,
}

/// What one alert of a call says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is of a service.
    Of(ServiceName, Alert),
    /// It is of a service, and says nothing about its load.
    NoEvidence(ServiceName),
    /// No label names a service, or with a name that no service can have: these words.
    Nobody(Option<String>),
}

/// The fields of both payloads that matter. Whatever else is there is theirs.
#[derive(Deserialize)]
struct Payload {
    alerts: Option<Vec<Raised>>,
    #[serde(default, rename = "truncatedAlerts")]
    truncated: Option<u64>,
}

#[derive(Deserialize)]
struct Raised {
    status: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "startsAt")]
    starts_at: Option<String>,
    fingerprint: Option<String>,
}

/// Reads the body of a call.
///
/// # Errors
/// What is missing or not as expected, and where, in words for the answer.
pub fn read(body: &[u8], direction: Direction) -> Result<Call, String> {
    let payload: Payload =
        serde_json::from_slice(body).map_err(|error| format!("the body can't be read: {error}"))?;
    let raised = payload.alerts.ok_or_else(|| missing("alerts"))?;
    let over = raised.len().saturating_sub(ALERTS_MAX) as u64;
    let heard = |(index, raised): (usize, &Raised)| raised.heard(index, direction);
    let alerts = raised.iter().take(ALERTS_MAX).enumerate().map(heard);
    Ok(Call {
        alerts: alerts.collect::<Result<_, _>>()?,
        left_out: payload.truncated.unwrap_or(0).saturating_add(over),
    })
}

impl Raised {
    fn heard(&self, index: usize, direction: Direction) -> Result<Heard, String> {
        let lacks = |field: &str| missing(&format!("alerts[{index}].{field}"));
        let status = self.status.as_deref().ok_or_else(|| lacks("status"))?;
        let fires = match status {
            "firing" => true,
            "resolved" => false,
            other => {
                let other = shown(other);
                return Err(format!(
                    "alerts[{index}].status is {other:?}, and neither \"firing\" nor \"resolved\""
                ));
            }
        };
        let labels = self.labels.as_ref().ok_or_else(|| lacks("labels"))?;
        let began = self.starts_at.as_deref();
        let began = began.ok_or_else(|| lacks("startsAt"))?;
        let at = time(began).ok_or_else(|| {
            let began = shown(began);
            format!("alerts[{index}].startsAt is {began:?}, and no time of RFC 3339")
        })?;
        let fingerprint = self.fingerprint.as_deref();
        let fingerprint = fingerprint.filter(|it| !it.is_empty());
        let name = name(fingerprint.ok_or_else(|| lacks("fingerprint"))?);
        // An empty label is none, as everywhere at Prometheus.
        let named = SERVICE_LABELS.iter().filter_map(|label| labels.get(*label));
        let named = named.into_iter().find(|name| !name.is_empty());
        let service = match named.map(|named| named.parse::<ServiceName>()) {
            Some(Ok(service)) => service,
            Some(Err(_)) => return Ok(Heard::Nobody(named.map(|it| shown(it)))),
            None => return Ok(Heard::Nobody(None)),
        };
        let rule = labels.get("alertname").map(String::as_str);
        if rule.is_some_and(|rule| NO_EVIDENCE.contains(&rule)) {
            return Ok(Heard::NoEvidence(service));
        }
        let alert = Alert {
            name,
            direction,
            at,
            firing: fires && !self.is_made_up(),
        };
        Ok(Heard::Of(service, alert))
    }

    /// Whether it fires because nothing is known: a rule may be told to do that.
    fn is_made_up(&self) -> bool {
        let reason = self.annotations.as_ref().and_then(|it| it.get(REASON));
        let mut words = reason.iter().flat_map(|it| it.split([',', ' ']));
        words.any(|word| NO_EVIDENCE_REASONS.contains(&word))
    }
}

fn missing(field: &str) -> String {
    format!("{field} is missing")
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// A fingerprint has no form that is promised.
fn name(fingerprint: &str) -> u64 {
    let digest = Sha256::digest(fingerprint.as_bytes());
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

fn time(text: &str) -> Option<Time> {
    let at: jiff::Timestamp = text.parse().ok()?;
    // Before 1970 nothing fired; Grafana's zero time among it.
    u64::try_from(at.as_millisecond()).ok().map(Time)
}

#[cfg(test)]
mod tests;
