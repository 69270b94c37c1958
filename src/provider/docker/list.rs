//! The names of containers, read past the client: it refuses a whole list in which one container is in a state that
//! only Podman has.

use bollard::errors::Error;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::engine::Endpoint;

/// The most that is read of a list: some ten thousand containers.
const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Names", default)]
    names: Vec<String>,
}

/// The first name of every container that has this label, running or not.
pub(super) async fn names(
    endpoint: &Endpoint,
    version: String,
    label: &str,
) -> Result<Vec<String>, Error> {
    let filters = serde_json::json!({ "label": [label] }).to_string();
    let mut url = reqwest::Url::parse("http://localhost").expect("it is one");
    url.set_path(&format!("/v{version}/containers/json"));
    url.query_pairs_mut()
        .append_pair("all", "true")
        .append_pair("filters", &filters);
    let path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    let body = match endpoint {
        Endpoint::Unix(socket) => get(UnixStream::connect(socket).await?, &path).await?,
        Endpoint::Tcp(host) => get(TcpStream::connect(host).await?, &path).await?,
    };
    let listed: Vec<Listed> = serde_json::from_slice(&body)?;
    let names = listed
        .into_iter()
        .filter_map(|it| it.names.into_iter().next());
    Ok(names
        .map(|name| name.trim_start_matches('/').to_owned())
        .collect())
}

async fn get<S>(stream: S, path: &str) -> Result<Bytes, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| std::io::Error::other(error);
    let (mut engine, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())?;
    let answer = engine.send_request(request).await.map_err(broken)?;
    let status_code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LIST_BYTES_MAX).collect();
    let body = body.await.map_err(std::io::Error::other)?.to_bytes();
    connection.abort();
    match status_code {
        200 => Ok(body),
        _ => Err(Error::DockerResponseServerError {
            status_code,
            message: String::from_utf8_lossy(&body).into_owned(),
        }),
    }
}
