//! The plain pages: prepared and compressed once, the same bytes for everybody, and right for each.

use std::sync::Arc;

use anteroom::engine::admit::Rate;
use anteroom::engine::id::ServiceName;
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::http::{Limits, Site};
use anteroom::store::Store;
use anteroom::store::memory::MemoryStore;

use crate::support::app::App;
use crate::support::house::House;
use crate::support::visitor::{Answer, unpacked};

const DAY: Span = Span::mins(24 * 60);
const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const WOKE: &str = "x-forwarded-for: 203.0.113.9\r\n";
const DENIED: &str = "x-forwarded-for: 198.51.100.9\r\n";

fn strict(site: &mut Site) {
    site.admit.deny = vec!["198.51.100.0/24".parse().unwrap()];
    site.admit.per_client = Rate::new(1, DAY).ok();
}

/// A house in which somebody has woken the service, which sleeps again.
async fn house() -> House {
    let store = Arc::new(MemoryStore::new());
    let mut house = House::on(store.clone(), Limits::default(), strict).await;
    assert_eq!(post(&house, WOKE).await.0.status, 303);
    assert_eq!(house.admitted().await.wake, 1);
    let name: ServiceName = "blog".parse().unwrap();
    let epoch = store.claim(&name, "test").await.unwrap().epoch;
    let record = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    store.save(&name, epoch, &record, &[], 1).await.unwrap();
    house.show(|view| view.phase = Phase::Asleep);
    house
}

/// Presses the page's button.
async fn post(house: &House, lines: &str) -> (Answer, Vec<u8>) {
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", "accept: text/html\r\n").await.body;
    let (_, after) = page.split_once("name=\"nonce\" value=\"").expect("a nonce");
    let nonce = after.split('"').next().expect("its end");
    let body = format!("nonce={nonce}");
    visitor
        .send(&format!(
            "POST /__anteroom/wake HTTP/1.1\r\nhost: blog.test\r\n{FORM}{lines}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    visitor.bytes().await
}

async fn get(house: &House, host: &str, path: &str, lines: &str) -> (Answer, Vec<u8>) {
    let mut visitor = house.visitor().await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/html\r\n{lines}\r\n");
    visitor.send(&head).await;
    visitor.bytes().await
}

/// Each plain page, as it comes with these lines: its status, and how to ask for it.
async fn ask(house: &House, which: &str, lines: &str) -> (Answer, Vec<u8>) {
    let all = |more: &str| format!("{lines}{more}");
    match which {
        "unknown" => get(house, "nobody.test", "/", lines).await,
        "denied" => get(house, "blog.test", "/", &all(DENIED)).await,
        "refused" => post(house, &all(DENIED)).await,
        "limited" => post(house, &all(WOKE)).await,
        _ => get(house, "blog.test", "/__anteroom/error?status=503", lines).await,
    }
}

#[tokio::test]
async fn each_is_compressed_for_those_who_take_it_and_says_the_same() {
    let house = house().await;
    let app = App::echo().await;
    for (which, status, says) in [
        ("unknown", 404, "There is no site here"),
        ("denied", 503, "be started from your network"),
        ("refused", 403, "be started from your network"),
        ("limited", 429, "It can be asked again in 24 hours"),
        ("unavailable", 503, "is temporarily unavailable"),
    ] {
        if which == "unavailable" {
            house.wake(app.address);
        }
        for lang in ["en", "ar"] {
            let lines = format!("accept-language: {lang}\r\n");
            // Twice each: as it is made, and as it was.
            let mut bodies = Vec::new();
            for coding in ["gzip", "identity", "gzip", "identity"] {
                let lines = format!("{lines}accept-encoding: {coding}\r\n");
                let (answer, body) = ask(&house, which, &lines).await;
                assert_eq!(answer.status, status, "{which}");
                assert_eq!(answer.header("content-language"), lang, "{which}");
                let packed = answer.header("content-encoding") == "gzip";
                assert_eq!(packed, coding == "gzip", "{which}");
                if packed {
                    assert!(body.len() < 6_000, "{which}: {} bytes", body.len());
                }
                bodies.push(match packed {
                    true => unpacked(&body),
                    false => String::from_utf8(body).unwrap(),
                });
            }
            assert!(bodies.iter().all(|body| *body == bodies[0]), "{which}");
            let body = &bodies[0];
            assert!(body.trim_end().ends_with("</html>"), "{which}: {body}");
            assert!(body.bytes().all(|byte| byte != 1), "{which}: no gap");
            assert!(lang != "en" || body.contains(says), "{which}: {body}");
        }
    }
}

#[tokio::test]
async fn the_time_to_wait_is_each_visitors_own() {
    let house = house().await;
    let gzip = "accept-encoding: gzip\r\naccept-language: id\r\n";
    let mut seen = Vec::new();
    for (later, says, seconds) in [
        (Span::ZERO, "lagi dalam 24 jam<!--", "86400"),
        (Span::mins(61), "lagi dalam 22 jam 59 menit<!--", "82740"),
        (Span::mins(1_378), "lagi dalam 1 menit<!--", "60"),
        (Span::secs(59), "lagi dalam 1 detik<!--", "1"),
    ] {
        house.later(later);
        for _ in 0..2 {
            let (answer, body) = ask(&house, "limited", gzip).await;
            let text = unpacked(&body);
            assert!(text.contains(says), "{says}: {text}");
            assert_eq!(answer.header("retry-after"), seconds);
            seen.push(body.len());
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "one page, whatever it says");
}
