//! What the answers of EC2 mean: XML whose error codes decide, whatever the status is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use roxmltree::{Document, Node};

use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::provider::cloud::call::{Does, Reply};
use crate::provider::last_words;

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) id: String,
    /// The state's number; its low byte is what is documented.
    code: Option<u32>,
    /// Why it is in this state.
    reason: Option<String>,
    private: Option<IpAddr>,
    public: Option<IpAddr>,
    pub(super) tags: BTreeMap<String, String>,
}

impl Instance {
    pub(super) fn state(&self) -> MachineState {
        match self.code.map(|code| code & 0xff) {
            Some(0) => MachineState::Starting,
            Some(16) => MachineState::Running,
            Some(32 | 64) => MachineState::Stopping,
            // Deleted; it is shown for an hour more.
            Some(48) => MachineState::Missing,
            Some(80) if self.reason.as_deref() == Some("Client.UserInitiatedHibernate") => {
                MachineState::Suspended
            }
            Some(80) => MachineState::Stopped,
            // A number that nobody has seen yet is taken for "on its way": looking goes on, and the wake has its
            // deadline.
            _ => MachineState::Starting,
        }
    }

    /// It is on its way out of this world: it will not come back, while a stopped one will.
    pub(super) fn is_deleted_soon(&self) -> bool {
        self.code.map(|code| code & 0xff) == Some(32)
    }

    /// Whether it is more than the memory of a machine that was deleted.
    pub(super) fn is_there(&self) -> bool {
        self.state() != MachineState::Missing
    }

    pub(super) fn private_ip(&self) -> Option<IpAddr> {
        self.private
    }

    pub(super) fn public_ip(&self) -> Option<IpAddr> {
        self.public
    }
}

/// The machines of an answer, and the token of its next page.
pub(super) fn instances(
    reply: &Reply,
    does: Does,
) -> Result<(Vec<Instance>, Option<String>), Trouble> {
    if !reply.status.is_success() {
        return Err(trouble(reply, does));
    }
    let text = String::from_utf8_lossy(&reply.body);
    let document = Document::parse(&text).map_err(|error| {
        let class = match does {
            Does::Read => ErrorClass::Transient,
            Does::Write => ErrorClass::Ambiguous,
        };
        let words = last_words(&reply.body);
        Trouble::new(
            class,
            format!("an answer that is not understood ({error}): {words:?}"),
        )
    })?;
    let sets = document
        .descendants()
        .filter(|node| is(node, "instancesSet"));
    let items = sets.flat_map(|set| set.children().filter(|node| is(node, "item")));
    let next = child(document.root_element(), "nextToken").and_then(text_of);
    Ok((items.filter_map(instance).collect(), next))
}

fn instance(item: Node<'_, '_>) -> Option<Instance> {
    let text = |name: &str| child(item, name).and_then(text_of);
    let state = child(item, "instanceState").or_else(|| child(item, "currentState"));
    let code = state.and_then(|state| text_of(child(state, "code")?));
    let reason = child(item, "stateReason").and_then(|reason| text_of(child(reason, "code")?));
    let tags = child(item, "tagSet").into_iter();
    let tags = tags.flat_map(|tags| tags.children().filter(|node| is(node, "item")));
    let tag = |tag: Node<'_, '_>| {
        let value = child(tag, "value").and_then(text_of);
        Some((text_of(child(tag, "key")?)?, value.unwrap_or_default()))
    };
    Some(Instance {
        id: text("instanceId")?,
        code: code.and_then(|code| code.parse().ok()),
        reason,
        private: text("privateIpAddress").and_then(|ip| ip.parse().ok()),
        public: text("ipAddress").and_then(|ip| ip.parse().ok()),
        tags: tags.filter_map(tag).collect(),
    })
}

fn is(node: &Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

fn child<'a, 'b>(node: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    node.children().find(|node| is(node, name))
}

fn text_of(node: Node<'_, '_>) -> Option<String> {
    let text = node.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The code of an error and what was said of it; none where the answer is not EC2's.
fn error(reply: &Reply) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(&reply.body);
    let document = Document::parse(&text).ok()?;
    let error = document.descendants().find(|node| is(node, "Error"))?;
    let code = child(error, "Code").and_then(text_of)?;
    let said = child(error, "Message")
        .and_then(text_of)
        .unwrap_or_default();
    Some((code, last_words(said.as_bytes())))
}

/// Whether a call that asked only whether it might be made may be made.
pub(super) fn may(reply: &Reply) -> Result<bool, Trouble> {
    match error(reply) {
        Some((code, _)) if code == "DryRunOperation" => Ok(true),
        Some((code, _)) if class_of(&code) == Some(ErrorClass::Forbidden) => Ok(false),
        _ => Err(trouble(reply, Does::Read)),
    }
}

pub(super) fn trouble(reply: &Reply, does: Does) -> Trouble {
    let (code, said) = error(reply).unwrap_or_else(|| (String::new(), last_words(&reply.body)));
    let lost = match does {
        Does::Read => ErrorClass::Transient,
        Does::Write => ErrorClass::Ambiguous,
    };
    let class = class_of(&code).unwrap_or(match reply.status.as_u16() {
        401 => ErrorClass::Auth,
        403 => ErrorClass::Forbidden,
        429 | 509 => ErrorClass::RateLimited(None),
        503 => ErrorClass::Transient,
        500..=599 => lost,
        _ => ErrorClass::BadRequest,
    });
    let class = match class {
        ErrorClass::RateLimited(None) => ErrorClass::RateLimited(reply.retry_after),
        class => class,
    };
    let mend = match (class, code.as_str()) {
        (_, "RequestExpired" | "SignatureDoesNotMatch") => {
            "; is the secret right, and this host's clock?"
        }
        (ErrorClass::Auth, _) => "; are the keys right, and not expired?",
        (ErrorClass::Forbidden, "UnauthorizedOperation") => {
            "; the policy of these keys does not allow it"
        }
        _ => "",
    };
    // The rest of a refusal is a ciphered message that only its account can read.
    let said = said
        .split(" Encoded authorization failure message")
        .next()
        .unwrap_or_default();
    Trouble::new(
        class,
        format!("{} {code}: {said}{mend}", reply.status.as_u16()),
    )
}

/// Codes that decide. Where a code ends with `*`, its beginning does.
const CODES: &[(&str, ErrorClass)] = &[
    ("InvalidInstanceID.NotFound", ErrorClass::NotFound),
    ("InvalidLaunchTemplate*", ErrorClass::BadRequest),
    ("IncorrectInstanceState", ErrorClass::InvalidState),
    ("IncorrectState", ErrorClass::InvalidState),
    (
        "UnsupportedHibernationConfiguration",
        ErrorClass::InvalidState,
    ),
    ("UnsupportedOperation", ErrorClass::InvalidState),
    ("OperationNotPermitted", ErrorClass::InvalidState),
    ("IncorrectModificationState", ErrorClass::Busy),
    ("InsufficientAddressCapacity", ErrorClass::Quota),
    ("InsufficientFreeAddressesInSubnet", ErrorClass::Quota),
    ("Insufficient*", ErrorClass::Capacity),
    ("RequestLimitExceeded", ErrorClass::RateLimited(None)),
    ("LimitExceededException", ErrorClass::RateLimited(None)),
    ("BandwidthLimitExceeded", ErrorClass::RateLimited(None)),
    ("EC2ThrottledException", ErrorClass::RateLimited(None)),
    ("Throttl*", ErrorClass::RateLimited(None)),
    ("RequestThrottled*", ErrorClass::RateLimited(None)),
    ("TooManyRequestsException", ErrorClass::RateLimited(None)),
    ("SlowDown", ErrorClass::RateLimited(None)),
    ("InstanceLimitExceeded", ErrorClass::Quota),
    ("VcpuLimitExceeded", ErrorClass::Quota),
    ("VolumeLimitExceeded", ErrorClass::Quota),
    ("AddressLimitExceeded", ErrorClass::Quota),
    ("MaxSpotInstanceCountExceeded", ErrorClass::Quota),
    ("OptInRequired", ErrorClass::Quota),
    ("PendingVerification", ErrorClass::Quota),
    ("Blocked", ErrorClass::Quota),
    ("UnauthorizedOperation", ErrorClass::Forbidden),
    ("AccessDenied*", ErrorClass::Forbidden),
    ("AuthFailure", ErrorClass::Auth),
    ("InvalidClientTokenId", ErrorClass::Auth),
    ("InvalidAccessKeyId", ErrorClass::Auth),
    ("UnrecognizedClientException", ErrorClass::Auth),
    ("SignatureDoesNotMatch", ErrorClass::Auth),
    ("IncompleteSignature", ErrorClass::Auth),
    ("MissingAuthenticationToken", ErrorClass::Auth),
    ("ExpiredToken*", ErrorClass::Auth),
    ("RequestExpired", ErrorClass::Auth),
];

fn class_of(code: &str) -> Option<ErrorClass> {
    let fits = |(known, _): &&(&str, ErrorClass)| match known.strip_suffix('*') {
        Some(beginning) => code.starts_with(beginning),
        None => code == *known,
    };
    CODES.iter().find(fits).map(|(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::engine::time::Span;

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            reason: None,
            spent: None,
            retry_after: Some(Span::secs(9)),
            body: body.as_bytes().to_vec(),
        }
    }

    fn refused(status: u16, code: &str) -> Reply {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code>\
             <Message>said</Message></Error></Errors><RequestID>r</RequestID></Response>"
        );
        reply(status, &body)
    }

    #[test]
    fn machines_are_read_from_any_answer_that_has_some() {
        let listed = r#"<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
            <requestId>r</requestId><reservationSet><item><instancesSet><item>
            <instanceId>i-1</instanceId><instanceState><code>272</code><name>running</name></instanceState>
            <privateIpAddress>10.0.0.5</privateIpAddress><ipAddress>203.0.113.7</ipAddress>
            <tagSet><item><key>Name</key><value>blog &amp; more</value></item><item><key>empty</key><value/></item></tagSet>
            <networkInterfaceSet><item><privateIpAddress>10.0.0.9</privateIpAddress></item></networkInterfaceSet>
            </item></instancesSet></item><item><instancesSet><item><instanceId>i-2</instanceId>
            <instanceState><code>80</code></instanceState><stateReason><code>Client.UserInitiatedHibernate</code></stateReason>
            </item></instancesSet></item></reservationSet><nextToken>more</nextToken></DescribeInstancesResponse>"#;
        let (found, next) = instances(&reply(200, listed), Does::Read).expect("understood");
        assert_eq!(next.as_deref(), Some("more"));
        assert_eq!(found[0].state(), MachineState::Running);
        assert_eq!(found[0].private_ip(), "10.0.0.5".parse().ok());
        assert_eq!(found[0].public_ip(), "203.0.113.7".parse().ok());
        assert_eq!(found[0].tags["Name"], "blog & more");
        assert_eq!(found[0].tags["empty"], "");
        assert_eq!(found[1].state(), MachineState::Suspended);
        let changed = r#"<StopInstancesResponse xmlns="x"><instancesSet><item><instanceId>i-1</instanceId>
            <currentState><code>64</code></currentState><previousState><code>16</code></previousState></item></instancesSet></StopInstancesResponse>"#;
        let (found, next) = instances(&reply(200, changed), Does::Write).expect("understood");
        assert_eq!((found[0].state(), next), (MachineState::Stopping, None));
        let html = instances(&reply(200, "<html>"), Does::Write).expect_err("a page");
        assert_eq!(html.class, ErrorClass::Ambiguous);
    }

    #[test]
    fn every_number_is_a_state() {
        for (code, wanted) in [
            (0, MachineState::Starting),
            (16, MachineState::Running),
            (32, MachineState::Stopping),
            (48, MachineState::Missing),
            (64, MachineState::Stopping),
            (80, MachineState::Stopped),
            (81, MachineState::Starting),
        ] {
            let instance = Instance {
                code: Some(code),
                ..Instance::default()
            };
            assert_eq!(instance.state(), wanted, "{code}");
        }
        assert_eq!(Instance::default().state(), MachineState::Starting);
    }

    #[test]
    fn every_refusal_has_its_class() {
        let limited = ErrorClass::RateLimited(Some(Span::secs(9)));
        for (status, code, class) in [
            (400, "InvalidInstanceID.NotFound", ErrorClass::NotFound),
            (400, "InvalidInstanceID.Malformed", ErrorClass::BadRequest),
            (400, "IncorrectInstanceState", ErrorClass::InvalidState),
            (
                400,
                "UnsupportedHibernationConfiguration",
                ErrorClass::InvalidState,
            ),
            (400, "OperationNotPermitted", ErrorClass::InvalidState),
            (500, "InsufficientInstanceCapacity", ErrorClass::Capacity),
            (400, "InsufficientHostCapacity", ErrorClass::Capacity),
            (400, "VcpuLimitExceeded", ErrorClass::Quota),
            (400, "InstanceLimitExceeded", ErrorClass::Quota),
            (503, "RequestLimitExceeded", limited),
            (400, "Throttling", limited),
            (400, "ThrottledException", limited),
            (503, "EC2ThrottledException", limited),
            (403, "UnauthorizedOperation", ErrorClass::Forbidden),
            (401, "AuthFailure", ErrorClass::Auth),
            (400, "RequestExpired", ErrorClass::Auth),
            (403, "SignatureDoesNotMatch", ErrorClass::Auth),
            (400, "IdempotentParameterMismatch", ErrorClass::BadRequest),
            (
                400,
                "InvalidLaunchTemplateName.NotFoundException",
                ErrorClass::BadRequest,
            ),
            (400, "UnknownParameter", ErrorClass::BadRequest),
            (500, "InternalError", ErrorClass::Ambiguous),
            (503, "Unavailable", ErrorClass::Transient),
        ] {
            let told = trouble(&refused(status, code), Does::Write);
            assert_eq!(told.class, class, "{told}");
            assert!(told.detail.contains(code), "{told}");
        }
        let broken = trouble(&reply(502, "<html>bad gateway"), Does::Read);
        assert_eq!(broken.class, ErrorClass::Transient);
        assert_eq!(trouble(&reply(509, ""), Does::Read).class, limited);
    }

    #[test]
    fn a_dry_run_tells_what_is_allowed() {
        assert_eq!(may(&refused(412, "DryRunOperation")), Ok(true));
        assert_eq!(may(&refused(403, "UnauthorizedOperation")), Ok(false));
        assert!(may(&refused(503, "Unavailable")).is_err());
    }
}
