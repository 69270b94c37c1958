//! The figures of a replay, for people and for programs.

use serde_json::{Value, json};

use super::replay::{Course, World};
use super::trace::Trace;
use super::{RIGHT, out};

/// The days of the whole World Cup trace: figures of other traces are also given for as many.
pub(super) const DAYS: f64 = 87.0;

/// A policy and what it did.
pub(super) struct Run {
    pub(super) name: String,
    pub(super) course: Course,
    pub(super) figures: Figures,
}

/// What it came to.
pub(super) struct Figures {
    pub(super) vm_hours: f64,
    pub(super) times_oracle: f64,
    pub(super) above: usize,
    pub(super) over: usize,
    pub(super) undone: f64,
    pub(super) reversals: usize,
    pub(super) steps: usize,
}

impl Run {
    pub(super) fn oracle(world: &World) -> Run {
        Run::of("oracle", world, Course::oracle(world))
    }

    pub(super) fn of(name: &str, world: &World, course: Course) -> Run {
        let vm_hours = course.vm_hours();
        let figures = Figures {
            vm_hours,
            times_oracle: vm_hours / Course::oracle(world).vm_hours(),
            above: course.minutes_above(world, RIGHT),
            over: course.minutes_above(world, 1.0),
            undone: course.undone(world),
            reversals: course.reversals(),
            steps: course.steps.len(),
        };
        let name = name.to_owned();
        Run {
            name,
            course,
            figures,
        }
    }
}

/// All that is said of a replay.
pub(super) struct Report<'a> {
    pub(super) trace: &'a Trace,
    pub(super) world: &'a World,
    pub(super) peak: f64,
    pub(super) noise: f64,
    pub(super) per_hour: Option<f64>,
    pub(super) runs: &'a [Run],
}

impl Report<'_> {
    pub(super) fn print(&self) {
        let trace = self.trace;
        let missing = match trace.missing {
            0 => String::new(),
            minutes => format!("; {minutes} minutes are missing and count as quiet"),
        };
        out::line(&format!(
            "{}: {:.1} days from {} in steps of {} min{missing}",
            trace.name,
            trace.days(),
            date(trace.begins),
            trace.step
        ));
        out::line(&format!(
            "{} instances at the 99.9th percentile, each 70 % busy; {} min to boot; samples off by {} points\n",
            self.peak, self.world.boot_minutes, self.noise
        ));
        let mut rows = vec![headings(self.per_hour)];
        rows.extend(self.runs.iter().map(|run| self.row(run)));
        out::table(&rows);
    }

    fn row(&self, run: &Run) -> Vec<String> {
        let figures = &run.figures;
        let mut row = vec![
            run.name.clone(),
            format!("{:.0}", figures.vm_hours),
            format!("{:.3}", figures.times_oracle),
            figures.above.to_string(),
            format!("{:.0}", figures.above as f64 * self.for_days()),
            figures.over.to_string(),
            format!("{:.3} %", figures.undone * 100.0),
            figures.reversals.to_string(),
            figures.steps.to_string(),
        ];
        row.extend(
            self.per_hour
                .map(|price| format!("{:.2}", price * figures.vm_hours)),
        );
        row
    }

    fn for_days(&self) -> f64 {
        DAYS / self.trace.days()
    }

    pub(super) fn json(&self) -> Value {
        let run = |run: &Run| {
            let figures = &run.figures;
            json!({
                "policy": run.name, "vm_hours": figures.vm_hours, "times_oracle": figures.times_oracle,
                "minutes_above_70": figures.above, "minutes_above_70_per_87_days": figures.above as f64 * self.for_days(),
                "minutes_above_100": figures.over, "undone": figures.undone,
                "reversals": figures.reversals, "reversals_per_87_days": figures.reversals as f64 * self.for_days(),
                "steps": figures.steps, "cost": self.per_hour.map(|price| price * figures.vm_hours),
            })
        };
        json!({
            "trace": self.trace.name, "days": self.trace.days(), "missing_minutes": self.trace.missing,
            "peak": self.peak, "boot_minutes": self.world.boot_minutes,
            "noise_points": self.noise, "seed": self.world.seed,
            "policies": self.runs.iter().map(run).collect::<Vec<_>>(),
        })
    }
}

fn headings(per_hour: Option<f64>) -> Vec<String> {
    let always = [
        "POLICY",
        "VM-HOURS",
        "x ORACLE",
        "MIN > 70 %",
        "IN 87 DAYS",
        "MIN > 100 %",
        "UNDONE",
        "REVERSALS",
        "STEPS",
    ];
    let cost = per_hour.map(|_| "COST");
    always.into_iter().chain(cost).map(str::to_owned).collect()
}

pub(super) fn date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_second(seconds).ok();
    at.map_or_else(
        || "?".into(),
        |at| at.strftime("%Y-%m-%d %H:%M").to_string(),
    )
}
