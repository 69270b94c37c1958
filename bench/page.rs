//! The waiting page against nginx, which answers the same bytes from a file.

use anyhow::ensure;

use crate::Bench;
use crate::client;
use crate::kit::{self, Figures, Load, wrk};
use crate::peers;
use crate::report::Findings;
use crate::room::{Room, Service};

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let service = Service::new(bench, "page", (60_000, 1), "")?;
    let host = service.host();
    let room = Room::start(bench, "page", &[service], "").await?;
    room.reaches("page", "asleep").await?;
    // wrk sends no Accept-Encoding and takes anything, so it is asked for as wrk asks.
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let page = client::ask_once(kit::local(room.visitors), &request).await?;
    ensure!(page.status == 503, "no waiting page: {}", page.head);
    let dir = peers::place(bench, "page-nginx")?;
    std::fs::write(dir.join("page.html"), &page.body)?;
    let locations = nginx_locations(&page.head);
    let nginx = peers::nginx(bench, "page-nginx", "", &locations).await?;
    let same = client::ask_once(kit::local(nginx.port), &request).await?;
    ensure!(
        (same.status, &same.body) == (503, &page.body),
        "nginx answers something else: {}",
        same.head
    );

    let bare = peers::bare(bench, &format!("{}{}", page.head, page.body)).await?;

    let mut rounds = Vec::new();
    for round in 0..bench.rounds {
        let mut loads = Vec::new();
        for port in [room.visitors, nginx.port, bare.port] {
            loads.push(wrk(port, &host, "/", bench.seconds).await?);
        }
        println!("round {round}: {loads:?}");
        rounds.extend(<[Load; 3]>::try_from(loads));
    }
    let ratio = |other: usize| -> Figures {
        rounds
            .iter()
            .map(|loads| loads[0].rps / loads[other].rps)
            .collect()
    };
    let against_nginx = ratio(1);
    let measured = format!("{} x", against_nginx.spread(2));
    findings.goal("page", against_nginx.median(), measured);
    let names = ["anteroom", "nginx", "hyper, alone"];
    let rows = names.iter().enumerate().map(|(index, name)| {
        let rps: Figures = rounds.iter().map(|loads| loads[index].rps).collect();
        let p99: Figures = rounds.iter().map(|loads| loads[index].p99_ms).collect();
        let against = match index {
            0 => String::new(),
            _ => ratio(index).spread(2),
        };
        vec![(*name).to_owned(), rps.spread(0), p99.spread(1), against]
    });
    findings.table(
        "The waiting page",
        &format!(
            "{} bytes with {} bytes of head, asleep, 64 kept-alive connections. nginx answers the same body as \
             503 from a file that it keeps open. hyper is the HTTP library that Anteroom is made with; alone it answers \
             the same bytes to everything.",
            page.body.len(),
            page.head.len()
        ),
        &["", "answers a second", "p99, ms", "anteroom / this"],
        rows.collect(),
    );
    Ok(())
}

/// A server that answers 503 with the page's bytes, and the same head as far as it is not its own.
fn nginx_locations(head: &str) -> String {
    let lines: String = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| {
            let own = ["date", "content-length", "content-type", "connection"];
            !own.iter().any(|own| name.eq_ignore_ascii_case(own))
        })
        .map(|(name, value)| {
            let value = value.trim().replace('\\', "\\\\").replace('"', "\\\"");
            format!("    add_header {name} \"{value}\" always;\n")
        })
        .collect();
    format!(
        "default_type \"text/html; charset=utf-8\";
    root .;
    error_page 503 /page.html;
    location / {{ return 503; }}
    location = /page.html {{ internal;
{lines}    }}"
    )
}
