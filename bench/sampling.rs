//! Sampling: what it costs to measure a thousand awake services with three instances each, and to decide how many each
//! needs.
//!
//! Each service has a task, as in the product, that asks its instances every 15 s and lets the policy decide; the services
//! are spread over the 15 s. The exporters are one process at one port that is reached at 3,000 addresses of loopback, and
//! answer as node_exporter 1.5 on two processors does: what they take is not counted. The processor time is this program's
//! own, the system's work for its connections within it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::scale::{Crew, Scaler, Terms};
use anteroom::engine::time::{Span, Time};
use anteroom::engine::traffic::Upstream;
use anteroom::signal::load::LoadSignal;
use anteroom::signal::load::node_exporter::{NodeExporter, Of, Settings};
use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;

use crate::Bench;
use crate::kit::{self, Process};
use crate::report::Findings;

const SERVICES: usize = 1_000;
const INSTANCES: usize = 3;
const INTERVAL: Duration = Duration::from_secs(15);

/// A whole answer of node_exporter on two processors.
const ANSWER: &str = include_str!("../tests/data/node_exporter/1.5.0.txt");

/// Seconds of each processor that were there before the exporter began.
const BEFORE: f64 = 10_000.0;

/// How busy the machines are.
const BUSY: f64 = 0.5;

/// What the services have done together.
#[derive(Default)]
struct Done {
    samples: AtomicUsize,
    changes: AtomicUsize,
}

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let port = kit::free_port()?;
    let log = bench.work.path().join("exporter.log");
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("exporter").arg(port.to_string());
    let mut exporter = Process::start(&mut command, &log)?;
    kit::listening(&mut exporter, port).await?;
    let done = Arc::new(Done::default());
    let tasks: Vec<_> = (0..SERVICES)
        .map(|number| tokio::spawn(service(number, port, Arc::clone(&done))))
        .collect();
    // Everybody has been read twice, over a connection that stands.
    tokio::time::sleep(2 * INTERVAL).await;
    let (used, before, since) = (kit::own_cpu()?, done.samples.load(Relaxed), Instant::now());
    let rounds = bench.rounds.div_ceil(2);
    tokio::time::sleep(INTERVAL * u32::try_from(rounds)?).await;
    let used = kit::own_cpu()?.saturating_sub(used);
    let (took, samples) = (since.elapsed(), done.samples.load(Relaxed) - before);
    exporter.check()?;
    for task in tasks {
        ensure!(!task.is_finished(), "a service ended");
        task.abort();
    }
    let due = SERVICES * INSTANCES * rounds;
    ensure!(samples * 100 >= due * 98, "{samples} samples of {due}");
    ensure!(
        done.changes.load(Relaxed) == 0,
        "a load that stays has changed something"
    );
    let percent = used.as_secs_f64() / took.as_secs_f64() * 100.0;
    let each = used.as_secs_f64() * 1e6 / samples as f64;
    findings.goal("sampling", percent, format!("{percent:.2} % of a core"));
    findings.table(
        "A thousand services that are measured",
        &format!(
            "{SERVICES} awake services with {INSTANCES} instances each, measured and decided upon every {} s, watched for {:.0} s. \
             The exporters are another process, which answers as node_exporter does on two processors ({} bytes).",
            INTERVAL.as_secs(),
            took.as_secs_f64(),
            ANSWER.len()
        ),
        &["", ""],
        vec![
            vec!["processor".into(), format!("{percent:.2} % of one core")],
            vec!["for each sample".into(), format!("{each:.0} µs")],
            vec!["samples".into(), format!("{samples} of {due}")],
        ],
    );
    Ok(())
}

/// One service's task.
async fn service(number: usize, port: u16, done: Arc<Done>) -> anyhow::Result<()> {
    let mut crew = Vec::new();
    for slot in 0..INSTANCES {
        let at = u32::try_from(number * INSTANCES + slot)?;
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + at);
        crew.push(Upstream {
            instance: match CloneId::new(u16::try_from(slot)?, 1_795_000_000) {
                Some(clone) => InstanceId::Clone(clone),
                None => InstanceId::SEED,
            },
            address: SocketAddr::from((address, 80)),
        });
    }
    let serving: Vec<_> = crew.iter().map(|one| one.instance).collect();
    let signal = NodeExporter::new(Settings {
        service: format!("s{number}").parse()?,
        port,
        path: "/metrics".to_owned(),
        of: Of::Cpu,
        interval: INTERVAL,
    })?;
    let signal: &dyn LoadSignal = &signal;
    let terms = Terms {
        max: 5,
        interval: Span::from(INTERVAL),
        ..Terms::default()
    };
    let mut scaler = Scaler::default();
    tokio::time::sleep(INTERVAL * u32::try_from(number)? / u32::try_from(SERVICES)?).await;
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = now()?;
        let measured = signal.measure(&crew, now).await;
        done.samples.fetch_add(measured.samples.len(), Relaxed);
        let crew = Crew {
            serving: &serving,
            starting: 0,
            leaving: 0,
        };
        scaler.measured(&measured.samples, &crew, now, &terms);
        let verdict = scaler.decide(now, &crew, &terms);
        let changed = usize::from(verdict.wanted) != INSTANCES;
        done.changes.fetch_add(usize::from(changed), Relaxed);
    }
}

fn now() -> anyhow::Result<Time> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Time::default() + Span::from(since))
}

/// `exporter PORT`: a node_exporter at every address of this machine.
pub(crate) async fn serve(args: &[String]) -> anyhow::Result<()> {
    let [port] = args else {
        anyhow::bail!("exporter PORT");
    };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port.parse()?)).await?;
    let began = Instant::now();
    let (before, after) = around().context("the recorded answer has processors")?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream, began, before, after));
    }
}

/// What stands before and after the times of the processors.
fn around() -> Option<(&'static str, &'static str)> {
    let first = ANSWER.find("node_cpu_seconds_total{")?;
    let last = ANSWER.rfind("node_cpu_seconds_total{")?;
    let end = last + ANSWER[last..].find('\n')? + 1;
    Some((&ANSWER[..first], &ANSWER[end..]))
}

async fn answer(
    mut stream: TcpStream,
    began: Instant,
    before: &str,
    after: &str,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(stream.read_buf(&mut head).await? > 0, "closed");
        }
        let seconds = began.elapsed().as_secs_f64();
        let mut body = before.to_owned();
        for cpu in 0..2 {
            for mode in [
                "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
            ] {
                let time = match mode {
                    "idle" => BEFORE + seconds * (1.0 - BUSY),
                    "user" => BEFORE + seconds * BUSY,
                    _ => BEFORE,
                };
                body +=
                    &format!("node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {time:.2}\n");
            }
        }
        body += after;
        // As Go's server sends what is longer than it holds back.
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Date: Sat, 21 Nov 2026 17:14:59 GMT\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
    }
}
