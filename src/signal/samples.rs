//! What a source says to a service's task, kept until the task takes it.
//!
//! What waits is merged, never dropped: a task that is slow, or one that looks for itself before a stop, gets
//! everything that was said since it last took something. So use that was seen can't be overtaken or lost.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::engine::contract::{Activity, Input, Source};

/// The samples of one source for one task. Cheap to clone; one task receives.
#[derive(Clone, Debug)]
pub struct Samples {
    source: Source,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    merged: Mutex<Merged>,
    news: Notify,
}

/// A loss comes first, for what was said before it is worth nothing; `used` was said after it.
#[derive(Clone, Copy, Debug, Default)]
struct Merged {
    lost: bool,
    used: Option<bool>,
}

impl Samples {
    /// Nothing said yet.
    #[must_use]
    pub fn new(source: Source) -> Samples {
        Samples {
            source,
            waiting: Arc::default(),
        }
    }

    /// The source was read: whether the service was used since it was read before.
    pub fn heard(&self, used: bool) {
        self.change(|merged| merged.used = Some(used || merged.used == Some(true)));
    }

    /// The source failed, or can't compare with what it said before.
    pub fn lost(&self) {
        self.change(|merged| {
            *merged = Merged {
                lost: true,
                used: None,
            };
        });
    }

    /// Waits for the next input. Nothing is lost when the future is dropped.
    pub async fn recv(&self) -> Input {
        loop {
            if let Some(input) = self.take() {
                return input;
            }
            self.waiting.news.notified().await;
        }
    }

    fn take(&self) -> Option<Input> {
        let mut merged = self.merged();
        if std::mem::take(&mut merged.lost) {
            return Some(Input::SignalLost(self.source));
        }
        let used = merged.used.take()?;
        Some(Input::Seen(self.activity(used)))
    }

    /// Everything that was said since the task last took something, as one sample: quiet when nothing was. None when
    /// the source was lost since; the task still hears of that.
    #[must_use]
    pub fn take_heard(&self) -> Option<Activity> {
        let mut merged = self.merged();
        (!merged.lost).then(|| self.activity(merged.used.take() == Some(true)))
    }

    fn activity(&self, used: bool) -> Activity {
        Activity {
            used,
            ..Activity::quiet(self.source)
        }
    }

    fn change(&self, change: impl FnOnce(&mut Merged)) {
        change(&mut self.merged());
        self.waiting.news.notify_one();
    }

    fn merged(&self) -> std::sync::MutexGuard<'_, Merged> {
        // Every change is whole in itself.
        let lock = self.waiting.merged.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn samples() -> Samples {
        Samples::new(Source::Traefik)
    }

    fn seen(used: bool) -> Input {
        Input::Seen(samples().activity(used))
    }

    #[test]
    fn use_that_was_not_taken_yet_stays_when_the_next_sample_is_quiet() {
        let samples = samples();
        samples.heard(true);
        samples.heard(false);
        assert_eq!(samples.recv().now_or_never(), Some(seen(true)));
        assert_eq!(samples.recv().now_or_never(), None);
    }

    #[test]
    fn a_loss_is_told_before_what_was_said_after_it() {
        let samples = samples();
        samples.heard(true);
        samples.lost();
        samples.heard(false);
        assert_eq!(samples.take_heard(), None, "nobody looks past a loss");
        let lost = Input::SignalLost(Source::Traefik);
        assert_eq!(samples.recv().now_or_never(), Some(lost));
        assert_eq!(samples.recv().now_or_never(), Some(seen(false)));
    }

    #[test]
    fn who_looks_gets_what_waits() {
        let samples = samples();
        samples.heard(true);
        samples.heard(false);
        assert!(samples.take_heard().is_some_and(|activity| activity.used));
        assert!(samples.take_heard().is_some_and(|activity| !activity.used));
        assert_eq!(samples.recv().now_or_never(), None);
    }

    #[test]
    fn a_task_that_waits_already_is_woken() {
        let samples = samples();
        let mut receiving = std::pin::pin!(samples.recv());
        assert_eq!(receiving.as_mut().now_or_never(), None);
        samples.heard(false);
        assert_eq!(receiving.now_or_never(), Some(seen(false)));
    }
}
