//! Who may wake a service, rule by rule.

use super::*;
use crate::engine::contract::TriggerBy;
use crate::engine::id::ServiceName;

mod histories;

const T0: Time = Time(1_800_000_000_000);

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn rate(count: u32, per: Span) -> Rate {
    Rate::new(count, per).unwrap()
}

fn applicant(address: &str) -> Applicant {
    Applicant::plain(
        address.parse().unwrap(),
        Trigger {
            by: TriggerBy::Page,
            who: "somebody".into(),
            path: "/".into(),
        },
    )
}

fn refused(rule: Rule, retry_after: Span) -> Verdict {
    Verdict::Refused {
        rule,
        retry_after: Some(retry_after),
    }
}

const DAY: Span = Span::mins(24 * 60);

#[test]
fn a_rate_has_bounds() {
    assert_eq!(Rate::new(0, DAY), Err(BadRate::Count));
    assert_eq!(Rate::new(COUNT_MAX + 1, DAY), Err(BadRate::Count));
    assert_eq!(Rate::new(1, Span(999)), Err(BadRate::Per));
    assert_eq!(Rate::new(1, PER_MAX + Span(1)), Err(BadRate::Per));
    assert_eq!(Rate::new(1_001, Span::secs(1)), Err(BadRate::TooFast));
    assert_eq!(rate(1_000, Span::secs(1)).interval(), Span(1));
    assert_eq!(
        rate(COUNT_MAX, Span(1_000_001)).interval(),
        Span(2),
        "never more than written"
    );
}

#[test]
fn a_rate_reads_like_the_configuration() {
    let shown = |count, per| rate(count, per).to_string();
    assert_eq!(shown(2, DAY), "2/1d");
    assert_eq!(shown(10, Span::mins(90)), "10/1h 30m");
    assert_eq!(shown(200, Span::secs(4)), "200/4s");
    assert_eq!(shown(1, Span(1_500)), "1/1s 500ms");
    assert_eq!(shown(1, PER_MAX), "1/366d");
}

#[test]
fn a_fresh_bucket_gives_all_at_once_and_then_one_each_interval() {
    let rate = rate(3, Span::mins(3));
    let (mut tat, mut now) = (None, T0);
    for _ in 0..3 {
        tat = Some(gcra(tat, rate, now).unwrap());
    }
    for _ in 0..3 {
        assert_eq!(gcra(tat, rate, now), Err(Span::mins(1)));
        now = now + Span(59_999);
        assert_eq!(gcra(tat, rate, now), Err(Span(1)));
        now = now + Span(1);
        tat = Some(gcra(tat, rate, now).unwrap());
    }
    now = now + Span::mins(3);
    assert_eq!(tat, Some(now), "left alone it is full again");
}

#[test]
fn a_timestamp_from_a_wrong_clock_or_another_rate_locks_nobody_out_for_long() {
    let rate = rate(2, DAY);
    let years = Some(T0 + Span(3 * 366 * 86_400_000));
    let tat = gcra(years, rate, T0).unwrap();
    assert_eq!(tat, T0 + DAY, "one is let through, and all are used up");
    assert_eq!(gcra(Some(tat), rate, T0), Err(Span::mins(12 * 60)));
    // A clock that went back a little gives nobody anything.
    let full = Some(T0 + rate.whole());
    assert!(gcra(full, rate, T0 - Span::mins(60)).is_err());
}

#[test]
fn a_quarter_is_at_least_one() {
    let rules = Rules {
        per_client: Some(rate(3, DAY)),
        per_service: Some(rate(48, DAY)),
        per_day: Some(2),
        ..Rules::default()
    };
    let quarter = rules.quarter();
    assert_eq!(quarter.per_client, Some(rate(1, DAY)));
    assert_eq!(quarter.per_service, Some(rate(12, DAY)));
    assert_eq!((quarter.per_network, quarter.per_day), (None, Some(1)));
}

#[test]
fn a_ban_comes_before_deny_before_allow_before_everything_else() {
    let (mut book, blog) = (Book::default(), name("blog"));
    let rules = Rules {
        deny: vec!["203.0.113.0/24".parse().unwrap()],
        allow: vec!["203.0.112.0/23".parse().unwrap()],
        ..Rules::default()
    };
    let inside = applicant("203.0.112.1");
    assert_eq!(book.admit(&blog, T0, &inside, &rules), Verdict::Wake(1));
    let never = |rule| Verdict::Refused {
        rule,
        retry_after: None,
    };
    // A wake is wanted now; who may not wake may not join either.
    let mut banned = applicant("203.0.113.1");
    banned.banned = true;
    for (who, verdict) in [
        (banned, never(Rule::Banned)),
        (applicant("::ffff:203.0.113.1"), never(Rule::Denied)),
        (applicant("198.51.100.1"), never(Rule::NotAllowed)),
        (applicant("203.0.112.9"), Verdict::Joined(1)),
    ] {
        assert_eq!(book.admit(&blog, T0, &who, &rules), verdict, "{who:?}");
    }
}

#[test]
fn ten_thousand_visitors_of_one_sleep_cost_one_wake() {
    let (mut book, blog) = (Book::default(), name("blog"));
    let rules = Rules {
        per_client: Some(rate(1, DAY)),
        per_service: Some(rate(2, DAY)),
        ..Rules::default()
    };
    for n in 0..10_000u32 {
        let who = applicant(&std::net::Ipv4Addr::from(n << 8).to_string());
        let expected = match n {
            0 => Verdict::Wake(1),
            _ => Verdict::Joined(1),
        };
        assert_eq!(book.admit(&blog, T0, &who, &rules), expected);
    }
    assert_eq!(book.keys(), 1);
    // Heard of and awake, then asleep: the next one is a wake of its own, and the second of two.
    book.hear(&blog, 1, true);
    let other = applicant("203.0.113.1");
    assert_eq!(book.admit(&blog, T0, &other, &rules), Verdict::Wake(2));
    book.hear(&blog, 2, true);
    let wait = Span::mins(12 * 60);
    let third = applicant("203.0.113.2");
    assert_eq!(
        book.admit(&blog, T0, &third, &rules),
        refused(Rule::PerService, wait)
    );
}

#[test]
fn a_wake_stays_wanted_until_the_owner_has_heard_of_it_and_the_service_rests() {
    let mut wakes = Wakes {
        last: 7,
        heard: 6,
        late: None,
        wanted: Some(applicant("::1").trigger),
    };
    wakes.hear(6, true);
    assert!(wakes.wanted.is_some(), "it has not heard of number 7");
    wakes.hear(7, false);
    assert!(wakes.wanted.is_some(), "it is waking");
    wakes.hear(0, true);
    assert!(wakes.wanted.is_none(), "what the last owner heard counts");
}

#[test]
fn the_refusal_that_lasts_longest_is_told_and_nothing_is_charged() {
    let (mut book, blog, shop) = (Book::default(), name("blog"), name("shop"));
    let rules = Rules {
        per_client: Some(rate(1, Span::mins(1))),
        per_network: Some(rate(1, Span::mins(60))),
        per_service: Some(rate(2, DAY)),
        over_all: Some(rate(3, DAY)),
        per_day: Some(3),
        ..Rules::default()
    };
    let who = applicant("203.0.113.1");
    assert_eq!(book.admit(&blog, T0, &who, &rules), Verdict::Wake(1));
    book.hear(&blog, 1, true);
    let after = |span: Span| T0 + span;
    let told = |book: &mut Book, span| book.admit(&blog, after(span), &who, &rules);
    assert_eq!(
        told(&mut book, Span(0)),
        refused(Rule::PerNetwork, Span::mins(60))
    );
    // A neighbour's network refuses too; a stranger is let in, and the client's own refusals cost it nothing.
    for _ in 0..9 {
        assert!(matches!(
            told(&mut book, Span::mins(59)),
            Verdict::Refused { .. }
        ));
    }
    let stranger = applicant("2001:db8::1");
    assert_eq!(book.admit(&blog, T0, &stranger, &rules), Verdict::Wake(2));
    book.hear(&blog, 2, true);
    assert_eq!(
        told(&mut book, Span::mins(60)),
        refused(Rule::PerService, Span::mins(11 * 60))
    );
    assert_eq!(book.admit(&shop, T0, &stranger, &rules), Verdict::Wake(1));
    book.hear(&shop, 1, true);
    let third = applicant("2001:db8:5::1");
    let got = book.admit(&shop, T0, &third, &rules);
    assert_eq!(got, refused(Rule::OverAll, Span::mins(8 * 60)));
}

#[test]
fn the_days_budget_begins_anew_at_midnight() {
    let (mut book, blog) = (Book::default(), name("blog"));
    let rules = Rules {
        per_day: Some(2),
        ..Rules::default()
    };
    let midnight = Time(T0.0 / DAY.0 * DAY.0 + DAY.0);
    let who = applicant("203.0.113.1");
    let mut admit = |at| {
        let verdict = book.admit(&blog, at, &who, &rules);
        book.hear(&blog, u64::MAX, true);
        verdict
    };
    assert_eq!(admit(midnight - Span(3)), Verdict::Wake(1));
    assert_eq!(admit(midnight - Span(2)), Verdict::Wake(2));
    let wait = refused(Rule::PerDay, Span(1));
    assert_eq!(admit(midnight - Span(1)), wait);
    assert_eq!(admit(midnight), Verdict::Wake(3));
    assert_eq!(admit(midnight), Verdict::Wake(4));
    assert_eq!(admit(midnight), refused(Rule::PerDay, DAY));
}

#[test]
fn the_book_forgets_what_means_nothing_and_never_holds_more_than_it_has_room_for() {
    let (mut book, blog) = (Book::with_room_for(8), name("blog"));
    let rules = Rules {
        per_client: Some(rate(1, Span::mins(1))),
        per_network: Some(rate(2, Span::mins(60))),
        per_service: Some(rate(1_000, DAY)),
        ..Rules::default()
    };
    for n in 0..100u32 {
        let who = applicant(&std::net::Ipv4Addr::from(n << 8).to_string());
        let now = T0 + Span(n.into());
        let verdict = book.admit(&blog, now, &who, &rules);
        assert!(matches!(verdict, Verdict::Wake(_)));
        book.hear(&blog, u64::MAX, true);
        assert!(book.keys() <= 8);
    }
    // A client's minute ends before a network's half hour, so the clients went first; the last one is known.
    let last = applicant(&std::net::Ipv4Addr::from(99 << 8).to_string());
    let again = book.admit(&blog, T0 + Span(99), &last, &rules);
    assert_eq!(again, refused(Rule::PerClient, Span::mins(1)));
    let soon = T0 + Span::mins(1);
    assert!(
        book.past(soon)
            .iter()
            .all(|key| matches!(key, Key::Client(..)))
    );
    let all = book.past(T0 + Span::mins(31));
    assert_eq!(all.len(), book.keys());
    let mut forgetful = book.clone();
    forgetful.forget(&all);
    assert_eq!(forgetful.keys(), 0);
    let later = T0 + Span::mins(60 * 24);
    book.admit(&blog, later, &last, &rules);
    assert_eq!(book.keys(), 2, "after an hour all the others mean nothing");
}
