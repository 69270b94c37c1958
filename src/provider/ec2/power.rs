//! Starting, stopping and hibernating a machine.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Ec2;
use super::answer::Instance;
use super::region::Fields;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::provider::bare;

/// How often a machine that stops is looked at, at first and at most. The list is shared by all that look.
const LOOK_FIRST: Duration = Duration::from_millis(200);
const LOOK_MAX: Duration = Duration::from_secs(2);

impl Ec2 {
    pub(super) async fn wake(&self) -> Result<Machine, Trouble> {
        let instance = self.see().await?;
        match instance.state() {
            MachineState::Missing => return Err(self.missing()),
            MachineState::Running | MachineState::Starting => return Ok(self.machine(&instance)),
            MachineState::Stopping if instance.is_deleted_soon() => return Err(self.missing()),
            MachineState::Stopping => {
                let detail = format!("{} is still stopping", self.settings.instance);
                return Err(Trouble::new(ErrorClass::Busy, detail));
            }
            _ => {}
        }
        self.change("StartInstances", &[], MachineState::Starting)
            .await
    }

    /// By the machine's own shutdown; by the switch when that takes too long.
    pub(super) async fn put_to_sleep(&self) -> Result<Machine, Trouble> {
        let asked = self.ask_to_stop(&[]).await?;
        if asked.state != MachineState::Stopping {
            return Ok(asked);
        }
        let until = Instant::now() + self.settings.stop_timeout;
        let mut pause = LOOK_FIRST;
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LOOK_MAX);
            let machine = self.look().await?;
            if machine.state != MachineState::Stopping {
                return Ok(machine);
            }
            if Instant::now() >= until {
                break;
            }
        }
        tracing::warn!(instance = %self.settings.instance, "it does not shut down; it is switched off");
        self.change(
            "StopInstances",
            &[("Force", "true")],
            MachineState::Stopping,
        )
        .await
    }

    /// Its memory goes to its disk; a start brings it back.
    pub(super) async fn hibernate(&self) -> Result<Machine, Trouble> {
        self.ask_to_stop(&[("Hibernate", "true")]).await
    }

    async fn ask_to_stop(&self, how: &[(&str, &str)]) -> Result<Machine, Trouble> {
        let instance = self.see().await?;
        match instance.state() {
            MachineState::Missing => Err(self.missing()),
            MachineState::Stopped | MachineState::Suspended | MachineState::Stopping => {
                Ok(self.machine(&instance))
            }
            _ => {
                self.change("StopInstances", how, MachineState::Stopping)
                    .await
            }
        }
    }

    /// Asks for a change, and tells how the machine is then.
    async fn change(
        &self,
        action: &'static str,
        more: &[(&str, &str)],
        way: MachineState,
    ) -> Result<Machine, Trouble> {
        let id = &self.settings.instance;
        let mut fields: Fields = vec![("InstanceId.1".to_owned(), id.clone())];
        let more = more
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        fields.extend(more);
        let changed = self.region.change(action, &fields).await;
        // Also when the answer was lost: it may have been done.
        self.wrote(way);
        match changed {
            Ok(found) => {
                let found = found.into_iter().find(|instance| instance.id == *id);
                let state = found.map_or(way, |instance| instance.state());
                Ok(bare(state))
            }
            Err(trouble) => self.settled(trouble, way).await,
        }
    }

    /// What came of a change that was refused, or whose answer was lost: the machine tells.
    async fn settled(&self, trouble: Trouble, way: MachineState) -> Result<Machine, Trouble> {
        let asks = matches!(
            trouble.class,
            ErrorClass::Ambiguous | ErrorClass::InvalidState
        );
        if !asks {
            return Err(trouble);
        }
        let instance = match self.see().await {
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
    async fn see(&self) -> Result<Instance, Trouble> {
        let found = self.region.one(&self.settings.instance).await?;
        found.ok_or_else(|| self.missing())
    }

    fn missing(&self) -> Trouble {
        let (id, region) = (&self.settings.instance, &self.settings.region);
        let detail = format!("there is no machine {id} in {region}");
        Trouble::new(ErrorClass::NotFound, detail)
    }
}
