//! `anteroom doctor`: says of every service whether its provider would do as it is told, and what is wrong. It only reads.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::out;
use crate::app::doctor::{self, Examined, Findings, words};
use crate::config::Cost;
use crate::engine::machine::{Machine, Trouble};
use crate::provider::{Checkup, Known};

/// Ends with 0 when all is well, and with 1 when something is wrong.
pub(super) async fn doctor(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let config = super::check::load(path)?;
    let findings = doctor::examine(config).await;
    match json {
        true => out::line(&format!("{:#}", as_json(&findings))),
        false => print(&findings),
    }
    Ok(match findings.well() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn print(findings: &Findings) {
    for service in &findings.services {
        print_service(service);
    }
    for stray in &findings.strays {
        out::line(&format!("{} ({})", stray.name, stray.kind));
        out::line(&format!(
            "  WRONG: no service here wants this machine; its name says that it was made for {:?}",
            stray.service
        ));
        out::line("    mend: delete it there, unless another Anteroom of yours wants it");
    }
    for unsure in &findings.unsure {
        out::line(&format!("not found out: {unsure}"));
    }
    let wrong = findings.services.iter().map(|it| it.wrong.len());
    out::line(&match wrong.sum::<usize>() + findings.strays.len() {
        0 => "all is well".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        count => format!("{count} things are wrong"),
    });
}

fn print_service(service: &Examined) {
    let what = service.checkup.as_ref().map(|checkup| &checkup.what);
    let what = what.map_or_else(String::new, |what| format!(", {what}"));
    out::line(&format!("{} ({}{what})", service.name, service.kind));
    if let Some(checkup) = &service.checkup {
        let credential = match &checkup.credential {
            Ok(says) => says.clone(),
            Err(_) => "does not work".to_owned(),
        };
        out::line(&format!("  credential: {credential}"));
        let may = checkup.may.iter();
        let may = may.map(|(may, known)| format!("{} {}", words(*may), answer(*known)));
        out::line(&format!("  may: {}", may.collect::<Vec<_>>().join(", ")));
        if let Ok(machine) = &checkup.seed {
            out::line(&format!("  machine: {}", shown(machine)));
        }
        if !service.clones.is_empty() {
            let clones: Vec<_> = service.clones.iter().map(ToString::to_string).collect();
            out::line(&format!("  clones: {}", clones.join(", ")));
        }
        let asleep = checkup.asleep;
        let cost = service.cost.as_ref().map_or_else(String::new, price);
        out::line(&format!("  asleep you pay: {asleep}{cost}"));
        for warning in &checkup.warnings {
            out::line(&format!("  note: {warning}"));
        }
    }
    for wrong in &service.wrong {
        out::line(&format!("  WRONG: {}", wrong.what));
        out::line(&format!("    mend: {}", wrong.mend));
    }
}

fn price(cost: &Cost) -> String {
    format!(" (awake {} {} an hour)", cost.per_hour, cost.currency)
}

fn shown(machine: &Machine) -> String {
    let state = word(machine);
    match machine.address {
        Some(address) => format!("{state} at {address}"),
        None => state,
    }
}

fn word(machine: &Machine) -> String {
    let word = serde_json::to_value(machine.state).ok();
    let word = word.as_ref().and_then(Value::as_str);
    word.unwrap_or("unknown").to_owned()
}

fn answer(known: Known) -> &'static str {
    match known {
        Known::Yes => "yes",
        Known::No => "no",
        Known::Unknown => "unknown until it is tried",
    }
}

fn as_json(findings: &Findings) -> Value {
    let stray = |stray: &doctor::Stray| json!({ "name": stray.name, "kind": stray.kind, "service": stray.service });
    let services = findings.services.iter();
    json!({
        "well": findings.well(),
        "services": services.map(service_json).collect::<Vec<_>>(),
        "strays": findings.strays.iter().map(stray).collect::<Vec<_>>(),
        "unsure": findings.unsure,
    })
}

fn service_json(service: &Examined) -> Value {
    let wrong = service.wrong.iter();
    let wrong = wrong.map(|it| json!({ "what": it.what, "mend": it.mend }));
    let cost = service.cost.as_ref();
    json!({
        "name": service.name.as_str(),
        "kind": service.kind,
        "checkup": service.checkup.as_ref().map(checkup_json),
        "cost": cost.map(|it| json!({ "per_hour": it.per_hour, "currency": it.currency })),
        "clones": service.clones,
        "wrong": wrong.collect::<Vec<_>>(),
    })
}

fn checkup_json(checkup: &Checkup) -> Value {
    let trouble = |trouble: &Trouble| json!({ "trouble": trouble.to_string() });
    let may = checkup.may.iter().map(|(may, known)| {
        let known = match known {
            Known::Yes => Some(true),
            Known::No => Some(false),
            Known::Unknown => None,
        };
        json!({ "what": words(*may), "allowed": known })
    });
    json!({
        "what": checkup.what,
        "credential": match &checkup.credential {
            Ok(says) => json!({ "works": true, "says": says }),
            Err(why) => json!({ "works": false, "trouble": why.to_string() }),
        },
        "may": may.collect::<Vec<_>>(),
        "machine": match &checkup.seed {
            Ok(machine) => json!({ "state": machine.state, "address": machine.address }),
            Err(why) => trouble(why),
        },
        "asleep": checkup.asleep,
        "warnings": checkup.warnings,
    })
}
