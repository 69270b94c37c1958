//! The real node_exporter and the real Prometheus on loopback, and a stand-in for an exporter.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::ports::free_port;
use super::wait::eventually;

const UP_WITHIN: Duration = Duration::from_secs(20);

/// A running node_exporter, which tells of this machine.
pub(crate) struct NodeExporter {
    child: Child,
}

impl NodeExporter {
    /// One at `127.0.0.HOST:PORT`.
    pub(crate) async fn start(host: u8, port: u16) -> NodeExporter {
        NodeExporter::at(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), port))).await
    }

    /// One at this address.
    pub(crate) async fn at(address: SocketAddr) -> NodeExporter {
        let child = Command::new("prometheus-node-exporter")
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus-node-exporter is installed: tests/run does that");
        answers(&format!("http://{address}/")).await;
        NodeExporter { child }
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it is ours");
    }
}

/// A running Prometheus.
pub(crate) struct Prometheus {
    _child: Child,
    _folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Prometheus {
    /// One with this configuration; `extra` are more arguments.
    pub(crate) async fn start(config: &str, extra: &[&str]) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("the folder is ours");
        let address = format!("127.0.0.1:{}", free_port());
        let data = |name: &str| format!("--{name}={}", folder.path().join("data").display());
        let log = log(folder.path());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(data("storage.tsdb.path"))
            .arg(format!("--web.listen-address={address}"))
            .args(extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus is installed: tests/run does that");
        let url = format!("http://{address}");
        answers(&format!("{url}/-/ready")).await;
        Prometheus {
            _child: child,
            _folder: folder,
            url,
        }
    }
}

fn log(folder: &Path) -> std::fs::File {
    std::fs::File::create(folder.join("prometheus.log")).expect("the folder is ours")
}

/// Waits until this URL is answered, also by a refusal for want of a login.
async fn answers(url: &str) {
    let http = anteroom::telemetry::http_client().no_proxy().build();
    let http = http.expect("a client");
    eventually(UP_WITHIN, async || {
        let answer = http.get(url).send().await;
        answer.is_ok_and(|answer| [200, 401].contains(&answer.status().as_u16()))
    })
    .await;
}

/// What stands in for an exporter: it answers every request with the text that `answer` gives for its number.
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    /// Connections that were made to it.
    pub(crate) connections: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

/// What comes after a request.
#[derive(Clone)]
pub(crate) enum Say {
    /// These bytes, and the connection stays.
    Keep(String),
    /// These bytes, and the connection is closed.
    Close(String),
    /// Nothing for ever.
    Hang,
}

/// A good answer with this body.
pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl StandIn {
    pub(crate) async fn at(
        address: SocketAddr,
        answer: impl Fn(usize, &str) -> Say + Send + Sync + 'static,
    ) -> StandIn {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let address = listener.local_addr().expect("it listens");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let shared = Arc::new((AtomicUsize::new(0), answer));
        let serving = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                let shared = Arc::clone(&shared);
                all.spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if !head.ends_with(b"\r\n\r\n") {
                            continue;
                        }
                        let text = String::from_utf8(std::mem::take(&mut head)).expect("a text");
                        let number = shared.0.fetch_add(1, Relaxed);
                        let (say, keep) = match (shared.1)(number, &text) {
                            Say::Keep(say) => (say, true),
                            Say::Close(say) => (say, false),
                            Say::Hang => std::future::pending().await,
                        };
                        let _ = stream.write_all(say.as_bytes()).await;
                        if !keep {
                            return;
                        }
                    }
                });
            }
        });
        StandIn {
            address,
            connections,
            serving,
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Keeps every processor busy for as long as it lives.
pub(crate) struct Burning {
    stop: Arc<std::sync::atomic::AtomicBool>,
}

impl Burning {
    pub(crate) fn all() -> Burning {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let processors = std::thread::available_parallelism().expect("it is known");
        for _ in 0..processors.get() {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Burning { stop }
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}
