//! Starts the real binary, reads its log as events, and talks to its admin listener.

use std::net::SocketAddr;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::ports::free_port;
use super::wait::LOOK_EVERY;

/// A running Anteroom.
pub(crate) struct Anteroom {
    child: Child,
    pub(crate) config: PathBuf,
    pub(crate) room: SocketAddr,
    pub(crate) admin: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    grown: watch::Receiver<usize>,
    http: reqwest::Client,
}

/// Why a service does not come to a phase is in the log of the room that leads it, which may be another than was asked:
/// a test that fails shows what all its rooms said.
impl Drop for Anteroom {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the room at {} said:\n{}", self.room, self.whole_log());
        }
    }
}

/// The binary under test.
pub(crate) fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_anteroom")
}

impl Anteroom {
    /// Writes `services` behind a server and an admin section and starts the binary with that file.
    pub(crate) async fn start(dir: &Path, services: &str) -> Anteroom {
        Anteroom::start_at(dir, services, free_port(), free_port()).await
    }

    /// The same on given ports, for whoever must know them before.
    pub(crate) async fn start_at(dir: &Path, services: &str, room: u16, admin: u16) -> Anteroom {
        let store = format!("file:{}", dir.join("anteroom.db").display());
        Anteroom::start_on(dir, &store, services, room, admin).await
    }

    /// The same on this store.
    pub(crate) async fn start_on(
        dir: &Path,
        store: &str,
        services: &str,
        room: u16,
        admin: u16,
    ) -> Anteroom {
        let config = dir.join("anteroom.toml");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:{room}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [store]\nurl = \"{store}\"\n{services}"
        );
        std::fs::write(&config, text).expect("the directory is ours");
        Anteroom::run(config, room, admin).await
    }

    /// Starts the binary again on the same file; the earlier one must have ended.
    pub(crate) async fn again(self) -> Anteroom {
        Anteroom::run(self.config.clone(), self.room.port(), self.admin.port()).await
    }

    /// The same with this file, whatever it says beside these ports.
    pub(crate) async fn run(config: PathBuf, room: u16, admin: u16) -> Anteroom {
        let mut child = Command::new(binary())
            .args(["run", "-c"])
            .arg(&config)
            .env("RUST_LOG", "anteroom=debug,warn")
            // What a provider keeps there ends with the test.
            .env("XDG_RUNTIME_DIR", config.parent().expect("it is a file"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let stderr = child.stderr.take().expect("it is piped");
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (grow, grown) = watch::channel(0);
        let written = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut reader = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                if std::env::var_os("ANTEROOM_TEST_LOG").is_some() {
                    eprintln!("{line}");
                }
                let mut lines = written.lock().expect("no test panics while it logs");
                lines.push(line);
                grow.send_replace(lines.len());
            }
        });
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let http = anteroom::telemetry::http_client()
            .no_proxy()
            .build()
            .expect("a client without options");
        let (room, admin) = (address(room), address(admin));
        let anteroom = Anteroom {
            child,
            config,
            room,
            admin,
            lines,
            grown,
            http,
        };
        anteroom.log("listening", Duration::from_secs(10)).await;
        anteroom
    }

    /// Waits until a log line holds this text, from the beginning of the log; returns the line.
    pub(crate) async fn log(&self, text: &str, within: Duration) -> String {
        self.log_after(0, text, within).await
    }

    /// The number of log lines so far, to wait for something after it.
    pub(crate) fn mark(&self) -> usize {
        self.lines
            .lock()
            .expect("no test panics while it logs")
            .len()
    }

    /// Waits until a log line after `mark` holds this text.
    pub(crate) async fn log_after(&self, mark: usize, text: &str, within: Duration) -> String {
        let mut grown = self.grown.clone();
        let find = async {
            loop {
                let found = {
                    let lines = self.lines.lock().expect("no test panics while it logs");
                    lines
                        .iter()
                        .skip(mark)
                        .find(|line| line.contains(text))
                        .cloned()
                };
                match found {
                    Some(line) => return line,
                    None if grown.changed().await.is_err() => panic!("it ended"),
                    None => {}
                }
            }
        };
        match timeout(within, find).await {
            Ok(line) => line,
            Err(_) => panic!("no line with {text:?} within {within:?}"),
        }
    }

    /// Everything it has said.
    pub(crate) fn whole_log(&self) -> String {
        self.lines
            .lock()
            .expect("no test panics while it logs")
            .join("\n")
    }

    /// One call to the admin listener.
    pub(crate) async fn admin(&self, method: reqwest::Method, path: &str) -> Value {
        let url = format!("http://{}/api/v1/services{path}", self.admin);
        let answer = self
            .http
            .request(method, url)
            .send()
            .await
            .expect("the admin listener answers");
        answer.json().await.expect("it answers JSON")
    }

    /// The service's view.
    pub(crate) async fn view(&self, service: &str) -> Value {
        self.admin(reqwest::Method::GET, &format!("/{service}"))
            .await
    }

    /// Gives a command to a service.
    pub(crate) async fn command(&self, service: &str, verb: &str) -> Value {
        self.admin(reqwest::Method::POST, &format!("/{service}/{verb}"))
            .await
    }

    /// Waits until the service is in this phase; fails the test, naming its line and showing the service, when the
    /// deadline passes first.
    #[track_caller]
    pub(crate) fn phase(
        &self,
        service: &str,
        phase: &str,
        within: Duration,
    ) -> impl Future<Output = ()> {
        let asked_at = Location::caller();
        async move {
            let mut seen = Value::Null;
            let shown = async {
                while seen["phase"] != phase {
                    tokio::time::sleep(LOOK_EVERY).await;
                    seen = self.view(service).await;
                }
            };
            if timeout(within, shown).await.is_err() {
                let path = format!("/{service}/why");
                let why = self.admin(reqwest::Method::GET, &path);
                let why = timeout(Duration::from_secs(5), why).await;
                panic!(
                    "{asked_at}: the room at {} does not show {phase} within {within:?}, but {seen}: {why:?}",
                    self.room
                );
            }
        }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Ends it the hard way.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it runs");
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.id().cast_signed()).expect("a process id");
        rustix::process::kill_process(id, signal).expect("it is ours");
    }

    /// Asks it to end, and waits.
    pub(crate) async fn terminate(&mut self, within: Duration) -> std::process::ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        timeout(within, self.child.wait())
            .await
            .expect("it ends in time")
            .expect("it can be waited for")
    }
}
