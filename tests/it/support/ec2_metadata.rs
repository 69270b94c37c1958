//! The metadata service of a machine at EC2, version 2 alone: first a token by PUT, then everything else with it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;

use super::ec2::{KEY_ID, SECRET};

const TICKET: &str = "AQAEAHZ-a-token-of-the-metadata-service";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

/// The service of one machine.
#[derive(Clone)]
pub(crate) struct Metadata {
    address: SocketAddr,
    all: Arc<Mutex<All>>,
}

#[derive(Default)]
struct All {
    session: String,
    lasts: Duration,
    given: u32,
}

impl Metadata {
    /// Starts it in the runtime of the test.
    pub(crate) fn start() -> Metadata {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let metadata = Metadata {
            address: listener.local_addr().expect("a bound port"),
            all: Arc::default(),
        };
        tokio::spawn(metadata.clone().serve(listener));
        metadata
    }

    /// Its base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it gives from now on: keys of this session that last so long; without a session nothing.
    pub(crate) fn gives(&self, session: &str, lasts: Duration) {
        let mut all = self.all();
        (all.session, all.lasts) = (session.to_owned(), lasts);
    }

    /// How often it gave keys.
    pub(crate) fn given(&self) -> u32 {
        self.all().given
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().expect("no test panics here")
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let metadata = self.clone();
            let service = hyper::service::service_fn(move |request| {
                let answer = metadata.answer(&request);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        let path = request.uri().path();
        let mut all = self.all();
        let (status, body) = match (request.method(), path) {
            _ if all.session.is_empty() => (500, String::new()),
            (&Method::PUT, "/latest/api/token") => {
                let ttl =
                    header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|ttl| ttl.parse().ok());
                match ttl {
                    Some(1..=21600) => (200, TICKET.to_owned()),
                    _ => (400, String::new()),
                }
            }
            (&Method::GET, _) if header("x-aws-ec2-metadata-token") != Some(TICKET) => {
                (401, String::new())
            }
            (&Method::GET, ROLE) => (200, "anteroom".to_owned()),
            (&Method::GET, path) if path == format!("{ROLE}anteroom") => {
                all.given += 1;
                let expires = jiff::Timestamp::now() + all.lasts;
                let keys = json!({
                    "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
                    "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "Token": all.session,
                    "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                });
                (200, keys.to_string())
            }
            _ => (404, String::new()),
        };
        let mut answer = Response::new(Full::new(body.into()));
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        answer
    }
}
