//! What reading alone shows of an account and of the machine.

use tokio::time::Instant;

use super::IdCloudHost;
use super::answer::Address;
use crate::engine::machine::{ErrorClass, PublicAddress};
use crate::provider::mark::Mark;
use crate::provider::{Checkup, Known, May};

const ASLEEP: &str = "its storage, and public addresses that are assigned to nothing";

impl IdCloudHost {
    pub(super) async fn examine(&self) -> Checkup {
        let list = self.cloud.vms(Instant::now()).await;
        let seed = match &list {
            // Nothing else would be answered either.
            Err(trouble) if trouble.class == ErrorClass::Auth => Err(trouble.clone()),
            _ => self.look().await,
        };
        let read = match &list {
            Ok(_) => Known::Yes,
            Err(trouble) if trouble.class == ErrorClass::Forbidden => Known::No,
            Err(_) => Known::Unknown,
        };
        let (uuid, location) = (&self.settings.uuid, &self.settings.location);
        let marked = list.clone().map(|list| {
            let names = list.iter().map(|vm| vm.name.clone());
            let marked = names.filter(|name| Mark::service_of(name).is_some());
            marked.collect()
        });
        Checkup {
            what: format!("machine {uuid} at {location}"),
            credential: list.map(|list| format!("it lists the account's machines: {}", list.len())),
            // A token has no list of what it may do.
            may: vec![
                (May::Read, read),
                (May::Power, Known::Unknown),
                (May::Clone, Known::Unknown),
            ],
            seed,
            asleep: ASLEEP,
            marked,
            warnings: self.free_addresses().await,
        }
    }

    /// Public addresses that are paid for and that nobody has.
    async fn free_addresses(&self) -> Vec<String> {
        let Ok(addresses) = self.cloud.addresses(Instant::now()).await else {
            return Vec::new();
        };
        let free = addresses.iter().filter(|address| address.is_free());
        let told = |address: &PublicAddress| {
            let address = address.address;
            format!(
                "the public address {address} is assigned to nothing and is paid for; give it back if nobody needs it"
            )
        };
        free.filter_map(Address::public)
            .map(|it| told(&it))
            .collect()
    }
}
