//! A real browser without a window, driven over WebDriver, and over Chromium's own protocol where that says more.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
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
        wanted.insert("goog:loggingPrefs".into(), json!({ "browser": "ALL" }));
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
        // The page may be left for another one while it is looked at: the driver calls that an error.
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let wait = self.client.wait().at_most(PATIENCE);
                match wait.for_element(Locator::XPath(xpath)).await {
                    Err(error) if error.to_string().contains("aborted by navigation") => {}
                    other => break other,
                }
            }
        });
        let found = found.await.map_err(|late| late.to_string());
        let found = found.and_then(|found| found.map_err(|error| error.to_string()));
        if let Err(error) = found {
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

    /// Presses one key, as a person does: `Tab`, `Shift+Tab`, `Enter`, a space.
    pub(crate) async fn types(&self, key: &str) {
        let (shift, key) = match key.strip_prefix("Shift+") {
            Some(key) => (true, key),
            None => (false, key),
        };
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => (32, " "),
        };
        for kind in ["keyDown", "keyUp"] {
            let params = json!({
                "type": kind, "key": key, "windowsVirtualKeyCode": code,
                "modifiers": if shift { 8 } else { 0 },
                "text": if kind == "keyDown" { text } else { "" },
            });
            self.commands("Input.dispatchKeyEvent", params).await;
        }
    }

    pub(crate) async fn asks(&self, expression: &str) -> Value {
        let script = format!("return {expression};");
        self.client.execute(&script, Vec::new()).await.unwrap()
    }

    /// Runs the body of a function in the page.
    pub(crate) async fn runs(&self, body: &str) -> Value {
        self.client.execute(body, Vec::new()).await.unwrap()
    }

    /// Lets the page ask for this, and waits for the answer.
    pub(crate) async fn fetches(&self, path: &str) {
        let script = "const done = arguments[1]; fetch(arguments[0]).then(r => r.text()).then(() => setTimeout(done, 100));";
        let answer = self.client.execute_async(script, vec![path.into()]).await;
        answer.unwrap();
    }

    /// Gives one of Chromium's own commands.
    pub(crate) async fn commands(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        let answer = self.client.issue_cmd(Own("goog/cdp/execute", body)).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The page is shown with these media features from now on: `prefers-color-scheme`, `forced-colors`, ...
    pub(crate) async fn prefers(&self, features: &[(&str, &str)]) {
        let feature = |(name, value)| json!({ "name": name, "value": value });
        let features: Vec<_> = features.iter().copied().map(feature).collect();
        let params = json!({ "features": features });
        self.commands("Emulation.setEmulatedMedia", params).await;
    }

    /// The window has this size in CSS pixels from now on.
    pub(crate) async fn is_sized(&self, width: u32, height: u32) {
        let params =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.commands("Emulation.setDeviceMetricsOverride", params)
            .await;
    }

    /// The window as it looks: a PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let params = json!({ "format": "png", "optimizeForSpeed": true });
        let answer = self.commands("Page.captureScreenshot", params).await;
        STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// What the browser has written to its console since the last time: errors, warnings, breaches of the policy.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self
            .client
            .issue_cmd(Own("se/log", json!({ "type": "browser" })));
        let log = log.await.unwrap();
        let lines = log.as_array().unwrap().iter();
        lines.map(|line| line["message"].to_string()).collect()
    }

    pub(crate) async fn close(self) {
        self.client.close().await.unwrap();
    }
}

/// A command that only Chromium's driver knows: where it goes, and its body.
#[derive(Debug)]
struct Own(&'static str, Value);

impl WebDriverCompatibleCommand for Own {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/{}", self.0))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.1.to_string()))
    }
}
