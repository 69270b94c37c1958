//! `origins`: the pages of other origins that may read what the room answers in the app's place, and nobody else. A
//! table of exact answers, and a real browser that reads one.

use anteroom::config::WakeBy;
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::Phase;
use anteroom::http::{Limits, Site};
use serde_json::Value;

use crate::support::app::{App, say};
use crate::support::browser::Browser;
use crate::support::house::House;
use crate::support::visitor::Answer;

const LISTED: &str = "origin: https://app.test\r\n";
const STRANGER: &str = "origin: https://evil.test\r\n";
const BY_SCRIPT: &str = "accept: */*\r\nsec-fetch-mode: cors\r\nsec-fetch-dest: empty\r\nsec-fetch-site: cross-site\r\n";
const WANTS_PUT: &str = "access-control-request-method: PUT\r\naccess-control-request-headers: authorization,content-type\r\n";

async fn house(change: impl FnOnce(&mut Site)) -> House {
    House::with(Limits::default(), |site| {
        site.origins = vec!["https://app.test".to_owned()];
        change(site);
    })
    .await
}

async fn asked(house: &House, line: &str, lines: &str) -> Answer {
    let mut visitor = house.visitor().await;
    let text = format!("{line} HTTP/1.1\r\nhost: blog.test\r\n{lines}\r\n");
    visitor.send(&text).await;
    match line.starts_with("HEAD") {
        true => visitor.head().await,
        false => visitor.answer().await,
    }
}

/// Status, then what is said of other origins: who reads, with cookies, what, by which methods, with which headers,
/// for how long, and whether it varies.
fn said(answer: &Answer) -> String {
    let vary = answer.head.lines().any(|line| line == "vary: Origin");
    let named = ["origin", "credentials"].map(|it| format!("access-control-allow-{it}"));
    let more =
        ["allow-methods", "allow-headers", "max-age"].map(|it| format!("access-control-{it}"));
    let exposed = "access-control-expose-headers".to_owned();
    let names = named.into_iter().chain([exposed]).chain(more);
    let values: Vec<_> = names.map(|name| answer.header(&name).to_owned()).collect();
    let vary = if vary { "varies" } else { "" };
    format!("{} | {} | {vary}", answer.status, values.join(" | "))
}

const NOTHING: &str = " |  |  |  |  |  |  | ";
const OPEN: &str = " | https://app.test | true | Retry-After, X-Anteroom |  |  |  | varies";
const GRANTED: &str = "204 | https://app.test | true | Retry-After, X-Anteroom | PUT | authorization,content-type | 5 | varies";

#[tokio::test]
async fn each_request_is_told_exactly_what_its_origin_may_read() {
    let (open, shut) = (format!("503{OPEN}"), format!("503{NOTHING}varies"));
    let own = |status: u16| format!("{status}{NOTHING}");
    let long = format!(
        "access-control-request-method: PUT\r\naccess-control-request-headers: {}\r\n",
        "a,".repeat(600) + "a"
    );
    let twice = format!("{LISTED}{STRANGER}");
    let rows = [
        ("GET /api", LISTED, BY_SCRIPT, open.clone()),
        ("HEAD /api", LISTED, BY_SCRIPT, open.clone()),
        ("POST /api", LISTED, BY_SCRIPT, open.clone()),
        ("DELETE /api", LISTED, BY_SCRIPT, open.clone()),
        (
            "GET /font.woff2",
            LISTED,
            "sec-fetch-mode: cors\r\nsec-fetch-dest: font\r\n",
            open.clone(),
        ),
        (
            "GET /events",
            LISTED,
            "accept: text/event-stream\r\n",
            open.clone(),
        ),
        ("GET /api", LISTED, "accept: */*\r\n", open.clone()),
        (
            "GET /",
            LISTED,
            "accept: text/html\r\nsec-fetch-mode: navigate\r\n",
            open.clone(),
        ),
        ("OPTIONS /api", LISTED, WANTS_PUT, GRANTED.to_owned()),
        ("OPTIONS /robots.txt", LISTED, WANTS_PUT, GRANTED.to_owned()),
        // No preflight, or one that can't be granted: it is readable, and no yes.
        ("OPTIONS /api", LISTED, "", open.clone()),
        (
            "OPTIONS /api",
            LISTED,
            "access-control-request-method: P T\r\n",
            open.clone(),
        ),
        ("OPTIONS /api", LISTED, &long, open.clone()),
        ("GET /api", LISTED, WANTS_PUT, open.clone()),
        ("GET /__anteroom/error?status=502", LISTED, BY_SCRIPT, open),
        ("GET /api", STRANGER, BY_SCRIPT, shut.clone()),
        ("GET /api", "", "accept: application/json\r\n", shut.clone()),
        ("GET /", "", "accept: text/html\r\n", shut.clone()),
        (
            "GET /",
            STRANGER,
            "accept: text/html\r\nsec-fetch-mode: navigate\r\n",
            shut.clone(),
        ),
        ("OPTIONS /api", STRANGER, WANTS_PUT, shut.clone()),
        ("OPTIONS /api", "", WANTS_PUT, shut.clone()),
        ("GET /api", "origin: null\r\n", BY_SCRIPT, shut.clone()),
        (
            "GET /api",
            "origin: http://app.test\r\n",
            BY_SCRIPT,
            shut.clone(),
        ),
        ("OPTIONS /api", "origin: null\r\n", WANTS_PUT, shut.clone()),
        ("OPTIONS /api", &twice, WANTS_PUT, shut.clone()),
        ("GET /api", &twice, BY_SCRIPT, shut),
        // Our own paths are for our own page.
        ("GET /__anteroom/status", LISTED, BY_SCRIPT, own(200)),
        ("GET /__anteroom/ping", LISTED, BY_SCRIPT, own(200)),
        ("OPTIONS /__anteroom/status", LISTED, WANTS_PUT, own(405)),
        ("OPTIONS /__anteroom/wake", LISTED, WANTS_PUT, own(405)),
        ("POST /__anteroom/wake", LISTED, BY_SCRIPT, own(403)),
        ("POST /__anteroom/proof", LISTED, BY_SCRIPT, own(403)),
        ("GET /__anteroom/nothing", LISTED, BY_SCRIPT, own(404)),
    ];
    let mut house = house(|_| {}).await;
    for phase in [Phase::Asleep, Phase::Waking, Phase::Failed] {
        house.show(|view| view.phase = phase);
        for (line, origin, lines, expected) in &rows {
            let answer = asked(&house, line, &format!("{origin}{lines}")).await;
            assert_eq!(
                said(&answer),
                *expected,
                "{phase:?}: {line} {origin:?} {lines:?}"
            );
            assert_eq!(answer.header("x-anteroom"), phase.as_str());
        }
    }
    // The errors path makes the task look; nothing makes it wake.
    assert!(house.inbox.triggers.try_recv().is_err());
}

#[tokio::test]
async fn a_service_without_origins_says_nothing_of_them() {
    let house = House::asleep().await;
    for (line, lines) in [
        ("GET /api", BY_SCRIPT),
        ("OPTIONS /api", WANTS_PUT),
        ("GET /", ""),
    ] {
        let answer = asked(&house, line, &format!("{LISTED}{lines}")).await;
        assert_eq!(said(&answer), format!("503{NOTHING}"), "{line}");
    }
}

#[tokio::test]
async fn a_script_before_fetch_metadata_gets_a_document_that_it_can_read() {
    let house = house(|_| {}).await;
    let answer = asked(&house, "GET /api", &format!("{LISTED}accept: */*\r\n")).await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_preflight_wakes_nothing_and_the_request_that_follows_does() {
    let mut house = house(|site| site.wake_by = WakeBy::Request).await;
    let answer = asked(&house, "OPTIONS /api", &format!("{LISTED}{WANTS_PUT}")).await;
    assert_eq!(said(&answer), GRANTED);
    assert!(house.is_left_alone());
    let answer = asked(&house, "PUT /api", &format!("{LISTED}{BY_SCRIPT}")).await;
    assert_eq!(said(&answer), format!("503{OPEN}"));
    assert_eq!(house.trigger().await.by, TriggerBy::Request);
}

#[tokio::test]
async fn a_held_request_may_come_and_the_apps_answer_is_its_own() {
    let app = App::echo().await;
    let mut house = house(|site| site.hold = Some(Span::secs(60))).await;
    let answer = asked(&house, "OPTIONS /api", &format!("{LISTED}{WANTS_PUT}")).await;
    assert_eq!(said(&answer), GRANTED);
    assert!(house.is_left_alone(), "a preflight is not held");
    let mut visitor = house.visitor().await;
    let lines = format!("{LISTED}{BY_SCRIPT}");
    let held = tokio::spawn(async move { visitor.post("/api", &lines, "{}").await });
    assert_eq!(house.trigger().await.by, TriggerBy::Request);
    house.wake(app.address);
    let answer = held.await.unwrap();
    assert_eq!(said(&answer), format!("200{NOTHING}"));
    let answer = asked(&house, "OPTIONS /api", &format!("{LISTED}{WANTS_PUT}")).await;
    assert_eq!(
        said(&answer),
        format!("200{NOTHING}"),
        "the app answers its own preflights"
    );
}

#[tokio::test]
async fn a_held_request_that_the_app_does_not_come_for_can_be_read() {
    let mut house = house(|site| site.hold = Some(Span::secs(60))).await;
    let mut visitor = house.visitor().await;
    let lines = format!("{LISTED}{BY_SCRIPT}");
    let held = tokio::spawn(async move { visitor.post("/api", &lines, "{}").await });
    let _ = house.trigger().await;
    house.show(|view| view.phase = Phase::Waking);
    house.show(|view| {
        view.phase = Phase::Failed;
        view.since = Time(5);
    });
    assert_eq!(said(&held.await.unwrap()), format!("503{OPEN}"));
}

/// A page that calls the room: what its script sees of a GET and of a PUT that asks for a preflight, with cookies.
const CALLS: &str = "const done = arguments[arguments.length - 1], url = arguments[0];\
    const see = async (options) => {\
        try {\
            const answer = await fetch(url, options), text = await answer.text();\
            return [answer.status, answer.headers.get('retry-after'), answer.headers.get('x-anteroom'),\
                text && JSON.parse(text).phase];\
        } catch (error) { return error.name; }\
    };\
    (async () => done([await see({ credentials: 'include' }), await see({ method: 'PUT', body: '{}',\
        credentials: 'include', headers: { 'content-type': 'application/json', 'x-more': '1' } })]))();";

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_page_elsewhere_reads_why_the_app_does_not_answer_and_a_stranger_sees_an_error() {
    let blank = async |_| {
        let mut page = say("<!doctype html><title>page</title>");
        let html = http::HeaderValue::from_static("text/html");
        page.headers_mut().insert(http::header::CONTENT_TYPE, html);
        page
    };
    let (friend, stranger) = (App::start(blank).await, App::start(blank).await);
    let mut house = House::with(Limits::default(), |site| {
        site.hosts.push("127.0.0.1".to_owned());
        site.origins = vec![format!("http://{}", friend.address)];
    })
    .await;
    let browser = Browser::start(&[]).await;
    let room = format!("http://{}/api", house.address);
    let sees = async |page: &App| {
        browser.go(&format!("http://{}/", page.address)).await;
        let seen = browser
            .client
            .execute_async(CALLS, vec![room.as_str().into()])
            .await;
        let seen: Value = seen.unwrap();
        seen.to_string()
    };
    let asleep = r#"[503,"30","asleep","asleep"]"#;
    assert_eq!(sees(&friend).await, format!("[{asleep},{asleep}]"));
    assert_eq!(sees(&stranger).await, r#"["TypeError","TypeError"]"#);
    assert!(house.is_left_alone());
    let app = App::start(async |_| say("{\"phase\":\"the app\"}")).await;
    house.wake(app.address);
    let untouched = r#"["TypeError","TypeError"]"#;
    assert_eq!(sees(&friend).await, untouched, "the app lets nobody in");
    browser.close().await;
}
