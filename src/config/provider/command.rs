//! Anything that programs or a webhook can start and stop, as configured.

use super::parts::program;
use crate::config::reading::Reading;
use crate::config::secret::Secret;
use crate::config::value;
use crate::engine::time::Span;

/// Anything that programs or a webhook can start and stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// What is called.
    pub control: Control,
    /// Where the app listens, always as `host:port`.
    pub address: String,
    /// How long one call may take; 1 s to 1 h.
    pub timeout: Span,
}

/// What the command provider calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Three programs with their arguments, none of them empty.
    Programs {
        /// Starts the machine.
        start: Vec<String>,
        /// Stops the machine.
        stop: Vec<String>,
        /// Prints the machine's state.
        state: Vec<String>,
    },
    /// A URL.
    Webhook {
        /// `http://` or `https://`, without a slash at the end.
        url: String,
        /// What is sent as `Authorization: Bearer`.
        token: Option<Secret>,
    },
}

impl Command {
    pub(super) fn read(section: &Reading<'_>, port: u16) -> Option<Command> {
        let control = match section.section("webhook") {
            Some(webhook) => {
                for name in ["start", "stop", "state"] {
                    if section.has(name) {
                        section.fault(name, "is written beside webhook; take one of them out");
                    }
                }
                let (url, token) = (webhook.read("url", value::url), webhook.secret("token"));
                url.map(|url| Control::Webhook { url, token })
            }
            None => Some(Control::Programs {
                start: needed(section, "start"),
                stop: needed(section, "stop"),
                state: needed(section, "state"),
            }),
        };
        let address = section.read("address", |text| value::address(text, port));
        let timeout = section.span("timeout");
        Some(Command {
            control: control?,
            address: address?,
            timeout: timeout?,
        })
    }

    pub(super) fn runs_programs(&self) -> bool {
        matches!(self.control, Control::Programs { .. })
    }
}

/// A program that must be written because there is no webhook.
fn needed(section: &Reading<'_>, name: &str) -> Vec<String> {
    if !section.has(name) && !section.has("webhook") {
        let mend = format!("is missing; write {name} = [\"./vm\", \"{name}\"], or a webhook");
        section.fault(name, mend);
    }
    program(section, name)
}
