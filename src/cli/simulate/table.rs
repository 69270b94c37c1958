//! The tables of `docs/scaling.md`: every trace with two peaks, with true and with noisy samples, by several policies; and with other times to boot.

use std::path::{Path, PathBuf};

use super::replay::Course;
use super::report::{DAYS, Figures, Run};
use super::trace::Trace;
use super::{out, rival, world};
use crate::engine::time::Span;

/// The usual two first, then what their windows and margins do.
const POLICIES: [&str; 8] = [
    "threshold",
    "projected",
    "threshold,down_window=5m",
    "threshold,down_window=10m",
    "threshold,down_window=30m",
    "projected,down_window=15m",
    "projected,margin=5",
    "threshold,up_at=60",
];
const PEAKS: [f64; 2] = [7.0, 20.0];
const NOISES: [f64; 2] = [0.0, 10.0];
const SEED: u64 = 1;
/// How long an instance takes to start: usually, and what less or more of it does.
const BOOT_MINS: u64 = 2;
const BOOTS_MINS: [u64; 4] = [1, 2, 5, 10];

pub(super) fn print(traces: &[PathBuf]) -> anyhow::Result<()> {
    for path in traces {
        for peak in PEAKS {
            let mut columns = Vec::new();
            let mut shown = None;
            for noise in NOISES {
                let boot = Span::mins(BOOT_MINS);
                let (trace, world) = world(path, peak, boot, noise, SEED)?;
                let mut runs = vec![
                    Run::of(
                        "static, for the highest minute",
                        &world,
                        Course::fixed(&world),
                    ),
                    Run::of("Kubernetes HPA", &world, rival::replay(&world)),
                ];
                for name in POLICIES {
                    let policy: super::Policy = name.parse().map_err(anyhow::Error::msg)?;
                    runs.push(Run::of(&format!("`{name}`"), &world, policy.replay(&world)));
                }
                columns.push(runs);
                shown = Some(trace);
            }
            if let Some(trace) = shown {
                section(&trace, peak, &columns);
            }
        }
        boots(path)?;
    }
    Ok(())
}

fn section(trace: &Trace, peak: f64, columns: &[Vec<Run>]) {
    out::line(&format!("**`{}`, a peak of {peak}**", trace.name));
    out::line("");
    out::line(
        "| policy | VM-hours / oracle | min > 70 % | reversals | undone | with noise: VM-hours / oracle | min > 70 % | reversals |",
    );
    out::line("|---|---|---|---|---|---|---|---|");
    let [still, noisy] = columns else { return };
    for (still, noisy) in still.iter().zip(noisy) {
        let (name, plain, rough) = (&still.name, &still.figures, &noisy.figures);
        out::line(&format!(
            "| {name} | {} | {:.2} % | {} |",
            cells(trace, plain),
            plain.undone * 100.0,
            cells(trace, rough)
        ));
    }
    out::line("");
}

/// What the time to boot does, at the first of the peaks.
fn boots(path: &Path) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for minutes in BOOTS_MINS {
        let boot = Span::mins(minutes);
        let (trace, world) = world(path, PEAKS[0], boot, NOISES[0], SEED)?;
        if rows.is_empty() {
            rows.push(format!(
                "**`{}`, a peak of {}, by the time to boot**",
                trace.name, PEAKS[0]
            ));
            rows.push(String::new());
            rows.push(
                "| boot | policy | VM-hours / oracle | min > 70 % | reversals | undone |".into(),
            );
            rows.push("|---|---|---|---|---|---|".into());
        }
        let mut runs = vec![Run::of("Kubernetes HPA", &world, rival::replay(&world))];
        for name in &POLICIES[..2] {
            let policy: super::Policy = name.parse().map_err(anyhow::Error::msg)?;
            runs.push(Run::of(&format!("`{name}`"), &world, policy.replay(&world)));
        }
        for run in &runs {
            let (cells, undone) = (cells(&trace, &run.figures), run.figures.undone * 100.0);
            rows.push(format!(
                "| {boot} | {} | {cells} | {undone:.2} % |",
                run.name
            ));
        }
    }
    rows.push(String::new());
    rows.iter().for_each(|row| out::line(row));
    Ok(())
}

/// Figures as they are, and behind them for 87 days.
fn cells(trace: &Trace, figures: &Figures) -> String {
    let long = |count: usize| format!("{count} ({:.0})", count as f64 * DAYS / trace.days());
    format!(
        "{:.3} | {} | {}",
        figures.times_oracle,
        long(figures.above),
        long(figures.reversals)
    )
}
