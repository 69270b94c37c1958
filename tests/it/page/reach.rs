//! Whom the pages reach: axe-core finds nothing wrong with any of them, and they can be followed by ear, by keyboard
//! and without movement.

use std::path::{Path, PathBuf};

use anteroom::engine::contract::Stage;
use anteroom::page::samples;
use serde_json::json;

use super::gallery::Gallery;
use super::looks::{LANGUAGES, SCHEMES, show};
use super::room::{Room, Ways};
use crate::support::browser::Browser;

/// Runs axe-core over the page and answers what it finds, one sentence for each place. It can't tell the contrast on a
/// shade, so the page stands on its plain colour for this (`look.js` measures both ends of the shade); what it
/// can't tell all the same counts as found.
pub(super) const LOOK: &str = "const done = arguments[0];
document.body.style.backgroundImage = 'none';
const tags = ['wcag2a', 'wcag2aa', 'wcag2aaa', 'wcag21a', 'wcag21aa', 'wcag21aaa', 'wcag22a', 'wcag22aa', 'wcag22aaa', 'best-practice'];
axe.run(document, { runOnly: { type: 'tag', values: tags }, rules: { 'color-contrast-enhanced': { enabled: true }, 'target-size': { enabled: true } } }).then(
  found => done(found.violations.concat(found.incomplete).flatMap(rule => rule.nodes.map(node => `${rule.id}: ${rule.help}: ${node.html.slice(0, 120)}: ${node.failureSummary}`))),
  error => done([`axe: ${error}`]));";

/// What axe-core must find, so that it is known to look.
const PLANTED: &str = "document.getElementById('main').insertAdjacentHTML('beforeend', '<img><p id=grey>Hardly to be read</p><button id=small></button><button id=near>x</button>');
document.getElementById('grey').style.color = '#666';
for (const id of ['small', 'near']) { Object.assign(document.getElementById(id).style, { minHeight: 0, width: '9px', height: '9px', padding: 0, border: 0 }); }";

pub(super) fn axe() -> String {
    let given = std::env::var_os("ANTEROOM_AXE").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/axe.js");
    let path = given.unwrap_or(own);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error} (see tests/run)", path.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium, chromium-driver and axe-core: run tests/run"]
async fn axe_finds_nothing_in_any_state_scheme_or_direction() {
    let axe = axe();
    let samples = samples::all();
    let gallery = Gallery::open(samples[0].clone()).await;
    let browser = Browser::start(&["--window-size=390,844"]).await;
    show(&browser, &gallery, &samples[0], "en").await;
    browser.runs(&axe).await;
    browser.runs(PLANTED).await;
    let found = browser.client.execute_async(LOOK, Vec::new()).await;
    let found = found.unwrap().to_string();
    for rule in [
        "image-alt",
        "color-contrast-enhanced",
        "target-size",
        "button-name",
    ] {
        assert!(
            found.contains(rule),
            "{rule} was planted, and not found: {found}"
        );
    }
    let mut wrong = Vec::new();
    for sample in &samples {
        for lang in LANGUAGES {
            show(&browser, &gallery, sample, lang).await;
            browser.runs(&axe).await;
            for scheme in SCHEMES {
                browser.prefers(&still(scheme)).await;
                let found = browser.client.execute_async(LOOK, Vec::new()).await;
                let found = found.unwrap();
                let found = found.as_array().unwrap().iter();
                let place = format!("{}, {lang}, {scheme}", sample.name);
                wrong.extend(found.map(|sentence| format!("{place}: {sentence}")));
            }
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(super) fn still(scheme: &'static str) -> [(&'static str, &'static str); 2] {
    [
        ("prefers-color-scheme", scheme),
        ("prefers-reduced-motion", "reduce"),
    ]
}

/// Lets the test move the page's clock, and notes everything that is announced.
const WATCHED: &str = "let ahead = 0;
const real = performance.now.bind(performance);
performance.now = () => real() + ahead;
window.skip = ms => { ahead += ms; };
window.heard = [];
document.addEventListener('DOMContentLoaded', () => {
  const say = document.querySelector('[role=status]');
  new MutationObserver(() => { if (say.textContent) { heard.push(say.textContent); } }).observe(say, { childList: true, characterData: true, subtree: true });
});";

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn each_stage_is_announced_once_and_four_at_most_in_a_minute() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    let params = json!({ "source": WATCHED });
    browser
        .commands("Page.addScriptToEvaluateOnNewDocument", params)
        .await;
    browser.go(&room.url("/deep")).await;
    room.was_asked("POST /__anteroom/wake nonce=v1.a.b&by=page", 1)
        .await;
    browser.presses("#auto").await;
    let stages = [
        (Stage::Asked, "Asked"),
        (Stage::MachineStarting, "Machine starting"),
        (Stage::MachineUp, "Machine up"),
        (Stage::AppAnswering, "App answering"),
    ];
    for (stage, label) in stages {
        room.wakes(stage);
        browser.sees(&super::stage(label)).await;
        // The same once more is no news.
        room.wakes(stage);
    }
    // The last of four is kept for the end.
    assert_eq!(
        heard(&browser).await,
        ["Asked", "Machine starting", "Machine up"]
    );
    room.is_awake();
    browser.reads("blog.test is ready").await;
    assert_eq!(heard(&browser).await.len(), 4);
    room.falls_asleep();
    browser.reads("blog.test is asleep").await;
    assert_eq!(
        heard(&browser).await.len(),
        4,
        "that minute has had its four"
    );
    browser.runs("skip(60000)").await;
    room.wakes(Stage::Asked);
    browser.sees(&super::stage("Asked")).await;
    browser
        .sees("//p[@role='status' and contains(., 'Asked')]")
        .await;
    let heard = heard(&browser).await;
    assert_eq!(heard.len(), 5, "{heard:?}");
    // Later than nine of ten: once, as a whole sentence.
    browser.runs("skip(50000)").await;
    browser
        .sees("//p[@role='status' and contains(., 'longer than usual')]")
        .await;
    browser.close().await;
}

/// The stages that were announced, or the whole sentence where it was none.
async fn heard(browser: &Browser) -> Vec<String> {
    let heard = browser.asks("heard").await;
    let heard = heard.as_array().unwrap().iter();
    let stage = |text: &serde_json::Value| {
        let text = text.as_str().unwrap().to_owned();
        let known = ["Asked", "Machine starting", "Machine up", "App answering"];
        let known = known.into_iter().find(|stage| text.contains(stage));
        known.map_or(text.clone(), str::to_owned)
    };
    heard.map(stage).collect()
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_page_that_may_not_move_does_not() {
    let room = Room::open(Ways::default()).await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/")).await;
    room.wakes(Stage::MachineUp);
    browser.sees(&super::stage("Machine up")).await;
    let moving = "document.getAnimations().filter(a => a.playState === 'running').length";
    assert!(browser.asks(moving).await.as_u64() > Some(0), "it breathes");
    browser.prefers(&still("dark")).await;
    assert_eq!(browser.asks(moving).await, 0);
    browser.prefers(&[]).await;
    assert!(browser.asks(moving).await.as_u64() > Some(0), "it breathes");
    browser.presses("#pause").await;
    browser.sees("//button[.='Resume updates']").await;
    assert_eq!(browser.asks(moving).await, 0);
    browser.close().await;
}

/// What has the focus, whether it can be seen to have it, and presses of keys.
const FOCUSED: &str = "(() => { const e = document.activeElement; const s = getComputedStyle(e); return `${e.id} ${s.outlineStyle} ${s.outlineWidth}`; })()";

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn everything_can_be_done_with_the_keys_alone() {
    let room = Room::open(Ways {
        wake_by: anteroom::page::WakeBy::Click,
        ..Ways::default()
    })
    .await;
    let browser = Browser::start(&[]).await;
    browser.go(&room.url("/deep")).await;
    for place in ["start", "auto", "pause"] {
        browser.types("Tab").await;
        let focused = browser.asks(FOCUSED).await;
        assert_eq!(focused, format!("{place} solid 3px"));
    }
    // The box by the space bar, twice; then back to the button, and Enter.
    browser.types("Shift+Tab").await;
    browser.types(" ").await;
    assert_eq!(
        browser
            .asks("document.getElementById('auto').checked")
            .await,
        false
    );
    browser.types("Shift+Tab").await;
    browser.types("Enter").await;
    room.was_asked("POST /__anteroom/wake nonce=v1.a.b&by=click", 1)
        .await;
    room.wakes(Stage::Asked);
    browser.sees(&super::stage("Asked")).await;
    // The button is gone; the visitor stands at the headline, and not nowhere.
    assert_eq!(browser.asks("document.activeElement.id").await, "heading");
    room.is_awake();
    browser.sees("//button[@id='start' and .='Open it']").await;
    browser.types("Tab").await;
    browser.types("Enter").await;
    browser.has_title("The app").await;
    browser.close().await;
}
