//! Starting, stopping and hibernating a machine.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Ec2;
use super::answer::Instance;
use super::region::Fields;
use crate::engine::id::InstanceId;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::provider::bare;

/// How often a machine that stops is looked at, at first and at most. The list is shared by all that look.
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(2);

impl Ec2 {
    pub(super) async fn wake(&self, id: &str) -> Result<Machine, Trouble> {
        let instance = self.see(id).await?;
        match instance.state() {
            MachineState::Missing => return Err(self.missing(id)),
            MachineState::Running | MachineState::Starting => return Ok(self.machine(&instance)),
            MachineState::Stopping if instance.is_deleted_soon() => return Err(self.missing(id)),
            MachineState::Stopping => {
                let detail = format!("{id} is still stopping");
                return Err(Trouble::new(ErrorClass::Busy, detail));
            }
            _ => {}
        }
        self.change(id, "StartInstances", &[], MachineState::Starting)
            .await
    }

    /// By the machine's own shutdown; by the switch when that takes too long.
    pub(super) async fn put_to_sleep(
        &self,
        instance: InstanceId,
        id: &str,
    ) -> Result<Machine, Trouble> {
        let asked = self.ask_to_stop(id, &[]).await?;
        if asked.state != MachineState::Stopping {
            return Ok(asked);
        }
        let until = Instant::now() + self.settings.stop_timeout;
        let mut pause = LOOK_FIRST;
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
            let machine = self.look_at(instance).await?;
            if machine.state != MachineState::Stopping {
                return Ok(machine);
            }
            if Instant::now() >= until {
                break;
            }
        }
        tracing::warn!(id, "it does not shut down; it is switched off");
        self.change(
            id,
            "StopInstances",
            &[("Force", "true")],
            MachineState::Stopping,
        )
        .await
    }

    /// Its memory goes to its disk; a start brings it back.
    pub(super) async fn hibernate(&self, id: &str) -> Result<Machine, Trouble> {
        self.ask_to_stop(id, &[("Hibernate", "true")]).await
    }

    async fn ask_to_stop(&self, id: &str, how: &[(&str, &str)]) -> Result<Machine, Trouble> {
        let instance = self.see(id).await?;
        match instance.state() {
            MachineState::Missing => Err(self.missing(id)),
            MachineState::Stopped | MachineState::Suspended | MachineState::Stopping => {
                Ok(self.machine(&instance))
            }
            _ => {
                self.change(id, "StopInstances", how, MachineState::Stopping)
                    .await
            }
        }
    }

    /// Asks for a change, and tells how the machine is then.
    async fn change(
        &self,
        id: &str,
        action: &'static str,
        more: &[(&str, &str)],
        way: MachineState,
    ) -> Result<Machine, Trouble> {
        let mut fields: Fields = vec![("InstanceId.1".to_owned(), id.to_owned())];
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        fields.extend(more);
        let changed = self.region.change(action, &fields).await;
        // Also when the answer was lost: it may have been done.
        self.wrote(id, way);
        match changed {
            Ok(found) => {
                let found = found.into_iter().find(|instance| instance.id == id);
                let state = found.map_or(way, |instance| instance.state());
                Ok(bare(state))
            }
            Err(trouble) => self.settled(id, trouble, way).await,
        }
    }

    /// What came of a change that was refused, or whose answer was lost: the machine tells.
    async fn settled(
        &self,
        id: &str,
        trouble: Trouble,
        way: MachineState,
    ) -> Result<Machine, Trouble> {
        let asks = matches!(
            trouble.class,
            ErrorClass::Ambiguous | ErrorClass::InvalidState
        );
        if !asks {
            return Err(trouble);
        }
        let instance = match self.see(id).await {
            Ok(instance) => instance,
            Err(_) => return Err(trouble),
        };
        let there = match way {
            MachineState::Stopping => matches!(
                instance.state(),
                MachineState::Stopping | MachineState::Stopped | MachineState::Suspended
            ),
            _ => matches!(
                instance.state(),
                MachineState::Starting | MachineState::Running
            ),
        };
        match there {
            true => Ok(self.machine(&instance)),
            false => Err(trouble),
        }
    }

    /// The machine as it is now.
    async fn see(&self, id: &str) -> Result<Instance, Trouble> {
        let found = self.region.one(id).await?;
        found.ok_or_else(|| self.missing(id))
    }

    pub(super) fn missing(&self, id: &str) -> Trouble {
        let region = &self.settings.region;
        let detail = format!("there is no machine {id} in {region}");
        Trouble::new(ErrorClass::NotFound, detail)
    }
}
