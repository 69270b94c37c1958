//! How a crowd that waited for one wake comes to the app: one after the other, and nobody is lost.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anteroom::engine::id::ServiceName;
use anteroom::engine::ramp::LASTS;
use anteroom::engine::time::{Span, Time};
use anteroom::gate::Keeper;
use anteroom::http::{Limits, Pacing, Site};
use serde_json::{Value, json};

use crate::support::app::{App, say};
use crate::support::browser::Browser;
use crate::support::crowd::{Came, OPENS, PAGE, come, from, ticket, turn, waits};
use crate::support::house::House;
use crate::support::visitor::{Answer, Visitor, soon};
use crate::support::wait::eventually;

const API: &str = "accept: application/json\r\n";

fn paced(rate: u32) -> impl FnOnce(&mut Site) {
    move |site| {
        site.ramp = Some(Pacing {
            rate,
            sees_all: true,
        });
    }
}

/// A page with parts; as a script, a style or an image it is nothing.
const SITE: &str = "<!doctype html><title>The app</title><link rel=stylesheet href=/a.css><img src=/a.png><script src=/a.js></script>";

/// An app that remembers what came when, in the order in which it came.
struct Log {
    app: App,
    came: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Log {
    async fn start() -> Log {
        let came = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&came);
        let app = App::start(move |request| {
            let line = format!("{} {}", request.method(), request.uri());
            log.lock().unwrap().push((Instant::now(), line));
            async { say(SITE) }
        })
        .await;
        Log { app, came }
    }

    fn address(&self) -> SocketAddr {
        self.app.address
    }

    fn lines(&self) -> Vec<String> {
        let came = self.came.lock().unwrap();
        came.iter().map(|(_, line)| line.clone()).collect()
    }

    fn times(&self) -> Vec<Instant> {
        self.came
            .lock()
            .unwrap()
            .iter()
            .map(|came| came.0)
            .collect()
    }
}

/// Somebody asks without ceremony; the answer comes when it comes.
fn asks(
    house: &House,
    person: usize,
    method: &str,
    path: &str,
    lines: &str,
) -> tokio::task::JoinHandle<Answer> {
    let (room, lines) = (house.address, format!("{lines}{}", from(person)));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: blog.test\r\ncontent-length: 2\r\n{lines}\r\n{{}}"
    );
    let request = match method {
        "GET" => format!("GET {path} HTTP/1.1\r\nhost: blog.test\r\n{lines}\r\n"),
        _ => request,
    };
    tokio::spawn(async move {
        let mut visitor = Visitor::connect(room).await;
        visitor.send(&request).await;
        visitor.answer().await
    })
}

/// The numbers of so many people, taken one after the other.
async fn numbers(house: &House, people: usize) -> Vec<Value> {
    let mut visitor = house.visitor().await;
    let mut told = Vec::new();
    for person in 0..people {
        told.push(turn(&mut visitor, person, "").await);
    }
    told
}

#[tokio::test]
async fn two_thousand_visitors_come_fifty_in_a_second_and_in_their_order() {
    const PEOPLE: usize = 2_000;
    const RATE: usize = 50;
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(50)).await;
    house.clock_runs();
    house.wakes();
    let told = numbers(&house, PEOPLE).await;
    assert!(
        told.iter().all(|told| told["turn"] == "wait"),
        "{:?}",
        told[0]
    );
    house.is_fresh(log.address());
    let ready = Instant::now();
    let mut crowd = come(house.address, told);
    // Six seconds of the thirty; then the clock is put on to their end.
    let enough = async || log.app.seen() >= 6 * RATE;
    eventually(Duration::from_secs(40), enough).await;
    let spared = log.times();
    let people = log.lines();
    house.later(LASTS);
    let mut came = 0;
    while let Some(done) = crowd.join_next().await {
        let Came {
            person,
            tries,
            answer,
        } = done.unwrap();
        assert_eq!(answer.status, 200, "{person}: {}", answer.head);
        let was_paced = people.contains(&format!("GET /{person}"));
        assert!(tries == 1 || !was_paced, "{person} came {tries} times");
        came += 1;
    }
    assert_eq!((came, log.app.seen()), (PEOPLE, PEOPLE));

    // What the room lets go a second apart, a busy machine may show a quarter of a second nearer.
    let bound = Duration::from_millis(750);
    for pair in spared.windows(RATE + 1) {
        let within = pair[RATE] - pair[0];
        assert!(within >= bound, "{} came within {within:?}", RATE + 1);
    }
    let took = spared[spared.len() - 1] - ready;
    assert!(
        spared.len() <= RATE * (took.as_millis() as usize / 1_000 + 2),
        "{} in {took:?}",
        spared.len()
    );
    println!("{} came in {took:?}", spared.len());
    // A page asks a second late at most, or two on a busy machine.
    let numbers: Vec<usize> = people
        .iter()
        .map(|line| line[5..].parse().unwrap())
        .collect();
    for (nth, number) in numbers.iter().enumerate() {
        assert!(*number <= nth + 3 * RATE, "{number} came as the {nth}th");
    }
}

#[tokio::test]
async fn the_parts_of_a_page_follow_it_and_whoever_has_no_number_waits_on_the_page() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(20)).await;
    house.clock_runs();
    house.wakes();
    let told = numbers(&house, 40).await;
    house.is_fresh(log.address());
    let mut visitor = house.visitor().await;
    assert_eq!(turn(&mut visitor, 0, ticket(&told[0])).await["turn"], "go");
    // Somebody else opens the site: it gets the page, which asks for its turn.
    let page = visitor.get("/late", &format!("{OPENS}{}", from(100))).await;
    assert_eq!((page.status, page.header("x-anteroom")), (503, "awake"));
    assert!(page.body.contains("data-scene=\"ready\""), "{}", page.body);
    assert_eq!(
        visitor
            .get("/0", &format!("{OPENS}{}", from(0)))
            .await
            .status,
        200
    );
    for part in 0..5 {
        let lines = format!(
            "accept: */*\r\nsec-fetch-dest: script\r\nsec-fetch-mode: no-cors\r\n{}",
            from(0)
        );
        assert_eq!(
            visitor.get(&format!("/{part}.js"), &lines).await.status,
            200
        );
    }
    assert_eq!(log.app.seen(), 6);
    let spared = log.times();
    assert!(
        spared[5] - spared[0] >= Duration::from_millis(180),
        "{spared:?}"
    );
}

#[tokio::test]
async fn where_nobody_waits_a_visitor_goes_straight_in() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(100)).await;
    house.clock_runs();
    house.wakes();
    house.is_fresh(log.address());
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", &format!("{OPENS}{}", from(1))).await;
    assert_eq!((page.status, page.header("x-anteroom")), (200, ""));
    let told = turn(&mut visitor, 2, "").await;
    assert_eq!(waits(house.address, 2, told).await["turn"], "go");
}

#[tokio::test]
async fn held_requests_go_in_the_order_in_which_they_came_and_each_once() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), |site| {
        site.hold = Some(Span::secs(60));
        paced(10)(site);
    })
    .await;
    house.clock_runs();
    house.wakes();
    let watchers = house.watchers();
    let mut held = Vec::new();
    for number in 0..8 {
        let method = if number % 2 == 0 { "POST" } else { "GET" };
        held.push(asks(&house, number, method, &format!("/{number}"), API));
        house.is_watched_by(watchers + 1 + number).await;
        house.waits_at_the_gate(number + 1).await;
    }
    house.is_fresh(log.address());
    for answer in held {
        assert_eq!(soon(answer).await.unwrap().status, 200);
    }
    let lines = [
        "POST /0", "GET /1", "POST /2", "GET /3", "POST /4", "GET /5", "POST /6", "GET /7",
    ];
    assert_eq!(log.lines(), lines);
    let times = log.times();
    assert!(
        times[7] - times[0] >= Duration::from_millis(500),
        "{times:?}"
    );
}

#[tokio::test]
async fn a_post_waits_its_turn_and_when_the_time_is_over_all_go() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(1)).await;
    house.wakes();
    house.is_fresh(log.address());
    let first = asks(&house, 0, "POST", "/first", API);
    assert_eq!(soon(first).await.unwrap().status, 200);
    let others: Vec<_> = (1..20)
        .map(|n| asks(&house, n, "POST", &format!("/{n}"), API))
        .collect();
    house.waits_at_the_gate(19).await;
    assert_eq!(log.app.seen(), 1);
    house.later(LASTS);
    for other in others {
        assert_eq!(soon(other).await.unwrap().status, 200);
    }
    let mut lines = log.lines();
    lines.sort();
    lines.dedup();
    assert_eq!((lines.len(), log.app.seen()), (20, 20), "each once");
    // And nothing is asked of anybody any more.
    let mut visitor = house.visitor().await;
    let page = visitor.get("/", &format!("{OPENS}{}", from(99))).await;
    assert_eq!(page.status, 200);
    let told = turn(&mut visitor, 99, "").await;
    assert_eq!(
        (&told["turn"], &told["open"]),
        (&"go".into(), &false.into())
    );
}

#[tokio::test]
async fn who_hangs_up_leaves_its_place() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(1)).await;
    house.wakes();
    house.is_fresh(log.address());
    assert_eq!(
        soon(asks(&house, 0, "GET", "/0", API))
            .await
            .unwrap()
            .status,
        200
    );
    let gone = asks(&house, 1, "GET", "/gone", API);
    house.waits_at_the_gate(1).await;
    gone.abort();
    house.waits_at_the_gate(0).await;
    let other = asks(&house, 2, "GET", "/2", API);
    house.waits_at_the_gate(1).await;
    house.later(Span::secs(2));
    assert_eq!(soon(other).await.unwrap().status, 200);
    assert_eq!(log.lines(), ["GET /0", "GET /2"]);
}

#[tokio::test]
async fn a_room_that_finds_the_service_awake_spares_nothing() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(1)).await;
    house.wake(log.address());
    let all: Vec<_> = (0..20).map(|n| asks(&house, n, "GET", "/", API)).collect();
    for one in all {
        assert_eq!(soon(one).await.unwrap().status, 200);
    }
    assert_eq!(log.app.seen(), 20);
}

#[tokio::test]
async fn a_reload_of_the_sites_forgets_nobodys_place() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(1)).await;
    house.wakes();
    let told = numbers(&house, 3).await;
    house.reload(paced(2));
    house.is_fresh(log.address());
    let mut visitor = house.visitor().await;
    let last = turn(&mut visitor, 2, ticket(&told[2])).await;
    assert_eq!(last["turn"], "wait");
    assert_eq!(ticket(&last), ticket(&told[2]), "it keeps its number");
    assert_eq!(turn(&mut visitor, 0, ticket(&told[0])).await["turn"], "go");
}

#[tokio::test]
async fn a_ticket_that_is_not_the_askers_own_is_worth_a_place_at_the_end() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), paced(2)).await;
    house.wakes();
    let told = numbers(&house, 10).await;
    let mut visitor = house.visitor().await;
    let keeper = Keeper::new([7; 32], 1);
    let forger = Keeper::new([8; 32], 1);
    let (blog, shop): (ServiceName, ServiceName) =
        ("blog".parse().unwrap(), "shop".parse().unwrap());
    let wake = house.woke_at();
    let earlier = Time(wake.0 - 60_000);
    let mut last = ticket(&told[9]).to_owned();
    for (text, why) in [
        (forger.ticket(&blog, wake, 0), "forged"),
        (keeper.ticket(&shop, wake, 0), "of another service"),
        (keeper.ticket(&blog, earlier, 0), "of an earlier wake"),
        (
            keeper.ticket(&blog, wake, 4_000_000),
            "of more than were given",
        ),
        ("t1.0.0.AAAAAAAAAAAAAAAAAAAAAA".into(), "made up"),
        ("x".repeat(4_000), "too long"),
    ] {
        let got = turn(&mut visitor, 50, &text).await;
        assert_eq!(got["turn"], "wait", "{why}");
        let wait = |told: &Value| told["wait_ms"].as_u64().unwrap();
        assert!(wait(&got) > wait(&told[9]), "{why}: {got}");
        assert_ne!(ticket(&got), last, "{why}: a number of its own");
        last = ticket(&got).to_owned();
    }
    house.is_fresh(log.address());
    assert_eq!(turn(&mut visitor, 0, ticket(&told[0])).await["turn"], "go");
    // Its answer was lost; and somebody who has seen it tries it too.
    assert_eq!(turn(&mut visitor, 0, ticket(&told[0])).await["turn"], "go");
    let thief = turn(&mut visitor, 60, ticket(&told[0])).await;
    assert_eq!(thief["turn"], "wait");
    assert_ne!(ticket(&thief), ticket(&told[0]));
    let page = visitor.get("/", &format!("{OPENS}{}", from(60))).await;
    assert_eq!(page.header("x-anteroom"), "awake");
}

#[tokio::test]
async fn only_this_sites_own_page_asks_for_a_turn() {
    let house = House::with(Limits::default(), paced(2)).await;
    let mut visitor = house.visitor().await;
    for (lines, status) in [
        (PAGE, 200),
        ("sec-fetch-site: same-origin\r\n", 403),
        ("x-anteroom-page: 1\r\nsec-fetch-site: cross-site\r\n", 403),
        ("x-anteroom-page: 1\r\norigin: https://evil.test\r\n", 403),
    ] {
        let answer = visitor.post("/__anteroom/turn", lines, "").await;
        assert_eq!(answer.status, status, "{lines}");
        assert_eq!(answer.header("cache-control"), "no-store", "{lines}");
    }
    let answer = visitor.get("/__anteroom/turn", PAGE).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    // Asleep there is no line; where there is no ramp, there never is one.
    assert_eq!(turn(&mut visitor, 0, "").await, json!({ "turn": "wait" }));
    let house = House::asleep().await;
    let told = turn(&mut house.visitor().await, 0, "").await;
    assert_eq!(told, json!({ "turn": "go", "open": false }));
}

#[tokio::test]
async fn where_traefik_leads_past_the_room_a_turn_is_two_requests_and_the_page_looks_for_itself() {
    let log = Log::start().await;
    let house = House::with(Limits::default(), |site| {
        site.ramp = Some(Pacing {
            rate: 4,
            sees_all: false,
        });
    })
    .await;
    house.clock_runs();
    house.wakes();
    let told = numbers(&house, 4).await;
    house.is_fresh(log.address());
    let began = Instant::now();
    let mut crowd = tokio::task::JoinSet::new();
    for (person, told) in told.into_iter().enumerate() {
        let room = house.address;
        crowd.spawn(async move { (waits(room, person, told).await, Instant::now()) });
    }
    let mut let_in = Vec::new();
    while let Some(done) = crowd.join_next().await {
        let (told, at) = done.unwrap();
        assert_eq!(told, json!({ "turn": "go", "open": false, "paced": true }));
        let_in.push(at - began);
    }
    let_in.sort();
    assert!(let_in[3] >= Duration::from_millis(1_250), "{let_in:?}");
}

/// A house whose site a browser can open, with so many numbers taken by people who have left.
async fn for_a_browser(pacing: Pacing, gone: usize) -> (House, Browser) {
    let house = House::with(Limits::default(), |site| {
        site.hosts.push("127.0.0.1".into());
        site.ramp = Some(pacing);
    })
    .await;
    house.clock_runs();
    house.wakes();
    numbers(&house, gone).await;
    let browser = Browser::start(&[]).await;
    browser.go(&format!("http://{}/deep", house.address)).await;
    let ticket = "sessionStorage.getItem('anteroom:ticket') !== null";
    eventually(Duration::from_secs(20), async || {
        browser.asks(ticket).await == true
    })
    .await;
    (house, browser)
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_page_says_when_its_turn_is_and_goes_in_then_with_its_parts() {
    let log = Log::start().await;
    let pacing = Pacing {
        rate: 10,
        sees_all: true,
    };
    let (house, browser) = for_a_browser(pacing, 60).await;
    house.is_fresh(log.address());
    browser
        .sees("//p[@id='next'][contains(., 'It is your turn in about')]")
        .await;
    browser.has_title("The app").await;
    let parts = async || {
        ["/a.css", "/a.png", "/a.js"]
            .iter()
            .all(|part| log.lines().contains(&format!("GET {part}")))
    };
    eventually(Duration::from_secs(20), parts).await;
    // It was let in: it opens the site at once, and looks at nothing before.
    assert_eq!(log.lines()[0], "GET /deep");
    assert!(
        !log.lines().contains(&"GET /".to_owned()),
        "{:?}",
        log.lines()
    );
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn by_hand_too_a_visitor_goes_in_at_its_turn() {
    let log = Log::start().await;
    let pacing = Pacing {
        rate: 10,
        sees_all: true,
    };
    let (house, browser) = for_a_browser(pacing, 30).await;
    browser.presses("#auto").await;
    house.is_fresh(log.address());
    browser
        .sees("//form[not(@hidden)]/button[.='Open it']")
        .await;
    assert_eq!(log.app.seen(), 0);
    browser.presses("#start").await;
    browser.has_title("The app").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_page_whose_questions_are_lost_goes_in_all_the_same() {
    let log = Log::start().await;
    let pacing = Pacing {
        rate: 10,
        sees_all: false,
    };
    let (house, browser) = for_a_browser(pacing, 0).await;
    browser.commands("Network.enable", json!({})).await;
    let lost = json!({ "urls": ["*/__anteroom/turn"] });
    browser.commands("Network.setBlockedURLs", lost).await;
    house.is_fresh(log.address());
    browser.has_title("The app").await;
    // Where the room does not see all, the page looks whether the site is there before it goes.
    assert!(
        log.lines().contains(&"GET /".to_owned()),
        "{:?}",
        log.lines()
    );
    browser.close().await;
}
