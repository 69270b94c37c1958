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
    raise_file_limit();
    let mut app = App::start(config).await?;
    let mut reload = signal(SignalKind::hangup())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            () = app.hear() => app.heed().await,
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

/// Every visitor's connection is an open file; the limit that a shell gives is far below what the room serves.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
