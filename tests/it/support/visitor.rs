//! A visitor that speaks HTTP by hand, so that a test sees what really goes over the wire.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing on loopback takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Visitor {
    pub(crate) stream: TcpStream,
    ahead: Vec<u8>,
}

/// An answer's head and, when it was read, its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value; empty when it isn't there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
            .unwrap_or_default()
    }
}

/// Waits for a thing that must happen soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(SOON, what).await.expect("it happens soon")
}

/// What a gzip file holds.
pub(crate) fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut reader = flate2::read::MultiGzDecoder::new(bytes);
    reader.read_to_string(&mut text).expect("a whole gzip file");
    text
}

impl Visitor {
    pub(crate) async fn connect(address: SocketAddr) -> Visitor {
        Visitor {
            stream: soon(TcpStream::connect(address)).await.unwrap(),
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        soon(self.stream.write_all(text.as_bytes())).await.unwrap();
    }

    /// Sends what need not be text.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends a GET with these header lines.
    pub(crate) async fn get(&mut self, path: &str, lines: &str) -> Answer {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: blog.test\r\n{lines}\r\n"
        ))
        .await;
        self.answer().await
    }

    /// Sends a POST with these header lines.
    pub(crate) async fn post(&mut self, path: &str, lines: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: blog.test\r\ncontent-length: {length}\r\n{lines}\r\n{body}"
        ))
        .await;
        self.answer().await
    }

    /// Reads a whole answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let empty = answer.status / 100 == 1 || answer.status == 204;
        if empty {
            return answer;
        }
        let chunked = answer.header("transfer-encoding") == "chunked";
        let length: usize = answer.header("content-length").parse().unwrap_or(0);
        answer.body = match chunked {
            true => {
                let mut whole = String::new();
                loop {
                    let chunk = self.chunk().await;
                    if chunk.is_empty() {
                        break whole;
                    }
                    whole += &chunk;
                }
            }
            false if answer.header("content-encoding") == "gzip" => {
                while self.ahead.len() < length && self.more().await {}
                let packed: Vec<u8> = self.ahead.drain(..length).collect();
                unpacked(&packed)
            }
            false => self.exactly(length).await,
        };
        answer
    }

    /// Reads a whole answer whose body need not be text.
    pub(crate) async fn bytes(&mut self) -> (Answer, Vec<u8>) {
        let answer = self.head().await;
        let length = answer.header("content-length").parse().unwrap_or(0);
        while self.ahead.len() < length && self.more().await {}
        let body = self.ahead.drain(..length.min(self.ahead.len()));
        (answer, body.collect())
    }

    /// Reads an answer's head only.
    pub(crate) async fn head(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer {
            status: status.unwrap_or_else(|| panic!("no answer: {head:?}")),
            head,
            body: String::new(),
        }
    }

    /// Reads one chunk of a chunked body; empty at its end.
    pub(crate) async fn chunk(&mut self) -> String {
        let size = self.until("\r\n").await;
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        let text = self.exactly(size + 2).await;
        text[..size].to_owned()
    }

    /// Reads until this mark, and with it.
    pub(crate) async fn until(&mut self, mark: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.ahead);
            if let Some(at) = text.find(mark) {
                return self.take(at + mark.len());
            }
            if !self.more().await {
                return self.take(self.ahead.len());
            }
        }
    }

    /// Reads this many bytes.
    pub(crate) async fn exactly(&mut self, length: usize) -> String {
        while self.ahead.len() < length && self.more().await {}
        self.take(length.min(self.ahead.len()))
    }

    /// Reads until the other side closes.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        self.take(self.ahead.len())
    }

    fn take(&mut self, length: usize) -> String {
        let taken: Vec<u8> = self.ahead.drain(..length).collect();
        String::from_utf8_lossy(&taken).into_owned()
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        let read = soon(self.stream.read(&mut buffer)).await.unwrap_or(0);
        self.ahead.extend_from_slice(&buffer[..read]);
        read > 0
    }
}
