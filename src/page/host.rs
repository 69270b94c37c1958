//! The name of the site that is waited for, as a visitor reads it, and sentences with it in them.
//!
//! A name runs from left to right in a sentence that runs the other way, so it is set apart (`bdi`); and it may be as long
//! as two lines of a telephone, so it may break behind a point.

use super::text::fill;

/// A site's name, as a visitor reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host(String);

impl Host {
    /// The name of this host. One that is not in Latin letters is asked for as `xn--...` (RFC 3492), and read by nobody
    /// in that form. What is no such name is left as it is.
    pub(super) fn of(host: &str) -> Host {
        match idna::domain_to_unicode(host) {
            (name, Ok(())) => Host(name),
            (_, Err(_)) => Host(host.to_owned()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The sentence as text.
    pub(super) fn text(&self, pattern: &str, values: &[(&str, &str)]) -> String {
        let all: Vec<_> = [("host", self.as_str())]
            .into_iter()
            .chain(values.iter().copied())
            .collect();
        fill(pattern, &all)
    }

    /// The sentence as HTML. Nothing in the pattern, the values or the name becomes markup.
    pub(super) fn html(&self, pattern: &str, values: &[(&str, &str)]) -> String {
        let name = escape(&self.0).replace('.', ".<wbr>");
        let parts = pattern
            .split("{host}")
            .map(|part| escape(&fill(part, values)));
        parts
            .collect::<Vec<_>>()
            .join(&format!("<bdi>{name}</bdi>"))
    }
}

/// Text as it may stand between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_its_own_letters() {
        for (host, name) in [
            ("blog.example.com", "blog.example.com"),
            ("xn--bcher-kva.example", "bücher.example"),
            ("xn--mgbh0fb.xn--kgbechtv", "مثال.إختبار"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("xn--\u{202e}", "xn--\u{202e}"),
            ("", ""),
        ] {
            assert_eq!(Host::of(host).as_str(), name, "{host}");
        }
    }

    #[test]
    fn a_sentence_holds_the_name_apart_and_nothing_becomes_markup() {
        let host = Host("a.<b>".into());
        let html = host.html("<i> {host}, {time}", &[("time", "\"{host}\" & 5 s")]);
        assert_eq!(
            html,
            "&lt;i&gt; <bdi>a.<wbr>&lt;b&gt;</bdi>, &quot;{host}&quot; &amp; 5 s"
        );
        assert_eq!(
            host.text("{host}: {time}", &[("time", "5 s")]),
            "a.<b>: 5 s"
        );
    }
}
