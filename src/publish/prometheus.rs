//! The instances that serve, as Prometheus' service discovery takes them: fetched over HTTP (`http_sd`), or from a file (`file_sd`).
//!
//! The whole list is told each time, and none is `[]`. When a list can't be had, Prometheus keeps the one that it has; so while it is
//! not known yet what serves, nothing is told rather than an empty list.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::file;
use crate::engine::id::{InstanceId, ServiceName};

/// Between two looks whether the file is as it should be; what changes within that is written together.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two tries to write a file that can't be written.
const AGAIN: Duration = Duration::from_secs(5);

/// The port of node_exporter.
pub const NODE_EXPORTER: u16 = 9100;

/// The path of node_exporter's metrics, which is Prometheus' own default.
const METRICS: &str = "/metrics";

/// An instance that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Of which service.
    pub service: ServiceName,
    /// Which one.
    pub instance: InstanceId,
    /// Where it is measured.
    pub address: SocketAddr,
    /// The path of its metrics.
    pub path: String,
}

/// The list, in Prometheus' form: a group for each target, because each has labels of its own. `job` is the label that
/// takes the place of the job's own name.
#[must_use]
pub fn render(job: &str, targets: &[Target]) -> Bytes {
    let groups: Vec<Value> = targets.iter().map(|target| group(job, target)).collect();
    // A value that was made here can be written.
    let text = serde_json::to_string_pretty(&groups).unwrap_or_default();
    Bytes::from(text + "\n")
}

fn group(job: &str, target: &Target) -> Value {
    let role = match target.instance {
        InstanceId::Seed => "seed",
        InstanceId::Clone(_) => "clone",
    };
    let mut labels = json!({
        "job": job,
        "anteroom_service": target.service,
        "anteroom_instance": target.instance.to_string(),
        "anteroom_role": role,
    });
    if target.path != METRICS {
        labels["__metrics_path__"] = target.path.as_str().into();
    }
    json!({ "targets": [target.address.to_string()], "labels": labels })
}

/// What is to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The file that it is also written to.
    pub file: Option<PathBuf>,
    /// The list; none while it is not known.
    pub list: Option<Bytes>,
}

/// Asks for it. Called every second, so it is quick.
pub type List = Arc<dyn Fn() -> Listed + Send + Sync>;

/// Keeps the file as the list is until `end`, and leaves it as it is then. Content that did not change is not written: each
/// write makes Prometheus read the file again.
pub async fn keep_file(list: List, end: CancellationToken) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut file = File::default();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = tick.tick() => {}
        }
        let listed = list();
        file.leave(listed.file.as_deref());
        if let Listed {
            file: Some(path),
            list: Some(list),
        } = listed
        {
            file.keep(path, list).await;
        }
    }
}

/// The file, as far as it is known.
#[derive(Default)]
struct File {
    /// Which one it is.
    path: Option<PathBuf>,
    written: Option<(PathBuf, Bytes)>,
    /// When it is tried again, because the last try failed.
    again: Option<Instant>,
}

impl File {
    /// Another file is kept from now on, or none. The one that was is left: only its owner knows whether Prometheus reads it still.
    fn leave(&mut self, wanted: Option<&Path>) {
        let left = self.path.take_if(|path| Some(path.as_path()) != wanted);
        if let Some(left) = left {
            let file = left.display();
            tracing::warn!(
                %file,
                "the list of instances for Prometheus is no longer kept in this file; remove it, or Prometheus goes on with what it says"
            );
            *self = File::default();
        }
    }

    async fn keep(&mut self, path: PathBuf, list: Bytes) {
        self.path.get_or_insert_with(|| path.clone());
        let wanted = (path, list);
        let early = self.again.is_some_and(|at| Instant::now() < at);
        if self.written.as_ref() == Some(&wanted) || early {
            return;
        }
        let text = String::from_utf8_lossy(&wanted.1);
        match file::replace(&wanted.0, &text).await {
            Ok(_) => {
                if self.again.take().is_some() {
                    tracing::info!("the list of instances for Prometheus is written again");
                }
                self.written = Some(wanted);
            }
            Err(why) => {
                if self.again.is_none() {
                    tracing::error!(
                        why,
                        "the list of instances for Prometheus is not written; trying on, and Prometheus keeps the old one"
                    );
                }
                self.again = Some(Instant::now() + AGAIN);
                self.written = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::id::CloneId;

    fn target(instance: InstanceId, address: &str) -> Target {
        Target {
            service: "blog".parse().expect("a name"),
            instance,
            address: address.parse().expect("an address"),
            path: METRICS.to_owned(),
        }
    }

    fn list(targets: &[Target]) -> Value {
        serde_json::from_slice(&render("vms", targets)).expect("it is JSON")
    }

    #[test]
    fn seed_and_clone_are_told_apart() {
        let clone = CloneId::new(2, 1_795_248_000).expect("a clone");
        let mut second = target(InstanceId::Clone(clone), "[fd00::7]:9101");
        second.path = "/node".into();
        let list = list(&[target(InstanceId::SEED, "10.0.0.5:9100"), second]);
        assert_eq!(list[0]["targets"], json!(["10.0.0.5:9100"]));
        assert_eq!(
            list[0]["labels"],
            json!({
                "job": "vms", "anteroom_service": "blog", "anteroom_instance": "seed", "anteroom_role": "seed",
            })
        );
        assert_eq!(list[1]["targets"], json!(["[fd00::7]:9101"]));
        let labels = &list[1]["labels"];
        assert_eq!(labels["anteroom_role"], "clone");
        assert_eq!(labels["anteroom_instance"], clone.to_string());
        assert_eq!(labels["__metrics_path__"], "/node");
    }

    #[test]
    fn nothing_is_an_empty_list() {
        assert_eq!(list(&[]), json!([]));
    }

    #[tokio::test]
    async fn a_file_is_written_on_change_only_and_tried_again_when_that_fails() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("folder").join("targets.json");
        let mut file = File::default();
        let one = Bytes::from_static(b"[1]\n");
        file.keep(path.clone(), one.clone()).await;
        assert!(file.written.is_none() && file.again.is_some());
        std::fs::create_dir(dir.path().join("folder")).expect("it is ours");
        file.keep(path.clone(), one.clone()).await;
        assert!(!path.exists(), "not at once");
        file.again = Some(Instant::now());
        file.keep(path.clone(), one.clone()).await;
        assert_eq!(std::fs::read(&path).ok().as_deref(), Some(&one[..]));
        let node = || {
            use std::os::unix::fs::MetadataExt;
            path.metadata().expect("it is there").ino()
        };
        let before = node();
        file.keep(path.clone(), one.clone()).await;
        // Nor by who comes after a restart.
        File::default().keep(path.clone(), one).await;
        assert_eq!(node(), before);
        file.keep(path.clone(), Bytes::from_static(b"[]\n")).await;
        assert_ne!(node(), before);
        let names: Vec<_> = std::fs::read_dir(dir.path().join("folder"))
            .expect("it is there")
            .collect();
        assert_eq!(names.len(), 1, "nothing lies about");
    }
}
