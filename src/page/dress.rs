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
    csp: HeaderValue,
    csp_with_work: HeaderValue,
}

/// Ours.
static OWN: LazyLock<Dress> = LazyLock::new(|| Dress::of(None, None));

/// What works for the page where its service asks for proof of work; it stands before the page's own script.
pub(super) static WORK: LazyLock<String> =
    LazyLock::new(|| sent(include_str!("../../templates/challenge.js")));

impl Dress {
    /// With this style and script; ours where there is none.
    pub(super) fn of(style: Option<String>, script: Option<String>) -> Dress {
        let style = style.unwrap_or_else(|| include_str!("../../templates/waiting.css").into());
        let script = script.unwrap_or_else(|| sent(include_str!("../../templates/waiting.js")));
        Dress {
            csp: policy(&[&script], &style),
            csp_with_work: policy(&[&WORK, &script], &style),
            style,
            script,
        }
    }

    fn csp(&self, works: bool) -> HeaderValue {
        match works {
            true => self.csp_with_work.clone(),
            false => self.csp.clone(),
        }
    }
}

/// A script as it is sent: without the lines that are only for its readers, and without indentation.
fn sent(script: &str) -> String {
    let lines = script.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The policy of a page (CSP level 2): hashes, because the bytes are shared and a nonce would be too.
fn policy(scripts: &[&str], style: &str) -> HeaderValue {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let scripts: Vec<_> = scripts.iter().copied().map(hash).collect();
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; \
         img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        scripts.join(" "),
        hash(style)
    );
    HeaderValue::from_str(&policy).expect("words and base64 are visible ASCII")
}

/// Makes a page: by the theme's template of this name, or by ours. A theme that fails has no part in it. `works`: the page
/// has the script of a challenge beside its own.
pub(super) fn make<'a, Variables: Serialize + Template>(
    lang: Lang,
    theme: Option<&'a Theme>,
    template: &'static str,
    works: bool,
    variables: impl Fn(&'a Dress) -> Variables,
) -> Page {
    let ours = |variables: Variables| {
        let html = variables.render();
        html.expect("writing texts to a string does not fail")
    };
    let page = |html: String, dress: &Dress, fault| Page {
        html: html.into(),
        csp: dress.csp(works),
        lang,
        coding: Coding::Plain,
        fault,
    };
    let Some(theme) = theme else {
        return page(ours(variables(&OWN)), &OWN, None);
    };
    let dress = theme.dress();
    let seen = variables(dress);
    // Each answer puts a nonce of its own into the page, in one place.
    let gaps = |html: &str| html.matches(GAP).count();
    match theme.render(template, &seen) {
        Some(Ok(html)) if gaps(&html) > 1 => page(
            ours(variables(&OWN)),
            &OWN,
            Some(ThemeError::NonceTwice(template)),
        ),
        Some(Ok(html)) => page(html, dress, None),
        Some(Err(fault)) => page(ours(variables(&OWN)), &OWN, Some(fault)),
        None => page(ours(seen), dress, None),
    }
}
