//! Clones of the machine: made of a machine image or an instance template, found by their names, deleted with their disks.
//!
//! A name is unique in its zone, so a clone can't be made twice. What has a clone's name and not its labels is
//! somebody else's: it counts as missing and is never touched.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use http::Method;
use serde_json::{Value, json};

use super::answer::Instance;
use super::power::Verb;
use super::{AddressFrom, DELETE_FOLLOWED, FORCED_FOLLOWED, Gce, INSERT_FOLLOWED};
use crate::engine::id::{CloneId, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, PublicAddress, Trouble};
use crate::provider::bare;

/// The labels of a clone.
const MANAGED_BY: (&str, &str) = ("managed-by", "anteroom");
const SERVICE: &str = "anteroom-service";
const TAG: &str = "anteroom-tag";
const INTENT: &str = "anteroom-intent";

/// What clones are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneFrom {
    /// The parameter that names it.
    parameter: &'static str,
    path: String,
}

impl std::str::FromStr for CloneFrom {
    type Err = String;

    /// `projects/P/global/machineImages/M`, or an instance template in the same manner.
    fn from_str(text: &str) -> Result<CloneFrom, String> {
        let parts: Vec<_> = text.split('/').collect();
        let plain = |part: &&str| {
            let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.:".contains(&c);
            !part.is_empty() && part.bytes().all(inner)
        };
        let parameter = match parts[..] {
            ["projects", project, "global", kind, name] if plain(&project) && plain(&name) => kind,
            [
                "projects",
                project,
                "regions",
                region,
                kind @ "instanceTemplates",
                name,
            ] if plain(&project) && plain(&region) && plain(&name) => kind,
            _ => "",
        };
        let parameter = match parameter {
            "machineImages" => "sourceMachineImage",
            "instanceTemplates" => "sourceInstanceTemplate",
            _ => {
                let form = "projects/PROJECT/global/machineImages/NAME, or instanceTemplates in that place";
                return Err(format!("is not like {form}"));
            }
        };
        let path = text.to_owned();
        Ok(CloneFrom { parameter, path })
    }
}

impl CloneFrom {
    /// Its path at Google.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl Gce {
    /// Whether this machine is the clone of that name, and not somebody else's.
    pub(super) fn is_ours(&self, instance: &Instance) -> bool {
        let label = |key: &str| instance.labels.get(key).map(String::as_str);
        self.mark.clone_of(&instance.name).is_some()
            && label(MANAGED_BY.0) == Some(MANAGED_BY.1)
            && label(TAG) == Some(self.mark.tag())
    }

    pub(super) async fn find_clones(&self) -> Result<Vec<Owned>, Trouble> {
        let listed = self.project.instances(self.young()).await?;
        let zone = &self.settings.zone;
        if listed.is_partial(zone) {
            let detail = format!("the list of instances lacks some of {zone}");
            return Err(Trouble::new(ErrorClass::Transient, detail));
        }
        let owned = |instance: &Instance| {
            let clone = self.mark.clone_of(&instance.name)?;
            let machine = instance.machine(self.settings.address, self.settings.port);
            self.is_ours(instance).then_some(Owned { clone, machine })
        };
        Ok(listed.zone(zone).filter_map(owned).collect())
    }

    pub(super) async fn make(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let name = self.name_of(clone)?;
        // What has the name without the labels may be ours without them: the request's own operation tells.
        if self.ours(&name).await?.is_some()
            && let Some(made) = self.made(&name).await?
        {
            return Ok(made);
        }
        let Some(from) = &self.settings.clone_from else {
            let detail = "`clone_from` is not written: there is nothing to make clones of";
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        };
        let body = self.body(&name, clone).await?;
        let query = vec![(from.parameter, from.path.as_str())];
        let place = (Method::POST, self.settings.zone.as_str(), "instances");
        let token = self.mark.token(clone, "create");
        let begun = self
            .begin(&name, Verb::Insert, token, place, query, Some(&body))
            .await;
        let trouble = match begun {
            Err(trouble) => trouble,
            Ok(operation) => match (
                operation.target_id.clone(),
                self.follow(operation, INSERT_FOLLOWED).await,
            ) {
                (_, None) => return Ok(bare(MachineState::Starting)),
                (number, Some(Ok(()))) => {
                    self.done(&name);
                    self.label(&name, clone, number.as_deref()).await?;
                    // A moment later it may not show yet.
                    let made = self.asked_for(&name).await?;
                    return Ok(made.unwrap_or(bare(MachineState::Starting)));
                }
                (_, Some(Err(trouble))) => {
                    self.failed(&name);
                    trouble
                }
            },
        };
        // Another try of ours may have been first.
        match trouble.class {
            ErrorClass::AlreadyThere => match self.asked_for(&name).await? {
                Some(made) => Ok(made),
                // It exists and does not show yet.
                None => Err(Trouble::new(ErrorClass::Busy, trouble.detail)),
            },
            ErrorClass::Ambiguous | ErrorClass::Busy => match self.made(&name).await {
                Ok(Some(made)) => Ok(made),
                _ => Err(trouble),
            },
            // What it is made of, or its network, is not there: not the clone, which does not exist yet.
            ErrorClass::NotFound => Err(Trouble::new(ErrorClass::BadRequest, trouble.detail)),
            _ => Err(trouble),
        }
    }

    /// The clone after it was asked for. What is somebody else's is not on its way.
    async fn asked_for(&self, name: &str) -> Result<Option<Machine>, Trouble> {
        let made = self.made(name).await;
        made.inspect_err(|trouble| {
            if trouble.class == ErrorClass::BadRequest {
                self.failed(name);
            }
        })
    }

    /// The clone if it exists, with its disks made to go with it.
    ///
    /// # Errors
    /// [`BadRequest`](ErrorClass::BadRequest) when its name is taken by a machine that is not ours.
    async fn made(&self, name: &str) -> Result<Option<Machine>, Trouble> {
        let Some(instance) = self.project.instance(&self.settings.zone, name).await? else {
            return Ok(None);
        };
        if !self.is_ours(&instance) {
            let detail = format!("the name {name} is taken by an instance without our labels");
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        }
        // While it is being made that may be refused; deleting it does it again.
        if let Err(trouble) = self.bind_disks(&instance).await {
            tracing::debug!(instance = name, %trouble, "its disks are not yet bound to it");
        }
        Ok(Some(
            instance.machine(self.settings.address, self.settings.port),
        ))
    }

    fn labels(&self, clone: CloneId) -> BTreeMap<String, String> {
        let (service, tag) = (self.mark.service().as_str(), self.mark.tag());
        let intent = clone.to_string();
        [
            MANAGED_BY,
            (SERVICE, service),
            (TAG, tag),
            (INTENT, &intent),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Gives our labels to a clone that did not get them, if it is the machine of this number: the one that our own
    /// request made.
    async fn label(&self, name: &str, clone: CloneId, number: Option<&str>) -> Result<(), Trouble> {
        let instance = self.project.instance(&self.settings.zone, name).await?;
        let lacks =
            |it: &Instance| !self.is_ours(it) && number.is_some() && it.id.as_deref() == number;
        let Some(instance) = instance.filter(lacks) else {
            return Ok(());
        };
        let mut labels = instance.labels;
        labels.extend(self.labels(clone));
        let body = json!({ "labels": labels, "labelFingerprint": instance.label_fingerprint });
        let call = "instances.setLabels";
        self.at_once(call, name, "setLabels", Vec::new(), Some(&body))
            .await
    }

    /// What the clone has of its own: its name, its labels, the networks of the seed, and no public address unless it is
    /// reached by one. The rest is of what it is made of.
    async fn body(&self, name: &str, clone: CloneId) -> Result<Value, Trouble> {
        let (zone, seed) = (&self.settings.zone, &self.settings.instance);
        let mut body = json!({
            "name": name,
            "labels": self.labels(clone),
            "deletionProtection": false,
        });
        let public = match self.settings.address {
            AddressFrom::Private => json!([]),
            AddressFrom::Public => json!([{ "name": "External NAT", "type": "ONE_TO_ONE_NAT" }]),
        };
        if let Some(seed) = self.project.instance(zone, seed).await? {
            let interfaces = seed.network_interfaces.iter().enumerate().map(|(at, interface)| {
                let mut own = json!({ "accessConfigs": if at == 0 { public.clone() } else { json!([]) } });
                for (key, value) in [("network", &interface.network), ("subnetwork", &interface.subnetwork)] {
                    if let Some(value) = value {
                        own[key] = json!(value);
                    }
                }
                own
            });
            body["networkInterfaces"] = interfaces.collect();
        }
        Ok(body)
    }

    /// Sees to it that the disks that were made for a clone go with it.
    async fn bind_disks(&self, instance: &Instance) -> Result<(), Trouble> {
        let stay = |disk: &&super::answer::Disk| disk.would_stay_of(&instance.name);
        for disk in instance.disks.iter().filter(stay) {
            let query = vec![
                ("autoDelete", "true"),
                ("deviceName", disk.device_name.as_str()),
            ];
            let call = "instances.setDiskAutoDelete";
            self.at_once(call, &instance.name, "setDiskAutoDelete", query, None)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn public_addresses(
        &self,
        clone: CloneId,
    ) -> Result<Vec<PublicAddress>, Trouble> {
        let name = self.name_of(clone)?;
        let Some(instance) = self.ours(&name).await? else {
            return match self.is_being_made(&name) {
                true => {
                    let detail = format!("{name} is made, and does not show yet");
                    Err(Trouble::new(ErrorClass::Busy, detail))
                }
                false => Ok(Vec::new()),
            };
        };
        let addresses = instance.network_interfaces.iter().flat_map(|interface| {
            interface.access_configs.iter().map(|config| PublicAddress {
                id: format!("{}/{}", interface.name, config.name),
                // One that is not given yet is taken away as well.
                address: config.ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            })
        });
        Ok(addresses.collect())
    }

    /// Addresses are found again by where they are at the clone. One that a clone had is given back with the clone.
    pub(super) async fn release_all(
        &self,
        clone: CloneId,
        addresses: &[PublicAddress],
    ) -> Result<(), Trouble> {
        let name = self.name_of(clone)?;
        let Some(instance) = self.ours(&name).await? else {
            return Ok(());
        };
        for interface in &instance.network_interfaces {
            for config in &interface.access_configs {
                let id = format!("{}/{}", interface.name, config.name);
                if !addresses.iter().any(|address| address.id == id) {
                    continue;
                }
                let query = vec![
                    ("accessConfig", config.name.as_str()),
                    ("networkInterface", interface.name.as_str()),
                ];
                let call = "instances.deleteAccessConfig";
                let released = self
                    .at_once(call, &name, "deleteAccessConfig", query, None)
                    .await;
                match released {
                    Err(trouble) if trouble.class == ErrorClass::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    pub(super) async fn delete_clone(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let name = self.name_of(clone)?;
        let Some(instance) = self.ours(&name).await? else {
            return Ok(bare(MachineState::Missing));
        };
        match self.bind_disks(&instance).await {
            Err(trouble) if trouble.class == ErrorClass::NotFound => {}
            // What can't be bound yet would stay when the clone goes, so it does not go yet.
            other => other?,
        }
        let what = format!("instances/{name}");
        let place = (Method::DELETE, self.settings.zone.as_str(), what.as_str());
        let token = self.mark.token(clone, "delete");
        let ended = match self
            .begin(&name, Verb::Delete, token, place, Vec::new(), None)
            .await
        {
            Err(trouble) => Some(Err(trouble)),
            Ok(operation) => self
                .follow(operation, DELETE_FOLLOWED)
                .await
                .inspect(|ended| {
                    if ended.is_err() {
                        self.failed(&name);
                    }
                }),
        };
        match ended {
            None => Ok(bare(MachineState::Stopping)),
            Some(Ok(())) => {
                self.done(&name);
                self.look_closely(&name).await
            }
            Some(Err(trouble)) if trouble.class == ErrorClass::NotFound => {
                Ok(bare(MachineState::Missing))
            }
            Some(Err(trouble)) => self.settled(&name, Verb::Delete, trouble).await,
        }
    }

    /// The clone's own page; none when there is no clone of this name.
    async fn ours(&self, name: &str) -> Result<Option<Instance>, Trouble> {
        let instance = self.project.instance(&self.settings.zone, name).await?;
        Ok(instance.filter(|instance| self.is_ours(instance)))
    }

    /// The clone's name, which is never the seed's.
    pub(super) fn name_of(&self, clone: CloneId) -> Result<String, Trouble> {
        let name = self.mark.name(clone);
        match name == self.settings.instance {
            false => Ok(name),
            true => {
                let detail = format!("{name} is the seed: it is no clone");
                Err(Trouble::new(ErrorClass::BadRequest, detail))
            }
        }
    }

    /// A write that can be repeated as it is, followed to its end.
    async fn at_once(
        &self,
        call: &'static str,
        name: &str,
        what: &str,
        mut query: Vec<(&str, &str)>,
        body: Option<&Value>,
    ) -> Result<(), Trouble> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            let detail = format!("the system gives no randomness: {error}");
            Trouble::new(ErrorClass::Transient, detail)
        })?;
        let id = Token(bytes).uuid();
        query.push(("requestId", &id));
        let what = format!("instances/{name}/{what}");
        let place = (Method::POST, self.settings.zone.as_str(), what.as_str());
        let operation = self.send(call, place, &query, body).await?;
        let unended = || Trouble::new(ErrorClass::Busy, format!("{call} of {name} goes on"));
        let ended = self.follow(operation, FORCED_FOLLOWED).await;
        ended.ok_or_else(unended)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clones_are_made_of_is_named_by_its_path() {
        for (text, parameter) in [
            (
                "projects/p-1/global/machineImages/blog",
                "sourceMachineImage",
            ),
            (
                "projects/example.com:p/global/instanceTemplates/blog-2",
                "sourceInstanceTemplate",
            ),
            (
                "projects/p/regions/europe-west1/instanceTemplates/blog",
                "sourceInstanceTemplate",
            ),
        ] {
            let from: CloneFrom = text.parse().expect(text);
            assert_eq!((from.parameter, from.path.as_str()), (parameter, text));
        }
        for bad in [
            "",
            "blog",
            "global/machineImages/blog",
            "projects/p/global/images/blog",
            "projects/p/global/machineImages/",
            "projects/p/global/machineImages/a/b",
            "projects/p/regions/r/machineImages/blog",
            "projects/../global/machineImages/x?y",
        ] {
            assert!(bad.parse::<CloneFrom>().is_err(), "{bad}");
        }
    }
}
