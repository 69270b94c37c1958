//! Scripts on this host: `start`, `stop`, and `state`, which prints one word.
//!
//! How a script is run, and that none outlives its deadline, is in [`program`](crate::provider::program).

use std::time::Duration;

use super::{Action, Said, state_of};
use crate::engine::id::ServiceName;
use crate::engine::machine::{ErrorClass, MachineState, Trouble};
use crate::provider::program::Program;
use crate::provider::{BadSettings, last_words};

/// What is kept of an answer: its beginning.
const OUTPUT_BYTES_MAX: usize = 1024;

/// Program and arguments of each; not shell lines. They hear `ANTEROOM_SERVICE` and `ANTEROOM_ACTION`.
#[derive(Clone, Debug)]
pub struct Scripts {
    /// Starts the machine, or asks for it.
    pub start: Vec<String>,
    /// Stops it, or asks for it.
    pub stop: Vec<String>,
    /// Prints `running`, `stopped`, `starting`, `stopping`, `suspended` or `missing` as its first line.
    pub state: Vec<String>,
}

impl Scripts {
    pub(super) fn check(&self) -> Result<(), BadSettings> {
        for action in [Action::Start, Action::Stop, Action::State] {
            if self.of(action).first().is_none_or(String::is_empty) {
                let word = action.word();
                return Err(BadSettings(format!("`{word}` names no program")));
            }
        }
        Ok(())
    }

    fn of(&self, action: Action) -> &[String] {
        match action {
            Action::Start => &self.start,
            Action::Stop => &self.stop,
            Action::State => &self.state,
        }
    }

    pub(super) async fn run(
        &self,
        action: Action,
        service: &ServiceName,
        within: Duration,
    ) -> Result<Said, Trouble> {
        let words: Vec<&str> = self.of(action).iter().map(String::as_str).collect();
        let doing = || {
            let program = words.first().copied().unwrap_or_default();
            format!("{} of {service} by {program:?}", action.word())
        };
        let trouble =
            |class: ErrorClass, said: String| Trouble::new(class, format!("{}: {said}", doing()));
        let program = Program {
            kind: "command",
            name: action.word(),
            words: &words,
            env: &[
                ("ANTEROOM_SERVICE", service.as_str()),
                ("ANTEROOM_ACTION", action.word()),
            ],
            within,
            out_bytes_max: OUTPUT_BYTES_MAX,
        };
        let ended = program.run().await;
        let ended = ended.map_err(|unended| unended.trouble(action.unanswered(), &doing()))?;
        match (ended.status.code(), action) {
            (Some(0), Action::Start | Action::Stop) => Ok(Said::default()),
            (Some(0), Action::State) => said(&ended.out).ok_or_else(|| {
                let printed = last_words(&ended.out);
                trouble(ErrorClass::BadRequest, format!("it printed {printed:?}"))
            }),
            // By shell custom: cannot be executed, and not found.
            (Some(126 | 127), _) => Err(trouble(ErrorClass::BadRequest, ended.complaint())),
            _ => Err(trouble(ErrorClass::Transient, ended.complaint())),
        }
    }
}

fn said(out: &[u8]) -> Option<Said> {
    let text = String::from_utf8_lossy(out);
    let state: MachineState = state_of(text.lines().next()?.trim())?;
    Some(Said {
        state: Some(state),
        address: None,
    })
}
