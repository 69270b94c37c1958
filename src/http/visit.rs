//! One request's way through the room: who asks, for what, and what it gets.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, Request};
use http_body::Body as HttpBody;
use http_body_util::Full;
use hyper::body::Incoming;

use super::balance;
use super::body::BodyError;
use super::cors::Reader;
use super::forward::Outgoing;
use super::head::{Head, without_port};
use super::headers::Hop;
use super::hold;
use super::manner::Manner;
use super::paths;
use super::ramp::{Admit, Place};
use super::reply::{self, Reply, Trouble};
use super::room::{Found, Room, Site, Sites};
use super::unread;
use crate::driver::admission::{Refusal, Taken, Wish};
use crate::engine::client;
use crate::engine::contract::TriggerBy;
use crate::engine::ignore::{self, Counts};
use crate::engine::route::{self, Decision, Form, Kind, Shape};
use crate::engine::time::Span;
use crate::engine::trap;
use crate::engine::view::Phase;
use crate::signal::edge::{Stay, Use, Wait};
use crate::telemetry::metrics;

/// What a head tells, beside its site.
pub(super) struct Seen {
    /// Who asks.
    pub(super) hop: Hop,
    /// What kind of request it is.
    pub(super) kind: Kind,
    /// How the client wants to be answered.
    pub(super) manner: Manner,
    /// Whether Traefik itself asks, on its errors path.
    pub(super) by_errors_path: bool,
    /// Whether it counts, or is a monitor that neither wakes the service nor keeps it awake.
    pub(super) counts: Counts,
    /// Whether it opens, of its own accord, what no honest visitor opens.
    pub(super) in_trap: bool,
    /// Who reads what it is answered.
    pub(super) reader: Reader,
}

impl Seen {
    /// Whether it is a monitor that neither wakes the service nor keeps it awake.
    pub(super) fn ignored(&self) -> bool {
        self.counts != Counts::Fully
    }

    /// Whether the closed gate has something of its own to say to it.
    pub(super) fn is_special(&self) -> bool {
        let by_name = matches!(self.reader, Reader::Listed(_));
        self.in_trap || by_name || self.counts == Counts::NotAndToldWell
    }
}

/// What is known of a request.
pub(super) struct Visit {
    /// Which site it is for.
    pub(super) found: Found,
    /// What its head tells.
    pub(super) seen: Seen,
}

/// The word for our own paths in metrics.
pub(super) const OWN_PATH: &str = "own_path";

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static SERVICE: HeaderName = HeaderName::from_static("x-anteroom-service");
static KEY: HeaderName = HeaderName::from_static("x-anteroom-key");
static REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Where a browser says that it only guesses, the present name first.
static PURPOSES: [HeaderName; 4] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];

/// Answers one request.
pub(super) async fn answer(room: Arc<Room>, peer: IpAddr, request: Request<Incoming>) -> Reply {
    if request.method() == Method::CONNECT {
        return reply::no_tunnel();
    }
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        // RFC 9112 §3.2; two hosts are how a request is made to mean two things.
        return reply::bad_request();
    }
    let (parts, body) = request.into_parts();
    let visit = look(&room, peer, &parts);
    let manner = Manner::of(&parts, Form::Page);
    let request = Request::from_parts(parts, body);
    let Some(visit) = visit else {
        return unread::after(request, reply::unknown_host(&room, manner)).await;
    };
    if request.uri().path().starts_with(paths::PREFIX) {
        return match unread::whole(request).await {
            Some(whole) => visit.own(&room, whole).await,
            None => reply::bad_wake(&visit.found.site.handle.view(), room.now()),
        };
    }
    let site = Arc::clone(&visit.found.site);
    let kind = visit.seen.kind.form().as_str();
    let reader = visit.seen.reader.clone();
    let reply = visit.go(&room, request).await;
    match reply.headers().contains_key(reply::MARK) {
        true => {
            metrics().answered(site.handle.service(), kind);
            reader.shown(reply)
        }
        false => reply,
    }
}

/// Answers a request for one of our own paths that is here with its whole body.
pub(super) async fn answer_own(
    room: &Arc<Room>,
    peer: IpAddr,
    request: Request<Full<Bytes>>,
) -> Reply {
    let (parts, body) = request.into_parts();
    match look(room, peer, &parts) {
        Some(visit) => visit.own(room, Request::from_parts(parts, body)).await,
        None => reply::unknown_host(room, Manner::of(&parts, Form::Page)),
    }
}

fn look(room: &Room, peer: IpAddr, head: &impl Head) -> Option<Visit> {
    let found = find(&room.sites(), head)?.clone();
    let seen = see(room, peer, head, &found.site);
    Some(Visit { found, seen })
}

/// What a head tells of who asks, and for what.
pub(super) fn see(room: &Room, peer: IpAddr, head: &impl Head, site: &Site) -> Seen {
    let forwarded_for: Vec<_> = head.lines(&FORWARDED_FOR).collect();
    let trusted = room.trusted();
    let peer_trusted = client::trusts(&trusted, peer);
    let on_errors_path = head.path() == paths::ERROR;
    let client = match on_errors_path {
        true => {
            let real_ip = head.line(&REAL_IP);
            client::address_on_errors_path(peer, &forwarded_for, real_ip, &trusted)
        }
        false => client::address(peer, &forwarded_for, &trusted),
    };
    let kind = Kind::of(&shape(head));
    Seen {
        hop: Hop {
            peer,
            client,
            trusted: peer_trusted,
        },
        kind,
        manner: Manner::of(head, kind.form()),
        by_errors_path: on_errors_path && peer_trusted && forwarded_for.is_empty(),
        counts: ignore::counts(&site.ignore, head.line(&header::USER_AGENT), client),
        in_trap: trap::is_trap(&site.traps, head.path())
            && trap::is_own_doing(head.line(&FETCH_SITE)),
        reader: Reader::of(&site.origins, head),
    }
}

/// The site that a head asks for.
pub(super) fn find<'a>(sites: &'a Sites, head: &impl Head) -> Option<&'a Found> {
    let host = without_port(head.host().unwrap_or_default());
    let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    };
    let named = match (head.line(&SERVICE), head.line(&KEY)) {
        (Some(name), Some(key)) => sites.of_name(name, key.as_bytes(), &host),
        _ => None,
    };
    named.or_else(|| sites.of_host(&host))
}

fn shape(head: &impl Head) -> Shape<'_> {
    let by_script = head
        .line(&REQUESTED_WITH)
        .is_some_and(|by| by.eq_ignore_ascii_case("xmlhttprequest"))
        // What reads sends an `Origin` only where a script, or a part of a page, asks another origin for it (the Fetch
        // standard, "append a request `Origin` header").
        || (matches!(head.method(), "GET" | "HEAD") && head.line(&header::ORIGIN).is_some());
    Shape {
        method: head.method(),
        path: head.path(),
        accept: head.line(&header::ACCEPT),
        fetch_mode: head.line(&FETCH_MODE),
        fetch_dest: head.line(&FETCH_DEST),
        purpose: PURPOSES.iter().find_map(|name| head.line(name)),
        content_type: head.line(&header::CONTENT_TYPE),
        by_script,
        upgrade: head.wants_upgrade(),
    }
}

impl Visit {
    async fn own<B>(self, room: &Arc<Room>, request: Request<B>) -> Reply
    where
        B: HttpBody<Data = Bytes, Error: Into<BodyError>>,
    {
        let site = Arc::clone(&self.found.site);
        // Traefik shows the answer of this path to whoever called the app.
        let reader = match request.uri().path() == paths::ERROR {
            true => self.seen.reader.clone(),
            false => Reader::Unasked,
        };
        let (reply, kind) = match self.held_off(room) {
            Some(reply) => (reply, "held_off"),
            None => (Box::pin(paths::answer(room, self, request)).await, OWN_PATH),
        };
        metrics().answered(site.handle.service(), kind);
        reader.shown(reply)
    }

    async fn go(self, room: &Arc<Room>, request: Request<Incoming>) -> Reply {
        let handle = &self.found.site.handle;
        let rules = self
            .found
            .site
            .rules(self.seen.hop.client, self.seen.ignored());
        let decision = match route::decide(&handle.view(), self.seen.kind, &rules) {
            Decision::Forward => {
                match self.is_admitted(room).await {
                    Admit::Go => {}
                    Admit::Page => {
                        return unread::after(request, self.wait(room, Form::Page)).await;
                    }
                    Admit::TooMany => {
                        let reply = self.failed(room, Trouble::TooMany);
                        return unread::after(request, reply).await;
                    }
                }
                match handle.enter(self.what(), self.stay()) {
                    Some(entered) => {
                        let outgoing = Outgoing::new(request, self.seen.hop);
                        let stay = self.stay();
                        let answer = balance::forward(room, handle, entered, stay, outgoing).await;
                        return answer.unwrap_or_else(|what| self.failed(room, what));
                    }
                    None => route::while_closed(&handle.view(), self.seen.kind, &rules),
                }
            }
            decision => decision,
        };
        self.at_closed_gate(room, request, decision).await
    }

    /// A place for a request that is kept, where the app is to be spared.
    fn place(&self, room: &Arc<Room>) -> Result<Option<Place>, Trouble> {
        let Some(pace) = &self.found.pace else {
            return Ok(None);
        };
        let view = self.found.site.handle.view();
        let place = pace.hold(room, &view, self.seen.hop.client);
        place.map(Some).ok_or(Trouble::TooMany)
    }

    /// Waits until it is this request's turn, where the app is freshly ready.
    async fn is_admitted(&self, room: &Arc<Room>) -> Admit {
        let Some(pace) = &self.found.pace else {
            return Admit::Go;
        };
        let handle = &self.found.site.handle;
        if handle.with_view(|view| pace.is_open(view)) {
            return Admit::Go;
        }
        let view = handle.view();
        let opens = self.seen.kind == Kind::Navigation;
        let admitted = pace.admit(room, &view, self.seen.hop.client, opens);
        Box::pin(admitted).await
    }

    /// Counts the client among those who wait.
    pub(super) fn waits(&self) -> Option<Wait> {
        self.found.site.waits(&self.seen)
    }

    /// What the request is to the idle clock.
    fn what(&self) -> Use {
        match self.seen.ignored() || self.seen.kind == Kind::Prefetch {
            true => Use::Passing,
            false => Use::Qualifying,
        }
    }

    /// What the request is to the instance that it goes to.
    fn stay(&self) -> Stay {
        match self.seen.kind {
            Kind::Upgrade | Kind::EventStream => Stay::Long,
            _ => Stay::Short,
        }
    }

    async fn at_closed_gate(
        &self,
        room: &Arc<Room>,
        request: Request<Incoming>,
        decision: Decision,
    ) -> Reply {
        if let Some(reply) = self.held_off(room) {
            return unread::after(request, reply).await;
        }
        if self.seen.in_trap {
            self.spring(room, &request).await;
        }
        if let Some(reply) = self.told_well(request.method()) {
            return unread::after(request, reply).await;
        }
        let (method, uri) = (request.method(), request.uri());
        let view = self.found.site.handle.view();
        if let Some(reply) = self.seen.reader.lets(method, request.headers(), view.phase) {
            return unread::after(request, reply).await;
        }
        let copy = room
            .copies
            .answer(&self.found, method, uri, request.headers(), room.now());
        if let Some(reply) = copy {
            return unread::after(request, reply).await;
        }
        let reply = match decision {
            Decision::Hold { wake, .. } => return self.hold(room, request, wake).await,
            Decision::Wait { form, wake } => {
                if wake {
                    // Refused: the page is right all the same.
                    let by = TriggerBy::Request;
                    let (path, agent) = (request.uri().path(), agent(request.headers()));
                    let _ = self.ask(room, by, path, agent, None).await;
                }
                self.wait(room, form)
            }
            Decision::Deny { form } => {
                let (view, manner) = (self.found.site.handle.view(), self.manner().in_form(form));
                reply::deny(room, &self.found, &view, manner)
            }
            // A closed gate lets nobody through; the page is right whatever comes next.
            Decision::Forward => self.wait(room, self.seen.kind.form()),
        };
        unread::after(request, reply).await
    }

    /// Keeps the request until the app is there, or says why not.
    async fn hold(&self, room: &Arc<Room>, request: Request<Incoming>, wake: bool) -> Reply {
        let path = request.uri().path().to_owned();
        let agent = agent(request.headers()).to_owned();
        let length = self.found.site.hold.unwrap_or(Span::ZERO);
        let outgoing = Outgoing::new(request, self.seen.hop);
        let wakes = async || {
            if wake {
                self.ask(room, TriggerBy::Request, &path, &agent, None)
                    .await?;
            }
            Ok(wake)
        };
        let held = Box::pin(hold::hold(
            room,
            &self.found,
            outgoing,
            self.stay(),
            length,
            wakes,
            || Ok((self.waits(), self.place(room)?)),
        ))
        .await;
        match held {
            Ok(reply) => reply,
            // Nothing of its body was read, or not all.
            Err(what @ (Trouble::TooBig | Trouble::TooMany)) => {
                reply::last(self.failed(room, what))
            }
            Err(what) => self.failed(room, what),
        }
    }

    /// Whoever opens a trap wakes nothing for a while, and hears nothing of it.
    async fn spring<B>(&self, room: &Room, request: &Request<B>) {
        let site = &self.found.site;
        if let Some(network) = trap::caught(self.seen.hop.client, &room.trusted()) {
            let (service, length) = (site.handle.service(), site.trap_ban);
            let path = paths::ledger_path(request.uri().path());
            let wish = self.wish(TriggerBy::Request, &path, agent(request.headers()));
            let admission = &room.admission;
            Box::pin(admission.catch(service, network, room.now(), length, wish)).await;
        }
    }

    /// It answered the service's challenge with what answers nothing.
    pub(super) async fn unproven(&self, room: &Room, path: &str, agent: &str) {
        let path = paths::ledger_path(path);
        let wish = self.wish(TriggerBy::Click, &path, agent);
        let service = self.found.site.handle.service();
        let told = room.admission.unproven(service, room.now(), wish);
        Box::pin(told).await;
    }

    fn wish<'a>(&self, by: TriggerBy, path: &'a str, agent: &'a str) -> Wish<'a> {
        Wish {
            address: self.seen.hop.client,
            nonce: None,
            by,
            path,
            agent,
        }
    }

    /// The answer to a monitor that is told that all is well while the service sleeps; none where it is not.
    fn told_well(&self, method: &Method) -> Option<Reply> {
        let phase = self.found.site.handle.view().phase;
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let is_well = !matches!(phase, Phase::Failed | Phase::Awake);
        let told = self.seen.counts == Counts::NotAndToldWell && reads && is_well;
        told.then(|| reply::asleep_and_well(phase))
    }

    /// The answer to a client that has had too many of ours.
    fn held_off(&self, room: &Room) -> Option<Reply> {
        let wait = room.holds_off(self.seen.hop.client)?;
        let phase = self.found.site.handle.view().phase;
        Some(reply::held_off(phase, wait))
    }

    /// Asks for a wake. `serial` is that of the page's nonce, which pays for one.
    pub(super) async fn ask(
        &self,
        room: &Room,
        by: TriggerBy,
        path: &str,
        agent: &str,
        serial: Option<u64>,
    ) -> Result<Taken, Refusal> {
        let site = &self.found.site;
        let path = paths::ledger_path(path);
        let serial = serial.map(|serial| format!("{serial:016x}"));
        let wish = Wish {
            nonce: serial.as_deref(),
            ..self.wish(by, &path, agent)
        };
        let asked = room
            .admission
            .ask(&site.handle, &site.admit, room.now(), wish);
        asked.await
    }

    /// The answer to a client that waits.
    pub(super) fn wait(&self, room: &Room, form: Form) -> Reply {
        let (found, now) = (&self.found, room.now());
        let (view, manner) = (found.site.handle.view(), self.manner().in_form(form));
        reply::wait(found, &view, now, manner, || {
            found.page(&view, room, now, manner)
        })
    }

    /// How the client wants to be answered.
    pub(super) fn manner(&self) -> Manner {
        self.seen.manner
    }

    /// The answer when the app can't serve this request.
    fn failed(&self, room: &Room, what: Trouble) -> Reply {
        let found = &self.found;
        match (what, self.seen.kind.form()) {
            // Not sent: the page waits for the app and comes back by itself.
            (Trouble::Unreached, Form::Page | Form::UnsentPage) => {
                self.wait(room, self.seen.kind.form())
            }
            _ => {
                let view = found.site.handle.view();
                reply::trouble(room, found, &view, self.manner(), what)
            }
        }
    }
}

/// The user agent as it came, empty where there is none or it is no text.
pub(super) fn agent(headers: &HeaderMap) -> &str {
    let agent = headers.get(header::USER_AGENT);
    agent.and_then(|agent| agent.to_str().ok()).unwrap_or("")
}
