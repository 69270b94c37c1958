//! A real process that answers HTTP and takes its time: one that can be killed with requests inside.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::visitor::soon;

/// What every answer holds; the name comes behind it.
pub(crate) const APP: &str = "this is the app";

/// The process. It ends with this.
pub(crate) struct RealApp {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    child: Child,
}

impl RealApp {
    /// An app of this name that takes so long for each request.
    pub(crate) async fn start(name: &str, takes: Duration) -> RealApp {
        let mut child = Command::new("python3")
            .args(["-c", include_str!("real_app.py"), name])
            .arg(takes.as_millis().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 is installed");
        let told = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(told).lines();
        let port = soon(lines.next_line()).await.expect("it can be read");
        let port: u16 = port.and_then(|it| it.parse().ok()).expect("a port");
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lock().expect("nobody panics with it").push(line);
            }
        });
        RealApp {
            address: ([127, 0, 0, 1], port).into(),
            seen,
            child,
        }
    }

    /// The method and path of each request that has begun.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("nobody panics with it").clone()
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it is ours");
    }
}
