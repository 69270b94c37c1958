//! `wake.by = "challenge"` with proof of work: what a room asks for, what it takes, and what a browser makes of it.

use std::sync::Arc;

use anteroom::config::{Challenge, ChallengeKind, Pow, WakeBy};
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::id::ServiceName;
use anteroom::engine::record::{Record, Stand};
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::gate::challenge::solve;
use anteroom::http::{Challenger, Limits};
use anteroom::store::Store;
use anteroom::store::memory::MemoryStore;
use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::house::House;
use crate::support::visitor::{Answer, soon};

const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const SCRIPT: &str = "x-anteroom-page: 1\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const PROGRAM: &str =
    "accept: application/json\r\ncontent-type: application/x-www-form-urlencoded\r\n";

fn easy() -> Challenge {
    Challenge {
        kind: ChallengeKind::Pow(Pow {
            bits: 8,
            bits_max: 11,
        }),
        patience: Span::secs(15),
    }
}

async fn house() -> (House, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let house = House::on(store.clone(), Limits::default(), |site| {
        site.hosts.push("127.0.0.1".to_owned());
        site.wake_by = WakeBy::Challenge;
        site.challenger = Some(Challenger::new(easy()));
    });
    (house.await, store)
}

/// The value of the first field of this name in a page.
fn field(page: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, after) = page.split_once(&mark).expect("the field is there");
    let value = after.split('"').next().expect("a value");
    value.replace("&#38;", "&").replace("&amp;", "&")
}

async fn nonce(house: &House) -> String {
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", "accept: text/html\r\n").await.body;
    field(&page, "nonce")
}

async fn post(house: &House, path: &str, lines: &str, body: &str) -> Answer {
    let mut visitor = house.visitor().await;
    visitor.post(path, lines, body).await
}

async fn ask(house: &House, lines: &str, body: &str) -> Answer {
    post(house, "/__anteroom/wake", lines, body).await
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).expect("JSON")
}

/// The fields that solve this challenge.
fn solved(challenge: &Value) -> String {
    let text = challenge["text"].as_str().unwrap();
    let bits = u8::try_from(challenge["bits"].as_u64().unwrap()).unwrap();
    format!("challenge={text}&answer={}", solve(text, bits))
}

/// The service has been woken and sleeps again, as its task writes it down.
async fn sleeps_again(house: &House, store: &dyn Store) {
    let name: ServiceName = "blog".parse().unwrap();
    let epoch = store.claim(&name, "test").await.unwrap().epoch;
    let record = Record {
        stand: Stand::Asleep,
        ..Record::default()
    };
    let saved = store.save(&name, epoch, &record, &[], u64::MAX).await;
    saved.unwrap();
    house.show(|view| view.phase = Phase::Asleep);
}

/// A house in which somebody has taken the credit and not paid.
async fn without_credit() -> House {
    let (mut house, store) = house().await;
    let nonce = nonce(&house).await;
    let taken = ask(&house, SCRIPT, &format!("nonce={nonce}")).await;
    assert_eq!(
        (taken.status, json(&taken)["owed"].is_object()),
        (202, true)
    );
    let _ = house.trigger().await;
    sleeps_again(&house, &*store).await;
    house
}

#[tokio::test]
async fn a_person_alone_at_the_door_is_let_in_at_once_and_proves_it_while_the_machine_boots() {
    let (mut house, _) = house().await;
    let nonce = nonce(&house).await;
    let taken = ask(&house, SCRIPT, &format!("nonce={nonce}")).await;
    assert_eq!(taken.status, 202);
    assert_eq!(house.trigger().await.by, TriggerBy::Page);
    let owed = json(&taken)["owed"].clone();
    assert_eq!(
        (owed["kind"].as_str(), owed["bits"].as_u64()),
        (Some("pow"), Some(8))
    );
    let proof = format!("nonce={nonce}&{}", solved(&owed));
    let wrong = format!(
        "nonce={nonce}&challenge={}&answer=x",
        owed["text"].as_str().unwrap()
    );
    for (body, status) in [(&wrong, 409), (&proof, 204), (&proof, 409)] {
        let answer = post(&house, "/__anteroom/proof", SCRIPT, body).await;
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.header("x-anteroom"), "asleep");
    }
    assert!(house.is_left_alone());
    let mut visitor = house.visitor().await;
    assert_eq!(visitor.get("/__anteroom/proof", "").await.status, 405);
}

#[tokio::test]
async fn who_has_no_credit_proves_it_first() {
    let mut house = without_credit().await;
    let nonce = nonce(&house).await;
    let asked = ask(&house, SCRIPT, &format!("nonce={nonce}")).await;
    let said = json(&asked);
    assert_eq!(
        (asked.status, said["type"].as_str()),
        (409, Some("urn:anteroom:challenge"))
    );
    assert_eq!(said["nonce"].as_str(), Some(&*nonce));
    assert!(house.is_left_alone());
    let body = format!("nonce={nonce}&by=click&{}", solved(&said["challenge"]));
    let taken = ask(&house, SCRIPT, &body).await;
    assert_eq!((taken.status, &json(&taken)["owed"]), (202, &Value::Null));
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
}

#[tokio::test]
async fn credit_is_there_again_when_it_is_paid_and_an_hour_after_it_was_not() {
    let (mut house, store) = house().await;
    for paid in [true, false] {
        let nonce = nonce(&house).await;
        let taken = ask(&house, SCRIPT, &format!("nonce={nonce}")).await;
        assert_eq!(taken.status, 202);
        let _ = house.trigger().await;
        if paid {
            let proof = format!("nonce={nonce}&{}", solved(&json(&taken)["owed"]));
            assert_eq!(
                post(&house, "/__anteroom/proof", SCRIPT, &proof)
                    .await
                    .status,
                204
            );
        }
        sleeps_again(&house, &*store).await;
    }
    let nonce_now = nonce(&house).await;
    assert_eq!(
        ask(&house, SCRIPT, &format!("nonce={nonce_now}"))
            .await
            .status,
        409
    );
    house.later(Span::mins(63));
    let nonce_then = nonce(&house).await;
    assert_eq!(
        ask(&house, SCRIPT, &format!("nonce={nonce_then}"))
            .await
            .status,
        202
    );
}

#[tokio::test]
async fn nobody_is_asked_for_anything_while_the_service_is_on_its_way() {
    let mut house = without_credit().await;
    for phase in [Phase::Waking, Phase::Awake] {
        house.show(|view| view.phase = phase);
        for (lines, status) in [(SCRIPT, 202), (PROGRAM, 202), (FORM, 303)] {
            let nonce = nonce(&house).await;
            let answer = ask(&house, lines, &format!("nonce={nonce}")).await;
            assert_eq!(answer.status, status, "{phase:?} {lines}");
            assert!(!answer.body.contains("owed"), "{}", answer.body);
            let _ = house.trigger().await;
        }
    }
}

#[tokio::test]
async fn a_proof_is_for_one_nonce_host_and_time_and_nothing_else_wakes() {
    let mut house = without_credit().await;
    let nonce = nonce(&house).await;
    let said = json(&ask(&house, SCRIPT, &format!("nonce={nonce}")).await);
    let text = said["challenge"]["text"].as_str().unwrap().to_owned();
    let proof = solved(&said["challenge"]);
    let (or, good) = (
        said["or"]["text"].as_str().unwrap(),
        format!("nonce={nonce}&{proof}"),
    );
    let answer = proof.rsplit('=').next().unwrap().to_owned();
    for (what, body, status) in [
        ("no answer", format!("nonce={nonce}&challenge={text}"), 409),
        (
            "no challenge",
            format!("nonce={nonce}&answer={answer}"),
            409,
        ),
        (
            "a wrong number",
            format!("nonce={nonce}&challenge={text}&answer=1{answer}"),
            409,
        ),
        (
            "a number with a sign",
            format!("nonce={nonce}&challenge={text}&answer=%2B{answer}"),
            409,
        ),
        (
            "a text for a number",
            format!("nonce={nonce}&challenge={text}&answer=a"),
            409,
        ),
        (
            "the other way's text",
            format!("nonce={nonce}&challenge={or}&answer={answer}"),
            409,
        ),
        (
            "a nonce for a challenge",
            format!("nonce={nonce}&challenge={nonce}&answer={answer}"),
            409,
        ),
        (
            "a challenge for a nonce",
            format!("nonce={text}&{proof}"),
            409,
        ),
        ("made easier", good.replace(".8.", ".0."), 409),
        ("cut off", good.replace(&text, &text[..text.len() - 1]), 409),
        (
            "with more behind",
            good.replace(&text, &format!("{text}A")),
            409,
        ),
        ("said twice", format!("{good}&challenge={text}"), 400),
        ("answered twice", format!("{good}&answer={answer}"), 400),
        ("very long", format!("{good}{}", "0".repeat(1_000)), 409),
    ] {
        let answer = ask(&house, SCRIPT, &body).await;
        assert_eq!(answer.status, status, "{what}");
        assert!(house.is_left_alone(), "{what}");
    }
    let mut visitor = house.visitor().await;
    let elsewhere = format!(
        "POST /__anteroom/wake HTTP/1.1\r\nhost: www.blog.test\r\ncontent-length: {}\r\n{SCRIPT}\r\n{good}",
        good.len()
    );
    visitor.send(&elsewhere).await;
    assert_eq!(visitor.answer().await.status, 409, "at another host");
    assert!(house.is_left_alone());
    assert_eq!(ask(&house, SCRIPT, &good).await.status, 202);
    let _ = house.trigger().await;
}

#[tokio::test]
async fn who_waits_and_answers_wrongly_does_not_wait_anew_and_comes_in_when_it_is_over() {
    let mut house = without_credit().await;
    let nonce = nonce(&house).await;
    let first = json(&ask(&house, PROGRAM, &format!("nonce={nonce}")).await);
    let or = first["or"]["text"].as_str().unwrap().to_owned();
    let wrong = |asked: &Value| {
        let text = asked["challenge"]["text"].as_str().unwrap();
        format!("nonce={nonce}&challenge={text}&answer=x&or={or}")
    };
    house.later(Span::secs(10));
    let second = json(&ask(&house, PROGRAM, &wrong(&first)).await);
    assert_eq!(second["or"]["text"].as_str(), Some(&*or));
    assert_eq!(second["or"]["wait_ms"].as_u64(), Some(5_000));
    let detail = second["detail"].as_str().unwrap();
    assert!(detail.starts_with("That was wrong."), "{detail}");
    assert!(house.is_left_alone());
    house.later(Span::secs(5));
    let taken = ask(&house, PROGRAM, &wrong(&second)).await;
    assert_eq!(taken.status, 202);
    let _ = house.trigger().await;
}

#[tokio::test]
async fn it_gets_harder_with_the_load_up_to_its_most_and_easier_again() {
    let house = without_credit().await;
    let nonce = nonce(&house).await;
    let body = format!("nonce={nonce}");
    let mut bits = Vec::new();
    for _ in 0..100 {
        let said = json(&ask(&house, SCRIPT, &body).await);
        bits.push(said["challenge"]["bits"].as_u64().unwrap());
    }
    assert_eq!((bits[0], bits[99]), (8, 11), "{bits:?}");
    assert!(bits.is_sorted(), "{bits:?}");
    let said = json(&ask(&house, PROGRAM, &body).await);
    assert_eq!(said["or"]["wait_ms"].as_u64(), Some(15_000 << 3));
    house.later(Span::mins(5));
    let said = json(&ask(&house, SCRIPT, &body).await);
    assert_eq!(said["challenge"]["bits"].as_u64(), Some(8));
}

#[tokio::test]
async fn without_a_script_there_is_a_wait_instead() {
    let (mut house, _) = house().await;
    let nonce = nonce(&house).await;
    let lines =
        format!("{FORM}referer: https://blog.test/a?b=c&d\r\norigin: https://blog.test\r\n");
    let first = ask(&house, &lines, &format!("nonce={nonce}&by=click")).await;
    assert_eq!(
        (first.status, first.header("content-type")),
        (409, "text/html; charset=utf-8")
    );
    assert!(first.body.contains("15 seconds"), "{}", first.body);
    let challenge = field(&first.body, "challenge");
    let back = field(&first.body, "back");
    assert_eq!(
        (field(&first.body, "nonce"), &*back),
        (nonce.clone(), "/a?b=c&d")
    );
    let again = format!("nonce={nonce}&challenge={challenge}&back=%2Fa%3Fb%3Dc%26d&by=click");
    house.later(Span::secs(10));
    let early = ask(&house, FORM, &again).await;
    assert_eq!(early.status, 409);
    assert!(early.body.contains("5 seconds"), "{}", early.body);
    assert_eq!(
        field(&early.body, "challenge"),
        challenge,
        "the wait does not begin anew"
    );
    assert!(house.is_left_alone());
    house.later(Span::secs(5));
    for back in [
        "//evil.test",
        "/%5Cevil.test",
        "/%09/evil.test",
        "https://evil.test",
        "/__anteroom/wake",
        "/%0d%0ax:y",
    ] {
        let led = again.replace("%2Fa%3Fb%3Dc%26d", back);
        let answer = ask(&house, FORM, &led).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, "/"),
            "{back}"
        );
        let _ = house.trigger().await;
        house.show(|view| view.phase = Phase::Asleep);
    }
    let taken = ask(&house, FORM, &again).await;
    assert_eq!((taken.status, taken.header("location")), (303, "/a?b=c&d"));
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_browser_owes_its_proof_and_pays_it() {
    let (mut house, store) = house().await;
    let browser = Browser::start(&[]).await;
    browser.go(&format!("http://{}/", house.address)).await;
    assert_eq!(house.trigger().await.by, TriggerBy::Page);
    house.show(|view| view.phase = Phase::Waking);
    browser.reads("127.0.0.1 is waking up").await;
    let paid =
        "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/proof')).length";
    soon(async { while browser.asks(paid).await != 1 {} }).await;
    sleeps_again(&house, &*store).await;
    let nonce = nonce(&house).await;
    let taken = ask(&house, SCRIPT, &format!("nonce={nonce}")).await;
    assert_eq!(taken.status, 202, "there is credit again: it was paid");
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_browser_without_credit_solves_the_puzzle_by_itself() {
    let mut house = without_credit().await;
    let browser = Browser::start(&[]).await;
    browser.go(&format!("http://{}/", house.address)).await;
    assert_eq!(house.trigger().await.by, TriggerBy::Page);
    house.show(|view| view.phase = Phase::Waking);
    browser.reads("127.0.0.1 is waking up").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_browser_without_a_script_waits_and_presses_again() {
    let (mut house, _) = house().await;
    let browser = Browser::start(&["--blink-settings=scriptEnabled=false"]).await;
    browser
        .go(&format!("http://{}/deep?a=b", house.address))
        .await;
    browser.presses("form button").await;
    browser.reads("One more step for 127.0.0.1").await;
    browser.presses("form button").await;
    browser.sees("//strong[.='Not quite yet']").await;
    assert!(house.is_left_alone());
    house.later(Span::secs(15));
    browser.presses("form button").await;
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
    let url = browser.client.current_url().await.unwrap();
    assert_eq!((url.path(), url.query()), ("/deep", Some("a=b")));
    browser.close().await;
}
