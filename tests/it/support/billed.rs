//! What the stand-ins for the clouds share that bill a machine while it is off: machines, orders that take their time,
//! and how such a cloud may behave. `digitalocean.rs` and `hetzner.rs` speak for it, each in its own strict way.

mod images;
mod trap;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::Instant;

pub(crate) use images::{Image, Wish};
pub(crate) use trap::{MOMENTS, Moment};

pub(crate) const TOKEN: &str = "a-token-of-the-account";

/// How it behaves where the real ones may, or are known to now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// An order is carried out after so long.
    pub(crate) takes: Duration,
    /// A machine shows so late what a finished order did.
    pub(crate) shows_after: Duration,
    /// The list tells what was so long ago; a machine's own page tells what is.
    pub(crate) list_lags: Duration,
    /// A write is done, and its answer lost.
    pub(crate) loses_answers: bool,
    /// Starting what runs and stopping what is stopped is refused; else it succeeds.
    pub(crate) refuses_repeats: bool,
    /// A machine says that it is locked while an order is carried out.
    pub(crate) tells_locked: bool,
    /// The machine does not heed the shutdown.
    pub(crate) ignores_shutdown: bool,
    /// Orders of this name end in an error.
    pub(crate) errs: Option<&'static str>,
    /// Everything is answered 429: seconds, and whether `Retry-After` tells them or the reset alone.
    pub(crate) rate_limited: Option<(u64, bool)>,
    /// Calls that are left, as the headers tell.
    pub(crate) remaining: Option<u64>,
    /// Everything is answered with this status and HTML.
    pub(crate) broken: Option<u16>,
    /// Snapshots have no size.
    pub(crate) empty_snapshots: bool,
    /// Snapshots are never available, though their orders end.
    pub(crate) unready_snapshots: bool,
    /// No snapshot is deleted: it is asked too much just now.
    pub(crate) keeps_snapshots: bool,
    /// Nothing is made: why, as status and words.
    pub(crate) makes_nothing: Option<(u16, &'static str)>,
}

/// A machine.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) on: bool,
    /// What it shows, which may lag behind.
    pub(crate) shows_on: bool,
    pub(crate) private: String,
    pub(crate) public: String,
    /// The order that is carried out.
    pub(crate) busy: Option<u64>,
    /// Tags, or labels as `key=value`.
    pub(crate) marks: Vec<String>,
    /// What else its page shows.
    pub(crate) volumes: Vec<u64>,
    pub(crate) image: Option<u64>,
    /// What is written on its disk.
    pub(crate) written: u64,
}

/// An order.
#[derive(Clone)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) server: u64,
    pub(crate) name: String,
    pub(crate) stand: Stand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    UnderWay,
    Done,
    Failed,
}

/// What an order does to a machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    Shutdown,
    Off,
}

/// Why an order is not taken.
pub(crate) enum Refusal {
    Missing,
    Busy,
    Already,
}

/// A request, read whole.
pub(crate) struct Asked {
    pub(crate) head: Parts,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

pub(crate) type Said = Response<Full<Bytes>>;

/// How a cloud answers in its own words.
pub(crate) type Speak = fn(&World, &Asked) -> Said;

/// The cloud: one account.
#[derive(Clone)]
pub(crate) struct World {
    address: SocketAddr,
    speak: Speak,
    all: Arc<Mutex<All>>,
}

#[derive(Default)]
pub(crate) struct All {
    pub(crate) manner: Manner,
    pub(crate) servers: BTreeMap<u64, Server>,
    pub(crate) orders: BTreeMap<u64, Order>,
    /// What was, for lists that lag.
    past: Vec<(Option<Instant>, BTreeMap<u64, Server>)>,
    pub(crate) images: BTreeMap<u64, Image>,
    last_id: u64,
    trap: Option<trap::Trap>,
    /// Calls by method and path, without the query.
    calls: BTreeMap<String, u32>,
}

impl World {
    /// Starts it in the runtime of the test.
    pub(crate) fn start(speak: Speak) -> World {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let world = World {
            address: listener.local_addr().expect("a bound port"),
            speak,
            all: Arc::default(),
        };
        tokio::spawn(world.clone().serve(listener));
        world
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a machine that is off.
    pub(crate) fn make(&self, id: u64, private: &str) {
        let server = Server {
            name: "blog".into(),
            on: false,
            shows_on: false,
            private: private.into(),
            public: "203.0.113.7".into(),
            busy: None,
            marks: Vec::new(),
            volumes: Vec::new(),
            image: None,
            written: 0,
        };
        let mut all = self.all();
        all.servers.insert(id, server);
        let made = (None, all.servers.clone());
        all.past.push(made);
    }

    /// Deletes a machine by somebody else's hand.
    pub(crate) fn delete(&self, id: u64) {
        let mut all = self.all();
        all.servers.remove(&id);
        all.note();
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.all().manner = manner;
    }

    /// Machines that run.
    pub(crate) fn running(&self) -> usize {
        self.all().servers.values().filter(|it| it.on).count()
    }

    /// How often this was called.
    pub(crate) fn calls(&self, what: &str) -> u32 {
        self.all().calls.get(what).copied().unwrap_or_default()
    }

    /// Calls that are no reads.
    pub(crate) fn writes(&self) -> Vec<String> {
        let all = self.all();
        let calls = all.calls.keys().filter(|call| !call.starts_with("GET "));
        calls.cloned().collect()
    }

    /// Names a machine as somebody else may.
    pub(crate) fn name(&self, id: u64, name: &str) {
        let mut all = self.all();
        all.servers.get_mut(&id).expect("it is there").name = name.into();
        all.note();
    }

    /// How often anything was called.
    pub(crate) fn calls_in_all(&self) -> u32 {
        self.all().calls.values().sum()
    }

    /// The names of the orders that were taken, in their order.
    pub(crate) fn orders(&self) -> Vec<String> {
        let all = self.all();
        all.orders
            .values()
            .map(|order| order.name.clone())
            .collect()
    }

    pub(crate) fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().expect("no test panics here")
    }

    /// Takes an order to a machine's power; it is carried out whether the caller waits or not.
    pub(crate) fn power(&self, id: u64, name: &str, power: Power) -> Result<Order, Refusal> {
        let mut all = self.all();
        let manner = all.manner;
        let server = all.servers.get(&id).ok_or(Refusal::Missing)?;
        if server.busy.is_some() {
            return Err(Refusal::Busy);
        }
        if manner.refuses_repeats && server.on == (power == Power::On) {
            return Err(Refusal::Already);
        }
        let order = all.order(id, name);
        drop(all);
        let (world, number) = (self.clone(), order.id);
        tokio::spawn(async move {
            tokio::time::sleep(manner.takes).await;
            let errs = manner.errs == Some(world.all().orders[&number].name.as_str());
            let ignored = power == Power::Shutdown && manner.ignores_shutdown;
            if !errs && !ignored {
                world.all().turn(id, power == Power::On);
            }
            world
                .all()
                .end(number, if errs { Stand::Failed } else { Stand::Done });
            tokio::time::sleep(manner.shows_after).await;
            world.all().show(id);
        });
        Ok(order)
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let world = self.clone();
            let service = hyper::service::service_fn(move |request| world.clone().answer(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Said, Failure> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let query = fields(head.uri.query().unwrap_or_default());
        let manner = {
            let mut all = self.all();
            let call = format!("{} {}", head.method, head.uri.path());
            *all.calls.entry(call).or_default() += 1;
            all.manner
        };
        let asked = Asked { head, query, body };
        if let Some((secs, tells)) = manner.rate_limited {
            let mut answer = (self.speak)(&self, &asked);
            *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            *answer.body_mut() = Full::new(r#"{"message":"too many requests"}"#.into());
            limits(&mut answer, 0, secs);
            if tells {
                header(&mut answer, "retry-after", secs);
            }
            return Ok(answer);
        }
        let snapshot = ["/snapshots/", "/images/"];
        let snapshot = snapshot.iter().any(|it| asked.head.uri.path().contains(it));
        let keeps = manner.keeps_snapshots && snapshot && asked.head.method == http::Method::DELETE;
        if let Some(status) = manner.broken.or(keeps.then_some(503)) {
            let mut answer = Response::new(Full::new("<html>oh dear</html>".into()));
            *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
            return Ok(answer);
        }
        let sprung = self.spring().await;
        let mut answer = (self.speak)(&self, &asked);
        limits(&mut answer, manner.remaining.unwrap_or(4999), 60);
        self.sprung(sprung).await;
        if manner.loses_answers && asked.head.method != http::Method::GET {
            // What takes no time has been done meanwhile.
            return Err("the answer is lost".into());
        }
        Ok(answer)
    }
}

impl All {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        1_000_000 + self.last_id
    }

    pub(crate) fn order(&mut self, server: u64, name: &str) -> Order {
        let order = Order {
            id: self.next_id(),
            server,
            name: name.to_owned(),
            stand: Stand::UnderWay,
        };
        self.orders.insert(order.id, order.clone());
        if let Some(server) = self.servers.get_mut(&server) {
            server.busy = Some(order.id);
        }
        order
    }

    fn end(&mut self, order: u64, stand: Stand) {
        let order = self.orders.get_mut(&order).expect("it was taken");
        order.stand = stand;
        if let Some(server) = self.servers.get_mut(&order.server) {
            server.busy = None;
        }
    }

    fn turn(&mut self, id: u64, on: bool) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.on = on;
        }
    }

    fn show(&mut self, id: u64) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.shows_on = server.on;
        }
        self.note();
    }

    fn note(&mut self) {
        let now = (Some(Instant::now()), self.servers.clone());
        self.past.push(now);
    }

    /// The machines as the list tells them.
    pub(crate) fn listed(&self) -> BTreeMap<u64, Server> {
        if self.manner.list_lags.is_zero() {
            return self.servers.clone();
        }
        let then = Instant::now().checked_sub(self.manner.list_lags);
        let past = self.past.iter().rev();
        let mut old =
            past.filter(|(at, _)| at.is_none_or(|at| then.is_some_and(|then| at <= then)));
        old.next().map(|(_, list)| list.clone()).unwrap_or_default()
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Asked {
    /// Whether the token is ours, as `Bearer`.
    pub(crate) fn authorized(&self) -> bool {
        let header = self.head.headers.get("authorization");
        header.is_some_and(|value| value.as_bytes() == format!("Bearer {TOKEN}").as_bytes())
    }

    /// The query has these keys at most.
    pub(crate) fn asks_only(&self, known: &[&str]) -> bool {
        self.query.keys().all(|key| known.contains(&key.as_str()))
    }

    /// The page that is asked for, and how many there may be on it.
    pub(crate) fn page(&self, per_page: usize, per_page_max: usize) -> Option<(usize, usize)> {
        let number = |key: &str, none: usize| match self.query.get(key) {
            Some(value) => value.parse().ok().filter(|number| *number > 0),
            None => Some(none),
        };
        let per_page = number("per_page", per_page)?;
        (per_page <= per_page_max).then_some((number("page", 1)?, per_page))
    }

    /// The body, an object of these keys at most, sent as JSON.
    pub(crate) fn json(&self, known: &[&str]) -> Option<Value> {
        let kind = self.head.headers.get("content-type")?;
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        let fits = value
            .as_object()?
            .keys()
            .all(|key| known.contains(&key.as_str()));
        (fits && kind == "application/json").then_some(value)
    }
}

/// An answer in JSON.
pub(crate) fn said(status: u16, body: &Value) -> Said {
    let mut answer = Response::new(Full::new(body.to_string().into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    let json = http::HeaderValue::from_static("application/json; charset=utf-8");
    answer.headers_mut().insert("content-type", json);
    answer
}

fn limits(answer: &mut Said, remaining: u64, reset_in: u64) {
    let now = std::time::SystemTime::now();
    let unix = now.duration_since(std::time::UNIX_EPOCH);
    let unix = unix.expect("a clock after 1970").as_secs();
    header(answer, "ratelimit-limit", 5000);
    header(answer, "ratelimit-remaining", remaining);
    header(answer, "ratelimit-reset", unix + reset_in);
}

fn header(answer: &mut Said, name: &'static str, value: u64) {
    let value = value.to_string().parse().expect("a number is a value");
    answer.headers_mut().insert(name, value);
}

fn fields(query: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("form://form?{query}")).expect("a query");
    url.query_pairs().into_owned().collect()
}
