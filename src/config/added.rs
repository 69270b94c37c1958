//! Services that are added at run time, as JSON of the same keys as `[service.NAME]`: read by the same code as those of
//! the file, with the file's `[defaults]` under them, and checked against the file and against each other.
//!
//! One that is wrong changes nothing: its earlier form stays in force, if it had one. Nothing of the file ever gives
//! way to it.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::Problem;
use super::raw::{self, Value};
use super::reader::{EnvLookup, Reader};
use super::service::{Ingress, Service};
use super::taken::Taken;
use super::{Config, read_service};
use crate::engine::id::ServiceName;

/// The longest text of one, in bytes.
pub const TEXT_MAX: usize = 64 * 1024;

/// What can be said against a service beside its text: whether its parts can be built.
pub type Check<'a> = &'a dyn Fn(&Service) -> Result<(), String>;

/// What came of the texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Added {
    /// The services, and the texts that they were read from.
    pub services: BTreeMap<ServiceName, Form>,
    /// What was refused, by the name as it was written, and why.
    pub refused: BTreeMap<String, String>,
}

/// A service with the text that says it.
pub type Form = (Service, String);

impl Config {
    /// Reads services that were added. `texts` are by name; `earlier` is what is in force now: it stands in for
    /// what is refused, and no new service goes before it.
    #[must_use]
    pub fn add(
        &self,
        texts: &BTreeMap<String, String>,
        earlier: &BTreeMap<ServiceName, Form>,
        env: EnvLookup<'_>,
        check: Check<'_>,
    ) -> Added {
        let mut added = Added::default();
        let (mut new, mut old) = (Vec::new(), BTreeMap::new());
        for (name, text) in texts {
            let Ok(name) = name
                .parse::<ServiceName>()
                .map_err(|why| added.refused.insert(name.clone(), why.to_string()))
            else {
                continue;
            };
            let read = self.read_added(&name, text, env);
            let read = read.and_then(|service| check(&service).map(|()| (service, text.clone())));
            let standing = earlier.get(&name);
            match read {
                Ok(form) if standing.is_some_and(|(_, standing)| standing == text) => {
                    old.insert(name, form);
                }
                Ok(form) => {
                    old.extend(standing.map(|standing| (name, standing.clone())));
                    new.push(form);
                }
                Err(why) => {
                    added.refused.insert(name.to_string(), why);
                    old.extend(standing.map(|standing| (name, standing.clone())));
                }
            }
        }
        // Whose new form can't be had keeps the old one, and that takes what it takes before any new one does.
        let mut keeping: BTreeSet<ServiceName> = old
            .keys()
            .filter(|name| new.iter().all(|(service, _)| service.name != **name))
            .cloned()
            .collect();
        let mut refused = std::mem::take(&mut added.refused);
        loop {
            let mut taken = Taken::new(self);
            self.services.values().for_each(|it| taken.take(it));
            added.services.clear();
            added.refused.clone_from(&refused);
            for name in &keeping {
                self.place(&old[name], &mut taken, &mut added);
            }
            let kept = keeping.len();
            let changed = new
                .iter()
                .filter(|(service, _)| !keeping.contains(&service.name));
            let changed: Vec<_> = changed.collect();
            for form in changed {
                let name = &form.0.name;
                if !self.place(form, &mut taken, &mut added) && old.contains_key(name) {
                    refused.insert(name.to_string(), added.refused[name.as_str()].clone());
                    keeping.insert(name.clone());
                }
            }
            if keeping.len() == kept {
                return added;
            }
        }
    }

    /// Puts a service beside the others, if nothing speaks against it.
    fn place(&self, form: &Form, taken: &mut Taken, added: &mut Added) -> bool {
        let (service, text) = form;
        let mut faults = self.faults(service);
        faults.extend(taken.hosts(service));
        faults.extend(taken.machine(service));
        if faults.is_empty() {
            taken.take(service);
            let form = (service.clone(), text.clone());
            added.services.insert(service.name.clone(), form);
            return true;
        }
        let told = |(key, why): &(_, _)| match *key {
            "" => String::clone(why),
            key => format!("service.{}.{key}: {why}", service.name),
        };
        let faults: Vec<_> = faults.iter().map(told).collect();
        added
            .refused
            .entry(service.name.to_string())
            .or_insert_with(|| faults.join("; "));
        false
    }

    /// What the file says against a service.
    fn faults(&self, service: &Service) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.services.contains_key(&service.name) {
            let message = format!(
                "{} has a service of this name, which holds; take one of them out",
                self.base.file
            );
            faults.push(("", message));
        }
        if service.ingress == Ingress::Failover {
            let lacks = match &self.traefik {
                None => Some("the section [traefik]"),
                Some(traefik) if traefik.api.is_none() => Some("traefik.api"),
                Some(_) => None,
            };
            if let Some(lacks) = lacks {
                let message = format!(
                    "failover needs {lacks} in {}; write it there, or ingress = \"proxy\" here",
                    self.base.file
                );
                faults.push(("ingress", message));
            }
        }
        if service.provider.runs_programs() && !self.store.services_may_run {
            let message = format!(
                "runs programs, which a service that is added here may not; write it into {}, or \
                 store.services_may_run = true there",
                self.base.file
            );
            faults.push(("provider", message));
        }
        faults
    }

    fn read_added(
        &self,
        name: &ServiceName,
        text: &str,
        env: EnvLookup<'_>,
    ) -> Result<Service, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("it is longer than {TEXT_MAX} bytes; write less"));
        }
        let json = serde_json::from_str(text)
            .map_err(|error| format!("this is not JSON: {error}; write it like {{\"hosts\": [\"blog.example.com\"], ...}}"))?;
        let mut node = raw::of_json(json, format!("service.{name}"));
        let Value::Table(table) = &mut node.value else {
            let shown = node.shown();
            return Err(format!("{shown} is not a table; write it in {{ }}"));
        };
        raw::lay_under(table, &self.base.defaults, "service");
        let reader = Reader::new(&self.base.file, env);
        let service = read_service(&reader, name.as_str(), &node, &self.base.around);
        reader.finish().map_err(|problems| told(&problems))?;
        let (_, service) = service.expect("a service without a problem is whole");
        Ok(service)
    }
}

/// All problems on one line. Those of the file's `[defaults]` say where they are.
fn told(problems: &[Problem]) -> String {
    let one = |problem: &Problem| match problem.line {
        Some(_) => problem.to_string(),
        None => format!("{}: {}", problem.key, problem.message),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}
