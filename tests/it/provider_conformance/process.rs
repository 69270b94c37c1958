//! A process on this host: who it is, who adopts it, and who is never signalled.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::id::InstanceId;
use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::Provider;
use anteroom::provider::mark::Mark;
use anteroom::provider::process::{Process, Settings};
use tempfile::TempDir;

use super::beside::{Shared, lives_beside};
use super::clones::{clones_conform, id};
use super::{Platform, SEED, SOON, TOKEN, becomes, conforms, is_down, is_up, state};
use crate::support::crash::{Left, Life};
use crate::support::ports::{free_port, free_ports};
use crate::support::wait::eventually;

/// A web server, with its records in a folder of its own.
pub(super) struct App {
    folder: TempDir,
    port: u16,
    command: Vec<String>,
    stop_timeout: Duration,
}

fn settings(folder: &Path, port: u16, command: &[String], stop_timeout: Duration) -> Settings {
    Settings {
        service: "blog".parse().expect("a name"),
        command: command.to_vec(),
        port,
        cwd: None,
        env: BTreeMap::from([("APP_PORT".to_owned(), "{port}".to_owned())]),
        stop_timeout,
        state_dir: folder.join("state"),
    }
}

impl App {
    /// The app is this test binary, which is there wherever the tests are.
    fn new() -> App {
        App::of(&App::line(&[]))
    }

    /// A shell line in which `"$0" "$@"` is the app.
    pub(super) fn shell(line: &str) -> App {
        App::of(&App::line(&["sh", "-c", line]))
    }

    fn line(before: &[&str]) -> Vec<String> {
        let binary = std::env::current_exe().expect("the test binary");
        let name = "provider_conformance::process::the_app";
        let app = ["--exact", name, "--ignored", "127.0.0.1:{port}"].map(str::to_owned);
        let before = before.iter().map(|word| (*word).to_owned());
        before
            .chain([binary.to_string_lossy().into_owned()])
            .chain(app)
            .collect()
    }

    fn of(command: &[String]) -> App {
        App {
            folder: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            command: command.to_vec(),
            stop_timeout: SOON,
        }
    }

    /// One with ports after its own that no other test takes.
    fn to_clone() -> App {
        let mut app = App::new();
        app.port = free_ports(32);
        app
    }

    pub(super) fn process(&self) -> Process {
        let folder = self.folder.path();
        let settings = settings(folder, self.port, &self.command, self.stop_timeout);
        Process::new(settings).expect("good settings")
    }

    fn file(&self, ending: &str) -> std::path::PathBuf {
        let state = self.folder.path().join("state");
        state.join(format!("blog.seed.{ending}"))
    }

    /// The pids of everything that listens, or did, on our port: it stands in the command line.
    fn pids(&self) -> Vec<u32> {
        let port = format!("127.0.0.1:{}", self.port);
        let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&port)
        };
        pids.filter(ours).collect()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // A test that failed halfway leaves nothing behind.
        for pid in self.pids() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

impl Left for App {
    fn clones(&self) -> Vec<String> {
        let state = self.folder.path().join("state");
        let mark = Mark::new(
            &"blog".parse().expect("a name"),
            "process",
            &state.to_string_lossy(),
        );
        let files = std::fs::read_dir(state).into_iter().flatten().flatten();
        let name = |file: std::fs::DirEntry| {
            let name = file.file_name().into_string().ok()?;
            let clone = name.strip_prefix("blog.")?.strip_suffix(".clone")?;
            Some(mark.name(clone.parse().ok()?))
        };
        files.filter_map(name).collect()
    }

    fn addresses(&self) -> usize {
        0
    }

    fn seed_is_untouched(&self) -> bool {
        self.pids().len() <= 1
    }
}

impl Shared for App {
    fn other(&self) -> Arc<dyn Provider> {
        let folder = self.folder.path();
        let mut settings = settings(folder, self.port, &self.command, self.stop_timeout);
        settings.service = "other".parse().expect("a name");
        Arc::new(Process::new(settings).expect("good settings"))
    }
}

impl Platform for App {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::new(self.process())
    }

    fn running(&self) -> usize {
        self.pids().len()
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        None
    }
}

/// What the provider runs: it listens and answers nobody.
#[test]
#[ignore = "the app of the other tests here"]
fn the_app() {
    if let Ok(port) = std::env::var("APP_PORT") {
        let port: u16 = port.parse().expect("a port");
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("free");
        listener.incoming().for_each(drop);
    }
}

conforms!(App::new());

mod clones {
    use super::{App, clones_conform, lives_beside};
    clones_conform!(App::to_clone());
    lives_beside!(App::to_clone());
}

/// Whatever became of what was written down, nothing of a clone that was deleted runs.
#[tokio::test]
async fn a_clone_whose_port_was_forgotten_is_ended() {
    let app = App::to_clone();
    let provider = app.process();
    provider.make_clone(id(1)).await.expect("it is made");
    let clone = InstanceId::Clone(id(1));
    let started = provider.start(clone, TOKEN).await.expect("it starts");
    let address = started.address.expect("an address");
    let answers = || async { tokio::net::TcpStream::connect(address).await.is_ok() };
    eventually(SOON, answers).await;
    let file = format!("blog.{}.clone", id(1));
    std::fs::remove_file(app.folder.path().join("state").join(file)).expect("it is there");
    let found = app.process().inspect(clone).await.expect("it can be read");
    assert_eq!(found.state, MachineState::Missing);
    app.process().delete(id(1)).await.expect("it is deleted");
    eventually(SOON, || async { !answers().await }).await;
}

#[tokio::test]
async fn what_is_not_told_its_port_has_no_clones() {
    let app = App::new();
    let mut settings = settings(app.folder.path(), app.port, &["sh".to_owned()], SOON);
    assert!(
        Process::new(settings.clone())
            .expect("good settings")
            .can_clone()
    );
    settings.env.clear();
    let process = Process::new(settings).expect("good settings");
    assert!(!process.can_clone());
    assert_eq!(process.checkup().await.warnings.len(), 1);
}

#[tokio::test]
async fn the_app_answers_where_the_provider_says() {
    let app = App::new();
    let provider = app.process();
    let machine = provider.start(SEED, TOKEN).await.expect("it starts");
    let address = machine.address.expect("an address");
    let answers = || async { tokio::net::TcpStream::connect(address).await.is_ok() };
    eventually(SOON, answers).await;
    provider.stop(SEED, TOKEN).await.expect("it stops");
    assert!(!answers().await);
}

#[tokio::test]
async fn a_clone_is_not_known() {
    let provider = App::new().process();
    let clone = super::clone(1);
    let found = provider.inspect(clone).await.expect("not an error");
    assert_eq!(found.state, MachineState::Missing);
    let trouble = provider.start(clone, TOKEN).await.map_err(|t| t.class);
    assert_eq!(trouble, Err(ErrorClass::NotFound));
}

#[tokio::test]
async fn two_anterooms_on_one_folder_start_one_process() {
    let app = App::new();
    let (one, two) = (app.process(), app.process());
    let (a, b) = tokio::join!(one.start(SEED, TOKEN), two.start(SEED, TOKEN));
    a.and(b).expect("both are successes");
    is_up(&app, &two).await;
    two.stop(SEED, TOKEN).await.expect("it stops");
    is_down(&app, &one).await;
}

#[tokio::test]
async fn a_process_without_its_record_is_adopted() {
    let app = App::new();
    app.process().start(SEED, TOKEN).await.expect("it starts");
    let pids = app.pids();
    for spoil in ["", "{\"pid\":1", "{}"] {
        std::fs::write(app.file("pid"), spoil).expect("writable");
        let after = app.process();
        is_up(&app, &after).await;
        std::fs::remove_file(app.file("pid")).expect("there");
        after.start(SEED, TOKEN).await.expect("it is adopted");
        assert_eq!(app.pids(), pids);
        assert!(app.file("pid").exists(), "its record is there again");
    }
    app.process().stop(SEED, TOKEN).await.expect("it stops");
    is_down(&app, &app.process()).await;
}

/// What the next test runs as a process of its own: an Anteroom that starts the app and then hangs.
#[tokio::test]
#[ignore = "the other half of an_anteroom_that_is_killed_leaves_its_process_to_the_next"]
async fn another_anteroom() {
    let Ok(folder) = std::env::var("ANOTHER_FOLDER") else {
        return;
    };
    let port = std::env::var("ANOTHER_PORT").expect("given");
    let port = port.parse().expect("a port");
    let settings = settings(Path::new(&folder), port, &App::line(&[]), SOON);
    let process = Process::new(settings).expect("good settings");
    process.start(SEED, TOKEN).await.expect("it starts");
    std::fs::write(Path::new(&folder).join("started"), "").expect("writable");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn an_anteroom_that_is_killed_leaves_its_process_to_the_next() {
    for record_is_written in [true, false] {
        let app = App::new();
        let folder = app.folder.path();
        if !record_is_written {
            // As if it was killed between the spawn and the record: the record's draft cannot be written.
            std::fs::create_dir_all(app.file("pid.new")).expect("writable");
        }
        let name = "provider_conformance::process::another_anteroom";
        let mut other = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", name, "--ignored"])
            .env("ANOTHER_FOLDER", folder)
            .env("ANOTHER_PORT", app.port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        eventually(SOON, || async { folder.join("started").exists() }).await;
        other.kill().expect("kill -9");
        other.wait().expect("it is gone");
        assert_eq!(app.file("pid").exists(), record_is_written);

        if !record_is_written {
            std::fs::remove_dir(app.file("pid.new")).expect("there");
        }
        let pids = app.pids();
        let next = app.process();
        is_up(&app, &next).await;
        next.start(SEED, TOKEN).await.expect("it is adopted");
        assert_eq!(app.pids(), pids);
        next.stop(SEED, TOKEN).await.expect("it stops");
        is_down(&app, &next).await;
    }
}

#[tokio::test]
async fn a_stranger_that_got_the_pid_is_never_signalled() {
    let app = App::new();
    let mut stranger = Command::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    app.process().start(SEED, TOKEN).await.expect("it starts");
    let record = std::fs::read_to_string(app.file("pid")).expect("a record");
    app.process().stop(SEED, TOKEN).await.expect("it stops");

    let mut record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    record["pid"] = stranger.id().into();
    // Both may have started within one tick, which reuse of a pid cannot.
    let ticks = record["started_ticks"].as_u64().expect("ticks");
    record["started_ticks"] = (ticks + 1).into();
    std::fs::write(app.file("pid"), record.to_string()).expect("writable");
    let provider = app.process();
    assert_eq!(state(&provider).await, MachineState::Stopped);
    provider.stop(SEED, TOKEN).await.expect("off already");
    provider.start(SEED, TOKEN).await.expect("it starts");
    provider.stop(SEED, TOKEN).await.expect("it stops");
    assert!(stranger.try_wait().expect("our child").is_none());
    stranger.kill().expect("our child");
    stranger.wait().expect("it is gone");
}

#[tokio::test]
async fn a_process_that_refuses_to_end_is_killed() {
    // An ignored signal stays ignored across exec.
    let mut app = App::shell("trap '' TERM; exec \"$0\" \"$@\"");
    app.stop_timeout = Duration::from_millis(200);
    let provider = app.process();
    provider.start(SEED, TOKEN).await.expect("it starts");
    let ignores = || async {
        let status = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status"));
        let pids = app.pids();
        let text = pids
            .first()
            .map(status)
            .and_then(Result::ok)
            .unwrap_or_default();
        let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .is_some_and(|mask| mask & (1 << 14) != 0)
    };
    eventually(SOON, ignores).await;
    let stopping = provider.stop(SEED, TOKEN);
    let seen = async {
        becomes(&provider, MachineState::Stopping).await;
    };
    let (stopped, ()) = tokio::join!(stopping, seen);
    assert_eq!(stopped.map(|m| m.state), Ok(MachineState::Stopped));
    is_down(&app, &provider).await;
    let exit = || async { provider.last_exit() == Some("signal: 9 (SIGKILL)".to_owned()) };
    eventually(SOON, exit).await;
}

#[tokio::test]
async fn a_stop_ends_the_whole_group() {
    let app = App::shell("\"$0\" \"$@\" & wait");
    let provider = app.process();
    provider.start(SEED, TOKEN).await.expect("it starts");
    eventually(SOON, || async { app.running() == 2 }).await;
    provider.stop(SEED, TOKEN).await.expect("it stops");
    assert_eq!(app.running(), 0);
}

#[tokio::test]
async fn workers_of_a_leader_that_crashed_do_not_hold_the_port() {
    let app = App::shell("\"$0\" \"$@\" & wait");
    let provider = app.process();
    provider.start(SEED, TOKEN).await.expect("it starts");
    eventually(SOON, || async { app.running() == 2 }).await;
    let record = std::fs::read_to_string(app.file("pid")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let leader = record["pid"].to_string();
    Command::new("kill")
        .args(["-9", &leader])
        .status()
        .expect("kill runs");
    becomes(&provider, MachineState::Stopped).await;
    assert_eq!(app.running(), 1, "the worker lives on");
    let worker = app.pids();
    provider.start(SEED, TOKEN).await.expect("it starts");
    eventually(SOON, || async { app.running() == 2 }).await;
    assert!(!app.pids().contains(&worker[0]));
    provider.stop(SEED, TOKEN).await.expect("it stops");
    is_down(&app, &provider).await;
}

#[tokio::test]
async fn a_process_that_ends_by_itself_is_stopped_and_its_exit_is_kept() {
    let app = App::shell("echo 127.0.0.1:{port}; exit 3");
    let provider = app.process();
    provider.start(SEED, TOKEN).await.expect("it was spawned");
    becomes(&provider, MachineState::Stopped).await;
    eventually(SOON, || async { provider.last_exit().is_some() }).await;
    assert_eq!(provider.last_exit().as_deref(), Some("exit status: 3"));
    let log = std::fs::read_to_string(app.file("log")).expect("a log");
    assert_eq!(log, format!("127.0.0.1:{}\n", app.port));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_bad_request() {
    for command in [
        "/nowhere/app",
        "anteroom-has-no-such-program",
        "/etc/passwd",
    ] {
        let app = App::of(&[command.to_owned()]);
        let trouble = app
            .process()
            .start(SEED, TOKEN)
            .await
            .expect_err("no such program");
        assert_eq!(trouble.class, ErrorClass::BadRequest);
        assert!(trouble.detail.contains(command), "{trouble}");
        assert_eq!(state(&app.process()).await, MachineState::Stopped);
    }
}

#[tokio::test]
async fn the_environment_is_small_and_marked() {
    let app = App::new();
    let provider = app.process();
    provider.start(SEED, TOKEN).await.expect("it starts");
    let environ = std::fs::read(format!("/proc/{}/environ", app.pids()[0])).expect("ours");
    let environ = String::from_utf8_lossy(&environ);
    let has = |name: &str| environ.split('\0').any(|entry| entry.starts_with(name));
    assert!(has("PATH=") && has("APP_PORT=") && has("ANTEROOM_INSTANCE=blog/seed/"));
    // Ours holds this one, as it might hold a secret.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !has("CARGO_MANIFEST_DIR="));
    provider.stop(SEED, TOKEN).await.expect("it stops");
}

/// What a process is killed with, and where its records are.
pub(super) fn life(app: &Cloned) -> Life {
    let settings = (app.0.folder.path(), app.0.port);
    Life {
        kind: "process",
        settings: serde_json::to_string(&settings).expect("writable"),
    }
}

/// The provider of that life.
pub(super) fn again(settings: &str) -> Arc<dyn Provider> {
    let (folder, port): (std::path::PathBuf, u16) =
        serde_json::from_str(settings).expect("the parent's");
    let settings = self::settings(&folder, port, &App::line(&[]), SOON);
    Arc::new(Process::new(settings).expect("good settings"))
}

/// An app that only clones are made of.
pub(super) struct Cloned(App);

pub(super) fn fresh() -> Cloned {
    Cloned(App::to_clone())
}

impl Left for Cloned {
    fn clones(&self) -> Vec<String> {
        self.0.clones()
    }

    fn addresses(&self) -> usize {
        0
    }

    /// Nothing was written down of it, and nothing listens at its port.
    fn seed_is_untouched(&self) -> bool {
        !self.0.file("pid").exists() && self.0.pids().is_empty()
    }
}
