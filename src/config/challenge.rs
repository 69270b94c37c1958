//! What a visitor must solve to wake a service, as configured.

use super::captcha::{Captcha, CaptchaVendor};
use super::keys::CHALLENGE_KINDS;
use super::reading::Reading;
use super::value;
use crate::engine::time::Span;

/// What a visitor must solve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Of what kind it is.
    pub kind: ChallengeKind,
    /// How long somebody waits who takes the other way in: the press of a button, without the challenge; 5 s to 5 min.
    /// Under load it is longer.
    pub patience: Span,
}

/// The kinds of challenges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeKind {
    /// Proof of work by the visitor's browser.
    Pow(Pow),
    /// A mate in one move at chess, by the visitor.
    Chess,
    /// The widget of a captcha service.
    Captcha(Captcha),
}

/// Of a challenge for people the wait gets longer under load, eight times at most.
const DOUBLINGS_MAX: u8 = 3;

/// How much work is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pow {
    /// Zero bits while there is no load; each one doubles the work. 8 to 24.
    pub bits: u8,
    /// Zero bits at most, however much load there is; `bits` to 24.
    pub bits_max: u8,
}

impl Challenge {
    /// How many times harder it may get, in doublings.
    #[must_use]
    pub const fn extra_max(&self) -> u8 {
        match &self.kind {
            ChallengeKind::Pow(pow) => pow.bits_max - pow.bits,
            ChallengeKind::Chess | ChallengeKind::Captcha(_) => DOUBLINGS_MAX,
        }
    }

    /// Reads the challenge in `wake`: proof of work where none is written.
    pub(super) fn read(wake: &Reading<'_>) -> Option<Challenge> {
        let (kind, section) = match wake.table.get("challenge") {
            None => ("pow", wake.all_defaults("challenge pow")),
            Some(node) => {
                let kind = wake.reader.kind(node, CHALLENGE_KINDS, "challenge")?;
                let section = wake.reader.open(node, section_of(kind))?;
                // The kind was read above; this asks the table of keys as for every other key.
                section.read("kind", value::words)?;
                (kind, section)
            }
        };
        let patience = section.span("patience");
        let captcha = |vendor| Captcha::read(&section, vendor).map(ChallengeKind::Captcha);
        let kind = match kind {
            "chess" => Some(ChallengeKind::Chess),
            "turnstile" => captcha(CaptchaVendor::Turnstile),
            "hcaptcha" => captcha(CaptchaVendor::Hcaptcha),
            _ => pow(&section).map(ChallengeKind::Pow),
        };
        Some(Challenge {
            kind: kind?,
            patience: patience?,
        })
    }
}

/// The section of the table of keys that describes this kind of challenge.
pub(super) fn section_of(kind: &str) -> &'static str {
    match kind {
        "chess" => "challenge chess",
        "turnstile" | "hcaptcha" => "challenge captcha",
        _ => "challenge pow",
    }
}

fn pow(section: &Reading<'_>) -> Option<Pow> {
    let bits = |name| section.integer(name).and_then(|n| u8::try_from(n).ok());
    let (bits, most) = (bits("bits")?, bits("bits_max"));
    let bits_max = most.unwrap_or(bits.saturating_add(5).min(24));
    if bits_max < bits {
        let message = format!("{bits_max} is less than bits ({bits}); write at least bits");
        section.fault("bits_max", message);
    }
    Some(Pow {
        bits,
        bits_max: bits_max.max(bits),
    })
}
