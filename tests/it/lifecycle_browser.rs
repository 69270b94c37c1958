//! The whole way of a visitor in a real browser: cold visit to app without touching the keyboard, and without
//! script by the button.

use std::time::Duration;

use crate::support::anteroom::Anteroom;
use crate::support::browser::Browser;
use crate::support::machine::{APP, Machine};

const SOON: Duration = Duration::from_secs(20);

async fn house(machine: &Machine, dir: &tempfile::TempDir, more: &str) -> (Anteroom, String) {
    let services = format!(
        "[service.blog]\nhosts = [\"127.0.0.1\"]\nport = {}\ningress = \"proxy\"\nhealth = {{ interval = \"100ms\" }}\n{}\n{more}\n",
        machine.app_port(),
        machine.provider(),
    );
    let anteroom = Anteroom::start(dir.path(), &services).await;
    anteroom.phase("blog", "asleep", SOON).await;
    let url = format!("http://{}/deep?once=7", anteroom.room);
    (anteroom, url)
}

fn the_app() -> String {
    format!("//body[contains(., '{APP}')]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_browser_comes_cold_and_gets_the_app_without_a_key_being_touched() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_secs(2)).await;
    let (anteroom, url) = house(&machine, &dir, "").await;
    let browser = Browser::start(&[]).await;
    browser.go(&url).await;
    browser.sees(&the_app()).await;
    let now = browser.client.current_url().await.expect("an address");
    assert_eq!(now.as_str(), url);
    assert_eq!(machine.starts(), 1);
    browser.close().await;
    assert_eq!(anteroom.view("blog").await["run_by"]["by"], "page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn the_theme_of_the_docs_asks_for_the_wake_and_opens_the_app() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_secs(2)).await;
    let theme = concat!("theme = \"", env!("CARGO_MANIFEST_DIR"), "/docs/theme\"");
    let (_anteroom, url) = house(&machine, &dir, theme).await;
    let browser = Browser::start(&[]).await;
    browser.go(&url).await;
    let paused = "//main[not(descendant::*[@id='door'])]//button[@id='pause' and string()]";
    browser.sees(paused).await;
    browser.sees(&the_app()).await;
    assert_eq!(machine.starts(), 1);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_script_the_button_wakes_and_the_page_leads_to_the_app() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_millis(500)).await;
    let (anteroom, url) = house(&machine, &dir, "").await;
    let browser = Browser::start(&["--blink-settings=scriptEnabled=false"]).await;
    browser.go(&url).await;
    browser.reads("127.0.0.1 is asleep").await;
    assert_eq!(
        machine.starts(),
        0,
        "without script a visit alone wakes nothing"
    );
    browser.presses("button[type=submit], form button").await;
    browser.sees(&the_app()).await;
    assert_eq!(machine.starts(), 1);
    browser.close().await;
    assert_eq!(anteroom.view("blog").await["run_by"]["by"], "click");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_script_a_visitor_can_have_the_page_stand_still_and_come_in_where_it_wanted() {
    let dir = tempfile::tempdir().expect("a folder");
    let machine = Machine::new(Duration::from_secs(4)).await;
    let (anteroom, url) = house(&machine, &dir, "").await;
    let browser = Browser::start(&["--blink-settings=scriptEnabled=false"]).await;
    browser.go(&url).await;
    browser.presses("form button").await;
    browser.reads("127.0.0.1 is waking up").await;
    browser.presses("a[href='/__anteroom/still']").await;
    // It is another page now, which is not loaded again by itself.
    browser
        .sees("//a[.='Continue automatically when ready' and @href='/deep?once=7']")
        .await;
    let again = browser
        .asks("document.querySelectorAll('meta[http-equiv]').length")
        .await;
    assert_eq!(again, 0);
    anteroom.phase("blog", "awake", SOON).await;
    browser.reads("127.0.0.1 is waking up").await;
    browser.presses("a[href='']").await;
    browser.sees(&the_app()).await;
    let now = browser.client.current_url().await.expect("an address");
    assert_eq!(now.as_str(), url);
    browser.close().await;
}
