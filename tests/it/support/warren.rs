//! A cloud that runs Warren, as IDCloudHost does, for one account at one location: written from what is known of the
//! real one, and strict where that is. What nobody knows of the real one, a test may have either way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::machine::Machine;

mod made;

pub(crate) const LOCATION: &str = "jkt01";
pub(crate) const APIKEY: &str = "a-token-of-the-account";

/// How it behaves where the real one may, or is known to now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// A write is answered when it is done, after so long.
    pub(crate) takes: Duration,
    /// A write is done, and its answer lost.
    pub(crate) loses_answers: bool,
    /// Starting what runs and stopping what is stopped is refused; else it succeeds.
    pub(crate) refuses_repeats: bool,
    /// Machines have only the fields that live answers were seen to have.
    pub(crate) sparse: bool,
    /// The machine's own shutdown never comes to an end.
    pub(crate) ignores_shutdown: bool,
    /// A machine that is gone is told with 200 and the status `Deleted`.
    pub(crate) tombstones: bool,
    /// A clone gets no public address of its own; else it does, as a machine that is created does.
    pub(crate) clones_without_address: bool,
    /// A machine is cloned only while it is off.
    pub(crate) clones_what_is_off: bool,
    /// A new machine is missing from so many lists.
    pub(crate) lists_lag: u32,
    /// Everything is answered 429, with this `Retry-After`.
    pub(crate) rate_limited: Option<u32>,
    /// Everything is answered with this status and HTML.
    pub(crate) broken: Option<u16>,
}

/// The cloud.
#[derive(Clone)]
pub(crate) struct Warren {
    pub(crate) address: SocketAddr,
    all: Arc<Mutex<All>>,
}

#[derive(Default)]
struct All {
    manner: Manner,
    vms: BTreeMap<String, Vm>,
    /// Machines under a write.
    locked: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// Public addresses: the address, and the machine that has it.
    addresses: Vec<(String, Option<String>)>,
    /// Numbers given out: to machines, and to addresses.
    numbers: u32,
    /// Calls by method and path, without the query.
    calls: BTreeMap<String, u32>,
}

struct Vm {
    name: String,
    /// It is missing from so many lists.
    hidden: u32,
    running: bool,
    private: String,
    /// What runs while it is on, where a test wants something to.
    machine: Option<Machine>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Warren {
    /// Starts it in the runtime of the test.
    pub(crate) fn start() -> Warren {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let warren = Warren {
            address: listener.local_addr().expect("a bound port"),
            all: Arc::default(),
        };
        tokio::spawn(warren.clone().serve(listener));
        warren
    }

    /// Its base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Makes a machine that is off.
    pub(crate) fn make(&self, uuid: &str, private: &str) {
        let vm = Vm {
            name: "blog".into(),
            hidden: 0,
            running: false,
            private: private.to_owned(),
            machine: None,
        };
        self.all().vms.insert(uuid.to_owned(), vm);
    }

    /// Makes one whose app really listens while it is on.
    pub(crate) fn make_real(&self, uuid: &str, machine: &Machine) {
        self.make(uuid, &machine.address().ip().to_string());
        let mut all = self.all();
        let vm = all.vms.get_mut(uuid).expect("it was just made");
        vm.machine = Some(machine.clone());
    }

    /// Starts a machine by somebody else's hand.
    pub(crate) fn start_by_hand(&self, uuid: &str) {
        let mut all = self.all();
        all.vms.get_mut(uuid).expect("it is there").running = true;
    }

    /// Deletes a machine by somebody else's hand.
    pub(crate) fn delete(&self, uuid: &str) {
        let mut all = self.all();
        all.vms.remove(uuid);
        all.gone.insert(uuid.to_owned());
    }

    /// Gives a machine a public address.
    pub(crate) fn assign(&self, address: &str, uuid: &str) {
        let address = (address.to_owned(), Some(uuid.to_owned()));
        self.all().addresses.push(address);
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.all().manner = manner;
    }

    /// Machines that run.
    pub(crate) fn running(&self) -> usize {
        self.all().vms.values().filter(|vm| vm.running).count()
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

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().expect("no test panics here")
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let warren = self.clone();
            let service = hyper::service::service_fn(move |request| warren.clone().answer(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let call = format!("{} {path}", head.method);
        let manner = {
            let mut all = self.all();
            *all.calls.entry(call.clone()).or_default() += 1;
            all.manner
        };
        if let Some(wait) = manner.rate_limited {
            let mut answer = said(429, &json!({ "message": "API rate limit exceeded" }));
            let wait = wait.to_string().parse().expect("a number is a value");
            answer.headers_mut().insert("retry-after", wait);
            return Ok(answer);
        }
        if let Some(status) = manner.broken {
            let mut answer = Response::new(Full::new("<html>oh dear</html>".into()));
            *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
            return Ok(answer);
        }
        match head.headers.get("apikey").map(|key| key.as_bytes()) {
            None => {
                return Ok(said(
                    401,
                    &json!({ "message": "No API key found in request" }),
                ));
            }
            Some(key) if key == APIKEY.as_bytes() => {}
            Some(_) => {
                let message = "Invalid authentication credentials";
                return Ok(said(403, &json!({ "message": message })));
            }
        }
        let place = format!("/v1/{LOCATION}/");
        let what = call.replacen(&place, "", 1);
        let query = fields(head.uri.query().unwrap_or_default());
        Ok(match what.as_str() {
            "GET user-resource/vm/list" => self.list(),
            "GET user-resource/vm" => self.one(query.get("uuid").map_or("", String::as_str)),
            "GET network/ip_addresses" => self.addresses(),
            "POST user-resource/vm/start" | "POST user-resource/vm/stop" => {
                let kind = head.headers.get("content-type");
                let body = body.collect().await?.to_bytes();
                if kind.is_none_or(|kind| kind != "application/x-www-form-urlencoded") {
                    return Ok(said(400, &json!({ "errors": { "uuid": "is required" } })));
                }
                let form = fields(std::str::from_utf8(&body)?);
                self.write(&what, form, manner).await?
            }
            "POST user-resource/vm/clone" | "DELETE user-resource/vm" => {
                let kind = head.headers.get("content-type");
                let body = body.collect().await?.to_bytes();
                if kind.is_none_or(|kind| kind != "application/x-www-form-urlencoded") {
                    return Ok(said(400, &json!({ "errors": { "uuid": "is required" } })));
                }
                let form = fields(std::str::from_utf8(&body)?);
                self.make_or_delete(&what, form, manner).await?
            }
            what if what.contains(" network/ip_addresses/") => {
                let answer = self.change_address(what);
                if manner.loses_answers {
                    return Err("the answer is lost".into());
                }
                answer
            }
            _ => said(
                404,
                &json!({ "message": "no route and no API found with those values" }),
            ),
        })
    }

    fn list(&self) -> Response<Full<Bytes>> {
        let mut all = self.all();
        let manner = all.manner;
        let mut vms = Vec::new();
        for (uuid, vm) in &mut all.vms {
            match vm.hidden {
                0 => vms.push(shown(uuid, vm, manner)),
                _ => vm.hidden -= 1,
            }
        }
        said(200, &json!(vms))
    }

    fn one(&self, uuid: &str) -> Response<Full<Bytes>> {
        let all = self.all();
        match all.vms.get(uuid) {
            Some(vm) => said(200, &shown(uuid, vm, all.manner)),
            None if all.manner.tombstones && all.gone.contains(uuid) => {
                let dead = json!({ "uuid": uuid, "name": "blog", "status": "Deleted" });
                said(200, &dead)
            }
            None => missing(uuid),
        }
    }

    fn addresses(&self) -> Response<Full<Bytes>> {
        let all = self.all();
        let address = |(address, vm): &(String, Option<String>)| {
            let last = address
                .rsplit('.')
                .next()
                .and_then(|it| it.parse::<u64>().ok());
            let mut shown = json!({ "id": last, "address": address, "type": "public" });
            if let Some(vm) = vm {
                shown["assigned_to"] = json!(vm);
                shown["assigned_to_resource_type"] = json!("virtual_machine");
            }
            shown
        };
        let addresses: Vec<_> = all.addresses.iter().map(address).collect();
        said(200, &json!(addresses))
    }

    /// The work goes on when the caller has gone.
    async fn write(
        &self,
        what: &str,
        form: BTreeMap<String, String>,
        manner: Manner,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let starts = what.ends_with("start");
        let known: &[&str] = if starts {
            &["uuid"]
        } else {
            &["uuid", "force"]
        };
        if let Some(field) = form.keys().find(|field| !known.contains(&field.as_str())) {
            let errors = json!({ field: "unknown field" });
            return Ok(said(400, &json!({ "errors": errors })));
        }
        let uuid = form.get("uuid").cloned().unwrap_or_default();
        let force = form
            .get("force")
            .is_some_and(|force| force.eq_ignore_ascii_case("true"));
        {
            let mut all = self.all();
            let Some(vm) = all.vms.get(&uuid) else {
                return Ok(missing(&uuid));
            };
            if manner.refuses_repeats && vm.running == starts {
                let told = "the server is in that state already";
                return Ok(said(400, &json!({ "errors": { "Error": told } })));
            }
            // What takes no time is over before anybody else asks.
            if !all.locked.insert(uuid.clone()) && !manner.takes.is_zero() {
                return Ok(said(409, &json!({ "message": "Server is locked" })));
            }
        }
        let (warren, locked) = (self.clone(), uuid.clone());
        let work = tokio::spawn(async move {
            if !starts && !force && manner.ignores_shutdown {
                // It gives the attempt up after a while, as the caller does.
                tokio::time::sleep(Duration::from_millis(300)).await;
                warren.all().locked.remove(&locked);
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(manner.takes).await;
            let mut all = warren.all();
            all.locked.remove(&locked);
            if let Some(vm) = all.vms.get_mut(&locked) {
                vm.running = starts;
                match &vm.machine {
                    Some(machine) if starts => machine.start(),
                    Some(machine) => machine.crash(),
                    None => {}
                }
            }
        });
        work.await?;
        if manner.loses_answers {
            return Err("the answer is lost".into());
        }
        Ok(self.one(&uuid))
    }
}

fn shown(uuid: &str, vm: &Vm, manner: Manner) -> Value {
    let status = if vm.running { "running" } else { "stopped" };
    let mut shown = json!({
        "uuid": uuid, "name": vm.name, "status": status, "private_ipv4": vm.private,
        "billing_account": 6, "memory": 4096, "vcpu": 2, "created_at": "2018-02-22 11:10:17",
    });
    if !manner.sparse {
        shown["id"] = json!(7);
        shown["tags"] = Value::Null;
        shown["description"] = json!("");
        shown["storage"] = json!([{ "name": "sda", "primary": true, "size": 40 }]);
    }
    shown
}

fn missing(uuid: &str) -> Response<Full<Bytes>> {
    let told = format!("No such virtual machine exists: {uuid}");
    said(400, &json!({ "errors": { "Error": told } }))
}

fn said(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.to_string().into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert("content-type", json);
    answer
}

/// The fields of a form or a query. A plus stands for itself, as with the real one.
fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decode = |text: &str| {
        let spaced = text.replace('+', "%2B");
        let url = reqwest::Url::parse(&format!("form://form?{spaced}")).expect("a query");
        url.query_pairs().next().map(|(key, _)| key.into_owned())
    };
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(key)?, decode(value).unwrap_or_default()))
    };
    pairs.filter_map(pair).collect()
}
