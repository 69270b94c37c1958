//! What a seed decides beforehand: the service's policy, the weather, and the visitors' habits.

use anteroom::engine::admit::{Rate, Rules};
use anteroom::engine::backoff::{Backoff, mix};
use anteroom::engine::contract::Source;
use anteroom::engine::load::Share;
use anteroom::engine::policy::{CloneTerms, Policy, Sleep};
use anteroom::engine::scale::{Mode, Terms};
use anteroom::engine::time::Span;

use crate::rng::Rng;

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;

/// The rooms' clocks differ by up to this.
pub(crate) const CLOCKS_DIFFER: u64 = 60 * SECOND;

/// Rates are so many in a thousand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How many rooms live on one store.
    pub(crate) rooms: usize,
    /// How long the day is; shorter with many rooms, whose beats are many.
    pub(crate) day: u64,
    /// From here on nothing fails.
    pub(crate) calm_from: u64,
    /// From here on nobody comes either: at the day's end the service must sleep.
    pub(crate) quiet_from: u64,
    /// By how much each room's clock is ahead.
    pub(crate) skews: Vec<u64>,
    /// How often a room falls silent between the write of a stop and the stop itself, in a thousand.
    pub(crate) pauses: u64,
    /// The store is wiped before the quiet hours, when nobody comes to mend it.
    pub(crate) wiped_at: Option<u64>,
    /// Who may wake, and how often; none but with many rooms.
    pub(crate) rules: Rules,
    pub(crate) policy: Policy,
    /// Requests go from Traefik straight to the machine while awake.
    pub(crate) failover: bool,
    pub(crate) call_faults: u64,
    /// Of effects, before which Anteroom is killed; in ten thousand.
    pub(crate) kills: u64,
    pub(crate) way_faults: u64,
    pub(crate) publish_takes: u64,
    pub(crate) signal_faults: u64,
    pub(crate) store_faults: u64,
    /// Between two strokes of fate (a crash, a hold, a jump of the clock, ...); none in calm seeds.
    pub(crate) fate_every: Option<u64>,
    /// Reads of the machine's state may be so old.
    pub(crate) stale_reads: u64,
    /// A boot of the machine takes up to this, of the app as long again.
    pub(crate) boot: u64,
    pub(crate) new_address_each_boot: bool,
    /// Whether the platform suspends machines; where not, it says so.
    pub(crate) can_suspend: bool,
    /// Between two sessions of visitors.
    pub(crate) visit_every: u64,
    pub(crate) monitor_every: Option<u64>,
    pub(crate) sample_every: u64,
    /// Where the service has clones.
    pub(crate) clones: Option<Clones>,
    /// Where the shipped policy says how many, by the load.
    pub(crate) load: Option<Load>,
}

/// What the load is like, and who measures it. Loads are in ten thousandths of what one machine can do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// What visitors need is never more.
    pub(crate) most: u64,
    /// Between two changes of it.
    pub(crate) change_every: u64,
    /// What each instance takes for itself.
    pub(crate) base: u64,
    /// A sample is wrong by up to so much.
    pub(crate) noise: u64,
    /// The share of one instance is this many hundredths greater or less than of another.
    pub(crate) uneven: u64,
    /// Of samples, and of looks at the whole signal; in a thousand.
    pub(crate) faults: u64,
    /// Between two looks of somebody else's rules, where alerts are raised.
    pub(crate) rules_every: Option<u64>,
}

/// What the platform is like that makes the clones, and how many are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Clones {
    /// Never more are wanted, nor there.
    pub(crate) most: u16,
    /// Between two changes of how many are wanted.
    pub(crate) change_every: u64,
    /// When the quiet hours begin, so many are wanted.
    pub(crate) wanted_last: u16,
    /// A machine is up so long after it was asked for, at most.
    pub(crate) takes: u64,
    /// Lists lag behind by up to this.
    pub(crate) lag: u64,
    /// What is made must be started.
    pub(crate) is_made_stopped: bool,
    /// Machines get a public address by themselves.
    pub(crate) gives_addresses: bool,
    /// Which stays, and costs, when its machine is deleted.
    pub(crate) keeps_addresses: bool,
    /// The room counts what is in flight at each instance.
    pub(crate) counts_requests: bool,
    /// Machines of others at the same account.
    pub(crate) others: u16,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Plan {
        let plan = Plan::without_clones(seed);
        match (has_clones(seed), has_load(seed)) {
            (true, true) => plan.with_clones().with_load(),
            (true, false) => plan.with_clones(),
            (false, _) => plan,
        }
    }

    fn without_clones(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let calm = seed.is_multiple_of(8);
        let rate = |rng: &mut Rng, rates: &[u64]| if calm { 0 } else { rng.pick(rates) };
        let failover = rng.chance(600);
        let policy = policy(&mut rng, seed, failover);
        let plan = Plan {
            seed,
            rooms: 1,
            day: 24 * HOUR,
            calm_from: 19 * HOUR,
            quiet_from: 19 * HOUR,
            skews: vec![0],
            pauses: 0,
            wiped_at: None,
            rules: Rules::default(),
            policy,
            failover,
            call_faults: rate(&mut rng, &[0, 20, 100, 350]),
            kills: rate(&mut rng, &[0, 0, 5, 40, 150]),
            publish_takes: rng.pick(&[SECOND, 2 * SECOND, 15 * SECOND]),
            way_faults: rate(&mut rng, &[0, 20, 200]),
            signal_faults: rate(&mut rng, &[0, 2, 20]),
            store_faults: rate(&mut rng, &[0, 0, 20, 200]),
            fate_every: (!calm).then(|| rng.pick(&[15 * MINUTE, 40 * MINUTE, 2 * HOUR])),
            stale_reads: rate(&mut rng, &[0, 2 * SECOND, 12 * SECOND]),
            boot: rng.pick(&[SECOND, 20 * SECOND, 60 * SECOND]),
            new_address_each_boot: rng.chance(300),
            can_suspend: rng.chance(500),
            visit_every: rng.pick(&[12 * MINUTE, 40 * MINUTE, 100 * MINUTE]),
            monitor_every: rng.chance(400).then(|| rng.within(20, 120) * SECOND),
            sample_every: rng.pick(&[5, 10, 15]) * SECOND,
            clones: None,
            load: None,
        };
        match has_many_rooms(seed) {
            true => plan.of_many_rooms(&mut rng, calm),
            false => plan,
        }
    }

    fn with_clones(mut self) -> Plan {
        let mut rng = Rng::new(self.seed ^ 0xC10E);
        let settles = rng.pick(&[2, 10]) * MINUTE;
        let most = rng.pick(&[1, 2, 3, 5]);
        let gives_addresses = rng.chance(600);
        self.policy.clones = Some(CloneTerms {
            wanted: 0,
            most,
            per_hour: rng.pick(&[2, 6, 60]),
            settles: Span(settles),
            repeats: rng.chance(400),
            strips: gives_addresses && rng.chance(700),
        });
        self.clones = Some(Clones {
            most,
            change_every: rng.pick(&[10, 30, 90]) * MINUTE,
            wanted_last: rng.pick(&[0, most / 2, most]),
            takes: rng.pick(&[SECOND, 20 * SECOND, 90 * SECOND]),
            lag: rng.pick(&[0, 3 * SECOND, settles / 4]),
            is_made_stopped: rng.chance(300),
            gives_addresses,
            keeps_addresses: rng.chance(500),
            counts_requests: !self.failover && rng.chance(500),
            others: rng.pick(&[0, 1, 4]),
        });
        self
    }

    /// Visitors come often, so that the service is awake for long; and for hours after the last mishap.
    fn with_load(mut self) -> Plan {
        let mut rng = Rng::new(self.seed ^ 0x10AD);
        let shared = self.rooms > 1;
        let Some(clones) = &mut self.clones else {
            return self;
        };
        clones.wanted_last = 0;
        let terms = terms(&mut rng, clones.most, shared);
        let per_hour = rng.pick(&[6, 20, 60]);
        self.policy.clones = self.policy.clones.map(|it| CloneTerms { per_hour, ..it });
        self.policy.scale = Some(terms);
        self.load = Some(Load {
            most: u64::from(terms.max) * terms.up_at.in_hundredths() * 6 / 5,
            change_every: rng.pick(&[10, 40, 120]) * MINUTE,
            base: rng.pick(&[0, 0, 300, 1_500]),
            noise: rng.pick(&[0, 200, 500]),
            uneven: rng.pick(&[0, 10]),
            faults: match self.is_calm() {
                true => 0,
                false => rng.pick(&[0, 5, 50, 200]),
            },
            rules_every: (terms.alerts_only || rng.chance(300))
                .then(|| rng.pick(&[15, 60]) * SECOND),
        });
        self.visit_every = match shared {
            true => MINUTE,
            false => rng.pick(&[MINUTE, 3 * MINUTE, self.visit_every]),
        };
        let (calm_from, quiet_from, rest) = match shared {
            true => (3 * HOUR / 2, 9 * HOUR / 2, 3 * HOUR / 2),
            false => (10 * HOUR, 19 * HOUR, 5 * HOUR),
        };
        let earlier = self.quiet_from - calm_from;
        self.wiped_at = self.wiped_at.map(|at| at - earlier.min(at));
        (self.calm_from, self.quiet_from) = (calm_from, quiet_from);
        self.day = quiet_from + rest;
        self
    }

    /// Nothing fails.
    pub(crate) fn is_calm(&self) -> bool {
        self.fate_every.is_none()
    }

    /// A short day in a lively house.
    fn of_many_rooms(self, rng: &mut Rng, calm: bool) -> Plan {
        let rooms = if rng.chance(500) { 2 } else { 3 };
        let quiet_from = 5 * HOUR / 2;
        let last_wipe = quiet_from - rng.within(0, 5) * MINUTE;
        let policy = Policy {
            idle_timeout: Span::mins(rng.pick(&[2, 3, 4])),
            min_awake: Span::mins(rng.pick(&[0, 2])),
            billing_increment: None,
            ..self.policy
        };
        Plan {
            rooms,
            day: 4 * HOUR,
            calm_from: quiet_from,
            quiet_from,
            skews: (0..rooms).map(|_| rng.within(0, CLOCKS_DIFFER)).collect(),
            pauses: if calm { 0 } else { rng.pick(&[0, 100, 300]) },
            wiped_at: (!calm && rng.chance(300)).then_some(last_wipe),
            rules: rules(rng),
            policy,
            kills: self.kills / 2,
            fate_every: (!calm).then(|| rng.pick(&[4, 10, 20]) * MINUTE),
            visit_every: rng.pick(&[5, 8, 12]) * MINUTE,
            ..self
        }
    }
}

/// Whether many rooms live on one store that day.
pub(crate) fn has_many_rooms(seed: u64) -> bool {
    seed % 3 == 2
}

/// Whether the service has clones that day.
pub(crate) fn has_clones(seed: u64) -> bool {
    mix(seed).is_multiple_of(2)
}

/// Whether the load says how many there are to be, where there are clones.
pub(crate) fn has_load(seed: u64) -> bool {
    mix(seed ^ 0x10AD).is_multiple_of(2)
}

fn terms(rng: &mut Rng, most: u16, shared: bool) -> Terms {
    let max = most + 1;
    let mode = match rng.chance(400) {
        true => Mode::Projected {
            margin: Mode::MARGIN,
        },
        false => Mode::Threshold,
    };
    let up_at = Share::percent(rng.pick(&[50, 70, 80]));
    let interval = Span::secs(rng.pick(&[5, 15, 30]));
    let alerts_only = rng.chance(200);
    Terms {
        min: rng.pick(&[1, 1, 2]).min(max),
        max,
        mode,
        up_at,
        down_at: Terms::default_down_at(up_at),
        up_window: Span(rng.pick(&[30, 60, 180]) * SECOND),
        down_window: match shared {
            true => Span::mins(rng.pick(&[2, 5])),
            false => Span::mins(rng.pick(&[3, 8, 15])),
        },
        // Where an alert is all there is, its end must be heard of before the next step.
        cooldown: match alerts_only {
            true => Span::mins(rng.pick(&[3, 6])),
            false => Span::mins(rng.pick(&[0, 1, 3])),
        },
        interval,
        settling: Terms::settling_of(interval),
        alerts_only,
        crowd: None,
    }
}

/// Some limits are tight, so that they are met; some let everybody through.
fn rules(rng: &mut Rng) -> Rules {
    let rate = |count, mins| Rate::new(count, Span::mins(mins)).ok();
    Rules {
        per_client: rng.pick(&[None, rate(1, 15), rate(1, 30), rate(2, 60)]),
        per_service: rng.pick(&[None, rate(4, 60), rate(8, 60)]),
        per_day: rng.pick(&[None, Some(8), Some(24)]),
        ..Rules::default()
    }
}

fn policy(rng: &mut Rng, seed: u64, failover: bool) -> Policy {
    Policy {
        idle_timeout: Span::mins(rng.pick(&[3, 8, 15, 30])),
        min_awake: Span::mins(rng.pick(&[0, 2, 10])),
        start_timeout: Span::mins(rng.pick(&[3, 5])),
        drain_timeout: Span::secs(rng.pick(&[10, 30])),
        drain_whole: failover,
        billing_increment: rng.chance(150).then_some(Span::mins(60)),
        sources: match failover {
            true => vec![Source::Edge, Source::Traefik],
            false => vec![Source::Edge],
        },
        backoff: Backoff {
            first: Span::secs(1),
            max: Span::mins(2),
        },
        sleep: match rng.chance(300) {
            true => Sleep::Suspend,
            false => Sleep::Stop,
        },
        seed,
        ..Policy::default()
    }
}
