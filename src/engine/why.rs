//! Why a service is as it is, in one sentence with the evidence: which rule, which signal, which client or admin, and
//! when. What the engine sees now is in the view; what brought it there is in the ledger, which outlives the process
//! and is where a client's name has an end.

use super::privacy::FORGOTTEN;
use super::story::{Event, SleepWhy};
use super::time::{Span, Time};
use super::traffic::{Source, words};
use super::trigger::{Trigger, TriggerBy};
use super::view::{Phase, View};

/// One line of the ledger: when, and what.
pub type Line<'a> = (Time, &'a Event);

/// The sentence. `told` is the ledger's latest part, newest first; without one, only what is seen now is said.
#[must_use]
pub fn sentence(view: &View, now: Time, told: &[Line<'_>]) -> String {
    let seen = || view.why.trim_end_matches('.').to_owned();
    let mut clauses = match view.phase {
        Phase::Asleep => vec![fell_asleep(told, now).unwrap_or_else(seen)],
        Phase::Diverting | Phase::Draining | Phase::Stopping => {
            let idle = told.iter().find_map(|line| went_idle(line, now));
            [Some(seen()), idle.map(|why| format!("this began {why}"))]
                .into_iter()
                .flatten()
                .collect()
        }
        Phase::Learning | Phase::Waking | Phase::Awake | Phase::Failed => vec![seen()],
    };
    clauses.extend(woken(view.phase, told, now));
    format!("{}.", clauses.join("; "))
}

/// What put the service to sleep, if that is the last thing of weight that was told.
fn fell_asleep(told: &[Line<'_>], now: Time) -> Option<String> {
    for (nth, (at, event)) in told.iter().enumerate() {
        let at = at.clock(now);
        match event {
            Event::Slept { awake, why } => {
                let earlier = told[nth + 1..].iter();
                let why = match why {
                    SleepWhy::GivenUp => {
                        "because its wake failed and nobody asked for it any more".to_owned()
                    }
                    SleepWhy::Idle | SleepWhy::Admin => earlier
                        .map_while(this_life)
                        .find_map(|line| went_idle(line, now))
                        .unwrap_or_else(|| plainly(*why).to_owned()),
                };
                let ran = match *awake {
                    Span::ZERO => String::new(),
                    awake => format!(", when it had been awake for {awake}"),
                };
                return Some(format!("It was stopped at {at}: put to sleep {why}{ran}"));
            }
            Event::Vanished { what } => {
                return Some(format!("Its machine went away at {at}: {what}"));
            }
            Event::WakeBegan(_) | Event::Woken { .. } | Event::Adopted => return None,
            _ => {}
        }
    }
    None
}

/// A line of the wake that the sleep ended, and none of an earlier one.
fn this_life<'a>(line: &'a Line<'a>) -> Option<&'a Line<'a>> {
    let began = matches!(line.1, Event::WakeBegan(_) | Event::Slept { .. });
    (!began).then_some(line)
}

/// When and by which rule and signals it was decided to put the service to sleep.
fn went_idle((at, event): &Line<'_>, now: Time) -> Option<String> {
    let Event::WentIdle {
        idle,
        why,
        who,
        sources,
    } = event
    else {
        return None;
    };
    let (began, used) = (at.clock(now), (*at - *idle).clock(now));
    Some(match why {
        SleepWhy::Idle => format!(
            "at {began} after {idle} without traffic{}, last used at {used}",
            by(sources)
        ),
        SleepWhy::Admin | SleepWhy::GivenUp => match who {
            Some(who) => format!("at {began} because {who} asked for it"),
            None => format!("at {began} {}", plainly(*why)),
        },
    })
}

fn plainly(why: SleepWhy) -> &'static str {
    match why {
        SleepWhy::Idle => "because nobody used it",
        SleepWhy::Admin => "because an admin asked for it",
        SleepWhy::GivenUp => "because nobody asked for it any more",
    }
}

fn by(sources: &[Source]) -> String {
    match sources {
        [] => String::new(),
        sources => format!(" (seen by {})", words(sources)),
    }
}

/// Who woke it, or wakes it.
fn woken(phase: Phase, told: &[Line<'_>], now: Time) -> Option<String> {
    for (at, event) in told {
        match event {
            Event::WakeBegan(trigger) => {
                let asked = match phase {
                    Phase::Waking | Phase::Failed => "asked for",
                    _ => "last woken",
                };
                return Some(format!("{asked} at {} {}", at.clock(now), who(trigger)));
            }
            Event::Adopted if phase != Phase::Asleep => {
                return Some(format!(
                    "its machine was found running at {}",
                    at.clock(now)
                ));
            }
            _ => {}
        }
    }
    None
}

fn who(trigger: &Trigger) -> String {
    let (name, path) = (&*trigger.who, &*trigger.path);
    let client = match name {
        "" => "a client".to_owned(),
        FORGOTTEN => "a client that is forgotten".to_owned(),
        name => name.to_owned(),
    };
    match trigger.by {
        TriggerBy::Page => format!("by {client}, whose page asked for {path}"),
        TriggerBy::Click => format!("by {client}, who pressed the button for {path}"),
        TriggerBy::Request => format!("by {client}, whose request was for {path}"),
        TriggerBy::Admin if name.is_empty() => "by an admin".into(),
        TriggerBy::Admin => format!("by {name}"),
        TriggerBy::Crash => format!("because its app went away under a visitor: {path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::policy::Policy;
    use crate::engine::service::Service;

    /// 2027-01-15 08:00:00:00 UTC.
    const T0: Time = Time(1_800_000_000_000);

    fn view(phase: Phase, why: &str) -> View {
        let service = Service::new("blog".parse().unwrap(), Policy::default(), T0);
        View {
            phase,
            why: why.into(),
            ..service.view()
        }
    }

    fn began(by: TriggerBy, who: &str, path: &str) -> Event {
        Event::WakeBegan(Trigger {
            by,
            who: who.into(),
            path: path.into(),
        })
    }

    fn idle(why: SleepWhy) -> Event {
        Event::WentIdle {
            idle: Span::mins(30),
            why,
            who: (why == SleepWhy::Admin).then(|| "ann".into()),
            sources: vec![Source::Edge, Source::Traefik],
        }
    }

    fn slept(why: SleepWhy) -> Event {
        Event::Slept {
            awake: Span::mins(90),
            why,
        }
    }

    /// The sentence an hour later, of events that were told a minute apart, oldest first.
    fn said(phase: Phase, why: &str, events: &[Event]) -> String {
        let times = (0..).map(|n| T0 + Span::mins(n));
        let mut told: Vec<Line<'_>> = times.zip(events).collect();
        told.reverse();
        sentence(&view(phase, why), T0 + Span::mins(60), &told)
    }

    #[test]
    fn a_sleeping_service_says_what_put_it_to_sleep_and_who_woke_it_last() {
        let page = began(TriggerBy::Page, "203.0.113.0/24", "/a");
        let told = [page.clone(), idle(SleepWhy::Idle), slept(SleepWhy::Idle)];
        assert_eq!(
            said(Phase::Asleep, "", &told),
            "It was stopped at 08:02:00 UTC: put to sleep at 08:01:00 UTC after 30m without traffic (seen by edge and traefik), \
             last used at 07:31:00 UTC, when it had been awake for 1h 30m; last woken at 08:00:00 UTC by 203.0.113.0/24, whose \
             page asked for /a."
        );
        let told = [page, idle(SleepWhy::Admin), slept(SleepWhy::Admin)];
        let sentence = said(Phase::Asleep, "", &told);
        assert!(
            sentence.contains("put to sleep at 08:01:00 UTC because ann asked for it"),
            "{sentence}"
        );
    }

    #[test]
    fn without_a_ledger_it_says_what_is_seen() {
        let why = "The machine is off and nobody has asked for it.";
        assert_eq!(said(Phase::Asleep, why, &[]), why);
        assert_eq!(said(Phase::Awake, "So.", &[Event::HoldEnded]), "So.");
    }

    #[test]
    fn each_asker_is_named() {
        for (by, name, path, expected) in [
            (
                TriggerBy::Click,
                "203.0.113.0/24",
                "/",
                "by 203.0.113.0/24, who pressed the button for /",
            ),
            (
                TriggerBy::Request,
                FORGOTTEN,
                "/a",
                "by a client that is forgotten, whose request was for /a",
            ),
            (TriggerBy::Admin, "root", "", "by root"),
            (
                TriggerBy::Crash,
                "anteroom",
                "it was off",
                "because its app went away under a visitor: it was off",
            ),
        ] {
            let told = [began(by, name, path)];
            let sentence = said(Phase::Waking, "It is being woken.", &told);
            let expected = format!("It is being woken; asked for at 08:00:00 UTC {expected}.");
            assert_eq!(sentence, expected);
        }
    }

    #[test]
    fn a_vanished_machine_and_an_earlier_sleep_are_not_mixed_up() {
        let told = [
            idle(SleepWhy::Idle),
            slept(SleepWhy::Idle),
            began(TriggerBy::Admin, "root", ""),
            Event::Vanished {
                what: "it was stopped".into(),
            },
        ];
        assert_eq!(
            said(Phase::Asleep, "", &told),
            "Its machine went away at 08:03:00 UTC: it was stopped; last woken at 08:02:00 UTC by root."
        );
        let told = [
            idle(SleepWhy::Idle),
            slept(SleepWhy::Idle),
            began(TriggerBy::Admin, "root", ""),
            slept(SleepWhy::GivenUp),
        ];
        let sentence = said(Phase::Asleep, "", &told);
        assert!(sentence.contains("because its wake failed"), "{sentence}");
    }
}
