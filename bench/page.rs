//! The waiting page against nginx, which answers the same bytes from a file.

use anyhow::ensure;

use crate::Bench;
use crate::client;
use crate::kit::{self, Figures, wrk};
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

    let (mut ratios, mut ours_rps, mut nginx_rps) =
        (Figures::default(), Figures::default(), Figures::default());
    let (mut ours_p99, mut nginx_p99) = (Figures::default(), Figures::default());
    for round in 0..bench.rounds {
        let ours = wrk(room.visitors, &host, "/", bench.seconds).await?;
        let theirs = wrk(nginx.port, &host, "/", bench.seconds).await?;
        println!("round {round}: anteroom {ours:?}, nginx {theirs:?}");
        ratios.add(ours.rps / theirs.rps);
        ours_rps.add(ours.rps);
        nginx_rps.add(theirs.rps);
        ours_p99.add(ours.p99_ms);
        nginx_p99.add(theirs.p99_ms);
    }
    findings.goal("page", ratios.median(), format!("{} x", ratios.spread(2)));
    findings.table(
        "The waiting page",
        &format!(
            "{} bytes with {} bytes of head, asleep, 64 kept-alive connections. nginx answers the same body as \
             503 from a file that it keeps open.",
            page.body.len(),
            page.head.len()
        ),
        &["", "answers a second", "p99, ms"],
        vec![
            vec!["anteroom".into(), ours_rps.spread(0), ours_p99.spread(1)],
            vec!["nginx".into(), nginx_rps.spread(0), nginx_p99.spread(1)],
            vec![
                "anteroom / nginx".into(),
                ratios.spread(2),
                format!("{:.2}", ours_p99.median() / nginx_p99.median()),
            ],
        ],
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
