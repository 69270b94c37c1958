//! Admissions: how many wishes to wake a service a room can have ruled on by a Redis beside it, and how long each takes.
//!
//! Asked as a room asks: from the visitors' threads, one for each processor with a runtime of its own, through one store
//! whose connection lives on the main runtime. Each caller waits for its answer before it asks again. redis-benchmark,
//! with as many connections, says what the same machine does with the simplest of commands.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use anteroom::config::{Config, StoreUrl};
use anteroom::engine::admit::{Applicant, Rate, Rules, Verdict};
use anteroom::engine::client;
use anteroom::engine::contract::{Trigger, TriggerBy};
use anteroom::engine::id::ServiceName;
use anteroom::engine::time::{Span, Time};
use anteroom::store::Store;
use anteroom::store::redis::RedisStore;
use anyhow::{Context, ensure};
use tokio_util::sync::CancellationToken;

use crate::Bench;
use crate::kit::{self, Figures};
use crate::peers;
use crate::report::Findings;

/// Who asks at the same time.
const CALLERS: usize = 64;

/// Services that a crowd is spread over.
const SERVICES: u64 = 1_000;

/// Who asks for what.
#[derive(Clone, Copy)]
enum Load {
    /// Everybody comes to one service: the first wakes it, the others join.
    Crowd,
    /// The same over many services.
    Spread,
    /// Each call is for a service of its own, so each charges all limits and is a wake.
    Wakes,
    /// One service, whose limit is used up: each call is refused.
    Refused,
}

const LOADS: [(Load, &str); 4] = [
    (Load::Crowd, "one service, all join one wake"),
    (
        Load::Spread,
        "1,000 services, all join the wake of the one they ask for",
    ),
    (
        Load::Wakes,
        "a service for each call: each is a wake and charges five limits",
    ),
    (
        Load::Refused,
        "one service whose limit is used up: each is refused",
    ),
];

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let (server, port) = peers::redis(bench, "admissions").await?;
    let mut rounds: [Found; LOADS.len()] = Default::default();
    let mut simplest = Figures::default();
    for round in 0..bench.rounds {
        for ((load, _), found) in LOADS.into_iter().zip(&mut rounds) {
            let store = Arc::new(open(port, &format!("r{round}"))?);
            store.ready(Duration::from_secs(10)).await?;
            let (used, own) = (server.cpu()?, kit::own_cpu()?);
            let (rate, late) = ask(&store, load, bench.seconds).await?;
            let each = |used: Duration| used.as_secs_f64() * 1e6 / (rate * bench.seconds as f64);
            found.server_us.add(each(server.cpu()? - used));
            found.own_us.add(each(kit::own_cpu()? - own));
            found.rates.add(rate);
            found.p99_ms.add(late);
            flush(port).await?;
        }
        simplest.add(simplest_command(port, bench.seconds).await?);
    }
    let mut rows: Vec<_> = LOADS.iter().zip(&rounds).map(row).collect();
    let mut bare = vec!["redis-benchmark, SET".to_owned(), simplest.spread(0)];
    bare.resize(rows[0].len(), String::new());
    rows.push(bare);
    for row in &rows {
        println!("{}", row.join(" | "));
    }
    let rate = rounds.iter().map(|found| found.rates.median());
    let rate = rate.fold(f64::INFINITY, f64::min);
    let p99 = rounds.iter().map(|found| found.p99_ms.median());
    let p99 = p99.fold(0.0, f64::max);
    let told = format!("{rate:.0} a second for the slowest load");
    findings.goal("admissions", rate, told);
    let told = format!("{p99:.2} ms for the slowest load");
    findings.goal("admissions-p99", p99, told);
    findings.table(
        "Admissions",
        &format!(
            "`Store::admit` of one room on one Redis, which shares the processors with it; {CALLERS} callers on the \
             visitors' threads, each with a new address at each call, each waiting for its answer before it asks again. \
             All five limits are set. The goals speak of the slowest load. The last \
             two columns are processor time in microseconds for each: that of Redis, and that of the room with its \
             callers. redis-benchmark has as many connections and no script."
        ),
        &["", "a second", "p99, ms", "Redis", "the room"],
        rows,
    );
    Ok(())
}

/// What was found of one load.
#[derive(Default)]
struct Found {
    rates: Figures,
    p99_ms: Figures,
    server_us: Figures,
    own_us: Figures,
}

fn row(((_, what), found): (&(Load, &str), &Found)) -> Vec<String> {
    vec![
        (*what).to_owned(),
        found.rates.spread(0),
        found.p99_ms.spread(2),
        found.server_us.spread(1),
        found.own_us.spread(1),
    ]
}

fn open(port: u16, prefix: &str) -> anyhow::Result<RedisStore> {
    let text = format!("[store]\nurl = \"redis://127.0.0.1:{port}\"\n");
    let config = Config::parse(&text, "bench.toml", &|_| None);
    let config = config.map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let StoreUrl::Redis(url) = config.store.url else {
        anyhow::bail!("no Redis");
    };
    Ok(RedisStore::open(anteroom::app::redis_settings(
        &url, prefix,
    ))?)
}

/// Everything is forgotten before the next load.
async fn flush(port: u16) -> anyhow::Result<()> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("FLUSHALL")
        .exec_async(&mut connection)
        .await
        .context("FLUSHALL")
}

/// Answers a second, and how long 99 of 100 took at most, in milliseconds.
async fn ask(store: &Arc<RedisStore>, load: Load, seconds: u64) -> anyhow::Result<(f64, f64)> {
    let rules = Arc::new(rules(load)?);
    let called = Arc::new(AtomicU64::new(0));
    // Before the time is taken: the first of a crowd is the one that wakes or spends the limit.
    for number in 0..SERVICES {
        one(store, load, number, &rules).await?;
    }
    called.store(SERVICES, Relaxed);
    let end = CancellationToken::new();
    let (results, mut all) = tokio::sync::mpsc::unbounded_channel();
    let threads = kit::cores();
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let mut visitors = Vec::new();
    for _ in 0..threads {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        for _ in 0..CALLERS / threads {
            let (store, rules) = (Arc::clone(store), Arc::clone(&rules));
            let (called, results) = (Arc::clone(&called), results.clone());
            runtime.spawn(async move {
                let _ = results.send(caller(&store, load, &rules, &called, until).await);
            });
        }
        let end = end.clone();
        visitors.push(std::thread::spawn(move || {
            runtime.block_on(end.cancelled())
        }));
    }
    drop(results);
    let mut took = Vec::new();
    while let Some(of_one) = all.recv().await {
        took.extend(of_one?);
    }
    let whole = began.elapsed();
    end.cancel();
    for thread in visitors {
        ensure!(thread.join().is_ok(), "a thread of visitors panicked");
    }
    let rate = took.len() as f64 / whole.as_secs_f64();
    let late = Figures::from_iter(took).at(0.99);
    Ok((rate, late))
}

/// Asks until the time is over; how long each call took, in milliseconds.
async fn caller(
    store: &RedisStore,
    load: Load,
    rules: &Rules,
    called: &AtomicU64,
    until: Instant,
) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok(took);
        }
        let number = called.fetch_add(1, Relaxed);
        let verdict = one(store, load, number, rules).await?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
        let expected = match load {
            Load::Crowd | Load::Spread => matches!(verdict, Verdict::Joined(_)),
            Load::Wakes => matches!(verdict, Verdict::Wake(1)),
            Load::Refused => matches!(verdict, Verdict::Refused { .. }),
        };
        ensure!(expected, "{verdict:?} is not what this load measures");
    }
}

/// As long as those of browsers are.
const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

async fn one(
    store: &RedisStore,
    load: Load,
    number: u64,
    rules: &Rules,
) -> anyhow::Result<Verdict> {
    let service: ServiceName = match load {
        Load::Crowd | Load::Refused => "blog".to_owned(),
        Load::Spread => format!("s{}", number % SERVICES),
        Load::Wakes => format!("s{number}"),
    }
    .parse()?;
    let address = Ipv4Addr::from_bits(0x0a00_0000 + number as u32);
    let trigger = Trigger {
        by: TriggerBy::Page,
        who: client::network(address.into()).to_string(),
        path: "/".to_owned(),
    };
    let applicant = Applicant {
        agent: AGENT.to_owned(),
        ..Applicant::plain(address.into(), trigger)
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now = Time(now.as_millis() as u64);
    Ok(store.admit(&service, now, &applicant, rules).await?)
}

fn rules(load: Load) -> anyhow::Result<Rules> {
    let day = Span::secs(86_400);
    let plenty = Some(Rate::new(1_000_000, day)?);
    // So that a wake of this load is refused, or every one goes through.
    let per_day = match load {
        Load::Refused => 0,
        _ => 1_000_000,
    };
    Ok(Rules {
        per_client: plenty,
        per_network: plenty,
        per_service: plenty,
        over_all: Some(Rate::new(1_000_000, Span::secs(1_000))?),
        per_day: Some(per_day),
        ..Rules::default()
    })
}

/// SETs a second, with as many connections.
async fn simplest_command(port: u16, seconds: u64) -> anyhow::Result<f64> {
    let output = tokio::process::Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", &CALLERS.to_string()])
        .args([
            "-t",
            "set",
            "-r",
            "100000",
            "--csv",
            "-n",
            &(seconds * 50_000).to_string(),
        ])
        .kill_on_drop(true)
        .output()
        .await
        .context("redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let rate = last.split(',').nth(1).unwrap_or_default().trim_matches('"');
    rate.parse()
        .with_context(|| format!("redis-benchmark said: {text}"))
}
