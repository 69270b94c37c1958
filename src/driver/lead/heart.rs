//! A leader's signs of life: what it has to say to the other rooms and to the store, and what it heard of them.

use std::time::Duration;

use tokio::time::Instant;

use super::agree::Question;
use super::status;
use crate::driver::seat::Setup;
use crate::engine::contract::{Activity, Input, Routing};
use crate::engine::id::{Epoch, OpId, ServiceName};
use crate::engine::record::Hold;
use crate::engine::rooms::{Mark, Report, Rooms, SILENT_AFTER};
use crate::engine::time::{Span, Time};
use crate::engine::view::{Phase, View};
use crate::engine::wish;
use crate::store::shared::{BEAT, Beat, Envelope, Heartbeat, HoldKey, HoldWish, LEASE};

/// On the way to a stop a visitor in any room calls it off.
const BEAT_LEAVING: Duration = Duration::from_millis(100);

/// While all rooms are waited for.
const BEAT_ASKING: Duration = Duration::from_millis(25);

/// The heart of a leader. Where the store is of one room, it does not beat.
pub(super) struct Heart {
    shared: bool,
    epoch: Epoch,
    life: u64,
    rooms: Rooms,
    /// What was last said, or is to be said.
    envelope: Option<Envelope>,
    seq: u64,
    routing: Routing,
    /// The envelope since which the routing is as it is.
    routed: Mark,
    /// The envelope since which all gates are to be closed; none while one is to be open.
    closed: Option<Mark>,
    /// The last envelope that the store took.
    told: Mark,
    status: Vec<(&'static str, String)>,
    /// Who asked for the last wake, as the ledger had it when it was read last.
    asker: String,
    /// What was refused of the last commands, and of the keys as they are now.
    refused: [String; 2],
    wish: Option<HoldWish>,
    /// The key of the hold was seen or written, so its absence means something.
    hold_known: bool,
    done: Option<(String, usize)>,
    forgotten: Vec<String>,
    questions: Vec<Question>,
    sent: Option<Sent>,
    last: Instant,
    /// When the last sign of life was sent that was answered: from then on the lease lived.
    leased: Option<Instant>,
    hurry: bool,
    answered: Instant,
}

/// What a sign of life that is under way has said.
struct Sent {
    mark: Mark,
    status: Vec<(&'static str, String)>,
    wish: Option<HoldWish>,
}

/// What a sign of life brought.
#[derive(Default)]
pub(super) struct News {
    pub(super) inputs: Vec<Input>,
    pub(super) asked: bool,
    pub(super) lost: bool,
}

impl Heart {
    pub(super) fn new(
        shared: bool,
        epoch: Option<Epoch>,
        idle_timeout: Span,
        routing: Routing,
    ) -> Heart {
        Heart {
            shared,
            epoch: epoch.unwrap_or_default(),
            life: 0,
            rooms: Rooms::new(idle_timeout),
            envelope: None,
            seq: 0,
            routing,
            routed: Mark::default(),
            closed: None,
            told: Mark::default(),
            status: Vec::new(),
            asker: String::new(),
            refused: Default::default(),
            wish: None,
            hold_known: false,
            done: None,
            forgotten: Vec::new(),
            questions: Vec::new(),
            sent: None,
            last: Instant::now(),
            leased: None,
            hurry: true,
            answered: Instant::now(),
        }
    }

    /// A leadership begins now. The hold that the service begins with had a key.
    pub(super) fn begin(&mut self, now: Time, hold: Option<&Hold>) {
        self.life = now.0;
        self.hold_known = hold.is_some();
    }

    /// When the next sign of life is due; none while one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        let every = match self.questions.is_empty() {
            true => BEAT,
            false => BEAT_ASKING,
        };
        (self.shared && self.sent.is_none()).then(|| self.last + every)
    }

    pub(super) fn is_due(&self, phase: Phase) -> bool {
        let leaving = matches!(phase, Phase::Diverting | Phase::Draining);
        let now = Instant::now();
        let due = self.due().is_some_and(|due| due <= now);
        let often = leaving && now.duration_since(self.last) >= BEAT_LEAVING;
        self.shared && self.sent.is_none() && (self.hurry || due || often)
    }

    /// The next sign of life is due now.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// The view has changed.
    pub(super) fn look(&mut self, view: &View) {
        if !self.shared {
            return;
        }
        self.seq += 1;
        let mark = Mark {
            epoch: self.epoch,
            seq: self.seq,
            life: self.life,
        };
        let closes = view.upstreams.is_empty() && self.routing == Routing::Asleep;
        self.closed = closes.then(|| self.closed.unwrap_or(mark));
        self.envelope = Some(Envelope {
            mark,
            routing: self.routing.clone(),
            view: view.clone(),
        });
        self.hurry = true;
    }

    /// Whether every room has said that its gate is closed, and none is silent. A service that is given up is stopped
    /// without a last look, and a stop is asked for again long after one.
    pub(super) fn is_closed(&self) -> bool {
        let all = |mark| self.told >= mark && self.rooms.unseen(mark).is_none();
        let closed = self.closed.is_some_and(all) && self.rooms.silent().next().is_none();
        !self.shared || closed
    }

    /// Visitors are to be led by this from now on.
    pub(super) fn route(&mut self, routing: Routing) {
        if self.routing == routing {
            return;
        }
        self.routing = routing;
        if let Some(envelope) = self.envelope.take() {
            self.look(&envelope.view);
        }
        self.routed = self.mark();
    }

    pub(super) fn envelope(&self) -> Option<&Envelope> {
        self.envelope.as_ref()
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn mark(&self) -> Mark {
        let envelope = self.envelope.as_ref();
        envelope.map(|envelope| envelope.mark).unwrap_or_default()
    }

    /// Who asked for the last wake.
    pub(super) fn asked_by(&mut self, asker: String) {
        self.hurry |= self.asker != asker;
        self.asker = asker;
    }

    /// The hold was changed here: its key is to follow.
    pub(super) fn wish(&mut self, wish: HoldWish) {
        if self.shared {
            self.wish = Some(wish);
            self.hurry = true;
        }
    }

    /// The engine asks whether visitors are led away.
    pub(super) fn divert(&mut self, op: OpId) {
        self.questions.push(Question::divert(op, self.routed));
        self.hurry = true;
    }

    /// The engine asks who is inside; the gate of this room is closed.
    pub(super) fn last_look(&mut self, op: OpId, own: Activity) {
        self.questions.push(Question::look(op, self.mark(), own));
        self.hurry = true;
    }

    /// The engine asks whether nobody is led to a clone any more, and what is in flight there.
    pub(super) fn drain(&mut self, op: OpId, own: u32) {
        let question = Question::drain(op, self.mark(), self.routed, own);
        self.questions.push(question);
        self.hurry = true;
    }

    pub(super) fn looked(&mut self, op: OpId, looked: Result<Vec<Activity>, String>) {
        for question in &mut self.questions {
            question.looked(op, looked.clone());
        }
    }

    pub(super) fn diverted(&mut self, op: OpId, proven: Result<(), String>) {
        for question in &mut self.questions {
            question.diverted(op, proven.clone());
        }
    }

    /// The next answer to the engine that all rooms agree on.
    pub(super) fn agreed(&mut self) -> Option<Input> {
        let (rooms, told) = (&mut self.rooms, self.told);
        let answers = self.questions.iter().map(|it| it.answer(rooms, told));
        let (at, answer) = answers
            .enumerate()
            .find_map(|(at, answer)| Some((at, answer?)))?;
        self.questions.remove(at);
        Some(answer)
    }

    /// The use through all rooms, given that through this one; none where it is not known.
    pub(super) fn sum(&mut self, own: Activity) -> Option<Activity> {
        if self.shared && Span::from(self.answered.elapsed()) > SILENT_AFTER {
            return None;
        }
        self.rooms.sum(own)
    }

    /// Visitors that wait in all rooms, given those in this one.
    pub(super) fn waiting(&self, own: u32) -> u32 {
        self.rooms.waiting(own)
    }

    /// Whether the lease surely lives: a room that was held up, or that the store has not answered, may have a successor
    /// that it does not know of.
    pub(super) fn holds_the_lease(&self) -> bool {
        !self.shared || self.leased.is_some_and(|at| at.elapsed() < LEASE)
    }

    pub(super) fn successor(&self, service: &str, own: &str) -> Option<String> {
        let idle = self.sent.is_none() && self.wish.is_none() && self.done.is_none();
        let successor = self.rooms.successor(service, own).filter(|_| idle);
        successor.map(str::to_owned)
    }

    /// Something else than a sign of life is under way to the store.
    pub(super) fn ask(&mut self) {
        self.sent = Some(Sent {
            mark: self.told,
            status: self.status.clone(),
            wish: None,
        });
        self.last = Instant::now();
        self.hurry = false;
    }

    /// What is to be said now. It is under way from here on.
    pub(super) fn say(&mut self, view: &View, report: Report, setup: &Setup) -> Beat {
        if self.envelope.is_none() {
            self.look(view);
        }
        let mut status = status::fields(view, self.rooms.inside(&report), &self.asker);
        status.push(("refused", told(&self.refused)));
        let changed = status
            .iter()
            .filter(|field| !self.status.contains(field))
            .cloned();
        let (changed, mark, wish) = (changed.collect(), self.mark(), self.wish.take());
        // A server that lost it may hold an older one, to which a room went back: so it is told until all have come along.
        let due = |it: &Envelope| it.mark != self.told || self.rooms.unseen(it.mark).is_some();
        let envelope = self.envelope.clone().filter(due);
        self.sent = Some(Sent {
            mark,
            status,
            wish: wish.clone(),
        });
        self.last = Instant::now();
        self.hurry = false;
        Beat {
            epoch: self.epoch,
            owner: setup.owner.clone(),
            at: setup.place.clone(),
            envelope,
            status: changed,
            report: Report {
                seen: mark,
                routed: mark,
                ..report
            },
            hold: wish,
            done: self.done.clone(),
            forgotten: std::mem::take(&mut self.forgotten),
        }
    }

    /// A sign of life was not answered, or not in time. It may have come through.
    pub(super) fn unanswered(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.wish = self.wish.take().or(sent.wish);
        }
        // Whatever was said is said again.
        self.status.clear();
    }

    /// A change of the hold that its key does not have yet.
    pub(super) fn left(&mut self) -> Option<HoldWish> {
        let sent = self.sent.take().and_then(|sent| sent.wish);
        self.wish.take().or(sent)
    }

    /// What ran beside the task broke off.
    pub(super) fn lost(&mut self) {
        self.unanswered();
    }

    /// A sign of life was answered.
    pub(super) fn heard(
        &mut self,
        service: &ServiceName,
        now: Time,
        view: &View,
        heartbeat: Heartbeat,
    ) -> News {
        let mut news = News::default();
        self.answered = Instant::now();
        if let Some(sent) = self.sent.take() {
            self.leased = Some(self.last);
            self.told = sent.mark;
            self.status = sent.status;
            self.hold_known |= matches!(sent.wish, Some(HoldWish::Keep { .. }));
        }
        if heartbeat.again {
            self.told = Mark::default();
            self.status.clear();
            self.hurry = true;
        }
        let heard = self.rooms.hear(heartbeat.rooms);
        self.forgotten = heard.forgotten;
        (news.asked, news.lost) = (heard.asked, heard.lost);
        let mut bad = Vec::new();
        for command in &heartbeat.commands {
            match wish::of_command(command) {
                Ok(input) => {
                    if input == Input::Released {
                        self.wish = Some(HoldWish::Drop);
                    }
                    news.inputs.push(input);
                }
                Err(why) => bad.push(why),
            }
        }
        let said = !heartbeat.commands.is_empty();
        self.hurry |= said;
        self.done = said.then_some((heartbeat.name, heartbeat.commands.len()));
        // A command that was refused is told of until another one comes, a key as long as it is as it is.
        let commands = match said {
            true => bad.join("; "),
            false => self.refused[0].clone(),
        };
        let refused = [commands, heartbeat.bad.join("; ")];
        if refused != self.refused && refused.iter().any(|why| !why.is_empty()) {
            let why = told(&refused);
            tracing::warn!(%service, why, "what was written for the service can't be read; nothing is changed");
        }
        self.refused = refused;
        if self.wish.is_none() {
            news.inputs.extend(self.hold(now, view, heartbeat.hold));
        }
        news
    }

    /// What the hold's key means for the service.
    fn hold(&mut self, now: Time, view: &View, key: Option<HoldKey>) -> Option<Input> {
        match key {
            Some(HoldKey { reason, left }) => {
                self.hold_known = true;
                wish::of_hold(now, view.hold.as_ref(), &reason, left)
            }
            None if std::mem::take(&mut self.hold_known) => {
                view.hold.as_ref().map(|_| Input::Released)
            }
            None => None,
        }
    }
}

fn told(refused: &[String; 2]) -> String {
    let told = refused.iter().filter(|why| !why.is_empty());
    told.cloned().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::contract::Upstream;
    use crate::engine::id::InstanceId;
    use crate::engine::policy::Policy;
    use crate::engine::rooms::Heard;
    use crate::engine::service::Service;

    fn heard(age: Span, seen: Mark) -> Vec<Heard> {
        let report = Report {
            seen,
            ..Report::default()
        };
        vec![Heard {
            room: "b".into(),
            age,
            report,
        }]
    }

    #[test]
    fn nothing_is_stopped_before_every_room_says_that_its_gate_is_closed() {
        let mut heart = Heart::new(true, Some(Epoch(1)), Span::mins(30), Routing::Asleep);
        let name = "blog".parse().unwrap();
        let closed = Service::new(name, Policy::default(), Time(1)).view();
        let mut open = closed.clone();
        open.upstreams = vec![Upstream {
            instance: InstanceId::SEED,
            address: ([10, 0, 0, 1], 80).into(),
        }];
        heart.look(&open);
        heart.told = heart.mark();
        assert!(!heart.is_closed(), "the gate is open");
        let before = heart.mark();
        heart.look(&closed);
        assert!(!heart.is_closed(), "nobody has been told");
        let mark = heart.mark();
        heart.told = mark;
        assert!(heart.is_closed(), "there is no other room");
        heart.rooms.hear(heard(Span(0), before));
        assert!(!heart.is_closed(), "a room lets visitors in");
        heart.rooms.hear(heard(Span(0), mark));
        heart.look(&closed);
        assert!(heart.is_closed(), "what was said since does not open it");
        heart.rooms.hear(heard(SILENT_AFTER + Span(1), mark));
        assert!(!heart.is_closed(), "a room is silent");
    }
}
