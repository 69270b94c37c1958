//! Carrying out effects: beside the task, so that it hears of visitors while a cloud takes its time. The answer
//! comes back as an input.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Done, Lead};
use crate::engine::contract::{Effect, Input};
use crate::engine::fleet::{Deed, Heard};
use crate::engine::id::{InstanceId, OpId, Token};
use crate::engine::machine::{ErrorClass, Trouble};
use crate::engine::policy::Sleep;
use crate::engine::record::Base;
use crate::provider::{self, mark::token};

/// A publish takes as long as Traefik needs to take it up and to say so.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

impl Lead<'_> {
    pub(super) fn act(&mut self, effect: Effect) {
        let setup = &self.seat.setup;
        let (provider, way) = (Arc::clone(&setup.provider), Arc::clone(&setup.way));
        let limit = provider.call_timeout();
        match effect {
            // The loop does these itself.
            Effect::Record { .. } | Effect::Tell(_) => {}
            Effect::Inspect(op, instance) => {
                self.spawn(async move {
                    let call = provider.inspect(instance);
                    Input::Inspected(op, said(limit, "inspect", call).await)
                });
            }
            Effect::Start(op, instance) => {
                let token = self.token(op);
                self.spawn(async move {
                    let call = provider.start(instance, token);
                    Input::Started(op, said(limit, "start", call).await)
                });
            }
            Effect::Stop(op, instance, _) if !self.heart.holds_the_lease() => {
                let why = "another room may lead the service by now; nothing was stopped";
                let trouble = Trouble::new(ErrorClass::Transient, format!("{why} ({instance})"));
                self.spawn(async move { Input::Stopped(op, Err(trouble)) });
            }
            Effect::Stop(op, instance, sleep) => {
                let token = self.token(op);
                self.spawn(async move {
                    let (what, call) = match sleep {
                        Sleep::Stop | Sleep::Swap => ("stop", provider.stop(instance, token)),
                        Sleep::Suspend => ("suspend", provider.suspend(instance, token)),
                    };
                    Input::Stopped(op, said(limit, what, call).await)
                });
            }
            Effect::Fleet(op, deed) => self.fleet(op, deed),
            Effect::Probe(op, _, address) => {
                let prober = setup.prober.clone();
                self.spawn(async move { Input::Probed(op, prober.ask(address).await) });
            }
            Effect::Publish(op, routing) => {
                self.heart.route(routing.clone());
                self.spawn(async move {
                    let published = timeout(PUBLISH_TIMEOUT, way.publish(routing)).await;
                    Input::Published(op, published.unwrap_or_else(|_| Err("no answer".into())))
                });
            }
            Effect::ProveDivert(op) => {
                self.heart.divert(op);
                self.doing.spawn(async move {
                    let proven = timeout(PUBLISH_TIMEOUT, way.prove_divert()).await;
                    Done::Diverted(op, proven.unwrap_or_else(|_| Err("no answer".into())))
                });
            }
            Effect::LastLook(op) => {
                // The gate was closed before this effect: what the edge counts now is all there is.
                let own = self.seat.face.sample();
                self.heart.last_look(op, own);
                self.doing.spawn(async move {
                    let looked = timeout(PUBLISH_TIMEOUT, way.look()).await;
                    Done::Looked(op, looked.unwrap_or_else(|_| Err("no answer".into())))
                });
            }
        }
    }

    /// Tells the provider that the app of the seed answers. That it did not do what it does then is in the log; the next wake tells it
    /// again.
    pub(super) fn woke(&mut self) {
        if !self.heart.holds_the_lease() || self.service.base() == Base::Clones {
            return;
        }
        let setup = &self.seat.setup;
        let (provider, name) = (Arc::clone(&setup.provider), setup.name.clone());
        let limit = provider.call_timeout();
        self.doing.spawn(async move {
            let call = provider.woke(InstanceId::SEED);
            if let Err(trouble) = said(limit, "woke", call).await {
                tracing::warn!(service = %name, %trouble, "what a wake makes dispensable is not all given up; the next wake does that");
            }
            Done::Told
        });
    }

    /// What changes anything is done only while the lease lives: another room may be doing it by now.
    fn fleet(&mut self, op: OpId, deed: Deed) {
        if let Deed::Drain(clone) = deed {
            let own = self.seat.face.busy_at(InstanceId::Clone(clone));
            self.heart.drain(op, own);
            self.doing.spawn(std::future::ready(Done::Asked));
            return;
        }
        let setup = &self.seat.setup;
        let (provider, prober) = (Arc::clone(&setup.provider), setup.prober.clone());
        let (limit, token) = (provider.call_timeout(), self.token(op));
        let leads = self.heart.holds_the_lease();
        let stranger = || {
            let why = "another room may lead the service by now; nothing was changed";
            Trouble::new(ErrorClass::Transient, why)
        };
        self.spawn(async move {
            let heard = match deed {
                Deed::Find => Heard::Found(said(limit, "find", provider.find()).await),
                Deed::Addresses(clone) => {
                    Heard::Addresses(said(limit, "addresses", provider.addresses(clone)).await)
                }
                Deed::Look(clone) => {
                    let call = provider.inspect(InstanceId::Clone(clone));
                    Heard::Looked(said(limit, "inspect", call).await)
                }
                Deed::Start(_) if !leads => Heard::Looked(Err(stranger())),
                Deed::Start(clone) => {
                    let call = provider.start(InstanceId::Clone(clone), token);
                    Heard::Looked(said(limit, "start", call).await)
                }
                Deed::Probe(_, address) => Heard::Probed(prober.ask(address).await),
                // All rooms are asked, above.
                Deed::Drain(_) => Heard::Drained(Err("nobody was asked".into())),
                Deed::Make(_) if !leads => Heard::Made(Err(stranger())),
                Deed::Release(..) if !leads => Heard::Released(Err(stranger())),
                Deed::Delete(_) if !leads => Heard::Deleted(Err(stranger())),
                Deed::Make(clone) => {
                    let limit = limit + provider.clone_settles();
                    Heard::Made(said(limit, "make_clone", provider.make_clone(clone)).await)
                }
                Deed::Release(clone, addresses) => {
                    let call = provider.release(clone, &addresses);
                    Heard::Released(said(limit, "release", call).await)
                }
                Deed::Delete(clone) => {
                    Heard::Deleted(said(limit, "delete", provider.delete(clone)).await)
                }
            };
            Input::Fleet(op, heard)
        });
    }

    /// The token of an operation. Its id is in the record before the operation is carried out, and is never given out
    /// again on this record; the beginning of this leadership tells it from those on a record that was lost.
    fn token(&self, op: OpId) -> Token {
        let (name, op) = (self.seat.setup.name.as_str(), op.to_string());
        token(&[name, &self.began_at.0.to_string(), &op])
    }

    fn spawn(&mut self, doing: impl Future<Output = Input> + Send + 'static) {
        self.doing.spawn(async move { Done::Input(doing.await) });
    }
}

/// A provider's answer within its time. One that comes later is lost: what it did isn't known.
async fn said<T: fmt::Debug>(
    limit: Duration,
    what: &'static str,
    call: provider::Said<'_, T>,
) -> Result<T, Trouble> {
    let started = Instant::now();
    let said = timeout(limit, call).await.unwrap_or_else(|_| {
        Err(Trouble::new(
            ErrorClass::Ambiguous,
            format!("no answer to {what} within {limit:?}"),
        ))
    });
    let took_ms = started.elapsed().as_millis();
    match &said {
        Ok(said) => tracing::debug!(call = what, ?said, took_ms, "provider answered"),
        Err(trouble) => {
            tracing::debug!(call = what, %trouble, took_ms, "provider call did not succeed")
        }
    }
    said
}
