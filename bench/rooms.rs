//! Three rooms on one Redis: from a trigger in one of them to the event on the open pages of the others.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::Bench;
use crate::client::{self, ask, page_request, wake_request};
use crate::kit::{self, Figures};
use crate::peers;
use crate::report::Findings;
use crate::room::{Room, Service};

const ROOMS: usize = 3;

/// Wakes in each round.
const WAKES: usize = 20;

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let (_server, port) = peers::redis(bench, "rooms-redis").await?;
    let app = peers::nginx(bench, "rooms-app", "", "location / { return 200 \"app\"; }").await?;
    // So that the next wake needs no long wait.
    let more = "idle_timeout = \"2s\"\ndrain_timeout = \"1s\"\nmin_awake = \"0s\"\nhealth = { interval = \"100ms\" }\n\
                wake = { per_client = \"off\", per_network = \"off\", per_service = \"off\" }";
    let services = [Service::switched(bench, "rooms", app.port, more)?];
    let store = format!("redis://127.0.0.1:{port}");
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        let name = format!("room{number}");
        rooms.push(Room::start_on(bench, &name, &services, &store).await?);
    }
    let host = services[0].host();
    let (mut own, mut others) = (Figures::default(), Figures::default());
    for number in 0..bench.rounds * WAKES {
        for room in &rooms {
            room.reaches("rooms", "asleep").await?;
        }
        let heard = timeout(Duration::from_secs(30), one_wake(&rooms, &host, number))
            .await
            .context("not every page heard of the wake")
            .and_then(|heard| heard)
            .with_context(|| rooms[0].said())?;
        for (room, ms) in heard {
            match room == number % ROOMS {
                true => own.add(ms),
                false => others.add(ms),
            }
        }
        for room in &rooms {
            room.reaches("rooms", "awake").await?;
        }
        rooms[0].command("rooms", "sleep").await?;
    }
    let p99 = others.at(0.99);
    let wakes = own.len();
    findings.goal("rooms", p99, format!("{p99:.1} ms over {wakes} wakes"));
    let row = |what: &str, figures: &Figures| {
        let at = |part| format!("{:.1}", figures.at(part));
        vec![what.to_owned(), at(0.5), at(0.99), at(1.0)]
    };
    let rows = vec![
        row("in the room that was asked", &own),
        row("in another room", &others),
    ];
    for row in &rows {
        println!("{}", row.join(" | "));
    }
    findings.table(
        "From a trigger in one room to the pages of all",
        &format!(
            "{ROOMS} Anterooms on one Redis, which share the processors, with a page open in each; {wakes} wakes, posted to \
             one after the other of them. The time runs from before the post to \"waking\" on the stream of events; one of \
             them leads the service, whichever was asked."
        ),
        &["the page hears it after, ms", "p50", "p99", "max"],
        rows,
    );
    Ok(())
}

/// Wakes the service by one of the rooms; when the page in each heard of it, in milliseconds.
async fn one_wake(rooms: &[Room], host: &str, number: usize) -> anyhow::Result<Vec<(usize, f64)>> {
    let mut pages = Vec::new();
    for room in rooms {
        let mut page = TcpStream::connect(kit::local(room.visitors)).await?;
        page.write_all(client::events_request(host).as_bytes())
            .await?;
        client::hear(&mut page, "\"asleep\"").await?;
        pages.push(page);
    }
    let asked = kit::local(rooms[number % ROOMS].visitors);
    let mut browser = TcpStream::connect(asked).await?;
    browser.set_nodelay(true)?;
    let page = ask(&mut browser, &page_request(host, number)).await?;
    let request = wake_request(host, number, &page.nonce()?);
    let began = Instant::now();
    let mut hearing = JoinSet::new();
    for (room, mut page) in pages.into_iter().enumerate() {
        hearing.spawn(async move {
            client::hear(&mut page, "\"waking\"").await?;
            anyhow::Ok((room, began.elapsed().as_secs_f64() * 1_000.0))
        });
    }
    let taken = ask(&mut browser, &request).await?;
    anyhow::ensure!(
        taken.status < 400,
        "the wake was refused: {}{}",
        taken.head,
        taken.text()
    );
    hearing.join_all().await.into_iter().collect()
}
