//! The Prometheus text format, as far as counters and gauges with labels go (Prometheus documentation,
//! "Exposition formats"). A line that can't be read is skipped: it isn't one of ours.

/// One sample line: the metric's name, its labels, its value.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    labels: &'a str,
    pub(super) value: f64,
}

/// The sample lines of a text.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(line)
}

fn line(line: &str) -> Option<Line<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_at(end_of_labels(rest)?),
        None => ("", rest),
    };
    let value = rest
        .trim_start_matches('}')
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(Line {
        name,
        labels,
        value,
    })
}

/// Where the closing brace stands; one within quotes does not close.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match (byte, quoted, escaped) {
            (_, true, true) => escaped = false,
            (b'\\', true, false) => escaped = true,
            (b'"', _, false) => quoted = !quoted,
            (b'}', false, _) => return Some(at),
            _ => {}
        }
    }
    None
}

impl Line<'_> {
    /// A label's value, as it stands between the quotes. Names of routers and services hold no escapes.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let mut rest = self.labels;
        while let Some((key, after)) = rest.split_once("=\"") {
            let end = closing_quote(after)?;
            if key.trim_matches([',', ' ']) == name {
                return Some(&after[..end]);
            }
            rest = &after[end + 1..];
        }
        None
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_traefik_is_read() {
        let text = "# HELP x\ntraefik_router_requests_total{code=\"200\",method=\"GET\",protocol=\"http\",\
                    router=\"a@file\",service=\"b@file\"} 3\nup 1\n";
        let lines: Vec<_> = lines(text).collect();
        assert_eq!(lines[0].name, "traefik_router_requests_total");
        assert_eq!(
            (lines[0].label("router"), lines[0].value),
            (Some("a@file"), 3.0)
        );
        assert_eq!(lines[0].label("nothing"), None);
        assert_eq!((lines[1].name, lines[1].value), ("up", 1.0));
    }

    #[test]
    fn a_brace_or_a_quote_within_a_label_does_not_end_it() {
        let line = line("m{a=\"}\\\"\",b=\"2\"} 7").expect("a line");
        assert_eq!((line.label("b"), line.value), (Some("2"), 7.0));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,200}") {
            for line in lines(&text) {
                let _ = line.label("router");
            }
        }

        #[test]
        fn what_is_written_is_read(value in 0u32.., label in "[a-z0-9@.-]{0,20}") {
            let text = format!("m{{x=\"1\",router=\"{label}\"}} {value}");
            let line = line(&text).expect("a line");
            prop_assert_eq!((line.label("router"), line.value), (Some(label.as_str()), f64::from(value)));
        }
    }
}
