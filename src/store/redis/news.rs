//! What rooms tell each other at once: one subscription for the whole store, and one short queue for each service.
//!
//! Published messages may be lost, while the connection is made anew above all. Whoever listens asks again with its
//! next beat, so a loss costs a moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use redis::Msg;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::settings::Settings;
use super::wire;
use crate::engine::backoff::Backoff;
use crate::engine::id::ServiceName;
use crate::engine::time::Span;
use crate::store::shared::News;

/// News of one service that may wait. Those of its view replace each other in meaning, so a few are enough.
const WAITING_MAX: usize = 64;

/// How long a new subscription may take.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two tries to subscribe.
const SUBSCRIBE_AGAIN: Backoff = Backoff {
    first: Span(50),
    max: Span(1_000),
};

type Listeners = Arc<Mutex<BTreeMap<ServiceName, mpsc::Sender<News>>>>;

/// The subscription. It begins with the first that listens and ends with this value.
pub(super) struct Subscription {
    settings: Settings,
    seed: u64,
    listeners: Listeners,
    task: OnceLock<Task>,
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Subscription {
    pub(super) fn new(settings: Settings, seed: u64) -> Subscription {
        Subscription {
            settings,
            seed,
            listeners: Listeners::default(),
            task: OnceLock::new(),
        }
    }

    /// The news of a service, for whoever asked last.
    pub(super) fn of(&self, service: &ServiceName) -> mpsc::Receiver<News> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.insert(service.clone(), sender);
        drop(listeners);
        self.task.get_or_init(|| {
            let listening = listen(
                self.settings.clone(),
                self.seed,
                Arc::clone(&self.listeners),
            );
            Task(tokio::spawn(listening).abort_handle())
        });
        receiver
    }
}

/// Listens, and listens again whenever the connection is lost. Never ends by itself.
async fn listen(settings: Settings, seed: u64, listeners: Listeners) {
    let mut failures = 0;
    loop {
        let subscribed = timeout(SUBSCRIBE_TIMEOUT, wire::published(&settings)).await;
        match subscribed {
            Ok(Ok(mut messages)) => {
                failures = 0;
                while let Some(message) = messages.next().await {
                    bring(&settings.prefix, &message, &listeners);
                }
                tracing::debug!("the subscription is lost; subscribing again");
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "can't subscribe; trying on");
            }
            Err(_) => tracing::debug!("can't subscribe in time; trying on"),
        }
        failures += 1;
        sleep(SUBSCRIBE_AGAIN.wait(failures, seed).into()).await;
    }
}

fn bring(prefix: &str, message: &Msg, listeners: &Listeners) {
    let Some(service) = service_of(prefix, message.get_channel_name()) else {
        return;
    };
    let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(listener) = listeners.get(&service) else {
        return;
    };
    if listener.is_closed() {
        listeners.remove(&service);
        return;
    }
    if let Some(news) = read(message.get_payload_bytes()) {
        // Full: the next beat says it again.
        let _ = listener.try_send(news);
    }
}

/// The service of a channel `P:{S}:news`.
fn service_of(prefix: &str, channel: &str) -> Option<ServiceName> {
    let service = channel.strip_prefix(prefix)?.strip_prefix(":{")?;
    service.strip_suffix("}:news")?.parse().ok()
}

fn read(payload: &[u8]) -> Option<News> {
    let text = std::str::from_utf8(payload).ok()?;
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "changed" => serde_json::from_str(rest).ok().map(News::Changed),
        "wanted" => {
            let (number, trigger) = rest.split_once(' ')?;
            let trigger = serde_json::from_str(trigger).ok()?;
            Some(News::Wanted(number.parse().ok()?, trigger))
        }
        "written" => Some(News::Written),
        "free" => Some(News::Free),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_names_its_service() {
        let name = |channel| service_of("any.room", channel).map(|name| name.to_string());
        assert_eq!(name("any.room:{blog}:news").as_deref(), Some("blog"));
        for other in [
            "any.room:{blog}:view",
            "any.room:{Blog!}:news",
            "any:{blog}:news",
            "blog",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }

    #[test]
    fn a_word_that_is_not_known_is_no_news() {
        assert!(matches!(read(b"written"), Some(News::Written)));
        let wanted = br#"wanted 7 {"by":"page","who":"203.0.113.0/24","path":"/"}"#;
        let Some(News::Wanted(7, trigger)) = read(wanted) else {
            panic!("a wake is wanted");
        };
        assert_eq!(trigger.who, "203.0.113.0/24");
        for bad in [
            &b""[..],
            b"tomorrow",
            b"wanted x {}",
            b"changed {}",
            b"\xff",
        ] {
            assert!(read(bad).is_none(), "{bad:?}");
        }
    }
}
