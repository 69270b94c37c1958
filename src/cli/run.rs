//! `anteroom run`: the program itself, until a signal ends it.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::telemetry::{LogFormat, init_log};

pub(super) async fn run(path: &Path, log_json: bool) -> anyhow::Result<()> {
    init_log(if log_json {
        LogFormat::Json
    } else {
        LogFormat::Text
    });
    let config = super::check::load(path)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let mut app = App::start(config).await?;
    let mut reload = signal(SignalKind::hangup())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = reload.recv() => match super::check::load(path) {
                Ok(config) => app.reload(config).await,
                Err(error) => tracing::error!("nothing is changed: {error:#}"),
            },
        }
    }
    tracing::info!("ending: running requests are let end; machines stay as they are");
    app.stop().await;
    Ok(())
}
