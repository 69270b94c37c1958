//! Requests that are kept until the app is there.

use anteroom::config::WakeBy;
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::Phase;
use anteroom::http::Limits;

use crate::support::app::App;
use crate::support::house::House;

const API: &str = "accept: application/json\r\ncontent-type: application/json\r\n";

async fn holding(span: Span) -> House {
    House::with(Limits::default(), |site| site.hold = Some(span)).await
}

#[tokio::test]
async fn a_held_request_wakes_the_service_and_is_sent_once() {
    let app = App::echo().await;
    let mut house = holding(Span::secs(60)).await;
    let mut visitor = house.visitor().await;
    let asked = tokio::spawn(async move { visitor.post("/orders", API, "{\"n\":1}").await });
    assert_eq!(house.trigger().await.by, TriggerBy::Request);
    house.show(|view| view.phase = Phase::Waking);
    house.wake(app.address);
    let answer = asked.await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with("POST /orders\n"), "{}", answer.body);
    assert!(answer.body.ends_with("\n\n{\"n\":1}"), "{}", answer.body);
    assert_eq!(answer.header("x-anteroom"), "");
    assert_eq!(app.seen(), 1);
    house.empties().await;
}

#[tokio::test]
async fn a_gate_that_opens_after_the_view_is_found_open() {
    let app = App::echo().await;
    let mut house = holding(Span::secs(60)).await;
    let mut visitor = house.visitor().await;
    let asked = tokio::spawn(async move { visitor.get("/", API).await });
    let _ = house.trigger().await;
    house.wake(app.address);
    house.edge.close();
    tokio::task::yield_now().await;
    house.open();
    assert_eq!(asked.await.unwrap().status, 200);
}

#[tokio::test]
async fn an_app_that_does_not_come_in_time_is_a_problem_document() {
    let mut house = holding(Span::millis(100)).await;
    let mut visitor = house.visitor().await;
    let answer = visitor.get("/", API).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(house.trigger().await.by, TriggerBy::Request);
}

#[tokio::test]
async fn a_wake_that_fails_ends_the_wait() {
    let mut house = holding(Span::secs(600)).await;
    let mut visitor = house.visitor().await;
    let asked = tokio::spawn(async move { visitor.get("/", API).await });
    let _ = house.trigger().await;
    house.show(|view| view.phase = Phase::Waking);
    house.show(|view| {
        view.phase = Phase::Failed;
        view.since = Time(5);
    });
    assert_eq!(asked.await.unwrap().status, 503);
}

#[tokio::test]
async fn a_browser_gets_the_page_at_once() {
    let mut house = holding(Span::secs(600)).await;
    let mut visitor = house.visitor().await;
    assert_eq!(visitor.get("/", "accept: text/html\r\n").await.status, 503);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn by_click_a_request_waits_for_a_wake_but_brings_none() {
    let app = App::echo().await;
    let mut house = House::with(Limits::default(), |site| {
        site.hold = Some(Span::secs(60));
        site.wake_by = WakeBy::Click;
    })
    .await;
    let mut visitor = house.visitor().await;
    assert_eq!(visitor.get("/", API).await.status, 503);
    house.show(|view| view.phase = Phase::Waking);
    let asked = tokio::spawn(async move { visitor.get("/", API).await });
    tokio::task::yield_now().await;
    house.wake(app.address);
    assert_eq!(asked.await.unwrap().status, 200);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn by_click_a_request_waits_for_an_app_that_is_shown_before_its_gate_opens() {
    let app = App::echo().await;
    let mut house = House::with(Limits::default(), |site| {
        site.hold = Some(Span::secs(60));
        site.wake_by = WakeBy::Click;
    })
    .await;
    house.wake(app.address);
    house.edge.close();
    let mut visitor = house.visitor().await;
    let before = house.watchers();
    let asked = tokio::spawn(async move { visitor.get("/", API).await });
    house.is_watched_by(before + 1).await;
    house.open();
    assert_eq!(asked.await.unwrap().status, 200);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn by_click_a_request_waits_no_longer_than_the_wake_of_others_goes_on() {
    let mut house = House::with(Limits::default(), |site| {
        site.hold = Some(Span::secs(600));
        site.wake_by = WakeBy::Click;
    })
    .await;
    house.show(|view| view.phase = Phase::Waking);
    let mut visitor = house.visitor().await;
    let before = house.watchers();
    let asked = tokio::spawn(async move { visitor.get("/", API).await });
    house.is_watched_by(before + 1).await;
    house.show(|view| view.phase = Phase::Asleep);
    assert_eq!(asked.await.unwrap().status, 503);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_not_kept() {
    let mut house = holding(Span::secs(60)).await;
    let mut visitor = house.visitor().await;
    visitor
        .send(&format!(
            "POST / HTTP/1.1\r\nhost: blog.test\r\ncontent-length: 1048577\r\n{API}\r\n"
        ))
        .await;
    let answer = visitor.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("too-big"), "{}", answer.body);
    // The same, without saying it before.
    let mut visitor = house.visitor().await;
    visitor
        .send(&format!(
            "POST / HTTP/1.1\r\nhost: blog.test\r\ntransfer-encoding: chunked\r\n{API}\r\n"
        ))
        .await;
    visitor
        .send(&format!("100001\r\n{}", "x".repeat(1_048_577)))
        .await;
    let answer = visitor.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("too-big"), "{}", answer.body);
    assert!(house.is_left_alone(), "half a request wakes nobody");
}

#[tokio::test]
async fn memory_for_held_requests_is_bounded() {
    let mut house = holding(Span::secs(60)).await;
    let mut waiting = Vec::new();
    // Each says no length, so each is given room for the longest: 64 MiB hold 63 of them.
    for _ in 0..63 {
        let mut visitor = house.visitor().await;
        visitor
            .send(&format!(
                "POST / HTTP/1.1\r\nhost: blog.test\r\ntransfer-encoding: chunked\r\n{API}\r\n0\r\n\r\n"
            ))
            .await;
        let _ = house.trigger().await;
        waiting.push(visitor);
    }
    let mut one_more = house.visitor().await;
    let chunked = format!("transfer-encoding: chunked\r\n{API}");
    one_more
        .send(&format!(
            "POST / HTTP/1.1\r\nhost: blog.test\r\n{chunked}\r\n0\r\n\r\n"
        ))
        .await;
    let answer = one_more.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("too-many"), "{}", answer.body);
    // Those who hang up give their room back.
    waiting.clear();
    let app = App::echo().await;
    let mut visitor = house.visitor().await;
    loop {
        visitor
            .send(&format!(
                "POST / HTTP/1.1\r\nhost: blog.test\r\n{chunked}\r\n0\r\n\r\n"
            ))
            .await;
        house.wake(app.address);
        if visitor.answer().await.status == 200 {
            break;
        }
    }
}
