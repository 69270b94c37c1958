//! Clients that do not count, as configured: a part of a user agent, or a rule with networks.

use ipnet::IpNet;

use super::raw::{Node, Value};
use super::reader::is_source;
use super::reading::Reading;
use super::value;
use crate::engine::ignore::Rule;

/// Reads the list `ignore` of a service.
pub(super) fn read(service: &Reading<'_>) -> Vec<Rule> {
    service.each("ignore", |key, node| match &node.value {
        Value::Table(table) if !is_source(table) => rule(service, node),
        _ => service.one(key, node, agent).map(Rule::by_agent),
    })
}

fn rule(service: &Reading<'_>, node: &Node) -> Option<Rule> {
    let section = service.reader.open(node, "ignore")?;
    let agent = section.read("agent", agent);
    let networks: Vec<IpNet> = section.list("networks", value::network);
    let answer = section.integer("answer");
    let trusts_agent = section.truth("trust_agent")?;
    if agent.is_none() && networks.is_empty() && !section.has("agent") && !section.has("networks") {
        let message = "says nobody; write agent = \"...\", networks = [\"...\"], or both";
        section.fault("agent", message);
    }
    let told_well = answer == Some(200);
    if answer.is_some() && !told_well {
        section.fault("answer", "is not 200; leave it out for the usual 503");
    }
    if told_well && networks.is_empty() && !trusts_agent {
        let message = "needs networks: anybody can call itself by that agent. Write them, or trust_agent = true";
        section.fault("answer", message);
    }
    Some(Rule {
        agent,
        networks,
        told_well,
    })
}

fn agent(text: &str) -> value::Parsed<String> {
    value::words(&text.to_lowercase())
}
