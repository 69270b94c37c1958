//! What every provider with clones promises, over each such kind. What a crash leaves behind is in `crash`.

use std::sync::Arc;

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use anteroom::provider::Provider;

use super::{Platform, SEED, SOON, TOKEN};
use crate::support::crash::Left;
use crate::support::wait::eventually;

pub(super) fn id(slot: u16) -> CloneId {
    CloneId::new(slot, 1_795_000_000).expect("within bounds")
}

/// Makes the clone as the driver does: what passes by itself is tried again, and what was lost is looked for.
pub(super) async fn made(provider: &dyn Provider, clone: CloneId) -> Machine {
    let mut made = None;
    eventually(SOON, || async {
        let owned = provider.find().await.unwrap_or_default();
        owned.iter().any(|owned| owned.clone == clone)
            || match provider.make_clone(clone).await {
                Ok(_) => true,
                Err(trouble) if trouble.class.passes_by_itself() => false,
                Err(trouble) => panic!("{trouble}"),
            }
    })
    .await;
    let instance = InstanceId::Clone(clone);
    eventually(SOON, || async {
        match provider.inspect(instance).await {
            Ok(machine) if machine.state == MachineState::Running => true,
            Ok(machine) if machine.state == MachineState::Stopped => {
                let _ = provider.start(instance, TOKEN).await;
                false
            }
            _ => false,
        }
    })
    .await;
    made.get_or_insert(provider.inspect(instance).await.expect("it can be read"))
        .clone()
}

/// Deletes it as the driver does, and gives back what it leaves.
pub(super) async fn deleted(provider: &dyn Provider, clone: CloneId) {
    let mut addresses = Err(Trouble::new(ErrorClass::Busy, "not asked"));
    while addresses.is_err() {
        addresses = provider.addresses(clone).await;
    }
    eventually(SOON, || async {
        match provider.delete(clone).await {
            Ok(machine) => machine.state == MachineState::Missing,
            Err(trouble) if trouble.class.passes_by_itself() => false,
            Err(trouble) => panic!("{trouble}"),
        }
    })
    .await;
    let addresses = addresses.expect("it was read");
    eventually(SOON, || async {
        provider.release(clone, &addresses).await.is_ok()
    })
    .await;
}

pub(super) async fn a_clone_is_made_found_and_deleted(platform: &(impl Platform + Left)) {
    let provider = platform.provider();
    assert!(provider.can_clone());
    assert_eq!(provider.find().await.expect("a list"), []);
    let (one, two) = (id(1), id(2));
    let first = made(&*provider, one).await;
    assert!(first.address.is_some(), "a clone that runs has an address");
    let second = made(&*provider, two).await;
    assert_ne!(first.address, second.address);
    let mut found = Vec::new();
    eventually(SOON, || {
        let provider = Arc::clone(&provider);
        async move { provider.find().await.is_ok_and(|found| found.len() == 2) }
    })
    .await;
    for owned in provider.find().await.expect("a list") {
        found.push(owned.clone);
    }
    found.sort();
    assert_eq!(found, [one, two]);
    assert_eq!(platform.clones().len(), 2);
    // A fresh Anteroom finds them too.
    assert_eq!(platform.provider().find().await.expect("a list").len(), 2);
    for clone in [one, two] {
        deleted(&*provider, clone).await;
        deleted(&*provider, clone).await;
        let gone = provider.inspect(InstanceId::Clone(clone)).await;
        assert_eq!(gone.map(|gone| gone.state), Ok(MachineState::Missing));
    }
    assert_eq!(platform.clones(), [""; 0]);
    assert_eq!(platform.addresses(), 0);
    assert!(platform.seed_is_untouched());
}

pub(super) async fn making_it_again_makes_no_second_one(platform: &(impl Platform + Left)) {
    let provider = platform.provider();
    made(&*provider, id(1)).await;
    for _ in 0..3 {
        let again = provider.make_clone(id(1)).await.map_err(|t| t.class);
        assert!(again.is_ok() || again == Err(ErrorClass::AlreadyThere));
    }
    assert_eq!(platform.clones().len(), 1);
    deleted(&*provider, id(1)).await;
    assert!(platform.seed_is_untouched());
}

pub(super) async fn a_clone_sleeps_and_wakes_like_its_seed(platform: &(impl Platform + Left)) {
    let provider = platform.provider();
    made(&*provider, id(1)).await;
    let instance = InstanceId::Clone(id(1));
    let state = |wanted: MachineState| {
        let provider = Arc::clone(&provider);
        move || {
            let provider = Arc::clone(&provider);
            async move {
                let seen = provider.inspect(instance).await;
                seen.is_ok_and(|seen| seen.state == wanted)
            }
        }
    };
    let _ = provider.stop(instance, TOKEN).await;
    eventually(SOON, state(MachineState::Stopped)).await;
    let _ = provider.start(instance, TOKEN).await;
    eventually(SOON, state(MachineState::Running)).await;
    deleted(&*provider, id(1)).await;
    assert!(platform.seed_is_untouched());
}

pub(super) async fn what_was_never_made_is_gone_already(platform: &(impl Platform + Left)) {
    let provider = platform.provider();
    let addresses = provider.addresses(id(7)).await.expect("it can be read");
    assert_eq!(addresses, []);
    let gone = provider.delete(id(7)).await.expect("it is no error");
    assert_eq!(gone.state, MachineState::Missing);
    assert!(provider.inspect(SEED).await.is_ok());
    assert!(platform.seed_is_untouched());
}

/// The suite for one platform, as `conforms!` for power.
macro_rules! clones_conform {
    ($platform:expr $(, $attribute:meta)*) => {
        clones_conform!(@one $platform, a_clone_is_made_found_and_deleted $(, $attribute)*);
        clones_conform!(@one $platform, making_it_again_makes_no_second_one $(, $attribute)*);
        clones_conform!(@one $platform, a_clone_sleeps_and_wakes_like_its_seed $(, $attribute)*);
        clones_conform!(@one $platform, what_was_never_made_is_gone_already $(, $attribute)*);
    };
    (@one $platform:expr, $test:ident $(, $attribute:meta)*) => {
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            $crate::provider_conformance::clones::$test(&$platform).await;
        }
    };
}
pub(super) use clones_conform;
