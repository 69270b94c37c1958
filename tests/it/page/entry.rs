//! How the page follows a wake and lets its visitor in: what it hears, by which way, and when it loads the site.

use anteroom::engine::contract::Stage;
use fantoccini::Locator;
use serde_json::json;

use super::room::{Room, Ways};
use super::{WAKE, stage};
use crate::support::browser::Browser;

const EVENTS: &str = "GET /__anteroom/events";
const STATUS: &str = "GET /__anteroom/status";

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn an_answer_that_comes_late_takes_no_stage_back() {
    let room = Room::open(Ways {
        answers_late: true,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/")).await;
    room.was_asked(WAKE, 1).await;
    room.wakes(Stage::MachineUp);
    browser.sees(&stage("Machine up")).await;
    // It tells that the service is asleep, as it was when it was asked.
    browser.runs("window.back = false; new MutationObserver(() => { back = back || main.dataset.scene !== 'waking'; }).observe(main, { attributes: true });").await;
    room.lets_go();
    browser.fetches("/__anteroom/status").await;
    browser.sees(&stage("Machine up")).await;
    assert_eq!(browser.asks("window.back").await, false);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn the_site_is_loaded_only_when_it_answers_along_the_visitors_way() {
    let room = Room::open(Ways {
        shut: true,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep")).await;
    room.is_awake();
    browser.reads("blog.test is ready").await;
    // It looks at the front again and again, and meets the room: the visitor is not sent there.
    room.was_asked("GET /", 3).await;
    assert_eq!(room.count("GET /deep"), 1);
    room.lets_go();
    browser.has_title("The app").await;
    assert_eq!(room.count("GET /deep"), 2);
    browser.close().await;
}

/// One more page of the same browser.
async fn one_more(browser: &Browser, url: &str) {
    let window = browser.client.new_window(true).await.unwrap();
    browser
        .client
        .switch_to_window(window.handle)
        .await
        .unwrap();
    browser.go(url).await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn the_pages_of_one_browser_share_one_stream() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/first")).await;
    room.was_asked(EVENTS, 1).await;
    // More than the six connections that a browser has: each with a stream of its own would leave none for the rest.
    let first = browser.client.window().await.unwrap();
    for _ in 0..7 {
        one_more(&browser, &room.url("/more")).await;
    }
    room.wakes(Stage::MachineStarting);
    browser.sees(&stage("Machine starting")).await;
    assert_eq!(room.count(EVENTS), 1);
    // The one that had it goes: another has it at once, and all hear on.
    let last = browser.client.window().await.unwrap();
    browser.client.switch_to_window(first).await.unwrap();
    browser.client.close_window().await.unwrap();
    browser.client.switch_to_window(last).await.unwrap();
    room.was_asked(EVENTS, 2).await;
    room.wakes(Stage::MachineUp);
    browser.sees(&stage("Machine up")).await;
    assert_eq!(room.count(EVENTS), 2);
    browser.close().await;
}

/// A browser at a site without https: it has no locks. Whether the page is seen is for the test to say.
const PLAIN: &str = "delete Navigator.prototype.locks;
let seen = 'visible';
Object.defineProperty(Document.prototype, 'visibilityState', { get: () => seen });
window.isSeen = yes => { seen = yes ? 'visible' : 'hidden'; document.dispatchEvent(new Event('visibilitychange')); };";

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_locks_only_a_page_that_is_seen_has_a_stream() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    let params = json!({ "source": PLAIN });
    browser
        .commands("Page.addScriptToEvaluateOnNewDocument", params)
        .await;
    browser.go(&room.url("/")).await;
    room.was_asked(EVENTS, 1).await;
    browser.runs("isSeen(false)").await;
    // The stream is over; it asks now and then instead.
    room.was_asked(STATUS, 1).await;
    room.wakes(Stage::MachineUp);
    browser.sees(&stage("Machine up")).await;
    assert_eq!(room.count(EVENTS), 1);
    browser.runs("isSeen(true)").await;
    room.was_asked(EVENTS, 2).await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_press_on_the_box_holds_the_way_in_open_or_shut() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep")).await;
    browser.presses("#auto").await;
    room.is_awake();
    browser.reads("blog.test is ready").await;
    assert_eq!(room.count("GET /deep"), 1);
    let box_ = browser.client.find(Locator::Css("#auto")).await.unwrap();
    box_.click().await.unwrap();
    browser.has_title("The app").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_visitor_who_is_thrown_back_is_sent_in_once_for_each_wake() {
    let room = Room::open(Ways {
        throws_back: true,
        ..Ways::default()
    })
    .await;
    room.is_awake();
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep")).await;
    room.was_asked("GET /deep", 2).await;
    // Back in the room: from now on by hand.
    browser.sees(OPEN).await;
    browser.presses("#start").await;
    room.was_asked("GET /deep", 3).await;
    browser.sees(OPEN).await;
    assert_eq!(room.count("GET /deep"), 3);
    // It is another wake, and another chance.
    room.falls_asleep();
    browser.reads("blog.test is asleep").await;
    room.is_awake();
    room.was_asked("GET /deep", 4).await;
    browser.sees(OPEN).await;
    assert_eq!(room.count("GET /deep"), 4);
    browser.close().await;
}

const OPEN: &str = "//form[not(@hidden)]/button[.='Open it']";

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_a_storage_nobody_is_sent_in_circles_either() {
    let room = Room::open(Ways {
        throws_back: true,
        ..Ways::default()
    })
    .await;
    room.is_awake();
    let browser = Browser::start(&[]).await;
    let source = "Object.defineProperty(window, 'sessionStorage', { get: () => { throw new DOMException('no', 'SecurityError'); } });";
    browser
        .commands(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": source }),
        )
        .await;
    browser.go(&room.url("/deep")).await;
    browser.sees(OPEN).await;
    assert_eq!(room.count("GET /deep"), 1);
    browser.close().await;
}
