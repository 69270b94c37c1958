//! The table of attacks on the gate: each request is answered with exactly this status, and wakes nothing. Behind it
//! stand those that do wake, because their sender has seen the page, and try to be led elsewhere.

use anteroom::engine::time::{Span, Time};
use anteroom::gate::Keeper;

use crate::support::house::House;
use crate::support::visitor::Visitor;

const HOST: &str = "blog.test";
const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const SCRIPT: &str = "x-anteroom-page: 1\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "x-anteroom-page: 1\r\ncontent-type: application/json\r\n";

/// The nonce in the waiting page.
async fn nonce(house: &House) -> String {
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", "accept: text/html\r\n").await.body;
    let (_, after) = page.split_once("name=\"nonce\" value=\"").expect("a nonce");
    after.split('"').next().expect("a nonce").to_owned()
}

fn post(lines: &str, body: &str) -> String {
    to("POST /__anteroom/wake", lines, body)
}

fn to(what: &str, lines: &str, body: &str) -> String {
    let length = body.len();
    format!("{what} HTTP/1.1\r\nhost: blog.test\r\ncontent-length: {length}\r\n{lines}\r\n{body}")
}

/// An attack, the request, and its answer's status.
type Row = (&'static str, String, u16);

fn on_the_nonce(good: &str, now: Time) -> Vec<Row> {
    let (blog, shop) = ("blog".parse().unwrap(), "shop".parse().unwrap());
    let (keeper, stranger) = (Keeper::new([7; 32], 1), Keeper::new([8; 32], 1));
    let with = |nonce: &str| post(SCRIPT, &format!("nonce={nonce}&by=click"));
    let parts: Vec<_> = good.split('.').collect();
    let swapped = |place: usize, part: &str| {
        let mut parts = parts.clone();
        parts[place] = part;
        with(&parts.join("."))
    };
    let of = |keeper: &Keeper, service, host, at| keeper.nonce(service, host, at).to_string();
    let other = of(&keeper, &blog, HOST, now + Span::mins(1));
    let other_mac = other.rsplit('.').next().unwrap();
    let last = parts.len() - 1;
    vec![
        ("none", post(SCRIPT, ""), 409),
        ("another field", post(SCRIPT, "token=1"), 409),
        ("empty", with(""), 409),
        ("guessed", with("guess"), 409),
        ("a byte short", with(&good[..good.len() - 1]), 409),
        ("half of it", with(&good[..good.len() / 2]), 409),
        ("a byte more", with(&format!("{good}A")), 409),
        ("padded", with(&format!("{good}%3D")), 409),
        ("a blank before", with(&format!("+{good}")), 409),
        ("a blank behind", with(&format!("{good}+")), 409),
        ("a line end behind", with(&format!("{good}%0a")), 409),
        ("a zero behind", with(&format!("{good}%00")), 409),
        ("twice in one", with(&format!("{good}{good}")), 409),
        ("two with a comma", with(&format!("{good},{good}")), 409),
        ("in capitals", with(&good.to_uppercase()), 409),
        ("of another version", swapped(0, "v9"), 409),
        ("with the time changed", swapped(1, "00000001"), 409),
        (
            "with the seal of another time",
            swapped(last, other_mac),
            409,
        ),
        ("without a seal", swapped(last, ""), 409),
        (
            "of another service",
            with(&of(&keeper, &shop, HOST, now)),
            409,
        ),
        (
            "of another host",
            with(&of(&keeper, &blog, "shop.test", now)),
            409,
        ),
        (
            "of another house",
            with(&of(&stranger, &blog, HOST, now)),
            409,
        ),
        (
            "expired",
            with(&of(&keeper, &blog, HOST, now - Span::mins(12))),
            409,
        ),
        (
            "of the future",
            with(&of(&keeper, &blog, HOST, now + Span::mins(3))),
            409,
        ),
        ("very long", with(&"v".repeat(3_000)), 409),
        (
            "in the query",
            to(&format!("POST /__anteroom/wake?nonce={good}"), SCRIPT, ""),
            409,
        ),
        (
            "in a cookie",
            post(&format!("{SCRIPT}cookie: nonce={good}\r\n"), ""),
            409,
        ),
        (
            "in a line",
            post(&format!("{SCRIPT}nonce: {good}\r\n"), ""),
            409,
        ),
        (
            "said twice",
            post(SCRIPT, &format!("nonce={good}&nonce={good}")),
            400,
        ),
        (
            "a wrong one first",
            post(SCRIPT, &format!("nonce=x&nonce={good}")),
            400,
        ),
        (
            "a wrong one behind",
            post(SCRIPT, &format!("nonce={good}&nonce=x")),
            400,
        ),
        ("as a list", post(SCRIPT, &format!("nonce[]={good}")), 409),
        (
            "an encoding cut off",
            post(SCRIPT, &format!("nonce={good}%2")),
            400,
        ),
        ("no encoding at all", post(SCRIPT, "nonce=%zz"), 400),
        (
            "as a list in JSON",
            post(JSON, &format!("{{\"nonce\":[\"{good}\"]}}")),
            400,
        ),
        (
            "as an object in JSON",
            post(JSON, &format!("{{\"nonce\":{{\"a\":\"{good}\"}}}}")),
            400,
        ),
        ("a number in JSON", post(JSON, "{\"nonce\":1}"), 400),
        (
            "twice in JSON",
            post(JSON, &format!("{{\"nonce\":\"x\",\"nonce\":\"{good}\"}}")),
            400,
        ),
        (
            "JSON cut off",
            post(JSON, &format!("{{\"nonce\":\"{good}\"")),
            400,
        ),
        ("a page's form without one", post(FORM, "by=click"), 303),
    ]
}

fn from_elsewhere(good: &str) -> Vec<Row> {
    let said = |lines: &str| post(&format!("{SCRIPT}{lines}\r\n"), &format!("nonce={good}"));
    vec![
        ("another site", said("origin: https://evil.test"), 403),
        ("a frame without origin", said("origin: null"), 403),
        ("no scheme", said("origin: blog.test"), 403),
        (
            "a name that begins alike",
            said("origin: https://blog.test.evil.test"),
            403,
        ),
        (
            "a name that ends alike",
            said("origin: https://evilblog.test"),
            403,
        ),
        ("a name below", said("origin: https://a.blog.test"), 403),
        (
            "the name as a user",
            said("origin: https://blog.test@evil.test"),
            403,
        ),
        ("another port", said("origin: https://blog.test:8443"), 403),
        ("a path behind", said("origin: https://blog.test/"), 403),
        ("an empty origin", said("origin: "), 403),
        (
            "two origins",
            said("origin: https://blog.test\r\norigin: https://evil.test"),
            403,
        ),
        (
            "a browser says cross-site",
            said("sec-fetch-site: cross-site"),
            403,
        ),
        (
            "a browser says same-site",
            said("sec-fetch-site: same-site"),
            403,
        ),
        ("a browser says none", said("sec-fetch-site: none"), 403),
        (
            "two words of a browser",
            said("sec-fetch-site: same-origin\r\nsec-fetch-site: cross-site"),
            403,
        ),
        (
            "a good origin of a cross-site form",
            said("origin: https://blog.test\r\nsec-fetch-site: cross-site"),
            403,
        ),
    ]
}

fn in_a_wrong_way(good: &str) -> Vec<Row> {
    let body = format!("nonce={good}");
    let typed = |kind: &str| {
        post(
            &format!("x-anteroom-page: 1\r\ncontent-type: {kind}\r\n"),
            &body,
        )
    };
    let at = |what: &str| to(what, SCRIPT, &body);
    let raw = |lines: &str, body: &str| {
        format!(
            "POST /__anteroom/wake HTTP/1.1\r\nhost: blog.test\r\n{SCRIPT}{lines}\r\n\r\n{body}"
        )
    };
    let length = body.len();
    vec![
        (
            "GET",
            format!("GET /__anteroom/wake?{body} HTTP/1.1\r\nhost: blog.test\r\n\r\n"),
            405,
        ),
        ("GET with a body", at("GET /__anteroom/wake"), 405),
        ("PUT", at("PUT /__anteroom/wake"), 405),
        ("PATCH", at("PATCH /__anteroom/wake"), 405),
        ("DELETE", at("DELETE /__anteroom/wake"), 405),
        ("OPTIONS", at("OPTIONS /__anteroom/wake"), 405),
        ("a method of its own", at("WAKE /__anteroom/wake"), 405),
        ("post in small letters", at("post /__anteroom/wake"), 405),
        ("a plain text", typed("text/plain"), 415),
        ("an upload", typed("multipart/form-data; boundary=a"), 415),
        ("XML", typed("application/xml"), 415),
        ("an empty type", typed(""), 415),
        (
            "two types",
            typed("application/json\r\ncontent-type: text/plain"),
            415,
        ),
        ("a path below", at("POST /__anteroom/wake/"), 404),
        ("two slashes", at("POST /__anteroom//wake"), 404),
        ("in capitals", at("POST /__anteroom/WAKE"), 404),
        ("a slash encoded", at("POST /__anteroom/wake%2f"), 404),
        ("a letter encoded", at("POST /__anteroom/w%61ke"), 404),
        (
            "by a detour",
            at("POST /__anteroom/../__anteroom/wake"),
            404,
        ),
        ("our folder in capitals", at("POST /__ANTEROOM/wake"), 503),
        ("our folder encoded", at("POST /%5f%5fanteroom/wake"), 503),
        (
            "another host",
            at("POST /__anteroom/wake").replace("blog.test", "evil.test"),
            404,
        ),
        (
            "another host with line ends",
            at("POST /__anteroom/wake").replace("blog.test", "blog.test%0d%0ax:y"),
            404,
        ),
        (
            "two hosts",
            at("POST /__anteroom/wake")
                .replace("host: blog.test", "host: blog.test\r\nhost: evil.test"),
            400,
        ),
        (
            "no host",
            at("POST /__anteroom/wake").replace("host: blog.test\r\n", ""),
            404,
        ),
        (
            "too long",
            post(SCRIPT, &format!("{body}&x={}", "x".repeat(5_000))),
            400,
        ),
        (
            "too long in chunks",
            raw(
                "transfer-encoding: chunked",
                &format!("1388\r\n{}\r\n0\r\n\r\n", "x".repeat(5_000)),
            ),
            400,
        ),
        (
            "no number for a length",
            raw("content-length: x", &body),
            400,
        ),
        (
            "a length with a sign",
            raw(&format!("content-length: +{length}"), &body),
            400,
        ),
        (
            "two lengths",
            raw(
                &format!("content-length: {length}\r\ncontent-length: 1"),
                &body,
            ),
            400,
        ),
        (
            "a chunk that is none",
            raw(
                "transfer-encoding: chunked",
                &format!("zz\r\n{body}\r\n0\r\n\r\n"),
            ),
            400,
        ),
        (
            "an unknown coding",
            raw("transfer-encoding: gzip", &body),
            400,
        ),
        (
            "a blank before the colon",
            raw(&format!("content-length : {length}"), &body),
            400,
        ),
        (
            "a folded line",
            raw(&format!("x: a\r\n b\r\ncontent-length: {length}"), &body),
            400,
        ),
        (
            "a zero in a line",
            raw(&format!("x: a\0b\r\ncontent-length: {length}"), &body),
            400,
        ),
        (
            "a bare line end in a line",
            raw(
                &format!("referer: /\rx: y\r\ncontent-length: {length}"),
                &body,
            ),
            400,
        ),
    ]
}

#[tokio::test]
async fn every_attack_is_answered_as_the_table_says_and_wakes_nothing() {
    let mut house = House::asleep().await;
    house.later(Span::mins(60));
    let now = Time(house.clock.load(std::sync::atomic::Ordering::SeqCst));
    let good = nonce(&house).await;
    let tables = [
        on_the_nonce(&good, now),
        from_elsewhere(&good),
        in_a_wrong_way(&good),
    ];
    let rows: Vec<_> = tables.into_iter().flatten().collect();
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for (name, request, status) in &rows {
        let mut visitor = Visitor::connect(house.address).await;
        visitor.send(request).await;
        let answer = visitor.head().await;
        if answer.status != *status {
            wrong.push(format!("{name}: {} instead of {status}", answer.status));
        }
        if !house.is_left_alone() {
            wrong.push(format!("{name}: it wakes"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The nonce was good all the time.
    let mut visitor = house.visitor().await;
    let body = format!("nonce={good}");
    let answer = visitor.post("/__anteroom/wake", SCRIPT, &body).await;
    assert_eq!(answer.status, 202);
    let _ = house.trigger().await;
}

#[tokio::test]
async fn nobody_is_led_elsewhere_and_no_line_is_slipped_in() {
    let rows = [
        ("https://evil.test/", "/"),
        ("//evil.test/", "/"),
        ("https://blog.test//evil.test/", "/"),
        ("https://blog.test///evil.test/", "/"),
        ("https://blog.test/\\evil.test/", "/"),
        ("https://blog.test\\@evil.test/", "/"),
        ("https://blog.test@evil.test/a", "/"),
        ("https://blog.test:80@evil.test/a", "/"),
        ("https://evil.test#@blog.test/a", "/"),
        ("https://evil.test?@blog.test/a", "/"),
        ("https://blog.test:8443/a", "/"),
        ("https://blog.test.evil.test/a", "/"),
        ("javascript:alert(1)", "/"),
        ("javascript://blog.test/%0aalert(1)", "/%0aalert(1)"),
        ("data:text/html,x", "/"),
        ("blog.test/a", "/"),
        ("/a", "/"),
        ("https://blog.test/__anteroom/wake", "/"),
        ("https://blog.test/__anteroom/error?status=502", "/"),
        (
            "https://blog.test/a%0d%0aset-cookie:%20a=b",
            "/a%0d%0aset-cookie:%20a=b",
        ),
        ("https://blog.test/%2f%2fevil.test", "/%2f%2fevil.test"),
        (
            "https://blog.test/a?next=//evil.test#part",
            "/a?next=//evil.test",
        ),
    ];
    for (referer, location) in rows {
        let mut house = House::asleep().await;
        let good = nonce(&house).await;
        let mut visitor = house.visitor().await;
        let lines = format!("{FORM}referer: {referer}\r\n");
        let body = format!("nonce={good}");
        let answer = visitor.post("/__anteroom/wake", &lines, &body).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, location),
            "{referer}"
        );
        assert!(
            !answer.head.to_lowercase().contains("\nset-cookie"),
            "{}",
            answer.head
        );
        let _ = house.trigger().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    // The clock is paused on this thread alone.
    let here = anteroom::http::Limits {
        workers: 0,
        ..anteroom::http::Limits::default()
    };
    let mut house = House::with(here, |_| {}).await;
    let mut visitor = house.visitor().await;
    let began = tokio::time::Instant::now();
    let head = format!(
        "POST /__anteroom/wake HTTP/1.1\r\nhost: blog.test\r\n{SCRIPT}content-length: 100\r\n\r\nnonce="
    );
    visitor.send(&head).await;
    let answer = visitor.head().await;
    assert_eq!((answer.status, answer.header("connection")), (400, "close"));
    assert!(began.elapsed().as_secs() <= 6, "{:?}", began.elapsed());
    assert!(house.is_left_alone());
}
