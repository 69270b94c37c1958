//! The listener keeps its bounds.

use tokio::io::AsyncWriteExt;

use crate::support::app::App;
use crate::support::house::{House, limits};
use crate::support::visitor::soon;

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_at_the_deadline() {
    let house = House::with(limits(), |_| {}).await;
    assert_eq!(house.visitor().await.rest().await, "");
}

#[tokio::test]
async fn half_a_request_is_closed_at_the_deadline() {
    let house = House::with(limits(), |_| {}).await;
    for half in [
        "GET / HTTP/1.1\r\nhost: blog.test\r\n",
        "G",
        "PRI * HTTP/2.0\r\n",
    ] {
        let mut visitor = house.visitor().await;
        visitor.send(half).await;
        let rest = visitor.rest().await;
        assert!(!rest.contains("200"), "{half:?}: {rest}");
    }
}

#[tokio::test]
async fn a_drip_of_header_lines_does_not_move_the_deadline() {
    let house = House::with(limits(), |_| {}).await;
    let mut visitor = house.visitor().await;
    visitor.send("GET / HTTP/1.1\r\n").await;
    let dripping = async {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            tick.tick().await;
            if visitor.stream.write_all(b"x: y\r\n").await.is_err() {
                break;
            }
        }
    };
    soon(dripping).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_the_deadline() {
    let house = House::with(limits(), |_| {}).await;
    let mut visitor = house.visitor().await;
    assert_eq!(visitor.get("/", "").await.status, 503);
    assert_eq!(
        visitor.get("/", "").await.status,
        503,
        "it is kept alive before"
    );
    assert_eq!(visitor.rest().await, "");
}

#[tokio::test]
async fn a_head_of_20_kb_is_too_large() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let big = "x".repeat(20_000);
    let answer = visitor.get("/", &format!("cookie: {big}\r\n")).await;
    assert_eq!(answer.status, 431);
    let mut visitor = house.visitor().await;
    let fits = "x".repeat(8_000);
    let answer = visitor.get("/", &format!("cookie: {fits}\r\n")).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn nonsense_is_refused() {
    let house = House::asleep().await;
    for (nonsense, status) in [
        (
            "GET / HTTP/1.1\r\nhost: blog.test\r\nhost: evil.test\r\n\r\n",
            400,
        ),
        (
            "CONNECT blog.test:443 HTTP/1.1\r\nhost: blog.test\r\n\r\n",
            405,
        ),
        ("GET / HTTP/1.1\r\nhost: bl og\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\nhost : blog.test\r\n\r\n", 400),
        ("\u{1}\u{2}\u{3}\r\n\r\n", 400),
    ] {
        let mut visitor = house.visitor().await;
        visitor.send(nonsense).await;
        assert_eq!(visitor.answer().await.status, status, "{nonsense:?}");
    }
}

#[tokio::test]
async fn beyond_the_bound_connections_wait_for_a_place() {
    let few = anteroom::http::Limits {
        connections_max: 2,
        ..limits()
    };
    let house = House::with(few, |_| {}).await;
    let first = house.visitor().await;
    let second = house.visitor().await;
    let mut third = house.visitor().await;
    drop(first);
    assert_eq!(third.get("/", "").await.status, 503);
    drop(second);
}

#[tokio::test]
async fn at_the_end_running_requests_are_finished() {
    let (asked, waiting) = tokio::sync::oneshot::channel::<()>();
    let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(Some(waiting)));
    let app = App::start(move |_| {
        let waiting = std::sync::Arc::clone(&waiting);
        async move {
            if let Some(waiting) = waiting.lock().await.take() {
                waiting.await.unwrap();
            }
            crate::support::app::say("done")
        }
    })
    .await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("GET / HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    soon(async {
        while app.seen() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    house.shutdown.cancel();
    asked.send(()).unwrap();
    let answer = visitor.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    soon(house.serving).await.unwrap();
}

#[tokio::test]
async fn at_the_end_an_app_that_never_answers_is_cut() {
    let app = App::start(|_| std::future::pending()).await;
    let house = House::with(limits(), |_| {}).await;
    house.wake(app.address);
    let mut visitor = house.visitor().await;
    visitor
        .send("GET / HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    soon(async {
        while app.seen() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    house.shutdown.cancel();
    soon(house.serving).await.unwrap();
    assert_eq!(visitor.rest().await, "");
}
