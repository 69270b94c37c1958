//! A stand-in for a captcha service: the verifier, the widget's script, and the frame that the widget loads. Written from
//! the vendors' documents, and strict: what they don't know is refused and noted, a token counts once and for so long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};

use anteroom::config::{Captcha, CaptchaVendor, Challenge, ChallengeKind, Secret};
use anteroom::engine::time::Span;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::app::{Answer, App, say};

/// What the verifier knows us by.
pub(crate) const SECRET: &str = "s3cret-of-the-widget";

/// The widget's key.
pub(crate) const SITEKEY: &str = "0x4AAA-key_1";

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    /// As it should.
    Well,
    /// With this status, and a page.
    Status(u16),
    /// It says that it failed itself.
    Fails,
    /// With a page instead of a document.
    Page,
    /// With half a document.
    Half,
    /// With a document that has no end worth reading.
    Endless,
    /// To somewhere else.
    Elsewhere,
    /// Never.
    Silent,
    /// It is done, and the answer gets lost.
    Lost,
}

/// A token that a widget gave out.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) host: String,
    pub(crate) sitekey: String,
    pub(crate) action: String,
    pub(crate) cdata: String,
    /// In milliseconds of the house's clock.
    pub(crate) given: u64,
    /// By which key it was checked; empty where there was none.
    used: Option<String>,
}

#[derive(Default)]
struct Books {
    tokens: BTreeMap<String, Token>,
    ways: VecDeque<Way>,
    always: Option<Way>,
    calls: Vec<BTreeMap<String, String>>,
    /// What no program that keeps to the documents does.
    faults: Vec<String>,
    secret: String,
}

/// The service.
pub(crate) struct Siteverify {
    app: App,
    vendor: CaptchaVendor,
    books: Arc<Mutex<Books>>,
    clock: Arc<OnceLock<Arc<AtomicU64>>>,
}

impl Siteverify {
    pub(crate) async fn start(vendor: CaptchaVendor) -> Siteverify {
        let books = Arc::new(Mutex::new(Books {
            secret: SECRET.to_owned(),
            ..Books::default()
        }));
        let clock: Arc<OnceLock<Arc<AtomicU64>>> = Arc::default();
        let (shared, hands) = (Arc::clone(&books), Arc::clone(&clock));
        let app = App::start(move |request| {
            let (books, hands) = (Arc::clone(&shared), Arc::clone(&hands));
            async move {
                let now = hands.get().map_or(0, |clock| clock.load(SeqCst));
                match (request.method().clone(), request.uri().path().to_owned()) {
                    (Method::POST, path) if path == "/siteverify" => {
                        verify(vendor, &books, now, request).await
                    }
                    (Method::GET, path) if path == "/api.js" => script(vendor),
                    (Method::GET, path) if path == "/frame" => {
                        frame(&books, now, request.uri().query().unwrap_or_default())
                    }
                    _ => status(404),
                }
            }
        })
        .await;
        Siteverify {
            app,
            vendor,
            books,
            clock,
        }
    }

    /// Its clock is this one from now on.
    pub(crate) fn goes_by(&self, clock: &Arc<AtomicU64>) {
        self.clock.set(Arc::clone(clock)).unwrap();
    }

    /// A service's challenge that asks here.
    pub(crate) fn challenge(&self, send_address: bool) -> Challenge {
        let address = self.app.address;
        Challenge {
            kind: ChallengeKind::Captcha(Captcha {
                vendor: self.vendor,
                sitekey: SITEKEY.to_owned(),
                secret: Secret::new(SECRET),
                url: Some(format!("http://{address}/siteverify")),
                script: Some(format!("http://{address}/api.js")),
                send_address,
            }),
            patience: Span::secs(15),
        }
    }

    /// Where the widget is loaded from.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.app.address)
    }

    /// A widget on a page with this mark has been solved; `change` makes it another one.
    pub(crate) fn solved(&self, mark: &str, change: impl FnOnce(&mut Token)) -> String {
        let now = self.clock.get().unwrap().load(SeqCst);
        let mut token = Token {
            host: "blog.test".to_owned(),
            sitekey: SITEKEY.to_owned(),
            action: "anteroom-wake".to_owned(),
            cdata: mark.to_owned(),
            given: now,
            used: None,
        };
        change(&mut token);
        self.books.lock().unwrap().give(token)
    }

    /// How the next calls go.
    pub(crate) fn goes(&self, ways: &[Way]) {
        self.books.lock().unwrap().ways = ways.iter().copied().collect();
    }

    /// How all calls go from now on.
    pub(crate) fn always_goes(&self, way: Way) {
        self.books.lock().unwrap().always = Some(way);
    }

    /// It knows us by another secret from now on.
    pub(crate) fn forgets_the_secret(&self) {
        self.books.lock().unwrap().secret = "another".to_owned();
    }

    /// The calls since the last time.
    pub(crate) fn calls(&self) -> Vec<BTreeMap<String, String>> {
        let mut books = self.books.lock().unwrap();
        assert_eq!(books.faults, Vec::<String>::new());
        std::mem::take(&mut books.calls)
    }
}

impl Books {
    fn give(&mut self, token: Token) -> String {
        let name = format!("0.token-{}_aB", self.tokens.len());
        self.tokens.insert(name.clone(), token);
        name
    }

    fn judge(
        &mut self,
        vendor: CaptchaVendor,
        fields: &BTreeMap<String, String>,
        now: u64,
    ) -> Result<Value, &'static str> {
        match fields.get("secret") {
            None => return Err("missing-input-secret"),
            Some(secret) if *secret != self.secret => return Err("invalid-input-secret"),
            Some(_) => {}
        }
        let name = fields.get("response").ok_or("missing-input-response")?;
        let token = self.tokens.get_mut(name).ok_or("invalid-input-response")?;
        let key = fields.get("idempotency_key").cloned().unwrap_or_default();
        let age = now.saturating_sub(token.given);
        let used = token.used.replace(key.clone());
        let time = jiff::Timestamp::from_millisecond(i64::try_from(token.given).unwrap()).unwrap();
        match vendor {
            CaptchaVendor::Turnstile => {
                let again = used
                    .as_ref()
                    .is_some_and(|used| key.is_empty() || *used != key);
                if token.sitekey != SITEKEY {
                    return Err("invalid-input-response");
                }
                if again || age > 300_000 {
                    return Err("timeout-or-duplicate");
                }
                Ok(json!({
                    "success": true, "error-codes": [], "challenge_ts": time.to_string(),
                    "hostname": token.host, "action": token.action, "cdata": token.cdata,
                    "metadata": {"interactive": false},
                }))
            }
            CaptchaVendor::Hcaptcha => {
                let wanted = fields.get("sitekey");
                if wanted.is_some_and(|wanted| *wanted != token.sitekey) {
                    return Err("sitekey-secret-mismatch");
                }
                if used.is_some() {
                    return Err("already-seen-response");
                }
                if age > 120_000 {
                    return Err("expired-input-response");
                }
                Ok(json!({
                    "success": true, "challenge_ts": time.to_string(), "hostname": token.host, "credit": false,
                }))
            }
        }
    }
}

fn status(code: u16) -> Answer {
    let mut answer = say("<!doctype html><title>no</title>");
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

fn typed(kind: &'static str, text: String) -> Answer {
    let mut answer = say(text);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// The fields of a form, each once; what is wrong with them is noted.
fn read(vendor: CaptchaVendor, text: &str, faults: &mut Vec<String>) -> BTreeMap<String, String> {
    let known: &[&str] = match vendor {
        CaptchaVendor::Turnstile => &["secret", "response", "remoteip", "idempotency_key"],
        CaptchaVendor::Hcaptcha => &["secret", "response", "remoteip", "sitekey"],
    };
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if !known.contains(&&*name) {
            faults.push(format!("unknown field {name}"));
        }
        if fields.insert(name.to_string(), value.to_string()).is_some() {
            faults.push(format!("{name} twice"));
        }
    }
    if let Some(ip) = fields.get("remoteip")
        && ip.parse::<std::net::IpAddr>().is_err()
    {
        faults.push(format!("remoteip {ip}"));
    }
    if let Some(key) = fields.get("idempotency_key") {
        let parts: Vec<_> = key.split('-').map(str::len).collect();
        if parts != [8, 4, 4, 4, 12] || key.as_bytes()[14] != b'4' {
            faults.push(format!("idempotency_key {key}"));
        }
    }
    fields
}

async fn verify(
    vendor: CaptchaVendor,
    books: &Mutex<Books>,
    now: u64,
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (way, judged) = {
        let mut books = books.lock().unwrap();
        let kind = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let mut faults = Vec::new();
        if kind != Some(b"application/x-www-form-urlencoded") {
            faults.push(format!("content type {kind:?}"));
        }
        let fields = read(vendor, std::str::from_utf8(&body).unwrap(), &mut faults);
        books.calls.push(fields.clone());
        let way = books.ways.pop_front().or(books.always).unwrap_or(Way::Well);
        let is_done = matches!(way, Way::Well | Way::Lost);
        let judged = match faults.is_empty() {
            true if is_done => books.judge(vendor, &fields, now),
            true => Err("internal-error"),
            false => Err("bad-request"),
        };
        books.faults.extend(faults);
        (way, judged)
    };
    let document = judged.unwrap_or_else(|code| json!({"success": false, "error-codes": [code]}));
    match way {
        Way::Well | Way::Fails => typed("application/json", document.to_string()),
        Way::Status(code) => status(code),
        Way::Page => status(200),
        Way::Half => typed("application/json", "{\"success\":tr".to_owned()),
        Way::Endless => typed(
            "application/json",
            format!("{{\"success\":true,\"a\":\"{}\"}}", "a".repeat(100_000)),
        ),
        Way::Elsewhere => {
            let mut answer = status(307);
            let there = HeaderValue::from_static("http://127.0.0.1:1/siteverify");
            answer.headers_mut().insert(LOCATION, there);
            answer
        }
        Way::Silent | Way::Lost => std::future::pending().await,
    }
}

/// The widget's script: it puts a frame of this origin into the page, and what that says is the token.
fn script(vendor: CaptchaVendor) -> Answer {
    let api = match vendor {
        CaptchaVendor::Turnstile => "turnstile",
        CaptchaVendor::Hcaptcha => "hcaptcha",
    };
    let text = "(function () {\
        var own = new URL(document.currentScript.src), known = ['render', 'onload'];\
        own.searchParams.forEach(function (value, name) { if (known.indexOf(name) < 0) { throw new Error(name); } });\
        if (own.searchParams.get('render') !== 'explicit') { throw new Error('render'); }\
        window.API = { render: function (box, wanted) {\
            var frame = document.createElement('iframe'), ask = new URL('/frame', own);\
            ask.searchParams.set('host', location.hostname);\
            ask.searchParams.set('sitekey', wanted.sitekey);\
            ask.searchParams.set('action', wanted.action);\
            ask.searchParams.set('cdata', wanted.cData);\
            addEventListener('message', function (event) {\
                if (event.origin === own.origin && event.source === frame.contentWindow) { wanted.callback(event.data); }\
            });\
            frame.width = 300; frame.height = 65; frame.title = 'widget'; frame.src = ask.href;\
            box.appendChild(frame);\
        } };\
        window[own.searchParams.get('onload')]();\
    })();";
    typed("text/javascript", text.replace("API", api))
}

fn frame(books: &Mutex<Books>, now: u64, query: &str) -> Answer {
    let said: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let of = |name: &str| said.get(name).cloned().unwrap_or_default();
    if of("sitekey") != SITEKEY {
        return status(400);
    }
    let token = books.lock().unwrap().give(Token {
        host: of("host"),
        sitekey: of("sitekey"),
        action: of("action"),
        cdata: of("cdata"),
        given: now,
        used: None,
    });
    let page =
        "<!doctype html><title>widget</title><script>parent.postMessage('TOKEN', '*')</script>";
    typed("text/html", page.replace("TOKEN", &token))
}
