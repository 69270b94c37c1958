//! Load from the real Prometheus, which scrapes real node_exporters; and from a stand-in where answers are counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::load::Share;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::traffic::Upstream;
use anteroom::signal::load::prometheus::{Login, Prometheus, Server, Settings};
use anteroom::signal::load::{Lack, LoadSignal, Measured};

use crate::support::exporter::{NodeExporter, Prometheus as Real, Say, StandIn, ok};
use crate::support::ports::free_port;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(1);

/// The queries of the documentation.
fn documented() -> Vec<String> {
    let page = include_str!("../../docs/signals.md");
    let blocks = page.split("```promql\n").skip(1);
    let queries = blocks.filter_map(|block| block.split("```").next());
    queries.map(str::to_owned).collect()
}

fn crew(hosts: &[u8]) -> Vec<Upstream> {
    let one = |(slot, host): (usize, &u8)| Upstream {
        instance: match CloneId::new(slot as u16, 1_795_000_000) {
            Some(clone) => InstanceId::Clone(clone),
            None => InstanceId::SEED,
        },
        address: SocketAddr::from((Ipv4Addr::new(127, 0, 0, *host), 80)),
    };
    hosts.iter().enumerate().map(one).collect()
}

fn asking(server: &Arc<Server>, service: &str, query: &str, at: Option<&str>) -> Prometheus {
    let settings = Settings {
        service: service.parse().unwrap(),
        query: query.to_owned(),
        at: at.map(str::to_owned),
        interval: INTERVAL,
    };
    Prometheus::new(settings, Arc::clone(server))
}

fn server(url: &str, login: &Login) -> Arc<Server> {
    Arc::new(Server::new(url, login).unwrap())
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Time::default() + Span::from(since.unwrap())
}

fn why(measured: &Measured) -> String {
    assert_eq!(measured.samples, []);
    measured.lacking[0].1.to_string()
}

/// Scrapes these hosts every second.
fn scraping(hosts: &[u8], port: u16) -> String {
    let targets: Vec<_> = hosts
        .iter()
        .map(|host| format!("\"127.0.0.{host}:{port}\""))
        .collect();
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs: [{{ job_name: node, static_configs: [{{ targets: [{}] }}] }}]\n",
        targets.join(", ")
    )
}

#[tokio::test]
async fn the_documented_queries_tell_of_live_machines_and_not_of_the_dead() {
    let port = free_port();
    let (hosts, mut running) = ([31, 32], Vec::new());
    for host in hosts {
        running.push(NodeExporter::start(host, port).await);
    }
    let prometheus = Real::start(&scraping(&hosts, port), &[]).await;
    let server = server(&prometheus.url, &Login::None);
    let crew = crew(&hosts);
    let queries = documented();
    assert_eq!(queries.len(), 3);
    let ask = |query: &String| asking(&server, "blog", query, None);
    let signals: Vec<_> = queries.iter().map(ask).collect();
    for signal in &signals {
        eventually(SOON, async || {
            let asked = now();
            let measured = signal.measure(&crew, asked).await;
            let fresh = |at: Time| at <= asked && asked.since(at) <= Span::secs(5);
            let good = |share: Share| share > Share::default();
            let mut samples = measured.samples.iter();
            measured.samples.len() == 2 && samples.all(|it| fresh(it.at) && good(it.busy))
        })
        .await;
    }
    running.remove(1).kill().await;
    // It takes Prometheus a scrape to see it. The rate goes on all the same, and no sample is made of it.
    eventually(SOON, async || {
        signals[0].measure(&crew, now()).await.samples.len() == 1
    })
    .await;
    let still = told_by(&prometheus.url, &queries[0]).await;
    assert!(still.contains("127.0.0.32"), "{still}");
    let measured = signals[0].measure(&crew, now()).await;
    assert_eq!(measured.samples.len(), 1);
    assert_eq!(measured.lacking[0].0, crew[1].instance);
    let why = measured.lacking[0].1.to_string();
    assert_eq!(why, "Prometheus could not scrape it the last time");
}

/// What Prometheus itself answers.
async fn told_by(url: &str, query: &str) -> String {
    let http = anteroom::telemetry::http_client()
        .no_proxy()
        .build()
        .unwrap();
    let request = http.post(format!("{url}/api/v1/query"));
    let answer = request.form(&[("query", query)]).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test]
async fn a_value_that_prometheus_only_repeats_is_as_old_as_it_is() {
    let port = free_port();
    let _exporter = NodeExporter::start(33, port).await;
    let prometheus = Real::start(&scraping(&[33], port), &[]).await;
    let server = server(&prometheus.url, &Login::None);
    // Prometheus looks back for five minutes: here each value is of thirty seconds ago, and said to be of now.
    let query = "100 * max by (instance) (up offset 30s)";
    let at = "timestamp(up offset 30s)";
    let signal = asking(&server, "blog", query, Some(at));
    eventually(Duration::from_secs(90), async || {
        let asked = now();
        let measured = signal.measure(&crew(&[33]), asked).await;
        let sample = measured.samples.first();
        sample.is_some_and(|sample| {
            let age = asked.since(sample.at);
            assert_eq!(sample.busy, Share::WHOLE);
            assert!(age >= Span::secs(30) && age <= Span::secs(36), "{age}");
            true
        })
    })
    .await;
    // A label-less mean is everybody's who was measured; a query that Prometheus refuses is told in its words.
    let mean = asking(&server, "blog", "scalar(avg(up) * 42)", None);
    let measured = mean.measure(&crew(&[33, 34]), now()).await;
    assert_eq!(
        measured.samples.len(),
        1,
        "nobody scrapes 127.0.0.34: {measured:?}"
    );
    assert_eq!(measured.samples[0].busy, Share::percent(42));
    let broken = asking(&server, "blog", "rate(up[", None);
    let why = why(&broken.measure(&crew(&[33]), now()).await);
    assert!(
        why.contains("answers 400, bad_data") && why.contains("parse error"),
        "{why}"
    );
}

#[tokio::test]
async fn a_prometheus_with_a_login_is_asked_with_it_and_shows_it_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let web = folder.path().join("web.yml");
    // bcrypt of "correct horse".
    let hash = "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
    std::fs::write(
        &web,
        format!("basic_auth_users: {{ anteroom: '{hash}' }}\n"),
    )
    .unwrap();
    let web = format!("--web.config.file={}", web.display());
    let prometheus = Real::start("scrape_configs: []\n", &[&web]).await;
    let login = |password: &str| Login::Basic("anteroom".to_owned(), password.to_owned());
    let at = Some("vector(time())");
    let good = server(&prometheus.url, &login("correct horse"));
    let signal = asking(&good, "blog", "vector(7)", at);
    // It asks for the login before it is ready to answer anything.
    eventually(Duration::from_secs(20), async || {
        let measured = signal.measure(&crew(&[35]), now()).await;
        let sample = measured.samples.first();
        sample.is_some_and(|sample| sample.busy == Share::percent(7))
    })
    .await;
    for login in [login("wrong"), Login::None] {
        let bad = server(&prometheus.url, &login);
        let signal = asking(&bad, "blog", "vector(7)", at);
        let why = why(&signal.measure(&crew(&[35]), now()).await);
        assert!(why.contains("it answers 401"), "{why}");
        assert!(!format!("{bad:?} {login:?} {why}").contains("wrong"));
    }
}

#[tokio::test]
async fn services_with_the_same_query_ask_once_and_a_token_is_sent() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let stand_in = StandIn::at(SocketAddr::from(([127, 0, 0, 1], 0)), move |_, head| {
        assert!(head.contains("POST /api/v1/query HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("\r\nauthorization: bearer s3cret\r\n"), "{head}");
        counted.fetch_add(1, Relaxed);
        let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1000,"60"]},"warnings":["slow"]}"#;
        Say::Keep(ok(body))
    })
    .await;
    let url = format!("http://{}", stand_in.address);
    let server = server(&url, &Login::Bearer("s3cret".to_owned()));
    let settings = |service: &str, interval| Settings {
        service: service.parse().unwrap(),
        query: "avg(load)".to_owned(),
        at: None,
        interval,
    };
    let long = Duration::from_secs(300);
    let signals: Vec<_> = (0..50)
        .map(|number| Prometheus::new(settings(&format!("s{number}"), long), Arc::clone(&server)))
        .collect();
    let crew = crew(&[36]);
    let all = signals
        .iter()
        .map(|signal| signal.measure(&crew, Time(5_000_000)));
    let all = futures_util::future::join_all(all).await;
    // The stand-in says 60 for both, so everything is of second 60.
    let ages = all.iter().map(|it| it.samples[0].at);
    assert!(
        ages.clone().all(|at| at <= Time(5_000_000 - 940_000)),
        "{ages:?}"
    );
    assert_eq!(
        asked.load(Relaxed),
        2,
        "once for the moments, once for the values"
    );
    signals[0].measure(&crew, Time(5_000_000)).await;
    assert_eq!(asked.load(Relaxed), 2);
}

#[tokio::test]
async fn a_prometheus_that_is_away_or_leads_elsewhere_gives_no_sample() {
    let nobody = server(&format!("http://127.0.0.1:{}", free_port()), &Login::None);
    let signal = asking(&nobody, "blog", "up", None);
    let measured = signal.measure(&crew(&[37, 38]), now()).await;
    assert_eq!(measured.lacking.len(), 2);
    assert!(
        matches!(&measured.lacking[0].1, Lack::NoAnswer(why) if why.contains("does not answer"))
    );
    let elsewhere =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let stand_in = StandIn::at(SocketAddr::from(([127, 0, 0, 1], 0)), move |_, _| {
        Say::Keep(elsewhere.to_owned())
    })
    .await;
    let moved = server(&format!("http://{}", stand_in.address), &Login::None);
    let signal = asking(&moved, "blog", "up", None);
    let why = why(&signal.measure(&crew(&[37]), now()).await);
    assert!(why.contains("it answers 302"), "{why}");
}
