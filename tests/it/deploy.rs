//! The files of `deploy/`, held by the programs that read them.

use std::path::{Path, PathBuf};
use std::process::Command;

mod compose;
mod grafana;
mod prometheus;
mod scene;
mod systemd;

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Its text.
fn text(path: &str) -> String {
    let read = std::fs::read_to_string(repository(path));
    read.unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// What a file of YAML says. A key that is there twice is an error.
fn yaml(path: &str) -> serde_json::Value {
    let read = serde_saphyr::from_str(&text(path));
    read.unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// All files of a folder, by their paths.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        match entry.path().is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
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
