//! Clones: launched from a launch template, known by a tag that they have from their first moment, and deleted with their
//! disks. A launch that is repeated with its token is the same launch.
//!
//! A machine that was just launched may be missing from lists for some seconds, so its id is remembered for a while; what
//! is remembered is never needed, it only saves a wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::Instance;
use super::region::{Fields, TAG};
use super::{Ec2, LIST_AGE_MAX};
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, Trouble};
use crate::provider::bare;

/// For so long a machine that was just launched may be missing from lists, and be unknown by its id.
pub(super) const SETTLES: Duration = Duration::from_secs(60);

impl Ec2 {
    /// The id of an instance.
    pub(super) async fn id(&self, instance: InstanceId) -> Result<String, Trouble> {
        match instance {
            InstanceId::Seed => Ok(self.settings.instance.clone()),
            InstanceId::Clone(clone) => {
                let listed = self.listed(clone).await?;
                let id = listed.map(|instance| instance.id);
                let id = id.or_else(|| self.remembered(clone));
                id.ok_or_else(|| self.missing(&self.mark.name(clone)))
            }
        }
    }

    pub(super) async fn look_at_clone(&self, clone: CloneId) -> Result<Machine, Trouble> {
        Ok(match (self.listed(clone).await?, self.remembered(clone)) {
            (Some(instance), _) => self.as_it_goes(&instance),
            (None, Some(_)) => bare(MachineState::Starting),
            (None, None) => bare(MachineState::Missing),
        })
    }

    /// The clone in a list that is young enough, and not from before it was launched or changed.
    async fn listed(&self, clone: CloneId) -> Result<Option<Instance>, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(self.latest_write()).unwrap_or_else(Instant::now);
        let marked = self.region.marked(since).await?;
        Ok(self.named(&marked, clone).next().cloned())
    }

    /// The machines that carry this clone's mark and are not deleted. The seed is none of them, whatever its tags are.
    fn named<'a>(
        &'a self,
        marked: &'a [Instance],
        clone: CloneId,
    ) -> impl Iterator<Item = &'a Instance> {
        marked
            .iter()
            .filter(move |instance| self.clone_of(instance) == Some(clone))
    }

    fn clone_of(&self, instance: &Instance) -> Option<CloneId> {
        let there = instance.state() != MachineState::Missing;
        let ours = instance.id != self.settings.instance;
        (there && ours).then(|| self.mark.clone_of(instance.tags.get(TAG)?))?
    }

    pub(super) async fn find_clones(&self) -> Result<Vec<Owned>, Trouble> {
        let young = Instant::now().checked_sub(LIST_AGE_MAX);
        let since = young.max(self.latest_write()).unwrap_or_else(Instant::now);
        let marked: Arc<Vec<Instance>> = self.region.marked(since).await?;
        let owned = |instance: &Instance| {
            let clone = self.clone_of(instance)?;
            let machine = self.as_it_goes(instance);
            Some(Owned { clone, machine })
        };
        Ok(marked.iter().filter_map(owned).collect())
    }

    pub(super) async fn make(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let Some(fields) = self.launch(clone) else {
            let detail = "clones are launched from `launch_template`, which is not written down";
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        };
        if let Some(machine) = self.made_already(clone).await? {
            return Ok(machine);
        }
        let launched = self.region.change("RunInstances", &fields).await;
        let trouble = match launched {
            Ok(launched) => match launched.into_iter().next() {
                Some(instance) if instance.state() == MachineState::Missing => {
                    let detail = format!("{} was launched before, and deleted", instance.id);
                    return Err(Trouble::new(ErrorClass::InvalidState, detail));
                }
                Some(instance) => {
                    self.remember(clone, &instance.id);
                    self.wrote(&instance.id, MachineState::Starting);
                    return Ok(self.machine(&instance));
                }
                None => Trouble::new(ErrorClass::Ambiguous, "a launch that names no machine"),
            },
            Err(trouble) => trouble,
        };
        if trouble.class != ErrorClass::Ambiguous {
            return Err(trouble);
        }
        match self.made_already(clone).await {
            Ok(Some(machine)) => Ok(machine),
            _ => Err(trouble),
        }
    }

    async fn made_already(&self, clone: CloneId) -> Result<Option<Machine>, Trouble> {
        let marked = self.region.marked(Instant::now()).await?;
        let found = self.named(&marked, clone).next();
        Ok(found.map(|instance| self.as_it_goes(instance)))
    }

    /// What launches a clone; none without a template.
    pub(super) fn launch(&self, clone: CloneId) -> Option<Fields> {
        let template = self.settings.launch_template.as_ref()?;
        let by = match template.starts_with("lt-") {
            true => "LaunchTemplate.LaunchTemplateId",
            false => "LaunchTemplate.LaunchTemplateName",
        };
        let name = self.mark.name(clone);
        let version = &self.settings.launch_template_version;
        let token = self.mark.token(clone, "create").uuid();
        let fields = [
            (by, template.as_str()),
            ("LaunchTemplate.Version", version),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("ClientToken", &token),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", TAG),
            ("TagSpecification.1.Tag.1.Value", &name),
            ("TagSpecification.1.Tag.2.Key", "Name"),
            ("TagSpecification.1.Tag.2.Value", &name),
        ];
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Some(fields.into_iter().map(own).collect())
    }

    pub(super) async fn remove(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let marked = self.region.marked(Instant::now()).await?;
        let mut going = false;
        let mut left: Vec<String> = Vec::new();
        for instance in self.named(&marked, clone) {
            match instance.is_deleted_soon() {
                true => going = true,
                false => left.push(instance.id.clone()),
            }
        }
        let unlisted = self.remembered(clone).filter(|_| left.is_empty() && !going);
        left.extend(unlisted.filter(|id| *id != self.settings.instance));
        // One by one: a call for several does nothing when one of them is unknown.
        for id in left {
            let fields = vec![("InstanceId.1".to_owned(), id.clone())];
            match self.region.change("TerminateInstances", &fields).await {
                Ok(_) => going = true,
                Err(trouble) if trouble.class == ErrorClass::NotFound => {
                    if self.remembered(clone).is_some() {
                        let detail = format!("{id} was just launched, and is not known yet");
                        return Err(Trouble::new(ErrorClass::Busy, detail));
                    }
                }
                Err(trouble) => return Err(trouble),
            }
            self.wrote(&id, MachineState::Missing);
        }
        self.forget(clone);
        Ok(bare(match going {
            true => MachineState::Stopping,
            false => MachineState::Missing,
        }))
    }

    fn remember(&self, clone: CloneId, id: &str) {
        let mut known = self.known();
        known.launched.retain(|_, (at, _)| at.elapsed() < SETTLES);
        known
            .launched
            .insert(clone, (Instant::now(), id.to_owned()));
    }

    fn forget(&self, clone: CloneId) {
        self.known().launched.remove(&clone);
    }

    /// The id of a clone that was launched a moment ago.
    fn remembered(&self, clone: CloneId) -> Option<String> {
        let known = self.known();
        let (at, id) = known.launched.get(&clone)?;
        (at.elapsed() < SETTLES).then(|| id.clone())
    }
}
