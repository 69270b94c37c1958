//! From the moment at which the app listens to the visitor's first byte of it, through the real Traefik, by the way
//! that the waiting page goes: hear "awake" on the event stream, ask again.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Bench;
use crate::app::now_ns;
use crate::client::{self, ask, page_request, wake_request};
use crate::kit::{self, Figures};
use crate::peers;
use crate::report::Findings;
use crate::room::{Room, Service};

/// Wakes in one run, at least.
const WAKES_MIN: usize = 10;

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let wakes = (bench.rounds * 6).max(WAKES_MIN);
    let dynamic = peers::dynamic_dir(bench, "wakes-traefik")?;
    let traefik = peers::traefik(bench, "wakes-traefik").await?;
    // By default but for two, so that the next wake needs no long wait, and for the limits: one client wakes it more
    // often here than in a day.
    let more = "ingress = \"failover\"\ndrain_timeout = \"1s\"\nmin_awake = \"1s\"\n\
                wake = { per_client = \"off\", per_network = \"off\", per_service = \"off\" }";
    let service = Service::new(bench, "wakes", (400, 1_500), more)?;
    let host = service.host();
    let ports = (kit::free_port()?, kit::free_port()?);
    let publishing = format!(
        "[traefik]\npublish = {{ kind = \"file\", path = \"{}\" }}\nroom_url = \"http://127.0.0.1:{}\"\n\
         public_url = \"http://127.0.0.1:{}\"\napi = \"http://127.0.0.1:{}\"\nentrypoints = [\"web\"]\n",
        dynamic.join("anteroom.yml").display(),
        ports.0,
        traefik.peer.port,
        traefik.api
    );
    let services = [service];
    let room = Room::start_at(bench, "wakes", &services, &publishing, ports).await?;
    let [service] = &services;
    let (mut to_first_byte, mut to_event) = (Figures::default(), Figures::default());
    for number in 0..wakes {
        room.reaches("wakes", "asleep").await?;
        arrive(traefik.peer.port, &host).await?;
        let (event_ns, byte_ns) = timeout(
            Duration::from_secs(30),
            one_wake(traefik.peer.port, &host, number),
        )
        .await
        .context("nobody was let in")
        .and_then(|let_in| let_in)
        .with_context(|| room.said())?;
        let listened = service.listened_ns()?;
        let milliseconds = |at: u128| at.saturating_sub(listened) as f64 / 1e6;
        println!(
            "wake {number}: event after {:.0} ms, first byte after {:.0} ms",
            milliseconds(event_ns),
            milliseconds(byte_ns)
        );
        to_event.add(milliseconds(event_ns));
        to_first_byte.add(milliseconds(byte_ns));
        room.command("wakes", "sleep").await?;
    }
    let starts = service.starts();
    ensure!(starts == wakes, "{starts} starts for {wakes} wakes");
    let p95 = to_first_byte.at(0.95);
    findings.goal("wake", p95, format!("{p95:.0} ms over {wakes} wakes"));
    let row = |what: &str, figures: &Figures| {
        let at = |part| format!("{:.0}", figures.at(part));
        vec![what.to_owned(), at(0.5), at(0.95), at(1.0)]
    };
    findings.table(
        "From \"the app listens\" to the visitor's first byte",
        &format!(
            "{wakes} wakes of an app that boots for 0.4 to 1.9 s, page, events and app all by way of Traefik, with \
             the default health check."
        ),
        &["after the app listens, ms", "p50", "p95", "max"],
        vec![
            row("the open page hears it", &to_event),
            row("the visitor has the app's first byte", &to_first_byte),
        ],
    );
    Ok(())
}

/// Waits until Traefik leads to the room.
async fn arrive(port: u16, host: &str) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = client::ask_once(kit::local(port), &page_request(host, 1)).await?;
        if answer.status == 503 && answer.by_room() {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "Traefik does not lead to the room: {}",
            answer.head
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One visitor: when the page heard that the app is there, and when the app's first byte came.
async fn one_wake(port: u16, host: &str, number: usize) -> anyhow::Result<(u128, u128)> {
    let mut browser = TcpStream::connect(kit::local(port)).await?;
    let page = ask(&mut browser, &page_request(host, number)).await?;
    let mut events = TcpStream::connect(kit::local(port)).await?;
    let request = client::events_request(host);
    events.write_all(request.as_bytes()).await?;
    client::hear(&mut events, "\"asleep\"").await?;
    let taken = ask(&mut browser, &wake_request(host, number, &page.nonce()?)).await?;
    ensure!(
        taken.status < 400,
        "the wake was refused: {}{}",
        taken.head,
        taken.text()
    );
    client::hear(&mut events, "\"awake\"").await?;
    let event_ns = now_ns();
    loop {
        let answer = ask(&mut browser, &page_request(host, number)).await?;
        if !answer.by_room() {
            ensure!(answer.status == 200, "not the app: {}", answer.head);
            let byte_ns = now_ns() - answer.first_byte.elapsed().as_nanos();
            return Ok((event_ns, byte_ns));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
