//! Reads an answer of Prometheus' `/api/v1/query`, and finds in it what it says of one instance.
//!
//! Source: Prometheus' HTTP API, "Expression queries", and "Expression query result formats".

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::engine::id::ServiceName;
use crate::engine::traffic::Upstream;

/// The most of somebody else's words, in characters.
const WORDS_MAX: usize = 1_024;

/// What an expression gave.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The moment that it tells of, by Prometheus' clock, in seconds since the epoch.
    pub(super) evaluated: f64,
    /// What Prometheus says against the expression.
    pub(super) warnings: Vec<String>,
    elements: Vec<Element>,
    /// One value that belongs to nobody: it is everybody's.
    everybody: Option<f64>,
    by_label: BTreeMap<Box<str>, Vec<usize>>,
    by_ip: BTreeMap<IpAddr, Vec<usize>>,
    by_name: BTreeMap<Box<str>, Vec<usize>>,
}

#[derive(Debug)]
struct Element {
    value: f64,
    label: Option<Box<str>>,
    service: Option<Box<str>>,
}

/// What an answer says of an instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// One value, and the label `instance` that it stood under.
    One(f64, Option<Box<str>>),
    /// So many values.
    Several(usize),
    /// Nothing.
    Nothing,
}

/// Whom an answer is searched for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whom<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) one: &'a Upstream,
    /// Another instance of the crew has the same IP address.
    pub(super) shared: bool,
}

#[derive(Deserialize)]
struct Form<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
    #[serde(default)]
    error: Option<String>,
    #[serde(rename = "errorType", default)]
    kind: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data<'a> {
    #[serde(borrow)]
    Vector(Vec<One<'a>>),
    #[serde(borrow)]
    Scalar((f64, Cow<'a, str>)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(borrow)]
    metric: Labels<'a>,
    /// None for a native histogram.
    #[serde(borrow, default)]
    value: Option<(f64, Cow<'a, str>)>,
}

#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(borrow, default)]
    instance: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    anteroom_instance: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    anteroom_service: Option<Cow<'a, str>>,
}

impl Answer {
    /// Reads an answer of this status.
    ///
    /// # Errors
    ///
    /// What Prometheus says is wrong, in its own words, or that this is no answer of a Prometheus.
    pub(super) fn read(status: u16, body: &[u8]) -> Result<Answer, String> {
        let form: Form<'_> = serde_json::from_slice(body).map_err(|error| match status {
            200 => format!("what it answers is not Prometheus' form: {error}"),
            _ => format!(
                "it answers {status}: {}",
                words(&String::from_utf8_lossy(body))
            ),
        })?;
        if form.status != "success" {
            let said = form.error.unwrap_or_default();
            let kind = form.kind.unwrap_or_default();
            let said = words(&said);
            return Err(format!("it answers {status}, {kind}: {said}"));
        }
        let mut answer = Answer {
            warnings: form.warnings,
            ..Answer::default()
        };
        match form.data {
            Some(Data::Scalar((evaluated, value))) => {
                answer.evaluated = evaluated;
                answer.everybody = Some(number(&value)?);
            }
            Some(Data::Vector(elements)) => answer.take(elements)?,
            Some(Data::Matrix(_)) => return Err(unfit("a range of values")),
            Some(Data::String(_)) => return Err(unfit("a text")),
            None => return Err("what it answers has no data".to_owned()),
        }
        Ok(answer)
    }

    fn take(&mut self, elements: Vec<One<'_>>) -> Result<(), String> {
        let alone = elements.len() == 1;
        for One { metric, value } in elements {
            let (evaluated, value) = value.ok_or_else(|| unfit("histograms"))?;
            let value = number(&value)?;
            self.evaluated = evaluated;
            let Labels {
                instance: label,
                anteroom_instance: name,
                anteroom_service: service,
            } = metric;
            if label.is_none() && name.is_none() {
                // Of many that belong to nobody, none is the mean of all.
                self.everybody = Some(value).filter(|_| alone);
                continue;
            }
            let at = self.elements.len();
            let of = |text: &Cow<'_, str>| -> Box<str> { Box::from(text.as_ref()) };
            if let Some(label) = &label {
                self.by_label.entry(of(label)).or_default().push(at);
                if let Some(ip) = ip(label) {
                    self.by_ip.entry(ip).or_default().push(at);
                }
            }
            if let Some(name) = &name {
                self.by_name.entry(of(name)).or_default().push(at);
            }
            self.elements.push(Element {
                value,
                label: label.as_ref().map(of),
                service: service.as_ref().map(of),
            });
        }
        Ok(())
    }

    /// The value of an instance: by our own name of it, by the address of its app, by its IP address, or everybody's.
    pub(super) fn value(&self, whom: Whom<'_>) -> Found {
        for found in self.of(whom) {
            match found[..] {
                [] => {}
                [at] => {
                    let Element { value, label, .. } = &self.elements[at];
                    return Found::One(*value, label.clone());
                }
                _ => return Found::Several(found.len()),
            }
        }
        match self.everybody {
            Some(value) => Found::One(value, None),
            None => Found::Nothing,
        }
    }

    /// The least value of an instance: of what stands under this label, else as [`value`](Self::value) finds it.
    pub(super) fn least(&self, whom: Whom<'_>, label: Option<&str>) -> Option<f64> {
        let labelled = label.and_then(|label| self.by_label.get(label));
        let mut found = labelled.cloned().into_iter().chain(self.of(whom));
        let found = found.find(|found| !found.is_empty());
        let values = found
            .into_iter()
            .flatten()
            .map(|at| self.elements[at].value);
        values.reduce(f64::min).or(self.everybody)
    }

    /// What stands under the names of an instance, the surest first.
    fn of(&self, whom: Whom<'_>) -> impl Iterator<Item = Vec<usize>> {
        let Whom {
            service,
            one,
            shared,
        } = whom;
        let named = self.by_name.get(one.instance.to_string().as_str());
        let ours = |at: &&usize| {
            let of = self.elements[**at].service.as_deref();
            of.is_none_or(|of| of == service.as_str())
        };
        let named = named.map(|named| named.iter().filter(ours).copied().collect());
        let app = self.by_label.get(one.address.to_string().as_str()).cloned();
        let ip = self.by_ip.get(&one.address.ip()).filter(|_| !shared);
        [named, app, ip.cloned()].into_iter().flatten()
    }
}

/// The host of a label like `10.0.0.7:9100`, where it is an IP address.
fn ip(label: &str) -> Option<IpAddr> {
    let socket = label.parse::<SocketAddr>().map(|socket| socket.ip());
    socket.ok().or_else(|| label.parse().ok())
}

fn number(text: &str) -> Result<f64, String> {
    let wrong = || format!("{:?} is no number", words(text));
    text.parse().map_err(|_| wrong())
}

fn unfit(what: &str) -> String {
    format!("the expression gives {what}; write one that gives a value for each instance")
}

/// The beginning of somebody else's words, bounded and on one line, for the log.
fn words(text: &str) -> String {
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(WORDS_MAX).collect()
}
