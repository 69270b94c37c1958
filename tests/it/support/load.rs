//! Open-loop load: requests leave on a schedule, whether or not earlier ones have come back, as visitors do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// One house under load at a time: two loads at once starve the machine, and then Traefik's own health checks fail.
pub(crate) static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// No visitor waits longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back, counted.
pub(crate) type Tally = BTreeMap<String, usize>;

/// Load that runs until it is stopped.
pub(crate) struct Load {
    stop: CancellationToken,
    tally: Arc<Mutex<Tally>>,
    task: tokio::task::JoinHandle<()>,
    began: Instant,
    /// How many a second leave, in thousandths.
    rate: Arc<AtomicU64>,
    /// What came back, by the instance that names itself in `X-App`.
    shares: Arc<Mutex<Tally>>,
}

/// Sends `per_second` GETs for `host` to `address` until stopped, at most `longest`. `app` is a text that every
/// whole answer of the app holds.
pub(crate) fn start(
    address: SocketAddr,
    host: &str,
    per_second: u32,
    longest: Duration,
    app: &'static str,
) -> Load {
    let (stop, tally) = (CancellationToken::new(), Arc::new(Mutex::new(Tally::new())));
    let (stopped, counted, host) = (stop.clone(), Arc::clone(&tally), host.to_owned());
    let rate = Arc::new(AtomicU64::new(u64::from(per_second) * 1_000));
    let (pace, shares) = (Arc::clone(&rate), Arc::new(Mutex::new(Tally::new())));
    let shared = Arc::clone(&shares);
    let task = tokio::spawn(async move {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let (mut next, end) = (Instant::now(), Instant::now() + longest);
        let mut visitors = JoinSet::new();
        while Instant::now() < end && !stopped.is_cancelled() {
            sleep_until(next).await;
            next += Duration::from_secs(1_000) / u32::try_from(pace.load(SeqCst)).expect("a rate");
            let request = Request::get(format!("http://{address}/"))
                .header(header::HOST, &host)
                .header(header::ACCEPT, "text/html")
                .body(Empty::new())
                .expect("a plain request");
            let (client, counted) = (client.clone(), Arc::clone(&counted));
            let shared = Arc::clone(&shared);
            visitors.spawn(async move {
                let outcome = timeout(PATIENCE, visit(client, request, app, &shared)).await;
                let outcome = outcome.unwrap_or_else(|_| format!("no answer within {PATIENCE:?}"));
                *counted
                    .lock()
                    .expect("no visitor panics")
                    .entry(outcome)
                    .or_default() += 1;
            });
            while visitors.try_join_next().is_some() {}
        }
        while visitors.join_next().await.is_some() {}
    });
    Load {
        stop,
        tally,
        task,
        began: Instant::now(),
        rate,
        shares,
    }
}

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Empty<Bytes>>;

async fn visit(
    client: Http,
    request: Request<Empty<Bytes>>,
    app: &str,
    shares: &Mutex<Tally>,
) -> String {
    let answer = match client.request(request).await {
        Ok(answer) => answer,
        Err(error) => return format!("no answer: {error:?}"),
    };
    if let Some(by) = answer.headers().get("x-app") {
        let by = by.to_str().unwrap_or_default().to_owned();
        let mut shares = shares.lock().expect("no visitor panics");
        *shares.entry(by).or_default() += 1;
    }
    let (status, room) = (
        answer.status().as_u16(),
        answer.headers().contains_key("x-anteroom"),
    );
    match answer.into_body().collect().await {
        Err(error) => format!("{status} cut: {error}"),
        Ok(body) if room => format!(
            "{status} room, {}",
            if body.to_bytes().is_empty() {
                "empty"
            } else {
                "page"
            }
        ),
        Ok(body) => {
            let whole = String::from_utf8_lossy(&body.to_bytes()).contains(app);
            format!("{status} {}", if whole { "app" } else { "stranger" })
        }
    }
}

impl Load {
    /// From now on so many a second leave, in thousandths; at least one in 1,000 s.
    pub(crate) fn set_rate(&self, thousandths: u64) {
        self.rate.store(thousandths.max(1), SeqCst);
    }

    /// How many a second leave, in thousandths.
    pub(crate) fn rate(&self) -> u64 {
        self.rate.load(SeqCst)
    }

    /// Since it began.
    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// What came back since this was asked last, by the instance that answered.
    pub(crate) fn take_shares(&self) -> Tally {
        std::mem::take(&mut *self.shares.lock().expect("no visitor panics"))
    }

    /// What has come back so far.
    pub(crate) fn so_far(&self) -> Tally {
        self.tally.lock().expect("no visitor panics").clone()
    }

    /// Stops sending, waits for what is under way, and says what came back.
    pub(crate) async fn stop(mut self) -> Tally {
        self.stop.cancel();
        (&mut self.task).await.expect("the load does not panic");
        self.so_far()
    }
}

/// Every answer was the app's whole 200 or the room's 503 page.
pub(crate) fn assert_clean(tally: &Tally) {
    let bad: Vec<_> = tally
        .iter()
        .filter(|(what, _)| !matches!(what.as_str(), "200 app" | "503 room, page"))
        .collect();
    assert!(
        bad.is_empty(),
        "answers that no visitor should get: {bad:?}\nof {tally:?}"
    );
}
