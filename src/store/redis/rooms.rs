//! Leading and following: one script each, on the keys of one service.

use std::time::Duration;

use redis::{Value, cmd};
use tokio::sync::mpsc;

use super::link::Ask;
use super::{RedisStore, json, parsed};
use crate::engine::id::{Epoch, ServiceName};
use crate::engine::rooms::{Heard, Report};
use crate::engine::time::Span;
use crate::store::shared::{
    BEAT, Beat, COMMANDS_MAX, Followed, Heartbeat, HoldKey, HoldWish, LEASE, News, Shared, Sign,
    Wanted,
};
use crate::store::{Answer, Claim, StoreError};

/// What a leader says of a service outlives it for so long.
const SAID_KEPT: Duration = Duration::from_secs(60);

/// Commands that rooms write end after so long, where nobody takes them.
const COMMANDS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A hold of no reason has this one.
const NO_REASON: &str = "the key is there";

/// The answer of `beat.lua`.
type Beaten = (
    String,
    String,
    String,
    String,
    String,
    String,
    Vec<String>,
    Vec<String>,
    Vec<String>,
    String,
);

impl RedisStore {
    /// Takes a service; with `free`, only if nobody leads it.
    pub(super) async fn take(
        &self,
        service: &ServiceName,
        owner: &str,
        free: &str,
    ) -> Result<Option<Claim>, StoreError> {
        let keys = self.keys(service, ["state", "lease"]);
        let call = self.scripts.claim.call(&keys);
        let call = call.arg(self.token.as_str()).arg(json(&owner));
        let call = call.arg(LEASE.as_millis().to_string()).arg(free);
        let answer = self.run(service, &call).await?;
        let answer: Vec<_> = answer.iter().map(String::as_str).collect();
        match answer[..] {
            ["claimed", epoch, record] => Ok(Some(Claim {
                epoch: Epoch(self.read(service, "state", epoch)?),
                record: self.read(service, "state", record)?,
            })),
            ["led"] => Ok(None),
            _ => Err(self.corrupt(service, "state", "it begins with no epoch")),
        }
    }

    async fn say(&self, service: &ServiceName, beat: &Beat) -> Result<Heartbeat, StoreError> {
        let names = [
            "state", "lease", "status", "view", "rooms", "hold", "command", "wake", "wanted",
            "news",
        ];
        let name = format!("{}-{}", self.token, self.next_call());
        let call = self.scripts.beat.call(&self.keys(service, names));
        let call = call.arg(beat.epoch.to_string()).arg(self.token.as_str());
        let call = call
            .arg(json(&beat.owner))
            .arg(LEASE.as_millis().to_string());
        let envelope = beat.envelope.as_ref().map(json).unwrap_or_default();
        let call = call.arg(envelope).arg(SAID_KEPT.as_millis().to_string());
        let call = call.arg(report_at(&beat.at, &beat.report));
        let (hold, length, reason) = match &beat.hold {
            Some(HoldWish::Keep { reason, length }) => ("keep", *length, reason.as_str()),
            Some(HoldWish::Drop) => ("drop", Span::ZERO, ""),
            None => ("", Span::ZERO, ""),
        };
        let call = call.arg(hold).arg(length.0.to_string()).arg(reason);
        let (done, count) = beat
            .done
            .as_ref()
            .map_or(("", 0), |(name, count)| (name, *count));
        let call = call.arg(done).arg(count.to_string());
        let call = call.arg(COMMANDS_MAX.to_string());
        let mut call = call.arg(beat.forgotten.len().to_string());
        for room in &beat.forgotten {
            call = call.arg(room.as_str());
        }
        for (field, value) in &beat.status {
            call = call.arg(*field).arg(value.as_str());
        }
        let answer = self.link.ask(service.as_str(), Ask::Script(&call)).await?;
        self.heartbeat(service, beat.epoch, name, answer)
    }

    fn heartbeat(
        &self,
        service: &ServiceName,
        epoch: Epoch,
        name: String,
        answer: Value,
    ) -> Result<Heartbeat, StoreError> {
        let parts = match &answer {
            Value::Array(parts) => parts.len(),
            _ => 0,
        };
        match parts {
            10 => {}
            _ => {
                let answer: Vec<String> = parsed(answer)?;
                let said = self.said("beat", service, epoch, &answer);
                return said.map(|()| Heartbeat::default());
            }
        }
        let (_, left, hold, number, wanted, told, commands, rooms, mut bad, again): Beaten =
            parsed(answer)?;
        let trigger = (!wanted.is_empty()).then(|| serde_json::from_str(&wanted));
        let wanted = match trigger {
            Some(Ok(trigger)) => {
                let number = number.parse().unwrap_or_default();
                let told: u64 = told.parse().unwrap_or_default();
                Some(Wanted {
                    number,
                    trigger,
                    heard: number <= told,
                })
            }
            Some(Err(error)) => {
                let [key] = self.keys(service, ["wanted"]);
                bad.push(format!("{key} can't be read: {error}; delete it"));
                None
            }
            None => None,
        };
        let mut heard = Vec::new();
        for room in rooms.chunks_exact(3) {
            let age = Span(room[1].parse().unwrap_or(u64::MAX));
            // What can't be read may come from a later version: then nothing is known of what is inside there.
            let report = serde_json::from_str::<Report>(&room[2]);
            heard.push(Heard {
                room: room[0].clone(),
                age: if report.is_ok() {
                    age
                } else {
                    age.max(Span::mins(1))
                },
                report: report.unwrap_or_default(),
            });
        }
        Ok(Heartbeat {
            hold: (!left.is_empty()).then(|| HoldKey {
                reason: if hold.trim().is_empty() {
                    NO_REASON.into()
                } else {
                    hold
                },
                left: left.parse().ok().map(Span),
            }),
            commands,
            name,
            wanted,
            rooms: heard,
            bad,
            again: !again.is_empty(),
        })
    }

    async fn followed(
        &self,
        service: &ServiceName,
        Sign {
            at,
            instead,
            report,
        }: Sign<'_>,
    ) -> Result<Followed, StoreError> {
        let keys = self.keys(service, ["lease", "view", "rooms"]);
        let call = self.scripts.follow.call(&keys);
        let call = call.arg(self.token.as_str()).arg(report_at(at, &report));
        let call = call.arg(if instead { at } else { "" });
        let answer = self.run(service, &call).await?;
        let [lease, envelope] = &answer[..] else {
            return Err(StoreError::Unavailable(
                "Redis: no answer to a follower".into(),
            ));
        };
        let mine = format!("{{\"for\":\"{}\"}}", self.token);
        Ok(Followed {
            // A later version may say more than we can read; then the last word that we could read stands.
            envelope: serde_json::from_str(envelope).ok(),
            led: !lease.is_empty() && *lease != mine,
        })
    }

    /// Writes something for the leader, and lets it know.
    async fn write(&self, service: &ServiceName, command: &redis::Cmd) -> Result<(), StoreError> {
        self.link
            .ask(service.as_str(), Ask::Command(command))
            .await?;
        let mut publish = cmd("PUBLISH");
        publish.arg(&self.keys(service, ["news"])).arg("written");
        // The leader reads it with its next beat at the latest.
        let _ = self
            .link
            .ask(service.as_str(), Ask::Command(&publish))
            .await;
        Ok(())
    }
}

/// A report with the place that the room listens at, by which its next life finds it.
fn report_at(at: &str, report: &Report) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct At<'a> {
        at: &'a str,
        #[serde(flatten)]
        report: &'a Report,
    }
    json(&At { at, report })
}

impl Shared for RedisStore {
    fn room(&self) -> &str {
        &self.token
    }

    fn claim_free<'a>(
        &'a self,
        service: &'a ServiceName,
        owner: &'a str,
    ) -> Answer<'a, Option<Claim>> {
        Box::pin(self.take(service, owner, "free"))
    }

    fn beat<'a>(&'a self, service: &'a ServiceName, beat: Beat) -> Answer<'a, Heartbeat> {
        Box::pin(async move { self.say(service, &beat).await })
    }

    fn follow<'a>(&'a self, service: &'a ServiceName, sign: Sign<'a>) -> Answer<'a, Followed> {
        Box::pin(self.followed(service, sign))
    }

    fn hand_over<'a>(
        &'a self,
        service: &'a ServiceName,
        epoch: Epoch,
        to: Option<&'a str>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let keys = self.keys(service, ["state", "lease", "news"]);
            let call = self.scripts.hand_over.call(&keys);
            let call = call.arg(epoch.to_string()).arg(self.token.as_str());
            let call = call.arg(to.unwrap_or_default());
            let call = call.arg((3 * BEAT).as_millis().to_string());
            self.done("over", service, epoch, call).await
        })
    }

    fn goodbye<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut ask = cmd("HDEL");
            ask.arg(&self.keys(service, ["rooms"])).arg(&self.token);
            self.link.ask(service.as_str(), Ask::Command(&ask)).await?;
            Ok(())
        })
    }

    fn tell<'a>(&'a self, service: &'a ServiceName, command: String) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = self.keys(service, ["command"]);
            self.write(service, cmd("RPUSH").arg(&key).arg(command))
                .await?;
            // It may name a client. A room that leads takes it within a second.
            let kept = COMMANDS_KEPT.as_millis().to_string();
            let mut ask = cmd("PEXPIRE");
            ask.arg(&key).arg(kept);
            // The command is there: a failure of this must not bring it twice.
            let _ = self.link.ask(service.as_str(), Ask::Command(&ask)).await;
            Ok(())
        })
    }

    fn hold<'a>(&'a self, service: &'a ServiceName, wish: HoldWish) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = self.keys(service, ["hold"]);
            let ask = match wish {
                HoldWish::Keep { reason, length } => {
                    let mut ask = cmd("SET");
                    ask.arg(&key).arg(reason).arg("PX").arg(length.0.max(1));
                    ask
                }
                HoldWish::Drop => {
                    let mut ask = cmd("DEL");
                    ask.arg(&key);
                    ask
                }
            };
            self.write(service, &ask).await
        })
    }

    fn news(&self, service: &ServiceName) -> mpsc::Receiver<News> {
        self.news.of(service)
    }
}
