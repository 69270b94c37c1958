//! What a person would ask before trusting the settings, found out by reading alone: Compute Engine tells which
//! permissions a credential has on an instance.

use tokio::time::Instant;

use super::Gce;
use crate::engine::machine::{ErrorClass, MachineState};
use crate::engine::policy::Sleep;
use crate::provider::mark::Mark;
use crate::provider::{Checkup, Known, May};

/// On the instance itself.
const READ: &[&str] = &["compute.instances.get"];
const POWER: &[&str] = &["compute.instances.start", "compute.instances.stop"];
const SUSPEND: &[&str] = &["compute.instances.suspend", "compute.instances.resume"];
/// What is granted on the project shows on its instances too. Whether one may be made shows when one is made.
const CLONE: &[&str] = &[
    "compute.instances.delete",
    "compute.instances.setLabels",
    "compute.instances.deleteAccessConfig",
    "compute.instances.setDiskAutoDelete",
];

/// What is paid asleep.
const ASLEEP: &str = "its disks and reserved addresses; suspended, also its saved memory";

impl Gce {
    pub(super) async fn examine(&self) -> Checkup {
        let (project, zone) = (&self.settings.project, &self.settings.zone);
        let name = &self.settings.instance;
        let credential = self.project.who().await;
        let seed = self.read(name).await;
        let listed = self.project.instances(Instant::now()).await;
        let wanted = [READ, POWER, SUSPEND, CLONE].concat();
        let granted = self.project.granted(zone, name, &wanted).await;
        let may = |wanted: &[&str]| match &granted {
            Ok(granted) if wanted.iter().all(|one| granted.iter().any(|it| it == one)) => {
                Known::Yes
            }
            Ok(_) => Known::No,
            Err(_) => Known::Unknown,
        };
        let listed_or_not = match &listed {
            Ok(_) => Known::Yes,
            Err(trouble) if trouble.class == ErrorClass::Forbidden => Known::No,
            Err(_) => Known::Unknown,
        };
        let read = match (&seed, listed_or_not) {
            (Ok(_), known) => known,
            (Err(_), _) => Known::No,
        };
        let mut asked = vec![(May::Read, read), (May::Power, may(POWER))];
        let mut warnings = Vec::new();
        if listed_or_not == Known::No {
            let mend = "grant compute.instances.list on the project";
            warnings.push(format!(
                "the instances of {project} can't be listed: {mend}"
            ));
        }
        if self.settings.sleep == Sleep::Suspend && may(SUSPEND) == Known::No {
            let mend = "grant compute.instances.suspend and .resume, or write sleep = \"stop\"";
            warnings.push(format!("it may not be suspended, so it is stopped: {mend}"));
        }
        if let Some(from) = &self.settings.clone_from {
            asked.push(match may(CLONE) {
                Known::Yes => (May::Clone, Known::Unknown),
                known => (May::Clone, known),
            });
            match self.project.source(from.path()).await {
                Ok(None) => {}
                Ok(Some(state)) => warnings.push(format!("what clones are made of is {state}")),
                Err(trouble) if trouble.class == ErrorClass::NotFound => {
                    warnings.push(format!("{} is not there: make it", from.path()));
                }
                Err(trouble) => {
                    warnings.push(format!("what clones are made of can't be read: {trouble}"));
                }
            }
        }
        if seed
            .as_ref()
            .is_ok_and(|seed| seed.state == MachineState::Suspended)
        {
            warnings.push("it is suspended: Google stops it after 60 days".to_owned());
        }
        let marked = listed.map(|listed| {
            let names = listed.all().map(|instance| instance.name.clone());
            names
                .filter(|name| Mark::service_of(name).is_some())
                .collect()
        });
        Checkup {
            what: format!("instance {name} in {zone} of the project {project}"),
            credential,
            may: asked,
            seed,
            asleep: ASLEEP,
            marked,
            warnings,
        }
    }
}
