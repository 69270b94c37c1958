//! The token that every call carries: asked for once for all who need it, used until shortly before its end, and asked
//! for anew in time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::credentials::{Identity, Surroundings};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::provider::cloud::call::{Call, Caller, Does, Reply, form};
use crate::provider::{BadSettings, last_words};

/// So long before its end a token is asked for anew. The metadata server gives the same token until four minutes
/// before its end, so asking earlier would get nothing new.
const EARLY: Duration = Duration::from_secs(225);

/// A token with less than this is not used: the call with it must arrive in time.
const TOO_LATE: Duration = Duration::from_secs(10);

/// While the old token is good, a refresh that failed is not tried again sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long one request for a token may take.
const WITHIN: Duration = Duration::from_secs(10);

/// The same for the metadata server, which is on the same host or nowhere.
const MACHINE_WITHIN: Duration = Duration::from_secs(3);

/// Before each try but the first.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

const FORM: &str = "application/x-www-form-urlencoded";
const OF_THE_MACHINE: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// A token and until when it is good.
#[derive(Clone)]
pub(super) struct Token {
    /// What a call carries.
    pub(super) headers: HeaderMap,
    renew_at: Instant,
    ends: Instant,
    number: u64,
}

/// What a token that we have needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// It is good.
    Nothing,
    /// It is good, and another one is asked for meanwhile.
    Renewal,
    /// It is not used any more.
    Another,
}

impl Token {
    /// `asked` is when one was asked for last.
    fn need(&self, asked: Option<Instant>, now: Instant) -> Need {
        let lately = asked.is_some_and(|asked| now < asked + AGAIN_AFTER);
        match now {
            _ if self.ends <= now + TOO_LATE => Need::Another,
            _ if self.renew_at <= now && !lately => Need::Renewal,
            _ => Need::Nothing,
        }
    }
}

type Asking = Shared<BoxFuture<'static, Result<Token, Trouble>>>;

/// The tokens of one account.
pub(super) struct Tokens {
    desk: Arc<Desk>,
    state: Arc<Mutex<State>>,
}

/// Where tokens are given.
struct Desk {
    caller: Caller,
    /// For the metadata server.
    machines: Caller,
    configured: Option<PathBuf>,
    around: Surroundings,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    asking: Option<Asking>,
    asked: Option<Instant>,
    number: u64,
}

/// What is answered with a token.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    pub(super) fn new(
        configured: Option<PathBuf>,
        around: Surroundings,
        ca: Option<&std::path::Path>,
    ) -> Result<Tokens, BadSettings> {
        // Its calls name whole addresses: each identity has its own.
        let caller = Caller::new("gce", "", ca)?;
        let desk = Desk {
            caller,
            machines: Caller::direct("gce", "")?,
            configured,
            around,
        };
        Ok(Tokens {
            desk: Arc::new(desk),
            state: Arc::default(),
        })
    }

    /// A token that is good now.
    pub(super) async fn token(&self) -> Result<Token, Trouble> {
        let asking = {
            let now = Instant::now();
            let mut state = self.state();
            let need = state
                .token
                .as_ref()
                .map(|token| token.need(state.asked, now));
            if need == Some(Need::Renewal) && state.asking.is_none() {
                // It goes on by itself; nobody needs to wait for it.
                drop(self.ask(&mut state, now));
            }
            match (&state.token, &state.asking) {
                (Some(token), _) if need != Some(Need::Another) => return Ok(token.clone()),
                (_, Some(asking)) => asking.clone(),
                (_, None) => self.ask(&mut state, now),
            }
        };
        asking.await
    }

    /// Who we are, when that is good for a token.
    pub(super) async fn who(&self) -> Result<String, Trouble> {
        let found = Identity::find(self.desk.configured.as_deref(), &self.desk.around).await;
        let who = found?.to_string();
        self.token().await.map(|_| who)
    }

    /// This token was refused: it is not used again. One that came after it stays.
    pub(super) fn refused(&self, token: &Token) {
        let mut state = self.state();
        if state
            .token
            .as_ref()
            .is_some_and(|known| known.number == token.number)
        {
            state.token = None;
        }
    }

    /// Asks in a task of its own: whoever waits may go away, and the others still get it.
    fn ask(&self, state: &mut State, now: Instant) -> Asking {
        state.number += 1;
        state.asked = Some(now);
        let (desk, shared, number) = (
            Arc::clone(&self.desk),
            Arc::clone(&self.state),
            state.number,
        );
        let task = tokio::spawn(async move {
            let given = desk.ask(number).await;
            let mut state = lock(&shared);
            state.asking = None;
            match &given {
                Ok(token) => state.token = Some(token.clone()),
                Err(trouble) => tracing::warn!(%trouble, "no token for Google's cloud"),
            }
            given
        });
        let ended = |_| {
            Trouble::new(
                ErrorClass::Transient,
                "the request for a token was broken off",
            )
        };
        let asking = task
            .map(move |given| given.map_err(ended).flatten())
            .boxed()
            .shared();
        state.asking = Some(asking.clone());
        asking
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // The value is whole at every moment, so a panic of another holder changes nothing.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    async fn ask(&self, number: u64) -> Result<Token, Trouble> {
        let identity = Identity::find(self.configured.as_deref(), &self.around).await?;
        let mut given = self.ask_once(&identity, number).await;
        for pause in PAUSES {
            match &given {
                Err(trouble) if trouble.class == ErrorClass::Transient => {}
                _ => break,
            }
            tokio::time::sleep(pause).await;
            given = self.ask_once(&identity, number).await;
        }
        given
    }

    async fn ask_once(&self, identity: &Identity, number: u64) -> Result<Token, Trouble> {
        let asked = Instant::now();
        let mut headers = HeaderMap::new();
        let mut quota = None;
        let call = match identity {
            Identity::Key(key) => {
                let assertion = key.assertion(jiff::Timestamp::now().as_second())?;
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                let fields = form(&[("grant_type", grant), ("assertion", &assertion)]);
                posted(key.token_uri.clone(), fields)
            }
            Identity::User {
                token_uri,
                form: fields,
                quota_project,
            } => {
                quota.clone_from(quota_project);
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(key, value)| (*key, value.as_str()))
                    .collect();
                posted(token_uri.clone(), form(&fields))
            }
            Identity::Machine(host) => {
                headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
                Call {
                    name: "token",
                    does: Does::Read,
                    method: Method::GET,
                    path: format!("http://{host}{OF_THE_MACHINE}"),
                    body: None,
                    within: MACHINE_WITHIN,
                }
            }
        };
        let machine = matches!(identity, Identity::Machine(_));
        let caller = if machine {
            &self.machines
        } else {
            &self.caller
        };
        let reply = caller
            .make(call, &headers)
            .await
            .map_err(|trouble| match machine {
                true => nowhere(&trouble),
                false => trouble,
            })?;
        if !reply.status.is_success() {
            return Err(refusal(&reply, machine));
        }
        let given: Given = serde_json::from_slice(&reply.body).map_err(|_| {
            Trouble::new(
                ErrorClass::Transient,
                "the answer to a request for a token is not understood",
            )
        })?;
        token(&given, quota.as_deref(), asked, number)
    }
}

fn token(
    given: &Given,
    quota: Option<&str>,
    asked: Instant,
    number: u64,
) -> Result<Token, Trouble> {
    let odd = || {
        Trouble::new(
            ErrorClass::Auth,
            "a token, or a quota project, that no header can hold",
        )
    };
    let mut bearer =
        HeaderValue::from_str(&format!("Bearer {}", given.access_token)).map_err(|_| odd())?;
    bearer.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, bearer);
    if let Some(project) = quota {
        let project = HeaderValue::from_str(project).map_err(|_| odd())?;
        headers.insert("x-goog-user-project", project);
    }
    let lives = Duration::from_secs(given.expires_in);
    Ok(Token {
        headers,
        renew_at: asked + lives.saturating_sub(EARLY).max(lives / 2),
        ends: asked + lives,
        number,
    })
}

fn posted(uri: String, fields: Vec<u8>) -> Call {
    Call {
        name: "token",
        // A token too many harms nobody.
        does: Does::Read,
        method: Method::POST,
        path: uri,
        body: Some((FORM, fields)),
        within: WITHIN,
    }
}

/// Nothing is configured, nothing was found, and we are not on one of Google's machines.
fn nowhere(trouble: &Trouble) -> Trouble {
    let mend = "write `credentials`, or set GOOGLE_APPLICATION_CREDENTIALS";
    let detail =
        format!("no credentials, and the metadata server does not answer ({trouble}); {mend}");
    Trouble::new(trouble.class, detail)
}

/// A refusal of the token endpoint (RFC 6749, section 5.2). Its description is Google's own and holds no secret.
fn refusal(reply: &Reply, machine: bool) -> Trouble {
    let status = reply.status.as_u16();
    let class = match status {
        408 | 500..=599 => ErrorClass::Transient,
        429 => ErrorClass::RateLimited(reply.retry_after),
        _ => ErrorClass::Auth,
    };
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let word = |key: &str| body[key].as_str().map(|word| last_words(word.as_bytes()));
    let said: Vec<_> = ["error", "error_description"]
        .into_iter()
        .filter_map(word)
        .collect();
    let mend = match (machine, status) {
        (true, 404) => "; has this machine a service account?",
        _ => "",
    };
    Trouble::new(
        class,
        format!("no token, HTTP {status}: {}{mend}", said.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_minutes_before_its_end_and_not_used_in_its_last_seconds() {
        let asked = Instant::now();
        let need = |lives: u64, after: u64, again: Option<u64>| {
            let given = Given {
                access_token: "x".into(),
                expires_in: lives,
            };
            let token = token(&given, None, asked, 1).expect("a token");
            let at = |secs| asked + Duration::from_secs(secs);
            token.need(Some(at(again.unwrap_or(0))), at(after))
        };
        assert_eq!(need(3600, 3374, None), Need::Nothing);
        assert_eq!(need(3600, 3375, None), Need::Renewal);
        assert_eq!(
            need(3600, 3380, Some(3375)),
            Need::Nothing,
            "just asked for"
        );
        assert_eq!(need(3600, 3385, Some(3375)), Need::Renewal);
        assert_eq!(need(3600, 3589, None), Need::Renewal);
        assert_eq!(need(3600, 3590, None), Need::Another);
        // The metadata server may give one that is near its end.
        assert_eq!(need(240, 119, None), Need::Nothing);
        assert_eq!(need(240, 120, None), Need::Renewal);
        assert_eq!(need(0, 0, None), Need::Another);
    }
}
