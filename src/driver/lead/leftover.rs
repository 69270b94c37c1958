//! Clones that earlier settings made. These make none; so that nothing runs on unseen, they are removed, or named to a person where these
//! settings can't reach them.

use super::Lead;
use crate::engine::policy::{CloneTerms, Policy};
use crate::engine::record::Record;
use crate::engine::service::Service;
use crate::provider::Provider;

impl Lead<'_> {
    /// Looks at the record before it is taken up.
    pub(super) fn take_leftovers(&mut self, record: Option<&mut Record>) {
        let setup = &self.seat.setup;
        let clones = record.map(|record| &mut record.fleet.clones);
        let Some(clones) = clones.filter(|clones| !clones.is_empty()) else {
            return;
        };
        if setup.policy.clones.is_some() {
            return;
        }
        let names: Vec<_> = clones.keys().map(ToString::to_string).collect();
        let (service, clones_left) = (&setup.name, names.join(", "));
        if !setup.provider.finds_clones() {
            let kind = setup.provider.kind();
            tracing::error!(
                %service, clones_left, kind,
                "clones of an earlier provider run on, and this one can't reach them: delete them there"
            );
            return clones.clear();
        }
        tracing::warn!(%service, clones_left, "its provider's settings make no clones any more: those that are there are removed");
        let policy = Policy {
            clones: Some(removing(&*setup.provider)),
            ..setup.policy.clone()
        };
        self.service = Service::new(setup.name.clone(), policy, self.began_at);
    }
}

/// None is wanted, and none is made.
fn removing(provider: &dyn Provider) -> CloneTerms {
    CloneTerms {
        wanted: 0,
        most: 0,
        per_hour: 0,
        settles: provider.clone_settles().into(),
        repeats: provider.make_clone_repeats(),
        strips: provider.strips(),
    }
}
