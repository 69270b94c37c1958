//! Ten thousand first visitors of a sleeping service: how long the page takes, and that one start comes of it.
//! They come evenly within one second, and then all at the same instant, where the processor is the bound: nginx
//! with the same crowd says what the machine can do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Bench;
use crate::client::{self, page_request, wake_request};
use crate::kit::{self, Figures};
use crate::peers;
use crate::report::Findings;
use crate::room::{Room, Service};

/// Visitors, as far as files may be open.
const VISITORS: usize = 10_000;

/// How they come.
#[derive(Clone, Copy)]
enum Coming {
    WithinASecond,
    AtOnce,
}

/// What became of a crowd.
struct Outcome {
    pages_ms: Figures,
    wakes_taken: usize,
}

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let visitors = VISITORS.min(kit::files_max()?.saturating_sub(500));
    let mut services = Vec::new();
    for round in 0..bench.rounds {
        for way in ["spread", "burst"] {
            let name = format!("{way}{round}");
            services.push(Service::new(bench, &name, (60_000, 1), "")?);
        }
    }
    let room = Room::start(bench, "crowd", &services, "").await?;
    let locations = "location / { return 503 \"waiting\"; }";
    let nginx = peers::nginx(bench, "crowd-nginx", "", locations).await?;

    let (mut spread, mut burst) = (Figures::default(), Figures::default());
    let (mut starts_max, mut wakes_taken) = (0, usize::MAX);
    for (index, service) in services.iter().enumerate() {
        room.reaches(&service.name, "asleep").await?;
        let coming = match index % 2 {
            0 => Coming::WithinASecond,
            _ => Coming::AtOnce,
        };
        let outcome = crowd(visitors, room.visitors, &service.host(), coming, true).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (p99, starts) = (outcome.pages_ms.at(0.99), service.starts());
        println!(
            "{}: page p99 {p99:.1} ms, {} wakes taken, {starts} starts",
            service.name, outcome.wakes_taken
        );
        ensure!(starts > 0, "nobody started {}", service.name);
        starts_max = starts_max.max(starts);
        wakes_taken = wakes_taken.min(outcome.wakes_taken);
        match coming {
            Coming::WithinASecond => spread.add(p99),
            Coming::AtOnce => burst.add(p99),
        }
    }
    let (mut nginx_spread, mut nginx_burst) = (Figures::default(), Figures::default());
    for _ in 0..bench.rounds {
        for (coming, figures) in [
            (Coming::WithinASecond, &mut nginx_spread),
            (Coming::AtOnce, &mut nginx_burst),
        ] {
            let outcome = crowd(visitors, nginx.port, "crowd.test", coming, false).await?;
            figures.add(outcome.pages_ms.at(0.99));
        }
    }

    findings.goal(
        "crowd-page",
        spread.median(),
        format!("{} ms for {visitors} within a second", spread.spread(1)),
    );
    findings.goal("crowd-starts", starts_max as f64, starts_max.to_string());
    findings.table(
        "A crowd of first visitors",
        &format!(
            "{visitors} connections, each with an address of its own; each visitor opens the page and posts its wake, \
             as the page's script does. At least {wakes_taken} wakes of each crowd were taken, and each crowd brought \
             at most {starts_max} start. nginx answers a word, and nobody posts to it. The time runs from the moment at \
             which a visitor was to come, so it holds every queue, also that of the load itself."
        ),
        &["page p99, ms", "within one second", "at the same instant"],
        vec![
            vec!["anteroom".into(), spread.spread(1), burst.spread(1)],
            vec!["nginx".into(), nginx_spread.spread(1), nginx_burst.spread(1)],
        ],
    );
    Ok(())
}

async fn crowd(
    visitors: usize,
    port: u16,
    host: &str,
    coming: Coming,
    wake: bool,
) -> anyhow::Result<Outcome> {
    let streams = connect(visitors, port).await?;
    let start = Instant::now() + Duration::from_millis(500);
    let mut crowd = JoinSet::new();
    for (number, mut stream) in streams.into_iter().enumerate() {
        let at = match coming {
            Coming::AtOnce => start,
            Coming::WithinASecond => {
                start + Duration::from_secs(1) * number as u32 / visitors as u32
            }
        };
        let (host, request) = (host.to_owned(), page_request(host, number));
        crowd.spawn(async move {
            sleep_until(at).await;
            let page = client::ask(&mut stream, &request).await?;
            let took = at.elapsed();
            ensure!(page.status == 503, "no page: {}", page.head);
            let taken = match wake {
                false => false,
                true => {
                    let request = wake_request(&host, number, &page.nonce()?);
                    client::ask(&mut stream, &request).await?.status < 400
                }
            };
            Ok((took, taken))
        });
    }
    let (mut pages, mut wakes_taken) = (Vec::with_capacity(visitors), 0);
    while let Some(visitor) = crowd.join_next().await {
        let (took, taken) = visitor?.context("a visitor was not served")?;
        pages.push(took.as_secs_f64() * 1_000.0);
        wakes_taken += usize::from(taken);
    }
    Ok(Outcome {
        pages_ms: pages.into_iter().collect(),
        wakes_taken,
    })
}

/// The visitors' connections, opened before: how fast a kernel opens them is not asked here.
async fn connect(visitors: usize, port: u16) -> anyhow::Result<Vec<TcpStream>> {
    let turns = Arc::new(Semaphore::new(128));
    let mut opening = JoinSet::new();
    for _ in 0..visitors {
        let turns = Arc::clone(&turns);
        opening.spawn(async move {
            let _turn = turns.acquire().await?;
            client::connect(kit::local(port)).await
        });
    }
    let mut streams = Vec::with_capacity(visitors);
    while let Some(stream) = opening.join_next().await {
        streams.push(stream?.context("a visitor could not connect")?);
    }
    Ok(streams)
}
