//! Who comes: programs, of which none may wake a service by default however long it stays, and people, each of whom gets
//! in within one action. The corpora are in `tests/data/requests`.

use anteroom::engine::contract::Stage;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::{Phase, WakeView};

use crate::support::app::App;
use crate::support::house::House;
use crate::support::requests::Table;
use crate::support::visitor::{Answer, Visitor};

const PROGRAMS: &str = include_str!("../data/requests/programs.tsv");
const PEOPLE: &str = include_str!("../data/requests/people.tsv");

/// How many there are at least.
const PROGRAMS_MIN: usize = 200;
const PEOPLE_MIN: usize = 30;

/// Sends a request on a connection of its own.
async fn ask(house: &House, method: &str, path: &str, lines: &str, body: &str) -> Answer {
    let mut visitor = house.visitor().await;
    let length = match method {
        "POST" => format!("content-length: {}\r\n", body.len()),
        _ => String::new(),
    };
    let text = format!("{method} {path} HTTP/1.1\r\nhost: blog.test\r\n{lines}{length}\r\n{body}");
    visitor.send(&text).await;
    match method {
        "HEAD" => visitor.head().await,
        _ => visitor.answer().await,
    }
}

/// The addresses on this host that a page holds, in whichever attribute.
fn links(page: &str) -> Vec<String> {
    let attributes = ["href=", "src=", "action="];
    let quoted = |rest: &str| {
        let quote = rest.chars().next().filter(|it| ['"', '\''].contains(it));
        match quote {
            Some(quote) => rest[1..].split(quote).next().unwrap_or_default().to_owned(),
            None => rest.split([' ', '>']).next().unwrap_or_default().to_owned(),
        }
    };
    let found = attributes.iter().flat_map(|name| {
        let rests = page
            .match_indices(name)
            .map(|(at, _)| &page[at + name.len()..]);
        rests.map(quoted).collect::<Vec<_>>()
    });
    found.filter(|link| link.starts_with('/')).collect()
}

fn nonce(page: &str) -> Option<String> {
    let (_, after) = page.split_once("name=\"nonce\" value=\"")?;
    Some(after.split('"').next()?.to_owned())
}

#[tokio::test]
async fn no_program_wakes_a_service_however_long_it_stays() {
    let table = Table::read(PROGRAMS);
    assert!(
        table.rows.len() >= PROGRAMS_MIN,
        "{} programs",
        table.rows.len()
    );
    let mut faults = Vec::new();
    for row in &table.rows {
        let mut house = House::asleep().await;
        let (name, lines) = (row[0], table.lines(row.get(1).copied().unwrap_or_default()));
        for (method, path) in [
            ("GET", "/robots.txt"),
            ("GET", "/favicon.ico"),
            ("HEAD", "/"),
            ("GET", "/feed"),
            ("GET", "/.env"),
            ("GET", "/wp-login.php"),
            ("OPTIONS", "/"),
            ("GET", "/__anteroom/status"),
            ("GET", "/__anteroom/wake"),
        ] {
            ask(&house, method, path, &lines, "").await;
        }
        let page = ask(&house, "GET", "/", &lines, "").await;
        // The refresh, and a retry after the time that was told.
        ask(&house, "GET", "/", &lines, "").await;
        house.later(Span::secs(60));
        ask(&house, "GET", "/", &lines, "").await;
        for link in links(&page.body) {
            ask(&house, "GET", &link, &lines, "").await;
        }
        if let Some(nonce) = nonce(&page.body) {
            let path = format!("/__anteroom/wake?nonce={nonce}&by=click");
            ask(&house, "GET", &path, &lines, "").await;
            if name.starts_with('+') {
                let post = format!(
                    "{}origin: http://blog.test\r\nsec-fetch-site: same-origin\r\nx-anteroom-page: 1\r\ncontent-type: application/json\r\n",
                    lines
                        .lines()
                        .next()
                        .map(|agent| format!("{agent}\r\n"))
                        .unwrap_or_default()
                );
                let fresh = ask(&house, "GET", "/", &lines, "").await;
                let nonce = self::nonce(&fresh.body).unwrap_or(nonce);
                let body = format!("{{\"nonce\":\"{nonce}\",\"by\":\"page\"}}");
                let answer = ask(&house, "POST", "/__anteroom/wake", &post, &body).await;
                if answer.status != 403 {
                    faults.push(format!(
                        "{name}: its script's wake is answered {}",
                        answer.status
                    ));
                }
            }
        } else if name.starts_with('+') {
            faults.push(format!("{name}: got no page whose script it could run"));
        }
        if !house.is_left_alone() {
            faults.push(format!("{name} wakes the service"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Lets somebody in: page, wake, what it waits on, the app. What is wrong with that, if anything is.
async fn enter(app: &App, how: &str, opens: &str, asks: &str) -> Result<(), String> {
    let mut house = House::asleep().await;
    let page = ask(&house, "GET", "/a?b=c", opens, "").await;
    if page.status != 503 || !page.header("content-type").starts_with("text/html") {
        return Err(format!("no page: {page:?}"));
    }
    let nonce = nonce(&page.body).ok_or("no nonce in the page")?;
    let (lines, body, wanted) = match how {
        "script" => (
            format!("{asks}x-anteroom-page: 1\r\ncontent-type: application/json\r\n"),
            format!("{{\"nonce\":\"{nonce}\",\"by\":\"page\"}}"),
            202,
        ),
        _ => (
            format!("{asks}content-type: application/x-www-form-urlencoded\r\n"),
            format!("nonce={nonce}&by=click"),
            303,
        ),
    };
    let taken = ask(&house, "POST", "/__anteroom/wake", &lines, &body).await;
    if taken.status != wanted {
        return Err(format!("the wake is answered {taken:?}"));
    }
    house
        .inbox
        .triggers
        .try_recv()
        .map_err(|_| "no trigger".to_owned())?;
    let now = Time(1_000_000);
    house.show(|view| {
        view.phase = Phase::Waking;
        view.wake = Some(WakeView {
            since: now,
            stage: Stage::Asked,
            deadline: now + Span::mins(5),
            after_crash: false,
        });
    });
    match how {
        "script" => {
            let events = asks.replace("Accept: */*", "Accept: text/event-stream");
            let mut visitor: Visitor = house.visitor().await;
            visitor
                .send(&format!(
                    "GET /__anteroom/events HTTP/1.1\r\nhost: blog.test\r\n{events}\r\n"
                ))
                .await;
            let head = visitor.head().await;
            if head.status != 200 || !visitor.until("\"waking\"").await.ends_with("\"waking\"") {
                return Err(format!("no events: {head:?}"));
            }
        }
        _ => {
            let back = taken.header("location").to_owned();
            let waits = ask(&house, "GET", &back, opens, "").await;
            if waits.status != 503 || !waits.body.contains("http-equiv=\"refresh\"") {
                return Err(format!("nothing brings it back from {back}: {waits:?}"));
            }
        }
    }
    house.wake(app.address);
    let inside = ask(&house, "GET", "/a?b=c", opens, "").await;
    match (inside.status, inside.header("x-anteroom")) {
        (200, "") => Ok(()),
        _ => Err(format!("not let in: {inside:?}")),
    }
}

#[tokio::test]
async fn every_person_gets_in_within_one_action() {
    let table = Table::read(PEOPLE);
    assert!(
        table.rows.len() >= PEOPLE_MIN,
        "{} people",
        table.rows.len()
    );
    let app = App::echo().await;
    let mut faults = Vec::new();
    for row in &table.rows {
        let (opens, asks) = (
            table.lines(row[2]),
            table.lines(row.get(3).copied().unwrap_or_default()),
        );
        if let Err(what) = enter(&app, row[1], &opens, &asks).await {
            faults.push(format!("{}: {what:.300}", row[0]));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
