//! `anteroom check`: says what is wrong with a configuration file, with line, key and mend.

use std::path::Path;

use anyhow::anyhow;

use super::out;
use crate::app::theme;
use crate::config::Config;

pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let config = load(path)?;
    for warning in &config.warnings {
        out::line(&format!("warning: {warning}"));
    }
    for folder in theme::folders(&config) {
        theme::read(&folder)?;
    }
    let services = config.services.len();
    let s = if services == 1 { "" } else { "s" };
    out::line(&format!(
        "{} is good: {services} service{s}",
        path.display()
    ));
    Ok(())
}

/// Loads a file; what is wrong with it becomes one error with a line for each problem.
pub(super) fn load(path: &Path) -> anyhow::Result<Config> {
    Config::load(path).map_err(|problems| {
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| format!("\n  {problem}"))
            .collect();
        let s = if lines.len() == 1 { "" } else { "s" };
        anyhow!(
            "{} problem{s} in {}{}",
            lines.len(),
            path.display(),
            lines.concat()
        )
    })
}
