//! What an account's keys may do, and how the machine is: by reads, and by calls that ask only whether they might be made.

use tokio::time::Instant;

use super::Ec2;
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::mark::Mark;
use crate::provider::{Checkup, Known, May};

use super::region::TAG;

const ASLEEP: &str = "its EBS volumes and Elastic IPs; each start bills at least 60 s";

impl Ec2 {
    pub(super) async fn examine(&self) -> Checkup {
        let marked = self.region.marked(Instant::now()).await;
        let (id, region) = (&self.settings.instance, &self.settings.region);
        let refused = marked.as_ref().err();
        let refused = refused.filter(|trouble| trouble.class == ErrorClass::Auth);
        let seed = match refused {
            // Nothing else would be answered either.
            Some(trouble) => Err(trouble.clone()),
            None => self.look_at(InstanceId::Seed).await,
        };
        let read = match &marked {
            Ok(_) => Known::Yes,
            Err(trouble) if trouble.class == ErrorClass::Forbidden => Known::No,
            Err(_) => Known::Unknown,
        };
        let mut may = vec![(May::Read, read)];
        let mut warnings = Vec::new();
        if refused.is_none() {
            let fields = vec![("InstanceId.1".to_owned(), id.clone())];
            let start = self.region.might("StartInstances", &fields).await;
            may.push((May::Power, known(&start)));
            if let Some(fields) = self.launch(self.nobody()) {
                let launch = self.region.might("RunInstances", &fields).await;
                may.push((May::Clone, known(&launch)));
                if let Err(trouble) = launch {
                    warnings.push(format!("a clone could not be launched: {trouble}"));
                }
            }
        }
        Checkup {
            what: format!("machine {id} in {region}"),
            credential: marked
                .clone()
                .map(|_| "it lists the machines of the region".to_owned()),
            may,
            seed,
            asleep: ASLEEP,
            marked: marked.map(|list| {
                let lives = list.iter().filter(|instance| instance.is_there());
                let names = lives.filter_map(|instance| instance.tags.get(TAG).cloned());
                names
                    .filter(|name| Mark::service_of(name).is_some())
                    .collect()
            }),
            warnings,
        }
    }

    /// A clone that nobody makes.
    fn nobody(&self) -> CloneId {
        CloneId::new(CloneId::SLOT_MAX, 0).expect("it is within the bounds")
    }
}

fn known(might: &Result<bool, Trouble>) -> Known {
    match might {
        Ok(true) => Known::Yes,
        Ok(false) => Known::No,
        Err(_) => Known::Unknown,
    }
}
