//! A trace of requests: how many came in each minute.

use anyhow::{Context, bail};

/// A trace longer than that (ten years) is a mistake in a time.
const MINUTES_MAX: usize = 10 * 366 * 24 * 60;

const UNORDERED: &str =
    "its time is not a step after the line before; sort the trace by time, each time once";

/// How many requests came, minute by minute.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) name: String,
    /// When it begins; none where its times are not dates.
    pub(super) begins: i64,
    /// The step of the file, in minutes.
    pub(super) step: usize,
    /// Minutes that the file leaves out. There were no requests in them, or nobody counted.
    pub(super) missing: usize,
    /// Requests in each minute; those of a longer step are spread evenly over it.
    pub(super) counts: Vec<f64>,
}

/// A line of the file, its number kept for complaints.
struct Row {
    line: usize,
    /// Seconds since the epoch; none: a step after the one before.
    at: Option<i64>,
    count: f64,
}

impl Trace {
    pub(super) fn read(name: &str, text: &str) -> anyhow::Result<Trace> {
        let mut rows = Vec::new();
        // Spreadsheets put a mark of the encoding before the first line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            let heading = rows.is_empty() && text.starts_with(|c: char| c.is_ascii_alphabetic());
            if text.is_empty() || text.starts_with('#') || heading {
                continue;
            }
            rows.push(row(line, text).with_context(|| format!("line {line}: `{text}`"))?);
        }
        let [first, second, ..] = &*rows else {
            bail!("a trace has two lines at least, each a time, a comma and a count");
        };
        let (Some(begins), Some(next)) = (first.at, second.at) else {
            bail!(
                "line {}: the first two lines need a time each: they tell the step",
                first.line
            );
        };
        if next <= begins {
            bail!("line {}: {UNORDERED}", second.line);
        }
        let step = match usize::try_from((next - begins) / 60) {
            Ok(step @ 1..=1_440) if (next - begins) % 60 == 0 => step,
            _ => bail!(
                "line {}: it is {} s after the first, and a step is 1 to 1440 whole minutes: sum up what is finer",
                second.line,
                next - begins
            ),
        };
        let mut trace = Trace {
            name: name.to_owned(),
            begins,
            step,
            missing: 0,
            counts: Vec::new(),
        };
        for row in &rows {
            trace
                .add(row)
                .with_context(|| format!("line {}", row.line))?;
        }
        Ok(trace)
    }

    fn add(&mut self, row: &Row) -> anyhow::Result<()> {
        if let Some(at) = row.at {
            let ahead = usize::try_from((at - self.begins).div_euclid(60)).unwrap_or(0);
            if ahead < self.counts.len() {
                bail!(UNORDERED);
            }
            if ahead > MINUTES_MAX {
                bail!("its time is more than ten years after the first");
            }
            self.missing += ahead - self.counts.len();
            self.counts.resize(ahead, 0.0);
        }
        let each = row.count / self.step as f64;
        self.counts.extend(std::iter::repeat_n(each, self.step));
        Ok(())
    }

    /// The load in machines, minute by minute, so that the 99.9th percentile needs `peak` machines of which each is
    /// `right` busy.
    pub(super) fn scaled(&self, peak: f64, right: f64) -> Vec<f64> {
        let mut sorted = self.counts.clone();
        sorted.sort_by(f64::total_cmp);
        let high = sorted.get(sorted.len() * 999 / 1_000).copied();
        let high = high.filter(|high| *high > 0.0).unwrap_or(1.0);
        let scale = |count: &f64| count / high * peak * right;
        self.counts.iter().map(scale).collect()
    }

    pub(super) fn days(&self) -> f64 {
        self.counts.len() as f64 / 1_440.0
    }
}

fn row(line: usize, text: &str) -> anyhow::Result<Row> {
    let (at, count) = match text.rsplit_once(',') {
        Some((at, count)) => (Some(seconds(at.trim())?), count),
        None => (None, text),
    };
    let count = count.trim().parse().ok();
    let count = count.filter(|count: &f64| count.is_finite() && *count >= 0.0);
    let count = count
        .context("a line is a time, a comma and a count, and a count is a number from 0 up")?;
    Ok(Row { line, at, count })
}

/// `1998-04-30 21:30:00` (taken as UTC), RFC 3339, or seconds since the epoch.
fn seconds(text: &str) -> anyhow::Result<i64> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_second());
    }
    let civil: jiff::civil::DateTime = text.parse().ok().context(
        "what stands before the last comma is no time: neither a date and time nor seconds",
    )?;
    Ok(civil
        .to_zoned(jiff::tz::TimeZone::UTC)?
        .timestamp()
        .as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        format!("{:#}", Trace::read("x", text).unwrap_err())
    }

    #[test]
    fn a_trace_is_read_in_all_its_forms() {
        for text in [
            "period,count\n1998-04-30 21:30:00,2\n1998-04-30 21:31:00,11\n1998-04-30 21:33:00,4\n",
            "# x\n893971800,2\n893971860,11\n893971980,4.0",
            "\u{feff}t,c\r\n1998-04-30T21:30:00Z, 2\r\n1998-04-30T21:31:00Z, 11\r\n0\r\n4\r\n",
        ] {
            let trace = Trace::read("x", text).unwrap();
            assert_eq!((trace.begins, trace.step), (893_971_800, 1));
            assert_eq!(trace.counts, [2.0, 11.0, 0.0, 4.0]);
        }
        let trace = Trace::read("x", "0,10\n300,20\n900,5").unwrap();
        assert_eq!((trace.step, trace.missing, trace.counts.len()), (5, 5, 20));
        assert_eq!(trace.counts[3..6], [2.0, 2.0, 4.0]);
    }

    #[test]
    fn a_bad_line_is_told_by_its_number() {
        assert!(wrong("a,b\n0,1\n60,1\n120,x").starts_with("line 4: `120,x`"));
        assert!(wrong("0,1\n60,1\nyesterday,3").starts_with("line 3"));
        assert!(wrong("0,1\n60,-1").starts_with("line 2"));
        assert!(wrong("0,1\n60,NaN").starts_with("line 2"));
        assert!(wrong("0,1\n60,1\n\n60,1").starts_with("line 4"));
        assert!(wrong("0,1\n61,1").starts_with("line 2"));
        assert!(wrong("60,1\n0,1\n120,1").contains("sort the trace"));
        assert!(wrong("0;1\n60;1").contains("a comma and a count"));
        assert!(wrong("0,1\n60,1\n9999999999,1").starts_with("line 3"));
        assert!(wrong("1\n2\n3").starts_with("line 1"));
        assert!(wrong("time,count\n").contains("two lines"));
    }

    #[test]
    fn the_peak_is_of_all_but_a_thousandth() {
        let text: String = (0..2_000).map(|n| format!("{},{n}\n", n * 60)).collect();
        let demand = Trace::read("x", &text).unwrap().scaled(7.0, 0.7);
        assert!((demand[1_998] - 4.9).abs() < 1e-9);
    }
}
