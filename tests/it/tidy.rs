//! The house rules that no compiler holds: the repository is read and linted. Each rule looks at one file's path
//! and text, and has planted violations below that it must find.

use std::fs;
use std::path::Path;

use code::{code, uses, without_tests};

mod code;
mod floors;
mod links;

/// Past this a file has more than one idea.
const LINES_MAX: usize = 500;

/// What a rule finds in a file: the line, and what is wrong with it.
type Findings = Vec<(usize, String)>;

/// A rule, named by what holds when it finds nothing.
struct Rule {
    holds: &'static str,
    find: fn(path: &str, text: &str) -> Findings,
}

const RULES: [Rule; 9] = [
    Rule {
        holds: "imports run down the floors",
        find: floors_are_kept,
    },
    Rule {
        holds: "a file has one idea",
        find: files_are_short,
    },
    Rule {
        holds: "a module is foo.rs beside foo/",
        find: no_file_is_named_mod,
    },
    Rule {
        holds: "a test does not sleep",
        find: tests_do_not_sleep,
    },
    Rule {
        holds: "a module says what it is for",
        find: modules_begin_with_their_purpose,
    },
    Rule {
        holds: "nothing unwraps",
        find: nothing_unwraps,
    },
    Rule {
        holds: "nothing is left undone",
        find: nothing_is_left_undone,
    },
    Rule {
        holds: "links lead somewhere",
        find: links_lead_somewhere,
    },
    Rule {
        holds: "the engine is pure",
        find: the_engine_is_pure,
    },
];

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_source(path: &str) -> bool {
    is_rust(path) && path.starts_with("src/")
}

/// A module of tests in a file of its own.
fn is_unit_test(path: &str) -> bool {
    is_source(path) && (path.ends_with("/tests.rs") || path.contains("/tests/"))
}

fn floors_are_kept(path: &str, text: &str) -> Findings {
    match is_source(path) {
        true => floors::wrong_ways(path, &code(text)),
        false => Vec::new(),
    }
}

fn files_are_short(path: &str, text: &str) -> Findings {
    let lines = text.lines().count();
    match is_source(path) && lines > LINES_MAX {
        true => vec![(lines, format!("{lines} lines, more than {LINES_MAX}"))],
        false => Vec::new(),
    }
}

fn no_file_is_named_mod(path: &str, _text: &str) -> Findings {
    match path.ends_with("/mod.rs") {
        true => vec![(1, "foo.rs beside foo/, not foo/mod.rs".into())],
        false => Vec::new(),
    }
}

fn tests_do_not_sleep(path: &str, text: &str) -> Findings {
    let may = !path.starts_with("tests/") || path.starts_with("tests/it/support/");
    match is_rust(path) && !may {
        true => words(&code(text), &["thread::sleep", "time::sleep("]),
        false => Vec::new(),
    }
}

fn modules_begin_with_their_purpose(path: &str, text: &str) -> Findings {
    match is_rust(path) && !text.starts_with("//! ") {
        true => vec![(1, "a file begins with `//!` and what it is for".into())],
        false => Vec::new(),
    }
}

fn nothing_unwraps(path: &str, text: &str) -> Findings {
    match is_source(path) && !is_unit_test(path) {
        true => words(&without_tests(&code(text)), &[".unwrap()"]),
        false => Vec::new(),
    }
}

fn nothing_is_left_undone(path: &str, text: &str) -> Findings {
    match is_rust(path) {
        true => words(&code(text), &["todo!", "unimplemented!", "dbg!"]),
        false => Vec::new(),
    }
}

fn the_engine_is_pure(path: &str, text: &str) -> Findings {
    let banned = ["tokio", "std::fs", "std::net::Tcp", "tracing"];
    match is_source(path) && path.starts_with("src/engine") {
        true => words(&code(text), &banned),
        false => Vec::new(),
    }
}

fn words(code: &str, banned: &[&str]) -> Findings {
    let found = |word| uses(code, word).map(move |(line, _)| (line, format!("`{word}`")));
    banned.iter().flat_map(|word| found(*word)).collect()
}

fn links_lead_somewhere(path: &str, text: &str) -> Findings {
    match path.ends_with(".md") {
        true => links::dead(path, text, |file| root().join(file).exists()),
        false => Vec::new(),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that a rule may look at, by its path from the repository's root.
fn repository() -> Vec<(String, String)> {
    let mut waiting: Vec<_> = ["src", "tests", "docs"]
        .map(|name| root().join(name))
        .into_iter()
        .filter(|directory| directory.exists())
        .collect();
    let mut files = Vec::new();
    while let Some(directory) = waiting.pop() {
        for found in fs::read_dir(&directory).unwrap() {
            let path = found.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
            if path.is_dir() {
                waiting.push(path);
            } else if is_rust(name) || name.ends_with(".md") {
                files.push((name.replace('\\', "/"), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_repository_keeps_its_own_rules() {
    let files = repository();
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"));
    let mut wrong = Vec::new();
    for (path, text) in &files {
        for rule in &RULES {
            let found = (rule.find)(path, text).into_iter();
            wrong.extend(
                found.map(|(line, what)| {
                    format!("{path}:{line}: {what} (the rule: {})", rule.holds)
                }),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A planted violation and its line.
struct Planted(&'static str, &'static str, usize);

#[test]
fn each_rule_finds_what_is_planted_for_it_and_no_other_rule_does() {
    let long: &str = format!("//! Long.\n{}", "\n".repeat(LINES_MAX)).leak();
    let planted = [
        [
            Planted("src/page/theme.rs", "//! x\nuse crate::gate::Gate;", 2),
            Planted("src/engine/id.rs", "//! x\n\nuse crate::{store, page};", 3),
        ],
        [
            Planted("src/http/reply.rs", long, LINES_MAX + 1),
            Planted("src/lib.rs", long, LINES_MAX + 1),
        ],
        [
            Planted("src/http/mod.rs", "//! x", 1),
            Planted("tests/it/support/mod.rs", "//! x", 1),
        ],
        [
            Planted(
                "tests/it/http.rs",
                "//! x\nfn f() { std::thread::sleep(d) }",
                2,
            ),
            Planted(
                "tests/sim/main.rs",
                "//! x\nuse tokio::time;\n time::sleep(d)",
                3,
            ),
        ],
        [
            Planted("src/signal.rs", "use std::fs;\n//! Too late.", 1),
            Planted("tests/it/http.rs", "\n//! x", 1),
        ],
        [
            Planted("src/cli.rs", "//! x\nfn f() {\n  a\n    .unwrap();\n}", 4),
            Planted(
                "src/cli.rs",
                "//! x\n#[cfg(test)]\nmod tests { a.unwrap() }\nfn f() { b.unwrap() }",
                4,
            ),
        ],
        [
            Planted("src/cli.rs", "//! x\nfn f() { todo!(\"later\") }", 2),
            Planted("tests/it/http.rs", "//! x\nlet x = dbg!(y);", 2),
        ],
        [
            Planted("docs/traefik.md", "# x\n\nSee [this](gone.md#part).", 3),
            Planted(
                "docs/a/b.md",
                "[a](https://x.y) and [b](../../src/gone.rs)",
                1,
            ),
        ],
        [
            Planted("src/engine/idle.rs", "//! x\nuse tokio::sync::mpsc;", 2),
            Planted(
                "src/engine.rs",
                "//! x\nfn f() { tracing::info!(\"x\") }",
                2,
            ),
        ],
    ];
    for (which, planted) in planted.iter().enumerate() {
        for Planted(path, text, line) in planted {
            for (number, rule) in RULES.iter().enumerate() {
                let found = (rule.find)(path, text);
                let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
                match number == which {
                    true => assert!(lines.contains(line), "{}: {path}: {found:?}", rule.holds),
                    false => assert!(lines.is_empty(), "{}: {path}: {found:?}", rule.holds),
                }
            }
        }
    }
}

#[test]
fn no_rule_minds_what_is_only_written_about() {
    let text = r##"//! A `todo!()`, a `.unwrap()`, a `crate::http`, tokio and tracing.
/* thread::sleep(x) /* dbg!(x) */ */
fn f() -> &'static str { r#"use crate::http; x.unwrap(); todo!(); std::fs"# }
fn unimplemented() { not_tokio(); x.unwrap_or_default() }
"##;
    for path in ["src/engine/idle.rs", "tests/it/http.rs"] {
        for rule in &RULES {
            assert_eq!((rule.find)(path, text), [], "{}: {path}", rule.holds);
        }
    }
    let tests = "//! x\nfn f() { a.unwrap() }";
    assert_eq!(nothing_unwraps("src/engine/service/tests.rs", tests), []);
    assert_eq!(
        tests_do_not_sleep("tests/it/support/wait.rs", "time::sleep(x)"),
        []
    );
    let page =
        "```\n[a](gone.md)\n```\n`[b](gone.md)` [c](#part) [d](mailto:a@b.c) [e](../src/./lib.rs)";
    assert_eq!(links_lead_somewhere("docs/page.md", page), []);
}
