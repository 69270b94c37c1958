//! Scripts on this host: `start`, `stop`, and `state`, which prints one word.
//!
//! A script runs in a process group of its own and is killed, with everything it spawned, at the deadline or
//! when nobody waits for it any more. What a script leaves running when it ends by itself stays.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;

use super::{Action, Said, state_of};
use crate::engine::id::ServiceName;
use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::provider::{BadSettings, last_words};

/// How long output is still read after the script ended: what it left running may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);
/// What is kept of each output: the beginning of the answer, the end of the complaints.
const OUTPUT_BYTES_MAX: usize = 1024;

/// Program and arguments of each; not shell lines. They hear `ANTEROOM_SERVICE` and `ANTEROOM_ACTION`.
#[derive(Clone, Debug)]
pub struct Scripts {
    /// Starts the machine, or asks for it.
    pub start: Vec<String>,
    /// Stops it, or asks for it.
    pub stop: Vec<String>,
    /// Prints `running`, `stopped`, `starting`, `stopping`, `suspended` or `missing` as its first line.
    pub state: Vec<String>,
}

impl Scripts {
    pub(super) fn check(&self) -> Result<(), BadSettings> {
        for action in [Action::Start, Action::Stop, Action::State] {
            if self.of(action).first().is_none_or(String::is_empty) {
                let word = action.word();
                return Err(BadSettings(format!("`{word}` names no program")));
            }
        }
        Ok(())
    }

    fn of(&self, action: Action) -> &[String] {
        match action {
            Action::Start => &self.start,
            Action::Stop => &self.stop,
            Action::State => &self.state,
        }
    }

    pub(super) async fn run(
        &self,
        action: Action,
        service: &ServiceName,
        within: Duration,
    ) -> Result<Said, Trouble> {
        let words = self.of(action);
        let trouble = |class: ErrorClass, said: String| {
            let program = words.first().map_or("", String::as_str);
            let detail = format!("{} of {service} by {program:?}: {said}", action.word());
            Trouble::new(class, detail)
        };
        let child = spawn(words, action, service).map_err(|error| {
            let class = match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::OutOfMemory => {
                    ErrorClass::Transient
                }
                _ => ErrorClass::BadRequest,
            };
            trouble(class, error.to_string())
        })?;
        let ended = tokio::time::timeout(within, Running(child).until_ended()).await;
        let Ok(ended) = ended else {
            let said = format!("killed, it took more than {within:?}");
            return Err(trouble(action.unanswered(), said));
        };
        let Ended { status, out, err } =
            ended.map_err(|error| trouble(action.unanswered(), error.to_string()))?;
        let complaint = || format!("{status}, {}", last_words(&err));
        match (status.code(), action) {
            (Some(0), Action::Start | Action::Stop) => Ok(Said::default()),
            (Some(0), Action::State) => said(&out).ok_or_else(|| {
                let printed = last_words(&out);
                trouble(ErrorClass::BadRequest, format!("it printed {printed:?}"))
            }),
            // By shell custom: cannot be executed, and not found.
            (Some(126 | 127), _) => Err(trouble(ErrorClass::BadRequest, complaint())),
            _ => Err(trouble(ErrorClass::Transient, complaint())),
        }
    }
}

fn said(out: &[u8]) -> Option<Said> {
    let text = String::from_utf8_lossy(out);
    let state: MachineState = state_of(text.lines().next()?.trim())?;
    Some(Said {
        state: Some(state),
        address: None,
    })
}

fn spawn(words: &[String], action: Action, service: &ServiceName) -> std::io::Result<Child> {
    let (program, arguments) = words
        .split_first()
        .ok_or(std::io::ErrorKind::InvalidInput)?;
    tokio::process::Command::new(program)
        .args(arguments)
        .env("ANTEROOM_SERVICE", service.as_str())
        .env("ANTEROOM_ACTION", action.word())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// A script that runs; dropped before its end, its whole group is killed.
struct Running(Child);

struct Ended {
    status: std::process::ExitStatus,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Running {
    async fn until_ended(mut self) -> std::io::Result<Ended> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = {
            let reading = async {
                tokio::join!(
                    keep(stdout, &mut out, Keep::Beginning),
                    keep(stderr, &mut err, Keep::End)
                )
            };
            tokio::pin!(reading);
            tokio::select! {
                status = self.0.wait() => {
                    // Late output is lost, not waited for.
                    let _ = tokio::time::timeout(OUTPUT_GRACE, reading).await;
                    status?
                }
                _ = &mut reading => self.0.wait().await?,
            }
        };
        Ok(Ended { status, out, err })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An id is there only until the script was waited for; until then no other process can have it.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[derive(Clone, Copy)]
enum Keep {
    Beginning,
    End,
}

/// Reads to the end, so that the script never blocks on a full pipe, and keeps a bounded part.
async fn keep(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, which: Keep) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        match which {
            Keep::Beginning => {
                let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..count.min(room)]);
            }
            Keep::End => {
                kept.extend_from_slice(&buffer[..count]);
                kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES_MAX));
            }
        }
    }
}
