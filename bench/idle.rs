//! A thousand services, all asleep: what it costs to do nothing.

use std::time::Duration;

use crate::Bench;
use crate::report::Findings;
use crate::room::{Room, Service};

const SERVICES: usize = 1_000;

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let seconds = bench.seconds * 5;
    let mut services = Vec::with_capacity(SERVICES);
    for number in 0..SERVICES {
        services.push(Service::new(bench, &format!("idle{number}"), (0, 1), "")?);
    }
    let mut room = Room::start(bench, "idle", &services, "").await?;
    for service in &services {
        room.reaches(&service.name, "asleep").await?;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = room.process.cpu()?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = room.process.cpu()?.saturating_sub(before);
    room.process.check()?;
    let percent = used.as_secs_f64() / seconds as f64 * 100.0;
    let rss = room.process.rss_mb()?;
    println!("{percent:.2} % of a core, {rss:.1} MB");
    findings.goal("idle-cpu", percent, format!("{percent:.2} % of a core"));
    findings.goal("idle-memory", rss, format!("{rss:.1} MB"));
    findings.table(
        "A thousand idle services",
        &format!(
            "{SERVICES} services asleep, process provider, file store, watched for {seconds} s."
        ),
        &["", ""],
        vec![
            vec!["processor".into(), format!("{percent:.2} % of one core")],
            vec!["memory".into(), format!("{rss:.1} MB")],
        ],
    );
    Ok(())
}
