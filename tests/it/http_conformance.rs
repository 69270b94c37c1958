//! Every kind of request of `tests/data/requests/conformance.tsv` against a service in every state, straight to the room
//! and through the real Traefik: exact status, headers and kind of body.

use std::net::SocketAddr;

use anteroom::engine::contract::Stage;
use anteroom::engine::story::Failure;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::view::{FailureView, Phase, WakeView};
use anteroom::http::{Limits, Site};
use tokio::time::timeout;

use crate::support::app::App;
use crate::support::house::House;
use crate::support::ports::free_port;
use crate::support::requests::Table;
use crate::support::traefik::{Places, Traefik};
use crate::support::visitor::{Answer, SOON, Visitor};
use crate::support::wait::eventually;

const TABLE: &str = include_str!("../data/requests/conformance.tsv");

/// How many kinds there are at least.
const KINDS_MIN: usize = 300;

/// A row of the table.
struct Row {
    form: String,
    method: String,
    target: String,
    what: String,
    /// Header lines, each with its end.
    lines: String,
}

/// The state of the service that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Asleep,
    Waking,
    Failed,
    Awake,
    Unknown,
}

const STATES: [State; 5] = [
    State::Asleep,
    State::Waking,
    State::Failed,
    State::Awake,
    State::Unknown,
];

impl State {
    /// What `X-Anteroom` says.
    fn mark(self) -> &'static str {
        match self {
            State::Asleep => "asleep",
            State::Waking => "waking",
            State::Failed => "failed",
            State::Awake => "awake",
            State::Unknown => "unknown",
        }
    }

    /// What `Retry-After` says where nothing is known of earlier wakes, in seconds.
    fn retry_after(self) -> &'static str {
        match self {
            State::Asleep => "30",
            State::Waking => "5",
            State::Failed => "20",
            State::Awake => "1",
            State::Unknown => "",
        }
    }

    fn host(self) -> &'static str {
        match self {
            State::Unknown => "other.test",
            _ => "blog.test",
        }
    }

    /// Brings the service into this state.
    fn show(self, house: &House, app: SocketAddr) {
        let since = Time(1_000_000);
        match self {
            State::Asleep | State::Unknown => {}
            State::Waking => house.show(|view| {
                view.phase = Phase::Waking;
                view.wake = Some(WakeView {
                    since,
                    stage: Stage::MachineStarting,
                    deadline: since + Span::mins(5),
                    after_crash: false,
                });
            }),
            State::Failed => house.show(|view| {
                view.phase = Phase::Failed;
                view.failure = Some(FailureView {
                    failure: Failure::NoCapacity,
                    retry_at: Some(since + Span::secs(17)),
                });
            }),
            State::Awake => house.wake(app),
        }
    }
}

fn rows() -> Vec<Row> {
    let table = Table::read(TABLE);
    let rows = table.rows.iter().map(|columns| {
        let (method, target) = columns[1].split_once(' ').expect("a request line");
        Row {
            form: columns[0].to_owned(),
            method: method.to_owned(),
            target: target.to_owned(),
            what: columns[2].to_owned(),
            lines: table.lines(columns.get(3).copied().unwrap_or_default()),
        }
    });
    rows.collect()
}

impl Row {
    fn is_own(&self) -> bool {
        self.form.starts_with("own-")
    }

    /// The form that a service in this state answers in.
    fn form_in(&self, state: State) -> &str {
        match state {
            State::Unknown => "unknown",
            State::Awake if !self.is_own() => "app",
            _ => &self.form,
        }
    }

    async fn ask(&self, at: SocketAddr, host: &str) -> Answer {
        let body = match self.method.as_str() {
            "POST" | "PUT" | "PATCH" | "REPORT" | "PROPFIND" | "SEARCH" | "QUERY" => "a=b",
            _ => "",
        };
        let length = match body {
            "" => String::new(),
            body => format!("content-length: {}\r\n", body.len()),
        };
        let (method, target, lines) = (&self.method, &self.target, &self.lines);
        let mut visitor = Visitor::connect(at).await;
        visitor
            .send(&format!(
                "{method} {target} HTTP/1.1\r\nhost: {host}\r\n{lines}{length}\r\n{body}"
            ))
            .await;
        let answer = async {
            let mut answer = match *method == "HEAD" {
                true => visitor.head().await,
                false => visitor.answer().await,
            };
            // The interim answer to an expectation.
            while answer.status == 100 {
                answer = visitor.answer().await;
            }
            answer
        };
        let answer = timeout(SOON, answer).await;
        answer.unwrap_or_else(|_| panic!("{}: no answer", self.what))
    }

    fn check(&self, state: State, answer: &Answer, faults: &mut Vec<String>) {
        let form = self.form_in(state);
        let mut expect = |what: &str, is: &str, wanted: &str| {
            if is != wanted {
                let (method, target) = (&self.method, &self.target);
                faults.push(format!(
                    "{state:?}: {method} {target} ({}): {what} is {is:?}, not {wanted:?}",
                    self.what
                ));
            }
        };
        let problem = "application/problem+json";
        let html = "text/html; charset=utf-8";
        let (status, kind, body) = match form {
            "app" => ("200", "", "app"),
            "unknown" => ("404", html, "html"),
            "page" | "unsent-page" => ("503", html, "html"),
            "problem" | "unsent-problem" => ("503", problem, "json"),
            "empty" => ("503", "", "empty"),
            "grpc" => ("200", "application/grpc", "empty"),
            "grpc-web" => ("200", "application/grpc-web+proto", "empty"),
            "own-json" => ("200", "application/json", "json"),
            "own-405-get" | "own-405-post" => ("405", "text/plain; charset=utf-8", "text"),
            "own-404" => ("404", "text/plain; charset=utf-8", "text"),
            "own-stale" => ("409", problem, "json"),
            // Back to a page, as it is now.
            "own-back" => ("303", "", "empty"),
            "own-forbidden" => ("403", problem, "json"),
            other => panic!("no such form: {other}"),
        };
        expect("status", &answer.status.to_string(), status);
        // Traefik guesses one for an answer that has none and came after an expectation.
        if form != "app" {
            expect("content-type", answer.header("content-type"), kind);
        }
        let found = match answer.body.trim_start() {
            "" => "empty",
            text if text
                .get(..9)
                .is_some_and(|it| it.eq_ignore_ascii_case("<!doctype")) =>
            {
                "html"
            }
            text if serde_json::from_str::<serde_json::Value>(text).is_ok() => "json",
            text if text.starts_with(&format!("{} {}\n", self.method, self.target)) => "app",
            _ => "text",
        };
        // HEAD has the headers of the GET and no body (RFC 9110 §9.3.2).
        let wanted = match self.method.as_str() {
            "HEAD" => "empty",
            _ => body,
        };
        expect("body", found, wanted);
        if form == "app" {
            return expect("x-anteroom", answer.header("x-anteroom"), "");
        }
        expect("x-anteroom", answer.header("x-anteroom"), state.mark());
        expect("cache-control", answer.header("cache-control"), "no-store");
        expect("x-robots-tag", answer.header("x-robots-tag"), "noindex");
        expect(
            "x-content-type-options",
            answer.header("x-content-type-options"),
            "nosniff",
        );
        expect(
            "referrer-policy",
            answer.header("referrer-policy"),
            "same-origin",
        );
        expect(
            "cross-origin-resource-policy",
            answer.header("cross-origin-resource-policy"),
            "same-origin",
        );
        expect(
            "access-control-allow-origin",
            answer.header("access-control-allow-origin"),
            "",
        );
        expect("set-cookie", answer.header("set-cookie"), "");
        expect("etag", answer.header("etag"), "");
        for part in [
            "Accept",
            "Accept-Language",
            "Sec-Fetch-Mode",
            "Sec-Fetch-Dest",
        ] {
            let vary = answer.header("vary");
            let named = vary.split(", ").any(|name| name.eq_ignore_ascii_case(part));
            expect(
                &format!("vary ({part})"),
                if named { part } else { vary },
                part,
            );
        }
        let csp = answer.header("content-security-policy");
        let strict = csp.starts_with("default-src 'none'") && !csp.contains("unsafe");
        expect(
            "csp is strict",
            &strict.to_string(),
            &(body == "html").to_string(),
        );
        let grpc = if form.starts_with("grpc") { "14" } else { "" };
        expect("grpc-status", answer.header("grpc-status"), grpc);
        let allow = match form {
            "own-405-get" => "GET",
            "own-405-post" => "POST",
            _ => "",
        };
        expect("allow", answer.header("allow"), allow);
        let retry_after = match (status, form) {
            ("503", _) | (_, "own-forbidden") => state.retry_after(),
            _ => "",
        };
        expect("retry-after", answer.header("retry-after"), retry_after);
    }
}

/// What is wrong with the answers of a room in this state, asked at `at`, or straight.
async fn faults_in(state: State, house: &mut House, app: &App, at: SocketAddr) -> Vec<String> {
    state.show(house, app.address);
    let mut faults = Vec::new();
    let rows = rows();
    assert!(rows.len() >= KINDS_MIN, "{} kinds", rows.len());
    for row in &rows {
        let seen = app.seen();
        let answer = row.ask(at, state.host()).await;
        row.check(state, &answer, &mut faults);
        let passes = usize::from(row.form_in(state) == "app");
        if app.seen() - seen != passes {
            faults.push(format!(
                "{state:?}: {}: the app saw it {} times",
                row.what,
                app.seen() - seen
            ));
        }
    }
    assert!(
        house.is_left_alone(),
        "{state:?}: one of them wakes the service"
    );
    faults
}

#[tokio::test]
async fn every_kind_of_request_gets_exactly_its_answer() {
    let app = App::echo().await;
    for state in STATES {
        let mut house = House::asleep().await;
        let at = house.address;
        let faults = faults_in(state, &mut house, &app, at).await;
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

#[tokio::test]
async fn pages_elsewhere_that_may_read_change_nothing_for_all_others() {
    let app = App::echo().await;
    let named = |site: &mut Site| site.origins = vec!["https://app.test".to_owned()];
    let mut house = House::with(Limits::default(), named).await;
    let at = house.address;
    let faults = faults_in(State::Asleep, &mut house, &app, at).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs traefik: run tests/run"]
async fn every_kind_of_request_gets_exactly_its_answer_through_traefik() {
    let app = App::echo().await;
    let dir = tempfile::tempdir().unwrap();
    let places = Places {
        room: free_port(),
        admin: free_port(),
        machine: app.address,
    };
    let traefik = Traefik::start(dir.path(), "published", &places).await;
    for state in STATES {
        let mut house = House::asleep().await;
        let mark = state.mark();
        let routing = format!(
            "http:\n  routers:\n    all:\n      rule: \"PathPrefix(`/`)\"\n      entryPoints: [web]\n      service: {mark}\n  \
             services:\n    {mark}:\n      loadBalancer: {{servers: [{{url: \"http://{}\"}}]}}\n",
            house.address
        );
        // By a rename: half a file is a routing too.
        let file = traefik.dynamic.join("all.yml");
        std::fs::write(dir.path().join("new"), routing).unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        state.show(&house, app.address);
        eventually(SOON, async || {
            let mut visitor = Visitor::connect(traefik.web).await;
            let line = format!(
                "GET /__anteroom/ping HTTP/1.1\r\nhost: {}\r\n\r\n",
                state.host()
            );
            visitor.send(&line).await;
            visitor.answer().await.header("x-anteroom") == mark
        })
        .await;
        let faults = faults_in(state, &mut house, &app, traefik.web).await;
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
