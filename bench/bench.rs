//! Side-by-side measurements on one machine: Anteroom against nginx, haproxy and Traefik. `bench/run` builds and
//! starts it; nothing of it is in the product.
//!
//! Read in this order: `report` (what is promised, and how a figure becomes a verdict), then one file for each
//! measurement, then `kit`, `peers`, `room` and `client`, which they are made of.
//!
//! Everything listens on loopback, on ports that were free, and every process that was started is ended.
#![expect(clippy::print_stdout, reason = "a command that shows its progress")]

use std::path::PathBuf;

use anyhow::{Context, bail};

mod admissions;
mod app;
mod bare;
mod client;
mod crowd;
mod forward;
mod idle;
mod kit;
mod page;
mod peers;
mod report;
mod room;
mod rooms;
mod sampling;
mod start;
mod streams;
mod wakes;

/// Where things are, and how long it may take.
struct Bench {
    anteroom: PathBuf,
    traefik: PathBuf,
    work: tempfile::TempDir,
    rounds: usize,
    seconds: u64,
    streams: Option<usize>,
}

const USAGE: &str =
    "bench --anteroom FILE --traefik FILE [--quick] [--streams N] [--report FILE] [PART ...]
parts: page forward streams crowd wakes admissions rooms idle sampling start; all of them when none is named";

const PARTS: [&str; 10] = [
    "start",
    "idle",
    "sampling",
    "page",
    "crowd",
    "streams",
    "forward",
    "wakes",
    "admissions",
    "rooms",
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == "app").is_some() {
        return app::serve(&args.collect::<Vec<_>>()).await;
    }
    if args.next_if(|arg| arg == "bare").is_some() {
        return bare::serve(&args.collect::<Vec<_>>()).await;
    }
    if args.next_if(|arg| arg == "exporter").is_some() {
        return sampling::serve(&args.collect::<Vec<_>>()).await;
    }
    let (mut anteroom, mut traefik, mut report, mut streams) = (None, None, None, None);
    let (mut quick, mut parts) = (false, Vec::new());
    while let Some(arg) = args.next() {
        let mut value = || args.next().context(USAGE);
        match arg.as_str() {
            "--anteroom" => anteroom = Some(PathBuf::from(value()?)),
            "--traefik" => traefik = Some(PathBuf::from(value()?)),
            "--report" => report = Some(PathBuf::from(value()?)),
            "--streams" => streams = Some(value()?.parse().context(USAGE)?),
            "--quick" => quick = true,
            part => match PARTS.iter().find(|known| **known == part) {
                Some(part) => parts.push(*part),
                None => bail!(USAGE),
            },
        }
    }
    let bench = Bench {
        anteroom: anteroom.context(USAGE)?.canonicalize()?,
        traefik: traefik.context(USAGE)?.canonicalize()?,
        work: tempfile::tempdir()?,
        rounds: if quick { 1 } else { 5 },
        seconds: if quick { 1 } else { 4 },
        streams,
    };
    let mut findings = report::Findings::default();
    for part in PARTS {
        if parts.is_empty() || parts.contains(&part) {
            println!("\n== {part}");
            measure(part, &bench, &mut findings)
                .await
                .with_context(|| format!("{part} could not be measured"))?;
        }
    }
    let text = report::render(&findings, &bench)?;
    println!("\n{text}");
    if let Some(path) = report {
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

async fn measure(part: &str, bench: &Bench, findings: &mut report::Findings) -> anyhow::Result<()> {
    match part {
        "page" => Box::pin(page::measure(bench, findings)).await,
        "forward" => Box::pin(forward::measure(bench, findings)).await,
        "streams" => Box::pin(streams::measure(bench, findings)).await,
        "crowd" => Box::pin(crowd::measure(bench, findings)).await,
        "admissions" => Box::pin(admissions::measure(bench, findings)).await,
        "rooms" => Box::pin(rooms::measure(bench, findings)).await,
        "wakes" => Box::pin(wakes::measure(bench, findings)).await,
        "sampling" => Box::pin(sampling::measure(bench, findings)).await,
        "idle" => Box::pin(idle::measure(bench, findings)).await,
        _ => Box::pin(start::measure(bench, findings)).await,
    }
}
