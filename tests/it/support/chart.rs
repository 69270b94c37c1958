//! The chart of a run under load: what was asked for, and what answered.

use std::fmt::Write as _;
use std::path::Path;

/// A moment of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) seconds: f64,
    /// Requests a second that leave.
    pub(crate) rate: f64,
    /// Instances that serve.
    pub(crate) serving: u64,
    /// Instances that are wanted.
    pub(crate) wanted: u64,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 36.0;

/// Writes the chart of a run.
pub(crate) fn write(path: &Path, moments: &[Moment]) {
    let last = moments.last().map_or(1.0, |it| it.seconds.max(1.0));
    let top = |value: fn(&Moment) -> f64| moments.iter().map(value).fold(1.0, f64::max);
    let (rates, counts) = (
        top(|it| it.rate),
        top(|it| it.serving.max(it.wanted) as f64),
    );
    let x = |seconds: f64| LEFT + seconds / last * WIDTH;
    let y = |part: f64| TOP + HEIGHT * (1.0 - part);
    let line = |value: &dyn Fn(&Moment) -> f64, stepped: bool| {
        let mut path = String::new();
        let mut before = None;
        for moment in moments {
            let (x, y) = (x(moment.seconds), y(value(moment)));
            let command = if before.is_none() { 'M' } else { 'L' };
            if let Some(before) = before.filter(|_| stepped) {
                let _ = write!(path, "L{x:.1} {before:.1}");
            }
            let _ = write!(path, "{command}{x:.1} {y:.1}");
            before = Some(y);
        }
        path
    };
    let rate = line(&|it| it.rate / rates, false);
    let serving = line(&|it| it.serving as f64 / counts, true);
    let wanted = line(&|it| it.wanted as f64 / counts, true);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\
         <style>:root{{color-scheme:light dark}}svg{{background:Canvas;color:CanvasText}}text{{fill:currentColor}}</style>",
        LEFT + WIDTH + 24.0,
        TOP + HEIGHT + 40.0,
    );
    for count in 0..=counts as u64 {
        let y = y(count as f64 / counts);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"currentColor\" opacity=\".15\"/><text x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{count}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y + 4.0
        );
    }
    let mut seconds = 0.0;
    while seconds <= last {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{seconds} s</text>",
            x(seconds),
            TOP + HEIGHT + 20.0
        );
        seconds += 30.0;
    }
    let _ = write!(
        svg,
        "<path d=\"{rate}\" fill=\"none\" stroke=\"#8a8a8a\" stroke-width=\"1.5\"/>\
         <path d=\"{wanted}\" fill=\"none\" stroke=\"#d97706\" stroke-dasharray=\"4 3\" stroke-width=\"2\"/>\
         <path d=\"{serving}\" fill=\"none\" stroke=\"#2563eb\" stroke-width=\"2.5\"/>\
         <text x=\"{LEFT}\" y=\"20\"><tspan fill=\"#2563eb\">instances that serve</tspan> · \
         <tspan fill=\"#d97706\">wanted</tspan> · <tspan fill=\"#8a8a8a\">requests a second (top: {rates:.0})</tspan></text></svg>"
    );
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
    std::fs::write(path, svg).expect("the chart can be written");
}
