//! Open-loop load: requests leave on a schedule, whether or not earlier ones have come back, as visitors do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// No visitor waits longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back, counted.
pub(crate) type Tally = BTreeMap<String, usize>;

/// Load that runs until it is stopped.
pub(crate) struct Load {
    stop: CancellationToken,
    tally: Arc<Mutex<Tally>>,
    task: tokio::task::JoinHandle<()>,
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
    let task = tokio::spawn(async move {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let mut tick = interval(Duration::from_secs(1) / per_second);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = Instant::now() + longest;
        let mut visitors = JoinSet::new();
        while Instant::now() < end && !stopped.is_cancelled() {
            tick.tick().await;
            let request = Request::get(format!("http://{address}/"))
                .header(header::HOST, &host)
                .header(header::ACCEPT, "text/html")
                .body(Empty::new())
                .expect("a plain request");
            let (client, counted) = (client.clone(), Arc::clone(&counted));
            visitors.spawn(async move {
                let outcome = timeout(PATIENCE, visit(client, request, app)).await;
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
    Load { stop, tally, task }
}

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Empty<Bytes>>;

async fn visit(client: Http, request: Request<Empty<Bytes>>, app: &str) -> String {
    let answer = match client.request(request).await {
        Ok(answer) => answer,
        Err(error) => return format!("no answer: {error:?}"),
    };
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
