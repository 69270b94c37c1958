//! What pages wear: our style and our script, or a theme's, with the policy that lets them run and nothing else.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::html::Page;
use super::lang::Lang;
use super::sheet::{Coding, GAP};
use super::theme::{Theme, ThemeError};

/// A style and a script, and the policy that goes with them.
#[derive(Clone, Debug)]
pub(super) struct Dress {
    pub(super) style: String,
    /// Of the waiting page.
    pub(super) script: String,
    /// As a policy names the style.
    style_hash: String,
    csp: HeaderValue,
    csp_with_work: HeaderValue,
}

/// What a page needs beside its style.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needs<'a> {
    /// The waiting page's script, or none.
    Script,
    /// That, and before it [`WORK`].
    Work,
    /// What no other page has.
    Own(Own<'a>),
}

/// What one page has and no other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own<'a> {
    /// Scripts that stand in the page.
    pub(super) scripts: &'a [&'a str],
    /// Styles that stand in it beside the usual one.
    pub(super) styles: &'a [&'a str],
    /// What may be loaded from elsewhere: a directive of the policy (`script-src`, `frame-src`, ...) and an origin.
    pub(super) sources: &'a [(&'a str, &'a str)],
}

/// Ours.
static OURS: LazyLock<Dress> = LazyLock::new(|| Dress::of(None, None));

/// What works for the page where its service asks for proof of work; it stands before the page's own script.
pub(super) static WORK: LazyLock<String> =
    LazyLock::new(|| sent(include_str!("../../templates/challenge.js")));

impl Dress {
    /// With this style and script; ours where there is none.
    pub(super) fn of(style: Option<String>, script: Option<String>) -> Dress {
        let style = style.unwrap_or_else(|| include_str!("../../templates/waiting.css").into());
        let script = script.unwrap_or_else(|| sent(include_str!("../../templates/waiting.js")));
        let style_hash = hash(&style);
        let with = |scripts: &[&str]| {
            Own {
                scripts,
                ..Own::default()
            }
            .policy(&style_hash)
        };
        Dress {
            csp: with(&[&script]),
            csp_with_work: with(&[&WORK, &script]),
            style_hash,
            style,
            script,
        }
    }

    fn csp(&self, needs: Needs<'_>) -> HeaderValue {
        match needs {
            Needs::Script => self.csp.clone(),
            Needs::Work => self.csp_with_work.clone(),
            Needs::Own(own) => own.policy(&self.style_hash),
        }
    }
}

/// A script as it is sent: without the lines that are only for its readers, and without indentation.
pub(super) fn sent(script: &str) -> String {
    let lines = script.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Own<'_> {
    /// The policy of a page (CSP level 2): hashes, because the bytes are shared and a nonce would be too.
    fn policy(self, style_hash: &str) -> HeaderValue {
        let from = |directive: &str, first: &[String]| {
            let more = self.sources.iter().filter(|(name, _)| *name == directive);
            let more = more.map(|(_, origin)| *origin);
            let all = first.iter().map(String::as_str).chain(more);
            let all: Vec<_> = all.collect();
            match all.is_empty() {
                true => "'none'".to_owned(),
                false => all.join(" "),
            }
        };
        let hashes = |texts: &[&str]| texts.iter().map(|text| hash(text)).collect::<Vec<_>>();
        let mut styles = vec![style_hash.to_owned()];
        styles.extend(hashes(self.styles));
        let frames = match self.sources.iter().any(|(name, _)| *name == "frame-src") {
            true => format!("frame-src {}; ", from("frame-src", &[])),
            false => String::new(),
        };
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src {}; img-src {}; \
             {frames}form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            from("script-src", &hashes(self.scripts)),
            from("style-src", &styles),
            from("connect-src", &["'self'".to_owned()]),
            from("img-src", &["data:".to_owned()]),
        );
        HeaderValue::from_str(&policy).expect("words, base64 and origins are visible ASCII")
    }
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// Makes a page: by the theme's template of this name, or by ours. A theme that fails has no part in it.
pub(super) fn make<'a, Variables: Serialize + Template>(
    lang: Lang,
    theme: Option<&'a Theme>,
    template: &'static str,
    needs: Needs<'_>,
    variables: impl Fn(&'a Dress) -> Variables,
) -> Page {
    let ours = |variables: Variables| {
        let html = variables.render();
        html.expect("writing texts to a string does not fail")
    };
    let page = |html: String, dress: &Dress, fault| Page {
        html: html.into(),
        csp: dress.csp(needs),
        lang,
        coding: Coding::Plain,
        fault,
    };
    let Some(theme) = theme else {
        return page(ours(variables(&OURS)), &OURS, None);
    };
    let dress = theme.dress();
    let seen = variables(dress);
    // Each answer puts a nonce of its own into the page, in one place.
    let gaps = |html: &str| html.matches(GAP).count();
    match theme.render(template, &seen) {
        Some(Ok(html)) if gaps(&html) > 1 => page(
            ours(variables(&OURS)),
            &OURS,
            Some(ThemeError::NonceTwice(template)),
        ),
        Some(Ok(html)) => page(html, dress, None),
        Some(Err(fault)) => page(ours(variables(&OURS)), &OURS, Some(fault)),
        None => page(ours(seen), dress, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_its_own_needs_opens_the_policy_for_those_alone() {
        let own = Own {
            scripts: &["a"],
            styles: &["b"],
            sources: &[
                ("script-src", "https://a.test"),
                ("frame-src", "https://a.test"),
                ("frame-src", "https://b.test"),
            ],
        };
        let policy = own.policy("'sha256-c'");
        assert_eq!(
            policy,
            "default-src 'none'; script-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=' https://a.test; \
             style-src 'sha256-c' 'sha256-PiPoFgA5WUoziU9lZOGxNIu9egCI1CxKy3PurtWcAJ0='; connect-src 'self'; img-src data:; \
             frame-src https://a.test https://b.test; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        let none = Own::default().policy("'sha256-c'");
        let none = none.to_str().unwrap();
        assert!(none.contains("script-src 'none';") && !none.contains("frame-src"));
    }
}
