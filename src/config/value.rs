//! Texts into values: each function takes what stands in the quotes and gives the value, or says what is wrong
//! and how to mend it. The text itself is put in front of the message by the caller.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use http::Uri;
use http::uri::{Authority, PathAndQuery};
use ipnet::IpNet;
use jiff::fmt::friendly::SpanParser;
use jiff::{SpanRelativeTo, Unit};

use super::StoreUrl;
use crate::engine::admit::Rate;
use crate::engine::time::Span;

/// A value, or the rest of a sentence that begins with the text.
pub(super) type Parsed<T> = Result<T, String>;

/// `30m`, `1h 30m`, `45s`, `500ms`, `1d`. A day has 24 hours.
pub(super) fn duration(text: &str) -> Parsed<Span> {
    let wrong = || "is not a duration; write it like \"30m\" or \"1h 30m\"".to_owned();
    let unit = |word: &str| matches!(word, "" | "d" | "h" | "m" | "s" | "ms");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == ' ';
    if !text.chars().all(plain) || !text.split(|c: char| !c.is_alphabetic()).all(unit) {
        return Err(wrong());
    }
    let span = SpanParser::new().parse_span(text).map_err(|_| wrong())?;
    let millis = span
        .total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| wrong())?;
    // A span of jiff is at most some thousand years, far from where a float loses milliseconds.
    Ok(Span::millis(millis as u64))
}

/// `24/1d`, or `off` for no limit.
pub(super) fn rate(text: &str) -> Parsed<Option<Rate>> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || "is not a rate; write it like \"24/1d\", or \"off\"".to_owned();
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let per = duration(per.trim()).map_err(|_| wrong())?;
    let digits = !count.trim().is_empty() && count.trim().bytes().all(|c| c.is_ascii_digit());
    // A number that is too long is out of bounds, too.
    let count = count.trim().parse().unwrap_or(u32::MAX);
    match digits {
        true => Rate::new(count, per)
            .map(Some)
            .map_err(|why| format!("is out of bounds: {why}")),
        false => Err(wrong()),
    }
}

/// An address to listen on.
pub(super) fn listen(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| {
        let mend = match text.rsplit_once(':') {
            Some(("", port)) => format!("0.0.0.0:{port}"),
            Some(("localhost", port)) => format!("127.0.0.1:{port}"),
            _ => "127.0.0.1:8080".to_owned(),
        };
        format!("is not an IP address with a port; write it like \"{mend}\"")
    })
}

/// A network, or a single address as a network of one.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().or_else(|_| single()).map_err(|_| {
        "is not a network; write it like \"10.0.0.0/8\", \"::1/128\" or \"192.0.2.7\"".into()
    })
}

/// `http://` or `https://`, a host, and maybe a path; without query. A slash at the end is dropped.
pub(super) fn url(text: &str) -> Parsed<String> {
    let good = text.parse::<Uri>().ok().filter(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        scheme && uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none()
    });
    match good {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err("is not a URL of this kind; write it like \"http://127.0.0.1:8080\"".into()),
    }
}

/// A URL without a path: all of it belongs to a visitor's request.
pub(super) fn origin(text: &str) -> Parsed<String> {
    let url = url(text)?;
    let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    match after_scheme.contains('/') {
        true => Err("has a path; write only the scheme, the host and the port".into()),
        false => Ok(url),
    }
}

/// The origin of a page, as browsers write it (RFC 6454 §6.2): in lower case, without the scheme's own port. A star is
/// refused: whoever may read may also send what is held for the app, and that is for pages with a name.
pub(super) fn page_origin(text: &str) -> Parsed<String> {
    match text {
        "*" => return Err("is every page of the world; write each origin by its name".into()),
        "null" => {
            return Err("is what every page has that hides its origin; nobody is named".into());
        }
        _ => {}
    }
    let wrong = || "is not an origin; write it like \"https://app.example.com\"".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let scheme = scheme.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err(wrong()),
    };
    if rest.contains(['/', '?', '#']) {
        return Err("has a path; write only the scheme, the host and the port".into());
    }
    let whole = address(rest, own_port)
        .map_err(|_| wrong())?
        .to_ascii_lowercase();
    let suffix = format!(":{own_port}");
    let host = whole.strip_suffix(&suffix).unwrap_or(&whole);
    Ok(format!("{scheme}://{host}"))
}

/// A hostname, in lower case.
pub(super) fn hostname(text: &str) -> Parsed<String> {
    let say = |mend: &str| Err(format!("is not a hostname: {mend}"));
    if text.contains("://") || text.contains('/') {
        return say("leave out the scheme and the path, as in \"blog.example.com\"");
    }
    if text.contains(':') {
        return say("leave out the port; every port of the listener is served");
    }
    if text.contains('*') {
        return say("wildcards are not known; write each name");
    }
    if text.ends_with('.') {
        return say("leave out the dot at the end");
    }
    if !text.is_ascii() {
        return say("write it in its ASCII form, which begins with \"xn--\"");
    }
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    let label = |label: &str| {
        let length = (1..=63).contains(&label.len());
        length && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
    };
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(text.to_ascii_lowercase()),
        false => say("it has labels of letters, digits and -, as in \"blog.example.com\""),
    }
}

/// `host` or `host:port`; always gives `host:port`.
pub(super) fn address(text: &str, port: u16) -> Parsed<String> {
    let wrong = || {
        Err(
            "is not an address; write a host or a host with a port, like \"10.0.0.7:80\""
                .to_owned(),
        )
    };
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port).to_string());
    }
    let Ok(authority) = text.parse::<Authority>() else {
        return wrong();
    };
    let host = authority.host();
    let named = host.starts_with('[') || hostname(host).is_ok();
    match (text.strip_prefix(host), authority.port_u16()) {
        (Some(""), None) if named => Ok(format!("{host}:{port}")),
        (Some(_), Some(port)) if named && port > 0 => Ok(format!("{host}:{port}")),
        _ => wrong(),
    }
}

/// A path of a request.
pub(super) fn request_path(text: &str) -> Parsed<String> {
    match text.starts_with('/') && text.parse::<PathAndQuery>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err("is not a path; write it like \"/healthz\"".into()),
    }
}

/// One status or a range of them: `404`, `200-399`.
pub(super) fn status(text: &str) -> Parsed<RangeInclusive<u16>> {
    let one = |text: &str| text.trim().parse::<u16>().ok();
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (one(from), one(to)) {
        (Some(from), Some(to)) if from <= to && from >= 100 && to <= 599 => Ok(from..=to),
        (Some(from), Some(to)) if from <= to => {
            Err("names a status that does not exist; they go from 100 to 599".into())
        }
        (Some(_), Some(_)) => Err("runs backwards; write the lower status first".into()),
        _ => Err("is not a status; write it like \"200\" or \"200-399\"".into()),
    }
}

/// Statuses and ranges with commas between.
pub(super) fn statuses(text: &str) -> Parsed<Vec<RangeInclusive<u16>>> {
    text.split(',').map(|part| status(part.trim())).collect()
}

/// Where the records are kept.
pub(super) fn store(text: &str) -> Parsed<StoreUrl> {
    if let Some(redis) = super::redis::parse(text) {
        return redis.map(|url| StoreUrl::Redis(Box::new(url)));
    }
    match text.split_once(':') {
        Some(("memory", "")) => Ok(StoreUrl::Memory),
        Some(("file", path)) if !path.is_empty() => {
            let path = path.strip_prefix("//").unwrap_or(path);
            Ok(StoreUrl::File(PathBuf::from(path)))
        }
        _ => Err(
            "is not a store; write \"memory:\", \"file:anteroom.db\" or \"redis://127.0.0.1\""
                .into(),
        ),
    }
}

/// The first word of stored keys.
pub(super) fn prefix(text: &str) -> Parsed<String> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    match (1..=40).contains(&text.len()) && text.bytes().all(inner) {
        true => Ok(text.to_owned()),
        false => Err("is not a prefix; it has 1 to 40 of letters, digits, -, _ and .".into()),
    }
}

/// Three letters, in upper case.
pub(super) fn currency(text: &str) -> Parsed<String> {
    match text.len() == 3 && text.bytes().all(|c| c.is_ascii_alphabetic()) {
        true => Ok(text.to_ascii_uppercase()),
        false => Err("is not a currency; write its three letters, like \"USD\"".into()),
    }
}

/// Any text, as long as there is one on one line.
/// A name that becomes part of a path at a cloud.
pub(super) fn name(text: &str) -> Parsed<String> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    match (1..=64).contains(&text.len()) && text.bytes().all(inner) {
        true => Ok(text.to_owned()),
        false => Err("is not a name of 1 to 64 letters, digits and `-`".into()),
    }
}

/// The name of a header, in lower case.
pub(super) fn header(text: &str) -> Parsed<String> {
    match http::HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err("is no name of a header; write letters, digits and `-` alone".into()),
    }
}

pub(super) fn words(text: &str) -> Parsed<String> {
    match !text.trim().is_empty() && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err("must have something in it, on one line".into()),
    }
}

/// A path of which a copy is kept.
pub(super) fn copied(text: &str) -> Parsed<String> {
    let fits = text.starts_with('/')
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.contains(['?', '#'])
        && text.matches('*').count() <= 1;
    match fits {
        true => Ok(text.to_owned()),
        false => {
            Err("must be a path that starts with /, without a query, and may have one *".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units_and_nothing_else() {
        let millis = |text| duration(text).map(Span::as_millis);
        assert_eq!(millis("30m"), Ok(1_800_000));
        assert_eq!(millis("1h 30m"), Ok(5_400_000));
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("1d"), Ok(86_400_000));
        assert_eq!(millis("0s"), Ok(0));
        for bad in [
            "", "30", "30x", "-5m", "5m ago", "1 month", "1y", "1.5h", "PT5M", "1w", "3minutes",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("99999999999999999999h").is_err());
    }

    #[test]
    fn a_rate_is_a_number_and_a_duration_or_off() {
        let shown = |text| rate(text).map(|rate| rate.map(|rate| rate.to_string()));
        assert_eq!(shown("off"), Ok(None));
        assert_eq!(shown("24/1d"), Ok(Some("24/1d".into())));
        assert_eq!(shown("3 / 90m"), Ok(Some("3/1h 30m".into())));
        for bad in [
            "", "24", "/1d", "24/", "-1/1d", "+1/1d", "1.5/1d", "24/day", "24/1d/1d", "OFF", "none",
        ] {
            assert!(shown(bad).unwrap_err().contains("is not a rate"), "{bad}");
        }
        for bad in [
            "0/1d",
            "1/500ms",
            "1/367d",
            "1000001/366d",
            "99999999999/1d",
            "1001/1s",
        ] {
            assert!(shown(bad).unwrap_err().contains("out of bounds"), "{bad}");
        }
    }

    #[test]
    fn a_hostname_is_lowered_and_has_no_port() {
        assert_eq!(hostname("Blog.Example.COM"), Ok("blog.example.com".into()));
        assert_eq!(hostname("localhost"), Ok("localhost".into()));
        for bad in [
            "", "a..b", "-a.b", "a:80", "http://a", "*.a", "ä.de", "a.", "a b", "a_b",
        ] {
            assert!(hostname(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("HTTPS://App.Example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("http://app.example.com:443", "http://app.example.com:443"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://10.0.0.7", "http://10.0.0.7"),
            ("http://[FD00::7]:8080", "http://[fd00::7]:8080"),
        ] {
            assert_eq!(page_origin(text).as_deref(), Ok(origin), "{text}");
        }
        for bad in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://",
            "https://*.example.com",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "ftp://a",
            "https://a:0",
            "https://a b",
            "https://a:99999",
            "https://a,https://b",
            "https://ä.de",
        ] {
            assert!(page_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_without_a_port_takes_the_port_of_the_service() {
        assert_eq!(address("10.0.0.7", 80), Ok("10.0.0.7:80".into()));
        assert_eq!(address("10.0.0.7:81", 80), Ok("10.0.0.7:81".into()));
        assert_eq!(address("vm.internal", 80), Ok("vm.internal:80".into()));
        assert_eq!(address("fd00::7", 80), Ok("[fd00::7]:80".into()));
        assert_eq!(address("[fd00::7]:81", 80), Ok("[fd00::7]:81".into()));
        for bad in ["", "a:0", "a:b", "http://a", "a/b", "u@a", "a:99999"] {
            assert!(address(bad, 80).is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses_are_real_and_run_forwards() {
        assert_eq!(statuses("200-299, 404"), Ok(vec![200..=299, 404..=404]));
        for bad in ["", "999", "99", "300-200", "ok", "200,", "2xx"] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_store_is_memory_a_file_or_a_redis() {
        assert_eq!(store("memory:"), Ok(StoreUrl::Memory));
        assert_eq!(store("file:a.db"), Ok(StoreUrl::File("a.db".into())));
        assert_eq!(
            store("file:///var/a.db"),
            Ok(StoreUrl::File("/var/a.db".into()))
        );
        assert!(matches!(store("redis://a"), Ok(StoreUrl::Redis(_))));
        for bad in ["", "memory", "file:", "redis:", "redis://"] {
            assert!(store(bad).is_err(), "{bad}");
        }
    }
}
