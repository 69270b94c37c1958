//! Who is let in when, while an app is freshly ready.
//!
//! A crowd that has waited for one wake must not fall upon the app in one moment. So for the first [`LASTS`] after a wake
//! the app gets so many requests a second and no more, spaced evenly, whoever they are of. Nothing is refused for it: what
//! may not go yet waits its turn, and when the time is over everything passes.
//!
//! Who waits on a page holds a number, in the order of arrival. The numbers are *called* in that order, as fast as there
//! are places; a page that asks within [`GRACE`] of its call is let in, with its household, and the place of one that does
//! not ask is given to the next. What waits with its connection open waits in one of two lanes: the households that were let
//! in (so that a page that has begun to load gets its parts), and those who walk in without a number, who have one place in
//! ten while others hold numbers, and every free one when nobody does.
//!
//! It keeps nothing that grows with the crowd: numbers are two counters, and whom it has let in is bounded by the rate.
//! Held requests and lanes are the caller's, by ids that it gives; they are bounded by [`WAITING_MAX`].

use std::collections::{BTreeMap, VecDeque};

use ipnet::IpNet;

use super::time::{Span, Time};

mod calls;

use calls::Calls;

/// How long a fresh app is spared.
pub const LASTS: Span = Span::secs(30);

/// Within this time of its call a number must ask: a page asks at the moment that it was told, give or take a second.
pub const GRACE: Span = Span::secs(3);

/// Who was let in must come within this time.
pub const PASS: Span = Span::secs(10);

/// The most that a rate may be, in requests a second: so many are remembered.
pub const RATE_MAX: u32 = 1_000;

/// The most requests that wait in the lanes of one service. Each keeps its connection and the buffers of its head.
pub const WAITING_MAX: usize = 10_000;

/// Whoever would wait for longer than this among those who are in waits on the page instead, where it can.
const CROWDED: Span = Span::secs(1);

/// Of so many places one is for those without a number: nobody without a script waits for ever.
const WALKS_IN: u64 = 10;

/// Places that were free just now are still free for so long, in microseconds: timers ring late, and the parts of one page
/// come together. It is no burst: a twentieth of what a second has.
const SAVED_US: u64 = 50_000;

/// A walk-in looks again after this time at most whether nobody holds a number any more.
const LOOK_AGAIN: Span = Span::millis(200);

/// Where a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// With the households that were let in.
    Inside,
    /// With those who hold no number.
    WalkIn,
}

/// What the holder of a number is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may come.
    Go,
    /// It may come as soon as the id that it gave is let in.
    Soon,
    /// Not yet: about so long still, or so long from when the app is ready.
    Later(Span),
}

/// What the lanes ask of their keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This one goes in now.
    Enter(u64),
    /// Nobody before this moment.
    At(Time),
    /// Nobody waits, or the app is not ready.
    Nobody,
}

/// The pacing of a service's wakes, one after the other.
#[derive(Clone, Debug)]
pub struct Ramp {
    rate: u64,
    /// The requests that one turn stands for, where the room does not see them: 1 where it does.
    unseen: u64,
    /// Which wake the numbers are of: when it began.
    wake: Option<Time>,
    /// When its app was ready.
    ready: Option<Time>,
    /// Numbers given out; the first one is 0.
    given: u64,
    /// Numbers called: all below this.
    called: u64,
    /// Called, and not asked yet.
    calls: Calls,
    /// Let in, and not come yet.
    coming: Calls,
    /// Whom a number has let in.
    granted: BTreeMap<u64, IpNet>,
    guests: BTreeMap<IpNet, Guest>,
    /// Who waits, by id, with the places that it takes.
    inside: BTreeMap<u64, u64>,
    /// Who waits without a number, by id.
    walkers: BTreeMap<u64, IpNet>,
    /// Who has walked in, and until when it may open a page: the page of a visitor whose questions are lost on the way looks
    /// whether the site is there before it opens it.
    walked_in: BTreeMap<IpNet, Time>,
    /// The next place, in microseconds since the epoch.
    free_us: u64,
    /// Who entered in the last second, the oldest first.
    entered: VecDeque<Time>,
    /// Places used, and places that were free while nobody could have used them.
    spent: u64,
    unused: u64,
    /// Places for walk-ins that are used, or past.
    walked: u64,
}

/// A household that was let in.
#[derive(Clone, Copy, Debug)]
struct Guest {
    /// Pages that were let in and have not come.
    passes: u32,
    until: Time,
    came: bool,
}

impl Ramp {
    /// For so many requests a second, 1 to [`RATE_MAX`]. `sees_all`: whether every request of a visitor passes the room; else
    /// a turn stands for two that it does not see, the look at the public way and the page.
    #[must_use]
    pub fn new(rate: u32, sees_all: bool) -> Ramp {
        Ramp {
            rate: rate.clamp(1, RATE_MAX).into(),
            unseen: if sees_all { 1 } else { 2 },
            wake: None,
            ready: None,
            given: 0,
            called: 0,
            calls: Calls::default(),
            coming: Calls::default(),
            granted: BTreeMap::new(),
            guests: BTreeMap::new(),
            inside: BTreeMap::new(),
            walkers: BTreeMap::new(),
            walked_in: BTreeMap::new(),
            free_us: 0,
            entered: VecDeque::new(),
            spent: 0,
            unused: 0,
            walked: 0,
        }
    }

    /// From now on as a configuration says that was read again.
    pub fn set(&mut self, now: Time, rate: u32, sees_all: bool) {
        let new = Ramp::new(rate, sees_all);
        if (new.rate, new.unseen) != (self.rate, self.unseen) {
            (self.rate, self.unseen) = (new.rate, new.unseen);
            // What was used at the old rate is no debt at the new one, and nothing is saved either.
            let past = self.ready.map_or(0, |_| self.places_until(now));
            (self.spent, self.unused) = (past, 0);
            self.walked = self.spent / WALKS_IN;
        }
    }

    /// Which wake is under way, by when it began, and when its app was ready. With another one the numbers begin anew; who
    /// waits in a lane stays there.
    pub fn follow(&mut self, now: Time, wake: Time, ready: Option<Time>) {
        if self.wake != Some(wake) {
            *self = self.anew(Some(wake));
        }
        if let (None, Some(ready)) = (self.ready, ready) {
            // Another room's clock may be ahead of ours.
            self.ready = Some(ready.min(now));
        }
    }

    /// No wake is under way, and nobody is let in by one. Who waits in a lane stays there; nothing else is remembered.
    pub fn rest(&mut self) {
        if self.wake.is_some() {
            *self = self.anew(None);
        }
    }

    fn anew(&mut self, wake: Option<Time>) -> Ramp {
        Ramp {
            rate: self.rate,
            unseen: self.unseen,
            wake,
            inside: std::mem::take(&mut self.inside),
            walkers: std::mem::take(&mut self.walkers),
            ..Ramp::new(1, true)
        }
    }

    /// Whether the app is ready and everybody may come. A clock that was set back makes nobody wait longer.
    #[must_use]
    pub fn is_over(&self, now: Time) -> bool {
        let over = |ready: Time| now < ready || now.since(ready) >= LASTS;
        self.ready.is_some_and(over)
    }

    /// When it ends; none before the app is ready.
    #[must_use]
    pub fn ends_at(&self) -> Option<Time> {
        self.ready.map(|ready| ready + LASTS)
    }

    /// The number of somebody who begins to wait. One that another room has given is kept, as long as it is not more than
    /// this room has given itself.
    pub fn number(&mut self, held: Option<u64>, who: IpNet) -> u64 {
        match held {
            // Each lets one household in, once.
            Some(held)
                if held < self.given && self.granted.get(&held).is_none_or(|of| *of == who) =>
            {
                held
            }
            _ => {
                self.given += 1;
                self.given - 1
            }
        }
    }

    /// The holder of this number asks. With [`Turn::Soon`], `id` is in a lane.
    pub fn turn(&mut self, now: Time, number: u64, who: IpNet, id: u64) -> Turn {
        if self.is_over(now) {
            return Turn::Go;
        }
        if self.ready.is_none() {
            return Turn::Later(self.wait(number));
        }
        self.call(now);
        // One that asks again has lost its answer on the way, or its page was loaded anew.
        let again = self.granted.get(&number) == Some(&who);
        if !again && (number >= self.called || !self.calls.take()) {
            return Turn::Later(self.wait(number));
        }
        self.granted.insert(number, who);
        self.pass(now, who, again);
        match (self.unseen, again) {
            (1, true) => Turn::Go,
            (1, false) => {
                self.coming.add(now + GRACE, 1);
                Turn::Go
            }
            (places, _) => {
                self.inside.insert(id, places);
                Turn::Soon
            }
        }
    }

    /// The lane of a request of this household; none for the opening of a page by somebody who was not let in: it waits on
    /// the waiting page. Where nobody waits at all and a place is free, it is let in, and so is one who has just walked in.
    pub fn lane(&mut self, now: Time, who: IpNet, opens: bool) -> Option<Lane> {
        let Some(guest) = self.guests.get_mut(&who) else {
            return self.outside(now, who, opens);
        };
        let has_pass = guest.passes > 0 && guest.until > now;
        if has_pass && opens {
            guest.passes -= 1;
            guest.came = true;
            self.coming.take();
        }
        match guest.came || has_pass {
            true if opens && !has_pass && self.is_crowded() => None,
            true => Some(Lane::Inside),
            false => self.outside(now, who, opens),
        }
    }

    /// Whether those who are in wait longer than anybody likes to before an empty window: one household may be very many,
    /// behind a proxy that hides them. Then a page that is opened without a number waits on the waiting page too.
    fn is_crowded(&self) -> bool {
        self.inside.len() as u64 * 1_000 >= self.rate * CROWDED.0
    }

    /// The lane of somebody who was not let in.
    fn outside(&mut self, now: Time, who: IpNet, opens: bool) -> Option<Lane> {
        if !opens {
            return Some(Lane::WalkIn);
        }
        let is_free = self.waiting() == 0 && self.nobody_holds_a_number(now);
        let is_free = is_free && self.free_at(now, 1) <= now;
        let walked_in = self.walked_in.get(&who).is_some_and(|until| *until > now);
        if !is_free && !walked_in {
            return None;
        }
        self.guests.insert(
            who,
            Guest {
                passes: 0,
                until: now,
                came: true,
            },
        );
        Some(Lane::Inside)
    }

    /// A request waits in this lane. Ids rise in the order of arrival. False when too many wait.
    #[must_use]
    pub fn wait_in(&mut self, lane: Lane, id: u64, who: IpNet) -> bool {
        if self.waiting() >= WAITING_MAX {
            return false;
        }
        match lane {
            Lane::Inside => self.inside.insert(id, 1).is_none(),
            Lane::WalkIn => self.walkers.insert(id, who).is_none(),
        }
    }

    /// This one waits no more.
    pub fn leave(&mut self, id: u64) {
        self.inside.remove(&id);
        self.walkers.remove(&id);
    }

    /// Requests that wait in the lanes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inside.len() + self.walkers.len()
    }

    /// Who of those in the lanes goes in now. To be asked again until it names nobody.
    pub fn next(&mut self, now: Time) -> Next {
        if self.is_over(now) {
            let inside = self.inside.pop_first().map(|first| first.0);
            let first = inside.or_else(|| self.walkers.pop_first().map(|first| first.0));
            return first.map_or(Next::Nobody, Next::Enter);
        }
        if self.ready.is_none() || self.waiting() == 0 {
            return Next::Nobody;
        }
        let inside = self
            .inside
            .first_key_value()
            .map(|(id, places)| (*id, *places));
        let walker = self.walkers.first_key_value().map(|(id, _)| *id);
        let walks_at = self.walks_at();
        let (id, places) = match (inside, walker) {
            (_, Some(id)) if walks_at <= now => (id, 1),
            (Some(first), _) => first,
            (None, Some(id)) if self.nobody_holds_a_number(now) => (id, 1),
            (None, Some(_)) => return Next::At(walks_at.min(now + LOOK_AGAIN)),
            (None, None) => return Next::Nobody,
        };
        let at = self.free_at(now, places);
        if at > now {
            return Next::At(at);
        }
        if let Some(who) = self.walkers.get(&id) {
            self.walked_in.insert(*who, now + PASS);
            self.walked = (self.walked + 1).max(self.places_until(now) / WALKS_IN);
        }
        self.enter(now, places);
        self.leave(id);
        Next::Enter(id)
    }

    fn enter(&mut self, now: Time, places: u64) {
        let earliest = (now.0 * 1_000).saturating_sub(SAVED_US);
        self.free_us = self.free_us.max(earliest) + places * 1_000_000 / self.rate;
        self.entered.extend((0..places).map(|_| now));
        self.spent += places;
    }

    /// When so many places are free: at their even distance, and never more than the rate within a second.
    fn free_at(&mut self, now: Time, places: u64) -> Time {
        const SECOND: Span = Span::secs(1);
        while self
            .entered
            .front()
            .is_some_and(|at| now.since(*at) >= SECOND)
        {
            self.entered.pop_front();
        }
        let even = Time(self.free_us.div_ceil(1_000));
        let over = (self.entered.len() as u64 + places).saturating_sub(self.rate.max(places));
        match over
            .checked_sub(1)
            .and_then(|nth| self.entered.get(usize::try_from(nth).ok()?))
        {
            Some(nth) => even.max(*nth + SECOND),
            None => even,
        }
    }

    /// When the next place is one of those without a number.
    fn walks_at(&self) -> Time {
        let ready = self.ready.unwrap_or_default();
        ready + Span((self.walked * WALKS_IN * 1_000).div_ceil(self.rate))
    }

    /// Numbers are called also while nobody asks: that is how it is known that those who held them have left.
    fn nobody_holds_a_number(&mut self, now: Time) -> bool {
        self.call(now);
        self.called >= self.given && self.calls.open() == 0
    }

    /// The places of an app that is ready since then, the first one at once.
    fn places_until(&self, now: Time) -> u64 {
        let ready = self.ready.unwrap_or(now);
        now.since(ready).0.min(LASTS.0) * self.rate / 1_000 + 1
    }

    /// Calls as many numbers as there are places that nobody else has or waits for.
    fn call(&mut self, now: Time) {
        self.calls.expire(now);
        self.coming.expire(now);
        let waiting: u64 = self.inside.values().sum();
        let used = self.spent
            + self.unused
            + waiting
            + self.coming.open()
            + self.calls.open() * self.unseen;
        let free = self.places_until(now).saturating_sub(used);
        // A second's places may be saved; what was not used before is past. Those who come later are a crowd too.
        self.unused += free.saturating_sub(self.rate);
        let calls = (free.min(self.rate) / self.unseen).min(self.given - self.called);
        self.called += calls;
        self.calls.add(now + GRACE, calls);
    }

    /// Lets a household in, for one page more; for at least one where it has asked for that before.
    fn pass(&mut self, now: Time, who: IpNet, again: bool) {
        let guest = self.guests.entry(who).or_insert(Guest {
            passes: 0,
            until: now,
            came: false,
        });
        let left = if guest.until > now { guest.passes } else { 0 };
        guest.passes = if again { left.max(1) } else { left + 1 };
        guest.until = now + PASS;
    }

    /// How long a number waits, as far as can be known.
    fn wait(&self, number: u64) -> Span {
        let ahead = (number + 1).saturating_sub(self.called).max(1);
        let waiting: u64 = self.inside.values().sum();
        Span((ahead * self.unseen + waiting) * 1_000 / self.rate).min(LASTS)
    }
}

#[cfg(test)]
mod tests;
