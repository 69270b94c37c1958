//! What the providers share that keep a machine at a cloud which bills it while it is off: orders are followed to their
//! end, whatever happens to their answers. Each kind runs all of it over its own stand-in.

pub(super) mod swap;

use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState, Trouble};
use anteroom::engine::time::Span;
use anteroom::provider::Provider;

use super::{Platform, SEED, SOON, TOKEN as CALL, becomes, state};
use crate::support::billed::{Manner, TOKEN, World};
use crate::support::wait::eventually;

/// The machine of every test.
pub(super) const ID: u64 = 3_164_444;
/// Between two looks at an order.
const POLL: Duration = Duration::from_millis(5);
/// An order of some looks.
const TAKES: Duration = Duration::from_millis(60);

/// What a test wants of a provider.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) base_url: String,
    pub(super) token: String,
    pub(super) id: u64,
    pub(super) public: bool,
    pub(super) stop_timeout: Duration,
    pub(super) poll: Duration,
    /// Asleep it is a snapshot, under this mark.
    pub(super) mark: Option<String>,
}

/// A kind with its cloud.
pub(super) struct Rented {
    pub(super) world: World,
    pub(super) build: fn(Wanted) -> Arc<dyn Provider>,
    /// The names of the orders: on, shutdown, off.
    pub(super) words: [&'static str; 3],
    /// The list, and where an order goes, as calls of the cloud.
    pub(super) list: &'static str,
    pub(super) page_max: usize,
    pub(super) mark: &'static str,
    /// The order for a snapshot.
    pub(super) take: &'static str,
}

impl Rented {
    /// A cloud with one machine, behaving like this.
    pub(super) fn like(self, manner: Manner) -> Rented {
        self.world.make(ID, "10.128.0.2");
        self.world.behave(manner);
        self
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            base_url: self.world.url(),
            token: TOKEN.into(),
            id: ID,
            public: false,
            stop_timeout: Duration::from_secs(20),
            poll: POLL,
            mark: None,
        }
    }

    fn with(&self, change: impl Fn(&mut Wanted)) -> Arc<dyn Provider> {
        let mut wanted = self.wanted();
        change(&mut wanted);
        (self.build)(wanted)
    }
}

impl Platform for Rented {
    fn provider(&self) -> Arc<dyn Provider> {
        self.with(|_| {})
    }

    fn running(&self) -> usize {
        self.world.running()
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        Some(self.with(|it| it.id = 77))
    }
}

/// Slow orders, and a machine that says that it is locked meanwhile.
pub(super) fn slow() -> Manner {
    Manner {
        takes: TAKES,
        tells_locked: true,
        ..Manner::default()
    }
}

/// The cloud is never sure: it tells nothing while it works, tells late, and refuses what is so already.
pub(super) fn sly() -> Manner {
    Manner {
        takes: TAKES / 3,
        shows_after: TAKES,
        list_lags: TAKES,
        refuses_repeats: true,
        ..Manner::default()
    }
}

pub(super) fn forgetful() -> Manner {
    Manner {
        loses_answers: true,
        tells_locked: true,
        takes: TAKES / 3,
        ..Manner::default()
    }
}

pub(super) async fn an_order_is_followed_to_its_end(it: Rented) {
    let it = it.like(slow());
    let provider = it.provider();
    let up = provider.start(SEED, CALL).await.expect("it starts");
    assert_eq!(up.state, MachineState::Running);
    assert_eq!(up.address, "10.128.0.2:80".parse().ok());
    let down = provider.stop(SEED, CALL).await.expect("it stops");
    assert_eq!(down.state, MachineState::Stopped);
    assert_eq!(it.world.orders(), it.words[..2]);
    assert_eq!(it.with(|it| it.public = true).kind(), provider.kind());
}

pub(super) async fn a_machine_on_its_way_is_said_to_be(it: Rented) {
    let it = it.like(Manner {
        takes: SOON,
        ..slow()
    });
    let provider = it.provider();
    let began = tokio::time::timeout(10 * POLL, provider.start(SEED, CALL)).await;
    assert!(began.is_err(), "the order takes long");
    becomes(&*it.provider(), MachineState::Starting).await;
}

pub(super) async fn an_order_that_ends_in_an_error_is_a_trouble(it: Rented) {
    let it = it.like(slow());
    let provider = it.provider();
    it.world.behave(Manner {
        errs: Some(it.words[0]),
        ..slow()
    });
    let trouble = provider.start(SEED, CALL).await.expect_err("it errored");
    assert!(trouble.class.passes_by_itself(), "{trouble}");
    assert_eq!(state(&*provider).await, MachineState::Stopped);
    it.world.behave(slow());
    provider.start(SEED, CALL).await.expect("now it starts");
    // A shutdown that ends in an error is one that was not heeded.
    it.world.behave(Manner {
        errs: Some(it.words[1]),
        ..slow()
    });
    let short = it.with(|it| it.stop_timeout = Duration::from_millis(100));
    let down = short.stop(SEED, CALL).await.expect("by the switch");
    assert_eq!(down.state, MachineState::Stopped);
    let [on, shutdown, off] = it.words;
    assert_eq!(it.world.orders(), [on, on, shutdown, off]);
}

pub(super) async fn a_machine_that_does_not_shut_down_is_switched_off(it: Rented) {
    let it = it.like(Manner {
        ignores_shutdown: true,
        ..slow()
    });
    let provider = it.with(|it| it.stop_timeout = Duration::from_millis(300));
    provider.start(SEED, CALL).await.expect("it starts");
    let began = tokio::time::Instant::now();
    let down = provider.stop(SEED, CALL).await.expect("by the switch");
    assert_eq!(down.state, MachineState::Stopped);
    assert!(began.elapsed() >= Duration::from_millis(300), "not at once");
    assert_eq!(it.world.orders(), it.words);
}

pub(super) async fn fifty_services_read_one_list_and_wait_together_when_told_to(it: Rented) {
    let it = it.like(Manner::default());
    let count = it.page_max as u64 * 2 + 30;
    for id in 1..=count {
        it.world.make(id, "10.0.0.1");
    }
    let service = |id: u64| {
        it.with(|it| {
            it.id = id;
            it.poll = SOON;
        })
    };
    let services: Vec<_> = (count - 49..=count).map(service).collect();
    let looks = services.iter().map(|service| service.inspect(SEED));
    for machine in futures_util::future::join_all(looks).await {
        let machine = machine.map(|machine| machine.state);
        assert_eq!(machine, Ok(MachineState::Stopped));
    }
    assert_eq!(it.world.calls(it.list), 3, "its three pages");
    assert_eq!(it.world.calls_in_all(), 3);
    for tells in [true, false] {
        it.world.behave(Manner {
            rate_limited: Some((60, tells)),
            ..Manner::default()
        });
        // Another account for each way to be told.
        let services: Vec<_> = (1..5)
            .map(|id| {
                it.with(|it| {
                    it.id = id;
                    it.base_url += if tells { "" } else { "/." };
                })
            })
            .collect();
        let told = services[0].start(SEED, CALL).await.expect_err("too often");
        wait_of(&told, 58..=60);
        let before = it.world.calls_in_all();
        for service in &services {
            for refused in [
                service.start(SEED, CALL).await,
                service.stop(SEED, CALL).await,
            ] {
                wait_of(&refused.expect_err("it waits"), 50..=60);
            }
        }
        assert_eq!(it.world.calls_in_all(), before, "nobody asks meanwhile");
    }
}

fn wait_of(trouble: &Trouble, within: std::ops::RangeInclusive<u64>) {
    let ErrorClass::RateLimited(Some(wait)) = trouble.class else {
        panic!("{trouble}");
    };
    let (least, most) = (Span::secs(*within.start()), Span::secs(*within.end()));
    assert!((least..=most).contains(&wait), "{wait}: {trouble}");
}

pub(super) async fn who_has_no_call_left_makes_none(it: Rented) {
    let it = it.like(Manner {
        remaining: Some(0),
        ..Manner::default()
    });
    let provider = it.provider();
    let last = provider.inspect(SEED).await.expect("the last one");
    assert_eq!(last.state, MachineState::Stopped);
    let waits = provider.start(SEED, CALL).await.expect_err("none is left");
    wait_of(&waits, 50..=60);
    assert_eq!(it.world.calls_in_all(), 1);
}

pub(super) async fn each_refusal_has_its_class_and_tells_no_secret(it: Rented) {
    let it = it.like(Manner::default());
    for (provider, class) in [
        (
            it.with(|it| it.token = "stolen-token-1".into()),
            ErrorClass::Auth,
        ),
        (
            it.with(|it| it.base_url = "http://127.0.0.1:9".into()),
            ErrorClass::Transient,
        ),
    ] {
        for refused in [
            provider.inspect(SEED).await,
            provider.start(SEED, CALL).await,
            provider.stop(SEED, CALL).await,
        ] {
            let trouble = refused.expect_err("refused");
            assert_eq!(trouble.class, class, "{trouble}");
            assert!(!trouble.detail.contains("stolen"), "{trouble}");
        }
    }
    it.world.behave(Manner {
        broken: Some(502),
        ..Manner::default()
    });
    let trouble = it.provider().inspect(SEED).await.expect_err("broken");
    assert_eq!(trouble.class, ErrorClass::Transient);
}

pub(super) async fn the_public_address_is_there_too_and_a_deleted_machine_is_missing(it: Rented) {
    let it = it.like(Manner::default());
    let public = it.with(|it| it.public = true);
    let up = public.start(SEED, CALL).await.expect("it starts");
    assert_eq!(up.address, "203.0.113.7:80".parse().ok());
    it.world.delete(ID);
    let trouble = public.start(SEED, CALL).await.expect_err("it is gone");
    assert_eq!(trouble.class, ErrorClass::NotFound);
    eventually(SOON, async || {
        state(&*it.provider()).await == MachineState::Missing
    })
    .await;
}

/// The tests above and the common suite, for one kind.
macro_rules! keeps {
    ($rented:expr) => {
        mod at_once {
            use super::*;
            conforms!($rented.like(Default::default()));
        }
        mod slow {
            use super::*;
            conforms!($rented.like(billed::slow()));
        }
        mod sly {
            use super::*;
            conforms!($rented.like(billed::sly()));
        }
        mod that_loses_every_answer {
            use super::*;
            conforms!($rented.like(billed::forgetful()));
        }
        keeps!(@each $rented,
            an_order_is_followed_to_its_end
            a_machine_on_its_way_is_said_to_be
            an_order_that_ends_in_an_error_is_a_trouble
            a_machine_that_does_not_shut_down_is_switched_off
            fifty_services_read_one_list_and_wait_together_when_told_to
            who_has_no_call_left_makes_none
            each_refusal_has_its_class_and_tells_no_secret
            the_public_address_is_there_too_and_a_deleted_machine_is_missing);
        keeps!(@swaps || $rented,
            what_was_written_is_there_after_each_sleep
            the_last_good_snapshot_outlives_every_wake_in_vain
            a_machine_that_was_made_from_none_of_ours_proves_none_of_them
            nothing_is_destroyed_without_a_good_snapshot
            two_machines_of_one_mark_are_left_as_they_are
            what_could_not_be_made_again_is_not_put_away
            who_is_refused_a_machine_asks_again_at_once
            a_future_that_is_dropped_anywhere_loses_and_doubles_nothing
            a_process_that_is_killed_anywhere_loses_and_doubles_nothing);
    };
    (@each $rented:expr, $($name:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            billed::$name($rented).await;
        })*
    };
    (@swaps $build:expr, $($name:ident)*) => {
        mod as_a_snapshot {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                billed::swap::$name($build).await;
            })*
        }
    };
}
pub(super) use keeps;
