//! Real Redis servers on loopback, each with a folder and ports of its own: one, one with TLS, a master with
//! replicas and Sentinels, a cluster. They end with the value that holds them, and with the thread that started
//! them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anteroom::config::{Config, StoreUrl};
use anteroom::store::Store;
use anteroom::store::redis::{RedisStore, Settings};
use redis::{AsyncConnectionConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo};
use rustix::process::{Pid, Signal, kill_process};

use super::ports::free_port;
use super::wait::{LOOK_EVERY, eventually};

/// Set for a child that runs the conformance suite: the URL of the store.
const URL: &str = "ANTEROOM_TEST_STORE_URL";

/// Long enough for a busy machine; what a test measures has a deadline of its own.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// One server: a Redis or a Sentinel.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    tls: bool,
    dir: tempfile::TempDir,
    /// How often it was started.
    lives: usize,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.dir.path().join("log"));
            let said = said.unwrap_or_default();
            eprintln!("the server at {} said:\n{said}", self.at());
        }
    }
}

impl Server {
    /// A plain server.
    pub(crate) async fn start() -> Server {
        Server::with("").await
    }

    /// A server with these lines in its configuration.
    pub(crate) async fn with(lines: &str) -> Server {
        let mut server = Server::spawn("redis-server", free_port(), lines);
        server.answers().await;
        server
    }

    /// A server that speaks TLS only, asks its clients for a certificate, and has `ca.pem`, `own.pem` and
    /// `own.key` in its folder.
    pub(crate) async fn with_tls() -> Server {
        let dir = tempfile::tempdir().expect("a folder");
        make_certificates(dir.path());
        let port = free_port();
        let at = dir.path().display();
        let lines = format!(
            "port 0\ntls-port {port}\ntls-ca-cert-file {at}/ca.pem\ntls-cert-file {at}/own.pem\ntls-key-file {at}/own.key\n\
             tls-auth-clients yes\n"
        );
        let mut server = Server::spawn_in(dir, "redis-server", port, &lines);
        server.tls = true;
        let at = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        eventually(UP_WITHIN, async || {
            tokio::net::TcpStream::connect(at).await.is_ok()
        })
        .await;
        server
    }

    fn spawn(program: &str, port: u16, lines: &str) -> Server {
        Server::spawn_in(tempfile::tempdir().expect("a folder"), program, port, lines)
    }

    fn spawn_in(dir: tempfile::TempDir, program: &str, port: u16, lines: &str) -> Server {
        let config = dir.path().join("redis.conf");
        let mut text = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nlogfile {}\ndaemonize no\n",
            dir.path().display(),
            dir.path().join("log").display()
        );
        if program == "redis-server" {
            text += "save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n";
        }
        text += lines;
        std::fs::write(&config, text).expect("the folder is ours");
        let mut server = Server {
            child: spawn(program, &config),
            port,
            tls: false,
            dir,
            lives: 1,
        };
        server.still_runs();
        server
    }

    /// Starts it again after [`kill`](Server::kill), with what its folder holds.
    pub(crate) async fn again(&mut self) {
        self.child = spawn("redis-server", &self.dir.path().join("redis.conf"));
        self.lives += 1;
        self.answers().await;
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    /// Holds it: it accepts connections and answers nothing.
    pub(crate) fn hold(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(pid).expect("it runs"), signal).expect("it is ours");
    }

    /// Asks it as its default user.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        // A busy machine takes its time.
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(UP_WITHIN))
            .set_response_timeout(Some(UP_WITHIN));
        let answer = self.asked(words, &patient).await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, where it may refuse or not be there yet.
    pub(crate) async fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        self.asked(words, &AsyncConnectionConfig::new()).await
    }

    async fn asked<T: FromRedisValue>(
        &self,
        words: &[&str],
        config: &AsyncConnectionConfig,
    ) -> redis::RedisResult<T> {
        assert!(!self.tls, "it is asked without TLS");
        let at = ConnectionAddr::Tcp("127.0.0.1".into(), self.port);
        let client = redis::Client::open(at.into_connection_info()?)?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(config)
            .await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    }

    /// Whoever else answers at its port is not taken for it.
    fn still_runs(&mut self) {
        if let Ok(Some(ended)) = self.child.try_wait() {
            panic!("the server at {} ended with {ended}", self.at());
        }
    }

    async fn answers(&mut self) {
        let log = self.dir.path().join("log");
        let since = tokio::time::Instant::now();
        loop {
            self.still_runs();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let ready = said.matches("Ready to accept connections").count();
            let pong: redis::RedisResult<String> = self.try_ask(&["PING"]).await;
            // One that refuses strangers is there as well.
            if ready == self.lives && pong.map_or_else(|error| !error.is_io_error(), |_| true) {
                return;
            }
            let waited = since.elapsed();
            assert!(
                waited < UP_WITHIN,
                "the server at {}: {waited:?}",
                self.at()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The server dies with the thread that started it, also when a test process is killed.
fn spawn(program: &str, config: &Path) -> Child {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "redis-server"])
        .arg(config);
    if program == "redis-sentinel" {
        command.arg("--sentinel");
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
        .spawn()
        .expect("redis-server is installed: tests/run does that")
}

fn make_certificates(dir: &Path) {
    let openssl = |words: &str| {
        let mut openssl = Command::new("openssl");
        openssl
            .args(words.split(' '))
            .current_dir(dir)
            .stderr(Stdio::null());
        let made = openssl.status().expect("openssl is installed");
        assert!(made.success(), "openssl {words}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca"
    ));
    openssl(&format!(
        "req {key} -keyout own.key -out own.csr -subj /CN=test"
    ));
    let extensions = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
    std::fs::write(dir.join("own.ext"), extensions).expect("the folder is ours");
    openssl(
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile own.ext -out own.pem",
    );
}

/// A master, two replicas, and three Sentinels that agree on all of them.
pub(crate) struct Watched {
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

impl Watched {
    /// Starts all of it. The first server is the master.
    pub(crate) async fn start() -> Watched {
        let master = Server::start().await;
        let follow = format!("replicaof 127.0.0.1 {}\n", master.port);
        let servers = vec![Server::with(&follow).await, Server::with(&follow).await];
        let servers: Vec<_> = std::iter::once(master).chain(servers).collect();
        for replica in &servers[1..] {
            eventually(UP_WITHIN, async || {
                let info: String = replica.ask(&["INFO", "replication"]).await;
                info.contains("master_link_status:up")
            })
            .await;
        }
        let watch = format!(
            "sentinel monitor mymaster 127.0.0.1 {} 2\nsentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 3000\n",
            servers[0].port
        );
        let sentinels: Vec<_> = (0..3)
            .map(|_| Server::spawn("redis-sentinel", free_port(), &watch))
            .collect();
        for sentinel in &sentinels {
            eventually(UP_WITHIN, async || {
                let quorum: redis::RedisResult<String> = sentinel
                    .try_ask(&["SENTINEL", "CKQUORUM", "mymaster"])
                    .await;
                let known = sentinel
                    .try_ask(&["SENTINEL", "REPLICAS", "mymaster"])
                    .await;
                let known: redis::RedisResult<Vec<redis::Value>> = known;
                let all = |usable: String| usable.contains("3 usable");
                quorum.is_ok_and(all) && known.is_ok_and(|known| known.len() == 2)
            })
            .await;
        }
        Watched { servers, sentinels }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/mymaster", all(&self.sentinels))
    }
}

/// Three masters that share all slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Starts it.
    pub(crate) async fn start() -> Cluster {
        Cluster::with("").await
    }

    /// The same with these lines in the configuration of each.
    pub(crate) async fn with(more: &str) -> Cluster {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..3 {
            let bus = free_port();
            let lines = format!(
                "cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000\n\
                 cluster-require-full-coverage no\n{more}"
            );
            nodes.push(Server::with(&lines).await);
            buses.push(bus.to_string());
        }
        for (node, (from, to)) in nodes.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
            let (from, to) = (from.to_string(), to.to_string());
            let _: () = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await;
        }
        for (number, (other, bus)) in nodes.iter().zip(&buses).enumerate() {
            let (port, epoch) = (other.port.to_string(), (number + 1).to_string());
            let _: () = other.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
            let _: () = nodes[0]
                .ask(&["CLUSTER", "MEET", "127.0.0.1", &port, bus])
                .await;
        }
        for node in &nodes {
            eventually(UP_WITHIN, async || {
                let info: String = node.ask(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            })
            .await;
        }
        Cluster { nodes }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://{}", all(&self.nodes))
    }

    /// The node that has the keys with this `{}`.
    pub(crate) async fn node_of(&self, tag: &str) -> &Server {
        let slot: u32 = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", tag]).await;
        &self.nodes[[5460, 10922, 16383]
            .iter()
            .position(|to| slot <= *to)
            .expect("a slot")]
    }
}

fn all(servers: &[Server]) -> String {
    let mut text = String::new();
    for server in servers {
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{}", server.at()).expect("a text grows");
    }
    text
}

/// How a URL is reached, with a prefix of its own, so that stores on one server do not meet.
pub(crate) fn settings(url: &str) -> Settings {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let text = "[store]\nurl = { env = \"URL\" }\n";
    let config = Config::parse(text, "test.toml", &|_| Some(url.to_owned()));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    let StoreUrl::Redis(url) = config.store.url else {
        panic!("{url} is no Redis");
    };
    let prefix = format!("t{}.{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
    anteroom::app::redis_settings(&url, &prefix)
}

/// A store at this URL, empty because of its prefix, with the deadlines of production.
pub(crate) fn store(url: &str) -> RedisStore {
    RedisStore::open(settings(url)).expect("there is randomness")
}

/// Where this process shall have its stores, if it is a child that runs the conformance suite.
pub(crate) fn given() -> Option<Arc<dyn Store>> {
    let url = std::env::var(URL).ok()?;
    // Many tests at once on a busy machine: what is looked at here is what a store does, not how fast.
    let settings = Settings {
        call_timeout: Duration::from_secs(20),
        ..settings(&url)
    };
    Some(Arc::new(
        RedisStore::open(settings).expect("there is randomness"),
    ))
}

/// Runs the conformance suite against this URL, in a child, and fails with what it says.
pub(crate) fn conforms(url: &str) {
    let program: PathBuf = std::env::current_exe().expect("it runs");
    let mut suite = Command::new(program);
    suite
        .args(["store_conformance::", "--test-threads", "2"])
        .env(URL, url);
    let ended = suite.output().expect("it starts");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let passed = said
        .lines()
        .filter(|line| line.ends_with(" ... ok"))
        .count();
    assert!(passed >= 10, "{passed} tests are not all: {said}");
}

/// The ACL rule that docs/redis.md gives a user, for keys and channels of this pattern.
pub(crate) fn documented_user(keys: &str) -> String {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/redis.md"));
    let docs = docs.expect("the docs are there");
    let rule = docs
        .lines()
        .find(|line| line.starts_with("user anteroom "))
        .expect("docs/redis.md has the rule");
    rule.replace("anteroom:*", keys)
        .replace(">PASSWORD", ">p@ss")
}
