//! What a request gets: who sends it is seen from its head ([`Kind::of`]), and what it is given follows from
//! that and from the service as it is ([`decide`]).
//!
//! The rules have outside reasons. A GET does not wake by itself, because link previews, monitors and prefetchers
//! send GETs. A script or an image never gets HTML. A client that prefers JSON gets a problem document
//! (RFC 9457). A request with a body is told that it was not sent.

use super::view::{Phase, View};

/// What of a request's head tells its kind. Texts are the header values as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shape<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `Sec-Fetch-Mode`.
    pub fetch_mode: Option<&'a str>,
    /// `Sec-Fetch-Dest`.
    pub fetch_dest: Option<&'a str>,
    /// `Sec-Purpose`, else `Purpose`, else `X-Purpose`, else `X-Moz`.
    pub purpose: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Whether `X-Requested-With: XMLHttpRequest` is there.
    pub by_script: bool,
    /// Whether the connection is to be upgraded (RFC 9110 §7.8).
    pub upgrade: bool,
}

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A browser opens a page.
    Navigation,
    /// A browser sends a form.
    Submission,
    /// A GET that takes anything: a command-line client, a monitor, an old program.
    Plain,
    /// A GET by a script or a program that wants data.
    Data,
    /// A GET by a script that wants a piece of HTML.
    Fragment,
    /// Any other method by a script or a program.
    Call,
    /// A script, a style sheet, an image, a font: part of a page.
    Asset,
    /// A feed reader, or a crawler that asks for what is made for crawlers.
    Feed,
    /// HEAD: it gets the headers that the GET would get (RFC 9110 §9.3.2), in this form.
    Head(Form),
    /// What a browser sends by itself and nobody reads the answer of: a report, a beacon, a ping.
    Report,
    /// OPTIONS; above all a CORS preflight.
    Preflight,
    /// A protocol upgrade: WebSocket.
    Upgrade,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// A stream of server-sent events.
    EventStream,
    /// The browser guesses that somebody may come.
    Prefetch,
}

/// In what form a client is told that the service isn't there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The waiting page.
    Page,
    /// The page that says that the form was not sent.
    UnsentPage,
    /// A problem document.
    Problem,
    /// A problem document that says that the request was not sent.
    UnsentProblem,
    /// Only status and headers.
    Empty,
    /// The status that gRPC clients understand: 14, unavailable.
    Grpc,
    /// The same for gRPC-Web.
    GrpcWeb,
}

impl Form {
    /// The word used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Form::Page => "page",
            Form::UnsentPage => "unsent_page",
            Form::Problem => "problem",
            Form::UnsentProblem => "unsent_problem",
            Form::Empty => "empty",
            Form::Grpc => "grpc",
            Form::GrpcWeb => "grpc_web",
        }
    }
}

/// Whether a request wakes the service by itself, as the service's `wake.by` and `hold` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByRequest {
    /// Never: `wake.by` asks for a person.
    Never,
    /// Only one that is held: `wake.by = "page"` with a `hold`.
    Held,
    /// Every qualifying one: `wake.by = "request"`.
    Always,
}

/// The service's rules, and what is known of the client.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether requests wake by themselves.
    pub by_request: ByRequest,
    /// Whether clients that take no HTML are kept waiting for the app.
    pub hold: bool,
    /// Whether this client's address may wake the service.
    pub may_wake: bool,
    /// Whether this client is a monitor that neither wakes the service nor keeps it awake.
    pub ignored: bool,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send it to the app.
    Forward,
    /// Say that the service isn't there yet.
    Wait {
        /// In which form.
        form: Form,
        /// Whether the request wakes the service.
        wake: bool,
    },
    /// Keep it until the app is there, then send it, once.
    Hold {
        /// In which form it is told that the app did not come.
        form: Form,
        /// Whether the request wakes the service.
        wake: bool,
    },
    /// The service sleeps, and this client may not wake it.
    Deny {
        /// In which form.
        form: Form,
    },
}

impl Kind {
    /// The kind of a request.
    #[must_use]
    pub fn of(shape: &Shape<'_>) -> Kind {
        if shape.upgrade {
            return Kind::Upgrade;
        }
        let content_is = |kind| shape.content_type.is_some_and(|is| starts(is, kind));
        if content_is("application/grpc-web") {
            return Kind::GrpcWeb;
        }
        if content_is("application/grpc") {
            return Kind::Grpc;
        }
        if shape.purpose.is_some_and(is_guess) {
            return Kind::Prefetch;
        }
        match shape.method {
            "GET" => of_get(shape),
            "HEAD" => Kind::Head(of_get(shape).form()),
            "OPTIONS" => Kind::Preflight,
            _ => of_call(shape),
        }
    }

    /// In what form this kind is told to wait.
    #[must_use]
    pub const fn form(self) -> Form {
        match self {
            // The server leaves the body of an answer to HEAD away.
            Kind::Head(form) => form,
            Kind::Navigation | Kind::Plain => Form::Page,
            Kind::Submission => Form::UnsentPage,
            Kind::Data | Kind::Fragment => Form::Problem,
            Kind::Call => Form::UnsentProblem,
            Kind::Asset
            | Kind::Feed
            | Kind::Preflight
            | Kind::Upgrade
            | Kind::EventStream
            | Kind::Report
            | Kind::Prefetch => Form::Empty,
            Kind::Grpc => Form::Grpc,
            Kind::GrpcWeb => Form::GrpcWeb,
        }
    }

    /// Whether somebody seems to want the service: a request of this kind may wake it, if its rules let
    /// requests wake.
    #[must_use]
    pub const fn wants(self) -> bool {
        match self {
            Kind::Navigation
            | Kind::Submission
            | Kind::Plain
            | Kind::Data
            | Kind::Fragment
            | Kind::Call
            | Kind::Upgrade
            | Kind::Grpc
            | Kind::GrpcWeb
            | Kind::EventStream => true,
            Kind::Asset
            | Kind::Feed
            | Kind::Head(_)
            | Kind::Preflight
            | Kind::Report
            | Kind::Prefetch => false,
        }
    }

    /// Whether a request of this kind can be kept waiting: its client takes no HTML, so no page can wait for it.
    #[must_use]
    pub const fn can_be_held(self) -> bool {
        self.wants() && !matches!(self, Kind::Navigation | Kind::Submission | Kind::Fragment)
    }
}

/// What a request gets.
#[must_use]
pub fn decide(view: &View, kind: Kind, rules: &Rules) -> Decision {
    match view.upstreams.is_empty() {
        false => Decision::Forward,
        true => while_closed(view, kind, rules),
    }
}

/// Whether the app comes without anybody asking for it: it is being woken, or shown already though its gate is not open
/// yet, or not any more.
#[must_use]
pub fn is_on_its_way(view: &View) -> bool {
    view.phase == Phase::Waking || !view.upstreams.is_empty()
}

/// What a request gets while the gate is closed.
#[must_use]
pub fn while_closed(view: &View, kind: Kind, rules: &Rules) -> Decision {
    let form = kind.form();
    let may = rules.may_wake && !rules.ignored && kind.wants();
    let on_its_way = is_on_its_way(view);
    if rules.hold && kind.can_be_held() && !rules.ignored {
        let wake = may && rules.by_request != ByRequest::Never;
        if wake || on_its_way {
            return Decision::Hold { form, wake };
        }
    }
    if !rules.may_wake && !on_its_way {
        return Decision::Deny { form };
    }
    Decision::Wait {
        form,
        wake: may && rules.by_request == ByRequest::Always,
    }
}

fn of_get(shape: &Shape<'_>) -> Kind {
    let accept = Accept::of(shape.accept);
    if accept.stream {
        return Kind::EventStream;
    }
    let by_script = match accept.names_html && !accept.prefers_json {
        true => Kind::Fragment,
        false => Kind::Data,
    };
    match (shape.fetch_mode, shape.fetch_dest) {
        (Some("navigate"), _) | (_, Some("document" | "iframe" | "frame")) => Kind::Navigation,
        (_, Some("" | "empty")) => by_script,
        (_, Some(_)) => Kind::Asset,
        (Some("cors" | "same-origin"), None) => by_script,
        _ if shape.by_script => by_script,
        _ if matches!(shape.path, "/robots.txt" | "/sitemap.xml") => Kind::Feed,
        // No fetch metadata: an old browser or a program.
        _ if accept.feed && !accept.names_html => Kind::Feed,
        _ if accept.prefers_json => Kind::Data,
        _ if accept.names_html => Kind::Navigation,
        _ if accept.part || is_part(shape.path) => Kind::Asset,
        _ => Kind::Plain,
    }
}

fn of_call(shape: &Shape<'_>) -> Kind {
    let accept = Accept::of(shape.accept);
    let reports = [
        "application/reports+json",
        "application/csp-report",
        "text/ping",
    ];
    let reports = reports
        .iter()
        .any(|kind| shape.content_type.is_some_and(|is| starts(is, kind)));
    match (shape.fetch_mode, shape.fetch_dest) {
        (Some("navigate"), _) | (_, Some("document" | "iframe" | "frame")) => Kind::Submission,
        // A script that sends in mode "no-cors" can't read what comes back, and sends it for the most part when its page
        // is left.
        (_, Some("report")) | (Some("no-cors"), _) => Kind::Report,
        _ if reports => Kind::Report,
        (Some(_), _) | (_, Some(_)) => Kind::Call,
        _ if shape.by_script || accept.prefers_json => Kind::Call,
        _ if accept.names_html => Kind::Submission,
        _ => Kind::Call,
    }
}

/// What `Accept` says (RFC 9110 §12.5.1).
#[derive(Debug, Default, PartialEq)]
struct Accept {
    /// It would rather have JSON than HTML.
    prefers_json: bool,
    /// HTML is named, not only covered by a wildcard.
    names_html: bool,
    feed: bool,
    stream: bool,
    /// Part of a page is named and nothing else, or it is what it likes best.
    part: bool,
}

/// Elements of `Accept` that are looked at; browsers send up to ten.
const RANGES_MAX: usize = 32;

impl Accept {
    fn of(text: Option<&str>) -> Accept {
        let text = text.unwrap_or("*/*");
        // For each type the most specific range that covers it counts: (how specific, quality in thousandths).
        let (mut html, mut json) = ((0, 0), (0, 0));
        let (mut best_part, mut best_other, mut names_other) = (0, 0, false);
        let mut accept = Accept::default();
        for range in text.split(',').take(RANGES_MAX) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(quality_of).unwrap_or(1_000);
            match name.as_str() {
                "text/html" | "application/xhtml+xml" => {
                    html = html.max((3, quality));
                    accept.names_html |= quality > 0;
                }
                "application/rss+xml" | "application/atom+xml" | "application/feed+json" => {
                    accept.feed |= quality > 0;
                }
                "application/json" | "text/json" => json = json.max((3, quality)),
                name if name.ends_with("+json") => json = json.max((3, quality)),
                "text/*" => html = html.max((2, quality)),
                "application/*" => json = json.max((2, quality)),
                "*/*" => {
                    html = html.max((1, quality));
                    json = json.max((1, quality));
                }
                "text/event-stream" => accept.stream |= quality > 0,
                _ => {}
            }
            match is_part_type(&name) {
                true => best_part = best_part.max(quality),
                false => {
                    best_other = best_other.max(quality);
                    names_other |= !matches!(name.as_str(), "*/*" | "*");
                }
            }
        }
        // With equal qualities the one that is named wins: "application/json, */*" comes from programs.
        accept.prefers_json = (json.1, json.0) > (html.1, html.0);
        accept.part = best_part > best_other || (best_part > 0 && !names_other);
        accept
    }
}

fn quality_of(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().ok()?;
    // Within 0 and 1000 after the clamp; a NaN becomes 0.
    Some((value.clamp(0.0, 1.0) * 1_000.0) as u16)
}

fn is_part_type(name: &str) -> bool {
    ["image/", "font/", "audio/", "video/"]
        .iter()
        .any(|kind| name.starts_with(kind))
        || matches!(
            name,
            "text/css" | "text/javascript" | "application/javascript"
        )
}

/// Whether the path's last segment ends like a part of a page.
fn is_part(path: &str) -> bool {
    const ENDS: [&str; 22] = [
        "js",
        "mjs",
        "css",
        "map",
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "avif",
        "svg",
        "ico",
        "woff",
        "woff2",
        "ttf",
        "otf",
        "mp3",
        "mp4",
        "webm",
        "ogg",
        "wasm",
        "webmanifest",
    ];
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.')
        .is_some_and(|(_, end)| ENDS.iter().any(|known| known.eq_ignore_ascii_case(end)))
}

fn is_guess(purpose: &str) -> bool {
    let purpose = purpose.to_ascii_lowercase();
    ["prefetch", "prerender", "preview"]
        .iter()
        .any(|guess| purpose.contains(guess))
}

fn starts(text: &str, start: &str) -> bool {
    text.get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests;
