//! Reads themes from their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures_util::future::join_all;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::Config;
use crate::page::samples;
use crate::page::theme::{FILE_BYTES_MAX, FILES_MAX, Files, Theme};

/// How long a folder may take to be read and its theme to be tried. A folder of another machine may never answer.
const READ_MAX: Duration = Duration::from_secs(10);

/// Names in a theme's folder that are looked at, of all kinds.
const NAMES_MAX: usize = 1_000;

/// The themes of a configuration, by their folders. One that can't be used is not there.
#[derive(Debug, Default)]
pub(super) struct Themes(BTreeMap<PathBuf, Arc<Theme>>);

impl Themes {
    /// Reads all that are named, each folder once and all at the same time, each for [`READ_MAX`] at most; beside the
    /// threads that serve. One that can't be used is told, and the built-in pages take its place.
    pub(super) async fn of(config: &Config) -> Themes {
        let reads = folders(config).into_iter().map(async |folder| {
            let path = folder.clone();
            let theme = timeout(READ_MAX, spawn_blocking(move || read(&path))).await;
            let theme = match theme {
                Ok(Ok(theme)) => theme,
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(anyhow!("it could not be read within {READ_MAX:?}")),
            };
            let told = |error: &anyhow::Error| {
                let theme = folder.display();
                tracing::error!(%theme, "the theme can't be used, the built-in pages are served: {error:#}");
            };
            Some((folder.clone(), theme.inspect_err(told).ok()?))
        });
        Themes(join_all(reads).await.into_iter().flatten().collect())
    }

    /// The theme of this folder, if one is named.
    pub(super) fn get(&self, folder: Option<&PathBuf>) -> Option<Arc<Theme>> {
        self.0.get(folder?).cloned()
    }
}

/// The folders of all themes that a configuration names.
pub fn folders(config: &Config) -> BTreeSet<PathBuf> {
    let of_services = config.services.values().map(|service| &service.theme);
    let all = of_services.chain([&config.server.theme]);
    all.flatten().cloned().collect()
}

/// Reads a theme and tries it: every sample of every page must come to its end.
///
/// # Errors
///
/// Names the folder, the file and the line, or the sample, and what is wrong.
pub fn read(folder: &Path) -> anyhow::Result<Arc<Theme>> {
    let theme = files(folder)
        .and_then(|files| Ok(Arc::new(Theme::new(files)?)))
        .with_context(|| format!("the theme {}", folder.display()))?;
    match samples::fault(&theme) {
        Some((sample, fault)) => bail!(
            "the theme {}: the page {sample:?}: {fault}",
            folder.display()
        ),
        None => Ok(theme),
    }
}

/// Reads the files of a theme's folder; folders in it and other kinds of files are left alone.
fn files(folder: &Path) -> anyhow::Result<Files> {
    let mut files = BTreeMap::new();
    let entries = fs::read_dir(folder).context("the folder can't be read")?;
    for (number, entry) in entries.enumerate() {
        if number >= NAMES_MAX {
            bail!("more than {NAMES_MAX} names are in its folder");
        }
        let path = entry?.path();
        let known = |end| ["html", "css", "js"].iter().any(|known| *known == end);
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(name), Some(true)) = (name, path.extension().map(known)) else {
            continue;
        };
        let meta = fs::metadata(&path).with_context(|| format!("{name} can't be read"))?;
        if !meta.is_file() {
            continue;
        }
        if files.len() >= FILES_MAX {
            bail!("a theme has at most {FILES_MAX} files");
        }
        let text = text(&path).with_context(|| format!("{name} can't be read"))?;
        files.insert(name.to_owned(), text);
    }
    Ok(Files(files))
}

/// What a file holds, and of one that is too long a byte more than it may have.
fn text(path: &Path) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    match bytes.len() > FILE_BYTES_MAX {
        true => bail!("it is longer than {FILE_BYTES_MAX} bytes"),
        false => String::from_utf8(bytes).context("it is not UTF-8"),
    }
}
