//! The others: nginx, haproxy and Traefik, each set up to do its best at the same work.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Bench;
use crate::kit::{self, Process};

/// A server of the comparison.
pub(crate) struct Peer {
    _process: Process,
    pub(crate) port: u16,
}

/// A directory for one server.
pub(crate) fn place(bench: &Bench, name: &str) -> anyhow::Result<PathBuf> {
    let dir = bench.work.path().join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A Redis that keeps nothing, and its port.
pub(crate) async fn redis(bench: &Bench, name: &str) -> anyhow::Result<(Process, u16)> {
    let (dir, port) = (place(bench, name)?, kit::free_port()?);
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(&dir);
    let mut process = Process::start(&mut command, &dir.join("log"))?;
    kit::listening(&mut process, port).await?;
    Ok((process, port))
}

async fn start(command: &mut Command, dir: &Path, port: u16) -> anyhow::Result<Peer> {
    let log = dir.join("log");
    let mut process = Process::start(command, &log)?;
    if let Err(error) = kit::listening(&mut process, port).await {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        return Err(error.context(said));
    }
    Ok(Peer {
        _process: process,
        port,
    })
}

/// Writes a configuration of nginx whose only server has these locations, and gives the command that runs it.
/// One worker for each processor, no access log, open files kept.
pub(crate) fn nginx_command(
    dir: &Path,
    port: u16,
    upstreams: &str,
    locations: &str,
) -> anyhow::Result<Command> {
    let path = dir.display();
    // As root, the workers must be able to read our directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let config = format!(
        "{user}
daemon off;
worker_processes auto;
pid {path}/pid;
error_log {path}/error.log;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  open_file_cache max=100 inactive=60s;
  open_file_cache_valid 60s;
  client_body_temp_path {path}/body;
  proxy_temp_path {path}/proxy;
  fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi;
  scgi_temp_path {path}/scgi;
  {upstreams}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    {locations}
  }}
}}
"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config)?;
    let mut command = Command::new("nginx");
    command.args([
        "-p".as_ref(),
        dir.as_os_str(),
        "-c".as_ref(),
        file.as_os_str(),
    ]);
    Ok(command)
}

/// nginx with these locations.
pub(crate) async fn nginx(
    bench: &Bench,
    name: &str,
    upstreams: &str,
    locations: &str,
) -> anyhow::Result<Peer> {
    let (dir, port) = (place(bench, name)?, kit::free_port()?);
    let mut command = nginx_command(&dir, port, upstreams, locations)?;
    start(&mut command, &dir, port).await
}

/// The HTTP library alone, which answers this head and body to everything.
pub(crate) async fn bare(bench: &Bench, name: &str, answer: &[u8]) -> anyhow::Result<Peer> {
    let (dir, port) = (place(bench, name)?, kit::free_port()?);
    let file = dir.join("answer");
    std::fs::write(&file, answer)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare").arg(port.to_string()).arg(&file);
    start(&mut command, &dir, port).await
}

/// nginx in front of an app.
pub(crate) async fn nginx_proxy(bench: &Bench, app: u16) -> anyhow::Result<Peer> {
    let upstreams = format!(
        "upstream app {{ server 127.0.0.1:{app}; keepalive 256; keepalive_requests 1000000; }}"
    );
    // Without temporary files: a disk would only slow it down.
    let locations = "location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }";
    nginx(bench, "nginx-proxy", &upstreams, locations).await
}

/// haproxy in front of an app.
pub(crate) async fn haproxy(bench: &Bench, app: u16) -> anyhow::Result<Peer> {
    let (dir, port) = (place(bench, "haproxy")?, kit::free_port()?);
    let threads = kit::cores();
    let config = format!(
        "global
  nbthread {threads}
  maxconn 8000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend visitors
  bind 127.0.0.1:{port}
  default_backend app
backend app
  server app 127.0.0.1:{app}
"
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, config)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    start(&mut command, &dir, port).await
}

/// Traefik, with the dynamic files of a directory, and its API and metrics on a port of its own.
pub(crate) struct Traefik {
    pub(crate) peer: Peer,
    pub(crate) api: u16,
}

/// Where Traefik reads its dynamic files.
pub(crate) fn dynamic_dir(bench: &Bench, name: &str) -> anyhow::Result<PathBuf> {
    place(bench, &format!("{name}/dynamic"))
}

/// Traefik as the documentation recommends it for use with Anteroom; `name` is its place.
pub(crate) async fn traefik(bench: &Bench, name: &str) -> anyhow::Result<Traefik> {
    let dynamic = dynamic_dir(bench, name)?;
    let (dir, port, api) = (place(bench, name)?, kit::free_port()?, kit::free_port()?);
    let config = format!(
        "global: {{checkNewVersion: false, sendAnonymousUsage: false}}
log: {{level: ERROR, noColor: true}}
entryPoints:
  web: {{address: \"127.0.0.1:{port}\"}}
  traefik: {{address: \"127.0.0.1:{api}\"}}
api: {{insecure: true, dashboard: false}}
ping: {{}}
metrics:
  prometheus: {{addEntryPointsLabels: true, addRoutersLabels: true, addServicesLabels: true}}
providers:
  providersThrottleDuration: 200ms
  file: {{directory: \"{}\", watch: true}}
",
        dynamic.display()
    );
    let file = dir.join("traefik.yml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(&bench.traefik);
    command.arg(format!("--configfile={}", file.display()));
    Ok(Traefik {
        peer: start(&mut command, &dir, port).await?,
        api,
    })
}

/// Traefik in front of an app, and nothing else.
pub(crate) async fn traefik_proxy(bench: &Bench, app: u16) -> anyhow::Result<Traefik> {
    let config = format!(
        "http:
  routers:
    app: {{rule: \"PathPrefix(`/`)\", service: app, entryPoints: [web]}}
  services:
    app: {{loadBalancer: {{servers: [{{url: \"http://127.0.0.1:{app}\"}}]}}}}
"
    );
    let dir = dynamic_dir(bench, "traefik-proxy")?;
    std::fs::write(dir.join("app.yml"), config)?;
    traefik(bench, "traefik-proxy").await
}
