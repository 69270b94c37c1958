//! Google Compute Engine for one project, played from what its own discovery document describes: a request that is not
//! described there is refused, and so is an answer of this stand-in's own. What nobody knows of the real one, a test may
//! have either way.

pub(crate) mod discovery;
mod shown;
pub(crate) mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::machine::Machine;
use discovery::{Asked, Discovery, Refused, discovery};
use tokens::Desk;

pub(crate) const PROJECT: &str = "blog-project";
pub(crate) const ZONE: &str = "europe-west1-b";

/// The longest that the real `wait` takes is two minutes.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How it behaves where the real one may, or is known to now and then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// How long an operation takes.
    pub(crate) takes: Duration,
    /// So long after a change a machine still reads as before it.
    pub(crate) reads_old: Duration,
    /// The same in lists.
    pub(crate) lists_old: Duration,
    /// `wait` answers at once, whether it is done or not.
    pub(crate) waits_not: bool,
    /// A write is done, and its answer lost.
    pub(crate) loses_answers: bool,
    /// The machine's own shutdown never comes to an end.
    pub(crate) ignores_shutdown: bool,
    /// Its machines can't be suspended.
    pub(crate) suspends_not: bool,
    /// It does not take `fields`.
    pub(crate) refuses_fields: bool,
    /// Operations may not be read.
    pub(crate) hides_operations: bool,
    /// Starting what runs and stopping what is stopped is refused; else such an operation succeeds.
    pub(crate) refuses_repeats: bool,
    /// Machines on one page; 0 for as many as are asked for.
    pub(crate) per_page: usize,
    /// Everything is refused with this status and reason.
    pub(crate) refuses: Option<(u16, &'static str)>,
    /// Everything is answered with this status and HTML.
    pub(crate) broken: Option<u16>,
    /// Each operation that begins will fail with this code.
    pub(crate) fails: Option<&'static str>,
    /// A new machine gets a public address, also when none is asked for.
    pub(crate) gives_addresses: bool,
    /// A new machine does not get the labels that are asked for.
    pub(crate) forgets_labels: bool,
    /// Lists lack the zone, and say so.
    pub(crate) partial: bool,
    /// The permissions that are not granted, by a word that is in them.
    pub(crate) grants_no: Option<&'static str>,
    /// The state that machines are told to be in, whatever they are.
    pub(crate) word: Option<&'static str>,
}

/// The cloud.
#[derive(Clone)]
pub(crate) struct Google {
    pub(crate) address: SocketAddr,
    all: Arc<Mutex<All>>,
    pub(crate) desk: Arc<Desk>,
}

#[derive(Default)]
struct All {
    manner: Manner,
    vms: BTreeMap<(String, String), Vm>,
    /// Disks of machines that were deleted and did not take them along.
    disks_left: Vec<String>,
    /// The machine images that there are.
    images: BTreeSet<String>,
    operations: Vec<Operation>,
    /// What was begun with each `requestId`.
    requests: BTreeMap<String, usize>,
    /// Every write: its method and its `requestId`.
    writes: Vec<(String, String)>,
    /// Calls by method, as the discovery document names them.
    calls: BTreeMap<String, u32>,
}

/// A machine: since when it has been in which state, the coming ones too.
struct Vm {
    number: u64,
    states: Vec<(Instant, &'static str)>,
    private: String,
    public: Option<String>,
    labels: BTreeMap<String, String>,
    /// Whether the disk goes with the machine.
    disk_goes: bool,
    /// What runs while it is on, where a test wants something to.
    machine: Option<Machine>,
}

/// The state of a machine that is not there any more.
const GONE: &str = "gone";

/// Work that goes on by itself.
struct Operation {
    kind: String,
    target: (String, String),
    /// The machine's number.
    machine: u64,
    request: Option<String>,
    /// None for one that does not come to an end.
    ends: Option<Instant>,
    error: Option<&'static str>,
    /// Whether the real machine has been told.
    told: bool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Told = Response<Full<Bytes>>;

impl Vm {
    fn state(&self, at: Instant) -> &'static str {
        let then = self.states.iter().rev().find(|(since, _)| *since <= at);
        then.or(self.states.first()).expect("it has a state").1
    }

    /// Whether it is there: made, and not deleted.
    fn exists(&self, at: Instant) -> bool {
        self.states[0].0 <= at && self.state(at) != GONE
    }
}

impl Google {
    /// Starts it in the runtime of the test.
    pub(crate) fn start() -> Google {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a bound port");
        let google = Google {
            address,
            all: Arc::default(),
            desk: Arc::new(Desk::new(address)),
        };
        tokio::spawn(google.clone().serve(listener));
        google
    }

    /// The address of Compute Engine.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/compute/v1", self.address)
    }

    /// Makes a machine that is off.
    pub(crate) fn make(&self, name: &str, private: &str) {
        let mut all = self.all();
        let number = 1000 + u64::try_from(all.vms.len()).expect("few");
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(60)).unwrap_or(now);
        let vm = Vm {
            number,
            states: vec![(long_ago, "TERMINATED")],
            private: private.to_owned(),
            public: None,
            labels: BTreeMap::new(),
            disk_goes: true,
            machine: None,
        };
        all.vms.insert((ZONE.into(), name.into()), vm);
    }

    /// Makes one whose app really listens while it is on.
    pub(crate) fn make_real(&self, name: &str, machine: &Machine) {
        self.make(name, &machine.address().ip().to_string());
        self.vm(name, |vm| vm.machine = Some(machine.clone()));
    }

    /// Gives a machine a public address.
    pub(crate) fn assign(&self, name: &str, public: &str) {
        self.vm(name, |vm| vm.public = Some(public.to_owned()));
    }

    /// Puts a machine into a state by somebody else's hand.
    pub(crate) fn put(&self, name: &str, state: &'static str) {
        self.vm(name, |vm| vm.states.push((Instant::now(), state)));
    }

    /// Deletes a machine by somebody else's hand.
    pub(crate) fn delete(&self, name: &str) {
        self.all().vms.remove(&(ZONE.into(), name.into()));
    }

    fn vm(&self, name: &str, change: impl FnOnce(&mut Vm)) {
        let mut all = self.all();
        change(
            all.vms
                .get_mut(&(ZONE.into(), name.into()))
                .expect("it was made"),
        );
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.all().manner = manner;
    }

    /// Machines that run.
    pub(crate) fn running(&self) -> usize {
        let (all, now) = (self.all(), Instant::now());
        all.vms
            .values()
            .filter(|vm| vm.state(now) == "RUNNING")
            .count()
    }

    /// Makes a machine image.
    pub(crate) fn make_image(&self, path: &str) {
        self.all().images.insert(path.to_owned());
    }

    /// Gives a machine these labels and no other, by somebody else's hand.
    pub(crate) fn relabel(&self, name: &str, labels: &[(&str, &str)]) {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.vm(name, |vm| vm.labels = labels.iter().map(owned).collect());
    }

    /// Makes a machine with these labels, by somebody else's hand.
    pub(crate) fn make_labelled(&self, name: &str, labels: &[(&str, &str)]) {
        self.make(name, "10.132.0.99");
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        self.vm(name, |vm| vm.labels = labels.iter().map(owned).collect());
    }

    /// The names of all machines that there are.
    pub(crate) fn names(&self) -> Vec<String> {
        let (all, now) = (self.all(), Instant::now());
        let there = all.vms.iter().filter(|(_, vm)| vm.exists(now));
        there.map(|((_, name), _)| name.clone()).collect()
    }

    /// How many operations there were on a machine.
    pub(crate) fn changes(&self, name: &str) -> usize {
        let all = self.all();
        let of = all.operations.iter().filter(|it| it.target.1 == name);
        of.count()
    }

    /// Disks without a machine.
    pub(crate) fn disks_left(&self) -> Vec<String> {
        self.tell_machines();
        self.all().disks_left.clone()
    }

    /// What a machine says of its labels and its public address.
    pub(crate) fn shown(&self, name: &str) -> (BTreeMap<String, String>, Option<String>) {
        let mut shown = None;
        self.vm(name, |vm| {
            shown = Some((vm.labels.clone(), vm.public.clone()))
        });
        shown.expect("it was just there")
    }

    /// How often this was called, by the name in the discovery document without `compute.`.
    pub(crate) fn calls(&self, method: &str) -> u32 {
        self.all()
            .calls
            .get(&format!("compute.{method}"))
            .copied()
            .unwrap_or_default()
    }

    /// The `requestId`s of the writes so far.
    pub(crate) fn request_ids(&self, method: &str) -> Vec<String> {
        let all = self.all();
        let of = all
            .writes
            .iter()
            .filter(|(known, _)| *known == format!("compute.{method}"));
        of.map(|(_, id)| id.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().expect("no test panics here")
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let google = self.clone();
            let service = hyper::service::service_fn(move |request| google.clone().answer(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Told, Failure> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        if let Some(told) = self.desk.answer(&head, &body) {
            return Ok(told);
        }
        let manner = self.all().manner;
        if head.method == http::Method::POST && !head.headers.contains_key(header::CONTENT_LENGTH) {
            return Ok(html(411, "Length Required"));
        }
        let Some(path) = head.uri.path().strip_prefix("/compute/v1/") else {
            return Ok(html(404, "Not Found"));
        };
        if let Some(status) = manner.broken {
            return Ok(html(status, "oh dear"));
        }
        let kind = head
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let query = tokens::pairs(head.uri.query().unwrap_or_default());
        let asked = discovery().understand(&head.method, path, &query, kind, &body);
        let asked = match asked {
            Ok(asked) => asked,
            Err(refused) => return Ok(said_no(&refused)),
        };
        *self.all().calls.entry(asked.method.clone()).or_default() += 1;
        if !self.desk.knows(&head.headers) {
            return Ok(no(
                401,
                "authError",
                "Request had invalid authentication credentials.",
            ));
        }
        if let Some((status, reason)) = manner.refuses {
            return Ok(no(status, reason, "as the test wants it"));
        }
        let done = self.carry_out(&asked, manner).await;
        let writes = asked.query.contains_key("requestId");
        if writes && manner.loses_answers && done.is_ok() {
            return Err("the answer is lost".into());
        }
        Ok(match done {
            Err(refused) => said_no(&refused),
            Ok(answer) => {
                if manner.word.is_none() {
                    discovery().answers(&asked.method, &answer);
                }
                match asked.query.get("fields").filter(|_| !manner.refuses_fields) {
                    None => said(200, &answer),
                    Some(fields) => match Discovery::masked(&answer, fields) {
                        Ok(answer) => said(200, &answer),
                        Err(refused) => said_no(&refused),
                    },
                }
            }
        })
    }

    async fn carry_out(&self, asked: &Asked, manner: Manner) -> Result<Value, Refused> {
        self.may(asked, manner)?;
        self.tell_machines();
        let answer = match asked.method.as_str() {
            "compute.instances.get" => self.one(&target(asked)),
            "compute.instances.aggregatedList" => self.list(asked, manner),
            "compute.instances.insert"
            | "compute.instances.delete"
            | "compute.instances.setDiskAutoDelete"
            | "compute.instances.deleteAccessConfig"
            | "compute.instances.setLabels"
            | "compute.instances.start"
            | "compute.instances.stop"
            | "compute.instances.suspend"
            | "compute.instances.resume" => self.write(asked, manner),
            "compute.machineImages.get" | "compute.instanceTemplates.get" => self.source(asked),
            "compute.instances.testIamPermissions" => Ok(self.permissions(asked, manner)),
            "compute.zoneOperations.get" => self.operation(asked),
            "compute.zoneOperations.wait" => {
                let until = Instant::now() + WAIT_MAX;
                loop {
                    let operation = self.operation(asked)?;
                    let done = operation["status"] == "DONE";
                    if done || manner.waits_not || Instant::now() >= until {
                        break Ok(operation);
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            other => panic!("the stand-in has no {other}"),
        };
        self.tell_machines();
        answer
    }

    /// What is refused before anything is looked at.
    fn may(&self, asked: &Asked, manner: Manner) -> Result<(), Refused> {
        let no = |status, reason, message: String| {
            Err(Refused {
                status,
                reason,
                message,
            })
        };
        let project = &asked.path["project"];
        if project != PROJECT {
            return no(
                403,
                "forbidden",
                format!(
                    "Required '{}' permission for 'projects/{project}'",
                    asked.method
                ),
            );
        }
        if let Some(zone) = asked.path.get("zone").filter(|zone| *zone != ZONE) {
            return no(
                400,
                "invalid",
                format!("Invalid value for field 'zone': '{zone}'. Unknown zone."),
            );
        }
        if manner.refuses_fields && asked.query.contains_key("fields") {
            return no(400, "invalidParameter", "Invalid field selection".into());
        }
        if manner.hides_operations && asked.method.starts_with("compute.zoneOperations") {
            return no(
                403,
                "forbidden",
                "Required 'compute.zoneOperations.get' permission".into(),
            );
        }
        Ok(())
    }

    fn one(&self, of: &(String, String)) -> Result<Value, Refused> {
        let all = self.all();
        let at = Instant::now()
            .checked_sub(all.manner.reads_old)
            .expect("a moment");
        let vm = all
            .vms
            .get(of)
            .filter(|vm| vm.exists(at))
            .ok_or_else(|| missing(of))?;
        Ok(shown::instance(of, vm, at, all.manner))
    }

    fn list(&self, asked: &Asked, manner: Manner) -> Result<Value, Refused> {
        let all = self.all();
        let at = Instant::now()
            .checked_sub(manner.lists_old)
            .expect("a moment");
        let number = |name: &str| asked.query.get(name).and_then(|text| text.parse().ok());
        let from: usize = number("pageToken").unwrap_or_default();
        let most: usize = number("maxResults").unwrap_or(500).min(500);
        let most = if manner.per_page == 0 {
            most
        } else {
            most.min(manner.per_page)
        };
        let there: Vec<_> = all.vms.iter().filter(|(_, vm)| vm.exists(at)).collect();
        let page: Vec<_> = there.iter().copied().skip(from).take(most).collect();
        let mut answer = shown::list(&page, at, manner);
        if from + most < there.len() {
            answer["nextPageToken"] = json!((from + most).to_string());
        }
        Ok(answer)
    }

    fn source(&self, asked: &Asked) -> Result<Value, Refused> {
        let (kind, name) = match asked.path.get("machineImage") {
            Some(image) => ("machineImages", image),
            None => ("instanceTemplates", &asked.path["instanceTemplate"]),
        };
        let path = format!("projects/{PROJECT}/global/{kind}/{name}");
        match (self.all().images.contains(&path), kind) {
            (false, _) => Err(Refused {
                status: 404,
                reason: "notFound",
                message: format!("The resource '{path}' was not found"),
            }),
            (true, "machineImages") => Ok(json!({ "name": name, "status": "READY" })),
            (true, _) => Ok(json!({ "name": name })),
        }
    }

    fn permissions(&self, asked: &Asked, manner: Manner) -> Value {
        let all = asked.body["permissions"].as_array().into_iter().flatten();
        let granted = |permission: &&Value| {
            let text = permission.as_str().expect("a text");
            manner.grants_no.is_none_or(|no| !text.contains(no))
        };
        json!({ "permissions": all.filter(granted).collect::<Vec<_>>() })
    }

    fn operation(&self, asked: &Asked) -> Result<Value, Refused> {
        let all = self.all();
        let name = &asked.path["operation"];
        let number = name
            .strip_prefix("operation-")
            .and_then(|number| number.parse().ok());
        let known = number.and_then(|number: usize| Some((number, all.operations.get(number)?)));
        match known {
            Some((number, operation)) => Ok(shown::operation(number, operation)),
            None => Err(Refused {
                status: 404,
                reason: "notFound",
                message: format!(
                    "The resource 'projects/{PROJECT}/zones/{ZONE}/operations/{name}' was not found"
                ),
            }),
        }
    }

    fn write(&self, asked: &Asked, manner: Manner) -> Result<Value, Refused> {
        let mut all = self.all();
        let request = asked.query.get("requestId").cloned();
        if let Some(id) = &request {
            all.writes.push((asked.method.clone(), id.clone()));
            if !is_uuid(id) {
                let message = format!("Invalid value for field 'requestId': '{id}'.");
                return Err(Refused {
                    status: 400,
                    reason: "invalid",
                    message,
                });
            }
            if let Some(number) = all.requests.get(id) {
                return Ok(shown::operation(*number, &all.operations[*number]));
            }
        }
        let now = Instant::now();
        let verb = asked.method.rsplit('.').next().expect("a name");
        if verb == "insert" {
            return all.insert(asked, request, manner);
        }
        let target = target(asked);
        let vm = all.vms.get(&target).filter(|vm| vm.exists(now));
        let vm = vm.ok_or_else(|| missing(&target))?;
        let state = vm.state(now);
        let interface = asked.query.get("networkInterface");
        if verb == "deleteAccessConfig"
            && (vm.public.is_none() || interface.is_none_or(|name| name != "nic0"))
        {
            let message =
                "Invalid value for field 'accessConfig': there is none of this name.".into();
            return Err(Refused {
                status: 400,
                reason: "invalid",
                message,
            });
        }
        let known = shown::fingerprint(&vm.labels);
        if verb == "setLabels" && asked.body["labelFingerprint"] != known.as_str() {
            let message =
                "Labels fingerprint either invalid or resource labels have changed".into();
            return Err(Refused {
                status: 412,
                reason: "conditionNotMet",
                message,
            });
        }
        let forced = asked
            .query
            .get("noGracefulShutdown")
            .is_some_and(|forced| forced == "true");
        let hurries = state == "PENDING_STOP" && verb == "stop" && forced;
        let busy = all
            .operations
            .iter()
            .any(|known| known.target == target && !known.is_done(now));
        if busy && !hurries {
            let message = format!(
                "The resource 'projects/{PROJECT}/zones/{ZONE}/instances/{}' is not ready",
                target.1
            );
            return Err(Refused {
                status: 400,
                reason: "resourceNotReady",
                message,
            });
        }
        let ends = now + manner.takes;
        let half = now + manner.takes / 2;
        let change: Result<Vec<(Instant, &'static str)>, &'static str> = match (verb, state) {
            _ if manner.fails.is_some() => Err(manner.fails.expect("it was just there")),
            ("start", "TERMINATED" | "STOPPED") | ("resume", "SUSPENDED") => Ok(vec![
                (now, "PROVISIONING"),
                (half, "STAGING"),
                (ends, "RUNNING"),
            ]),
            ("start", "RUNNING") | ("stop", "TERMINATED" | "STOPPED")
                if !manner.refuses_repeats =>
            {
                Ok(Vec::new())
            }
            ("stop", "RUNNING") if manner.ignores_shutdown && !forced => {
                Ok(vec![(now, "PENDING_STOP")])
            }
            ("stop", "RUNNING" | "PENDING_STOP") => {
                Ok(vec![(now, "STOPPING"), (ends, "TERMINATED")])
            }
            ("delete", _) => Ok(vec![(now, "STOPPING"), (ends, GONE)]),
            ("setDiskAutoDelete" | "deleteAccessConfig" | "setLabels", _) => Ok(Vec::new()),
            ("suspend", "RUNNING") if !manner.suspends_not => {
                Ok(vec![(now, "SUSPENDING"), (ends, "SUSPENDED")])
            }
            _ => Err("UNSUPPORTED_OPERATION"),
        };
        let endless = change.as_ref().is_ok_and(|states| {
            states
                .last()
                .is_some_and(|(_, word)| *word == "PENDING_STOP")
        });
        let error = change.as_ref().err().copied();
        let vm = all.vms.get_mut(&target).expect("it was just there");
        match change {
            Ok(states) => vm.states.extend(states),
            // Resources are looked for, and not found.
            Err(_) if matches!(verb, "start" | "resume") => {
                vm.states.extend([(now, "PROVISIONING"), (ends, state)])
            }
            Err(_) => {}
        }
        match verb {
            "setDiskAutoDelete" if error.is_none() => {
                vm.disk_goes = asked.query["autoDelete"] == "true";
            }
            "deleteAccessConfig" if error.is_none() => vm.public = None,
            "setLabels" if error.is_none() => {
                vm.labels =
                    serde_json::from_value(asked.body["labels"].clone()).expect("validated");
            }
            _ => {}
        }
        let machine = vm.number;
        if hurries {
            let waiting = all
                .operations
                .iter_mut()
                .filter(|known| known.target == target);
            waiting.for_each(|known| known.ends = known.ends.or(Some(now)));
        }
        let ends = (!endless).then_some(ends);
        Ok(all.begin(Operation {
            kind: verb.to_owned(),
            machine,
            target,
            request,
            ends,
            error,
            told: false,
        }))
    }

    /// Switches the real machines of operations that are done.
    fn tell_machines(&self) {
        let mut all = self.all();
        let now = Instant::now();
        let All {
            operations,
            vms,
            disks_left,
            ..
        } = &mut *all;
        for operation in operations
            .iter_mut()
            .filter(|one| !one.told && one.is_done(now))
        {
            operation.told = true;
            let machine = vms
                .get(&operation.target)
                .and_then(|vm| vm.machine.as_ref());
            match (machine, operation.kind.as_str(), operation.error) {
                (Some(machine), "start" | "resume" | "insert", None) => machine.start(),
                (Some(machine), "stop" | "suspend" | "delete", None) => machine.crash(),
                _ => {}
            }
            let stays = vms.get(&operation.target).is_some_and(|vm| !vm.disk_goes);
            if operation.kind == "delete" && operation.error.is_none() && stays {
                disks_left.push(operation.target.1.clone());
            }
        }
    }
}

impl All {
    fn begin(&mut self, operation: Operation) -> Value {
        let number = self.operations.len();
        let id = operation.request.clone();
        self.requests.extend(id.map(|id| (id, number)));
        self.operations.push(operation);
        shown::operation(number, &self.operations[number])
    }

    /// A machine of a machine image or of a template: its disk stays when it goes, unless that is asked for.
    fn insert(
        &mut self,
        asked: &Asked,
        request: Option<String>,
        manner: Manner,
    ) -> Result<Value, Refused> {
        let refused = |status, reason, message: String| Refused {
            status,
            reason,
            message,
        };
        let sources = ["sourceMachineImage", "sourceInstanceTemplate"];
        let source = sources.iter().find_map(|key| asked.query.get(*key));
        let source = source.ok_or_else(|| refused(400, "required", "no disks".into()))?;
        if !self.images.contains(source) {
            let told = format!("The resource '{source}' was not found");
            return Err(refused(404, "notFound", told));
        }
        let body = &asked.body;
        let name = body["name"].as_str().unwrap_or_default();
        let fine = |text: &str, least: usize| {
            let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c);
            (least..=63).contains(&text.len()) && text.bytes().all(inner)
        };
        let labels: BTreeMap<String, String> =
            serde_json::from_value(body["labels"].clone()).unwrap_or_default();
        let labelled = |(key, value): (&String, &String)| fine(key, 1) && fine(value, 0);
        if name.is_empty() || !labels.iter().all(labelled) {
            return Err(refused(400, "invalid", "name or labels".into()));
        }
        let target = (asked.path["zone"].clone(), name.to_owned());
        let (now, number) = (Instant::now(), self.vms.len());
        if self.vms.get(&target).is_some_and(|vm| vm.exists(now)) {
            let told = format!(
                "The resource 'projects/{PROJECT}/zones/{ZONE}/instances/{name}' already exists"
            );
            return Err(refused(409, "alreadyExists", told));
        }
        let given = body["networkInterfaces"][0]["accessConfigs"].as_array();
        let public = given.is_none_or(|given| !given.is_empty()) || manner.gives_addresses;
        let ends = now + manner.takes;
        let last = if manner.fails.is_some() {
            GONE
        } else {
            "RUNNING"
        };
        let vm = Vm {
            number: 5000 + u64::try_from(number).expect("few"),
            states: vec![(now, "PROVISIONING"), (ends, last)],
            private: format!("10.132.1.{number}"),
            public: public.then(|| format!("203.0.113.{number}")),
            labels: match manner.forgets_labels {
                true => BTreeMap::new(),
                false => labels,
            },
            disk_goes: false,
            machine: None,
        };
        let machine = vm.number;
        self.vms.insert(target.clone(), vm);
        Ok(self.begin(Operation {
            kind: "insert".into(),
            machine,
            target,
            request,
            ends: Some(ends),
            error: manner.fails,
            told: false,
        }))
    }
}

impl Operation {
    fn is_done(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

fn target(asked: &Asked) -> (String, String) {
    (asked.path["zone"].clone(), asked.path["instance"].clone())
}

/// A UUID, and not the one of zeros.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    lengths == [8, 4, 4, 4, 12]
        && text.chars().all(hex)
        && text.chars().any(|c| !matches!(c, '0' | '-'))
}

fn missing((zone, name): &(String, String)) -> Refused {
    let message =
        format!("The resource 'projects/{PROJECT}/zones/{zone}/instances/{name}' was not found");
    Refused {
        status: 404,
        reason: "notFound",
        message,
    }
}

fn said_no(refused: &Refused) -> Told {
    match refused.reason {
        "html" => html(refused.status, &refused.message),
        reason => no(refused.status, reason, &refused.message),
    }
}

fn no(status: u16, reason: &str, message: &str) -> Told {
    let body = json!({ "error": {
        "code": status,
        "message": message,
        "errors": [{ "domain": "global", "reason": reason, "message": message }],
    } });
    said(status, &body)
}

fn html(status: u16, words: &str) -> Told {
    let mut answer = Response::new(Full::new(format!("<html>{words}</html>").into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

pub(crate) fn said(status: u16, body: &Value) -> Told {
    let mut answer = Response::new(Full::new(body.to_string().into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    let json = http::HeaderValue::from_static("application/json; charset=UTF-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}
