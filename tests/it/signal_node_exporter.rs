//! Load from node_exporters: the real one, and stand-ins that answer badly.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::load::Share;
use anteroom::engine::time::Time;
use anteroom::engine::traffic::Upstream;
use anteroom::signal::load::node_exporter::{NodeExporter, Of, Settings};
use anteroom::signal::load::{Lack, LoadSignal, Measured};

use crate::support::exporter::{Burning, NodeExporter as Real, Say, StandIn, ok};
use crate::support::ports::free_port;
use crate::support::wait::eventually;

const SOON: Duration = Duration::from_secs(20);
const NOW: Time = Time(1_795_248_000_000);

/// Instances at 127.0.0.`hosts`: the seed first, then clones.
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

fn signal(port: u16, of: Of, interval: Duration) -> NodeExporter {
    NodeExporter::new(Settings {
        service: "blog".parse().unwrap(),
        port,
        path: "/metrics".to_owned(),
        of,
        interval,
    })
    .unwrap()
}

fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), port))
}

/// One idle processor that has run for so many seconds; the time of the test is real.
fn idle(seconds: f64) -> String {
    format!("node_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} {seconds}\n")
}

fn why(measured: &Measured) -> String {
    assert_eq!(measured.samples, []);
    let (_, why) = measured.lacking.first().expect("it is told of");
    why.to_string()
}

#[tokio::test]
async fn real_exporters_tell_of_a_full_machine_and_the_dead_one_of_nothing() {
    let port = free_port();
    let hosts = [11, 12, 13];
    let mut running = Vec::new();
    for host in hosts {
        running.push(Real::start(host, port).await);
    }
    let (crew, signal) = (crew(&hosts), signal(port, Of::Both, Duration::from_secs(1)));
    let first = signal.measure(&crew, NOW).await;
    assert_eq!(first.samples, [], "a rate needs two readings");
    assert!(first.lacking.iter().all(|(_, why)| *why == Lack::First));
    assert_eq!(first.lacking.len(), 3);
    let _burning = Burning::all();
    let full = Share::percent(95);
    eventually(SOON, async || {
        let measured = signal.measure(&crew, NOW).await;
        let all = measured.samples.len() == 3 && measured.samples.iter().all(|it| it.at == NOW);
        all && measured.samples.iter().all(|it| it.busy >= full)
    })
    .await;
    running.remove(1).kill().await;
    let last = std::cell::RefCell::new(Measured::default());
    eventually(SOON, async || {
        let measured = signal.measure(&crew, NOW).await;
        let two = measured.samples.len() == 2;
        last.replace(measured);
        two
    })
    .await;
    let measured = last.into_inner();
    assert_eq!(measured.lacking.len(), 1, "{measured:?}");
    assert_eq!(measured.lacking[0].0, crew[1].instance);
    assert!(matches!(&measured.lacking[0].1, Lack::NoAnswer(why) if why.contains("connect")));
    assert!(
        measured
            .samples
            .iter()
            .all(|it| it.instance != crew[1].instance)
    );
    // It is back: another process, the same machine.
    running.push(Real::start(12, port).await);
    eventually(SOON, async || {
        let measured = signal.measure(&crew, NOW).await;
        let mut samples = measured.samples.iter();
        samples.any(|it| it.instance == crew[1].instance)
    })
    .await;
}

#[tokio::test]
async fn a_real_exporter_is_asked_for_memory_alone() {
    let port = free_port();
    let _exporter = Real::start(14, port).await;
    let signal = signal(port, Of::Memory, Duration::from_secs(1));
    let measured = signal.measure(&crew(&[14]), NOW).await;
    assert_eq!(
        measured.samples.len(),
        1,
        "one reading is enough: {measured:?}"
    );
    let busy = measured.samples[0].busy;
    assert!(busy > Share::default() && busy < Share::WHOLE, "{busy:?}");
}

#[tokio::test]
async fn one_connection_serves_all_questions_and_only_what_is_needed_is_asked() {
    let began = std::time::Instant::now();
    let exporter = StandIn::at(at(15, 0), move |_, head| {
        assert!(
            head.starts_with("GET /metrics?collect[]=cpu HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(!head.to_lowercase().contains("accept-encoding"));
        Say::Keep(ok(&idle(1000.0 + began.elapsed().as_secs_f64())))
    })
    .await;
    let signal = signal(exporter.address.port(), Of::Cpu, Duration::from_secs(1));
    let crew = crew(&[15]);
    eventually(SOON, async || {
        let measured = signal.measure(&crew, NOW).await;
        measured
            .samples
            .iter()
            .any(|it| it.busy == Share::default())
    })
    .await;
    let at_once = signal.measure(&crew, NOW).await;
    assert_eq!(at_once.lacking, [(crew[0].instance, Lack::Soon)]);
    for _ in 0..3 {
        eventually(SOON, async || {
            signal.measure(&crew, NOW).await.samples.len() == 1
        })
        .await;
    }
    assert_eq!(exporter.connections.load(Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    let exporter = StandIn::at(at(16, 0), |_, _| {
        let memory = "node_memory_MemTotal_bytes 100\nnode_memory_MemAvailable_bytes 40\n";
        Say::Close(ok(memory))
    })
    .await;
    let signal = signal(exporter.address.port(), Of::Memory, Duration::from_secs(15));
    let crew = crew(&[16]);
    for asked in 1..=3 {
        let measured = signal.measure(&crew, NOW).await;
        assert_eq!(measured.samples.len(), 1, "{measured:?}");
        assert_eq!(measured.samples[0].busy, Share::percent(60));
        assert_eq!(exporter.connections.load(Relaxed), asked);
    }
}

#[tokio::test]
async fn an_exporter_that_hangs_costs_its_own_sample_alone() {
    let port = free_port();
    let memory = "node_memory_MemTotal_bytes 100\nnode_memory_MemAvailable_bytes 40\n";
    let _hangs = StandIn::at(at(17, port), |_, _| Say::Hang).await;
    let _good = StandIn::at(at(18, port), move |_, _| Say::Keep(ok(memory))).await;
    let signal = signal(port, Of::Memory, Duration::from_secs(1));
    let crew = crew(&[17, 18]);
    let began = std::time::Instant::now();
    let measured = signal.measure(&crew, NOW).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it has a deadline"
    );
    let told: Vec<_> = measured.samples.iter().map(|it| it.instance).collect();
    assert_eq!(told, [crew[1].instance]);
    assert!(
        measured.lacking[0]
            .1
            .to_string()
            .contains("no answer within 1s"),
        "{measured:?}"
    );
}

#[tokio::test]
async fn bad_answers_give_no_sample_and_say_why() {
    let redirect =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n{}",
        "#\n".repeat(4_500_000)
    );
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnode_memory_MemTotal_bytes 1";
    for (answer, expected) in [
        (redirect.to_owned(), "answers 302"),
        (
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "answers 503",
        ),
        (long, "longer than"),
        (cut.to_owned(), "does not answer"),
        ("SSH-2.0-OpenSSH_9\r\n".to_owned(), "does not answer"),
        (ok("up 1\n"), "have no node_memory_MemTotal_bytes"),
        (ok("node_memory_MemTotal_bytes x\n"), "can't be read"),
    ] {
        let exporter = StandIn::at(at(19, 0), move |_, _| Say::Close(answer.clone())).await;
        let signal = signal(exporter.address.port(), Of::Memory, Duration::from_secs(15));
        let why = why(&signal.measure(&crew(&[19]), NOW).await);
        assert!(why.contains(expected), "{expected}: {why}");
    }
}

#[tokio::test]
async fn a_machine_that_began_anew_has_no_sample_until_it_was_read_twice() {
    let began = std::time::Instant::now();
    let exporter = StandIn::at(at(20, 0), move |number, _| {
        let uptime = if number < 3 { 50_000.0 } else { 30.0 };
        Say::Keep(ok(&idle(uptime + began.elapsed().as_secs_f64())))
    })
    .await;
    let signal = signal(exporter.address.port(), Of::Cpu, Duration::from_secs(1));
    let crew = crew(&[20]);
    let mut told = Vec::new();
    for number in 0..5 {
        // A quarter of the interval must pass between two readings.
        let next = began + Duration::from_millis(300 * (number + 1));
        eventually(SOON, async || std::time::Instant::now() > next).await;
        let measured = signal.measure(&crew, NOW).await;
        told.push(measured.lacking.first().map(|(_, why)| why.clone()));
    }
    assert_eq!(
        told,
        [Some(Lack::First), None, None, Some(Lack::Broken), None]
    );
}

#[tokio::test]
async fn a_clone_that_took_the_place_of_another_is_not_compared_with_it() {
    let began = std::time::Instant::now();
    let exporter = StandIn::at(at(21, 0), move |_, _| {
        Say::Keep(ok(&idle(100.0 + began.elapsed().as_secs_f64())))
    })
    .await;
    let signal = signal(exporter.address.port(), Of::Cpu, Duration::from_secs(15));
    let one = crew(&[21]);
    eventually(SOON, async || {
        signal.measure(&one, NOW).await.samples.len() == 1
    })
    .await;
    let clone = CloneId::new(1, 1_795_000_000).unwrap();
    let other = [Upstream {
        instance: InstanceId::Clone(clone),
        ..one[0]
    }];
    let measured = signal.measure(&other, NOW).await;
    assert_eq!(measured.lacking, [(other[0].instance, Lack::First)]);
    // The first one was forgotten with the connection to it.
    assert_eq!(
        signal.measure(&one, NOW).await.lacking,
        [(one[0].instance, Lack::First)]
    );
}
