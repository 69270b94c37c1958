//! `wake.challenge` by a captcha service: what a visitor is asked, which tokens count, what happens while the verifier is
//! away, and what a browser makes of it. The service is a strict stand-in.

use std::collections::BTreeSet;

use anteroom::config::{CaptchaVendor, WakeBy};
use anteroom::engine::contract::TriggerBy;
use anteroom::engine::time::Span;
use anteroom::engine::view::Phase;
use anteroom::http::{Challenger, Limits};
use serde_json::{Value, json};

use crate::support::app::{App, say};
use crate::support::browser::Browser;
use crate::support::house::House;
use crate::support::siteverify::{SECRET, SITEKEY, Siteverify, Token, Way};
use crate::support::visitor::Answer;

use CaptchaVendor::{Hcaptcha, Turnstile};

const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const PROGRAM: &str = "accept: application/json\r\ncontent-type: application/json\r\n";

async fn house(vendor: CaptchaVendor) -> (House, Siteverify) {
    telling(vendor, false).await
}

async fn telling(vendor: CaptchaVendor, address: bool) -> (House, Siteverify) {
    let verifier = Siteverify::start(vendor).await;
    let challenge = verifier.challenge(address);
    let house = House::with(Limits::default(), |site| {
        site.hosts.push("127.0.0.1".to_owned());
        site.wake_by = WakeBy::Challenge;
        site.challenger = Some(Challenger::new(challenge));
    })
    .await;
    verifier.goes_by(&house.clock);
    (house, verifier)
}

/// The value of the first field of this name in a page.
fn field(page: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, after) = page
        .split_once(&mark)
        .unwrap_or_else(|| panic!("{name}: {page}"));
    after
        .split('"')
        .next()
        .expect("a value")
        .replace("&#38;", "&")
}

/// What the widget is told.
fn data(page: &str, name: &str) -> String {
    let (_, after) = page
        .split_once(&format!("data-{name}=\""))
        .expect("a widget");
    after.split('"').next().expect("a value").to_owned()
}

/// A visitor of its own, with a page.
struct Guest {
    lines: String,
    nonce: String,
}

impl Guest {
    async fn of(house: &House, address: &str) -> Guest {
        let mut visitor = house.visitor().await;
        let page = visitor.get("/", "accept: text/html\r\n").await.body;
        Guest {
            lines: format!(
                "{FORM}x-forwarded-for: {address}\r\nreferer: http://blog.test/deep?a=b\r\n"
            ),
            nonce: field(&page, "nonce"),
        }
    }

    async fn posts(&self, house: &House, more: &str) -> Answer {
        let mut visitor = house.visitor().await;
        let body = format!("nonce={}&by=click{more}", self.nonce);
        visitor.post("/__anteroom/wake", &self.lines, &body).await
    }

    /// Presses the button of the waiting page, and gets the challenge's.
    async fn mark(&self, house: &House) -> String {
        let page = self.posts(house, "").await;
        assert_eq!(page.status, 409);
        data(&page.body, "mark")
    }
}

fn heading(answer: &Answer) -> &str {
    let notice = "<p class=\"notice\">";
    let (_, after) = answer.body.split_once(notice).unwrap_or_default();
    after.split("</p>").next().unwrap_or_default()
}

const WRONG: &str = "That check was not passed.";
const UNKNOWN: &str = "That could not be checked just now.";

#[tokio::test]
async fn who_presses_the_button_gets_the_widget_and_the_wait_beside_it() {
    for (vendor, api, directives) in [
        (Turnstile, "turnstile", &["script-src", "frame-src"][..]),
        (
            Hcaptcha,
            "hcaptcha",
            &["script-src", "frame-src", "style-src", "connect-src"],
        ),
    ] {
        let (mut house, verifier) = house(vendor).await;
        let guest = Guest::of(&house, "192.0.2.1").await;
        let page = guest.posts(&house, "").await;
        assert_eq!((page.status, page.header("x-anteroom")), (409, "asleep"));
        assert_eq!(data(&page.body, "api"), api);
        assert_eq!(data(&page.body, "sitekey"), SITEKEY);
        assert_eq!(data(&page.body, "action"), "anteroom-wake");
        assert_eq!(
            data(&page.body, "script"),
            format!("{}/api.js", verifier.origin())
        );
        assert!(field(&page.body, "or").starts_with("c1.w."));
        assert_eq!(field(&page.body, "back"), "/deep?a=b");
        assert!(!page.body.contains(SECRET));
        let policy = page.header("content-security-policy");
        let opened: Vec<_> = policy
            .split("; ")
            .filter(|directive| directive.contains(&verifier.origin()))
            .filter_map(|directive| directive.split(' ').next())
            .collect();
        let (opened, wanted): (BTreeSet<_>, BTreeSet<_>) = (
            opened.into_iter().collect(),
            directives.iter().copied().collect(),
        );
        assert_eq!(opened, wanted);
        assert!(
            !policy.contains("unsafe") && policy.starts_with("default-src 'none'"),
            "{policy}"
        );
        assert!(verifier.calls().is_empty() && house.is_left_alone());
        let waiting = house
            .visitor()
            .await
            .get("/", "accept: text/html\r\n")
            .await;
        let policy = waiting.header("content-security-policy");
        assert!(
            !policy.contains(&verifier.origin()),
            "the waiting page asks nobody: {policy}"
        );
    }
}

#[tokio::test]
async fn a_good_token_wakes_the_service_and_leads_back() {
    for vendor in [Turnstile, Hcaptcha] {
        let (mut house, verifier) = house(vendor).await;
        let guest = Guest::of(&house, "192.0.2.1").await;
        let mark = guest.mark(&house).await;
        let token = verifier.solved(&mark, |_| {});
        let answer = guest
            .posts(&house, &format!("&answer={token}&back=/x?y"))
            .await;
        assert_eq!((answer.status, answer.header("location")), (303, "/x?y"));
        assert_eq!(house.trigger().await.by, TriggerBy::Click);
        let calls = verifier.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0]["secret"], SECRET);
        assert_eq!(calls[0]["response"], token);
        assert!(!calls[0].contains_key("remoteip"));
        // The same token for another page of the same visitor.
        let again = Guest::of(&house, "192.0.2.1").await;
        let answer = again.posts(&house, &format!("&answer={token}")).await;
        assert_eq!((answer.status, heading(&answer)), (409, WRONG));
        assert_eq!(verifier.calls().len(), 1);
        assert!(house.is_left_alone());
    }
}

#[tokio::test]
async fn a_token_for_anything_else_is_refused() {
    let old = |token: &mut Token| token.given -= 301_000;
    type Change = fn(&mut Token);
    let changes: [(&str, Change, bool); 7] = [
        (
            "another host",
            |token| token.host = "evil.test".to_owned(),
            true,
        ),
        (
            "our other host",
            |token| token.host = "www.blog.test".to_owned(),
            true,
        ),
        (
            "another sitekey",
            |token| token.sitekey = "0x4BBB".to_owned(),
            true,
        ),
        ("too old", old, true),
        ("of a time to come", |token| token.given += 120_000, true),
        (
            "another action",
            |token| token.action = "login".to_owned(),
            false,
        ),
        (
            "another page",
            |token| token.cdata = "00ff".to_owned(),
            false,
        ),
    ];
    for vendor in [Turnstile, Hcaptcha] {
        let (mut house, verifier) = house(vendor).await;
        for (at, (what, change, everywhere)) in changes.into_iter().enumerate() {
            if !everywhere && vendor == Hcaptcha {
                continue;
            }
            let guest = Guest::of(&house, &format!("192.0.2.{at}")).await;
            let mark = guest.mark(&house).await;
            let token = verifier.solved(&mark, change);
            let answer = guest.posts(&house, &format!("&answer={token}")).await;
            assert_eq!(
                (answer.status, heading(&answer)),
                (409, WRONG),
                "{vendor:?}: {what}"
            );
            assert_eq!(verifier.calls().len(), 1, "{vendor:?}: {what}");
        }
        assert!(house.is_left_alone());
    }
}

#[tokio::test]
async fn what_is_no_token_costs_no_call() {
    for (vendor, most) in [(Turnstile, 2_048), (Hcaptcha, 8_192)] {
        let (mut house, verifier) = house(vendor).await;
        let guest = Guest::of(&house, "192.0.2.1").await;
        for (more, status) in [
            (format!("&answer={}", "a".repeat(most + 1)), 409),
            ("&answer=a%0d%0ax-a:b".to_owned(), 409),
            ("&answer=a+b".to_owned(), 409),
            ("&answer=%c3%a4".to_owned(), 409),
            ("&answer=a%26secret%3db%00".to_owned(), 409),
            ("&answer=a&answer=b".to_owned(), 400),
            ("&answer=%zz".to_owned(), 400),
            (format!("&answer={}", "a".repeat(most + 4_096)), 400),
        ] {
            let answer = guest.posts(&house, &more).await;
            assert_eq!(answer.status, status, "{:.60}", more);
            assert_eq!(answer.header("x-a"), "");
        }
        assert_eq!(verifier.calls().len(), 0);
        // The longest, with the longest way back, is taken.
        let (token, back) = ("a".repeat(most), format!("/{}", "b".repeat(1_900)));
        let answer = guest
            .posts(&house, &format!("&answer={token}&back={back}"))
            .await;
        assert_eq!((answer.status, heading(&answer)), (409, WRONG));
        // What would be another field is part of the token.
        let answer = guest.posts(&house, "&answer=a%26secret%3db").await;
        assert_eq!((answer.status, heading(&answer)), (409, WRONG));
        let calls = verifier.calls();
        assert_eq!(calls.len(), 2);
        assert_eq!(
            (&*calls[1]["response"], &*calls[1]["secret"]),
            ("a&secret=b", SECRET)
        );
        assert!(house.is_left_alone());
    }
}

#[tokio::test]
async fn a_stale_nonce_a_stranger_and_a_foreign_page_cost_no_call() {
    let (mut house, verifier) = house(Turnstile).await;
    let guest = Guest::of(&house, "192.0.2.1").await;
    let token = verifier.solved(&guest.mark(&house).await, |_| {});
    let forged = Guest {
        nonce: guest.nonce.replace("v2.", "v2.f"),
        lines: guest.lines.clone(),
    };
    let foreign = Guest {
        nonce: guest.nonce.clone(),
        lines: format!("{}origin: https://evil.test\r\n", guest.lines),
    };
    let answer = format!("&answer={token}");
    assert_eq!(forged.posts(&house, &answer).await.status, 303);
    assert_eq!(foreign.posts(&house, &answer).await.status, 403);
    assert!(verifier.calls().is_empty() && house.is_left_alone());
    house.show(|view| view.phase = Phase::Waking);
    assert_eq!(guest.posts(&house, "&answer=rubbish").await.status, 303);
    assert!(
        verifier.calls().is_empty(),
        "nobody proves what is under way"
    );
}

#[tokio::test]
async fn a_call_that_fails_is_made_once_more_with_the_same_key() {
    for way in [
        Way::Status(500),
        Way::Status(429),
        Way::Fails,
        Way::Page,
        Way::Half,
        Way::Endless,
        Way::Elsewhere,
    ] {
        let (mut house, verifier) = house(Turnstile).await;
        let guest = Guest::of(&house, "192.0.2.1").await;
        let token = verifier.solved(&guest.mark(&house).await, |_| {});
        verifier.goes(&[way, Way::Well]);
        let answer = guest.posts(&house, &format!("&answer={token}")).await;
        assert_eq!(answer.status, 303, "{way:?}");
        let calls = verifier.calls();
        assert_eq!(calls.len(), 2, "{way:?}");
        assert_eq!(calls[0]["idempotency_key"], calls[1]["idempotency_key"]);
        let _ = house.trigger().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_hcaptcha_has_used_the_token_up() {
    let rows = [
        (Turnstile, Way::Lost, 303, ""),
        (Turnstile, Way::Silent, 303, ""),
        (Hcaptcha, Way::Silent, 303, ""),
        (Hcaptcha, Way::Lost, 409, WRONG),
    ];
    // Each waits for a call to be given up: all at once.
    futures_util::future::join_all(rows.map(async |(vendor, way, status, told)| {
        let (house, verifier) = house(vendor).await;
        let guest = Guest::of(&house, "192.0.2.1").await;
        let token = verifier.solved(&guest.mark(&house).await, |_| {});
        verifier.goes(&[way, Way::Well]);
        let answer = guest.posts(&house, &format!("&answer={token}")).await;
        assert_eq!(
            (answer.status, heading(&answer)),
            (status, told),
            "{vendor:?} {way:?}"
        );
        assert_eq!(verifier.calls().len(), 2);
    }))
    .await;
}

#[tokio::test]
async fn while_the_verifier_is_away_nobody_passes_by_a_token_and_nobody_is_shut_out() {
    let (mut house, verifier) = house(Turnstile).await;
    verifier.always_goes(Way::Status(502));
    let mut last = None;
    for at in 0..3 {
        let guest = Guest::of(&house, &format!("192.0.2.{at}")).await;
        let token = verifier.solved(&guest.mark(&house).await, |_| {});
        let answer = guest.posts(&house, &format!("&answer={token}")).await;
        assert_eq!((answer.status, heading(&answer)), (409, UNKNOWN));
        assert_eq!(verifier.calls().len(), 2);
        last = Some((guest, answer));
    }
    let (guest, page) = last.unwrap();
    assert!(
        !page.body.contains("id=\"check\""),
        "there is no widget any more"
    );
    assert!(
        !page
            .header("content-security-policy")
            .contains(&verifier.origin())
    );
    // A robot posts tokens all the same.
    let answer = guest.posts(&house, "&answer=0.token-0_aB").await;
    assert_eq!((answer.status, heading(&answer)), (409, UNKNOWN));
    assert!(verifier.calls().is_empty(), "the verifier is left alone");
    assert!(house.is_left_alone());
    // The other way in.
    let wait = field(&page.body, "challenge");
    house.later(Span::secs(15));
    let answer = guest.posts(&house, &format!("&challenge={wait}")).await;
    assert_eq!(answer.status, 303);
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
    // After a while it is tried again, and is well.
    house.later(Span::secs(15));
    verifier.always_goes(Way::Well);
    let guest = Guest::of(&house, "192.0.2.9").await;
    let token = verifier.solved(&guest.mark(&house).await, |_| {});
    assert_eq!(
        guest
            .posts(&house, &format!("&answer={token}"))
            .await
            .status,
        303
    );
    assert_eq!(verifier.calls().len(), 1);
}

#[tokio::test]
async fn a_secret_that_the_verifier_does_not_know_is_an_outage_at_once() {
    for vendor in [Turnstile, Hcaptcha] {
        let (house, verifier) = house(vendor).await;
        verifier.forgets_the_secret();
        let guest = Guest::of(&house, "192.0.2.1").await;
        let token = verifier.solved(&guest.mark(&house).await, |_| {});
        let page = guest.posts(&house, &format!("&answer={token}")).await;
        assert_eq!((page.status, heading(&page)), (409, UNKNOWN));
        assert_eq!(
            verifier.calls().len(),
            1,
            "it would not know it the next time"
        );
        assert!(!page.body.contains("id=\"check\""));
        assert!(!page.body.contains(SECRET) && !page.head.contains(SECRET));
    }
}

#[tokio::test]
async fn a_flood_of_false_tokens_is_not_passed_on() {
    let (mut house, verifier) = house(Turnstile).await;
    let guest = Guest::of(&house, "192.0.2.1").await;
    for at in 0..30 {
        let answer = guest.posts(&house, &format!("&answer=false-{at}")).await;
        let told = if at < 6 { WRONG } else { UNKNOWN };
        assert_eq!((answer.status, heading(&answer)), (409, told), "{at}");
    }
    assert_eq!(verifier.calls().len(), 6, "of one client");
    let began = std::time::Instant::now();
    for at in 0..120 {
        let lines = guest
            .lines
            .replace("192.0.2.1", &format!("198.51.100.{at}"));
        let nonce = guest.nonce.clone();
        let other = Guest { lines, nonce };
        assert_eq!(other.posts(&house, "&answer=false").await.status, 409);
    }
    let most = 10 + 10 * (began.elapsed().as_secs() as usize + 1);
    let calls = verifier.calls().len();
    assert!(
        calls <= most && calls < 120,
        "of all: {calls}, {most} at most"
    );
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn the_address_is_told_where_that_is_configured_alone() {
    let (_house, verifier) = telling(Hcaptcha, true).await;
    let guest = Guest::of(&_house, "2001:db8::7").await;
    let token = verifier.solved(&guest.mark(&_house).await, |_| {});
    assert_eq!(
        guest
            .posts(&_house, &format!("&answer={token}"))
            .await
            .status,
        303
    );
    let calls = verifier.calls();
    assert_eq!(
        (&*calls[0]["remoteip"], &*calls[0]["sitekey"]),
        ("2001:db8::7", SITEKEY)
    );
}

#[tokio::test]
async fn a_program_is_told_what_is_to_be_solved() {
    let (mut house, verifier) = house(Turnstile).await;
    let guest = Guest::of(&house, "192.0.2.1").await;
    let asks = async |body: Value| {
        let mut visitor = house.visitor().await;
        visitor
            .post("/__anteroom/wake", PROGRAM, &body.to_string())
            .await
    };
    let answer = asks(json!({ "nonce": guest.nonce })).await;
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    let told = &said["challenge"];
    assert_eq!(
        (answer.status, said["type"].as_str()),
        (409, Some("urn:anteroom:challenge"))
    );
    let mark = told["mark"].as_str().unwrap();
    let wanted =
        json!({ "kind": "turnstile", "sitekey": SITEKEY, "action": "anteroom-wake", "mark": mark });
    assert_eq!(
        (told, said["or"]["wait_ms"].as_u64()),
        (&wanted, Some(15_000))
    );
    let token = verifier.solved(mark, |_| {});
    let answer = asks(json!({ "nonce": guest.nonce, "answer": token })).await;
    assert_eq!(answer.status, 202);
    assert_eq!(house.trigger().await.by, TriggerBy::Click);
}

/// Breaches of the policy that the browser told of.
async fn breaches(browser: &Browser) -> Vec<String> {
    let told = browser.complaints().await;
    told.into_iter()
        .filter(|line| line.contains("Content Security Policy"))
        .collect()
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_browser_passes_the_widget_and_gets_to_the_app() {
    for vendor in [Turnstile, Hcaptcha] {
        let (mut house, verifier) = house(vendor).await;
        let browser = Browser::start(&[]).await;
        browser
            .go(&format!("http://{}/deep?a=b", house.address))
            .await;
        browser.presses("#start").await;
        assert_eq!(
            house.trigger().await.by,
            TriggerBy::Click,
            "the widget's token is sent by itself"
        );
        house.show(|view| view.phase = Phase::Waking);
        browser.reads("127.0.0.1 is waking up").await;
        let url = browser.client.current_url().await.unwrap();
        assert_eq!((url.path(), url.query()), ("/deep", Some("a=b")));
        assert_eq!(breaches(&browser).await, Vec::<String>::new());
        let app = App::start(async |_| {
            let mut page = say("<!doctype html><title>The app</title>");
            let html = http::HeaderValue::from_static("text/html");
            page.headers_mut().insert(http::header::CONTENT_TYPE, html);
            page
        })
        .await;
        house.wake(app.address);
        browser.has_title("The app").await;
        assert_eq!(verifier.calls().len(), 1);
        browser.close().await;
    }
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn where_the_widget_does_not_load_the_wait_is_in_plain_sight() {
    for args in [
        &["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"][..],
        &["--blink-settings=scriptEnabled=false"],
    ] {
        let verifier = Siteverify::start(Turnstile).await;
        let mut challenge = verifier.challenge(false);
        if let anteroom::config::ChallengeKind::Captcha(captcha) = &mut challenge.kind {
            captcha.script = Some("http://widget.invalid/api.js".to_owned());
        }
        let mut house = House::with(Limits::default(), |site| {
            site.hosts.push("127.0.0.1".to_owned());
            site.wake_by = WakeBy::Challenge;
            site.challenger = Some(Challenger::new(challenge));
        })
        .await;
        let browser = Browser::start(args).await;
        browser.go(&format!("http://{}/", house.address)).await;
        browser.presses("form button").await;
        browser.reads("One more step for 127.0.0.1").await;
        let hidden = browser
            .client
            .find(fantoccini::Locator::Css("#check"))
            .await
            .unwrap();
        assert!(!hidden.is_displayed().await.unwrap(), "{args:?}");
        house.later(Span::secs(15));
        browser.presses("form button").await;
        assert_eq!(house.trigger().await.by, TriggerBy::Click, "{args:?}");
        browser.close().await;
    }
}
