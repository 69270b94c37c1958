//! The ports of clones: the next free ones after the seed's, written down in the folder before they are used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::record::Files;
use crate::engine::id::{CloneId, ServiceName};

/// So many ports after the seed's are tried.
const PORTS_TRIED: u16 = 1000;
/// What a file that holds a clone's port ends with.
const ENDING: &str = "clone";

/// The ports of all seeds of this Anteroom, and how many providers name each: one that sleeps holds no port, and must
/// find it free when it wakes.
static SEEDS: Mutex<BTreeMap<u16, usize>> = Mutex::new(BTreeMap::new());

/// A seed's port, for as long as this lives.
pub(super) struct SeedPort(u16);

impl SeedPort {
    pub(super) fn new(port: u16) -> SeedPort {
        let mut seeds = SEEDS.lock().unwrap_or_else(PoisonError::into_inner);
        *seeds.entry(port).or_default() += 1;
        SeedPort(port)
    }
}

impl Drop for SeedPort {
    fn drop(&mut self) {
        let mut seeds = SEEDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = seeds.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                seeds.remove(&self.0);
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Taken {
    port: u16,
}

/// The port that was written down for a clone, if there is such a clone.
pub(super) fn of(files: &Files) -> io::Result<Option<u16>> {
    read(&files.path(ENDING))
}

fn read(path: &Path) -> io::Result<Option<u16>> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text)
            .ok()
            .map(|taken: Taken| taken.port)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the clone a port, or the one that it has; none when no port is free.
pub(super) fn take(files: &Files, folder: &Path, after: u16) -> io::Result<Option<u16>> {
    // All services of the folder choose one after the other.
    let _lock = files.lock_folder()?;
    if let Some(port) = of(files)? {
        return Ok(Some(port));
    }
    let mut taken = BTreeSet::new();
    for (_, _, path) in all(folder)? {
        taken.extend(read(&path)?);
    }
    let Some(port) = choose(after, &taken) else {
        return Ok(None);
    };
    let draft = files.path("clone.new");
    let text = serde_json::to_vec(&Taken { port })?;
    fs::write(&draft, text)?;
    File::open(&draft)?.sync_all()?;
    fs::rename(draft, files.path(ENDING))?;
    Ok(Some(port))
}

fn choose(after: u16, taken: &BTreeSet<u16>) -> Option<u16> {
    let seeds: BTreeSet<u16> = {
        let seeds = SEEDS.lock().unwrap_or_else(PoisonError::into_inner);
        seeds.keys().copied().collect()
    };
    let last = after.saturating_add(PORTS_TRIED);
    (after..=last)
        .skip(1)
        .filter(|port| !taken.contains(port) && !seeds.contains(port))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
}

/// The clone is no more: what was kept of it goes, its port last.
pub(super) fn give_back(files: &Files) -> io::Result<()> {
    for ending in [
        "pid",
        "pid.new",
        "log",
        "log.old",
        "clone.new",
        "lock",
        ENDING,
    ] {
        match fs::remove_file(files.path(ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// All clones that are written down in a folder, of every service.
pub(super) fn all(folder: &Path) -> io::Result<Vec<(ServiceName, CloneId, std::path::PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let clone = |path: std::path::PathBuf| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".clone")?;
        let (service, clone) = stem.split_once('.')?;
        Some((service.parse().ok()?, clone.parse().ok()?, path))
    };
    let mut all = Vec::new();
    for entry in entries {
        all.extend(clone(entry?.path()));
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::id::InstanceId;

    #[test]
    fn each_clone_has_a_port_that_is_no_seeds_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let after = free.local_addr().unwrap().port().min(60_000);
        let files = |service: &str, slot| {
            let clone = InstanceId::Clone(CloneId::new(slot, 7).unwrap());
            Files::of(&service.parse().unwrap(), clone, folder.path()).unwrap()
        };
        let take = |files: &Files| take(files, folder.path(), after).unwrap().unwrap();
        let first = take(&files("a", 1));
        assert_eq!(take(&files("a", 1)), first);
        let next = SeedPort::new(first + 1);
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 2));
        let second = take(&files("b", 1));
        assert!(second > first + 1, "a seed sleeps there");
        assert!(
            held.is_err() || second > first + 2,
            "somebody listens there"
        );
        assert_eq!(all(folder.path()).unwrap().len(), 2);
        drop(next);
        give_back(&files("a", 1)).unwrap();
        give_back(&files("a", 1)).unwrap();
        assert_eq!(of(&files("a", 1)).unwrap(), None);
        assert_eq!(of(&files("b", 1)).unwrap(), Some(second));
    }
}
