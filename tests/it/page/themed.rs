//! The theme of the docs, which others begin with: in order in every state, in both schemes and directions, on the
//! smallest window and a desktop, and axe-core finds nothing in it. Pictures are written beside those of our own pages. It has no
//! page of its own for challenges.

use std::path::Path;

use anteroom::app::theme;
use anteroom::page::samples::{self, Shows};

use super::gallery::Gallery;
use super::looks::{LANGUAGES, SCHEMES, pictures, show};
use super::reach::{LOOK, axe, still};
use crate::support::browser::Browser;

const SIZES: [(u32, u32); 2] = [(320, 640), (1280, 800)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium, chromium-driver and axe-core: run tests/run"]
async fn the_theme_of_the_docs_is_in_order_in_every_state() {
    let folder = pictures();
    std::fs::create_dir_all(&folder).unwrap();
    let axe = axe();
    let theme = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/theme");
    let theme = theme::read(&theme).unwrap();
    let mut samples = samples::all();
    samples.retain(|sample| !matches!(sample.shows, Shows::Challenge(..)));
    let gallery = Gallery::open(samples[0].clone()).await;
    gallery.wears(theme);
    let browser = Browser::start(&["--hide-scrollbars"]).await;
    let mut wrong = Vec::new();
    for sample in &samples {
        for lang in LANGUAGES {
            browser.is_sized(320, 640).await;
            show(&browser, &gallery, sample, lang).await;
            let worn = browser.asks("document.querySelector('.door') === null");
            assert_eq!(worn.await, true, "{}: it is the theme's", sample.name);
            browser.runs(&axe).await;
            for scheme in SCHEMES {
                let place = format!("theme-{}-{lang}-{scheme}", sample.name);
                browser.prefers(&still(scheme)).await;
                let found = browser.client.execute_async(LOOK, Vec::new()).await;
                let found = found.unwrap();
                let found = found.as_array().unwrap().iter();
                wrong.extend(found.map(|sentence| format!("{place}: {sentence}")));
                for (width, height) in SIZES {
                    browser.is_sized(width, height).await;
                    let found = browser.runs(include_str!("look.js")).await;
                    let found = found.as_array().unwrap().iter();
                    wrong.extend(found.map(|sentence| format!("{place}-{width}: {sentence}")));
                    let picture = browser.picture().await;
                    std::fs::write(folder.join(format!("{place}-{width}.png")), picture).unwrap();
                }
            }
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
