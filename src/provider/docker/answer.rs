//! What the engine's answers mean. Observed at Docker Engine 20.10 and Podman 4.3; the rows that differ say so.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status,
    HealthStatusEnum as Health,
};

use crate::engine::machine::{ErrorClass, MachineState};
use crate::provider::last_words;

/// What was sent: a lost answer to a read is worth another read, to a write it leaves the state unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Read,
    Write,
}

/// The status is read first: an exited container's health may still read "unhealthy".
pub(super) fn state(state: Option<&ContainerState>) -> MachineState {
    let status = state.and_then(|state| state.status);
    let health = state.and_then(|state| state.health.as_ref()?.status);
    match (status, health) {
        (Some(Status::CREATED | Status::EXITED), _) => MachineState::Stopped,
        (Some(Status::RUNNING), Some(Health::STARTING)) => MachineState::Starting,
        // Unhealthy is running and not ready, which our own probe finds out.
        (Some(Status::RUNNING), _) => MachineState::Running,
        (Some(Status::PAUSED), _) => MachineState::Suspended,
        (Some(Status::RESTARTING), _) => MachineState::Starting,
        (Some(Status::REMOVING | Status::STOPPING), _) => MachineState::Stopping,
        (Some(Status::DEAD | Status::EMPTY) | None, _) => MachineState::Failed,
    }
}

/// Podman passes through states of its own, which Docker has not and the client cannot read. It says which.
pub(super) fn podman_state(error: &Error) -> Option<MachineState> {
    let Error::JsonDataError { message, .. } = error else {
        return None;
    };
    let (_, rest) = message.split_once("unknown variant `")?;
    match rest.split_once('`')?.0 {
        // Its process ended, and it is not cleaned up yet: it can be started.
        "stopped" | "configured" => Some(MachineState::Stopped),
        "initialized" => Some(MachineState::Starting),
        _ => None,
    }
}

/// The container's own address, in its first network by name that gives it one.
pub(super) fn own_address(found: &ContainerInspectResponse, port: u16) -> Option<SocketAddr> {
    let networks = found.network_settings.as_ref()?.networks.as_ref()?;
    let own = networks
        .iter()
        .filter_map(|(name, end)| {
            let ip = end.ip_address.as_ref()?.parse::<IpAddr>().ok()?;
            Some((name, ip)).filter(|_| !ip.is_unspecified())
        })
        .min()
        .map(|(_, ip)| ip);
    // Docker also lists it among the networks, Podman does not.
    let mode = found.host_config.as_ref()?.network_mode.as_deref();
    let host = || (mode == Some("host")).then_some(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    own.or_else(host).map(|ip| SocketAddr::new(ip, port))
}

/// Where the port is published; the first of several, IPv4 first.
pub(super) fn published_address(found: &ContainerInspectResponse, port: u16) -> Option<SocketAddr> {
    let ports = found.network_settings.as_ref()?.ports.as_ref()?;
    let published = ports.get(&format!("{port}/tcp"))?.as_ref()?;
    published
        .iter()
        .filter_map(|binding| {
            let ip = binding.host_ip.as_deref().unwrap_or_default();
            let ip = match ip {
                "" => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                ip => ip.parse().ok()?,
            };
            let port = binding.host_port.as_ref()?.parse().ok()?;
            Some(SocketAddr::new(ip, port))
        })
        .min()
}

/// What kind of trouble an error is. "304 not modified" is no error.
pub(super) fn class(error: &Error, sent: Sent) -> ErrorClass {
    let unanswered = match sent {
        Sent::Read => ErrorClass::Transient,
        Sent::Write => ErrorClass::Ambiguous,
    };
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => answered(*status_code, &message.to_ascii_lowercase()),
        Error::SocketNotFoundError(_) => ErrorClass::Transient,
        Error::HyperLegacyError { err } if err.is_connect() => ErrorClass::Transient,
        Error::RequestTimeoutError
        | Error::HyperLegacyError { .. }
        | Error::HyperResponseError { .. }
        | Error::IOError { .. } => unanswered,
        // Another server, or one that changed: reading again may help, and nothing was understood.
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => unanswered,
        _ => ErrorClass::BadRequest,
    }
}

fn answered(status: u16, message: &str) -> ErrorClass {
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    match status {
        // Without the word it is another server's 404.
        404 if says(&["container"]) => ErrorClass::NotFound,
        // Podman answers 500 to nearly everything.
        500 if says(&["container state improper", "is not paused", "is paused"]) => {
            ErrorClass::InvalidState
        }
        500 if says(&["no such container"]) => ErrorClass::NotFound,
        500 if says(&["no space left", "address pool", "no available ip"]) => ErrorClass::Capacity,
        // The entrypoint: Docker 400 or 500 by version, Podman 500.
        500 if says(&["executable file", "exec format error", "exec:"]) => ErrorClass::BadRequest,
        409 => ErrorClass::InvalidState,
        401 => ErrorClass::Auth,
        403 => ErrorClass::Forbidden,
        429 => ErrorClass::RateLimited(None),
        500..=599 => ErrorClass::Transient,
        _ => ErrorClass::BadRequest,
    }
}

/// Whether a container was not made because another has its name: Docker 409, Podman 500.
pub(super) fn is_name_taken(error: &Error) -> bool {
    match error {
        Error::DockerResponseServerError {
            status_code: 409 | 500,
            message,
        } => message.contains("already in use"),
        _ => false,
    }
}

/// Whether the next call must connect, and agree on a version, anew.
pub(super) fn ends_connection(error: &Error) -> bool {
    match error {
        Error::DockerResponseServerError { message, .. } => message.contains("client version"),
        _ => true,
    }
}

/// The error in words, with the causes that the client keeps to itself, bounded.
pub(super) fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    last_words(words.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspected(json: serde_json::Value) -> ContainerInspectResponse {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_status_has_its_state() {
        let of = |status: &str, health: &str| {
            let json = json!({ "State": { "Status": status, "Health": { "Status": health } } });
            state(inspected(json).state.as_ref())
        };
        for (status, health, wanted) in [
            ("created", "", MachineState::Stopped),
            ("exited", "unhealthy", MachineState::Stopped),
            ("running", "", MachineState::Running),
            ("running", "none", MachineState::Running),
            ("running", "healthy", MachineState::Running),
            ("running", "unhealthy", MachineState::Running),
            ("running", "starting", MachineState::Starting),
            ("paused", "healthy", MachineState::Suspended),
            ("restarting", "", MachineState::Starting),
            ("removing", "", MachineState::Stopping),
            ("dead", "", MachineState::Failed),
        ] {
            assert_eq!(of(status, health), wanted, "{status} {health}");
        }
    }

    #[test]
    fn a_state_that_only_podman_has_is_understood() {
        let of = |message: &str| {
            let (message, column) = (message.to_owned(), 0);
            podman_state(&Error::JsonDataError { message, column })
        };
        let unknown = |word: &str| format!("unknown variant `{word}`, expected one of `created`");
        assert_eq!(of(&unknown("stopped")), Some(MachineState::Stopped));
        assert_eq!(of(&unknown("initialized")), Some(MachineState::Starting));
        assert_eq!(of(&unknown("melted")), None);
        assert_eq!(of("expected a brace"), None);
    }

    #[test]
    fn every_answer_has_its_class() {
        let of = |status_code: u16, message: &str| {
            let message = message.to_owned();
            let error = Error::DockerResponseServerError {
                status_code,
                message,
            };
            class(&error, Sent::Write)
        };
        for (status, message, wanted) in [
            (404, "No such container: web", ErrorClass::NotFound),
            (404, "page not found", ErrorClass::BadRequest),
            (
                409,
                "cannot start a paused container",
                ErrorClass::InvalidState,
            ),
            (500, "container state improper", ErrorClass::InvalidState),
            (500, "Container abc is not paused", ErrorClass::InvalidState),
            (
                400,
                "OCI runtime create failed: exec: \"x\"",
                ErrorClass::BadRequest,
            ),
            (
                500,
                "runc: executable file `x` not found",
                ErrorClass::BadRequest,
            ),
            (500, "port is already allocated", ErrorClass::Transient),
            (403, "denied by the socket proxy", ErrorClass::Forbidden),
            (503, "", ErrorClass::Transient),
        ] {
            assert_eq!(of(status, message), wanted, "{status} {message}");
        }
        assert_eq!(
            class(&Error::RequestTimeoutError, Sent::Write),
            ErrorClass::Ambiguous
        );
        assert_eq!(
            class(&Error::RequestTimeoutError, Sent::Read),
            ErrorClass::Transient
        );
    }

    #[test]
    fn an_address_is_found_in_a_fixed_order() {
        let found = inspected(json!({ "HostConfig": {}, "NetworkSettings": {
            "Networks": {
                "b": { "IPAddress": "10.0.0.2" }, "a": { "IPAddress": "10.0.0.1" }, "0": { "IPAddress": "" },
            },
            "Ports": { "80/tcp": [
                { "HostIp": "::", "HostPort": "8001" }, { "HostIp": "0.0.0.0", "HostPort": "8000" },
            ], "81/tcp": null },
        }}));
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        assert_eq!(
            text(own_address(&found, 80)).as_deref(),
            Some("10.0.0.1:80")
        );
        assert_eq!(
            text(published_address(&found, 80)).as_deref(),
            Some("0.0.0.0:8000")
        );
        assert_eq!(text(published_address(&found, 81)), None);
        let host = inspected(json!({
            "HostConfig": { "NetworkMode": "host" }, "NetworkSettings": { "Networks": {} },
        }));
        assert_eq!(text(own_address(&host, 80)).as_deref(), Some("0.0.0.0:80"));
    }
}
