//! A service that somebody else's program starts and stops: scripts on this host ([`script`]), or a webhook
//! ([`webhook`]). For every platform that has no provider of its own.
//!
//! The state is read before each start and stop, and one call runs at a time, so that a script need not be
//! idempotent itself.

mod script;
mod webhook;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{
    Answer, BadSettings, Checkup, Provider, bare, host_and_port, http_client, resolve, seed_only,
};
use crate::engine::id::{InstanceId, ServiceName, Token};
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};

pub use script::Scripts;
pub use webhook::Webhook;

/// What a call may take on top of its two deadlines (read, then act): so that ours come first.
const CALL_MARGIN: Duration = Duration::from_secs(5);

/// What is paid while the machine sleeps.
const ASLEEP: &str = "what it costs there";

/// Who is asked, and where the app is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service, as scripts and webhook hear it.
    pub service: ServiceName,
    /// Who starts and stops it.
    pub control: Control,
    /// `host:port` of the app; a name is looked up at each reading. None only where the webhook answers with
    /// the address.
    pub address: Option<String>,
    /// How long one run of a script, or one answer of the webhook, may take.
    pub timeout: Duration,
}

/// Who starts and stops the machine.
#[derive(Clone, Debug)]
pub enum Control {
    /// Programs on this host.
    Scripts(Scripts),
    /// A server that is asked by HTTP.
    Webhook(Webhook),
}

/// The provider of `kind = "command"`.
pub struct Command {
    settings: Settings,
    client: Option<reqwest::Client>,
    /// One call at a time: what was read must still hold when it is acted on.
    turn: Semaphore,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start,
    Stop,
    State,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::State => "state",
        }
    }

    /// A lost answer to a question is worth another; to an order, it leaves the state unknown.
    const fn unanswered(self) -> ErrorClass {
        match self {
            Self::Start | Self::Stop => ErrorClass::Ambiguous,
            Self::State => ErrorClass::Transient,
        }
    }
}

/// What was answered; nothing is promised about the answer to an order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    state: Option<MachineState>,
    address: Option<String>,
}

impl Command {
    /// A provider for this machine. Runs and asks nothing.
    ///
    /// # Errors
    ///
    /// When a script names no program, the webhook has no HTTP address, or the app's address is missing or is
    /// not `host:port`.
    pub fn new(settings: Settings) -> Result<Command, BadSettings> {
        let client = match &settings.control {
            Control::Scripts(scripts) => {
                scripts.check()?;
                None
            }
            Control::Webhook(webhook) => {
                webhook.check()?;
                Some(http_client(settings.timeout)?)
            }
        };
        match &settings.address {
            Some(address) => host_and_port(address)?,
            None if client.is_some() => {}
            None => return Err(BadSettings("`address` (host:port) is missing".to_owned())),
        }
        Ok(Command {
            settings,
            client,
            turn: Semaphore::new(1),
        })
    }

    async fn ask(&self, action: Action) -> Result<Said, Trouble> {
        let Settings {
            service, timeout, ..
        } = &self.settings;
        match (&self.settings.control, &self.client) {
            (Control::Scripts(scripts), _) => scripts.run(action, service, *timeout).await,
            (Control::Webhook(webhook), Some(client)) => webhook.ask(client, action, service).await,
            (Control::Webhook(_), None) => unreachable!("a webhook is built with its client"),
        }
    }

    async fn look(&self) -> Result<Machine, Trouble> {
        let said = match self.ask(Action::State).await {
            Err(trouble) if trouble.class == ErrorClass::NotFound => {
                return Ok(bare(MachineState::Missing));
            }
            said => said?,
        };
        let Some(state) = said.state else {
            let detail = "asking for the state: the answer holds none";
            return Err(Trouble::new(ErrorClass::BadRequest, detail));
        };
        let address = match (
            state,
            said.address.as_ref().or(self.settings.address.as_ref()),
        ) {
            (MachineState::Running, Some(address)) => resolve(address, self.settings.timeout).await,
            _ => None,
        };
        Ok(Machine { state, address })
    }

    async fn order(&self, action: Action) -> Result<Machine, Trouble> {
        let _turn = self.turn.acquire().await;
        let before = self.look().await?;
        let (there, underway) = match action {
            Action::Start => (MachineState::Running, MachineState::Starting),
            Action::Stop | Action::State => (MachineState::Stopped, MachineState::Stopping),
        };
        if before.state == there || before.state == underway {
            return Ok(before);
        }
        if before.state == MachineState::Missing {
            let service = &self.settings.service;
            let detail = format!("{} of {service}: the machine is missing", action.word());
            return Err(Trouble::new(ErrorClass::NotFound, detail));
        }
        self.ask(action).await?;
        Ok(bare(underway))
    }
}

impl Provider for Command {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn call_timeout(&self) -> Duration {
        // The state, its address, and the order.
        self.settings.timeout * 3 + CALL_MARGIN
    }

    fn inspect(&self, instance: InstanceId) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.look()),
            _ => Box::pin(async { Ok(bare(MachineState::Missing)) }),
        }
    }

    fn start(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.order(Action::Start)),
            _ => Box::pin(async move { Err(seed_only("command", instance)) }),
        }
    }

    fn stop(&self, instance: InstanceId, _token: Token) -> Answer<'_> {
        match instance {
            InstanceId::SEED => Box::pin(self.order(Action::Stop)),
            _ => Box::pin(async move { Err(seed_only("command", instance)) }),
        }
    }

    fn checkup(&self) -> BoxFuture<'_, Checkup> {
        Box::pin(async {
            let (what, own) = match &self.settings.control {
                Control::Scripts(_) => ("the machine of your programs", "they bring their own"),
                Control::Webhook(_) => ("the machine of your webhook", "it answers"),
            };
            let seed = self.look().await;
            let mut checkup = Checkup::of_seed(what.to_owned(), seed, ASLEEP);
            checkup.credential = match &checkup.seed {
                Err(trouble)
                    if matches!(trouble.class, ErrorClass::Auth | ErrorClass::Forbidden) =>
                {
                    Err(trouble.clone())
                }
                _ => Ok(own.to_owned()),
            };
            checkup
        })
    }
}

/// The words a script prints and a webhook answers.
fn state_of(word: &str) -> Option<MachineState> {
    match word {
        "running" => Some(MachineState::Running),
        "stopped" => Some(MachineState::Stopped),
        "starting" => Some(MachineState::Starting),
        "stopping" => Some(MachineState::Stopping),
        "suspended" => Some(MachineState::Suspended),
        "missing" => Some(MachineState::Missing),
        _ => None,
    }
}
