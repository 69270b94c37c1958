//! Reads the raw tree key by key and notes every fault instead of stopping at the first.
//!
//! A value that is refused is noted as a problem, and `None` is returned; callers may stand in any value for it,
//! because a configuration with a problem is never handed out.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use super::problem::{Problem, nearest};
use super::raw::{self, Node, Table, Value};
use super::schema::{self, Fallback, Key, Kind};
use super::secret::Secret;
use super::value::{self, Parsed};
use crate::engine::time::Span;

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
            line: Some(line),
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
        Some(Reading {
            reader: self,
            id,
            path: node.path.clone(),
            line: node.line,
            table,
        })
    }

    /// The text of a value: written in quotes, or taken from the environment or a file. The second text is what
    /// a message may show of it.
    fn text(&self, key: &Key, node: &Node) -> Option<(String, String)> {
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

    /// Takes a text from where `{ env = "X" }` or `{ file = "..." }` points.
    fn source(&self, node: &Node, table: &Table) -> Option<String> {
        let (kind, at) = table.first_key_value()?;
        let Value::Text(name) = &at.value else {
            let message = format!("{} is not a name; write it in quotes", at.shown());
            self.fault(at.line, &at.path, message);
            return None;
        };
        let read = match kind.as_str() {
            "env" => (self.env)(name)
                .ok_or_else(|| format!("the environment has no {name}; set it, or use a file")),
            _ => read_file(name).map_err(|why| format!("the file {name} cannot be read: {why}")),
        };
        match read {
            Ok(text) => Some(text),
            Err(message) => {
                self.fault(node.line, &node.path, message);
                None
            }
        }
    }

    fn wrong_kind(&self, key: &Key, node: &Node) {
        let (shown, noun) = (node.shown(), key.kind.noun());
        let message = format!(
            "{shown} is not {noun}; write it like {} = {}",
            key.name, key.example
        );
        self.fault(node.line, &node.path, message);
    }

    fn parse<T>(&self, key: &Key, node: &Node, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let (text, shown) = self.text(key, node)?;
        parse(&text)
            .map_err(|message| self.fault(node.line, &node.path, format!("{shown} {message}")))
            .ok()
    }
}

/// One table of the file, being read.
pub(super) struct Reading<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) table: &'a Table,
    id: &'static str,
}

impl<'a> Reading<'a> {
    /// Notes a fault at a key of this table.
    pub(super) fn fault(&self, name: &str, message: impl Into<String>) {
        self.reader
            .fault(self.line_of(name), &self.path_of(name), message);
    }

    /// Notes something doubtful at a key of this table.
    pub(super) fn warn(&self, name: &str, message: impl Into<String>) {
        self.reader
            .warn(self.line_of(name), &self.path_of(name), message);
    }

    /// The line of a key; of the table when the key is not written.
    pub(super) fn line_of(&self, name: &str) -> usize {
        self.table.get(name).map_or(self.line, |node| node.line)
    }

    /// Whether the key is written.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    fn path_of(&self, name: &str) -> String {
        match self.table.get(name) {
            Some(node) => node.path.clone(),
            None => raw::join(&self.path, name),
        }
    }

    /// The key with its value: the written one, else the default of the table of keys.
    fn find(&self, name: &str) -> Option<(&'static Key, Cow<'a, Node>)> {
        let key = schema::key(self.id, name).expect("a key that is read is in the table of keys");
        if let Some(node) = self.table.get(name) {
            return Some((key, Cow::Borrowed(node)));
        }
        match key.default {
            Fallback::Nothing(_) => None,
            Fallback::Required => {
                let message = format!("is missing; write {} = {}", key.name, key.example);
                self.fault(name, message);
                None
            }
            Fallback::Value(text) => {
                let root = raw::parse(&format!("{name} = {text}"), "").expect("a default is TOML");
                let mut node = root.table()?.get(name)?.clone();
                (node.path, node.line) = (raw::join(&self.path, name), self.line);
                Some((key, Cow::Owned(node)))
            }
        }
    }

    /// A table inside this one, if it is written.
    pub(super) fn section(&self, name: &str) -> Option<Reading<'a>> {
        let (key, node) = self.find(name)?;
        let Kind::Section(id) = key.kind else {
            unreachable!("{name} is read as a section and is none")
        };
        match node {
            Cow::Borrowed(node) => self.reader.open(node, id),
            Cow::Owned(_) => None,
        }
    }

    /// A table inside this one; one that is not written holds nothing but defaults.
    pub(super) fn section_or_empty(&self, name: &str) -> Option<Reading<'a>> {
        static EMPTY: Table = Table::new();
        let key = schema::key(self.id, name).expect("a key that is read is in the table of keys");
        match key.kind {
            Kind::Section(id) if !self.has(name) => Some(Reading {
                reader: self.reader,
                id,
                path: raw::join(&self.path, name),
                line: self.line,
                table: &EMPTY,
            }),
            _ => self.section(name),
        }
    }

    /// A value made of one text.
    pub(super) fn read<T>(&self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let (key, node) = self.find(name)?;
        self.reader.parse(key, &node, parse)
    }

    /// A duration within the bounds of its key.
    pub(super) fn span(&self, name: &str) -> Option<Span> {
        let (key, node) = self.find(name)?;
        let Kind::Duration(least, most) = key.kind else {
            unreachable!("{name} is read as a duration and is none")
        };
        let bound = |text| value::duration(text).expect("a bound is a duration");
        self.reader.parse(key, &node, |text| {
            let span = value::duration(text)?;
            match (bound(least)..=bound(most)).contains(&span) {
                true => Ok(span),
                false => Err(format!("is out of bounds; write {least} to {most}")),
            }
        })
    }

    /// One of the words of its key, as what it stands for.
    pub(super) fn choice<T: Copy>(&self, name: &str, meanings: &[(&str, T)]) -> Option<T> {
        self.read(name, |text| {
            let found = meanings.iter().find(|(word, _)| *word == text);
            found.map(|(_, meaning)| *meaning).ok_or_else(|| {
                let words: Vec<_> = meanings
                    .iter()
                    .map(|(word, _)| format!("{word:?}"))
                    .collect();
                format!("is not known here; write one of {}", words.join(", "))
            })
        })
    }

    /// A whole number within the bounds of its key.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        let (key, node) = self.find(name)?;
        let Kind::Integer(least, most) = key.kind else {
            unreachable!("{name} is read as a whole number and is none")
        };
        let number = match &node.value {
            Value::Integer(number) => *number,
            Value::Table(_) => self.reader.parse(key, &node, |text| {
                text.trim()
                    .parse()
                    .map_err(|_| "is not a whole number".to_owned())
            })?,
            _ => {
                self.reader.wrong_kind(key, &node);
                return None;
            }
        };
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let message = format!("{number} is out of bounds; write {least} to {most}");
        self.fault(name, message);
        None
    }

    /// A number within the bounds of its key.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        let (key, node) = self.find(name)?;
        let Kind::Number(least, most) = key.kind else {
            unreachable!("{name} is read as a number and is none")
        };
        let number = match &node.value {
            Value::Integer(number) => *number as f64,
            Value::Number(number) => *number,
            Value::Table(_) => self.reader.parse(key, &node, |text| {
                text.trim()
                    .parse()
                    .map_err(|_| "is not a number".to_owned())
            })?,
            _ => {
                self.reader.wrong_kind(key, &node);
                return None;
            }
        };
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let message = format!("{number} is out of bounds; write {least} to {most}");
        self.fault(name, message);
        None
    }

    /// A list of values, each made of one text.
    pub(super) fn list<T>(&self, name: &str, parse: impl Fn(&str) -> Parsed<T>) -> Vec<T> {
        let Some((key, node)) = self.find(name) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.reader.wrong_kind(key, &node);
            return Vec::new();
        };
        let item = |node: &Node| self.reader.parse(key, node, &parse);
        items.iter().filter_map(item).collect()
    }

    /// A list that must not be empty, when it is written or required.
    pub(super) fn some<T>(&self, name: &str, parse: impl Fn(&str) -> Parsed<T>) -> Vec<T> {
        if let Some(Value::List(items)) = self.table.get(name).map(|node| &node.value)
            && items.is_empty()
        {
            self.fault(name, "must not be empty");
        }
        self.list(name, parse)
    }

    /// Names with texts.
    pub(super) fn map(&self, name: &str) -> BTreeMap<String, String> {
        let Some((key, node)) = self.find(name) else {
            return BTreeMap::new();
        };
        let Some(table) = node.table() else {
            self.reader.wrong_kind(key, &node);
            return BTreeMap::new();
        };
        let entry = |(name, node): (&String, &Node)| {
            let (text, _) = self.reader.text(key, node)?;
            Some((name.clone(), text))
        };
        table.iter().filter_map(entry).collect()
    }

    /// A secret, which is never written into the file itself.
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        let (key, node) = self.find(name)?;
        match &node.value {
            Value::Table(table) if is_source(table) => match self.reader.source(&node, table)? {
                text if text.trim().is_empty() => {
                    let shown = source_shown(table);
                    self.fault(name, format!("{shown} is empty; put the secret there"));
                    None
                }
                text => Some(Secret::new(text.trim())),
            },
            Value::Text(_) => {
                let mend = "a secret is not written into this file; write it like";
                self.fault(name, format!("{mend} {name} = {}", key.example));
                None
            }
            _ => {
                self.reader.fault(
                    node.line,
                    &node.path,
                    format!("is not a secret; write it like {name} = {}", key.example),
                );
                None
            }
        }
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
    if schema::comes_later(id, name) {
        return "comes in a later version; take it out".to_owned();
    }
    let names = || schema::keys(id).map(|key| key.name);
    match nearest(name, names()) {
        Some(known) => format!("is not a known key; did you mean {known}?"),
        None => {
            let known: Vec<_> = names().collect();
            format!("is not a known key; here are known: {}", known.join(", "))
        }
    }
}

fn is_source(table: &Table) -> bool {
    table.len() == 1 && (table.contains_key("env") || table.contains_key("file"))
}

fn source_shown(table: &Table) -> String {
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
