//! An answer as it goes over the wire, made once and sent often.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::engine::time::Time;
use crate::http::reply::Reply;
use crate::page::Sheet;

/// A client that takes nothing for so long is gone.
const STALLED_MAX: Duration = Duration::from_secs(30);

/// A head without its last lines, and a body, which may have a gap for a nonce.
#[derive(Clone, Debug)]
pub(in crate::http) struct Wire {
    head: Bytes,
    body: Sheet,
}

impl Wire {
    /// The head of an answer of ours, with this body.
    pub(in crate::http) fn new(reply: &Reply, body: Sheet) -> Wire {
        let mut head = lines_of(reply);
        let length = body.length().to_string();
        push_line(
            &mut head,
            header::CONTENT_LENGTH.as_str(),
            length.as_bytes(),
        );
        let head = head.into();
        Wire { head, body }
    }

    /// Bytes that it takes.
    pub(in crate::http) fn weight(&self) -> usize {
        self.head.len() + self.body.length()
    }

    /// The body with this nonce.
    pub(in crate::http) fn body(&self, nonce: &str) -> Bytes {
        self.body.whole(nonce)
    }

    /// An answer of ours whose body comes in chunks (RFC 9112 §7.1).
    pub(super) fn chunked(reply: &Reply) -> Wire {
        let mut head = lines_of(reply);
        push_line(&mut head, header::TRANSFER_ENCODING.as_str(), b"chunked");
        let (head, body) = (head.into(), Sheet::default());
        Wire { head, body }
    }

    /// Sends it, with the date, and with this nonce in its gap.
    pub(super) async fn send(
        &self,
        stream: &mut TcpStream,
        now: Time,
        nonce: &str,
    ) -> io::Result<()> {
        let body = self.body.filled(nonce);
        let [before, nonce, after, seal] = body.pieces();
        let date = date_line(now);
        send(stream, [&self.head, &date, before, nonce, after, seal]).await
    }
}

/// Sends one chunk.
pub(super) async fn send_chunk(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let size = format!("{:x}\r\n", bytes.len());
    send(stream, [size.as_bytes(), bytes, b"\r\n"]).await
}

/// Sends the end of the chunks.
pub(super) async fn send_last_chunk(stream: &mut TcpStream) -> io::Result<()> {
    send(stream, [b"0\r\n\r\n"]).await
}

async fn send<const N: usize>(stream: &mut TcpStream, pieces: [&[u8]; N]) -> io::Result<()> {
    let whole: usize = pieces.iter().map(|piece| piece.len()).sum();
    let slices = pieces.map(IoSlice::new);
    // Nearly always all of it finds room at once.
    let mut sent = match stream.try_write_vectored(&slices) {
        Ok(sent) => sent,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    if sent == whole {
        return Ok(());
    }
    for piece in pieces {
        let (skipped, rest) = piece.split_at(sent.min(piece.len()));
        sent -= skipped.len();
        send_slowly(stream, rest).await?;
    }
    Ok(())
}

async fn send_slowly(stream: &mut TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let stalled = |_| io::Error::from(io::ErrorKind::TimedOut);
        let sent = timeout(STALLED_MAX, stream.write(rest))
            .await
            .map_err(stalled)??;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = &rest[sent..];
    }
    Ok(())
}

fn lines_of(reply: &Reply) -> Vec<u8> {
    let status = reply.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in reply.headers() {
        push_line(&mut head, name.as_str(), value.as_bytes());
    }
    head
}

fn push_line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(piece);
    }
}

/// The line with the date (RFC 9110 §6.6.1) and the end of the head. Each thread writes it once a second.
fn date_line(now: Time) -> Bytes {
    thread_local! {
        static WRITTEN: RefCell<(u64, Bytes)> = const { RefCell::new((0, Bytes::new())) };
    }
    let second = now.0 / 1_000;
    WRITTEN.with_borrow_mut(|(at, line)| {
        if *at != second || line.is_empty() {
            let date = UNIX_EPOCH
                .checked_add(Duration::from_secs(second))
                .unwrap_or(SystemTime::UNIX_EPOCH);
            *line = format!("date: {}\r\n\r\n", httpdate::fmt_http_date(date)).into();
            *at = second;
        }
        line.clone()
    })
}
