//! The raw form: TOML as a tree in which every value knows its line and its full key.
//!
//! It knows TOML and nothing about Anteroom, except that `[defaults]` lies under every service. A value taken
//! from `[defaults]` keeps the line and the key of where it was written.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::schema::{self, Kind};
use super::{challenge, signal};

/// A table: its keys with their values.
pub(super) type Table = BTreeMap<String, Node>;

/// One value, where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// The full key, as in `service.blog.hosts`.
    pub(super) path: String,
    /// The line, counted from 1; for a table, the line of its name. 0: it does not stand in the file.
    pub(super) line: usize,
    /// What was written.
    pub(super) value: Value,
}

/// What TOML knows, and JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A text in quotes.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A date, which no key takes.
    Date(String),
    /// The `null` of JSON, which no key takes.
    Null,
    /// A list.
    List(Vec<Node>),
    /// A table, by header or inline.
    Table(Table),
}

impl Node {
    /// The table, if this is one.
    pub(super) fn table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// What this is, for a message.
    pub(super) fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("{:?}", without_login(text)),
            Value::Integer(number) => number.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Date(date) => format!("the date {date}"),
            Value::Null => "null".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// A URL without its user and password, and without passwords behind its question mark; any other text as it is.
fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = match rest.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => rest.to_owned(),
    };
    let rest = match rest.split_once("password=") {
        Some((before, _)) => format!("{before}password=***"),
        None => rest,
    };
    format!("{scheme}://{rest}")
}

/// Parses TOML. Every fault of the syntax is reported, not only the first.
pub(super) fn parse(text: &str, file: &str) -> Result<Node, Vec<Problem>> {
    let lines = Lines::of(text);
    let (root, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        let problem = |fault: &toml::de::Error| Problem {
            file: file.to_owned(),
            line: fault.span().map(|span| lines.at(span.start)),
            key: String::new(),
            message: format!(
                "this is not TOML: {}",
                fault.message().trim().replace('\n', ", ")
            ),
        };
        let mut problems: Vec<_> = faults.iter().map(problem).collect();
        problems.sort();
        return Err(problems);
    }
    Ok(Node {
        path: String::new(),
        line: 1,
        value: Value::Table(table(root.get_ref(), "", &lines)),
    })
}

/// The same of JSON that does not stand in the file, as the table `path`.
pub(super) fn of_json(json: serde_json::Value, path: String) -> Node {
    use serde_json::Value as Json;
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Integer(whole),
            None => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(items) => {
            let item = |item| of_json(item, path.clone());
            Value::List(items.into_iter().map(item).collect())
        }
        Json::Object(entries) => {
            let entry = |(name, json): (String, _)| {
                let path = join(&path, &name);
                (name, of_json(json, path))
            };
            Value::Table(entries.into_iter().map(entry).collect())
        }
    };
    Node {
        path,
        line: 0,
        value,
    }
}

fn table(from: &DeTable<'_>, path: &str, lines: &Lines) -> Table {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        let line = match value.get_ref() {
            DeValue::Table(_) => lines.at(key.span().start),
            _ => lines.at(value.span().start),
        };
        let path = join(path, name);
        (name.to_string(), node(value.get_ref(), path, line, lines))
    };
    from.iter().map(entry).collect()
}

fn node(from: &DeValue<'_>, path: String, line: usize, lines: &Lines) -> Node {
    let value = match from {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
                Ok(number) => Value::Integer(number),
                // Larger than any bound: read as a number, which the bounds then refuse.
                Err(_) => Value::Number(f64::INFINITY),
            }
        }
        DeValue::Float(number) => {
            Value::Number(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN))
        }
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| {
                    let line = lines.at(item.span().start);
                    node(item.get_ref(), path.clone(), line, lines)
                })
                .collect(),
        ),
        DeValue::Table(inner) => Value::Table(table(inner, &path, lines)),
    };
    Node { path, line, value }
}

/// The key `name` inside the table `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

/// Lays `defaults` under a section of the configuration: what is written there wins, and sections merge.
pub(super) fn lay_under(section: &mut Table, defaults: &Table, id: &str) {
    for (name, default) in defaults {
        let Some(written) = section.get_mut(name) else {
            section.insert(name.clone(), default.clone());
            continue;
        };
        let (Value::Table(written), Value::Table(default)) = (&mut written.value, &default.value)
        else {
            continue;
        };
        match schema::key(id, name).map(|key| key.kind) {
            Some(Kind::Section(id)) => lay_under(written, default, id),
            Some(Kind::Map) => lay_under(written, default, "any name"),
            Some(Kind::Provider) => lay_under_kind(written, default, |kind| kind),
            Some(Kind::Challenge) => lay_under_kind(written, default, challenge::section_of),
            Some(Kind::Signal) => lay_under_kind(written, default, signal::section_of),
            _ => {}
        }
    }
}

/// The keys of one kind mean nothing to another, so only blocks of the same kind merge. `section` gives the section that
/// describes a kind.
fn lay_under_kind(written: &mut Table, default: &Table, section: fn(&str) -> &str) {
    let kind = |table: &Table| match table.get("kind").map(|node| &node.value) {
        Some(Value::Text(kind)) => Some(kind.clone()),
        _ => None,
    };
    let (own, given) = (kind(written), kind(default));
    if own.is_none() || given.is_none() || own == given {
        let kind = own.or(given).unwrap_or_default();
        lay_under(written, default, section(&kind));
    }
}

/// Where the lines of a text begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    fn at(&self, offset: usize) -> usize {
        1 + self.0.partition_point(|end| *end < offset)
    }
}
