//! Scripts: what they print, how they fail, and that none outlives its deadline.

use std::sync::Arc;
use std::time::Duration;

use anteroom::engine::machine::{ErrorClass, MachineState};
use anteroom::provider::Provider;
use anteroom::provider::command::{Command, Control, Scripts, Settings};
use tempfile::TempDir;

use super::{Platform, SEED, SOON, TOKEN, conforms};
use crate::support::wait::eventually;

/// A machine that is a file: there while it runs. A second start would be seen: the file has a line for each.
struct Machine {
    folder: TempDir,
}

fn shell(line: &str) -> Vec<String> {
    ["sh", "-c", line].map(str::to_owned).to_vec()
}

fn command(start: &str, stop: &str, state: &str, timeout: Duration) -> Command {
    Command::new(Settings {
        service: "blog".parse().expect("a name"),
        control: Control::Scripts(Scripts {
            start: shell(start),
            stop: shell(stop),
            state: shell(state),
        }),
        address: Some("localhost:8000".to_owned()),
        timeout,
    })
    .expect("good settings")
}

impl Machine {
    fn new() -> Machine {
        let folder = tempfile::tempdir().expect("a folder");
        Machine { folder }
    }
}

impl Platform for Machine {
    fn provider(&self) -> Arc<dyn Provider> {
        let file = self.folder.path().join("machine");
        let file = file.display();
        let start = format!("echo up >> {file}");
        let stop = format!("rm {file}");
        let state = format!("test -e {file} && echo running || echo stopped");
        Arc::new(command(&start, &stop, &state, SOON))
    }

    fn running(&self) -> usize {
        let machine = std::fs::read_to_string(self.folder.path().join("machine"));
        machine.unwrap_or_default().lines().count()
    }

    fn missing(&self) -> Option<Arc<dyn Provider>> {
        Some(Arc::new(command("false", "false", "echo missing", SOON)))
    }
}

conforms!(Machine::new());

#[tokio::test]
async fn every_word_has_its_state_and_only_a_running_machine_an_address() {
    for (printed, wanted) in [
        ("running", MachineState::Running),
        (" stopped ", MachineState::Stopped),
        ("starting\\nand more", MachineState::Starting),
        ("stopping", MachineState::Stopping),
        ("suspended", MachineState::Suspended),
        ("missing", MachineState::Missing),
    ] {
        let provider = command("false", "false", &format!("printf '{printed}'"), SOON);
        let found = provider.inspect(SEED).await.expect(printed);
        assert_eq!(found.state, wanted, "{printed}");
        assert_eq!(found.address.is_some(), wanted == MachineState::Running);
    }
}

#[tokio::test]
async fn what_a_script_does_wrong_has_its_class_and_its_words() {
    let noisy = "yes noise | head -c 1000000 >&2; echo the end >&2; exit 1";
    for (state, class, words) in [
        ("echo asleep", ErrorClass::BadRequest, "asleep"),
        ("true", ErrorClass::BadRequest, "printed"),
        (
            "echo oops >&2; exit 1",
            ErrorClass::Transient,
            "exit status: 1, oops",
        ),
        ("kill -9 $$", ErrorClass::Transient, "signal: 9"),
        (
            "anteroom-has-no-such-program",
            ErrorClass::BadRequest,
            "127",
        ),
        (noisy, ErrorClass::Transient, "the end"),
    ] {
        let trouble = command("true", "true", state, SOON).inspect(SEED).await;
        let trouble = trouble.expect_err(state);
        assert_eq!(trouble.class, class, "{trouble}");
        assert!(trouble.detail.contains(words), "{trouble}");
        assert!(trouble.detail.len() < 2048, "bounded");
    }
    let settings = |state: &[&str]| Settings {
        service: "blog".parse().expect("a name"),
        control: Control::Scripts(Scripts {
            start: shell("true"),
            stop: shell("true"),
            state: state.iter().map(|word| (*word).to_owned()).collect(),
        }),
        address: Some("localhost:8000".to_owned()),
        timeout: SOON,
    };
    let nowhere = Command::new(settings(&["/nowhere/state"])).expect("it names a program");
    let trouble = nowhere.inspect(SEED).await.expect_err("no such program");
    assert_eq!(trouble.class, ErrorClass::BadRequest);
    assert!(Command::new(settings(&[])).is_err());
}

/// Whether a process with this mark in its command line lives.
fn lives(mark: &str) -> bool {
    let entries = std::fs::read_dir("/proc").expect("Linux").flatten();
    let mut lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(mark))
}

#[tokio::test]
async fn a_script_and_its_children_end_at_the_deadline_and_when_dropped() {
    // A number of seconds is a mark that survives in the command line of `sleep`.
    let line = |mark: &str| format!("sleep {mark} & sleep {mark}; wait");
    let short = Duration::from_millis(300);
    let provider = command(&line("86413"), "true", "echo stopped", short);
    let trouble = provider.start(SEED, TOKEN).await.expect_err("too slow");
    assert_eq!(trouble.class, ErrorClass::Ambiguous, "{trouble}");
    eventually(SOON, || async { !lives("86413") }).await;

    let provider = command(&line("86417"), "true", "echo stopped", SOON);
    tokio::select! {
        answer = provider.start(SEED, TOKEN) => panic!("{answer:?}"),
        () = eventually(SOON, || async { lives("86417") }) => {}
    }
    eventually(SOON, || async { !lives("86417") }).await;

    let provider = command("true", "true", &line("86419"), short);
    let trouble = provider.inspect(SEED).await.expect_err("too slow");
    assert_eq!(
        trouble.class,
        ErrorClass::Transient,
        "nothing was asked for: {trouble}"
    );
}

#[tokio::test]
async fn what_a_script_leaves_running_is_not_waited_for() {
    let provider = command("sleep 86423 &", "true", "echo stopped", SOON);
    let began = tokio::time::Instant::now();
    provider
        .start(SEED, TOKEN)
        .await
        .expect("the script ended well");
    assert!(began.elapsed() < SOON / 2 && lives("86423"));
    let end = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -qx 'sleep 86423 ' && kill ${p#/proc/}; done";
    let _ = std::process::Command::new("sh")
        .args(["-c", end])
        .stderr(std::process::Stdio::null())
        .status();
    eventually(SOON, || async { !lives("86423") }).await;
}
