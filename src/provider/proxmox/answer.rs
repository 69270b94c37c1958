//! What the answers of Proxmox VE mean.
//!
//! Nearly all that goes wrong there is told with status 500, so the words decide. They stand in the body's `message`
//! or, in older versions, only beside the status; and what goes wrong after a task was accepted stands in its exit
//! status, in the same words.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::GuestKind;
use super::place::Place;
use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::provider::cloud::call::{Does, Reply};
use crate::provider::last_words;

/// A guest as the cluster's list has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Guest {
    #[serde(rename = "type")]
    kind: String,
    node: String,
    vmid: Value,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    template: Value,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    lock: Option<String>,
}

/// A guest's own description of itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Described {
    /// Of a virtual machine; a container's is called differently.
    #[serde(default, alias = "hostname")]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) tags: Option<String>,
}

impl Guest {
    /// Where it is; none for what is no guest.
    pub(super) fn place(&self) -> Option<Place> {
        let vmid = number(&self.vmid)?;
        Some(Place {
            node: self.node.clone(),
            kind: self.kind()?,
            vmid: vmid.try_into().ok()?,
        })
    }

    pub(super) fn is_template(&self) -> bool {
        number(&self.template).is_some_and(|flag| flag != 0)
    }

    fn kind(&self) -> Option<GuestKind> {
        match self.kind.as_str() {
            "qemu" => Some(GuestKind::Qemu),
            "lxc" => Some(GuestKind::Lxc),
            _ => None,
        }
    }

    pub(super) fn is(&self, vmid: u32) -> bool {
        self.kind().is_some() && number(&self.vmid) == Some(u64::from(vmid))
    }

    /// Its state, if the list alone tells it.
    pub(super) fn state(&self) -> Option<MachineState> {
        match (self.status.as_deref()?, self.lock.as_deref()) {
            ("running", None) => Some(MachineState::Running),
            ("stopped", None) => Some(MachineState::Stopped),
            ("stopped", Some("suspended")) => Some(MachineState::Suspended),
            _ => None,
        }
    }
}

/// A guest as its own page has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Current {
    status: String,
    #[serde(default)]
    qmpstatus: Option<String>,
    #[serde(default)]
    lock: Option<String>,
    #[serde(default)]
    template: Value,
    #[serde(default)]
    ha: Value,
}

impl Current {
    pub(super) fn is_template(&self) -> bool {
        number(&self.template).is_some_and(|flag| flag != 0)
    }

    /// A virtual machine whose processors stand still with its memory in place.
    pub(super) fn is_paused(&self) -> bool {
        self.status == "running"
            && matches!(self.qmpstatus.as_deref(), Some("paused" | "suspended"))
            && self.lock.as_deref() != Some("backup")
    }

    /// Its state. What an unknown word means is not known: it is taken for "on its way", and the wake has its deadline.
    pub(super) fn state(&self) -> MachineState {
        let lock = self.lock.as_deref();
        let asked = self.ha.get("state").and_then(Value::as_str);
        let managed = self.ha.get("managed").and_then(number) == Some(1);
        let asked = asked.filter(|_| managed);
        match (self.status.as_str(), lock) {
            (_, Some("create" | "clone")) => return MachineState::Starting,
            (_, Some("destroyed" | "suspending")) => return MachineState::Stopping,
            ("stopped", Some("suspended")) => return MachineState::Suspended,
            // The manager of high availability acts some seconds after it was asked.
            ("stopped", _) if matches!(asked, Some("started" | "request_start")) => {
                return MachineState::Starting;
            }
            ("stopped", _) => return MachineState::Stopped,
            ("running", _) if matches!(asked, Some("stopped" | "request_stop" | "disabled")) => {
                return MachineState::Stopping;
            }
            ("running", _) => {}
            _ => return MachineState::Starting,
        }
        match self.qmpstatus.as_deref() {
            // A machine that is off is backed up by starting it without letting it run.
            Some("prelaunch" | "paused") if lock == Some("backup") => MachineState::Stopped,
            Some("paused" | "suspended") => MachineState::Suspended,
            Some("prelaunch" | "inmigrate") => MachineState::Starting,
            Some("shutdown") => MachineState::Stopping,
            Some("internal-error" | "io-error" | "guest-panicked") => MachineState::Failed,
            _ => MachineState::Running,
        }
    }
}

/// A task of the node that works on a guest.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Task {
    #[serde(default)]
    pub(super) upid: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    endtime: Value,
    #[serde(default)]
    exitstatus: Option<String>,
}

impl Task {
    /// In which direction a task that still runs moves its guest.
    pub(super) fn moves(&self) -> Option<MachineState> {
        let word = self.status.as_deref().unwrap_or("running");
        if !self.endtime.is_null() || !word.eq_ignore_ascii_case("running") {
            return None;
        }
        match self.kind.as_str() {
            "qmstart" | "qmresume" | "vzstart" | "vzresume" | "hastart" => {
                Some(MachineState::Starting)
            }
            "qmshutdown" | "qmstop" | "qmsuspend" | "qmdestroy" | "vzshutdown" | "vzstop"
            | "vzsuspend" | "vzdestroy" | "hastop" => Some(MachineState::Stopping),
            _ => None,
        }
    }

    /// What came of it; none while it runs. Warnings are a success.
    pub(super) fn outcome(&self) -> Option<Result<(), Trouble>> {
        let ended = self.status.as_deref() == Some("stopped");
        let exit = self.exitstatus.as_deref();
        if !ended && exit.is_none() {
            return None;
        }
        let said = exit.unwrap_or("it ended without saying how");
        if said == "OK" || said.starts_with("WARNINGS") {
            return Some(Ok(()));
        }
        let words = last_words(said.as_bytes());
        Some(Err(Trouble::new(
            class_of(&words),
            format!("the task failed: {words}"),
        )))
    }
}

/// What stands in `data`.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

/// The answer's data.
pub(super) fn data<T: DeserializeOwned>(reply: &Reply, does: Does) -> Result<T, Trouble> {
    if !reply.status.is_success() {
        return Err(trouble(reply, does));
    }
    let envelope: Result<Envelope<T>, _> = serde_json::from_slice(&reply.body);
    envelope.map(|envelope| envelope.data).map_err(|error| {
        let words = last_words(&reply.body);
        let detail = format!("an answer that is not understood ({error}): {words:?}");
        let class = match does {
            Does::Read => ErrorClass::Transient,
            Does::Write => ErrorClass::Ambiguous,
        };
        Trouble::new(class, detail)
    })
}

fn trouble(reply: &Reply, does: Does) -> Trouble {
    let said = message(reply);
    let lost = match does {
        Does::Read => ErrorClass::Transient,
        Does::Write => ErrorClass::Ambiguous,
    };
    let class = match reply.status.as_u16() {
        401 => ErrorClass::Auth,
        403 => ErrorClass::Forbidden,
        429 => ErrorClass::RateLimited(reply.retry_after),
        500 => class_of(&said),
        501 => ErrorClass::BadRequest,
        // What stands before a node, or the node that was asked, could not reach the node that is meant.
        503 | 595 => ErrorClass::Transient,
        502..=599 => lost,
        _ => ErrorClass::BadRequest,
    };
    let mend = match class {
        ErrorClass::Auth => "; are `token_id` and the secret right, and is the token not expired?",
        ErrorClass::Forbidden => "; give the token this privilege",
        _ => "",
    };
    let status = reply.status.as_u16();
    Trouble::new(class, format!("{status}, {said}{mend}"))
}

/// Words that decide, and what they mean. The first that fits does.
const WORDS: &[(&[&str], ErrorClass)] = &[
    (
        &["Configuration file", "does not exist"],
        ErrorClass::NotFound,
    ),
    (&["unable to find configuration file"], ErrorClass::NotFound),
    (&["already running"], ErrorClass::AlreadyThere),
    (&["not running"], ErrorClass::AlreadyThere),
    (&["can't lock file"], ErrorClass::Busy),
    (&["is locked ("], ErrorClass::Busy),
    (&["lock", "got timeout"], ErrorClass::Busy),
    (&["no quorum"], ErrorClass::Transient),
    (&["Permission check failed"], ErrorClass::Forbidden),
    (&["No space left"], ErrorClass::Capacity),
    (&["not enough free space"], ErrorClass::Capacity),
    (&["Cannot allocate memory"], ErrorClass::Capacity),
    (&["it's a template"], ErrorClass::BadRequest),
    (&["No QEMU guest agent configured"], ErrorClass::BadRequest),
    (&["is running"], ErrorClass::InvalidState),
    (&["is paused"], ErrorClass::InvalidState),
    (&["annot suspend"], ErrorClass::InvalidState),
    (&["protection mode"], ErrorClass::InvalidState),
    (&["of a running container"], ErrorClass::InvalidState),
    (&["still in use"], ErrorClass::InvalidState),
    (&["not allowed for linked"], ErrorClass::BadRequest),
    (&["inked clone feature"], ErrorClass::BadRequest),
    (&["storage", "does not exist"], ErrorClass::BadRequest),
    (&["only root can"], ErrorClass::Forbidden),
];

/// What Proxmox VE's words mean. It refuses before it begins, so words that nobody knows pass, or a person reads them.
fn class_of(said: &str) -> ErrorClass {
    let fits = |(words, _): &&(&[&str], ErrorClass)| words.iter().all(|word| said.contains(word));
    WORDS
        .iter()
        .find(fits)
        .map_or(ErrorClass::Transient, |(_, class)| *class)
}

/// The words of an error: the body's message and what it says of fields, or the words beside the status.
fn message(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let told = body.get("message").and_then(Value::as_str);
    let beside = reply.reason.as_deref();
    let mut said = match told.or(beside) {
        Some(told) => last_words(told.as_bytes()),
        None => last_words(&reply.body),
    };
    if let Some(errors) = body.get("errors").filter(|errors| !errors.is_null()) {
        said = format!("{said} {}", last_words(errors.to_string().as_bytes()));
    }
    said
}

/// A number, however it is written: `1`, `"1"` or `true`.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Bool(flag) => Some(u64::from(*flag)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn reply(status: u16, reason: Option<&str>, body: &str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            reason: reason.map(str::to_owned),
            retry_after: None,
            spent: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn states_come_from_three_words_at_once() {
        use MachineState::*;
        for (current, wanted) in [
            (json!({"status":"stopped"}), Stopped),
            (json!({"status":"stopped","lock":"suspended"}), Suspended),
            (json!({"status":"stopped","lock":"backup"}), Stopped),
            (json!({"status":"stopped","lock":"clone"}), Starting),
            (
                json!({"status":"stopped","ha":{"managed":1,"state":"started"}}),
                Starting,
            ),
            (
                json!({"status":"stopped","ha":{"managed":0,"state":"started"}}),
                Stopped,
            ),
            (json!({"status":"running"}), Running),
            (
                json!({"status":"running","qmpstatus":"running","lock":"backup"}),
                Running,
            ),
            (json!({"status":"running","qmpstatus":"paused"}), Suspended),
            (
                json!({"status":"running","qmpstatus":"prelaunch"}),
                Starting,
            ),
            (
                json!({"status":"running","qmpstatus":"prelaunch","lock":"backup"}),
                Stopped,
            ),
            (json!({"status":"running","qmpstatus":"shutdown"}), Stopping),
            (json!({"status":"running","qmpstatus":"io-error"}), Failed),
            (json!({"status":"running","lock":"suspending"}), Stopping),
            (
                json!({"status":"running","ha":{"managed":1,"state":"request_stop"}}),
                Stopping,
            ),
            (json!({"status":"a word nobody knows"}), Starting),
        ] {
            let read: Current = serde_json::from_value(current.clone()).expect("understood");
            assert_eq!(read.state(), wanted, "{current}");
        }
        for (guest, wanted) in [
            (
                json!({"type":"qemu","node":"n","vmid":100,"status":"running"}),
                Some(Running),
            ),
            (
                json!({"type":"lxc","node":"n","vmid":"100","status":"stopped"}),
                Some(Stopped),
            ),
            (
                json!({"type":"qemu","node":"n","vmid":100,"status":"stopped","lock":"suspended"}),
                Some(Suspended),
            ),
            (
                json!({"type":"qemu","node":"n","vmid":100,"status":"stopped","lock":"clone"}),
                None,
            ),
            (
                json!({"type":"qemu","node":"n","vmid":100,"status":"unknown"}),
                None,
            ),
            (json!({"type":"qemu","node":"n","vmid":100}), None),
        ] {
            let read: Guest = serde_json::from_value(guest.clone()).expect("understood");
            assert!(read.is(100) && !read.is(101));
            assert_eq!(read.state(), wanted, "{guest}");
        }
    }

    #[test]
    fn a_task_tells_its_end_in_its_exit_status() {
        let task = |value: Value| serde_json::from_value::<Task>(value).expect("understood");
        assert!(
            task(json!({"upid":"U","status":"running","type":"qmstart"}))
                .outcome()
                .is_none()
        );
        for good in ["OK", "WARNINGS: 1"] {
            let ended = task(json!({"status":"stopped","exitstatus":good}));
            assert_eq!(ended.outcome(), Some(Ok(())));
        }
        let failed = task(json!({"status":"stopped","exitstatus":"VM 100 already running"}));
        let trouble = failed.outcome().expect("ended").expect_err("failed");
        assert_eq!(trouble.class, ErrorClass::AlreadyThere);
        let moves = |value| task(value).moves();
        assert_eq!(
            moves(json!({"type":"qmstart"})),
            Some(MachineState::Starting)
        );
        assert_eq!(
            moves(json!({"type":"vzshutdown"})),
            Some(MachineState::Stopping)
        );
        assert_eq!(
            moves(json!({"type":"qmstart","endtime":1,"status":"OK"})),
            None
        );
        assert_eq!(moves(json!({"type":"vzdump"})), None);
    }

    #[test]
    fn the_words_of_a_500_decide_wherever_they_stand() {
        for (said, class) in [
            (
                "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist",
                ErrorClass::NotFound,
            ),
            (
                "unable to find configuration file for qemu 100 on node 'pve1'",
                ErrorClass::NotFound,
            ),
            ("VM 100 already running", ErrorClass::AlreadyThere),
            ("CT 100 not running", ErrorClass::AlreadyThere),
            (
                "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout",
                ErrorClass::Busy,
            ),
            ("VM is locked (backup)", ErrorClass::Busy),
            ("cluster not ready - no quorum?", ErrorClass::Transient),
            (
                "VM 100 is running - destroy failed",
                ErrorClass::InvalidState,
            ),
            (
                "unable to destroy CT 100 - container is running",
                ErrorClass::InvalidState,
            ),
            ("VM is paused - cannot shutdown", ErrorClass::InvalidState),
            (
                "Cannot suspend HA managed VM to disk",
                ErrorClass::InvalidState,
            ),
            (
                "you can't start a vm if it's a template",
                ErrorClass::BadRequest,
            ),
            (
                "unable to write to storage 'x': No space left on device",
                ErrorClass::Capacity,
            ),
            ("hostname lookup 'pve9' failed", ErrorClass::Transient),
        ] {
            let body = json!({ "data": null, "message": format!("{said}\n") }).to_string();
            for reply in [
                reply(500, None, &body),
                reply(500, Some(said), r#"{"data":null}"#),
            ] {
                let told = data::<Value>(&reply, Does::Write).expect_err(said);
                assert_eq!(told.class, class, "{told}");
            }
        }
    }

    #[test]
    fn every_other_refusal_has_its_class() {
        for (status, does, class) in [
            (400, Does::Write, ErrorClass::BadRequest),
            (401, Does::Read, ErrorClass::Auth),
            (403, Does::Write, ErrorClass::Forbidden),
            (501, Does::Read, ErrorClass::BadRequest),
            (595, Does::Write, ErrorClass::Transient),
            (596, Does::Write, ErrorClass::Ambiguous),
            (596, Does::Read, ErrorClass::Transient),
            (502, Does::Write, ErrorClass::Ambiguous),
            (503, Does::Write, ErrorClass::Transient),
        ] {
            let told = data::<Value>(&reply(status, Some("No route to host"), ""), does);
            assert_eq!(told.expect_err("refused").class, class, "{status}");
        }
        let fields = r#"{"data":null,"message":"Parameter verification failed.","errors":{"newid":"too small"}}"#;
        let told = data::<Value>(&reply(400, None, fields), Does::Write).expect_err("refused");
        assert!(told.detail.contains("newid"), "{told}");
        let html = data::<Value>(&reply(200, None, "<html>"), Does::Write).expect_err("a page");
        assert_eq!(html.class, ErrorClass::Ambiguous);
    }
}
