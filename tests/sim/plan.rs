//! What a seed decides beforehand: the service's policy, the weather, and the visitors' habits.

use anteroom::engine::backoff::Backoff;
use anteroom::engine::contract::Source;
use anteroom::engine::policy::Policy;
use anteroom::engine::time::Span;

use crate::rng::Rng;

pub(crate) const SECOND: u64 = 1_000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// From here on nobody comes and nothing fails: at the day's end the service must sleep.
pub(crate) const QUIET_FROM: u64 = 19 * HOUR;

/// Rates are so many in a thousand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
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
    /// Between two sessions of visitors.
    pub(crate) visit_every: u64,
    pub(crate) monitor_every: Option<u64>,
    pub(crate) sample_every: u64,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let calm = seed.is_multiple_of(8);
        let rate = |rng: &mut Rng, rates: &[u64]| if calm { 0 } else { rng.pick(rates) };
        let failover = rng.chance(600);
        let policy = policy(&mut rng, seed, failover);
        Plan {
            seed,
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
            visit_every: rng.pick(&[12 * MINUTE, 40 * MINUTE, 100 * MINUTE]),
            monitor_every: rng.chance(400).then(|| rng.within(20, 120) * SECOND),
            sample_every: rng.pick(&[5, 10, 15]) * SECOND,
        }
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
        seed,
        ..Policy::default()
    }
}
