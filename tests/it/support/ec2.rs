//! AWS EC2 for one account in one region: strict where the real one is, and able to be slow, to lag, to lose answers and
//! to refuse. It checks each signature by the published rules, and takes no parameter that it does not know.

mod launch;
mod signature;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The one launch template.
pub(crate) const TEMPLATE: &str = "blog";

/// How it behaves where the real one may, or is known to now and then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// How long a machine is on its way.
    pub(crate) takes: Duration,
    /// For so long a machine is read as it was before it was changed.
    pub(crate) lags: Duration,
    /// A change is made, and its answer lost.
    pub(crate) loses_answers: bool,
    /// The machine's own shutdown never comes to an end.
    pub(crate) ignores_shutdown: bool,
    /// An action is refused so: its name, or `*`; the status; the code.
    pub(crate) refuses: Option<(&'static str, u16, &'static str)>,
    /// The most machines on one page.
    pub(crate) page: Option<usize>,
    /// The session that must be named, of keys that do not last.
    pub(crate) session: Option<String>,
    /// Machines were launched for hibernation.
    pub(crate) hibernates: bool,
}

/// EC2.
#[derive(Clone)]
pub(crate) struct Ec2 {
    pub(crate) address: SocketAddr,
    all: Arc<Mutex<All>>,
}

#[derive(Default)]
struct All {
    manner: Manner,
    instances: BTreeMap<String, Instance>,
    /// Launches by their token: what was asked, and what it made.
    launched: BTreeMap<String, (Fields, String)>,
    calls: Vec<String>,
}

#[derive(Clone)]
struct Instance {
    before: State,
    state: State,
    /// When it was last changed.
    since: Instant,
    private: String,
    tags: BTreeMap<String, String>,
    /// It was launched, and nothing was done to it since.
    is_new: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Stopped,
    Hibernated,
    Terminated,
    /// On its way there.
    To(Rest),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Running,
    Stopped,
    Hibernated,
    Terminated,
    /// It never gets there.
    Nowhere,
}

impl State {
    fn code(self) -> (u16, &'static str) {
        match self {
            // The high byte means nothing, and is there at times.
            State::Running => (272, "running"),
            State::Stopped | State::Hibernated => (80, "stopped"),
            State::Terminated => (48, "terminated"),
            State::To(Rest::Running) => (0, "pending"),
            State::To(Rest::Terminated) => (32, "shutting-down"),
            State::To(_) => (64, "stopping"),
        }
    }

    fn arrived(self) -> State {
        match self {
            State::To(Rest::Running) => State::Running,
            State::To(Rest::Stopped) => State::Stopped,
            State::To(Rest::Hibernated) => State::Hibernated,
            State::To(Rest::Terminated) => State::Terminated,
            state => state,
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Fields = BTreeMap<String, String>;

/// A refusal: the status, the code, what is said.
struct Refusal(u16, &'static str, String);

fn refuse<T>(code: &'static str, said: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(400, code, said.into()))
}

impl Ec2 {
    /// Starts it in the runtime of the test.
    pub(crate) fn start() -> Ec2 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        listener.set_nonblocking(true).expect("a socket");
        let ec2 = Ec2 {
            address: listener.local_addr().expect("a bound port"),
            all: Arc::default(),
        };
        tokio::spawn(ec2.clone().serve(listener));
        ec2
    }

    /// Its base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a machine that is off.
    pub(crate) fn make(&self, id: &str, private: &str) {
        let instance = Instance {
            before: State::Stopped,
            state: State::Stopped,
            since: Instant::now(),
            private: private.to_owned(),
            tags: BTreeMap::new(),
            is_new: false,
        };
        self.all().instances.insert(id.to_owned(), instance);
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.all().manner = manner;
    }

    /// Deletes a machine by somebody else's hand.
    pub(crate) fn terminate(&self, id: &str) {
        let mut all = self.all();
        let instance = all.instances.get_mut(id).expect("there");
        instance.state = State::To(Rest::Terminated);
        instance.since = Instant::now();
    }

    /// Machines that run, or are about to.
    pub(crate) fn running(&self) -> usize {
        let all = self.all();
        let takes = all.manner.takes;
        let runs = |instance: &&Instance| {
            matches!(
                instance.now(takes),
                State::Running | State::To(Rest::Running)
            )
        };
        all.instances.values().filter(runs).count()
    }

    /// How often this was called: an action, and what must be among its fields.
    pub(crate) fn calls(&self, action: &str, field: &str) -> usize {
        let all = self.all();
        let is_one =
            |call: &&String| call.contains(&format!("Action={action}&")) && call.contains(field);
        all.calls.iter().filter(is_one).count()
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().expect("no test panics here")
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((stream, _)) = listener.accept().await {
            let ec2 = self.clone();
            let service = hyper::service::service_fn(move |request| ec2.clone().answer(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Failure> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let text = String::from_utf8(body.to_vec())?;
        let mut fields = fields(&text);
        let manner = {
            let mut all = self.all();
            all.calls.push(format!("{text}&"));
            all.manner.clone()
        };
        let action = fields.remove("Action").unwrap_or_default();
        let writes = !action.starts_with("Describe");
        let answer = signature::is_good(&head, &body, &manner)
            .and_then(|()| refused_anyhow(&manner, &action))
            .and_then(|()| self.act(&action, fields, &manner));
        if writes && manner.loses_answers && answer.is_ok() {
            return Err("the answer is lost".into());
        }
        let (status, body) = match answer {
            Ok(body) => {
                let ns = "http://ec2.amazonaws.com/doc/2016-11-15/";
                let body = format!(
                    "<{action}Response xmlns=\"{ns}\"><requestId>r</requestId>{body}</{action}Response>"
                );
                (200, body)
            }
            Err(Refusal(status, code, said)) => {
                let error = format!("<Code>{code}</Code><Message>{said}</Message>");
                let body = format!(
                    "<Response><Errors><Error>{error}</Error></Errors><RequestID>r</RequestID></Response>"
                );
                (status, body)
            }
        };
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        let mut answer = Response::new(Full::new(format!("{head}{body}").into()));
        *answer.status_mut() = StatusCode::from_u16(status)?;
        Ok(answer)
    }

    fn act(&self, action: &str, mut fields: Fields, manner: &Manner) -> Result<String, Refusal> {
        if fields.remove("Version").as_deref() != Some("2016-11-15") {
            return refuse("InvalidAction", "The action is not valid for this version");
        }
        let dry = fields.remove("DryRun").as_deref() == Some("true");
        let ids = listed(&mut fields, "InstanceId.");
        let filters = filters(&mut fields);
        let (known, most): (&[&str], _) = match action {
            "DescribeInstances" => (&["MaxResults", "NextToken"], true),
            "StartInstances" => (&[], false),
            "StopInstances" => (&["Force", "Hibernate"], false),
            "TerminateInstances" => (&[], false),
            "RunInstances" => return self.launch(fields, dry, manner),
            _ => return refuse("InvalidAction", format!("The action {action} is not valid")),
        };
        if let Some(field) = fields.keys().find(|field| !known.contains(&field.as_str())) {
            return refuse(
                "UnknownParameter",
                format!("The parameter {field} is not recognized"),
            );
        }
        if !most && (ids.is_empty() || !filters.is_empty()) {
            return refuse(
                "MissingParameter",
                "The request must contain the parameter InstanceId",
            );
        }
        if dry {
            return Err(Refusal(
                412,
                "DryRunOperation",
                "Request would have succeeded".into(),
            ));
        }
        if action == "DescribeInstances" {
            return self.describe(&ids, &filters, &fields, manner);
        }
        self.change(action, &ids, &fields, manner)
    }

    fn describe(
        &self,
        ids: &[String],
        filters: &[(String, Vec<String>)],
        fields: &Fields,
        manner: &Manner,
    ) -> Result<String, Refusal> {
        let all = self.all();
        let known = |id: &String| all.instances.get(id).is_some_and(|it| it.is_known(manner));
        if let Some(id) = ids.iter().find(|id| !known(id)) {
            return refuse(
                "InvalidInstanceID.NotFound",
                format!("The instance ID '{id}' does not exist"),
            );
        }
        let max = fields.get("MaxResults").map(|max| max.parse::<usize>());
        match max {
            Some(_) if !ids.is_empty() => {
                return refuse("InvalidParameterCombination", "MaxResults with InstanceId");
            }
            Some(Ok(5..=1000)) | None => {}
            Some(_) => {
                return refuse(
                    "InvalidParameterValue",
                    "MaxResults must be between 5 and 1000",
                );
            }
        }
        if filters.iter().any(|(_, values)| values.len() > 200) {
            return refuse(
                "FilterLimitExceeded",
                "The maximum number of filter values is 200",
            );
        }
        let fits = |id: &String, instance: &Instance| {
            filters
                .iter()
                .all(|(name, values)| match name.strip_prefix("tag:") {
                    Some(tag) => instance
                        .tags
                        .get(tag)
                        .is_some_and(|value| values.contains(value)),
                    None if name == "tag-key" => {
                        values.iter().any(|tag| instance.tags.contains_key(tag))
                    }
                    None => name == "instance-id" && values.contains(id),
                })
        };
        let wanted = all.instances.iter();
        // What was just launched is not in every list yet.
        let wanted = wanted.filter(|(_, instance)| instance.is_known(manner));
        let wanted = wanted
            .filter(|(id, instance)| (ids.is_empty() || ids.contains(id)) && fits(id, instance));
        let first: usize = match fields.get("NextToken") {
            Some(token) => match token.strip_prefix("page+").and_then(|at| at.parse().ok()) {
                Some(at) => at,
                None => return refuse("InvalidNextToken", "The token is not valid"),
            },
            None => 0,
        };
        let page = match max {
            Some(Ok(max)) => manner.page.unwrap_or(max).min(max),
            _ => usize::MAX,
        };
        let wanted: Vec<_> = wanted.skip(first).collect();
        let mut body = "<reservationSet>".to_owned();
        for (id, instance) in wanted.iter().take(page) {
            let shown = instance.shown(id, manner);
            write!(body, "<item><instancesSet>{shown}</instancesSet></item>").expect("memory");
        }
        body.push_str("</reservationSet>");
        if wanted.len() > page {
            write!(body, "<nextToken>page+{}</nextToken>", first + page).expect("memory");
        }
        Ok(body)
    }

    fn change(
        &self,
        action: &str,
        ids: &[String],
        fields: &Fields,
        manner: &Manner,
    ) -> Result<String, Refusal> {
        let mut all = self.all();
        let flag = |name: &str| fields.get(name).map(String::as_str) == Some("true");
        let mut body = "<instancesSet>".to_owned();
        for id in ids {
            let Some(instance) = all.instances.get_mut(id) else {
                return refuse(
                    "InvalidInstanceID.NotFound",
                    format!("The instance ID '{id}' does not exist"),
                );
            };
            let now = instance.now(manner.takes);
            let said =
                format!("The instance '{id}' is not in a state from which it can be changed so");
            let next = match (action, now) {
                ("StartInstances", State::Stopped | State::Hibernated) => State::To(Rest::Running),
                ("StartInstances", State::Running | State::To(Rest::Running)) => now,
                ("StopInstances", State::Running | State::To(Rest::Running | Rest::Nowhere)) => {
                    match (flag("Hibernate"), flag("Force")) {
                        (true, _) if !manner.hibernates => {
                            let code = "UnsupportedHibernationConfiguration";
                            return refuse(code, "The instance is not configured for hibernation");
                        }
                        (true, _) => State::To(Rest::Hibernated),
                        (false, false) if manner.ignores_shutdown => State::To(Rest::Nowhere),
                        _ => State::To(Rest::Stopped),
                    }
                }
                (
                    "StopInstances",
                    State::Stopped
                    | State::Hibernated
                    | State::To(Rest::Stopped | Rest::Hibernated),
                ) => now,
                ("TerminateInstances", State::Terminated | State::To(Rest::Terminated)) => now,
                ("TerminateInstances", _) => State::To(Rest::Terminated),
                _ => return refuse("IncorrectInstanceState", said),
            };
            if next != now {
                (instance.before, instance.state, instance.since) = (now, next, Instant::now());
                instance.is_new = false;
            }
            let (code, name) = next.code();
            let (old, was) = now.code();
            write!(
                body,
                "<item><instanceId>{id}</instanceId><currentState><code>{code}</code><name>{name}</name></currentState>\
                 <previousState><code>{old}</code><name>{was}</name></previousState></item>"
            )
            .expect("memory");
        }
        body.push_str("</instancesSet>");
        Ok(body)
    }
}

impl Instance {
    fn is_known(&self, manner: &Manner) -> bool {
        !self.is_new || self.since.elapsed() >= manner.lags
    }

    fn now(&self, takes: Duration) -> State {
        match self.since.elapsed() >= takes {
            true => self.state.arrived(),
            false => self.state,
        }
    }

    fn shown(&self, id: &str, manner: &Manner) -> String {
        let now = match self.since.elapsed() < manner.lags {
            true => self.before,
            false => self.now(manner.takes),
        };
        let (code, name) = now.code();
        let mut shown = format!(
            "<item><instanceId>{id}</instanceId><instanceState><code>{code}</code><name>{name}</name></instanceState>"
        );
        let mut add = |part: String| shown.push_str(&part);
        if now == State::Hibernated {
            add("<stateReason><code>Client.UserInitiatedHibernate</code></stateReason>".into());
        }
        if now != State::Terminated {
            add(format!(
                "<privateIpAddress>{}</privateIpAddress>",
                self.private
            ));
        }
        if now == State::Running {
            add("<ipAddress>203.0.113.7</ipAddress>".into());
        }
        let tags = self.tags.iter();
        let tag = |(key, value): (&String, &String)| {
            format!("<item><key>{key}</key><value>{value}</value></item>")
        };
        add(format!(
            "<tagSet>{}</tagSet></item>",
            tags.map(tag).collect::<String>()
        ));
        shown
    }
}

fn refused_anyhow(manner: &Manner, action: &str) -> Result<(), Refusal> {
    match manner.refuses {
        Some((what, status, code)) if what == "*" || what == action => {
            Err(Refusal(status, code, "as the test wants it".into()))
        }
        _ => Ok(()),
    }
}

/// Takes the values of `name1`, `name2` and so on.
fn listed(fields: &mut Fields, name: &str) -> Vec<String> {
    let numbered = (1..).map_while(|number| fields.remove(&format!("{name}{number}")));
    numbered.collect()
}

fn filters(fields: &mut Fields) -> Vec<(String, Vec<String>)> {
    let mut filters = Vec::new();
    while let Some(name) = fields.remove(&format!("Filter.{}.Name", filters.len() + 1)) {
        let values = listed(fields, &format!("Filter.{}.Value.", filters.len() + 1));
        filters.push((name, values));
    }
    filters
}

fn fields(text: &str) -> Fields {
    let url = reqwest::Url::parse(&format!("form://form?{text}")).expect("a query");
    url.query_pairs().into_owned().collect()
}
