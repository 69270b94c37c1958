//! What the kinds with figures of their own tell of machines that are really busy and really idle, read by the signal that
//! is made of them.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anteroom::engine::id::InstanceId;
use anteroom::engine::load::Share;
use anteroom::engine::machine::ErrorClass;
use anteroom::engine::time::Time;
use anteroom::engine::traffic::Upstream;
use anteroom::provider::Provider;
use anteroom::signal::load::provider::OfProvider;
use anteroom::signal::load::{Lack, LoadSignal};

use super::clones::{deleted, id, made};
use super::docker::Container;
use super::process::App;
use super::{Platform, SEED, SOON, TOKEN};
use crate::support::docker::{Engine, docker, podman};
use crate::support::wait::eventually;

const NOW: Time = Time(1_795_248_000_000);

/// Over this long a quota is kept to a tenth.
const A_WHILE: Duration = Duration::from_secs(1);

/// Uses all of a processor that it gets.
const SPIN: &str = "while :; do :; done";

fn signal(provider: &Arc<dyn Provider>) -> OfProvider {
    let provider = Arc::clone(provider);
    let ask = move |instance| {
        let provider = Arc::clone(&provider);
        let usage = async move { provider.usage(instance).await };
        Box::pin(usage) as futures_util::future::BoxFuture<'static, _>
    };
    let service = "blog".parse().expect("a name");
    OfProvider::new(service, Duration::from_secs(15), Box::new(ask))
}

fn crew(instances: &[InstanceId]) -> Vec<Upstream> {
    let one = |instance: &InstanceId| Upstream {
        instance: *instance,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 80)),
    };
    instances.iter().map(one).collect()
}

/// Waits until all of them are within these bounds.
async fn all_are(provider: &Arc<dyn Provider>, instances: &[InstanceId], least: u64, most: u64) {
    let (signal, crew) = (signal(provider), crew(instances));
    let first = signal.measure(&crew, NOW).await;
    assert_eq!(first.samples, []);
    assert!(
        first.lacking.iter().all(|(_, why)| *why == Lack::First),
        "{first:?}"
    );
    let bounds = Share::percent(least)..=Share::percent(most);
    // A quota is kept over periods of 100 ms: what is measured over less is all or nothing.
    let since = Cell::new(Instant::now());
    eventually(SOON, async || {
        if since.get().elapsed() < A_WHILE {
            return false;
        }
        since.set(Instant::now());
        let measured = signal.measure(&crew, NOW).await;
        assert_eq!(measured.samples.len() + measured.lacking.len(), crew.len());
        let all = measured.samples.len() == crew.len();
        all && measured
            .samples
            .iter()
            .all(|it| it.at == NOW && bounds.contains(&it.busy))
    })
    .await;
}

async fn one_that_is_off_has_none(provider: &Arc<dyn Provider>) {
    let measured = signal(provider).measure(&crew(&[SEED]), NOW).await;
    assert!(
        matches!(&measured.lacking[..], [(SEED, Lack::NoAnswer(why))] if why.contains("not run")),
        "{measured:?}"
    );
    let trouble = provider.usage(SEED).await.expect_err("it is off");
    assert_eq!(trouble.class, ErrorClass::InvalidState, "{trouble}");
}

/// A container that runs this line, and its provider.
fn container(engine: &'static Engine, options: &[&str], line: &str) -> Container {
    let name = engine.create(options, &["/bin/busybox", "sh", "-c", line]);
    Container::of_name(engine, name)
}

/// A quarter of a processor is had on a machine that has other things to do, too.
async fn a_container_tells(engine: &'static Engine, quarter: &[&str], clones: bool) {
    let app = container(engine, quarter, SPIN);
    let busy = app.provider();
    one_that_is_off_has_none(&busy).await;
    busy.start(SEED, TOKEN).await.expect("it starts");
    all_are(&busy, &[SEED], 80, 100).await;
    let app = container(engine, quarter, "exec /bin/busybox sleep 1000");
    let idle = app.provider();
    idle.start(SEED, TOKEN).await.expect("it starts");
    all_are(&idle, &[SEED], 0, 5).await;
    idle.stop(SEED, TOKEN).await.expect("it stops");
    if clones {
        made(&*busy, id(1)).await;
        all_are(&busy, &[SEED, InstanceId::Clone(id(1))], 80, 100).await;
        deleted(&*busy, id(1)).await;
        let gone = busy.usage(InstanceId::Clone(id(1))).await;
        assert_eq!(gone.expect_err("it is gone").class, ErrorClass::NotFound);
    }
    busy.stop(SEED, TOKEN).await.expect("it stops");
}

#[tokio::test]
#[ignore = "needs docker.io: run tests/run"]
async fn docker_tells_how_busy_the_seed_and_its_clone_are() {
    a_container_tells(docker(), &["--cpus=0.25"], true).await;
}

/// Its clones would share the host's network here.
#[tokio::test]
#[ignore = "needs podman: run tests/run"]
async fn podman_tells_how_busy_a_container_is() {
    a_container_tells(podman(), &["--cpus=0.25"], false).await;
}

#[tokio::test]
async fn a_process_tells_how_busy_its_whole_group_is() {
    // Its work is done by a child; both may run on one processor alone.
    let line = format!("taskset -c -p 0 $$ >/dev/null; sh -c '{SPIN}' & wait");
    let app = App::shell(&line);
    let busy: Arc<dyn Provider> = Arc::new(app.process());
    one_that_is_off_has_none(&busy).await;
    busy.start(SEED, TOKEN).await.expect("it starts");
    // Other things run on that processor, too.
    all_are(&busy, &[SEED], 10, 100).await;
    eventually(SOON, async || {
        let usage = busy.usage(SEED).await.expect("it runs");
        usage.processors_milli == 1_000
    })
    .await;
    busy.stop(SEED, TOKEN).await.expect("it stops");
    let app = App::shell("exec sleep 1000");
    let idle: Arc<dyn Provider> = Arc::new(app.process());
    idle.start(SEED, TOKEN).await.expect("it starts");
    all_are(&idle, &[SEED], 0, 5).await;
    idle.stop(SEED, TOKEN).await.expect("it stops");
}

#[tokio::test]
async fn a_kind_without_figures_says_so() {
    let nobody = anteroom::provider::wol::Settings {
        service: "blog".parse().expect("a name"),
        mac: [2, 0, 0, 0, 0, 1],
        address: "127.0.0.1:9".to_owned(),
        broadcast: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
        password: Vec::new(),
        stop: vec!["true".to_owned()],
        stop_timeout: SOON,
        wake_timeout: SOON,
    };
    let wol = anteroom::provider::wol::Wol::new(nobody).expect("good settings");
    let trouble = wol.usage(SEED).await.expect_err("it has none");
    assert_eq!(trouble.class, ErrorClass::BadRequest);
    assert!(trouble.detail.contains("no figures"), "{trouble}");
}
