//! The program by itself: its size, the time to its first answer, its memory when it has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::Bench;
use crate::client;
use crate::kit::{self, Figures};
use crate::report::Findings;
use crate::room::{Room, Service};

/// Starts that are timed.
const STARTS: usize = 10;

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let size = std::fs::metadata(&bench.anteroom)
        .context("the program")?
        .len() as f64
        / 1e6;
    let (mut answer_ms, mut rss) = (Figures::default(), Figures::default());
    for number in 0..STARTS {
        let service = [Service::new(bench, "start", (0, 1), "")?];
        let began = Instant::now();
        let room = Room::start(bench, &format!("start{number}"), &service, "").await?;
        let request = client::page_request("start.test", 1);
        client::ask_once(kit::local(room.visitors), &request).await?;
        answer_ms.add(began.elapsed().as_secs_f64() * 1_000.0);
        room.reaches("start", "asleep").await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        rss.add(room.process.rss_mb()?);
    }
    println!("{size:.1} MB, {answer_ms:?} ms, {rss:?} MB");
    findings.goal("size", size, format!("{size:.1} MB"));
    findings.goal(
        "start",
        answer_ms.median(),
        format!("{} ms", answer_ms.spread(0)),
    );
    findings.goal("memory", rss.median(), format!("{} MB", rss.spread(1)));
    findings.table(
        "The program",
        &format!(
            "Profile `dist`; {STARTS} starts with one service and a new file store, timed from the spawn to a whole \
             waiting page."
        ),
        &["", ""],
        vec![
            vec!["size".into(), format!("{size:.1} MB")],
            vec!["first answer after".into(), format!("{} ms", answer_ms.spread(0))],
            vec!["memory, asleep".into(), format!("{} MB", rss.spread(1))],
        ],
    );
    Ok(())
}
