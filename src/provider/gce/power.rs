//! Waking a machine and putting it to sleep: one write, and its operation followed.
//!
//! What we asked of a machine is remembered while what is read of it may be older: after a start it still reads
//! `TERMINATED` for a moment, and whoever took that for the truth would start it twice.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::answer::Operation;
use super::{FORCED_FOLLOWED, Gce, REST_WITHIN, START_FOLLOWED};
use crate::engine::id::Token;
use crate::engine::machine::{ErrorClass, Machine, MachineState, Trouble};
use crate::provider::bare;

/// So long after a change is done the machine may still read as before it.
const READS_OLD: Duration = Duration::from_secs(15);

/// A write that was refused because another runs, or whose answer was lost, shows within so long if it is done.
const SHOWS_WITHIN: Duration = Duration::from_secs(2);

/// An operation that is not done after so long is no longer believed to come.
const OPERATION_LIVES: Duration = Duration::from_secs(600);

/// What was asked of a machine so long ago is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Between two looks at what takes its time: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);

/// A change that we asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Resume,
    Stop,
    /// A stop that does not wait for the guest's own shutdown.
    ForcedStop,
    Suspend,
    Insert,
    Delete,
}

impl Verb {
    const fn call(self) -> &'static str {
        match self {
            Verb::Start => "instances.start",
            Verb::Resume => "instances.resume",
            Verb::Stop | Verb::ForcedStop => "instances.stop",
            Verb::Suspend => "instances.suspend",
            Verb::Insert => "instances.insert",
            Verb::Delete => "instances.delete",
        }
    }

    /// What the machine is while it goes on.
    const fn towards(self) -> MachineState {
        match self {
            Verb::Start | Verb::Resume | Verb::Insert => MachineState::Starting,
            Verb::Stop | Verb::ForcedStop | Verb::Suspend | Verb::Delete => MachineState::Stopping,
        }
    }

    /// Whether a machine in this state is as it was asked to be, or on its way there.
    const fn is_met_by(self, state: MachineState) -> bool {
        use MachineState::{Missing, Running, Starting, Stopped, Stopping, Suspended};
        match self {
            Verb::Start | Verb::Resume => matches!(state, Starting | Running),
            Verb::Stop | Verb::ForcedStop | Verb::Suspend => {
                matches!(state, Stopping | Stopped | Suspended)
            }
            Verb::Insert => !matches!(state, Missing),
            Verb::Delete => matches!(state, Stopping | Missing),
        }
    }

    /// Whether a machine that reads so may be read as it was before this change.
    const fn may_be_from_before(self, state: MachineState) -> bool {
        use MachineState::{Failed, Missing, Running, Starting, Stopped, Suspended};
        match self {
            Verb::Start | Verb::Resume => matches!(state, Stopped | Suspended | Failed),
            Verb::Stop | Verb::ForcedStop | Verb::Suspend => matches!(state, Running | Starting),
            Verb::Insert => matches!(state, Missing),
            Verb::Delete => !self.is_met_by(state),
        }
    }
}

/// What was asked last of a machine.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    at: Instant,
    intent: Token,
    /// How many operations of this intent have failed. They are over: what is asked after them is new.
    failed: u32,
    /// What goes on, while a machine that reads otherwise is read too early.
    change: Option<Change>,
}

/// A method, a zone, and what follows it in the path.
pub(super) type Place<'a> = (Method, &'a str, &'a str);

#[derive(Clone, Debug)]
struct Change {
    verb: Verb,
    /// Its operation, until that is known to be done.
    operation: Option<String>,
    until: Instant,
}

impl Gce {
    /// Starts or resumes the machine, whichever it needs. One on its way down comes to rest first.
    pub(super) async fn wake(&self, name: &str, intent: Token) -> Result<Machine, Trouble> {
        let before = self.at_rest(name, REST_WITHIN).await?;
        let verb = match before.state {
            MachineState::Missing => return Err(self.missing(name)),
            MachineState::Running | MachineState::Starting => return Ok(before),
            MachineState::Stopping => {
                let detail = format!("{name} has been on its way down for {REST_WITHIN:?}");
                return Err(Trouble::new(ErrorClass::Busy, detail));
            }
            MachineState::Suspended => Verb::Resume,
            MachineState::Stopped | MachineState::Failed => Verb::Start,
        };
        self.change(name, verb, intent, START_FOLLOWED).await
    }

    /// Suspends the machine.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorClass::InvalidState) where it can't be suspended.
    pub(super) async fn put_to_rest(&self, name: &str, intent: Token) -> Result<Machine, Trouble> {
        let before = self.look_closely(name).await?;
        match before.state {
            MachineState::Missing => Err(self.missing(name)),
            MachineState::Stopped | MachineState::Suspended => Ok(before),
            MachineState::Stopping => self.at_rest(name, self.settings.stop_timeout).await,
            _ => {
                self.change(name, Verb::Suspend, intent, self.settings.stop_timeout)
                    .await
            }
        }
    }

    /// Stops the machine; a shutdown that takes too long is cut short.
    pub(super) async fn shut_down(&self, name: &str, intent: Token) -> Result<Machine, Trouble> {
        let within = self.settings.stop_timeout;
        let until = Instant::now() + within;
        let before = self.look_closely(name).await?;
        let mut down = match before.state {
            MachineState::Missing => return Err(self.missing(name)),
            MachineState::Stopped | MachineState::Suspended => return Ok(before),
            MachineState::Stopping => before,
            _ => self.change(name, Verb::Stop, intent, within).await?,
        };
        // Its operation may be done before that shows, or be one that we may not read.
        if let Some(left) = until.checked_duration_since(Instant::now())
            && down.state == MachineState::Stopping
        {
            down = self.at_rest(name, left).await?;
        }
        if down.state != MachineState::Stopping {
            return Ok(down);
        }
        // It is on its way down in any case: that it can't be hurried makes no failure of the call.
        match self
            .change(name, Verb::ForcedStop, intent, FORCED_FOLLOWED)
            .await
        {
            Ok(machine) => Ok(machine),
            Err(trouble) => {
                tracing::debug!(instance = name, %trouble, "its shutdown can't be cut short");
                self.look_closely(name).await
            }
        }
    }

    /// The machine once it is not on its way down any more; else as it is after `within`.
    async fn at_rest(&self, name: &str, within: Duration) -> Result<Machine, Trouble> {
        let until = Instant::now() + within;
        let mut pause = PAUSE_MIN;
        loop {
            let machine = self.look_closely(name).await?;
            if machine.state != MachineState::Stopping || Instant::now() >= until {
                return Ok(machine);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks for a change and follows its operation, at most `within`. After that it goes on by itself.
    async fn change(
        &self,
        name: &str,
        verb: Verb,
        intent: Token,
        within: Duration,
    ) -> Result<Machine, Trouble> {
        let what = match verb {
            Verb::Start => "start",
            Verb::Resume => "resume",
            Verb::Suspend => "suspend",
            _ => "stop",
        };
        let what = format!("instances/{name}/{what}");
        let place = (Method::POST, self.settings.zone.as_str(), what.as_str());
        let query = match verb {
            Verb::ForcedStop => vec![("noGracefulShutdown", "true")],
            _ => Vec::new(),
        };
        let begun = self.begin(name, verb, intent, place, query, None).await;
        let operation = match begun {
            Ok(operation) => operation,
            Err(trouble) => return self.settled(name, verb, trouble).await,
        };
        match self.follow(operation, within).await {
            None => Ok(bare(verb.towards())),
            Some(Ok(())) => {
                self.done(name);
                self.look_closely(name).await
            }
            Some(Err(trouble)) => {
                self.failed(name);
                self.settled(name, verb, trouble).await
            }
        }
    }

    /// Begins a change with the id of its intent, and remembers it. An operation that has failed when it is begun is
    /// most likely one of an earlier try, before a restart: then it is begun anew.
    pub(super) async fn begin(
        &self,
        name: &str,
        verb: Verb,
        intent: Token,
        place: Place<'_>,
        query: Vec<(&str, &str)>,
        body: Option<&Value>,
    ) -> Result<Operation, Trouble> {
        let failed = self.forget_change(name, intent);
        let mut sent = self
            .send_as(verb, (intent, failed), &place, &query, body)
            .await;
        let failed_at_once = |sent: &Result<Operation, Trouble>| {
            let outcome = sent.as_ref().ok().and_then(Operation::outcome);
            outcome.is_some_and(|outcome| outcome.is_err())
        };
        if failed == 0 && failed_at_once(&sent) {
            self.failed(name);
            sent = self.send_as(verb, (intent, 1), &place, &query, body).await;
        }
        if let Ok(operation) = &sent
            && let Some(asked) = self.asked().get_mut(name)
        {
            asked.change = Some(Change {
                verb,
                operation: Some(operation.name.clone()),
                until: Instant::now() + OPERATION_LIVES,
            });
        }
        sent
    }

    async fn send_as(
        &self,
        verb: Verb,
        (intent, failed): (Token, u32),
        place: &Place<'_>,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Operation, Trouble> {
        let id = request_id(intent, verb, failed);
        let mut query = query.to_vec();
        query.push(("requestId", &id));
        self.send(verb.call(), place.clone(), &query, body).await
    }

    /// Sends a write; once more with the same id when its answer was lost, which changes nothing twice.
    pub(super) async fn send(
        &self,
        call: &'static str,
        place: Place<'_>,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Operation, Trouble> {
        let mut sent = self.project.write(call, place.clone(), query, body).await;
        if matches!(&sent, Err(trouble) if trouble.class == ErrorClass::Ambiguous) {
            sent = self.project.write(call, place, query, body).await;
        }
        // Also when the answer was lost: it may have been done.
        *self.wrote() = Some(Instant::now());
        sent
    }

    /// The operation's end; none when that did not come `within`, or can't be seen.
    pub(super) async fn follow(
        &self,
        mut operation: Operation,
        within: Duration,
    ) -> Option<Result<(), Trouble>> {
        let until = Instant::now() + within;
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(outcome) = operation.outcome() {
                return Some(outcome);
            }
            let asked = Instant::now();
            let left = until
                .checked_duration_since(asked)
                .filter(|left| !left.is_zero())?;
            match self
                .project
                .wait(&self.settings.zone, &operation.name, left)
                .await
            {
                Ok(next) => operation = next,
                Err(trouble) if trouble.class == ErrorClass::Transient => {}
                Err(trouble) => {
                    tracing::debug!(operation = operation.name, %trouble, "an operation can't be followed");
                    return None;
                }
            }
            // The cloud may answer at once when it has much to do.
            if asked.elapsed() < pause {
                tokio::time::sleep(pause.min(left)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// What came of a write that failed: another's may have done the same, and the answer may have been lost. That shows
    /// within moments, or not at all.
    pub(super) async fn settled(
        &self,
        name: &str,
        verb: Verb,
        trouble: Trouble,
    ) -> Result<Machine, Trouble> {
        let within = match trouble.class {
            ErrorClass::BadRequest | ErrorClass::InvalidState => Duration::ZERO,
            ErrorClass::Busy | ErrorClass::Ambiguous => SHOWS_WITHIN,
            _ => return Err(trouble),
        };
        let until = Instant::now() + within;
        loop {
            match self.look_closely(name).await {
                Ok(machine) if verb.is_met_by(machine.state) => return Ok(machine),
                Ok(_) if Instant::now() < until => tokio::time::sleep(PAUSE_MIN).await,
                _ => return Err(trouble),
            }
        }
    }

    /// What was read of a machine, unless it is from before a change of ours.
    ///
    /// # Errors
    /// Why that change failed, when it turns out now that it did.
    pub(super) async fn weighed(&self, name: &str, read: Machine) -> Result<Machine, Trouble> {
        let Some(change) = self.change_of(name) else {
            return Ok(read);
        };
        if !change.verb.may_be_from_before(read.state) {
            let on_its_way = read.state == change.verb.towards();
            if change.verb.is_met_by(read.state) && !on_its_way {
                self.done(name);
            }
            return Ok(read);
        }
        if let Some(operation) = &change.operation {
            let now = self.project.operation(&self.settings.zone, operation).await;
            match now.map(|operation| operation.outcome()) {
                Ok(Some(Err(trouble))) => {
                    self.failed(name);
                    return Err(trouble);
                }
                Ok(Some(Ok(()))) => self.done(name),
                // It is never seen to end.
                Err(trouble) if !trouble.class.passes_by_itself() => self.done(name),
                Ok(None) | Err(_) => {}
            }
        }
        Ok(bare(change.verb.towards()))
    }

    fn change_of(&self, name: &str) -> Option<Change> {
        let change = self.asked().get(name)?.change.clone()?;
        (Instant::now() < change.until).then_some(change)
    }

    /// Whether the machine was asked for, and is not known to be there.
    pub(super) fn is_being_made(&self, name: &str) -> bool {
        let change = self.change_of(name);
        change.is_some_and(|change| change.verb == Verb::Insert)
    }

    /// The change is done: soon it shows everywhere.
    pub(super) fn done(&self, name: &str) {
        if let Some(asked) = self.asked().get_mut(name)
            && let Some(change) = &mut asked.change
            && change.operation.take().is_some()
        {
            change.until = Instant::now() + READS_OLD;
        }
    }

    pub(super) fn failed(&self, name: &str) {
        if let Some(asked) = self.asked().get_mut(name) {
            asked.failed += 1;
            asked.change = None;
        }
    }

    /// How many operations of this intent have failed. Another intent begins anew, and of what was asked before nothing
    /// is known better from now on.
    fn forget_change(&self, name: &str, intent: Token) -> u32 {
        let mut all = self.asked();
        let known = all.get(name).filter(|asked| asked.intent == intent);
        let failed = known.map_or(0, |asked| asked.failed);
        let now = Instant::now();
        all.retain(|_, asked| now < asked.at + FORGOTTEN_AFTER);
        let asked = Asked {
            at: now,
            intent,
            failed,
            change: None,
        };
        all.insert(name.to_owned(), asked);
        failed
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        // The value is whole at every moment, so a panic of another holder changes nothing.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of one write of an intent. The same write has the same id, however often it is sent; but Google answers a
/// known id with the operation that it had, so after one that failed it is another.
fn request_id(intent: Token, verb: Verb, failed: u32) -> String {
    let mut hash = Sha256::new();
    hash.update(intent.0);
    hash.update([verb as u8]);
    hash.update(failed.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Token(bytes).uuid()
}
