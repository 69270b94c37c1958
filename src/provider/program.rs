//! A program that is run for a provider: without a shell, with a deadline, a line in the log and a metric.
//!
//! It runs in a process group of its own and is killed, with everything it spawned, at the deadline or when
//! nobody waits for it any more. What a program leaves running when it ends by itself stays.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use super::last_words;
use crate::engine::machine::{ErrorClass, Trouble};
use crate::telemetry::metrics;

/// How long output is still read after the program ended: what it left running may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);
/// What is kept of the complaints: their end.
const COMPLAINT_BYTES_MAX: usize = 1024;

/// A program that is about to be run.
pub(crate) struct Program<'a> {
    /// The kind of the provider, for the log and the metric.
    pub(crate) kind: &'static str,
    /// What it is run for, for the log and the metric.
    pub(crate) name: &'static str,
    /// The program and its arguments; not a shell line.
    pub(crate) words: &'a [&'a str],
    /// What is added to our environment.
    pub(crate) env: &'a [(&'static str, &'a str)],
    /// How long it may take.
    pub(crate) within: Duration,
    /// How many bytes of its output are kept, from the beginning.
    pub(crate) out_bytes_max: usize,
}

/// A program that ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The beginning of what it wrote to its output.
    pub(crate) out: Vec<u8>,
    /// The end of its complaints.
    pub(crate) err: Vec<u8>,
}

/// Why a program did not end by itself.
#[derive(Debug)]
pub(crate) enum Unended {
    /// It never ran.
    NotBegun(io::Error),
    /// It was killed at the deadline.
    Late(Duration),
    /// It ran, and what became of it could not be learned.
    Lost(io::Error),
}

impl Program<'_> {
    /// Runs it to its end; drop the call and it is killed.
    pub(crate) async fn run(&self) -> Result<Ended, Unended> {
        let began = Instant::now();
        let ended = self.run_unseen().await;
        let (provider, call, took) = (self.kind, self.name, began.elapsed());
        let took_ms = took.as_millis();
        let outcome = match &ended {
            Ok(ended) => {
                let status = ended.status;
                tracing::debug!(provider, call, %status, took_ms, "a program ended");
                if status.success() { "ok" } else { "failed" }
            }
            Err(unended) => {
                tracing::debug!(provider, call, %unended, took_ms, "a program did not end by itself");
                "no_answer"
            }
        };
        metrics().provider_called(provider, call, outcome, took.into());
        ended
    }

    async fn run_unseen(&self) -> Result<Ended, Unended> {
        let child = self.spawn().map_err(Unended::NotBegun)?;
        match timeout(self.within, Running(child).until_ended(self.out_bytes_max)).await {
            Ok(ended) => ended.map_err(Unended::Lost),
            Err(_) => Err(Unended::Late(self.within)),
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let (program, arguments) = self
            .words
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        tokio::process::Command::new(program)
            .args(arguments)
            .envs(self.env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

impl Ended {
    /// How it ended and what it complained of, for a [`Trouble`].
    pub(crate) fn complaint(&self) -> String {
        format!("{}, {}", self.status, last_words(&self.err))
    }
}

impl Unended {
    /// What it means, where a program that was cut short means `lost`.
    pub(crate) fn class(&self, lost: ErrorClass) -> ErrorClass {
        match self {
            // A full process table empties; a program that is not there stays away.
            Self::NotBegun(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => ErrorClass::Transient,
                _ => ErrorClass::BadRequest,
            },
            Self::Late(_) | Self::Lost(_) => lost,
        }
    }

    /// The trouble it is for what was being done.
    pub(crate) fn trouble(&self, lost: ErrorClass, doing: &str) -> Trouble {
        Trouble::new(self.class(lost), format!("{doing}: {self}"))
    }
}

impl std::fmt::Display for Unended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBegun(error) | Self::Lost(error) => error.fmt(f),
            Self::Late(within) => write!(f, "killed, it took more than {within:?}"),
        }
    }
}

/// A program that runs; dropped before its end, its whole group is killed.
struct Running(Child);

impl Running {
    async fn until_ended(mut self, out_bytes_max: usize) -> io::Result<Ended> {
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = {
            let reading = async {
                tokio::join!(
                    keep(stdout, &mut out, Keep::Beginning(out_bytes_max)),
                    keep(stderr, &mut err, Keep::End(COMPLAINT_BYTES_MAX))
                )
            };
            tokio::pin!(reading);
            tokio::select! {
                status = self.0.wait() => {
                    // Late output is lost, not waited for.
                    let _ = timeout(OUTPUT_GRACE, reading).await;
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
        // An id is there only until the program was waited for; until then no other process can have it.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[derive(Clone, Copy)]
enum Keep {
    Beginning(usize),
    End(usize),
}

/// Reads to the end, so that the program never blocks on a full pipe, and keeps a bounded part.
async fn keep(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, which: Keep) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        match which {
            Keep::Beginning(most) => {
                let room = most.saturating_sub(kept.len());
                kept.extend_from_slice(&buffer[..count.min(room)]);
            }
            Keep::End(most) => {
                kept.extend_from_slice(&buffer[..count]);
                kept.drain(..kept.len().saturating_sub(most));
            }
        }
    }
}
