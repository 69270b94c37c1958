//! The tables of `docs/scaling.md`: every trace with two peaks, with true and with noisy samples, by several policies.

use std::path::PathBuf;

use super::replay::Course;
use super::report::{DAYS, Figures, Run};
use super::trace::Trace;
use super::{out, rival, world};

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

pub(super) fn print(traces: &[PathBuf]) -> anyhow::Result<()> {
    for path in traces {
        for peak in PEAKS {
            let mut columns = Vec::new();
            let mut shown = None;
            for noise in NOISES {
                let boot = crate::engine::time::Span::mins(2);
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
