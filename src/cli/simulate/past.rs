//! What other idle timeouts would have made of what a service went through, as far as its ledger can tell.
//!
//! The ledger knows when a wake was asked for, when the service was last used before it slept, and when it slept. So it
//! knows each pause that ended in sleep. It does not know the pauses within the time awake, so a shorter timeout can have
//! slept more often than is reckoned here: its hours are the most they can be, its wakes the fewest.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::super::{check, client, out};
use crate::engine::time::{Span, Time};

/// Beside the one that is configured.
const TIMEOUTS_MINS: [u64; 8] = [5, 10, 15, 30, 60, 120, 240, 480];

/// From a wake to the sleep behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Life {
    woken: u64,
    /// The last use that was seen.
    used: u64,
}

/// What a timeout comes to.
#[derive(Debug, PartialEq)]
struct Outcome {
    timeout: Span,
    awake: Span,
    wakes: usize,
    /// Shorter than what was in force: more wakes and fewer hours are possible.
    bound: bool,
}

pub(super) async fn from_ledger(
    path: &Path,
    service: &str,
    back: Span,
    json: bool,
) -> anyhow::Result<()> {
    let config = check::load(path)?;
    let known = config
        .services
        .iter()
        .find(|(name, _)| name.as_str() == service);
    let (_, configured) = known.with_context(|| format!("there is no service {service}"))?;
    let body = client::past(&config, service).await?;
    let entries = body["entries"].as_array().map_or(&[][..], Vec::as_slice);
    let now = client::now();
    let since = now - back;
    let lives = lives(entries, since);
    let Some(first) = lives.first() else {
        bail!(
            "in the last {back} the ledger has no wake that ended in sleep by itself, and one that an admin asked for tells nothing: nothing can be reckoned"
        );
    };
    let length = now.since(Time(first.woken));
    let in_force = configured.idle_timeout;
    let mut timeouts: Vec<Span> = TIMEOUTS_MINS.map(Span::mins).to_vec();
    timeouts.push(in_force);
    timeouts.sort_unstable();
    timeouts.dedup();
    let outcomes: Vec<Outcome> = timeouts
        .into_iter()
        .map(|timeout| outcome(&lives, timeout, in_force))
        .collect();
    let price = configured
        .cost
        .as_ref()
        .map(|cost| (cost.per_hour, &cost.currency));
    if json {
        let outcome = |it: &Outcome| {
            json!({ "idle_timeout_ms": it.timeout.0, "awake_ms": it.awake.0, "wakes": it.wakes, "is_bound": it.bound,
                "cost": price.map(|(price, _)| price * hours(it.awake)) })
        };
        let outcomes: Vec<Value> = outcomes.iter().map(outcome).collect();
        let told = json!({ "service": service, "since": first.woken, "lives": lives.len(), "idle_timeouts": outcomes });
        out::line(&told.to_string());
        return Ok(());
    }
    out::line(&format!(
        "{service}: {} wakes that ended in sleep, the first {length} ago\n",
        lives.len()
    ));
    let mut rows = vec![
        ["IDLE_TIMEOUT", "HOURS AWAKE", "WAKES", "COST"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for it in &outcomes {
        let cost =
            price.map(|(price, currency)| format!("{:.2} {currency}", price * hours(it.awake)));
        let (most, fewest) = if it.bound {
            ("at most ", "at least ")
        } else {
            ("", "")
        };
        let here = if it.timeout == in_force { " (now)" } else { "" };
        rows.push(vec![
            format!("{}{here}", it.timeout),
            format!("{most}{:.1}", hours(it.awake)),
            format!("{fewest}{}", it.wakes),
            cost.map_or_else(String::new, |cost| format!("{most}{cost}")),
        ]);
    }
    out::table(&rows);
    Ok(())
}

fn hours(span: Span) -> f64 {
    span.as_secs_f64() / 3_600.0
}

/// The lives that began after `since` and ended in sleep for lack of use, oldest first.
fn lives(entries: &[Value], since: Time) -> Vec<Life> {
    let (mut lives, mut woken, mut used) = (Vec::new(), None, None);
    // The ledger has the newest first.
    for entry in entries.iter().rev() {
        let Some(at) = entry["when"].as_u64().filter(|at| *at >= since.0) else {
            continue;
        };
        match entry["event"].as_str() {
            Some("wake_began" | "adopted") => (woken, used) = (woken.or(Some(at)), None),
            // An admin's sleep says nothing of how long there would have been no use.
            Some("went_idle") if entry["why"] == "idle" => {
                used = entry["idle"].as_u64().map(|idle| at.saturating_sub(idle));
            }
            Some("stop_cancelled") => used = None,
            Some("slept" | "vanished") => {
                let both = woken.take().zip(used.take());
                let life = both.map(|(woken, used): (u64, u64)| Life {
                    woken,
                    used: used.max(woken),
                });
                lives.extend(life);
            }
            _ => {}
        }
    }
    lives
}

/// A life ends `timeout` after its last use, unless the next one begins before.
fn outcome(lives: &[Life], timeout: Span, in_force: Span) -> Outcome {
    let (mut awake, mut wakes) = (0, 0);
    let mut until: Option<u64> = None;
    for life in lives {
        let from = match until {
            Some(until) if life.woken <= until => until,
            _ => {
                wakes += 1;
                life.woken
            }
        };
        let end = life.used.saturating_add(timeout.0);
        awake += end.saturating_sub(from);
        until = Some(end.max(from));
    }
    Outcome {
        timeout,
        awake: Span(awake),
        wakes,
        bound: timeout < in_force,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn life(woken: u64, used: u64) -> Life {
        Life {
            woken: woken * MINUTE,
            used: used * MINUTE,
        }
    }

    #[test]
    fn a_longer_timeout_joins_lives_and_a_shorter_one_ends_them_sooner() {
        let lives = [life(0, 10), life(100, 130), life(170, 180)];
        let of = |mins| {
            let it = outcome(&lives, Span::mins(mins), Span::mins(30));
            (it.awake.0 / MINUTE, it.wakes, it.bound)
        };
        assert_eq!(of(30), (40 + 60 + 40, 3, false));
        assert_eq!(of(45), (55 + 125, 2, false));
        assert_eq!(of(240), (420, 1, false));
        assert_eq!(of(5), (15 + 35 + 15, 3, true));
    }

    #[test]
    fn lives_are_read_from_the_ledger_newest_first() {
        let entries = [
            json!({ "when": 900, "event": "wake_began" }),
            json!({ "when": 800, "event": "slept", "awake": 1, "why": "admin" }),
            json!({ "when": 790, "event": "went_idle", "idle": 5, "why": "admin" }),
            json!({ "when": 700, "event": "wake_began" }),
            json!({ "when": 600, "event": "slept", "awake": 1, "why": "idle" }),
            json!({ "when": 590, "event": "went_idle", "idle": 90, "why": "idle" }),
            json!({ "when": 400, "event": "stop_cancelled", "why": "x" }),
            json!({ "when": 390, "event": "went_idle", "idle": 90, "why": "idle" }),
            json!({ "when": 200, "event": "woken", "took": 3 }),
            json!({ "when": 190, "event": "wake_began" }),
            json!({ "when": 20, "event": "slept", "awake": 1, "why": "idle" }),
        ];
        let found = lives(&entries, Time(0));
        assert_eq!(
            found,
            [Life {
                woken: 190,
                used: 500
            }]
        );
        assert_eq!(lives(&entries, Time(195)), []);
    }
}
