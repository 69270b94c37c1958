//! The room's connections to the app: used again when an answer was whole, and never when anything was odd.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::app::{self, App, say};
use crate::support::house::House;
use crate::support::visitor::soon;

#[tokio::test]
async fn a_visitors_requests_share_a_connection_whatever_their_answers_are() {
    let app = App::start(|request| async move {
        let mut answer = match request.uri().path() {
            "/chunks" => {
                let chunks =
                    ["a", "b", ""].map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
                http::Response::new(StreamBody::new(stream::iter(chunks)).boxed_unsync())
            }
            "/large" => say(vec![b'x'; 300_000]),
            "/empty" => say(""),
            _ => say("text"),
        };
        match request.uri().path() {
            "/none" => *answer.status_mut() = StatusCode::NO_CONTENT,
            "/kept" => *answer.status_mut() = StatusCode::NOT_MODIFIED,
            _ => {}
        }
        if request.method() == Method::POST {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            return say(body);
        }
        answer
    })
    .await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    for _ in 0..3 {
        assert_eq!(visitor.get("/text", "").await.body, "text");
        assert_eq!(visitor.get("/chunks", "").await.body, "ab");
        assert_eq!(visitor.get("/large", "").await.body.len(), 300_000);
        assert_eq!(visitor.get("/empty", "").await.body, "");
        assert_eq!(visitor.get("/none", "").await.status, 204);
        visitor
            .send("GET /kept HTTP/1.1\r\nhost: blog.test\r\n\r\n")
            .await;
        assert_eq!(visitor.head().await.status, 304);
        visitor
            .send("HEAD /text HTTP/1.1\r\nhost: blog.test\r\n\r\n")
            .await;
        assert_eq!(visitor.head().await.header("content-length"), "4");
        assert_eq!(visitor.post("/", "", "hello").await.body, "hello");
    }
    assert_eq!((app.connections(), app.seen()), (1, 24));
    house.empties().await;
}

#[tokio::test]
async fn what_an_app_says_beyond_its_answer_reaches_nobody() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let app = app::raw(move |mut stream| {
        counted.fetch_add(1, SeqCst);
        async move {
            while stream.read(&mut [0; 4_096]).await.is_ok_and(|read| read > 0) {
                let two = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngoodHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
                let _ = stream.write_all(two.as_bytes()).await;
            }
        }
    })
    .await;
    let house = House::awake(app).await;
    let mut visitor = house.visitor().await;
    for _ in 0..5 {
        assert_eq!(visitor.get("/", "").await.body, "good");
    }
    assert_eq!(connections.load(SeqCst), 5);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_is_whole_is_passed_on() {
    let app = app::raw(|mut stream| async move {
        let mut head = [0; 4_096];
        let _ = stream.read(&mut head).await;
        let early = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig";
        let _ = stream.write_all(early.as_bytes()).await;
        while stream.read(&mut head).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let house = House::awake(app).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("POST / HTTP/1.1\r\nhost: blog.test\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    let answer = visitor.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "big"));
}

#[tokio::test]
async fn a_visitor_may_send_everything_before_it_reads() {
    const MANY: usize = 16 << 20;
    let app = app::raw(|stream| async move {
        let (mut reads, mut writes) = stream.into_split();
        let mut head = [0; 4_096];
        let _ = reads.read(&mut head).await;
        let answer = async {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {MANY}\r\n\r\n");
            writes.write_all(head.as_bytes()).await.unwrap();
            writes.write_all(&vec![b'x'; MANY]).await.unwrap();
        };
        let upload = async {
            let mut bytes = vec![0; 65_536];
            while reads.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        };
        tokio::join!(answer, upload);
    })
    .await;
    let house = House::awake(app).await;
    let mut visitor = house.visitor().await;
    let head = format!("POST / HTTP/1.1\r\nhost: blog.test\r\ncontent-length: {MANY}\r\n\r\n");
    visitor.send(&head).await;
    // The answer has begun, and nobody reads it.
    let mut first = [0; 1];
    soon(visitor.stream.peek(&mut first)).await.unwrap();
    for _ in 0..MANY / 65_536 {
        visitor.send(&"y".repeat(65_536)).await;
    }
    let answer = visitor.answer().await;
    assert_eq!((answer.status, answer.body.len()), (200, MANY));
}

#[tokio::test]
async fn a_visitor_who_leaves_takes_the_apps_connection_along() {
    let (left, mut leaves) = mpsc::unbounded_channel();
    let app = app::raw(move |mut stream| {
        let left = left.clone();
        async move {
            let mut bytes = [0; 4_096];
            let _ = stream.read(&mut bytes).await;
            let begun = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly a part";
            let _ = stream.write_all(begun.as_bytes()).await;
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
            let _ = left.send(());
        }
    })
    .await;
    let house = House::awake(app).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("GET / HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    visitor.until("only a part").await;
    drop(visitor);
    soon(leaves.recv()).await;
    house.empties().await;
}
