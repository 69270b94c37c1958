//! What a process and its group have used of the processors that it may run on, from `/proc`.

use std::sync::Arc;

use super::procfs;
use super::{Inner, Process, blocking};
use crate::engine::id::InstanceId;
use crate::engine::load::Usage;
use crate::engine::machine::{ErrorClass, Trouble};

impl Process {
    pub(super) async fn used(&self, instance: InstanceId) -> Result<Usage, Trouble> {
        let inner = self.need(instance).await?;
        blocking(move || used(&inner)).await
    }
}

/// The time of a child that ended goes on in the parent that waited for it. One that nobody of the group waits for takes
/// its time along: the sum falls then, and who compares two readings sees it.
fn used(inner: &Arc<Inner>) -> Result<Usage, Trouble> {
    let off = || {
        let detail = format!("the process of {} does not run", inner.instance);
        Trouble::new(ErrorClass::InvalidState, detail)
    };
    let leader = inner.files.find().ok_or_else(off)?;
    let members = procfs::all().filter(|stat| stat.group == leader.pid || stat.proc == leader);
    let ticks = members.fold(0, |sum: u64, stat| sum.saturating_add(stat.ran_ticks));
    let processors = procfs::processors(leader.pid).filter(|number| *number > 0);
    // Read after the list: had the leader ended before it, the group could be another's by then.
    if !procfs::is_alive(leader) {
        return Err(off());
    }
    let (Some(processors), Some(passed_micros)) = (processors, procfs::uptime_micros()) else {
        let detail = format!("/proc does not tell how {} runs", inner.instance);
        return Err(Trouble::new(ErrorClass::Transient, detail));
    };
    Ok(Usage {
        life: leader.started_ticks,
        used_micros: procfs::micros(ticks),
        passed_micros,
        processors_milli: processors * 1_000,
    })
}
