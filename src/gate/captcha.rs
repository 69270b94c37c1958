//! Tokens of captcha services, checked at their verifiers: Cloudflare Turnstile and hCaptcha.
//!
//! The visitor's browser gets a token from the vendor's widget; only the vendor's verifier can say whether it is good,
//! once ("siteverify"). A token counts where that says so, and names the host that was asked for; Turnstile's also
//! names the action and the page that it was given to, both sealed in it. Read on in `answer`.
//!
//! The verifier is somebody else's. What can be no token is refused before it is asked, it is asked so often and no more
//! ([`CHECKS_PER_SECOND_MAX`], [`CALLS_MAX`]), it has so long to answer, and after an outage (`outage`) it is left alone
//! for a while. Without a verdict nobody passes by a token; the other way in is not here. The secret goes to the verifier
//! and nowhere else, and the visitor's address only where that is asked for.

mod answer;
mod outage;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use answer::{Answer, Wanted};
pub use answer::{Refused, Unknown, Verdict};
use outage::Outage;

use crate::engine::time::{Span, Time};
use crate::telemetry;

/// One call may take so long. A visitor waits for two at most.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls at a time. With the timeout that is what a verifier that hangs can keep of us.
pub const CALLS_MAX: usize = 16;

/// Checks in a second, and as many at once: a flood of false tokens is not passed on.
pub const CHECKS_PER_SECOND_MAX: NonZeroU32 = NonZeroU32::new(10).expect("it is not zero");

/// The most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What a token is asked for, as Turnstile's widget is told and its verifier says.
pub const ACTION: &str = "anteroom-wake";

/// Who checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Cloudflare Turnstile.
    Turnstile,
    /// hCaptcha.
    Hcaptcha,
}

impl Vendor {
    /// The word in the configuration and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Vendor::Turnstile => "turnstile",
            Vendor::Hcaptcha => "hcaptcha",
        }
    }

    /// The longest token, in bytes. Turnstile's by Cloudflare's "Validate the token"; hCaptcha tells none, and its
    /// tokens have some 2,000 to 3,000.
    #[must_use]
    pub const fn token_max(self) -> usize {
        match self {
            Vendor::Turnstile => 2_048,
            Vendor::Hcaptcha => 8_192,
        }
    }

    /// How long a token counts: 300 s by Cloudflare's "Validate the token", 120 s by hCaptcha's error codes
    /// (`expired-input-response`).
    const fn lives(self) -> Span {
        match self {
            Vendor::Turnstile => Span::secs(300),
            Vendor::Hcaptcha => Span::secs(120),
        }
    }

    /// Whether what the widget is told stands in the token, and a robot can't change it (`action`, `cdata`).
    const fn binds(self) -> bool {
        matches!(self, Vendor::Turnstile)
    }
}

/// How tokens are checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who checks.
    pub vendor: Vendor,
    /// The widget's public key.
    pub sitekey: String,
    /// What the verifier knows us by.
    pub secret: String,
    /// The verifier's address.
    pub url: String,
    /// Whether the verifier is told the visitor's address.
    pub tells_address: bool,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("vendor", &self.vendor)
            .field("sitekey", &self.sitekey)
            .field("secret", &"***")
            .finish_non_exhaustive()
    }
}

/// A token, and what it must be for.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// As the visitor brought it.
    pub token: &'a str,
    /// The host that was asked for.
    pub host: &'a str,
    /// The nonce of the page that the widget was on.
    pub nonce: &'a str,
    /// Who brings it.
    pub client: IpAddr,
}

/// Checks tokens for one service.
pub struct Captcha {
    settings: Settings,
    /// None where it could not be built: then there is never a verdict.
    http: Option<reqwest::Client>,
    calls: Semaphore,
    checks: DefaultDirectRateLimiter,
    outage: Mutex<Outage>,
}

impl fmt::Debug for Captcha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Captcha").field(&self.settings).finish()
    }
}

/// What a page's widget is told beside its action, so that its token is for this page alone: nothing that says who
/// has it. Letters and digits, as Cloudflare asks for.
#[must_use]
pub fn mark(nonce: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(nonce).into();
    hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Captcha {
    /// A checker with these settings. Asks nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Captcha {
        let client = telemetry::http_client()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CALL_TIMEOUT)
            .user_agent(concat!("anteroom/", env!("CARGO_PKG_VERSION")))
            .build();
        let http = client
            .inspect_err(|error| tracing::error!(%error, "no token can be checked"))
            .ok();
        Captcha {
            settings,
            http,
            calls: Semaphore::new(CALLS_MAX),
            checks: RateLimiter::direct(Quota::per_second(CHECKS_PER_SECOND_MAX)),
            outage: Mutex::default(),
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the verifier is away: then nobody need solve anything.
    #[must_use]
    pub fn is_out(&self, now: Time) -> bool {
        self.outage().is_on(now)
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what a visitor brought can be a token: the verifier need not be asked else.
    #[must_use]
    pub fn may_be_token(&self, token: &str) -> bool {
        let length = 1..=self.settings.vendor.token_max();
        length.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Asks the verifier about a token, at most twice.
    pub async fn check(&self, claim: Claim<'_>, clock: impl Fn() -> Time) -> Verdict {
        if !self.may_be_token(claim.token) {
            return Verdict::Bad(Refused::Malformed);
        }
        if self.is_out(clock()) {
            return Verdict::Unasked;
        }
        let Ok(_call) = self.calls.try_acquire() else {
            return Verdict::Unasked;
        };
        if self.checks.check().is_err() {
            return Verdict::Unasked;
        }
        let mut key = [0; 16];
        if getrandom::fill(&mut key).is_err() {
            return Verdict::Unasked;
        }
        let fields = self.fields(claim, key);
        let mut verdict = self.call(&fields, claim, &clock).await;
        // With the same key Turnstile gives the same answer, also where the first one was lost on its way. hCaptcha has
        // no keys: there a token of a lost answer is used up, and the visitor solves another one.
        if let Verdict::None(Unknown::Silent | Unknown::Failing) = verdict {
            verdict = self.call(&fields, claim, &clock).await;
        }
        self.learn(verdict, clock());
        verdict
    }

    /// Whether the verifier knows our secret; or why that can't be said. It is asked about a token that is none.
    ///
    /// # Errors
    /// When it does not answer, or fails.
    pub async fn knows_secret(&self) -> Result<bool, Unknown> {
        let fields = vec![
            ("secret", self.settings.secret.clone()),
            ("response", "anteroom-doctor".to_owned()),
        ];
        let claim = Claim {
            token: "",
            host: "",
            nonce: "",
            client: IpAddr::from([127, 0, 0, 1]),
        };
        match self.call(&fields, claim, &|| Time(0)).await {
            Verdict::None(Unknown::Secret) => Ok(false),
            Verdict::None(why) => Err(why),
            Verdict::Good | Verdict::Bad(_) | Verdict::Unasked => Ok(true),
        }
    }

    fn fields(&self, claim: Claim<'_>, key: [u8; 16]) -> Vec<(&'static str, String)> {
        let settings = &self.settings;
        let mut fields = vec![
            ("secret", settings.secret.clone()),
            ("response", claim.token.to_owned()),
        ];
        match settings.vendor {
            Vendor::Turnstile => fields.push(("idempotency_key", uuid(key))),
            // Else a token of another site of the same account would do.
            Vendor::Hcaptcha => fields.push(("sitekey", settings.sitekey.clone())),
        }
        if settings.tells_address {
            fields.push(("remoteip", claim.client.to_canonical().to_string()));
        }
        fields
    }

    async fn call(
        &self,
        fields: &[(&'static str, String)],
        claim: Claim<'_>,
        clock: &impl Fn() -> Time,
    ) -> Verdict {
        match self.asked(fields).await {
            Ok(answer) => {
                let mark = mark(claim.nonce);
                let wanted = Wanted {
                    host: claim.host,
                    action: ACTION,
                    mark: &mark,
                };
                let vendor = self.settings.vendor;
                let verdict = answer.judged(vendor, wanted, clock());
                if let Verdict::Bad(why) = verdict {
                    // A wrong pair of keys, or a host that the vendor has under another name, looks like many robots.
                    let (vendor, why, codes) = (vendor.as_str(), why.as_str(), answer.codes());
                    tracing::debug!(vendor, why, ?codes, "a token was refused");
                }
                verdict
            }
            Err(why) => Verdict::None(why),
        }
    }

    /// One call. Turnstile and hCaptcha answer a refusal with 200 or 400 and the same document.
    async fn asked(&self, fields: &[(&'static str, String)]) -> Result<Answer, Unknown> {
        let http = self.http.as_ref().ok_or(Unknown::Silent)?;
        let silent = |error: reqwest::Error| {
            let error = error.without_url();
            tracing::debug!(%error, "the verifier of tokens does not answer");
            Unknown::Silent
        };
        let call = http.post(&self.settings.url).form(fields);
        let mut answer = call.send().await.map_err(silent)?;
        let status = answer.status();
        if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
            return Err(Unknown::Failing);
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(silent)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(Unknown::Silent);
            }
        }
        serde_json::from_slice(&body).map_err(|_| Unknown::Silent)
    }

    /// Each outage is told once, and its end.
    fn learn(&self, verdict: Verdict, now: Time) {
        let vendor = self.settings.vendor.as_str();
        match verdict {
            Verdict::Good | Verdict::Bad(_) => {
                if let Some(length) = self.outage().ends(now) {
                    let length_ms = length.0;
                    tracing::info!(vendor, length_ms, "tokens can be checked again");
                }
            }
            Verdict::None(why) => {
                if !self.outage().goes_on(why, now) {
                    return;
                }
                match why {
                    Unknown::Secret => tracing::error!(
                        vendor,
                        "the verifier does not know the secret of the challenge: visitors can only wait and press"
                    ),
                    Unknown::Silent | Unknown::Failing => tracing::warn!(
                        vendor,
                        why = why.as_str(),
                        "no token can be checked: visitors can only wait and press"
                    ),
                }
            }
            Verdict::Unasked => {}
        }
    }
}

/// A UUID of these random bytes (RFC 9562 §5.4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captcha(vendor: Vendor) -> Captcha {
        Captcha::new(Settings {
            vendor,
            sitekey: "public".to_owned(),
            secret: "s3cret".to_owned(),
            url: "http://127.0.0.1:1/siteverify".to_owned(),
            tells_address: false,
        })
    }

    #[test]
    fn what_can_be_no_token_is_not_asked_about() {
        for (vendor, most) in [(Vendor::Turnstile, 2_048), (Vendor::Hcaptcha, 8_192)] {
            let captcha = captcha(vendor);
            assert!(captcha.may_be_token("0.aB-_cD"));
            assert!(captcha.may_be_token(&"a".repeat(most)));
            for bad in ["", "a b", "a\r\nb", "\u{e4}", &"a".repeat(most + 1)] {
                assert!(!captcha.may_be_token(bad), "{bad:?}");
            }
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let captcha = captcha(Vendor::Turnstile);
        assert!(!format!("{captcha:?}").contains("s3cret"));
    }

    #[test]
    fn an_address_is_told_where_that_is_asked_for_alone() {
        let claim = Claim {
            token: "t",
            host: "blog.test",
            nonce: "n",
            client: "::ffff:192.0.2.7".parse().unwrap(),
        };
        let names = |captcha: &Captcha| {
            let fields = captcha.fields(claim, [0xff; 16]);
            let names = fields
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"));
            names.collect::<Vec<_>>().join("&")
        };
        let mut turnstile = captcha(Vendor::Turnstile);
        let key = "idempotency_key=ffffffff-ffff-4fff-bfff-ffffffffffff";
        assert_eq!(names(&turnstile), format!("secret=s3cret&response=t&{key}"));
        turnstile.settings.tells_address = true;
        assert!(names(&turnstile).ends_with("&remoteip=192.0.2.7"));
        assert_eq!(
            names(&captcha(Vendor::Hcaptcha)),
            "secret=s3cret&response=t&sitekey=public"
        );
    }

    #[test]
    fn a_mark_is_of_its_page_and_tells_nothing_of_its_nonce() {
        assert_ne!(mark("a"), mark("b"));
        assert_eq!(mark("a").len(), 32);
        assert!(mark("a").bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
