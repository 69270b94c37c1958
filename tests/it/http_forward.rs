//! Requests on their way to the app and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use anteroom::driver::handle::Command;
use anteroom::engine::id::InstanceId;
use anteroom::engine::ignore::Rule;
use anteroom::http::Limits;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::app::{self, App, say};
use crate::support::house::House;
use crate::support::visitor::soon;

const BROWSER: &str = "accept: text/html\r\n";

#[tokio::test]
async fn a_request_reaches_the_app_as_it_was_asked() {
    let app = App::echo().await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    let lines = "cookie: a=b\r\nconnection: keep-alive, x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: trailers\r\nx-anteroom-key: secret\r\nforwarded: for=8.8.8.8\r\nx-forwarded-for: 198.51.100.7\r\nx-forwarded-proto: https\r\n";
    let answer = visitor.post("/a/b?c=d%20e", lines, "hello").await;
    assert_eq!(answer.status, 200);
    let port = answer.body.clone();
    assert_eq!(
        port,
        "POST /a/b?c=d%20e\ncontent-length: 5\ncookie: a=b\nhost: blog.test\nte: trailers\nx-forwarded-for: 198.51.100.7, 127.0.0.1\nx-forwarded-host: blog.test\nx-forwarded-proto: https\nx-real-ip: 198.51.100.7\n\nhello"
    );
    house.empties().await;
}

#[tokio::test]
async fn an_apps_answer_comes_as_it_was_given() {
    let app = App::start(|_| async {
        let mut answer = say("sorry");
        *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        let headers = answer.headers_mut();
        headers.insert("x-anteroom", "asleep".parse().unwrap());
        headers.insert("connection", "keep-alive, x-debug".parse().unwrap());
        headers.insert("x-debug", "1".parse().unwrap());
        headers.append("set-cookie", "a=1".parse().unwrap());
        headers.append("set-cookie", "b=2".parse().unwrap());
        answer
    })
    .await;
    let mut house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    let answer = visitor.get("/", BROWSER).await;
    assert_eq!((answer.status, answer.body.as_str()), (500, "sorry"));
    for gone in ["x-anteroom", "x-debug", "retry-after"] {
        assert_eq!(answer.header(gone), "", "{gone}");
    }
    assert_eq!(answer.head.matches("set-cookie").count(), 2);
    assert!(house.is_left_alone(), "an app's own error is its own");
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    // The app answers each chunk before the next one is sent.
    let app = App::start(|request| async move {
        let (mut sender, body) =
            http_body_util::channel::Channel::<bytes::Bytes, std::convert::Infallible>::new(4);
        tokio::spawn(async move {
            let mut asked = request.into_body();
            while let Some(Ok(frame)) = asked.frame().await {
                let Ok(data) = frame.into_data() else { break };
                if sender.send_data(data).await.is_err() {
                    break;
                }
            }
        });
        http::Response::new(body.boxed_unsync())
    })
    .await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("POST / HTTP/1.1\r\nhost: blog.test\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    visitor.send("3\r\none\r\n").await;
    assert_eq!(visitor.head().await.status, 200);
    assert_eq!(visitor.chunk().await, "one");
    assert_eq!(house.edge.sample().in_flight, 1);
    visitor.send("3\r\ntwo\r\n").await;
    assert_eq!(visitor.chunk().await, "two");
    visitor.send("0\r\n\r\n").await;
    assert_eq!(visitor.chunk().await, "");
    house.empties().await;
}

#[tokio::test]
async fn a_visitor_that_leaves_is_no_longer_counted() {
    let app = App::start(|_| std::future::pending()).await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("GET / HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    soon(async {
        while house.edge.sample().in_flight == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(visitor);
    house.empties().await;
}

#[tokio::test]
async fn an_app_that_never_answers_does_not_slow_the_others() {
    let app = App::start(|request| async move {
        if request.uri().path() == "/slow" {
            std::future::pending::<()>().await;
        }
        say("quick")
    })
    .await;
    let house = House::awake(app.address).await;
    let mut stuck = Vec::new();
    for _ in 0..100 {
        let mut visitor = house.visitor().await;
        visitor
            .send("GET /slow HTTP/1.1\r\nhost: blog.test\r\n\r\n")
            .await;
        stuck.push(visitor);
    }
    let mut visitor = house.visitor().await;
    for _ in 0..100 {
        assert_eq!(visitor.get("/", "").await.body, "quick");
    }
}

#[tokio::test]
async fn a_request_that_the_app_may_have_seen_is_never_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    // Answers the first request of a connection, and drops the connection when it has read the second.
    let address = app::raw(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let mut buffer = [0; 4096];
            let mut first = true;
            while let Ok(1..) = stream.read(&mut buffer).await {
                count.fetch_add(1, SeqCst);
                if !std::mem::take(&mut first) {
                    return;
                }
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    let mut house = House::awake(address).await;
    let mut visitor = house.visitor().await;
    for method in ["POST", "PUT", "GET"] {
        let before = seen.load(SeqCst);
        assert_eq!(visitor.get("/", "").await.status, 200);
        visitor
            .send(&format!(
                "{method} / HTTP/1.1\r\nhost: blog.test\r\naccept: application/json\r\n\r\n"
            ))
            .await;
        let answer = visitor.answer().await;
        assert_eq!(answer.status, 503, "{method}");
        assert!(answer.body.contains("broken-off"), "{}", answer.body);
        assert_eq!(answer.header("x-anteroom"), "awake");
        assert_eq!(seen.load(SeqCst), before + 2, "{method} was seen once");
        assert_eq!(
            house.command().await,
            Command::Suspect(Some(InstanceId::SEED))
        );
    }
    house.empties().await;
}

#[tokio::test]
async fn a_connection_that_the_app_closed_meanwhile_is_replaced() {
    // Closes each connection after one answer without saying so.
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let address = app::raw(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let mut buffer = [0; 4096];
            if let Ok(1..) = stream.read(&mut buffer).await {
                count.fetch_add(1, SeqCst);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    let house = House::awake(address).await;
    let mut visitor = house.visitor().await;
    for round in 0..20 {
        assert_eq!(visitor.get("/", "").await.status, 200, "{round}");
        house.empties().await;
        // Until the room has seen the end of the pooled connection.
        soon(async {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn an_app_that_is_gone_is_a_page_not_a_raw_error() {
    let mut house = House::awake(app::nowhere().await).await;
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", BROWSER).await;
    assert_eq!(page.status, 503);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        house.command().await,
        Command::Suspect(Some(InstanceId::SEED))
    );
    let document = visitor
        .post("/", "accept: application/json\r\n", "{}")
        .await;
    assert_eq!(document.status, 503);
    assert!(document.body.contains("unreached"), "{}", document.body);
    house.empties().await;
}

#[tokio::test]
async fn a_tunnel_carries_both_ways_and_is_counted_until_it_closes() {
    let address = app::raw(|mut stream| async move {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        let head = String::from_utf8_lossy(&buffer[..read]).to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        let _ = stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\nhello")
            .await;
        // Echo, and after the visitor's goodbye a last word.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let _ = stream.write_all(&buffer[..read]).await;
        }
        let _ = stream.write_all(b"bye").await;
    })
    .await;
    let house = House::awake(address).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("GET /ws HTTP/1.1\r\nhost: blog.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\nearly")
        .await;
    let head = visitor.head().await;
    assert_eq!(head.status, 101);
    assert_eq!(head.header("sec-websocket-accept"), "x");
    assert_eq!(head.header("x-anteroom"), "");
    assert_eq!(visitor.exactly(10).await, "helloearly");
    assert_eq!(house.edge.sample().long, 1);
    visitor.send("ping").await;
    assert_eq!(visitor.exactly(4).await, "ping");
    visitor.stream.shutdown().await.unwrap();
    assert_eq!(
        visitor.rest().await,
        "bye",
        "half-closed, the app may still finish"
    );
    house.empties().await;
}

#[tokio::test]
async fn a_tunnel_is_cut_when_the_process_ends() {
    let address = app::raw(|mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            )
            .await;
        let _ = stream.read(&mut buffer).await;
    })
    .await;
    let house = House::with(crate::support::house::limits(), |_| {}).await;
    house.wake(address);
    let mut visitor = house.visitor().await;
    visitor
        .send("GET / HTTP/1.1\r\nhost: blog.test\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        .await;
    assert_eq!(visitor.head().await.status, 101);
    house.shutdown.cancel();
    soon(house.serving).await.unwrap();
    assert_eq!(visitor.rest().await, "");
}

#[tokio::test]
async fn an_upgrade_that_the_app_declines_is_an_ordinary_answer() {
    let app = App::echo().await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    let lines = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n";
    let answer = visitor.get("/", lines).await;
    assert_eq!(answer.status, 200);
    assert!(
        !answer.body.contains("upgrade"),
        "no h2c passes: {}",
        answer.body
    );
    let answer = visitor
        .get("/", "connection: upgrade\r\nupgrade: websocket\r\n")
        .await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.body.contains("upgrade: websocket"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn an_apps_event_stream_is_a_long_connection() {
    let app = App::start(|_| async {
        let (mut sender, body) =
            http_body_util::channel::Channel::<bytes::Bytes, std::convert::Infallible>::new(4);
        tokio::spawn(async move {
            let _ = sender.send_data("data: 1\n\n".into()).await;
            std::future::pending::<()>().await;
        });
        let mut answer = http::Response::new(body.boxed_unsync());
        answer.headers_mut().insert(
            "content-type",
            "text/event-stream; charset=utf-8".parse().unwrap(),
        );
        answer
    })
    .await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("GET / HTTP/1.1\r\nhost: blog.test\r\naccept: text/event-stream\r\n\r\n")
        .await;
    assert_eq!(visitor.head().await.status, 200);
    assert_eq!(visitor.chunk().await, "data: 1\n\n");
    let seen = house.edge.sample();
    assert_eq!((seen.in_flight, seen.long), (0, 1));
    drop(visitor);
    house.empties().await;
}

#[tokio::test]
async fn a_monitor_passes_and_keeps_nothing_awake() {
    let app = App::echo().await;
    let house = House::with(Limits::default(), |site| {
        site.ignore = vec![Rule::by_agent("uptimebot".to_owned())];
    })
    .await;
    house.wake(app.address);
    let mut visitor = house.visitor().await;
    assert_eq!(
        visitor
            .get("/", "user-agent: Mozilla (UptimeBot/2)\r\n")
            .await
            .status,
        200
    );
    house.empties().await;
    assert!(!house.edge.sample().used);
    assert_eq!(
        visitor.get("/", "user-agent: Mozilla\r\n").await.status,
        200
    );
    assert!(house.edge.sample().used);
}
