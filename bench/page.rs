//! The waiting page against nginx, which answers the same bytes from a file: as it is, and as browsers ask for it.

use anyhow::ensure;

use crate::Bench;
use crate::client;
use crate::kit::{self, Figures, Load, wrk};
use crate::peers;
use crate::report::Findings;
use crate::room::{Room, Service};

/// How the page is asked for.
struct Form {
    /// The goal that it is held against.
    goal: &'static str,
    name: &'static str,
    lines: &'static [&'static str],
}

const FORMS: [Form; 2] = [
    Form {
        goal: "page",
        name: "as it is",
        lines: &[],
    },
    Form {
        goal: "page-gzip",
        name: "gzip",
        lines: &["Accept-Encoding: gzip, deflate, br, zstd"],
    },
];

const SERVERS: [&str; 3] = ["anteroom", "nginx", "hyper, alone"];

pub(crate) async fn measure(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let service = Service::new(bench, "page", (60_000, 1), "")?;
    let host = service.host();
    let room = Room::start(bench, "page", &[service], "").await?;
    room.reaches("page", "asleep").await?;
    let mut rows = Vec::new();
    let mut sizes = Vec::new();
    for form in &FORMS {
        // wrk takes anything, so it is asked for as wrk asks.
        let lines: String = form
            .lines
            .iter()
            .map(|line| format!("{line}\r\n"))
            .collect();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        let page = client::ask_once(kit::local(room.visitors), &request).await?;
        ensure!(page.status == 503, "no waiting page: {}", page.head);
        sizes.push(format!(
            "{} bytes with {} bytes of head ({})",
            page.body.len(),
            page.head.len(),
            form.name
        ));
        let place = format!("{}-nginx", form.goal);
        let dir = peers::place(bench, &place)?;
        std::fs::write(dir.join("page.html"), &page.body)?;
        let nginx = peers::nginx(bench, &place, "", &nginx_locations(&page.head)).await?;
        let same = client::ask_once(kit::local(nginx.port), &request).await?;
        ensure!(
            (same.status, &same.body) == (503, &page.body),
            "nginx answers something else: {}",
            same.head
        );
        let answer = [page.head.as_bytes(), &page.body].concat();
        let bare = peers::bare(bench, &format!("{}-bare", form.goal), &answer).await?;

        let mut rounds = Vec::new();
        for round in 0..bench.rounds {
            let mut loads = Vec::new();
            for port in [room.visitors, nginx.port, bare.port] {
                loads.push(wrk(port, &host, "/", form.lines, bench.seconds).await?);
            }
            println!("{}, round {round}: {loads:?}", form.name);
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
        findings.goal(form.goal, against_nginx.median(), measured);
        rows.extend(SERVERS.iter().enumerate().map(|(index, server)| {
            let rps: Figures = rounds.iter().map(|loads| loads[index].rps).collect();
            let p99: Figures = rounds.iter().map(|loads| loads[index].p99_ms).collect();
            let against = match index {
                0 => String::new(),
                _ => ratio(index).spread(2),
            };
            let who = format!("{server}, {}", form.name);
            vec![who, rps.spread(0), p99.spread(1), against]
        }));
    }
    findings.table(
        "The waiting page",
        &format!(
            "{}; asleep, 64 kept-alive connections. Each answer of Anteroom carries a nonce of its own, which it signs for it. nginx \
             answers the same bytes each time, as 503 from a file that it keeps open and that is packed already. hyper is the HTTP \
             library that Anteroom is made with; alone it answers the same bytes to everything.",
            sizes.join(", ")
        ),
        &["", "answers a second", "p99, ms", "anteroom / this"],
        rows,
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
