//! Reads one table of the raw tree, key by key. Bounds and defaults come from the table of keys.
//!
//! A value that is refused is noted as a problem, and `None` is returned; callers may stand in any value for it,
//! because a configuration with a problem is never handed out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use super::raw::{self, Node, Table, Value};
use super::reader::{Reader, is_source, source_shown};
use super::schema::{self, Fallback, Key, Kind};
use super::secret::Secret;
use super::value::{self, Parsed};
use crate::engine::time::Span;

static EMPTY: Table = Table::new();

/// One table of the file, being read.
pub(super) struct Reading<'a> {
    pub(super) reader: &'a Reader<'a>,
    path: String,
    line: usize,
    pub(super) table: &'a Table,
    id: &'static str,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        id: &'static str,
        path: String,
        line: usize,
        table: &'a Table,
    ) -> Reading<'a> {
        Reading {
            reader,
            path,
            line,
            table,
            id,
        }
    }

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

    /// Notes that the folder of a file, which is to be written, is not there.
    pub(super) fn warn_of_folder(&self, name: &str, path: &Path) {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let message = format!(
                "the folder {} is not there; make it, or nothing can be published",
                folder.display()
            );
            self.warn(name, message);
        }
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

    /// A table of this section that holds nothing but defaults, in the place of this one.
    pub(super) fn all_defaults(&self, id: &'static str) -> Reading<'a> {
        Reading::new(self.reader, id, self.path.clone(), self.line, &EMPTY)
    }

    /// A table inside this one; one that is not written holds nothing but defaults.
    pub(super) fn section_or_empty(&self, name: &str) -> Option<Reading<'a>> {
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
            _ => self.without_quotes(key, &node)?,
        };
        self.within(name, number, least, most)
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
            _ => self.without_quotes(key, &node)?,
        };
        self.within(name, number, least, most)
    }

    /// Whether something is so.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        let (key, node) = self.find(name)?;
        match &node.value {
            Value::Bool(truth) => Some(*truth),
            _ => self.without_quotes(key, &node),
        }
    }

    /// A number, or whether something is so, from the environment or a file. In this file they have no quotes.
    fn without_quotes<T: FromStr>(&self, key: &Key, node: &Node) -> Option<T> {
        if !node.table().is_some_and(is_source) {
            self.reader.wrong_kind(key, node);
            return None;
        }
        let wrong = || format!("is not {}", key.kind.noun());
        self.reader
            .parse(key, node, |text| text.trim().parse().map_err(|_| wrong()))
    }

    fn within<T: PartialOrd + Display>(
        &self,
        name: &str,
        number: T,
        least: T,
        most: T,
    ) -> Option<T> {
        if (&least..=&most).contains(&&number) {
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
        let item = |node: &Node| self.one(key, node, &parse);
        items.iter().filter_map(item).collect()
    }

    /// A list whose values need not be texts.
    pub(super) fn each<T>(
        &self,
        name: &str,
        read: impl Fn(&'static Key, &Node) -> Option<T>,
    ) -> Vec<T> {
        let Some((key, node)) = self.find(name) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.reader.wrong_kind(key, &node);
            return Vec::new();
        };
        items.iter().filter_map(|item| read(key, item)).collect()
    }

    /// One value of a list that is made of a text.
    pub(super) fn one<T>(
        &self,
        key: &Key,
        node: &Node,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Option<T> {
        self.is_text(key, node)
            .then(|| self.reader.parse(key, node, &parse))?
    }

    /// Whether one value of a list or a map is, or points at, a text.
    fn is_text(&self, key: &Key, node: &Node) -> bool {
        let good = match &node.value {
            Value::Text(_) => true,
            Value::Table(table) => is_source(table),
            _ => false,
        };
        if !good {
            let shown = node.shown();
            let message = format!(
                "{shown} is not a text; write it like {} = {}",
                key.name, key.example
            );
            self.reader.fault(node.line, &node.path, message);
        }
        good
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
            if !self.is_text(key, node) {
                return None;
            }
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
