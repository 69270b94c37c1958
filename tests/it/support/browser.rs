//! A real browser without a window, driven over WebDriver, and over Chromium's own protocol where that says more.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::visitor::soon;
use super::wait::LOOK_EVERY;

/// A browser may need this long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was killed is gone after this long, even on a busy machine.
const END: Duration = Duration::from_secs(5);

/// A browser with a profile of its own.
pub(crate) struct Browser {
    pub(crate) client: Client,
    family: Family,
}

/// The driver, the browser that it starts and all the browser's processes, which are one process group, and the folder
/// that is the temporary one to them. When it is dropped, also by a test that fails, all of it is gone.
struct Family {
    driver: Child,
    group: Pid,
    folder: TempDir,
}

impl Family {
    fn start() -> Family {
        let folder = tempfile::Builder::new().prefix("browser-").tempdir();
        let folder = folder.expect("a folder");
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed (see tests/run)");
        let id = driver.id().expect("it runs").cast_signed();
        Family {
            driver,
            group: Pid::from_raw(id).expect("a process id"),
            folder,
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // The driver is ours and not yet waited for, so that the id of its group can't be anybody else's.
        let _ = kill_process_group(self.group, Signal::KILL);
        let killed = Instant::now();
        while is_alive(self.group) && killed.elapsed() < END {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether a process of this group runs; one that has ended and that nobody has waited for does not.
fn is_alive(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").expect("Linux");
    processes.flatten().any(|process| {
        // What it is called stands in brackets, then: state, parent, group (proc_pid_stat(5)).
        let stat = std::fs::read_to_string(process.path().join("stat"));
        let stat = stat.unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = rest.split(' ').take(3).collect();
        matches!(fields[..], [state, _, of] if of == group && !["Z", "X"].contains(&state))
    })
}

impl Browser {
    /// Starts one, with these extra arguments.
    pub(crate) async fn start(more: &[&str]) -> Browser {
        let mut family = Family::start();
        let mut lines = BufReader::new(family.driver.stdout.take().unwrap()).lines();
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
            family,
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

    /// Presses one key, as a person does: `Tab`, `Shift+Tab`, `Enter`, `ArrowUp`, a space.
    pub(crate) async fn types(&self, key: &str) {
        let (shift, key) = match key.strip_prefix("Shift+") {
            Some(key) => (true, key),
            None => (false, key),
        };
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "End" => (35, ""),
            "Home" => (36, ""),
            "ArrowLeft" => (37, ""),
            "ArrowUp" => (38, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
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

    /// The folder that is the temporary one to it, with its profile.
    pub(crate) fn folder(&self) -> &Path {
        self.family.folder.path()
    }

    /// Whether one of its processes runs, in answers that outlive it.
    pub(crate) fn pulse(&self) -> impl Fn() -> bool + use<> {
        let group = self.family.group;
        move || is_alive(group)
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

#[tokio::test]
#[ignore = "needs chromium and chromium-driver: run tests/run"]
async fn of_a_test_that_fails_no_browser_is_left_and_no_file_of_it() {
    let (told, traces) = tokio::sync::oneshot::channel();
    let test = tokio::spawn(async {
        let browser = Browser::start(&[]).await;
        let pulse = browser.pulse();
        assert!(pulse(), "it runs");
        let folder = browser.folder().to_owned();
        let profile = std::fs::read_dir(&folder).unwrap().count();
        assert!(profile > 0, "its files are in its own folder");
        told.send((pulse, folder)).unwrap_or_default();
        std::panic::resume_unwind(Box::new("as a failed test does"));
    });
    let failed = test.await.is_err_and(|error| error.is_panic());
    assert!(failed);
    let (pulse, folder) = traces.await.unwrap();
    assert!(!pulse(), "a process is left");
    assert!(!folder.exists(), "a file is left");
}
