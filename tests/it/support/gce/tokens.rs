//! Where tokens are given: Google's endpoint, for the key of a service account and for a person's own login, and the
//! metadata server of its machines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, header, request::Parts};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::{Told, said};

const EMAIL: &str = "anteroom@blog-project.iam.gserviceaccount.com";
const KEY_ID: &str = "0f1e2d3c4b5a";
const SCOPE: &str = "https://www.googleapis.com/auth/compute";
pub(crate) const REFRESH_TOKEN: &str = "1//a-refresh-token";
pub(crate) const CLIENT_SECRET: &str = "a-client-secret";
/// Google's own endpoint, which its library names whatever the key's file says.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// How tokens are given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Giving {
    /// What a token says of its life, in seconds.
    pub(crate) lives: u64,
    /// Each request for one is answered with this status.
    pub(crate) broken: Option<u16>,
    /// So many requests are answered 503 before one is heard.
    pub(crate) hiccups: u32,
}

/// The desk.
pub(crate) struct Desk {
    address: SocketAddr,
    state: Mutex<State>,
}

struct State {
    giving: Giving,
    good: BTreeSet<String>,
    given: u32,
    asked: u32,
    /// The latest signed request for a token.
    assertion: String,
    /// The project that each call named for its quota.
    quota_projects: BTreeSet<String>,
}

impl Desk {
    pub(super) fn new(address: SocketAddr) -> Desk {
        let giving = Giving {
            lives: 3600,
            broken: None,
            hiccups: 0,
        };
        let state = State {
            giving,
            good: BTreeSet::new(),
            given: 0,
            asked: 0,
            assertion: String::new(),
            quota_projects: BTreeSet::new(),
        };
        Desk {
            address,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn give(&self, giving: Giving) {
        self.state().giving = giving;
    }

    /// No token that was given is good any more.
    pub(crate) fn revoke(&self) {
        self.state().good.clear();
    }

    /// Tokens given so far.
    pub(crate) fn given(&self) -> u32 {
        self.state().given
    }

    /// Requests for one so far.
    pub(crate) fn asked(&self) -> u32 {
        self.state().asked
    }

    /// The claims of the latest signed request for a token, as Google's own library reads and verifies them.
    pub(crate) fn claims(&self, key: &Path) -> Value {
        let audience = format!("http://{}/token", self.address);
        let key = key.to_str().expect("a text");
        let assertion = self.state().assertion.clone();
        let said = googles_library(&["verify", key, &audience], &assertion);
        serde_json::from_str(&said).expect("JSON")
    }

    /// Gets a token in each way by Google's own library, and says whether each is good here.
    pub(crate) fn gives_googles_library(&self, key: &Path, user: &Path) -> Vec<bool> {
        let text = |path: &Path| path.to_str().expect("a text").to_owned();
        let host = self.metadata_host();
        let said = googles_library(&["tokens", &text(key), &text(user), &host], "");
        let state = self.state();
        said.lines()
            .map(|token| state.good.contains(token))
            .collect()
    }

    pub(crate) fn quota_projects(&self) -> BTreeSet<String> {
        self.state().quota_projects.clone()
    }

    /// What a machine's `GCE_METADATA_HOST` would name.
    pub(crate) fn metadata_host(&self) -> String {
        self.address.to_string()
    }

    /// The key of the service account, as Google's console gives it.
    pub(crate) fn key_file(&self, folder: &Path) -> PathBuf {
        self.file(folder, "key.json", &json!({
            "type": "service_account", "project_id": "blog-project", "private_key_id": KEY_ID, "private_key": pem(),
            "client_email": EMAIL, "client_id": "1", "token_uri": format!("http://{}/token", self.address),
            "auth_uri": "https://accounts.google.com/o/oauth2/auth", "universe_domain": "googleapis.com",
        }))
    }

    /// What `gcloud auth application-default login` writes.
    pub(crate) fn user_file(&self, folder: &Path) -> PathBuf {
        self.file(folder, "user.json", &json!({
            "type": "authorized_user", "account": "", "client_id": "an-id.apps.googleusercontent.com",
            "client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN, "quota_project_id": "the-quota-of-this",
            "token_uri": format!("http://{}/token", self.address),
        }))
    }

    fn file(&self, folder: &Path, name: &str, content: &Value) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, content.to_string()).expect("the folder is the test's");
        path
    }

    /// Whether a call carries a good token.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let mut state = self.state();
        state
            .quota_projects
            .extend(text("x-goog-user-project").map(str::to_owned));
        bearer.is_some_and(|token| state.good.contains(token))
    }

    /// The answer to a request for a token; none for another request.
    pub(super) fn answer(&self, head: &Parts, body: &[u8]) -> Option<Told> {
        let right = match (&head.method, head.uri.path()) {
            (&Method::POST, "/token") => granted(&self.address, &head.headers, body),
            (&Method::GET, METADATA) => of_machine(&head.headers),
            (_, "/token" | METADATA) => Err((405, "method", "")),
            _ => return None,
        };
        let mut state = self.state();
        state.asked += 1;
        let text = std::str::from_utf8(body).unwrap_or_default();
        let assertion = pairs(text)
            .into_iter()
            .find(|(name, _)| name == "assertion");
        if let Some((_, assertion)) = assertion {
            state.assertion = assertion;
        }
        if state.giving.hiccups > 0 {
            state.giving.hiccups -= 1;
            return Some(said(503, &json!({ "error": "internal_failure" })));
        }
        if let Some(status) = state.giving.broken {
            return Some(said(status, &json!({ "error": "as_the_test_wants" })));
        }
        Some(match right {
            Err((status, error, words)) => said(
                status,
                &json!({ "error": error, "error_description": words }),
            ),
            Ok(()) => {
                state.given += 1;
                let token = format!("ya29.token-{}", state.given);
                state.good.insert(token.clone());
                let lives = state.giving.lives;
                said(
                    200,
                    &json!({ "access_token": token, "expires_in": lives, "token_type": "Bearer" }),
                )
            }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics here")
    }
}

/// Runs the Python package google-auth: where `ANTEROOM_GOOGLE_AUTH` says, else where tests/run puts it.
fn googles_library(arguments: &[&str], stdin: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("ANTEROOM_GOOGLE_AUTH").map(PathBuf::from);
    let mut python = Command::new("python3")
        .arg(root.join("tests/it/support/gce/auth.py"))
        .args(arguments)
        .env(
            "PYTHONPATH",
            given.unwrap_or_else(|| root.join("target/tools/google-auth")),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut to = python.stdin.take().expect("a pipe");
    to.write_all(stdin.as_bytes()).expect("it reads");
    drop(to);
    let said = python.wait_with_output().expect("it ends");
    let wrong = String::from_utf8_lossy(&said.stderr);
    assert!(
        said.status.success(),
        "google-auth, which tests/run puts into target/tools: {wrong}"
    );
    String::from_utf8(said.stdout).expect("a text")
}

type Refusal = (u16, &'static str, &'static str);

fn of_machine(headers: &HeaderMap) -> Result<(), Refusal> {
    let flavor = headers
        .get("metadata-flavor")
        .is_some_and(|flavor| flavor == "Google");
    match flavor
        && !headers.contains_key("x-forwarded-for")
        && !headers.contains_key(header::AUTHORIZATION)
    {
        true => Ok(()),
        false => Err((403, "forbidden", "Metadata-Flavor is missing")),
    }
}

fn granted(address: &SocketAddr, headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    let bad = |words| Err((400, "invalid_request", words));
    let form = headers.get(header::CONTENT_TYPE);
    if form.is_none_or(|kind| kind != "application/x-www-form-urlencoded") {
        return bad("not a form");
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return bad("not a text");
    };
    let fields: BTreeMap<_, _> = pairs(text).into_iter().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    match field("grant_type") {
        "urn:ietf:params:oauth:grant-type:jwt-bearer" if fields.len() == 2 => {
            asserted(address, field("assertion")).map_err(|words| (400, "invalid_grant", words))
        }
        "refresh_token" if fields.len() == 4 => {
            let right =
                field("client_secret") == CLIENT_SECRET && field("refresh_token") == REFRESH_TOKEN;
            match right && field("client_id") == "an-id.apps.googleusercontent.com" {
                true => Ok(()),
                false => Err((400, "invalid_grant", "Token has been expired or revoked.")),
            }
        }
        _ => Err((400, "unsupported_grant_type", "Invalid grant_type")),
    }
}

/// RFC 7523, as Google wants it.
fn asserted(address: &SocketAddr, jwt: &str) -> Result<(), &'static str> {
    let (signed, signature) = jwt.rsplit_once('.').ok_or("Invalid JWT")?;
    let (head, claims) = signed.split_once('.').ok_or("Invalid JWT")?;
    let bytes = |part: &str| {
        BASE64_URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| "Invalid JWT")
    };
    let json =
        |part: &str| serde_json::from_slice::<Value>(&bytes(part)?).map_err(|_| "Invalid JWT");
    let (head, claims) = (json(head)?, json(claims)?);
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem().as_bytes()).expect("it is PEM");
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("it is a key");
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
    let right = public.verify(signed.as_bytes(), &bytes(signature)?);
    right.map_err(|_| "Invalid JWT Signature.")?;
    let now = jiff::Timestamp::now().as_second();
    let second = |name: &str| claims[name].as_i64().ok_or("Invalid JWT: no time");
    let (from, until) = (second("iat")?, second("exp")?);
    let checks = [
        (
            head == json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID }),
            "Invalid JWT header",
        ),
        (claims["iss"] == EMAIL, "Invalid issuer"),
        (
            [format!("http://{address}/token"), TOKEN_URI.into()]
                .iter()
                .any(|it| claims["aud"] == **it),
            "Invalid audience",
        ),
        (claims["scope"] == SCOPE, "Invalid scope"),
        (
            (now - 60..=now + 60).contains(&from),
            "Invalid JWT: issued at another time",
        ),
        (
            until > now && until - from <= 3600,
            "Invalid JWT: must be short-lived",
        ),
    ];
    match checks.into_iter().find(|(right, _)| !right) {
        None => Ok(()),
        Some((_, words)) => Err(words),
    }
}

/// A key of this process, made by OpenSSL.
fn pem() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let arguments = [
            "genpkey",
            "-quiet",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ];
        let made = Command::new("openssl").args(arguments).output();
        let made = made.expect("openssl is installed: tests/run does that");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        String::from_utf8(made.stdout).expect("PEM is a text")
    })
}

/// The decoded fields of a query or a form, in their order.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("query://query?{text}")).expect("a query");
    url.query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}
