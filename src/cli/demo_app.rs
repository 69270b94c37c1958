//! The small app that `anteroom demo` wakes: it takes its time to start, as real ones do, then answers every
//! request with a page.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

const PAGE: &str = include_str!("../../templates/demo_app.html");

/// Waits for `start_up`, then serves on loopback until the process is ended.
///
/// # Errors
/// When the port can't be listened on.
pub(super) async fn serve(port: u16, start_up: Duration) -> std::io::Result<()> {
    tokio::time::sleep(start_up).await;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let service = service_fn(|_| async {
                let mut answer = Response::new(Full::new(Bytes::from_static(PAGE.as_bytes())));
                let kind = header::HeaderValue::from_static("text/html; charset=utf-8");
                answer.headers_mut().insert(header::CONTENT_TYPE, kind);
                Ok::<_, std::convert::Infallible>(answer)
            });
            // A connection that breaks off is the client's affair.
            let mut server = http1::Builder::new();
            let _ = server
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
