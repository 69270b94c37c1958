//! Reads the lines that count from what a node_exporter answers, as it comes in, and keeps nothing of the rest.
//!
//! Format: Prometheus' text exposition format 0.0.4. Names: `node_cpu_seconds_total`, whose mode `user` holds `guest` and
//! `nice` holds `guest_nice` already (`proc_stat(5)`); `node_memory_MemTotal_bytes` and `node_memory_MemAvailable_bytes`.

/// A line that is longer has no figure that we know.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// More processors are told of by no machine.
const CPUS_MAX: usize = 8 * 1024;

/// What one answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// The processors, in the order of the answer.
    pub(super) cpus: Vec<Cpu>,
    /// Memory in all, in bytes.
    pub(super) memory: Option<u64>,
    /// Memory that could be had, in bytes.
    pub(super) available: Option<u64>,
    /// A line of ours could not be read: nothing of the answer is believed.
    pub(super) broken: bool,
}

/// The time of one processor since its machine began, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    /// Stands for its name.
    pub(super) name: u64,
    /// With nothing to do, also while a disk was waited for.
    pub(super) idle: u64,
    /// With something to do; the time that the host gave to others is of it.
    pub(super) busy: u64,
    /// What the host gave to others.
    pub(super) steal: u64,
}

/// Reads an answer piece by piece.
#[derive(Debug, Default)]
pub(super) struct Lines {
    figures: Figures,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// The line that has begun is too long.
    skipped: bool,
}

impl Lines {
    /// Expects as many processors as there were.
    pub(super) fn like(last: usize) -> Lines {
        let mut lines = Lines::default();
        lines.figures.cpus.reserve_exact(last);
        lines
    }

    /// The next piece.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if self.skipped {
                self.skipped = false;
            } else if self.begun.is_empty() {
                self.figures.read(line);
            } else {
                self.begin(line);
                let whole = std::mem::take(&mut self.begun);
                if !std::mem::take(&mut self.skipped) {
                    self.figures.read(&whole);
                }
            }
        }
        if !self.skipped {
            self.begin(rest);
        }
    }

    fn begin(&mut self, part: &[u8]) {
        if self.begun.len() + part.len() > LINE_BYTES_MAX {
            self.begun = Vec::new();
            self.skipped = true;
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    /// What it says. A last line without an end was cut off, so nothing of it counts.
    pub(super) fn end(self) -> Figures {
        self.figures
    }
}

impl Figures {
    fn read(&mut self, line: &[u8]) {
        let Some(line) = line.strip_prefix(b"node_") else {
            return;
        };
        if let Some(rest) = line.strip_prefix(b"cpu_seconds_total{") {
            self.broken |= self.cpu(rest).is_none();
        } else if let Some(rest) = line.strip_prefix(b"memory_MemTotal_bytes ") {
            self.memory = value(rest).map(|bytes| bytes as u64);
            self.broken |= self.memory.is_none();
        } else if let Some(rest) = line.strip_prefix(b"memory_MemAvailable_bytes ") {
            self.available = value(rest).map(|bytes| bytes as u64);
            self.broken |= self.available.is_none();
        }
    }

    /// `cpu="0",mode="idle"} 123.45`, the labels in any order and maybe among others.
    fn cpu(&mut self, line: &[u8]) -> Option<()> {
        let (mut name, mut mode) = (None, None);
        let mut rest = line;
        while rest.first()? != &b'}' {
            let (label, after) = split_at(rest, b"=\"")?;
            let (text, after) = quoted(after)?;
            match label {
                b"cpu" => name = Some(fnv(text)),
                b"mode" => mode = Some(text),
                _ => {}
            }
            rest = after.strip_prefix(b",").unwrap_or(after);
        }
        let millis = (value(&rest[1..])? * 1000.0).round() as u64;
        let cpu = self.of(name?)?;
        match mode? {
            b"idle" | b"iowait" => cpu.idle += millis,
            // They are in `user` and in `nice`.
            b"guest" | b"guest_nice" => {}
            b"steal" => {
                cpu.steal += millis;
                cpu.busy += millis;
            }
            _ => cpu.busy += millis,
        }
        Some(())
    }

    /// The lines of one processor stand together.
    fn of(&mut self, name: u64) -> Option<&mut Cpu> {
        let known = self.cpus.iter().rposition(|cpu| cpu.name == name);
        let at = match known {
            Some(at) => at,
            None if self.cpus.len() < CPUS_MAX => {
                self.cpus.push(Cpu {
                    name,
                    ..Cpu::default()
                });
                self.cpus.len() - 1
            }
            None => return None,
        };
        self.cpus.get_mut(at)
    }
}

fn split_at<'a>(text: &'a [u8], mark: &[u8; 2]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(2).position(|two| two == mark)?;
    Some((&text[..at], &text[at + 2..]))
}

/// What stands before the closing quote, escapes as they are, and what follows it.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some((&text[..at], &text[at + 1..])),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// A number that is not negative; a time may follow it.
fn value(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let number: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// FNV-1a.
fn fnv(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
