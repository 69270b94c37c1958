//! The front answers what comes in thousands, and hyper the rest; nobody can tell which of them it was.
//!
//! Here they can be told apart by the date: the front takes the room's clock, which stands in 1970 in these tests.

use anteroom::engine::ignore::Rule;
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::gate::Nonce;

use crate::support::house::{House, limits};
use crate::support::visitor::{Answer, Visitor, soon, unpacked};

const HTML: &str = "accept: text/html,*/*;q=0.8\r\n";

fn by_front(answer: &Answer) -> bool {
    answer.header("date").contains("1970")
}

/// Everything but the date and the nonces, of which each answer has its own.
fn told(answer: &Answer) -> (u16, Vec<String>, String) {
    let lines = answer.head.lines().map(str::to_ascii_lowercase);
    let lines = lines.filter(|line| !line.starts_with("date:"));
    let body = nonces(&answer.body).into_iter();
    let body = body.fold(answer.body.clone(), |body, nonce| body.replace(nonce, ""));
    (answer.status, lines.collect(), body)
}

/// The nonces in a body.
fn nonces(body: &str) -> Vec<&str> {
    let starts = body.match_indices("v2.").map(|(start, _)| start);
    let texts = starts.filter_map(|start| body.get(start..start + Nonce::LENGTH));
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    texts.filter(|text| text.bytes().all(plain)).collect()
}

async fn ask(visitor: &mut Visitor, host: &str, path: &str, lines: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n");
    visitor.send(&head).await;
    visitor.answer().await
}

/// A connection that hyper has.
async fn hypers(house: &House) -> Visitor {
    let mut visitor = house.visitor().await;
    visitor
        .send("HEAD / HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    assert_eq!(visitor.head().await.status, 503);
    visitor
}

#[tokio::test]
async fn both_give_the_same_answer() {
    let house = House::with(limits(), |site| {
        site.ignore = vec![Rule::by_agent("uptime".into())]
    })
    .await;
    let long = format!("cookie: {}\r\n", "a".repeat(6_000));
    let many = "x-a: b\r\n".repeat(70);
    // What, and whether the front answers it.
    let corpus = [
        ("blog.test", "/", "", true),
        ("blog.test", "/", HTML, true),
        ("BLOG.test:8080", "/a/b?c=%20d&e=/f", HTML, true),
        ("www.blog.test.", "/", HTML, true),
        ("blog.test", "/", "connection: keep-alive\r\n", true),
        ("blog.test", "/", "x-forwarded-for: 198.51.100.7\r\n", true),
        ("blog.test", "/", "user-agent: Uptime/1\r\n", true),
        ("blog.test", "/", &long, true),
        (
            "other.test",
            "/",
            "x-anteroom-service: blog\r\nx-anteroom-key: secret\r\n",
            true,
        ),
        (
            "other.test",
            "/",
            "x-anteroom-service: blog\r\nx-anteroom-key: wrong\r\n",
            false,
        ),
        ("other.test", "/", HTML, false),
        ("", "/", HTML, false),
        ("blog.test", "/", &many, false),
        ("blog.test", "/", "accept: application/json\r\n", false),
        ("blog.test", "/", "sec-fetch-dest: image\r\n", false),
        ("blog.test", "/", "sec-purpose: prefetch\r\n", false),
        ("blog.test", "/", "accept: text/event-stream\r\n", false),
        ("blog.test", "/__anteroom/ping", "", true),
        ("blog.test", "/__anteroom/nothing", "", true),
        ("blog.test", "/__anteroom/status", "", true),
        ("blog.test", "/__anteroom/wake", "", true),
        ("other.test", "/__anteroom/ping", "", true),
        (
            "blog.test",
            "/__anteroom/ping",
            "connection: close\r\n",
            false,
        ),
        ("blog.test", "/__anteroom/error?status=502", HTML, true),
    ];
    for phase in [Phase::Asleep, Phase::Waking, Phase::Stopping, Phase::Failed] {
        house.show(|view| view.phase = phase);
        for (host, path, lines, front) in corpus {
            let mut fresh = house.visitor().await;
            let at_front = ask(&mut fresh, host, path, lines).await;
            let at_hyper = ask(&mut hypers(&house).await, host, path, lines).await;
            let what = format!("{phase:?} {host} {path} {lines}");
            assert_eq!(by_front(&at_front), front, "{what}");
            assert!(!by_front(&at_hyper), "{what}");
            assert_eq!(told(&at_front), told(&at_hyper), "{what}");
        }
    }
}

#[tokio::test]
async fn a_head_in_two_pieces_and_two_requests_at_once_are_answered() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    visitor.send("GET / HTTP/1.1\r\nho").await;
    visitor.send("st: blog.test\r\n\r\n").await;
    assert_eq!(visitor.answer().await.status, 503);

    let mut visitor = house.visitor().await;
    let twice = "GET / HTTP/1.1\r\nhost: blog.test\r\n\r\n".repeat(2);
    visitor.send(&twice).await;
    for _ in 0..2 {
        assert_eq!(visitor.answer().await.status, 503);
    }
}

#[tokio::test]
async fn one_connection_gets_pages_events_and_what_hyper_answers() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    for _ in 0..3 {
        assert!(by_front(&visitor.get("/", HTML).await));
    }
    visitor
        .send("GET /__anteroom/events HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    let head = visitor.head().await;
    assert!(by_front(&head));
    let mut other = hypers(&house).await;
    other
        .send("GET /__anteroom/events HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    assert_eq!(told(&head), told(&other.head().await));
    assert_eq!(visitor.chunk().await, other.chunk().await);
    house.show(|view| view.phase = Phase::Waking);
    let event = visitor.chunk().await;
    assert!(event.contains("\"waking\""), "{event}");
    assert_eq!(event, other.chunk().await);
    let mut visitor = house.visitor().await;
    assert!(by_front(&visitor.get("/", HTML).await));
    let ping = visitor.get("/__anteroom/ping", "").await;
    assert_eq!((ping.status, by_front(&ping)), (200, true));
    let script = visitor.get("/", "accept: application/json\r\n").await;
    assert_eq!((script.status, by_front(&script)), (503, false));
    let ping = visitor.get("/__anteroom/ping", "").await;
    assert_eq!((ping.status, by_front(&ping)), (200, false));
}

#[tokio::test]
async fn the_page_is_made_anew_when_the_service_or_the_minute_changes() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let first = visitor.get("/", HTML).await;
    assert_eq!(told(&first), told(&visitor.get("/", HTML).await));
    house.later(Span::mins(1));
    let later = visitor.get("/", HTML).await;
    // It names the minute in which it was made.
    let (status, lines, body) = told(&first);
    let body = body.replace("00:16:00 UTC", "00:17:00 UTC");
    assert_eq!((status, lines, body), told(&later));
    assert_ne!(first.header("date"), later.header("date"));
    house.show(|view| view.phase = Phase::Waking);
    let waking = visitor.get("/", HTML).await;
    assert_eq!(waking.header("x-anteroom"), "waking");
}

#[tokio::test]
async fn both_speak_the_visitors_language_and_compress_for_those_who_take_it() {
    let house = House::asleep().await;
    for (lines, lang, heading, packed) in [
        (
            "accept-language: id-ID,id;q=0.9,en;q=0.8\r\n",
            "id",
            "<title>Tidur: blog.test</title>",
            false,
        ),
        (
            "accept-language: tlh\r\naccept-encoding: br\r\n",
            "en",
            "<title>Asleep: blog.test</title>",
            false,
        ),
        (
            "accept-language: zh-TW,zh;q=0.9\r\naccept-encoding: gzip, deflate, br\r\n",
            "zh-Hant",
            "",
            true,
        ),
        (
            "accept-language: he\r\naccept-encoding: gzip;q=0, *;q=0.5\r\n",
            "he",
            "",
            false,
        ),
        (
            "accept-encoding: gzip\r\n",
            "en",
            "<title>Asleep: blog.test</title>",
            true,
        ),
    ] {
        let lines = format!("{HTML}{lines}");
        let mut visitor = house.visitor().await;
        let head = format!("GET / HTTP/1.1\r\nhost: blog.test\r\n{lines}\r\n");
        visitor.send(&head).await;
        let (front, front_body) = visitor.bytes().await;
        let mut visitor = hypers(&house).await;
        visitor.send(&head).await;
        let (hyper, hyper_body) = visitor.bytes().await;
        assert!(by_front(&front) && !by_front(&hyper), "{lines}");
        assert_eq!(told(&front), told(&hyper), "{lines}");
        assert_eq!(front.header("content-language"), lang, "{lines}");
        assert_eq!(
            front.header("vary").to_lowercase(),
            "accept, accept-encoding, accept-language, sec-fetch-mode, sec-fetch-dest"
        );
        let coding = if packed { "gzip" } else { "" };
        for (answer, body) in [(front, front_body), (hyper, hyper_body)] {
            assert_eq!(answer.header("content-encoding"), coding, "{lines}");
            let text = match packed {
                true => unpacked(&body),
                false => String::from_utf8(body).unwrap(),
            };
            assert!(
                text.contains(&format!("<html lang=\"{lang}\"")) && text.contains(heading),
                "{text}"
            );
            assert_eq!(nonces(&text).len(), 1);
        }
        // A HEAD says what a GET would have said.
        visitor.send(&head.replace("GET /", "HEAD /")).await;
        let asked = visitor.head().await;
        for name in [
            "content-encoding",
            "content-language",
            "vary",
            "content-length",
        ] {
            assert_eq!(
                asked.header(name),
                hyper_line(&house, &head, name).await,
                "{name} {lines}"
            );
        }
    }
}

async fn hyper_line(house: &House, head: &str, name: &str) -> String {
    let mut visitor = hypers(house).await;
    visitor.send(head).await;
    visitor.bytes().await.0.header(name).to_owned()
}

#[tokio::test]
async fn every_page_has_one_nonce_and_no_other_page_has_it() {
    let house = House::asleep().await;
    let (mut visitor, mut other) = (house.visitor().await, hypers(&house).await);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        for answer in [visitor.get("/", HTML).await, other.get("/", HTML).await] {
            let nonces = nonces(&answer.body);
            assert_eq!(nonces.len(), 1, "{}", answer.body);
            assert!(seen.insert(nonces[0].to_owned()), "{} twice", nonces[0]);
        }
    }
}

#[tokio::test]
async fn at_the_end_streams_end_and_idle_connections_close() {
    let house = House::asleep().await;
    let mut idle = house.visitor().await;
    assert!(by_front(&idle.get("/", HTML).await));
    let mut listening = house.visitor().await;
    listening
        .send("GET /__anteroom/events HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    listening.head().await;
    listening.chunk().await;
    house.shutdown.cancel();
    assert_eq!(listening.chunk().await, "", "a proper end");
    assert_eq!(listening.rest().await, "");
    assert_eq!(idle.rest().await, "");
    soon(house.serving).await.unwrap();
}

#[tokio::test]
async fn a_listener_that_leaves_or_talks_gives_its_place_back() {
    let few = anteroom::http::Limits {
        connections_max: 1,
        ..Default::default()
    };
    let house = House::with(few, |_| {}).await;
    for last_words in ["", "GET / HTTP/1.1\r\n"] {
        let mut listening = house.visitor().await;
        listening
            .send("GET /__anteroom/events HTTP/1.1\r\nhost: blog.test\r\n\r\n")
            .await;
        listening.head().await;
        listening.chunk().await;
        listening.send(last_words).await;
        if last_words.is_empty() {
            drop(listening);
        } else {
            assert_eq!(listening.rest().await, "");
        }
        assert_eq!(house.visitor().await.get("/", HTML).await.status, 503);
    }
}

#[tokio::test]
async fn both_take_a_wake_and_refuse_one_alike() {
    let house = House::asleep().await;
    let script = "x-anteroom-page: 1\r\naccept: application/json\r\n";
    let form = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    let evil = "x-anteroom-page: 1\r\norigin: https://evil.test\r\n";
    let long = "a".repeat(5_000);
    for (lines, body) in [
        (script, "nonce=stale"),
        (script, ""),
        (script, "{\"nonce\":1}"),
        (form, "nonce=stale"),
        (evil, "nonce=stale"),
        (script, &long),
    ] {
        let mut fresh = house.visitor().await;
        let at_front = fresh.post("/__anteroom/wake", lines, body).await;
        let mut other = hypers(&house).await;
        let at_hyper = other.post("/__anteroom/wake", lines, body).await;
        assert!(by_front(&at_front) && !by_front(&at_hyper), "{lines}");
        assert_eq!(told(&at_front), told(&at_hyper), "{lines}");
        if at_front.header("connection") == "close" {
            assert_eq!((fresh.rest().await, other.rest().await), Default::default());
        } else {
            assert!(by_front(&fresh.get("/", HTML).await), "it goes on");
        }
    }
}

#[tokio::test]
async fn a_body_that_comes_after_its_head_is_waited_for() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let head = "POST /__anteroom/wake HTTP/1.1\r\nhost: blog.test\r\nx-anteroom-page: 1\r\n";
    visitor
        .send(&format!("{head}content-length: 7\r\n\r\n"))
        .await;
    visitor.send("nonce=x").await;
    assert_eq!(visitor.answer().await.status, 409);
}
