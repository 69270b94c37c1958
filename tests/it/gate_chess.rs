//! `wake.by = "challenge"` with chess: what a room asks for, what counts as a mate, and how people play it in a browser.

use anteroom::config::{Challenge, ChallengeKind, WakeBy};
use anteroom::engine::chess::Position;
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::http::{Challenger, Limits};
use cozy_chess::{Board, GameStatus};
use fantoccini::Locator;
use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::house::House;
use crate::support::visitor::{Answer, Visitor};

const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const SCRIPT: &str = "x-anteroom-page: 1\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const PROGRAM: &str =
    "accept: application/json\r\ncontent-type: application/x-www-form-urlencoded\r\n";

async fn house() -> House {
    House::with(Limits::default(), |site| {
        site.hosts.push("127.0.0.1".to_owned());
        site.wake_by = WakeBy::Challenge;
        site.challenger = Some(Challenger::new(Challenge {
            kind: ChallengeKind::Chess,
            patience: Span::secs(30),
        }));
    })
    .await
}

/// The value of the first field of this name in a page.
fn field(page: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, after) = page.split_once(&mark).expect("the field is there");
    after.split('"').next().expect("a value").to_owned()
}

async fn nonce(house: &House) -> String {
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", "accept: text/html\r\n").await.body;
    field(&page, "nonce")
}

async fn ask(house: &House, lines: &str, body: &str) -> Answer {
    let mut visitor = house.visitor().await;
    visitor.post("/__anteroom/wake", lines, body).await
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).expect("JSON")
}

/// The moves of this position: the one that mates, and one that does not.
fn moves(fen: &str) -> (String, String) {
    let board: Board = fen.parse().expect("a position");
    let (mut mate, mut other) = (None, None);
    board.generate_moves(|some| {
        for step in some {
            let mut next = board.clone();
            next.play(step);
            match next.status() == GameStatus::Won {
                true => mate = Some(step.to_string()),
                false => other = Some(step.to_string()),
            }
        }
        false
    });
    (mate.expect("a mate"), other.expect("another move"))
}

/// The position of a page, by the number in its challenge: `c1.m.TIME.NUMBER.SEAL`.
fn position_of(page: &str) -> Position {
    let text = field(page, "challenge");
    let number = text.split('.').nth(3).expect("a number");
    let number = u64::from_str_radix(number, 16).expect("a number");
    Position::of(number).expect("one of ours")
}

#[tokio::test]
async fn a_program_is_told_the_position_and_wakes_with_the_mate() {
    let mut house = house().await;
    let nonce = nonce(&house).await;
    for lines in [SCRIPT, PROGRAM] {
        let asked = ask(&house, lines, &format!("nonce={nonce}")).await;
        let said = json(&asked);
        assert_eq!(
            (asked.status, said["type"].as_str()),
            (409, Some("urn:anteroom:challenge"))
        );
        assert_eq!(said["challenge"]["kind"].as_str(), Some("chess"));
        assert_eq!(said["or"]["wait_ms"].as_u64(), Some(30_000));
    }
    let said = json(&ask(&house, PROGRAM, &format!("nonce={nonce}")).await);
    let text = said["challenge"]["text"].as_str().unwrap();
    let (mate, other) = moves(said["challenge"]["fen"].as_str().unwrap());
    let wrong = format!("nonce={nonce}&challenge={text}&answer={other}");
    let wrong = json(&ask(&house, PROGRAM, &wrong).await);
    assert_ne!(wrong["challenge"]["fen"], said["challenge"]["fen"]);
    assert!(house.is_left_alone(), "nothing is on credit");
    let body = format!("nonce={nonce}&challenge={text}&answer={mate}");
    assert_eq!(ask(&house, PROGRAM, &body).await.status, 202);
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
    // The nonce is spent when the service sleeps again.
    house.show(|view| view.phase = Phase::Asleep);
}

#[tokio::test]
async fn nothing_but_the_mate_counts() {
    let mut house = house().await;
    let (nonce, other_nonce) = (nonce(&house).await, nonce(&house).await);
    let said = json(&ask(&house, PROGRAM, &format!("nonce={nonce}")).await);
    let text = said["challenge"]["text"].as_str().unwrap().to_owned();
    let fen = said["challenge"]["fen"].as_str().unwrap().to_owned();
    let (mate, legal) = moves(&fen);
    let or = said["or"]["text"].as_str().unwrap();
    let with = |text: &str, answer: &str| format!("nonce={nonce}&challenge={text}&answer={answer}");
    let parts: Vec<&str> = text.split('.').collect();
    let swapped = |at: usize, part: &str| {
        let mut parts = parts.clone();
        parts[at] = part;
        with(&parts.join("."), &mate)
    };
    let asks_another = format!("nonce={other_nonce}&challenge={text}&answer={mate}");
    for (what, body, status) in [
        ("no answer", format!("nonce={nonce}&challenge={text}"), 409),
        ("no challenge", format!("nonce={nonce}&answer={mate}"), 409),
        ("a legal move that is no mate", with(&text, &legal), 409),
        (
            "the way back",
            with(&text, &(mate[2..4].to_owned() + &mate[..2])),
            409,
        ),
        ("two moves", with(&text, &format!("{mate}+{legal}")), 409),
        (
            "two moves at once",
            with(&text, &format!("{legal}{mate}")),
            409,
        ),
        (
            "the position itself",
            with(&text, &fen.replace(' ', "+")),
            409,
        ),
        ("4 KiB of nothing", with(&text, &"Q".repeat(3_800)), 409),
        (
            "more than a form is long",
            with(&text, &"Q".repeat(4_200)),
            400,
        ),
        ("a zero behind", with(&text, &format!("{mate}%00")), 409),
        (
            "a line end before",
            with(&text, &format!("%0d%0ax:y{mate}")),
            409,
        ),
        ("no text at all", with(&text, "%ff%fe"), 400),
        ("said twice", with(&text, &mate) + "&answer=" + &mate, 400),
        (
            "the challenge twice",
            with(&text, &mate) + "&challenge=" + &text,
            400,
        ),
        ("the wait's text", with(or, &mate), 409),
        (
            "as the wait",
            format!("nonce={nonce}&or={text}&answer={mate}"),
            409,
        ),
        ("of another kind", swapped(1, "w"), 409),
        ("of work", swapped(1, "p"), 409),
        ("another position", swapped(3, "1"), 409),
        ("no position at all", swapped(3, "ffff"), 409),
        ("another time", swapped(2, "1"), 409),
        ("without a seal", swapped(4, ""), 409),
        ("cut off", with(&text[..text.len() - 1], &mate), 409),
        ("with another nonce", asks_another, 409),
    ] {
        let answer = ask(&house, PROGRAM, &body).await;
        assert_eq!(answer.status, status, "{what}");
        assert!(house.is_left_alone(), "{what}");
    }
    let mut visitor = house.visitor().await;
    let good = with(&text, &mate);
    let elsewhere = format!(
        "POST /__anteroom/wake HTTP/1.1\r\nhost: www.blog.test\r\ncontent-length: {}\r\n{PROGRAM}\r\n{good}",
        good.len()
    );
    visitor.send(&elsewhere).await;
    assert_eq!(visitor.answer().await.status, 409, "at another host");
    house.later(Span::mins(11));
    assert_eq!(ask(&house, PROGRAM, &good).await.status, 409, "expired");
    assert!(house.is_left_alone());
    house
        .clock
        .fetch_sub(Span::mins(11).0, std::sync::atomic::Ordering::SeqCst);
    // It was good all the time.
    assert_eq!(ask(&house, PROGRAM, &good).await.status, 202);
    let _ = house.trigger().await;
}

#[tokio::test]
async fn nobody_plays_while_the_service_is_on_its_way() {
    let mut house = house().await;
    let nonce = nonce(&house).await;
    let said = json(&ask(&house, PROGRAM, &format!("nonce={nonce}")).await);
    let text = said["challenge"]["text"].as_str().unwrap();
    house.show(|view| view.phase = Phase::Waking);
    let wrong = format!("nonce={nonce}&challenge={text}&answer=a1a1&back=%2Fdeep&by=click");
    for (lines, status) in [(SCRIPT, 202), (PROGRAM, 202), (FORM, 303)] {
        let lines = lines.replace("accept: application/json\r\n", "");
        let body = wrong.replace("&by=click", if status == 202 { "" } else { "&by=click" });
        let answer = ask(&house, &lines, &body).await;
        assert_eq!(answer.status, status, "{lines}");
        if status == 303 {
            assert_eq!(answer.header("location"), "/deep");
        }
        let _ = house.trigger().await;
    }
}

#[tokio::test]
async fn the_wait_goes_on_through_wrong_moves_and_is_enough() {
    let mut house = house().await;
    let nonce = nonce(&house).await;
    let first = ask(&house, FORM, &format!("nonce={nonce}&by=click")).await;
    assert_eq!(first.status, 409);
    assert!(first.body.contains("Wait 30 seconds"), "{}", first.body);
    let or = field(&first.body, "or");
    house.later(Span::secs(20));
    let challenge = field(&first.body, "challenge");
    let wrong = format!("nonce={nonce}&challenge={challenge}&or={or}&answer=O-O&by=click");
    let second = ask(&house, FORM, &wrong).await;
    assert!(second.body.contains("That is not mate."), "{}", second.body);
    assert!(second.body.contains("Wait 10 seconds"), "{}", second.body);
    assert_eq!(field(&second.body, "or"), or);
    assert_ne!(position_of(&second.body), position_of(&first.body));
    // The other button, too soon.
    let waits = format!("nonce={nonce}&challenge={or}&by=click");
    let early = ask(&house, FORM, &waits).await;
    assert!(
        early.body.contains("wait 10 seconds more"),
        "{}",
        early.body
    );
    assert!(house.is_left_alone());
    house.later(Span::secs(10));
    let taken = ask(&house, FORM, &waits).await;
    assert_eq!(taken.status, 303);
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
}

#[tokio::test]
async fn the_board_is_sent_compressed_to_who_takes_it_and_fits_the_first_flight() {
    let house = house().await;
    let nonce = nonce(&house).await;
    for lang in ["en", "ar", "el", "ja"] {
        let lines = format!("{FORM}accept-encoding: gzip\r\naccept-language: {lang}\r\n");
        let answer = ask(&house, &lines, &format!("nonce={nonce}&by=click")).await;
        assert_eq!(answer.header("content-encoding"), "gzip");
        let length: usize = answer.header("content-length").parse().unwrap();
        assert!(length <= 14_000, "{lang}: {length}");
        let page = &answer.body;
        assert!(page.contains(&format!("<html lang=\"{lang}\"")) && page.ends_with("</html>"));
        let plain = ask(&house, FORM, &format!("nonce={nonce}&by=click")).await;
        assert_eq!(plain.header("content-encoding"), "");
    }
}

#[tokio::test]
async fn many_wrong_moves_make_the_wait_longer_but_never_endless() {
    let house = house().await;
    let nonce = nonce(&house).await;
    let mut waits = Vec::new();
    for _ in 0..150 {
        let said = json(&ask(&house, PROGRAM, &format!("nonce={nonce}")).await);
        waits.push(said["or"]["wait_ms"].as_u64().unwrap());
    }
    assert_eq!((waits[0], waits[149]), (30_000, 240_000), "{waits:?}");
    assert!(waits.is_sorted());
}

#[tokio::test]
async fn visitors_see_different_positions() {
    let house = house().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let nonce = nonce(&house).await;
        let said = json(&ask(&house, PROGRAM, &format!("nonce={nonce}")).await);
        seen.insert(said["challenge"]["fen"].as_str().unwrap().to_owned());
    }
    assert!(seen.len() >= 15, "{}", seen.len());
}

#[tokio::test]
async fn a_challenge_that_was_solved_pays_for_one_wake() {
    let mut house = house().await;
    let nonce = nonce(&house).await;
    let said = json(&ask(&house, PROGRAM, &format!("nonce={nonce}")).await);
    let text = said["challenge"]["text"].as_str().unwrap();
    let (mate, _) = moves(said["challenge"]["fen"].as_str().unwrap());
    let body = format!("nonce={nonce}&challenge={text}&answer={mate}");
    let mut visitor = Visitor::connect(house.address).await;
    assert_eq!(
        visitor
            .post("/__anteroom/wake", PROGRAM, &body)
            .await
            .status,
        202
    );
    let _ = house.trigger().await;
    // The same once more joins that wake, and never begins another: the store knows the nonce.
    let again = visitor.post("/__anteroom/wake", PROGRAM, &body).await;
    assert!([202, 409].contains(&again.status), "{}", again.status);
}

/// The mate of the board that the browser shows.
async fn mate_shown(browser: &Browser) -> String {
    let men = "(() => { const men = []; for (const row of document.querySelectorAll('#board tbody tr')) { let line = '', empty = 0; for (const cell of row.querySelectorAll('td')) { const man = cell.querySelector('svg'); if (!man) { empty++; continue; } line += (empty || '') + (man.getAttribute('class') === 'white' ? man.lastElementChild.getAttribute('href')[1].toUpperCase() : man.lastElementChild.getAttribute('href')[1]); empty = 0; } men.push(line + (empty || '')); } return men.join('/'); })()";
    let men = browser.asks(men).await;
    moves(&format!("{} w - - 0 1", men.as_str().unwrap())).0
}

/// Shows the challenge's page in a browser that wanted to go to `/deep?a=b`.
async fn at_the_board(house: &House, browser: &Browser) -> String {
    browser
        .go(&format!("http://{}/deep?a=b", house.address))
        .await;
    browser.presses("#form button").await;
    browser.reads("One more step for 127.0.0.1").await;
    mate_shown(browser).await
}

async fn is_back(house: &mut House, browser: &Browser) {
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
    house.show(|view| view.phase = Phase::Waking);
    // Where there is no script, nobody else looks again.
    browser.client.refresh().await.unwrap();
    browser.reads("127.0.0.1 is waking up").await;
    let url = browser.client.current_url().await.unwrap();
    assert_eq!((url.path(), url.query()), ("/deep", Some("a=b")));
    let complaints = browser.complaints().await;
    let by_design = |line: &&String| line.contains("Failed to load resource");
    let complaints: Vec<_> = complaints.iter().filter(|line| !by_design(line)).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

async fn types_into(browser: &Browser, words: &str) {
    let field = browser.client.find(Locator::Css("#step")).await.unwrap();
    field.send_keys(words).await.unwrap();
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_person_mates_by_pressing_squares() {
    let mut house = house().await;
    let browser = Browser::start(&[]).await;
    let mate = at_the_board(&house, &browser).await;
    let (from, to) = (
        format!("#{} button", &mate[..2]),
        format!("#{} button", &mate[2..4]),
    );
    // Another man first: it is let go when the right one is pressed.
    let other = "#board .white";
    browser.presses(other).await;
    browser.presses(&from).await;
    browser.presses(&to).await;
    let written = browser.asks("document.getElementById('step').value").await;
    assert_eq!(written.as_str(), Some(&mate[..4]));
    let stands = format!("document.querySelector('{to} svg.white') !== null");
    assert_eq!(browser.asks(&stands).await, true);
    assert!(
        house.is_left_alone(),
        "nothing is sent before the button is pressed"
    );
    browser.presses("#play").await;
    is_back(&mut house, &browser).await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_person_mates_with_the_keys_alone() {
    let mut house = house().await;
    let browser = Browser::start(&[]).await;
    let mate = at_the_board(&house, &browser).await;
    // The board is one stop of the Tab key, and the arrows walk over its squares, from a8.
    browser.types("Tab").await;
    assert_eq!(
        browser.asks("document.activeElement.parentNode.id").await,
        "a8"
    );
    walks(&browser, "a8", &mate[..2]).await;
    browser.types("Enter").await;
    let pressed = browser
        .asks("document.activeElement.getAttribute('aria-pressed')")
        .await;
    assert_eq!(pressed, "true");
    walks(&browser, &mate[..2], &mate[2..4]).await;
    browser.types("Enter").await;
    let said = browser
        .asks("document.getElementById('say').textContent")
        .await;
    assert!(said.as_str().unwrap().ends_with(&mate[2..4]), "{said}");
    assert_eq!(browser.asks("document.activeElement.id").await, "play");
    browser.types("Enter").await;
    is_back(&mut house, &browser).await;
    browser.close().await;
}

/// Walks from one square to another with the arrows.
async fn walks(browser: &Browser, from: &str, to: &str) {
    let steps = |at: usize| i32::from(to.as_bytes()[at]) - i32::from(from.as_bytes()[at]);
    for (by, back, on) in [
        (steps(0), "ArrowLeft", "ArrowRight"),
        (steps(1), "ArrowDown", "ArrowUp"),
    ] {
        for _ in 0..by.unsigned_abs() {
            browser.types(if by < 0 { back } else { on }).await;
        }
    }
    assert_eq!(
        browser.asks("document.activeElement.parentNode.id").await,
        to
    );
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_person_without_a_script_types_the_mate_after_a_wrong_move() {
    let mut house = house().await;
    let browser = Browser::start(&["--blink-settings=scriptEnabled=false"]).await;
    let first = at_the_board(&house, &browser).await;
    types_into(&browser, "Ka1").await;
    browser.presses("#play").await;
    browser
        .sees("//p[@class='notice' and starts-with(., 'That is not mate.')]")
        .await;
    let mate = mate_shown(&browser).await;
    assert_ne!(mate, first, "another position");
    types_into(
        &browser,
        &format!(" {}-{} ", &mate[..2].to_uppercase(), &mate[2..]),
    )
    .await;
    browser.presses("#play").await;
    is_back(&mut house, &browser).await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn who_does_not_play_waits_and_presses() {
    let mut house = house().await;
    let browser = Browser::start(&[]).await;
    at_the_board(&house, &browser).await;
    browser.presses(".or button").await;
    browser.sees("//strong[.='Not quite yet']").await;
    assert!(house.is_left_alone());
    house.later(Span::secs(30));
    browser.presses(".or button").await;
    is_back(&mut house, &browser).await;
    browser.close().await;
}
