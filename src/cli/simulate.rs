//! `anteroom simulate`: what the shipped policy would have made of a trace of requests, beside what it could have done at
//! best and what the Kubernetes HPA's rule would have done. `docs/scaling.md` says what the figures mean.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::out;
use crate::engine::time::Span;
use policy::Policy;
use replay::{Course, World};
use report::Run;
use trace::Trace;

mod chart;
mod past;
mod policy;
mod replay;
mod report;
mod rival;
mod table;
mod trace;

/// What an instance can do is reckoned so that this much of it is what it should do: the demand is scaled by it, the
/// oracle keeps it, and minutes above it are counted, whatever `up_at` is. So policies can be compared.
const RIGHT: f64 = 0.7;

/// What is to be replayed.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// A CSV of time and count, a line for each minute (or another step); a line with a count alone is a step after the one
    /// before. With --table, several.
    #[arg(long, required_unless_present = "from_ledger")]
    trace: Vec<PathBuf>,
    /// So many instances are needed at the 99.9th percentile of the trace, each 70 % busy.
    #[arg(long, default_value_t = 7.0)]
    peak: f64,
    /// How long an instance takes from the decision to its first request.
    #[arg(long, default_value = "2m", value_parser = time)]
    boot: Span,
    /// `threshold` or `projected`, and keys of `[service.NAME.scale]` that are to be other than usual, as in
    /// `threshold,up_at=60,down_window=10m`.
    #[arg(long, default_value = "threshold")]
    policy: Policy,
    /// What an instance costs an hour.
    #[arg(long, allow_negative_numbers = true)]
    per_hour: Option<f64>,
    /// Each sample is off by so many points (standard deviation).
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    noise: f64,
    /// Another seed, other noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw a chart into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Print the table of `docs/scaling.md`: each trace with several peaks, policies and noises.
    #[arg(long, conflicts_with_all = ["svg", "json", "from_ledger"])]
    table: bool,
    /// Instead of a trace: what other idle timeouts would have made of a service's wakes and sleeps of so long a time.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "service", conflicts_with_all = ["trace", "svg"])]
    from_ledger: Option<Span>,
    /// The service whose ledger is read.
    #[arg(long, requires = "from_ledger")]
    service: Option<String>,
    /// The configuration file, with --from-ledger.
    #[arg(short, long, default_value = "anteroom.toml", env = "ANTEROOM_CONFIG")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn simulate(args: Simulate) -> anyhow::Result<()> {
    if let (Some(time), Some(service)) = (args.from_ledger, &args.service) {
        return past::from_ledger(&args.config, service, time, args.json).await;
    }
    if args.table {
        return table::print(&args.trace);
    }
    let [path] = &*args.trace else {
        bail!("one --trace is replayed at a time, unless with --table");
    };
    if !(args.peak.is_finite() && args.peak > 0.0 && args.peak <= 500.0) {
        bail!("--peak is more than 0 and at most 500");
    }
    if !(0.0..=100.0).contains(&args.noise) {
        bail!("--noise is 0 to 100 points");
    }
    if args
        .per_hour
        .is_some_and(|price| !(price.is_finite() && price >= 0.0))
    {
        bail!("--per-hour is what an instance costs an hour: a number from 0 up");
    }
    let (trace, world) = world(path, args.peak, args.boot, args.noise, args.seed)?;
    let courses = [
        Run::oracle(&world),
        Run::of("static", &world, Course::fixed(&world)),
        Run::of(&args.policy.name(), &world, args.policy.replay(&world)),
        Run::of("hpa", &world, rival::replay(&world)),
    ];
    if let Some(file) = &args.svg {
        let [_, _, ours, rival] = &courses;
        let drawing = chart::draw(&trace, &world, ours, &rival.course);
        std::fs::write(file, drawing)
            .with_context(|| format!("{} can't be written", file.display()))?;
    }
    let report = report::Report {
        trace: &trace,
        world: &world,
        peak: args.peak,
        noise: args.noise,
        per_hour: args.per_hour,
        runs: &courses,
    };
    match args.json {
        true => out::line(&report.json().to_string()),
        false => report.print(),
    }
    Ok(())
}

/// A trace, and the demand that is made of it.
fn world(
    path: &Path,
    peak: f64,
    boot: Span,
    noise: f64,
    seed: u64,
) -> anyhow::Result<(Trace, World)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} can't be read", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let trace = Trace::read(&name, &text).with_context(|| path.display().to_string())?;
    let world = World {
        demand: trace.scaled(peak, RIGHT),
        boot_minutes: usize::try_from(boot.0.div_ceil(60_000)).context("--boot is too long")?,
        noise: noise / 100.0,
        seed,
    };
    Ok((trace, world))
}

/// `30m`, `2h`, `30d`; a day has 24 hours.
fn time(text: &str) -> Result<Span, String> {
    let parsed = text.parse::<jiff::Span>().ok();
    let length = parsed.and_then(|span| {
        span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
            .ok()
    });
    let length = length.and_then(|length| std::time::Duration::try_from(length).ok());
    length
        .map(Span::from)
        .ok_or_else(|| format!("`{text}` is no time like 30m, 2h or 30d"))
}
