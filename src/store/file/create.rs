//! The first moment of a store's file. Redb can't go on with a file whose making was interrupted, so the file is
//! made under another name and gets its own name when it is whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Creates an empty store at `path` if nothing is there. A kill at any moment leaves either nothing or a whole
/// file under that name (and perhaps a `.new-` file beside it, which nobody reads).
pub(super) fn unless_there(path: &Path) -> Result<(), redb::Error> {
    if path.try_exists()? {
        return Ok(());
    }
    let new = new_name(path)?;
    let made = make(&new, path);
    // Also after a failure. A name that stays costs a megabyte and nothing else.
    let _ = fs::remove_file(&new);
    made
}

fn make(new: &Path, path: &Path) -> Result<(), redb::Error> {
    // It will hold the secret that nonces are signed with.
    let ours_alone = 0o600;
    File::options()
        .write(true)
        .create_new(true)
        .mode(ours_alone)
        .open(new)?;
    drop(super::tables::open(new)?);
    // A link, not a rename: it does not replace a file that another process made meanwhile.
    match fs::hard_link(new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        linked => linked?,
    }
    File::open(directory(path))?.sync_all()?;
    Ok(())
}

fn new_name(path: &Path) -> Result<PathBuf, io::Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{:016x}", u64::from_le_bytes(random)));
    Ok(name.into())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
