//! Virtual machines, at a real libvirt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::engine::policy::Sleep;
use anteroom::provider::Provider;
use anteroom::provider::libvirt::{AddressFrom, Libvirt, Settings};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Platform, SEED, SOON, TOKEN, conforms, is_down, is_up, state};
use crate::support::libvirt::{self, Guest, libvirt};
use crate::support::ports::free_port;
use crate::support::wait::eventually;

/// A guest on an emulated processor of a busy machine takes its time.
const BOOT: Duration = Duration::from_secs(120);

/// One domain at one libvirt.
struct Domain {
    libvirt: &'static libvirt::Libvirt,
    name: String,
    address: SocketAddr,
    stop_timeout: Duration,
}

impl Domain {
    fn of(name: &str, guest: Guest, stop_timeout: Duration) -> Domain {
        let libvirt = libvirt();
        let port = match guest {
            Guest::App(port) => port,
            Guest::Nothing => 9,
        };
        Domain {
            libvirt,
            name: libvirt.define(name, guest),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            stop_timeout,
        }
    }

    /// One with an app in it, which is given the time that it needs.
    fn app() -> Domain {
        Domain::of("app", Guest::App(free_port()), BOOT)
    }

    /// One that hears nothing.
    fn deaf() -> Domain {
        Domain::of("deaf", Guest::Nothing, Duration::from_secs(1))
    }

    fn settings(&self) -> Settings {
        Settings {
            virsh: "virsh".to_owned(),
            uri: self.libvirt.uri.clone(),
            domain: self.name.clone(),
            port: 80,
            address: AddressFrom::Fixed(self.address.to_string()),
            sleep: Sleep::Suspend,
            stop_timeout: self.stop_timeout,
        }
    }

    fn with(&self, change: impl FnOnce(&mut Settings)) -> Libvirt {
        let mut settings = self.settings();
        change(&mut settings);
        Libvirt::new(settings).expect("good settings")
    }

    /// Which boot of the guest serves at this address.
    async fn boot(&self) -> Option<String> {
        let asked = async {
            let mut stream = TcpStream::connect(self.address).await.ok()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            head.contains(" 200 ").then(|| body.trim().to_owned())
        };
        timeout(SOON, asked).await.ok()?
    }

    async fn serves(&self) -> String {
        eventually(BOOT, || async { self.boot().await.is_some() }).await;
        self.boot().await.expect("it serves")
    }
}

impl Platform for Domain {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.with(|_| {}))
    }

    fn running(&self) -> usize {
        let names = self.libvirt.virsh(&["list", "--name"]);
        names.lines().filter(|name| *name == self.name).count()
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(self.with(|settings| {
            settings.domain = "nobody".to_owned();
        })))
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        self.libvirt.remove(&self.name);
    }
}

conforms!(Domain::deaf(), #[ignore = "needs libvirt: run tests/run"]);

#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn a_woken_guest_serves_and_shuts_down_when_it_is_asked() {
    let domain = Domain::app();
    let provider = domain.provider();
    provider.start(SEED, TOKEN).await.expect("it starts");
    let machine = is_up(&domain, &*provider).await;
    assert_eq!(machine.address, Some(domain.address));
    let first = domain.serves().await;
    provider.stop(SEED, TOKEN).await.expect("it stops");
    is_down(&domain, &*provider).await;
    assert_eq!(domain.libvirt.state(&domain.name), "shut off (shutdown)");
    assert_eq!(domain.boot().await, None);
    provider.start(SEED, TOKEN).await.expect("it starts");
    assert_ne!(domain.serves().await, first, "it has booted anew");
}

#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn a_saved_guest_goes_on_where_it_was() {
    let domain = Domain::app();
    let provider = domain.provider();
    assert_eq!(provider.sleep(), Sleep::Suspend);
    provider.start(SEED, TOKEN).await.expect("it starts");
    let boot = domain.serves().await;
    for _ in 0..2 {
        let saved = provider.suspend(SEED, TOKEN).await.expect("it is saved");
        assert_eq!(
            (saved.state, saved.address),
            (MachineState::Suspended, None)
        );
    }
    assert_eq!(domain.running(), 0);
    let stopped = provider.stop(SEED, TOKEN).await.expect("off already");
    assert_eq!(stopped.state, MachineState::Suspended);
    provider.start(SEED, TOKEN).await.expect("it starts");
    is_up(&domain, &*provider).await;
    assert_eq!(domain.serves().await, boot, "it is the same boot");
    assert_eq!(domain.libvirt.state(&domain.name), "running (restored)");
}

#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn a_guest_that_does_not_listen_is_switched_off() {
    let domain = Domain::deaf();
    let provider = domain.provider();
    provider.start(SEED, TOKEN).await.expect("it starts");
    is_up(&domain, &*provider).await;
    let stopped = provider.stop(SEED, TOKEN).await.expect("it stops");
    assert_eq!(stopped.state, MachineState::Stopped);
    assert_eq!(domain.libvirt.state(&domain.name), "shut off (destroyed)");
}

#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn a_paused_domain_is_resumed_stopped_and_saved_to_run() {
    let domain = Domain::app();
    let provider = domain.provider();
    provider.start(SEED, TOKEN).await.expect("it starts");
    let boot = domain.serves().await;
    let pause = || domain.libvirt.virsh(&["suspend", "--domain", &domain.name]);
    pause();
    assert_eq!(state(&*provider).await, MachineState::Suspended);
    let resumed = provider.start(SEED, TOKEN).await.expect("it is resumed");
    assert_eq!(resumed.state, MachineState::Running);
    assert_eq!(domain.serves().await, boot);
    pause();
    provider.suspend(SEED, TOKEN).await.expect("it is saved");
    provider.start(SEED, TOKEN).await.expect("it starts");
    assert_eq!(domain.serves().await, boot, "it does not stay paused");
    pause();
    provider.stop(SEED, TOKEN).await.expect("it stops");
    assert_eq!(domain.libvirt.state(&domain.name), "shut off (shutdown)");
}

/// libvirt forgets then why a domain is off.
#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn a_saved_memory_and_a_running_guest_are_known_after_a_restart_of_libvirt() {
    let libvirt: &'static libvirt::Libvirt = Box::leak(Box::new(libvirt::Libvirt::start()));
    let made = |name| Domain {
        libvirt,
        name: libvirt.define(name, Guest::Nothing),
        address: SocketAddr::from(([127, 0, 0, 1], 9)),
        stop_timeout: SOON,
    };
    let (saved, runs, off) = (made("saved"), made("runs"), made("off"));
    for domain in [&saved, &runs] {
        let provider = domain.provider();
        provider.start(SEED, TOKEN).await.expect("it starts");
        is_up(domain, &*provider).await;
    }
    let provider = saved.provider();
    provider.suspend(SEED, TOKEN).await.expect("it is saved");
    libvirt.restart();
    assert_eq!(state(&*provider).await, MachineState::Suspended);
    assert_eq!(state(&*runs.provider()).await, MachineState::Running);
    assert_eq!(state(&*off.provider()).await, MachineState::Stopped);
    provider.start(SEED, TOKEN).await.expect("it starts");
    is_up(&saved, &*provider).await;
}

#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn an_address_comes_from_the_agent_when_it_runs() {
    let domain = Domain::app();
    let provider = domain.with(|settings| settings.address = AddressFrom::Agent);
    provider.start(SEED, TOKEN).await.expect("it starts");
    let known = || async {
        let machine = provider.inspect(SEED).await.expect("it can be read");
        assert_eq!(machine.state, MachineState::Running);
        machine.address.is_some()
    };
    eventually(BOOT, known).await;
    let machine = provider.inspect(SEED).await.expect("it can be read");
    assert_eq!(
        machine.address,
        Some(SocketAddr::from(([10, 0, 2, 15], 80)))
    );

    let deaf = Domain::deaf();
    deaf.provider().start(SEED, TOKEN).await.expect("it starts");
    let lease = deaf.with(|settings| settings.address = AddressFrom::Lease);
    let machine = lease.inspect(SEED).await.expect("it can be read");
    assert_eq!(machine.address, None, "there is none yet");
    let agent = deaf.with(|settings| settings.address = AddressFrom::Agent);
    let trouble = agent.inspect(SEED).await.expect_err("there will be none");
    assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
}

#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn a_name_is_no_shell_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let touched = folder.path().join("touched");
    let name = format!("a b; --x 'q' $(touch {0}); touch {0} &", touched.display());
    // A name holds no slash; the shell would find the file by another way.
    let name = name.replace('/', "$PWD");
    let domain = Domain::of(&name, Guest::Nothing, Duration::from_secs(1));
    let provider = domain.provider();
    provider.start(SEED, TOKEN).await.expect("it starts");
    is_up(&domain, &*provider).await;
    provider.stop(SEED, TOKEN).await.expect("it stops");
    is_down(&domain, &*provider).await;
    assert!(!touched.exists());
}

#[tokio::test]
#[ignore = "needs libvirt: run tests/run"]
async fn what_is_in_the_way_has_its_class() {
    let domain = Domain::deaf();
    let nowhere = domain.with(|settings| {
        settings.uri = "qemu:///session?socket=/nowhere/libvirt-sock".to_owned();
    });
    let refuses = domain.with(|settings| {
        settings.uri = format!("qemu+tcp://127.0.0.1:{}/system", free_port());
    });
    for provider in [nowhere, refuses] {
        for answer in [
            provider.inspect(SEED).await,
            provider.start(SEED, TOKEN).await,
        ] {
            let trouble = answer.expect_err("nobody there");
            assert_eq!(trouble.class, ErrorClass::Transient, "{trouble}");
        }
    }
    let no_such = domain.with(|settings| {
        settings.uri = settings.uri.replace("qemu:///", "toaster:///");
    });
    let no_virsh = domain.with(|settings| settings.virsh = "/nowhere/virsh".to_owned());
    for provider in [no_such, no_virsh] {
        let trouble = provider.inspect(SEED).await.expect_err("it can't work");
        assert_eq!(trouble.class, ErrorClass::BadRequest, "{trouble}");
    }
    let checkup = domain.provider().checkup().await;
    assert!(checkup.credential.is_ok() && checkup.what.contains(&domain.name));
}

#[test]
fn settings_that_can_never_work_are_refused() {
    let with = |change: fn(&mut Settings)| {
        let mut settings = Settings {
            virsh: "virsh".to_owned(),
            uri: "qemu:///system".to_owned(),
            domain: "media".to_owned(),
            port: 80,
            address: AddressFrom::Lease,
            sleep: Sleep::Stop,
            stop_timeout: SOON,
        };
        change(&mut settings);
        Libvirt::new(settings).is_ok()
    };
    assert!(with(|_| {}));
    assert!(with(|settings| settings.domain = "7up".to_owned()));
    assert!(!with(|settings| settings.domain = "7".to_owned()));
    assert!(!with(|settings| settings.domain = String::new()));
    assert!(!with(|settings| settings.domain = "a\nb".to_owned()));
    assert!(!with(|settings| settings.uri = String::new()));
}
