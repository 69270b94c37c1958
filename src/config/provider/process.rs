//! A child process on this host, as configured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::parts::program;
use crate::config::reading::Reading;
use crate::config::value;
use crate::engine::time::Span;

/// A child process on this host; it listens on 127.0.0.1 at the service's port.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// The program and its arguments, never empty; `{port}` stands for the port to listen on.
    pub command: Vec<String>,
    /// The folder it runs in; none for Anteroom's own.
    pub cwd: Option<PathBuf>,
    /// What is added to the environment.
    pub env: BTreeMap<String, String>,
    /// How long it may take to end before it is killed; 0 to 1 h.
    pub stop_timeout: Span,
}

impl Process {
    /// Whether the command or its environment says the port: without it there can be one process only.
    pub(super) fn says_port(&self) -> bool {
        let mut texts = self.command.iter().chain(self.env.values());
        texts.any(|text| text.contains("{port}"))
    }

    pub(super) fn read(section: &Reading<'_>) -> Option<Process> {
        let command = program(section, "command");
        let cwd = section.read("cwd", value::words).map(PathBuf::from);
        let env = section.map("env");
        for name in env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                section.fault("env", format!("{name:?} cannot be the name of a variable"));
            }
        }
        Some(Process {
            command,
            cwd,
            env,
            stop_timeout: section.span("stop_timeout")?,
        })
    }
}
