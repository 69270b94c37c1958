//! Clones: their names alone tell whose they are, for the cloud takes nothing else with a clone. No call is safe to
//! repeat, so each looks first. A machine that is deleted leaves its public addresses behind, unassigned and dearer than
//! before, so they are given back one by one.

use std::sync::Arc;

use http::Method;
use tokio::time::Instant;

use super::answer::{self, Address, Vm};
use super::{FORM, IdCloudHost, WRITE_WITHIN};
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Owned, PublicAddress, Trouble};
use crate::provider::bare;
use crate::provider::cloud::call::form;

impl IdCloudHost {
    /// The machine's own id.
    pub(super) async fn uuid(&self, instance: InstanceId) -> Result<String, Trouble> {
        match instance {
            InstanceId::Seed => Ok(self.settings.uuid.clone()),
            InstanceId::Clone(clone) => {
                let vms = self.vms().await?;
                let vm = self.named(&vms, clone).next();
                vm.map(|vm| vm.uuid.clone())
                    .ok_or_else(|| self.missing(&self.mark.name(clone)))
            }
        }
    }

    pub(super) async fn look_at_clone(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let vms = self.vms().await?;
        match self.named(&vms, clone).next() {
            Some(vm) => self.machine(vm).await,
            None => Ok(bare(MachineState::Missing)),
        }
    }

    /// The machines of this name; names are not unique. The seed is none of them, whatever somebody called it.
    fn named<'a>(&'a self, vms: &'a [Vm], clone: CloneId) -> impl Iterator<Item = &'a Vm> {
        vms.iter()
            .filter(move |vm| self.clone_of(vm) == Some(clone))
    }

    fn clone_of(&self, vm: &Vm) -> Option<CloneId> {
        let there = vm.state() != MachineState::Missing && vm.uuid != self.settings.uuid;
        there.then(|| self.mark.clone_of(&vm.name))?
    }

    pub(super) async fn find_clones(&self) -> Result<Vec<Owned>, Trouble> {
        let vms = self.vms().await?;
        let mut found = Vec::new();
        for vm in vms.iter() {
            if let Some(clone) = self.clone_of(vm) {
                let machine = self.machine(vm).await?;
                found.push(Owned { clone, machine });
            }
        }
        Ok(found)
    }

    pub(super) async fn make(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let vms = self.cloud.vms(Instant::now()).await?;
        if let Some(vm) = self.named(&vms, clone).next() {
            return self.machine(vm).await;
        }
        let (source, name) = (&self.settings.uuid, self.mark.name(clone));
        let fields = form(&[("uuid", source), ("name", &name)]);
        let made = self.change(
            "vm/clone",
            Method::POST,
            "/user-resource/vm/clone",
            Some((FORM, fields)),
            self.settings.clone_timeout,
        );
        let vm = answer::new_vm(&made.await?, source);
        let vm = vm.inspect_err(|trouble| self.cloud.vms.heed(trouble))?;
        self.machine(&vm).await
    }

    pub(super) async fn addresses_of(&self, clone: CloneId) -> Result<Vec<PublicAddress>, Trouble> {
        let now = Instant::now();
        let vms = self.cloud.vms(now).await?;
        let addresses = self.cloud.addresses(now).await?;
        let of = |vm: &'_ Vm| {
            let uuid = vm.uuid.clone();
            let its = addresses.iter().filter(move |a| a.is_of(&uuid));
            its.filter_map(Address::public).collect::<Vec<_>>()
        };
        Ok(self.named(&vms, clone).flat_map(of).collect())
    }

    pub(super) async fn give_back(
        &self,
        clone: CloneId,
        addresses: &[PublicAddress],
    ) -> Result<(), Trouble> {
        let now = Instant::now();
        let vms = self.cloud.vms(now).await?;
        let listed = self.cloud.addresses(now).await?;
        for address in addresses {
            let Some(entry) = listed.iter().find(|entry| entry.is(address)) else {
                continue;
            };
            let page = format!("/network/ip_addresses/{}", address.address);
            match entry.assigned_to() {
                None => {}
                Some(uuid) if self.named(&vms, clone).any(|vm| vm.uuid == uuid) => {
                    let page = format!("{page}/unassign");
                    self.change_address("ip_addresses/unassign", Method::POST, &page)
                        .await?;
                }
                Some(uuid) => {
                    let address = address.address;
                    tracing::warn!(%address, %uuid, "a clone's address is another machine's by now; it is left alone");
                    continue;
                }
            }
            self.change_address("ip_addresses/delete", Method::DELETE, &page)
                .await?;
        }
        let left = self.cloud.addresses(Instant::now()).await?;
        let still = addresses.iter().find(|address| {
            left.iter()
                .any(|entry| entry.is(address) && entry.is_free())
        });
        match still {
            None => Ok(()),
            Some(address) => {
                let detail = format!("{} was given back, and is still there", address.address);
                Err(Trouble::new(ErrorClass::Busy, detail))
            }
        }
    }

    /// A call about an address; one that is gone is fine.
    async fn change_address(
        &self,
        name: &'static str,
        method: Method,
        page: &str,
    ) -> Result<(), Trouble> {
        let made = self.change(name, method, page, None, WRITE_WITHIN).await?;
        match answer::done(&made) {
            Err(trouble) if trouble.class == ErrorClass::NotFound => Ok(()),
            done => done.inspect_err(|trouble| self.cloud.vms.heed(trouble)),
        }
    }

    pub(super) async fn remove(&self, clone: CloneId) -> Result<Machine, Trouble> {
        let vms = self.cloud.vms(Instant::now()).await?;
        let uuids: Vec<_> = self.named(&vms, clone).map(|vm| vm.uuid.clone()).collect();
        for uuid in &uuids {
            let body = Some((FORM, form(&[("uuid", uuid)])));
            let page = "/user-resource/vm";
            let made = self
                .change("vm/delete", Method::DELETE, page, body, WRITE_WITHIN)
                .await?;
            answer::deleted(&made, uuid).inspect_err(|trouble| self.cloud.vms.heed(trouble))?;
        }
        let vms: Arc<Vec<Vm>> = self.cloud.vms(Instant::now()).await?;
        let mut left = self.named(&vms, clone).next().is_some();
        for uuid in &uuids {
            left |= self.cloud.vm(uuid).await?.is_some();
        }
        Ok(bare(match left {
            true => MachineState::Stopping,
            false => MachineState::Missing,
        }))
    }
}
