//! What a visitor of a sleeping service gets.

use anteroom::config::WakeBy;
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::view::Phase;
use anteroom::http::Limits;

use crate::support::app::App;
use crate::support::house::House;
use crate::support::visitor::soon;

const BROWSER: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

#[tokio::test]
async fn every_kind_of_request_gets_its_own_answer() {
    let mut house = House::asleep().await;
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    for (method, lines, status, kind, empty) in [
        (
            "GET",
            BROWSER.to_owned(),
            503,
            "text/html; charset=utf-8",
            false,
        ),
        ("GET", String::new(), 503, "text/html; charset=utf-8", false),
        (
            "GET",
            "accept: application/json\r\n".into(),
            503,
            "application/problem+json",
            false,
        ),
        (
            "GET",
            "accept: */*\r\nsec-fetch-mode: cors\r\nsec-fetch-dest: empty\r\n".into(),
            503,
            "application/problem+json",
            false,
        ),
        (
            "GET",
            "accept: */*\r\nsec-fetch-mode: no-cors\r\nsec-fetch-dest: script\r\n".into(),
            503,
            "",
            true,
        ),
        (
            "GET",
            "accept: image/avif,image/webp,*/*\r\nsec-fetch-dest: image\r\n".into(),
            503,
            "",
            true,
        ),
        ("GET", "accept: text/event-stream\r\n".into(), 503, "", true),
        (
            "GET",
            format!("{BROWSER}sec-purpose: prefetch;prerender\r\n"),
            503,
            "",
            true,
        ),
        (
            "GET",
            "connection: upgrade\r\nupgrade: websocket\r\n".into(),
            503,
            "",
            true,
        ),
        (
            "OPTIONS",
            "origin: https://other.test\r\naccess-control-request-method: PUT\r\n".into(),
            503,
            "",
            true,
        ),
        (
            "POST",
            format!("{BROWSER}{form}"),
            503,
            "text/html; charset=utf-8",
            false,
        ),
        (
            "POST",
            "accept: */*\r\ncontent-type: application/json\r\n".into(),
            503,
            "application/problem+json",
            false,
        ),
        (
            "DELETE",
            String::new(),
            503,
            "application/problem+json",
            false,
        ),
        (
            "POST",
            "content-type: application/grpc\r\n".into(),
            200,
            "application/grpc",
            true,
        ),
    ] {
        let mut visitor = house.visitor().await;
        visitor
            .send(&format!(
                "{method} / HTTP/1.1\r\nhost: blog.test\r\n{lines}\r\n"
            ))
            .await;
        let answer = visitor.answer().await;
        let case = format!("{method} {lines}: {answer:?}");
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.header("content-type"), kind, "{case}");
        assert_eq!(answer.body.is_empty(), empty, "{case}");
        assert_eq!(answer.header("x-anteroom"), "asleep", "{case}");
        assert_eq!(answer.header("cache-control"), "no-store", "{case}");
        assert_eq!(answer.header("x-robots-tag"), "noindex", "{case}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{case}");
        match status {
            503 => assert!(
                answer.header("retry-after").parse::<u32>().unwrap() > 0,
                "{case}"
            ),
            _ => assert_eq!(answer.header("grpc-status"), "14", "{case}"),
        }
    }
    assert!(house.is_left_alone(), "none of them wakes the service");
}

#[tokio::test]
async fn head_is_headers_only_and_the_connection_goes_on() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    visitor
        .send("HEAD / HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    let head = visitor.head().await;
    assert_eq!(head.status, 503);
    assert_eq!(head.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(visitor.get("/", BROWSER).await.status, 503);
}

#[tokio::test]
async fn an_unknown_host_gets_a_plain_404_and_wakes_nothing() {
    let mut house = House::with(Limits::default(), |site| site.wake_by = WakeBy::Request).await;
    for host in [
        "other.test",
        "blog.test.evil.test",
        "blog.test@evil.test",
        "",
        "blog.test:x",
    ] {
        let mut visitor = house.visitor().await;
        visitor
            .send(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n{BROWSER}\r\n"))
            .await;
        let answer = visitor.answer().await;
        assert_eq!(answer.status, 404, "{host}");
        assert_eq!(answer.header("x-anteroom"), "unknown");
    }
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_host_is_the_same_in_capitals_with_port_and_with_a_dot() {
    let house = House::asleep().await;
    for host in [
        "BLOG.test",
        "blog.test:8080",
        "blog.test.",
        "www.Blog.test.:80",
    ] {
        let mut visitor = house.visitor().await;
        visitor
            .send(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .await;
        assert_eq!(visitor.answer().await.status, 503, "{host}");
    }
    let mut visitor = house.visitor().await;
    visitor
        .send("GET http://blog.test/a HTTP/1.1\r\nhost: other.test\r\n\r\n")
        .await;
    assert_eq!(visitor.answer().await.status, 503, "an absolute URI wins");
}

#[tokio::test]
async fn a_service_is_known_by_name_only_with_its_key() {
    let house = House::asleep().await;
    for (lines, status) in [
        (
            "x-anteroom-service: blog\r\nx-anteroom-key: secret\r\n",
            503,
        ),
        ("x-anteroom-service: blog\r\nx-anteroom-key: guess\r\n", 404),
        ("x-anteroom-service: blog\r\n", 404),
        (
            "x-anteroom-service: shop\r\nx-anteroom-key: secret\r\n",
            404,
        ),
    ] {
        let mut visitor = house.visitor().await;
        visitor
            .send(&format!("GET / HTTP/1.1\r\nhost: any.test\r\n{lines}\r\n"))
            .await;
        assert_eq!(visitor.answer().await.status, status, "{lines}");
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read_while_the_service_sleeps() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    visitor
        .send("POST / HTTP/1.1\r\nhost: blog.test\r\ncontent-length: 1000000000000\r\n\r\n")
        .await;
    let answer = visitor.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("not sent"), "{}", answer.body);
    assert_eq!(visitor.rest().await, "", "the connection is closed");
}

#[tokio::test]
async fn where_a_request_is_enough_a_navigation_wakes() {
    let mut house = House::with(Limits::default(), |site| site.wake_by = WakeBy::Request).await;
    let mut visitor = house.visitor().await;
    let lines = format!("{BROWSER}x-forwarded-for: 6.6.6.6, 198.51.100.7\r\n");
    assert_eq!(visitor.get("/a?token=1", &lines).await.status, 503);
    let trigger = house.trigger().await;
    assert_eq!(trigger.by, TriggerBy::Request);
    assert_eq!(trigger.who, "198.51.100.0/24");
    assert_eq!(trigger.path, "/a");
    let _ = visitor.get("/", "purpose: prefetch\r\n").await;
    let _ = visitor.get("/a.css", "sec-fetch-dest: style\r\n").await;
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_denied_client_is_told_so_and_wakes_nothing() {
    let mut house = House::with(Limits::default(), |site| {
        site.wake_by = WakeBy::Request;
        site.admit.deny = vec!["198.51.100.0/24".parse().unwrap()];
    })
    .await;
    let mut visitor = house.visitor().await;
    let answer = visitor.get("/", "x-forwarded-for: 198.51.100.7\r\n").await;
    assert_eq!(answer.status, 503);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_closed_gate_leads_to_the_page_even_if_the_view_still_shows_an_app() {
    let app = App::echo().await;
    let house = House::awake(app.address).await;
    house.edge.close();
    let mut visitor = house.visitor().await;
    let answer = visitor.get("/", BROWSER).await;
    assert_eq!(answer.status, 503);
    assert_eq!(app.seen(), 0);
    house.open();
    assert_eq!(visitor.get("/", BROWSER).await.status, 200);
}

#[tokio::test]
async fn the_page_follows_the_service() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    assert_eq!(
        visitor.get("/", BROWSER).await.header("x-anteroom"),
        "asleep"
    );
    house.show(|view| view.phase = Phase::Waking);
    assert_eq!(
        visitor.get("/", BROWSER).await.header("x-anteroom"),
        "waking"
    );
}

#[tokio::test]
async fn thousands_of_visitors_are_one_page() {
    let house = House::asleep().await;
    let mut visitors = Vec::new();
    for _ in 0..50 {
        let mut visitor = house.visitor().await;
        visitors.push(tokio::spawn(async move {
            for _ in 0..20 {
                assert_eq!(visitor.get("/", BROWSER).await.status, 503);
            }
        }));
    }
    for visitor in visitors {
        soon(visitor).await.unwrap();
    }
}
