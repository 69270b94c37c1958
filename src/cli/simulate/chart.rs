//! Draws a replay: what was needed, what there was, what the rival would have had, and every step. The whole trace, and
//! below it its busiest day. Colours follow the reader's light or dark setting.

use std::fmt::Write;

use super::RIGHT;
use super::replay::{Course, World};
use super::report::Run;
use super::trace::Trace;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 66.0;
const RIGHT_EDGE: f64 = 1180.0;
const PANEL: f64 = 210.0;
/// Below a panel: its steps, its minutes above 70 % and its times.
const STRIP: f64 = 78.0;
const DAY: usize = 1_440;

const STYLE: &str = "\
svg{--paper:#fff;--ink:#1c2430;--soft:#5b6675;--line:#dfe4ea;--need:#3b82c4;--have:#b4430c;--rival:#7d8896;--over:#c81e3a}\
@media(prefers-color-scheme:dark){svg{--paper:#12161c;--ink:#e8edf3;--soft:#9aa6b5;--line:#29313c;--need:#5aa5e6;\
--have:#ff9e5e;--rival:#8b97a6;--over:#ff6b81}}\
text{font:13px system-ui,sans-serif;fill:var(--soft)}.title{font-size:19px;font-weight:600;fill:var(--ink)}\
.name{font-weight:600;fill:var(--ink)}.paper{fill:var(--paper)}.grid{stroke:var(--line);stroke-width:1}\
.need{fill:var(--need);fill-opacity:.32;stroke:var(--need);stroke-width:1}.have{fill:none;stroke:var(--have);stroke-width:2}\
.many{stroke-width:1}\
.rival{fill:none;stroke:var(--rival);stroke-width:1;stroke-dasharray:4 3}.rival.many{stroke-dasharray:none;stroke-opacity:.4}.step{stroke:var(--have);stroke-width:1.4}\
.over{stroke:var(--over);stroke-width:1.4}.r{text-anchor:end}.m{text-anchor:middle}";

/// What one chart shows.
struct Chart<'a> {
    trace: &'a Trace,
    world: &'a World,
    ours: &'a Run,
    rival: &'a Course,
    svg: String,
}

/// A part of the trace, and where it is drawn.
struct Panel {
    from: usize,
    to: usize,
    top: f64,
    most: f64,
}

pub(super) fn draw(trace: &Trace, world: &World, ours: &Run, rival: &Course) -> String {
    let mut chart = Chart {
        trace,
        world,
        ours,
        rival,
        svg: String::new(),
    };
    // Writing to a text cannot fail.
    let _ = chart.draw();
    chart.svg
}

impl Chart<'_> {
    fn draw(&mut self) -> std::fmt::Result {
        let minutes = self.world.demand.len();
        let panels = if minutes > DAY { 2.0 } else { 1.0 };
        let height = 86.0 + panels * (PANEL + STRIP + 34.0);
        write!(
            self.svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"><style>{STYLE}</style><rect class="paper" width="{WIDTH}" height="{height}"/>"#
        )?;
        self.heading()?;
        let most = self.most(0, minutes);
        let whole = format!("The whole trace, {:.1} days", self.trace.days());
        self.panel(
            &whole,
            &Panel {
                from: 0,
                to: minutes,
                top: 118.0,
                most,
            },
        )?;
        if minutes > DAY {
            let (from, to) = self.busiest_day();
            let most = self.most(from, to);
            let top = 118.0 + PANEL + STRIP + 34.0;
            self.panel(
                "Its busiest day",
                &Panel {
                    from,
                    to,
                    top,
                    most,
                },
            )?;
        }
        self.svg.push_str("</svg>\n");
        Ok(())
    }

    fn heading(&mut self) -> std::fmt::Result {
        let figures = &self.ours.figures;
        let title = format!("{}: {}", self.trace.name, self.ours.name);
        self.text(LEFT, 32.0, "title", &title)?;
        let facts = format!(
            "{} min to boot \u{b7} {:.2} times the oracle\u{2019}s VM-hours \u{b7} {} minutes above 70 % \u{b7} {} steps, {} of them taken back within 30 minutes",
            self.world.boot_minutes,
            figures.times_oracle,
            figures.above,
            figures.steps,
            figures.reversals
        );
        self.text(LEFT, 54.0, "", &facts)?;
        let mut at = LEFT;
        let area = r#"<path class="need" d="M0 0h26v-9h-26z"/>"#;
        let line = |class: &str| format!(r#"<path class="{class}" d="M0 -5h26"/>"#);
        for (mark, words, width) in [
            (area.to_owned(), "instances needed at 70 %", 222.0),
            (line("have"), "instances that serve", 196.0),
            (line("rival"), "the Kubernetes HPA\u{2019}s", 202.0),
            (line("over"), "minutes above 70 %", 170.0),
        ] {
            write!(
                self.svg,
                r#"<g transform="translate({at:.0} 80)">{mark}</g>"#
            )?;
            self.text(at + 34.0, 80.0, "", words)?;
            at += width;
        }
        Ok(())
    }

    fn panel(&mut self, name: &str, panel: &Panel) -> std::fmt::Result {
        self.text(LEFT, panel.top - 10.0, "name", name)?;
        let every = (panel.most / 6.0).ceil().max(1.0);
        let mut instances = 0.0;
        while instances <= panel.most {
            let y = panel.y(instances);
            self.line("grid", (LEFT, y), (RIGHT_EDGE, y))?;
            self.text(LEFT - 8.0, y + 4.5, "r", &format!("{instances:.0}"))?;
            instances += every;
        }
        self.times(panel)?;
        self.needed(panel)?;
        let rival = panel.stairs(&self.rival.serving);
        let ours = panel.stairs(&self.ours.course.serving);
        // Where lines are close together they are thin.
        let many = if panel.to - panel.from > 7 * DAY {
            " many"
        } else {
            ""
        };
        write!(
            self.svg,
            r#"<path class="rival{many}" d="{rival}"/><path class="have{many}" d="{ours}"/>"#
        )?;
        self.strip(panel)
    }

    /// The most that was needed at any minute that shares a point.
    fn needed(&mut self, panel: &Panel) -> std::fmt::Result {
        let foot = panel.y(0.0);
        write!(self.svg, r#"<path class="need" d="M{LEFT} {foot:.1}"#)?;
        let points = (RIGHT_EDGE - LEFT) as usize;
        let length = panel.to - panel.from;
        for point in 0..points {
            let from = panel.from + length * point / points;
            let to = (panel.from + length * (point + 1) / points).clamp(from + 1, panel.to);
            let loads = &self.world.demand[from..to.max(from + 1)];
            let most = loads.iter().copied().fold(0.0, f64::max) / RIGHT;
            write!(self.svg, "L{:.1} {:.1}", LEFT + point as f64, panel.y(most))?;
        }
        write!(self.svg, r#"L{RIGHT_EDGE} {foot:.1}z"/>"#)
    }

    /// Each step, and each minute above 70 %.
    fn strip(&mut self, panel: &Panel) -> std::fmt::Result {
        let middle = panel.top + PANEL + 26.0;
        self.text(LEFT - 8.0, middle + 4.5, "r", "steps")?;
        self.line("grid", (LEFT, middle), (RIGHT_EDGE, middle))?;
        let (mut steps, mut over) = (String::new(), String::new());
        for (minute, by) in &self.ours.course.steps {
            if (panel.from..panel.to).contains(minute) {
                let size = -14.0 * f64::from(by.signum());
                write!(steps, "M{:.1} {middle:.1}v{size}", panel.x(*minute))?;
            }
        }
        let foot = middle + 34.0;
        for minute in panel.from..panel.to {
            let serving = f64::from(self.ours.course.serving[minute]);
            if self.world.demand[minute] > serving * RIGHT + 1e-9 {
                write!(over, "M{:.1} {foot:.1}v-12", panel.x(minute))?;
            }
        }
        self.text(LEFT - 8.0, foot, "r", "&gt; 70 %")?;
        write!(
            self.svg,
            r#"<path class="step" d="{steps}"/><path class="over" d="{over}"/>"#
        )
    }

    fn times(&mut self, panel: &Panel) -> std::fmt::Result {
        let length = panel.to - panel.from;
        let steps = [
            10,
            30,
            60,
            180,
            360,
            720,
            DAY,
            2 * DAY,
            7 * DAY,
            28 * DAY,
            91 * DAY,
            365 * DAY,
        ];
        let step = steps
            .into_iter()
            .find(|step| length / step <= 12)
            .unwrap_or(365 * DAY) as i64;
        let begins = self.trace.begins.div_euclid(60);
        let first = begins + panel.from as i64;
        let mut at = first + (-first).rem_euclid(step);
        while at < begins + panel.to as i64 {
            let minute = usize::try_from(at - begins).unwrap_or(0);
            let form = if step < DAY as i64 { "%H:%M" } else { "%e %b" };
            let when = jiff::Timestamp::from_second(at * 60).ok();
            let when = when.map_or_else(String::new, |when| when.strftime(form).to_string());
            let (x, foot) = (panel.x(minute), panel.y(0.0));
            self.line("grid", (x, foot), (x, foot + 5.0))?;
            self.text(x, panel.top + PANEL + STRIP - 1.0, "m", when.trim())?;
            at += step;
        }
        if length <= DAY {
            let day = super::report::date(first * 60);
            self.text(
                RIGHT_EDGE,
                panel.top - 10.0,
                "r",
                &format!("from {day} UTC"),
            )?;
        }
        Ok(())
    }

    fn text(&mut self, x: f64, y: f64, class: &str, words: &str) -> std::fmt::Result {
        let words = words.replace('<', "&lt;");
        write!(
            self.svg,
            r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{words}</text>"#
        )
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) -> std::fmt::Result {
        let ((x, y), (to_x, to_y)) = (from, to);
        write!(
            self.svg,
            r#"<path class="{class}" d="M{x:.1} {y:.1}L{to_x:.1} {to_y:.1}"/>"#
        )
    }

    /// The day with the most to do, from midnight where it is whole.
    fn busiest_day(&self) -> (usize, usize) {
        let minutes = self.world.demand.len();
        let to_midnight = (-self.trace.begins.div_euclid(60)).rem_euclid(DAY as i64);
        let first = usize::try_from(to_midnight).unwrap_or(0);
        let days = (first..)
            .step_by(DAY)
            .take_while(|from| from + DAY <= minutes);
        let load = |from: &usize| self.world.demand[*from..from + DAY].iter().sum::<f64>();
        let busiest = days.max_by(|one, other| load(one).total_cmp(&load(other)));
        let from = busiest.unwrap_or(minutes - DAY);
        (from, from + DAY)
    }

    fn most(&self, from: usize, to: usize) -> f64 {
        let needed = self.world.demand[from..to].iter().map(|load| load / RIGHT);
        let serving = self.ours.course.serving[from..to].iter();
        let rival = self.rival.serving[from..to].iter();
        let instances = serving.chain(rival).map(|count| f64::from(*count));
        needed.chain(instances).fold(1.0, f64::max).ceil()
    }
}

impl Panel {
    fn x(&self, minute: usize) -> f64 {
        let part = (minute - self.from) as f64 / (self.to - self.from) as f64;
        LEFT + part * (RIGHT_EDGE - LEFT)
    }

    fn y(&self, instances: f64) -> f64 {
        self.top + PANEL * (1.0 - instances / self.most)
    }

    /// A line that changes where the number does.
    fn stairs(&self, counts: &[u16]) -> String {
        let mut path = format!("M{LEFT} {:.1}", self.y(f64::from(counts[self.from])));
        for minute in self.from + 1..self.to {
            if counts[minute] != counts[minute - 1] {
                let _ = write!(
                    path,
                    "H{:.1}V{:.1}",
                    self.x(minute),
                    self.y(f64::from(counts[minute]))
                );
            }
        }
        let _ = write!(path, "H{RIGHT_EDGE}");
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_well_formed_whatever_is_drawn() {
        let lines = |count: u64| {
            (0..count)
                .map(|n| format!("{},{}\n", n * 60, n % 97))
                .collect::<String>()
        };
        for minutes in [2, 61, 1_440, 1_441, 5_000] {
            let trace = Trace::read("a < b", &lines(minutes)).unwrap();
            let world = World {
                demand: trace.scaled(7.0, RIGHT),
                boot_minutes: 2,
                noise: 0.0,
                seed: 1,
            };
            let ours = Run::of("two", &world, Course::of(&world, |_| 2));
            let svg = draw(&trace, &world, &ours, &Course::oracle(&world));
            let read = roxmltree::Document::parse(&svg).unwrap();
            assert!(read.descendants().count() > 20);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{minutes}");
        }
    }
}
