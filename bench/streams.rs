//! Tens of thousands of open pages: what they cost in memory, and how soon all of them hear of a change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Bench;
use crate::client;
use crate::kit::{self, Figures};
use crate::report::Findings;
use crate::room::{Room, Service};

/// What the goal speaks of.
const WANTED: usize = 50_000;

/// File numbers that are left for everything else, on either side.
const FILES_LEFT: usize = 500;

/// Streams that are opened at the same time.
const OPENING_MAX: usize = 256;

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let possible = kit::files_max()?.saturating_sub(FILES_LEFT).min(WANTED);
    let count = bench.streams.unwrap_or(possible);
    let service = Service::new(bench, "streams", (600_000, 1), "")?;
    let host = service.host();
    let room = Room::start(bench, "streams", &[service], "").await?;
    room.reaches("streams", "asleep").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = room.process.rss_mb()?;

    let began = Instant::now();
    let streams = open(count, &host, room.visitors).await?;
    let opening = began.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let with_all = room.process.rss_mb()?;

    let mut listeners = JoinSet::new();
    for mut stream in streams {
        listeners.spawn(async move {
            client::hear(&mut stream, "\"waking\"").await?;
            // Kept until all have heard: closing thousands meanwhile would be another measurement.
            anyhow::Ok((Instant::now(), stream))
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let change = Instant::now();
    room.command("streams", "wake").await?;
    let (mut heard, mut kept) = (Figures::default(), Vec::new());
    while let Some(listener) = listeners.join_next().await {
        let (at, stream) = listener?.context("a stream did not hear of the change")?;
        heard.add(at.saturating_duration_since(change).as_secs_f64() * 1_000.0);
        kept.push(stream);
    }
    let at_change = room.process.rss_mb()?;
    let all = heard.len();
    ensure!(all == count, "{all} of {count} streams heard of the change");

    let per_stream = (at_change.max(with_all) - before) * 1_000.0 / count as f64;
    let for_all = before + per_stream * WANTED as f64 / 1_000.0;
    let measured = match count >= WANTED {
        true => format!("{for_all:.0} MB"),
        false => format!(
            "{for_all:.0} MB, reckoned from {count} streams: no more files may be open here"
        ),
    };
    findings.goal("streams-memory", for_all, measured);
    let last_ms = heard.max();
    findings.goal(
        "streams-change",
        last_ms,
        format!("{last_ms:.0} ms for {count} streams"),
    );
    findings.table(
        "Open event streams",
        "Visitors and Anteroom share the machine; each visitor is a connection of its own.",
        &["", ""],
        vec![
            vec!["streams".into(), count.to_string()],
            vec![
                "opened in".into(),
                format!("{:.1} s", opening.as_secs_f64()),
            ],
            vec!["memory without streams".into(), format!("{before:.1} MB")],
            vec!["memory with all".into(), format!("{with_all:.1} MB")],
            vec![
                "memory when all have heard of a change".into(),
                format!("{at_change:.1} MB"),
            ],
            vec!["for each stream".into(), format!("{per_stream:.1} kB")],
            vec![
                "change heard by half of them after".into(),
                format!("{:.0} ms", heard.median()),
            ],
            vec![
                "change heard by all after".into(),
                format!("{last_ms:.0} ms"),
            ],
        ],
    );
    Ok(())
}

/// Opens the streams and hears the first event on each.
async fn open(count: usize, host: &str, port: u16) -> anyhow::Result<Vec<TcpStream>> {
    let turns = Arc::new(Semaphore::new(OPENING_MAX));
    let request: Arc<str> = client::events_request(host).into();
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let (turns, request) = (Arc::clone(&turns), Arc::clone(&request));
        opening.spawn(async move {
            let _turn = turns.acquire().await?;
            let mut stream = client::connect(kit::local(port)).await?;
            stream.write_all(request.as_bytes()).await?;
            client::hear(&mut stream, "\"asleep\"").await?;
            anyhow::Ok(stream)
        });
    }
    let mut streams = Vec::with_capacity(count);
    while let Some(stream) = opening.join_next().await {
        streams.push(stream?.context("a stream could not be opened")?);
    }
    Ok(streams)
}
