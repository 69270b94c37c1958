//! A real browser without a window, driven over WebDriver.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::visitor::soon;

/// A browser may need this long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with a profile of its own.
pub(crate) struct Browser {
    pub(crate) client: Client,
    _driver: Child,
}

impl Browser {
    /// Starts one, with these extra arguments.
    pub(crate) async fn start(more: &[&str]) -> Browser {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed (see tests/run)");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = soon(lines.next_line()).await.unwrap().expect("a port");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let quiet = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-sync",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
        ];
        let args: Vec<&str> = quiet.iter().chain(more).copied().collect();
        let mut wanted = Capabilities::new();
        wanted.insert("goog:chromeOptions".into(), json!({ "args": args }));
        let url = format!("http://127.0.0.1:{port}");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted);
        let client = tokio::time::timeout(PATIENCE, builder.connect(&url)).await;
        Browser {
            client: client.expect("it starts in time").unwrap(),
            _driver: driver,
        }
    }

    pub(crate) async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Waits until the page has an element.
    pub(crate) async fn sees(&self, xpath: &str) {
        let wait = self.client.wait().at_most(PATIENCE);
        if let Err(error) = wait.for_element(Locator::XPath(xpath)).await {
            let source = self.client.source().await.unwrap();
            let body = source.split("<script").next().unwrap_or_default();
            let body = body.split("</style>").last().unwrap_or_default();
            panic!("{xpath}: {error}: {body}");
        }
    }

    /// Waits until the tab has this title.
    pub(crate) async fn has_title(&self, title: &str) {
        self.sees(&format!("//title[.='{title}']")).await;
    }

    /// Waits until the headline reads so.
    pub(crate) async fn reads(&self, heading: &str) {
        self.sees(&format!("//h1[.='{heading}']")).await;
    }

    pub(crate) async fn presses(&self, selector: &str) {
        let element = self.client.find(Locator::Css(selector)).await.unwrap();
        element.click().await.unwrap();
    }

    pub(crate) async fn asks(&self, expression: &str) -> serde_json::Value {
        let script = format!("return {expression};");
        self.client.execute(&script, Vec::new()).await.unwrap()
    }

    /// Lets the page ask for this, and waits for the answer.
    pub(crate) async fn fetches(&self, path: &str) {
        let script = "const done = arguments[1]; fetch(arguments[0]).then(r => r.text()).then(() => setTimeout(done, 100));";
        let answer = self.client.execute_async(script, vec![path.into()]).await;
        answer.unwrap();
    }

    pub(crate) async fn close(self) {
        self.client.close().await.unwrap();
    }
}
