//! Clones of the container: made, found by their labels, and removed with what was made for them.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, NetworkConnectRequest,
};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, ListImagesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use tokio::time::{Instant, sleep};

use super::answer::{self, Sent};
use super::copy::{self, LABEL_CLONE, LABEL_OF};
use super::engine::Call;
use super::{CloneFrom, Docker, Seen, list};
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, Trouble};
use crate::provider::bare;
use crate::provider::mark::Mark;

/// How long a container that is being made may keep its name from us, and how often it is looked for meanwhile.
const NAME_WAIT: Duration = Duration::from_secs(5);
const NAME_POLL: Duration = Duration::from_millis(100);
/// Where the disks of seeds are kept for their clones; never fetched from a registry.
const IMAGES: &str = "localhost/anteroom-clone";

impl Docker {
    /// Which containers are ours, whatever they are called.
    fn of(&self) -> String {
        format!("{}/{}", self.mark.service(), self.mark.tag())
    }

    pub(super) async fn find_clones(&self) -> Result<Vec<Owned>, Trouble> {
        let label = format!("{LABEL_OF}={}", self.of());
        let mut owned = Vec::new();
        for name in self.listed(&label).await? {
            let Some(clone) = self.mark.clone_of(&name) else {
                continue;
            };
            let machine = self.look(InstanceId::Clone(clone)).await?;
            owned.push(Owned { clone, machine });
        }
        Ok(owned)
    }

    /// The names of all containers that carry the mark of any Anteroom.
    pub(super) async fn marked(&self) -> Result<Vec<String>, Trouble> {
        let mut names = self.listed(LABEL_CLONE).await?;
        names.retain(|name| Mark::service_of(name).is_some());
        Ok(names)
    }

    /// The names of the containers that have this label, running or not.
    async fn listed(&self, label: &str) -> Result<Vec<String>, Trouble> {
        let call = Call {
            name: "list",
            on: label,
            sent: Sent::Read,
        };
        let endpoint = &self.settings.endpoint;
        let listed = self.engine.call(call, |engine| async move {
            let version = engine.client_version().to_string();
            list::names(endpoint, version, label).await
        });
        listed.await
    }

    pub(super) async fn make(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let name = self.mark.name(clone);
        if let Some(machine) = self.made_already(clone).await? {
            return Ok(machine);
        }
        let seed = self.seed().await?;
        let image = match self.settings.clone_from {
            CloneFrom::Image => seed.image.clone().unwrap_or_default(),
            CloneFrom::Disk => self.copied_disk(&name).await?,
        };
        let marks = HashMap::from([
            (LABEL_CLONE.to_owned(), name.clone()),
            (LABEL_OF.to_owned(), self.of()),
        ]);
        let body = copy::body(&seed, image, marks).map_err(|why| {
            let container = &self.settings.container;
            let detail = format!("container {container:?} can't be cloned: {why}");
            Trouble::new(ErrorClass::BadRequest, detail)
        })?;
        let deadline = Instant::now() + NAME_WAIT;
        loop {
            let Some(trouble) = self.create(&name, body.clone()).await? else {
                self.join_networks(&name).await?;
                return self.look(InstanceId::Clone(clone)).await;
            };
            // Another call was as quick, or an earlier one whose answer was lost goes on: the name is taken before the
            // container can be seen.
            if let Some(machine) = self.made_already(clone).await? {
                return Ok(machine);
            }
            if Instant::now() >= deadline {
                return Err(trouble);
            }
            sleep(NAME_POLL).await;
        }
    }

    /// Makes the container; a trouble when its name is taken.
    async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<Option<Trouble>, Trouble> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let call = Call {
            name: "create",
            on: name,
            sent: Sent::Write,
        };
        let asked = self.engine.ask(call, |engine| async move {
            engine.create_container(Some(options), body).await
        });
        let Err(error) = asked.await? else {
            return Ok(None);
        };
        let trouble = self.engine.trouble(call, &error);
        match answer::is_name_taken(&error) {
            true => Ok(Some(Trouble::new(ErrorClass::Busy, trouble.detail))),
            false => Err(trouble),
        }
    }

    /// The clone, if it is there.
    ///
    /// # Errors
    /// When its name is taken by a container that is not ours.
    async fn made_already(&self, clone: CloneId) -> Result<Option<Machine>, Trouble> {
        let name = self.mark.name(clone);
        match self.see(&name).await? {
            Seen::Nothing => Ok(None),
            Seen::Passing(state) => Ok(Some(bare(state))),
            Seen::Container(found) if is_of(&found, &name) => {
                self.join_networks(&name).await?;
                Ok(Some(self.machine(&found)))
            }
            Seen::Container(_) => {
                let endpoint = &self.settings.endpoint;
                let detail = format!("a container {name:?} that is not ours is at {endpoint}");
                Err(Trouble::new(ErrorClass::BadRequest, detail))
            }
        }
    }

    pub(super) async fn seed(&self) -> Result<Box<ContainerInspectResponse>, Trouble> {
        match self.see(&self.settings.container).await? {
            Seen::Container(found) => Ok(found),
            Seen::Nothing => Err(self.missing(InstanceId::SEED)),
            Seen::Passing(_) => {
                let detail = "the seed is between two states; its description can't be read";
                Err(Trouble::new(ErrorClass::Busy, detail))
            }
        }
    }

    /// The networks beside the first can only be joined afterwards. What was interrupted is done before a start.
    pub(super) async fn join_networks(&self, name: &str) -> Result<(), Trouble> {
        let Seen::Container(clone) = self.see(name).await? else {
            return Ok(());
        };
        let seed = self.seed().await?;
        for network in copy::networks_to_join(&seed, &clone) {
            let request = NetworkConnectRequest {
                container: name.to_owned(),
                endpoint_config: None,
            };
            let call = Call {
                name: "connect",
                on: &network,
                sent: Sent::Write,
            };
            let joined = self.engine.call(call, |engine| {
                let network = network.clone();
                async move { engine.connect_network(&network, request).await }
            });
            joined.await?;
        }
        Ok(())
    }

    /// The image of the seed's disk that is this clone's alone; an earlier one of an interrupted making is used again.
    async fn copied_disk(&self, name: &str) -> Result<String, Trouble> {
        if let Some(image) = self.images(name).await?.into_iter().next() {
            return Ok(image);
        }
        let options = CommitContainerOptionsBuilder::new()
            .container(&self.settings.container)
            .repo(IMAGES)
            .tag(name)
            .changes(&format!("LABEL {LABEL_CLONE}={name}"))
            .pause(true)
            .build();
        let call = Call {
            name: "commit",
            on: &self.settings.container,
            sent: Sent::Write,
        };
        let committed = self.engine.call(call, |engine| async move {
            engine
                .commit_container(options, ContainerConfig::default())
                .await
        });
        Ok(committed.await?.id)
    }

    /// The ids of the images that were made for this clone.
    async fn images(&self, name: &str) -> Result<Vec<String>, Trouble> {
        let label = format!("{LABEL_CLONE}={name}");
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListImagesOptionsBuilder::new().all(true);
        let options = options.filters(&filters).build();
        let call = Call {
            name: "list_images",
            on: name,
            sent: Sent::Read,
        };
        let listed = self.engine.call(call, |engine| async move {
            engine.list_images(Some(options)).await
        });
        Ok(listed.await?.into_iter().map(|image| image.id).collect())
    }

    pub(super) async fn remove(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let name = self.mark.name(clone);
        let found = match self.see(&name).await? {
            Seen::Container(found) if is_of(&found, &name) => {
                Some(found.id.unwrap_or(name.clone()))
            }
            // What is there is not ours.
            Seen::Container(_) | Seen::Nothing => None,
            Seen::Passing(_) => Some(name.clone()),
        };
        if let Some(id) = found {
            if self.is_seed(&id).await? {
                let detail = format!("{name:?} is the seed, which is never removed");
                return Err(Trouble::new(ErrorClass::BadRequest, detail));
            }
            if let Some(state) = self.remove_container(&id).await? {
                return Ok(bare(state));
            }
        }
        for image in self.images(&name).await? {
            self.remove_image(&image).await?;
        }
        Ok(bare(MachineState::Missing))
    }

    async fn is_seed(&self, id: &str) -> Result<bool, Trouble> {
        Ok(match self.see(&self.settings.container).await? {
            Seen::Container(seed) => seed.id.as_deref() == Some(id),
            Seen::Nothing | Seen::Passing(_) => self.settings.container == id,
        })
    }

    /// Removes a container with its volumes that have no name. A state when it is not gone yet.
    async fn remove_container(&self, id: &str) -> Result<Option<MachineState>, Trouble> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let options = options.build();
        let call = Call {
            name: "remove",
            on: id,
            sent: Sent::Write,
        };
        let removed = self.engine.call(call, |engine| async move {
            engine.remove_container(id, Some(options)).await
        });
        match removed.await {
            Ok(()) => Ok(None),
            Err(trouble) => match trouble.class {
                ErrorClass::NotFound => Ok(None),
                // Its removal is under way already.
                ErrorClass::InvalidState => Ok(Some(MachineState::Stopping)),
                _ => Err(trouble),
            },
        }
    }

    async fn remove_image(&self, id: &str) -> Result<(), Trouble> {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let call = Call {
            name: "remove_image",
            on: id,
            sent: Sent::Write,
        };
        let asked = self.engine.ask(call, |engine| async move {
            engine.remove_image(id, Some(options), None).await
        });
        match asked.await? {
            Ok(_) => Ok(()),
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(()),
            Err(error) => Err(self.engine.trouble(call, &error)),
        }
    }
}

/// Whether a container carries the mark of this clone.
pub(super) fn is_of(found: &ContainerInspectResponse, name: &str) -> bool {
    let labels = found.config.as_ref().and_then(|it| it.labels.as_ref());
    labels
        .and_then(|labels| labels.get(LABEL_CLONE))
        .map(String::as_str)
        == Some(name)
}
