//! Imports run down the floors only, and the rooms on one floor do not know each other.

use super::code::{is_word, uses, without_tests};

/// The house from its top to its bottom; the rooms on one line do not know each other.
const FLOORS: [&[&str]; 7] = [
    &["main"],
    &["cli"],
    &["app"],
    &["http"],
    &["driver"],
    &[
        "config", "gate", "page", "provider", "publish", "signal", "store",
    ],
    &["engine"],
];

/// Beside the floors: every room above the engine may use it, and it uses the engine alone.
const TELEMETRY: &str = "telemetry";

/// The rooms that a file's code uses against the floors, each with its line.
pub(super) fn wrong_ways(path: &str, code: &str) -> Vec<(usize, String)> {
    let Some(from) = room_of(path) else {
        return Vec::new();
    };
    let imports = imports(path, code).into_iter();
    imports
        .filter(|(_, to)| !may_use(from, to))
        .map(|(line, to)| (line, format!("{from} may not use {to}")))
        .collect()
}

/// The room that a file belongs to; none for `lib.rs`, which only lists the rooms.
fn room_of(path: &str) -> Option<&str> {
    let room = path.strip_prefix("src/")?.split(['/', '.']).next()?;
    (room != "lib").then_some(room)
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    match (from, to) {
        (TELEMETRY, to) => to == "engine",
        (from, TELEMETRY) => from != "engine" && floor(from).is_some(),
        // A room that is on no floor is wrong until the table above names it.
        (from, to) => floor(from)
            .zip(floor(to))
            .is_some_and(|(from, to)| from < to),
    }
}

/// The rooms that the code names: `crate::room`, `crate::{room, room}`, the same by way of `super`, and in
/// `main.rs`, which is a crate of its own, by the library's name.
fn imports(path: &str, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut collect = |code: &str, root: &str| {
        for (line, rest) in uses(code, root) {
            found.extend(heads(rest).into_iter().map(|room| (line, room)));
        }
    };
    collect(code, "crate::");
    collect(code, "anteroom::");
    if let Some(root) = root_by_super(path) {
        // A module of tests inside the file is one floor deeper; there, `super` is counted from another place.
        collect(&without_tests(code), &root);
    }
    found.sort();
    found
}

/// What leads from a file's module to the crate's root; none for the root itself.
fn root_by_super(path: &str) -> Option<String> {
    match path {
        "src/main.rs" | "src/lib.rs" => None,
        _ => Some("super::".repeat(path.matches('/').count())),
    }
}

/// The first names of what follows a root: one, or several in braces.
fn heads(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return word(rest).into_iter().collect();
    };
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.extend(word(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.extend(word(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    heads
}

/// The word at the start. What a module names in lower case is a room; the rest (`crate::Error`) is nobody's.
fn word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let word = &text[..end];
    let is_module = word.starts_with(|c: char| c.is_ascii_lowercase());
    (is_module && word != "super" && word != "self").then(|| word.to_owned())
}

#[test]
fn a_way_up_or_across_the_house_is_found_however_it_is_written() {
    for (path, code, wrong) in [
        ("src/engine/idle.rs", "use crate::driver::task;", "driver"),
        (
            "src/store.rs",
            "fn f() { crate::provider::x() }",
            "provider",
        ),
        (
            "src/gate/nonce.rs",
            "use crate::{engine::{id, time}, page};",
            "page",
        ),
        (
            "src/gate/nonce.rs",
            "use super::super::{signal, engine::id};",
            "signal",
        ),
        ("src/signal.rs", "use super::http;", "http"),
        ("src/driver/task.rs", "use crate::http::reply;", "http"),
        ("src/telemetry.rs", "use crate::store::Store;", "store"),
        ("src/engine.rs", "use crate::telemetry;", "telemetry"),
        ("src/http/wait.rs", "use crate::app::{self, App};", "app"),
        ("src/cli/run.rs", "pub(crate) use crate::main;", "main"),
        ("src/http.rs", "use crate::attic::Box;", "attic"),
        ("src/attic.rs", "use crate::engine::id;", "engine"),
    ] {
        let found = wrong_ways(path, code);
        assert_eq!(found.len(), 1, "{path}: {code}: {found:?}");
        assert!(found[0].1.ends_with(wrong), "{path}: {code}: {found:?}");
    }
}

#[test]
fn every_way_down_is_free() {
    for (path, code) in [
        ("src/main.rs", "fn main() { anteroom::cli::main() }"),
        ("src/app.rs", "use crate::{http, provider::docker, store};"),
        (
            "src/http/wait.rs",
            "use crate::page::Page; use crate::telemetry;",
        ),
        (
            "src/store/file.rs",
            "use super::Claim; use crate::store::Store;",
        ),
        ("src/store/file/tables.rs", "use super::super::Claim;"),
        (
            "src/http/wait.rs",
            "#[cfg(test)] mod tests { use super::super::reply; }",
        ),
        ("src/telemetry.rs", "use crate::engine::id::ServiceName;"),
        ("src/lib.rs", "pub use crate::http;"),
    ] {
        assert_eq!(wrong_ways(path, code), [], "{path}: {code}");
    }
}
