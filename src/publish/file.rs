//! A file that others read, replaced by rename: they see the old one whole or the new one whole, never half of one.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes `text` in place of the file and returns what it held.
pub(super) async fn replace(path: &Path, text: &str) -> Result<Option<Vec<u8>>, String> {
    let (path, text) = (path.to_owned(), text.to_owned());
    blocking(move || {
        let before = read(&path)?;
        if before.as_deref() != Some(text.as_bytes()) {
            write(&path, text.as_bytes())?;
        }
        Ok(before)
    })
    .await
}

/// Puts back what [`replace`] found.
pub(super) async fn put_back(path: &Path, before: Option<Vec<u8>>) -> Result<(), String> {
    let path = path.to_owned();
    blocking(move || match before {
        Some(bytes) => write(&path, &bytes),
        None => std::fs::remove_file(&path).map_err(|error| named(&path, &error)),
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, &error)),
    }
}

/// A hidden name without the file's suffix, in the same directory: on the same file system, and not read.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let new = beside(path);
    let written = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        // The rename itself must survive a power cut, too.
        std::fs::File::open(
            path.parent()
                .filter(|dir| !dir.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )?
        .sync_all()
    };
    written().map_err(|error| {
        // Nothing is left behind when the disk is full.
        let _ = std::fs::remove_file(&new);
        named(path, &error)
    })
}

fn named(path: &Path, error: &std::io::Error) -> String {
    format!(
        "{}: {error}; it needs a directory that Anteroom may write, and whoever the file is for may read",
        path.display()
    )
}
