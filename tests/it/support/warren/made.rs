//! Machines that are made and deleted there, and the public addresses that come with them.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Failure, Manner, Vm, Warren, missing, said};

impl Warren {
    /// The ids and names of all machines.
    pub(crate) fn machines(&self) -> Vec<(String, String)> {
        let all = self.all();
        let vms = all.vms.iter();
        vms.map(|(uuid, vm)| (uuid.clone(), vm.name.clone()))
            .collect()
    }

    /// The public addresses, and whose they are.
    pub(crate) fn public_addresses(&self) -> Vec<(String, Option<String>)> {
        self.all().addresses.clone()
    }

    /// Reserves a public address for nobody.
    pub(crate) fn reserve(&self, address: &str) {
        self.all().addresses.push((address.to_owned(), None));
    }

    /// Gives a public address to another machine; to nobody for an empty id.
    pub(crate) fn reassign(&self, address: &str, uuid: &str) {
        let to = Some(uuid.to_owned()).filter(|uuid| !uuid.is_empty());
        for (_, of) in self
            .all()
            .addresses
            .iter_mut()
            .filter(|(it, _)| it == address)
        {
            of.clone_from(&to);
        }
    }

    pub(super) async fn make_or_delete(
        &self,
        what: &str,
        form: BTreeMap<String, String>,
        manner: Manner,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let makes = what.starts_with("POST");
        let known: &[&str] = if makes { &["uuid", "name"] } else { &["uuid"] };
        if let Some(field) = form.keys().find(|field| !known.contains(&field.as_str())) {
            let errors = json!({ field: "unknown field" });
            return Ok(said(400, &json!({ "errors": errors })));
        }
        let uuid = form.get("uuid").cloned().unwrap_or_default();
        let name = form.get("name").cloned().unwrap_or_default();
        if makes && !is_name(&name) {
            return Ok(said(400, &json!({ "errors": { "name": "is not a name" } })));
        }
        {
            let mut all = self.all();
            let Some(vm) = all.vms.get(&uuid) else {
                return Ok(missing(&uuid));
            };
            if makes && manner.clones_what_is_off && vm.running {
                let told = "the server must be stopped";
                return Ok(said(400, &json!({ "errors": { "Error": told } })));
            }
            if !all.locked.insert(uuid.clone()) && !manner.takes.is_zero() {
                return Ok(said(409, &json!({ "message": "Server is locked" })));
            }
        }
        let warren = self.clone();
        // The work goes on when the caller has gone.
        let work = tokio::spawn(async move {
            tokio::time::sleep(manner.takes).await;
            warren.all().locked.remove(&uuid);
            match makes {
                true => warren.clone_now(&name, manner),
                false => warren.delete_now(&uuid),
            }
        });
        let shown = work.await?;
        if manner.loses_answers {
            return Err("the answer is lost".into());
        }
        Ok(match shown {
            Some(uuid) => self.one(&uuid),
            // A deletion is answered with nothing.
            None => Response::new(Full::new(Bytes::new())),
        })
    }

    fn clone_now(&self, name: &str, manner: Manner) -> Option<String> {
        let mut all = self.all();
        all.numbers += 1;
        let number = all.numbers;
        let uuid = format!("00000000-0000-4000-9000-{number:012}");
        let vm = Vm {
            name: name.to_owned(),
            hidden: manner.lists_lag,
            running: true,
            private: format!("10.123.9.{number}"),
            machine: None,
        };
        all.vms.insert(uuid.clone(), vm);
        if !manner.clones_without_address {
            let address = format!("203.0.113.{}", 100 + number);
            all.addresses.push((address, Some(uuid.clone())));
        }
        Some(uuid)
    }

    /// The machine's addresses stay behind, and are paid for.
    fn delete_now(&self, uuid: &str) -> Option<String> {
        let mut all = self.all();
        all.vms.remove(uuid);
        all.gone.insert(uuid.to_owned());
        for (_, of) in &mut all.addresses {
            *of = of.take().filter(|of| of != uuid);
        }
        None
    }

    pub(super) fn change_address(&self, what: &str) -> Response<Full<Bytes>> {
        let Some((method, rest)) = what.split_once(" network/ip_addresses/") else {
            return no_route();
        };
        let (address, order) = rest.split_once('/').unwrap_or((rest, ""));
        let mut all = self.all();
        let Some(at) = all.addresses.iter().position(|(it, _)| it == address) else {
            let message = format!("Ip address {address} was not found.");
            return said(404, &json!({ "message": message }));
        };
        match (method, order) {
            ("POST", "unassign") => {
                all.addresses[at].1 = None;
                let shown = json!({ "address": address, "assigned_to": Value::Null, "unassigned_at": "2026-11-21 10:00:00" });
                said(200, &shown)
            }
            ("DELETE", "") if all.addresses[at].1.is_some() => {
                let message = "Ip address is assigned";
                said(400, &json!({ "message": message }))
            }
            ("DELETE", "") => {
                all.addresses.remove(at);
                said(200, &json!(true))
            }
            _ => no_route(),
        }
    }
}

fn no_route() -> Response<Full<Bytes>> {
    let message = "no route and no API found with those values";
    said(404, &json!({ "message": message }))
}

/// The documented rule for names.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let ends = name.starts_with(plain) && name.ends_with(plain);
    ends && name.len() >= 4 && name.chars().all(|c| plain(c) || c == '-')
}
