//! What a verifier's answer means. Fields and words as the vendors write them: Cloudflare, "Validate the token"
//! (developers.cloudflare.com/turnstile/get-started/server-side-validation) and hCaptcha, "Developer Guide"
//! (docs.hcaptcha.com, "Siteverify Error Codes").

use jiff::Timestamp;
use serde::Deserialize;

use super::Vendor;
use crate::engine::time::{Span, Time};

/// The vendor's clock and ours differ a little.
const APART: Span = Span::mins(1);

/// Why a token does not count. The words are those of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It can be none at all.
    Malformed,
    /// The verifier says so: it is false, too old, or was checked before.
    Invalid,
    /// It was given on another host's page.
    OtherHost,
    /// It was given for something else, or to another page of ours.
    OtherUse,
    /// It says itself that it is too old, or not yet given.
    TooOld,
}

/// Why nothing was found out. No visitor can bring these about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unknown {
    /// No answer, or none that is one.
    Silent,
    /// The verifier itself says that it failed, or that we ask too often.
    Failing,
    /// It does not know our secret: a person must act.
    Secret,
}

/// What a verifier says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A person has solved it for this.
    Good,
    /// Not so.
    Bad(Refused),
    /// Nothing was found out.
    None(Unknown),
    /// It was not asked: it is away, or asked too much already.
    Unasked,
}

/// What a token must be for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) host: &'a str,
    pub(super) action: &'a str,
    pub(super) mark: &'a str,
}

/// An answer. Fields that are not here mean nothing to us.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    success: bool,
    #[serde(default)]
    challenge_ts: Option<String>,
    #[serde(default)]
    hostname: Option<String>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    cdata: Option<String>,
    #[serde(default, rename = "error-codes")]
    error_codes: Option<Vec<String>>,
}

impl Refused {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Refused::Malformed => "malformed",
            Refused::Invalid => "invalid",
            Refused::OtherHost => "other_host",
            Refused::OtherUse => "other_use",
            Refused::TooOld => "too_old",
        }
    }
}

impl Unknown {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Unknown::Silent => "silent",
            Unknown::Failing => "failing",
            Unknown::Secret => "secret",
        }
    }
}

impl Answer {
    /// What this answer says of a token that was brought at `now`.
    pub(super) fn judged(&self, vendor: Vendor, wanted: Wanted<'_>, now: Time) -> Verdict {
        if !self.success {
            return self.failure();
        }
        let host = self.hostname.as_deref().unwrap_or_default();
        if !host.eq_ignore_ascii_case(wanted.host) {
            return Verdict::Bad(Refused::OtherHost);
        }
        let is = |said: &Option<String>, wanted| said.as_deref() == Some(wanted);
        let ours = is(&self.action, wanted.action) && is(&self.cdata, wanted.mark);
        if vendor.binds() && !ours {
            return Verdict::Bad(Refused::OtherUse);
        }
        match self.given() {
            Some(at) if now.since(at) <= vendor.lives() + APART && at.since(now) <= APART => {
                Verdict::Good
            }
            _ => Verdict::Bad(Refused::TooOld),
        }
    }

    /// What the verifier says of a failure.
    pub(super) fn codes(&self) -> &[String] {
        self.error_codes.as_deref().unwrap_or_default()
    }

    /// When it was solved.
    fn given(&self) -> Option<Time> {
        let at: Timestamp = self.challenge_ts.as_deref()?.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(Time)
    }

    fn failure(&self) -> Verdict {
        let says = |words: &[&str]| {
            let codes = self.error_codes.iter().flatten();
            codes.into_iter().any(|code| words.contains(&code.as_str()))
        };
        match () {
            () if says(&["missing-input-secret", "invalid-input-secret"]) => {
                Verdict::None(Unknown::Secret)
            }
            () if says(&["internal-error"]) => Verdict::None(Unknown::Failing),
            // Also what a token of a wrong form brings about ("bad-request", "sitekey-secret-mismatch"): if that counted
            // as an outage, a robot could make one.
            () => Verdict::Bad(Refused::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T00:00:00Z.
    const GIVEN: &str = "2026-11-22T00:00:00.000Z";
    const NOW: Time = Time(1_795_305_600_000);
    const WANTED: Wanted<'static> = Wanted {
        host: "blog.test",
        action: "wake",
        mark: "m1",
    };

    fn judged(vendor: Vendor, text: &str, now: Time) -> Verdict {
        let answer: Answer = serde_json::from_str(text).unwrap();
        answer.judged(vendor, WANTED, now)
    }

    fn good(host: &str, more: &str) -> String {
        format!(r#"{{"success":true,"challenge_ts":"{GIVEN}","hostname":"{host}"{more}}}"#)
    }

    #[test]
    fn a_token_counts_for_its_host_its_action_and_its_page_alone() {
        let both = r#","action":"wake","cdata":"m1""#;
        let bad = Verdict::Bad;
        for (host, more, turnstile, hcaptcha) in [
            ("blog.test", both, Verdict::Good, Verdict::Good),
            ("BLOG.test", both, Verdict::Good, Verdict::Good),
            ("blog.test", "", bad(Refused::OtherUse), Verdict::Good),
            (
                "blog.test",
                r#","action":"login","cdata":"m1""#,
                bad(Refused::OtherUse),
                Verdict::Good,
            ),
            (
                "blog.test",
                r#","action":"wake","cdata":"m2""#,
                bad(Refused::OtherUse),
                Verdict::Good,
            ),
            (
                "evil.test",
                both,
                bad(Refused::OtherHost),
                bad(Refused::OtherHost),
            ),
            ("", both, bad(Refused::OtherHost), bad(Refused::OtherHost)),
        ] {
            let text = good(host, more);
            assert_eq!(judged(Vendor::Turnstile, &text, NOW), turnstile, "{text}");
            assert_eq!(judged(Vendor::Hcaptcha, &text, NOW), hcaptcha, "{text}");
        }
        let nameless = format!(r#"{{"success":true,"challenge_ts":"{GIVEN}"}}"#);
        assert_eq!(
            judged(Vendor::Hcaptcha, &nameless, NOW),
            bad(Refused::OtherHost)
        );
    }

    #[test]
    fn a_token_counts_for_as_long_as_its_vendor_says_and_a_minute() {
        let text = good("blog.test", r#","action":"wake","cdata":"m1""#);
        for (vendor, lives) in [(Vendor::Turnstile, 360), (Vendor::Hcaptcha, 180)] {
            for (now, good) in [
                (NOW + Span::secs(lives), true),
                (NOW + Span::secs(lives) + Span(1), false),
                (NOW - Span::mins(1), true),
                (NOW - Span::mins(1) - Span(1), false),
            ] {
                let verdict = judged(vendor, &text, now);
                assert_eq!(verdict == Verdict::Good, good, "{vendor:?} {now:?}");
            }
        }
        for time in ["", "yesterday", "1795305600", "-1"] {
            let text =
                format!(r#"{{"success":true,"challenge_ts":"{time}","hostname":"blog.test"}}"#);
            let verdict = judged(Vendor::Hcaptcha, &text, NOW);
            assert_eq!(verdict, Verdict::Bad(Refused::TooOld), "{time:?}");
        }
        let offset =
            r#"{"success":true,"challenge_ts":"2026-11-22T07:00:00+07:00","hostname":"blog.test"}"#;
        assert_eq!(judged(Vendor::Hcaptcha, offset, NOW), Verdict::Good);
    }

    #[test]
    fn no_visitor_makes_an_outage() {
        for (codes, verdict) in [
            ("invalid-input-secret", Verdict::None(Unknown::Secret)),
            ("missing-input-secret", Verdict::None(Unknown::Secret)),
            ("internal-error", Verdict::None(Unknown::Failing)),
            ("invalid-input-response", Verdict::Bad(Refused::Invalid)),
            ("timeout-or-duplicate", Verdict::Bad(Refused::Invalid)),
            ("already-seen-response", Verdict::Bad(Refused::Invalid)),
            ("expired-input-response", Verdict::Bad(Refused::Invalid)),
            ("sitekey-secret-mismatch", Verdict::Bad(Refused::Invalid)),
            ("bad-request", Verdict::Bad(Refused::Invalid)),
            ("something-new", Verdict::Bad(Refused::Invalid)),
        ] {
            let text = format!(r#"{{"success":false,"error-codes":["{codes}"]}}"#);
            assert_eq!(judged(Vendor::Turnstile, &text, NOW), verdict, "{codes}");
        }
        let silent = r#"{"success":false}"#;
        assert_eq!(
            judged(Vendor::Hcaptcha, silent, NOW),
            Verdict::Bad(Refused::Invalid)
        );
    }
}
