//! Starting, stopping and suspending a guest: what is asked, and how its task is followed to its end.

use std::time::Duration;

use super::place::Place;
use super::{GuestKind, Proxmox};
use crate::engine::id::InstanceId;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::provider::bare;

/// How long a start is followed; then it is left to itself.
pub(super) const START_FOLLOWED: Duration = Duration::from_secs(90);

/// How long the writing of a memory to disk is followed.
pub(super) const SUSPEND_FOLLOWED: Duration = Duration::from_secs(90);

/// What a stop is followed for beyond the guest's own time to shut down.
pub(super) const STOP_FOLLOWED_ON: Duration = Duration::from_secs(30);

impl Proxmox {
    pub(super) async fn wake(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let seen = self.see_it(instance).await?;
        if seen.is_template {
            let detail = format!("guest {} is a template; it can't run", seen.place.vmid);
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        }
        match (seen.state, &seen.task) {
            (MachineState::Running, _) => return self.machine(&seen.place, seen.state).await,
            (MachineState::Starting, Some(task)) => {
                return self
                    .followed(&seen.place, task, START_FOLLOWED, MachineState::Starting)
                    .await;
            }
            (MachineState::Stopping, _) => {
                let detail = format!("guest {} is still stopping", seen.place.vmid);
                return Err(Trouble::new(ErrorClass::Busy, detail));
            }
            _ => {}
        }
        if let InstanceId::Clone(_) = instance {
            self.finish(&seen.place).await?;
        }
        // Memory that is kept in memory is resumed; memory that is kept on disk comes back with a start.
        let what = match seen.is_paused {
            true => "status/resume",
            false => "status/start",
        };
        self.change(
            &seen.place,
            what,
            &[],
            START_FOLLOWED,
            MachineState::Starting,
        )
        .await
    }

    /// By the guest's own shutdown; by the switch when that takes too long, or is refused.
    pub(super) async fn put_to_sleep(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let seen = self.see_it(instance).await?;
        let within = self.settings.stop_timeout + STOP_FOLLOWED_ON;
        match (seen.state, &seen.task) {
            (MachineState::Stopped | MachineState::Suspended, _) => {
                return Ok(bare(seen.state));
            }
            (MachineState::Stopping, Some(task)) => {
                return self
                    .followed(&seen.place, task, within, MachineState::Stopping)
                    .await;
            }
            _ => {}
        }
        let secs = self.settings.stop_timeout.as_secs().max(1).to_string();
        let gently = [("timeout", secs.as_str()), ("forceStop", "1")];
        let place = &seen.place;
        let asked = self
            .change(
                place,
                "status/shutdown",
                &gently,
                within,
                MachineState::Stopping,
            )
            .await;
        match asked {
            Err(trouble) if is_for_the_switch(trouble.class) => {
                tracing::warn!(vmid = place.vmid, %trouble, "the shutdown failed; it is switched off");
                self.change(
                    place,
                    "status/stop",
                    &[],
                    STOP_FOLLOWED_ON,
                    MachineState::Stopping,
                )
                .await
            }
            asked => asked,
        }
    }

    /// Its memory goes to its disk; a start brings it back.
    pub(super) async fn hibernate(&self, instance: InstanceId) -> Result<Machine, Trouble> {
        let seen = self.see_it(instance).await?;
        match (seen.state, &seen.task) {
            (MachineState::Stopped | MachineState::Suspended, _) => return Ok(bare(seen.state)),
            (MachineState::Stopping, Some(task)) => {
                return self
                    .followed(&seen.place, task, SUSPEND_FOLLOWED, MachineState::Stopping)
                    .await;
            }
            _ => {}
        }
        if seen.place.kind == GuestKind::Lxc {
            let detail = format!(
                "guest {} is a container; it can't be suspended",
                seen.place.vmid
            );
            return Err(Trouble::new(ErrorClass::InvalidState, detail));
        }
        let to_disk = [("todisk", "1")];
        let place = &seen.place;
        self.change(
            place,
            "status/suspend",
            &to_disk,
            SUSPEND_FOLLOWED,
            MachineState::Stopping,
        )
        .await
    }

    /// Asks for a change, follows its task, and reads what came of it.
    async fn change(
        &self,
        place: &Place,
        what: &'static str,
        fields: &[(&str, &str)],
        within: Duration,
        way: MachineState,
    ) -> Result<Machine, Trouble> {
        let asked = self.cluster.change(place, what, fields).await;
        // Also when the answer was lost: it may have been done.
        self.wrote(place.vmid);
        match asked {
            Ok(task) => self.followed(place, &task, within, way).await,
            Err(trouble) => self.settled(place, trouble, way).await,
        }
    }

    async fn followed(
        &self,
        place: &Place,
        task: &str,
        within: Duration,
        way: MachineState,
    ) -> Result<Machine, Trouble> {
        let ended = self.cluster.follow(&place.node, task, within).await;
        self.wrote(place.vmid);
        match ended {
            Ok(None) => Ok(bare(way)),
            Ok(Some(())) => {
                let seen = self
                    .see(place.clone())
                    .await?
                    .ok_or_else(|| self.missing(&place.vmid.to_string()))?;
                // The manager of high availability has heard, and acts by and by.
                match (arrived(seen.state, way), way) {
                    (false, _) => Ok(bare(way)),
                    (true, _) => self.machine(place, seen.state).await,
                }
            }
            Err(trouble) => self.settled(place, trouble, way).await,
        }
    }

    /// What came of a change that was refused, or whose answer was lost: the guest tells.
    async fn settled(
        &self,
        place: &Place,
        trouble: Trouble,
        way: MachineState,
    ) -> Result<Machine, Trouble> {
        let asks = matches!(
            trouble.class,
            ErrorClass::AlreadyThere
                | ErrorClass::Ambiguous
                | ErrorClass::Busy
                | ErrorClass::InvalidState
        );
        if !asks {
            return Err(trouble);
        }
        match self.see(place.clone()).await {
            Ok(Some(seen)) if arrived(seen.state, way) => self.machine(place, seen.state).await,
            Ok(Some(seen)) if seen.state == way => Ok(bare(way)),
            Ok(None) => Err(self.missing(&place.vmid.to_string())),
            _ => Err(trouble),
        }
    }
}

/// Whether a guest in this state is where the way led.
fn arrived(state: MachineState, way: MachineState) -> bool {
    match way {
        MachineState::Stopping => matches!(state, MachineState::Stopped | MachineState::Suspended),
        _ => matches!(state, MachineState::Running | MachineState::Failed),
    }
}

/// Whether a shutdown that failed so is followed by the switch. Where somebody else works on the guest, or the answer
/// is not known, it is not.
fn is_for_the_switch(class: ErrorClass) -> bool {
    matches!(
        class,
        ErrorClass::Transient | ErrorClass::InvalidState | ErrorClass::BadRequest
    )
}
