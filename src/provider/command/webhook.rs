//! A webhook: one URL that is posted `{"action": "start" | "stop" | "state", "service": .., "instance": ..}` with a
//! bearer token, and answers `{"state": "running", "address": "ip:port"}`.
//!
//! `state` and `address` may be missing in the answer to an order; any 2xx accepts it. No redirect is followed.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;

use super::{Action, Said, state_of};
use crate::engine::id::{InstanceId, ServiceName};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::engine::time::Span;
use crate::provider::{BadSettings, causes, last_words, retry_after};

/// The most that is read of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Where the webhook is, and the credential it wants.
#[derive(Clone)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: String,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "***");
        f.debug_struct("Webhook")
            .field("host", &self.host())
            .field("token", &token)
            .finish()
    }
}

#[derive(Deserialize)]
struct Body {
    state: Option<String>,
    address: Option<String>,
}

impl Webhook {
    pub(super) fn check(&self) -> Result<(), BadSettings> {
        let url = reqwest::Url::parse(&self.url);
        match url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
            true => Ok(()),
            false => Err(BadSettings(
                "the webhook's `url` is not http:// or https:// with a host".to_owned(),
            )),
        }
    }

    /// What may be logged: paths and queries of webhooks are often secrets.
    fn host(&self) -> String {
        let url = reqwest::Url::parse(&self.url).ok();
        url.and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_default()
    }

    pub(super) async fn ask(
        &self,
        client: &reqwest::Client,
        action: Action,
        service: &ServiceName,
    ) -> Result<Said, Trouble> {
        let trouble = |class: ErrorClass, said: &str| {
            let (word, host) = (action.word(), self.host());
            let detail = format!("{word} of {service} by the webhook at {host}: {said}");
            Trouble::new(class, detail)
        };
        let failed = |error: reqwest::Error| {
            let class = match error.is_connect() {
                true => ErrorClass::Transient,
                false => action.unanswered(),
            };
            trouble(class, &causes(&error.without_url()))
        };
        let mut request = client.post(&self.url).json(&serde_json::json!({
            "action": action.word(),
            "service": service,
            "instance": InstanceId::SEED.to_string(),
        }));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                body.truncate(ANSWER_BYTES_MAX);
                break;
            }
        }
        if !status.is_success() {
            let said = format!("{status}, {}", last_words(&body));
            return Err(trouble(class(status, retry_after), &said));
        }
        understood(&body, action).ok_or_else(|| {
            let said = format!("not understood: {:?}", last_words(&body));
            trouble(ErrorClass::BadRequest, &said)
        })
    }
}

fn understood(body: &[u8], action: Action) -> Option<Said> {
    let body = match serde_json::from_slice::<Body>(body) {
        Ok(body) => body,
        Err(_) if action != Action::State => return Some(Said::default()),
        Err(_) => return None,
    };
    let state = match body.state {
        Some(word) => Some(state_of(word.trim())?),
        None => None,
    };
    Some(Said {
        state,
        address: body.address,
    })
}

fn class(status: StatusCode, retry_after: Option<Span>) -> ErrorClass {
    match status.as_u16() {
        401 => ErrorClass::Auth,
        403 => ErrorClass::Forbidden,
        404 => ErrorClass::NotFound,
        409 => ErrorClass::Busy,
        429 => ErrorClass::RateLimited(retry_after),
        500..=599 => ErrorClass::Transient,
        _ => ErrorClass::BadRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_class() {
        let wait = Some(Span::secs(7));
        for (status, wanted) in [
            (400, ErrorClass::BadRequest),
            (301, ErrorClass::BadRequest),
            (401, ErrorClass::Auth),
            (403, ErrorClass::Forbidden),
            (404, ErrorClass::NotFound),
            (409, ErrorClass::Busy),
            (429, ErrorClass::RateLimited(wait)),
            (500, ErrorClass::Transient),
            (503, ErrorClass::Transient),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(class(status, wait), wanted, "{status}");
        }
    }

    #[test]
    fn the_token_and_the_path_are_not_printed() {
        let webhook = Webhook {
            url: "https://hooks.example.com/s3cret?key=s3cret".to_owned(),
            token: Some("s3cret".to_owned()),
        };
        assert!(!format!("{webhook:?}").contains("s3cret"));
    }
}
