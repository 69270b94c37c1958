//! What every store writes down of clients, for how long, and how it forgets one.

use anteroom::engine::admit::{Applicant, Rate, Rule, Rules, Verdict};
use anteroom::engine::contract::{Event, Trigger, TriggerBy};
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::privacy::{
    FORGOTTEN, Forgotten, Kept, Lasting, NameKey, Namer, Names, Privacy,
};
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::{Span, Time};
use anteroom::engine::triggerers::{Asked, JOINS_MAX, Outcome, TRIGGERERS_MAX};
use anteroom::store::{Forgot, LedgerEntry, Store};

use super::{service, stores};

/// The store's own clock counts for some of them.
fn now() -> Time {
    let now = jiff::Timestamp::now().as_millisecond();
    Time(u64::try_from(now).unwrap())
}

/// Names that nobody has to guess.
struct Plain;

impl Namer for Plain {
    fn name(&self, _: NameKey, text: &str) -> String {
        text.replace(['.', ':', '/'], "x")
    }
}

fn named(addresses: anteroom::engine::privacy::Addresses, address: &str) -> Applicant {
    let address = address.parse().unwrap();
    let kept = Kept::default();
    let privacy = Privacy { addresses, kept };
    let names = privacy.names(&Plain, now(), address, Lasting::default());
    let trigger = Trigger {
        by: TriggerBy::Page,
        who: names.who.clone(),
        path: "/\"\u{0}ä".into(),
    };
    Applicant {
        names,
        agent: "curl/8 \"ä\\".into(),
        ..Applicant::plain(address, trigger)
    }
}

fn applicant(address: &str) -> Applicant {
    named(anteroom::engine::privacy::Addresses::Full, address)
}

fn forgotten(text: &str) -> Forgotten {
    Forgotten::parse(text, now(), &Plain).unwrap()
}

fn rules(per_client: u32) -> Rules {
    Rules {
        per_client: Rate::new(per_client, Span::mins(60)).ok(),
        per_network: Rate::new(1_000, Span::mins(60)).ok(),
        ..Rules::default()
    }
}

/// The wake is over, and this is told of it.
async fn over(
    store: &dyn Store,
    name: &ServiceName,
    epoch: Epoch,
    wake: u64,
    told: &[LedgerEntry],
) {
    let record = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    let saved = store.save(name, epoch, &record, told, wake).await;
    saved.expect("the epoch is the current one");
}

fn whole(applicant: &Applicant) -> Names {
    applicant.names.clone()
}

#[tokio::test]
async fn everybody_on_whom_the_limits_ruled_is_listed_newest_first() {
    for (kind, store) in stores() {
        let blog = service("blog");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        let (one, other, t0) = (applicant("203.0.113.7"), applicant("2001:db8::7"), now());
        let mut at = t0;
        for who in [&one, &other] {
            store.admit(&blog, at, who, &rules(1)).await.unwrap();
            at = at + Span(1);
        }
        over(&*store, &blog, epoch, 1, &[]).await;
        let verdict = store.admit(&blog, at, &one, &rules(1)).await.unwrap();
        assert!(matches!(
            verdict,
            Verdict::Refused {
                rule: Rule::PerClient,
                ..
            }
        ));
        let mut banned = one.clone();
        banned.banned = true;
        store.admit(&blog, at, &banned, &rules(1)).await.unwrap();

        let asked = |when, who: &Applicant, outcome| Asked::of(when, who, outcome);
        let refused = Outcome::Refused {
            rule: Rule::PerClient,
        };
        let expected = [
            asked(at, &one, refused),
            asked(t0 + Span(1), &other, Outcome::Joined { wake: 1 }),
            asked(t0, &one, Outcome::Woke { wake: 1 }),
        ];
        let listed = store.triggerers(&blog, at, 9).await.unwrap();
        assert_eq!(listed, expected, "{kind}");
        assert_eq!(listed[1].address.as_deref(), Some("2001:db8::7"), "{kind}");
        let latest = store.triggerers(&blog, at, 1).await.unwrap();
        assert_eq!(latest, expected[..1], "{kind}");
        let other = store.triggerers(&service("shop"), at, 9).await.unwrap();
        assert_eq!(other, [], "{kind}");
        assert_eq!(whole(&one).who, "203.0.113.0/24");
    }
}

#[tokio::test]
async fn who_is_noted_without_a_ruling_is_listed_among_the_refused_and_can_be_forgotten() {
    for (kind, store) in stores() {
        let (blog, t0) = (service("blog"), now());
        let who = applicant("203.0.113.7");
        let outcomes = [
            Outcome::Trapped {
                banned_until: t0 + Span::mins(60),
            },
            Outcome::Refused {
                rule: Rule::Unproven,
            },
        ];
        for (at, outcome) in (0..).map(|n| t0 + Span(n)).zip(outcomes) {
            store.note(&blog, at, &who, outcome).await.unwrap();
        }
        let [trapped, unproven] = outcomes;
        let expected = [
            Asked::of(t0 + Span(1), &who, unproven),
            Asked::of(t0, &who, trapped),
        ];
        let listed = store.triggerers(&blog, t0, 9).await.unwrap();
        assert_eq!(listed, expected, "{kind}");
        let verdict = store.admit(&blog, t0, &who, &rules(1)).await.unwrap();
        assert_eq!(verdict, Verdict::Wake(1), "{kind}: it is no ruling");
        store.forget(&forgotten("203.0.113.7")).await.unwrap();
        let left = store.triggerers(&blog, t0, 9).await.unwrap();
        assert_eq!(left, [], "{kind}");
    }
}

#[tokio::test]
async fn a_flood_of_joins_is_listed_in_part_and_one_of_refusals_pushes_out_nobody_who_woke() {
    for (kind, store) in stores() {
        let (blog, t0) = (service("blog"), now());
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        let who = applicant("203.0.113.7");
        for n in 0..100 {
            let at = t0 + Span(n);
            store.admit(&blog, at, &who, &rules(1)).await.unwrap();
        }
        let listed = store.triggerers(&blog, t0, usize::MAX).await.unwrap();
        assert_eq!(listed.len(), 1 + JOINS_MAX as usize, "{kind}");
        over(&*store, &blog, epoch, 1, &[]).await;
        for n in 0..TRIGGERERS_MAX as u64 + 5 {
            let at = t0 + Span(100 + n);
            store.admit(&blog, at, &who, &rules(1)).await.unwrap();
        }
        let listed = store.triggerers(&blog, t0, usize::MAX).await.unwrap();
        let of = |which: fn(&Asked) -> bool| listed.iter().filter(|it| which(it)).count();
        let refused = of(|it| matches!(it.outcome, Outcome::Refused { .. }));
        assert_eq!(refused, TRIGGERERS_MAX, "{kind}");
        assert_eq!(
            of(|it| it.outcome == Outcome::Woke { wake: 1 }),
            1,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn an_address_is_kept_for_its_time_then_its_network_then_nothing() {
    let kept = Kept {
        address: Span::mins(60),
        network: Span::mins(24 * 60),
    };
    for (kind, store) in stores() {
        let (blog, t0) = (service("blog"), now());
        store.keep(kept);
        let who = applicant("203.0.113.7");
        store.admit(&blog, t0, &who, &rules(1)).await.unwrap();
        let look = async |at| {
            let listed = store.triggerers(&blog, at, 9).await.unwrap();
            let shown = listed.into_iter().map(|it| (it.who, it.address));
            shown.collect::<Vec<_>>()
        };
        let address = who.names.address.clone();
        let early = t0 + Span::mins(57);
        assert_eq!(
            look(early).await,
            [(who.names.who.clone(), address)],
            "{kind}"
        );
        let late = t0 + kept.address;
        assert_eq!(look(late).await, [(who.names.who.clone(), None)], "{kind}");
        store.tidy(t0 + kept.network).await.unwrap();
        assert_eq!(look(t0 + kept.network).await, [], "{kind}");
        assert_eq!(look(late).await, [], "{kind}: it is gone");
    }
}

fn woken_by(who: &str, at: Time) -> LedgerEntry {
    let event = Event::WakeBegan(Trigger {
        by: TriggerBy::Click,
        who: who.into(),
        path: "/a".into(),
    });
    LedgerEntry { at, event }
}

#[tokio::test]
async fn who_is_forgotten_is_in_no_list_has_no_limit_and_no_name() {
    use anteroom::engine::privacy::Addresses::{Full, Keyed};
    for addresses in [Full, Keyed] {
        for (kind, store) in stores() {
            let (blog, shop, t0) = (service("blog"), service("shop"), now());
            let (one, neighbour) = (
                named(addresses, "203.0.113.7"),
                named(addresses, "203.0.113.8"),
            );
            let mut wakes = 0;
            for name in [&blog, &shop] {
                let epoch = store.claim(name, "a").await.unwrap().epoch;
                for (n, who) in [&one, &neighbour].into_iter().enumerate() {
                    let verdict = store.admit(name, t0, who, &rules(1)).await.unwrap();
                    let told = [
                        woken_by(&who.names.who, t0),
                        woken_by("198.51.100.0/24", t0),
                    ];
                    over(&*store, name, epoch, 1 + n as u64, &told).await;
                    assert!(matches!(verdict, Verdict::Wake(_)), "{kind}: {verdict:?}");
                    wakes += 1;
                }
                store.admit(name, t0, &one, &rules(1)).await.unwrap();
            }
            assert_eq!(wakes, 4);
            let forgot = store.forget(&forgotten("203.0.113.7")).await.unwrap();
            let ledger = if addresses == Keyed { 2 } else { 0 };
            let expected = Forgot {
                triggerers: 4,
                limits: 2,
                ledger,
            };
            assert_eq!(forgot, expected, "{kind}, {addresses:?}");
            let again = store.forget(&forgotten("203.0.113.7")).await.unwrap();
            assert_eq!(again, Forgot::default(), "{kind}, {addresses:?}");

            let listed = store.triggerers(&blog, t0, 9).await.unwrap();
            assert_eq!(listed.len(), 1, "{kind}");
            assert_eq!(listed[0].address, neighbour.names.address, "{kind}");
            let lines = store.ledger(&shop, 9).await.unwrap();
            let who = |entry: &LedgerEntry| match &entry.event {
                Event::WakeBegan(trigger) => trigger.who.clone(),
                other => panic!("{other:?}"),
            };
            let names: Vec<_> = lines.iter().rev().map(who).collect();
            let own = match addresses {
                Keyed => FORGOTTEN,
                _ => "203.0.113.0/24",
            };
            let other = &*neighbour.names.who;
            let stranger = "198.51.100.0/24";
            assert_eq!(names, [own, stranger, other, stranger], "{kind}");
            let verdict = store.admit(&blog, t0, &one, &rules(1)).await.unwrap();
            assert_eq!(verdict, Verdict::Wake(3), "{kind}: its limit is whole");
        }
    }
}

#[tokio::test]
async fn a_whole_network_is_forgotten_with_its_name() {
    for (kind, store) in stores() {
        let (blog, t0) = (service("blog"), now());
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        for address in ["203.0.113.7", "203.0.113.8", "198.51.100.7"] {
            store
                .admit(&blog, t0, &applicant(address), &rules(1))
                .await
                .unwrap();
        }
        let told = [woken_by("203.0.113.0/24", t0), woken_by("an admin", t0)];
        over(&*store, &blog, epoch, 1, &told).await;
        let forgot = store.forget(&forgotten("203.0.113.0/24")).await.unwrap();
        let expected = Forgot {
            triggerers: 2,
            limits: 2,
            ledger: 1,
        };
        assert_eq!(
            forgot, expected,
            "{kind}: the client's limit and its network's"
        );
        let left = store.triggerers(&blog, t0, 9).await.unwrap();
        assert_eq!(left.len(), 1, "{kind}");
        assert_eq!(left[0].who, "198.51.100.0/24", "{kind}");
    }
}

#[tokio::test]
async fn a_ledger_keeps_no_line_for_longer_than_a_network() {
    let day = Span::mins(24 * 60);
    for (kind, store) in stores() {
        if kind == "redis" {
            // A server's own clock says how old a line is; `store_redis_admit` waits for it.
            continue;
        }
        let blog = service("blog");
        let epoch = store.claim(&blog, "a").await.unwrap().epoch;
        let t0 = now();
        let lines = |from: Time, count: u64| {
            let line = move |n| woken_by("203.0.113.0/24", from + Span(n));
            (0..count).map(line).collect::<Vec<_>>()
        };
        over(&*store, &blog, epoch, 1, &lines(t0, 3)).await;
        let later = t0 + Span(30 * day.0) + Span(2);
        over(&*store, &blog, epoch, 1, &lines(later, 1)).await;
        let left = store.ledger(&blog, 9).await.unwrap();
        let ages: Vec<_> = left.iter().map(|line| later.since(line.at)).collect();
        assert_eq!(ages, [Span(0), Span(30 * day.0)], "{kind}");
        store.tidy(later + day).await.unwrap();
        assert_eq!(store.ledger(&blog, 9).await.unwrap().len(), 1, "{kind}");
    }
}
