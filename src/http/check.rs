//! The check of visitors by a captcha service: what their browser is told of its widget, and what comes of the token
//! that they bring back. Who may have how many checked, and what is counted. The verifier is asked by
//! [`gate::captcha`](crate::gate::captcha).

use std::net::IpAddr;

use serde::Serialize;

use super::challenge::Puzzle;
use super::room::Room;
use super::shield::Shield;
use crate::config::captcha::origin_of;
use crate::config::{self, CaptchaVendor};
use crate::engine::admit::Rate;
use crate::engine::time::{Span, Time};
use crate::gate::Bound;
use crate::gate::captcha::{self, Captcha, Claim, Refused, Settings, Unknown, Vendor, Verdict};
use crate::page::{self, Tried};
use crate::telemetry::metrics;

/// Tokens of one client in a minute that are checked, and as many at once. A person needs one.
const PER_CLIENT: u32 = 6;

/// Checks visitors for one service.
#[derive(Debug)]
pub(super) struct Check {
    captcha: Captcha,
    facts: &'static Facts,
    script: String,
    origins: String,
}

/// A widget, as a program is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Widget {
    sitekey: String,
    action: &'static str,
    /// What binds its answer to the page's nonce.
    mark: String,
    #[serde(skip)]
    shown: Option<Shown>,
}

/// What its page needs beside that.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    facts: &'static Facts,
    script: String,
    origins: String,
}

/// Counts the checks of each client.
pub(super) fn shield() -> Shield {
    Shield::new(Rate::new(PER_CLIENT, Span::mins(1)).expect("it is within the bounds of rates"))
}

/// What one vendor's widget is, as its documents say: its name, its script, the object that has `render`, and what the
/// page's policy must let in (see [`page::check`](crate::page)).
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    name: &'static str,
    api: &'static str,
    url: &'static str,
    script: &'static str,
    directives: &'static [&'static str],
    origins: &'static str,
}

const TURNSTILE: Facts = Facts {
    name: "Cloudflare",
    api: "turnstile",
    url: "https://challenges.cloudflare.com/turnstile/v0/siteverify",
    script: "https://challenges.cloudflare.com/turnstile/v0/api.js",
    directives: &["script-src", "frame-src"],
    origins: "https://challenges.cloudflare.com",
};

const HCAPTCHA: Facts = Facts {
    name: "hCaptcha",
    api: "hcaptcha",
    url: "https://api.hcaptcha.com/siteverify",
    script: "https://js.hcaptcha.com/1/api.js",
    directives: &["script-src", "frame-src", "style-src", "connect-src"],
    origins: "https://hcaptcha.com https://*.hcaptcha.com",
};

impl Check {
    /// A check by this captcha service.
    pub(super) fn new(captcha: &config::Captcha) -> Check {
        let (vendor, facts) = match captcha.vendor {
            CaptchaVendor::Turnstile => (Vendor::Turnstile, &TURNSTILE),
            CaptchaVendor::Hcaptcha => (Vendor::Hcaptcha, &HCAPTCHA),
        };
        let own = captcha.script.as_deref();
        Check {
            captcha: Captcha::new(Settings {
                vendor,
                sitekey: captcha.sitekey.clone(),
                secret: captcha.secret.expose().to_owned(),
                url: captcha.url.as_deref().unwrap_or(facts.url).to_owned(),
                tells_address: captcha.send_address,
            }),
            facts,
            script: own.unwrap_or(facts.script).to_owned(),
            origins: own.map_or(facts.origins, origin_of).to_owned(),
        }
    }

    /// The longest token, in bytes.
    pub(super) fn token_max(&self) -> usize {
        self.captcha.settings().vendor.token_max()
    }

    /// Whether the verifier knows our secret, or in words why that can't be said.
    pub(super) async fn knows_secret(&self) -> Result<bool, &'static str> {
        let known = self.captcha.knows_secret().await;
        known.map_err(|why| match why {
            Unknown::Failing => "its verifier fails, or is asked too often",
            Unknown::Silent | Unknown::Secret => "its verifier does not answer as it should",
        })
    }

    /// What is to be solved with the page of this nonce.
    pub(super) fn puzzle(&self, nonce: &str, now: Time) -> Puzzle {
        let settings = self.captcha.settings();
        // While nobody can check it, the page has only the wait. A program is told all the same what there is.
        let shown = (!self.captcha.is_out(now)).then(|| Shown {
            facts: self.facts,
            script: self.script.clone(),
            origins: self.origins.clone(),
        });
        let widget = Widget {
            sitekey: settings.sitekey.clone(),
            action: captcha::ACTION,
            mark: captcha::mark(nonce),
            shown,
        };
        match settings.vendor {
            Vendor::Turnstile => Puzzle::Turnstile(widget),
            Vendor::Hcaptcha => Puzzle::Hcaptcha(widget),
        }
    }

    /// What a visitor has tried that brings this token; none: it is good. The client's count is charged before anybody
    /// is asked, so a flood of false tokens from one place is not passed on.
    pub(super) async fn tried(
        &self,
        room: &Room,
        bound: Bound<'_>,
        client: IpAddr,
        token: &str,
    ) -> Option<Tried> {
        let verdict = match () {
            () if !self.captcha.may_be_token(token) => Verdict::Bad(Refused::Malformed),
            () if room.checks_too_much(client) => Verdict::Unasked,
            () => {
                let claim = Claim {
                    token,
                    host: bound.host,
                    nonce: bound.nonce,
                    client,
                };
                self.captcha.check(claim, || room.now()).await
            }
        };
        let (outcome, tried) = match verdict {
            Verdict::Good => ("good", None),
            Verdict::Bad(why) => (why.as_str(), Some(Tried::Wrong)),
            Verdict::None(why) => (why.as_str(), Some(Tried::Unchecked)),
            Verdict::Unasked => ("unasked", Some(Tried::Unchecked)),
        };
        metrics().token(bound.service, outcome);
        tried
    }
}

impl Widget {
    /// The same for the challenge's page.
    pub(super) fn shown(&self) -> page::Puzzle<'_> {
        match &self.shown {
            None => page::Puzzle::None,
            Some(shown) => page::Puzzle::Check(page::Widget {
                vendor: shown.facts.name,
                api: shown.facts.api,
                script: &shown.script,
                sitekey: &self.sitekey,
                action: self.action,
                mark: &self.mark,
                directives: shown.facts.directives,
                origins: &shown.origins,
            }),
        }
    }
}
