//! How a process is found again: by its record, else by the mark it carries.
//!
//! | on disk | means |
//! |---|---|
//! | a record of this boot | the process we spawned last; it runs exactly if pid and start time still agree |
//! | none, or one of another boot | perhaps a crash between spawn and record: look for the mark in `/proc` |
//!
//! `start` holds the lock file from before it removes the old record until the new one is written. The lock
//! is inherited across `fork` and dropped by `exec`, so an Anteroom that starts after a crash waits until
//! the child of the dead one carries its mark: two starts never make two processes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::procfs::{self, Proc};
use crate::engine::id::{InstanceId, ServiceName};

/// The variable in the child's environment that marks it as ours.
const MARK: &str = "ANTEROOM_INSTANCE";
/// The most a log holds before it is cut; the child writes to it directly, so it is looked at now and then.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// The files of one instance.
pub(super) struct Files {
    folder: PathBuf,
    stem: String,
    marker: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    pid: u32,
    started_ticks: u64,
    boot: String,
}

enum Remembered {
    Alive(Proc),
    Ended,
    Nothing,
}

impl Files {
    /// Touches no file. The mark holds a hash of the folder, so that two Anterooms with a service of the same
    /// name do not take each other's processes for their own.
    pub(super) fn of(
        service: &ServiceName,
        instance: InstanceId,
        folder: &Path,
    ) -> io::Result<Files> {
        let folder = std::path::absolute(folder)?;
        let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
        let short: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Ok(Files {
            marker: format!("{MARK}={service}/{instance}/{short}"),
            stem: format!("{service}.{instance}"),
            folder,
        })
    }

    /// `NAME=value`, as it stands in the child's environment.
    pub(super) fn marker(&self) -> &str {
        &self.marker
    }

    pub(super) fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.stem))
    }

    /// Waits for other Anterooms; each holds it for no longer than a spawn takes. Let go when dropped.
    pub(super) fn lock(&self) -> io::Result<File> {
        self.lock_at(&self.path("lock"))
    }

    /// Waits for all others that choose a port in this folder.
    pub(super) fn lock_folder(&self) -> io::Result<File> {
        self.lock_at(&self.folder.join("ports.lock"))
    }

    fn lock_at(&self, path: &Path) -> io::Result<File> {
        // What the processes say may be private.
        let ours_alone = 0o700;
        DirBuilder::new()
            .recursive(true)
            .mode(ours_alone)
            .create(&self.folder)?;
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        file.lock()?;
        Ok(file)
    }

    /// The leader of our process group, when it runs. Changes nothing.
    pub(super) fn find(&self) -> Option<Proc> {
        match self.remembered() {
            Remembered::Alive(proc) => Some(proc),
            Remembered::Ended => None,
            // The oldest leader of a group; the others are its children in groups of their own.
            Remembered::Nothing => procfs::all()
                .filter(|stat| stat.leads() && procfs::carries(stat.proc.pid, &self.marker))
                .map(|stat| stat.proc)
                .min_by_key(|proc| (proc.started_ticks, proc.pid)),
        }
    }

    fn remembered(&self) -> Remembered {
        let text = fs::read(self.path("pid")).ok();
        let record: Option<Record> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let boot = procfs::boot_id().ok();
        let Some(record) = record.filter(|record| Some(&record.boot) == boot.as_ref()) else {
            return Remembered::Nothing;
        };
        let proc = Proc {
            pid: record.pid,
            started_ticks: record.started_ticks,
        };
        match procfs::is_alive(proc) {
            true => Remembered::Alive(proc),
            false => Remembered::Ended,
        }
    }

    /// Replaces the record at once or not at all.
    pub(super) fn remember(&self, proc: Proc) -> io::Result<()> {
        let record = Record {
            pid: proc.pid,
            started_ticks: proc.started_ticks,
            boot: procfs::boot_id()?,
        };
        let draft = self.path("pid.new");
        fs::write(&draft, serde_json::to_vec(&record)?)?;
        fs::rename(draft, self.path("pid"))
    }

    /// Removes the record: from now on the mark in the environment counts.
    pub(super) fn forget(&self) -> io::Result<()> {
        match fs::remove_file(self.path("pid")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The child's output, appended to; a long one is put aside first, over the one put aside before.
    pub(super) fn open_log(&self) -> io::Result<File> {
        let path = self.path("log");
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX / 2) {
            fs::rename(&path, self.path("log.old"))?;
        }
        OpenOptions::new().create(true).append(true).open(path)
    }

    /// Empties a log that grew too long under a running child; its next line begins the file again, because
    /// it appends.
    pub(super) fn trim_log(&self) {
        let path = self.path("log");
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
            let cut = OpenOptions::new().write(true).truncate(true).open(&path);
            if let Err(error) = cut {
                tracing::warn!(path = %path.display(), %error, "the log could not be cut");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Files {
        Files::of(&"blog".parse().unwrap(), InstanceId::SEED, folder).unwrap()
    }

    #[test]
    fn a_record_of_another_boot_or_a_torn_one_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let me = procfs::identify(std::process::id()).unwrap();
        files.remember(me).unwrap();
        assert!(matches!(files.remembered(), Remembered::Alive(found) if found == me));

        let whole = fs::read_to_string(files.path("pid")).unwrap();
        let boot = procfs::boot_id().unwrap();
        fs::write(files.path("pid"), whole.replace(&boot, "another")).unwrap();
        assert!(matches!(files.remembered(), Remembered::Nothing));
        fs::write(files.path("pid"), &whole[..10]).unwrap();
        assert!(matches!(files.remembered(), Remembered::Nothing));
        files.forget().unwrap();
        files.forget().unwrap();
        assert!(matches!(files.remembered(), Remembered::Nothing));
    }

    #[test]
    fn a_stranger_with_our_pid_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let me = procfs::identify(std::process::id()).unwrap();
        let before = Proc {
            started_ticks: me.started_ticks - 1,
            ..me
        };
        files.remember(before).unwrap();
        assert!(matches!(files.remembered(), Remembered::Ended));
        assert_eq!(files.find(), None);
    }

    #[test]
    fn a_log_that_grew_under_a_running_child_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let log = files.open_log().unwrap();
        log.set_len(LOG_BYTES_MAX + 1).unwrap();
        files.trim_log();
        assert_eq!(log.metadata().unwrap().len(), 0);
    }
}
