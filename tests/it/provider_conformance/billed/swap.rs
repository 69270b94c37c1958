//! A sleep that is a snapshot: whatever is cut off where, there is one machine or one good snapshot of it, with what was
//! written last, and never two machines.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::Provider;
use futures_util::StreamExt;
use futures_util::stream;

use super::super::{SEED, TOKEN as CALL, digitalocean, hetzner, state};
use super::{ID, POLL, Rented, Wanted};
use crate::support::billed::{All, MOMENTS, Manner, Moment, TOKEN};
use crate::support::wait::eventually;

/// A machine that was asked for appears this late at most. Moments are whole seconds, so two are one at least.
pub(in super::super) const SETTLES: Duration = Duration::from_secs(2);

/// So late the list tells what is: later than whoever comes after a crash asks first.
const LAGS: Duration = Duration::from_millis(700);

/// Longer than any call here takes.
const LONG: Duration = Duration::from_secs(60);

/// So many houses stand at a time.
const AT_A_TIME: usize = 48;

/// Set for the child alone: kind, address and what it is to do.
const CHILD: &str = "ANTEROOM_TEST_CHILD_SWAP";

/// Its list lags, its orders take a few looks.
fn manner() -> Manner {
    Manner {
        takes: POLL * 2,
        list_lags: LAGS,
        tells_locked: true,
        ..Manner::default()
    }
}

fn wanted(base_url: String, mark: &str) -> Wanted {
    Wanted {
        base_url,
        token: TOKEN.into(),
        id: 0,
        public: false,
        stop_timeout: Duration::from_secs(20),
        poll: POLL,
        mark: Some(mark.into()),
    }
}

fn provider(it: &Rented) -> Arc<dyn Provider> {
    (it.build)(wanted(it.world.url(), it.mark))
}

/// A cloud with one machine that runs and on which 7 is written.
async fn awake(build: fn() -> Rented) -> Rented {
    let it = build().like(manner());
    it.world.mark(ID, it.mark);
    seen_by_lists(&it).await;
    start(&it).await;
    it.world.write(7);
    it
}

/// The list has caught up.
async fn seen_by_lists(it: &Rented) {
    let count = it.world.all().servers.len();
    eventually(LONG, async || {
        let listed = it.world.all().listed();
        let marked = listed.values().filter(|it| !it.marks.is_empty());
        marked.count() == count
    })
    .await;
}

/// Starts as the engine does: what passes by itself is asked again.
async fn start(it: &Rented) {
    done(it, async |provider| {
        provider.start(SEED, CALL).await.map(|it| it.state)
    })
    .await;
    let provider = provider(it);
    eventually(LONG, async || {
        state(&*provider).await == MachineState::Running
    })
    .await;
    assert_eq!(it.world.running(), 1);
}

async fn stop(it: &Rented) {
    done(it, async |provider| {
        provider.stop(SEED, CALL).await.map(|it| it.state)
    })
    .await;
    assert_eq!(it.world.running(), 0);
}

async fn done(
    it: &Rented,
    call: impl AsyncFn(&dyn Provider) -> Result<MachineState, anteroom::engine::machine::Trouble>,
) {
    let provider = provider(it);
    for _ in 0..5 {
        match call(&*provider).await {
            Ok(_) => return,
            Err(trouble) => assert!(trouble.class.passes_by_itself(), "{trouble}"),
        }
    }
    panic!("it does not come to an end");
}

/// The app answers; what could not be deleted is asked for again.
async fn woke(it: &Rented) {
    done(it, async |provider| {
        provider.woke(SEED).await.map(|()| MachineState::Running)
    })
    .await;
}

/// From here on a sleep and a wake keep what is written: no older snapshot comes back.
async fn lives_on(it: &Rented) {
    let (machines, _) = it.world.written();
    assert_eq!(machines, [7], "one machine, and nothing lost");
    it.world.write(8);
    stop(it).await;
    let (machines, snapshots) = it.world.written();
    assert_eq!(machines, Vec::<u64>::new());
    assert!(snapshots.contains(&8), "{snapshots:?}");
    start(it).await;
    assert_eq!(it.world.written().0, [8]);
    woke(it).await;
    let (_, snapshots) = it.world.written();
    assert!(snapshots.contains(&8), "{snapshots:?}");
    assert!(snapshots.len() <= 2, "older ones stay: {snapshots:?}");
}

pub(in super::super) async fn what_was_written_is_there_after_each_sleep(build: fn() -> Rented) {
    let it = awake(build).await;
    let own = it.world.take(
        ID,
        "snapshot",
        "Nifty New Snapshot",
        std::collections::BTreeMap::new(),
    );
    assert!(own.is_ok(), "somebody takes one by hand");
    eventually(LONG, async || it.world.written().1 == [0]).await;
    for written in [1, 2, 3, 4] {
        it.world.write(written);
        stop(&it).await;
        assert_eq!(state(&*provider(&it)).await, MachineState::Stopped);
        let (machines, snapshots) = it.world.written();
        assert_eq!(machines, Vec::<u64>::new());
        let kept: Vec<u64> = [0]
            .into_iter()
            .chain(written.max(3) - 2..=written)
            .collect();
        assert_eq!(snapshots, kept, "by hand, the two before, the newest");
        // Asleep already.
        stop(&it).await;
        start(&it).await;
        assert_eq!(it.world.written().0, [written]);
        let server = it.world.all().servers.values().next().cloned();
        let server = server.expect("it is there");
        assert_eq!(server.marks, [it.mark]);
        assert_eq!(server.name, "blog");
        woke(&it).await;
        let kept: Vec<u64> = [0]
            .into_iter()
            .chain(written.max(2) - 1..=written)
            .collect();
        assert_eq!(it.world.written().1, kept, "the one before is enough");
    }
}

pub(in super::super) async fn the_last_good_snapshot_outlives_every_wake_in_vain(
    build: fn() -> Rented,
) {
    let it = awake(build).await;
    stop(&it).await;
    start(&it).await;
    woke(&it).await;
    // What was written last keeps the app from starting.
    for broken in [8, 9, 10] {
        it.world.write(broken);
        stop(&it).await;
        start(&it).await;
    }
    let (machines, snapshots) = it.world.written();
    assert_eq!((machines, snapshots), (vec![10], vec![7, 8, 9, 10]));
    // Somebody mends it.
    it.world.write(11);
    stop(&it).await;
    start(&it).await;
    assert_eq!(it.world.written().1, [7, 8, 9, 10, 11]);
    it.world.behave(Manner {
        keeps_snapshots: true,
        ..manner()
    });
    let trouble = provider(&it).woke(SEED).await.expect_err("they stay");
    assert!(trouble.detail.contains("stays"), "{trouble}");
    assert_eq!(it.world.written().1, [7, 8, 9, 10, 11]);
    it.world.behave(manner());
    woke(&it).await;
    assert_eq!(it.world.written().1, [10, 11]);
}

pub(in super::super) async fn a_machine_that_was_made_from_none_of_ours_proves_none_of_them(
    build: fn() -> Rented,
) {
    let it = awake(build).await;
    for written in [1, 2, 3] {
        it.world.write(written);
        stop(&it).await;
        start(&it).await;
    }
    let made = *it.world.all().servers.keys().next().expect("it is there");
    for image in [None, Some(77)] {
        let set = |all: &mut All| all.servers.get_mut(&made).map(|it| it.image = image);
        set(&mut it.world.all()).expect("it is there");
        woke(&it).await;
        assert_eq!(it.world.written().1, [1, 2, 3]);
    }
}

pub(in super::super) async fn nothing_is_destroyed_without_a_good_snapshot(build: fn() -> Rented) {
    let bad: [fn(&Rented, &mut Manner); 3] = [
        |_, it| it.empty_snapshots = true,
        |_, it| it.unready_snapshots = true,
        |rented, it| it.errs = Some(rented.take),
    ];
    for spoil in bad {
        let it = awake(build).await;
        let mut manner = manner();
        spoil(&it, &mut manner);
        it.world.behave(manner);
        let provider = provider(&it);
        let stop = provider.stop(SEED, CALL);
        let stopped = tokio::time::timeout(Duration::from_secs(2), stop).await;
        assert!(!matches!(stopped, Ok(Ok(_))), "{stopped:?}");
        let deletes = it.world.writes();
        let deletes = deletes.iter().filter(|call| call.starts_with("DELETE"));
        assert_eq!(deletes.count(), 0);
        assert_eq!(it.world.written().0, [7]);
        it.world.behave(self::manner());
        start(&it).await;
        lives_on(&it).await;
    }
}

pub(in super::super) async fn two_machines_of_one_mark_are_left_as_they_are(build: fn() -> Rented) {
    let it = awake(build).await;
    it.world.make(77, "10.128.0.3");
    it.world.mark(77, it.mark);
    seen_by_lists(&it).await;
    let before = it.world.orders();
    let provider = provider(&it);
    for refused in [
        provider.inspect(SEED).await,
        provider.start(SEED, CALL).await,
        provider.stop(SEED, CALL).await,
    ] {
        let trouble = refused.expect_err("which of them?");
        assert_eq!(trouble.class, ErrorClass::InvalidState);
        assert!(trouble.detail.contains("77"), "{trouble}");
    }
    assert_eq!(it.world.orders(), before);
}

pub(in super::super) async fn what_could_not_be_made_again_is_not_put_away(build: fn() -> Rented) {
    let it = awake(build).await;
    let volumes = vec![11];
    it.world
        .all()
        .servers
        .get_mut(&ID)
        .expect("it is there")
        .volumes = volumes;
    let before = it.world.orders();
    let trouble = provider(&it).stop(SEED, CALL).await.expect_err("a volume");
    assert_eq!(trouble.class, ErrorClass::BadRequest);
    assert!(trouble.detail.contains("volumes"), "{trouble}");
    assert_eq!(it.world.orders(), before);
    // Neither a machine nor a snapshot.
    let it = build().like(manner());
    let provider = provider(&it);
    assert_eq!(state(&*provider).await, MachineState::Missing);
    for refused in [
        provider.start(SEED, CALL).await,
        provider.stop(SEED, CALL).await,
    ] {
        assert_eq!(refused.map_err(|it| it.class), Err(ErrorClass::NotFound));
    }
}

pub(in super::super) async fn who_is_refused_a_machine_asks_again_at_once(build: fn() -> Rented) {
    let it = awake(build).await;
    stop(&it).await;
    it.world.behave(Manner {
        makes_nothing: Some((422, "creating this will exceed your droplet limit")),
        ..manner()
    });
    let trouble = provider(&it).start(SEED, CALL).await.expect_err("a limit");
    assert_eq!(trouble.class, ErrorClass::Quota, "{trouble}");
    it.world.behave(manner());
    let began = tokio::time::Instant::now();
    provider(&it).start(SEED, CALL).await.expect("it is made");
    assert!(began.elapsed() < SETTLES / 2, "nothing had to settle");
    start(&it).await;
    lives_on(&it).await;
}

/// What is cut off, and what is asked for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Stop,
    Start,
    Woke,
}

impl Deed {
    /// A house in which it is to be done.
    async fn prepare(self, build: fn() -> Rented) -> Rented {
        let it = awake(build).await;
        match self {
            Deed::Stop => {}
            Deed::Start => stop(&it).await,
            Deed::Woke => {
                for _ in 0..3 {
                    stop(&it).await;
                    start(&it).await;
                }
            }
        }
        it
    }

    async fn ask(self, provider: &dyn Provider) {
        match self {
            Deed::Stop => drop(provider.stop(SEED, CALL).await),
            Deed::Start => drop(provider.start(SEED, CALL).await),
            Deed::Woke => drop(provider.woke(SEED).await),
        }
    }

    /// After it was cut off: whoever comes next finds what there is.
    async fn recover(self, it: &Rented, next: Deed) {
        if next == Deed::Stop {
            stop(it).await;
        }
        let (machines, snapshots) = it.world.written();
        assert!(machines.len() <= 1, "two machines: {machines:?}");
        assert!(machines.iter().chain(&snapshots).any(|it| *it == 7), "lost");
        start(it).await;
        lives_on(it).await;
    }

    /// How many calls it makes when nothing cuts it off.
    async fn calls(self, build: fn() -> Rented) -> u32 {
        let it = self.prepare(build).await;
        let before = it.world.calls_in_all();
        self.ask(&*provider(&it)).await;
        it.world.calls_in_all() - before
    }
}

/// Cuts `deed` off at this call and moment; false when it was over before.
async fn dropped(
    build: fn() -> Rented,
    (deed, next): (Deed, Deed),
    at: u32,
    moment: Moment,
) -> bool {
    let it = deed.prepare(build).await;
    let mut sprung = it.world.trap(at, moment);
    let provider = provider(&it);
    let met = tokio::select! {
        met = sprung.wait_for(|sprung| *sprung) => met.is_ok(),
        () = deed.ask(&*provider) => false,
    };
    drop(provider);
    it.world.disarm();
    deed.recover(&it, next).await;
    met
}

pub(in super::super) async fn a_future_that_is_dropped_anywhere_loses_and_doubles_nothing(
    build: fn() -> Rented,
) {
    let mut cases = Vec::new();
    for deed in [Deed::Stop, Deed::Start, Deed::Woke] {
        for at in 0..deed.calls(build).await {
            // Whoever comes next asks for the one or for the other, by turns.
            let nexts = [Deed::Start, Deed::Stop].into_iter().cycle();
            let nexts = nexts.skip(usize::from(at % 2 == 1));
            let moments = MOMENTS.into_iter().zip(nexts);
            cases.extend(moments.map(|(moment, next)| ((deed, next), at, moment)));
        }
    }
    let count = cases.len();
    let cuts = stream::iter(cases)
        .map(|(deeds, at, moment)| dropped(build, deeds, at, moment))
        .buffer_unordered(AT_A_TIME);
    let met: usize = cuts.map(usize::from).collect::<Vec<_>>().await.iter().sum();
    // Looks at what is under way are now a few more, now a few less.
    assert!(met > count / 2, "{met} of {count} were cut off");
}

/// Not a test: the entry of the child that is killed. Without its variable it returns at once.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(order) = std::env::var(CHILD) else {
        return;
    };
    let words: Vec<&str> = order.split(' ').collect();
    let [mark, url, deed] = words[..] else {
        panic!("{order}");
    };
    let wanted = wanted(url.into(), mark);
    let provider = match mark.contains('=') {
        true => hetzner::build(wanted),
        false => digitalocean::build(wanted),
    };
    match deed {
        "Stop" => Deed::Stop.ask(&*provider).await,
        "Woke" => Deed::Woke.ask(&*provider).await,
        _ => Deed::Start.ask(&*provider).await,
    }
}

async fn killed(build: fn() -> Rented, deed: Deed, at: u32, moment: Moment) -> bool {
    let it = deed.prepare(build).await;
    let mut sprung = it.world.trap(at, moment);
    let name = module_path!()
        .split_once("::")
        .expect("a module of the binary")
        .1;
    let entry = format!("{name}::child_that_is_killed");
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("this binary"));
    child.args(["--exact", &entry, "--nocapture"]);
    child.env(CHILD, format!("{} {} {deed:?}", it.mark, it.world.url()));
    child
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = child.spawn().expect("it starts");
    let met = tokio::select! {
        met = sprung.wait_for(|sprung| *sprung) => met.is_ok(),
        ended = child.wait() => {
            assert!(ended.is_ok_and(|ended| ended.success()), "it did its deed");
            false
        }
    };
    // SIGKILL, and waited for.
    child.kill().await.expect("it is ours");
    it.world.disarm();
    deed.recover(&it, deed).await;
    met
}

pub(in super::super) async fn a_process_that_is_killed_anywhere_loses_and_doubles_nothing(
    build: fn() -> Rented,
) {
    let mut cases = Vec::new();
    for deed in [Deed::Stop, Deed::Start, Deed::Woke] {
        for at in 0..deed.calls(build).await {
            cases.extend(MOMENTS.map(|moment| (deed, at, moment)));
        }
    }
    let count = cases.len();
    let cuts = stream::iter(cases)
        .map(|(deed, at, moment)| killed(build, deed, at, moment))
        .buffer_unordered(AT_A_TIME);
    let met: usize = cuts.map(usize::from).collect::<Vec<_>>().await.iter().sum();
    assert!(met > count / 2, "{met} of {count} were killed");
}
