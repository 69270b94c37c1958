//! A service with a platform that does what it is asked, unless it is told otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::engine::contract::{Activity, Source, Upstream};
use crate::engine::fleet::{Deed, Heard};
use crate::engine::id::{CloneId, InstanceId};
use crate::engine::load::{Sample, Share};
use crate::engine::machine::{ErrorClass, Machine, Owned, Trouble};
use crate::engine::policy::CloneTerms;
use crate::engine::scale::Terms;

/// A service with its platform, its visitors and its clock.
pub(super) struct House {
    pub(super) engine: Service,
    pub(super) now: Time,
    pub(super) answers: VecDeque<Input>,
    /// The clones, and when each was made.
    pub(super) clones: BTreeMap<CloneId, Time>,
    pub(super) seed_on: bool,
    /// When the seed was started last, and what it takes to answer.
    seed_since: Time,
    pub(super) seed_boots_in: Span,
    /// Visitors that wait.
    pub(super) waiting: u32,
    pub(super) routing: Routing,
    /// What visitors need, in hundredths of a percent of one machine.
    pub(super) demand: u64,
    pub(super) used: bool,
    pub(super) in_flight: u32,
    pub(super) measured: bool,
    pub(super) made: u32,
    /// Lists are empty.
    pub(super) unlisted: bool,
    /// The platform makes clones, and does not say so for now.
    pub(super) hangs: bool,
    /// The platform makes nothing, and its answers are lost.
    pub(super) loses: bool,
    /// Deletions, with the routing that was in force.
    pub(super) deleted: Vec<(CloneId, Routing)>,
    pub(super) stops: u32,
    pub(super) starts: u32,
    /// What was written down last.
    pub(super) record: Option<Record>,
    /// Why no clone is made now.
    pub(super) refuses: Option<ErrorClass>,
    /// From the making of a clone to its app's first answer.
    pub(super) boots_in: Span,
    /// Apps that don't answer.
    pub(super) is_silent: BTreeSet<CloneId>,
}

fn address_of(instance: InstanceId) -> std::net::SocketAddr {
    let host = match instance {
        InstanceId::Seed => 100,
        InstanceId::Clone(clone) => clone.slot() as u8,
    };
    ([10, 0, 0, host], 80).into()
}

impl House {
    pub(super) fn awake() -> House {
        let mut house = House::with(House::policy(), true);
        house.live(Span::secs(30));
        assert_eq!(house.engine.phase(), Phase::Awake);
        house
    }

    /// Up to four instances.
    pub(super) fn policy() -> Policy {
        Policy {
            clones: Some(CloneTerms {
                wanted: 0,
                most: 3,
                per_hour: 100,
                settles: Span::mins(2),
                repeats: true,
                strips: false,
            }),
            scale: Some(Terms {
                max: 4,
                ..Terms::default()
            }),
            ..Policy::default()
        }
    }

    pub(super) fn with(policy: Policy, seed_on: bool) -> House {
        let now = Time(1_795_000_000_000);
        let name = "blog".parse().unwrap();
        House {
            engine: Service::new(name, policy, now),
            now,
            answers: VecDeque::from([Input::Loaded(Some(Box::default()))]),
            clones: BTreeMap::new(),
            seed_on,
            starts: 0,
            record: None,
            refuses: None,
            boots_in: Span::ZERO,
            is_silent: BTreeSet::new(),
            seed_since: now,
            seed_boots_in: Span::ZERO,
            waiting: 0,
            routing: Routing::Asleep,
            demand: 0,
            used: true,
            in_flight: 0,
            measured: true,
            made: 0,
            unlisted: false,
            hangs: false,
            loses: false,
            deleted: Vec::new(),
            stops: 0,
        }
    }

    /// The owner is killed, and another takes up what is written down.
    pub(super) fn crash(&mut self) {
        let policy = self.engine.policy().clone();
        self.engine = Service::new("blog".parse().unwrap(), policy, self.now);
        let record = self.record.clone().map(Box::new);
        self.answers = VecDeque::from([Input::Loaded(record)]);
    }

    pub(super) fn live(&mut self, time: Span) {
        let end = self.now + time;
        while self.now < end {
            let at = self.now.0 / SECOND;
            if at.is_multiple_of(5) && self.engine.takes_requests() {
                self.answers.push_back(Input::Seen(Activity {
                    used: self.used,
                    in_flight: self.in_flight,
                    ..Activity::quiet(Source::Edge)
                }));
            }
            if at.is_multiple_of(15) && self.measured {
                self.answers.push_back(Input::Measured(self.samples()));
            }
            self.answers.push_back(Input::Waiting(self.waiting));
            self.answers.push_back(Input::Tick);
            while let Some(input) = self.answers.pop_front() {
                let mut out = Vec::new();
                self.engine.step(self.now, input, &mut out);
                for effect in out {
                    self.act(effect);
                }
            }
            self.now = self.now + Span::secs(1);
        }
    }

    /// Perfectly balanced.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let serving = self.engine.view().upstreams;
        let busy = Share::hundredths(self.demand / (serving.len() as u64).max(1));
        let at = self.now;
        let sample = |it: &Upstream| Sample {
            instance: it.instance,
            at,
            busy,
        };
        serving.iter().map(sample).collect()
    }

    pub(super) fn machine(&self, instance: InstanceId) -> Machine {
        let state = match instance {
            InstanceId::Seed if self.seed_on => MachineState::Running,
            InstanceId::Seed => MachineState::Stopped,
            InstanceId::Clone(clone) => match self.clones.get(&clone) {
                Some(_) => MachineState::Running,
                None => MachineState::Missing,
            },
        };
        let address = (state == MachineState::Running).then(|| address_of(instance));
        Machine { state, address }
    }

    pub(super) fn act(&mut self, effect: Effect) {
        let answer = match effect {
            Effect::Record { record, .. } => {
                self.record = Some(*record);
                return;
            }
            Effect::Tell(_) => return,
            Effect::Inspect(op, instance) => Input::Inspected(op, Ok(self.machine(instance))),
            Effect::Start(op, instance) => {
                self.starts += 1;
                if !std::mem::replace(&mut self.seed_on, true) {
                    self.seed_since = self.now;
                }
                Input::Started(op, Ok(self.machine(instance)))
            }
            Effect::Stop(op, instance, _) => {
                self.stops += 1;
                self.seed_on = false;
                Input::Stopped(op, Ok(self.machine(instance)))
            }
            Effect::Probe(op, instance, _) => Input::Probed(op, self.probe(instance)),
            Effect::Publish(op, routing) => {
                self.routing = routing;
                Input::Published(op, Ok(()))
            }
            Effect::ProveDivert(op) => Input::Diverted(op, Ok(())),
            Effect::LastLook(op) => Input::LookedOnce(op, Ok(vec![Activity::quiet(Source::Edge)])),
            Effect::Fleet(op, deed) => {
                let unsaid = self.hangs && matches!(deed, Deed::Make(_));
                let heard = self.deed(deed);
                if unsaid {
                    return;
                }
                Input::Fleet(op, heard)
            }
        };
        self.answers.push_back(answer);
    }

    fn probe(&self, instance: InstanceId) -> ProbeResult {
        let silent = match instance {
            InstanceId::Seed => self.now.since(self.seed_since) < self.seed_boots_in,
            InstanceId::Clone(clone) => {
                let booted = self
                    .clones
                    .get(&clone)
                    .is_some_and(|at| *at + self.boots_in <= self.now);
                !booted || self.is_silent.contains(&clone)
            }
        };
        match self.machine(instance).address {
            Some(_) if !silent => ProbeResult::Ready,
            _ => ProbeResult::NotReady("refused".into()),
        }
    }

    fn deed(&mut self, deed: Deed) -> Heard {
        match deed {
            Deed::Find => {
                let owned = |clone: &CloneId| Owned {
                    clone: *clone,
                    machine: self.machine(InstanceId::Clone(*clone)),
                };
                let shown = self.clones.keys().filter(|_| !self.unlisted);
                Heard::Found(Ok(shown.map(owned).collect()))
            }
            Deed::Make(_) if self.loses => {
                self.made += 1;
                let trouble = Trouble::new(ErrorClass::Ambiguous, "no answer");
                Heard::Made(Err(trouble))
            }
            Deed::Make(clone) => {
                if let Some(class) = self.refuses {
                    return Heard::Made(Err(refused(class)));
                }
                self.made += 1;
                self.clones.entry(clone).or_insert(self.now);
                Heard::Made(Ok(self.machine(InstanceId::Clone(clone))))
            }
            Deed::Look(clone) | Deed::Start(clone) => {
                Heard::Looked(Ok(self.machine(InstanceId::Clone(clone))))
            }
            Deed::Probe(clone, _) => Heard::Probed(self.probe(InstanceId::Clone(clone))),
            Deed::Drain(_) => Heard::Drained(Ok(Some(self.in_flight))),
            Deed::Addresses(_) => Heard::Addresses(Ok(Vec::new())),
            Deed::Release(..) => Heard::Released(Ok(())),
            Deed::Delete(clone) => {
                self.deleted.push((clone, self.routing.clone()));
                self.clones.remove(&clone);
                Heard::Deleted(Ok(self.machine(InstanceId::Clone(clone))))
            }
        }
    }

    pub(super) fn serving(&self) -> Vec<InstanceId> {
        let upstreams = self.engine.view().upstreams;
        let published = match &self.routing {
            Routing::Awake(published) => published.clone(),
            Routing::Asleep => Vec::new(),
        };
        assert_eq!(upstreams, published, "what is published is what serves");
        upstreams.iter().map(|it| it.instance).collect()
    }
}
