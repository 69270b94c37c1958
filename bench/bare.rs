//! The HTTP library that Anteroom is made with, and nothing around it: it answers every request with the same
//! bytes. It says how much of a difference is the library's and how much is ours.

use std::convert::Infallible;
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// `bare PORT FILE`: the file holds a head and a body, as they came over the wire.
pub(crate) async fn serve(args: &[String]) -> anyhow::Result<()> {
    let [port, file] = args else {
        anyhow::bail!("bare PORT FILE");
    };
    let (headers, body) = read(Path::new(file))?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (headers, body) = (headers.clone(), body.clone());
        let service = service_fn(move |_: Request<Incoming>| {
            let mut answer = Response::new(Full::new(body.clone()));
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            *answer.headers_mut() = headers.clone();
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn read(file: &Path) -> anyhow::Result<(HeaderMap, Bytes)> {
    let bytes = std::fs::read(file)?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.context("no head")? + 4);
    let head = std::str::from_utf8(head)?.trim_end();
    let mut headers = HeaderMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").context("no header")?;
        let name: HeaderName = name.parse()?;
        if name != "date" && name != "content-length" {
            headers.append(name, HeaderValue::from_str(value)?);
        }
    }
    Ok((headers, Bytes::copy_from_slice(body)))
}
