//! The visitors' way: fake Traefik with its routing and its counters, the samples, the proof and the last look.

use std::net::SocketAddr;

use anteroom::engine::contract::{Activity, Input, ProbeResult, Routing, Source, Upstream};
use anteroom::engine::id::OpId;
use anteroom::engine::view::Phase;

use crate::driver::Role;
use crate::plan::SECOND;
use crate::rooms::What;
use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) struct Way {
    failover: bool,
    /// What Traefik does with a request now.
    pub(crate) in_force: Routing,
    /// Requests that ended, as Traefik counts them.
    pub(crate) count: u64,
    pub(crate) turn: u64,
    /// The process of this site that the store has heard of last.
    pub(crate) room: Option<u64>,
    /// When a room of this site last told the store how it is.
    pub(crate) told_at: u64,
    /// When it did so after nobody knew of it.
    pub(crate) back_at: u64,
}

impl Way {
    pub(crate) fn new(failover: bool) -> Way {
        Way {
            failover,
            in_force: Routing::Asleep,
            count: 0,
            turn: 0,
            room: None,
            told_at: 0,
            back_at: 0,
        }
    }

    /// Where plain requests go that do not pass the room.
    pub(crate) fn leads_to(&self) -> &[Upstream] {
        match &self.in_force {
            Routing::Awake(upstreams) if self.failover => upstreams,
            _ => &[],
        }
    }

    pub(crate) fn straight_to(&self) -> Option<SocketAddr> {
        self.leads_to().first().map(|up| up.address)
    }
}

impl World {
    pub(crate) fn publish(&mut self, life: u64, op: OpId, routing: Routing) {
        let published = |result| Event::Answer {
            life,
            input: Input::Published(op, result),
        };
        if !self.plan.failover {
            return self.after(0, published(Ok(())));
        }
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        self.ways[site].turn += 1;
        let turn = self.ways[site].turn;
        let takes = self.rng.within(50, self.plan.publish_takes);
        if !self.mishap(self.plan.way_faults) {
            self.after(
                takes,
                Event::RoutingTakes {
                    site,
                    turn,
                    routing,
                },
            );
            return self.after(takes, published(Ok(())));
        }
        match self.rng.within(0, 4) {
            // Traefik refuses it.
            0 => self.after(takes, published(Err("refused".into()))),
            // It takes, but that is not seen.
            1 => {
                self.after(
                    takes,
                    Event::RoutingTakes {
                        site,
                        turn,
                        routing,
                    },
                );
                self.after(takes, published(Err("not seen".into())));
            }
            // It takes later than was believed. A scale-in has no proof but Traefik's own word.
            2 | 3 if self.plan.clones.is_none() => {
                self.after(
                    takes + 45 * SECOND,
                    Event::RoutingTakes {
                        site,
                        turn,
                        routing,
                    },
                );
                self.after(takes, published(Ok(())));
            }
            // No answer, nothing done.
            _ => {}
        }
    }

    pub(crate) fn routing_takes(&mut self, site: usize, turn: u64, routing: Routing) {
        // A later publish has overwritten an earlier one that was slow.
        if turn == self.ways[site].turn {
            self.note(|| format!("Traefik {site} leads to {routing:?}"));
            self.ways[site].in_force = routing;
        }
    }

    pub(crate) fn prove(&mut self, life: u64, op: OpId) {
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        let result = match self.ways[site].straight_to() {
            None => Ok(()),
            Some(address) => Err(format!("the probe met {address}")),
        };
        if result.is_ok() && self.shared() {
            return self.wait_for_rooms(life, op, What::Routing);
        }
        if !self.mishap(self.plan.way_faults / 4) {
            self.after(
                0,
                Event::Answer {
                    life,
                    input: Input::Diverted(op, result),
                },
            );
        }
    }

    pub(crate) fn begin_look(&mut self, life: u64, op: OpId) {
        if self.process(life).is_some_and(|process| process.edge.open) {
            self.breaks("I3", || "the gate is open at the last look".into());
        }
        if self.shared() {
            return self.wait_for_rooms(life, op, What::Closing);
        }
        let delay = self.rng.within(5, 2_000);
        self.after(delay, Event::Look { life, op });
    }

    pub(crate) fn look(&mut self, life: u64, op: OpId) {
        if self.mishap(self.plan.signal_faults * 5) {
            if self.rng.chance(500) {
                let input = Input::LookedOnce(op, Err("no answer".into()));
                self.after(0, Event::Answer { life, input });
            }
            return;
        }
        let (failover, now) = (self.plan.failover, self.now);
        let Some(edge) = self.edge_sample(life) else {
            let input = Input::LookedOnce(op, Err("a room is silent".into()));
            return self.answer(life, input);
        };
        let Some(site) = self.process(life).map(|process| process.site) else {
            return;
        };
        let count = self.ways[site].count;
        let Some(process) = self.process(life) else {
            return;
        };
        let mut samples = vec![edge];
        process.watched.fresh(Source::Edge, now);
        if failover {
            let used = process
                .baseline
                .replace(count)
                .is_none_or(|before| before != count);
            samples.push(Activity {
                used,
                ..Activity::quiet(Source::Traefik)
            });
            process.baseline_at = now;
            process.watched.fresh(Source::Traefik, now);
        }
        self.answer(life, Input::LookedOnce(op, Ok(samples)));
    }

    pub(crate) fn sample_edge(&mut self, life: u64, turn: u64) {
        let (now, normal) = (self.now, self.plan.sample_every);
        let silent = self.now < self.facts.edge_silent_until;
        let lost = silent || self.mishap(self.plan.signal_faults);
        let Some(process) = self.process(life) else {
            return;
        };
        let every = match process.engine.phase() {
            _ if process.edge_turn != turn => return,
            Phase::Awake => normal,
            Phase::Waking | Phase::Failed | Phase::Learning if process.engine.takes_requests() => {
                normal
            }
            Phase::Diverting | Phase::Draining => SECOND,
            _ => {
                process.samples_edge = false;
                return;
            }
        };
        if process.role == Role::Follows {
            return;
        }
        if !lost {
            match self.edge_sample(life) {
                Some(sample) => {
                    if let Some(process) = self.process(life) {
                        process.watched.fresh(Source::Edge, now);
                    }
                    self.give(life, Input::Seen(sample));
                }
                None => {
                    if let Some(process) = self.process(life) {
                        process.watched.lost(Source::Edge, now);
                    }
                    self.give(life, Input::SignalLost(Source::Edge));
                }
            }
        }
        self.after(every, Event::SampleEdge { life, turn });
    }

    pub(crate) fn sample_traefik(&mut self, life: u64) {
        if !self.plan.failover {
            return;
        }
        let Some(process) = self.process(life) else {
            return;
        };
        let site = process.site;
        let every = match process.room.shown.phase {
            Phase::Awake | Phase::Diverting | Phase::Draining => 5 * SECOND,
            _ => 30 * SECOND,
        };
        self.after(every, Event::SampleTraefik { life });
        let (count, taken_at) = (self.ways[site].count, self.now);
        if self.now < self.facts.traefik_silent_until {
            return;
        }
        if self.mishap(self.plan.signal_faults) {
            match self.rng.within(0, 3) {
                // A failed scrape is told.
                0 => self.lose_traefik(life),
                // A scrape that hangs is not.
                1 => {}
                // The sample is old when it arrives.
                _ => {
                    let delay = self.rng.within(1, 20) * SECOND;
                    self.after(
                        delay,
                        Event::TraefikSeen {
                            life,
                            count,
                            taken_at,
                        },
                    );
                }
            }
        } else {
            self.traefik_seen(life, count, taken_at);
        }
    }

    pub(crate) fn lose_traefik(&mut self, life: u64) {
        self.disturb();
        let now = self.now;
        if let Some(process) = self.process(life) {
            process.watched.lost(Source::Traefik, now);
            process.room.losses += 1;
            self.give(life, Input::SignalLost(Source::Traefik));
        }
    }

    pub(crate) fn traefik_seen(&mut self, life: u64, count: u64, taken_at: u64) {
        let now = self.now;
        let Some(process) = self.process(life) else {
            return;
        };
        if taken_at < process.baseline_at {
            return; // Older than what is known already.
        }
        process.baseline_at = taken_at;
        if process.baseline.is_some_and(|before| count < before) {
            // Traefik has restarted: what happened is unknown.
            process.baseline = Some(count);
            return self.lose_traefik(life);
        }
        // The first sample says nothing of what was before it.
        let before = process.baseline.replace(count);
        let used = before.is_some_and(|before| before != count);
        process.watched.fresh(Source::Traefik, now);
        process.edge.used |= used && process.role == Role::Follows;
        self.give(
            life,
            Input::Seen(Activity {
                used,
                ..Activity::quiet(Source::Traefik)
            }),
        );
    }

    pub(crate) fn probe(&mut self, life: u64, op: OpId, address: SocketAddr) {
        let delay = self.rng.within(5, 400);
        let mut result = match self.cloud.answers_at(address) {
            true => ProbeResult::Ready,
            false => ProbeResult::NotReady("refused".into()),
        };
        if self.mishap(self.plan.call_faults / 10) {
            result = ProbeResult::NotReady("timed out".into());
        }
        if result == ProbeResult::Ready
            && let Some(process) = self.process(life)
        {
            process.watched.app_answers.push_back(op);
            if process.watched.app_answers.len() > 8 {
                process.watched.app_answers.pop_front();
            }
        }
        self.after(
            delay,
            Event::Answer {
                life,
                input: Input::Probed(op, result),
            },
        );
    }
}
