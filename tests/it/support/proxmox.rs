//! The Python package fakepve: a server that plays Proxmox VE with its states, tasks, locks, rights and words. Each
//! test has its own, which ends with it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

pub(crate) const TOKEN_ID: &str = "anteroom@pve!power";
pub(crate) const SECRET: &str = "12345678-1234-4234-8234-123456789abc";

/// A cluster.
pub(crate) struct Pve {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    port: u16,
    plain: u16,
    sha256: String,
    dir: tempfile::TempDir,
}

impl Drop for Pve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the package is: `ANTEROOM_FAKEPVE`, else where tests/run puts it.
fn package() -> PathBuf {
    let given = std::env::var_os("ANTEROOM_FAKEPVE").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/fakepve"))
}

fn port_of(hello: &Value, key: &str) -> u16 {
    let port = hello[key].as_u64().and_then(|port| port.try_into().ok());
    port.expect("a port")
}

impl Pve {
    /// Starts one that knows our token and no guest.
    pub(crate) fn start() -> Pve {
        let dir = tempfile::tempdir().expect("a folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/proxmox.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(dir.path())
            .env("PYTHONPATH", package())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let order = child.stdin.take().expect("a pipe");
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut hello = String::new();
        answers.read_line(&mut hello).expect("a pipe");
        let hello: Value = serde_json::from_str(&hello)
            .expect("the Python package fakepve is in target/tools; tests/run puts it there");
        let pve = Pve {
            child,
            pipes: Mutex::new((order, answers)),
            port: port_of(&hello, "port"),
            plain: port_of(&hello, "plain"),
            sha256: hello["sha256"].as_str().unwrap().to_owned(),
            dir,
        };
        pve.set(json!({ "apitokens": { TOKEN_ID: SECRET } }));
        pve
    }

    /// Where it listens without TLS.
    pub(crate) fn plain(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.plain))
    }

    /// Its base address.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The file with its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("fakepve.crt")
    }

    /// The SHA-256 of its certificate, in hexadecimal digits.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.sha256
    }

    /// Makes a virtual machine that is off, on the node `pve1`.
    pub(crate) fn make_vm(&self, vmid: u32, name: &str) {
        self.call("add_vm", json!([vmid, name]), json!({}));
        self.set_guest(vmid, json!({ "agent": {} }));
    }

    /// Makes a container that is off, on the node `pve1`.
    pub(crate) fn make_ct(&self, vmid: u32, name: &str) {
        let net = "name=eth0,bridge=vmbr0,ip=192.0.2.20/24";
        let config =
            json!({ "rootfs": format!("local-lvm:vm-{vmid}-disk-0,size=8G"), "net0": net });
        self.call("add_ct", json!([vmid, name]), json!({ "config": config }));
    }

    /// Calls a method of the fake.
    pub(crate) fn call(&self, name: &str, args: Value, kwargs: Value) -> Value {
        self.order(&json!({ "do": "call", "name": name, "args": args, "kwargs": kwargs }))
    }

    /// Sets attributes of the fake.
    pub(crate) fn set(&self, values: Value) {
        self.order(&json!({ "do": "set", "values": values }));
    }

    /// Sets attributes of a guest.
    pub(crate) fn set_guest(&self, vmid: u32, values: Value) {
        self.order(&json!({ "do": "set", "vmid": vmid, "values": values }));
    }

    /// An attribute of a guest; null when there is no such guest.
    pub(crate) fn guest(&self, vmid: u32, name: &str) -> Value {
        self.order(&json!({ "do": "get", "vmid": vmid, "name": name }))
    }

    /// Guests that run.
    pub(crate) fn running(&self) -> usize {
        let guests = self.order(&json!({ "do": "guests" }));
        let guests = guests.as_array().expect("a list");
        guests
            .iter()
            .filter(|guest| guest["status"] == "running")
            .count()
    }

    fn guests(&self) -> Vec<Value> {
        let guests = self.order(&json!({ "do": "guests" }));
        guests.as_array().expect("a list").clone()
    }

    /// How many guests there are.
    pub(crate) fn all(&self) -> usize {
        self.guests().len()
    }

    /// The names of guests that are clones.
    pub(crate) fn clones(&self) -> Vec<String> {
        let names = self.guests().into_iter();
        let names = names.filter(|guest| guest["vmid"] != 100);
        let names = names.filter_map(|guest| guest["name"].as_str().map(str::to_owned));
        names.filter(|name| name.starts_with("ar-")).collect()
    }

    /// What the first clone says of itself.
    pub(crate) fn clones_config(&self) -> Value {
        let name = self.clones().remove(0);
        let guests = self.guests().into_iter();
        let mut guests = guests.filter(|guest| guest["name"] == *name);
        guests.next().expect("it is there")["config"].clone()
    }

    /// Gives a virtual machine another name.
    pub(crate) fn rename(&self, name: &str, to: &str) {
        let guests = self.guests().into_iter();
        let mut guests = guests.filter(|guest| guest["name"] == *name);
        let guest = guests.next().expect("it is there");
        let vmid = guest["vmid"].as_u64().and_then(|it| it.try_into().ok());
        self.set_guest(
            vmid.unwrap(),
            json!({ "name": to, "config": { "name": to } }),
        );
    }

    /// How many requests of this method had this in their path.
    pub(crate) fn calls(&self, method: &str, part: &str) -> usize {
        let all = self.order(&json!({ "do": "requests" }));
        let all = all.as_array().expect("a list");
        let is_one = |call: &&Value| {
            let call = call.as_str().unwrap_or_default();
            call.starts_with(&format!("{method} ")) && call.contains(part)
        };
        all.iter().filter(is_one).count()
    }

    fn order(&self, order: &Value) -> Value {
        let mut pipes = self.pipes.lock().expect("no test panics here");
        writeln!(pipes.0, "{order}").expect("it runs");
        let mut answer = String::new();
        pipes.1.read_line(&mut answer).expect("it runs");
        let answer: Value = serde_json::from_str(&answer).expect("it answers");
        assert!(answer.get("error").is_none(), "{order}: {answer}");
        answer["ok"].clone()
    }
}
