//! The reference page, printed from the table of keys.

use std::fmt::Write as _;

use super::keys::SECTIONS;
use super::schema::{self, Fallback, Key, SectionText};

const HEAD: &str = "# Configuration

This page is printed from the program's own table of keys; a test fails when it is stale.

Anteroom reads one TOML file. `anteroom check` says everything that is wrong with it, with the line, the key and
the mend, and changes nothing.

- **Durations** are whole numbers with units, the larger unit first: `30m`, `1h 30m`, `45s`, `500ms`, `1d`. A day
  has 24 hours.
- **Rates** are a number and a duration: `24/1d` is 24 at once and from then on one every hour (a day divided by 24), until there are
  24 again. `off` is no limit.
- **From elsewhere.** Instead of a text or a number, and in place of each text of a list, a key also takes
  `{ env = \"NAME\" }`, a variable of the environment, or `{ file = \"PATH\" }`, the content of a file of at most
  64 KiB. A secret takes nothing else, and is never printed.
- **Paths** that are not absolute start at the folder that Anteroom was started in.
- **Unknown keys are errors**, so a misspelt key cannot be silently ignored.
";

/// The reference of every key of the configuration, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        write_section(&mut page, section).expect("a text takes every write");
    }
    page
}

fn write_section(page: &mut String, section: &SectionText) -> std::fmt::Result {
    let title = match section.title.starts_with('[') {
        true => format!("`{}`", section.title),
        false => section.title.to_owned(),
    };
    write!(page, "\n## {title}\n\n{}\n\n", section.about)?;
    page.push_str("| key | takes | default | meaning | example |\n|---|---|---|---|---|\n");
    for key in schema::keys(section.id) {
        writeln!(page, "{}", row(key))?;
    }
    Ok(())
}

fn row(key: &Key) -> String {
    let default = match key.default {
        Fallback::Required => "must be written".to_owned(),
        Fallback::Nothing(what) => what.to_owned(),
        Fallback::Value(value) => format!("`{value}`"),
    };
    let example = match key.example {
        "{}" => String::new(),
        example => format!("`{} = {example}`", key.name),
    };
    let cells = [
        format!("`{}`", key.name),
        key.kind.described(),
        default,
        key.meaning.to_owned(),
        example,
    ];
    format!(
        "| {} |",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    )
}
