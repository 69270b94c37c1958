//! The door to a service's task: read its view, come in, ask for a wake, give a command. Cheap to clone; nothing
//! here waits for the task.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::engine::contract::{Trigger, Upstream};
use crate::engine::id::{InstanceId, ServiceName};
use crate::engine::scale::Alert;
use crate::engine::view::View;
use crate::signal::edge::{Edge, Pass, Stay, Use};

/// Triggers that may wait for the task. When more come, those that wait already bring the same wake, so the
/// rest are dropped: that is what makes ten thousand simultaneous visitors one provider call.
pub const TRIGGERS_WAITING_MAX: usize = 64;

/// Commands that may wait for the task.
pub const COMMANDS_WAITING_MAX: usize = 64;

/// What an admin or the room may ask of a service's task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Wake the service.
    Wake {
        /// Who asks, for the ledger.
        who: String,
    },
    /// Put it to sleep when the running requests have ended.
    Sleep {
        /// Who asks, for the ledger.
        who: String,
    },
    /// Do not sleep for this long.
    Hold {
        /// How long, from now.
        length: Duration,
        /// Who asks, and why.
        reason: String,
    },
    /// End the hold.
    Release,
    /// Somebody could not reach the awake app: look at this instance, or at all of them where it is not known which it was.
    Suspect(Option<InstanceId>),
    /// An alert of somebody else's rules: look at the load.
    Alert(Alert),
}

/// A trigger that was let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Who asks.
    pub trigger: Trigger,
    /// The number of the wake that it asks for or joins, as the store gave it; 0 where the store was not asked.
    pub wake: u64,
}

/// The task does not take commands now: it is overloaded or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service's task does not take commands now; try again in a second")]
pub struct Busy;

/// The door to one service.
#[derive(Clone, Debug)]
pub struct Handle {
    service: ServiceName,
    view: watch::Receiver<Arc<View>>,
    edge: Arc<Edge>,
    triggers: mpsc::Sender<Admitted>,
    commands: mpsc::Sender<Command>,
}

/// The task's side of the door.
#[derive(Debug)]
pub struct Inbox {
    /// Where the task publishes what others see.
    pub view: watch::Sender<Arc<View>>,
    /// Admitted triggers.
    pub triggers: mpsc::Receiver<Admitted>,
    /// Commands.
    pub commands: mpsc::Receiver<Command>,
}

/// Makes both sides of a service's door. Tests of the room use it to play the task.
#[must_use]
pub fn door(first: View, edge: Arc<Edge>) -> (Handle, Inbox) {
    let service = first.service.clone();
    let (view_in, view) = watch::channel(Arc::new(first));
    let (triggers, triggers_out) = mpsc::channel(TRIGGERS_WAITING_MAX);
    let (commands, commands_out) = mpsc::channel(COMMANDS_WAITING_MAX);
    let handle = Handle {
        service,
        view,
        edge,
        triggers,
        commands,
    };
    (
        handle,
        Inbox {
            view: view_in,
            triggers: triggers_out,
            commands: commands_out,
        },
    )
}

impl Handle {
    /// Which service this is.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The service as it is now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Looks at the service as it is now; for what is done thousands of times a second. Nobody can change the view
    /// meanwhile, so `look` is short.
    pub fn with_view<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.borrow())
    }

    /// To wait for changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Comes in, if the service takes requests now: where to send it, and the pass to keep until the whole
    /// answer is sent.
    #[must_use]
    pub fn enter(&self, what: Use, stay: Stay) -> Option<(Upstream, Pass)> {
        self.edge.enter(what, stay)
    }

    /// The counters at the gate.
    #[must_use]
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Brings a trigger that was let through; `admission` is where it is. Never waits. A trigger of a service that is awake is a no-op.
    pub fn trigger(&self, admitted: Admitted) {
        // Full: see TRIGGERS_WAITING_MAX. Closed: the process is ending.
        let _ = self.triggers.try_send(admitted);
    }

    /// Gives a command.
    ///
    /// # Errors
    /// [`Busy`] when the task can't take it now.
    pub fn command(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| Busy)
    }
}
