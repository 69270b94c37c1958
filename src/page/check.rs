//! The part of the challenge's page that holds the widget of a captcha service.
//!
//! Its script is the vendor's and comes from there; so the policy of this page, and of no other, names the vendor's
//! origins. What the policy must let in is what the vendors say: Cloudflare, "Content Security Policy" of Turnstile
//! (`script-src`, `frame-src`), and hCaptcha, "Content-Security-Policy Settings" (those and `style-src`,
//! `connect-src`, for `hcaptcha.com` and all names below it). Neither asks for `unsafe-*`. How the widget is put on the
//! page ("explicit rendering") and what it is told is alike at both.

use std::sync::LazyLock;

use serde::Serialize;

use super::dress;
use super::lang::Lang;
use super::text::fill;

/// A widget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widget<'a> {
    /// Whose it is, as people know it.
    pub vendor: &'a str,
    /// The object in which its script puts `render`.
    pub api: &'a str,
    /// Where its script is.
    pub script: &'a str,
    /// The public key.
    pub sitekey: &'a str,
    /// What it is asked for.
    pub action: &'a str,
    /// What binds its answer to the page.
    pub mark: &'a str,
    /// Which directives of the page's policy must let it in.
    pub directives: &'a [&'a str],
    /// From where: origins, with spaces between.
    pub origins: &'a str,
}

impl<'a> Widget<'a> {
    /// What the page's policy must let in for it.
    pub(super) fn sources(&self) -> Vec<(&'a str, &'a str)> {
        let all = self.directives.iter();
        all.map(|directive| (*directive, self.origins)).collect()
    }
}

/// The script that puts it on the page.
pub(super) static CODE: LazyLock<String> =
    LazyLock::new(|| dress::sent(include_str!("../../templates/check.js")));

/// The widget, as a template sees it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check<'a> {
    pub(super) lead: String,
    pub(super) api: &'a str,
    pub(super) script: &'a str,
    pub(super) sitekey: &'a str,
    pub(super) action: &'a str,
    pub(super) mark: &'a str,
    pub(super) code: &'a str,
}

impl<'a> Check<'a> {
    pub(super) fn of(widget: &Widget<'a>, lang: Lang) -> Check<'a> {
        Check {
            lead: fill(
                &lang.text().challenge.check.lead,
                &[("vendor", widget.vendor)],
            ),
            api: widget.api,
            script: widget.script,
            sitekey: widget.sitekey,
            action: widget.action,
            mark: widget.mark,
            code: &CODE,
        }
    }
}
