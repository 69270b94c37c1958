//! A captcha service that is asked about visitors, as configured.

use super::reading::Reading;
use super::secret::Secret;
use super::value::{self, Parsed};

/// A captcha service, and how it knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captcha {
    /// Whose it is.
    pub vendor: CaptchaVendor,
    /// The widget's public key.
    pub sitekey: String,
    /// What its verifier knows us by.
    pub secret: Secret,
    /// The verifier's address; none: where the vendor has it.
    pub url: Option<String>,
    /// Where the widget's script is; none: where the vendor has it.
    pub script: Option<String>,
    /// Whether the verifier is told the visitor's address.
    pub send_address: bool,
}

/// The captcha services that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptchaVendor {
    /// Cloudflare Turnstile.
    Turnstile,
    /// hCaptcha.
    Hcaptcha,
}

/// The keys with which the vendors let everybody through, for tests (Cloudflare, "Test your Turnstile implementation";
/// hCaptcha, "Integration Testing: Test Keys").
const FOR_TESTS: [&str; 3] = ["1x0", "3x0", "10000000-ffff-"];

impl Captcha {
    /// Reads the section of this vendor.
    pub(super) fn read(section: &Reading<'_>, vendor: CaptchaVendor) -> Option<Captcha> {
        let sitekey = section.read("sitekey", sitekey);
        let secret = section.secret("secret");
        let url = section.read("url", value::url);
        let script = section.read("script", script);
        let send_address = section.truth("send_address");
        let sitekey = sitekey?;
        if FOR_TESTS.iter().any(|start| sitekey.starts_with(start)) {
            let what = "is a key for tests; its tokens name another host, so nobody passes by them";
            section.warn("sitekey", what);
        }
        Some(Captcha {
            vendor,
            sitekey,
            secret: secret?,
            url,
            script,
            send_address: send_address?,
        })
    }
}

/// Letters, digits and what UUIDs and base64 have beside them.
fn sitekey(text: &str) -> Parsed<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match (1..=128).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("is not a sitekey; it has 1 to 128 letters, digits, - and _".into()),
    }
}

/// The address of a script. Its origin goes into the page's policy, so it must be a plain one.
fn script(text: &str) -> Parsed<String> {
    let url = value::url(text)?;
    let origin = origin_of(&url);
    value::page_origin(origin).map(|_| url.clone())
}

/// The origin of a URL that was read.
#[must_use]
pub fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_where_the_path_begins() {
        for (url, origin) in [
            ("https://a.test/b/c.js", "https://a.test"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(origin_of(url), origin);
        }
    }

    #[test]
    fn a_script_says_nothing_to_the_policy_but_its_origin() {
        assert!(script("https://a.test/1/api.js").is_ok());
        for bad in [
            "https://a;b/c.js",
            "https://*.a.test/c.js",
            "//a/c.js",
            "https://u@a/c.js",
        ] {
            assert!(script(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sitekey_is_a_word() {
        for good in ["0x4AAAAAAAB_c-D", "10000000-ffff-ffff-ffff-000000000001"] {
            assert_eq!(sitekey(good), Ok(good.to_owned()));
        }
        for bad in ["", "a b", "a\"b", "<a>"] {
            assert!(sitekey(bad).is_err(), "{bad}");
        }
    }
}
