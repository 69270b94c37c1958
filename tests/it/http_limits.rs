//! How often clients may wake a service, and what those hear who may not.

use std::sync::Arc;
use std::time::Instant;

use anteroom::config::WakeBy;
use anteroom::driver::admission::ADMIT_TIMEOUT;
use anteroom::driver::bans::{Bans, ban};
use anteroom::engine::admit::{Applicant, Late, Rate, Rules, Verdict};
use anteroom::engine::id::{Epoch, ServiceName};
use anteroom::engine::privacy::{Forgotten, Kept};
use anteroom::engine::record::Record;
use anteroom::engine::time::{Span, Time};
use anteroom::engine::triggerers::{Asked, Outcome};
use anteroom::engine::view::Phase;
use anteroom::http::{Limits, Site};
use anteroom::store::memory::MemoryStore;
use anteroom::store::{Answer, Claim, Forgot, LedgerEntry, Store, StoreError};

use crate::support::app::App;
use crate::support::browser::Browser;
use crate::support::house::House;
use crate::support::visitor::{self, Visitor};

const BROWSER: &str = "accept: text/html\r\n";
const FORM: &str = "accept: text/html\r\ncontent-type: application/x-www-form-urlencoded\r\n";
const SCRIPT: &str = "x-anteroom-page: 1\r\ncontent-type: application/x-www-form-urlencoded\r\n";

const DAY: Span = Span::mins(24 * 60);

fn from(client: &str) -> String {
    format!("x-forwarded-for: {client}\r\n")
}

/// One wake a day for each client, two for the service.
fn strict(site: &mut Site) {
    site.admit.per_client = Rate::new(1, DAY).ok();
    site.admit.per_service = Rate::new(2, DAY).ok();
}

/// Posts the wake as the page does.
async fn wake(house: &House, lines: &str) -> visitor::Answer {
    let mut visitor = house.visitor().await;
    let nonce = nonce(&mut visitor).await;
    let body = format!("nonce={nonce}");
    visitor.post("/__anteroom/wake", lines, &body).await
}

async fn nonce(visitor: &mut Visitor) -> String {
    let page = visitor.get("/", BROWSER).await.body;
    let (_, after) = page.split_once("name=\"nonce\" value=\"").expect("a nonce");
    after.split('"').next().expect("its end").to_owned()
}

/// The service has been woken and sleeps again, as its task writes it down.
async fn sleeps_again(house: &House, store: &dyn Store, heard: u64) {
    let name: ServiceName = "blog".parse().unwrap();
    let epoch = store.claim(&name, "test").await.unwrap().epoch;
    let record = Record {
        stand: anteroom::engine::record::Stand::Asleep,
        ..Record::default()
    };
    store.save(&name, epoch, &record, &[], heard).await.unwrap();
    house.show(|view| view.phase = Phase::Asleep);
}

#[tokio::test]
async fn whoever_woke_it_too_often_is_told_when_to_come_back() {
    let store = Arc::new(MemoryStore::new());
    let mut house = House::on(store.clone(), Limits::default(), strict).await;
    let one = from("198.51.100.7");
    assert_eq!(wake(&house, &format!("{SCRIPT}{one}")).await.status, 202);
    assert_eq!(house.admitted().await.wake, 1);
    sleeps_again(&house, &*store, 1).await;
    house.later(Span::mins(60));

    let page = wake(&house, &format!("{FORM}{one}")).await;
    assert_eq!(page.status, 429);
    assert_eq!(page.header("retry-after"), "82800");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("x-anteroom"), "asleep");
    assert!(page.body.contains("asked again in 23 h"), "{}", page.body);

    let script = wake(&house, &format!("{SCRIPT}{one}")).await;
    assert_eq!(script.status, 429);
    assert_eq!(script.header("retry-after"), "82800");
    assert_eq!(script.header("content-type"), "application/problem+json");
    assert!(script.body.contains("\"retry_after\":82800"));
    assert!(script.body.contains("urn:anteroom:limited"));
    let german = format!("{SCRIPT}{one}accept-language: de\r\n");
    let german = wake(&house, &german).await;
    assert_eq!(german.header("content-language"), "de");
    for words in ["\"title\":\"blog.test ", "23 Stunden"] {
        assert!(german.body.contains(words), "{}", german.body);
    }
    assert!(house.is_left_alone(), "a refused client wakes nobody");

    // The page itself is there for everybody, and another client may wake.
    let mut visitor = house.visitor().await;
    assert_eq!(visitor.get("/", &one).await.status, 503);
    let other = wake(&house, &format!("{SCRIPT}{}", from("203.0.113.1"))).await;
    assert_eq!(other.status, 202);
    assert_eq!(house.admitted().await.wake, 2);
}

#[tokio::test]
async fn whoever_comes_to_a_wake_that_is_under_way_joins_it_for_nothing() {
    let store = Arc::new(MemoryStore::new());
    let mut house = House::on(store.clone(), Limits::default(), strict).await;
    let (one, other) = (from("198.51.100.7"), from("203.0.113.1"));
    for client in [&one, &other, &one] {
        // The task has not heard of the first one yet.
        assert_eq!(wake(&house, &format!("{SCRIPT}{client}")).await.status, 202);
        assert_eq!(house.admitted().await.wake, 1);
    }
    sleeps_again(&house, &*store, 1).await;
    // It wakes again by somebody else's hand, and the client that has used its wake up may watch.
    house.show(|view| view.phase = Phase::Waking);
    assert_eq!(wake(&house, &format!("{SCRIPT}{one}")).await.status, 202);
    let form = wake(&house, &format!("{FORM}{one}")).await;
    assert_eq!(form.status, 303, "back to the page, which follows the wake");
    let page = house.visitor().await.get("/", &one).await;
    assert_eq!((page.status, page.header("x-anteroom")), (503, "waking"));
    house.show(|view| view.phase = Phase::Asleep);
    let left = wake(&house, &format!("{SCRIPT}{other}")).await;
    assert_eq!(left.status, 202, "it has paid for nothing yet");
}

#[tokio::test]
async fn a_request_that_may_not_wake_gets_the_page_of_a_sleeping_service() {
    let store = Arc::new(MemoryStore::new());
    let change = |site: &mut Site| {
        strict(site);
        site.wake_by = WakeBy::Request;
    };
    let mut house = House::on(store.clone(), Limits::default(), change).await;
    let lines = format!("{BROWSER}{}", from("198.51.100.7"));
    let mut visitor = house.visitor().await;
    let first = visitor.get("/", &lines).await;
    let _ = house.trigger().await;
    sleeps_again(&house, &*store, 1).await;
    let second = visitor.get("/", &lines).await;
    assert_eq!((first.status, second.status), (503, 503));
    assert_eq!(second.header("x-anteroom"), "asleep");
    assert!(second.body.contains("name=\"nonce\""), "{}", second.body);
    assert!(house.is_left_alone());
}

#[tokio::test]
async fn a_request_that_would_be_held_and_may_not_wake_is_answered_at_once() {
    let store = Arc::new(MemoryStore::new());
    let change = |site: &mut Site| {
        strict(site);
        site.hold = Some(Span::secs(600));
    };
    let mut house = House::on(store.clone(), Limits::default(), change).await;
    let one = from("198.51.100.7");
    assert_eq!(wake(&house, &format!("{SCRIPT}{one}")).await.status, 202);
    let _ = house.trigger().await;
    sleeps_again(&house, &*store, 1).await;
    let lines = format!("accept: application/json\r\n{one}");
    let answer = house.visitor().await.post("/orders", &lines, "{}").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("retry-after"), "86400");
    assert!(house.is_left_alone());
}

/// A store that is away: it fails, or it never answers.
struct Away {
    hangs: bool,
}

impl Away {
    fn answer<'a, T: Send + 'a>(&'a self) -> Answer<'a, T> {
        match self.hangs {
            true => Box::pin(std::future::pending()),
            false => Box::pin(async { Err(StoreError::Unavailable("it is away".into())) }),
        }
    }
}

impl Store for Away {
    fn claim<'a>(&'a self, _: &'a ServiceName, _: &'a str) -> Answer<'a, Claim> {
        self.answer()
    }

    fn save<'a>(
        &'a self,
        _: &'a ServiceName,
        _: Epoch,
        _: &'a Record,
        _: &'a [LedgerEntry],
        _: u64,
    ) -> Answer<'a, ()> {
        self.answer()
    }

    fn admit<'a>(
        &'a self,
        _: &'a ServiceName,
        _: Time,
        _: &'a Applicant,
        _: &'a Rules,
    ) -> Answer<'a, Verdict> {
        self.answer()
    }

    fn note<'a>(
        &'a self,
        _: &'a ServiceName,
        _: Time,
        _: &'a Applicant,
        _: Outcome,
    ) -> Answer<'a, ()> {
        self.answer()
    }

    fn charge_late<'a>(&'a self, _: Time, _: &'a Late) -> Answer<'a, ()> {
        self.answer()
    }

    fn life<'a>(&'a self, _: &'a ServiceName) -> Answer<'a, String> {
        self.answer()
    }

    fn secret(&self, _: [u8; 32]) -> Answer<'_, [u8; 32]> {
        self.answer()
    }

    fn load<'a>(&'a self, _: &'a ServiceName) -> Answer<'a, Option<Record>> {
        self.answer()
    }

    fn keep(&self, _: Kept) {}

    fn triggerers<'a>(&'a self, _: &'a ServiceName, _: Time, _: usize) -> Answer<'a, Vec<Asked>> {
        self.answer()
    }

    fn forget<'a>(&'a self, _: &'a Forgotten) -> Answer<'a, Forgot> {
        self.answer()
    }

    fn ledger<'a>(&'a self, _: &'a ServiceName, _: usize) -> Answer<'a, Vec<LedgerEntry>> {
        self.answer()
    }
}

#[tokio::test]
async fn while_the_store_is_away_wakes_go_on_within_a_quarter_of_the_limits() {
    for hangs in [false, true] {
        let change = |site: &mut Site| site.admit.per_service = Rate::new(8, DAY).ok();
        let mut house = House::on(Arc::new(Away { hangs }), Limits::default(), change).await;
        let lines = format!("{SCRIPT}{}", from("198.51.100.7"));
        let mut woken = 0;
        let last = loop {
            let began = Instant::now();
            let answer = wake(&house, &lines).await;
            assert!(
                began.elapsed() < ADMIT_TIMEOUT * 10,
                "nobody waits long for it"
            );
            if answer.status != 202 {
                break answer;
            }
            assert_eq!(house.admitted().await.wake, 0, "no number of the store's");
            // Whoever comes before the task has taken it up joins.
            assert_eq!(wake(&house, &lines).await.status, 202);
            let _ = house.admitted().await;
            woken += 1;
            house.show(|view| view.phase = Phase::Waking);
            house.show(|view| view.phase = Phase::Asleep);
        };
        assert_eq!((woken, last.status), (2, 429), "hangs: {hangs}");
        assert_eq!(last.header("retry-after"), "43200");
        assert!(house.is_left_alone());
    }
}

#[tokio::test]
async fn a_client_that_floods_the_room_is_held_off_and_its_neighbours_are_not() {
    let limits = Limits {
        pages_per_client: Rate::new(3, Span::mins(60)).ok(),
        ..Limits::default()
    };
    let app = App::echo().await;
    let house = House::with(limits, |_| {}).await;
    let mut visitor = house.visitor().await;
    let lines = |client| format!("{BROWSER}{}", from(client));
    let one = lines("2001:db8:0:1::1");
    for path in ["/", "/__anteroom/status", "/a.css"] {
        assert_ne!(visitor.get(path, &one).await.status, 429, "{path}");
    }
    // Another address of the same /64, in whatever way it asks.
    let same = lines("2001:db8:0:1:ffff::2");
    for path in ["/", "/__anteroom/ping", "/__anteroom/events"] {
        let answer = visitor.get(path, &same).await;
        assert_eq!((answer.status, answer.body.as_str()), (429, ""), "{path}");
        assert_eq!(answer.header("x-anteroom"), "asleep");
        let wait: u32 = answer.header("retry-after").parse().unwrap();
        assert!((1_190..=1_200).contains(&wait), "{wait}");
    }
    let neighbour = visitor.get("/", &lines("2001:db8:0:2::1")).await;
    assert_eq!(neighbour.status, 503);
    // The proxy itself, as it is seen when it hides its clients, is not held off.
    for _ in 0..9 {
        assert_eq!(visitor.get("/", BROWSER).await.status, 503);
    }
    // What the app answers is not counted.
    house.wake(app.address);
    for _ in 0..9 {
        assert_eq!(visitor.get("/", &one).await.status, 200);
    }
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_browser_that_may_not_wake_says_so_in_words_and_follows_somebody_elses_wake() {
    let store = Arc::new(MemoryStore::new());
    let change = |site: &mut Site| {
        strict(site);
        site.hosts = vec!["127.0.0.1".to_owned()];
    };
    let mut house = House::on(store.clone(), Limits::default(), change).await;
    let browser = Browser::start(&[]).await;
    let url = format!("http://{}/deep", house.address);
    browser.go(&url).await;
    assert_eq!(house.admitted().await.wake, 1);
    sleeps_again(&house, &*store, 1).await;
    browser.go(&url).await;
    browser.reads("127.0.0.1 stays asleep for now").await;
    let lead = "//p[contains(., 'started often enough lately. It can be asked again in 24 h')]";
    browser.sees(lead).await;
    assert!(house.is_left_alone());
    house.show(|view| view.phase = Phase::Waking);
    browser.reads("127.0.0.1 is waking up").await;
    browser.close().await;
}

#[tokio::test]
async fn a_banned_client_wakes_and_joins_nothing_and_still_sees_the_page() {
    let mut house = House::asleep().await;
    house
        .admission
        .set_bans([ban("198.51.100.0/24").unwrap()].into_iter().collect());
    let banned = from("198.51.100.7");
    for phase in [Phase::Asleep, Phase::Waking] {
        house.show(|view| view.phase = phase);
        let script = wake(&house, &format!("{SCRIPT}{banned}")).await;
        assert_eq!(script.status, 403);
        assert!(script.body.contains("urn:anteroom:denied"));
        let form = wake(&house, &format!("{FORM}{banned}")).await;
        assert_eq!(
            (form.status, form.header("content-type")),
            (403, "text/html; charset=utf-8")
        );
        let page = house.visitor().await.get("/", &banned).await;
        assert_eq!(
            (page.status, page.header("x-anteroom")),
            (503, phase.as_str())
        );
    }
    assert!(house.is_left_alone());
    house.admission.set_bans(Bans::default());
    house.show(|view| view.phase = Phase::Asleep);
    assert_eq!(wake(&house, &format!("{SCRIPT}{banned}")).await.status, 202);
    let _ = house.trigger().await;
}
