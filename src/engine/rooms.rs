//! Many rooms as one: what the leader of a service hears from the rooms that follow it, summed up.
//!
//! A follower reports how often the service was used through it, since its start, and how far it has come: the last
//! envelope whose gate it keeps, and the last whose routing is in force on its way. Counts only rise, so a report
//! that is lost, late or doubled loses nobody.
//!
//! A room that is silent may have anybody inside. While one is, the sum is unknown, and unknown is never idle; only
//! after a bound that is longer than the room keeps its own gate open without a word, it is forgotten.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::Epoch;
use super::time::Span;
use super::traffic::{Activity, Source};

/// A room without a report for so long is silent: several beats were lost.
pub const SILENT_AFTER: Span = Span::secs(3);

/// A follower that hears nothing of the store for the idle timeout closes its gate; so much later it is forgotten.
pub const FORGET_MARGIN: Span = Span::mins(1);

/// A room is offered a service only when it has been there for so long: one that starts and dies again gets none.
pub const SETTLED_AFTER: Span = Span::secs(5);

/// A room that comes gets its services over so long and not all at once, because each takes a look at its provider.
const SPREAD_OVER: Span = Span::secs(10);

/// One state of a service as its leader told it: the leader's epoch, then the number within it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Mark {
    /// Whose.
    pub epoch: Epoch,
    /// Which of theirs, from 1.
    pub seq: u64,
    /// Tells two leaders apart who have the same epoch, because the store was wiped in between.
    #[serde(default)]
    pub life: u64,
}

/// What a following room says of one service. All counts are since the room's start, and only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Stretches of time in which somebody used the service through this room.
    pub uses: u64,
    /// Requests that are being answered now.
    pub in_flight: u32,
    /// Open long connections now.
    pub long: u32,
    /// Triggers that were taken.
    pub asks: u64,
    /// Visitors that wait for the service now, as far as they are counted.
    pub waiting: u32,
    /// Times that a source of activity of this room failed or lost its count.
    pub losses: u64,
    /// The last envelope that the room acts by. Where it has no upstreams, the gate was closed, and what is inside
    /// counted, before this was said.
    pub seen: Mark,
    /// The last envelope whose routing is in force on the room's way.
    pub routed: Mark,
    /// How long the room has been there.
    pub age: Span,
}

/// A report as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The room's name; another one after each start.
    pub room: String,
    /// How old the report is, by the store's own clock.
    pub age: Span,
    /// What it says.
    pub report: Report,
}

/// What came of one reading of all reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Somebody asked for the service in a following room.
    pub asked: bool,
    /// Another source of a room's activity failed: what happened meanwhile is unknown.
    pub lost: bool,
    /// Rooms that were silent for too long and are forgotten.
    pub forgotten: Vec<String>,
}

/// The rooms that follow one leader.
#[derive(Clone, Debug)]
pub struct Rooms {
    forget_after: Span,
    known: BTreeMap<String, Known>,
    used: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    report: Report,
    age: Span,
}

impl Rooms {
    /// No rooms yet, for a service with this idle timeout.
    #[must_use]
    pub fn new(idle_timeout: Span) -> Rooms {
        Rooms {
            forget_after: idle_timeout + FORGET_MARGIN,
            known: BTreeMap::new(),
            used: false,
        }
    }

    /// Takes all reports of other rooms in, as they stood at one moment. A room that is not among them has said
    /// goodbye.
    pub fn hear(&mut self, reports: Vec<Heard>) -> News {
        let mut news = News::default();
        let mut known = BTreeMap::new();
        for Heard { room, age, report } in reports {
            if age > self.forget_after {
                news.forgotten.push(room);
                continue;
            }
            let last = self.known.get(&room).map(|known| known.report);
            let last = last.unwrap_or_default();
            self.used |= report.uses != last.uses;
            news.asked |= report.asks != last.asks;
            news.lost |= report.losses != last.losses;
            known.insert(room, Known { report, age });
        }
        // What a room did between its last report and its goodbye is not told.
        self.used |= self.known.keys().any(|room| !known.contains_key(room));
        self.known = known;
        news
    }

    /// The use of the service through this room (`own`) and all others, since this was last asked. None while a
    /// room is silent.
    #[must_use]
    pub fn sum(&mut self, own: Activity) -> Option<Activity> {
        if self.silent().next().is_some() {
            return None;
        }
        let all = |count: fn(&Report) -> u32| {
            let counts = self.known.values().map(|known| count(&known.report));
            counts.fold(0, u32::saturating_add)
        };
        Some(Activity {
            source: Source::Edge,
            used: own.used | std::mem::take(&mut self.used),
            in_flight: own.in_flight.saturating_add(all(|report| report.in_flight)),
            long: own.long.saturating_add(all(|report| report.long)),
        })
    }

    /// Requests and connections that are open in this room (`own`) and in all others, as far as they were reported.
    #[must_use]
    pub fn inside(&self, own: &Report) -> u32 {
        let others = self.known.values().map(|known| &known.report);
        let open = others.chain([own]).flat_map(|it| [it.in_flight, it.long]);
        open.fold(0, u32::saturating_add)
    }

    /// Visitors that wait in this room (`own`) and in all others. Who waits in a silent room may be gone, and is not counted.
    #[must_use]
    pub fn waiting(&self, own: u32) -> u32 {
        let others = self
            .known
            .values()
            .filter(|known| known.age <= SILENT_AFTER);
        let waiting = others.map(|known| known.report.waiting);
        waiting.fold(own, u32::saturating_add)
    }

    /// Whether there is no other room.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.known.is_empty()
    }

    /// The rooms that have not reported lately.
    pub fn silent(&self) -> impl Iterator<Item = &str> {
        let silent = self
            .known
            .iter()
            .filter(|(_, known)| known.age > SILENT_AFTER);
        silent.map(|(room, _)| room.as_str())
    }

    /// A room that does not act by this envelope yet.
    #[must_use]
    pub fn unseen(&self, mark: Mark) -> Option<&str> {
        self.behind(mark, |report| report.seen)
    }

    /// A room on whose way the routing of this envelope is not in force yet.
    #[must_use]
    pub fn unrouted(&self, mark: Mark) -> Option<&str> {
        self.behind(mark, |report| report.routed)
    }

    fn behind(&self, mark: Mark, come: fn(&Report) -> Mark) -> Option<&str> {
        // What was said by another leader, a later one too, says nothing of this one's.
        let there =
            |come: Mark| (come.epoch, come.life) == (mark.epoch, mark.life) && come.seq >= mark.seq;
        let mut behind = self
            .known
            .iter()
            .filter(|(_, known)| !there(come(&known.report)));
        behind.next().map(|(room, _)| room.as_str())
    }

    /// The room that ought to lead this service instead of `own`, if there is one: services are spread over the
    /// rooms that are there, by a rule that every room finds alike.
    #[must_use]
    pub fn successor(&self, service: &str, own: &str) -> Option<&str> {
        let settled = SETTLED_AFTER + Span(hash(service, "") % SPREAD_OVER.0);
        let there = |known: &Known| known.age <= SILENT_AFTER && known.report.age >= settled;
        let there = self.known.iter().filter(|(_, known)| there(known));
        let best = there
            .map(|(room, _)| room.as_str())
            .max_by_key(|room| weight(service, room))?;
        (weight(service, best) > weight(service, own)).then_some(best)
    }
}

/// Of several rooms the one with the greatest weight leads a service (rendezvous hashing: a room that comes or goes
/// moves only its own services).
fn weight(service: &str, room: &str) -> (u64, String) {
    (hash(service, room), room.to_owned())
}

fn hash(service: &str, room: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = service.bytes().chain([0]).chain(room.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, fnv);
    // FNV alone leaves the last bytes in the low bits.
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Span = Span::mins(30);

    fn mark(epoch: u64, seq: u64) -> Mark {
        let epoch = Epoch(epoch);
        let life = 0;
        Mark { epoch, seq, life }
    }

    fn heard(room: &str, age: Span, report: Report) -> Heard {
        let room = room.into();
        Heard { room, age, report }
    }

    fn uses(uses: u64) -> Report {
        Report {
            uses,
            ..Report::default()
        }
    }

    fn quiet() -> Activity {
        Activity::quiet(Source::Edge)
    }

    #[test]
    fn alone_a_room_counts_for_itself() {
        let mut rooms = Rooms::new(IDLE);
        assert_eq!(rooms.hear(vec![]), News::default());
        assert_eq!(rooms.sum(quiet()), Some(quiet()));
        assert_eq!(rooms.unseen(mark(9, 9)), None);
        assert_eq!(rooms.successor("blog", "a"), None);
    }

    #[test]
    fn what_is_open_in_any_room_is_open() {
        let mut rooms = Rooms::new(IDLE);
        let one = Report {
            in_flight: 2,
            ..uses(0)
        };
        let two = Report { long: 3, ..uses(0) };
        rooms.hear(vec![
            heard("a", Span(10), one),
            heard("b", Span(2_999), two),
        ]);
        let own = Activity {
            in_flight: 1,
            long: 1,
            ..quiet()
        };
        let sum = Activity {
            in_flight: 3,
            long: 4,
            ..quiet()
        };
        assert_eq!(rooms.sum(own), Some(sum));
    }

    #[test]
    fn who_waits_in_any_room_that_speaks_waits() {
        let mut rooms = Rooms::new(IDLE);
        assert_eq!(rooms.waiting(4), 4);
        let waiting = |waiting| Report { waiting, ..uses(0) };
        rooms.hear(vec![
            heard("a", Span(10), waiting(30)),
            heard("b", SILENT_AFTER, waiting(5)),
            heard("c", SILENT_AFTER + Span(1), waiting(500)),
        ]);
        assert_eq!(rooms.waiting(4), 39);
    }

    #[test]
    fn a_report_of_an_earlier_version_tells_of_nobody_who_waits() {
        let report: Report = serde_json::from_str(r#"{"at":"a","uses":4,"in_flight":1}"#).unwrap();
        assert_eq!((report.uses, report.waiting), (4, 0));
    }

    #[test]
    fn use_is_told_once_however_often_it_is_reported() {
        let mut rooms = Rooms::new(IDLE);
        let used = |rooms: &mut Rooms| rooms.sum(quiet()).map(|sum| sum.used);
        rooms.hear(vec![heard("a", Span(0), uses(4))]);
        assert_eq!(used(&mut rooms), Some(true), "its count began at none");
        rooms.hear(vec![heard("a", Span(0), uses(4))]);
        assert_eq!(used(&mut rooms), Some(false));
        rooms.hear(vec![heard("a", Span(0), uses(5))]);
        rooms.hear(vec![heard("a", Span(0), uses(5))]);
        assert_eq!(used(&mut rooms), Some(true), "kept until it is asked for");
    }

    #[test]
    fn a_silent_room_makes_the_sum_unknown_until_it_is_forgotten() {
        let mut rooms = Rooms::new(IDLE);
        rooms.hear(vec![heard("a", SILENT_AFTER + Span(1), uses(0))]);
        assert_eq!(rooms.sum(quiet()), None);
        assert_eq!(rooms.silent().collect::<Vec<_>>(), ["a"]);
        rooms.hear(vec![heard("a", IDLE + FORGET_MARGIN, uses(0))]);
        assert_eq!(rooms.sum(quiet()), None);
        let news = rooms.hear(vec![heard("a", IDLE + FORGET_MARGIN + Span(1), uses(0))]);
        assert_eq!(news.forgotten, ["a"]);
        assert!(rooms.sum(quiet()).is_some_and(|sum| sum.used));
        assert_eq!(rooms.sum(quiet()), Some(quiet()));
    }

    #[test]
    fn use_through_a_silent_room_is_not_lost() {
        let mut rooms = Rooms::new(IDLE);
        rooms.hear(vec![heard("a", Span(0), uses(1))]);
        let _ = rooms.sum(quiet());
        rooms.hear(vec![heard("a", Span::secs(60), uses(2))]);
        assert_eq!(rooms.sum(quiet()), None);
        rooms.hear(vec![heard("a", Span(0), uses(2))]);
        assert!(rooms.sum(quiet()).is_some_and(|sum| sum.used));
    }

    #[test]
    fn a_goodbye_counts_as_use_and_not_as_silence() {
        let mut rooms = Rooms::new(IDLE);
        rooms.hear(vec![heard("a", Span(0), uses(0))]);
        let _ = rooms.sum(quiet());
        rooms.hear(vec![]);
        assert!(rooms.sum(quiet()).is_some_and(|sum| sum.used));
        assert_eq!(rooms.sum(quiet()), Some(quiet()));
    }

    #[test]
    fn nothing_is_agreed_before_the_last_room_has_said_so() {
        let mut rooms = Rooms::new(IDLE);
        let come = |seen, routed| Report {
            seen,
            routed,
            ..Report::default()
        };
        let ahead = come(mark(2, 7), mark(2, 7));
        let behind = come(mark(2, 6), mark(2, 7));
        rooms.hear(vec![
            heard("a", Span(0), ahead),
            heard("b", Span(0), behind),
        ]);
        assert_eq!(rooms.unseen(mark(2, 7)), Some("b"));
        assert_eq!(rooms.unrouted(mark(2, 7)), None);
        // A greater number of an earlier leader is none of this one's.
        let earlier = come(mark(1, 99), mark(1, 99));
        rooms.hear(vec![
            heard("a", Span(0), ahead),
            heard("b", Span(0), earlier),
        ]);
        assert_eq!(rooms.unseen(mark(2, 1)), Some("b"));
        assert_eq!(rooms.unrouted(mark(2, 1)), Some("b"));
        // Nor is one of a later one, or of one who had the same epoch before the store was wiped.
        let later = come(mark(3, 1), mark(3, 1));
        let wiped = Mark {
            life: 1,
            ..mark(2, 99)
        };
        for other in [later, come(wiped, wiped)] {
            rooms.hear(vec![heard("b", Span(0), other)]);
            assert_eq!(rooms.unseen(mark(2, 7)), Some("b"));
        }
        // Silent or not.
        rooms.hear(vec![heard("b", Span::mins(5), behind)]);
        assert_eq!(rooms.unseen(mark(2, 7)), Some("b"));
    }

    #[test]
    fn asks_and_losses_are_news_once() {
        let mut rooms = Rooms::new(IDLE);
        let report = Report {
            asks: 1,
            losses: 1,
            ..Report::default()
        };
        let news = rooms.hear(vec![heard("a", Span(0), report)]);
        assert!(news.asked && news.lost);
        assert_eq!(
            rooms.hear(vec![heard("a", Span(0), report)]),
            News::default()
        );
    }

    #[test]
    fn services_are_spread_and_every_room_agrees() {
        let names = ["5f0c2a9be1d34478", "0112fa33c0de7788", "aa8866220c4e1f35"];
        let settled = Report {
            age: SETTLED_AFTER + SPREAD_OVER,
            ..Report::default()
        };
        let mut led = [0; 3];
        for number in 0..300 {
            let service = format!("service-{number}");
            let best_for = |own: usize| {
                let mut rooms = Rooms::new(IDLE);
                let others = (0..3).filter(|room| *room != own);
                rooms.hear(
                    others
                        .map(|room| heard(names[room], Span(0), settled))
                        .collect(),
                );
                let successor = rooms.successor(&service, names[own]);
                successor.unwrap_or(names[own]).to_owned()
            };
            let best = best_for(0);
            assert_eq!((best_for(1), best_for(2)), (best.clone(), best.clone()));
            led[names
                .iter()
                .position(|name| **name == *best)
                .expect("one of them")] += 1;
        }
        assert!(led.iter().all(|led| *led > 70), "{led:?}");
    }

    #[test]
    fn a_room_that_is_silent_or_new_is_offered_nothing() {
        for number in 0..50 {
            let service = format!("service-{number}");
            let mut rooms = Rooms::new(IDLE);
            let old = Report {
                age: Span::mins(9),
                ..Report::default()
            };
            let new = Report {
                age: Span::secs(4),
                ..Report::default()
            };
            rooms.hear(vec![
                heard("a", Span::secs(4), old),
                heard("b", Span(0), new),
            ]);
            assert_eq!(rooms.successor(&service, "own"), None);
        }
    }
}
