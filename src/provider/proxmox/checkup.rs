//! What reading alone shows of a token and of the guest.

use super::Proxmox;
use super::rights::Rights;
use crate::engine::id::InstanceId;
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::{Checkup, Known, May};
use tokio::time::Instant;

const ASLEEP: &str =
    "nothing but your own electricity; its disks, and room for its memory if suspended";

impl Proxmox {
    pub(super) async fn examine(&self) -> Checkup {
        let list = self.cluster.guests(Instant::now()).await;
        let rights = self.cluster.rights().await;
        let seed = match &list {
            // Nothing else would be answered either.
            Err(trouble) if trouble.class == ErrorClass::Auth => Err(trouble.clone()),
            _ => self.look(InstanceId::Seed).await,
        };
        let credential = list
            .clone()
            .map(|list| format!("it sees {} guests of the cluster", list.len()));
        let mut warnings = Vec::new();
        if list.is_ok_and(|list| list.is_empty()) {
            let told = "the token sees no guest at all: with privilege separation it has only the rights that were given to \
                        the token itself; give it VM.Audit";
            warnings.push(told.to_owned());
        }
        Checkup {
            what: format!("guest {} at {}", self.settings.vmid, self.settings.base_url),
            credential,
            may: self.may(&rights),
            seed,
            asleep: ASLEEP,
            marked: self.marked().await,
            warnings,
        }
    }

    fn may(&self, rights: &Result<Rights, Trouble>) -> Vec<(May, Known)> {
        let Ok(rights) = rights else {
            return [May::Read, May::Power, May::Clone]
                .map(|may| (may, Known::Unknown))
                .to_vec();
        };
        let seed = format!("/vms/{}", self.settings.vmid);
        let source = self.settings.clone_from.unwrap_or(self.settings.vmid);
        let source = format!("/vms/{source}");
        let new = match &self.settings.pool {
            Some(pool) => format!("/pool/{pool}"),
            None => "/vms".to_owned(),
        };
        let clone = rights.hold("VM.Clone", &source) && rights.hold("VM.Allocate", &new);
        let known = |held| match held {
            true => Known::Yes,
            // Rights that come by a pool are not among those of a guest.
            false if self.settings.pool.is_some() => Known::Unknown,
            false => Known::No,
        };
        vec![
            (May::Read, known(rights.hold("VM.Audit", &seed))),
            (May::Power, known(rights.hold("VM.PowerMgmt", &seed))),
            (May::Clone, known(clone)),
        ]
    }
}
