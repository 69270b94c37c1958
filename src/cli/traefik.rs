//! `anteroom traefik`: prints the Traefik configuration that goes with a configuration file.

use std::path::Path;

use super::out;

pub(super) fn print(path: &Path) -> anyhow::Result<()> {
    let config = super::check::load(path)?;
    let printed = crate::app::traefik_configuration(&config)?;
    out::line("# Static configuration: what Traefik is started with.");
    out::line(&printed.fixed);
    out::line(
        "# Dynamic configuration: every service awake, at its port on 127.0.0.1; put the machines' addresses in.",
    );
    out::line(&printed.dynamic);
    Ok(())
}
