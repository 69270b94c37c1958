//! The shipped policy, as `--policy` names it.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::replay::{Course, INSTANCES_MAX, World};
use crate::engine::load::Share;
use crate::engine::scale::{Crew, Mode, Scaler, Terms};
use crate::engine::time::Span;

/// A policy with its keys.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    written: String,
    terms: Terms,
}

impl Policy {
    /// As it was written.
    pub(super) fn name(&self) -> String {
        self.written.clone()
    }

    /// Minutes of samples, decided on by the [`Scaler`] that also decides in a service.
    pub(super) fn replay(&self, world: &World) -> Course {
        let mut scaler = Scaler::default();
        Course::of(world, |minute| {
            let crew = Crew {
                serving: minute.serving,
                starting: minute.starting,
                leaving: 0,
            };
            scaler.measured(minute.samples, &crew, minute.end, &self.terms);
            scaler.decide(minute.end, &crew, &self.terms).wanted
        })
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        let mut parts = text.split(',');
        let mode = match parts.next() {
            Some("threshold") => Mode::Threshold,
            Some("projected") => Mode::Projected {
                margin: Mode::MARGIN,
            },
            _ => return Err("a policy is `threshold` or `projected`, and keys behind it".into()),
        };
        let mut terms = Terms {
            max: INSTANCES_MAX,
            mode,
            down_window: mode.default_down_window(),
            interval: Span::mins(1),
            ..Terms::default()
        };
        let mut down_at = None;
        for part in parts {
            let (key, value) = part
                .split_once('=')
                .ok_or(format!("`{part}` has no value"))?;
            match (key, &mut terms.mode) {
                ("up_at", _) => terms.up_at = percent(key, value, 20..=99)?,
                ("down_at", Mode::Threshold) => down_at = Some(percent(key, value, 1..=98)?),
                ("margin", Mode::Projected { margin }) => *margin = percent(key, value, 0..=50)?,
                ("up_window", _) => terms.up_window = time(key, value, "1m", "1h")?,
                ("down_window", _) => terms.down_window = time(key, value, "1m", "24h")?,
                ("cooldown", _) => terms.cooldown = time(key, value, "0s", "24h")?,
                ("min", _) => terms.min = number(key, value)?,
                ("max", _) => terms.max = number(key, value)?,
                _ => return Err(format!("this policy has no key `{key}`")),
            }
        }
        terms.down_at = down_at.unwrap_or(Terms::default_down_at(terms.up_at));
        agree(&terms)?;
        let written = text.to_owned();
        Ok(Policy { written, terms })
    }
}

/// What a service may not be configured to do is not replayed either.
fn agree(terms: &Terms) -> Result<(), String> {
    let lower = match terms.mode {
        Mode::Threshold => ("down_at", terms.down_at),
        Mode::Projected { margin } => ("margin", margin),
    };
    if lower.1 >= terms.up_at {
        return Err(format!("{} must be less than up_at", lower.0));
    }
    match terms.min <= terms.max {
        true => Ok(()),
        false => Err("min must be at most max".into()),
    }
}

fn percent(key: &str, value: &str, bounds: RangeInclusive<u64>) -> Result<Share, String> {
    match value.parse() {
        Ok(percent) if bounds.contains(&percent) => Ok(Share::percent(percent)),
        _ => Err(format!(
            "{key} is {} to {} percent",
            bounds.start(),
            bounds.end()
        )),
    }
}

fn number(key: &str, value: &str) -> Result<u16, String> {
    match value.parse() {
        Ok(number @ 1..=INSTANCES_MAX) => Ok(number),
        _ => Err(format!("{key} is 1 to {INSTANCES_MAX}")),
    }
}

fn time(key: &str, value: &str, least: &str, most: &str) -> Result<Span, String> {
    let wrong = |wrong| format!("{key}: {wrong}");
    let read = |text| super::time(text).map_err(wrong);
    let time = read(value)?;
    match (read(least)?..=read(most)?).contains(&time) {
        true => Ok(time),
        false => Err(format!("{key} is {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_with_its_keys() {
        let policy: Policy = "threshold,up_at=60,down_window=10m".parse().unwrap();
        assert_eq!(policy.terms.up_at, Share::percent(60));
        assert_eq!(policy.terms.down_at, Share::percent(25));
        assert_eq!(policy.terms.down_window, Span::mins(10));
        let policy: Policy = "projected,margin=5".parse().unwrap();
        let margin = Share::percent(5);
        assert_eq!(policy.terms.mode, Mode::Projected { margin });
        for bad in [
            "",
            "hpa",
            "threshold,margin=3",
            "projected,down_at=3",
            "threshold,up_at",
            "threshold,max=0",
            "threshold,cooldown=-1m",
            "threshold,up_at=0",
            "threshold,up_at=100",
            "threshold,down_at=70",
            "threshold,up_at=60,down_at=65",
            "projected,up_at=40,margin=40",
            "threshold,min=4,max=3",
            "threshold,down_window=10s",
            "threshold,cooldown=25h",
        ] {
            assert!(bad.parse::<Policy>().is_err(), "{bad}");
        }
    }
}
