//! Gathers every fault of a file instead of stopping at the first, and finds the text of a value: in quotes, in
//! the environment or in a file. Tables are read with `reading`.

use std::cell::RefCell;

use super::problem::{Problem, nearest};
use super::raw::{Node, Table, Value};
use super::reading::Reading;
use super::schema::{self, Key};
use super::value::Parsed;

/// How a variable of the environment is read.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A file that a value is read from may be this long, in bytes: it holds a token, not a book.
const VALUE_FILE_MAX: u64 = 64 * 1024;

/// Where the faults of one file are gathered.
pub(super) struct Reader<'a> {
    file: &'a str,
    env: EnvLookup<'a>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, env: EnvLookup<'a>) -> Reader<'a> {
        Reader {
            file,
            env,
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Notes a fault: the configuration will not be handed out.
    pub(super) fn fault(&self, line: usize, key: &str, message: impl Into<String>) {
        note(&self.problems, self.problem(line, key, message.into()));
    }

    /// Notes something doubtful.
    pub(super) fn warn(&self, line: usize, key: &str, message: impl Into<String>) {
        note(&self.warnings, self.problem(line, key, message.into()));
    }

    /// The warnings when there is no fault, else the faults; both in the order of the file.
    pub(super) fn finish(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let sorted = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            list.sort();
            list
        };
        match self.problems.borrow().is_empty() {
            true => Ok(sorted(self.warnings)),
            false => Err(sorted(self.problems.clone())),
        }
    }

    fn problem(&self, line: usize, key: &str, message: String) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line: (line > 0).then_some(line),
            key: key.to_owned(),
            message,
        }
    }

    /// Opens a table as the section `id`, and notes the keys that the section does not have.
    pub(super) fn open<'b>(&'b self, node: &'b Node, id: &'static str) -> Option<Reading<'b>> {
        let Some(table) = node.table() else {
            let message = format!("{} is not a table; write [{}]", node.shown(), node.path);
            self.fault(node.line, &node.path, message);
            return None;
        };
        for (name, value) in table {
            if schema::key(id, name).is_none() {
                self.fault(value.line, &value.path, unknown(id, name));
            }
        }
        Some(Reading::new(self, id, node.path.clone(), node.line, table))
    }

    /// The `kind` of a table, as one of those that are known; `what` they are kinds of.
    pub(super) fn kind(
        &self,
        node: &Node,
        kinds: &[&'static str],
        what: &str,
    ) -> Option<&'static str> {
        let known = kinds.join(", ");
        let written = node.table().and_then(|table| table.get("kind"));
        let Some((at, Value::Text(kind))) = written.map(|at| (at, &at.value)) else {
            let message = format!("needs a kind in quotes; there are {known}");
            let at = written.unwrap_or(node);
            self.fault(at.line, &at.path, message);
            return None;
        };
        let found = kinds.iter().find(|known| *known == kind).copied();
        if found.is_none() {
            let message = match nearest(kind, kinds.iter().copied()) {
                Some(meant) => {
                    format!("{kind:?} is not a kind of {what}; did you mean {meant:?}?")
                }
                None => format!("{kind:?} is not a kind of {what}; there are {known}"),
            };
            self.fault(at.line, &at.path, message);
        }
        found
    }

    /// The text of a value: written in quotes, or taken from the environment or a file. The second text is what
    /// a message may show of it.
    pub(super) fn text(&self, key: &Key, node: &Node) -> Option<(String, String)> {
        match &node.value {
            Value::Text(text) => Some((text.clone(), node.shown())),
            Value::Table(table) if is_source(table) => {
                let shown = format!("the value of {}", source_shown(table));
                Some((self.source(node, table)?, shown))
            }
            _ => {
                self.wrong_kind(key, node);
                None
            }
        }
    }

    /// The text of a value, if there is one; faults are noted where the value is read.
    pub(super) fn quiet_text(&self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Table(table) if is_source(table) => self.look_up(table)?.ok(),
            _ => None,
        }
    }

    /// Takes a text from where `{ env = "X" }` or `{ file = "..." }` points.
    pub(super) fn source(&self, node: &Node, table: &Table) -> Option<String> {
        let (_, at) = table.first_key_value()?;
        if !matches!(at.value, Value::Text(_)) {
            let message = format!("{} is not a name; write it in quotes", at.shown());
            self.fault(at.line, &at.path, message);
            return None;
        };
        let read = self.look_up(table)?;
        match read {
            Ok(text) => Some(text),
            Err(message) => {
                self.fault(node.line, &node.path, message);
                None
            }
        }
    }

    fn look_up(&self, source: &Table) -> Option<Result<String, String>> {
        let (kind, at) = source.first_key_value()?;
        let Value::Text(name) = &at.value else {
            return None;
        };
        Some(match kind.as_str() {
            "env" => (self.env)(name)
                .ok_or_else(|| format!("the environment has no {name}; set it, or use a file")),
            _ => read_file(name).map_err(|why| format!("the file {name} cannot be read: {why}")),
        })
    }

    /// Notes that a value is not what its key takes.
    pub(super) fn wrong_kind(&self, key: &Key, node: &Node) {
        let (shown, noun) = (node.shown(), key.kind.noun());
        let message = format!(
            "{shown} is not {noun}; write it like {} = {}",
            key.name, key.example
        );
        self.fault(node.line, &node.path, message);
    }

    /// Makes a value of a text; what the parser says against it is noted.
    pub(super) fn parse<T>(
        &self,
        key: &Key,
        node: &Node,
        parse: impl FnOnce(&str) -> Parsed<T>,
    ) -> Option<T> {
        let (text, shown) = self.text(key, node)?;
        parse(&text)
            .map_err(|message| self.fault(node.line, &node.path, format!("{shown} {message}")))
            .ok()
    }
}

/// A fault that comes from `[defaults]` shows in every service; it is said once.
fn note(list: &RefCell<Vec<Problem>>, problem: Problem) {
    let mut list = list.borrow_mut();
    if !list.contains(&problem) {
        list.push(problem);
    }
}

/// What to say of a key that the section does not have.
fn unknown(id: &str, name: &str) -> String {
    let names = || schema::keys(id).map(|key| key.name);
    match nearest(name, names()) {
        Some(known) => format!("is not a known key; did you mean {known}?"),
        None => {
            let known: Vec<_> = names().collect();
            format!("is not a known key; here are known: {}", known.join(", "))
        }
    }
}

pub(super) fn is_source(table: &Table) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

pub(super) fn source_shown(table: &Table) -> String {
    match table.first_key_value() {
        Some((kind, node)) => format!("{kind} {}", node.shown()),
        None => "nothing".to_owned(),
    }
}

/// The text of a small file, without the end of its last line.
fn read_file(path: &str) -> Result<String, String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > VALUE_FILE_MAX {
        return Err(format!("it is longer than {VALUE_FILE_MAX} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
