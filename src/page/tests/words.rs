//! The files of words: each whole, each like English, each by the rules of its language.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::*;
use text::units::{Forms, category};

/// Numbers that may stand in a length of time. Forms that only a million takes are of no use.
const NUMBERS: std::ops::Range<u64> = 0..1_000;

/// Languages that are written from right to left.
const RIGHT_TO_LEFT: [&str; 4] = ["ar", "fa", "he", "ur"];

/// What may be put into a sentence.
const NAMES: [&str; 8] = [
    "vendor", "host", "time", "median", "p90", "n", "first", "second",
];

/// Every text of a file by its whole key.
fn words(lang: Lang) -> BTreeMap<String, String> {
    let file: toml::Value =
        toml::from_str(lang.file()).unwrap_or_else(|why| panic!("{lang:?}: {why}"));
    let mut words = BTreeMap::new();
    let mut left = vec![(String::new(), file)];
    while let Some((key, value)) = left.pop() {
        let under = |name: &str| format!("{key}{}{name}", if key.is_empty() { "" } else { "." });
        match value {
            toml::Value::String(text) => drop(words.insert(key, text)),
            toml::Value::Table(table) => {
                left.extend(table.into_iter().map(|(name, value)| (under(&name), value)))
            }
            toml::Value::Array(list) => left.extend(
                (0..)
                    .zip(list)
                    .map(|(at, value): (u32, _)| (under(&at.to_string()), value)),
            ),
            other => panic!("{lang:?}: {key}: {other} is no text"),
        }
    }
    words
}

/// Whether a key is one form of a unit: which of them there are is the language's own.
fn is_form(key: &str) -> bool {
    ["units.hours.", "units.minutes.", "units.seconds."]
        .iter()
        .any(|unit| key.starts_with(unit))
}

/// The names in braces, in any order; fails where a brace is not one of a pair.
fn names(key: &str, text: &str) -> BTreeSet<String> {
    let mut parts = text.split('{');
    let before = parts.next().unwrap_or_default();
    assert!(!before.contains('}'), "{key}: {text:?}");
    let named = |part: &str| {
        let (name, after) = part
            .split_once('}')
            .unwrap_or_else(|| panic!("{key}: an open brace in {text:?}"));
        assert!(
            NAMES.contains(&name),
            "{key}: nothing is put into {{{name}}}"
        );
        assert!(!after.contains('}'), "{key}: a brace too many in {text:?}");
        name.to_owned()
    };
    parts.map(named).collect()
}

#[test]
fn every_file_of_words_is_a_language_and_the_other_way_round() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/lang");
    let files: BTreeSet<String> = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let known: Vec<String> = Lang::all()
        .map(|lang| format!("{}.toml", lang.tag()))
        .collect();
    assert_eq!(
        files.iter().collect::<Vec<_>>(),
        known
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
    assert_eq!(known.len(), files.len(), "each once");
    assert_eq!(Lang::ENGLISH.tag(), "en");
}

#[test]
fn every_language_has_every_key_of_english_and_no_other() {
    let english = words(Lang::ENGLISH);
    for lang in Lang::all() {
        let words = words(lang);
        let lacking: Vec<_> = english
            .keys()
            .filter(|key| !is_form(key) && !words.contains_key(*key))
            .collect();
        assert!(
            !lang.file().contains("# TRANSLATE"),
            "templates/lang/{lang:?}.toml holds English"
        );
        assert!(
            lacking.is_empty(),
            "templates/lang/{lang:?}.toml lacks {lacking:?}"
        );
        let strange: Vec<_> = words
            .keys()
            .filter(|key| !is_form(key) && !english.contains_key(*key))
            .collect();
        assert!(
            strange.is_empty(),
            "templates/lang/{lang:?}.toml has {strange:?}, which English has not"
        );
        if let Err(why) = text::Text::read(lang.file()) {
            panic!("templates/lang/{lang:?}.toml: {why}");
        }
    }
}

#[test]
fn every_sentence_holds_what_is_put_into_it() {
    let english = words(Lang::ENGLISH);
    for lang in Lang::all() {
        for (key, text) in words(lang) {
            let place = format!("templates/lang/{lang:?}.toml: {key}");
            let names = names(&place, &text);
            if let Some(english) = english.get(&key).filter(|_| !is_form(&key)) {
                let wanted = self::names(&key, english);
                assert_eq!(names, wanted, "{place}: {text:?}");
                assert_eq!(text.is_empty(), english.is_empty(), "{place}");
            }
            assert!(!text.contains(['<', '>', '&', '\n']), "{place}: {text:?}");
            assert_eq!(text.trim(), text, "{place}: {text:?}");
        }
    }
}

#[test]
fn every_language_says_what_it_is() {
    for lang in Lang::all() {
        let text = lang.text();
        assert_eq!(text.lang, lang.tag());
        let dir = match RIGHT_TO_LEFT.contains(&lang.tag()) {
            true => "rtl",
            false => "ltr",
        };
        assert_eq!(text.dir, dir, "{lang:?}");
        let digits: Vec<char> = text.digits.chars().collect();
        assert_eq!(digits.len(), 10, "{lang:?}");
        // One unit of UTF-16 each: the page's script counts in those.
        let in_order = |pair: &[char]| u32::from(pair[0]) + 1 == u32::from(pair[1]);
        assert!(
            digits.windows(2).all(in_order)
                && digits
                    .iter()
                    .all(|digit| digit.is_numeric() && digit.len_utf16() == 1),
            "{lang:?}: {digits:?}"
        );
    }
}

#[test]
fn every_unit_has_the_forms_that_its_language_needs() {
    for lang in Lang::all() {
        let units = &lang.text().units;
        // What each form stands for.
        let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for number in NUMBERS {
            let form = format!("{:?}", category(number, lang.tag())).to_lowercase();
            numbers.entry(form).or_default().push(number);
        }
        for (unit, forms) in [
            ("hours", &units.hours),
            ("minutes", &units.minutes),
            ("seconds", &units.seconds),
        ] {
            let place = format!("templates/lang/{lang:?}.toml: units.{unit}");
            for (name, text) in given(forms) {
                let Some(numbers) = numbers.get(name) else {
                    // The form for fractions, and what a browser without rules of its own takes.
                    assert_eq!(name, "other", "{place}: no number takes the form {name:?}");
                    continue;
                };
                let bare = names(&place, text).is_empty();
                assert!(
                    !bare || numbers.len() == 1,
                    "{place}.{name} stands for {numbers:?} and does not say which"
                );
            }
            let has = |form: &str| given(forms).any(|(name, _)| name == form);
            for form in numbers.keys() {
                assert!(has(form), "{place} lacks {form:?}");
            }
        }
    }
}

fn given(forms: &Forms) -> impl Iterator<Item = (&'static str, &str)> {
    let named = [
        ("zero", &forms.zero),
        ("one", &forms.one),
        ("two", &forms.two),
        ("few", &forms.few),
        ("many", &forms.many),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, form)| Some((name, form.as_deref()?)));
    named.chain([("other", forms.other.as_str())])
}

#[test]
fn every_page_speaks_one_language() {
    for lang in Lang::all() {
        let ask = Ask {
            theme: None,
            lang,
            ..ask("blog.test", WakeBy::Page)
        };
        let page = render(&waking(Stage::MachineUp, Span::secs(9)), NOW, &ask);
        let text = lang.text();
        let head = format!("<html lang=\"{}\" dir=\"{}\">", text.lang, text.dir);
        assert!(html(&page).contains(&head));
        assert!(body(html(&page)).contains(&text.stages[2]));
        assert_eq!(page.lang, lang);
        assert_eq!(data(html(&page))["text"]["lang"], text.lang);
        let problem = json(&problem_json(&view(Phase::Failed), NOW, "blog.test", lang));
        assert_eq!(problem["detail"], text.failures.no_capacity);
    }
}
