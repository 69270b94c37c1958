//! Every state of every page, looked at in a browser: in three sizes, both schemes, both directions. Pictures are
//! written into `target/pictures`, or where `ANTEROOM_PICTURES` says, for people to look at.

use std::path::{Path, PathBuf};

use anteroom::page::Lang;
use anteroom::page::samples::{self, Sample};

use super::gallery::Gallery;
use crate::support::browser::Browser;

/// The smallest window that WCAG 1.4.10 asks for, a telephone, a desktop.
const SIZES: [(u32, u32); 3] = [(320, 640), (390, 844), (1280, 800)];
pub(super) const SCHEMES: [&str; 2] = ["light", "dark"];
/// English, and Arabic: it runs the other way, has letters of its own and six plural forms.
pub(super) const LANGUAGES: [&str; 2] = ["en", "ar"];

/// What the look must find, so that it is known to look.
const PLANTED: &str = "document.getElementById('main').insertAdjacentHTML('beforeend', '<p id=grey>Hardly to be read</p><button id=small>x</button><p id=wide>Too wide</p>');
document.getElementById('grey').style.color = '#666';
document.getElementById('wide').style.width = '9999px';
Object.assign(document.getElementById('small').style, { minHeight: 0, width: '9px', height: '9px', padding: 0, border: 0 });";

pub(super) fn pictures() -> PathBuf {
    let given = std::env::var_os("ANTEROOM_PICTURES").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures"))
}

/// Shows this sample in this language, and waits until the page has come to where the sample wants it.
pub(super) async fn show(browser: &Browser, gallery: &Gallery, sample: &Sample, lang: &str) {
    let lang = Lang::named(lang).expect("it is spoken");
    browser.go(&gallery.hangs_in(sample, lang)).await;
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
    show(&browser, &gallery, &samples[0], "en").await;
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
        for lang in LANGUAGES {
            show(&browser, &gallery, sample, lang).await;
            for scheme in SCHEMES {
                browser
                    .prefers(&[
                        ("prefers-color-scheme", scheme),
                        ("prefers-reduced-motion", "reduce"),
                    ])
                    .await;
                for (width, height) in SIZES {
                    browser.is_sized(width, height).await;
                    let place = format!("{}-{lang}-{scheme}-{width}", sample.name);
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
            || line == "POST /__anteroom/wake"
            || line == "POST /__anteroom/turn"
            || line.starts_with("GET /__anteroom/widget.js?");
        // The way in is tried at the front.
        line == itself || own || line == "GET /"
    };
    let asked = gallery.asked().into_iter();
    let strange = asked.filter(|line| !expected(line));
    strange
        .map(|line| format!("{}: asked for {line}", sample.name))
        .collect()
}

/// What carries meaning must differ from what is behind it, in whichever colours the system forces.
const MARKS: &str = "const colour = (element, pseudo, what) => getComputedStyle(element, pseudo)[what];
const ground = colour(document.body, null, 'backgroundColor');
const [done, now, later] = ['done', 'now', 'later'].map(name => document.querySelector(`li.${name}`));
const marks = [colour(done, '::before', 'backgroundColor'), colour(now, '::before', 'borderTopColor'), colour(later, '::before', 'borderTopColor'), colour(document.getElementById('pause'), null, 'borderTopColor'), colour(document.querySelector('.frame'), null, 'fill'), colour(document.querySelector('h1'), null, 'color')];
return marks.filter(mark => mark === ground || mark === 'rgba(0, 0, 0, 0)').length;";

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn other_colours_and_paper_lose_nothing() {
    let folder = pictures();
    std::fs::create_dir_all(&folder).unwrap();
    let sample = samples::all()
        .into_iter()
        .find(|sample| sample.name == "waking-up");
    let sample = sample.unwrap();
    let gallery = Gallery::open(sample.clone()).await;
    let browser = Browser::start(&["--hide-scrollbars"]).await;
    browser.is_sized(390, 844).await;
    show(&browser, &gallery, &sample, "en").await;
    for (name, features) in [
        (
            "contrast-light",
            [
                ("prefers-contrast", "more"),
                ("prefers-color-scheme", "light"),
            ],
        ),
        (
            "contrast-dark",
            [
                ("prefers-contrast", "more"),
                ("prefers-color-scheme", "dark"),
            ],
        ),
        (
            "forced-light",
            [
                ("forced-colors", "active"),
                ("prefers-color-scheme", "light"),
            ],
        ),
        (
            "forced-dark",
            [
                ("forced-colors", "active"),
                ("prefers-color-scheme", "dark"),
            ],
        ),
    ] {
        browser.prefers(&features).await;
        assert_eq!(
            browser.runs(MARKS).await,
            0,
            "{name}: marks that can't be seen"
        );
        if name.starts_with("contrast") {
            let found = browser.runs(include_str!("look.js")).await;
            assert_eq!(found, serde_json::json!([]), "{name}");
        }
        let picture = browser.picture().await;
        std::fs::write(folder.join(format!("other-{name}.png")), picture).unwrap();
    }
    let paper = serde_json::json!({ "media": "print", "features": [] });
    browser.commands("Emulation.setEmulatedMedia", paper).await;
    let left = browser
        .asks("[...document.querySelectorAll('button, svg, input')].filter(e => e.checkVisibility()).length")
        .await;
    assert_eq!(left, 0, "nothing to press on paper");
    std::fs::write(folder.join("other-paper.png"), browser.picture().await).unwrap();
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn a_board_is_seen_in_forced_colours_and_on_paper() {
    let folder = pictures();
    std::fs::create_dir_all(&folder).unwrap();
    let mut samples = samples::all().into_iter();
    let sample = samples.find(|sample| sample.name == "challenge-chess");
    let gallery = Gallery::open(sample.clone().unwrap()).await;
    let browser = Browser::start(&["--hide-scrollbars"]).await;
    browser.is_sized(390, 900).await;
    show(&browser, &gallery, &sample.unwrap(), "en").await;
    let media = |media: &str, features: serde_json::Value| serde_json::json!({ "media": media, "features": features });
    let forced = |scheme: &str| serde_json::json!([{ "name": "forced-colors", "value": "active" }, { "name": "prefers-color-scheme", "value": scheme }]);
    for (name, params) in [
        ("forced-light", media("", forced("light"))),
        ("forced-dark", media("", forced("dark"))),
        ("paper", media("print", serde_json::json!([]))),
    ] {
        browser.commands("Emulation.setEmulatedMedia", params).await;
        let seen = browser.runs("const style = (element, what) => getComputedStyle(element)[what];
const square = name => style(document.getElementById(name), 'backgroundColor');
const man = kind => ['fill', 'stroke'].map(what => style(document.querySelector(`#board .${kind}`), what));
return { squares: square('a1') !== square('b1'), men: man('white').join() !== man('black').join() && man('white').concat(man('black')).every(colour => colour !== 'none'), shown: document.getElementById('board').checkVisibility() && document.querySelector('#board .white').checkVisibility() };").await;
        assert_eq!(
            seen,
            serde_json::json!({ "squares": true, "men": true, "shown": true }),
            "{name}"
        );
        std::fs::write(
            folder.join(format!("board-{name}.png")),
            browser.picture().await,
        )
        .unwrap();
    }
    browser.close().await;
}

/// The states whose words are the longest.
const WORDY: [&str; 5] = [
    "waking-up",
    "waking-longer",
    "unsent",
    "failed-creation-cap",
    "challenge-chess-wrong",
];

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn every_language_has_room_on_the_smallest_window() {
    let folder = pictures();
    std::fs::create_dir_all(&folder).unwrap();
    let samples = samples::all().into_iter();
    let samples: Vec<_> = samples
        .filter(|sample| WORDY.contains(&sample.name))
        .collect();
    assert_eq!(samples.len(), WORDY.len());
    let gallery = Gallery::open(samples[0].clone()).await;
    let browser = Browser::start(&["--hide-scrollbars"]).await;
    browser.is_sized(320, 900).await;
    let mut wrong = Vec::new();
    for lang in Lang::all() {
        for sample in &samples {
            show(&browser, &gallery, sample, lang.tag()).await;
            let place = format!("{}-{}", lang.tag(), sample.name);
            let found = browser.runs(include_str!("look.js")).await;
            let found = found.as_array().unwrap().iter();
            wrong.extend(found.map(|sentence| format!("{place}: {sentence}")));
            let said = browser.asks("document.documentElement.lang").await;
            assert_eq!(said, lang.tag());
            if sample.name == "waking-up" {
                let picture = browser.picture().await;
                std::fs::write(folder.join(format!("lang-{}.png", lang.tag())), picture).unwrap();
            }
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
