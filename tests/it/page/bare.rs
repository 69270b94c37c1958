//! The pages for those who have less: no script, no style sheet, a browser of text.

use std::process::Stdio;

use anteroom::page::WakeBy;
use anteroom::page::samples::{self, Sample};
use tokio::process::Command;

use super::gallery::Gallery;
use super::room::{Room, Ways};
use crate::support::browser::Browser;
use crate::support::visitor::soon;

const NO_SCRIPT: &str = "--blink-settings=scriptEnabled=false";

/// The samples that need no script to come about.
fn without_script() -> impl Iterator<Item = Sample> {
    let all = samples::all().into_iter();
    all.filter(|sample| sample.ends_as.is_none() && sample.press.is_none())
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_a_script_every_state_is_in_order_and_none_is_a_dead_end() {
    let gallery = Gallery::open(samples::all().remove(0)).await;
    let browser = Browser::start(&[NO_SCRIPT, "--hide-scrollbars"]).await;
    browser.is_sized(320, 640).await;
    let mut wrong = Vec::new();
    for sample in without_script() {
        browser.go(&gallery.hangs(&sample)).await;
        let found = browser.runs(include_str!("look.js")).await;
        let found = found.as_array().unwrap().iter();
        wrong.extend(found.map(|sentence| format!("{}: {sentence}", sample.name)));
        let ways_on = browser
            .asks("[...document.querySelectorAll('a[href], button')].filter(e => e.checkVisibility()).length")
            .await;
        if ways_on == 0 && sample.name != "unknown" {
            wrong.push(format!("{}: nothing can be pressed", sample.name));
        }
        let boxes = browser
            .asks("document.getElementById('controls')?.checkVisibility() ?? false")
            .await;
        if boxes != false {
            wrong.push(format!(
                "{}: it shows what only a script can do",
                sample.name
            ));
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn without_its_style_a_page_reads_from_top_to_bottom() {
    let room = Room::open(Ways {
        wake_by: WakeBy::Click,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/")).await;
    browser
        .runs("document.querySelector('style').remove(); ")
        .await;
    let words = browser.asks("document.body.innerText").await;
    let words = words.as_str().unwrap();
    let mut rest = words;
    for next in [
        "blog.test is asleep",
        "Press the button",
        "It usually takes 24",
        "Start it now",
        "Continue automatically when ready",
        "Pause updates",
        "sleeps while nobody visits",
    ] {
        let (_, behind) = rest
            .split_once(next)
            .unwrap_or_else(|| panic!("{next}: {words}"));
        rest = behind;
    }
    let hidden = "[...document.querySelectorAll('[hidden]')].every(e => !e.checkVisibility())";
    assert_eq!(browser.asks(hidden).await, true, "{words}");
    assert!(!words.contains("function"), "{words}");
    browser.presses("#start").await;
    room.was_asked("POST /__anteroom/wake nonce=v1.a.b&by=click", 1)
        .await;
    browser.close().await;
}

/// What a browser of text shows.
async fn dump(program: &str, arguments: &[&str], url: &str) -> String {
    let run = Command::new(program)
        .args(arguments)
        .arg(url)
        .kill_on_drop(true)
        .output();
    let output = soon(run).await;
    let output = output.unwrap_or_else(|error| panic!("{program}: {error} (see tests/run)"));
    // lynx ends with 1 at a status of 503, and shows the page all the same.
    assert!(output.stderr.is_empty(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs w3m and lynx: run tests/run"]
async fn browsers_of_text_show_every_state_in_words() {
    let gallery = Gallery::open(samples::all().remove(0)).await;
    for sample in without_script() {
        for (program, arguments) in [
            ("w3m", &["-dump", "-cols", "200"][..]),
            (
                "lynx",
                &["-dump", "-width=200", "-nolist", "-display_charset=utf-8"],
            ),
        ] {
            let url = gallery.hangs(&sample);
            let shown = dump(program, arguments, &url).await;
            let name = sample.name;
            for code in ["{", "function", "data-", "&", "<!"] {
                assert!(!shown.contains(code), "{program}, {name}: {code}: {shown}");
            }
            let host = sample.name == "unknown" || shown.contains("example");
            assert!(host, "{program}, {name}: who is waited for: {shown}");
            if sample.scene() == Some("waking") {
                // How each stage stands is said, and not only drawn.
                for words in [", done", ", now", ", not yet", "so far", "Check again"] {
                    let first = name == "waking-asked" && words == ", done";
                    let last = name == "waking-answering" && words == ", done";
                    let said = shown.contains(words) || first || last;
                    assert!(said, "{program}, {name}: {words}: {shown}");
                }
            }
            // What helps is there, and nothing that is not so or does not help.
            let scene = sample.scene().unwrap_or_default();
            let button = shown.contains("Start it now") || shown.contains("Try again now");
            let helps =
                ["asleep", "stopping", "failed"].contains(&scene) || name.starts_with("challenge");
            assert_eq!(button, helps, "{program}, {name}: {shown}");
            let stages = shown.contains("App answering");
            let on_its_way = ["waking", "crashed"].contains(&scene);
            assert_eq!(stages, on_its_way, "{program}, {name}: {shown}");
            // What only a script can do.
            assert!(
                !shown.contains("Continue automatically"),
                "{program}, {name}: {shown}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs lynx: run tests/run"]
async fn the_button_works_in_a_browser_of_text() {
    let room = Room::open(Ways::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    // The button is the first thing that can be chosen: Enter, then quit.
    std::fs::write(&keys, "key ^J\nkey q\nkey y\n").unwrap();
    let mut lynx = Command::new("lynx")
        .arg(format!("-cmd_script={}", keys.display()))
        .arg(room.url("/deep?once=7"))
        .env("TERM", "vt100")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("lynx is installed (see tests/run)");
    room.was_asked("POST /__anteroom/wake nonce=v1.a.b&by=click", 1)
        .await;
    soon(lynx.wait()).await.unwrap();
}
