//! Every state of every page, looked at in a browser: in three sizes, both schemes, both directions. Pictures are
//! written into `target/pictures`, or where `ANTEROOM_PICTURES` says, for people to look at.

use std::path::{Path, PathBuf};

use anteroom::page::samples::{self, Sample};

use super::gallery::Gallery;
use crate::support::browser::Browser;

/// The smallest window that WCAG 1.4.10 asks for, a telephone, a desktop.
const SIZES: [(u32, u32); 3] = [(320, 640), (390, 844), (1280, 800)];
pub(super) const SCHEMES: [&str; 2] = ["light", "dark"];
pub(super) const DIRECTIONS: [&str; 2] = ["ltr", "rtl"];

/// What the look must find, so that it is known to look.
const PLANTED: &str = "document.getElementById('main').insertAdjacentHTML('beforeend', '<p id=grey>Hardly to be read</p><button id=small>x</button><p id=wide>Too wide</p>');
document.getElementById('grey').style.color = '#666';
document.getElementById('wide').style.width = '9999px';
Object.assign(document.getElementById('small').style, { minHeight: 0, width: '9px', height: '9px', padding: 0, border: 0 });";

fn pictures() -> PathBuf {
    let given = std::env::var_os("ANTEROOM_PICTURES").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures"))
}

/// Shows this sample in this direction, and waits until the page has come to where the sample wants it.
pub(super) async fn show(browser: &Browser, gallery: &Gallery, sample: &Sample, direction: &str) {
    browser.go(&gallery.hangs(sample)).await;
    browser
        .asks(&format!("document.documentElement.dir = '{direction}'"))
        .await;
    if let Some(pressed) = sample.press {
        browser.presses(&format!("#{pressed}")).await;
    }
    if let Some(scene) = sample.scene() {
        browser
            .sees(&format!("//main[@data-scene='{scene}']"))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn every_state_is_in_order_in_every_size_scheme_and_direction() {
    let folder = pictures();
    std::fs::create_dir_all(&folder).unwrap();
    let samples = samples::all();
    let gallery = Gallery::open(samples[0].clone()).await;
    let browser = Browser::start(&["--hide-scrollbars"]).await;
    show(&browser, &gallery, &samples[0], "ltr").await;
    browser.runs(PLANTED).await;
    let found = browser.runs(include_str!("look.js")).await.to_string();
    for sentence in [
        "wide in a window",
        "contrast of",
        "is 9 by 9",
        "beyond the edge",
    ] {
        assert!(
            found.contains(sentence),
            "{sentence}: planted, and not found: {found}"
        );
    }
    let mut wrong = Vec::new();
    for sample in &samples {
        for direction in DIRECTIONS {
            show(&browser, &gallery, sample, direction).await;
            for scheme in SCHEMES {
                browser
                    .prefers(&[
                        ("prefers-color-scheme", scheme),
                        ("prefers-reduced-motion", "reduce"),
                    ])
                    .await;
                for (width, height) in SIZES {
                    browser.is_sized(width, height).await;
                    let place = format!("{}-{direction}-{scheme}-{width}", sample.name);
                    let found = browser.runs(include_str!("look.js")).await;
                    let found = found.as_array().unwrap().iter();
                    wrong.extend(found.map(|sentence| format!("{place}: {sentence}")));
                    let tall = browser.asks("document.documentElement.scrollHeight").await;
                    let tall = tall.as_u64().and_then(|tall| tall.try_into().ok());
                    if let Some(tall) = tall.filter(|tall| *tall > height) {
                        browser.is_sized(width, tall).await;
                    }
                    let picture = browser.picture().await;
                    std::fs::write(folder.join(format!("{place}.png")), picture).unwrap();
                }
            }
            wrong.extend(complaints(&browser, sample).await);
            wrong.extend(strange(&gallery, sample));
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the browser complains of, but for the statuses that a waiting page has by design.
async fn complaints(browser: &Browser, sample: &Sample) -> Vec<String> {
    let lines = browser.complaints().await.into_iter();
    let by_design = |line: &String| {
        line.contains("Failed to load resource: the server responded with a status of")
    };
    let lines = lines.filter(|line| !by_design(line));
    lines
        .map(|line| format!("{}: {line}", sample.name))
        .collect()
}

/// What the page asked for that is neither itself nor one of our own paths.
fn strange(gallery: &Gallery, sample: &Sample) -> Vec<String> {
    let itself = format!("GET /{}?once=7", sample.name);
    let expected = |line: &str| {
        let own = line == "GET /__anteroom/events"
            || line == "GET /__anteroom/status"
            || line == "POST /__anteroom/wake";
        // The way in is tried at the front.
        line == itself || own || line == "GET /"
    };
    let asked = gallery.asked().into_iter();
    let strange = asked.filter(|line| !expected(line));
    strange
        .map(|line| format!("{}: asked for {line}", sample.name))
        .collect()
}
