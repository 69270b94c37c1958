//! The files of `deploy/`, held by the programs that read them.

use std::path::{Path, PathBuf};
use std::process::Command;

mod prometheus;

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its text.
fn text(path: &str) -> String {
    let read = std::fs::read_to_string(repository(path));
    read.unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Runs a program that must be there and find nothing wrong; gives what it says.
fn run(command: &mut Command) -> String {
    let ran = command.output();
    let ran = ran.unwrap_or_else(|why| panic!("{command:?}: {why} (tests/run installs it)"));
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ran.status.success(), "{command:?}: {said}");
    said
}
