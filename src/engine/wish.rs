//! What an admin, or another room, writes for the leader of a service: one word in a list, or a hold.

use super::contract::{Input, Trigger, TriggerBy};
use super::id::InstanceId;
use super::record::Hold;
use super::scale::{Alert, Direction};
use super::time::{Span, Time};

/// A hold without an end is one for so long. It is renewed while it stands.
pub const ENDLESS: Span = Span::mins(10 * 365 * 24 * 60);

/// Two ends of one hold may differ by so much: one is reckoned from the store's clock, the other from ours.
const ENDS_DIFFER: Span = Span::secs(5);

/// Who asks by writing a command without a name.
const COMMAND_KEY: &str = "the command key";

/// The longest name of an admin that goes from room to room, in characters.
const NAME_MAX: usize = 100;

/// What a command means.
///
/// # Errors
/// What is wrong with it, in words for a person.
pub fn of_command(text: &str) -> Result<Input, String> {
    let word = text.trim();
    if let Some(trigger) = word.strip_prefix("trigger ") {
        let trigger = serde_json::from_str(trigger);
        return trigger
            .map(Input::Triggered)
            .map_err(|error| format!("command: a trigger can't be read: {error}"));
    }
    if let Some(who) = word.strip_prefix("sleep ") {
        let who = who.trim().chars().take(NAME_MAX).collect();
        return Ok(Input::SleepAsked { who });
    }
    if let Some(alert) = word.strip_prefix("alert ") {
        let alert = of_alert(alert).map(Input::Alerted);
        return alert.ok_or_else(|| "command: an alert can't be read".to_owned());
    }
    if let Some(which) = word.strip_prefix("suspect ") {
        let which = serde_json::from_str(which).map(Some).map(Input::Suspected);
        return which.map_err(|_| "command: an instance can't be read".to_owned());
    }
    match word {
        "wake" => Ok(Input::Triggered(Trigger {
            by: TriggerBy::Admin,
            who: COMMAND_KEY.into(),
            path: String::new(),
        })),
        "sleep" => Ok(Input::SleepAsked {
            who: COMMAND_KEY.into(),
        }),
        "release" => Ok(Input::Released),
        "suspect" => Ok(Input::Suspected(None)),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err(format!(
                "command: {shown:?} is none of wake, sleep, release"
            ))
        }
    }
}

/// The command that brings a trigger to another room.
#[must_use]
pub fn to_trigger(trigger: &Trigger) -> String {
    let trigger = serde_json::to_string(trigger).unwrap_or_default();
    format!("trigger {trigger}")
}

/// The command that brings an admin's wish for sleep to another room.
#[must_use]
pub fn to_sleep(who: &str) -> String {
    format!("sleep {who}")
}

/// The command that tells another room that an instance, or one of all, could not be reached.
#[must_use]
pub fn to_suspect(which: Option<InstanceId>) -> String {
    match which.and_then(|which| serde_json::to_string(&which).ok()) {
        Some(which) => format!("suspect {which}"),
        None => "suspect".to_owned(),
    }
}

/// The command that brings an alert to another room.
#[must_use]
pub fn to_alert(alert: &Alert) -> String {
    let Alert { name, at, .. } = alert;
    let (direction, says) = (alert.direction.as_str(), says(alert.firing));
    format!("alert {direction} {says} {name:016x} {}", at.0)
}

fn of_alert(text: &str) -> Option<Alert> {
    let mut words = text.split(' ');
    let direction = words.next()?;
    let directions = [Direction::Up, Direction::Down].into_iter();
    let direction = directions.into_iter().find(|it| it.as_str() == direction)?;
    let firing = words.next()?;
    let firing = [true, false].into_iter().find(|it| says(*it) == firing)?;
    let name = u64::from_str_radix(words.next()?, 16).ok()?;
    let at = Time(words.next()?.parse().ok()?);
    words.next().is_none().then_some(Alert {
        name,
        direction,
        at,
        firing,
    })
}

const fn says(firing: bool) -> &'static str {
    if firing { "fires" } else { "ended" }
}

/// What a hold that is written means for a service that has `held`: its reason and the time that it has left, none
/// for one without an end. Nothing, where it says what is so already.
#[must_use]
pub fn of_hold(now: Time, held: Option<&Hold>, reason: &str, left: Option<Span>) -> Option<Input> {
    let same = held.is_some_and(|hold| {
        let ends = match left {
            Some(left) => differ(hold.until, now + left) <= ENDS_DIFFER,
            None => hold.until > now + Span(ENDLESS.0 / 2),
        };
        hold.reason == reason && ends
    });
    (!same).then(|| Input::Held {
        until: now + left.unwrap_or(ENDLESS),
        reason: reason.to_owned(),
    })
}

fn differ(one: Time, other: Time) -> Span {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_795_248_000_000);

    #[test]
    fn a_command_is_one_of_three_words() {
        let by_admin = |input| match input {
            Ok(Input::Triggered(trigger)) => trigger.by == TriggerBy::Admin,
            _ => false,
        };
        assert!(by_admin(of_command("wake")) && by_admin(of_command(" wake\n")));
        let asleep = |who: &str| Ok(Input::SleepAsked { who: who.into() });
        assert_eq!(of_command("sleep"), asleep(COMMAND_KEY));
        assert_eq!(of_command(&to_sleep("ann (shell)")), asleep("ann (shell)"));
        assert_eq!(of_command("release"), Ok(Input::Released));
        for bad in ["", "Wake", "wake blog", "trigger", "trigger {}", "\u{7}"] {
            let why = of_command(bad).expect_err(bad);
            assert!(why.starts_with("command: "), "{why}");
        }
        let long = of_command(&"x".repeat(1 << 20)).expect_err("no word");
        assert!(long.len() < 100);
    }

    #[test]
    fn a_trigger_comes_through_whole() {
        let trigger = Trigger {
            by: TriggerBy::Click,
            who: "2001:db8:1::/48".into(),
            path: "/a \"b\"".into(),
        };
        let command = to_trigger(&trigger);
        assert_eq!(of_command(&command), Ok(Input::Triggered(trigger)));
    }

    #[test]
    fn a_suspicion_names_its_instance() {
        let clone = crate::engine::id::CloneId::new(3, 1_795_248_000).unwrap();
        for which in [None, Some(InstanceId::SEED), Some(InstanceId::Clone(clone))] {
            assert_eq!(of_command(&to_suspect(which)), Ok(Input::Suspected(which)));
        }
        assert!(of_command("suspect everybody").is_err());
    }

    #[test]
    fn an_alert_comes_through_whole() {
        for (direction, firing) in [(Direction::Up, true), (Direction::Down, false)] {
            let alert = Alert {
                name: u64::MAX / 3,
                direction,
                at: NOW,
                firing,
            };
            assert_eq!(of_command(&to_alert(&alert)), Ok(Input::Alerted(alert)));
        }
        for bad in [
            "alert",
            "alert up",
            "alert up fires x 1",
            "alert up fires 1 -1",
            "alert up fires 1 1 1",
        ] {
            assert!(of_command(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hold_is_heard_of_once() {
        let hour = Span::mins(60);
        let told = of_hold(NOW, None, "repair", Some(hour)).expect("it is new");
        let Input::Held { until, reason } = told else {
            panic!("{told:?}");
        };
        let held = Hold { until, reason };
        let later = NOW + Span::mins(7);
        let left = Some(Span::mins(53) + Span::secs(2));
        assert_eq!(of_hold(later, Some(&held), "repair", left), None);
        assert!(of_hold(later, Some(&held), "a visit", left).is_some());
        assert!(of_hold(later, Some(&held), "repair", Some(hour)).is_some());
        assert!(of_hold(later, Some(&held), "repair", None).is_some());
    }

    #[test]
    fn a_hold_without_an_end_is_renewed_once_in_years() {
        let Some(Input::Held { until, reason }) = of_hold(NOW, None, "x", None) else {
            panic!("it is new");
        };
        let held = Hold { until, reason };
        let year = Span::mins(365 * 24 * 60);
        assert_eq!(of_hold(NOW + year, Some(&held), "x", None), None);
        let late = NOW + Span(year.0 * 6);
        assert!(of_hold(late, Some(&held), "x", None).is_some());
    }
}
