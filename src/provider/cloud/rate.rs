//! What the headers of an answer say of how often we may call.
//!
//! Clouds give the end of a limit as a moment in seconds of Unix time (`RateLimit-Reset`). It is compared with the
//! answer's own `Date`, so a clock that is wrong here makes no wait longer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};

use crate::engine::time::Span;

/// The longest wait that is believed.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How long to wait after this answer: `Retry-After`, else the end of the limit where the answer is 429.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Span> {
    let told = crate::provider::retry_after(headers);
    told.or_else(|| match status {
        StatusCode::TOO_MANY_REQUESTS => until_reset(headers),
        _ => None,
    })
}

/// How long until there is a further call, when the answer says that none is left (`RateLimit-Remaining`).
pub(super) fn spent(headers: &HeaderMap) -> Option<Span> {
    match number(headers, "ratelimit-remaining")? {
        0 => until_reset(headers),
        _ => None,
    }
}

fn until_reset(headers: &HeaderMap) -> Option<Span> {
    let reset = UNIX_EPOCH.checked_add(Duration::from_secs(number(headers, "ratelimit-reset")?))?;
    let date = headers.get(http::header::DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let left = reset.duration_since(date.unwrap_or_else(SystemTime::now));
    // A moment that has passed: the limit ends now.
    let left = left.unwrap_or_default().min(WAIT_MAX);
    Some(Span::secs(left.as_secs().max(1)))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            let value = http::HeaderValue::from_static(value);
            (http::HeaderName::from_static(name), value)
        };
        lines.iter().map(pair).collect()
    }

    const DATE: (&str, &str) = ("date", "Fri, 15 May 2026 08:00:00 GMT");
    const IN_90_S: (&str, &str) = ("ratelimit-reset", "1778832090");

    #[test]
    fn the_end_of_a_limit_is_told_by_the_cloud_s_own_clock() {
        let limited = StatusCode::TOO_MANY_REQUESTS;
        let told = headers(&[DATE, IN_90_S, ("retry-after", "7")]);
        assert_eq!(retry_after(limited, &told), Some(Span::secs(7)));
        let reset = headers(&[DATE, IN_90_S]);
        assert_eq!(retry_after(limited, &reset), Some(Span::secs(90)));
        assert_eq!(retry_after(StatusCode::OK, &reset), None);
        let past = headers(&[DATE, ("ratelimit-reset", "1778831000")]);
        assert_eq!(retry_after(limited, &past), Some(Span::secs(1)));
        let far = headers(&[DATE, ("ratelimit-reset", "1999999999")]);
        assert_eq!(retry_after(limited, &far), Some(Span::secs(3600)));
        assert_eq!(retry_after(limited, &headers(&[])), None);
    }

    #[test]
    fn an_account_is_spent_at_zero_alone() {
        let left = |left| headers(&[DATE, IN_90_S, ("ratelimit-remaining", left)]);
        assert_eq!(spent(&left("0")), Some(Span::secs(90)));
        for other in ["1", "4999", "-1", "none", ""] {
            assert_eq!(spent(&left(other)), None, "{other}");
        }
    }
}
