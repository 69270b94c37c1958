//! One connection to a node_exporter, kept from one question to the next.
//!
//! It has no task of its own: whoever asks drives it. No redirect is followed, nothing is decompressed, and no more is
//! read than [`BODY_BYTES_MAX`].

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::text::Lines;

/// The figures of 1,000 processors are about 700 KB.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A thousand services keep some thousand connections: each has no more than this in memory, in bytes.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// A connection.
pub(super) struct Link {
    send: SendRequest<Empty<Bytes>>,
    /// None once it has ended.
    connection: Option<Driven>,
}

/// What moves the bytes of a connection.
type Driven = Pin<Box<Connection<TokioIo<TcpStream>, Empty<Bytes>>>>;

/// What is asked, the same each time.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) path: Uri,
    pub(super) host: HeaderValue,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing came: on a kept connection the other side may just have closed it.
    Silent(String),
    /// What came is no use.
    Wrong(String),
}

impl Link {
    pub(super) async fn connect(address: SocketAddr) -> Result<Link, String> {
        let told = |error: std::io::Error| format!("it can't be connected to: {error}");
        let stream = TcpStream::connect(address).await.map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        let made = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(stream));
        let (send, connection) = made.await.map_err(|error| words(&error))?;
        Ok(Link {
            send,
            connection: Some(Box::pin(connection)),
        })
    }

    /// Whether it may be asked again. Hears first whether the other side has closed it.
    pub(super) async fn is_free(&mut self) -> bool {
        poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(())
        })
        .await;
        self.connection.is_some() && self.send.is_ready()
    }

    /// Asks, and reads the answer.
    pub(super) async fn ask(
        &mut self,
        question: &Question,
        mut lines: Lines,
    ) -> Result<Lines, Failed> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = question.path.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, question.host.clone());
        headers.insert(header::USER_AGENT, HeaderValue::from_static("anteroom"));
        let mut answer = pin!(self.send.send_request(request));
        let connection = &mut self.connection;
        let answer = poll_fn(|cx| {
            drive(connection, cx);
            answer.as_mut().poll(cx)
        });
        let answer = answer.await;
        let answer = answer.map_err(|error| Failed::Silent(words(&error)))?;
        if answer.status() != 200 {
            let status = answer.status().as_u16();
            return Err(Failed::Wrong(format!("its node_exporter answers {status}")));
        }
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(piece) = self.piece(&mut body).await {
            let piece = piece.map_err(|error| Failed::Wrong(words(&error)))?;
            length += piece.len();
            if length > BODY_BYTES_MAX {
                let why = format!("its metrics are longer than {BODY_BYTES_MAX} bytes");
                return Err(Failed::Wrong(why));
            }
            lines.feed(&piece);
        }
        Ok(lines)
    }

    async fn piece(&mut self, body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
        poll_fn(|cx| {
            drive(&mut self.connection, cx);
            loop {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => return Poll::Ready(Some(Ok(data))),
                        // Trailers.
                        Err(_) => continue,
                    },
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, cx);
    }
}

/// Lets the connection do what it can do now.
fn drive(slot: &mut Option<Driven>, cx: &mut Context<'_>) {
    if let Some(connection) = slot
        && connection.as_mut().poll(cx).is_ready()
    {
        *slot = None;
    }
}

fn words(error: &hyper::Error) -> String {
    let mut words = format!("its node_exporter does not answer: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
