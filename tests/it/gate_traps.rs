//! Traps and monitors: who opens what no honest visitor opens wakes nothing for a while, and who is known to look only
//! whether the service is well is told so.

use anteroom::driver::admission::{Taken, Wish};
use anteroom::engine::admit::Rule;
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::ignore;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::Phase;
use anteroom::http::{Limits, Site};

use crate::support::app::App;
use crate::support::house::House;
use crate::support::visitor::Answer;

const BROWSER: &str = "accept: text/html\r\n";
const SCRIPT: &str = "x-anteroom-page: 1\r\ncontent-type: application/x-www-form-urlencoded\r\n";

async fn get(house: &House, path: &str, lines: &str) -> Answer {
    let mut visitor = house.visitor().await;
    visitor.get(path, &format!("{BROWSER}{lines}")).await
}

/// Asks for the wake as this client.
async fn wake(house: &House, client: &str) -> u16 {
    let lines = format!("x-forwarded-for: {client}\r\n");
    let page = get(house, "/", &lines).await.body;
    let (_, after) = page.split_once("name=\"nonce\" value=\"").expect("a nonce");
    let nonce = after.split('"').next().unwrap_or_default();
    let mut visitor = house.visitor().await;
    let lines = format!("{SCRIPT}{lines}");
    let body = format!("nonce={nonce}");
    visitor.post("/__anteroom/wake", &lines, &body).await.status
}

#[tokio::test]
async fn whoever_opens_a_trap_wakes_nothing_for_an_hour_and_its_neighbours_neither() {
    for path in ["/.env", "/.git/config", "/.env?a=b"] {
        let mut house = House::asleep().await;
        let answer = get(&house, path, "x-forwarded-for: 203.0.113.9\r\n").await;
        assert_eq!(answer.status, 503, "it hears nothing of it");
        assert!(
            answer.body.contains("<title>Asleep: blog.test</title>"),
            "{}",
            answer.body
        );
        for client in ["203.0.113.9", "203.0.113.200"] {
            assert_eq!(wake(&house, client).await, 403, "{path} {client}");
        }
        assert!(house.is_left_alone());
        assert_eq!(wake(&house, "203.0.114.9").await, 202, "another network");
        let _ = house.trigger().await;
        house.later(Span::mins(61));
        assert_eq!(wake(&house, "203.0.113.9").await, 202, "it is over");
    }
}

#[tokio::test]
async fn the_way_into_the_trap_does_not_matter() {
    for request in [
        "HEAD /.env HTTP/1.1\r\nhost: blog.test\r\nx-forwarded-for: 203.0.113.9\r\n\r\n",
        "GET /.env HTTP/1.1\r\nhost: blog.test\r\nx-forwarded-for: 203.0.113.9\r\nsec-fetch-site: none\r\n\r\n",
        "GET http://blog.test/.env HTTP/1.1\r\nhost: blog.test\r\nx-forwarded-for: 203.0.113.9\r\n\r\n",
        "POST /.env HTTP/1.1\r\nhost: blog.test\r\nx-forwarded-for: 203.0.113.9\r\ncontent-length: 0\r\n\r\n",
        "GET /.git/ HTTP/1.1\r\nhost: blog.test\r\nx-forwarded-for: 203.0.113.9\r\nuser-agent: zgrab\r\n\r\n",
    ] {
        let house = House::asleep().await;
        let mut visitor = house.visitor().await;
        visitor.send(request).await;
        assert_eq!(visitor.head().await.status, 503, "{request}");
        assert_eq!(wake(&house, "203.0.113.9").await, 403, "{request}");
    }
}

#[tokio::test]
async fn nobody_is_caught_who_was_led_there_or_stands_for_others() {
    for (path, lines) in [
        (
            "/.env",
            "x-forwarded-for: 203.0.113.9\r\nsec-fetch-site: cross-site\r\n",
        ),
        (
            "/.env",
            "x-forwarded-for: 203.0.113.9\r\nsec-fetch-site: same-origin\r\n",
        ),
        ("/.env.txt", "x-forwarded-for: 203.0.113.9\r\n"),
        ("/.git", "x-forwarded-for: 203.0.113.9\r\n"),
        // The proxy lost its chain: all its visitors would be caught.
        ("/.env", ""),
        ("/.env", "x-forwarded-for: nonsense\r\n"),
    ] {
        let mut house = House::asleep().await;
        assert_eq!(get(&house, path, lines).await.status, 503);
        for client in ["203.0.113.9", "127.0.0.1"] {
            assert_eq!(wake(&house, client).await, 202, "{path} {lines} {client}");
            let _ = house.trigger().await;
        }
    }
}

#[tokio::test]
async fn the_neighbours_of_a_trusted_proxy_are_not_caught() {
    let house = House::asleep().await;
    let trusted = ["127.0.0.1/32", "203.0.113.1/32"].map(|net| net.parse().unwrap());
    house.room.set_trusted_proxies(trusted.into());
    get(&house, "/.env", "x-forwarded-for: 203.0.113.9\r\n").await;
    assert_eq!(wake(&house, "203.0.113.9").await, 202);
}

#[tokio::test]
async fn an_awake_service_catches_nobody() {
    let app = App::echo().await;
    let mut house = House::awake(app.address).await;
    let answer = get(&house, "/.env", "x-forwarded-for: 203.0.113.9\r\n").await;
    assert_eq!(answer.header("x-anteroom"), "", "the app's own");
    house.edge.lead_to(&[]);
    house.show(|view| {
        view.phase = Phase::Asleep;
        view.upstreams.clear();
    });
    assert_eq!(wake(&house, "203.0.113.9").await, 202);
    let _ = house.trigger().await;
}

#[tokio::test]
async fn whoever_is_caught_may_visit_what_is_awake() {
    let app = App::echo().await;
    let house = House::asleep().await;
    let scanner = "x-forwarded-for: 203.0.113.9\r\n";
    get(&house, "/.env", scanner).await;
    house.wake(app.address);
    let answer = get(&house, "/", scanner).await;
    assert_eq!((answer.status, answer.header("x-anteroom")), (200, ""));
}

#[tokio::test]
async fn a_scan_from_everywhere_costs_a_bound() {
    let house = House::asleep().await;
    let blog = "blog".parse().unwrap();
    let now = Time(house.clock.load(std::sync::atomic::Ordering::SeqCst));
    for number in 0..10_000u32 {
        let network = format!("10.{}.{}.0/24", number / 256, number % 256);
        let network = network.parse().unwrap();
        let address: ipnet::IpNet = network;
        let wish = Wish {
            address: address.addr(),
            nonce: None,
            by: TriggerBy::Request,
            path: "/.env",
            agent: "",
        };
        let length = Span::mins(60);
        house
            .admission
            .catch(&blog, network, now, length, wish)
            .await;
    }
    let (handle, _inbox) = anteroom::driver::handle::door(
        crate::support::house::view(Phase::Asleep),
        anteroom::signal::edge::Edge::new(),
    );
    for (client, refused) in [("10.39.15.9", true), ("10.0.0.9", false)] {
        let wish = Wish {
            address: client.parse().unwrap(),
            nonce: None,
            by: TriggerBy::Page,
            path: "/",
            agent: "",
        };
        let rules = anteroom::engine::admit::Rules::default();
        let asked = house.admission.ask(&handle, &rules, now, wish).await;
        match asked {
            Ok(taken) => assert!(!refused && taken == Taken::Woke, "{client}"),
            Err(refusal) => assert!(refused && refusal.rule == Rule::Banned, "{client}"),
        }
    }
}

fn monitors(site: &mut Site) {
    site.ignore = vec![
        ignore::Rule {
            agent: Some("pinger".into()),
            networks: vec!["203.0.113.0/24".parse().unwrap()],
            told_well: true,
        },
        ignore::Rule::by_agent("watcher".into()),
    ];
    site.wake_by = anteroom::config::WakeBy::Request;
}

#[tokio::test]
async fn a_monitor_that_is_known_is_told_200_and_wakes_nothing() {
    let mut house = House::with(Limits::default(), monitors).await;
    let known = "x-forwarded-for: 203.0.113.9\r\nuser-agent: Pinger/2\r\n";
    for phase in [Phase::Asleep, Phase::Waking, Phase::Stopping] {
        house.show(|view| view.phase = phase);
        let answer = get(&house, "/", known).await;
        assert_eq!(
            (answer.status, &*answer.body),
            (200, "asleep\n"),
            "{phase:?}"
        );
        assert_eq!(answer.header("x-anteroom"), phase.as_str());
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    house.show(|view| view.phase = Phase::Asleep);
    let mut visitor = house.visitor().await;
    visitor
        .send(&format!(
            "HEAD / HTTP/1.1\r\nhost: blog.test\r\n{known}\r\n"
        ))
        .await;
    assert_eq!(visitor.head().await.status, 200);
    for (lines, status) in [
        // Who only says so, and who only comes from there.
        (
            "x-forwarded-for: 198.51.100.1\r\nuser-agent: Watcher/2\r\n",
            503,
        ),
        (
            "x-forwarded-for: 203.0.113.9\r\nuser-agent: Watcher\r\n",
            503,
        ),
    ] {
        assert_eq!(get(&house, "/", lines).await.status, status, "{lines}");
    }
    let mut visitor = house.visitor().await;
    assert_eq!(
        visitor.post("/", known, "").await.status,
        503,
        "a POST is no look"
    );
    assert!(house.is_left_alone());
    house.show(|view| view.phase = Phase::Failed);
    let answer = get(&house, "/", known).await;
    assert_eq!(answer.status, 503, "what failed is not well");
    for lines in [
        "x-forwarded-for: 198.51.100.1\r\nuser-agent: Pinger/2\r\n",
        "x-forwarded-for: 203.0.113.9\r\nuser-agent: Mozilla/5.0\r\n",
    ] {
        assert_eq!(get(&house, "/", lines).await.status, 503, "{lines}");
        assert_eq!(house.trigger().await.by, TriggerBy::Request, "as everybody");
    }
}

#[tokio::test]
async fn a_monitor_reaches_an_awake_app_and_does_not_keep_it_awake() {
    let app = App::echo().await;
    let house = House::with(Limits::default(), monitors).await;
    house.wake(app.address);
    let known = "x-forwarded-for: 203.0.113.9\r\nuser-agent: Pinger/2\r\n";
    let answer = get(&house, "/", known).await;
    assert_eq!((answer.status, answer.header("x-anteroom")), (200, ""));
    house.empties().await;
    assert!(!house.edge.sample().used);
}
