//! Spawning the child: a group of its own, a small environment, its output to a file.

use std::fs::File;
use std::io;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::Settings;
use crate::engine::machine::{ErrorClass, Trouble};

/// What of our environment every program may see.
const HANDED_DOWN: [&str; 8] = [
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR",
];

/// Spawns the settings' command, marked with `marker` (`NAME=value`).
pub(super) fn spawn(settings: &Settings, marker: &str, log: &File) -> Result<Child, Trouble> {
    command(settings, marker, log)
        .and_then(|mut command| command.spawn())
        .map_err(|error| refused(settings, &error))
}

fn command(settings: &Settings, marker: &str, log: &File) -> io::Result<Command> {
    let port = settings.port.to_string();
    let mut words = settings
        .command
        .iter()
        .map(|word| word.replace("{port}", &port));
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .env_clear();
    for name in HANDED_DOWN {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for (name, value) in &settings.env {
        command.env(name, value.replace("{port}", &port));
    }
    if let Some((name, value)) = marker.split_once('=') {
        command.env(name, value);
    }
    if let Some(cwd) = &settings.cwd {
        command.current_dir(cwd);
    }
    Ok(command)
}

/// A program that is not there will not be there on the next try; a full process table empties.
fn refused(settings: &Settings, error: &io::Error) -> Trouble {
    let class = match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::ExecutableFileBusy
        | io::ErrorKind::ArgumentListTooLong => ErrorClass::BadRequest,
        // ENOEXEC: neither a binary nor a script with a first line that names its shell.
        _ if error.raw_os_error() == Some(8) => ErrorClass::BadRequest,
        _ => ErrorClass::Transient,
    };
    let program = settings.command.first().map_or("", String::as_str);
    let place = settings
        .cwd
        .as_ref()
        .map_or_else(String::new, |cwd| format!(" in {}", cwd.display()));
    Trouble::new(class, format!("spawning {program:?}{place}: {error}"))
}
