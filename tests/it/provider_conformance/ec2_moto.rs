//! EC2 as the Python package moto understands it, which its authors wrote from the real one and without us.

use std::sync::Arc;

use anteroom::provider::Provider;

use super::clones::clones_conform;
use super::ec2::{provider, settings_at};
use super::{Platform, conforms};
use crate::support::crash::Left;
use crate::support::ec2::REGION;
use crate::support::ec2_moto::Moto;

/// An account with a machine that is off, and a template to launch more from.
struct Account {
    moto: Moto,
    id: String,
}

impl Account {
    async fn new() -> Account {
        let moto = Moto::start();
        let image = "Action=DescribeImages&Owner.1=amazon&MaxResults=5";
        let image = moto.call(REGION, image, "imageId").await;
        let template = format!(
            "Action=CreateLaunchTemplate&LaunchTemplateName=blog&LaunchTemplateData.ImageId={image}&LaunchTemplateData.InstanceType=t3.micro"
        );
        moto.call(REGION, &template, "launchTemplateId").await;
        let run = format!("Action=RunInstances&ImageId={image}&MinCount=1&MaxCount=1");
        let id = moto.call(REGION, &run, "instanceId").await;
        let stop = format!("Action=StopInstances&InstanceId.1={id}");
        moto.call(REGION, &stop, "instanceId").await;
        Account { moto, id }
    }

    fn machines(&self) -> Vec<(String, String, Option<String>)> {
        let asked = self.moto.machines(REGION);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(asked))
    }
}

impl Platform for Account {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(provider(settings_at(self.moto.url(), &self.id)))
    }

    fn running(&self) -> usize {
        let all = self.machines();
        all.iter()
            .filter(|(id, state, _)| *id == self.id && state == "running")
            .count()
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        let settings = settings_at(self.moto.url(), "i-00000000000000000");
        Some(Arc::new(provider(settings)))
    }
}

impl Left for Account {
    fn clones(&self) -> Vec<String> {
        let all = self.machines().into_iter();
        all.filter_map(|(_, _, mark)| mark).collect()
    }

    fn addresses(&self) -> usize {
        0
    }

    fn seed_is_untouched(&self) -> bool {
        let seed = (self.id.clone(), "stopped".to_owned(), None);
        self.machines().contains(&seed)
    }
}

conforms!(Account::new().await, #[ignore = "needs moto: run tests/run"]);

mod clones {
    use super::*;
    clones_conform!(Account::new().await, ignore = "needs moto: run tests/run");
}
