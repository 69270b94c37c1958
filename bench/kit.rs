//! Small tools: processes that end with their owner, free ports, `/proc`, wrk, medians.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A process that we started; it ends when this is dropped.
pub(crate) struct Process {
    child: std::process::Child,
}

impl Process {
    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Process> {
        let log = std::fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Process { child })
    }

    /// Its memory that is in RAM, in MB (of 10^6 bytes).
    pub(crate) fn rss_mb(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .context("VmRSS")?;
        Ok(kib.parse::<f64>()? * 1_024.0 / 1e6)
    }

    /// The processor time that it has used. Linux counts in hundredths of a second for user space.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(&self.child.id().to_string())
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("ended with {status}"),
        }
    }
}

/// The processor time that this program has used itself.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of("self")
}

fn cpu_of(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name stands in brackets and may hold blanks; user and system time are fields 14 and 15.
    let fields = stat.rsplit_once(')').context("stat")?.1;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or_default())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

impl Drop for Process {
    fn drop(&mut self) {
        // Politely first: a killed nginx would leave its workers behind.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free and that nobody was given before. Below the ports that the system gives to clients, so
/// that none of tens of thousands of connections takes it meanwhile.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Relaxed);
        ensure!(port < 32_000, "no port is free");
        if std::net::TcpListener::bind(local(port)).is_ok() {
            return Ok(port);
        }
    }
}

/// An address on loopback.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until somebody listens there.
pub(crate) async fn listening(process: &mut Process, port: u16) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(local(port)).await.is_err() {
        process.check()?;
        ensure!(Instant::now() < until, "nobody listens on port {port}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// File numbers that a process here may have.
pub(crate) fn files_max() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("limits")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}

/// Processors.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What wrk says of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Answers a second.
    pub(crate) rps: f64,
    /// 99 of 100 answers were complete after so many milliseconds.
    pub(crate) p99_ms: f64,
}

/// Loads a URL with 64 kept-alive connections for so many seconds; `lines` are more lines of the head.
pub(crate) async fn wrk(
    port: u16,
    host: &str,
    path: &str,
    lines: &[&str],
    seconds: u64,
) -> anyhow::Result<Load> {
    let output = tokio::process::Command::new("wrk")
        .args(["-c64", "--latency", "--timeout", "5s"])
        .arg(format!("-t{}", cores().min(2)))
        .arg(format!("-d{seconds}s"))
        .arg(format!("-HHost: {host}"))
        .args(lines.iter().map(|line| format!("-H{line}")))
        .arg(format!("http://{}{path}", local(port)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |label: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(label))
            .map(str::trim)
            .with_context(|| format!("wrk said: {text}"))
    };
    ensure!(
        !text.contains("Socket errors"),
        "wrk met errors on {host}{path}: {text}"
    );
    Ok(Load {
        rps: field("Requests/sec:")?.parse()?,
        p99_ms: milliseconds(field("99%")?).with_context(|| format!("wrk said: {text}"))?,
    })
}

fn milliseconds(text: &str) -> Option<f64> {
    let (number, factor) = match text {
        text if text.ends_with("us") => (text.strip_suffix("us")?, 0.001),
        text if text.ends_with("ms") => (text.strip_suffix("ms")?, 1.0),
        text => (text.strip_suffix('s')?, 1_000.0),
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Figures of several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn add(&mut self, figure: f64) {
        let at = self.0.partition_point(|other| *other < figure);
        self.0.insert(at, figure);
    }

    /// The figure that this part (0 to 1) of all do not exceed.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let rank = (part * self.0.len() as f64).ceil() as usize;
        let index = rank.saturating_sub(1);
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn max(&self) -> f64 {
        self.at(1.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Median, least and greatest: `1.20 (1.10 to 1.31)`.
    pub(crate) fn spread(&self, digits: usize) -> String {
        match self.0.as_slice() {
            [] => "not measured".to_owned(),
            [one] => format!("{one:.digits$}"),
            [least, .., greatest] => format!(
                "{:.digits$} ({least:.digits$} to {greatest:.digits$})",
                self.median()
            ),
        }
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Figures {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Figures(sorted)
    }
}
