//! The app that is woken: it sleeps for a while, listens, and writes down when it began to. Each start adds a
//! line, so the lines also count the starts.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";

/// Nanoseconds since 1970: a clock that all processes of this machine share.
pub(crate) fn now_ns() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}

/// `app PORT STAMPS LEAST_MS SPREAD_MS`: boots for the least time and an accidental part of the spread, so that
/// no probe can be in step with it.
pub(crate) async fn serve(args: &[String]) -> anyhow::Result<()> {
    let [port, stamps, least, spread] = args else {
        anyhow::bail!("app PORT STAMPS LEAST_MS SPREAD_MS");
    };
    let (least, spread): (u64, u64) = (least.parse()?, spread.parse()?);
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(stamps)
        .context("stamps")?;
    writeln!(file, "start {}", std::process::id())?;
    let accident = u64::try_from(now_ns() / 1_000 % u128::from(spread.max(1)))?;
    tokio::time::sleep(Duration::from_millis(least + accident)).await;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    writeln!(file, "listen {}", now_ns())?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            // A request without a body that fits into one read: nobody sends this app anything else.
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {
                if stream.write_all(ANSWER).await.is_err() {
                    break;
                }
            }
        });
    }
}
