//! The Python package moto: EC2 as others understand it. Each test has its own, which ends with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// An account in every region.
pub(crate) struct Moto {
    child: Child,
    _stdin: ChildStdin,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the package is: `ANTEROOM_MOTO`, else where tests/run puts it.
fn package() -> PathBuf {
    let given = std::env::var_os("ANTEROOM_MOTO").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/moto"))
}

impl Moto {
    pub(crate) fn start() -> Moto {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/ec2_moto.py");
        let mut child = Command::new("python3")
            .arg(script)
            .env("PYTHONPATH", package())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 is installed");
        let stdin = child.stdin.take().expect("a pipe");
        let mut said = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        lines.read_line(&mut said).expect("a pipe");
        let port = said.trim().parse();
        Moto {
            child,
            _stdin: stdin,
            port: port
                .expect("the Python package moto is in target/tools; tests/run puts it there"),
        }
    }

    /// Its base address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a call as somebody else; the first value of this element in its answer.
    pub(crate) async fn call(&self, region: &str, form: &str, element: &str) -> String {
        let text = self.ask(region, form).await;
        let document = roxmltree::Document::parse(&text).expect("XML");
        let node = document
            .descendants()
            .find(|node| node.tag_name().name() == element);
        let value = node.and_then(|node| node.text()).map(str::to_owned);
        value.unwrap_or_else(|| panic!("no {element}: {text}"))
    }

    /// Everything that is not terminated: its id, its state, and its tag `anteroom`.
    pub(crate) async fn machines(&self, region: &str) -> Vec<(String, String, Option<String>)> {
        let text = self.ask(region, "Action=DescribeInstances").await;
        let document = roxmltree::Document::parse(&text).expect("XML");
        let text_of = |node: roxmltree::Node<'_, '_>, name: &str| {
            let child = node
                .children()
                .find(|child| child.tag_name().name() == name);
            child.and_then(|child| child.text()).map(str::to_owned)
        };
        let machine = |node: roxmltree::Node<'_, '_>| {
            let id = text_of(node, "instanceId")?;
            let named = |name: &'static str| {
                node.children()
                    .find(move |child| child.tag_name().name() == name)
            };
            let state = text_of(named("instanceState")?, "name")?;
            let tags = named("tagSet").into_iter().flat_map(|tags| tags.children());
            let ours = tags.filter(|tag| text_of(*tag, "key").as_deref() == Some("anteroom"));
            let mark = ours.filter_map(|tag| text_of(tag, "value")).next();
            (state != "terminated").then_some((id, state, mark))
        };
        document.descendants().filter_map(machine).collect()
    }

    async fn ask(&self, region: &str, form: &str) -> String {
        let who = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=0"
        );
        let client = anteroom::telemetry::http_client().no_proxy().build();
        let answer = client
            .expect("a client")
            .post(self.url())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("authorization", who)
            .body(format!("{form}&Version=2016-11-15"))
            .send()
            .await
            .expect("it answers");
        answer.text().await.expect("text")
    }
}
