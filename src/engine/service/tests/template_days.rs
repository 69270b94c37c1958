//! Seeded days of a service that runs on clones alone: visitors come and go, calls and answers are lost or doubled,
//! clones die, the platform refuses, the store takes no record, and the owner is killed between any two deeds.

use std::collections::BTreeMap;

use super::house::House;
use super::template::policy;
use super::*;
use crate::engine::backoff::mix;
use crate::engine::contract::{Activity, Source};
use crate::engine::fleet::{Deed, Heard};
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::machine::Owned;

const DAYS: u64 = if cfg!(debug_assertions) { 16 } else { 300 };

/// A day's storm, and the calm after it.
const STORM: u64 = 20 * 60 * MINUTE;
const CALM: u64 = 3 * 60 * MINUTE;

/// The longest request; less than the drain's time.
const REQUEST: u64 = 20;

struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % end
    }

    /// In ten thousand.
    fn chance(&mut self, rate: u64) -> bool {
        self.below(10_000) < rate
    }
}

struct Day {
    house: House,
    rng: Rng,
    seed: u64,
    repeats: bool,
    faults: u64,
    kills: u64,
    deaths: u64,
    /// From a making to its place in the lists.
    lag: Span,
    storms: bool,
    session_until: Time,
    /// Requests that are open, by where, until when.
    open: Vec<(InstanceId, Time)>,
    last_use: Time,
    makings: BTreeMap<CloneId, u32>,
    /// When one was made last.
    made_at: Time,
    /// Visitors were seen to reach the room, and are led there still.
    proven: bool,
    /// Somebody waits since then.
    waits_since: Option<Time>,
}

impl Day {
    fn new(seed: u64) -> Day {
        let mut rng = Rng(seed << 20);
        let calm = seed.is_multiple_of(8);
        let mut rate = |rates: [u64; 3]| match calm {
            true => 0,
            false => rates[rng.below(3) as usize],
        };
        let (faults, kills, deaths) = (rate([0, 0, 500]), rate([0, 20, 200]), rate([0, 0, 10]));
        let lag = Span::secs(rate([0, 0, 30]));
        let repeats = rng.chance(5_000);
        let mut policy = policy(|terms| {
            terms.repeats = repeats;
            terms.per_hour = 200;
        });
        policy.seed = seed;
        if rng.chance(5_000) {
            policy.scale = None;
        }
        let mut house = House::with(policy, true);
        house.used = false;
        house.boots_in = Span::secs(rng.below(90));
        Day {
            last_use: house.now,
            session_until: house.now,
            house,
            rng,
            seed,
            repeats,
            faults,
            kills,
            deaths,
            lag,
            storms: true,
            open: Vec::new(),
            makings: BTreeMap::new(),
            made_at: Time(0),
            proven: false,
            waits_since: None,
        }
    }

    fn fails(&mut self) -> bool {
        self.storms && self.rng.chance(self.faults)
    }

    fn dies(&mut self) -> bool {
        self.storms && self.rng.chance(self.kills)
    }

    fn live(&mut self, time: Span) {
        let end = self.house.now + time;
        while self.house.now < end {
            self.visit();
            self.strike();
            self.load();
            self.house.answers.push_back(Input::Tick);
            while let Some(input) = self.house.answers.pop_front() {
                self.take(input);
            }
            self.house.now = self.house.now + Span::secs(1);
        }
    }

    /// Whoever comes, and whoever is inside.
    fn visit(&mut self) {
        let now = self.house.now;
        self.open.retain(|(_, until)| *until > now);
        if self.storms && self.session_until <= now && self.rng.chance(5) {
            self.session_until = now + Span::secs(60 + self.rng.below(600));
        }
        let upstreams = self.house.engine.view().upstreams;
        let mut used = false;
        if now < self.session_until {
            if upstreams.is_empty() {
                self.waits_since = self.waits_since.or(Some(now));
                if self.rng.chance(2_000) {
                    self.last_use = now;
                    self.house.answers.push_back(Input::Triggered(trigger()));
                }
            } else {
                self.waits_since = None;
                let to = upstreams[self.rng.below(upstreams.len() as u64) as usize].instance;
                let until = now + Span::secs(1 + self.rng.below(REQUEST - 1));
                self.open.push((to, until));
                self.last_use = now;
                used = true;
            }
        } else {
            self.waits_since = None;
        }
        if !upstreams.is_empty()
            || self.house.engine.takes_requests()
            || (now.0 / SECOND).is_multiple_of(5)
        {
            let seen = self.activity(used);
            self.house.answers.push_back(Input::Seen(seen));
        }
        if let Some(since) = self.waits_since {
            // Nothing is wrong: the machine's own time, and not much more.
            let bound = self.house.boots_in + Span::secs(90);
            let calm = self.faults + self.kills + self.deaths == 0;
            assert!(
                !calm || now.since(since) < bound,
                "day {}: nobody is let in for {bound}: {}",
                self.seed,
                self.house.engine.view().why
            );
        }
    }

    fn activity(&self, used: bool) -> Activity {
        Activity {
            used,
            in_flight: u32::try_from(self.open.len()).expect("few"),
            ..Activity::quiet(Source::Edge)
        }
    }

    /// What the clones have to do, and what is measured of it.
    fn load(&mut self) {
        let now = self.house.now.0 / SECOND;
        if now.is_multiple_of(1_800) {
            self.house.demand = self.rng.below(30_000);
        }
        if now.is_multiple_of(15) && !self.fails() {
            let samples = self.house.samples();
            self.house.answers.push_back(Input::Measured(samples));
        }
    }

    /// Machines and platforms fail.
    fn strike(&mut self) {
        if !self.storms {
            self.house.refuses = None;
            return;
        }
        if self.rng.chance(self.deaths) && !self.house.clones.is_empty() {
            let at = self.rng.below(self.house.clones.len() as u64) as usize;
            let dead = *self.house.clones.keys().nth(at).expect("it is there");
            self.house.clones.remove(&dead);
            // Who was inside has lost the answer already.
            self.open.retain(|(to, _)| *to != InstanceId::Clone(dead));
        }
        // A store that forgets: lists must show at once what it does not tell any more.
        let shown = self.lag == Span::ZERO && self.house.now.since(self.made_at) > Span::secs(5);
        if shown && self.rng.chance(self.kills / 20) {
            self.house.record = None;
            self.house.crash();
        }
        if self.rng.chance(self.deaths) {
            let classes = [
                None,
                Some(ErrorClass::Capacity),
                Some(ErrorClass::Quota),
                Some(ErrorClass::Transient),
            ];
            self.house.refuses = classes[self.rng.below(4) as usize];
        }
    }

    fn take(&mut self, input: Input) {
        let mut out = Vec::new();
        let now = self.house.now;
        self.house.engine.step(now, input, &mut out);
        for effect in out {
            if let Effect::Record { op, required, .. } = &effect
                && *required
                && self.fails()
            {
                // What follows a record that is not written is not done.
                let refused = Input::NotRecorded(*op);
                self.house.answers.push_back(refused);
                return;
            }
            if self.dies() {
                return self.house.crash();
            }
            self.act(effect);
            if self.dies() {
                return self.house.crash();
            }
        }
    }

    fn act(&mut self, effect: Effect) {
        if matches!(effect, Effect::Record { .. } | Effect::Tell(_)) {
            return self.house.act(effect);
        }
        if self.fails() {
            return; // It never arrived.
        }
        let before = self.house.answers.len();
        match effect {
            Effect::LastLook(op) => {
                let seen = vec![self.activity(false)];
                let looked = Input::LookedOnce(op, Ok(seen));
                self.house.answers.push_back(looked);
            }
            Effect::ProveDivert(op) if self.storms && self.rng.chance(3_000) => {
                let why = "nobody knows where they are led".to_owned();
                self.house.answers.push_back(Input::Diverted(op, Err(why)));
            }
            Effect::ProveDivert(_) => {
                self.proven = self.house.routing == Routing::Asleep;
                self.house.act(effect);
            }
            Effect::Publish(_, ref routing) => {
                self.proven &= *routing == Routing::Asleep;
                self.house.act(effect);
            }
            Effect::Fleet(op, Deed::Find) => {
                let found = self.listed();
                let found = Input::Fleet(op, Heard::Found(Ok(found)));
                self.house.answers.push_back(found);
            }
            Effect::Fleet(op, Deed::Drain(clone)) => {
                let inside = |(to, _): &&(InstanceId, Time)| *to == InstanceId::Clone(clone);
                let open = self.open.iter().filter(inside).count();
                let open = u32::try_from(open).expect("few");
                let drained = Input::Fleet(op, Heard::Drained(Ok(Some(open))));
                self.house.answers.push_back(drained);
            }
            Effect::Fleet(_, Deed::Make(clone)) => {
                self.made_at = self.house.now;
                self.makes(clone);
                self.house.act(effect);
                self.count();
            }
            Effect::Fleet(_, Deed::Delete(clone)) => {
                self.deletes(clone);
                self.house.act(effect);
            }
            effect => self.house.act(effect),
        }
        if self.house.answers.len() == before {
            return;
        }
        if self.fails() {
            self.house.answers.pop_back(); // Done, and the answer is lost.
        } else if self.fails() {
            let again = self.house.answers.back().cloned();
            self.house.answers.extend(again);
        }
    }

    fn listed(&self) -> Vec<Owned> {
        let all = self.house.clones.iter();
        let shown = all.filter(|(_, made)| **made + self.lag <= self.house.now);
        let owned = |(clone, _): (&CloneId, &Time)| Owned {
            clone: *clone,
            machine: self.house.machine(InstanceId::Clone(*clone)),
        };
        shown.map(owned).collect()
    }

    /// I7.
    fn makes(&mut self, clone: CloneId) {
        let times = self.makings.entry(clone).or_default();
        *times += u32::from(self.house.refuses.is_none());
        assert!(
            self.repeats || *times <= 1,
            "day {}: {clone:?} is asked for twice",
            self.seed
        );
    }

    /// I5.
    fn count(&self) {
        let most = self.house.engine.policy().clones.map_or(0, |it| it.most);
        assert!(
            self.house.clones.len() <= usize::from(most),
            "day {}: {} machines",
            self.seed,
            self.house.clones.len()
        );
    }

    /// I2, I3 and I11.
    fn deletes(&self, clone: CloneId) {
        if !self.house.clones.contains_key(&clone) {
            return;
        }
        let which = InstanceId::Clone(clone);
        let (seed, now) = (self.seed, self.house.now);
        assert!(
            self.open.iter().all(|(to, _)| *to != which),
            "day {seed}: somebody is inside at {now:?}"
        );
        if let Routing::Awake(listed) = &self.house.routing {
            assert!(
                listed.iter().all(|it| it.instance != which),
                "day {seed}: visitors are led there"
            );
        }
        let policy = self.house.engine.policy();
        // Where no clone is one too many, fails, or seems to.
        let only = self.deaths + self.faults == 0 && policy.scale.is_none();
        let idle = now.since(self.last_use) >= policy.idle_timeout;
        assert!(!only || self.proven, "day {seed}: nobody was led away");
        assert!(
            !only || idle,
            "day {seed}: used {} ago",
            now.since(self.last_use)
        );
    }

    fn ends(&mut self) {
        self.storms = false;
        self.session_until = self.house.now;
        self.live(Span(CALM));
        let house = &self.house;
        let seen = (house.engine.phase(), house.clones.len());
        assert_eq!(seen, (Phase::Asleep, 0), "day {}", self.seed);
        // And whoever comes then is let in.
        self.house.answers.push_back(Input::Triggered(trigger()));
        self.live(self.house.boots_in + Span::mins(1));
        assert_eq!(self.house.engine.phase(), Phase::Awake, "day {}", self.seed);
        self.live(Span::mins(60));
        let house = &self.house;
        let seen = (house.engine.phase(), house.clones.len());
        assert_eq!(seen, (Phase::Asleep, 0), "day {}", self.seed);
    }
}

#[test]
fn on_no_day_a_clone_in_use_is_deleted_one_is_left_over_or_a_visitor_is_forgotten() {
    for seed in 0..DAYS {
        let mut day = Day::new(seed);
        day.live(Span(STORM));
        day.ends();
    }
}
