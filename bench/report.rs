//! What is promised, what was found, and `docs/performance.md`, which says both.

use std::fmt::Write as _;
use std::process::Command;

use crate::{Bench, kit};

/// Which side of its bound a figure must be on.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    Below(f64),
    AtMost(f64),
}

/// A promise.
struct Goal {
    key: &'static str,
    text: &'static str,
    bound: Bound,
    /// Why it is missed, where it is: written by hand when a run falls short.
    if_missed: &'static str,
}

const GOALS: [Goal; 18] = [
    Goal {
        key: "page",
        text: "The waiting page is served at least as fast as nginx serves the same bytes",
        bound: Bound::AtLeast(1.0),
        if_missed: "Both take the same processor time for an answer, within the spread. nginx has the file's bytes sent by the \
                    system itself (sendfile), where ours are copied into it; that is most of what such an answer costs",
    },
    Goal {
        key: "page-gzip",
        text: "So it is as browsers ask for it, packed by gzip and with a nonce of its own in each answer",
        bound: Bound::AtLeast(1.0),
        if_missed: "A nonce is signed for each answer and put between the packed bytes, whose check sum is made anew for it; nginx \
                    sends the same file each time",
    },
    Goal {
        key: "forward-small",
        text: "A small answer is forwarded at least as fast as by the better of nginx and haproxy",
        bound: Bound::AtLeast(1.0),
        if_missed: "nginx and haproxy rewrite a head in place. Here hyper parses it into a map and writes it anew, on either \
                    side; there are as many system calls as there",
    },
    Goal {
        key: "forward-big",
        text: "So is an answer of 1 MiB",
        bound: Bound::AtLeast(1.0),
        if_missed: "The difference is within the spread of the rounds: copying the bytes is most of the work, \
                    for all of them",
    },
    Goal {
        key: "streams-memory",
        text: "50,000 open event streams take less than 300 MB",
        bound: Bound::Below(300.0),
        if_missed: "An open event stream should take a task, a timer and no buffer: its own figure is below",
    },
    Goal {
        key: "streams-change",
        text: "A change reaches all of them within 1 s",
        bound: Bound::Below(1_000.0),
        if_missed: "",
    },
    Goal {
        key: "crowd-page",
        text: "10,000 first visitors have their page within 50 ms (p99)",
        bound: Bound::Below(50.0),
        if_missed: "",
    },
    Goal {
        key: "crowd-starts",
        text: "They bring one start",
        bound: Bound::AtMost(1.0),
        if_missed: "",
    },
    Goal {
        key: "wake",
        text: "From \"the app listens\" to the visitor's first byte: less than 300 ms (p95)",
        bound: Bound::Below(300.0),
        if_missed: "In the first seconds of a wake the app is probed every tenth of a second; what is above that is the load \
                    of the machine itself, which boots the app at the same time",
    },
    Goal {
        key: "admissions",
        text: "A room has at least 20,000 wishes to wake a service ruled on in a second by a Redis beside it",
        bound: Bound::AtLeast(20_000.0),
        if_missed: "",
    },
    Goal {
        key: "admissions-p99",
        text: "Each within 5 ms (p99)",
        bound: Bound::Below(5.0),
        if_missed: "A wake of its own charges all limits and is listed with its address, which takes Redis most of the time that it \
                    has at such a rate; 64 callers that never pause then wait for each other. A crowd, of which all but one join, is far below",
    },
    Goal {
        key: "rooms",
        text: "A page in another room hears of a wake within 50 ms (p99)",
        bound: Bound::Below(50.0),
        if_missed: "",
    },
    Goal {
        key: "idle-cpu",
        text: "1,000 sleeping services take less than 1 % of a core",
        bound: Bound::Below(1.0),
        if_missed: "",
    },
    Goal {
        key: "idle-memory",
        text: "They take less than 50 MB",
        bound: Bound::Below(50.0),
        if_missed: "",
    },
    Goal {
        key: "sampling",
        text: "Measuring and deciding for 1,000 services with 3 instances each every 15 s takes less than 2 % of a core",
        bound: Bound::Below(2.0),
        if_missed: "",
    },
    Goal {
        key: "size",
        text: "The program is at most 10 MB",
        bound: Bound::AtMost(10.0),
        if_missed: "",
    },
    Goal {
        key: "start",
        text: "It answers within 50 ms of its start",
        bound: Bound::AtMost(50.0),
        if_missed: "",
    },
    Goal {
        key: "memory",
        text: "Idle, it takes at most 15 MB",
        bound: Bound::AtMost(15.0),
        if_missed: "",
    },
];

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => figure >= bound,
            Bound::Below(bound) => figure < bound,
            Bound::AtMost(bound) => figure <= bound,
        }
    }
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Findings {
    verdicts: Vec<Verdict>,
    tables: String,
}

struct Verdict {
    goal: &'static Goal,
    met: bool,
    measured: String,
}

impl Findings {
    /// A figure that a goal speaks of, and how it is told.
    pub(crate) fn goal(&mut self, key: &str, figure: f64, measured: String) {
        let goal = GOALS
            .iter()
            .find(|goal| goal.key == key)
            .expect("every measurement names a goal that exists");
        let met = goal.bound.holds(figure);
        println!("{}: {measured}", if met { "met" } else { "MISSED" });
        self.verdicts.push(Verdict {
            goal,
            met,
            measured,
        });
    }

    /// The figures behind it.
    pub(crate) fn table(&mut self, title: &str, text: &str, head: &[&str], rows: Vec<Vec<String>>) {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
        self.tables += &format!("\n## {title}\n\n{text}\n\n{}{}", line(&head), line(&rule));
        for row in rows {
            self.tables += &line(&row);
        }
    }
}

/// The page.
pub(crate) fn render(findings: &Findings, bench: &Bench) -> anyhow::Result<String> {
    let mut text = String::from(HEAD);
    writeln!(
        text,
        "Measured on {}, {} rounds.\n",
        machine(bench),
        bench.rounds
    )?;
    text += "| goal | measured | |\n| --- | --- | --- |\n";
    // In the order of the goals, whatever was measured first.
    for goal in &GOALS {
        for verdict in findings.verdicts.iter().filter(|v| v.goal.key == goal.key) {
            let met = if verdict.met { "met" } else { "**missed**" };
            writeln!(text, "| {} | {} | {met} |", goal.text, verdict.measured)?;
        }
    }
    let missed: Vec<&Verdict> = findings.verdicts.iter().filter(|v| !v.met).collect();
    if !missed.is_empty() {
        text += "\n## What falls short, and why\n\n";
    }
    for verdict in missed {
        let reason = match verdict.goal.if_missed {
            "" => "not explained yet",
            reason => reason,
        };
        writeln!(
            text,
            "- *{}*: {}. {reason}.",
            verdict.goal.text, verdict.measured
        )?;
    }
    Ok(text + &findings.tables)
}

const HEAD: &str = "<!-- Written by bench/run. -->
# Performance

`bench/run` measures Anteroom beside nginx, haproxy and Traefik in one run on one machine and writes this page. The load, the
servers and the app share the processors, so a figure by itself says little; the ratios say more. Rounds are interleaved: what
disturbs one disturbs all. Figures are medians, with the least and the greatest round in brackets.

";

/// The machine and the versions, as far as they tell themselves.
fn machine(bench: &Bench) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unnamed processor", |(_, name)| name);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let said = |command: &mut Command, start: &str| {
        let output = command.output().ok();
        let text = output.map(|output| [output.stdout, output.stderr].concat());
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(start).map(str::to_owned));
        let word = line
            .as_deref()
            .and_then(|rest| rest.split_whitespace().next());
        word.unwrap_or("of unknown version").to_owned()
    };
    format!(
        "{} processors ({cpu}), Linux {}, nginx {}, haproxy {}, Traefik {}",
        kit::cores(),
        kernel.trim(),
        said(Command::new("nginx").arg("-v"), "nginx version: nginx/"),
        said(Command::new("haproxy").arg("-v"), "HAProxy version"),
        said(Command::new(&bench.traefik).arg("version"), "Version:"),
    )
}
