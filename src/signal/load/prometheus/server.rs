//! One Prometheus, asked for many services: the same question is asked once, and answers are kept for whoever asks it
//! next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::answer::Answer;
use crate::telemetry::metrics;

/// How long Prometheus may take.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// The values of 100,000 instances are about 15 MB.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// An answer that tells when was measured is good for others who ask within this time.
const MOMENTS_KEPT: Duration = Duration::from_secs(1);

/// A question that was not asked for so long is forgotten: its service is gone. Longer than any interval.
const QUESTION_KEPT: Duration = Duration::from_secs(900);

/// What a Prometheus wants to see first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Login {
    /// Nothing.
    None,
    /// A name and a password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Login::None => "None",
            Login::Basic(..) => "Basic(***)",
            Login::Bearer(_) => "Bearer(***)",
        })
    }
}

/// A Prometheus could not be set up to be asked.
#[derive(Debug, thiserror::Error)]
pub enum BadServer {
    /// The TLS library.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The login.
    #[error("the token, the name or the password of Prometheus can't be sent in a header")]
    Login(#[from] header::InvalidHeaderValue),
}

/// A Prometheus.
pub struct Server {
    http: reqwest::Client,
    url: String,
    authorization: Option<HeaderValue>,
    asked: Mutex<BTreeMap<Question, Asked>>,
    moments: Mutex<BTreeMap<String, Arc<AsyncMutex<Moments>>>>,
}

/// An expression for values, and one for the moments that they are of.
type Question = (String, String);

/// Its answer, and when somebody asked it last.
type Asked = (Arc<AsyncMutex<Slot>>, Instant);

/// The last answer to when was measured, and when it came.
type Moments = Option<(Instant, Result<Arc<Answer>, String>)>;

/// The last answer to a question.
#[derive(Default)]
struct Slot {
    last: Option<(Instant, Heard)>,
    warnings: Vec<String>,
    fails: bool,
}

/// Values with the moments that they are of, or why there are none.
pub(super) type Heard = Result<Pair, String>;

/// An answer, and what was known before it was asked for of when was measured.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) values: Arc<Answer>,
    pub(super) moments: Arc<Answer>,
}

impl Server {
    /// A Prometheus at this address (`http://127.0.0.1:9090`). Asks nothing.
    ///
    /// # Errors
    ///
    /// When the login or the TLS library can't be used.
    pub fn new(url: &str, login: &Login) -> Result<Server, BadServer> {
        let http = crate::telemetry::http_client()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ASKED_WITHIN)
            .build()?;
        let authorization = match login {
            Login::None => None,
            Login::Basic(name, password) => {
                let both = STANDARD.encode(format!("{name}:{password}"));
                Some(format!("Basic {both}"))
            }
            Login::Bearer(token) => Some(format!("Bearer {token}")),
        };
        let secret = |text| {
            HeaderValue::try_from(text).map(|mut value| {
                value.set_sensitive(true);
                value
            })
        };
        Ok(Server {
            http,
            url: format!("{url}/api/v1/query"),
            authorization: authorization.map(secret).transpose()?,
            asked: Mutex::default(),
            moments: Mutex::default(),
        })
    }

    /// Values and their moments, not older than `fresh`. The moments were asked for first: what was measured in between is
    /// in the values and not in the moments, so values are never taken for newer than they are.
    pub(super) async fn ask(&self, query: &str, at: &str, fresh: Duration) -> (Instant, Heard) {
        let slot = self.slot(query, at);
        // Who asks the same meanwhile waits for this answer.
        let mut slot = slot.lock().await;
        if let Some((when, heard)) = &slot.last
            && when.elapsed() < fresh
        {
            return (*when, heard.clone());
        }
        let heard = match self.moments(at).await {
            Ok(moments) => self.fetch(query).await.map(|values| Pair {
                values: Arc::new(values),
                moments,
            }),
            Err(why) => Err(why),
        };
        slot.tell(&self.url, query, &heard);
        let when = Instant::now();
        slot.last = Some((when, heard.clone()));
        (when, heard)
    }

    async fn moments(&self, at: &str) -> Result<Arc<Answer>, String> {
        let slot = {
            let mut all = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
            if !all.contains_key(at) {
                // Those that nobody waits for; asking anew costs one question.
                all.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            Arc::clone(all.entry(at.to_owned()).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some((when, heard)) = &*slot
            && when.elapsed() < MOMENTS_KEPT
        {
            return heard.clone();
        }
        let when = Instant::now();
        let heard = self.fetch(at).await.map(Arc::new);
        *slot = Some((when, heard.clone()));
        heard
    }

    fn slot(&self, query: &str, at: &str) -> Arc<AsyncMutex<Slot>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let question = (query.to_owned(), at.to_owned());
        let now = Instant::now();
        if !asked.contains_key(&question) {
            asked.retain(|_, (_, used)| now - *used < QUESTION_KEPT);
        }
        let (slot, used) = asked
            .entry(question)
            .or_insert_with(|| (Arc::default(), now));
        *used = now;
        Arc::clone(slot)
    }

    async fn fetch(&self, query: &str) -> Result<Answer, String> {
        let began = Instant::now();
        let answer = self.fetched(query).await;
        let took = began.elapsed();
        let outcome = if answer.is_ok() { "ok" } else { "no_answer" };
        let took_ms = took.as_millis();
        tracing::debug!(
            url = self.url,
            query,
            outcome,
            took_ms,
            "Prometheus was asked"
        );
        metrics().load_asked(super::KIND, outcome, took.into());
        answer
    }

    async fn fetched(&self, query: &str) -> Result<Answer, String> {
        let told = |error: reqwest::Error| causes(&error.without_url());
        let mut request = self.http.post(&self.url).form(&[("query", query)]);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let mut answer = request.send().await.map_err(told)?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(told)? {
            body.extend_from_slice(&piece);
            if body.len() > BODY_BYTES_MAX {
                return Err(format!("its answer is longer than {BODY_BYTES_MAX} bytes"));
            }
        }
        Answer::read(answer.status().as_u16(), &body)
    }
}

impl Slot {
    /// What changed for a person to see.
    fn tell(&mut self, url: &str, query: &str, heard: &Heard) {
        match heard {
            Err(why) if !self.fails => tracing::warn!(url, query, why, "Prometheus gives no load"),
            Ok(_) if self.fails => tracing::info!(url, query, "Prometheus gives load again"),
            _ => {}
        }
        self.fails = heard.is_err();
        if let Ok(pair) = heard
            && pair.values.warnings != self.warnings
        {
            self.warnings.clone_from(&pair.values.warnings);
            for warning in &self.warnings {
                tracing::warn!(url, query, warning, "Prometheus warns of the query");
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

fn causes(error: &reqwest::Error) -> String {
    let mut words = format!("it does not answer: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
