//! Reads the themes of the services from their folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::config::Service;
use crate::page::samples;
use crate::page::theme::{FILE_BYTES_MAX, FILES_MAX, Files, Theme};

/// The themes of all services, each folder read once.
#[derive(Debug, Default)]
pub(super) struct Themes(BTreeMap<PathBuf, Option<Arc<Theme>>>);

impl Themes {
    /// The theme of a service. One that can't be used is told, and the built-in pages take its place.
    pub(super) fn of(&mut self, service: &Service) -> Option<Arc<Theme>> {
        let folder = service.theme.as_ref()?;
        if let Some(known) = self.0.get(folder) {
            return known.clone();
        }
        let theme = match read(folder) {
            Ok(theme) => Some(theme),
            Err(error) => {
                let theme = folder.display();
                tracing::error!(%theme, "the theme can't be used, the built-in pages are served: {error:#}");
                None
            }
        };
        self.0.insert(folder.clone(), theme.clone());
        theme
    }
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
    for entry in fs::read_dir(folder).context("the folder can't be read")? {
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
        if meta.len() > FILE_BYTES_MAX as u64 {
            bail!("{name} is longer than {FILE_BYTES_MAX} bytes");
        }
        if files.len() >= FILES_MAX {
            bail!("a theme has at most {FILES_MAX} files");
        }
        let text = fs::read_to_string(&path).with_context(|| format!("{name} can't be read"))?;
        files.insert(name.to_owned(), text);
    }
    Ok(Files(files))
}
