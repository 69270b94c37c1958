//! Launches from a launch template.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Ec2, Fields, Instance, Manner, Refusal, Rest, State, TEMPLATE, refuse};

impl Ec2 {
    pub(super) fn launch(
        &self,
        mut fields: Fields,
        dry: bool,
        manner: &Manner,
    ) -> Result<String, Refusal> {
        let asked = fields.clone();
        let mut take = |name: &str| fields.remove(name);
        let by_name = take("LaunchTemplate.LaunchTemplateName");
        let template = match (by_name, take("LaunchTemplate.LaunchTemplateId")) {
            (Some(name), None) => name,
            (None, Some(id)) => id,
            _ => return refuse("MissingParameter", "The request must contain an image"),
        };
        if template != TEMPLATE {
            let code = "InvalidLaunchTemplateName.NotFoundException";
            return refuse(code, "The specified launch template does not exist");
        }
        if take("LaunchTemplate.Version").is_none_or(|version| version != "$Default") {
            return refuse("InvalidLaunchTemplateId.VersionNotFound", "no such version");
        }
        let count = (take("MinCount"), take("MaxCount"));
        if count != (Some("1".to_owned()), Some("1".to_owned())) {
            return refuse("InvalidParameterValue", "a test launches one at a time");
        }
        let token = take("ClientToken").unwrap_or_default();
        if !(1..=64).contains(&token.len()) || !token.is_ascii() {
            return refuse("InvalidParameterValue", "a token has 1 to 64 characters");
        }
        if take("TagSpecification.1.ResourceType").as_deref() != Some("instance") {
            return refuse("InvalidParameterValue", "tags of what?");
        }
        let mut tags = BTreeMap::new();
        for number in 1.. {
            let part = |end: &str| format!("TagSpecification.1.Tag.{number}.{end}");
            let Some(key) = fields.remove(&part("Key")) else {
                break;
            };
            let value = fields.remove(&part("Value")).unwrap_or_default();
            tags.insert(key, value);
        }
        if let Some(field) = fields.keys().next() {
            let said = format!("The parameter {field} is not recognized");
            return refuse("UnknownParameter", said);
        }
        if dry {
            let said = "Request would have succeeded".into();
            return Err(Refusal(412, "DryRunOperation", said));
        }
        let mut all = self.all();
        let id = match all.launched.get(&token) {
            Some((before, id)) if *before == asked => id.clone(),
            Some(_) => return refuse("IdempotentParameterMismatch", "another request"),
            None => {
                let number = all.launched.len() + 1;
                let id = format!("i-c10{number:014x}");
                let instance = Instance {
                    before: State::To(Rest::Running),
                    state: State::To(Rest::Running),
                    since: Instant::now(),
                    private: format!("10.0.2.{number}"),
                    tags,
                    is_new: true,
                };
                all.instances.insert(id.clone(), instance);
                all.launched.insert(token, (asked, id.clone()));
                id
            }
        };
        let shown = all.instances[&id].shown(&id, manner);
        Ok(format!(
            "<reservationId>r</reservationId><instancesSet>{shown}</instancesSet>"
        ))
    }

    /// How many machines were launched.
    pub(crate) fn made(&self) -> usize {
        self.all().launched.len()
    }

    /// Whether all machines that were not launched are off, and nobody gave them a tag.
    pub(crate) fn others_are_off(&self) -> bool {
        let all = self.all();
        let takes = all.manner.takes;
        let launched: Vec<_> = all.launched.values().map(|(_, id)| id).collect();
        let mut others = all
            .instances
            .iter()
            .filter(|(id, _)| !launched.contains(id));
        others.all(|(_, it)| it.now(takes) == State::Stopped && it.tags.is_empty())
    }

    /// Gives a machine a tag by somebody else's hand.
    pub(crate) fn tag(&self, id: &str, key: &str, value: &str) {
        let mut all = self.all();
        let tags = &mut all.instances.get_mut(id).expect("there").tags;
        tags.insert(key.to_owned(), value.to_owned());
    }

    /// The values of the tag `anteroom` of all machines that are not deleted.
    pub(crate) fn clones(&self) -> Vec<String> {
        let all = self.all();
        let takes = all.manner.takes;
        let lives = |it: &&Instance| {
            !matches!(
                it.now(takes),
                State::Terminated | State::To(Rest::Terminated)
            )
        };
        let tag = |it: &Instance| it.tags.get("anteroom").cloned();
        all.instances
            .values()
            .filter(lives)
            .filter_map(tag)
            .collect()
    }
}
