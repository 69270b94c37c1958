//! What people are told: one line and one counter for every change of a service, in words that read well alone.

use crate::engine::contract::{Event, SleepWhy, Stage};
use crate::engine::fleet;
use crate::engine::id::{CloneId, ServiceName};
use crate::engine::traffic::words;
use crate::engine::view::{CloneStep, View};
use crate::telemetry::{Metrics, metrics};

/// Tells the story of one service.
#[derive(Debug)]
pub struct Story {
    service: ServiceName,
    metrics: &'static Metrics,
}

/// Wakes and stops, and what decided them, belong in the lasting record; the steps between are in the log.
#[must_use]
pub fn belongs_in_ledger(event: &Event) -> bool {
    match event {
        Event::WakeBegan(_)
        | Event::Woken { .. }
        | Event::WakeFailed { .. }
        | Event::Adopted
        | Event::WentIdle { .. }
        | Event::StopCancelled { .. }
        | Event::Slept { .. }
        | Event::Vanished { .. }
        | Event::HoldBegan { .. }
        | Event::HoldEnded
        | Event::Scaled { .. }
        | Event::ScaleHindered { .. }
        | Event::Clone { .. } => true,
        Event::StageReached { .. }
        | Event::DivertProven
        | Event::StopBegan
        | Event::HealthChanged { .. }
        | Event::Blind { .. }
        | Event::Retrying { .. }
        | Event::PublishFailed { .. } => false,
    }
}

impl Story {
    /// The story of this service.
    #[must_use]
    pub fn new(service: ServiceName) -> Story {
        Story {
            service,
            metrics: metrics(),
        }
    }

    /// Keeps the gauges at what the view says.
    pub fn seen(&self, view: &View) {
        self.metrics.phase(&self.service, view.phase);
        self.metrics.blind(&self.service, !view.blind.is_empty());
        let at = |step| view.clones.iter().filter(|it| it.step == step).count();
        self.metrics.instances(
            &self.service,
            [
                ("serving", view.upstreams.len()),
                ("making", at(CloneStep::Making)),
                ("starting", at(CloneStep::Starting)),
                ("leaving", at(CloneStep::Leaving)),
            ],
            view.scale
                .as_ref()
                .map_or(view.upstreams.len(), |scale| scale.wanted.into()),
        );
    }

    /// Tells one event.
    pub fn tell(&self, event: &Event) {
        self.count(event);
        let service = self.service.as_str();
        match event {
            Event::WakeBegan(trigger) => {
                let (by, client) = (trigger.by.as_str(), trigger.who.as_str());
                tracing::info!(service, by, client, path = trigger.path, "waking");
            }
            Event::StageReached { stage, after } => {
                tracing::info!(service, after = %after, "{}", stage_words(*stage));
            }
            Event::Woken { took } => tracing::info!(service, "ready in {took}"),
            Event::WakeFailed { why, retry_at: _ } => {
                tracing::error!(service, why, "the wake failed")
            }
            Event::Adopted => {
                tracing::info!(service, "the machine is running already: taking it over")
            }
            Event::WentIdle {
                idle,
                why: SleepWhy::Admin,
                who,
                ..
            } => {
                let by = who.as_deref().unwrap_or("admin");
                tracing::info!(service, by, idle = %idle, "an admin asks for sleep: leading visitors to the room");
            }
            Event::WentIdle { idle, sources, .. } => {
                let seen_by = words(sources);
                tracing::info!(
                    service,
                    seen_by,
                    "idle for {idle}: leading visitors to the room"
                );
            }
            Event::DivertProven => tracing::info!(service, "visitors reach the room: draining"),
            Event::StopCancelled { why } => tracing::info!(service, why, "staying awake"),
            Event::StopBegan => tracing::info!(service, "stopping the machine"),
            Event::Slept { awake, why: _ } => {
                tracing::info!(service, "asleep, after {awake} awake")
            }
            Event::Vanished { what } => tracing::warn!(service, what, "the machine went away"),
            Event::HealthChanged { healthy: true, .. } => {
                tracing::info!(service, "the app answers again")
            }
            Event::HealthChanged {
                healthy: false,
                what,
            } => {
                tracing::warn!(service, what, "the app does not answer");
            }
            Event::Blind { source } => {
                tracing::warn!(
                    service,
                    ?source,
                    "no fresh sample: nothing is put to sleep until there is one"
                );
            }
            Event::Retrying { what, .. } => tracing::warn!(service, what, "trying again"),
            Event::PublishFailed { why } => {
                tracing::error!(service, why, "the routing is not in force; trying again");
            }
            Event::HoldBegan { reason, .. } => tracing::info!(service, reason, "held awake"),
            Event::HoldEnded => tracing::info!(service, "the hold is over"),
            Event::Scaled { have, wanted, why } => {
                tracing::info!(
                    service,
                    have,
                    wanted,
                    why,
                    "another number of instances is wanted"
                );
            }
            Event::ScaleHindered { why } => tracing::warn!(service, why, "scaling is hindered"),
            Event::Clone { which, story } => tell_of_clone(service, *which, story),
        }
    }

    fn count(&self, event: &Event) {
        let (metrics, service) = (self.metrics, &self.service);
        match event {
            Event::WakeBegan(trigger) => metrics.wake_began(service, trigger.by.as_str()),
            Event::StageReached { stage, after } => {
                metrics.stage(service, stage_label(*stage), *after)
            }
            Event::Woken { took } => metrics.woken(service, *took),
            Event::WakeFailed { .. } => metrics.wake_failed(service),
            Event::Slept { why, awake } => metrics.slept(service, sleep_label(*why), *awake),
            Event::StopCancelled { .. } => metrics.stop_cancelled(service),
            Event::Retrying { .. } => metrics.retried(service),
            Event::PublishFailed { .. } => metrics.publish_failed(service),
            Event::Vanished { .. } => metrics.vanished(service),
            Event::Scaled { have, wanted, .. } => metrics.scaled(service, wanted > have),
            Event::ScaleHindered { .. } => metrics.scale_hindered(service),
            Event::Clone { story, .. } => metrics.cloned(service, step_label(story)),
            Event::Adopted
            | Event::WentIdle { .. }
            | Event::DivertProven
            | Event::StopBegan
            | Event::HealthChanged { .. }
            | Event::Blind { .. }
            | Event::HoldBegan { .. }
            | Event::HoldEnded => {}
        }
    }
}

fn tell_of_clone(service: &str, clone: CloneId, story: &fleet::Story) {
    use fleet::Story as S;
    match story {
        S::Begun => tracing::info!(service, %clone, "making a clone"),
        S::Made => tracing::info!(service, %clone, "the clone is made"),
        S::Adopted => {
            tracing::warn!(service, %clone, "a clone of ours was found that nobody had written down");
        }
        S::NotMade { why } => tracing::error!(service, %clone, why, "the clone was not made"),
        S::Serving => tracing::info!(service, %clone, "the clone serves"),
        S::Ailing { why } => {
            tracing::warn!(service, %clone, why, "the clone is out of service until its app answers");
        }
        S::GivenUp { why } => tracing::error!(service, %clone, why, "the clone is given up"),
        S::Leaving => {
            tracing::info!(service, %clone, "the clone is out of service; what runs there ends")
        }
        S::BackAgain => tracing::info!(service, %clone, "the clone is wanted again"),
        S::Removing => tracing::info!(service, %clone, "removing the clone"),
        S::Gone => tracing::info!(service, %clone, "the clone is gone, and so are its addresses"),
    }
}

fn step_label(story: &fleet::Story) -> &'static str {
    use fleet::Story as S;
    match story {
        S::Begun => "begun",
        S::Made => "made",
        S::Adopted => "adopted",
        S::NotMade { .. } => "not_made",
        S::Serving => "serving",
        S::Ailing { .. } => "ailing",
        S::GivenUp { .. } => "given_up",
        S::Leaving => "leaving",
        S::BackAgain => "back_again",
        S::Removing => "removing",
        S::Gone => "gone",
    }
}

fn stage_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Asked => "the wake is accepted",
        Stage::MachineStarting => "the machine is starting",
        Stage::MachineUp => "the machine is up",
        Stage::AppAnswering => "the app answers",
    }
}

fn stage_label(stage: Stage) -> &'static str {
    match stage {
        Stage::Asked => "asked",
        Stage::MachineStarting => "machine_starting",
        Stage::MachineUp => "machine_up",
        Stage::AppAnswering => "app_answering",
    }
}

fn sleep_label(why: SleepWhy) -> &'static str {
    match why {
        SleepWhy::Idle => "idle",
        SleepWhy::Admin => "admin",
        SleepWhy::GivenUp => "given_up",
    }
}
