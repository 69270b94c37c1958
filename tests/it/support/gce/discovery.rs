//! Google's own description of Compute Engine's interface (the discovery document that its Python client ships): what a
//! request may say. Whatever is not written there is refused, as the real one refuses it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use http::Method;
use regex_automata::{meta::Regex, util::syntax};
use serde_json::{Map, Value};

/// What a request asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The method, such as `compute.instances.start`.
    pub(crate) method: String,
    pub(crate) path: BTreeMap<String, String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// Why a request is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

fn refused(status: u16, reason: &'static str, message: impl Into<String>) -> Refused {
    let message = message.into();
    Refused {
        status,
        reason,
        message,
    }
}

/// The document.
pub(crate) struct Discovery {
    root: Value,
    methods: Vec<Described>,
}

struct Described {
    id: String,
    http: String,
    /// `{name}` stands for a parameter.
    segments: Vec<String>,
    description: Value,
}

fn file() -> PathBuf {
    let given = std::env::var_os("ANTEROOM_COMPUTE_DISCOVERY").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/compute.v1.json");
    given.unwrap_or(own)
}

/// The document, read once.
pub(crate) fn discovery() -> &'static Discovery {
    static READ: OnceLock<Discovery> = OnceLock::new();
    READ.get_or_init(|| {
        let file = file();
        let text = std::fs::read(&file).unwrap_or_else(|error| {
            let file = file.display();
            panic!(
                "{file}: {error}; tests/run fetches it, ANTEROOM_COMPUTE_DISCOVERY names another"
            )
        });
        let root: Value = serde_json::from_slice(&text).expect("it is JSON");
        let mut methods = Vec::new();
        collect(&root["resources"], &mut methods);
        Discovery { root, methods }
    })
}

fn collect(resources: &Value, into: &mut Vec<Described>) {
    for resource in resources.as_object().into_iter().flat_map(Map::values) {
        for method in resource["methods"]
            .as_object()
            .into_iter()
            .flat_map(Map::values)
        {
            let text = |key: &str| method[key].as_str().expect("a text").to_owned();
            into.push(Described {
                id: text("id"),
                http: text("httpMethod"),
                segments: text("flatPath").split('/').map(str::to_owned).collect(),
                description: method.clone(),
            });
        }
        collect(&resource["resources"], into);
    }
}

impl Discovery {
    /// Understands a request; `path` is what follows the version, `form` the decoded query in its order.
    pub(crate) fn understand(
        &self,
        http: &Method,
        path: &str,
        form: &[(String, String)],
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Asked, Refused> {
        let segments: Vec<_> = path.split('/').collect();
        let fits = |method: &&Described| method.http == http.as_str() && method.takes(&segments);
        // A path that is written out is meant before one with a parameter in that place.
        let found = self.methods.iter().filter(fits).max_by_key(|method| {
            method
                .segments
                .iter()
                .filter(|segment| !segment.starts_with('{'))
                .count()
        });
        let Some(method) = found else {
            return Err(refused(
                404,
                "html",
                format!("no {http} {path} is described"),
            ));
        };
        let mut asked = Asked {
            method: method.id.clone(),
            path: BTreeMap::new(),
            query: BTreeMap::new(),
            body: Value::Null,
        };
        let described = &method.description["parameters"];
        for (name, value) in method.segments.iter().zip(&segments) {
            let Some(name) = name
                .strip_prefix('{')
                .and_then(|name| name.strip_suffix('}'))
            else {
                continue;
            };
            check(name, value, &described[name])?;
            asked.path.insert(name.to_owned(), (*value).to_owned());
        }
        for (name, value) in form {
            let own = &described[name.as_str()];
            let of_all = &self.root["parameters"][name.as_str()];
            let parameter = if own["location"] == "query" {
                own
            } else {
                of_all
            };
            if parameter["location"] != "query" {
                let told = format!(
                    "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter."
                );
                return Err(refused(400, "invalid", told));
            }
            check(name, value, parameter)?;
            if asked.query.insert(name.clone(), value.clone()).is_some()
                && parameter["repeated"] != true
            {
                return Err(refused(400, "invalid", format!("{name} is given twice")));
            }
        }
        for (name, parameter) in described.as_object().into_iter().flatten() {
            let given = asked.path.contains_key(name) || asked.query.contains_key(name);
            if parameter["required"] == true && !given {
                return Err(refused(
                    400,
                    "required",
                    format!("Required field '{name}' not specified"),
                ));
            }
        }
        asked.body = self.body(&method.description["request"], content_type, body)?;
        Ok(asked)
    }

    fn body(&self, schema: &Value, kind: Option<&str>, body: &[u8]) -> Result<Value, Refused> {
        let Some(name) = schema["$ref"].as_str() else {
            return match body.is_empty() {
                true => Ok(Value::Null),
                false => Err(refused(400, "invalid", "a body where none is described")),
            };
        };
        if kind != Some("application/json") {
            return Err(refused(
                400,
                "parseError",
                format!("a body of {kind:?}, not JSON"),
            ));
        }
        let value = serde_json::from_slice(body)
            .map_err(|error| refused(400, "parseError", format!("Parse Error: {error}")))?;
        self.fits(&value, schema, name, true).map_err(|why| {
            refused(
                400,
                "invalid",
                format!("Invalid JSON payload received. {why}"),
            )
        })?;
        Ok(value)
    }

    /// That an answer of ours is one that the document describes.
    pub(crate) fn answers(&self, method: &str, answer: &Value) {
        let method = self
            .methods
            .iter()
            .find(|known| known.id == method)
            .expect("it is described");
        let schema = &method.description["response"];
        let name = schema["$ref"].as_str().expect("it answers something");
        self.fits(answer, schema, name, false)
            .expect("the stand-in answers as described");
    }

    fn fits(&self, value: &Value, schema: &Value, at: &str, ours: bool) -> Result<(), String> {
        let schema = match schema["$ref"].as_str() {
            Some(name) => &self.root["schemas"][name],
            None => schema,
        };
        if ours && schema["readOnly"] == true {
            return Err(format!("{at} is output only"));
        }
        match schema["type"].as_str().unwrap_or_default() {
            "any" => Ok(()),
            "object" => {
                let fields = value
                    .as_object()
                    .ok_or_else(|| format!("{at} is no object"))?;
                fields.iter().try_for_each(|(name, value)| {
                    let own = &schema["properties"][name.as_str()];
                    let schema = if own.is_null() {
                        &schema["additionalProperties"]
                    } else {
                        own
                    };
                    match schema.is_null() {
                        true => Err(format!(
                            "Unknown name \"{name}\" at '{at}': Cannot find field."
                        )),
                        false => self.fits(value, schema, &format!("{at}.{name}"), ours),
                    }
                })
            }
            "array" => {
                let items = value
                    .as_array()
                    .ok_or_else(|| format!("{at} is no array"))?;
                items
                    .iter()
                    .try_for_each(|item| self.fits(item, &schema["items"], at, ours))
            }
            "boolean" if value.is_boolean() => Ok(()),
            "integer" if value.is_i64() || value.is_u64() => Ok(()),
            "number" if value.is_number() => Ok(()),
            "string" => {
                let text = value.as_str().ok_or_else(|| format!("{at} is no string"))?;
                check(at, text, schema).map_err(|refused| refused.message)
            }
            kind => Err(format!("{at} is no {kind}")),
        }
    }

    /// The answer with nothing but what `fields` names (`a/b,c(d,e)`, `*` for all of a map or a list).
    pub(crate) fn masked(answer: &Value, fields: &str) -> Result<Value, Refused> {
        let bad = || {
            refused(
                400,
                "invalidParameter",
                format!("Invalid field selection {fields}"),
            )
        };
        let (mut rest, mut selection) = (fields, Selection::default());
        Selection::list(&mut rest, &mut selection).ok_or_else(bad)?;
        match rest.is_empty() {
            true => Ok(selection.of(answer)),
            false => Err(bad()),
        }
    }
}

impl Described {
    fn takes(&self, path: &[&str]) -> bool {
        self.segments.len() == path.len()
            && self
                .segments
                .iter()
                .zip(path)
                .all(|(own, given)| own == given || own.starts_with('{'))
    }
}

/// That a text is of its parameter's type, pattern and words.
fn check(name: &str, text: &str, described: &Value) -> Result<(), Refused> {
    let bad = || {
        let told = format!("Invalid value for field '{name}': '{text}'.");
        refused(400, "invalid", told)
    };
    let number = |least: i128, most: i128| {
        text.parse()
            .is_ok_and(|number: i128| (least..=most).contains(&number))
    };
    let fine = match (described["type"].as_str(), described["format"].as_str()) {
        (Some("boolean"), _) => matches!(text, "true" | "false"),
        (_, Some("uint32")) => number(0, u32::MAX.into()),
        (_, Some("int32")) => number(i32::MIN.into(), i32::MAX.into()),
        (_, Some("uint64")) => number(0, u64::MAX.into()),
        (_, Some("int64")) => number(i64::MIN.into(), i64::MAX.into()),
        _ => true,
    };
    let matches = described["pattern"]
        .as_str()
        .is_none_or(|pattern| matches(pattern, text));
    let word = described["enum"]
        .as_array()
        .is_none_or(|words| words.iter().any(|word| word == text));
    if fine && matches && word {
        Ok(())
    } else {
        Err(bad())
    }
}

/// Google's patterns are those of RE2, whose `\\w` is of ASCII alone. Each is built once.
fn matches(pattern: &str, text: &str) -> bool {
    static BUILT: Mutex<BTreeMap<String, Regex>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().expect("no test panics here");
    let regex = built.entry(pattern.to_owned()).or_insert_with(|| {
        let ascii = syntax::Config::new().unicode(false).utf8(false);
        let built = Regex::builder()
            .syntax(ascii)
            .build(&format!("^(?:{pattern})$"));
        built.expect("a pattern of Google's")
    });
    regex.is_match(text)
}

/// What is kept of an answer: names, and what is kept below each; nothing below means all.
#[derive(Debug, Default)]
struct Selection(BTreeMap<String, Selection>);

impl Selection {
    /// `a/b,c(d,e)`, read as far as it goes.
    fn list(rest: &mut &str, into: &mut Selection) -> Option<()> {
        loop {
            Selection::item(rest, into)?;
            match rest.strip_prefix(',') {
                Some(after) => *rest = after,
                None => return Some(()),
            }
        }
    }

    fn item(rest: &mut &str, into: &mut Selection) -> Option<()> {
        let end = rest.find(['/', ',', '(', ')']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let below = into
            .0
            .entry((!name.is_empty()).then(|| name.to_owned())?)
            .or_default();
        *rest = after;
        if let Some(after) = rest.strip_prefix('/') {
            *rest = after;
            return Selection::item(rest, below);
        }
        if let Some(after) = rest.strip_prefix('(') {
            *rest = after;
            Selection::list(rest, below)?;
            *rest = rest.strip_prefix(')')?;
        }
        Some(())
    }

    fn of(&self, value: &Value) -> Value {
        let below = |name: &str| self.0.get(name).or_else(|| self.0.get("*"));
        match value {
            _ if self.0.is_empty() => value.clone(),
            Value::Array(items) => items.iter().map(|item| self.of(item)).collect(),
            Value::Object(fields) => {
                let kept = fields
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), below(name)?.of(value))));
                Value::Object(kept.collect())
            }
            other => other.clone(),
        }
    }
}

#[test]
fn a_selection_keeps_what_it_names() {
    let answer = serde_json::json!({
        "kind": "x", "items": { "zones/a": { "instances": [{ "name": "b", "id": "1" }], "warning": { "code": "C", "data": [] } } },
    });
    let kept = |fields| Discovery::masked(&answer, fields);
    assert_eq!(
        kept("items/*/instances(name),items/*/warning(code)").expect("a selection"),
        serde_json::json!({ "items": { "zones/a": { "instances": [{ "name": "b" }], "warning": { "code": "C" } } } })
    );
    for bad in ["", "a(", "a(b", "a)b", "a,,b", "/a"] {
        assert_eq!(kept(bad).expect_err(bad).status, 400, "{bad}");
    }
}
