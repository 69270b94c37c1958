//! A visitor in as few bytes as possible: the load must not cost more than what is measured.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The longest that anything here waits for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) first_byte: Instant,
}

impl Answer {
    /// Whether the room itself answered.
    pub(crate) fn by_room(&self) -> bool {
        header(&self.head, "x-anteroom").is_some()
    }

    /// Its body, where it is a text.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The page's nonce.
    pub(crate) fn nonce(&self) -> anyhow::Result<String> {
        let text = self.text();
        let field = text
            .split('<')
            .find(|tag| tag.contains("name=\"nonce\"") || tag.contains("name=nonce"))
            .context("the page has no nonce")?;
        let value = field.split_once("value=").context("no value")?.1;
        let value = value.trim_start_matches('"');
        let nonce = value.split(['"', ' ', '>', '/']).next();
        Ok(nonce.unwrap_or_default().to_owned())
    }
}

/// A connection from one of many loopback addresses: one address has too few ports for tens of thousands, and a
/// port that was used rests for a minute.
pub(crate) async fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let [_, a, b, _] = (NUMBER.fetch_add(1, Relaxed) / 4_000 * 256).to_be_bytes();
    let source = Ipv4Addr::new(127, 1, a, b);
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let stream = timeout(ANSWER_MAX, socket.connect(to)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a browser sends when somebody opens a page. Loopback is a trusted proxy, so each visitor can have an
/// address of its own.
pub(crate) fn page_request(host: &str, number: usize) -> String {
    let [_, a, b, c] = u32::try_from(number).unwrap_or_default().to_be_bytes();
    format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nSec-Fetch-Dest: document\r\n\
         Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\n\r\n"
    )
}

/// What the page's script posts.
pub(crate) fn wake_request(host: &str, number: usize, nonce: &str) -> String {
    let [_, a, b, c] = u32::try_from(number).unwrap_or_default().to_be_bytes();
    let body = format!("nonce={nonce}");
    format!(
        "POST /__anteroom/wake HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 10.{a}.{b}.{c}\r\n\
         X-Anteroom-Page: 1\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the page's script opens to hear of changes.
pub(crate) fn events_request(host: &str) -> String {
    format!(
        "GET /__anteroom/events HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\
         Sec-Fetch-Site: same-origin\r\n\r\n"
    )
}

/// Sends a request and reads the whole answer; the connection can be used again.
pub(crate) async fn ask(stream: &mut TcpStream, request: &str) -> anyhow::Result<Answer> {
    timeout(ANSWER_MAX, exchange(stream, request))
        .await
        .context("no answer in time")?
}

/// The same on a connection of its own.
pub(crate) async fn ask_once(to: SocketAddr, request: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(to).await?;
    ask(&mut stream, request).await
}

async fn exchange(stream: &mut TcpStream, request: &str) -> anyhow::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::with_capacity(16 * 1024);
    let mut first_byte = None;
    let head_end = loop {
        ensure!(stream.read_buf(&mut bytes).await? > 0, "the other end left");
        first_byte.get_or_insert_with(Instant::now);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .context("no status")?;
    let chunked = header(&head, "transfer-encoding").is_some();
    let length = header(&head, "content-length").and_then(|length| length.parse::<usize>().ok());
    loop {
        let body = &bytes[head_end..];
        let whole = match (chunked, length) {
            (true, _) => body.ends_with(b"0\r\n\r\n"),
            (false, Some(length)) => body.len() >= length,
            (false, None) if matches!(status, 204 | 304) => true,
            (false, None) => bail!("an answer without a length: {head}"),
        };
        if whole {
            break;
        }
        ensure!(stream.read_buf(&mut bytes).await? > 0, "the other end left");
    }
    Ok(Answer {
        status,
        head,
        body: bytes.split_off(head_end),
        first_byte: first_byte.context("no byte")?,
    })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads a stream of events until one holds `text`.
pub(crate) async fn hear(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    let mut heard = Vec::with_capacity(2 * 1024);
    loop {
        ensure!(
            stream.read_buf(&mut heard).await? > 0,
            "the stream ended without {text}"
        );
        if heard
            .windows(text.len())
            .any(|part| part == text.as_bytes())
        {
            return Ok(());
        }
    }
}
