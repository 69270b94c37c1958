//! The instances behind a gate: how many requests each of them has, and which one the next request goes to.
//!
//! It goes to the one with the fewest, and by turns where they are equal. Only atomics are on a request's way. As at the gate,
//! counting and leaving must not race: a request first counts itself and then looks whether the instance still serves,
//! and whoever takes an instance out does that first and then looks at its count.

use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::engine::contract::Upstream;
use crate::engine::id::InstanceId;

/// An instance that did not take a connection is passed over for so long, unless there is no other. Then one request tries it
/// again; the task's own probe has looked at it by then.
const PASSED_OVER: Duration = Duration::from_secs(3);

/// What a request will do to the instance that it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// It is answered, and gone.
    Short,
    /// It stays open for long: an upgrade or an event stream. Those are shared out by what is open, the others by what is
    /// being answered: else a fresh instance would get every request until it has as many as the others have streams.
    Long,
}

/// The instances of one service.
#[derive(Debug)]
pub(super) struct Crew {
    /// Those that serve, and those that left with somebody inside.
    members: ArcSwap<Vec<Arc<Member>>>,
    changing: Mutex<()>,
    turn: AtomicUsize,
    began: Instant,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) upstream: Upstream,
    serves: AtomicBool,
    in_flight: AtomicU32,
    long: AtomicU32,
    /// Until when it is passed over, in milliseconds since the crew began; 0 while it is not.
    passed_over: AtomicU64,
}

impl Default for Crew {
    fn default() -> Crew {
        Crew {
            members: ArcSwap::default(),
            changing: Mutex::new(()),
            turn: AtomicUsize::new(0),
            began: Instant::now(),
        }
    }
}

impl Crew {
    /// From now on requests go to these, and to no other.
    pub(super) fn lead_to(&self, upstreams: &[Upstream]) {
        // Nobody else changes it meanwhile; whoever comes in does not wait for this.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.members.load_full();
        let serving = members.iter().filter(|it| it.serves());
        if serving.map(|it| it.upstream).eq(upstreams.iter().copied()) {
            return;
        }
        let known = |upstream| members.iter().any(|it| it.upstream == upstream);
        let fresh = upstreams.iter().filter(|upstream| !known(**upstream));
        let fresh = fresh.map(|upstream| Arc::new(Member::new(*upstream)));
        let all: Vec<_> = members.iter().cloned().chain(fresh).collect();
        // First whoever comes, then whoever goes: in between there is always one.
        self.members.store(Arc::new(all.clone()));
        for serves in [true, false] {
            let change = all
                .iter()
                .filter(|it| upstreams.contains(&it.upstream) == serves);
            change.for_each(|it| it.serves.store(serves, SeqCst));
        }
        let stay = all.into_iter().filter(|it| it.serves() || it.busy() > 0);
        self.members.store(Arc::new(stay.collect()));
    }

    /// Counts a request in at the instance that has the fewest, and that is none of `tried`; none when no such instance serves.
    pub(super) fn choose(&self, stay: Stay, tried: &[Upstream]) -> Option<Arc<Member>> {
        loop {
            let members = self.members.load();
            let member = self.fewest(&members, stay, tried)?;
            member.in_flight.fetch_add(1, SeqCst);
            // Else it has left meanwhile, and is not found again.
            if member.serves() {
                return Some(Arc::clone(member));
            }
            member.in_flight.fetch_sub(1, SeqCst);
        }
    }

    fn fewest<'a>(
        &self,
        members: &'a [Arc<Member>],
        stay: Stay,
        tried: &[Upstream],
    ) -> Option<&'a Arc<Member>> {
        let may = |it: &&Arc<Member>| it.serves() && !tried.contains(&it.upstream);
        if let [only] = members {
            return Some(only).filter(may);
        }
        // The turns are of those that may: one that has left has none, or its neighbour would have two.
        let all = members.iter().filter(may).count();
        let turn = self.turn.fetch_add(1, Relaxed) % all.max(1);
        let around = || members.iter().filter(may).cycle().skip(turn).take(all);
        // The first of equals: it is another one at the next turn.
        let best = around()
            .filter(|it| !self.is_passed_over(it))
            .min_by_key(|it| it.load(stay));
        match best {
            Some(best) if self.is_tried_by_us(best) => Some(best),
            // Somebody else tries that one at this moment.
            Some(taken) => {
                let others = around().filter(|it| !Arc::ptr_eq(it, taken));
                let others = others.filter(|it| !self.is_passed_over(it));
                others.min_by_key(|it| it.load(stay)).or(Some(taken))
            }
            None => around().min_by_key(|it| it.load(stay)),
        }
    }

    fn is_passed_over(&self, member: &Member) -> bool {
        let until = member.passed_over.load(Relaxed);
        until != 0 && self.now() < until
    }

    /// One that was passed over is tried by one request alone, until that has said how it went.
    fn is_tried_by_us(&self, member: &Member) -> bool {
        let until = member.passed_over.load(Relaxed);
        let next = self.now() + PASSED_OVER.as_millis() as u64;
        let swap = |until| {
            member
                .passed_over
                .compare_exchange(until, next, Relaxed, Relaxed)
        };
        until == 0 || swap(until).is_ok()
    }

    /// The instance did not take a connection.
    pub(super) fn pass_over(&self, member: &Member) {
        let until = self.now() + PASSED_OVER.as_millis() as u64;
        member.passed_over.store(until, Relaxed);
    }

    fn now(&self) -> u64 {
        // Never 0, which means that nothing is passed over.
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// How many serve.
    pub(super) fn serving(&self) -> usize {
        self.members.load().iter().filter(|it| it.serves()).count()
    }

    /// What is open at an instance, whether it still serves or not.
    pub(super) fn busy_at(&self, instance: InstanceId) -> u32 {
        let members = self.members.load();
        let of = members.iter().filter(|it| it.upstream.instance == instance);
        of.map(|it| it.busy()).sum()
    }
}

impl Member {
    fn new(upstream: Upstream) -> Member {
        Member {
            upstream,
            serves: AtomicBool::new(true),
            in_flight: AtomicU32::new(0),
            long: AtomicU32::new(0),
            passed_over: AtomicU64::new(0),
        }
    }

    fn serves(&self) -> bool {
        self.serves.load(SeqCst)
    }

    fn busy(&self) -> u32 {
        self.in_flight.load(SeqCst) + self.long.load(SeqCst)
    }

    fn load(&self, stay: Stay) -> u32 {
        match stay {
            Stay::Short => self.in_flight.load(Relaxed),
            Stay::Long => self.in_flight.load(Relaxed) + self.long.load(Relaxed),
        }
    }

    /// The instance has answered.
    pub(super) fn reached(&self) {
        if self.passed_over.load(Relaxed) != 0 {
            self.passed_over.store(0, Relaxed);
        }
    }

    /// A request has become a long connection.
    pub(super) fn lengthen(&self) {
        // In this order: who looks in between sees it twice rather than not at all.
        self.long.fetch_add(1, SeqCst);
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// A request has ended.
    pub(super) fn leave(&self, long: bool) {
        let count = if long { &self.long } else { &self.in_flight };
        count.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::id::CloneId;

    fn clone(slot: u16) -> Upstream {
        let clone = CloneId::new(slot, 1).expect("a clone");
        Upstream {
            instance: InstanceId::Clone(clone),
            address: ([127, 0, 0, 1], slot).into(),
        }
    }

    fn crew(count: u16) -> Crew {
        let crew = Crew::default();
        crew.lead_to(&(1..=count).map(clone).collect::<Vec<_>>());
        crew
    }

    fn slot(member: &Member) -> u16 {
        member.upstream.address.port()
    }

    #[test]
    fn equals_have_their_turns_and_others_get_what_they_lack() {
        let crew = crew(3);
        let inside: Vec<_> = (0..9)
            .filter_map(|_| crew.choose(Stay::Short, &[]))
            .collect();
        for upstream in (1..=3).map(clone) {
            assert_eq!(crew.busy_at(upstream.instance), 3);
        }
        let ends = inside.iter().filter(|it| slot(it) == 2);
        ends.for_each(|it| it.leave(false));
        for _ in 0..3 {
            assert_eq!(crew.choose(Stay::Short, &[]).map(|it| slot(&it)), Some(2));
        }
        // One after the other, each of them when nobody is inside; a fourth has left with somebody inside.
        let crew = self::crew(4);
        let inside = crew.choose(Stay::Short, &[1, 2, 3].map(clone));
        assert_eq!(inside.map(|it| slot(&it)), Some(4));
        crew.lead_to(&[1, 2, 3].map(clone));
        let mut turns = [0; 3];
        for _ in 0..300 {
            let member = crew.choose(Stay::Short, &[]).expect("they serve");
            turns[usize::from(slot(&member)) - 1] += 1;
            member.leave(false);
        }
        assert_eq!(turns, [100; 3]);
    }

    #[test]
    fn open_streams_are_shared_out_and_keep_no_request_away() {
        let crew = crew(1);
        for _ in 0..10 {
            crew.choose(Stay::Long, &[]).expect("it serves").lengthen();
        }
        crew.lead_to(&[clone(1), clone(2)]);
        for _ in 0..10 {
            let stream = crew.choose(Stay::Long, &[]).expect("they serve");
            assert_eq!(slot(&stream), 2);
            stream.lengthen();
        }
        let mut turns = [0; 2];
        for _ in 0..10 {
            let member = crew.choose(Stay::Short, &[]).expect("they serve");
            turns[usize::from(slot(&member)) - 1] += 1;
        }
        assert_eq!(turns, [5, 5]);
    }

    #[test]
    fn an_instance_that_left_is_counted_until_its_last_request_has_ended() {
        let crew = crew(2);
        let inside: Vec<_> = (0..4)
            .filter_map(|_| crew.choose(Stay::Short, &[]))
            .collect();
        crew.lead_to(&[clone(1)]);
        let leaving = clone(2).instance;
        assert_eq!((crew.busy_at(leaving), crew.serving()), (2, 1));
        for _ in 0..5 {
            assert_eq!(crew.choose(Stay::Short, &[]).map(|it| slot(&it)), Some(1));
        }
        // It comes back, with its count.
        crew.lead_to(&[clone(1), clone(2)]);
        assert_eq!(crew.busy_at(leaving), 2);
        crew.lead_to(&[clone(1)]);
        inside.iter().for_each(|it| it.leave(false));
        assert_eq!(crew.busy_at(leaving), 0);
        crew.lead_to(&[]);
        assert!(crew.choose(Stay::Short, &[]).is_none());
    }

    #[test]
    fn leaving_never_misses_a_request_that_got_in() {
        for _ in 0..2_000 {
            let crew = Arc::new(crew(1));
            let visitor = Arc::clone(&crew);
            let thread = std::thread::spawn(move || visitor.choose(Stay::Short, &[]));
            crew.lead_to(&[clone(2)]);
            let busy = crew.busy_at(clone(1).instance);
            let inside = thread.join().expect("the visitor does not panic");
            let inside = inside.expect("one of them serves");
            assert!(
                slot(&inside) == 2 || busy == 1,
                "somebody is inside and the count says nobody"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_no_connection_is_passed_over_and_then_tried_by_one_request() {
        let crew = crew(2);
        let both = [clone(1), clone(2)];
        let bad = crew.choose(Stay::Short, &both[1..]).expect("the first");
        crew.pass_over(&bad);
        bad.leave(false);
        let next = || crew.choose(Stay::Short, &[]).map(|it| slot(&it));
        assert_eq!([next(), next(), next()], [Some(2); 3]);
        tokio::time::advance(PASSED_OVER).await;
        assert_eq!([next(), next(), next()], [Some(1), Some(2), Some(2)]);
        bad.reached();
        assert_eq!([next(), next()], [Some(1), Some(1)]);
        // Better than nobody.
        crew.pass_over(&bad);
        assert_eq!(
            crew.choose(Stay::Short, &both[1..]).map(|it| slot(&it)),
            Some(1)
        );
        assert!(crew.choose(Stay::Short, &both).is_none());
    }
}
