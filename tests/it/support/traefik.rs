//! Starts the real Traefik with exactly the files of `traefik/`; only addresses and paths are replaced.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use super::ports::free_port;
use super::wait::eventually;

/// A running Traefik.
pub(crate) struct Traefik {
    /// Ends with this value.
    _child: Child,
    /// Where visitors come in.
    pub(crate) web: SocketAddr,
    /// Its API and metrics.
    pub(crate) api: String,
    /// The directory it watches.
    pub(crate) dynamic: PathBuf,
}

/// What is replaced in the files beside Traefik's own ports.
pub(crate) struct Places {
    /// The visitors' port of Anteroom.
    pub(crate) room: u16,
    /// The admin port of Anteroom.
    pub(crate) admin: u16,
    /// The machine of the hand-written way.
    pub(crate) machine: SocketAddr,
}

fn program() -> PathBuf {
    let given = std::env::var_os("ANTEROOM_TRAEFIK").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/traefik");
    given
        .or_else(|| own.exists().then_some(own))
        .unwrap_or_else(|| "traefik".into())
}

impl Traefik {
    /// Starts Traefik with the files of `traefik/<way>/`, in `dir`.
    pub(crate) async fn start(dir: &Path, way: &str, places: &Places) -> Traefik {
        let (web, api) = (free_port(), free_port());
        let dynamic = dir.join("dynamic");
        std::fs::create_dir_all(&dynamic).expect("the directory is ours");
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("traefik")
            .join(way);
        let put = |text: &str| {
            text.replace("\":80\"", &format!("\"127.0.0.1:{web}\""))
                .replace("127.0.0.1:8082", &format!("127.0.0.1:{api}"))
                .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", places.room))
                .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", places.admin))
                .replace("10.0.0.7:80", &places.machine.to_string())
                .replace("/etc/traefik/dynamic", &dynamic.display().to_string())
        };
        let text =
            std::fs::read_to_string(source.join("traefik.yml")).expect("the way has a static file");
        let config = dir.join("traefik.yml");
        std::fs::write(&config, put(&text)).expect("the directory is ours");
        for file in std::fs::read_dir(source.join("dynamic"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = std::fs::read_to_string(file.path()).expect("a text");
            std::fs::write(dynamic.join(file.file_name()), put(&text))
                .expect("the directory is ours");
        }
        let log = std::fs::File::create(dir.join("traefik.log")).expect("the directory is ours");
        let child = Command::new(program())
            .arg(format!("--configFile={}", config.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("Traefik is installed: tests/run does that");
        let api = format!("http://127.0.0.1:{api}");
        let ping = format!("{api}/ping");
        let http = anteroom::telemetry::http_client()
            .no_proxy()
            .build()
            .expect("a client");
        eventually(Duration::from_secs(20), async || {
            http.get(&ping)
                .send()
                .await
                .is_ok_and(|a| a.status() == 200)
        })
        .await;
        Traefik {
            _child: child,
            web: SocketAddr::from(([127, 0, 0, 1], web)),
            api,
            dynamic,
        }
    }

    /// The `[traefik]` section that goes with it.
    pub(crate) fn section(&self, kind: &str, room: u16) -> String {
        let publish = match kind {
            "file" => format!(
                "{{ kind = \"file\", path = \"{}\" }}",
                self.dynamic.join("anteroom.yml").display()
            ),
            kind => format!("{{ kind = \"{kind}\" }}"),
        };
        format!(
            "[traefik]\npublish = {publish}\nroom_url = \"http://127.0.0.1:{room}\"\npublic_url = \"http://{}\"\n\
             api = \"{}\"\nentrypoints = [\"web\"]\n",
            self.web, self.api
        )
    }
}
