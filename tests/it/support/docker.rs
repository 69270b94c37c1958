//! Real container engines, one of each kind for the whole test binary, with an image that holds busybox.
//!
//! Docker has a bridge of its own and leaves the firewall alone, so several may run on one host. A keeper
//! (a shell that hears of our death by the kernel's parent-death signal) ends the engine and removes its
//! folder when this process ends, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Holds `/bin/busybox` and nothing else.
const IMAGE: &str = "localhost/anteroom-test:1";
const ENGINE_UP_WITHIN: Duration = Duration::from_secs(60);
/// An engine is done with what it was at within this time.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

/// Which engine it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Podman,
}

/// A running engine.
pub(crate) struct Engine {
    pub(crate) kind: Kind,
    pub(crate) socket: PathBuf,
    /// Arguments that every container needs here.
    create: &'static [&'static str],
}

/// Docker, started on first use.
pub(crate) fn docker() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let number = std::process::id() % 250;
        let bridge = format!("ante{}", std::process::id());
        let network = format!(
            "ip link add {bridge} type bridge; ip addr add 10.213.{number}.1/24 dev {bridge}; ip link set {bridge} up"
        );
        let engine = format!(
            "dockerd --data-root $dir/data --exec-root $dir/exec --pidfile $dir/pid -H unix://$dir/engine.sock \
             --bridge {bridge} --iptables=false --ip6tables=false --ip-masq=false"
        );
        let create = &["--stop-signal=KILL"];
        let after = format!("(ip link del {bridge}; ip link del {bridge}s)");
        Engine::start(Kind::Docker, &network, &engine, &after, create)
    })
}

/// Podman, started on first use. Its containers use the host's network.
pub(crate) fn podman() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let podman = "podman --root $dir/data --runroot $dir/run --tmpdir $dir/tmp \
                      --runtime /usr/sbin/runc --cgroup-manager=cgroupfs --events-backend=file";
        let engine = format!("{podman} system service -t 0 unix://$dir/engine.sock");
        // Its containers outlive it, and so does the mount it makes of its storage.
        let after = format!("({podman} rm -f -a; umount $dir/data/overlay)");
        let create = &[
            "--stop-signal=KILL",
            "--network=host",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
        ];
        Engine::start(Kind::Podman, ":", &engine, &after, create)
    })
}

impl Engine {
    fn start(
        kind: Kind,
        before: &str,
        engine: &str,
        after: &str,
        create: &'static [&'static str],
    ) -> Engine {
        let folder = tempfile::tempdir().expect("a folder for the engine").keep();
        let dir = folder.display();
        let keeper = format!(
            "dir={dir}; {before}; {engine} >$dir/log 2>&1 & engine=$!; \
             trap 'kill $engine' TERM; wait $engine; trap '' TERM; wait $engine; {after} >/dev/null 2>&1; \
             rm -rf --one-file-system $dir"
        );
        // The signal comes when the thread that spawned ends, so this one never does.
        std::thread::spawn(move || {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM", "sh", "-c", &keeper]);
            command.stdin(Stdio::null());
            let mut child = command.spawn().expect("setpriv is there");
            let _ = child.wait();
            loop {
                std::thread::park();
            }
        });
        let socket = folder.join("engine.sock");
        let engine = Engine {
            kind,
            socket,
            create,
        };
        let deadline = Instant::now() + ENGINE_UP_WITHIN;
        while !engine.try_cli(&["version"]).status.success() {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "the engine did not come up:\n{}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        engine.make_image(&folder);
        engine
    }

    fn make_image(&self, folder: &Path) {
        let root = folder.join("image/bin");
        std::fs::create_dir_all(&root).expect("a folder for the image");
        let busybox = Command::new("sh")
            .args(["-c", "command -v busybox"])
            .output();
        let busybox = String::from_utf8(busybox.expect("sh runs").stdout).expect("a path");
        std::fs::copy(busybox.trim(), root.join("busybox")).expect("busybox-static is installed");
        let archive = folder.join("image.tar");
        let tar = Command::new("tar")
            .args([
                "-C".as_ref(),
                folder.join("image").as_os_str(),
                "-cf".as_ref(),
            ])
            .args([archive.as_os_str(), ".".as_ref()])
            .status();
        assert!(tar.expect("tar runs").success());
        self.cli(&["import", &archive.to_string_lossy(), IMAGE]);
    }

    fn try_cli(&self, arguments: &[&str]) -> Output {
        let endpoint = format!("unix://{}", self.socket.display());
        let mut command = Command::new("docker");
        command.args(["-H", &endpoint]).args(arguments);
        command.output().expect("docker.io is installed")
    }

    /// Runs the Docker client against this engine; it must succeed. Its output, trimmed. A list in which a container was
    /// removed while it was made is asked for again: Podman fails it as a whole
    /// (<https://github.com/podman-container-tools/podman/issues/11810>).
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let torn = |done: &Output| {
            let said = String::from_utf8_lossy(&done.stderr).to_ascii_lowercase();
            arguments[0] == "ps" && !done.status.success() && said.contains("no such container")
        };
        let mut done = self.try_cli(arguments);
        while torn(&done) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            done = self.try_cli(arguments);
        }
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// Makes a container that is not started, and returns its name.
    pub(crate) fn create(&self, options: &[&str], command: &[&str]) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = format!("app-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let named = options.iter().position(|option| *option == "--name");
        let name = named.map_or(number, |at| options[at + 1].to_owned());
        let mut arguments = vec!["create", "--name", &name];
        let network = |option: &&&str| option.starts_with("--network");
        let own = options.iter().any(|option| network(&option));
        let usual = self
            .create
            .iter()
            .filter(|option| !(own && network(option)));
        arguments.extend(usual.chain(options));
        arguments.push(IMAGE);
        arguments.extend(command);
        self.cli(&arguments);
        name
    }

    /// Makes a second network, for Docker, and returns its name.
    pub(crate) fn second_network(&self) -> String {
        let number = std::process::id() % 250;
        let subnet = format!("--subnet=10.214.{number}.0/24");
        let bridge = format!("ante{}s", std::process::id());
        let bridge = format!("com.docker.network.bridge.name={bridge}");
        self.cli(&["network", "create", &subnet, "-o", &bridge, "side"]);
        "side".to_owned()
    }

    /// Removes a container, running or not; one that is gone already is well. An engine that is still at work on it refuses
    /// at first.
    pub(crate) fn remove(&self, name: &str) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        while !self.try_cli(&["rm", "-f", name]).status.success() && Instant::now() < deadline {
            if !self.try_cli(&["inspect", name]).status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes one that serves HTTP on this port of its own network.
    pub(crate) fn create_app(&self, port: u16, options: &[&str]) -> String {
        let port = port.to_string();
        self.create(options, &["/bin/busybox", "httpd", "-f", "-p", &port])
    }
}
