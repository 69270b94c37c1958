//! The room's own paths.

use std::time::Duration;

use anteroom::driver::handle::Command;
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::http::Limits;

use crate::support::app::{App, nowhere};
use crate::support::house::House;
use crate::support::visitor::{Visitor, soon};

const BROWSER: &str = "accept: text/html\r\n";
const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";

/// The nonce in the waiting page.
async fn nonce(visitor: &mut Visitor) -> String {
    nonce_for(visitor, "").await
}

/// The nonce in the page that a visitor with these header lines gets.
async fn nonce_for(visitor: &mut Visitor, lines: &str) -> String {
    let page = visitor.get("/", &format!("{BROWSER}{lines}")).await.body;
    let field = page.find("name=nonce").or(page.find("name=\"nonce\""));
    let value = page[field.expect("a nonce")..]
        .split_once("value=")
        .expect("a value")
        .1;
    let value = value.trim_start_matches('"');
    value
        .split(['"', '>', ' '])
        .next()
        .expect("a value")
        .to_owned()
}

#[tokio::test]
async fn the_button_wakes_and_leads_back() {
    let mut house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let nonce = nonce(&mut visitor).await;
    let lines = format!(
        "{FORM}referer: https://blog.test/a?b=c\r\norigin: https://blog.test\r\nsec-fetch-site: same-origin\r\nx-forwarded-for: 198.51.100.7\r\n"
    );
    let answer = visitor
        .post("/__anteroom/wake", &lines, &format!("nonce={nonce}"))
        .await;
    assert_eq!((answer.status, answer.header("location")), (303, "/a?b=c"));
    let trigger = house.trigger().await;
    assert_eq!(trigger.by, TriggerBy::Click);
    assert_eq!(trigger.who, "198.51.100.0/24");
    assert_eq!(trigger.path, "/a", "the ledger takes no query");
}

#[tokio::test]
async fn the_script_wakes_and_gets_json() {
    let mut house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let nonce = nonce(&mut visitor).await;
    let lines = "x-anteroom-page: 1\r\ncontent-type: application/json\r\n";
    let body = format!("{{\"nonce\":\"{nonce}\"}}");
    let answer = visitor.post("/__anteroom/wake", lines, &body).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(house.trigger().await.by, TriggerBy::Page);
}

#[tokio::test]
async fn a_wake_without_the_pages_nonce_is_refused() {
    let mut house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let old = nonce(&mut visitor).await;
    house.later(Span::mins(24 * 60));
    for (body, lines, status) in [
        // Without a script: back to the page as it is now.
        (format!("nonce={old}"), FORM, 303),
        (format!("nonce={old}"), "x-anteroom-page: 1\r\n", 409),
        ("nonce=guess".to_owned(), FORM, 303),
        (String::new(), FORM, 303),
    ] {
        let answer = visitor.post("/__anteroom/wake", lines, &body).await;
        assert_eq!(answer.status, status, "{body} {lines}");
    }
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_page_that_stood_open_for_long_gets_a_fresh_nonce_and_wakes() {
    let mut house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let old = nonce(&mut visitor).await;
    house.later(Span::mins(60));
    let script = "x-anteroom-page: 1\r\n";
    let stale = visitor
        .post("/__anteroom/wake", script, &format!("nonce={old}&by=click"))
        .await;
    assert_eq!(stale.status, 409);
    let (_, after) = stale.body.split_once("\"nonce\":\"").expect("a nonce");
    let fresh = after.split('"').next().expect("a nonce");
    let taken = visitor
        .post(
            "/__anteroom/wake",
            script,
            &format!("nonce={fresh}&by=click"),
        )
        .await;
    assert_eq!(taken.status, 202);
    assert!(taken.body.contains("\"scene\":"), "{}", taken.body);
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
}

#[tokio::test]
async fn the_page_that_stands_still_keeps_the_place_and_leads_there_in_the_end() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let still = "/__anteroom/still";
    // From a page that is looked at again by itself.
    let lines = format!("{BROWSER}referer: http://blog.test/a?b=c&d=%20\r\n");
    let there = visitor.get(still, &lines).await;
    let here = "/__anteroom/still?to=/a%3Fb%3Dc%26d%3D%2520";
    assert_eq!((there.status, there.header("location")), (303, here));
    house.show(|view| view.phase = Phase::Waking);
    let page = visitor.get(here, BROWSER).await;
    assert_eq!(page.status, 503);
    assert!(!page.body.contains("http-equiv"), "{}", page.body);
    assert!(
        page.body.contains("href=\"/a?b=c&#38;d=%20\""),
        "{}",
        page.body
    );
    // The button leads back to it.
    let lines = format!("{FORM}referer: http://blog.test{here}\r\n");
    let stale = visitor.post("/__anteroom/wake", &lines, "nonce=old").await;
    assert_eq!((stale.status, stale.header("location")), (303, here));
    house.wake(nowhere().await);
    let inside = visitor.get(here, BROWSER).await;
    assert_eq!(
        (inside.status, inside.header("location")),
        (303, "/a?b=c&d=%20")
    );
}

#[tokio::test]
async fn the_page_that_stands_still_leads_nowhere_else() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    for to in [
        "//evil.test/",
        "/%5Cevil.test/",
        "/%09/evil.test/",
        "https://evil.test/",
        "javascript:alert(1)",
        "/%0d%0aset-cookie:%20a=b",
        "/__anteroom/still?to=/",
        "",
    ] {
        let path = format!("/__anteroom/still?to={to}");
        let answer = visitor.get(&path, BROWSER).await;
        let front = "/__anteroom/still?to=/";
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, front),
            "{to}"
        );
        assert_eq!(answer.header("set-cookie"), "", "{to}");
    }
}

#[tokio::test]
async fn another_sites_page_cannot_wake() {
    let mut house = House::asleep().await;
    for lines in [
        "origin: https://evil.test\r\n",
        "origin: null\r\n",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
    ] {
        let mut visitor = house.visitor().await;
        let nonce = nonce(&mut visitor).await;
        let answer = visitor
            .post(
                "/__anteroom/wake",
                &format!("{FORM}{lines}"),
                &format!("nonce={nonce}"),
            )
            .await;
        assert_eq!(answer.status, 403, "{lines}");
    }
    let mut visitor = house.visitor().await;
    assert_eq!(visitor.get("/__anteroom/wake", "").await.status, 405);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_denied_client_cannot_wake_with_a_nonce_either() {
    let mut house = House::with(Limits::default(), |site| {
        site.admit.allow = vec!["198.51.100.0/24".parse().unwrap()];
    })
    .await;
    let mut visitor = house.visitor().await;
    let ask = "x-forwarded-for: 198.51.100.7\r\n";
    let nonce = nonce_for(&mut visitor, ask).await;
    let denied = format!("{FORM}x-forwarded-for: 203.0.113.9\r\n");
    let answer = visitor
        .post("/__anteroom/wake", &denied, &format!("nonce={nonce}"))
        .await;
    assert_eq!(answer.status, 403);
    assert!(house.is_left_alone());
    let allowed = format!("{FORM}{ask}");
    let answer = visitor
        .post("/__anteroom/wake", &allowed, &format!("nonce={nonce}"))
        .await;
    assert_eq!(answer.status, 303);
    let _ = house.trigger().await;
}

#[tokio::test]
async fn a_wakes_body_is_bounded() {
    let mut house = House::asleep().await;
    let mut visitor = house.visitor().await;
    let long = "x".repeat(5_000);
    let answer = visitor.post("/__anteroom/wake", FORM, &long).await;
    assert_eq!(answer.status, 400);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn the_room_answers_its_own_paths_also_when_the_app_is_awake() {
    let app = App::echo().await;
    let house = House::awake(app.address).await;
    let mut visitor = house.visitor().await;
    let ping = visitor.get("/__anteroom/ping", "").await;
    assert_eq!((ping.status, ping.body.as_str()), (200, "{\"room\":true}"));
    assert_eq!(ping.header("x-anteroom"), "awake");
    let status = visitor.get("/__anteroom/status", "").await;
    assert_eq!(status.status, 200);
    assert!(status.body.contains("\"awake\""), "{}", status.body);
    let unknown = visitor.get("/__anteroom/nothing", "").await;
    assert_eq!(
        (unknown.status, unknown.header("x-anteroom")),
        (404, "awake")
    );
    assert_eq!(visitor.post("/__anteroom/status", "", "").await.status, 405);
    assert_eq!(app.seen(), 0);
}

#[tokio::test]
async fn an_app_that_fails_while_it_is_well_is_not_woken() {
    let mut house = House::awake(App::echo().await.address).await;
    let mut visitor = house.visitor().await;
    let answer = visitor
        .get("/__anteroom/error?status=503&url=x", BROWSER)
        .await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("temporarily unavailable"),
        "{}",
        answer.body
    );
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn an_app_that_is_gone_is_suspected() {
    let mut house = House::awake(App::echo().await.address).await;
    house.show(|view| view.healthy = false);
    let mut visitor = house.visitor().await;
    let lines = format!("{BROWSER}x-real-ip: 198.51.100.7\r\n");
    let answer = visitor
        .get("/__anteroom/error?status=502&url=x", &lines)
        .await;
    assert_eq!(answer.status, 503);
    assert_eq!(house.command().await, Command::Suspect(None));
    // A visitor who types the path comes with a chain, and makes nobody look.
    let lines = format!("{BROWSER}x-forwarded-for: 198.51.100.7\r\n");
    assert_eq!(
        visitor
            .get("/__anteroom/error?status=502", &lines)
            .await
            .status,
        503
    );
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn an_open_page_hears_of_every_change() {
    let house = House::asleep().await;
    let mut visitor = house.visitor().await;
    visitor
        .send("GET /__anteroom/events HTTP/1.1\r\nhost: blog.test\r\naccept: text/event-stream\r\n\r\n")
        .await;
    let head = visitor.head().await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, "text/event-stream")
    );
    assert_eq!(head.header("x-accel-buffering"), "no");
    let first = visitor.chunk().await;
    assert!(
        first.starts_with("retry: 2000\n") && first.contains("asleep"),
        "{first}"
    );
    house.show(|view| view.phase = Phase::Waking);
    assert!(visitor.chunk().await.contains("waking"));
    house.wake("127.0.0.1:1".parse().unwrap());
    let awake = visitor.chunk().await;
    assert!(
        awake.contains("awake") && awake.ends_with("\n\n"),
        "{awake}"
    );
    house.shutdown.cancel();
    assert_eq!(
        visitor.chunk().await,
        "",
        "the stream ends with the process"
    );
    soon(house.serving).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_kept_alive_and_ends_by_itself() {
    // The clock is paused on this thread alone.
    let here = anteroom::http::Limits {
        workers: 0,
        ..anteroom::http::Limits::default()
    };
    let house = House::with(here, |_| {}).await;
    let mut visitor = house.visitor().await;
    visitor
        .send("GET /__anteroom/events HTTP/1.1\r\nhost: blog.test\r\n\r\n")
        .await;
    let began = tokio::time::Instant::now();
    let _ = visitor.head().await;
    let _ = visitor.chunk().await;
    let mut comments = 0;
    loop {
        let mut chunk = String::new();
        // The paused clock runs to the next timer, which may be this deadline: then the reader waits on.
        while chunk.is_empty() {
            let readable = visitor.stream.readable();
            if let Ok(ready) = tokio::time::timeout(Duration::from_secs(1), readable).await {
                ready.unwrap();
                chunk = visitor.chunk().await;
                if chunk.is_empty() {
                    break;
                }
            }
        }
        match chunk.as_str() {
            "" => break,
            ":\n\n" => comments += 1,
            other => panic!("{other:?}"),
        }
    }
    let lasted = began.elapsed().as_secs();
    assert!((44..=80).contains(&lasted), "{lasted} s");
    assert!((2..=5).contains(&comments), "{comments} comments");
}
