//! A machine that the test itself plays, behind the webhook of the `command` provider: it counts calls, takes
//! its time, and runs a small app that speaks HTTP and WebSocket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the app says in every answer.
pub(crate) const APP: &str = "this is the app";

/// A machine and the webhook that commands it.
#[derive(Clone)]
pub(crate) struct Machine {
    inner: Arc<Inner>,
}

struct Inner {
    webhook: SocketAddr,
    app: SocketAddr,
    start_up: Duration,
    starts: AtomicU32,
    stops: AtomicU32,
    hangs: AtomicBool,
    running: Mutex<Option<CancellationToken>>,
}

impl Machine {
    /// A machine that is off and whose app takes `start_up` to listen.
    pub(crate) async fn new(start_up: Duration) -> Machine {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback can be bound");
        let inner = Arc::new(Inner {
            webhook: listener.local_addr().expect("it is bound"),
            app: own_address(),
            start_up,
            starts: AtomicU32::new(0),
            stops: AtomicU32::new(0),
            hangs: AtomicBool::new(false),
            running: Mutex::new(None),
        });
        let machine = Machine { inner };
        let webhook = machine.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let webhook = webhook.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| webhook.clone().commanded(request));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        machine
    }

    /// The provider block for the configuration.
    pub(crate) fn provider(&self) -> String {
        format!(
            "provider = {{ kind = \"command\", webhook = {{ url = \"http://{}/\" }}, address = \"{}\", timeout = \"5s\" }}",
            self.inner.webhook, self.inner.app
        )
    }

    /// The port that the app listens on while the machine runs.
    pub(crate) fn app_port(&self) -> u16 {
        self.inner.app.port()
    }

    /// Where the app listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.inner.app
    }

    /// Start calls so far.
    pub(crate) fn starts(&self) -> u32 {
        self.inner.starts.load(SeqCst)
    }

    /// Stop calls so far.
    pub(crate) fn stops(&self) -> u32 {
        self.inner.stops.load(SeqCst)
    }

    /// Whether it runs.
    pub(crate) fn runs(&self) -> bool {
        self.inner
            .running
            .lock()
            .expect("no test panics here")
            .is_some()
    }

    /// From now on the provider accepts calls and never answers.
    pub(crate) fn hang(&self, hangs: bool) {
        self.inner.hangs.store(hangs, SeqCst);
    }

    /// The machine goes away by itself.
    pub(crate) fn crash(&self) {
        if let Some(running) = self
            .inner
            .running
            .lock()
            .expect("no test panics here")
            .take()
        {
            running.cancel();
        }
    }

    async fn commanded(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let body = request.into_body().collect().await?.to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if self.inner.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        match body["action"].as_str() {
            Some("start") => self.start(),
            Some("stop") => {
                self.inner.stops.fetch_add(1, SeqCst);
                self.crash();
            }
            Some("state") => {}
            _ => return Ok(answer(StatusCode::BAD_REQUEST, "no such action")),
        }
        let state = if self.runs() { "running" } else { "stopped" };
        Ok(answer(
            StatusCode::OK,
            &json!({ "state": state }).to_string(),
        ))
    }

    /// Switches it on.
    pub(crate) fn start(&self) {
        self.inner.starts.fetch_add(1, SeqCst);
        let mut running = self.inner.running.lock().expect("no test panics here");
        if running.is_none() {
            let end = CancellationToken::new();
            *running = Some(end.clone());
            let machine = self.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = machine.app(end.clone()) => {}
                }
            });
        }
    }

    async fn app(self, end: CancellationToken) {
        tokio::time::sleep(self.inner.start_up).await;
        let listener = TcpListener::bind(self.inner.app)
            .await
            .expect("the port is free");
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let (machine, ended) = (self.clone(), end.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| machine.clone().serve(request));
                let server = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                tokio::select! {
                    () = ended.cancelled() => {}
                    _ = server => {}
                }
            });
        }
    }

    async fn serve(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        if let Some(key) = request.headers().get("sec-websocket-key").cloned() {
            return Ok(self.upgrade(&mut request, key.as_bytes()));
        }
        if request.method() == Method::POST {
            let body = request.into_body().collect().await?.to_bytes();
            return Ok(answer(
                StatusCode::OK,
                &format!("{APP}: {} bytes", body.len()),
            ));
        }
        Ok(answer(StatusCode::OK, APP))
    }

    fn upgrade(&self, request: &mut Request<Incoming>, key: &[u8]) -> Response<Full<Bytes>> {
        use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::Role};
        let accept = derive_accept_key(key);
        let upgraded = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgraded.await else { return };
            let stream = TokioIo::new(upgraded);
            let socket =
                tokio_tungstenite::WebSocketStream::from_raw_socket(stream, Role::Server, None)
                    .await;
            let (write, read) = futures_util::StreamExt::split(socket);
            // Echoes until the client closes.
            let _ = futures_util::StreamExt::forward(read, write).await;
        });
        let mut answer = answer(StatusCode::SWITCHING_PROTOCOLS, "");
        let headers = answer.headers_mut();
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("upgrade"),
        );
        headers.insert(
            header::UPGRADE,
            header::HeaderValue::from_static("websocket"),
        );
        headers.insert(
            "sec-websocket-accept",
            accept.parse().expect("base64 is a header value"),
        );
        answer
    }
}

/// A loopback address that is this machine's alone, so that no outgoing connection takes its port while it is off.
fn own_address() -> SocketAddr {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let [_, _, high, low] = (NUMBER.fetch_add(1, SeqCst) + (std::process::id() << 8)).to_be_bytes();
    SocketAddr::from(([127, 77, high, low.max(1)], super::ports::free_port()))
}

fn answer(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    answer
}
