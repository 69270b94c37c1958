//! What a container has used of the processors that it may run on, as its engine counts it.

use std::hash::Hasher as _;

use bollard::models::{ContainerInspectResponse, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::answer::Sent;
use super::engine::Call;
use super::{Docker, Seen, answer, clones};
use crate::engine::id::InstanceId;
use crate::engine::load::Usage;
use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::provider::cpus;

/// The period of a quota that names none, in microseconds (`cpu.max`, CFS).
const QUOTA_PERIOD_MICROS: i64 = 100_000;

impl Docker {
    pub(super) async fn used(&self, instance: InstanceId) -> Result<Usage, Trouble> {
        let name = self.name(instance);
        let found = match self.see(&name).await? {
            Seen::Container(found)
                if instance == InstanceId::SEED || clones::is_of(&found, &name) =>
            {
                found
            }
            _ => return Err(self.missing(instance)),
        };
        let state = answer::state(found.state.as_ref());
        if state != MachineState::Running {
            let detail = format!("the container {name:?} does not run");
            return Err(Trouble::new(ErrorClass::InvalidState, detail));
        }
        // By its id: another one may have got its name.
        let id = found.id.as_deref().unwrap_or(&name);
        let call = Call {
            name: "stats",
            on: id,
            sent: Sent::Read,
        };
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true);
        let options = Some(options.build());
        let stats = self.engine.call(call, |engine| async move {
            let mut answers = engine.stats(id, options);
            answers.next().await.transpose()
        });
        let stats = stats.await?;
        let usage = stats.and_then(|stats| usage(&found, &stats));
        usage.ok_or_else(|| {
            let detail = format!("the engine has no figures of the container {name:?}");
            Trouble::new(ErrorClass::Transient, detail)
        })
    }
}

fn usage(found: &ContainerInspectResponse, stats: &ContainerStatsResponse) -> Option<Usage> {
    let cpu = stats.cpu_stats.as_ref()?;
    let used = cpu.cpu_usage.as_ref()?.total_usage?;
    let online = cpu.online_cpus.filter(|number| *number > 0)?;
    let started = found.state.as_ref()?.started_at.as_deref()?;
    let read: jiff::Timestamp = stats.read.as_ref()?.to_string().parse().ok()?;
    let mut life = std::hash::DefaultHasher::new();
    life.write(started.as_bytes());
    Some(Usage {
        life: life.finish(),
        used_micros: used / 1_000,
        passed_micros: u64::try_from(read.as_microsecond()).ok()?,
        processors_milli: processors_milli(found, u64::from(online)),
    })
}

/// Its quota, or the processors that it is bound to, or all that the host has: whatever is least.
fn processors_milli(found: &ContainerInspectResponse, online: u64) -> u64 {
    let host = found.host_config.as_ref();
    let positive = |number: Option<i64>| {
        number
            .and_then(|it| u64::try_from(it).ok())
            .filter(|it| *it > 0)
    };
    let nano = positive(host.and_then(|it| it.nano_cpus)).map(|nano| nano / 1_000_000);
    let period = host.and_then(|it| it.cpu_period).filter(|it| *it > 0);
    let period = period.unwrap_or(QUOTA_PERIOD_MICROS).unsigned_abs();
    let quota = positive(host.and_then(|it| it.cpu_quota)).map(|quota| quota * 1_000 / period);
    let bound = host.and_then(|it| it.cpuset_cpus.as_deref());
    let bound = bound.and_then(cpus::count).map(|number| number * 1_000);
    let least = [nano, quota, bound].into_iter().flatten().min();
    least.unwrap_or(u64::MAX).min(online * 1_000).max(1)
}

#[cfg(test)]
mod tests {
    use bollard::models::HostConfig;

    use super::*;

    #[test]
    fn a_container_may_use_its_quota_or_its_processors_or_all() {
        let with = |host: HostConfig| {
            let found = ContainerInspectResponse {
                host_config: Some(host),
                ..Default::default()
            };
            processors_milli(&found, 4)
        };
        assert_eq!(with(HostConfig::default()), 4_000);
        let nano = |nano| HostConfig {
            nano_cpus: Some(nano),
            ..Default::default()
        };
        assert_eq!(
            (
                with(nano(500_000_000)),
                with(nano(0)),
                with(nano(9_000_000_000))
            ),
            (500, 4_000, 4_000)
        );
        let quota = |quota, period| HostConfig {
            cpu_quota: Some(quota),
            cpu_period: period,
            ..Default::default()
        };
        assert_eq!(
            (
                with(quota(150_000, None)),
                with(quota(150_000, Some(50_000)))
            ),
            (1_500, 3_000)
        );
        assert_eq!(with(quota(-1, Some(0))), 4_000);
        let bound = |list: &str, quota| HostConfig {
            cpuset_cpus: Some(list.to_owned()),
            cpu_quota: quota,
            ..Default::default()
        };
        assert_eq!(
            (with(bound("", None)), with(bound("0-1,3", None))),
            (4_000, 3_000)
        );
        assert_eq!(with(bound("0,1", Some(100_000))), 1_000);
    }
}
