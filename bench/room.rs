//! Anteroom itself, as an operator runs it: the built program with a configuration file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client;
use crate::kit::{self, Process};
use crate::{Bench, peers};

/// A running Anteroom.
pub(crate) struct Room {
    pub(crate) process: Process,
    pub(crate) visitors: u16,
    admin: u16,
    log: PathBuf,
    /// Behind the process, so that they end after it: it would start them again.
    _apps: Apps,
}

/// Apps that were started. They outlive Anteroom by design, so they are ended by us.
struct Apps {
    stamps: Vec<PathBuf>,
}

/// A service whose app is this program's own `app`.
pub(crate) struct Service {
    pub(crate) name: String,
    stamps: PathBuf,
    toml: String,
}

impl Service {
    /// A service named `NAME`, found at `NAME.test`; its app boots for `least_ms` and a part of `spread_ms`.
    pub(crate) fn new(
        bench: &Bench,
        name: &str,
        boot: (u64, u64),
        more: &str,
    ) -> anyhow::Result<Service> {
        let stamps = bench.work.path().join(format!("{name}.stamps"));
        let program = std::env::current_exe()?;
        let command = format!(
            "[{:?}, \"app\", \"{{port}}\", {stamps:?}, \"{}\", \"{}\"]",
            program, boot.0, boot.1
        );
        let port = kit::free_port()?;
        Ok(Service {
            toml: service_toml(name, port, &command, more),
            name: name.to_owned(),
            stamps,
        })
    }

    /// A service whose app listens already, at this port; what is started in its place does nothing.
    pub(crate) fn awake_at(bench: &Bench, name: &str, port: u16) -> anyhow::Result<Service> {
        let elsewhere = kit::free_port()?;
        let mut service = Service::new(bench, name, (0, 1), "")?;
        let program = std::env::current_exe()?;
        let command = format!(
            "[{program:?}, \"app\", \"{elsewhere}\", {:?}, \"0\", \"1\"]",
            service.stamps
        );
        let health = "health = { path = \"/small\" }";
        service.toml = service_toml(name, port, &command, health);
        Ok(service)
    }

    /// A service whose app listens already, at this port, and whose machine is a file: there while it runs. So that
    /// nothing takes long, and every room sees the same.
    pub(crate) fn switched(
        bench: &Bench,
        name: &str,
        port: u16,
        more: &str,
    ) -> anyhow::Result<Service> {
        let machine = bench.work.path().join(format!("{name}.machine"));
        let at = machine.display();
        let state = format!("if [ -e {at} ]; then echo running; else echo stopped; fi");
        let provider = format!(
            "kind = \"command\", start = [\"touch\", {machine:?}], stop = [\"rm\", \"-f\", {machine:?}], \
             state = [\"sh\", \"-c\", {state:?}], address = \"127.0.0.1:{port}\""
        );
        let stamps = bench.work.path().join(format!("{name}.stamps"));
        Ok(Service {
            toml: service_toml_with(name, port, &provider, more),
            name: name.to_owned(),
            stamps,
        })
    }

    /// Its host.
    pub(crate) fn host(&self) -> String {
        format!("{}.test", self.name)
    }

    /// How often its app was started.
    pub(crate) fn starts(&self) -> usize {
        self.lines("start ").len()
    }

    /// When its app began to listen the last time.
    pub(crate) fn listened_ns(&self) -> anyhow::Result<u128> {
        let last = self.lines("listen ").pop().context("it never listened")?;
        Ok(last.parse()?)
    }

    fn lines(&self, kind: &str) -> Vec<String> {
        stamp_lines(&self.stamps, kind)
    }
}

fn stamp_lines(stamps: &Path, kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(stamps).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix(kind))
        .map(str::to_owned)
        .collect()
}

/// The configuration of a service that is a process.
pub(crate) fn service_toml(name: &str, port: u16, command: &str, more: &str) -> String {
    let provider = format!("kind = \"process\", command = {command}");
    service_toml_with(name, port, &provider, more)
}

fn service_toml_with(name: &str, port: u16, provider: &str, more: &str) -> String {
    let ingress = if more.contains("ingress") {
        ""
    } else {
        "ingress = \"proxy\""
    };
    format!(
        "
[service.{name}]
hosts = [\"{name}.test\"]
port = {port}
{ingress}
provider = {{ {provider} }}
{more}
"
    )
}

impl Room {
    /// Starts Anteroom with these services and waits for its listener. `ports` are the visitors' and the
    /// admin's, for who must know them before.
    pub(crate) async fn start(
        bench: &Bench,
        name: &str,
        services: &[Service],
        more: &str,
    ) -> anyhow::Result<Room> {
        let (visitors, admin) = (kit::free_port()?, kit::free_port()?);
        Room::start_at(bench, name, services, more, (visitors, admin)).await
    }

    /// The same on this store.
    pub(crate) async fn start_on(
        bench: &Bench,
        name: &str,
        services: &[Service],
        store: &str,
    ) -> anyhow::Result<Room> {
        let ports = (kit::free_port()?, kit::free_port()?);
        Room::start_with(bench, name, services, store, "", ports).await
    }

    /// The same on given ports.
    pub(crate) async fn start_at(
        bench: &Bench,
        name: &str,
        services: &[Service],
        more: &str,
        ports: (u16, u16),
    ) -> anyhow::Result<Room> {
        Room::start_with(bench, name, services, "file:anteroom.db", more, ports).await
    }

    async fn start_with(
        bench: &Bench,
        name: &str,
        services: &[Service],
        store: &str,
        more: &str,
        (visitors, admin): (u16, u16),
    ) -> anyhow::Result<Room> {
        let dir = peers::place(bench, name)?;
        let file = dir.join("anteroom.toml");
        let services_toml: String = services
            .iter()
            .map(|service| service.toml.as_str())
            .collect();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{visitors}\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n\n\
             [store]\nurl = \"{store}\"\n\n{more}\n{services_toml}"
        );
        std::fs::write(&file, text)?;
        let log = dir.join("log");
        let mut command = Command::new(&bench.anteroom);
        command.args(["run".as_ref(), "-c".as_ref(), file.as_os_str()]);
        command.current_dir(&dir);
        let mut process = Process::start(&mut command, &log)?;
        if let Err(error) = kit::listening(&mut process, visitors).await {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(error.context(said));
        }
        let stamps = services
            .iter()
            .map(|service| service.stamps.clone())
            .collect();
        Ok(Room {
            process,
            visitors,
            admin,
            log,
            _apps: Apps { stamps },
        })
    }

    /// Gives a command, as `anteroom wake` and `anteroom sleep` do.
    pub(crate) async fn command(&self, service: &str, command: &str) -> anyhow::Result<()> {
        let request = format!(
            "POST /api/v1/services/{service}/{command} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
             Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}",
            self.admin
        );
        let answer = client::ask_once(kit::local(self.admin), &request).await?;
        ensure!(
            answer.status < 300,
            "{command} {service}: {}{}",
            answer.head,
            answer.text()
        );
        Ok(())
    }

    /// Its log, for an error.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a service is in this phase.
    pub(crate) async fn reaches(&self, service: &str, phase: &str) -> anyhow::Result<()> {
        let request = format!("GET /__anteroom/status HTTP/1.1\r\nHost: {service}.test\r\n\r\n");
        let wanted = format!("\"{phase}\"");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = client::ask_once(kit::local(self.visitors), &request).await?;
            if answer.text().contains(&wanted) {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "{service} is not {phase}: {}\n{}",
                answer.text(),
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Apps {
    fn drop(&mut self) {
        for stamps in &self.stamps {
            for pid in stamp_lines(stamps, "start ") {
                end_app(&pid, stamps);
            }
        }
    }
}

/// Ends an app that we had started, unless its number belongs to somebody else by now.
fn end_app(pid: &str, stamps: &Path) {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let ours = String::from_utf8_lossy(&command).contains(&*stamps.to_string_lossy());
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
    if let (true, Some(pid)) = (ours, pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
