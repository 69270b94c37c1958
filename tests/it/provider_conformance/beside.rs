//! What providers promise whose lists do not lag and whose clones are there when their making is answered: engines and
//! processes on a host. Beside what `clones` holds all to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::id::{CloneId, InstanceId};
use anteroom::engine::machine::{Machine, MachineState};
use anteroom::provider::Provider;

use super::clones::id as clone;
use super::{Platform, SEED, SOON, TOKEN, becomes};
use crate::support::crash::Left;
use crate::support::wait::eventually;

/// A platform with clones.
pub(super) trait Shared: Platform + Left {
    /// A provider for the same seed, of another service.
    fn other(&self) -> Arc<dyn Provider>;
}

async fn clone_state(provider: &dyn Provider, clone: CloneId) -> MachineState {
    let found = provider.inspect(InstanceId::Clone(clone)).await;
    found.expect("it can be read").state
}

async fn found(provider: &dyn Provider) -> BTreeSet<CloneId> {
    let owned = provider.find().await.expect("it can be listed");
    owned.into_iter().map(|owned| owned.clone).collect()
}

async fn starts(provider: &dyn Provider, clone: CloneId) -> SocketAddr {
    let instance = InstanceId::Clone(clone);
    provider.start(instance, TOKEN).await.expect("it starts");
    let machine = || async { provider.inspect(instance).await.expect("it can be read") };
    let up = |machine: &Machine| machine.state == MachineState::Running;
    eventually(SOON, || async { up(&machine().await) }).await;
    let address = machine()
        .await
        .address
        .expect("a running clone has an address");
    let connects = || async { tokio::net::TcpStream::connect(address).await.is_ok() };
    eventually(SOON, connects).await;
    address
}

async fn deletes(provider: &dyn Provider, clone: CloneId) {
    let gone = || async {
        let deleted = provider.delete(clone).await;
        deleted.expect("it is deleted").state == MachineState::Missing
    };
    eventually(SOON, gone).await;
    assert_eq!(clone_state(provider, clone).await, MachineState::Missing);
}

pub(super) async fn clones_live_beside_the_seed(platform: &dyn Shared) {
    let provider = platform.provider();
    assert!(provider.can_clone());
    provider.start(SEED, TOKEN).await.expect("it starts");
    becomes(&*provider, MachineState::Running).await;
    let seed = provider.inspect(SEED).await.expect("it can be read");
    let mut addresses = BTreeSet::from([seed.address.expect("it runs")]);
    for slot in [1, 2] {
        let made = provider.make_clone(clone(slot)).await.expect("it is made");
        assert_ne!(made.state, MachineState::Missing);
        assert!(addresses.insert(starts(&*provider, clone(slot)).await));
    }
    assert_eq!(
        found(&*provider).await,
        BTreeSet::from([clone(1), clone(2)])
    );
    assert_eq!(platform.clones().len(), 2);
    let instance = InstanceId::Clone(clone(1));
    for _ in 0..2 {
        provider.stop(instance, TOKEN).await.expect("it stops");
        assert_eq!(
            clone_state(&*provider, clone(1)).await,
            MachineState::Stopped
        );
    }
    assert_eq!(
        clone_state(&*provider, clone(2)).await,
        MachineState::Running
    );
    starts(&*provider, clone(1)).await;
    for slot in [1, 2] {
        for _ in 0..2 {
            deletes(&*provider, clone(slot)).await;
        }
    }
    assert!(found(&*provider).await.is_empty());
    assert!(platform.clones().is_empty());
    assert_eq!(
        provider.inspect(SEED).await,
        Ok(seed),
        "nothing was done to it"
    );
    provider.stop(SEED, TOKEN).await.expect("it stops");
}

pub(super) async fn a_clone_is_made_once(platform: &dyn Shared) {
    let provider = platform.provider();
    for _ in 0..2 {
        provider.make_clone(clone(1)).await.expect("it is made");
    }
    let (one, two) = tokio::join!(provider.make_clone(clone(2)), provider.make_clone(clone(2)));
    one.and(two).expect("both are successes");
    assert_eq!(platform.clones().len(), 2);
    let address = starts(&*provider, clone(1)).await;
    let again = provider.make_clone(clone(1)).await.expect("it is there");
    assert_eq!(
        (again.state, again.address),
        (MachineState::Running, Some(address))
    );
    deletes(&*provider, clone(1)).await;
    deletes(&*provider, clone(2)).await;
}

/// The driver drops a call at its deadline: wherever that falls, the next call is right and nothing is left over.
pub(super) async fn a_clones_call_may_be_dropped_anywhere(platform: &dyn Shared) {
    let provider = platform.provider();
    for after_ms in [0, 1, 2, 4, 8, 16, 32] {
        let after = Duration::from_millis(after_ms);
        let _ = tokio::time::timeout(after, provider.make_clone(clone(1))).await;
        provider.make_clone(clone(1)).await.expect("it is made");
        assert_eq!(platform.clones().len(), 1);
        let instance = InstanceId::Clone(clone(1));
        let _ = tokio::time::timeout(after, provider.start(instance, TOKEN)).await;
        starts(&*provider, clone(1)).await;
        let _ = tokio::time::timeout(after, provider.delete(clone(1))).await;
        deletes(&*provider, clone(1)).await;
        assert!(platform.clones().is_empty());
    }
}

pub(super) async fn the_next_anteroom_finds_the_clones(platform: &dyn Shared) {
    let before = platform.provider();
    for slot in [1, 2] {
        before.make_clone(clone(slot)).await.expect("it is made");
    }
    let address = starts(&*before, clone(1)).await;
    drop(before);
    let after = platform.provider();
    let mut owned = after.find().await.expect("it can be listed");
    owned.sort_by_key(|owned| owned.clone);
    let states: Vec<_> = owned.iter().map(|owned| owned.machine.state).collect();
    assert_eq!(states, [MachineState::Running, MachineState::Stopped]);
    assert_eq!(owned[0].machine.address, Some(address));
    assert_eq!(starts(&*after, clone(1)).await, address);
    deletes(&*after, clone(1)).await;
    deletes(&*after, clone(2)).await;
    assert!(platform.clones().is_empty());
}

pub(super) async fn the_clones_of_another_service_are_left_alone(platform: &dyn Shared) {
    let (ours, other) = (platform.provider(), platform.other());
    ours.make_clone(clone(1)).await.expect("it is made");
    assert!(found(&*other).await.is_empty());
    assert_eq!(clone_state(&*other, clone(1)).await, MachineState::Missing);
    deletes(&*other, clone(1)).await;
    assert_eq!(found(&*ours).await, BTreeSet::from([clone(1)]));
    let instance = InstanceId::Clone(clone(1));
    assert!(other.start(instance, TOKEN).await.is_err());
    assert_eq!(clone_state(&*ours, clone(1)).await, MachineState::Stopped);
    let marked = ours.checkup().await.marked.expect("it can be listed");
    assert!(marked.contains(&platform.clones()[0]), "{marked:?}");
    deletes(&*ours, clone(1)).await;
}

/// The suite for one platform. Arguments: what makes a platform, and attributes for every test.
macro_rules! lives_beside {
    ($platform:expr $(, #[$attribute:meta])*) => {
        lives_beside!(@each $platform, [$(#[$attribute])*],
            clones_live_beside_the_seed
            a_clone_is_made_once
            a_clones_call_may_be_dropped_anywhere
            the_next_anteroom_finds_the_clones
            the_clones_of_another_service_are_left_alone);
    };
    (@each $platform:expr, $attributes:tt, $($name:ident)*) => {
        $(lives_beside!(@one $platform, $attributes, $name);)*
    };
    (@one $platform:expr, [$(#[$attribute:meta])*], $name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $name() {
            crate::provider_conformance::beside::$name(&$platform).await;
        }
    };
}
pub(super) use lives_beside;
