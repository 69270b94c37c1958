//! Forwarding to an awake app, against nginx and haproxy (and Traefik, for its readers): the same app, which is
//! nginx with files.

use anyhow::ensure;

use crate::Bench;
use crate::client;
use crate::kit::{self, Figures, Load, wrk};
use crate::peers;
use crate::report::Findings;
use crate::room::{Room, Service};

/// Who forwards.
const NAMES: [&str; 4] = ["anteroom", "nginx", "haproxy", "traefik"];

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let dir = peers::place(bench, "app")?;
    std::fs::write(dir.join("small"), "0123456789".repeat(10))?;
    std::fs::write(dir.join("big"), "0123456789abcdef".repeat(65_536))?;
    let app = peers::nginx(bench, "app", "", "root .;").await?;
    // Our own app holds the place of the machine; what it forwards to is nginx, as for the others.
    let service = Service::awake_at(bench, "forward", app.port)?;
    let host = service.host();
    let room = Room::start(bench, "forward", &[service], "").await?;
    room.command("forward", "wake").await?;
    room.reaches("forward", "awake").await?;
    let nginx = peers::nginx_proxy(bench, app.port).await?;
    let haproxy = peers::haproxy(bench, app.port).await?;
    let traefik = peers::traefik_proxy(bench, app.port).await?;
    let ports = [room.visitors, nginx.port, haproxy.port, traefik.peer.port];
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    for (path, length) in [("/small", 100), ("/big", 1_048_576)] {
        for (name, port) in NAMES.iter().zip(ports) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = client::ask_once(kit::local(port), &request).await?;
            ensure!(
                answer.status == 200 && answer.body.len() >= length,
                "{name} does not forward {path}: {}",
                answer.head
            );
        }
    }

    for (goal, path, title) in [
        ("forward-small", "/small", "Forwarding 100 bytes"),
        ("forward-big", "/big", "Forwarding 1 MiB"),
    ] {
        let rounds = rounds(bench, &host, path, ports).await?;
        tell(findings, goal, title, &rounds);
    }
    Ok(())
}

/// Every round loads each of them once, in turn, so that what disturbs the machine disturbs all.
async fn rounds(
    bench: &Bench,
    host: &str,
    path: &str,
    ports: [u16; 4],
) -> anyhow::Result<Vec<[Load; 4]>> {
    let mut rounds = Vec::new();
    for round in 0..bench.rounds {
        let mut loads = Vec::new();
        for port in ports {
            loads.push(wrk(port, host, path, &[], bench.seconds).await?);
        }
        println!("round {round} {path}: {loads:?}");
        rounds.extend(<[Load; 4]>::try_from(loads));
    }
    Ok(rounds)
}

fn tell(findings: &mut Findings, goal: &str, title: &str, rounds: &[[Load; 4]]) {
    let ratio = |other: usize| -> Figures {
        rounds
            .iter()
            .map(|loads| loads[0].rps / loads[other].rps)
            .collect()
    };
    let better: Figures = rounds
        .iter()
        .map(|loads| loads[0].rps / loads[1].rps.max(loads[2].rps))
        .collect();
    findings.goal(goal, better.median(), format!("{} x", better.spread(2)));
    let rows = NAMES
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let rps: Figures = rounds.iter().map(|loads| loads[index].rps).collect();
            let p99: Figures = rounds.iter().map(|loads| loads[index].p99_ms).collect();
            let against = match index {
                0 => String::new(),
                _ => ratio(index).spread(2),
            };
            vec![(*name).to_owned(), rps.spread(0), p99.spread(1), against]
        })
        .collect();
    findings.table(
        title,
        "64 kept-alive connections; the app is nginx with a file, on the same machine. All add the client's address \
         to `X-Forwarded-For`.",
        &["", "answers a second", "p99, ms", "anteroom / this"],
        rows,
    );
}
