//! From two readings of one machine to how busy it was between them.

use std::time::Duration;

use super::super::Lack;
use super::Of;
use super::text::{Cpu, Figures};
use crate::engine::load::Share;

/// The counters of a processor grow with the clock. What they may differ from it: the resolution of both, the way of an
/// answer, and a figure that the machine gives out for a second.
const DRIFT: Duration = Duration::from_secs(2);

/// And as a part of the time, in percent.
const DRIFT_PERCENT: u64 = 5;

/// How busy a machine was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy {
    /// What of it was in use.
    pub(super) share: Share,
    /// What of its processors the host gave to others; zero when they are not looked at.
    pub(super) steal: Share,
}

/// How busy the machine was between two readings, or at the second one where memory is meant.
///
/// # Errors
///
/// When the two can't be compared, or a figure is missing.
pub(super) fn busy(
    of: Of,
    last: Option<(&Figures, Duration)>,
    now: &Figures,
) -> Result<Busy, Lack> {
    if now.broken {
        return Err(lack("its metrics can't be read"));
    }
    let memory = match of {
        Of::Cpu => None,
        Of::Memory | Of::Both => Some(memory(now)?),
    };
    let cpu = match of {
        Of::Memory => None,
        Of::Cpu | Of::Both => Some(cpus(last, now)?),
    };
    let share = memory.max(cpu.map(|cpu| cpu.share));
    Ok(Busy {
        share: share.unwrap_or_default(),
        steal: cpu.map(|cpu| cpu.steal).unwrap_or_default(),
    })
}

fn memory(now: &Figures) -> Result<Share, Lack> {
    let (Some(all), Some(available)) = (now.memory, now.available) else {
        return Err(lack(
            "its metrics have no node_memory_MemTotal_bytes or no node_memory_MemAvailable_bytes",
        ));
    };
    share(all.saturating_sub(available), all).ok_or_else(|| lack("it has no memory"))
}

fn cpus(last: Option<(&Figures, Duration)>, now: &Figures) -> Result<Busy, Lack> {
    if now.cpus.is_empty() {
        return Err(lack("its metrics have no node_cpu_seconds_total"));
    }
    let (last, elapsed) = last.ok_or(Lack::First)?;
    if last.cpus.len() != now.cpus.len() {
        return Err(Lack::Broken);
    }
    let (mut all, mut busy, mut steal) = (0, 0, 0);
    for (before, after) in last.cpus.iter().zip(&now.cpus) {
        let grown = grown(before, after).filter(|grown| keeps_time(grown, elapsed));
        let grown = grown.ok_or(Lack::Broken)?;
        all += grown.idle + grown.busy;
        busy += grown.busy;
        steal += grown.steal;
    }
    // Two readings at the same moment.
    let share = |part| share(part, all).ok_or(Lack::Broken);
    Ok(Busy {
        share: share(busy)?,
        steal: share(steal)?,
    })
}

/// What was added; none when it is another processor, or one that began anew.
fn grown(before: &Cpu, after: &Cpu) -> Option<Cpu> {
    (before.name == after.name).then_some(Cpu {
        name: after.name,
        idle: after.idle.checked_sub(before.idle)?,
        busy: after.busy.checked_sub(before.busy)?,
        steal: after.steal.checked_sub(before.steal)?,
    })
}

/// Whether the processor counted about as much time as passed. One that began anew counted less, also where all its
/// counters are above the old ones by now; so did a machine that was paused.
fn keeps_time(grown: &Cpu, elapsed: Duration) -> bool {
    let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    let drift = DRIFT.as_millis() as u64 + elapsed / 100 * DRIFT_PERCENT;
    elapsed.abs_diff(grown.idle + grown.busy) <= drift
}

fn share(part: u64, all: u64) -> Option<Share> {
    let hundredths = u128::from(part) * 10_000;
    let hundredths = (hundredths + u128::from(all) / 2).checked_div(u128::from(all))?;
    Some(Share::hundredths(
        u64::try_from(hundredths).unwrap_or(u64::MAX),
    ))
}

fn lack(why: &str) -> Lack {
    Lack::NoFigure(why.to_owned())
}
