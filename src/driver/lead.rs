//! A room that leads: wait for one input, take one step of the engine, carry out its effects.
//!
//! Where many rooms share the store, it also leaves a sign of life with every beat, and hears by it of the others
//! and of admins. A room that is alone, because the store is away, has no epoch: nothing that it does is recorded,
//! so it may start the machine and never stop it.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};

use super::handle::{Admitted, Command};
use super::seat::{STORE_AGAIN, STORE_TIMEOUT, Seat};
use crate::engine::contract::{
    Activity, Effect, Event, Input, Routing, Source, Trigger, TriggerBy,
};
use crate::engine::id::{Epoch, OpId};
use crate::engine::record::Record;
use crate::engine::service::Service;
use crate::engine::time::{Span, Time};
use crate::engine::view::Phase;
use crate::signal::load::Measured;
use crate::store::shared::{Followed, Heartbeat, HoldWish, News, Wanted};
use crate::store::{LedgerEntry, StoreError};
use heart::Heart;

mod act;
mod agree;
mod among;
mod crowd;
mod heart;
mod ledger;
mod leftover;
mod load;
mod status;

/// Between two samples of the edge of an awake service, at most.
const EDGE_SAMPLE: Duration = Duration::from_secs(5);

/// The same on the way to a stop, where a visitor calls it off.
const EDGE_SAMPLE_LEAVING: Duration = Duration::from_millis(100);

/// A new leader shows what the last one said until it knows better, so long.
const LEARNING_HIDDEN: Duration = Duration::from_secs(10);

/// Why a room leads no longer.
pub(super) enum End {
    /// The store has another owner, or forgot this one.
    Disowned,
    /// It was given to another room.
    HandedOver,
    /// The room was alone, and the store is back.
    Back,
}

/// What runs beside the loop.
enum Done {
    Input(Input),
    /// The room's own part of the last look, or of the proof that visitors reach it.
    Looked(OpId, Result<Vec<Activity>, String>),
    Diverted(OpId, Result<(), String>),
    /// The engine has asked what all rooms must agree on, and this room has said its part.
    Asked,
    Measured(Measured),
    Beaten(Box<Result<Heartbeat, StoreError>>),
    /// The latest of the ledger.
    Past(Result<Vec<LedgerEntry>, StoreError>),
    /// The store was asked by a room that is alone.
    Followed(Result<Box<Followed>, StoreError>),
    HandedOver(Result<(), StoreError>),
    /// Nobody waited for it.
    Told,
}

/// A room that leads one service.
pub(super) struct Lead<'a> {
    seat: &'a mut Seat,
    service: Service,
    epoch: Option<Epoch>,
    doing: JoinSet<Done>,
    unsaved: Option<Box<Record>>,
    save_at: Option<Instant>,
    entries: Vec<LedgerEntry>,
    /// The highest number of a wake that was heard of.
    heard: u64,
    /// A wake that was heard of from the store, and not yet from the visitor who asked for it.
    announced: Option<u64>,
    heart: Heart,
    /// When the ledger is read again.
    past_at: Option<Instant>,
    /// Records written, and how many that were when the last sign of life was sent.
    saves: u64,
    saves_said: u64,
    began: Instant,
    began_at: Time,
    looks: load::Looks,
    /// When those who wait are counted next.
    count_at: Instant,
}

impl<'a> Lead<'a> {
    pub(super) fn new(seat: &'a mut Seat, epoch: Option<Epoch>) -> Lead<'a> {
        let setup = &seat.setup;
        let shared = setup.store.shared().is_some();
        let idle_timeout = setup.policy.idle_timeout;
        let said = seat.envelope.as_ref();
        let began_at = setup.clock.now();
        let routing = said.map_or(Routing::Asleep, |said| said.routing.clone());
        Lead {
            service: Service::new(setup.name.clone(), setup.policy.clone(), began_at),
            heart: Heart::new(shared, epoch, idle_timeout, routing),
            seat,
            epoch,
            doing: JoinSet::new(),
            unsaved: None,
            save_at: None,
            entries: Vec::new(),
            heard: 0,
            announced: None,
            past_at: Some(Instant::now()).filter(|_| shared),
            saves: 0,
            saves_said: 0,
            began: Instant::now(),
            began_at,
            looks: load::Looks::new(),
            count_at: Instant::now(),
        }
    }

    /// Leads from this record on, first for this trigger if there is one, until somebody else does.
    pub(super) async fn live(
        mut self,
        mut record: Option<Box<Record>>,
        trigger: Option<Trigger>,
    ) -> End {
        self.take_leftovers(record.as_deref_mut());
        let now = self.seat.setup.clock.now();
        self.heart
            .begin(now, record.as_ref().and_then(|record| record.hold.as_ref()));
        let asked = trigger.clone();
        let Err(end) = self.run(record, trigger).await;
        // The next leader begins where this one's use ended.
        let _ = self.seat.face.sample();
        self.seat.face.counts.uses += 1;
        self.seat.routing = None;
        self.seat.envelope = self.heart.envelope().cloned();
        if let Some(wish) = self.heart.left() {
            let (store, name) = self.store();
            tokio::spawn(async move {
                if let Some(shared) = store.shared() {
                    // Whoever asked has its answer; it is in the log if it did not come to pass.
                    if let Err(error) = shared.hold(&name, wish).await {
                        tracing::error!(service = %name, %error, "a hold did not reach the leading room; give it again");
                    }
                }
            });
        }
        // Somebody asked while the service was given away, or while nobody could be told.
        if matches!(end, End::Back | End::HandedOver) {
            self.seat.bring = match self.service.phase() {
                Phase::Waking | Phase::Awake => self.service.view().run_by,
                // It waits for the machine's state.
                Phase::Learning => asked,
                _ => None,
            };
        }
        end
    }

    async fn run(
        &mut self,
        record: Option<Box<Record>>,
        trigger: Option<Trigger>,
    ) -> Result<std::convert::Infallible, End> {
        self.step(Input::Loaded(record)).await?;
        if let Some(trigger) = trigger {
            self.step(Input::Triggered(trigger)).await?;
        }
        let mut edge_tick = tokio::time::interval(self.edge_interval());
        edge_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.beat();
            let wakeup = self.service.next_wakeup();
            let save_at = self.save_at;
            let wake_at = self.instant(wakeup);
            let sampling = self.samples_edge();
            let beat_at = self.heart.due();
            let measure_at = self.measure_due();
            let count_at = self.count_due();
            let input = tokio::select! {
                Some(done) = self.doing.join_next() => match done {
                    Ok(Done::Input(input)) => Some(input),
                    Ok(done) => { self.done(done).await?; None }
                    // An effect that panicked gives no answer; the engine's own deadline sees to that.
                    Err(_) => { self.heart.lost(); self.looks.lost(); None }
                },
                Some(admitted) = self.seat.triggers.recv() => self.triggered(admitted),
                Some(command) = self.seat.commands.recv() => Some(self.command(command)),
                Some(news) = self.seat.news.recv() => self.hear(news),
                sample = self.seat.samples.recv() => Some(sample),
                _ = edge_tick.tick(), if sampling => Some(self.sample()),
                () = sleep_until(wake_at), if wakeup.is_some() => Some(Input::Tick),
                () = sleep_until(save_at.unwrap_or(wake_at)), if save_at.is_some() => {
                    self.save(None).await?;
                    None
                }
                () = sleep_until(beat_at.unwrap_or(wake_at)), if beat_at.is_some() => None,
                () = sleep_until(count_at.unwrap_or(wake_at)), if count_at.is_some() => Some(self.count()),
                () = sleep_until(measure_at.unwrap_or(wake_at)), if measure_at.is_some() => {
                    self.measure();
                    None
                }
            };
            let Some(input) = input else {
                continue;
            };
            let phase = self.service.phase();
            self.step(input).await?;
            if self.service.phase() != phase {
                // The first sample of a phase at once: until there is one, nothing is known of it.
                edge_tick = tokio::time::interval(self.edge_interval());
                edge_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
        }
    }

    fn instant(&self, at: Option<Time>) -> Instant {
        let clock = &self.seat.setup.clock;
        at.map_or_else(Instant::now, |at| clock.instant(at))
    }

    fn samples_edge(&self) -> bool {
        let phase = self.service.phase();
        self.service.takes_requests() || matches!(phase, Phase::Diverting | Phase::Draining)
    }

    fn edge_interval(&self) -> Duration {
        match self.service.phase() {
            Phase::Diverting | Phase::Draining => EDGE_SAMPLE_LEAVING,
            // Often enough that the idle timeout means what it says.
            _ => EDGE_SAMPLE
                .min(Duration::from(self.seat.setup.policy.idle_timeout) / 4)
                .max(Duration::from_millis(50)),
        }
    }

    /// The use through all rooms, as far as it is known.
    fn sample(&mut self) -> Input {
        let own = self.seat.face.sample();
        match self.heart.sum(own) {
            Some(sum) => Input::Seen(sum),
            None => Input::SignalLost(Source::Edge),
        }
    }

    fn triggered(&mut self, Admitted { trigger, wake }: Admitted) -> Option<Input> {
        if wake > 0 && self.announced == Some(wake) {
            // The same wake has come by the store before.
            self.announced = None;
            return None;
        }
        self.heard = self.heard.max(wake);
        Some(Input::Triggered(trigger))
    }

    /// A wake that the store admitted, through whichever room.
    fn wanted(&mut self, wanted: Wanted) -> Option<Input> {
        let Wanted {
            number,
            trigger,
            heard,
        } = wanted;
        if number <= self.heard {
            return None;
        }
        self.heard = number;
        self.announced = Some(number);
        Some(match heard {
            true => Input::StillWanted(trigger),
            false => Input::Triggered(trigger),
        })
    }

    fn hear(&mut self, news: News) -> Option<Input> {
        match news {
            News::Wanted(number, trigger) => self.wanted(Wanted {
                number,
                trigger,
                heard: false,
            }),
            News::Written => {
                self.heart.hurry();
                None
            }
            // Another room says that it leads: whether this one does still, the store knows.
            News::Changed(envelope) if envelope.mark.epoch > self.heart.epoch() => {
                self.heart.hurry();
                None
            }
            News::Changed(_) | News::Free => None,
        }
    }

    fn command(&mut self, command: Command) -> Input {
        match command {
            Command::Wake { who } => Input::Triggered(Trigger {
                by: TriggerBy::Admin,
                who,
                path: String::new(),
            }),
            Command::Sleep { who } => Input::SleepAsked { who },
            Command::Hold { length, reason } => {
                let length = Span::from(length);
                self.heart.wish(HoldWish::Keep {
                    reason: reason.clone(),
                    length,
                });
                Input::Held {
                    until: self.seat.setup.clock.now() + length,
                    reason,
                }
            }
            Command::Release => {
                self.heart.wish(HoldWish::Drop);
                Input::Released
            }
            Command::Suspect(which) => Input::Suspected(which),
            Command::Alert(alert) => Input::Alerted(alert),
        }
    }

    async fn step(&mut self, input: Input) -> Result<(), End> {
        if matches!(input, Input::Alerted(_)) {
            self.measure_soon();
        }
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let now = self.seat.setup.clock.now();
            let mut effects = Vec::new();
            self.service.step(now, input, &mut effects);
            self.show();
            self.note(now, &effects);
            for effect in effects {
                match effect {
                    Effect::Record {
                        op,
                        record,
                        required,
                    } => {
                        let agreed = self.all_agree(&record, required);
                        let written = agreed && self.save(Some(record)).await?;
                        // Who was held up since may act for a service that another room leads.
                        let written = written && self.heart.holds_the_lease();
                        if required && !written {
                            next = Some(Input::NotRecorded(op));
                            break;
                        }
                    }
                    Effect::Tell(event) => {
                        self.seat.face.story.tell(&event);
                        if matches!(event, Event::Woken { .. }) {
                            self.woke();
                        }
                    }
                    effect => self.act(effect),
                }
            }
        }
        self.write_entries().await
    }

    /// Lets everybody see the service as it is now, in this room first.
    fn show(&mut self) {
        if self.is_learning() {
            return;
        }
        let view = self.service.view();
        if self.seat.face.last() != Some(&view) {
            self.heart.look(&view);
        }
        self.seat.face.show(view);
    }

    /// Whether this leader only begins to learn what the last one knew, and said.
    fn is_learning(&self) -> bool {
        let learning = self.service.phase() == Phase::Learning;
        learning && self.seat.envelope.is_some() && self.began.elapsed() < LEARNING_HIDDEN
    }

    /// Writes the record (or the one that is still unwritten); says whether it is written.
    async fn save(&mut self, record: Option<Box<Record>>) -> Result<bool, End> {
        let Some(record) = record.or_else(|| self.unsaved.take()) else {
            return Ok(true);
        };
        self.seat.memory = Some(record.clone());
        let Some(epoch) = self.epoch else {
            return Ok(false);
        };
        let save = self.seat.setup.store.save(
            &self.seat.setup.name,
            epoch,
            &record,
            &self.entries,
            self.heard,
        );
        let failure = match timeout(STORE_TIMEOUT, save).await {
            Ok(Ok(())) => {
                self.entries.clear();
                self.unsaved = None;
                self.save_at = None;
                self.saves += 1;
                self.past_at = self.past_at.map(|_| Instant::now());
                return Ok(true);
            }
            Ok(Err(StoreError::Stale { .. })) => return Err(End::Disowned),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {STORE_TIMEOUT:?}"),
        };
        if self.save_at.is_none() {
            tracing::error!(service = %self.seat.setup.name, error = failure, "the record is not written; trying on");
        }
        self.unsaved = Some(record);
        self.save_at = Some(Instant::now() + STORE_AGAIN);
        Ok(false)
    }

    async fn done(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Input(input) => self.step(input).await,
            Done::Looked(op, looked) => {
                self.heart.looked(op, looked);
                self.agree().await
            }
            Done::Diverted(op, proven) => {
                self.heart.diverted(op, proven);
                self.agree().await
            }
            Done::Asked => self.agree().await,
            Done::Measured(measured) => {
                let input = self.measured(measured);
                self.step(input).await
            }
            Done::Past(past) => {
                if let Ok(past) = past {
                    self.heart.asked_by(among::last_asker(&past));
                }
                Ok(())
            }
            Done::Beaten(beaten) => match *beaten {
                Ok(heartbeat) => self.beaten(heartbeat).await,
                Err(StoreError::Stale { .. }) => Err(End::Disowned),
                Err(error) => {
                    tracing::debug!(service = %self.seat.setup.name, %error, "the store does not hear the leader");
                    self.heart.unanswered();
                    self.agree().await
                }
            },
            Done::Followed(Ok(_)) => Err(End::Back),
            Done::Followed(Err(_)) => {
                self.heart.unanswered();
                Ok(())
            }
            Done::HandedOver(Ok(())) => Err(End::HandedOver),
            Done::HandedOver(Err(StoreError::Stale { .. })) => Err(End::Disowned),
            Done::HandedOver(Err(_)) => {
                self.heart.unanswered();
                Ok(())
            }
            Done::Told => Ok(()),
        }
    }
}
