//! What Compute Engine's errors mean. One word decides, wherever it stands: the reason of an HTTP error, the code of a
//! failed operation, or the reason in the details of either. The status decides only where no word is known: 403 is
//! also how a rate limit is told, and 503 how a zone without machines is.

use serde_json::Value;

use crate::engine::machine::{ErrorClass, Trouble};
use crate::engine::time::Span;
use crate::provider::cloud::call::{Does, Reply};
use crate::provider::last_words;

/// An error, in the cloud's words.
#[derive(Debug)]
pub(super) struct Said {
    /// HTTP's status; 0 where none was told.
    pub(super) status: u16,
    pub(super) message: String,
    /// Reasons and codes, the most exact ones first.
    pub(super) reasons: Vec<String>,
    pub(super) retry_after: Option<Span>,
}

impl Said {
    pub(super) fn of(reply: &Reply) -> Said {
        let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let error = &body["error"];
        let reason = |of: &Value| of["reason"].as_str().map(str::to_owned);
        let of_list = |list: &Value| -> Vec<String> {
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(reason).collect()
        };
        let mut reasons = of_list(&error["details"]);
        reasons.extend(of_list(&error["errors"]));
        let message = error["message"].as_str();
        Said {
            status: reply.status.as_u16(),
            message: message.map_or_else(
                || last_words(&reply.body),
                |text| last_words(text.as_bytes()),
            ),
            reasons,
            retry_after: reply.retry_after,
        }
    }

    /// Whether it is this instance that is not there, and not its zone or its project. A page of HTML is from
    /// something else than the cloud and says nothing of an instance.
    pub(super) fn misses(&self, instance: &str) -> bool {
        let told = self.reasons.iter().any(|reason| reason == "notFound");
        let other = ["projects/", "zones/"]
            .iter()
            .any(|word| self.message.contains(word));
        told && (!other || self.message.contains(&format!("/instances/{instance}'")))
    }
}

/// The trouble of a call that was answered with an error.
pub(super) fn of_answer(said: &Said, does: Does) -> Trouble {
    let by_word = said.reasons.iter().find_map(|reason| class_of_word(reason));
    // The zone's name for it also comes as words alone.
    let exhausted = said.message.contains("ZONE_RESOURCE_POOL_EXHAUSTED");
    let class = match by_word {
        _ if exhausted => ErrorClass::Capacity,
        Some(class) => class,
        None => class_of_status(said.status, does),
    };
    told(
        with_wait(class, said),
        &format!("HTTP {}", said.status),
        said,
    )
}

/// The trouble of an operation that ended with an error: nothing of it goes on.
pub(super) fn of_operation(said: &Said) -> Trouble {
    let by_word = said.reasons.iter().find_map(|reason| class_of_word(reason));
    let class = by_word.unwrap_or_else(|| class_of_status(said.status, Does::Read));
    told(with_wait(class, said), "the operation failed", said)
}

fn told(class: ErrorClass, what: &str, said: &Said) -> Trouble {
    let reasons = said.reasons.join(", ");
    let mend = match class {
        ErrorClass::NotFound => "; are `project`, `zone` and `instance` right?",
        _ => "",
    };
    Trouble::new(class, format!("{what}, {reasons}: {}{mend}", said.message))
}

fn class_of_word(word: &str) -> Option<ErrorClass> {
    let starts = |prefix: &str| word.starts_with(prefix);
    Some(match word {
        "notFound" | "RESOURCE_NOT_FOUND" => ErrorClass::NotFound,
        "alreadyExists" | "RESOURCE_ALREADY_EXISTS" => ErrorClass::AlreadyThere,
        "resourceNotReady" | "RESOURCE_NOT_READY" => ErrorClass::Busy,
        "resourceInUseByAnotherResource" | "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE" => {
            ErrorClass::Busy
        }
        "conditionNotMet" | "CONDITION_NOT_MET" => ErrorClass::Busy,
        "UNSUPPORTED_OPERATION" | "unsupportedOperation" => ErrorClass::InvalidState,
        "rateLimitExceeded"
        | "userRateLimitExceeded"
        | "RATE_LIMIT_EXCEEDED"
        | "CONCURRENT_OPERATIONS_QUOTA_EXCEEDED"
        | "RESOURCE_OPERATION_RATE_EXCEEDED" => ErrorClass::RateLimited(None),
        "quotaExceeded" | "limitExceeded" | "billingNotEnabled" | "BILLING_DISABLED" => {
            ErrorClass::Quota
        }
        "authError" | "ACCESS_TOKEN_EXPIRED" => ErrorClass::Auth,
        "forbidden"
        | "accessNotConfigured"
        | "insufficientPermissions"
        | "SERVICE_DISABLED"
        | "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
        | "PERMISSIONS_ERROR" => ErrorClass::Forbidden,
        "backendError" | "internalError" | "INTERNAL_ERROR" | "SERVICE_UNAVAILABLE" => {
            ErrorClass::Transient
        }
        _ if starts("ZONE_RESOURCE_POOL_EXHAUSTED") || starts("STOCKOUT") => ErrorClass::Capacity,
        _ if starts("QUOTA_EXCEEDED") || starts("LIMIT_EXCEEDED") => ErrorClass::Quota,
        _ => return None,
    })
}

/// Where no word is known. A write that met a broken cloud may have been done; its `requestId` makes it safe to repeat.
fn class_of_status(status: u16, does: Does) -> ErrorClass {
    match status {
        401 => ErrorClass::Auth,
        403 => ErrorClass::Forbidden,
        // HTML from something on the way, or a path that the cloud does not know.
        404 => ErrorClass::BadRequest,
        409 => ErrorClass::Busy,
        412 => ErrorClass::Busy,
        429 => ErrorClass::RateLimited(None),
        408 | 500..=599 if does == Does::Write => ErrorClass::Ambiguous,
        0 | 408 | 500..=599 => ErrorClass::Transient,
        _ => ErrorClass::BadRequest,
    }
}

/// Rates are counted by the minute and given back at the minute.
fn with_wait(class: ErrorClass, said: &Said) -> ErrorClass {
    match class {
        ErrorClass::RateLimited(None) => {
            ErrorClass::RateLimited(Some(said.retry_after.unwrap_or_else(to_the_next_minute)))
        }
        other => other,
    }
}

fn to_the_next_minute() -> Span {
    let second = jiff::Timestamp::now().as_second().rem_euclid(60);
    Span::secs(61 - second.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn said(status: u16, body: &str) -> Said {
        Said::of(&Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            reason: None,
            spent: None,
            retry_after: Some(Span::secs(9)),
            body: body.as_bytes().to_vec(),
        })
    }

    fn error(status: u16, reason: &str) -> Said {
        let body = format!(
            r#"{{"error":{{"code":{status},"message":"no","errors":[{{"domain":"global","reason":"{reason}","message":"no"}}]}}}}"#
        );
        said(status, &body)
    }

    #[test]
    fn every_row_of_the_table_has_its_class() {
        let limited = ErrorClass::RateLimited(Some(Span::secs(9)));
        for (status, reason, wanted) in [
            (404, "notFound", ErrorClass::NotFound),
            (409, "alreadyExists", ErrorClass::AlreadyThere),
            (400, "resourceNotReady", ErrorClass::Busy),
            (412, "conditionNotMet", ErrorClass::Busy),
            (403, "rateLimitExceeded", limited),
            (403, "quotaExceeded", ErrorClass::Quota),
            (403, "forbidden", ErrorClass::Forbidden),
            (403, "accessNotConfigured", ErrorClass::Forbidden),
            (403, "a new word", ErrorClass::Forbidden),
            (401, "authError", ErrorClass::Auth),
            (429, "a new word", limited),
            (503, "backendError", ErrorClass::Transient),
            (503, "ZONE_RESOURCE_POOL_EXHAUSTED", ErrorClass::Capacity),
            (400, "invalid", ErrorClass::BadRequest),
            (400, "UNSUPPORTED_OPERATION", ErrorClass::InvalidState),
        ] {
            assert_eq!(
                of_answer(&error(status, reason), Does::Write).class,
                wanted,
                "{reason}"
            );
        }
    }

    #[test]
    fn the_details_know_better_than_the_first_reason() {
        let body = r#"{"error":{"code":403,"message":"too many","errors":[{"reason":"forbidden"}],
            "details":[{"@type":"x"},{"reason":"CONCURRENT_OPERATIONS_QUOTA_EXCEEDED"}]}}"#;
        let class = of_answer(&said(403, body), Does::Write).class;
        assert_eq!(class, ErrorClass::RateLimited(Some(Span::secs(9))));
    }

    #[test]
    fn the_codes_of_operations_have_their_class() {
        for (code, wanted) in [
            ("ZONE_RESOURCE_POOL_EXHAUSTED", ErrorClass::Capacity),
            (
                "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
                ErrorClass::Capacity,
            ),
            ("QUOTA_EXCEEDED", ErrorClass::Quota),
            ("RESOURCE_NOT_READY", ErrorClass::Busy),
            ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", ErrorClass::Busy),
            ("RESOURCE_ALREADY_EXISTS", ErrorClass::AlreadyThere),
            ("RESOURCE_NOT_FOUND", ErrorClass::NotFound),
            ("UNSUPPORTED_OPERATION", ErrorClass::InvalidState),
            ("INTERNAL_ERROR", ErrorClass::Transient),
            ("A_NEW_ONE", ErrorClass::BadRequest),
        ] {
            let said = Said {
                status: 400,
                message: "no".into(),
                reasons: vec![code.into()],
                retry_after: None,
            };
            assert_eq!(of_operation(&said).class, wanted, "{code}");
        }
    }

    #[test]
    fn only_the_missing_instance_itself_is_missing() {
        let missing = |what: &str| {
            let body = format!(
                r#"{{"error":{{"message":"The resource '{what}' was not found","errors":[{{"reason":"notFound"}}]}}}}"#
            );
            said(404, &body).misses("blog")
        };
        assert!(missing("projects/p/zones/z/instances/blog"));
        assert!(!missing("projects/p/zones/z/instances/blog-2"));
        assert!(!missing("projects/p"));
        assert!(!missing("projects/p/zones/z"));
        assert!(!said(404, "<html>Not Found</html>").misses("blog"));
        let html = of_answer(&said(404, "<html>Not Found</html>"), Does::Read);
        assert_eq!(html.class, ErrorClass::BadRequest);
    }

    #[test]
    fn a_write_that_met_a_broken_cloud_may_have_been_done() {
        assert_eq!(
            of_answer(&said(502, "<html>"), Does::Write).class,
            ErrorClass::Ambiguous
        );
        assert_eq!(
            of_answer(&said(502, "<html>"), Does::Read).class,
            ErrorClass::Transient
        );
    }

    #[test]
    fn a_rate_comes_back_at_the_minute() {
        assert!((Span::secs(1)..=Span::secs(61)).contains(&to_the_next_minute()));
    }
}
