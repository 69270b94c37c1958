//! The status hash: a service in a few words, for people and scripts.

use crate::engine::time::Time;
use crate::engine::view::View;

/// Its fields. One without a value is taken away. Times are RFC 3339, in UTC. `asker` is who asked for the last wake,
/// as far as the ledger still says.
pub(super) fn fields(view: &View, active: u32, asker: &str) -> Vec<(&'static str, String)> {
    let upstreams = view.upstreams.iter();
    let upstreams: Vec<_> = upstreams.map(|it| it.address.to_string()).collect();
    vec![
        ("phase", view.phase.as_str().to_owned()),
        ("since", moment(view.since)),
        ("reason", view.why.clone()),
        ("upstream", upstreams.join(" ")),
        ("active", active.to_string()),
        ("run_by", run_by(view, asker)),
        ("triggered_count", view.triggered_count.to_string()),
        (
            "last_activity",
            view.last_activity.map(moment).unwrap_or_default(),
        ),
        ("instances", view.upstreams.len().to_string()),
    ]
}

fn run_by(view: &View, asker: &str) -> String {
    match &view.run_by {
        Some(trigger) if trigger.who.is_empty() && !asker.is_empty() => asker.to_owned(),
        Some(trigger) => trigger.asker().to_owned(),
        None => String::new(),
    }
}

fn moment(at: Time) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_by_people() {
        assert_eq!(moment(Time(1_795_248_000_119)), "2026-11-21T08:00:00.119Z");
        assert_eq!(moment(Time(u64::MAX)), u64::MAX.to_string());
    }
}
