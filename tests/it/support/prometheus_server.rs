//! A real Prometheus with a configuration of the test's own. It ends with the value that holds it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::ports::free_port;
use super::wait::eventually;

/// Long enough for a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// The server.
pub(crate) struct PrometheusServer {
    child: Child,
    port: u16,
    http: reqwest::Client,
}

impl Drop for PrometheusServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PrometheusServer {
    /// One with this configuration, which `promtool` has found good.
    pub(crate) async fn start(dir: &Path, config: &str) -> PrometheusServer {
        PrometheusServer::start_at(dir, config, free_port()).await
    }

    /// The same on a given port, for a configuration that names it.
    pub(crate) async fn start_at(dir: &Path, config: &str, port: u16) -> PrometheusServer {
        let path = dir.join("prometheus.yml");
        std::fs::write(&path, config).expect("the folder is ours");
        let checked = Command::new("promtool")
            .args(["check", "config"])
            .arg(&path)
            .output();
        let checked = checked.expect("promtool is installed (tests/run does that)");
        assert!(checked.status.success(), "{checked:?}");
        let log = std::fs::File::create(dir.join("prometheus.log")).expect("the folder is ours");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed (tests/run does that)");
        let http = anteroom::telemetry::http_client().no_proxy();
        let server = PrometheusServer {
            child,
            port,
            http: http.build().expect("a client"),
        };
        eventually(UP_WITHIN, async || server.get("/-/ready").await.is_some()).await;
        server
    }

    async fn get(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = self.http.get(url).send().await.ok()?;
        let answer = answer.error_for_status().ok()?;
        answer.text().await.ok()
    }

    /// The labels of the targets that it scrapes by this job of its configuration.
    pub(crate) async fn targets(&self, pool: &str) -> Vec<Value> {
        let text = self.get("/api/v1/targets?state=active").await;
        let all: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        let all = all["data"]["activeTargets"].as_array().cloned();
        let of = all.unwrap_or_default().into_iter();
        let of = of.filter(|it| it["scrapePool"] == pool);
        of.map(|it| it["labels"].clone()).collect()
    }

    /// What a query gives now: its values, those left out that are no number. A query that is refused fails the test.
    pub(crate) async fn query(&self, query: &str) -> Vec<f64> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let asked = self.http.post(url).form(&[("query", query)]).send().await;
        let told: Value = asked.expect("it runs").json().await.expect("it is JSON");
        assert_eq!(told["status"], "success", "{query}: {told}");
        let all = told["data"]["result"].as_array().cloned();
        let value = |it: &Value| it["value"][1].as_str()?.parse().ok();
        let values = all.unwrap_or_default();
        let values = values.iter().filter_map(value);
        values.filter(|value: &f64| !value.is_nan()).collect()
    }

    /// A metric of its own, without labels; 0 while there is none.
    pub(crate) async fn own(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}
