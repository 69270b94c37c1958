//! `anteroom demo`: the main job on embedded defaults. A small app that takes five seconds to start, an idle
//! time of thirty, no root, nothing else installed; the terminal tells the story.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::out;
use crate::app::App;
use crate::config::Config;
use crate::telemetry::{LogFormat, init_log};

/// How long the demo's app takes to start.
const START_UP_MS: u64 = 5_000;

/// A folder that goes with the demo.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let stamp = jiff::Timestamp::now().as_nanosecond();
        let path =
            std::env::temp_dir().join(format!("anteroom-demo-{}-{stamp}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("a folder at {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the system's temporary folder and is swept there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn demo(port: u16) -> anyhow::Result<()> {
    init_log(LogFormat::Text);
    let folder = Folder::new()?;
    let config = config(&folder.0, port)?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let app = App::start(config).await?;
    out::line(&format!(
        "\n  Open http://localhost:{port}/ in a browser.\n"
    ));
    out::line(
        "  The app behind it is not running: you will see the waiting page, and then the app.",
    );
    out::line("  Left alone for 30 seconds, it is stopped again. Ctrl-C ends the demo.\n");
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    // The demo leaves nothing behind, not even the machine that a real run would leave as it is.
    app.stop_with_machines().await;
    Ok(())
}

fn config(folder: &Path, port: u16) -> anyhow::Result<Config> {
    let exe = std::env::current_exe().context("the path of this program")?;
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:{port}"

[admin]
listen = "127.0.0.1:{admin}"

[store]
url = {store:?}

[service.demo]
hosts = ["localhost", "127.0.0.1"]
port = {app}
ingress = "proxy"
idle_timeout = "30s"
min_awake = "0s"
health = {{ interval = "200ms" }}
wake = {{ per_client = "off", per_network = "off", per_service = "off" }}
provider = {{ kind = "process", command = [{exe:?}, "demo-app", "--port", "{{port}}", "--start-up-ms", "{START_UP_MS}"] }}
"#,
        admin = free_port()?,
        app = free_port()?,
        store = format!("file:{}", folder.join("demo.db").display()),
        exe = exe.display().to_string(),
    );
    let nothing = |_: &str| None;
    Config::parse(&text, "the demo's configuration", &nothing).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}
