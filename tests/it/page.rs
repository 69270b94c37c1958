//! The waiting page in a real browser: what its script does, seen from the room and from the screen.

use anteroom::engine::contract::Stage;
use anteroom::page::WakeBy;

use crate::support::browser::Browser;
use room::{Room, Ways};

mod bare;
mod entry;
mod gallery;
mod looks;
mod reach;
mod room;
mod themed;

const WAKE: &str = "POST /__anteroom/wake nonce=v1.a.b&by=page";
const PRESSED: &str = "POST /__anteroom/wake nonce=v1.a.b&by=click";

/// Which stage the page shows as the last one reached.
fn stage(label: &str) -> String {
    format!("//li[@aria-current='step' and starts-with(., '{label}')]")
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn the_page_asks_once_follows_the_wake_and_opens_the_app_where_the_visitor_wanted() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep?once=7#part")).await;
    room.was_asked(WAKE, 1).await;
    browser.reads("blog.test is asleep").await;
    room.wakes(Stage::Asked);
    browser.reads("blog.test is waking up").await;
    browser.has_title("Waking up: blog.test").await;
    browser.sees(&stage("Asked")).await;
    room.wakes(Stage::MachineUp);
    browser.sees(&stage("Machine up")).await;
    assert!(
        browser
            .asks("document.getElementById('bar').value")
            .await
            .as_f64()
            >= Some(30.0)
    );
    let said = browser
        .asks("document.getElementById('say').textContent")
        .await;
    assert!(
        said.as_str()
            .unwrap()
            .contains("Machine up. It usually takes 24 s"),
        "{said}"
    );
    assert_eq!(
        browser
            .asks("getComputedStyle(document.querySelector('ol')).listStyleType")
            .await,
        "none"
    );
    assert_eq!(
        browser
            .asks("document.documentElement.scrollWidth <= innerWidth")
            .await,
        true
    );
    room.is_awake();
    browser.has_title("The app").await;
    let url = browser.client.current_url().await.unwrap();
    assert_eq!(url.as_str(), room.url("/deep?once=7#part"));
    assert_eq!(
        room.count("GET /deep?once=7"),
        2,
        "the page, and the app once"
    );
    assert_eq!(room.count(WAKE), 1);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_events_the_page_asks_how_it_stands() {
    let room = Room::open(Ways {
        events: false,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/")).await;
    room.was_asked("GET /__anteroom/status", 1).await;
    room.wakes(Stage::MachineStarting);
    browser.sees(&stage("Machine starting")).await;
    room.is_awake();
    browser.has_title("The app").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_site_that_wants_a_press_is_left_asleep_until_then() {
    let room = Room::open(Ways {
        wake_by: WakeBy::Click,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/")).await;
    room.was_asked("GET /__anteroom/events", 1).await;
    assert_eq!((room.count(WAKE), room.count(PRESSED)), (0, 0));
    browser.presses("#start").await;
    room.was_asked(PRESSED, 1).await;
    assert_eq!(browser.client.current_url().await.unwrap().path(), "/");
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn what_only_a_person_can_solve_is_on_a_page_of_its_own() {
    let room = Room::open(Ways {
        wake_by: WakeBy::Click,
        asks: true,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep")).await;
    browser.presses("#start").await;
    browser.reads("One more step for blog.test").await;
    // By the script, and with the nonce that it was given, as a form.
    let form = "POST /__anteroom/wake nonce=v1.a.c&by=click";
    assert_eq!((room.count(PRESSED), room.count(form)), (1, 1));
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_page_that_was_not_pressed_is_not_left_for_a_challenge() {
    let room = Room::open(Ways {
        asks: true,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep")).await;
    browser
        .sees("//form[not(@hidden)]/button[@id='start']")
        .await;
    assert_eq!(room.count(WAKE), 1);
    assert_eq!(browser.client.current_url().await.unwrap().path(), "/deep");
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_a_script_the_button_sends_the_form() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&["--blink-settings=scriptEnabled=false"]).await;
    browser.go(&room.url("/")).await;
    browser.sees("//a[.='Check again']").await;
    browser.presses("#start").await;
    room.was_asked(PRESSED, 1).await;
    assert_eq!(room.count("GET /__anteroom/events"), 0);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_form_that_was_not_sent_is_not_sent_by_the_page_either() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/write")).await;
    browser.presses("button").await;
    browser
        .sees("//strong[.='What you sent was not delivered.']")
        .await;
    room.was_asked(WAKE, 1).await;
    room.is_awake();
    browser.reads("blog.test is ready").await;
    browser.presses("#start").await;
    browser.has_title("The app").await;
    assert_eq!(browser.client.current_url().await.unwrap().path(), "/write");
    assert_eq!(room.count("POST /form said=hello"), 1);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_visitor_may_stay_and_go_in_by_hand() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep")).await;
    browser.presses("#auto").await;
    room.is_awake();
    browser.reads("blog.test is ready").await;
    browser.sees("//button[@id='start' and .='Open it']").await;
    assert_eq!(room.count("GET /deep"), 1);
    browser.presses("#start").await;
    browser.has_title("The app").await;
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_paused_page_stands_still() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/")).await;
    room.wakes(Stage::Asked);
    browser.sees(&stage("Asked")).await;
    browser.presses("#pause").await;
    browser
        .sees("//p[@role='status' and .='Updates are paused.']")
        .await;
    room.wakes(Stage::MachineUp);
    // By the time that a new answer has come back, news would have come too.
    browser.fetches("/__anteroom/status").await;
    browser.sees(&stage("Asked")).await;
    browser.presses("#pause").await;
    browser.sees(&stage("Machine up")).await;
    browser.close().await;
}
