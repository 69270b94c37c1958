//! How a service is to live: durations, bounds, sources.

use super::backoff::Backoff;
use super::record::Base;
use super::scale;
use super::time::Span;
use super::traffic::Source;

/// How a machine is put to sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sleep {
    /// It is shut down.
    #[default]
    Stop,
    /// Its memory is kept, where the platform can do that; else it is shut down.
    Suspend,
    /// A snapshot takes its place. A machine that is merely off is not asleep yet: only the answer to the stop says so.
    Swap,
}

/// How the provider makes clones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneTerms {
    /// So many are wanted while the service is awake, whatever its load; one at least where no seed serves.
    pub wanted: u16,
    /// So many there may be at any moment, those that are on their way in and out among them.
    pub most: u16,
    /// So many may be made in any hour.
    pub per_hour: u16,
    /// After a lost answer, or a crash, a clone that was asked for may still appear for so long.
    pub settles: Span,
    /// Asking for the same clone again is safe, whatever became of the first time.
    pub repeats: bool,
    /// A new clone's public addresses are given back.
    pub strips: bool,
}

/// What the operator wants of a service, and the bounds of its provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Without qualifying traffic for so long, the service is put to sleep.
    pub idle_timeout: Span,
    /// It stays awake at least so long after a wake.
    pub min_awake: Span,
    /// A wake that is not ready by then has failed.
    pub start_timeout: Span,
    /// Running requests get so long to end before a stop.
    pub drain_timeout: Span,
    /// Drain for all of `drain_timeout`: for a path whose running requests can't be counted (Traefik counts a
    /// request when it ends).
    pub drain_whole: bool,
    /// Between two readiness probes while waking, at most; the first ones follow each other faster. Also between two
    /// looks at a machine on its way up or down.
    pub probe_interval: Span,
    /// Between two probes of the awake app.
    pub check_interval: Span,
    /// A provider call, a probe or a publish whose answer is not there by then is lost. Longer than the
    /// driver's own deadlines.
    pub call_timeout: Span,
    /// How its machines are put to sleep.
    pub sleep: Sleep,
    /// How clones are made; none where they are not.
    pub clones: Option<CloneTerms>,
    /// What a wake is to bring up; clones only where `clones` says how they are made.
    pub base: Base,
    /// How many instances there are to be for the load; none where there is always one.
    pub scale: Option<scale::Terms>,
    /// A source of activity that has not been heard of for so long is blind.
    pub stale_after: Span,
    /// A paid period is used up before the machine is stopped.
    pub billing_increment: Option<Span>,
    /// The sources that must all be fresh and quiet before a stop.
    pub sources: Vec<Source>,
    /// Waits between failed calls.
    pub backoff: Backoff,
    /// Seeds the jitter.
    pub seed: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            idle_timeout: Span::mins(30),
            min_awake: Span::mins(10),
            start_timeout: Span::mins(5),
            drain_timeout: Span::secs(30),
            drain_whole: false,
            probe_interval: Span::secs(1),
            check_interval: Span::secs(10),
            call_timeout: Span::secs(45),
            sleep: Sleep::Stop,
            clones: None,
            base: Base::Seed,
            scale: None,
            stale_after: Span::secs(60),
            billing_increment: None,
            sources: vec![Source::Edge],
            backoff: Backoff {
                first: Span::secs(1),
                max: Span::mins(5),
            },
            seed: 0,
        }
    }
}
