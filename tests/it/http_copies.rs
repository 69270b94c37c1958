//! What programs fetch by themselves is answered from the last good copy while the app sleeps.

use anteroom::config::WakeBy;
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::http::Limits;
use http::Response;
use http_body_util::{BodyExt, Full};

use crate::support::app::{Answer, App};
use crate::support::house::House;
use crate::support::visitor::soon;

const PATHS: [&str; 5] = [
    "/robots.txt",
    "/favicon.ico",
    "/sitemap.xml",
    "/huge.txt",
    "/.well-known/*",
];

const ROBOTS: &str = "User-agent: *\nDisallow: /private\n";

fn answer(path: &str) -> Answer {
    let answer = Response::builder();
    let (answer, body) = match path {
        "/robots.txt" => (
            answer
                .header("content-type", "text/plain")
                .header("etag", "\"r1\"")
                .header("cache-control", "public, max-age=600"),
            ROBOTS.to_owned(),
        ),
        "/favicon.ico" => (
            answer.header("content-type", "image/x-icon"),
            "icon".to_owned(),
        ),
        "/huge.txt" => (answer, "x".repeat(70_000)),
        "/.well-known/security.txt" => (
            answer.header("last-modified", "Mon, 02 Nov 2026 10:00:00 GMT"),
            "Contact: mailto:a@b.test".to_owned(),
        ),
        "/.well-known/page" => (answer.header("content-type", "text/html"), "<p>".to_owned()),
        "/.well-known/mine" => (answer.header("set-cookie", "a=b"), "mine".to_owned()),
        _ => (answer.status(404), String::new()),
    };
    answer.body(Full::from(body).boxed_unsync()).unwrap()
}

async fn app() -> App {
    App::start(|request| async move {
        let asks_as_us = request
            .headers()
            .get("host")
            .is_some_and(|host| host == "blog.test")
            && !request.headers().contains_key("cookie");
        assert!(asks_as_us, "{request:?}");
        answer(request.uri().path())
    })
    .await
}

async fn house() -> House {
    House::with(Limits::default(), |site| {
        site.copies = PATHS.map(str::to_owned).to_vec();
        site.wake_by = WakeBy::Request;
    })
    .await
}

/// Lets the app be awake until it has been asked so often, and sleep then.
async fn once_awake(house: &House, app: &App, asked: usize) {
    house.later(Span::secs(1));
    house.wake(app.address);
    let now = house.clock.load(std::sync::atomic::Ordering::SeqCst);
    house.show(|view| view.since = anteroom::engine::time::Time(now));
    soon(async {
        while app.seen() < asked {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The last answer is on its way: the copy of what was asked last is what is asked for first.
    house.show(|view| {
        view.phase = Phase::Asleep;
        view.healthy = false;
        view.upstreams.clear();
    });
    house.open();
}

#[tokio::test]
async fn the_last_good_copy_is_answered_while_the_app_sleeps() {
    let (app, mut house) = (app().await, house().await);
    let mut visitor = house.visitor().await;
    // Nobody knows yet; asking wakes nothing, and what is asked for under the star is fetched too.
    for path in ["/robots.txt", "/sitemap.xml", "/favicon.ico"] {
        let unknown = visitor.get(path, "").await;
        assert_eq!((unknown.status, unknown.body.as_str()), (503, ""), "{path}");
        assert!(!unknown.header("retry-after").is_empty());
    }
    assert!(house.is_left_alone());
    for path in [
        "/.well-known/security.txt",
        "/.well-known/page",
        "/.well-known/mine",
    ] {
        visitor.get(path, "accept: image/*\r\n").await;
    }
    once_awake(&house, &app, 7).await;
    // It is asked for last.
    soon(async { while visitor.get("/sitemap.xml", "").await.status != 404 {} }).await;
    let icon = visitor.get("/favicon.ico", "accept: image/*\r\n").await;
    assert_eq!(
        (icon.body.as_str(), icon.header("content-type")),
        ("icon", "image/x-icon")
    );
    assert_eq!(icon.header("cache-control"), "max-age=60");
    assert!(
        icon.header("etag").starts_with('"'),
        "a tag of ours: {icon:?}"
    );

    house.later(Span::secs(90));
    let robots = visitor
        .get("/robots.txt", "user-agent: Googlebot\r\ncookie: a=b\r\n")
        .await;
    assert_eq!((robots.status, robots.body.as_str()), (200, ROBOTS));
    for (name, value) in [
        ("content-type", "text/plain"),
        ("etag", "\"r1\""),
        ("cache-control", "public, max-age=600"),
        ("age", "90"),
        ("x-anteroom", "asleep"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", ""),
        ("set-cookie", ""),
    ] {
        assert_eq!(robots.header(name), value, "{name}");
    }
    let same = visitor
        .get("/robots.txt", "if-none-match: W/\"r1\"\r\n")
        .await;
    assert_eq!(
        (same.status, same.body.as_str(), same.header("etag")),
        (304, "", "\"r1\"")
    );
    let other = visitor
        .get(
            "/robots.txt",
            "if-none-match: \"r0\"\r\nrange: bytes=0-3\r\n",
        )
        .await;
    assert_eq!(
        (other.status, other.body.as_str()),
        (200, ROBOTS),
        "a range may be ignored"
    );
    visitor
        .send("HEAD /robots.txt HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    let head = visitor.head().await;
    assert_eq!((head.status, head.header("content-length")), (200, "33"));
    let since = "if-modified-since: Mon, 02 Nov 2026 10:00:00 GMT\r\n";
    assert_eq!(
        visitor.get("/.well-known/security.txt", since).await.status,
        304
    );
    assert_eq!(
        visitor.get("/sitemap.xml", "").await.status,
        404,
        "the app said so"
    );
    assert!(
        house.is_left_alone(),
        "none of them wakes, though requests may"
    );

    // What is not for everybody, not small, or a page, is no copy; nor is anything with a query, or for another host.
    for path in [
        "/huge.txt",
        "/.well-known/page",
        "/.well-known/mine",
        "/robots.txt?a=b",
    ] {
        assert_eq!(
            visitor.get(path, "accept: image/*\r\n").await.status,
            503,
            "{path}"
        );
    }
    visitor
        .send("GET /robots.txt HTTP/1.1\r\nhost: other.test\r\n\r\n")
        .await;
    assert_eq!(visitor.answer().await.status, 404);
    let post = visitor
        .post("/robots.txt", "accept: image/*\r\n", "a")
        .await;
    assert_eq!(post.status, 503);
}

#[tokio::test]
async fn a_flood_of_names_makes_nobody_fetch_more_than_sixteen() {
    let (app, house) = (app().await, house().await);
    let mut visitor = house.visitor().await;
    for n in 0..100 {
        visitor
            .get(&format!("/.well-known/{n}"), "accept: image/*\r\n")
            .await;
    }
    // All places that a flood may take, and the four that are named.
    once_awake(&house, &app, 16 + 4).await;
    let robots = visitor.get("/robots.txt", "").await;
    assert_eq!(robots.body, ROBOTS);
    let late = soon(async { while visitor.get("/sitemap.xml", "").await.status != 404 {} });
    late.await;
    once_awake(&house, &app, 20 + 4).await;
    assert_eq!(app.seen(), 24, "where there was nothing nobody asks again");
}

#[tokio::test]
async fn an_awake_app_answers_itself_and_a_service_without_copies_is_not_asked() {
    let app = App::echo().await;
    let house = House::asleep().await;
    house.wake(app.address);
    let mut visitor = house.visitor().await;
    assert!(
        visitor
            .get("/robots.txt", "")
            .await
            .body
            .starts_with("GET /robots.txt")
    );
    assert_eq!(app.seen(), 1);
}
