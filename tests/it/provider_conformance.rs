//! What every provider promises, held by one suite that runs over each kind, on the real thing where there is
//! one. What only one kind promises stands in its own module.

mod beside;
mod billed;
mod clones;
mod command;
mod crash;
mod digitalocean;
mod docker;
mod ec2;
mod ec2_clones;
mod ec2_moto;
mod gce;
mod hetzner;
mod idcloudhost;
mod libvirt;
mod process;
mod proxmox;
mod proxmox_clones;
mod usage;
mod webhook;
mod wol;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anteroom::engine::id::{CloneId, InstanceId, Token};
use anteroom::engine::machine::{ErrorClass, Machine, MachineState};
use anteroom::provider::Provider;

use crate::support::wait::eventually;

const SEED: InstanceId = InstanceId::SEED;
const TOKEN: Token = Token([7; 16]);
/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// The token of a new intent: there are platforms that do nothing when they are told a known one.
fn intent() -> Token {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let mut token = TOKEN;
    token.0[..8].copy_from_slice(&NUMBER.fetch_add(1, Relaxed).to_be_bytes());
    token
}

fn clone(slot: u16) -> InstanceId {
    InstanceId::Clone(CloneId::new(slot, 1_795_000_000).expect("within bounds"))
}

/// One machine on one platform.
trait Platform {
    /// A provider for the machine, as a fresh Anteroom would build it.
    fn provider(&self) -> Arc<dyn Provider>;
    /// How many machines run on the platform under our machine's name.
    fn running(&self) -> usize;
    /// A provider whose machine does not exist, where a machine can be missing.
    fn missing(&self) -> Option<Arc<dyn Provider>>;
}

async fn state(provider: &dyn Provider) -> MachineState {
    provider.inspect(SEED).await.expect("it can be read").state
}

async fn becomes(provider: &dyn Provider, wanted: MachineState) {
    eventually(SOON, || async { state(provider).await == wanted }).await;
}

async fn is_up(platform: &dyn Platform, provider: &dyn Provider) -> Machine {
    becomes(provider, MachineState::Running).await;
    // A process that is about to become the app can't be recognised for a moment.
    eventually(SOON, || async { platform.running() == 1 }).await;
    let machine = provider.inspect(SEED).await.expect("it can be read");
    assert!(
        machine.address.is_some(),
        "a running machine has an address"
    );
    machine
}

async fn is_down(platform: &dyn Platform, provider: &dyn Provider) {
    becomes(provider, MachineState::Stopped).await;
    assert_eq!(platform.running(), 0);
}

async fn starts_and_stops(platform: &dyn Platform) {
    let provider = platform.provider();
    is_down(platform, &*provider).await;
    for _ in 0..2 {
        provider.start(SEED, intent()).await.expect("it starts");
        is_up(platform, &*provider).await;
        provider.stop(SEED, intent()).await.expect("it stops");
        is_down(platform, &*provider).await;
    }
}

async fn a_second_call_changes_nothing(platform: &dyn Platform) {
    let provider = platform.provider();
    provider.stop(SEED, intent()).await.expect("off already");
    for _ in 0..2 {
        provider.start(SEED, intent()).await.expect("it starts");
        is_up(platform, &*provider).await;
    }
    for _ in 0..2 {
        provider.stop(SEED, intent()).await.expect("it stops");
        is_down(platform, &*provider).await;
    }
}

async fn two_starts_at_once_make_one_machine(platform: &dyn Platform) {
    let provider = platform.provider();
    let (token, other) = (intent(), intent());
    let (one, two) = tokio::join!(provider.start(SEED, token), provider.start(SEED, token));
    one.and(two).expect("both are successes");
    is_up(platform, &*provider).await;
    let (one, two) = tokio::join!(provider.stop(SEED, other), provider.stop(SEED, intent()));
    one.and(two).expect("both are successes");
    is_down(platform, &*provider).await;
}

async fn a_missing_machine_is_said_to_be(platform: &dyn Platform) {
    let clone = clone(1);
    let Some(provider) = platform.missing() else {
        return;
    };
    for (provider, instance) in [(provider, SEED), (platform.provider(), clone)] {
        let found = provider.inspect(instance).await.expect("not an error");
        assert_eq!((found.state, found.address), (MachineState::Missing, None));
        for trouble in [
            provider.start(instance, intent()).await,
            provider.stop(instance, intent()).await,
        ] {
            assert_eq!(trouble.map_err(|t| t.class), Err(ErrorClass::NotFound));
        }
    }
}

/// The driver drops a call at its deadline: wherever that falls, reading works and the next call is right.
async fn a_call_may_be_dropped_anywhere(platform: &dyn Platform) {
    let provider = platform.provider();
    for after_ms in [0, 1, 2, 4, 8, 16, 32] {
        let after = Duration::from_millis(after_ms);
        let _ = tokio::time::timeout(after, provider.start(SEED, intent())).await;
        state(&*provider).await;
        provider.start(SEED, intent()).await.expect("it starts");
        is_up(platform, &*provider).await;
        let _ = tokio::time::timeout(after, provider.stop(SEED, intent())).await;
        state(&*provider).await;
        provider.stop(SEED, intent()).await.expect("it stops");
        is_down(platform, &*provider).await;
    }
}

async fn the_next_anteroom_finds_the_machine(platform: &dyn Platform) {
    let before = platform.provider();
    before.start(SEED, intent()).await.expect("it starts");
    let seen = is_up(platform, &*before).await;
    drop(before);
    let after = platform.provider();
    assert_eq!(after.inspect(SEED).await, Ok(seen));
    after.start(SEED, intent()).await.expect("it runs already");
    is_up(platform, &*after).await;
    after.stop(SEED, intent()).await.expect("it stops");
    is_down(platform, &*after).await;
}

/// The suite for one platform. Arguments: what makes a platform, and attributes for every test.
macro_rules! conforms {
    ($platform:expr $(, #[$attribute:meta])*) => {
        conforms!(@each $platform, [$(#[$attribute])*],
            starts_and_stops
            a_second_call_changes_nothing
            two_starts_at_once_make_one_machine
            a_missing_machine_is_said_to_be
            a_call_may_be_dropped_anywhere
            the_next_anteroom_finds_the_machine);
    };
    (@each $platform:expr, $attributes:tt, $($name:ident)*) => {
        $(conforms!(@one $platform, $attributes, $name);)*
    };
    (@one $platform:expr, [$(#[$attribute:meta])*], $name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $name() {
            crate::provider_conformance::$name(&$platform).await;
        }
    };
}
use conforms;
