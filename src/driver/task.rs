//! One service's task: wait for one input, take one step, carry out its effects.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::handle::{Command, Handle, Inbox, door};
use super::probe::Prober;
use super::story::Story;
use super::way::Way;
use crate::engine::contract::{Effect, Input, Source, Trigger, TriggerBy};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::machine::{ErrorClass, Machine, Trouble};
use crate::engine::policy::Policy;
use crate::engine::record::Record;
use crate::engine::service::Service;
use crate::engine::time::{Span, Time};
use crate::engine::view::{Phase, View};
use crate::provider::Provider;
use crate::signal::edge::Edge;
use crate::signal::samples::Samples;
use crate::store::{LedgerEntry, Store, StoreError};

/// A write of the record that takes longer has failed; the next try writes the whole record again.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two tries to write a record that is not written yet, and to take ownership.
const SAVE_AGAIN: Duration = Duration::from_secs(2);

/// Ledger entries that wait for the store. When it is away for longer than that, the oldest are dropped.
const ENTRIES_WAITING_MAX: usize = 1_000;

/// Between two samples of the edge of an awake service, at most.
const EDGE_SAMPLE: Duration = Duration::from_secs(5);

/// The same on the way to a stop, where a visitor calls it off.
const EDGE_SAMPLE_LEAVING: Duration = Duration::from_millis(100);

/// A publish takes as long as Traefik needs to take it up and to say so.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// What a task is made of.
pub struct Setup {
    /// The service.
    pub name: ServiceName,
    /// How it lives.
    pub policy: Policy,
    /// Where its machine lives.
    pub provider: Arc<dyn Provider>,
    /// The lasting memory.
    pub store: Arc<dyn Store>,
    /// How visitors reach it.
    pub way: Arc<dyn Way>,
    /// Asks its app whether it is ready.
    pub prober: Prober,
    /// The time.
    pub clock: Clock,
    /// Who we are, for the claim.
    pub owner: String,
    /// Ends the task; the machine stays as it is.
    pub shutdown: CancellationToken,
}

/// A running task and the doors to it.
pub struct Running {
    /// For the room.
    pub handle: Handle,
    /// For the signal of Traefik, whose requests do not pass the room.
    pub samples: Samples,
    /// Ends when the task has ended.
    pub task: JoinHandle<()>,
}

/// Starts the task of a service.
pub fn spawn(setup: Setup) -> Running {
    let edge = Edge::new();
    let service = Service::new(setup.name.clone(), setup.policy.clone(), setup.clock.now());
    let (handle, inbox) = door(service.view(), Arc::clone(&edge));
    let samples = Samples::new(Source::Traefik);
    let story = Story::new(setup.name.clone());
    let task = Task {
        setup,
        service,
        edge,
        story,
        epoch: Epoch(0),
        acting: JoinSet::new(),
        unsaved: None,
        save_at: None,
        entries: Vec::new(),
        heard: 0,
        last_view: None,
    };
    Running {
        handle,
        samples: samples.clone(),
        task: tokio::spawn(task.run(inbox, samples)),
    }
}

struct Task {
    setup: Setup,
    service: Service,
    edge: Arc<Edge>,
    story: Story,
    epoch: Epoch,
    acting: JoinSet<Input>,
    unsaved: Option<Box<Record>>,
    save_at: Option<Instant>,
    entries: Vec<LedgerEntry>,
    /// The highest number of a wake that was heard of.
    heard: u64,
    last_view: Option<View>,
}

/// The service has another owner now.
struct Disowned;

impl Task {
    async fn run(mut self, mut inbox: Inbox, samples: Samples) {
        let shutdown = self.setup.shutdown.clone();
        let ended = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = self.live(&mut inbox, &samples) => ended,
        };
        self.edge.close();
        if ended.is_err() {
            tracing::warn!(service = %self.setup.name, "another owner took the service over; this one stands back");
        }
    }

    async fn live(&mut self, inbox: &mut Inbox, samples: &Samples) -> Result<(), Disowned> {
        let record = self.claim().await;
        self.step(Input::Loaded(record.map(Box::new)), inbox)
            .await?;
        let mut edge_tick = tokio::time::interval(self.edge_interval());
        edge_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wakeup = self.service.next_wakeup();
            let save_at = self.save_at;
            let wake_at = self.instant(wakeup);
            let sampling = self.samples_edge();
            let input = tokio::select! {
                Some(done) = self.acting.join_next() => match done {
                    Ok(input) => input,
                    // An effect that panicked gives no answer; the engine's own deadline sees to that.
                    Err(_) => continue,
                },
                Some(admitted) = inbox.triggers.recv() => {
                    self.heard = self.heard.max(admitted.wake);
                    Input::Triggered(admitted.trigger)
                }
                Some(command) = inbox.commands.recv() => self.command(command),
                sample = samples.recv() => sample,
                _ = edge_tick.tick(), if sampling => Input::Seen(self.edge.sample()),
                () = sleep_until(wake_at), if wakeup.is_some() => Input::Tick,
                () = sleep_until(save_at.unwrap_or(wake_at)), if save_at.is_some() => {
                    self.save(None).await?;
                    continue;
                }
            };
            let phase = self.service.phase();
            self.step(input, inbox).await?;
            if self.service.phase() != phase {
                let every = self.edge_interval();
                edge_tick = tokio::time::interval_at(Instant::now() + every, every);
            }
        }
    }

    /// Takes ownership; waits for the store as long as it takes. Pages are served meanwhile.
    async fn claim(&mut self) -> Option<Record> {
        let mut told = false;
        loop {
            let claim = self.setup.store.claim(&self.setup.name, &self.setup.owner);
            match timeout(SAVE_TIMEOUT, claim).await {
                Ok(Ok(claim)) => {
                    self.epoch = claim.epoch;
                    return claim.record;
                }
                Ok(Err(error)) if !told => {
                    tracing::error!(service = %self.setup.name, %error, "the store can't be asked; trying on");
                    told = true;
                }
                _ => {}
            }
            tokio::time::sleep(SAVE_AGAIN).await;
        }
    }

    fn instant(&self, at: Option<Time>) -> Instant {
        at.map_or_else(Instant::now, |at| self.setup.clock.instant(at))
    }

    fn samples_edge(&self) -> bool {
        matches!(
            self.service.phase(),
            Phase::Awake | Phase::Diverting | Phase::Draining
        )
    }

    fn edge_interval(&self) -> Duration {
        match self.service.phase() {
            Phase::Diverting | Phase::Draining => EDGE_SAMPLE_LEAVING,
            // Often enough that the idle timeout means what it says.
            _ => EDGE_SAMPLE
                .min(Duration::from(self.setup.policy.idle_timeout) / 4)
                .max(Duration::from_millis(50)),
        }
    }

    fn command(&self, command: Command) -> Input {
        match command {
            Command::Wake { who } => Input::Triggered(Trigger {
                by: TriggerBy::Admin,
                who,
                path: String::new(),
            }),
            Command::Sleep => Input::SleepAsked,
            Command::Hold { length, reason } => Input::Held {
                until: self.setup.clock.now() + Span::from(length),
                reason,
            },
            Command::Release => Input::Released,
            Command::Suspect => Input::Suspected,
        }
    }

    async fn step(&mut self, input: Input, inbox: &mut Inbox) -> Result<(), Disowned> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let now = self.setup.clock.now();
            let mut effects = Vec::new();
            self.service.step(now, input, &mut effects);
            self.show(inbox);
            self.note(now, &effects);
            for effect in effects {
                match effect {
                    Effect::Record {
                        op,
                        record,
                        required,
                    } => {
                        let written = self.save(Some(record)).await?;
                        if required && !written {
                            next = Some(Input::NotRecorded(op));
                            break;
                        }
                    }
                    Effect::Tell(event) => self.story.tell(&event),
                    effect => self.act(effect),
                }
            }
        }
        Ok(())
    }

    /// Lets everybody see the service as it is now. Closing comes before showing, showing before opening: whoever
    /// gets through the gate finds an upstream.
    fn show(&mut self, inbox: &Inbox) {
        let view = self.service.view();
        let open = !view.upstreams.is_empty();
        if !open {
            self.edge.close();
        }
        if self.last_view.as_ref() != Some(&view) {
            self.story.seen(&view);
            self.last_view = Some(view.clone());
            inbox.view.send_replace(Arc::new(view));
        }
        if open {
            self.edge.open();
        }
    }

    /// Keeps what belongs in the ledger until the next record takes it along.
    fn note(&mut self, now: Time, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Tell(event) = effect
                && super::story::belongs_in_ledger(event)
            {
                self.entries.push(LedgerEntry {
                    at: now,
                    event: event.clone(),
                });
            }
        }
        let over = self.entries.len().saturating_sub(ENTRIES_WAITING_MAX);
        self.entries.drain(..over);
    }

    /// Writes the record (or the one that is still unwritten); says whether it is written.
    async fn save(&mut self, record: Option<Box<Record>>) -> Result<bool, Disowned> {
        let Some(record) = record.or_else(|| self.unsaved.take()) else {
            return Ok(true);
        };
        let save = self.setup.store.save(
            &self.setup.name,
            self.epoch,
            &record,
            &self.entries,
            self.heard,
        );
        let failure = match timeout(SAVE_TIMEOUT, save).await {
            Ok(Ok(())) => {
                self.entries.clear();
                self.unsaved = None;
                self.save_at = None;
                return Ok(true);
            }
            Ok(Err(StoreError::Stale { .. })) => return Err(Disowned),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {SAVE_TIMEOUT:?}"),
        };
        if self.save_at.is_none() {
            tracing::error!(service = %self.setup.name, error = failure, "the record is not written; trying on");
        }
        self.unsaved = Some(record);
        self.save_at = Some(Instant::now() + SAVE_AGAIN);
        Ok(false)
    }

    /// Carries an effect out beside the task; its answer comes back as an input.
    fn act(&mut self, effect: Effect) {
        let (provider, way) = (
            Arc::clone(&self.setup.provider),
            Arc::clone(&self.setup.way),
        );
        let limit = provider.call_timeout();
        match effect {
            Effect::Record { .. } | Effect::Tell(_) => {}
            Effect::Inspect(op, instance) => {
                let call =
                    async move { answer(limit, "inspect", provider.inspect(instance)).await };
                self.acting
                    .spawn(async move { Input::Inspected(op, call.await) });
            }
            Effect::Start(op, instance) => {
                let call = async move { answer(limit, "start", provider.start(instance)).await };
                self.acting
                    .spawn(async move { Input::Started(op, call.await) });
            }
            Effect::Stop(op, instance) => {
                let call = async move { answer(limit, "stop", provider.stop(instance)).await };
                self.acting
                    .spawn(async move { Input::Stopped(op, call.await) });
            }
            Effect::Probe(op, _, address) => {
                let prober = self.setup.prober.clone();
                self.acting
                    .spawn(async move { Input::Probed(op, prober.ask(address).await) });
            }
            Effect::Publish(op, routing) => {
                self.acting.spawn(async move {
                    let published = timeout(PUBLISH_TIMEOUT, way.publish(routing)).await;
                    Input::Published(op, published.unwrap_or_else(|_| Err("no answer".into())))
                });
            }
            Effect::ProveDivert(op) => {
                self.acting.spawn(async move {
                    let proven = timeout(PUBLISH_TIMEOUT, way.prove_divert()).await;
                    Input::Diverted(op, proven.unwrap_or_else(|_| Err("no answer".into())))
                });
            }
            Effect::LastLook(op) => {
                // The gate was closed before this effect: what the edge counts now is all there is.
                let edge = self.edge.sample();
                self.acting.spawn(async move {
                    let looked = timeout(PUBLISH_TIMEOUT, way.look()).await;
                    let others = looked.unwrap_or_else(|_| Err("no answer".into()));
                    Input::LookedOnce(op, others.map(|others| [vec![edge], others].concat()))
                });
            }
        }
    }
}

/// A provider's answer within its time. One that comes later is lost: what it did isn't known.
async fn answer(
    limit: Duration,
    what: &'static str,
    call: crate::provider::Answer<'_>,
) -> Result<Machine, Trouble> {
    let started = Instant::now();
    let answer = timeout(limit, call).await.unwrap_or_else(|_| {
        Err(Trouble::new(
            ErrorClass::Ambiguous,
            format!("no answer to {what} within {limit:?}"),
        ))
    });
    let took_ms = started.elapsed().as_millis();
    match &answer {
        Ok(machine) => {
            tracing::debug!(call = what, state = ?machine.state, took_ms, "provider answered")
        }
        Err(trouble) => {
            tracing::debug!(call = what, %trouble, took_ms, "provider call did not succeed")
        }
    }
    answer
}
