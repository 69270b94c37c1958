//! Commands that talk to a running Anteroom over its admin listener.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::out;
use crate::config::{Config, Secret};
use crate::engine::time::{Span, Time};

/// A running Anteroom answers at once; a command does not wait for machines.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What `hold` says beside the service.
pub(super) struct Hold {
    pub(super) length: jiff::SignedDuration,
    pub(super) reason: Option<String>,
}

struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    fn of(path: &Path) -> anyhow::Result<Client> {
        let config = super::check::load(path)?;
        Client::new(&config)
    }

    fn new(config: &Config) -> anyhow::Result<Client> {
        let http = crate::telemetry::http_client()
            .timeout(TIMEOUT)
            .no_proxy()
            .build()?;
        let mut address = config.admin.listen;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let token = config
            .admin
            .token
            .as_ref()
            .map(Secret::expose)
            .map(str::to_owned);
        Ok(Client {
            http,
            base: format!("http://{address}/api/v1"),
            token,
        })
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.with_context(|| {
            format!(
                "no Anteroom answers at {}; is it running with this configuration?",
                self.base
            )
        })?;
        let status = answer.status();
        let body: Value = answer
            .json()
            .await
            .context("the answer isn't JSON: is this Anteroom's admin listener?")?;
        match status.is_success() {
            true => Ok(body),
            false => bail!("{}", body["detail"].as_str().unwrap_or("refused")),
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(self.http.get(format!("{}{path}", self.base)))
            .await
    }
}

pub(super) async fn status(path: &Path, watch: bool, json: bool) -> anyhow::Result<()> {
    let client = Client::of(path)?;
    loop {
        let body = client.get("/services").await?;
        if json {
            out::line(&body.to_string());
        } else {
            if watch {
                out::line("\x1b[2J\x1b[H");
            }
            out::table(&status_rows(&body, now()));
        }
        if !watch {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn status_rows(body: &Value, now: Time) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["SERVICE", "PHASE", "FOR", "INSTANCES", "WAKES", "WHY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for view in body["services"].as_array().into_iter().flatten() {
        let word = |key: &str| view[key].as_str().unwrap_or("?").to_owned();
        let since = Time(view["since"].as_u64().unwrap_or(now.0));
        let count = view["triggered_count"].as_u64().unwrap_or(0).to_string();
        rows.push(vec![
            word("service"),
            word("phase"),
            now.since(since).to_string(),
            instances(view),
            count,
            word("why"),
        ]);
    }
    rows
}

/// How many serve, and what is on its way: `2, 1 starting, 3 wanted`.
fn instances(view: &Value) -> String {
    let serving = view["upstreams"].as_array().map_or(0, Vec::len);
    let mut words = vec![serving.to_string()];
    let clones = || view["clones"].as_array().into_iter().flatten();
    for step in ["making", "starting", "leaving"] {
        let count = clones().filter(|clone| clone["step"] == step).count();
        if count > 0 {
            words.push(format!("{count} {step}"));
        }
    }
    let wanted = view["scale"]["wanted"].as_u64();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != serving as u64) {
        words.push(format!("{wanted} wanted"));
    }
    words.join(", ")
}

pub(super) async fn why(path: &Path, service: &str, json: bool) -> anyhow::Result<()> {
    let body = Client::of(path)?
        .get(&format!("/services/{service}/why"))
        .await?;
    if json {
        out::line(&body.to_string());
        return Ok(());
    }
    out::line(&format!(
        "{service} is {}. {}",
        text(&body["phase"]),
        text(&body["why"])
    ));
    for line in gate_lines(&body) {
        out::line(&line);
    }
    if let Some(wanted) = body["scale"]["wanted"].as_u64() {
        let why = text(&body["scale"]["why"]);
        out::line(&format!("Instances wanted: {wanted} ({why})."));
    }
    let last = &body["last_scaled"];
    if last.is_object() {
        let (when, what) = (moment(&last["when"]), scaled(last));
        out::line(&format!("The number changed last at {when}, {what}."));
    }
    Ok(())
}

/// Who may not wake it: for a trap that it opened, and how many were refused.
fn gate_lines(body: &Value) -> Vec<String> {
    let trapped = body["trapped"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = trapped.map(trapped_line).collect();
    let refused = body["refused"].as_object().into_iter().flatten();
    let refused: Vec<_> = refused.map(|(rule, n)| format!("{n} by {rule}")).collect();
    if !refused.is_empty() {
        lines.push(format!("Refused in the last 24h: {}.", refused.join(", ")));
    }
    lines
}

fn trapped_line(asked: &Value) -> String {
    let (who, path) = (text(&asked["who"]), text(&asked["path"]));
    let (when, until) = (moment(&asked["when"]), moment(&asked["banned_until"]));
    let whose = match asked["address"].as_str() {
        Some(address) => format!("{address} of {who}"),
        None => who.clone(),
    };
    let lift = match who.parse::<ipnet::IpNet>() {
        Ok(_) => who,
        Err(_) => "ADDRESS".into(),
    };
    format!(
        "{whose} opened the trap {path} at {when}; its network wakes nothing until {until}, or `anteroom pardon {lift}`."
    )
}

pub(super) async fn ledger(
    path: &Path,
    service: &str,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    let body = Client::of(path)?
        .get(&format!("/services/{service}/ledger?limit={limit}"))
        .await?;
    if json {
        out::line(&body.to_string());
        return Ok(());
    }
    let entries = body["entries"].as_array().into_iter().flatten();
    let rows: Vec<_> = entries.map(ledger_row).collect();
    out::table(&rows);
    let asked = body["triggerers"].as_array().into_iter().flatten();
    let rows: Vec<_> = asked.map(triggerer_row).collect();
    if !rows.is_empty() {
        out::line("\nWho asked, and what came of it:");
        out::table(&rows);
    }
    Ok(())
}

/// All that the ledger of a service still has, as the admin listener gives it.
pub(super) async fn past(config: &Config, service: &str) -> anyhow::Result<Value> {
    let limit = crate::store::LEDGER_MAX;
    let path = format!("/services/{service}/ledger?limit={limit}");
    Client::new(config)?.get(&path).await
}

pub(super) async fn forget(path: &Path, address: &str, json: bool) -> anyhow::Result<()> {
    let client = Client::of(path)?;
    let request = client.http.post(format!("{}/forget", client.base));
    let body = client.ask(request.json(&json!({ "address": address })));
    let body = body.await?;
    if json {
        out::line(&body.to_string());
        return Ok(());
    }
    let removed = |what: &str| body["removed"][what].as_u64().unwrap_or(0);
    out::line(&format!(
        "{} is forgotten: {} entries among the triggerers, {} limits and {} names in ledgers are removed",
        text(&body["forgotten"]),
        removed("triggerers"),
        removed("limits"),
        removed("ledger"),
    ));
    Ok(())
}

pub(super) async fn pardon(path: &Path, network: &str, json: bool) -> anyhow::Result<()> {
    let client = Client::of(path)?;
    let request = client.http.post(format!("{}/pardon", client.base));
    let body = client.ask(request.json(&json!({ "network": network })));
    let body = body.await?;
    if json {
        out::line(&body.to_string());
        return Ok(());
    }
    let count = |what: &str| body[what].as_u64().unwrap_or(0);
    out::line(&format!(
        "{} may wake services again: {} held for a trap and {} bans are lifted",
        text(&body["pardoned"]),
        count("held"),
        count("bans"),
    ));
    Ok(())
}

fn ledger_row(entry: &Value) -> Vec<String> {
    let says = match entry["event"].as_str() {
        Some("scaled") => scaled(entry),
        Some("clone") => of_clone(entry),
        _ => details(entry),
    };
    vec![
        moment(&entry["when"]),
        text(&entry["event"]).replace('_', " "),
        says,
    ]
}

/// That another number of instances was wanted, and why.
fn scaled(entry: &Value) -> String {
    let (have, wanted) = (&entry["have"], &entry["wanted"]);
    format!("from {have} to {wanted}: {}", text(&entry["why"]))
}

/// What happened to a clone.
fn of_clone(entry: &Value) -> String {
    let what = match entry["step"].as_str() {
        Some("begun") => "is being made",
        Some("made") => "is made",
        Some("adopted") => "was found and is taken in",
        Some("not_made") => "could not be made",
        Some("serving") => "serves",
        Some("ailing") => "does not answer, and gets no visitors",
        Some("given_up") => "is given up",
        Some("leaving") => "gets no more visitors",
        Some("back_again") => "is wanted again",
        Some("removing") => "is being removed",
        Some("gone") => "is gone",
        _ => return details(entry),
    };
    let clone = text(&entry["which"]);
    match entry["why"].as_str() {
        Some(_) => format!("{clone} {what}: {}", text(&entry["why"])),
        None => format!("{clone} {what}"),
    }
}

fn triggerer_row(asked: &Value) -> Vec<String> {
    let wake = asked["wake"].as_u64().unwrap_or(0);
    let outcome = match asked["outcome"].as_str() {
        Some("woke") => format!("woke it (wake {wake})"),
        Some("joined") => format!("joined wake {wake}"),
        Some("trapped") => format!("trapped until {}", moment(&asked["banned_until"])),
        _ => format!("refused by {}", text(&asked["rule"])),
    };
    let address = asked["address"].as_str().or(asked["who"].as_str());
    vec![
        moment(&asked["when"]),
        address.unwrap_or("?").to_owned(),
        text(&asked["by"]),
        text(&asked["path"]),
        outcome,
        text(&asked["agent"]),
    ]
}

/// What an entry says beside its time and its name.
fn details(entry: &Value) -> String {
    let fields = entry.as_object().into_iter().flatten();
    let shown = fields
        .filter(|(key, value)| !matches!(key.as_str(), "when" | "event") && **value != "")
        .map(|(key, value)| match value {
            Value::Number(ms) if matches!(key.as_str(), "took" | "idle" | "awake" | "after") => {
                format!("{key} {}", Span(ms.as_u64().unwrap_or(0)))
            }
            Value::Number(_) if matches!(key.as_str(), "until" | "retry_at" | "at") => {
                format!("{key} {}", moment(value))
            }
            Value::String(_) => format!("{key} {}", text(value)),
            Value::Array(words) => {
                let words: Vec<_> = words.iter().map(text).collect();
                format!("{key} {}", words.join(" "))
            }
            other => format!("{key} {other}"),
        });
    shown.collect::<Vec<_>>().join(", ")
}

pub(super) async fn command(
    path: &Path,
    service: &str,
    verb: &str,
    hold: Option<Hold>,
) -> anyhow::Result<()> {
    let client = Client::of(path)?;
    let who = std::env::var("USER").unwrap_or_else(|_| "admin".into());
    let mut body = json!({ "who": format!("{who} (command line)") });
    if let Some(hold) = hold {
        body["for"] = json!(hold.length);
        body["reason"] = json!(hold.reason.unwrap_or(who));
    }
    let request = client
        .http
        .post(format!("{}/services/{service}/{verb}", client.base))
        .json(&body);
    client.ask(request).await?;
    out::line(&format!(
        "{service}: {verb} accepted; `anteroom status` shows what comes of it"
    ));
    Ok(())
}

/// A text as a terminal may have it: some came from visitors.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or("?");
    text.chars().filter(|c| !c.is_control()).collect()
}

fn moment(value: &Value) -> String {
    let at = value
        .as_i64()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(
        || "?".into(),
        |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

pub(super) fn now() -> Time {
    Time(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_many_serve_and_what_is_on_its_way() {
        let view = json!({
            "upstreams": [{}, {}],
            "clones": [{ "step": "serving" }, { "step": "starting" }],
            "scale": { "wanted": 3, "why": "" },
        });
        assert_eq!(instances(&view), "2, 1 starting, 3 wanted");
        assert_eq!(instances(&json!({ "upstreams": [] })), "0");
    }

    #[test]
    fn a_row_of_the_ledger_is_a_sentence_also_for_clones() {
        let row = |entry: Value| ledger_row(&entry).pop();
        let said = |text: &str| Some(text.to_owned());
        let of = |step: &str| {
            row(json!({ "when": 0, "event": "clone", "step": step, "which": "clone-1-tovcls" }))
        };
        assert_eq!(of("serving"), said("clone-1-tovcls serves"));
        assert_eq!(
            of("unheard_of"),
            said("step unheard_of, which clone-1-tovcls")
        );
        let failed = json!({ "event": "clone", "step": "not_made", "which": "clone-1-tovcls", "why": "no room" });
        assert_eq!(
            row(failed),
            said("clone-1-tovcls could not be made: no room")
        );
        let scaled = json!({ "event": "scaled", "have": 3, "wanted": 4, "why": "load 79 %" });
        assert_eq!(row(scaled), said("from 3 to 4: load 79 %"));
    }
}
